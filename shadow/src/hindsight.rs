//! Hindsight: what came after an action says how much is to be learnt from it.
//!
//! A driver's action is a label, and drivers err: who tailgates and then brakes hard taught nothing good in the seconds
//! before. Every moment is judged by the seconds that follow it, each thing that is known by the worst that came:
//!
//! ```text
//! weight = max(WEIGHT_MIN, Π fit(worst in the horizon; good, bad))
//! fit(x; good, bad) = 1 up to `good`, 0 from `bad` on, a straight line between
//! ```
//!
//! | judged | good | bad | source of `good` |
//! |---|---|---|---|
//! | braking, m/s² | 3.5 | 6 | ISO 15622: the most that adaptive cruise control may brake at speed |
//! | jerk along the path, mean of a second, m/s³ | 2.5 | 7.5 | ISO 15622 |
//! | acceleration across, m/s² | 3 | 6 | UN Regulation No. 79: the most that automated steering may ask for |
//! | jerk across, mean of a second, m/s³ | 5 | 10 | UN Regulation No. 79 (there over half a second) |
//! | time to collision, s | 4 | 1.5 | Minderhoud and Bovy, Accident Analysis and Prevention 33 (2001): 4 s parts the drivers who find themselves in danger from those who don't |
//! | time gap to the vehicle ahead, s | 1 | 0.4 | ISO 15622 lets nobody choose less than 0.8 s |
//! | room to the road's edge, m; none for who leaves his lane | 0.3 | 0 | our choice |
//! | error of the world model ÷ that of a copy, mean | 1 | 2 | our choice: 1 is a model that knows nothing; what it foresaw under the driver's action then did not come true |
//!
//! What nobody knows is not held against the driver: a factor of 1. `bad` is our choice, about twice `good`.

use shoal_hal::Motion;
use shoal_hal::backend::synthetic::{Event, Leader, Truth};

use crate::grid::Geometry;

/// No moment that is known teaches less: so that a log of one bad driver still sums to something.
pub const WEIGHT_MIN: f64 = 0.02;

/// What is known of one moment beside its frame. `None`: nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Known {
    /// Speed, m/s.
    pub speed_m_s: Option<f64>,
    /// Acceleration along the path, m/s².
    pub acceleration_m_s2: Option<f64>,
    /// Curvature of the path, 1/m, left positive.
    pub curvature_per_m: Option<f64>,
    /// Acceleration across the path, m/s², left positive; without it speed² · curvature is taken.
    pub lateral_m_s2: Option<f64>,
    /// Gap to the vehicle ahead, m.
    pub gap_m: Option<f64>,
    /// Its speed, m/s.
    pub leader_m_s: Option<f64>,
    /// Room from the vehicle's side to the nearer edge of the road, m; negative beyond it, and none where the lane is left.
    pub edge_m: Option<f64>,
    /// Error of the world model's prediction of this moment ÷ that of the last frame shown again.
    pub surprise: Option<f64>,
}

impl Known {
    /// What a motion tells.
    #[must_use]
    pub fn of(motion: &Motion, geometry: &Geometry) -> Self {
        Known {
            speed_m_s: motion.speed_m_s.map(f64::from),
            acceleration_m_s2: motion.acceleration_m_s2.map(f64::from),
            curvature_per_m: geometry.curvature_of(motion),
            lateral_m_s2: motion.lateral_acceleration_m_s2.map(f64::from),
            ..Known::default()
        }
    }

    /// The same with what is true of a generated road beside it: who is ahead, and how near the edge is.
    /// A lane that is left is an edge that is reached, however wide the road is beside it.
    #[must_use]
    pub fn beside(self, truth: &Truth) -> Self {
        let left = truth.event == Some(Event::LaneDeparture);
        let edge = f64::from(truth.edges_m[0].min(truth.edges_m[1]));
        Known {
            gap_m: truth.leader.map(|leader| f64::from(leader.gap_m)),
            leader_m_s: truth.leader.map(|leader| f64::from(leader.speed_m_s)),
            edge_m: Some(if left { 0.0 } else { edge }),
            ..self
        }
    }

    /// Who is ahead, if anyone is known to be.
    #[must_use]
    pub fn leader(&self) -> Option<Leader> {
        let (gap_m, speed_m_s) = (self.gap_m? as f32, self.leader_m_s? as f32);
        Some(Leader { gap_m, speed_m_s })
    }

    fn lateral(&self) -> Option<f64> {
        self.lateral_m_s2.or_else(|| {
            let (speed, curvature) = (self.speed_m_s?, self.curvature_per_m?);
            Some(speed * speed * curvature)
        })
    }

    /// Seconds until the gap is closed; `None` where it does not close.
    fn collision_s(&self) -> Option<f64> {
        let closing = self.speed_m_s? - self.leader_m_s?;
        let gap = self.gap_m?;
        (closing > 0.0).then(|| gap.max(0.0) / closing)
    }

    fn time_gap_s(&self) -> Option<f64> {
        let speed = self.speed_m_s.filter(|speed| *speed > 1.0)?;
        Some(self.gap_m?.max(0.0) / speed)
    }
}

/// The weight of every moment, `[WEIGHT_MIN, 1]`, by what came in the `horizon_s` seconds from it on.
///
/// Moments follow each other at `rate_hz`. Near the end less is known of what came, and less is held against it.
///
/// # Panics
/// If the rate or the horizon is not a positive number.
#[must_use]
pub fn weights(moments: &[Known], rate_hz: f64, horizon_s: f64) -> Vec<f32> {
    assert!(rate_hz.is_finite() && rate_hz > 0.0, "rate {rate_hz} Hz");
    assert!(horizon_s.is_finite() && horizon_s > 0.0, "horizon {horizon_s} s");
    (0..moments.len()).filter_map(|at| weight(&moments[at..], rate_hz, horizon_s)).collect()
}

/// The same of the first of these moments alone; `None`: there is none.
pub(crate) fn weight(came: &[Known], rate_hz: f64, horizon_s: f64) -> Option<f32> {
    let rows = |seconds: f64| ((seconds * rate_hz).round() as usize).max(1);
    let end = (rows(horizon_s) + 1).min(came.len());
    (!came.is_empty()).then(|| judge(&came[..end], rows(1.0)).max(WEIGHT_MIN) as f32)
}

/// The product of all that can be judged.
fn judge(came: &[Known], second: usize) -> f64 {
    let worst = |of: &dyn Fn(&Known) -> Option<f64>| came.iter().filter_map(of).reduce(f64::max);
    let least = |of: &dyn Fn(&Known) -> Option<f64>| came.iter().filter_map(of).reduce(f64::min);
    // The mean of a derivative over a second is the difference over that second.
    let change = |of: &dyn Fn(&Known) -> Option<f64>| {
        let pairs = came.iter().zip(came.iter().skip(second));
        pairs.filter_map(|(now, then)| Some((of(then)? - of(now)?).abs())).reduce(f64::max)
    };
    let surprises = || came.iter().filter_map(|known| known.surprise);
    let count = surprises().count();
    let surprise = (count > 0).then(|| surprises().sum::<f64>() / count as f64);
    let along = |known: &Known| known.acceleration_m_s2;
    [
        fit(worst(&|known| Some(-known.acceleration_m_s2?)), 3.5, 6.0),
        fit(change(&along), 2.5, 7.5),
        fit(worst(&|known| Some(known.lateral()?.abs())), 3.0, 6.0),
        fit(change(&Known::lateral), 5.0, 10.0),
        fit(least(&Known::collision_s).map(|s| -s), -4.0, -1.5),
        fit(least(&Known::time_gap_s).map(|s| -s), -1.0, -0.4),
        fit(least(&|known| known.edge_m).map(|m| -m), -0.3, 0.0),
        fit(surprise, 1.0, 2.0),
    ]
    .into_iter()
    .product()
}

/// 1 up to `good`, 0 from `bad` on; 1 where nothing is known.
fn fit(value: Option<f64>, good: f64, bad: f64) -> f64 {
    value.map_or(1.0, |value| ((bad - value) / (bad - good)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f64 = 10.0;
    const HORIZON: f64 = 3.0;

    /// Ten seconds at 20 m/s, straight on, two seconds behind one as fast.
    fn calm() -> Vec<Known> {
        let moment = Known {
            speed_m_s: Some(20.0),
            acceleration_m_s2: Some(0.0),
            curvature_per_m: Some(0.0),
            gap_m: Some(40.0),
            leader_m_s: Some(20.0),
            edge_m: Some(1.0),
            surprise: Some(0.6),
            ..Known::default()
        };
        vec![moment; 100]
    }

    fn judged(moments: &[Known]) -> Vec<f32> {
        weights(moments, RATE, HORIZON)
    }

    #[test]
    fn calm_driving_teaches_in_full() {
        assert_eq!(judged(&calm()), vec![1.0; 100]);
    }

    #[test]
    fn what_is_not_known_is_not_held_against_the_driver() {
        assert_eq!(judged(&[Known::default(); 40]), vec![1.0; 40]);
    }

    /// The moments before it are to blame, those after it are not.
    #[test]
    fn a_harsh_brake_after_tailgating_takes_the_seconds_before_it() {
        let mut moments = calm();
        for moment in &mut moments[50..80] {
            (moment.gap_m, moment.leader_m_s) = (Some(8.0), Some(19.0)); // 0.4 s behind.
        }
        for moment in &mut moments[70..80] {
            (moment.acceleration_m_s2, moment.leader_m_s) = (Some(-7.0), Some(12.0));
        }
        let weights = judged(&moments);
        assert_eq!(weights[..20], [1.0; 20][..], "more than the horizon before it");
        assert_eq!(weights[20..80], [WEIGHT_MIN as f32; 60][..]);
        assert_eq!(weights[80..], [1.0; 20][..]);
    }

    #[test]
    fn each_thing_alone_lowers_the_weight_and_more_of_it_lowers_it_more() {
        let with = |change: &dyn Fn(&mut Known)| {
            let mut moments = calm();
            change(&mut moments[50]);
            judged(&moments)[30]
        };
        type Change<'a> = &'a dyn Fn(&mut Known);
        let cases: [(&str, Change<'_>, Change<'_>); 6] = [
            ("across", &|m| m.lateral_m_s2 = Some(4.0), &|m| m.lateral_m_s2 = Some(5.0)),
            ("bend", &|m| m.curvature_per_m = Some(0.01), &|m| m.curvature_per_m = Some(0.0125)),
            ("collision", &|m| m.leader_m_s = Some(8.0), &|m| m.leader_m_s = Some(1.0)),
            ("time gap", &|m| m.gap_m = Some(16.0), &|m| m.gap_m = Some(12.0)),
            ("edge", &|m| m.edge_m = Some(0.2), &|m| m.edge_m = Some(0.1)),
            ("jerk", &|m| m.acceleration_m_s2 = Some(3.0), &|m| m.acceleration_m_s2 = Some(4.0)),
        ];
        for (what, some, more) in cases {
            let (some, more) = (with(some), with(more));
            assert!(1.0 > some && some > more && more > WEIGHT_MIN as f32, "{what}: {some} {more}");
        }
    }

    #[test]
    fn who_leaves_his_lane_taught_nothing_in_the_seconds_before_however_wide_the_road_is() {
        let truth = |at: usize| Truth {
            offset_m: if at == 60 { 1.9 } else { 0.0 },
            lane_half_m: 1.8,
            edges_m: [3.0; 2],
            heading_rad: 0.0,
            curvature_ahead_1_m: [0.0; 16],
            speed_m_s: 20.0,
            acceleration_m_s2: 0.0,
            curvature_1_m: 0.0,
            speed_wanted_m_s: 20.0,
            leader: None,
            event: (at == 60).then_some(Event::LaneDeparture),
        };
        let moments: Vec<Known> = (0..100).map(|at| calm()[at].beside(&truth(at))).collect();
        let weights = judged(&moments);
        assert_eq!(weights[..30], [1.0; 30][..], "more than the horizon before it");
        assert_eq!(weights[30..=60], [WEIGHT_MIN as f32; 31][..]);
        assert_eq!(weights[61..], [1.0; 39][..]);
    }

    #[test]
    fn a_world_that_did_not_come_as_foreseen_lowers_the_weight() {
        let foreseen = |surprise| {
            let mut moments = calm();
            moments.iter_mut().for_each(|moment| moment.surprise = Some(surprise));
            judged(&moments)[0]
        };
        assert_eq!(foreseen(0.9), 1.0);
        assert!((foreseen(1.5) - 0.5).abs() < 1e-6);
        assert_eq!(foreseen(2.5), WEIGHT_MIN as f32);
    }

    #[test]
    fn a_leader_that_draws_away_and_one_that_stands_with_us_are_no_danger() {
        let mut moments = calm();
        moments[50].leader_m_s = Some(30.0);
        (moments[60].speed_m_s, moments[60].leader_m_s, moments[60].gap_m) =
            (Some(0.0), Some(0.0), Some(2.0));
        // Nor is standing still in one moment a way to drive: only what is judged here counts.
        assert!(judged(&moments).iter().all(|weight| *weight == 1.0));
    }

    #[test]
    fn a_motion_tells_its_curvature_by_the_geometry() {
        let motion = Motion { speed_m_s: Some(10.0), steering_rad: Some(0.3), ..Motion::default() };
        let geometry = Geometry::new(2.5, 15.0).unwrap();
        let known = Known::of(&motion, &geometry);
        assert_eq!(known.curvature_per_m, Some(geometry.curvature_per_m(f64::from(0.3_f32))));
        assert!((known.lateral().unwrap() - 100.0 * known.curvature_per_m.unwrap()).abs() < 1e-12);
    }
}
