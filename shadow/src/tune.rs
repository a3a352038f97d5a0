//! Tuning: an adapter trained by gradient steps on what the vehicle remembers.

use std::sync::Arc;

use shoal_runtime::adapter::{Adapter, Layout};
use shoal_runtime::engine::Engine;
use shoal_runtime::gradient::Keep;
use shoal_runtime::onnx::Model;
use shoal_runtime::train::{AdamW, Decay, Schedule, StepReport, TrainOptions};

use crate::fit::{
    Binding, Camera, Fit, FitError, Planned, Policy, Source, Tokens, Trained, graft_package, plan,
    profile_of,
};
use crate::package::Description;

mod choose;
mod options;
mod stepper;
mod whole;

pub use choose::{ChooseError, Choosing, Chosen, Looked, tune_and_choose};
pub use options::{Options, PolicyTuneOptions, StepOptions, TokenTuneOptions, TuneOptions};
pub use stepper::Stepper;
pub use whole::Whole;

/// Decay of the running average of the factors: about the last twenty steps.
const AVERAGE: f32 = 0.95;

/// Trains one adapter of one package of the kind `B`.
pub struct Tuning<B: Binding> {
    stepper: Stepper<B>,
    /// What it was begun from: what is not trained stays so.
    start: Adapter,
    frozen_a: bool,
}

/// Trains an adapter of a camera world model.
pub type Tuner = Tuning<Camera>;

/// Trains an adapter of a token model.
pub type TokenTuner = Tuning<Tokens>;

/// Trains an adapter of a policy.
pub type PolicyTuner = Tuning<Policy>;

impl<B: Binding> Tuning<B> {
    /// Builds the training graph for this engine and loads it. Training starts from `start`, or from
    /// the adapter that changes nothing.
    ///
    /// # Errors
    /// [`FitError`]; [`FitError::OtherLayout`] if `start` has other sites, ranks or α than the package gives it.
    pub fn new(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        start: Option<&Adapter>,
        options: &impl Options<Kind = B>,
    ) -> Result<Self, FitError> {
        let (batch, extent, steps) = (options.room(package)?, options.extent(), options.steps());
        let grafted = graft_package(model, package, extent.samples_at_once()?, profile_of(engine))?;
        let grafted = grafted.masked(steps.dropout > 0.0)?;
        let fresh = Adapter::start(Arc::clone(&grafted.layout), steps.seed);
        let start = start.unwrap_or(&fresh);
        if let Some(how) = grafted.layout.difference(start.layout()) {
            return Err(FitError::OtherLayout { how });
        }
        let trained = grafted.layout.trained(steps.frozen_a);
        let wrt: Vec<String> = trained.map(|factor| factor.input.clone()).collect();
        let factor = |name: &str| factor_of(start, name);
        let (graph, how) = ((&grafted.folded, wrt, extent), (steps.threads, train_options(steps)));
        let keep = Keep { pull: options.pull(), distil: false };
        let mut fit = Fit::keeping(graph, keep, package, engine, how, factor)?;
        if steps.dropout > 0.0 {
            fit = fit.with_masks(steps.dropout, steps.seed)?;
        }
        if steps.frozen_a {
            // What is not trained is an input all the same.
            fit.trainer().restart(start)?;
        }
        let stepper = Stepper { fit, batch };
        Ok(Tuning { stepper, start: start.clone(), frozen_a: steps.frozen_a })
    }

    /// What a step of these options takes, and with how many parts and segments: with the parts that they say, or, where that
    /// is above `limit` bytes, with as few more as it needs; where none are enough, sample by sample in as few segments.
    ///
    /// # Errors
    /// [`FitError::Memory`] if no way stays below the limit; [`FitError`] but for those of engines.
    pub fn within(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        options: &impl Options<Kind = B>,
        limit: u64,
    ) -> Result<Planned, FitError> {
        let StepOptions { frozen_a, dropout, .. } = *options.steps();
        let of = Trained::Factors { frozen_a, dropout: dropout > 0.0 };
        plan::<B>(model, package, (profile_of(engine), of), options.extent(), limit)
    }

    /// Begins anew from another adapter, as if nothing had been trained: what a new one with this start does, without writing
    /// and loading the graph again. A pull or a hold stays until it is set again.
    ///
    /// # Errors
    /// [`FitError::Train`] if the engine fails.
    /// # Panics
    /// If the adapter is of another layout.
    pub fn restart(&mut self, start: &Adapter) -> Result<(), FitError> {
        assert_eq!(start.layout().hash(), self.layout().hash(), "an adapter of this layout");
        self.start = start.clone();
        Ok(self.stepper.fit.trainer().restart(start)?)
    }

    /// Takes steps with another highest learning rate (`> 0`) than it was made with, until it is set again.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.stepper.fit.trainer().set_learning_rate(learning_rate);
    }

    /// Lets every step minimise (μ/2)·|x − place|² besides (FedProx), by the graph's term ([`TuneOptions::pull`]); the loss that
    /// is told is the sum. A checkpoint does not hold the pull.
    ///
    /// # Errors
    /// [`FitError::Train`] if the place is of another layout or the graph has no such term; nothing is changed.
    pub fn pull(&mut self, towards: &Adapter, mu: f64) -> Result<(), FitError> {
        Ok(self.stepper.fit.trainer().pull(mu, |name| factor_of(towards, name))?)
    }

    /// Lets every step minimise (λ/2)·Σ importance·(x − place)² besides, in the place of what [`Tuning::pull`] set: what
    /// matters is held where it is, the rest is free (elastic weight consolidation). The graph has a term by importance; the
    /// loss that is told is the sum. A checkpoint does not hold it.
    ///
    /// # Shapes and units
    /// `importance` is `[values]` in the layout's order, `>= 0`: what [`Tuning::squared_gradients`] returns of what is not to be
    /// forgotten, measured at the place, as it is or scaled.
    /// # Errors
    /// [`FitError::Train`] if place or importance are of another layout, an importance is negative or not finite, or the graph
    /// has no such term; nothing is changed.
    /// # Source
    /// Kirkpatrick et al., arXiv 1612.00796, equation 3.
    pub fn hold(
        &mut self,
        place: &Adapter,
        importance: &[f32],
        lambda: f64,
    ) -> Result<(), FitError> {
        let layout = Arc::clone(self.layout());
        let of = |name: &str| {
            let factor = layout.factors().find(|factor| factor.input == name)?;
            importance.get(factor.range.clone())
        };
        Ok(self.stepper.fit.trainer().hold(lambda, |name| factor_of(place, name), of)?)
    }

    /// Mean of the squared gradients of `batches` batches drawn from `source`, without a step, value by value: of batches of
    /// one sample, the diagonal of the empirical Fisher matrix.
    ///
    /// # Shapes and units
    /// `[values]` in the layout's order; zeros without batches, and where A is frozen. The loss is weighted as in tuning.
    /// # Errors
    /// [`FitError::Train`]; [`FitError::Engine`] if the source fails.
    pub fn squared_gradients(
        &mut self,
        source: &mut impl Source<B::Batch>,
        batches: u32,
    ) -> Result<Vec<f32>, FitError> {
        let layout = Arc::clone(self.layout());
        let mut sums = vec![0.0_f64; layout.values()];
        let mut gradient = Vec::with_capacity(sums.len());
        for batch in 0..batches {
            source.fill(batch.into(), &mut self.stepper.batch)?;
            self.stepper.fit.gradient(&self.stepper.batch, &mut gradient)?;
            let mut gradient = gradient.iter();
            for factor in layout.trained(self.frozen_a) {
                let of = &mut sums[factor.range.clone()];
                of.iter_mut()
                    .zip(&mut gradient)
                    .for_each(|(sum, of)| *sum += f64::from(*of).powi(2));
            }
        }
        Ok(sums.into_iter().map(|sum| (sum / f64::from(batches.max(1))) as f32).collect())
    }

    /// As [`Stepper::run`].
    ///
    /// # Errors
    /// As there.
    pub fn run(
        &mut self,
        source: &mut impl Source<B::Batch>,
        steps: u32,
        tell: impl FnMut(&StepReport),
    ) -> Result<f32, FitError> {
        self.stepper.run(source, steps, tell)
    }

    /// What takes its steps.
    pub fn stepper(&mut self) -> &mut Stepper<B> {
        &mut self.stepper
    }

    /// The adapter as trained so far: the running average of its factors over the last steps, which is
    /// calmer than the last step.
    ///
    /// # Errors
    /// [`FitError::Train`] where a device does not give it.
    pub fn adapter(&mut self) -> Result<Adapter, FitError> {
        let mut adapter = self.start.clone();
        let layout = Arc::clone(adapter.layout());
        let averaged = self.stepper.fit.trainer().averaged()?;
        for (factor, (_, values)) in layout.trained(self.frozen_a).zip(averaged) {
            adapter.values_mut()[factor.range.clone()].copy_from_slice(values);
        }
        Ok(adapter)
    }

    fn layout(&self) -> &Arc<Layout> {
        self.start.layout()
    }

    /// As [`Stepper::step_count`].
    pub fn step_count(&mut self) -> u64 {
        self.stepper.step_count()
    }

    /// As [`Stepper::checkpoint`].
    ///
    /// # Errors
    /// As there.
    pub fn checkpoint(&mut self) -> Result<Vec<u8>, FitError> {
        self.stepper.checkpoint()
    }

    /// As [`Stepper::resume`].
    ///
    /// # Errors
    /// As there.
    pub fn resume(&mut self, checkpoint: &[u8]) -> Result<(), FitError> {
        self.stepper.resume(checkpoint)
    }
}

fn train_options(steps: &StepOptions) -> TrainOptions {
    TrainOptions {
        optimiser: AdamW { beta_square: 0.99, ..AdamW::default() },
        schedule: Schedule {
            peak: steps.learning_rate,
            warm_up_steps: steps.warm_up_steps,
            decay: Decay::Constant,
        },
        gradient_norm_max: Some(1.0),
        average: Some(AVERAGE),
    }
}

/// The values of the factor that this input of a graph takes.
fn factor_of<'a>(adapter: &'a Adapter, input: &str) -> Option<&'a [f32]> {
    let factor = adapter.layout().factors().find(|factor| factor.input == input)?;
    Some(adapter.factor(factor))
}
