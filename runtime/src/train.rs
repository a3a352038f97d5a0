//! Training: a session of a training graph, and an optimiser that writes its parameters in place.
//!
//! A training graph (see [`crate::gradient`]) has an output `loss` and, for every input `p` that
//! is a parameter, an output `grad.p`. The pairs are found by these names.
//!
//! On the host the optimiser is Rust: gradients are read and parameters written. On a device it is the end of the graph
//! ([`Trainer::load`]): parameters and moments stay there, and a step brings back the loss and the norm of the gradients.

use std::num::NonZeroU64;

use crate::engine::{Engine, EngineError, LoadOptions, Session};
use crate::onnx::{Element, Folded, InferError};

mod adamw;
mod checkpoint;
mod device;
mod gather;
mod host;
mod inside;
mod keep;
mod masks;
mod schedule;
mod start;

pub use adamw::AdamW;
pub use checkpoint::CheckpointError;
use device::Device;
use host::Host;
pub(crate) use inside::KEPT;
pub use keep::of_mean_one;
pub use masks::Masks;
pub use schedule::{Decay, Schedule};
pub use start::Values;
pub(crate) use start::{factors, weights_of};

/// Name of the output that is minimised.
pub const LOSS: &str = "loss";
/// What the name of an output begins with that is one of several losses whose sum is minimised.
pub const TERM: &str = "loss.";
/// What the name of a gradient output begins with; the rest is the name of the parameter input.
pub const GRADIENT: &str = "grad.";

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainOptions {
    /// Constants of the optimiser.
    pub optimiser: AdamW,
    /// Learning rate over the steps.
    pub schedule: Schedule,
    /// Gradients whose joint L2 norm is above this are scaled down to it; `None` never.
    pub gradient_norm_max: Option<f32>,
    /// Decay of the running average of the parameters, in `[0, 1)`; `None` keeps none. The first
    /// steps average over less: the decay of step t is at most (1 + t) ÷ (10 + t).
    pub average: Option<f32>,
}

impl TrainOptions {
    /// What a step leaves of the running average, where one is kept.
    fn fade(&self, step: u64) -> Option<f32> {
        let t = step as f32;
        self.average.map(|decay| decay.min((1.0 + t) / (10.0 + t)))
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: NonZeroU64,
    /// Loss before the step.
    pub loss: f32,
    /// L2 norm of all gradients together, before clipping.
    pub gradient_norm: f32,
    /// Learning rate of the step.
    pub learning_rate: f64,
}

/// Why training stopped. The parameters are then those of the last good step.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The graph has no output to minimise.
    #[error("no training graph: there is no output `loss` of one float32 value")]
    NoLoss,
    /// The graph has no gradients.
    #[error("no training graph: no output `grad.…` stands beside an input of its type")]
    NoGradients,
    /// A gradient output has no input of its name and type.
    #[error("`{output}` is no gradient of an input: {why}")]
    Unpaired { output: String, why: String },
    /// A parameter was not given values to start from.
    #[error("parameter `{name}` has {want} values, {got} were given to start from")]
    Start { name: String, want: usize, got: usize },
    /// Values of a parameter cannot matter so much.
    #[error("parameter `{name}`: an importance is {value}, it must be finite and not negative")]
    Importance { name: String, value: f32 },
    /// The graph was differentiated without the term.
    #[error(
        "the training graph has no input `{input}`: differentiate the model with the term that reads it"
    )]
    NoTerm { input: String },
    /// The graph was made for other parameters.
    #[error("the graph has no input `{name}`: it was made from another model or other targets")]
    NoInput { name: String },
    /// The loss or a gradient is not finite: the step was not taken.
    #[error(
        "step {step}: `{output}` holds {value}; the step was not taken, the parameters are those \
         of step {}. A smaller learning rate, a longer warm-up or clean inputs may help",
        step.get() - 1
    )]
    NotFinite { step: NonZeroU64, output: String, value: f32 },
    /// The optimiser cannot be written behind the graph.
    #[error("the graph takes no optimiser: its parameters must be float32")]
    NoOptimiser(#[source] InferError),
    /// The engine failed.
    #[error("the engine failed while training")]
    Engine(#[from] EngineError),
}

/// One parameter: its place in the flat run.
#[derive(Clone, Debug)]
struct Parameter {
    name: String,
    dims: Vec<usize>,
    start: usize,
    end: usize,
}

/// What training moves: one flat run of all parameters each.
#[derive(Clone, Debug, Default)]
struct State {
    values: Vec<f32>,
    means: Vec<f32>,
    squares: Vec<f32>,
    /// Empty where no average is kept.
    average: Vec<f32>,
}

impl State {
    /// Nothing trained yet: these values, no moments.
    fn begin(&mut self) {
        self.means.fill(0.0);
        self.squares.fill(0.0);
        self.average.iter_mut().zip(&self.values).for_each(|(average, value)| *average = *value);
    }
}

/// Where the state is.
enum Home {
    /// With the trainer, which writes the parameters after every step.
    Host(Host),
    /// With the engine; the trainer's is a copy.
    Device(Device),
}

/// Number and size of a step.
#[derive(Clone, Copy, Debug)]
struct Stride {
    step: NonZeroU64,
    rate: f64,
}

/// What a run gave: loss, and norm of all gradients.
#[derive(Clone, Copy, Debug)]
struct Gave {
    loss: f32,
    norm: f32,
}

/// Trains the parameters of one session.
pub struct Trainer {
    session: Box<dyn Session>,
    options: TrainOptions,
    parameters: Vec<Parameter>,
    loss: usize,
    step: u64,
    state: State,
    home: Home,
}

impl Trainer {
    /// Takes over a session of a training graph; `start` gives each parameter, by the name of its
    /// input, the values it starts from (row-major, in the graph's shape). The optimiser is on the host.
    ///
    /// # Errors
    /// Any [`TrainError`] but `NotFinite`.
    pub fn new<'a>(
        session: Box<dyn Session>,
        options: TrainOptions,
        start: impl Fn(&str) -> Option<&'a [f32]>,
    ) -> Result<Self, TrainError> {
        let loss = loss_of(&*session)?;
        let (parameters, host) = Host::of(&*session)?;
        Self::at(session, options, (parameters, loss), Home::Host(host), start)
    }

    /// Loads a training graph. Where the engine's memory is a device's ([`Engine::trains_on_device`]) the optimiser is put
    /// behind the graph, and what is trained stays there until it is asked for; else as [`Trainer::new`].
    ///
    /// On a device the norm of the gradients and the mean over parts of a batch are float32 sums.
    ///
    /// # Errors
    /// Any [`TrainError`] but `NotFinite`.
    pub fn load<'a>(
        engine: &dyn Engine,
        graph: &Folded,
        load: &LoadOptions,
        options: TrainOptions,
        start: impl Fn(&str) -> Option<&'a [f32]>,
    ) -> Result<Self, TrainError> {
        if !engine.trains_on_device() {
            return Self::new(engine.load(&graph.model, load)?, options, start);
        }
        let (parameters, session, device) = Device::load(engine, graph, load, &options)?;
        let loss = loss_of(&*session)?;
        Self::at(session, options, (parameters, loss), Home::Device(device), start)
    }

    fn at<'a>(
        session: Box<dyn Session>,
        options: TrainOptions,
        (parameters, loss): (Vec<Parameter>, usize),
        home: Home,
        start: impl Fn(&str) -> Option<&'a [f32]>,
    ) -> Result<Self, TrainError> {
        let values = run_of(&parameters, start)?;
        let average = if options.average.is_some() { values.clone() } else { Vec::new() };
        let (means, squares) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        let state = State { values, means, squares, average };
        let mut trainer = Self { session, options, parameters, loss, step: 0, state, home };
        trainer.write_state()?;
        Ok(trainer)
    }

    /// The session, to write batches into. Its parameter inputs belong to the trainer.
    pub fn session(&mut self) -> &mut dyn Session {
        &mut *self.session
    }

    /// Steps taken.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// Names and values of the parameters, in the order of the graph's gradient outputs.
    ///
    /// # Errors
    /// [`TrainError::Engine`] when they cannot be brought from a device.
    pub fn parameters(&mut self) -> Result<impl Iterator<Item = (&str, &[f32])>, TrainError> {
        self.bring()?;
        Ok(self.slices(&self.state.values))
    }

    /// As [`Self::parameters`], the running average; the values themselves when none is kept.
    ///
    /// # Errors
    /// As for [`Self::parameters`].
    pub fn averaged(&mut self) -> Result<impl Iterator<Item = (&str, &[f32])>, TrainError> {
        self.bring()?;
        let kept = self.options.average.is_some();
        Ok(self.slices(if kept { &self.state.average } else { &self.state.values }))
    }

    fn slices<'a>(&'a self, run: &'a [f32]) -> impl Iterator<Item = (&'a str, &'a [f32])> {
        self.parameters.iter().map(move |p| (p.name.as_str(), &run[p.start..p.end]))
    }

    /// Runs the graph on what its inputs hold and moves the parameters by one step. Allocates
    /// nothing.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`], [`TrainError::Engine`]: parameters and moments are then as
    /// before, in the trainer and in the session.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        let stride = self.stride();
        let Self { session, options, parameters, loss, state, home, .. } = self;
        let gave = match home {
            Home::Host(host) => {
                host.step(&mut **session, *loss, parameters, (options, stride), state)?
            }
            Home::Device(device) => {
                device.step(&mut **session, *loss, parameters, options, stride)?
            }
        };
        let Stride { step, rate: learning_rate } = stride;
        self.step = step.get();
        Ok(StepReport { step, loss: gave.loss, gradient_norm: gave.norm, learning_rate })
    }

    /// Runs the graph on what its inputs hold, as one part of the batch of the next step; the last part is the step's own.
    ///
    /// Loss and gradients of a step are the means over its parts, summed in float64 on the host: of equal parts those of the
    /// whole batch at once but for rounding, since losses divide by the number of samples, whatever these weigh. A part that is
    /// not finite ends the batch: the next part begins another.
    ///
    /// # Errors
    /// As for [`Trainer::step`].
    pub fn gather(&mut self) -> Result<(), TrainError> {
        let stride = self.stride();
        let Self { session, parameters, loss, home, .. } = self;
        match home {
            Home::Host(host) => host.gather(&mut **session, *loss, parameters, stride.step),
            Home::Device(device) => device.gather(&mut **session, *loss, parameters, stride.step),
        }
    }

    /// Runs the graph without a step: the loss on what the inputs hold.
    ///
    /// # Errors
    /// [`TrainError::Engine`].
    pub fn loss(&mut self) -> Result<f32, TrainError> {
        if let Home::Device(device) = &mut self.home {
            device.stay(&mut *self.session)?;
        }
        self.session.run()?;
        Ok(self.session.output_f32(self.loss)?[0])
    }

    /// Runs the graph without a step and puts the gradient that a step would begin with, before clipping, into `into`: the
    /// parameters' values one behind the other. Returns the loss.
    ///
    /// # Errors
    /// As for [`Trainer::step`].
    pub fn gradient(&mut self, into: &mut Vec<f32>) -> Result<f32, TrainError> {
        let step = self.stride().step;
        let Self { session, parameters, loss, home, .. } = self;
        match home {
            Home::Host(host) => host.gradient(&mut **session, *loss, parameters, step, into),
            Home::Device(device) => device.gradient(&mut **session, *loss, parameters, step, into),
        }
    }

    fn stride(&self) -> Stride {
        let step = NonZeroU64::MIN.saturating_add(self.step);
        Stride { step, rate: self.options.schedule.rate(step.get()) }
    }

    /// Has the state here as it is where training is.
    fn bring(&mut self) -> Result<(), EngineError> {
        match &mut self.home {
            Home::Host(_) => Ok(()),
            Home::Device(device) => device.bring(&mut *self.session, &mut self.state),
        }
    }

    /// Puts the state where training is.
    fn write_state(&mut self) -> Result<(), EngineError> {
        match &mut self.home {
            Home::Host(host) => host.write(&mut *self.session, &self.parameters, &self.state),
            Home::Device(device) => device.write(&mut *self.session, &self.state),
        }
    }
}

fn loss_of(session: &dyn Session) -> Result<usize, TrainError> {
    let is_loss = |port: &crate::engine::TensorPort| {
        port.name == LOSS && port.ty.element == Element::F32 && port.ty.values() == 1
    };
    session.outputs().iter().position(is_loss).ok_or(TrainError::NoLoss)
}

/// The output that is to blame for a loss that is not finite.
fn loss_is_bad(
    session: &dyn Session,
    step: NonZeroU64,
    loss: f32,
) -> Result<TrainError, EngineError> {
    let bad =
        |output: &str, value| TrainError::NotFinite { step, output: output.to_owned(), value };
    for (index, port) in session.outputs().iter().enumerate() {
        if port.name.starts_with(TERM)
            && let [term] = *session.output_f32(index)?
            && !term.is_finite()
        {
            return Ok(bad(&port.name, term));
        }
    }
    Ok(bad(LOSS, loss))
}

/// The values that each parameter is given, one behind the other.
fn run_of<'a>(
    parameters: &[Parameter],
    given: impl Fn(&str) -> Option<&'a [f32]>,
) -> Result<Vec<f32>, TrainError> {
    let mut values = Vec::with_capacity(parameters.last().map_or(0, |last| last.end));
    for parameter in parameters {
        let given = given(&parameter.name).unwrap_or_default();
        let want = parameter.end - parameter.start;
        if given.len() != want {
            let (name, got) = (parameter.name.clone(), given.len());
            return Err(TrainError::Start { name, want, got });
        }
        values.extend_from_slice(given);
    }
    Ok(values)
}
