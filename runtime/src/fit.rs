//! Training without labels: an adapter that gives, for perturbed inputs, what the model itself gives for clean ones.
//!
//! It shows that a model can be tuned at all, with nothing but its file. The inputs are drawn ([`crate::draw`]); each
//! output's squared error is divided by what it is before the first step, so that the loss begins at about 1 for each
//! output, whatever its unit. Where no output changes when the inputs do (a head that was never trained is often nothing but
//! zeros), the model is fitted to what it gives with a drawn adapter instead.

use std::num::NonZeroUsize;

use crate::adapter::Adapter;
use crate::draw::{Drawn, InputRange, draw, ranges};
use crate::engine::{Engine, EngineError, LoadOptions, Session};
use crate::gradient::{
    DifferentiateOptions, Differentiated, Keep, PlacedLoss, Pull, Recomputed, Refusal,
    differentiate_keeping, within,
};
use crate::graft::{Grafted, Profile};
use crate::onnx::{Element, Tensor, TensorType};
use crate::train::{
    AdamW, Decay, Schedule, TrainError, TrainOptions, Trainer, Values, factors, of_mean_one,
};

/// How often training begins again with a tenth of the learning rate, where the loss did not fall.
const ATTEMPTS: u32 = 5;
/// Gradients longer than this are shortened.
const GRADIENT_NORM_MAX: f32 = 1.0;

/// How to fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FitOptions {
    /// Gradient steps.
    pub steps: u32,
    /// The learning rate that is tried first.
    pub learning_rate: f64,
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

/// What is fitted, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The graph with factors as inputs.
    pub grafted: &'a Grafted,
    /// Where its factors start.
    pub start: &'a Adapter,
    /// Whether A stays where it starts and B alone is trained.
    pub frozen_a: bool,
}

/// What is told while an adapter is fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Told {
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
}

impl Default for FitOptions {
    fn default() -> Self {
        FitOptions {
            steps: 10,
            learning_rate: 3e-4,
            seed: 0,
            batches: 4,
            threads: NonZeroUsize::MIN,
            profile: Profile::Cpu,
            memory_limit: None,
            hold: None,
            distil: 0,
        }
    }
}

/// A fitted adapter.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// Its values.
    pub adapter: Adapter,
    /// The loss over all batches before the first step.
    pub before: f32,
    /// The loss over the same batches after the last step.
    pub after: f32,
    /// The learning rate with which it fell.
    pub learning_rate: f64,
    /// Where the losses sit.
    pub losses: Vec<PlacedLoss>,
    /// Factors that no loss depends on: they stay as they were.
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
    #[error("the loss does not fall: {before} before, {after} after {steps} steps at {rate}")]
    DoesNotFall { before: f32, after: f32, steps: u32, rate: f64 },
}

/// Fits an adapter of a grafted model to the model's own outputs. `tell` hears what a step takes, before the first one, and of
/// every step.
///
/// # Errors
/// [`FitError`].
pub fn fit(
    subject: &Subject<'_>,
    engine: &dyn Engine,
    options: &FitOptions,
    mut tell: impl FnMut(Told),
) -> Result<Fitted, FitError> {
    let Subject { grafted, start, .. } = *subject;
    let (mut training, untrained) = training_graph(subject, options)?;
    keep_within(&mut training, options.memory_limit.unwrap_or(u64::MAX), &mut tell)?;
    let mut graph = training.folded.clone();
    for loss in &training.losses {
        if let Some(ty) = training.folded.types.get(&loss.tensor) {
            graph.model.graph_mut().output.push(ty.to_value_info(&loss.tensor));
        }
    }
    let mut inputs = ranges(&training.folded);
    inputs.retain(|of| grafted_input(grafted, &of.input));
    let load = LoadOptions::training(options.threads);
    let values = factors(start);
    let train = train_options(options.learning_rate);
    let mut trainer = Trainer::load_values(engine, &graph, &load, train, &values)?;
    let mut batches = Batch::all(trainer.session(), &inputs, &training, options)?;
    let weighed = weigh(trainer.session(), &batches, (&training, options.distil), &inputs);
    let by_drawn_adapter = matches!(weighed, Err(FitError::NothingMoves { .. }));
    if by_drawn_adapter {
        trainer.restart(&drawn_adapter(subject, options.seed))?;
        batches = Batch::all(trainer.session(), &inputs, &training, options)?;
        trainer.restart_values(&values)?;
        weigh(trainer.session(), &batches, (&training, options.distil), &inputs)?;
    } else {
        weighed?;
    }
    if options.distil > 0 {
        trainer.set_place(|input| values.get(input).copied())?;
    }
    hold(&mut trainer, &batches, &values, options.hold)?;
    let before = loss_over(&mut trainer, &batches)?;
    let (mut rate, mut after) = (options.learning_rate, before);
    for _ in 0..ATTEMPTS {
        trainer.restart_at(&values, rate)?;
        match steps(&mut trainer, &batches, options.steps, &mut tell) {
            Ok(loss) => after = loss,
            Err(TrainError::NotFinite { .. }) => after = f32::NAN,
            Err(other) => return Err(other.into()),
        }
        if after < before {
            let adapter = trainer.adapter(start)?;
            let (learning_rate, losses) = (rate, training.losses);
            return Ok(Fitted {
                adapter,
                before,
                after,
                learning_rate,
                losses,
                untrained,
                inputs,
                by_drawn_adapter,
            });
        }
        rate /= 10.0;
    }
    Err(FitError::DoesNotFall { before, after, steps: options.steps, rate: rate * 10.0 })
}

/// An adapter whose B is no longer nothing: each value is one of the A of the next seed, or of the one that stays.
fn drawn_adapter(subject: &Subject<'_>, seed: u64) -> Adapter {
    let layout = subject.start.layout();
    let mut drawn = match subject.frozen_a {
        true => subject.start.clone(),
        false => Adapter::start(layout.clone(), seed.wrapping_add(1)),
    };
    for site in &layout.sites {
        let a = drawn.values()[site.a.range.clone()].to_vec();
        let b = drawn.values_mut()[site.b.range.clone()].iter_mut();
        b.zip(a.iter().cycle()).for_each(|(b, a)| *b = *a);
    }
    drawn
}

/// Lets a training graph compute again what it must to stay below a limit, and tells what it takes.
fn keep_within(
    training: &mut Differentiated,
    limit: u64,
    tell: &mut impl FnMut(Told),
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

/// Whether an input is the model's own, not a factor, target or weight of a loss.
fn grafted_input(grafted: &Grafted, name: &str) -> bool {
    let is_factor = grafted.layout.factors().any(|factor| factor.input == name);
    let mut own = grafted.folded.model.graph().input.iter();
    !is_factor && own.any(|input| input.name() == name)
}

fn train_options(rate: f64) -> TrainOptions {
    TrainOptions {
        optimiser: AdamW::default(),
        schedule: Schedule { peak: rate, warm_up_steps: 0, decay: Decay::Constant },
        gradient_norm_max: Some(GRADIENT_NORM_MAX),
        average: None,
    }
}

/// The training graph by every factor that a loss depends on, and the factors that none does.
fn training_graph(
    Subject { grafted, frozen_a, .. }: &Subject<'_>,
    fit: &FitOptions,
) -> Result<(Differentiated, Vec<String>), Refusal> {
    let wrt = grafted.layout.trained(*frozen_a).map(|factor| factor.input.clone()).collect();
    let (losses, profile) = (Vec::new(), fit.profile);
    let mut options = DifferentiateOptions { losses, wrt, strict: false, profile };
    let pull = fit.hold.map(|hold| match hold {
        Hold::Pull(_) => Pull::Even,
        Hold::Ewc(_) => Pull::ByImportance,
    });
    let keep = Keep { pull, distil: fit.distil > 0 };
    match differentiate_keeping(&grafted.folded, &options, keep) {
        Err(Refusal::NotReached { inputs, .. }) if inputs.len() < options.wrt.len() => {
            options.wrt.retain(|input| !inputs.contains(input));
            Ok((differentiate_keeping(&grafted.folded, &options, keep)?, inputs))
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

/// Writes the weight of one loss for every sample: the last `asked` ones count for its distillation in its place.
fn write_weight(
    session: &mut dyn Session,
    loss: &PlacedLoss,
    distilled: Option<&PlacedLoss>,
    asked: usize,
    weight: f64,
) -> Result<(), FitError> {
    let input = session.input_index(&loss.weight)?;
    let ty = session.inputs()[input].ty.clone();
    let (element, samples) = (ty.element, ty.values());
    let one = Tensor::scalar(element, weight.min(greatest(element)) as f32).to_le_bytes();
    let mut own = one.repeat(samples);
    if let Some(distilled) = distilled {
        if asked >= samples {
            let tensor = loss.tensor.clone();
            return Err(FitError::Distilled { asked, tensor, samples });
        }
        let mut taught = own.clone();
        let place = (samples - asked) * element.bytes();
        own[place..].fill(0);
        taught[..place].fill(0);
        let input = session.input_index(&distilled.weight)?;
        session.write_bytes(input, element, &taught)?;
    }
    Ok(session.write_bytes(input, element, &own)?)
}

/// Perturbed inputs and what is wanted for them.
struct Batch {
    /// Input, perturbed values.
    perturbed: Vec<(usize, Tensor)>,
    /// Input, what is wanted: what the model gives for clean inputs.
    targets: Vec<(usize, Tensor)>,
}

impl Batch {
    /// Every batch, with what the model gives as it is now.
    fn all(
        session: &mut dyn Session,
        inputs: &[InputRange],
        training: &Differentiated,
        options: &FitOptions,
    ) -> Result<Vec<Batch>, FitError> {
        let of = |number| {
            let drawn = draw(inputs, options.seed, number);
            Batch::of(&mut *session, drawn, &training.losses)
        };
        (0..options.batches.max(1)).map(of).collect()
    }

    /// Runs the model on the clean inputs.
    fn of(
        session: &mut dyn Session,
        drawn: Vec<Drawn>,
        losses: &[PlacedLoss],
    ) -> Result<Batch, FitError> {
        let mut perturbed = Vec::new();
        for one in drawn {
            // A training graph keeps inputs that it does not read.
            let input = session.input_index(&one.input)?;
            session.write(input, &one.clean)?;
            perturbed.push((input, one.perturbed));
        }
        session.run()?;
        let mut targets = Vec::new();
        for loss in losses {
            let target = read(session, &loss.tensor)?;
            if let Some(value) = target.to_f64s().into_iter().find(|x| !x.is_finite()) {
                return Err(FitError::NotFinite { tensor: loss.tensor.clone(), value });
            }
            targets.push((session.input_index(&loss.target)?, target));
        }
        Ok(Batch { perturbed, targets })
    }

    fn write(&self, session: &mut dyn Session) -> Result<(), EngineError> {
        let all = self.perturbed.iter().chain(&self.targets);
        all.into_iter().try_for_each(|(input, tensor)| session.write(*input, tensor))
    }
}

fn read(session: &dyn Session, tensor: &str) -> Result<Tensor, EngineError> {
    let output = session.output_index(tensor)?;
    let TensorType { element, dims } = session.outputs()[output].ty.clone();
    let read = Tensor::from_le_bytes(element, &dims, session.output_bytes(output)?);
    Ok(read.unwrap_or_else(|| unreachable!("an output has the bytes of its type")))
}

/// Sets the weight of every loss to one over its mean squared error before the first step.
fn weigh(
    session: &mut dyn Session,
    batches: &[Batch],
    (training, asked): (&Differentiated, usize),
    inputs: &[InputRange],
) -> Result<(), FitError> {
    let losses = &training.losses;
    let (mut errors, mut squares) = (vec![0.0; losses.len()], vec![0.0; losses.len()]);
    for batch in batches {
        batch.write(session)?;
        session.run()?;
        for (at, (loss, (_, target))) in losses.iter().zip(&batch.targets).enumerate() {
            let (want, got) = (target.to_f64s(), read(session, &loss.tensor)?.to_f64s());
            let count = (want.len().max(1) * batches.len()) as f64;
            let error = want.iter().zip(&got).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            errors[at] += error / count;
            squares[at] += want.iter().map(|x| x * x).sum::<f64>() / count;
        }
    }
    // Rounding alone is no change.
    let moves = |at: usize| errors[at] > 1e-12 * squares[at];
    if !(0..losses.len()).any(moves) {
        let inputs = inputs.iter().map(|of| format!("{} {}", of.input, of.range)).collect();
        return Err(FitError::NothingMoves { inputs });
    }
    for (at, loss) in losses.iter().enumerate() {
        let weight = if moves(at) { 1.0 / errors[at] } else { 0.0 };
        write_weight(session, loss, training.distilled.get(at), asked, weight)?;
    }
    Ok(())
}

/// The greatest weight that an element holds with room for a sum.
fn greatest(element: Element) -> f64 {
    if element == Element::F16 { 1e4 } else { 1e30 }
}

fn loss_over(trainer: &mut Trainer, batches: &[Batch]) -> Result<f32, TrainError> {
    let mut sum = 0.0_f64;
    for batch in batches {
        batch.write(trainer.session())?;
        sum += f64::from(trainer.loss()?);
    }
    Ok((sum / batches.len() as f64) as f32)
}

/// Trains, and gives the loss over all batches after the last step.
fn steps(
    trainer: &mut Trainer,
    batches: &[Batch],
    count: u32,
    tell: &mut impl FnMut(Told),
) -> Result<f32, TrainError> {
    for (step, batch) in (1..=count).zip(batches.iter().cycle()) {
        batch.write(trainer.session())?;
        tell(Told::Step { step, loss: trainer.step()?.loss });
    }
    loss_over(trainer, batches)
}
