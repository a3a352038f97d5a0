//! Training: a session of a training graph, and an optimiser that writes its parameters in place.
//!
//! A training graph (see [`crate::gradient`]) has an output `loss` and, for every input `p` that
//! is a parameter, an output `grad.p`. The pairs are found by these names.

use std::num::NonZeroU64;

use crate::engine::{EngineError, Session};
use crate::onnx::Element;

mod adamw;
mod checkpoint;
mod gather;
mod keep;
mod schedule;
mod start;

pub use adamw::AdamW;
use adamw::StepFactors;
pub use checkpoint::CheckpointError;
use gather::Gathered;
pub use keep::of_mean_one;
pub use schedule::{Decay, Schedule};

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
    /// The engine failed.
    #[error("the engine failed while training")]
    Engine(#[from] EngineError),
}

/// One parameter: an input, its gradient, its place in the flat run.
#[derive(Clone, Debug)]
struct Parameter {
    name: String,
    dims: Vec<usize>,
    input: usize,
    gradient: usize,
    start: usize,
    end: usize,
}

/// Trains the parameters of one session.
pub struct Trainer {
    session: Box<dyn Session>,
    options: TrainOptions,
    parameters: Vec<Parameter>,
    loss: usize,
    step: u64,
    values: Vec<f32>,
    means: Vec<f32>,
    squares: Vec<f32>,
    average: Vec<f32>,
    gathered: Gathered,
}

impl Trainer {
    /// Takes over a session of a training graph; `start` gives each parameter, by the name of its
    /// input, the values it starts from (row-major, in the graph's shape).
    ///
    /// # Errors
    /// Any [`TrainError`] but `NotFinite`.
    pub fn new<'a>(
        session: Box<dyn Session>,
        options: TrainOptions,
        start: impl Fn(&str) -> Option<&'a [f32]>,
    ) -> Result<Self, TrainError> {
        let loss = session.outputs().iter().position(|port| {
            port.name == LOSS && port.ty.element == Element::F32 && port.ty.values() == 1
        });
        let loss = loss.ok_or(TrainError::NoLoss)?;
        let parameters = parameters(&*session)?;
        let count = parameters.last().map_or(0, |last| last.end);
        let values = run_of(&parameters, start)?;
        let average = if options.average.is_some() { values.clone() } else { Vec::new() };
        let (means, squares) = (vec![0.0; count], vec![0.0; count]);
        let mut trainer = Self {
            session,
            options,
            parameters,
            loss,
            step: 0,
            values,
            means,
            squares,
            average,
            gathered: Gathered::default(),
        };
        trainer.write_parameters()?;
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
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.slices(&self.values)
    }

    /// As [`Self::parameters`], the running average; the values themselves when none is kept.
    pub fn averaged(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.slices(if self.options.average.is_some() { &self.average } else { &self.values })
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
        let (step, loss) = self.run()?;
        let checked = self.check(step, loss, |of| self.gathered.gradient(&*self.session, of));
        let gradient_norm = checked.inspect_err(|_| self.gathered.clear())?;
        let clip = match self.options.gradient_norm_max {
            // As `torch.nn.utils.clip_grad_norm_` has it.
            Some(max) => (max / (gradient_norm + 1e-6)).min(1.0),
            None => 1.0,
        };
        let learning_rate = self.options.schedule.rate(step.get());
        let factors = StepFactors::new(self.options.optimiser, step.get(), learning_rate, clip);
        for parameter in &self.parameters {
            let place = parameter.start..parameter.end;
            let gradient = self.gathered.gradient(&*self.session, parameter)?;
            factors.step(
                &mut self.values[place.clone()],
                &mut self.means[place.clone()],
                &mut self.squares[place],
                gradient,
                parameter.dims.len() > 1,
            );
        }
        self.gathered.clear();
        self.step = step.get();
        self.update_average();
        self.write_parameters()?;
        Ok(StepReport { step, loss, gradient_norm, learning_rate })
    }

    /// Runs the graph on what its inputs hold, as one part of the batch of the next step; the last part is the step's own.
    ///
    /// Loss and gradients of a step are the means over its parts, summed in float64: of equal parts those of the whole batch at
    /// once but for rounding, since losses divide by the number of samples, whatever these weigh. A part that is not finite
    /// ends the batch: the next part begins another.
    ///
    /// # Errors
    /// As for [`Trainer::step`].
    pub fn gather(&mut self) -> Result<(), TrainError> {
        self.session.run()?;
        let loss = self.session.output_f32(self.loss)?[0];
        let step = NonZeroU64::MIN.saturating_add(self.step);
        let checked =
            self.check(step, loss, |parameter| self.session.output_f32(parameter.gradient));
        if let Err(error) = checked {
            self.gathered.clear();
            return Err(error);
        }
        self.gathered.add(&*self.session, &self.parameters, loss)?;
        Ok(())
    }

    /// Runs the graph without a step: the loss on what the inputs hold.
    ///
    /// # Errors
    /// [`TrainError::Engine`].
    pub fn loss(&mut self) -> Result<f32, TrainError> {
        self.session.run()?;
        Ok(self.session.output_f32(self.loss)?[0])
    }

    /// Runs the graph without a step and puts the gradient that a step would begin with, before clipping, into `into`: the
    /// parameters' values one behind the other. Returns the loss.
    ///
    /// # Errors
    /// As for [`Trainer::step`].
    pub fn gradient(&mut self, into: &mut Vec<f32>) -> Result<f32, TrainError> {
        let (step, loss) = self.run()?;
        let checked = self.check(step, loss, |of| self.gathered.gradient(&*self.session, of));
        checked.inspect_err(|_| self.gathered.clear())?;
        into.clear();
        for parameter in &self.parameters {
            into.extend_from_slice(self.gathered.gradient(&*self.session, parameter)?);
        }
        self.gathered.clear();
        Ok(loss)
    }

    /// Runs the graph and takes the mean with the parts gathered before: the number of the step that would be taken, and the
    /// loss.
    fn run(&mut self) -> Result<(NonZeroU64, f32), TrainError> {
        self.session.run()?;
        let step = NonZeroU64::MIN.saturating_add(self.step);
        let mut loss = self.session.output_f32(self.loss)?[0];
        if self.gathered.any() {
            self.gathered.add(&*self.session, &self.parameters, loss)?;
            loss = self.gathered.finish();
        }
        Ok((step, loss))
    }

    /// The norm of all gradients, or the first output that is not finite.
    fn check<'a>(
        &'a self,
        step: NonZeroU64,
        loss: f32,
        of: impl Fn(&Parameter) -> Result<&'a [f32], EngineError>,
    ) -> Result<f32, TrainError> {
        let bad = |output: &str, value: f32| {
            Err(TrainError::NotFinite { step, output: output.to_owned(), value })
        };
        if !loss.is_finite() {
            for (index, port) in self.session.outputs().iter().enumerate() {
                if port.name.starts_with(TERM)
                    && let [term] = *self.session.output_f32(index)?
                    && !term.is_finite()
                {
                    return bad(&port.name, term);
                }
            }
            return bad(LOSS, loss);
        }
        let mut total = 0.0_f64;
        for parameter in &self.parameters {
            let gradient = of(parameter)?;
            let sum: f64 = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
            if !sum.is_finite() {
                let value = gradient.iter().copied().find(|g| !g.is_finite()).unwrap_or(f32::NAN);
                return bad(&self.session.outputs()[parameter.gradient].name, value);
            }
            total += sum;
        }
        Ok(total.sqrt() as f32)
    }

    fn update_average(&mut self) {
        let Some(decay) = self.options.average else { return };
        let t = self.step as f32;
        let keep = decay.min((1.0 + t) / (10.0 + t));
        for (average, value) in self.average.iter_mut().zip(&self.values) {
            *average = keep * *average + (1.0 - keep) * value;
        }
    }

    fn write_parameters(&mut self) -> Result<(), EngineError> {
        for parameter in &self.parameters {
            let values = &self.values[parameter.start..parameter.end];
            self.session.write_f32(parameter.input, values)?;
        }
        Ok(())
    }
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

/// Pairs every `grad.p` with the input `p`.
fn parameters(session: &dyn Session) -> Result<Vec<Parameter>, TrainError> {
    let mut parameters: Vec<Parameter> = Vec::new();
    for (gradient, port) in session.outputs().iter().enumerate() {
        let Some(name) = port.name.strip_prefix(GRADIENT) else { continue };
        let unpaired = |why: String| TrainError::Unpaired { output: port.name.clone(), why };
        let input = session
            .input_index(name)
            .map_err(|_| unpaired(format!("there is no input `{name}`")))?;
        let ty = &session.inputs()[input].ty;
        if *ty != port.ty || ty.element != Element::F32 {
            return Err(unpaired(format!(
                "it is {}, the input {ty}; both must be float32",
                port.ty
            )));
        }
        let start = parameters.last().map_or(0, |last| last.end);
        parameters.push(Parameter {
            name: name.to_owned(),
            dims: ty.dims.clone(),
            input,
            gradient,
            start,
            end: start + ty.values(),
        });
    }
    if parameters.is_empty() { Err(TrainError::NoGradients) } else { Ok(parameters) }
}
