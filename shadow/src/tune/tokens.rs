//! Tuning of a token model: gradient steps on one part, the adapter chosen on another.

use std::num::{NonZeroU32, NonZeroUsize};

use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::{Engine, EngineError};
use shoal_runtime::onnx::Model;
use shoal_runtime::train::StepReport;

use super::{Steps, TokenTuner, Tuning, Whole};
use crate::fit::{Extent, FitError, Planned, Source, Tokens, Trained, plan, profile_of};
use crate::measure::tokens::{TokenMeasureError, TokenPredictor, measure_nats};
use crate::package::Description;
use crate::tokens::{TokenBatch, TokenForm, TokenRows};

/// How an adapter of a token model is tuned.
///
/// The defaults were measured on tinyphysics and a minute of comma2k19: the step size of recipe R is
/// ten times too large there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenTuneOptions {
    /// Samples of a batch.
    pub samples: usize,
    /// AdamW's highest step size.
    pub learning_rate: f64,
    /// Steps until it is reached.
    pub warm_up_steps: u64,
    /// Seed of the factors' start values and of every batch.
    pub seed: u64,
    /// Threads of the engine.
    pub threads: NonZeroUsize,
    /// Parts and segments, as [`TuneOptions`](super::TuneOptions) has them.
    pub parts: usize,
    /// As [`TuneOptions`](super::TuneOptions) has them.
    pub segments: usize,
    /// Whether A stays where it starts, as [`TuneOptions`](super::TuneOptions) has it.
    pub frozen_a: bool,
    /// Share of what goes into A that a step drops, as [`TuneOptions`](super::TuneOptions) has it.
    pub dropout: f64,
}

impl Default for TokenTuneOptions {
    fn default() -> Self {
        TokenTuneOptions {
            samples: 32,
            learning_rate: 3e-4,
            warm_up_steps: 5,
            seed: 0,
            threads: NonZeroUsize::MIN,
            parts: 1,
            segments: 1,
            frozen_a: false,
            dropout: 0.0,
        }
    }
}

impl Tuning<Tokens> {
    /// As for a camera world model, with batches of rows.
    ///
    /// # Errors
    /// [`FitError`]; that `start` is of another layout shows as a start of the wrong length.
    pub fn new(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        start: Option<&Adapter>,
        options: &TokenTuneOptions,
    ) -> Result<Self, FitError> {
        let (batch, steps) = begin(package, options)?;
        Tuning::build(model, package, engine, start, batch, steps)
    }

    /// Full tuning, as [`Tuner::whole`](super::Tuner::whole) has it.
    ///
    /// # Errors
    /// [`FitError`].
    pub fn whole(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        options: &TokenTuneOptions,
    ) -> Result<Whole<Tokens>, FitError> {
        let (batch, steps) = begin(package, options)?;
        Whole::build(model, package, engine, batch, steps)
    }

    /// What a step of these options takes, as [`Tuner::within`](super::Tuner::within) has it.
    ///
    /// # Errors
    /// As there.
    pub fn within(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        options: &TokenTuneOptions,
        limit: u64,
    ) -> Result<Planned, FitError> {
        let of = Trained::Factors { frozen_a: options.frozen_a, dropout: options.dropout > 0.0 };
        let graph = (profile_of(engine), of);
        plan::<Tokens>(model, package, graph, extent_of(options), limit)
    }

    /// As [`TokenTuner::within`](super::TokenTuner::within), of full tuning.
    ///
    /// # Errors
    /// As there.
    pub fn whole_within(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        options: &TokenTuneOptions,
        limit: u64,
    ) -> Result<Planned, FitError> {
        let graph = (profile_of(engine), Trained::Weights);
        plan::<Tokens>(model, package, graph, extent_of(options), limit)
    }
}

/// Room for a batch, and how steps are taken.
fn begin(
    package: &Description,
    options: &TokenTuneOptions,
) -> Result<(TokenBatch, Steps), FitError> {
    let TokenTuneOptions { samples, learning_rate, warm_up_steps, seed, threads, .. } = *options;
    let TokenTuneOptions { frozen_a, dropout, .. } = *options;
    let batch = TokenBatch::new(TokenForm::of(package)?, samples);
    let (extent, pull) = (extent_of(options), None);
    let steps =
        Steps { learning_rate, warm_up_steps, seed, threads, extent, pull, frozen_a, dropout };
    Ok((batch, steps))
}

fn extent_of(options: &TokenTuneOptions) -> Extent {
    let TokenTuneOptions { samples, parts, segments, .. } = *options;
    Extent { samples, ahead: 1, parts, segments }
}

/// The adapter that is least surprised by the rows it was chosen on.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// It.
    pub adapter: Adapter,
    /// Steps after which it was; 0 if every step made it worse.
    pub steps: u64,
    /// Nats a token on those rows.
    pub nats: f64,
}

/// What [`tune_and_choose`] tells while it works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Looked {
    /// A step was taken.
    Step(StepReport),
    /// The adapter was measured on the rows it may be chosen on.
    Measured {
        /// Steps taken.
        steps: u64,
        /// Nats a token.
        nats: f64,
    },
}

/// Why an adapter could not be tuned and chosen.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// Training stopped.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The adapter cannot be measured.
    #[error("the adapter cannot be measured while it is tuned")]
    Measure(#[from] TokenMeasureError),
    /// The model that measures does not take the adapter.
    #[error("the adapter is not one of the model that measures it")]
    Write(#[from] EngineError),
}

/// Keeps of an adapter that is tuned what was least surprised by the rows it may be chosen on; of equals the earlier.
pub struct Choosing<'a, 'r> {
    predictor: &'a mut TokenPredictor,
    rows: &'a TokenRows<'r>,
    best: Option<Chosen>,
}

impl<'a, 'r> Choosing<'a, 'r> {
    /// Begins with what was chosen so far, if anything was. `predictor` is the same model with its factors as inputs.
    pub fn new(
        predictor: &'a mut TokenPredictor,
        rows: &'a TokenRows<'r>,
        best: Option<Chosen>,
    ) -> Self {
        Choosing { predictor, rows, best }
    }

    /// Measures the adapter as it is; nats a token.
    ///
    /// # Errors
    /// [`ChooseError`]; what was chosen before stays.
    pub fn look(&mut self, tuner: &mut TokenTuner) -> Result<f64, ChooseError> {
        let adapter = tuner.adapter()?;
        self.predictor.write_adapter(&adapter)?;
        let [measured] = measure_nats(self.predictor, self.rows, [1.0])?;
        let (steps, nats) = (tuner.step_count(), measured.mean());
        if self.best.as_ref().is_none_or(|best| nats < best.nats) {
            self.best = Some(Chosen { adapter, steps, nats });
        }
        Ok(nats)
    }

    /// What was chosen so far.
    pub fn best(&self) -> Option<&Chosen> {
        self.best.as_ref()
    }
}

/// Takes `steps` steps, measures the adapter on `choosing` before the first and after every `every`
/// steps (and the last), and keeps the best; of equals the earlier.
///
/// `predictor` is the same model with its factors as inputs.
///
/// # Errors
/// [`ChooseError`].
pub fn tune_and_choose(
    tuner: &mut TokenTuner,
    predictor: &mut TokenPredictor,
    source: &mut impl Source<TokenBatch>,
    choosing: &TokenRows<'_>,
    (steps, every): (u32, NonZeroU32),
    mut tell: impl FnMut(Looked),
) -> Result<Chosen, ChooseError> {
    let mut chosen = Choosing::new(predictor, choosing, None);
    let mut taken = 0;
    loop {
        let nats = chosen.look(tuner)?;
        tell(Looked::Measured { steps: tuner.step_count(), nats });
        if taken == steps {
            return Ok(chosen.best.expect("at least the start was measured"));
        }
        let now = every.get().min(steps - taken);
        tuner.run(source, now, |step| tell(Looked::Step(*step)))?;
        taken += now;
    }
}
