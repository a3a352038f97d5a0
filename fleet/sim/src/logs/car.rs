//! Generated logs: what a car's sensors say of its motion along a generated road, each car with a steering, tyres, mass and
//! sensors of its own.
//!
//! ```text
//! δ  = i · (L · κ + K · a)                  steering wheel; κ = a / v²
//! y  ← y + (a − y) · Δt / τ                 the car follows its wheel late
//! a' = y + n,   n ← ρ · n + √(1 − ρ²) · σ · N(0, 1)      what is measured
//! ```
//!
//! a is the lateral acceleration that the road asks for at speed v. It is the car at a constant speed of the linear bicycle model
//! with understeer gradient K, which mass, its place and the tyres make; τ stands for the rest.
//!
//! # Source
//! Steady state of the linear bicycle model: R. Rajamani, *Vehicle Dynamics and Control*, 2nd edition, section 3.3.

use shoal_hal::backend::synthetic::Road;
use shoal_hal::{FrameShape, Moments as _, Motion};
use shoal_soup::chance::Draws;

/// The road is drawn, though nobody looks at it.
const SHAPE: FrameShape = FrameShape { width: 32, height: 16 };
/// A car that is slower than this does not say how its road bends.
const SPEED_M_S_MIN: f64 = 1.0;
/// Correlation of one row's noise with the last one's.
const NOISE_KEPT: f64 = 0.6;

/// The middle of what a car may be, and how far it is from there to either end.
const STEERING_RATIO: [f64; 2] = [15.0, 3.0];
const WHEELBASE_M: [f64; 2] = [2.8, 0.3];
const UNDERSTEER_S2_M: [f64; 2] = [0.004, 0.003];
const LATE_S: [f64; 2] = [0.3, 0.2];
const NOISE_M_S2: [f64; 2] = [0.012, 0.008];

/// One car.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Car {
    /// i: angle of the steering wheel over that of the front wheels.
    steering_ratio: f64,
    /// L.
    wheelbase_m: f64,
    /// K, rad at the front wheels for each m/s².
    understeer_s2_m: f64,
    /// τ.
    late_s: f64,
    /// σ, of the accelerometer.
    noise_m_s2: f64,
}

impl Car {
    /// A car drawn from `draws`, as far from the middle as `differ` (0 to 1) allows.
    pub(super) fn draw(draws: &mut Draws, differ: f64) -> Self {
        let mut between =
            |[middle, reach]: [f64; 2]| middle + reach * differ * (2.0 * draws.unit() - 1.0);
        Car {
            steering_ratio: between(STEERING_RATIO),
            wheelbase_m: between(WHEELBASE_M),
            understeer_s2_m: between(UNDERSTEER_S2_M),
            late_s: between(LATE_S),
            noise_m_s2: between(NOISE_M_S2),
        }
    }

    /// What its sensors say along a road, `rows` rows at `rate_hz`.
    pub(super) fn drive(
        &self,
        road: Road,
        rate_hz: f64,
        rows: usize,
        draws: &mut Draws,
    ) -> Vec<Motion> {
        let mut moments = road.moments(SHAPE, rate_hz);
        let follows = (1.0 / (rate_hz * self.late_s)).min(1.0);
        let fresh = (1.0 - NOISE_KEPT * NOISE_KEPT).sqrt() * self.noise_m_s2;
        let (mut follower, mut noise) = (None, 0.0);
        let row = |_row| {
            // A generated road has no end and no error.
            let motion = moments.next().ok().flatten().and_then(|moment| moment.motion);
            let motion = motion.unwrap_or_default();
            let speed = f64::from(motion.speed_m_s.unwrap_or(0.0));
            let asked = f64::from(motion.lateral_acceleration_m_s2.unwrap_or(0.0));
            let speed = speed.max(SPEED_M_S_MIN);
            let curvature = asked / (speed * speed);
            let front = self.wheelbase_m * curvature + self.understeer_s2_m * asked;
            let y: &mut f64 = follower.get_or_insert(asked);
            *y += (asked - *y) * follows;
            noise = NOISE_KEPT * noise + fresh * draws.normal();
            Motion {
                steering_rad: Some((self.steering_ratio * front) as f32),
                lateral_acceleration_m_s2: Some((*y + noise) as f32),
                ..motion
            }
        };
        (0..rows).map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use shoal_hal::backend::synthetic::Region;

    use super::*;

    const ROAD: Road = Road { region: Region::Rural, seed: 7 };

    fn steering(car: &Car) -> Vec<f32> {
        let rows = car.drive(ROAD, 10.0, 40, &mut Draws::new(1, 2));
        rows.iter().filter_map(|motion| motion.steering_rad).collect()
    }

    #[test]
    fn cars_that_may_differ_steer_otherwise_on_one_road_and_others_alike() {
        let drawn = |stream, differ| Car::draw(&mut Draws::new(1, stream), differ);
        assert_ne!(steering(&drawn(1, 1.0)), steering(&drawn(2, 1.0)));
        assert_eq!(steering(&drawn(1, 0.0)), steering(&drawn(2, 0.0)));
    }

    #[test]
    fn a_log_repeats_from_its_seed_and_knows_all_numbers() {
        let car = Car::draw(&mut Draws::new(1, 1), 1.0);
        let log = |stream| car.drive(ROAD, 10.0, 40, &mut Draws::new(1, stream));
        assert_eq!(log(2), log(2));
        assert_ne!(log(2), log(3), "its noise is drawn");
        assert!(log(2).iter().all(|motion| motion.is_finite()
            && motion.speed_m_s.is_some()
            && motion.acceleration_m_s2.is_some()));
    }
}
