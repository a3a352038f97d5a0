//! Pretraining: all weights of a model trained on generated roads, and footage if there is any; of a
//! token model on logs.
//!
//! It uses the same training graphs, engine and optimiser as tuning, so a model can be pretrained
//! wherever it can be tuned.

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::mpsc::{self, Receiver};

use shoal_hal::Span;
use shoal_runtime::engine::Engine;
use shoal_runtime::gradient::LossSpec;
use shoal_runtime::graft::{AllWeights, graft_all_weights};
use shoal_runtime::onnx::Model;
use shoal_runtime::train::{AdamW, Decay, Schedule, StepReport, TrainOptions};

use crate::batch::{Batch, PickError, Pretraining};
use crate::chance::Draws;
use crate::clip::{Footage, Frames};
use crate::fit::{Binding, Camera, Extent, Fit, FitError, Source, Tokens, named, prepare};
use crate::form::Form;
use crate::package::Description;
use crate::tokens::{TokenBatch, TokenForm, TokenRows, TokenSource};

/// How a model is pretrained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PretrainOptions {
    /// Gradient steps.
    pub steps: u32,
    /// Samples of a batch.
    pub samples: usize,
    /// AdamW's highest step size; it falls to 2 % of it along half a cosine.
    pub learning_rate: f64,
    /// Seed of clips and batches.
    pub seed: u64,
    /// Threads of the engine.
    pub threads: NonZeroUsize,
    /// Share of the samples that come from footage, if any is given.
    pub footage_share: f32,
}

impl Default for PretrainOptions {
    fn default() -> Self {
        PretrainOptions {
            steps: 5000,
            samples: 8,
            learning_rate: 2e-3,
            seed: 0,
            threads: NonZeroUsize::MIN,
            footage_share: 0.5,
        }
    }
}

/// Generated clips that batches are drawn from, replaced one by one while training goes on.
///
/// Which clips are in the pool at a step depends on the step alone, not on how fast they were made: the
/// same seed gives the same model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Clips held.
    pub clips: usize,
    /// Steps after which the oldest clip is replaced by a new one.
    pub steps_a_clip: u32,
}

impl Default for PoolOptions {
    fn default() -> Self {
        PoolOptions { clips: 400, steps_a_clip: 2 }
    }
}

/// Clips that are made before they are wanted.
pub(crate) const CLIPS_AHEAD: usize = 4;

/// What pretraining tells while it works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Progress {
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

/// Why pretraining stopped.
#[derive(Debug, thiserror::Error)]
pub enum PretrainError {
    /// The model cannot be trained.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// A clip or footage too short to draw from.
    #[error("the footage cannot be drawn from")]
    Pick(#[from] PickError),
}

/// Trains all weights that `weights` (globs; `!` excludes) select, on clips made by `make` and on `footage`.
///
/// `make` gives clip number i: the same for the same number, on a thread of its own. The result is the
/// running average of the weights (decay 0.99).
///
/// # Errors
/// [`PretrainError`].
pub fn pretrain(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    weights: &[String],
    sources: (&(impl Fn(u64) -> Frames + Sync), PoolOptions, &[Frames]),
    options: &PretrainOptions,
    mut tell: impl FnMut(Progress),
) -> Result<Model, PretrainError> {
    let (make, pool, footage) = sources;
    let shown = package.next_frame.as_ref().map(|next| &next.output);
    let of_others = |loss: &&LossSpec| Some(&loss.output) != shown;
    if let Some(loss) = package.loss.iter().find(of_others).filter(|_| package.imitates()) {
        let why = "pretraining draws frames alone: leave it out of [[loss]], and train it on drives afterwards";
        return Err(FitError::Loss { loss: named(loss), why: why.to_owned() }.into());
    }
    let (all, mut fit) = whole::<Camera>(model, package, engine, weights, options)?;
    let form = Form::of(package).map_err(FitError::from)?;
    let mut batch = Batch::new(form.clone(), options.samples);
    let mut draw = Pretraining::new(form, options.seed);
    let fill = |step: u64, held: &[Frames], batch: &mut Batch| {
        let source = |draws: &mut Draws| pick(draws, held, footage, options.footage_share);
        Ok::<(), PretrainError>(draw.fill(step, source, batch)?)
    };
    let make = |number| Ok(make(number));
    let after = |_: u32, _: &mut Fit<Camera>| Ok(());
    let steps = (&mut fit, &mut batch, options.steps);
    step_on_pool((make, pool), steps, (fill, after), &mut tell)?;
    Ok(write_back(model, &all, &mut fit)?)
}

/// Takes `steps` steps, each on a batch that `fill` makes of the clips held; `make` gives clip number i, on a thread of its own.
/// `after` each step it is told how many were taken.
pub(crate) fn step_on_pool<C: Send, B: Binding, E: From<FitError> + Send>(
    (mut make, pool): (impl FnMut(u64) -> Result<C, E> + Send, PoolOptions),
    (fit, batch, steps): (&mut Fit<B>, &mut B::Batch, u32),
    (mut fill, mut after): (
        impl FnMut(u64, &[C], &mut B::Batch) -> Result<(), E>,
        impl FnMut(u32, &mut Fit<B>) -> Result<(), E>,
    ),
    tell: &mut impl FnMut(Progress),
) -> Result<(), E> {
    std::thread::scope(|scope| {
        let (sender, clips) = mpsc::sync_channel(CLIPS_AHEAD);
        scope.spawn(move || {
            let mut numbers = 0..;
            // Ends when the receiver is gone.
            while numbers.next().is_some_and(|number| sender.send(make(number)).is_ok()) {}
        });
        // Where who makes them has panicked the scope says so, once nobody waits for more.
        let Some(mut held) = filled(&clips, pool.clips, tell)? else { return Ok(()) };
        for step in 0..steps {
            fill(u64::from(step), &held, batch)?;
            tell(Progress::Step(fit.step(batch)?));
            after(step + 1, fit)?;
            if (step + 1) % pool.steps_a_clip == 0
                && let Ok(clip) = clips.recv()
            {
                let oldest = (step / pool.steps_a_clip) as usize % pool.clips;
                held[oldest] = clip?;
            }
        }
        Ok(())
    })
}

/// The first clips, so many as are wanted; `None`: nobody makes them any more.
fn filled<C, E>(
    clips: &Receiver<Result<C, E>>,
    wanted: usize,
    tell: &mut impl FnMut(Progress),
) -> Result<Option<Vec<C>>, E> {
    let mut held = Vec::with_capacity(wanted);
    while held.len() < wanted {
        let Ok(clip) = clips.recv() else { return Ok(None) };
        held.push(clip?);
        tell(Progress::Pool { clips: held.len(), wanted });
    }
    Ok(Some(held))
}

/// Trains all weights of a token model that `weights` select on `rows`, drawn with equal chances.
///
/// The result is the running average of the weights, as [`pretrain`]'s.
///
/// # Errors
/// [`FitError`].
pub fn pretrain_tokens(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    weights: &[String],
    rows: TokenRows<'_>,
    options: &PretrainOptions,
    mut tell: impl FnMut(&StepReport),
) -> Result<Model, FitError> {
    let (all, mut fit) = whole::<Tokens>(model, package, engine, weights, options)?;
    let mut batch = TokenBatch::new(TokenForm::of(package)?, options.samples);
    let mut source = TokenSource::new(rows, options.seed);
    for step in 0..options.steps {
        source.fill(u64::from(step), &mut batch)?;
        tell(&fit.step(&batch)?);
    }
    write_back(model, &all, &mut fit)
}

/// The training graph of the weights that `weights` select.
pub(crate) fn whole<B: Binding>(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    weights: &[String],
    options: &PretrainOptions,
) -> Result<(AllWeights, Fit<B>), FitError> {
    let all = graft_all_weights(&prepare(model, options.samples)?, weights)?;
    let wrt = all.weights.iter().map(|weight| weight.input.clone()).collect();
    let start = |name: &str| {
        all.weights.iter().find(|weight| weight.input == name).map(|weight| &weight.values[..])
    };
    let (threads, train) = (options.threads, train_options(options));
    let graph = (&all.folded, wrt, Extent::whole(options.samples));
    let fit = Fit::new(graph, package, engine, threads, train, start)?;
    Ok((all, fit))
}

/// The model with the running average of its trained weights.
pub(crate) fn write_back<B: Binding>(
    model: &Model,
    all: &AllWeights,
    fit: &mut Fit<B>,
) -> Result<Model, FitError> {
    let averaged: Vec<&[f32]> = fit.trainer().averaged()?.map(|(_, values)| values).collect();
    Ok(all.write_into(model, &averaged)?)
}

fn train_options(options: &PretrainOptions) -> TrainOptions {
    let steps = NonZeroU64::MIN.saturating_add(u64::from(options.steps).saturating_sub(1));
    TrainOptions {
        optimiser: AdamW { beta_square: 0.98, weight_decay: 1e-4, ..AdamW::default() },
        schedule: Schedule {
            peak: options.learning_rate,
            warm_up_steps: u64::from(options.steps) / 20,
            decay: Decay::Cosine { steps, floor: 0.02 },
        },
        gradient_norm_max: Some(1.0),
        average: Some(0.99),
    }
}

/// A generated clip, or footage by its share; footage is drawn by its length.
fn pick<'a>(
    draws: &mut Draws,
    held: &'a [Frames],
    footage: &'a [Frames],
    share: f32,
) -> (&'a dyn Footage, Span) {
    let whole = |frames: &'a Frames| -> (&'a dyn Footage, Span) {
        (frames, Span { first: 0, last: frames.len().saturating_sub(1) })
    };
    if footage.is_empty() || !draws.happens(share) {
        return whole(&held[draws.index(held.len())]);
    }
    let total: usize = footage.iter().map(Footage::len).sum();
    let mut frame = draws.index(total);
    for frames in footage {
        if frame < frames.len() {
            return whole(frames);
        }
        frame -= frames.len();
    }
    unreachable!("a frame of all is in one of them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_clips_that_nobody_makes_any_more() {
        let (sender, clips) = mpsc::sync_channel(4);
        let mut told = 0;
        let mut tell = |_progress: Progress| told += 1;
        (0..3).for_each(|clip| sender.send(Ok::<u32, FitError>(clip)).unwrap());
        assert_eq!(filled(&clips, 2, &mut tell).unwrap(), Some(vec![0, 1]));
        drop(sender);
        assert_eq!(filled(&clips, 2, &mut tell).unwrap(), None);
        assert_eq!(told, 3);
    }
}
