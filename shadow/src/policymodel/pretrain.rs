//! Pretraining of a policy on generated roads: what an attentive driver would do, also where he would not have been.

use std::sync::mpsc;

use shoal_runtime::engine::Engine;
use shoal_runtime::onnx::Model;
use shoal_runtime::train::StepReport;

use super::{PolicyClip, PolicySource};
use crate::batch::LessonBatch;
use crate::fit::{FitError, Policy};
use crate::form::Form;
use crate::package::Description;
use crate::pretrain::{PoolOptions, PretrainOptions, whole, write_back};

/// What pretraining a policy tells while it works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PolicyProgress {
    /// The pool is filled: clips made, clips wanted.
    Pool {
        /// Clips there.
        clips: usize,
        /// Clips wanted.
        wanted: usize,
    },
    /// A step was taken.
    Step(StepReport),
}

/// Trains all weights of a policy on clips made by `make`: clip number i is the same for the same number, on a thread of its
/// own. The result is the running average of the weights, as [`pretrain`](crate::pretrain::pretrain)'s.
///
/// # Errors
/// [`FitError`].
pub fn pretrain_policy(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    (make, pool): (&(impl Fn(u64) -> PolicyClip + Sync), PoolOptions),
    options: &PretrainOptions,
    mut tell: impl FnMut(PolicyProgress),
) -> Result<Model, FitError> {
    let mut batch = LessonBatch::new(Form::of_policy(package)?, options.samples);
    let (all, mut fit) = whole::<Policy>(model, package, engine, &[], options)?;
    let source = PolicySource { seed: options.seed };
    std::thread::scope(|scope| {
        let (sender, clips) = mpsc::sync_channel(4);
        scope.spawn(move || {
            let mut numbers = 0..;
            // Ends when the receiver is gone.
            while numbers.next().is_some_and(|number| sender.send(make(number)).is_ok()) {}
        });
        let mut held: Vec<PolicyClip> = Vec::with_capacity(pool.clips);
        while held.len() < pool.clips {
            held.extend(clips.recv());
            tell(PolicyProgress::Pool { clips: held.len(), wanted: pool.clips });
        }
        for step in 0..options.steps {
            source.fill(u64::from(step), &held, &mut batch);
            let report = fit.step(&batch)?;
            tell(PolicyProgress::Step(report));
            if (step + 1) % pool.steps_a_clip == 0
                && let Ok(clip) = clips.recv()
            {
                let oldest = (step / pool.steps_a_clip) as usize % pool.clips;
                held[oldest] = clip;
            }
        }
        Ok::<(), FitError>(())
    })?;
    write_back(model, &all, &mut fit)
}
