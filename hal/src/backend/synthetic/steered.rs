//! An own vehicle that actions move: a kinematic bicycle along a generated road.

/// Time constants of a first-order lag from what is asked to what is done, s.
const STEERING_LAG_S: f32 = 0.2;
const DRIVE_LAG_S: f32 = 0.25;
/// What the road wheels and the tyres allow: curvature (1/m), its change (1/m/s), lateral acceleration (m/s²).
const CURVATURE_MAX: f32 = 0.2;
const CURVATURE_RATE_MAX: f32 = 0.12;
const LATERAL_MAX: f32 = 7.0;
/// What brakes and motor allow, m/s².
const BRAKE_MAX: f32 = 8.0;
const DRIVE_MAX: f32 = 3.0;

/// The state of the vehicle beside the road's middle; right is positive.
///
/// ```text
/// ṡ = v·cos ψ ÷ (1 − κᵣ·u)      κ̇ = (κ_asked − κ) ÷ 0.2 s, |κ̇| ≤ 0.12 ÷ m·s, |κ| ≤ 0.2 ÷ m, |κ|·v² ≤ 7 m/s²
/// u̇ = v·sin ψ                    ȧ = (a_asked − a) ÷ 0.25 s,  −8 ≤ a ≤ 3 m/s²
/// ψ̇ = v·κ − κᵣ·ṡ                 v̇ = a, v ≥ 0
/// ```
///
/// The reference is the middle of the rear axle, where a bicycle's path has no slip: κ = tan δ ÷ L.
/// Source: Rajamani, *Vehicle Dynamics and Control*, 2012, section 2.2 (model), 2.5 (road coordinates).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Steered {
    pub(super) u: f32,
    pub(super) heading: f32,
    pub(super) curvature: f32,
    pub(super) speed: f32,
    pub(super) acceleration: f32,
    /// ṡ at the last step.
    pub(super) along: f32,
    /// Curvature and acceleration asked for.
    pub(super) asked: (f32, f32),
}

impl Steered {
    pub(super) fn new(speed: f32, u: f32, heading: f32, curvature: f32) -> Self {
        let asked = (curvature, 0.0);
        Self { u, heading, curvature, speed, acceleration: 0.0, along: speed, asked }
    }

    /// Moves on by `dt` seconds on a road of curvature `road`; gives ṡ.
    pub(super) fn advance(&mut self, road: f32, dt: f32) -> f32 {
        let (curvature, acceleration) = self.asked;
        let change = ((curvature - self.curvature) / STEERING_LAG_S)
            .clamp(-CURVATURE_RATE_MAX, CURVATURE_RATE_MAX);
        let most = (LATERAL_MAX / (self.speed * self.speed).max(1.0)).min(CURVATURE_MAX);
        self.curvature = (self.curvature + change * dt).clamp(-most, most);
        let asked = acceleration.clamp(-BRAKE_MAX, DRIVE_MAX);
        self.acceleration += (asked - self.acceleration) / DRIVE_LAG_S * dt;
        let before = self.speed;
        self.speed = (before + self.acceleration * dt).max(0.0);
        if self.speed == 0.0 {
            self.acceleration = self.acceleration.max(0.0);
        }
        let v = 0.5 * (before + self.speed);
        self.along = v * libm::cosf(self.heading) / (1.0 - road * self.u).max(0.2);
        self.u += v * libm::sinf(self.heading) * dt;
        self.heading += (v * self.curvature - road * self.along) * dt;
        self.along
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DT: f32 = 0.02;

    /// Over a straight road a constant curvature is a circle: 90° after a quarter of its length.
    #[test]
    fn constant_curvature_drives_a_circle() {
        let (curvature, speed) = (0.02, 10.0);
        let mut vehicle = Steered::new(speed, 0.0, 0.0, curvature);
        let quarter = core::f32::consts::FRAC_PI_2 / curvature / speed;
        for _ in 0..(quarter / DT) as usize {
            vehicle.advance(0.0, DT);
        }
        assert!((vehicle.heading - core::f32::consts::FRAC_PI_2).abs() < 0.01, "{vehicle:?}");
        assert!((vehicle.u - 1.0 / curvature).abs() < 0.5, "{vehicle:?}");
    }

    /// Whoever drives the road's own curvature, corrected for being beside its middle, stays beside it.
    #[test]
    fn the_roads_curvature_keeps_a_vehicle_where_it_is() {
        let (road, u) = (0.01, 3.0);
        let curvature = road / (1.0 - road * u);
        let mut vehicle = Steered::new(20.0, u, 0.0, curvature);
        vehicle.asked = (curvature, 0.0);
        for _ in 0..1000 {
            vehicle.advance(road, DT);
        }
        assert!((vehicle.u - u).abs() < 0.05 && vehicle.heading.abs() < 0.005, "{vehicle:?}");
    }

    #[test]
    fn what_is_asked_comes_late_and_within_limits() {
        let mut vehicle = Steered::new(20.0, 0.0, 0.0, 0.0);
        vehicle.asked = (1.0, -50.0);
        vehicle.advance(0.0, DT);
        assert!(vehicle.curvature <= CURVATURE_RATE_MAX * DT + 1e-7);
        assert!(vehicle.acceleration > -1.0, "{vehicle:?}");
        for _ in 0..20 {
            vehicle.advance(0.0, DT);
            let lateral = vehicle.curvature * vehicle.speed * vehicle.speed;
            assert!(lateral <= LATERAL_MAX * 1.05 && vehicle.acceleration >= -BRAKE_MAX);
        }
        for _ in 0..300 {
            vehicle.advance(0.0, DT);
        }
        assert_eq!(vehicle.speed, 0.0);
        assert!(vehicle.acceleration == 0.0, "nothing brakes what stands: {vehicle:?}");
    }
}
