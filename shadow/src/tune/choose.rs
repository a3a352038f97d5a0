//! Tuning of a token model where its best adapter is looked for: gradient steps on one part, the adapter chosen on another.

use std::num::NonZeroU32;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::EngineError;
use shoal_runtime::train::StepReport;

use super::TokenTuner;
use crate::fit::{FitError, Source};
use crate::measure::tokens::{TokenMeasureError, TokenPredictor, measure_nats};
use crate::tokens::{TokenBatch, TokenRows};

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
