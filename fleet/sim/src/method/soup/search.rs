//! Merges that are searched for: each measures on the pack, so often as its budget says.

use shoal_soup::chance::Draws;
use shoal_soup::input::Members;
use shoal_soup::search::{Found, Meter, Recipes, SearchError, evolve_recipe};
use shoal_swarm::swarm::Flat;

use super::{Given, SoupError};
use crate::config::EvoMerge;
use crate::lab::LabError;
use crate::method::sites::grouped;
use crate::method::{Window, moved};

/// Utilities one after the other, as the searches ask for them.
pub(super) type Measuring<'m> = Box<dyn FnMut(&[f32]) -> Result<f64, LabError> + 'm>;

/// A step from the mean to a member, about, in coefficients.
pub(super) fn deviation(members: usize) -> f64 {
    1.0 / (members.max(1) as f64).sqrt()
}

/// Adapters joined while they make the mean better.
pub(super) fn greedy(given: &Given<'_>, window: &mut Window<'_, '_>) -> Result<Flat, SoupError> {
    let alone = window.lab.judged(given.at, window.number).map_err(SearchError::Utility)?;
    let mut meter = Meter::new(given.soup.budget, |values: &[f32]| one(window, values.into()));
    let positions = Members::new(given.at)?;
    let soup = shoal_soup::merge::greedy(&positions, &alone, &mut meter)?;
    Ok(given.unless_gated(soup.utility, soup.values.into()))
}

/// The best of a search among positions.
pub(super) fn among<'w>(
    given: &Given<'_>,
    window: &'w mut Window<'_, '_>,
    search: impl FnOnce(&Members<'_>, &mut Meter<Measuring<'w>>) -> Result<Found, SearchError<LabError>>,
) -> Result<Flat, SoupError> {
    let measure: Measuring<'w> = Box::new(move |values| one(window, values.into()));
    let positions = Members::new(given.at)?;
    let found = search(&positions, &mut Meter::new(given.soup.budget, measure))?;
    Ok(given.unless_gated(found.utility, found.values.into()))
}

/// The best of a search among differences to where the fleet began.
pub(super) fn away<'w>(
    given: &'w Given<'_>,
    window: &'w mut Window<'_, '_>,
    search: impl FnOnce(&Members<'_>, &mut Meter<Measuring<'w>>) -> Result<Found, SearchError<LabError>>,
) -> Result<Flat, SoupError> {
    let start = &given.fleet.start;
    let measure: Measuring<'w> = Box::new(move |by| one(window, moved(start, by)));
    let displacements = Members::new(&given.by)?;
    let found = search(&displacements, &mut Meter::new(given.soup.budget, measure))?;
    Ok(given.unless_gated(found.utility, moved(start, &found.values)))
}

/// The best recipe of a TIES or DARE merge.
pub(super) fn evolved(
    given: &Given<'_>,
    asked: EvoMerge,
    window: &mut Window<'_, '_>,
    draws: &mut Draws,
) -> Result<Flat, SoupError> {
    let layers = grouped(given.layout, asked.layers)?;
    let recipes = Recipes::new(&layers, &Members::new(&given.by)?, asked.thinning, draws)?;
    away(given, window, |_by, meter| evolve_recipe(&recipes, asked.deviation, meter, draws))
}

fn one(window: &mut Window<'_, '_>, values: Flat) -> Result<f64, LabError> {
    let utilities = window.lab.judged(&[values], window.number)?;
    Ok(utilities.first().copied().unwrap_or(f64::MIN))
}
