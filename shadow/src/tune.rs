//! Tuning: an adapter trained by gradient steps on what the vehicle remembers.

use std::num::NonZeroUsize;
use std::sync::Arc;

use shoal_runtime::adapter::{Adapter, Layout};
use shoal_runtime::engine::Engine;
use shoal_runtime::gradient::{Keep, Pull};
use shoal_runtime::onnx::Model;
use shoal_runtime::train::{AdamW, Decay, Schedule, StepReport, TrainOptions};

use crate::batch::{Batch, Mix};
use crate::fit::{
    Binding, Camera, Extent, Fit, FitError, Planned, Policy, Source, Tokens, Trained,
    graft_package, plan, profile_of,
};
use crate::form::Form;
use crate::package::Description;

mod policy;
mod stepper;
mod tokens;
mod whole;

pub use policy::PolicyTuneOptions;
pub use stepper::Stepper;
pub use tokens::{ChooseError, Choosing, Chosen, Looked, TokenTuneOptions, tune_and_choose};
pub use whole::Whole;

/// Decay of the running average of the factors: about the last twenty steps.
const AVERAGE: f32 = 0.95;

/// How an adapter is tuned; the defaults are recipe R.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TuneOptions {
    /// Samples of a batch by kind.
    pub mix: Mix,
    /// AdamW's highest step size.
    pub learning_rate: f64,
    /// Steps until it is reached.
    pub warm_up_steps: u64,
    /// Seed of the factors' start values and of every batch.
    pub seed: u64,
    /// Threads of the engine.
    pub threads: NonZeroUsize,
    /// Frames that are predicted in a row, each from those predicted before: 1 trains on the next one alone. Batches then have
    /// as many true next frames ([`Batch::with_ahead`]).
    pub ahead: usize,
    /// Parts in which a batch goes through the graph, one after another: less memory, more time, the same step. The samples
    /// of a batch are a multiple of it.
    pub parts: usize,
    /// Segments of the forward pass, all but the last computed again on the way back: less memory, more time; 1 computes
    /// nothing again. [`Tuner::within`] chooses parts and segments.
    pub segments: usize,
    /// The term of the loss that [`Tuning::pull`] or [`Tuning::hold`] gives its place and strength.
    pub pull: Option<Pull>,
    /// Whether A stays where it starts ([`Adapter::start_frozen`]): B alone has gradients and moments.
    pub frozen_a: bool,
    /// Share of what goes into A that a step drops, in `[0, 1)`; 0: nothing.
    pub dropout: f64,
}

impl Default for TuneOptions {
    fn default() -> Self {
        TuneOptions {
            mix: Mix::RECIPE_R,
            learning_rate: 3e-3,
            warm_up_steps: 5,
            seed: 0,
            threads: NonZeroUsize::MIN,
            ahead: 1,
            parts: 1,
            segments: 1,
            pull: None,
            frozen_a: false,
            dropout: 0.0,
        }
    }
}

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

/// What every kind of model is tuned with.
#[derive(Clone, Copy)]
struct Steps {
    learning_rate: f64,
    warm_up_steps: u64,
    seed: u64,
    threads: NonZeroUsize,
    extent: Extent,
    pull: Option<Pull>,
    frozen_a: bool,
    dropout: f64,
}

impl Tuning<Camera> {
    /// Builds the training graph for this engine and loads it. Training starts from `start`, or from
    /// the adapter that changes nothing.
    ///
    /// # Errors
    /// [`FitError`]; that `start` is of another layout shows as a start of the wrong length.
    pub fn new(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        start: Option<&Adapter>,
        options: &TuneOptions,
    ) -> Result<Self, FitError> {
        let (batch, steps) = begin(package, options)?;
        Tuning::build(model, package, engine, start, batch, steps)
    }

    /// Full tuning in the place of an adapter's: all weights of the model, of which `options` hold but for A and the pull.
    ///
    /// # Errors
    /// [`FitError`].
    pub fn whole(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        options: &TuneOptions,
    ) -> Result<Whole<Camera>, FitError> {
        let (batch, steps) = begin(package, options)?;
        Whole::build(model, package, engine, batch, steps)
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
        options: &TuneOptions,
        limit: u64,
    ) -> Result<Planned, FitError> {
        let of = Trained::Factors { frozen_a: options.frozen_a, dropout: options.dropout > 0.0 };
        plan::<Camera>(model, package, (profile_of(engine), of), extent_of(options), limit)
    }

    /// As [`Tuner::within`], of full tuning.
    ///
    /// # Errors
    /// As there.
    pub fn whole_within(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        options: &TuneOptions,
        limit: u64,
    ) -> Result<Planned, FitError> {
        let graph = (profile_of(engine), Trained::Weights);
        plan::<Camera>(model, package, graph, extent_of(options), limit)
    }
}

/// Room for a batch, and how steps are taken.
fn begin(package: &Description, options: &TuneOptions) -> Result<(Batch, Steps), FitError> {
    let TuneOptions { mix, learning_rate, warm_up_steps, seed, threads, ahead, .. } = *options;
    let TuneOptions { pull, frozen_a, dropout, .. } = *options;
    let batch = Batch::with_ahead(Form::of(package)?, mix.samples(), ahead);
    let extent = extent_of(options);
    let steps =
        Steps { learning_rate, warm_up_steps, seed, threads, extent, pull, frozen_a, dropout };
    Ok((batch, steps))
}

fn extent_of(options: &TuneOptions) -> Extent {
    let TuneOptions { mix, ahead, parts, segments, .. } = *options;
    Extent { samples: mix.samples(), ahead, parts, segments }
}

impl<B: Binding> Tuning<B> {
    fn build(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        start: Option<&Adapter>,
        batch: B::Batch,
        steps: Steps,
    ) -> Result<Self, FitError> {
        let once = steps.extent.samples_at_once()?;
        let grafted = graft_package(model, package, once, profile_of(engine))?;
        let grafted = grafted.masked(steps.dropout > 0.0)?;
        let fresh = Adapter::start(Arc::clone(&grafted.layout), steps.seed);
        let start = start.unwrap_or(&fresh);
        let trained = grafted.layout.trained(steps.frozen_a);
        let wrt: Vec<String> = trained.map(|factor| factor.input.clone()).collect();
        let train = train_options(&steps);
        let factor = |name: &str| factor_of(start, name);
        let graph = (&grafted.folded, wrt, steps.extent);
        let keep = Keep { pull: steps.pull, distil: false };
        let mut fit = Fit::keeping(graph, keep, package, engine, (steps.threads, train), factor)?;
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

fn train_options(steps: &Steps) -> TrainOptions {
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
