//! GENOME: a population of adapters, crossed, mutated and selected.

use super::meter::{Found, Meter, SearchError};
use crate::chance::Draws;
use crate::input::{Members, at_least, within};

/// How a population breeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Genome {
    /// How often a pair of a generation has a child, 0 to 1.
    pub crossover: f64,
    /// How often an individual has a mutant, 0 to 1.
    pub mutation: f64,
    /// How often a value of a mutant changes, 0 to 1.
    pub mutated_values: f64,
    /// Deviation of the change, in units of the values.
    pub deviation: f64,
    /// Share of the population that is selected for being best, 0 to 1.
    pub elites: f64,
}

impl Genome {
    /// Rate 0.1 and σ 0.001 of the published scripts; the others are ours.
    pub const SCRIPT: Self =
        Self { crossover: 1.0, mutation: 0.5, mutated_values: 0.1, deviation: 0.001, elites: 0.2 };
}

#[derive(Clone)]
struct Individual {
    values: Vec<f32>,
    utility: f64,
}

/// Of those that contend for a place, how many at once.
const TOURNAMENT: usize = 3;
/// So many generations in a row without anybody new end a search: the rates are as good as 0.
const BARREN_MAX: usize = 10_000;

/// Generations of a population of as many as there are members, until the budget is spent:
///
/// 1. As often as half the population: a pair, drawn in proportion to utility (evenly where none is positive), has a child
///    with probability `crossover`: a·x + b·y, a and b the parents' shares of their utilities, one half each if one is not
///    positive.
/// 2. Each individual, children too, has a mutant with probability `mutation`: N(0, σ²) added to values drawn with
///    probability `mutated_values`.
/// 3. What is new is measured. The elites stay; the other places go to the winners of tournaments of three.
///
/// A generation the budget cuts short counts for the best. Utilities are taken as constant: an individual is measured once,
/// where the published code measures everybody in every generation.
///
/// # Errors
/// [`SearchError`] with fewer than 2 members, without a budget, if a setting is out of its range, or a measurement fails.
/// # Source
/// GENOME, arXiv 2503.01155; `ZhangYiqun018/GENOME`, `src/orchestration/optimizer.py`, with linear crossover and from the members
/// themselves, where that code starts with merged pairs of them.
pub fn genome<F, E>(
    members: &Members<'_>,
    settings: Genome,
    meter: &mut Meter<F>,
    draws: &mut Draws,
) -> Result<Found, SearchError<E>>
where
    F: FnMut(&[f32]) -> Result<f64, E>,
{
    at_least(members.count(), 2)?;
    let Genome { crossover, mutation, mutated_values, deviation, elites } = settings;
    for (setting, got) in [
        ("crossover", crossover),
        ("mutation", mutation),
        ("share of mutated values", mutated_values),
        ("share of elites", elites),
    ] {
        within(setting, got, 0.0..=1.0, "0 to 1")?;
    }
    within("deviation", deviation, 0.0..=f64::MAX, "at least 0")?;
    within("crossover + mutation", crossover + mutation, f64::MIN_POSITIVE.., "above 0")?;
    let before = meter.used();
    let rows = members.rows().iter().map(|row| row.to_vec()).collect();
    let mut population = measured(rows, meter)?;
    let mut best = best_of(&population).cloned().ok_or(SearchError::NoBudget)?;
    let mut barren = 0;
    while meter.left() > 0 && barren < BARREN_MAX {
        let mut new = children(&population, settings, draws);
        let parents = population.iter().map(|parent| &parent.values);
        let mutants = mutants(parents.chain(&new), settings, draws);
        new.extend(mutants);
        barren = if new.is_empty() { barren + 1 } else { 0 };
        population.extend(measured(new, meter)?);
        if let Some(found) = best_of(&population).filter(|found| found.utility > best.utility) {
            best = found.clone();
        }
        population = selected(population, members.count(), elites, draws);
    }
    let evaluations = meter.used() - before;
    Ok(Found { values: best.values, coefficients: Vec::new(), utility: best.utility, evaluations })
}

/// As many as the budget allows.
fn measured<F, E>(
    rows: Vec<Vec<f32>>,
    meter: &mut Meter<F>,
) -> Result<Vec<Individual>, SearchError<E>>
where
    F: FnMut(&[f32]) -> Result<f64, E>,
{
    let mut individuals = Vec::with_capacity(rows.len());
    for values in rows {
        let Some(utility) = meter.measure(&values)? else { break };
        individuals.push(Individual { values, utility });
    }
    Ok(individuals)
}

/// The first of the best.
fn best_of(population: &[Individual]) -> Option<&Individual> {
    let mut all = population.iter();
    let first = all.next()?;
    Some(all.fold(first, |best, next| if next.utility > best.utility { next } else { best }))
}

/// Draws: whether there is one, then both parents, for each pair.
fn children(population: &[Individual], settings: Genome, draws: &mut Draws) -> Vec<Vec<f32>> {
    let mut children = Vec::new();
    if population.len() < 2 {
        return children;
    }
    for _pair in 0..population.len() / 2 {
        if !draws.happens(settings.crossover) {
            continue;
        }
        let mut weights: Vec<f64> = population.iter().map(|parent| parent.utility).collect();
        let first = draws.weighted(&weights);
        weights[first] = 0.0;
        let mut second = draws.weighted(&weights);
        if second == first {
            second = (first + 1) % population.len();
        }
        children.push(child(&population[first], &population[second]));
    }
    children
}

fn child(first: &Individual, second: &Individual) -> Vec<f32> {
    let (a, b) = (first.utility, second.utility);
    let share = if a > 0.0 && b > 0.0 && (a + b).is_finite() { a / (a + b) } else { 0.5 };
    let value =
        |(x, y): (&f32, &f32)| (share * f64::from(*x) + (1.0 - share) * f64::from(*y)) as f32;
    first.values.iter().zip(&second.values).map(value).collect()
}

/// Draws: whether there is one; then for each value whether it changes, and by what.
fn mutants<'a>(
    parents: impl Iterator<Item = &'a Vec<f32>>,
    settings: Genome,
    draws: &mut Draws,
) -> Vec<Vec<f32>> {
    let mut mutants = Vec::new();
    for parent in parents {
        if !draws.happens(settings.mutation) {
            continue;
        }
        let mut mutant = parent.clone();
        for value in &mut mutant {
            if draws.happens(settings.mutated_values) {
                *value += (settings.deviation * draws.normal()) as f32;
            }
        }
        mutants.push(mutant);
    }
    mutants
}

/// `count` of the population: elites first, then winners. Draws: three contenders a place.
fn selected(
    mut population: Vec<Individual>,
    count: usize,
    elites: f64,
    draws: &mut Draws,
) -> Vec<Individual> {
    population.sort_by(|a, b| b.utility.total_cmp(&a.utility));
    let elites = ((elites * count as f64) as usize).min(population.len());
    let mut rest = population.split_off(elites);
    while population.len() < count && !rest.is_empty() {
        // `rest` is sorted: the lowest index wins.
        let contenders = (0..TOURNAMENT).map(|_index| draws.index(rest.len()));
        let winner = contenders.min().unwrap_or(0);
        population.push(rest.remove(winner));
    }
    population
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const ROWS: [[f32; 2]; 4] = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]];

    /// Best at (0.9, 0.9), outside the members' hull.
    fn utility(x: &[f32]) -> Result<f64, Infallible> {
        let apart = |x: &f32| (f64::from(*x) - 0.9) * (f64::from(*x) - 0.9);
        Ok(10.0 - x.iter().map(apart).sum::<f64>())
    }

    fn search(settings: Genome, budget: usize) -> Found {
        let members = Members::new(&ROWS).unwrap();
        let mut meter = Meter::new(budget, utility);
        let found = genome(&members, settings, &mut meter, &mut Draws::new(1, 0)).unwrap();
        assert_eq!((found.evaluations, meter.used()), (budget, budget));
        found
    }

    #[test]
    fn mutation_leaves_the_hull_and_crossover_does_not() {
        let wild = Genome { mutated_values: 0.5, deviation: 0.2, ..Genome::SCRIPT };
        let found = search(wild, 400);
        assert!(found.utility > 9.99, "{found:?}");
        // The nearest point of the hull is (½, ½).
        let tame = search(Genome { mutation: 0.0, ..Genome::SCRIPT }, 400);
        assert!(tame.utility <= 10.0 - 2.0 * 0.16 + 1e-6, "{tame:?}");
    }

    /// The second parent, too, is drawn in proportion to utility: never the one who has none.
    #[test]
    fn parents_are_two_and_drawn_by_utility() {
        let of = |values: [f32; 3], utility| Individual { values: values.to_vec(), utility };
        let population = [
            of([1.0, 0.0, 0.0], 1.0),
            of([0.0, 1.0, 0.0], 1e9),
            of([0.0, 0.0, 1.0], 0.0),
            of([0.0, 0.0, 1.0], 0.0),
        ];
        let mut draws = Draws::new(1, 0);
        for _ in 0..100 {
            let children = children(&population, Genome::SCRIPT, &mut draws);
            assert_eq!(children.len(), 2);
            assert!(children.iter().all(|child| child[0] > 0.0 && child[2] == 0.0), "{children:?}");
        }
    }

    #[test]
    fn utilities_of_any_sign_breed() {
        let members = Members::new(&ROWS).unwrap();
        let mut meter = Meter::new(100, |x: &[f32]| utility(x).map(|utility| utility - 20.0));
        let settings = Genome { deviation: 0.2, ..Genome::SCRIPT };
        let found = genome(&members, settings, &mut meter, &mut Draws::new(1, 0)).unwrap();
        assert!(found.utility > -11.0, "{found:?}");
    }

    #[test]
    fn rates_that_are_as_good_as_0_end_the_search() {
        let members = Members::new(&ROWS).unwrap();
        let mut meter = Meter::new(100, utility);
        let tiny = Genome { crossover: 0.0, mutation: 1e-300, ..Genome::SCRIPT };
        let found = genome(&members, tiny, &mut meter, &mut Draws::new(1, 0)).unwrap();
        assert_eq!((found.evaluations, found.values.as_slice()), (4, ROWS[0].as_slice()));
    }

    #[test]
    fn a_population_that_never_changes_is_refused() {
        let members = Members::new(&ROWS).unwrap();
        let mut meter = Meter::new(100, utility);
        let still = Genome { crossover: 0.0, mutation: 0.0, ..Genome::SCRIPT };
        assert!(genome(&members, still, &mut meter, &mut Draws::new(1, 0)).is_err());
        let mut meter = Meter::new(0, utility);
        let nothing = genome(&members, Genome::SCRIPT, &mut meter, &mut Draws::new(1, 0));
        assert!(matches!(nothing, Err(SearchError::NoBudget)));
    }
}
