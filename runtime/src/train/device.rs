//! The optimiser on a device: it is the end of the graph ([`super::inside`]), and nothing that is trained leaves the device
//! until it is asked for.

use std::num::NonZeroU64;

use super::adamw::StepFactors;
use super::inside::{
    AVERAGE, GATHERED, MEANS, NEXT, NORM, SQUARES, STEP, TOLD, TOTAL, VALUES, trained,
    with_optimiser,
};
use super::{GRADIENT, Gave, Parameter, State, Stride, TrainError, TrainOptions, loss_is_bad};
use crate::engine::{Engine, EngineError, LoadOptions, Session};
use crate::onnx::Folded;

/// One run of values that stays on the device: as it is, and as it is after the run.
#[derive(Clone, Copy, Debug)]
struct Kept {
    input: usize,
    next: usize,
}

/// What a trainer on a device has beside its state there.
#[derive(Debug)]
pub(super) struct Device {
    values: Kept,
    means: Kept,
    squares: Kept,
    average: Option<Kept>,
    gathered: Kept,
    told: usize,
    norm: usize,
    total: usize,
    /// The parts of a batch before its last, and the sum of their losses.
    parts: u32,
    losses: f64,
    /// Whether `train.gathered` holds zeros.
    empty: bool,
    /// Whether the trainer's copy of the state is as the device's.
    brought: bool,
    /// Nothing, as long as all parameters.
    zeros: Vec<f32>,
}

/// What is trained, the session that trains it, and what is kept of it there.
pub(super) type Loaded = (Vec<Parameter>, Box<dyn Session>, Device);

/// What a run that takes no step is told; `share` of the gradients is the step's.
fn no_step(share: f32) -> [f32; TOLD] {
    [0.0, 1.0, 1.0, share, 1.0, 0.0]
}

impl Device {
    /// Puts the optimiser behind a training graph and loads both; the state stays with the engine.
    pub(super) fn load(
        engine: &dyn Engine,
        graph: &Folded,
        load: &LoadOptions,
        options: &TrainOptions,
    ) -> Result<Loaded, TrainError> {
        let trained = trained(graph);
        if trained.is_empty() {
            return Err(TrainError::NoGradients);
        }
        let has_loss = graph.model.graph().output.iter().any(|output| output.name() == super::LOSS);
        if !has_loss {
            return Err(TrainError::NoLoss);
        }
        let whole = with_optimiser(graph, &trained, options).map_err(TrainError::NoOptimiser)?;
        let mut load = load.clone();
        let runs = [VALUES, MEANS, SQUARES, GATHERED, AVERAGE];
        load.resident.extend(runs.iter().map(|run| format!("{NEXT}{run}")));
        load.resident.push(TOTAL.to_owned());
        let session = engine.load(&whole.model, &load)?;
        let mut parameters = Vec::<Parameter>::new();
        for of in trained {
            let start = parameters.last().map_or(0, |last| last.end);
            let end = start + of.dims.iter().product::<usize>();
            parameters.push(Parameter { name: of.name, dims: of.dims, start, end });
        }
        let kept = |name: &str| -> Result<Kept, EngineError> {
            let next = session.output_index(&format!("{NEXT}{name}"))?;
            Ok(Kept { input: session.input_index(name)?, next })
        };
        let device = Self {
            values: kept(VALUES)?,
            means: kept(MEANS)?,
            squares: kept(SQUARES)?,
            average: options.average.map(|_decay| kept(AVERAGE)).transpose()?,
            gathered: kept(GATHERED)?,
            told: session.input_index(STEP)?,
            norm: session.output_index(NORM)?,
            total: session.output_index(TOTAL)?,
            parts: 0,
            losses: 0.0,
            empty: true,
            brought: true,
            zeros: vec![0.0; parameters.last().map_or(0, |last| last.end)],
        };
        Ok((parameters, session, device))
    }

    pub(super) fn step(
        &mut self,
        session: &mut dyn Session,
        loss: usize,
        parameters: &[Parameter],
        options: &TrainOptions,
        stride: Stride,
    ) -> Result<Gave, TrainError> {
        let step = stride.step.get();
        // Clipped in the graph.
        let factors = StepFactors::new(options.optimiser, step, stride.rate, 1.0);
        let fade = options.fade(step).unwrap_or(1.0);
        let told = [factors.rate, factors.root, factors.keep, self.share(), fade, 1.0];
        let gave = self.run(session, loss, parameters, stride.step, &told)?;
        for kept in [Some(self.values), Some(self.means), Some(self.squares), self.average] {
            let Some(Kept { input, next }) = kept else { continue };
            session.copy_output_to_input(next, input)?;
        }
        self.brought = false;
        Ok(gave)
    }

    pub(super) fn gather(
        &mut self,
        session: &mut dyn Session,
        loss: usize,
        parameters: &[Parameter],
        step: NonZeroU64,
    ) -> Result<(), TrainError> {
        let told = no_step(self.share());
        self.ready(session, &told)?;
        session.run()?;
        let of_part = session.output_f32(loss)?[0];
        self.check(session, (of_part, of_part), parameters, step)?;
        session.copy_output_to_input(self.gathered.next, self.gathered.input)?;
        self.empty = false;
        self.parts = self.parts.saturating_add(1);
        self.losses += f64::from(of_part);
        Ok(())
    }

    pub(super) fn gradient(
        &mut self,
        session: &mut dyn Session,
        loss: usize,
        parameters: &[Parameter],
        step: NonZeroU64,
        into: &mut Vec<f32>,
    ) -> Result<f32, TrainError> {
        let told = no_step(self.share());
        let gave = self.run(session, loss, parameters, step, &told)?;
        into.resize(self.zeros.len(), 0.0);
        session.fetch_f32(self.total, into)?;
        Ok(gave.loss)
    }

    /// Lets the next run take no step.
    pub(super) fn stay(&mut self, session: &mut dyn Session) -> Result<(), EngineError> {
        session.write_f32(self.told, &no_step(1.0))
    }

    /// Forgets the parts of a batch.
    pub(super) fn clear(&mut self) {
        self.parts = 0;
        self.losses = 0.0;
    }

    /// Has `state` here as it is there.
    pub(super) fn bring(
        &mut self,
        session: &mut dyn Session,
        state: &mut State,
    ) -> Result<(), EngineError> {
        if self.brought {
            return Ok(());
        }
        session.fetch_f32(self.values.next, &mut state.values)?;
        session.fetch_f32(self.means.next, &mut state.means)?;
        session.fetch_f32(self.squares.next, &mut state.squares)?;
        if let Some(average) = self.average {
            session.fetch_f32(average.next, &mut state.average)?;
        }
        self.brought = true;
        Ok(())
    }

    /// Has it there as it is here.
    pub(super) fn write(
        &mut self,
        session: &mut dyn Session,
        state: &State,
    ) -> Result<(), EngineError> {
        session.write_f32(self.values.input, &state.values)?;
        session.write_f32(self.means.input, &state.means)?;
        session.write_f32(self.squares.input, &state.squares)?;
        if let Some(average) = self.average {
            session.write_f32(average.input, &state.average)?;
        }
        self.brought = true;
        Ok(())
    }

    /// The share that each part has of its batch, the part that runs now included.
    fn share(&self) -> f32 {
        (1.0 / (f64::from(self.parts) + 1.0)) as f32
    }

    /// Tells the next run what to do, with no gradients of another batch.
    fn ready(&mut self, session: &mut dyn Session, told: &[f32; TOLD]) -> Result<(), EngineError> {
        if self.parts == 0 && !self.empty {
            session.write_f32(self.gathered.input, &self.zeros)?;
            self.empty = true;
        }
        session.write_f32(self.told, told)
    }

    /// Runs what ends a batch: loss and norm of all its parts.
    fn run(
        &mut self,
        session: &mut dyn Session,
        loss: usize,
        parameters: &[Parameter],
        step: NonZeroU64,
        told: &[f32; TOLD],
    ) -> Result<Gave, TrainError> {
        self.ready(session, told)?;
        session.run()?;
        let last = session.output_f32(loss)?[0];
        let mean = (self.losses + f64::from(last)) / (f64::from(self.parts) + 1.0);
        let norm = self.check(session, (last, mean as f32), parameters, step)?;
        self.clear();
        Ok(Gave { loss: mean as f32, norm })
    }

    /// The norm of the run, or what of it is not finite; the parts of its batch are then forgotten.
    fn check(
        &mut self,
        session: &mut dyn Session,
        (last, mean): (f32, f32),
        parameters: &[Parameter],
        step: NonZeroU64,
    ) -> Result<f32, TrainError> {
        if !last.is_finite() {
            self.clear();
            return Err(loss_is_bad(session, step, mean)?);
        }
        let norm = session.output_f32(self.norm)?[0];
        if norm.is_finite() {
            return Ok(norm);
        }
        self.clear();
        let mut gradient = vec![0.0; self.zeros.len()];
        session.fetch_f32(self.total, &mut gradient)?;
        let at = gradient.iter().position(|value| !value.is_finite());
        let of = at.and_then(|at| parameters.iter().find(|p| (p.start..p.end).contains(&at)));
        let output =
            of.map_or(NORM.to_owned(), |parameter| format!("{GRADIENT}{}", parameter.name));
        let value = at.and_then(|at| gradient.get(at)).copied().unwrap_or(norm);
        Err(TrainError::NotFinite { step, output, value })
    }
}
