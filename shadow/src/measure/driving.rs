//! What a policy proposes at logged moments, measured: imitation, and terms of safety and progress that a pack can carry.
//!
//! A proposal is not driven: nothing comes of it, so it is followed on paper. From the logged speed v₀ and gap g₀ the proposed
//! acceleration a is held for [`HORIZON_S`], while who is ahead moves as he did in the log (speed u):
//!
//! ```text
//! vₖ₊₁ = max(0, vₖ + a·Δt)        gₖ₊₁ = gₖ + (uₖ + uₖ₊₁)·Δt/2 − (vₖ + vₖ₊₁)·Δt/2
//! dₖ   = max(0, 1 − TTCₖ ÷ 4 s, 1 − (gₖ ÷ vₖ) ÷ 0.8 s), 1 from where gₖ ≤ 0 on         TTC = g ÷ (v − u) where it closes
//! distance = 1 − Σ meanₖ dₖ² ÷ Σ of the same with 2 m/s² held, over moments of all drives where that is above 0
//! comfort  = 1 − 2 · mean over moments of min(1, max(0, D² − D²_driver))
//!            D of the proposals a and v²·κ as in term::comfort, D_driver of what the driver did at the same moment (no unit)
//! progress = 1 − Σ (s(2 m/s²) − s(a)) ÷ Σ (s(2 m/s²) − s of the driver)          s: way of the same seconds
//! ```
//!
//! Every moment counts, also those that hindsight gives no weight. Distance is 0 for who always accelerates as hard as comfort
//! allows, and 1 for who is never in danger; what is dangerous whatever is done is so for every policy alike. Progress is 0 for
//! who gets as far as the drivers and 1 for who always accelerates. A policy that says nothing of the acceleration holds the speed.
//! Comfort is 1 for who asks for no more than the driver did: a bend is felt by whoever takes it, and who goes straight on there has
//! nothing for it (decision 92). What nobody knows of the driver is taken for calm.
//!
//! Errors are kept as those of frames are (of comfort ½ for what the copy errs): intervals and paired differences are those of
//! skill.
//!
//! # Source
//! 4 s: van der Horst and Hogema (see [`crate::term`]); 0.8 s: ISO 15622:2018, the least time gap that may be chosen; the
//! bounds of comfort: ISO 15622 and UN R79 as in [`crate::term`].

use shoal_hal::backend::synthetic::Leader;
use shoal_runtime::engine::EngineError;

use super::imitation::{ActedRun, DriveActs, VARIETY_MIN};
use super::policy::PolicyPredictor;
use super::{Blocks, DriveMeasurement, Errors, MeasureError, Measurement, check_form};
use crate::batch::HORIZON_S;
use crate::clip::Footage;
use crate::grid::{Action, Geometry};
use crate::opinion::Did;
use crate::term::{CONFLICT_S, Moved, discomfort};

/// The least time gap that adaptive cruise control may keep, s.
const TIME_GAP_S: f64 = 0.8;
/// Below this speed a time gap says nothing, m/s.
const GAP_SPEED_MIN_M_S: f64 = 1.0;
/// The farthest is with this acceleration, m/s²: the most of comfort.
const DRIVE_M_S2: f64 = 2.0;
/// What the copy errs of comfort, which is compared with nobody.
const HALF: f64 = 0.5;

/// What is measured of a policy on a pack of imitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrivingMetric {
    /// Nearness to what the driver did, weighted by hindsight: [`super::imitation`].
    Imitation,
    /// Forces and jerk of what is proposed, beyond those of the driver at that moment.
    Comfort,
    /// Danger that proposals lead to behind who is ahead; for packs that tell of him.
    Distance,
    /// How far proposals lead.
    Progress,
}

impl DrivingMetric {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Imitation, Self::Comfort, Self::Distance, Self::Progress];

    /// Its name in files and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Imitation => "imitation",
            Self::Comfort => "comfort",
            Self::Distance => "distance",
            Self::Progress => "progress",
        }
    }
}

/// What a policy proposes at one moment, and how far that is from the driver.
#[derive(Clone, Copy, Debug)]
struct Proposed {
    action: Action,
    /// Of the opinion and of the driver's habits; `None` where they speak of different axes.
    distance: Option<(f64, f64)>,
}

/// Measures a policy on drives, once, by each of these metrics: one measurement each, in their order.
///
/// # Errors
/// [`MeasureError`], naming the drive and the frame of its run.
/// # Panics
/// If a run has not as many weights as frames, or the policy acts with several adapters: see [`driving_together`].
pub fn driving(
    policy: &mut PolicyPredictor,
    drives: &[DriveActs<'_>],
    metrics: &[DrivingMetric],
) -> Result<Vec<Measurement>, MeasureError> {
    assert_eq!(policy.adapters(), 1, "one measurement is of one adapter");
    Ok(driving_together(policy, drives, metrics)?.swap_remove(0))
}

/// The same of every adapter that a policy acts with, in their order.
///
/// Each is what [`driving`] gives of a policy with that adapter alone, but for the rounding of an engine that computes them
/// together.
///
/// # Errors
/// As [`driving`].
/// # Panics
/// If a run has not as many weights as frames.
pub fn driving_together(
    policy: &mut PolicyPredictor,
    drives: &[DriveActs<'_>],
    metrics: &[DrivingMetric],
) -> Result<Vec<Vec<Measurement>>, MeasureError> {
    let of_one = Measurement { predictor: policy.name().into(), drives: Vec::new() };
    let mut all = vec![vec![of_one; metrics.len()]; policy.adapters()];
    let context = policy.form().context.max(1) - 1;
    for drive in drives {
        let none = vec![(Errors::default(), Blocks::default()); metrics.len()];
        let mut errors = vec![none; policy.adapters()];
        for (piece, run) in drive.runs.iter().enumerate() {
            let proposed = proposals(policy, drive, run, metrics)?;
            for (proposed, errors) in proposed.iter().zip(&mut errors) {
                for (metric, errors) in metrics.iter().zip(errors) {
                    let error = |at| error(*metric, (run, &drive.geometry), proposed, at);
                    append(errors, (run, piece), context, error);
                }
            }
        }
        for (all, errors) in all.iter_mut().zip(errors) {
            for ((metric, measured), (next, _)) in metrics.iter().zip(all).zip(errors) {
                close(*metric, (drive, policy.accelerates()), measured, next);
            }
        }
    }
    Ok(all)
}

/// Adds what is erred at the moments of a run.
fn append(
    (errors, blocks): &mut (Errors, Blocks),
    (run, piece): (&ActedRun<'_>, usize),
    context: usize,
    error: impl Fn(usize) -> Option<(f64, f64)>,
) {
    for at in context..run.footage.len() {
        let Some((model, copy)) = error(at) else { continue };
        let second = ((at - context) as f64 / run.footage.rate_hz()) as usize;
        errors.model.push(model);
        errors.copy.push(copy);
        errors.block.push(blocks.number((piece, 0, second)));
    }
}

/// Adds a drive whose moments are all there.
fn close(
    metric: DrivingMetric,
    (drive, accelerates): (&DriveActs<'_>, bool),
    measured: &mut Measurement,
    next: Errors,
) {
    let counted = match metric {
        DrivingMetric::Imitation => drive.habits.variety(accelerates) >= VARIETY_MIN,
        DrivingMetric::Distance => return pool(measured, next),
        DrivingMetric::Comfort | DrivingMetric::Progress => true,
    };
    let (name, copy_psnr_db) = (drive.name.clone(), drive.copy_psnr_db);
    let rollout = Errors::default();
    measured.drives.push(DriveMeasurement { name, copy_psnr_db, counted, next, rollout });
}

/// Adds a drive's moments to those of all: danger is rare, and a drive by itself would often have none.
fn pool(measured: &mut Measurement, more: Errors) {
    if measured.drives.is_empty() {
        measured.drives.push(DriveMeasurement {
            name: "all".into(),
            copy_psnr_db: 0.0,
            counted: true,
            next: Errors::default(),
            rollout: Errors::default(),
        });
    }
    for DriveMeasurement { next, .. } in measured.drives.iter_mut().take(1) {
        let first = next.block.last().map_or(0, |last| last + 1);
        next.model.extend(&more.model);
        next.copy.extend(&more.copy);
        next.block.extend(more.block.iter().map(|block| first + block));
    }
}

/// What the policy proposes at every frame of a run, by adapter; `None` where it is not asked: too early in the run, or nothing of
/// the moment would be measured.
fn proposals(
    policy: &mut PolicyPredictor,
    drive: &DriveActs<'_>,
    run: &ActedRun<'_>,
    metrics: &[DrivingMetric],
) -> Result<Vec<Vec<Option<Proposed>>>, MeasureError> {
    let ActedRun { footage, weights, .. } = *run;
    assert_eq!(footage.len(), weights.len(), "a weight for every frame");
    check_form(&drive.name, footage, policy.form().context, policy.form())?;
    let first = policy.form().context.max(1) - 1;
    let imitates_alone = metrics.iter().all(|metric| *metric == DrivingMetric::Imitation);
    let mut proposed = vec![vec![None; footage.len()]; policy.adapters()];
    for (at, &weight) in weights.iter().enumerate().skip(first) {
        let motion = footage.motion(at);
        let did = motion.map_or(Did::default(), |motion| Did::of(&motion, &drive.geometry));
        let compared = weight > 0.0 && did != Did::default();
        if imitates_alone && !compared {
            continue;
        }
        let failed = |source: EngineError| MeasureError::Predict {
            drive: drive.name.clone(),
            first: at,
            source: Box::new(source),
        };
        let usual = drive.habits.often(policy.accelerates()).distance(&did);
        let opinions = policy.act_at_together(footage, at).map_err(failed)?;
        for (proposed, opinion) in proposed.iter_mut().zip(opinions) {
            let opinion = opinion
                .ok_or_else(|| MeasureError::NotANumber { drive: drive.name.clone(), first: at })?;
            let mut action = opinion.actions.decided();
            if !opinion.accelerates {
                action.acceleration_m_s2 = 0.0;
            }
            let distance = opinion.distance(&did).zip(usual).filter(|_| compared);
            proposed[at] = Some(Proposed { action, distance });
        }
    }
    Ok(proposed)
}

/// What the model errs at a moment and what the copy does; `None`: the moment is not measured.
fn error(
    metric: DrivingMetric,
    (run, geometry): (&ActedRun<'_>, &Geometry),
    proposed: &[Option<Proposed>],
    at: usize,
) -> Option<(f64, f64)> {
    let now = (*proposed.get(at)?)?;
    match metric {
        DrivingMetric::Imitation => {
            let weight = f64::from(*run.weights.get(at)?);
            now.distance.map(|(own, usual)| (weight * own, weight * usual))
        }
        DrivingMetric::Comfort => {
            let moved = |at: usize| {
                let speed = speed(run.footage, at)?;
                let Action { curvature_per_m, acceleration_m_s2 } = (*proposed.get(at)?)?.action;
                Some(Moved { acceleration_m_s2, lateral_m_s2: curvature_per_m * speed * speed })
            };
            let driven = |at: usize| Some(driven(run.footage, geometry, at));
            let interval_s = 1.0 / run.footage.rate_hz();
            let felt = discomfort(moved, at, interval_s)?;
            let anyway = discomfort(driven, at, interval_s)?;
            Some(((felt * felt - anyway * anyway).clamp(0.0, 1.0), HALF))
        }
        DrivingMetric::Distance => {
            let leaders = run.leaders.get(at..)?;
            let rate_hz = run.footage.rate_hz();
            let speed = speed(run.footage, at)?;
            let danger = |acceleration| danger(leaders, speed, acceleration, rate_hz);
            let most = danger(DRIVE_M_S2).filter(|most| *most > 0.0)?;
            Some((danger(now.action.acceleration_m_s2)?, most))
        }
        DrivingMetric::Progress => fallen_short(run.footage, at, now.action.acceleration_m_s2),
    }
}

/// How the driver moved, on the axes and by the geometry that a proposal is on; 0 where nobody knows.
fn driven(footage: &dyn Footage, geometry: &Geometry, at: usize) -> Moved {
    let Some(motion) = footage.motion(at) else { return Moved::default() };
    let curvature = geometry.curvature_of(&motion);
    let across = curvature.zip(motion.speed_m_s.map(f64::from));
    Moved {
        acceleration_m_s2: motion.acceleration_m_s2.map_or(0.0, f64::from),
        lateral_m_s2: across.map_or(0.0, |(curvature, speed)| curvature * speed * speed),
    }
}

fn speed(footage: &dyn Footage, at: usize) -> Option<f64> {
    footage.motion(at)?.speed_m_s.map(f64::from)
}

fn horizon(rate_hz: f64) -> usize {
    ((HORIZON_S * rate_hz).round() as usize).max(1)
}

/// Mean square of the danger while `acceleration_m_s2` is held, behind who is ahead as the log tells from now on, row by row; until
/// nobody is. `None` where nobody is ahead now and in the next row.
///
/// # Shapes and units
/// `speed_m_s` now; the result lies in [0, 1].
#[must_use]
pub fn danger(
    leaders: &[Option<Leader>],
    speed_m_s: f64,
    acceleration_m_s2: f64,
    rate_hz: f64,
) -> Option<f64> {
    let seen: Vec<Leader> = leaders.iter().take(horizon(rate_hz) + 1).map_while(|l| *l).collect();
    let mut gap = f64::from(seen.first()?.gap_m);
    let (mut speed, mut sum, mut met) = (speed_m_s, 0.0, gap <= 0.0);
    for pair in seen.windows(2) {
        let [before, now] = pair else { continue };
        let ahead = (f64::from(before.speed_m_s), f64::from(now.speed_m_s));
        let next = (speed + acceleration_m_s2 / rate_hz).max(0.0);
        gap += (ahead.0 + ahead.1 - speed - next) / (2.0 * rate_hz);
        speed = next;
        met |= gap <= 0.0;
        let closing = speed - ahead.1;
        let collision = if closing > 1e-3 { 1.0 - gap / closing / CONFLICT_S } else { 0.0 };
        let near = if speed > GAP_SPEED_MIN_M_S { 1.0 - gap / speed / TIME_GAP_S } else { 0.0 };
        let danger = if met { 1.0 } else { collision.max(near).max(0.0) };
        sum += danger * danger;
    }
    let rows = seen.len().checked_sub(1).filter(|rows| *rows > 0)?;
    Some(sum / rows as f64)
}

/// What is missing to the farthest in the next seconds, by the proposal and by the driver, m. `None` where less than half a second of
/// the log is left.
fn fallen_short(footage: &dyn Footage, at: usize, acceleration_m_s2: f64) -> Option<(f64, f64)> {
    let rate_hz = footage.rate_hz();
    let rows = horizon(rate_hz).min(footage.len().checked_sub(at + 1)?);
    // Half a second tells something; runs of a pack's parts may be short.
    if (2 * rows) as f64 <= rate_hz - 1.0 {
        return None;
    }
    let from = speed(footage, at)?;
    let way = |acceleration: f64| {
        let (mut speed, mut way) = (from, 0.0);
        for _ in 0..rows {
            let next = (speed + acceleration / rate_hz).max(0.0);
            way += (speed + next) / (2.0 * rate_hz);
            speed = next;
        }
        way
    };
    let mut driven = 0.0;
    for row in at..at + rows {
        driven += (speed(footage, row)? + speed(footage, row + 1)?) / (2.0 * rate_hz);
    }
    let farthest = way(DRIVE_M_S2);
    let proposed = way(acceleration_m_s2.min(DRIVE_M_S2));
    Some((farthest - proposed, (farthest - driven).max(0.0)))
}

#[cfg(test)]
mod tests;
