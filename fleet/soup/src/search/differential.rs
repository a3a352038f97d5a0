//! Differential evolution of the values themselves.

use super::meter::{Found, Meter, SearchError};
use crate::chance::Draws;
use crate::input::{Members, at_least, within};

/// How differential evolution breeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Differential {
    /// F: how much of a difference is added, 0 to 2.
    pub factor: f64,
    /// Cr: how often a value is the child's and not the parent's, 0 to 1. One value always is.
    pub crossover: f64,
}

impl Differential {
    /// The usual setting, with F = 0.8: at ½, as few individuals as a fleet has members often end on one point too early.
    pub const USUAL: Self = Self { factor: 0.8, crossover: 0.9 };
}

/// Each member of a population against a child: x_a + F·(x_b − x_c) of three others, value by value with probability Cr, else the
/// parent's own. A child that is not worse takes its parent's place at once. Until the budget is spent.
///
/// The population is the members; each is measured once, so that a budget of more than their count is needed to change
/// anything.
///
/// # Errors
/// [`SearchError`] with fewer than 4 members, without a budget, if a setting is out of its range, or a measurement fails.
/// # Source
/// Storn and Price, 1997, DE/rand/1/bin; on weights of models in arXiv 2406.12208.
pub fn differential_evolution<F, E>(
    members: &Members<'_>,
    settings: Differential,
    meter: &mut Meter<F>,
    draws: &mut Draws,
) -> Result<Found, SearchError<E>>
where
    F: FnMut(&[f32]) -> Result<f64, E>,
{
    at_least(members.count(), 4)?;
    within("F", settings.factor, 0.0..=2.0, "0 to 2")?;
    within("Cr", settings.crossover, 0.0..=1.0, "0 to 1")?;
    let before = meter.used();
    let mut population: Vec<(Vec<f32>, f64)> = Vec::new();
    for row in members.rows() {
        let Some(utility) = meter.measure(row)? else { break };
        population.push((row.to_vec(), utility));
    }
    let mut at = 0;
    while population.len() == members.count() && meter.left() > 0 {
        let child = child(&population, at, settings, draws);
        let Some(utility) = meter.measure(&child)? else { break };
        if utility >= population[at].1 {
            population[at] = (child, utility);
        }
        at = (at + 1) % population.len();
    }
    let evaluations = meter.used() - before;
    let mut best = population.into_iter();
    let first = best.next().ok_or(SearchError::NoBudget)?;
    let (values, utility) =
        best.fold(first, |best, next| if next.1 > best.1 { next } else { best });
    Ok(Found { values, coefficients: Vec::new(), utility, evaluations })
}

/// Draws: three others, the value that is the child's in any case, then one a value.
fn child(
    population: &[(Vec<f32>, f64)],
    at: usize,
    settings: Differential,
    draws: &mut Draws,
) -> Vec<f32> {
    let other = |index: usize| if index < at { index } else { index + 1 };
    let others = draws.some_of(population.len() - 1, 3);
    let [a, b, c] = [0, 1, 2].map(|index| &population[other(others[index])].0);
    let parent = &population[at].0;
    let sure = if parent.is_empty() { 0 } else { draws.index(parent.len()) };
    let mut value = |index: usize| {
        if !draws.happens(settings.crossover) && index != sure {
            return parent[index];
        }
        let difference = f64::from(b[index]) - f64::from(c[index]);
        (f64::from(a[index]) + settings.factor * difference) as f32
    };
    (0..parent.len()).map(&mut value).collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn utility(x: &[f32]) -> Result<f64, Infallible> {
        let apart = |(x, best): (&f32, f64)| (f64::from(*x) - best) * (f64::from(*x) - best);
        Ok(-x.iter().zip([0.3, -0.7]).map(apart).sum::<f64>())
    }

    fn rows() -> Vec<[f32; 2]> {
        let mut draws = Draws::new(9, 0);
        (0..10).map(|_index| [draws.normal() as f32, draws.normal() as f32]).collect()
    }

    fn search(budget: usize) -> Found {
        let rows = rows();
        let members = Members::new(&rows).unwrap();
        let mut meter = Meter::new(budget, utility);
        let mut draws = Draws::new(1, 0);
        differential_evolution(&members, Differential::USUAL, &mut meter, &mut draws).unwrap()
    }

    #[test]
    fn it_finds_what_no_member_is() {
        let (start, found) = (search(10), search(800));
        assert_eq!(found.evaluations, 800);
        assert!(found.utility > -1e-6 && start.utility < -1e-3, "{start:?} {found:?}");
    }

    #[test]
    fn with_less_budget_than_members_the_best_measured_is_found() {
        let rows = rows();
        let found = search(3);
        let best = rows[..3].iter().map(|row| utility(row).unwrap()).fold(f64::MIN, f64::max);
        assert_eq!((found.utility, found.evaluations), (best, 3));
    }

    #[test]
    fn a_child_is_of_three_others() {
        let population: Vec<(Vec<f32>, f64)> = (0..4).map(|at| (vec![at as f32], 0.0)).collect();
        let mut draws = Draws::new(1, 0);
        let mut seen = [false; 4];
        for _ in 0..100 {
            let plain = Differential { factor: 0.0, crossover: 1.0 };
            seen[child(&population, 1, plain, &mut draws)[0] as usize] = true;
        }
        assert_eq!(seen, [true, false, true, true]);
    }

    #[test]
    fn three_members_have_no_difference_to_add() {
        let rows = rows();
        let members = Members::new(&rows[..3]).unwrap();
        let mut meter = Meter::new(10, utility);
        let nothing = differential_evolution(
            &members,
            Differential::USUAL,
            &mut meter,
            &mut Draws::new(1, 0),
        );
        assert!(nothing.is_err());
        assert_eq!(meter.used(), 0);
    }
}
