//! A policy in a session, and how near to drivers it is.
//!
//! ```text
//! skill = 1 − Σ distance of the policy ÷ Σ distance of 'as often as before'        over the moments of a part
//! ```
//!
//! The distance is [`Opinion::distance`]; 'as often as before' holds every bin for as probable as the driver chose it in the
//! tuning part of the same drive. Beside it stands 'as a moment ago': the driver's last bin, changed as often as it changed from
//! moment to moment in the tuning part. It sees what the driver is doing, which no policy does.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use shoal_hal::{Drive, Part, Span};
use shoal_runtime::engine::{EngineError, Session};

use super::SessionPredictorError;
use super::habits::Habits;
use super::imitation::VARIETY_MIN;
use super::session::check;
use crate::clip::{Footage, to_planes};
use crate::form::{Form, FormError, arrange};
use crate::grid::{self, ACCELERATION_BINS, BINS, CURVATURE_BINS, Distribution, Geometry};
use crate::opinion::{Did, Opinion};
use crate::package::{Description, Layout, Reading};

/// A policy in a [`Session`], one moment at a time.
pub struct PolicyPredictor {
    name: String,
    form: Form,
    session: Box<dyn Session>,
    adapters: usize,
    frames: usize,
    motion: Option<usize>,
    output: usize,
    reading: Reading,
    read: (Layout, [f32; 2]),
    planes: Vec<f32>,
    arranged: Vec<f32>,
    moved: Vec<f32>,
}

impl PolicyPredictor {
    /// Binds a session of a model that was pinned to one sample.
    ///
    /// # Errors
    /// [`SessionPredictorError`], naming the tensor.
    pub fn new(
        session: Box<dyn Session>,
        package: &Description,
    ) -> Result<Self, SessionPredictorError> {
        PolicyPredictor::of_many(session, package, NonZeroUsize::MIN)
    }

    /// Binds a session of a graph that runs so many adapters at once (see [`shoal_runtime::many`]), each of which acts on the same
    /// moment.
    ///
    /// # Errors
    /// As [`PolicyPredictor::new`].
    pub fn of_many(
        session: Box<dyn Session>,
        package: &Description,
        adapters: NonZeroUsize,
    ) -> Result<Self, SessionPredictorError> {
        let adapters = adapters.get();
        let form = Form::of_policy(package)?;
        let seen = package.frames.as_ref().ok_or(FormError::NoFrames)?;
        let action = package.action.as_ref().ok_or(FormError::NoPolicy)?;
        let binding = SessionPredictorError::Binding;
        let frames = session.input_index(&seen.input).map_err(binding)?;
        check(&session.inputs()[frames], "the frames", 1, form.frames_len())?;
        let motion = match package.signals.as_ref().filter(|_| !form.motion.is_empty()) {
            Some(signals) => {
                let input = session.input_index(&signals.input).map_err(binding)?;
                check(&session.inputs()[input], "the motion", 1, form.motion.len())?;
                Some(input)
            }
            None => None,
        };
        let output = session.output_index(&action.output).map_err(binding)?;
        let values = match &action.reading {
            Reading::Grid => BINS,
            Reading::Steering(_) | Reading::Value { .. } | Reading::Logits { .. } => {
                (session.outputs()[output].ty.values() / adapters).max(1)
            }
        };
        check(&session.outputs()[output], "the action", adapters, values)?;
        Ok(PolicyPredictor {
            name: package.name.clone(),
            planes: vec![0.0; form.frames_len()],
            arranged: vec![0.0; form.frames_len()],
            moved: vec![0.0; form.motion.len()],
            form,
            session,
            adapters,
            frames,
            motion,
            output,
            reading: action.reading.clone(),
            read: (seen.layout, seen.range),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has opinions of the acceleration, or of the curvature alone.
    #[must_use]
    pub fn accelerates(&self) -> bool {
        match self.reading {
            Reading::Grid => true,
            Reading::Steering(_) | Reading::Value { .. } | Reading::Logits { .. } => false,
        }
    }

    /// What it reads.
    #[must_use]
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// How many adapters it acts with at once, each on the same moment.
    #[must_use]
    pub fn adapters(&self) -> usize {
        self.adapters
    }

    /// What the policy would do, of frames in planes (`[frames, 3, height, width]` in `[0, 1]`, oldest first) and the motion
    /// (`[rows, columns]`); `None` if its output is not finite. Of several adapters what it would do with the first.
    ///
    /// # Errors
    /// [`EngineError`] if the engine that runs it fails, or the lengths are others.
    pub fn act(&mut self, frames: &[f32], motion: &[f32]) -> Result<Option<Opinion>, EngineError> {
        self.look(frames, motion)?;
        self.opinion(0)
    }

    /// The same at row `at` of footage, the newest that it sees.
    ///
    /// # Errors
    /// As [`PolicyPredictor::act`].
    /// # Panics
    /// If there are not as many rows before it as the policy reads.
    pub fn act_at(
        &mut self,
        footage: &dyn Footage,
        at: usize,
    ) -> Result<Option<Opinion>, EngineError> {
        self.look_at(footage, at)?;
        self.opinion(0)
    }

    /// The same with every adapter, in their order.
    ///
    /// # Errors
    /// As [`PolicyPredictor::act`].
    /// # Panics
    /// As [`PolicyPredictor::act_at`].
    pub fn act_at_together(
        &mut self,
        footage: &dyn Footage,
        at: usize,
    ) -> Result<Vec<Option<Opinion>>, EngineError> {
        self.look_at(footage, at)?;
        (0..self.adapters).map(|adapter| self.opinion(adapter)).collect()
    }

    /// Runs it on a moment.
    fn look(&mut self, frames: &[f32], motion: &[f32]) -> Result<(), EngineError> {
        let (layout, range) = self.read;
        arrange(frames, self.form.shape, layout, range, &mut self.arranged);
        self.session.write_f32(self.frames, &self.arranged)?;
        if let Some(input) = self.motion {
            self.session.write_f32(input, motion)?;
        }
        self.session.run()
    }

    fn look_at(&mut self, footage: &dyn Footage, at: usize) -> Result<(), EngineError> {
        let (first, size) = (at + 1 - self.form.frames, self.form.shape.bytes());
        let mut planes = std::mem::take(&mut self.planes);
        let mut moved = std::mem::take(&mut self.moved);
        for (frame, planes) in planes.chunks_exact_mut(size).enumerate() {
            to_planes(footage.frame(first + frame), planes);
        }
        self.form.motion.write(|back| footage.motion(at + 1 - back), &mut moved);
        let looked = self.look(&planes, &moved);
        (self.planes, self.moved) = (planes, moved);
        looked
    }

    /// What it says of the moment that it was run on, with this adapter.
    fn opinion(&mut self, adapter: usize) -> Result<Option<Opinion>, EngineError> {
        let said = self.session.output_f32(self.output)?;
        let values = said.len() / self.adapters;
        Ok(Opinion::read(&self.reading, &said[adapter * values..][..values]))
    }
}

/// How near to drivers a policy is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgreementReport {
    /// Version of this form.
    pub schema: u32,
    /// The policy.
    pub policy: String,
    /// The part of every drive.
    pub part: String,
    /// SHA-256 of the grid.
    pub grid: String,
    /// Distance between the axles that turned steering into curvature, m.
    pub wheelbase_m: f64,
    /// Angle of the steering wheel per angle of the road wheels.
    pub steering_ratio: f64,
    /// Every drive, in the order given.
    pub drives: Vec<DriveAgreement>,
    /// Plain mean of the skills of the drives that have one.
    pub skill: Option<f64>,
}

/// One drive of an [`AgreementReport`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriveAgreement {
    /// The drive's name.
    pub drive: String,
    /// Moments that were compared: those whose steering, or acceleration if the policy speaks of it, is known.
    pub moments: usize,
    /// Moments of which the policy's output was not finite.
    pub not_finite: usize,
    /// The policy, then the baselines; none without moments.
    pub predictors: Vec<Agreement>,
}

/// How near to the driver one predictor was on one drive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// What predicted.
    pub predictor: String,
    /// Mean −ln of the probability of the driver's bins, nats; null without bound: one moment was held for impossible.
    pub nats: Option<f64>,
    /// Mean distance, 0 to 1.
    pub distance: f64,
    /// 1 − distance ÷ that of 'as often as before'; null if that was never wrong.
    pub skill: Option<f64>,
}

/// What the driver did in the tuning part: what the baselines know.
#[derive(Default)]
struct Past {
    habits: Habits,
    curvature: Changes<CURVATURE_BINS>,
    acceleration: Changes<ACCELERATION_BINS>,
}

/// How often a bin changed by how much, by N − 1 more than the change.
struct Changes<const N: usize>(Vec<f64>);

impl<const N: usize> Default for Changes<N> {
    /// One count, spread evenly, before any was seen: nothing is impossible.
    fn default() -> Self {
        let changes = 2 * N - 1;
        Changes(vec![1.0 / changes as f64; changes])
    }
}

impl<const N: usize> Changes<N> {
    fn add(&mut self, before: Option<usize>, bin: Option<usize>) {
        if let Some((before, bin)) = before.zip(bin) {
            self.0[bin + N - 1 - before] += 1.0;
        }
    }

    /// As the last bin would change; `often` without one.
    fn after(&self, before: Option<usize>, often: [f64; N]) -> [f64; N] {
        let Some(before) = before else { return often };
        std::array::from_fn(|bin| self.0[bin + N - 1 - before])
    }
}

impl Past {
    fn of(drive: &Drive, spans: &[Span], geometry: &Geometry) -> Self {
        let mut past = Past::default();
        for span in spans {
            let mut before = Did::default();
            for index in span.first..=span.last {
                let did = did(drive, index, geometry);
                past.habits.add(&did, 1.0);
                past.curvature.add(before.curvature, did.curvature);
                past.acceleration.add(before.acceleration, did.acceleration);
                before = did;
            }
        }
        past
    }

    fn after(&self, before: &Did, accelerates: bool) -> Opinion {
        let curvature = self.curvature.after(before.curvature, self.habits.curvature());
        let acceleration = self.acceleration.after(before.acceleration, self.habits.acceleration());
        Opinion { actions: Distribution::from_axes(&curvature, &acceleration), accelerates }
    }
}

fn did(drive: &Drive, index: usize, geometry: &Geometry) -> Did {
    drive.motion(index).map_or(Did::default(), |motion| Did::of(&motion, geometry))
}

/// Compares a policy with the drivers of some drives, moment by moment of one part.
///
/// # Errors
/// [`EngineError`] if the engine that runs it fails.
pub fn agreement(
    policy: &mut PolicyPredictor,
    drives: &[Drive],
    part: Part,
    geometry: &Geometry,
) -> Result<AgreementReport, EngineError> {
    let context = policy.form.context.max(1);
    let mut report = AgreementReport {
        schema: 1,
        policy: policy.name.clone(),
        part: part.name().into(),
        grid: crate::digits::hex(&grid::SHA256),
        wheelbase_m: geometry.wheelbase_m(),
        steering_ratio: geometry.steering_ratio(),
        drives: Vec::new(),
        skill: None,
    };
    let mut varied = Vec::new();
    for drive in drives {
        let split = drive.split(context);
        let past = Past::of(drive, split.spans(Part::Tuning), geometry);
        let of = |span: &Span| (span.first + context - 1..=span.last).collect::<Vec<usize>>();
        let moments: Vec<usize> = split.spans(part).iter().flat_map(of).collect();
        varied.push(past.habits.variety(policy.accelerates()) >= VARIETY_MIN);
        report.drives.push(compare(policy, drive, &moments, &past, geometry)?);
    }
    // As in packs: where a driver does one thing, being nearly right is thousands of times as far as being right.
    let skills = || {
        let counted = report.drives.iter().zip(&varied).filter(|(_drive, varied)| **varied);
        let first = counted.filter_map(|(drive, _varied)| drive.predictors.first());
        first.filter_map(|policy| policy.skill)
    };
    let count = skills().count();
    report.skill = (count > 0).then(|| skills().sum::<f64>() / count as f64);
    Ok(report)
}

fn compare(
    policy: &mut PolicyPredictor,
    drive: &Drive,
    moments: &[usize],
    past: &Past,
    geometry: &Geometry,
) -> Result<DriveAgreement, EngineError> {
    let mut sums = [(0.0, 0.0); 3];
    let (mut compared, mut not_finite) = (0, 0);
    for &at in moments {
        let now = did(drive, at, geometry);
        if now == Did::default() {
            continue;
        }
        let Some(opinion) = policy.act_at(drive, at)? else {
            not_finite += 1;
            continue;
        };
        let before = at.checked_sub(1).map_or(Did::default(), |at| did(drive, at, geometry));
        let accelerates = opinion.accelerates;
        let often = past.habits.often(accelerates);
        let all = [opinion, often, past.after(&before, accelerates)];
        let scores = all.each_ref().map(|one| one.nats(&now).zip(one.distance(&now)));
        let [Some(first), Some(second), Some(third)] = scores else { continue };
        compared += 1;
        for (sum, (nats, distance)) in sums.iter_mut().zip([first, second, third]) {
            *sum = (sum.0 + nats, sum.1 + distance);
        }
    }
    let names = [policy.name.as_str(), "as often as before", "as a moment ago"];
    let mean = |sum: f64| sum / compared as f64;
    let usual = sums[1].1;
    let predictors = names.iter().zip(sums).map(|(name, (nats, distance))| Agreement {
        predictor: (*name).into(),
        nats: Some(mean(nats)).filter(|nats| nats.is_finite()),
        distance: mean(distance),
        skill: (usual > 0.0).then(|| 1.0 - distance / usual),
    });
    Ok(DriveAgreement {
        drive: drive.name.clone(),
        moments: compared,
        not_finite,
        predictors: if compared == 0 { Vec::new() } else { predictors.collect() },
    })
}
