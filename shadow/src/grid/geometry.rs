//! From the steering wheel to the curvature of the path, and back; and from how a vehicle moved, where nobody knows how it was
//! steered.

use shoal_hal::Motion;

/// The largest angle of the road wheels that is believed, rad: beyond it the tangent means nothing.
pub const ROAD_WHEEL_RAD_MAX: f64 = 1.4;

/// Below this speed, m/s, the acceleration across a path does not tell its curvature: a small error of the one is a bend of the other.
pub const TELLING_M_S: f64 = 2.0;

/// What of a vehicle decides how its steering wheel bends its path.
///
/// # Source
/// The kinematic bicycle model without side slip (R. Rajamani, Vehicle Dynamics and Control, §2.2): curvature =
/// tan(road wheel) ÷ wheelbase. Understeer is left out: at speed a vehicle's path is wider than this says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    wheelbase_m: f64,
    steering_ratio: f64,
}

impl Default for Geometry {
    /// A mid-size passenger car: 2.7 m, and 15 degrees of the wheel for one of the road wheels.
    fn default() -> Self {
        Self { wheelbase_m: 2.7, steering_ratio: 15.0 }
    }
}

impl Geometry {
    /// A vehicle's geometry, or `None` unless both are finite and above 0.
    ///
    /// # Units
    /// Wheelbase: m, between the axles. Steering ratio: angle of the steering wheel per angle of the road wheels; 1
    /// where the steering is told as the angle of the road wheels.
    #[must_use]
    pub fn new(wheelbase_m: f64, steering_ratio: f64) -> Option<Self> {
        let fit = |value: f64| value.is_finite() && value > 0.0;
        (fit(wheelbase_m) && fit(steering_ratio)).then_some(Self { wheelbase_m, steering_ratio })
    }

    /// Distance between the axles, m.
    #[must_use]
    pub fn wheelbase_m(&self) -> f64 {
        self.wheelbase_m
    }

    /// Angle of the steering wheel per angle of the road wheels.
    #[must_use]
    pub fn steering_ratio(&self) -> f64 {
        self.steering_ratio
    }

    /// Curvature (1/m, left positive) of the path that a steering wheel at `steering_rad` (left positive) gives:
    /// tan(steering ÷ ratio) ÷ wheelbase, the road wheels held within ±[`ROAD_WHEEL_RAD_MAX`].
    #[must_use]
    pub fn curvature_per_m(&self, steering_rad: f64) -> f64 {
        let wheel =
            (steering_rad / self.steering_ratio).clamp(-ROAD_WHEEL_RAD_MAX, ROAD_WHEEL_RAD_MAX);
        libm::tan(wheel) / self.wheelbase_m
    }

    /// Curvature (1/m, left positive) of the path of this motion: by how it is steered or, where nobody knows that, by the
    /// acceleration across it, which is speed² · curvature. `None`: neither is known, or it is too slow to tell (below
    /// [`TELLING_M_S`]).
    #[must_use]
    pub fn curvature_of(&self, motion: &Motion) -> Option<f64> {
        let steered = motion.steering_rad.map(|rad| self.curvature_per_m(rad.into()));
        steered.or_else(|| {
            let speed = f64::from(motion.speed_m_s?);
            let across = f64::from(motion.lateral_acceleration_m_s2?);
            (speed.abs() >= TELLING_M_S).then(|| across / (speed * speed))
        })
    }

    /// Angle of the steering wheel (rad, left positive) whose path has this curvature: ratio · atan(curvature · wheelbase).
    #[must_use]
    pub fn steering_rad(&self, curvature_per_m: f64) -> f64 {
        self.steering_ratio * libm::atan(curvature_per_m * self.wheelbase_m)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_told_by_its_acceleration_where_nobody_knows_the_steering() {
        let geometry = Geometry::default();
        let motion = |speed, across| Motion {
            speed_m_s: Some(speed),
            lateral_acceleration_m_s2: Some(across),
            ..Motion::default()
        };
        assert_eq!(geometry.curvature_of(&motion(10.0, 2.0)), Some(0.02));
        assert_eq!(geometry.curvature_of(&motion(-10.0, -2.0)), Some(-0.02));
        assert_eq!(geometry.curvature_of(&motion(1.0, 2.0)), None, "too slow");
        assert_eq!(geometry.curvature_of(&Motion::default()), None);
        let steered = Motion { steering_rad: Some(0.3), ..motion(10.0, 2.0) };
        assert_eq!(
            geometry.curvature_of(&steered),
            Some(geometry.curvature_per_m(f64::from(0.3f32)))
        );
    }

    #[test]
    fn a_road_wheel_at_atan_of_wheelbase_over_radius_drives_that_radius() {
        let geometry = Geometry::new(2.5, 16.0).unwrap();
        let steering = 16.0 * libm::atan(2.5 / 50.0);
        assert!((geometry.curvature_per_m(steering) - 1.0 / 50.0).abs() < 1e-12);
        assert!(geometry.curvature_per_m(-steering) < 0.0, "right is negative");
    }

    #[test]
    fn a_wheel_turned_beyond_belief_bends_the_path_no_further() {
        let geometry = Geometry::default();
        let most = geometry.curvature_per_m(ROAD_WHEEL_RAD_MAX * 15.0);
        assert_eq!(geometry.curvature_per_m(100.0), most);
        assert_eq!(geometry.curvature_per_m(-100.0), -most);
    }

    #[test]
    fn a_wheelbase_or_ratio_of_nothing_is_refused() {
        for (wheelbase, ratio) in [(0.0, 15.0), (2.7, 0.0), (-1.0, 15.0), (2.7, f64::NAN)] {
            assert_eq!(Geometry::new(wheelbase, ratio), None);
        }
    }

    proptest! {
        #[test]
        fn steering_and_curvature_are_inverse(curvature in -0.2f64..0.2, l in 0.2f64..10.0, n in 1.0f64..25.0) {
            let geometry = Geometry::new(l, n).unwrap();
            let again = geometry.curvature_per_m(geometry.steering_rad(curvature));
            prop_assert!((again - curvature).abs() < 1e-9);
        }
    }
}
