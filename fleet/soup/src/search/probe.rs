//! One search's view of a meter: points in, the best out.

use super::cmaes::CmaEs;
use super::meter::{Found, Meter, SearchError};
use crate::chance::Draws;
use crate::input::InputError;

/// Measures what points decode to, and remembers the best.
pub(crate) struct Probe<'m, F, D> {
    meter: &'m mut Meter<F>,
    decode: D,
    /// The best goal with what reached it.
    best: Option<(f64, Found)>,
    before: usize,
}

/// A position, with what it was made of.
pub(crate) struct Made {
    pub(crate) values: Vec<f32>,
    pub(crate) coefficients: Vec<f64>,
    /// Taken off the utility: 0, but for a search with a price.
    pub(crate) price: f64,
}

impl<'m, F, D, E> Probe<'m, F, D>
where
    F: FnMut(&[f32]) -> Result<f64, E>,
    D: Fn(&[f64]) -> Result<Made, InputError>,
{
    pub(crate) fn new(meter: &'m mut Meter<F>, decode: D) -> Self {
        let before = meter.used();
        Self { meter, decode, best: None, before }
    }

    /// Utility minus price; `None` when the budget is spent.
    pub(crate) fn measure(&mut self, point: &[f64]) -> Result<Option<f64>, SearchError<E>> {
        if self.meter.left() == 0 {
            return Ok(None);
        }
        let Made { values, coefficients, price } = (self.decode)(point)?;
        let Some(utility) = self.meter.measure(&values)? else { return Ok(None) };
        let goal = utility - price;
        if self.best.as_ref().is_none_or(|(best, _found)| goal > *best) {
            self.best = Some((goal, Found { values, coefficients, utility, evaluations: 0 }));
        }
        Ok(Some(goal))
    }

    pub(crate) fn left(&self) -> usize {
        self.meter.left()
    }

    pub(crate) fn found(self) -> Result<Found, SearchError<E>> {
        let (_goal, found) = self.best.ok_or(SearchError::NoBudget)?;
        Ok(Found { evaluations: self.meter.used() - self.before, ..found })
    }

    /// The start itself, then generations of CMA-ES around it until the budget is spent. A generation that the budget cuts
    /// short counts for the best, not for the next.
    pub(crate) fn cma_es(
        mut self,
        start: Vec<f64>,
        deviation: f64,
        draws: &mut Draws,
    ) -> Result<Found, SearchError<E>> {
        let mut strategy = CmaEs::new(start.clone(), deviation)?;
        self.measure(&start)?;
        while self.left() > 0 && !start.is_empty() {
            let points = strategy.ask(draws);
            let mut goals = Vec::with_capacity(points.len());
            for point in &points {
                let Some(goal) = self.measure(point)? else { return self.found() };
                goals.push(goal);
            }
            strategy.tell(&points, &goals)?;
        }
        self.found()
    }
}
