//! Imitation as a term: how near a policy is to drivers whose moments weigh by hindsight.
//!
//! ```text
//! value of a drive = 1 − Σ weight · distance of the policy ÷ Σ weight · distance of 'as often as before'
//! value of a set   = plain mean over its counted drives
//! ```
//!
//! A drive is counted unless its driver does nearly always the same: unless the mean distance of 'as often as before' is below
//! [`VARIETY_MIN`] over all that the pack has of it. There nothing is left to be seen on the road, and the smallest distance is
//! thousands of times that of the habit.
//!
//! The distance is [`Opinion::distance`](crate::opinion::Opinion::distance), on the axes that the policy speaks of. 'As often as
//! before' holds every bin for as probable as the driver chose it over all that the pack has of the drive, each moment by its
//! weight: of all answers that do not look at the road, this one is nearly the best, so a value above 0 was seen on the road. Errors
//! are kept as those of frames are ([`Errors`](super::Errors)), so intervals, paired differences and term values are those of skill.

use shoal_hal::backend::synthetic::Leader;

use super::driving::{DrivingMetric, driving};
use super::policy::PolicyPredictor;
use super::{MeasureError, Measurement};
use crate::batch::HORIZON_S;
use crate::clip::{Footage, Frames};
use crate::grid::Geometry;
use crate::hindsight::{Known, weights};
use crate::opinion::Did;

pub use super::habits::Habits;

/// Drives whose [`Habits::variety`] is below this are listed, not counted. Who is as often in one bin of the curvature as in the next
/// has 0.0042: it tells how narrow a policy's opinion is, not what it looks at.
pub const VARIETY_MIN: f64 = 0.005;

/// What was done in one drive.
#[derive(Clone)]
pub struct DriveActs<'a> {
    /// The drive's name.
    pub name: String,
    /// PSNR of 'nothing moves' over the whole drive, in dB: shown, and of no matter here.
    pub copy_psnr_db: f64,
    /// Of its vehicle.
    pub geometry: Geometry,
    /// What its driver usually does.
    pub habits: &'a Habits,
    /// Its runs of consecutive frames.
    pub runs: Vec<ActedRun<'a>>,
}

/// Consecutive moments of a drive.
#[derive(Clone, Copy)]
pub struct ActedRun<'a> {
    /// Frames and motion.
    pub footage: &'a dyn Footage,
    /// What hindsight gives every frame.
    pub weights: &'a [f32],
    /// Who was ahead at every frame; empty where nobody knows.
    pub leaders: &'a [Option<Leader>],
}

/// Measures a policy on drives, in their order, at every moment with enough frames before it in its run, a weight above 0, and
/// an axis that both driver and policy speak of.
///
/// # Errors
/// [`MeasureError`], naming the drive and the frame of its run.
/// # Panics
/// If a run has not as many weights as frames.
pub fn imitation(
    policy: &mut PolicyPredictor,
    drives: &[DriveActs<'_>],
) -> Result<Measurement, MeasureError> {
    Ok(driving(policy, drives, &[DrivingMetric::Imitation])?.swap_remove(0))
}

/// The habits of who drove some footage, and hindsight's weight of every frame of each: for who measures on what no pack tells.
#[must_use]
pub fn judged(footage: &[Frames], geometry: &Geometry) -> (Habits, Vec<Vec<f32>>) {
    let mut habits = Habits::default();
    let mut all = Vec::with_capacity(footage.len());
    for frames in footage {
        let motion = |at| frames.motion(at).unwrap_or_default();
        let known: Vec<Known> =
            (0..frames.len()).map(|at| Known::of(&motion(at), geometry)).collect();
        let weights = weights(&known, frames.rate_hz(), HORIZON_S);
        for (at, &weight) in weights.iter().enumerate() {
            habits.add(&Did::of(&motion(at), geometry), weight.into());
        }
        all.push(weights);
    }
    (habits, all)
}
