//! Searches for coefficients of members.

use super::meter::{Found, Meter, SearchError};
use super::probe::{Made, Probe};
use super::space::Space;
use crate::chance::Draws;
use crate::input::{InputError, Members, narrow, positive};

/// CMA-ES on coefficients, from the plain mean, until the budget is spent.
///
/// # Shapes and units
/// `deviation`: of a coordinate of the [`Space`]; 1/√n is a step from the mean to a member, about.
/// # Errors
/// [`SearchError`] without a budget, if the deviation is not positive, or a measurement fails.
/// # Source
/// As a control beside Model Swarms, whose particles never leave [`Space::Affine`] of their experts.
pub fn cma_es<F, E>(
    members: &Members<'_>,
    space: Space,
    deviation: f64,
    meter: &mut Meter<F>,
    draws: &mut Draws,
) -> Result<Found, SearchError<E>>
where
    F: FnMut(&[f32]) -> Result<f64, E>,
{
    let start = space.start(members.count());
    Probe::new(meter, decode(members, space)).cma_es(start, deviation, draws)
}

/// The learned soup, its shares found without gradients: CMA-ES on logits of [`Space::Convex`], deviation 1.
///
/// # Errors
/// As [`cma_es`].
/// # Source
/// Model soups, arXiv 2203.05482, appendix I, which learns the shares by gradient descent.
pub fn learned_soup<F, E>(
    members: &Members<'_>,
    meter: &mut Meter<F>,
    draws: &mut Draws,
) -> Result<Found, SearchError<E>>
where
    F: FnMut(&[f32]) -> Result<f64, E>,
{
    cma_es(members, Space::Convex, 1.0, meter, draws)
}

/// The plain mean, then points of a normal distribution around it, until the budget is spent: the control that every table
/// needs. It is the first generation of [`cma_es`], for ever.
///
/// # Errors
/// As [`cma_es`].
pub fn random<F, E>(
    members: &Members<'_>,
    space: Space,
    deviation: f64,
    meter: &mut Meter<F>,
    draws: &mut Draws,
) -> Result<Found, SearchError<E>>
where
    F: FnMut(&[f32]) -> Result<f64, E>,
{
    positive("deviation", deviation)?;
    let start = space.start(members.count());
    let mut probe = Probe::new(meter, decode(members, space));
    probe.measure(&start)?;
    while probe.left() > 0 {
        let point: Vec<f64> = start.iter().map(|m| m + deviation * draws.normal()).collect();
        probe.measure(&point)?;
    }
    probe.found()
}

fn decode(members: &Members<'_>, space: Space) -> impl Fn(&[f64]) -> Result<Made, InputError> {
    move |point| {
        let coefficients = space.coefficients(members.count(), point);
        Ok(Made { values: narrow(&members.sum(&coefficients)), coefficients, price: 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const ROWS: [[f32; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

    /// Best at (1.5, −1, 0.5), whose sum is 1.
    fn utility(x: &[f32]) -> Result<f64, Infallible> {
        let apart = |(x, best): (&f32, f64)| (f64::from(*x) - best) * (f64::from(*x) - best);
        Ok(-x.iter().zip([1.5, -1.0, 0.5]).map(apart).sum::<f64>())
    }

    fn search(space: Space, budget: usize) -> Found {
        let members = Members::new(&ROWS).unwrap();
        let mut meter = Meter::new(budget, utility);
        let found = cma_es(&members, space, 0.5, &mut meter, &mut Draws::new(1, 0)).unwrap();
        assert_eq!((meter.used(), found.evaluations), (budget, budget));
        found
    }

    #[test]
    fn each_space_finds_the_best_it_holds() {
        for space in [Space::Free, Space::Affine] {
            let found = search(space, 600);
            assert!(found.utility > -1e-6, "{space:?} {found:?}");
        }
        // The nearest point of the simplex.
        let found = search(Space::Convex, 600);
        assert!((found.coefficients[0] - 1.0).abs() < 1e-2, "{found:?}");
    }

    #[test]
    fn the_budget_is_kept_to_the_evaluation() {
        for budget in [1, 2, 9, 20] {
            assert!(search(Space::Affine, budget).utility.is_finite());
        }
        let members = Members::new(&ROWS).unwrap();
        let mut meter = Meter::new(0, utility);
        let nothing = cma_es(&members, Space::Free, 0.5, &mut meter, &mut Draws::new(1, 0));
        assert_eq!(nothing, Err(SearchError::NoBudget));
    }

    #[test]
    fn at_one_budget_cma_es_beats_chance_and_chance_beats_the_mean() {
        let members = Members::new(&ROWS).unwrap();
        let mut meter = Meter::new(300, utility);
        let mut draws = Draws::new(1, 0);
        let by_chance = random(&members, Space::Affine, 0.5, &mut meter, &mut draws).unwrap();
        assert_eq!(by_chance.evaluations, 300);
        let (mean, cma) = (search(Space::Affine, 1), search(Space::Affine, 300));
        assert!(cma.utility > by_chance.utility && by_chance.utility > mean.utility);
    }

    #[test]
    fn one_member_is_all_there_is() {
        let members = Members::new(&ROWS[..1]).unwrap();
        let mut meter = Meter::new(5, utility);
        let found =
            cma_es(&members, Space::Affine, 0.5, &mut meter, &mut Draws::new(1, 0)).unwrap();
        assert_eq!((found.values.as_slice(), found.evaluations), (ROWS[0].as_slice(), 1));
        let mut meter = Meter::new(5, utility);
        let soup = learned_soup(&members, &mut meter, &mut Draws::new(1, 0)).unwrap();
        assert_eq!(soup.coefficients, [1.0]);
    }
}
