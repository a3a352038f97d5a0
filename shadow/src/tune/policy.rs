//! Tuning of a policy: cross-entropy on the driver's bins, weighted by hindsight.

use std::num::NonZeroUsize;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::Engine;
use shoal_runtime::onnx::Model;

use super::{Steps, Tuning};
use crate::batch::LessonBatch;
use crate::fit::{Extent, FitError, Policy};
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
        let PolicyTuneOptions { samples, learning_rate, warm_up_steps, seed, threads } = *options;
        let batch = LessonBatch::new(Form::of_policy(package)?, samples);
        let extent = Extent::whole(samples);
        let steps = Steps { learning_rate, warm_up_steps, seed, threads, extent, pull: None };
        Tuning::build(model, package, engine, start, batch, steps)
    }
}
