//! Terms of driving: numbers in `[−1, 1]` that say how a drive was, higher is better.
//!
//! | term | from | 1 | −1 |
//! |---|---|---|---|
//! | [`comfort`] | logged motion | never any jerk or force | always at the bounds of comfort, or above |
//! | [`distance`] | logged motion and the gap to the vehicle ahead | never within 4 s of a collision | always about to collide |
//! | [`lane_keeping`] | the closed loop on generated roads | no intervention | someone must take over all the time |
//! | [`controls::Cost::value`] | the closed loop through a learnt vehicle | follows what is asked, without jerk | cost of 200 or more |
//!
//! Values are pure functions of the log. `shoal terms` tells all four. No utility document asks for them: what it can ask for is
//! measured on a pack ([`crate::measure::driving`]), where comfort and distance are of what a policy proposes.

pub mod controls;
pub mod roads;

use shoal_hal::backend::synthetic::Leader;

/// Bounds of comfort: ISO 15622:2018 section 6.4 for the way (deceleration, and jerk of it as the mean of a second); UN
/// Regulation No. 79 (03 series), section 5.6.2.1, for what is across (acceleration, and its jerk as the mean of half a second).
const BRAKE_M_S2: f64 = 3.5;
const DRIVE_M_S2: f64 = 2.0;
const JERK_M_S3: f64 = 2.5;
const LATERAL_M_S2: f64 = 3.0;
const LATERAL_JERK_M_S3: f64 = 5.0;

/// How a vehicle moved at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moved {
    /// Acceleration along the path, m/s².
    pub acceleration_m_s2: f64,
    /// Acceleration across it, m/s².
    pub lateral_m_s2: f64,
}

/// Comfort of a drive of rows `interval_s` apart, in stretches between which the vehicle was put back: nobody felt that. `None` where
/// each has fewer rows than a second.
///
/// ```text
/// dₜ    = max(|a| ÷ (3.5 braking, 2 else), |a_y| ÷ 3, |mean jerk of 1 s| ÷ 2.5, |mean lateral jerk of ½ s| ÷ 5)
/// value = 1 − 2·min(1, meanₜ dₜ²)
/// ```
#[must_use]
pub fn comfort<S: AsRef<[Moved]>>(stretches: &[S], interval_s: f64) -> Option<f64> {
    let felt = stretches.iter().map(AsRef::as_ref).flat_map(|rows| {
        let felt = move |index| discomfort(|at| rows.get(at).copied(), index, interval_s);
        (0..rows.len()).filter_map(felt)
    });
    mean(felt.map(|value| value * value)).map(|square| 1.0 - 2.0 * square.min(1.0))
}

/// dₜ of [`comfort`] at row `index`; `None` within the first second, or where a row that it takes is not known.
pub(crate) fn discomfort(
    row: impl Fn(usize) -> Option<Moved>,
    index: usize,
    interval_s: f64,
) -> Option<f64> {
    // The mean of a derivative is the difference of the ends over the time between.
    let jerk = |seconds: f64, of: fn(&Moved) -> f64| {
        let over = steps(seconds, interval_s);
        let (now, before) = (row(index)?, row(index.checked_sub(over)?)?);
        Some((of(&now) - of(&before)).abs() / (over as f64 * interval_s))
    };
    let Moved { acceleration_m_s2: along, lateral_m_s2 } = row(index)?;
    let bound = if along < 0.0 { BRAKE_M_S2 } else { DRIVE_M_S2 };
    let forces = (along.abs() / bound).max(lateral_m_s2.abs() / LATERAL_M_S2);
    let along = jerk(1.0, |row| row.acceleration_m_s2)? / JERK_M_S3;
    let across = jerk(0.5, |row| row.lateral_m_s2)? / LATERAL_JERK_M_S3;
    Some(forces.max(along).max(across))
}

/// Root mean square of the jerk along and across the path, m/s³, each as the mean of half a second; of stretches as for [`comfort`].
#[must_use]
pub fn jerk_rms<S: AsRef<[Moved]>>(stretches: &[S], interval_s: f64) -> Option<[f64; 2]> {
    let over = steps(0.5, interval_s);
    let rms = |of: fn(&Moved) -> f64| {
        let stretches = stretches.iter().map(AsRef::as_ref);
        let pairs = stretches.flat_map(|rows| rows.iter().zip(rows.iter().skip(over)));
        let squares = pairs.map(|(a, b)| {
            let jerk = (of(b) - of(a)) / (over as f64 * interval_s);
            jerk * jerk
        });
        mean(squares).map(f64::sqrt)
    };
    Some([rms(|row| row.acceleration_m_s2)?, rms(|row| row.lateral_m_s2)?])
}

/// Below this time to collision a moment counts as a conflict, s.
///
/// Source: van der Horst and Hogema, *Time-to-collision and collision avoidance systems*, 1993 (4 s tells drivers who are in danger
/// from those who are in control); its integral over time as a measure: Minderhoud and Bovy, *Extended
/// time-to-collision measures for road traffic safety assessment*, 2001.
pub const CONFLICT_S: f64 = 4.0;

/// Distance kept on a drive: own speed (m/s) and the vehicle ahead, row by row. `None` of no row.
///
/// ```text
/// sₜ    = max(0, 1 − TTCₜ ÷ 4 s), 0 where nothing is ahead or the gap opens
/// value = 1 − 2·√(meanₜ sₜ²)
/// ```
///
/// The square makes a second of danger count, however long the drive is calm.
#[must_use]
pub fn distance(rows: &[(f32, Option<Leader>)]) -> Option<f64> {
    let danger = |&(speed, leader): &(f32, Option<Leader>)| {
        let left = leader.and_then(|leader| leader.time_to_collision_s(speed));
        left.map_or(0.0, |left| (1.0 - f64::from(left) / CONFLICT_S).max(0.0))
    };
    mean(rows.iter().map(|row| danger(row) * danger(row))).map(|square| 1.0 - 2.0 * square.sqrt())
}

/// What one intervention costs, s.
const INTERVENTION_S: f64 = 6.0;

/// Lane keeping of a closed loop of `seconds` in which someone had to take over `interventions` times; `None` of no time.
///
/// ```text
/// autonomy = 1 − 6 s · interventions ÷ seconds
/// value    = 2·max(0, autonomy) − 1
/// ```
///
/// Source: Bojarski et al., *End to End Learning for Self-Driving Cars*, 2016, section 6 (autonomy).
#[must_use]
pub fn lane_keeping(interventions: usize, seconds: f64) -> Option<f64> {
    let autonomy = 1.0 - INTERVENTION_S * interventions as f64 / seconds;
    (seconds > 0.0).then(|| 2.0 * autonomy.max(0.0) - 1.0)
}

fn steps(seconds: f64, interval_s: f64) -> usize {
    ((seconds / interval_s).round() as usize).max(1)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
