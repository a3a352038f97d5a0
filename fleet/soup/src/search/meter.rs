//! A utility with a budget.

use crate::input::InputError;

/// Why a search ended without a result. `E`: why a utility could not be measured.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SearchError<E> {
    /// What the search was given does not fit.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A measurement failed.
    #[error("a utility could not be measured")]
    Utility(#[source] E),
    /// A utility that cannot be compared.
    #[error("evaluation {evaluation} gave NaN")]
    NotANumber { evaluation: usize },
    /// Not one evaluation is left.
    #[error("the budget of evaluations is spent before the first")]
    NoBudget,
}

/// Measures positions and counts: `F` is what measures one, a flat run `[dim]`; higher is better.
///
/// Several searches can share one, and with it a budget.
pub struct Meter<F> {
    measure: F,
    used: usize,
    budget: usize,
}

impl<F> Meter<F> {
    /// Measures with this function, as often as the budget says.
    pub fn new(budget: usize, measure: F) -> Self {
        Self { measure, used: 0, budget }
    }

    /// Evaluations so far.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Evaluations left.
    pub fn left(&self) -> usize {
        self.budget - self.used
    }

    /// The utility of one position; `None` when the budget is spent.
    ///
    /// # Errors
    /// [`SearchError`] if the measurement fails or gives NaN. It counts either way.
    pub fn measure<E>(&mut self, values: &[f32]) -> Result<Option<f64>, SearchError<E>>
    where
        F: FnMut(&[f32]) -> Result<f64, E>,
    {
        if self.left() == 0 {
            return Ok(None);
        }
        self.used += 1;
        let utility = (self.measure)(values).map_err(SearchError::Utility)?;
        not_a_number(self.used, utility)?;
        Ok(Some(utility))
    }
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The best that was measured, the first of equals, `[dim]`.
    pub values: Vec<f32>,
    /// What it was made with: coefficients, or the genes of a recipe; empty where values are searched themselves.
    pub coefficients: Vec<f64>,
    /// As measured.
    pub utility: f64,
    /// Evaluations that this search used.
    pub evaluations: usize,
}

pub(crate) fn not_a_number<E>(evaluation: usize, utility: f64) -> Result<(), SearchError<E>> {
    if utility.is_nan() { Err(SearchError::NotANumber { evaluation }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_kept_and_every_evaluation_counts() {
        let mut calls = 0;
        let mut meter = Meter::new(2, |_x: &[f32]| {
            calls += 1;
            if calls == 1 { Err("no engine") } else { Ok(1.0) }
        });
        assert_eq!(meter.measure(&[]), Err(SearchError::Utility("no engine")));
        assert_eq!(meter.measure(&[]), Ok(Some(1.0)));
        assert_eq!((meter.used(), meter.left()), (2, 0));
        assert_eq!(meter.measure(&[]), Ok(None));
        assert_eq!(calls, 2);
    }

    #[test]
    fn minus_infinity_is_a_utility_and_nan_is_none() {
        let mut values = [f64::NEG_INFINITY, f64::NAN].into_iter();
        let mut meter = Meter::new(2, |_x: &[f32]| values.next().ok_or(()));
        assert_eq!(meter.measure(&[]), Ok(Some(f64::NEG_INFINITY)));
        assert_eq!(meter.measure(&[]), Err(SearchError::NotANumber { evaluation: 2 }));
    }
}
