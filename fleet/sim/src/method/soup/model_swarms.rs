//! Model Swarms as a merge: the paper's whole search, on one machine, over what vehicles tuned.

use shoal_soup::harmonic::{harmonic, to_unit};
use shoal_soup::input::InputError;
use shoal_soup::search::SearchError;
use shoal_swarm::draws::{Draws, Key, Term};
use shoal_swarm::populate::{partner, populate, velocity};
use shoal_swarm::search::{Chances, Search};
use shoal_swarm::swarm::Flat;

use super::{Given, SoupError};
use crate::config::{Mean, ModelSwarms};
use crate::method::Window;

/// Where the search ends: the best position that it measured.
///
/// The swarm begins with what vehicles tuned, grows to its number by children of two, and each particle first moves towards another one.
/// It ends by its own patience, after its iterations, or before the first for which the budget is not enough; without a budget for
/// as many as there are particles, with the best of those that were measured.
///
/// # Errors
/// [`SoupError`] where a measurement fails.
/// # Source
/// Model Swarms, arXiv 2410.11163, and its code (`shoal_swarm::search`).
pub(super) fn searched(
    given: &Given<'_>,
    asked: ModelSwarms,
    window: &mut Window<'_, '_>,
) -> Result<Flat, SoupError> {
    let seed = given.fleet.seed;
    let draws =
        |term| Draws::new(Key { seed, vehicle: None, window: window.number, step: 0, term });
    let mut positions: Vec<Vec<f32>> = given.at.iter().map(|values| values.to_vec()).collect();
    let count = asked.particles.max(positions.len());
    populate(&mut positions, count, &mut draws(Term::Parents));
    let mut partners = draws(Term::Partner);
    let velocities = (0..positions.len()).map(|index| {
        let to = partner(index, positions.len(), &mut partners).and_then(|to| positions.get(to));
        let (from, to) = (positions.get(index), to);
        from.zip(to).map_or_else(Vec::new, |(from, to)| velocity(from, to))
    });
    let velocities: Vec<Vec<f32>> = velocities.collect();

    let mut left = given.soup.budget;
    positions.truncate(left);
    let velocities = velocities.into_iter().take(left).collect();
    let flats: Vec<Flat> = positions.iter().map(|values| values.as_slice().into()).collect();
    let utilities = measured(asked.mean, &flats, window)?;
    left -= flats.len();
    let Some(mut search) = Search::new(asked.settings, positions, velocities, &utilities) else {
        return Err(SearchError::NoBudget.into());
    };
    for iteration in 0..asked.iterations {
        let chances = Chances::new(seed, iteration, flats.len(), &asked.settings);
        let measuring = chances.skipped.iter().filter(|skipped| !**skipped).count();
        if search.ended() || measuring > left {
            break;
        }
        left -= measuring;
        let mut failed = None;
        search.iterate(&chances, |_particle, values| {
            let utility = match failed {
                None => measured(asked.mean, &[values.into()], window),
                Some(_) => Ok(Vec::new()),
            };
            let utility = utility.unwrap_or_else(|error| {
                failed = Some(error);
                Vec::new()
            });
            utility.first().copied().unwrap_or(f64::MIN)
        });
        if let Some(error) = failed {
            return Err(error);
        }
    }
    let best = search.best();
    Ok(given.unless_gated(best.utility, best.position.as_slice().into()))
}

/// The utility of each, put together as asked.
fn measured(
    mean: Mean,
    asked: &[Flat],
    window: &mut Window<'_, '_>,
) -> Result<Vec<f64>, SoupError> {
    if mean == Mean::Arithmetic {
        return Ok(window.lab.judged(asked, window.number)?);
    }
    let (shares, terms) = window.lab.terms_of(asked, window.number)?;
    let utility = |terms: &Option<Vec<f64>>| {
        let Some(terms) = terms else { return Ok(f64::NEG_INFINITY) };
        let terms: Vec<f64> = terms.iter().map(|term| to_unit(term.clamp(-1.0, 1.0))).collect();
        harmonic(&terms, &shares)
    };
    let utilities: Result<Vec<f64>, InputError> = terms.iter().map(utility).collect();
    Ok(utilities?)
}
