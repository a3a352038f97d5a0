//! Tuning of a policy: cross-entropy on the driver's bins, weighted by hindsight.

use std::num::NonZeroUsize;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::Engine;
use shoal_runtime::onnx::Model;

use super::{Steps, Tuning, Whole};
use crate::batch::LessonBatch;
use crate::fit::{Extent, FitError, Planned, Policy, Trained, plan, profile_of};
use crate::form::Form;
use crate::package::Description;

/// How an adapter of a policy is tuned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolicyTuneOptions {
    /// Samples of a batch.
    pub samples: usize,
    /// AdamW's highest step size.
    pub learning_rate: f64,
    /// Steps until it is reached.
    pub warm_up_steps: u64,
    /// Seed of the factors' start values and of every batch.
    pub seed: u64,
    /// Threads of the engine.
    pub threads: NonZeroUsize,
    /// Parts and segments, as [`TuneOptions`](super::TuneOptions) has them.
    pub parts: usize,
    /// As [`TuneOptions`](super::TuneOptions) has them.
    pub segments: usize,
    /// Whether A stays where it starts, as [`TuneOptions`](super::TuneOptions) has it.
    pub frozen_a: bool,
    /// Share of what goes into A that a step drops, as [`TuneOptions`](super::TuneOptions) has it.
    pub dropout: f64,
}

impl Default for PolicyTuneOptions {
    /// Recipe R's step size; twice its samples, because a label is one number where a frame is thousands.
    fn default() -> Self {
        PolicyTuneOptions {
            samples: 16,
            learning_rate: 3e-3,
            warm_up_steps: 5,
            seed: 0,
            threads: NonZeroUsize::MIN,
            parts: 1,
            segments: 1,
            frozen_a: false,
            dropout: 0.0,
        }
    }
}

impl Tuning<Policy> {
    /// As for a camera world model, with batches of [`Lessons`](crate::batch::Lessons).
    ///
    /// # Errors
    /// [`FitError`]; that `start` is of another layout shows as a start of the wrong length.
    pub fn new(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        start: Option<&Adapter>,
        options: &PolicyTuneOptions,
    ) -> Result<Self, FitError> {
        let (batch, steps) = begin(package, options)?;
        Tuning::build(model, package, engine, start, batch, steps)
    }

    /// Full tuning, as [`Tuner::whole`](super::Tuner::whole) has it.
    ///
    /// # Errors
    /// [`FitError`].
    pub fn whole(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        options: &PolicyTuneOptions,
    ) -> Result<Whole<Policy>, FitError> {
        let (batch, steps) = begin(package, options)?;
        Whole::build(model, package, engine, batch, steps)
    }

    /// What a step of these options takes, as [`Tuner::within`](super::Tuner::within) has it.
    ///
    /// # Errors
    /// As there.
    pub fn within(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        options: &PolicyTuneOptions,
        limit: u64,
    ) -> Result<Planned, FitError> {
        let of = Trained::Factors { frozen_a: options.frozen_a, dropout: options.dropout > 0.0 };
        let graph = (profile_of(engine), of);
        plan::<Policy>(model, package, graph, extent_of(options), limit)
    }

    /// As [`PolicyTuner::within`](super::PolicyTuner::within), of full tuning.
    ///
    /// # Errors
    /// As there.
    pub fn whole_within(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        options: &PolicyTuneOptions,
        limit: u64,
    ) -> Result<Planned, FitError> {
        let graph = (profile_of(engine), Trained::Weights);
        plan::<Policy>(model, package, graph, extent_of(options), limit)
    }
}

/// Room for a batch, and how steps are taken.
fn begin(
    package: &Description,
    options: &PolicyTuneOptions,
) -> Result<(LessonBatch, Steps), FitError> {
    let PolicyTuneOptions { samples, learning_rate, warm_up_steps, seed, threads, .. } = *options;
    let PolicyTuneOptions { frozen_a, dropout, .. } = *options;
    let batch = LessonBatch::new(Form::of_policy(package)?, samples);
    let (extent, pull) = (extent_of(options), None);
    let steps =
        Steps { learning_rate, warm_up_steps, seed, threads, extent, pull, frozen_a, dropout };
    Ok((batch, steps))
}

fn extent_of(options: &PolicyTuneOptions) -> Extent {
    let PolicyTuneOptions { samples, parts, segments, .. } = *options;
    Extent { samples, ahead: 1, parts, segments }
}
