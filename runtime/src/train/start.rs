//! What a trainer starts from and gives back: an adapter, or all weights of a model.

use std::collections::BTreeMap;

use super::{TrainError, TrainOptions, Trainer};
use crate::adapter::Adapter;
use crate::engine::Session;
use crate::graft::AllWeights;

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
        let factors = adapter.layout().factors();
        let start = factors.map(|f| (f.input.as_str(), adapter.factor(f))).collect();
        Self::from_runs(session, options, &start)
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
        let weights = weights.weights.iter();
        let start = weights.map(|w| (w.input.as_str(), w.values.as_slice())).collect();
        Self::from_runs(session, options, &start)
    }

    fn from_runs(
        mut session: Box<dyn Session>,
        options: TrainOptions,
        start: &BTreeMap<&str, &[f32]>,
    ) -> Result<Self, TrainError> {
        for (name, values) in start {
            let input = session
                .input_index(name)
                .map_err(|_| TrainError::NoInput { name: (*name).to_owned() })?;
            session.write_f32(input, values)?;
        }
        Self::new(session, options, |name| start.get(name).copied())
    }

    /// `start` with every trained factor as it is by now.
    ///
    /// # Panics
    /// If `start` is of another layout than the adapter this trainer was made from.
    pub fn adapter(&self, start: &Adapter) -> Adapter {
        let mut adapter = start.clone();
        let trained: BTreeMap<&str, &[f32]> = self.parameters().collect();
        for factor in start.layout().factors() {
            if let Some(values) = trained.get(factor.input.as_str()) {
                adapter.values_mut()[factor.range.clone()].copy_from_slice(values);
            }
        }
        adapter
    }

    /// As [`Trainer::restart`], with another highest learning rate.
    ///
    /// # Errors
    /// As [`Trainer::restart`].
    /// # Panics
    /// As [`Trainer::restart`].
    pub fn restart_at(&mut self, adapter: &Adapter, peak: f64) -> Result<(), TrainError> {
        self.options.schedule.peak = peak;
        self.restart(adapter)
    }

    /// Goes on from another adapter of the same layout as if nothing had been trained: no moments,
    /// step 0.
    ///
    /// # Errors
    /// [`TrainError::NoInput`], [`TrainError::Engine`].
    /// # Panics
    /// If the adapter is of another layout than the one this trainer was made from.
    pub fn restart(&mut self, adapter: &Adapter) -> Result<(), TrainError> {
        for factor in adapter.layout().factors() {
            let values = adapter.factor(factor);
            let trained = self.parameters.iter().find(|p| p.name == factor.input);
            if let Some(parameter) = trained {
                self.values[parameter.start..parameter.end].copy_from_slice(values);
            } else {
                let input = self
                    .session
                    .input_index(&factor.input)
                    .map_err(|_| TrainError::NoInput { name: factor.input.clone() })?;
                self.session.write_f32(input, values)?;
            }
        }
        self.step = 0;
        self.gathered.clear();
        self.means.fill(0.0);
        self.squares.fill(0.0);
        let values = &self.values;
        self.average.iter_mut().zip(values).for_each(|(average, value)| *average = *value);
        Ok(self.write_parameters()?)
    }

    /// The weights by now, in the order of `start`, as [`AllWeights::write_into`] takes them: the
    /// running average when one is kept; a weight without a gradient as it was.
    pub fn weights<'a>(&'a self, start: &'a AllWeights) -> Vec<&'a [f32]> {
        let trained: BTreeMap<&str, &[f32]> = self.averaged().collect();
        let weights = start.weights.iter();
        weights.map(|w| trained.get(w.input.as_str()).copied().unwrap_or(&w.values)).collect()
    }
}
