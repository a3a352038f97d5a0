//! LoraHub: few coefficients, within bounds, at a price.

use super::meter::{Found, Meter, SearchError};
use super::probe::{Made, Probe};
use crate::chance::Draws;
use crate::input::{Members, narrow, positive, within};

/// How LoraHub searches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoraHub {
    /// No coefficient is farther from 0.
    pub bound: f64,
    /// c: what a mean coefficient of 1 costs, in units of the utility.
    pub price: f64,
    /// Of a coefficient, in the first generation.
    pub deviation: f64,
}

impl LoraHub {
    /// Bound and price of the paper; the deviation is ours, for the paper's optimiser has none.
    pub const PAPER: Self = Self { bound: 1.5, price: 0.05, deviation: 0.5 };
}

/// What LoraHub minimises: loss + c·mean|wᵢ|.
pub fn objective(loss: f64, weights: &[f64], price: f64) -> f64 {
    let sum: f64 = weights.iter().map(|weight| weight.abs()).sum();
    loss + price * if weights.is_empty() { 0.0 } else { sum / weights.len() as f64 }
}

/// Σ wᵢ·xᵢ with w in `[−bound, bound]ⁿ` that minimises [`objective`] with the negative utility as loss, from w = 0, until the
/// budget is spent; 40 evaluations in the paper.
///
/// The optimiser is CMA-ES, named in place of the paper's NGOpt; a coefficient past the bound is measured at the bound. Members
/// are adapters in factor space: A^ = Σ wᵢ·Aᵢ, B^ = Σ wᵢ·Bᵢ, with the cross terms of their product.
///
/// # Errors
/// [`SearchError`] without a budget, if a setting is out of its range, or a measurement fails.
/// # Source
/// LoraHub, arXiv 2307.13269, equations 1 and 2.
pub fn lorahub<F, E>(
    members: &Members<'_>,
    settings: LoraHub,
    meter: &mut Meter<F>,
    draws: &mut Draws,
) -> Result<Found, SearchError<E>>
where
    F: FnMut(&[f32]) -> Result<f64, E>,
{
    positive("bound", settings.bound)?;
    within("price", settings.price, 0.0..=f64::MAX, "at least 0")?;
    let decode = |point: &[f64]| {
        let inside = |w: &f64| w.clamp(-settings.bound, settings.bound);
        let coefficients: Vec<f64> = point.iter().map(inside).collect();
        let price = objective(0.0, &coefficients, settings.price);
        Ok(Made { values: narrow(&members.sum(&coefficients)), coefficients, price })
    };
    let start = vec![0.0; members.count()];
    Probe::new(meter, decode).cma_es(start, settings.deviation, draws)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const ROWS: [[f32; 2]; 2] = [[1.0, 0.0], [0.0, 1.0]];

    fn search(best: [f64; 2], settings: LoraHub) -> Found {
        let members = Members::new(&ROWS).unwrap();
        let utility = |x: &[f32]| -> Result<f64, Infallible> {
            let apart = |(x, best): (&f32, f64)| (f64::from(*x) - best) * (f64::from(*x) - best);
            Ok(-x.iter().zip(best).map(apart).sum::<f64>())
        };
        let mut meter = Meter::new(400, utility);
        lorahub(&members, settings, &mut meter, &mut Draws::new(1, 0)).unwrap()
    }

    #[test]
    fn coefficients_stay_within_the_bound() {
        let found = search([3.0, -3.0], LoraHub::PAPER);
        assert_eq!(found.coefficients, [1.5, -1.5]);
    }

    #[test]
    fn a_price_draws_coefficients_towards_0() {
        // −(x − 1)² − c·|x|/2 is best at 1 − c/4.
        let found = search([1.0, 0.0], LoraHub { price: 0.4, ..LoraHub::PAPER });
        assert!((found.coefficients[0] - 0.9).abs() < 1e-3, "{found:?}");
        let found = search([1.0, 0.0], LoraHub { price: 0.0, ..LoraHub::PAPER });
        assert!((found.coefficients[0] - 1.0).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn the_first_evaluation_is_without_any_member() {
        let members = Members::new(&ROWS).unwrap();
        let mut meter = Meter::new(1, |_x: &[f32]| Ok::<f64, Infallible>(0.5));
        let found = lorahub(&members, LoraHub::PAPER, &mut meter, &mut Draws::new(1, 0)).unwrap();
        assert_eq!((found.values.as_slice(), found.utility), ([0.0, 0.0].as_slice(), 0.5));
    }
}
