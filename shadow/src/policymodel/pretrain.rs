//! Pretraining of a policy on generated roads: what an attentive driver would do, also where he would not have been.

use std::num::NonZeroUsize;
use std::sync::mpsc;

use shoal_hal::backend::synthetic::LessonForm;
use shoal_runtime::engine::Engine;
use shoal_runtime::onnx::Model;

use super::drive::check_rate;
use super::{PolicyClip, PolicySession, PolicySource};
use crate::batch::LessonBatch;
use crate::fit::{Fit, FitError, Policy};
use crate::form::Form;
use crate::package::Description;
use crate::pretrain::{
    CLIPS_AHEAD, PoolOptions, PretrainOptions, Progress, step_on_pool, whole, write_back,
};

/// What a policy is taught with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lessons {
    /// Frames of a lesson at most.
    pub frames: usize,
    /// Columns by which the camera is turned aside at most.
    pub margin: u16,
    /// Lessons held.
    pub pool: PoolOptions,
    /// Steps after which the policy as it then is takes the wheel in lessons.
    pub round_steps: u32,
}

impl Lessons {
    /// The round whose policy is at the wheel of a lesson, or 0: the attentive driver is. He takes every third.
    ///
    /// A lesson is made some steps before it is wanted; the policy is the last one that is surely there by then, so that which
    /// drives depends on nothing but the numbers.
    fn round(&self, number: u64) -> u64 {
        let PoolOptions { clips, steps_a_clip } = self.pool;
        let later = number.saturating_sub((clips + 2 * CLIPS_AHEAD) as u64);
        match number % 3 {
            0 => 0,
            _ => later * u64::from(steps_a_clip) / u64::from(self.round_steps.max(1)),
        }
    }
}

/// Trains all weights of a policy on lessons, each the same for the same number, made on a thread of its own. In two lessons of
/// three the policy drives as it was some steps before, and the attentive driver says what he would do (DAgger).
/// The result is the running average of the weights, as [`pretrain`](crate::pretrain::pretrain)'s.
///
/// # Errors
/// [`FitError`]; [`FitError::OtherRate`] of a policy that reads other than [`DRIVEN_HZ`](super::DRIVEN_HZ) moments a second.
/// # Source
/// Ross, Gordon and Bagnell, *A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning*, 2011,
/// algorithm 3.1; the mixture is one of lessons, not of moments, and old ones are forgotten.
pub fn pretrain_policy(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    lessons: &Lessons,
    options: &PretrainOptions,
    mut tell: impl FnMut(Progress),
) -> Result<Model, FitError> {
    let seen = Form::of_policy(package)?;
    check_rate(seen.rate_hz)?;
    let form = LessonForm { shape: seen.shape, margin: lessons.margin, frames: lessons.frames };
    let mut batch = LessonBatch::new(seen, options.samples);
    let (all, mut fit) = whole::<Policy>(model, package, engine, &[], options)?;
    let source = PolicySource { seed: options.seed };
    let fill = |step: u64, held: &[PolicyClip], batch: &mut LessonBatch| {
        source.fill(step, held, batch);
        Ok::<(), FitError>(())
    };
    let (sender, rounds) = mpsc::channel::<Model>();
    let mut learner: (u64, Option<PolicySession>) = (0, None);
    let make = move |number| {
        let round = lessons.round(number);
        while learner.0 < round
            && let Ok(model) = rounds.recv()
        {
            let one = NonZeroUsize::MIN;
            learner =
                (learner.0 + 1, Some(PolicySession::load(&model, package, engine, one, None)?));
        }
        let wheel = learner.1.as_mut().filter(|_| round > 0);
        Ok(PolicyClip::lesson((options.seed, number), form, wheel)?)
    };
    let after = |taken: u32, fit: &mut Fit<Policy>| {
        if taken.is_multiple_of(lessons.round_steps.max(1)) {
            // Nobody listens any more where making lessons has failed, which is told with the next of them.
            let _ = sender.send(write_back(model, &all, fit)?);
        }
        Ok(())
    };
    let steps = (&mut fit, &mut batch, options.steps);
    step_on_pool((make, lessons.pool), steps, (fill, after), &mut tell)?;
    write_back(model, &all, &mut fit)
}
