//! What a trainer starts from and gives back: an adapter, or all weights of a model.

use std::collections::BTreeMap;

use super::{Home, TrainError, TrainOptions, Trainer};
use crate::adapter::Adapter;
use crate::engine::{Engine, EngineError, LoadOptions, Session};
use crate::graft::AllWeights;
use crate::onnx::Folded;

/// What training starts from: values, row-major, by the name of the input that takes them.
pub type Values<'a> = BTreeMap<&'a str, &'a [f32]>;

impl Trainer {
    /// Trains the factors of an adapter. A factor that is an input of the graph and has no
    /// gradient stays as the adapter has it.
    ///
    /// # Errors
    /// As [`Trainer::new`]; [`TrainError::NoInput`] when the graph lacks one of the factors.
    pub fn from_adapter(
        session: Box<dyn Session>,
        options: TrainOptions,
        adapter: &Adapter,
    ) -> Result<Self, TrainError> {
        let start = factors(adapter);
        lacks_none(&start, |name| session.input_index(name).is_ok())?;
        Self::new(session, options, |name| start.get(name).copied())?.with_others(&start)
    }

    /// As [`Trainer::from_adapter`], of a graph that is loaded as [`Trainer::load`] does.
    ///
    /// # Errors
    /// As [`Trainer::from_adapter`].
    pub fn load_adapter(
        engine: &dyn Engine,
        graph: &Folded,
        load: &LoadOptions,
        options: TrainOptions,
        adapter: &Adapter,
    ) -> Result<Self, TrainError> {
        Self::load_values(engine, graph, load, options, &factors(adapter))
    }

    /// As [`Trainer::load`], where those of `start` that have no gradient stay what they are.
    ///
    /// # Errors
    /// As [`Trainer::from_adapter`].
    pub fn load_values(
        engine: &dyn Engine,
        graph: &Folded,
        load: &LoadOptions,
        options: TrainOptions,
        start: &Values<'_>,
    ) -> Result<Self, TrainError> {
        let inputs = &graph.model.graph().input;
        lacks_none(start, |name| inputs.iter().any(|input| input.name() == name))?;
        Self::load(engine, graph, load, options, |name| start.get(name).copied())?
            .with_others(start)
    }

    /// Trains the weights of a model that [`crate::graft::graft_all_weights`] made inputs.
    ///
    /// # Errors
    /// As [`Trainer::from_adapter`].
    pub fn from_weights(
        session: Box<dyn Session>,
        options: TrainOptions,
        weights: &AllWeights,
    ) -> Result<Self, TrainError> {
        let start = weights_of(weights);
        lacks_none(&start, |name| session.input_index(name).is_ok())?;
        Self::new(session, options, |name| start.get(name).copied())?.with_others(&start)
    }

    /// Writes those that are inputs and have no gradient.
    fn with_others(mut self, start: &Values<'_>) -> Result<Self, TrainError> {
        for (name, values) in start {
            if self.parameters.iter().all(|parameter| parameter.name != **name) {
                let input = self.session.input_index(name)?;
                self.session.write_f32(input, values)?;
            }
        }
        Ok(self)
    }

    /// `start` with every trained factor as it is by now.
    ///
    /// # Errors
    /// As for [`Trainer::parameters`].
    /// # Panics
    /// If `start` is of another layout than the adapter this trainer was made from.
    pub fn adapter(&mut self, start: &Adapter) -> Result<Adapter, TrainError> {
        let mut adapter = start.clone();
        let trained: BTreeMap<&str, &[f32]> = self.parameters()?.collect();
        for factor in start.layout().factors() {
            if let Some(values) = trained.get(factor.input.as_str()) {
                adapter.values_mut()[factor.range.clone()].copy_from_slice(values);
            }
        }
        Ok(adapter)
    }

    /// As [`Trainer::restart_values`], with another highest learning rate.
    ///
    /// # Errors
    /// As [`Trainer::restart`].
    /// # Panics
    /// As [`Trainer::restart`].
    pub fn restart_at(&mut self, start: &Values<'_>, peak: f64) -> Result<(), TrainError> {
        self.set_learning_rate(peak);
        self.restart_values(start)
    }

    /// Takes steps with another highest learning rate (`> 0`) from here on.
    pub fn set_learning_rate(&mut self, peak: f64) {
        self.options.schedule.peak = peak;
    }

    /// Goes on from another adapter of the same layout as if nothing had been trained: no moments,
    /// step 0.
    ///
    /// # Errors
    /// [`TrainError::NoInput`], [`TrainError::Engine`].
    /// # Panics
    /// If the adapter is of another layout than the one this trainer was made from.
    pub fn restart(&mut self, adapter: &Adapter) -> Result<(), TrainError> {
        self.restart_values(&factors(adapter))
    }

    /// As [`Trainer::restart`], from values of the same inputs.
    ///
    /// # Errors
    /// As [`Trainer::restart`].
    /// # Panics
    /// If a parameter is given another number of values than it has.
    pub fn restart_values(&mut self, start: &Values<'_>) -> Result<(), TrainError> {
        for (name, values) in start {
            let trained = self.parameters.iter().find(|parameter| parameter.name == *name);
            if let Some(parameter) = trained {
                self.state.values[parameter.start..parameter.end].copy_from_slice(values);
            } else {
                let input = self
                    .session
                    .input_index(name)
                    .map_err(|_| TrainError::NoInput { name: (*name).to_owned() })?;
                self.session.write_f32(input, values)?;
            }
        }
        self.step = 0;
        self.state.begin();
        Ok(self.restate()?)
    }

    /// Goes on from the state as it is here, with no part of a batch before.
    pub(super) fn restate(&mut self) -> Result<(), EngineError> {
        match &mut self.home {
            Home::Host(host) => host.clear(),
            Home::Device(device) => device.clear(),
        }
        self.write_state()
    }

    /// The weights by now, in the order of `start`, as [`AllWeights::write_into`] takes them: the
    /// running average when one is kept; a weight without a gradient as it was.
    ///
    /// # Errors
    /// As for [`Trainer::parameters`].
    pub fn weights<'a>(&'a mut self, start: &'a AllWeights) -> Result<Vec<&'a [f32]>, TrainError> {
        let trained: BTreeMap<&str, &[f32]> = self.averaged()?.collect();
        let weights = start.weights.iter();
        Ok(weights.map(|w| trained.get(w.input.as_str()).copied().unwrap_or(&w.values)).collect())
    }
}

/// The values of every factor, by the name of its input.
pub(crate) fn factors(adapter: &Adapter) -> Values<'_> {
    adapter.layout().factors().map(|f| (f.input.as_str(), adapter.factor(f))).collect()
}

/// The values of every weight, by the name of its input.
pub(crate) fn weights_of(all: &AllWeights) -> Values<'_> {
    all.weights.iter().map(|w| (w.input.as_str(), w.values.as_slice())).collect()
}

fn lacks_none(start: &Values<'_>, has: impl Fn(&str) -> bool) -> Result<(), TrainError> {
    match start.keys().find(|name| !has(name)) {
        Some(name) => Err(TrainError::NoInput { name: (*name).to_owned() }),
        None => Ok(()),
    }
}
