//! Training without labels: an adapter that gives, for perturbed inputs, what the model itself gives for clean ones.
//!
//! It shows that a model can be tuned at all, with nothing but its file. The inputs are drawn ([`crate::draw`]); each
//! output's squared error is divided by what it is before the first step, so that the loss begins at about 1 for each
//! output, whatever its unit. Where no output changes when the inputs do (a head that was never trained is often nothing but
//! zeros), the model is fitted to what it gives with a drawn adapter instead.
//!
//! Losses that are asked for ([`FitOptions::losses`]) stay in their own unit: what is minimised is their sum, each times its
//! factor. What a cross-entropy is fitted to is the class that the model holds most likely for the clean input.

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroUsize};

use crate::draw::{InputRange, ranges};
use crate::engine::{Engine, EngineError, LoadOptions};
use crate::gradient::{
    DifferentiateOptions, Differentiated, Keep, LossSpec, PlacedLoss, Pull, Recomputed, Refusal,
    differentiate_keeping, within,
};
use crate::graft::{DropoutError, Profile};
use crate::onnx::Folded;
use crate::train::{
    AdamW, CheckpointError, Decay, Masks, Schedule, TrainError, TrainOptions, Trainer, Values,
    of_mean_one,
};

mod batch;
mod subject;

use batch::{Batch, weigh};
pub use subject::{Subject, Trained};

/// How often training begins, each time with a tenth of the learning rate, where the loss did not fall; and as often again with a
/// third of each of these rates.
const ATTEMPTS: usize = 5;
/// All of these.
const ATTEMPTS_MAX: u32 = 2 * ATTEMPTS as u32;
/// Gradients longer than this are shortened.
const GRADIENT_NORM_MAX: f32 = 1.0;

/// How to fit.
#[derive(Clone, Debug, PartialEq)]
pub struct FitOptions {
    /// What is minimised; empty: squared error on every output, each over what it is untuned.
    pub losses: Vec<LossSpec>,
    /// Gradient steps.
    pub steps: u32,
    /// The learning rate that is tried first.
    pub learning_rate: f64,
    /// Whether a loss or gradient that is not finite ends it at once, with what the last good step left. Otherwise it is tried again with less, and only
    /// the last time ends so.
    pub overflow_ends: bool,
    /// Seed of the inputs.
    pub seed: u64,
    /// Batches that are drawn; steps take them in turn.
    pub batches: u32,
    /// Threads of one run.
    pub threads: NonZeroUsize,
    /// The engine the graph is written for.
    pub profile: Profile,
    /// Bytes that a step may take by plan ([`crate::gradient::peak_bytes`]); parts of the forward pass are computed again where
    /// that keeps it.
    pub memory_limit: Option<u64>,
    /// What holds the adapter where it starts.
    pub hold: Option<Hold>,
    /// Samples of a batch, its last, that are held to what the untuned model gives for their perturbed input.
    pub distil: usize,
    /// Share of what goes into A that a step drops, in `[0, 1)`; 0: nothing. Losses before and after are measured without.
    pub dropout: f64,
    /// Steps after which [`Told::Reached`] is told; `None`: never.
    pub checkpoint_every: Option<NonZeroU32>,
}

/// What holds an adapter where it starts, as a term of the loss ([`crate::gradient::Keep`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hold {
    /// (μ/2)·|x − start|².
    Pull(f64),
    /// (λ/2)·Σ importance·(x − start)²; importance is the mean squared gradient of the drawn batches at the start, divided by
    /// its mean.
    Ewc(f64),
}

/// What is told while an adapter is fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Told<'a> {
    /// Once, before anything runs.
    Planned {
        /// What a step takes by plan.
        bytes: u64,
        /// Segments of the forward pass; 1: nothing is computed again.
        segments: usize,
    },
    /// After every step.
    Step {
        /// Its number, from 1.
        step: u32,
        /// The loss before it.
        loss: f32,
    },
    /// After every so many steps and the last, where [`FitOptions::checkpoint_every`] asks for it.
    Reached {
        /// What [`fit`] goes on from: attempt u32, little-endian, and the trainer's checkpoint.
        checkpoint: &'a [u8],
    },
}

impl Default for FitOptions {
    fn default() -> Self {
        FitOptions {
            losses: Vec::new(),
            steps: 10,
            learning_rate: 3e-4,
            overflow_ends: false,
            seed: 0,
            batches: 4,
            threads: NonZeroUsize::MIN,
            profile: Profile::Cpu,
            memory_limit: None,
            hold: None,
            distil: 0,
            dropout: 0.0,
            checkpoint_every: None,
        }
    }
}

/// What was fitted, and how.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// It.
    pub trained: Trained,
    /// The loss over all batches before the first step.
    pub before: f32,
    /// The loss over the same batches after the last step.
    pub after: f32,
    /// The learning rate with which it fell.
    pub learning_rate: f64,
    /// Where the losses sit.
    pub losses: Vec<PlacedLoss>,
    /// Factors or weights that no loss depends on: they stay as they were.
    pub untrained: Vec<String>,
    /// What was drawn for each input.
    pub inputs: Vec<InputRange>,
    /// Whether it was fitted to what a drawn adapter gives, since the model's own outputs stand still.
    pub by_drawn_adapter: bool,
}

/// Why an adapter cannot be fitted.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    #[error(transparent)]
    Refusal(#[from] Refusal),
    #[error(transparent)]
    Dropout(#[from] DropoutError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(
        "a step takes {least} bytes by plan in {segments} segments, more than the {limit} allowed"
    )]
    Memory { least: u64, limit: u64, segments: usize },
    #[error("`{tensor}` holds {value} for drawn inputs: nothing can be fitted to it")]
    NotFinite { tensor: String, value: f64 },
    #[error(
        "`{tensor}` holds {value} for perturbed inputs, though not for the drawn ones: there is no loss to begin with. Another \
         --seed draws others"
    )]
    Perturbed { tensor: String, value: f64 },
    #[error(
        "no output changes when the inputs do ({}), nor with an adapter: there is nothing to fit without labels",
        inputs.join(", ")
    )]
    NothingMoves { inputs: Vec<String> },
    #[error(
        "{asked} samples of a batch cannot be distilled: `{tensor}` has {samples}, and one must stay to be fitted; a larger \
         batch has more"
    )]
    Distilled { asked: usize, tensor: String, samples: usize },
    #[error("no gradient of the drawn batches moves the adapter: nothing matters to hold it by")]
    NothingMatters,
    #[error("training cannot go on from this checkpoint")]
    Checkpoint(#[from] CheckpointError),
    #[error("the checkpoint is of attempt {attempt}, there are {ATTEMPTS_MAX}")]
    Attempt { attempt: u32 },
    #[error("training stopped at learning rate {rate:.0e}")]
    Stopped {
        rate: f64,
        /// As the last good step left it; as it started, where there was none.
        last: Box<Trained>,
        #[source]
        why: Box<TrainError>,
    },
    #[error(
        "the loss does not fall: {before} before, {after} after {steps} steps at {rate:.0e}, nor at higher learning rates"
    )]
    DoesNotFall { before: f32, after: f32, steps: u32, rate: f64 },
}

/// Fits an adapter, or all weights, to what the model itself gives. A loss that does not fall is tried again with a smaller
/// learning rate, and so is one that is not finite, or a gradient, unless a rate was asked for: then it ends it. Goes on from `checkpoint` where there is one, of the same
/// subject and options. `tell` hears what a step takes, before the first one, and of every step.
///
/// # Errors
/// [`FitError`].
pub fn fit(
    subject: Subject<'_>,
    engine: &dyn Engine,
    options: &FitOptions,
    checkpoint: Option<&[u8]>,
    mut tell: impl FnMut(Told<'_>),
) -> Result<Fitted, FitError> {
    let masked = subject.masked(options.dropout > 0.0)?;
    let forward = masked.as_ref().unwrap_or(subject.folded());
    let (mut training, untrained) = training_graph(forward, subject.wrt(), options)?;
    keep_within(&mut training, options.memory_limit.unwrap_or(u64::MAX), &mut tell)?;
    let mut graph = training.folded.clone();
    let tensors: BTreeSet<&str> = training.losses.iter().map(|loss| &*loss.tensor).collect();
    for tensor in tensors {
        if let Some(ty) = training.folded.types.get(tensor) {
            graph.model.graph_mut().output.push(ty.to_value_info(tensor));
        }
    }
    let mut inputs = ranges(&training.folded);
    inputs.retain(|of| subject.has_input(&of.input));
    let load = LoadOptions::training(options.threads);
    let values = subject.values();
    let train = train_options(options.learning_rate);
    let mut trainer = Trainer::load_values(engine, &graph, &load, train, &values)?;
    let mut masks = Masks::of(trainer.session(), options.dropout, options.seed)?;
    let (batches, by_drawn_adapter) = drawn(&mut trainer, subject, (&training, &inputs), options)?;
    if options.distil > 0 {
        trainer.set_place(|input| values.get(input).copied())?;
    }
    hold(&mut trainer, &batches, &values, options.hold)?;
    let (first, mut rest) = attempt_of(checkpoint)?;
    let (mut last, before) = (options.learning_rate, loss_over(&mut trainer, &batches));
    let before = before.or_else(|why| stop(&mut trainer, subject, last, why))?;
    let mut after = before;
    for (attempt, rate) in (0..).zip(rates(options.learning_rate)).skip(first as usize) {
        last = rate;
        trainer.restart_at(&values, rate)?;
        if let Some(bytes) = rest.take() {
            trainer.restore(bytes)?;
        }
        after = match steps(&mut trainer, (&batches, &mut masks), (options, attempt), &mut tell) {
            Ok(loss) => loss,
            // A lower rate may do.
            Err(TrainError::NotFinite { .. })
                if !options.overflow_ends && attempt + 1 < ATTEMPTS_MAX =>
            {
                f32::NAN
            }
            Err(why) => stop(&mut trainer, subject, rate, why)?,
        };
        if after < before {
            let (trained, losses) = (subject.trained(&mut trainer)?, training.losses);
            let learning_rate = rate;
            return Ok(Fitted {
                trained,
                before,
                after,
                learning_rate,
                losses,
                untrained,
                inputs,
                by_drawn_adapter,
            });
        }
    }
    Err(FitError::DoesNotFall { before, after, steps: options.steps, rate: last })
}

/// The learning rates that are tried. The loss of a model whose outputs are quantised goes in steps: it may fall at one rate, and
/// at its neighbours go down and up again.
fn rates(first: f64) -> impl Iterator<Item = f64> {
    let tenths = |first| std::iter::successors(Some(first), |rate: &f64| Some(rate / 10.0));
    tenths(first).take(ATTEMPTS).chain(tenths(first / 3.0).take(ATTEMPTS))
}

/// The batches, of what the model gives untuned, with the losses weighed over them, and whether what is wanted is what a drawn
/// adapter gives.
fn drawn(
    trainer: &mut Trainer,
    subject: Subject<'_>,
    (training, inputs): (&Differentiated, &[InputRange]),
    options: &FitOptions,
) -> Result<(Vec<Batch>, bool), FitError> {
    let weighed = (training, options);
    if let Some(untuned) = subject.untuned() {
        trainer.restart(&untuned)?;
    }
    let batches = Batch::all(trainer.session(), inputs, training, options)?;
    let moves = weigh(trainer.session(), &batches, weighed, inputs);
    let found = match (moves, subject.drawn(options.seed)) {
        (Err(FitError::NothingMoves { .. }), Some(other)) => {
            trainer.restart(&other)?;
            let batches = Batch::all(trainer.session(), inputs, training, options)?;
            trainer.restart_values(&subject.values())?;
            weigh(trainer.session(), &batches, weighed, inputs)?;
            (batches, true)
        }
        (moves, _) => moves.map(|()| (batches, false))?,
    };
    trainer.restart_values(&subject.values())?;
    Ok(found)
}

/// The attempt that a checkpoint is of, and the trainer's part of it.
fn attempt_of(checkpoint: Option<&[u8]>) -> Result<(u32, Option<&[u8]>), FitError> {
    let Some(bytes) = checkpoint else { return Ok((0, None)) };
    let foreign = FitError::Checkpoint(CheckpointError::Foreign);
    let (attempt, rest) = bytes.split_first_chunk().ok_or(foreign)?;
    let attempt = u32::from_le_bytes(*attempt);
    if attempt >= ATTEMPTS_MAX {
        return Err(FitError::Attempt { attempt });
    }
    Ok((attempt, Some(rest)))
}

/// What a failure of training is: one that is not finite leaves the factors as they were before.
fn stop(
    trainer: &mut Trainer,
    subject: Subject<'_>,
    rate: f64,
    why: TrainError,
) -> Result<f32, FitError> {
    if !matches!(why, TrainError::NotFinite { .. }) {
        return Err(why.into());
    }
    let last = Box::new(subject.trained(trainer)?);
    Err(FitError::Stopped { rate, last, why: Box::new(why) })
}

/// Lets a training graph compute again what it must to stay below a limit, and tells what it takes.
fn keep_within(
    training: &mut Differentiated,
    limit: u64,
    tell: &mut impl FnMut(Told<'_>),
) -> Result<(), FitError> {
    let Recomputed { folded, segments, peak_bytes } =
        within(&training.folded, limit).map_err(Refusal::from)?;
    if peak_bytes > limit {
        return Err(FitError::Memory { least: peak_bytes, limit, segments });
    }
    training.folded = folded;
    tell(Told::Planned { bytes: peak_bytes, segments });
    Ok(())
}

fn train_options(rate: f64) -> TrainOptions {
    TrainOptions {
        optimiser: AdamW::default(),
        schedule: Schedule { peak: rate, warm_up_steps: 0, decay: Decay::Constant },
        gradient_norm_max: Some(GRADIENT_NORM_MAX),
        average: None,
    }
}

/// The training graph by all that a loss depends on, and the inputs that none does.
fn training_graph(
    folded: &Folded,
    wrt: Vec<String>,
    fit: &FitOptions,
) -> Result<(Differentiated, Vec<String>), Refusal> {
    let (losses, profile) = (fit.losses.clone(), fit.profile);
    let mut options = DifferentiateOptions { losses, wrt, strict: false, profile };
    let pull = fit.hold.map(|hold| match hold {
        Hold::Pull(_) => Pull::Even,
        Hold::Ewc(_) => Pull::ByImportance,
    });
    let keep = Keep { pull, distil: fit.distil > 0 };
    match differentiate_keeping(folded, &options, keep) {
        Err(Refusal::NotReached { inputs, .. }) if inputs.len() < options.wrt.len() => {
            options.wrt.retain(|input| !inputs.contains(input));
            Ok((differentiate_keeping(folded, &options, keep)?, inputs))
        }
        other => Ok((other?, Vec::new())),
    }
}

/// Writes the place and the strength of what holds the adapter.
fn hold(
    trainer: &mut Trainer,
    batches: &[Batch],
    start: &Values<'_>,
    hold: Option<Hold>,
) -> Result<(), FitError> {
    let lambda = match hold {
        None => return Ok(()),
        Some(Hold::Pull(mu)) => {
            return Ok(trainer.pull(mu, |input| start.get(input).copied())?);
        }
        Some(Hold::Ewc(lambda)) => lambda,
    };
    let (mut gradient, mut importance) = (Vec::new(), Vec::new());
    for batch in batches {
        batch.write(trainer.session())?;
        trainer.gradient(&mut gradient)?;
        importance.resize(gradient.len(), 0.0);
        let sums = importance.iter_mut().zip(&gradient);
        sums.for_each(|(sum, value)| *sum += value * value);
    }
    if !of_mean_one(&mut importance) {
        return Err(FitError::NothingMatters);
    }
    let mut places = std::collections::BTreeMap::new();
    let mut begin = 0;
    for (name, values) in trainer.parameters()? {
        places.insert(name.to_owned(), begin..begin + values.len());
        begin += values.len();
    }
    let of = |input: &str| importance.get(places.get(input)?.clone());
    Ok(trainer.hold(lambda, |input| start.get(input).copied(), of)?)
}

/// The mean loss; one that is not finite is an error that names the output.
fn loss_over(trainer: &mut Trainer, batches: &[Batch]) -> Result<f32, TrainError> {
    let mut sum = 0.0_f64;
    for batch in batches {
        batch.write(trainer.session())?;
        let loss = trainer.loss()?;
        if !loss.is_finite() {
            // The gradient is asked for because it says which output is to blame.
            trainer.gradient(&mut Vec::new())?;
        }
        sum += f64::from(loss);
    }
    Ok((sum / batches.len() as f64) as f32)
}

/// Takes the steps that are left, and gives the loss over all batches after the last one.
fn steps(
    trainer: &mut Trainer,
    (batches, masks): (&[Batch], &mut Masks),
    (options, attempt): (&FitOptions, u32),
    tell: &mut impl FnMut(Told<'_>),
) -> Result<f32, TrainError> {
    let all = u64::from(options.steps);
    while trainer.step_count() < all {
        let at = trainer.step_count() % batches.len().max(1) as u64;
        if let Some(batch) = batches.get(at as usize) {
            batch.write(trainer.session())?;
        }
        if options.dropout > 0.0 {
            let step = trainer.step_count();
            masks.draw(trainer.session(), step, 0)?;
        }
        let report = trainer.step()?;
        let step = u32::try_from(report.step.get()).unwrap_or(u32::MAX);
        tell(Told::Step { step, loss: report.loss });
        let due = |every: NonZeroU32| step.is_multiple_of(every.get()) || step == options.steps;
        if options.checkpoint_every.is_some_and(due) {
            let checkpoint = [&attempt.to_le_bytes()[..], &trainer.checkpoint()?].concat();
            tell(Told::Reached { checkpoint: &checkpoint });
        }
    }
    masks.open(trainer.session())?;
    loss_over(trainer, batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_of_the_learning_rate_are_tried_before_what_is_between_them() {
        let tried: Vec<String> = rates(3e-4).map(|rate| format!("{rate:.0e}")).collect();
        let tenths = ["3e-4", "3e-5", "3e-6", "3e-7", "3e-8"];
        let between = ["1e-4", "1e-5", "1e-6", "1e-7", "1e-8"];
        assert_eq!(tried, [tenths, between].concat());
    }
}
