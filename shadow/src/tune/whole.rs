//! Full tuning: all weights of a package's model, on the batches that its adapters are tuned on.

use shoal_runtime::engine::Engine;
use shoal_runtime::gradient::Keep;
use shoal_runtime::graft::{AllWeights, Left};
use shoal_runtime::onnx::Model;

use super::{Options, Stepper, train_options};
use crate::fit::{Binding, Fit, FitError, Planned, Trained, plan, profile_of, weigh};
use crate::package::Description;

/// Trains all weights of a package's model.
pub struct Whole<B: Binding> {
    stepper: Stepper<B>,
    all: AllWeights,
}

impl<B: Binding> Whole<B> {
    /// Builds the training graph of all weights for this engine and loads it; `options` hold but for A, dropout and the pull.
    ///
    /// # Errors
    /// [`FitError`].
    pub fn new(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        options: &impl Options<Kind = B>,
    ) -> Result<Self, FitError> {
        let (batch, extent, steps) = (options.room(package)?, options.extent(), options.steps());
        let all = weigh(model, extent.samples_at_once()?)?;
        let wrt = all.weights.iter().map(|weight| weight.input.clone()).collect();
        let start = |name: &str| {
            all.weights.iter().find(|weight| weight.input == name).map(|weight| &weight.values[..])
        };
        let graph = (&all.folded, wrt, extent);
        let how = (steps.threads, train_options(steps));
        let fit = Fit::keeping(graph, Keep::default(), package, engine, how, start)?;
        Ok(Whole { stepper: Stepper { fit, batch }, all })
    }

    /// What a step of these options takes, as [`Tuning::within`](super::Tuning::within) has it.
    ///
    /// # Errors
    /// As there.
    pub fn within(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        options: &impl Options<Kind = B>,
        limit: u64,
    ) -> Result<Planned, FitError> {
        let graph = (profile_of(engine), Trained::Weights);
        plan::<B>(model, package, graph, options.extent(), limit)
    }

    /// Initializers that stay as they are.
    pub fn left(&self) -> &[Left] {
        &self.all.left
    }

    /// What takes its steps.
    pub fn stepper(&mut self) -> &mut Stepper<B> {
        &mut self.stepper
    }

    /// The model with the weights as trained so far: their running average over the last steps.
    ///
    /// # Errors
    /// [`FitError::Train`] where a device does not give them; [`FitError::Weights`] if the model is another one.
    pub fn model(&mut self, model: &Model) -> Result<Model, FitError> {
        let trainer = self.stepper.fit.trainer();
        Ok(self.all.write_into(model, &trainer.weights(&self.all)?)?)
    }
}
