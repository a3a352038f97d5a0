//! Pretraining of a policy on generated roads: what an attentive driver would do, also where he would not have been.

use shoal_runtime::engine::Engine;
use shoal_runtime::onnx::Model;

use super::{PolicyClip, PolicySource};
use crate::batch::LessonBatch;
use crate::fit::{FitError, Policy};
use crate::form::Form;
use crate::package::Description;
use crate::pretrain::{PoolOptions, PretrainOptions, Progress, step_on_pool, whole, write_back};

/// Trains all weights of a policy on clips made by `make`: clip number i is the same for the same number, on a thread of its
/// own. The result is the running average of the weights, as [`pretrain`](crate::pretrain::pretrain)'s.
///
/// # Errors
/// [`FitError`].
pub fn pretrain_policy(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    from: (&(impl Fn(u64) -> PolicyClip + Sync), PoolOptions),
    options: &PretrainOptions,
    mut tell: impl FnMut(Progress),
) -> Result<Model, FitError> {
    let mut batch = LessonBatch::new(Form::of_policy(package)?, options.samples);
    let (all, mut fit) = whole::<Policy>(model, package, engine, &[], options)?;
    let source = PolicySource { seed: options.seed };
    let fill = |step: u64, held: &[PolicyClip], batch: &mut LessonBatch| {
        source.fill(step, held, batch);
        Ok::<(), FitError>(())
    };
    step_on_pool(from, (&mut fit, &mut batch, options.steps), fill, &mut tell)?;
    write_back(model, &all, &mut fit)
}
