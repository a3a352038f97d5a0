//! A policy's opinion beside what the driver did, on the axes of `action_grid/v1`.
//!
//! Two proper scores (Gneiting and Raftery, Journal of the American Statistical Association 102, 2007): *nats*, −ln of the
//! probability of the driver's bin, which training minimises; and the *distance*, a ranked probability score (Epstein,
//! Journal of Applied Meteorology 8, 1969), by which opinions are compared with drivers. Nats take the bin beside the driver's
//! for as wrong as the opposite lock, and have no bound where a policy is sure and another; the distance grows with how far off
//! the opinion was, and stays within 0 and 1.

use std::collections::VecDeque;

use shoal_hal::Motion;

use crate::grid::{
    ACCELERATION_BINS, ActionGrid, CURVATURE_BINS, Distribution, Geometry, bin_spread,
};
use crate::package::{Field, Reading, Steering};

/// Mixed into what is spread around a value, evenly over all bins: nothing is impossible.
const FLOOR: f64 = 1e-3;

/// What the driver did: the bins of both axes. `None`: the vehicle does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Did {
    /// Bin of the curvature.
    pub curvature: Option<usize>,
    /// Bin of the acceleration.
    pub acceleration: Option<usize>,
}

impl Did {
    /// What a motion says the driver did, of a vehicle of this geometry.
    #[must_use]
    pub fn of(motion: &Motion, geometry: &Geometry) -> Self {
        let grid = ActionGrid::v1();
        Did {
            curvature: geometry.curvature_of(motion).map(|curvature| grid.curvature_bin(curvature)),
            acceleration: motion.acceleration_m_s2.map(|a| grid.acceleration_bin(f64::from(a))),
        }
    }

    /// The same of a log that may know no acceleration, as donkeycar tubs do; `holds_speed`: then the driver is taken to hold the
    /// speed (0 m/s²).
    #[must_use]
    pub fn of_log(motion: &Motion, geometry: &Geometry, holds_speed: bool) -> Self {
        let acceleration_m_s2 = motion.acceleration_m_s2.or(holds_speed.then_some(0.0));
        Did::of(&Motion { acceleration_m_s2, ..*motion }, geometry)
    }

    /// The flat index of both; `None` unless both are known.
    #[must_use]
    pub fn bin(&self) -> Option<usize> {
        Some(self.curvature? * ACCELERATION_BINS + self.acceleration?)
    }

    /// The same of the mirrored road. The acceleration stays, the curvature's bins are symmetric.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        Did { curvature: self.curvature.map(|bin| CURVATURE_BINS - 1 - bin), ..*self }
    }
}

/// What a policy would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Opinion {
    /// How probable it holds every bin.
    pub actions: Distribution,
    /// Whether it has an opinion of the acceleration, or of the curvature alone.
    pub accelerates: bool,
}

impl Opinion {
    /// One sample of a policy's `action` output; `None` if it is no such opinion, or its values are not so many, or not finite.
    #[must_use]
    pub fn read(reading: &Reading, output: &[f32]) -> Option<Self> {
        match reading {
            Reading::Grid => {
                let actions = Distribution::from_logits(output)?;
                Some(Opinion { actions, accelerates: true })
            }
            Reading::Steering(steering) => {
                let value = output.first().copied().filter(|value| value.is_finite())?;
                Some(Opinion::of_steering(steering, value))
            }
            Reading::Value { .. } | Reading::Logits { .. } => None,
        }
    }

    /// A normal distribution around a curvature (1/m), with nothing said of the acceleration.
    #[must_use]
    pub fn around(curvature_per_m: f64, width_per_m: f64) -> Self {
        let edges = ActionGrid::v1().curvature_edges();
        let mut curvature = bin_spread::<CURVATURE_BINS>(edges, curvature_per_m, width_per_m);
        for p in &mut curvature {
            *p = (1.0 - FLOOR) * *p + FLOOR / CURVATURE_BINS as f64;
        }
        let even = [1.0 / ACCELERATION_BINS as f64; ACCELERATION_BINS];
        Opinion { actions: Distribution::from_axes(&curvature, &even), accelerates: false }
    }

    /// The bin of the curvature's median.
    #[must_use]
    pub fn curvature_median(&self) -> usize {
        let mut below = 0.0;
        let reaches = |p: &f64| {
            below += p;
            below >= 0.5
        };
        self.actions.curvature().iter().position(reaches).unwrap_or(CURVATURE_BINS - 1)
    }

    fn of_steering(steering: &Steering, value: f32) -> Self {
        let value = f64::from(value) * f64::from(steering.scale);
        let rad = match steering.field {
            Field::SteeringDeg => value.to_radians(),
            Field::SteeringRad
            | Field::SpeedMS
            | Field::AccelerationMS2
            | Field::LateralAccelerationMS2 => value,
        };
        let curvature = steering.geometry.curvature_per_m(rad);
        Opinion::around(curvature, f64::from(steering.width_per_m))
    }

    /// −ln of the probability of what the driver did, nats, on the axes that both speak of; `None` if there is none.
    #[must_use]
    pub fn nats(&self, did: &Did) -> Option<f64> {
        let acceleration = did.acceleration.filter(|_| self.accelerates);
        let p = match (did.curvature, acceleration) {
            (Some(curvature), Some(acceleration)) => {
                self.actions.joint()[curvature * ACCELERATION_BINS + acceleration]
            }
            (Some(curvature), None) => self.actions.curvature()[curvature],
            (None, Some(acceleration)) => self.actions.acceleration()[acceleration],
            (None, None) => return None,
        };
        Some(-libm::log(p))
    }

    /// How far the opinion was from what the driver did, 0 to 1: the mean over the axes that both speak of of
    ///
    /// ```text
    /// Σ over all but the last bin k of (P(bin ≤ k) − [driver's bin ≤ k])² ÷ (bins − 1)
    /// ```
    ///
    /// `None` if there is no such axis.
    #[must_use]
    pub fn distance(&self, did: &Did) -> Option<f64> {
        let curvature = did.curvature.map(|bin| ranked(&self.actions.curvature(), bin));
        let acceleration = did.acceleration.filter(|_| self.accelerates);
        let acceleration = acceleration.map(|bin| ranked(&self.actions.acceleration(), bin));
        match (curvature, acceleration) {
            (Some(curvature), Some(acceleration)) => Some((curvature + acceleration) / 2.0),
            (one, other) => one.or(other),
        }
    }

    /// How far two opinions are apart, 0 to 1: [`distance`](Self::distance) with the other's probabilities in the place of what the
    /// driver did, the Cramér distance of each axis.
    #[must_use]
    pub fn apart(&self, other: &Self) -> f64 {
        let curvature = squares(&self.actions.curvature(), &other.actions.curvature());
        if self.accelerates && other.accelerates {
            let acceleration = squares(&self.actions.acceleration(), &other.actions.acceleration());
            (curvature + acceleration) / 2.0
        } else {
            curvature
        }
    }
}

/// Σ over all but the last bin k of (P(bin ≤ k) − Q(bin ≤ k))² ÷ (bins − 1).
fn squares(p: &[f64], q: &[f64]) -> f64 {
    let (mut apart, mut sum) = (0.0, 0.0);
    for (p, q) in p.iter().zip(q).take(p.len() - 1) {
        apart += p - q;
        sum += apart * apart;
    }
    sum / (p.len() - 1) as f64
}

/// The ranked probability score, divided by the most it can be.
fn ranked(p: &[f64], came: usize) -> f64 {
    let (mut below, mut sum) = (0.0, 0.0);
    for (bin, p) in p.iter().enumerate().take(p.len() - 1) {
        below += p;
        let step = if came <= bin { 1.0 } else { 0.0 };
        sum += (below - step) * (below - step);
    }
    sum / (p.len() - 1) as f64
}

/// Most moments after which a correction counts.
pub const WITHIN_MAX: u64 = 1000;

/// A disagreement of fewer bins of curvature is within what hands on a wheel do by themselves: half a degree of it a bin.
const WAY_MIN: usize = 4;

/// A disagreement that the driver ended by coming towards what the policy had proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    /// The moment of the disagreement: what he did there he took back.
    pub then: u64,
    /// The moment at which he had come half way.
    pub now: u64,
}

/// Looks for corrections: after a disagreement the driver comes back towards what the policy had proposed.
///
/// The driver did one thing, the policy held another for right, at least four bins of curvature from it, and within a few seconds
/// the driver was at least half way there: the policy saw something earlier. What he then does gets more attention, and what he took back gets none.
#[derive(Clone, Debug)]
pub struct Corrections {
    within: u64,
    /// Disagreements that may still be followed by a correction: moment, driver's bin, proposed bin of the curvature.
    open: VecDeque<(u64, usize, usize)>,
}

impl Corrections {
    /// Corrections within so many moments of a disagreement, at most [`WITHIN_MAX`].
    #[must_use]
    pub fn new(within: u64) -> Self {
        let within = within.min(WITHIN_MAX);
        Self { within, open: VecDeque::with_capacity(within as usize + 2) }
    }

    /// A moment came, in which the driver did `did`; of its own disagreement, if it had one that is unusual, the bin of the
    /// curvature that the policy proposed. The oldest disagreement that the driver has corrected by now.
    ///
    /// Nothing is remembered longer than it may count, so memory is bounded, and none is allocated here.
    pub fn handle_moment(
        &mut self,
        index: u64,
        did: &Did,
        proposed: Option<usize>,
    ) -> Option<Correction> {
        while self.open.front().is_some_and(|(at, ..)| index.saturating_sub(*at) > self.within) {
            self.open.pop_front();
        }
        let curvature = did.curvature?;
        let half_way = |&(_, then, proposed): &(u64, usize, usize)| {
            let (way, gone) = (proposed.abs_diff(then), curvature.abs_diff(then));
            let towards = (proposed > then) == (curvature > then);
            towards && 2 * gone >= way
        };
        let corrected = self.open.iter().position(half_way);
        let corrected = corrected.and_then(|place| self.open.remove(place));
        let corrected = corrected.map(|(then, ..)| Correction { then, now: index });
        let is_apart = |proposed: &usize| proposed.abs_diff(curvature) >= WAY_MIN;
        if let Some(proposed) = proposed.filter(is_apart) {
            self.open.push_back((index, curvature, proposed));
        }
        corrected
    }

    /// Nothing that comes follows what was.
    pub fn handle_gap(&mut self) {
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(curvature: usize, acceleration: usize) -> Did {
        Did { curvature: Some(curvature), acceleration: Some(acceleration) }
    }

    fn sure(bin: usize) -> Opinion {
        let mut logits = vec![0.0; crate::grid::BINS];
        logits[bin] = 60.0;
        Opinion::read(&Reading::Grid, &logits).unwrap()
    }

    fn steering() -> Reading {
        Reading::Steering(Steering {
            field: Field::SteeringDeg,
            scale: -2.0,
            geometry: Geometry::new(2.7, 15.0).unwrap(),
            width_per_m: 0.002,
        })
    }

    #[test]
    fn an_opinion_that_was_right_is_no_distance_and_no_nats() {
        let at = did(12, 7);
        let opinion = sure(at.bin().unwrap());
        assert!(opinion.distance(&at).unwrap() < 1e-12);
        assert!(opinion.nats(&at).unwrap() < 1e-9);
    }

    #[test]
    fn who_is_sure_of_a_bin_is_as_far_apart_as_from_a_driver_who_did_it() {
        let (one, other) = (did(12, 7), did(20, 3));
        let (here, there) = (sure(one.bin().unwrap()), sure(other.bin().unwrap()));
        assert_eq!(here.apart(&here), 0.0);
        assert!((here.apart(&there) - there.distance(&one).unwrap()).abs() < 1e-9);
        let steers = Opinion { accelerates: false, ..there };
        assert!((here.apart(&steers) - 8.0 / 60.0).abs() < 1e-9, "the curvature alone");
    }

    #[test]
    fn distance_grows_with_the_bins_between_and_is_at_most_one() {
        let opinion = sure(did(30, 10).bin().unwrap());
        let apart = |bins: usize| opinion.distance(&did(30 + bins, 10)).unwrap();
        assert!((apart(1) - 0.5 / 60.0).abs() < 1e-9, "one step of sixty on one of two axes");
        assert!((apart(6) / apart(1) - 6.0).abs() < 1e-6);
        let farthest = sure(0).distance(&did(60, 20)).unwrap();
        assert!((farthest - 1.0).abs() < 1e-9);
    }

    /// Proper: nobody does better by another opinion than by the true chances.
    #[test]
    fn no_opinion_has_a_smaller_mean_distance_than_the_true_chances() {
        let truth = Opinion::around(0.003, 0.004);
        let chances = truth.actions.curvature();
        let mean = |opinion: &Opinion| -> f64 {
            let of = |bin| Did { curvature: Some(bin), acceleration: None };
            chances.iter().enumerate().map(|(bin, p)| p * opinion.distance(&of(bin)).unwrap()).sum()
        };
        let best = mean(&truth);
        for (middle, width) in [(0.003, 0.003), (0.003, 0.006), (0.001, 0.004), (0.004, 0.004)] {
            assert!(mean(&Opinion::around(middle, width)) > best, "{middle} {width}");
        }
    }

    #[test]
    fn only_the_axes_that_both_speak_of_count() {
        let grid = sure(did(30, 10).bin().unwrap());
        let curvature_alone = Did { curvature: Some(33), acceleration: None };
        assert!((grid.distance(&curvature_alone).unwrap() - 3.0 / 60.0).abs() < 1e-9);
        let steers = Opinion::around(0.0, 0.001);
        assert_eq!(steers.distance(&did(33, 0)), steers.distance(&did(33, 20)));
        assert_eq!(steers.nats(&did(33, 0)), steers.nats(&curvature_alone));
        let nothing = Did { curvature: None, acceleration: Some(3) };
        assert_eq!((steers.distance(&nothing), steers.nats(&nothing)), (None, None));
    }

    #[test]
    fn a_steering_angle_is_told_on_the_grid_by_unit_sign_and_geometry() {
        // 20° to the right of the model's sign: 40° to the left of ours.
        let opinion = Opinion::read(&steering(), &[-20.0]).unwrap();
        let want = Geometry::new(2.7, 15.0).unwrap().curvature_per_m(40f64.to_radians());
        let bin = ActionGrid::v1().curvature_bin(want);
        assert!(want > 0.0);
        assert_eq!(opinion.curvature_median(), bin);
        assert!(!opinion.accelerates);
        let far = Did { curvature: Some(0), acceleration: None };
        assert!(opinion.nats(&far).unwrap() < 12.0, "nothing is impossible");
        assert_eq!(Opinion::read(&steering(), &[f32::NAN]), None);
        assert_eq!(Opinion::read(&steering(), &[]), None);
        assert_eq!(Opinion::read(&Reading::Grid, &[0.0; 3]), None);
    }

    #[test]
    fn a_mirrored_road_is_steered_the_other_way() {
        let geometry = Geometry::default();
        let motion = |rad| Motion {
            steering_rad: Some(rad),
            acceleration_m_s2: Some(-1.0),
            ..Motion::default()
        };
        let left = Did::of(&motion(0.4), &geometry);
        assert_eq!(left.mirrored(), Did::of(&motion(-0.4), &geometry));
        assert_eq!(Did::of(&Motion::default(), &geometry), Did::default());
    }

    #[test]
    fn a_driver_who_comes_half_way_to_the_proposal_has_corrected() {
        let mut corrections = Corrections::new(30);
        assert_eq!(corrections.handle_moment(0, &did(30, 10), Some(40)), None);
        assert_eq!(corrections.handle_moment(5, &did(34, 10), None), None, "not half way");
        let corrected = Correction { then: 0, now: 10 };
        assert_eq!(corrections.handle_moment(10, &did(35, 10), None), Some(corrected));
        assert_eq!(corrections.handle_moment(11, &did(40, 10), None), None, "once");
    }

    #[test]
    fn what_a_wheel_does_by_itself_is_no_correction() {
        let mut corrections = Corrections::new(30);
        assert_eq!(corrections.handle_moment(0, &did(30, 10), Some(33)), None);
        assert_eq!(corrections.handle_moment(5, &did(33, 10), Some(29)), None, "three bins");
        let corrected = Correction { then: 5, now: 10 };
        assert_eq!(corrections.handle_moment(10, &did(31, 10), None), Some(corrected), "four");
    }

    #[test]
    fn neither_the_other_way_nor_too_late_nor_across_a_gap_is_a_correction() {
        let mut corrections = Corrections::new(30);
        corrections.handle_moment(0, &did(30, 10), Some(40));
        assert_eq!(corrections.handle_moment(10, &did(20, 10), None), None);
        assert_eq!(corrections.handle_moment(31, &did(40, 10), None), None);
        corrections.handle_moment(40, &did(30, 10), Some(40));
        corrections.handle_gap();
        assert_eq!(corrections.handle_moment(41, &did(40, 10), None), None);
    }
}
