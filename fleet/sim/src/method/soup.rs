//! Merges of whole adapters, once, of vehicles that learn alone.

use shoal_runtime::adapter::Layout;
use shoal_soup::chance::Draws;
use shoal_soup::input::{InputError, Members};
use shoal_soup::merge::{
    dare, dare_ties, greedy, model_stock, slerp_sequence, task_arithmetic, ties, uniform,
};
use shoal_soup::search::{Found, Meter, SearchError, Space, cma_es, learned_soup, random};
use shoal_soup::sites::Layers;
use shoal_swarm::swarm::Flat;

use super::{Fleet, MethodError, Window, difference, moved};
use crate::config::{Merge, Soup};
use crate::lab::LabError;

/// A step from the mean to a member, about, in coefficients.
fn deviation(members: usize) -> f64 {
    1.0 / (members.max(1) as f64).sqrt()
}

/// Why there is no such merge.
#[expect(missing_docs, reason = "each says what its source says")]
#[derive(Debug, thiserror::Error)]
pub enum SoupError {
    #[error("the adapters cannot be merged")]
    Input(#[from] InputError),
    #[error("the search ended")]
    Search(#[from] SearchError<LabError>),
}

/// The merge of these adapters; `None`: a search, which is only run in the last window.
pub(super) fn merge(
    soup: &Soup,
    fleet: &Fleet,
    layout: &Layout,
    at: &[Flat],
    window: &mut Window<'_, '_>,
) -> Result<Option<Flat>, MethodError> {
    let stream = u64::from(window.number);
    merged(soup, fleet, layout, at, window, &mut Draws::new(fleet.seed, stream)).map_err(Into::into)
}

fn merged(
    soup: &Soup,
    fleet: &Fleet,
    layout: &Layout,
    at: &[Flat],
    window: &mut Window<'_, '_>,
    draws: &mut Draws,
) -> Result<Option<Flat>, SoupError> {
    let by: Vec<Vec<f32>> = at.iter().map(|values| difference(values, &fleet.start)).collect();
    let displacements = Members::new(&by)?;
    let positions = Members::new(at)?;
    let lengths: Vec<usize> = layout.factors().map(|factor| factor.range.len()).collect();
    let layers = Layers::blocks(&lengths);
    let (density, scale) = (soup.density, soup.scale as f32);
    let displaced = |by: Vec<f32>| {
        let scaled: Vec<f32> = by.iter().map(|by| by * scale).collect();
        Ok(Some(moved(&fleet.start, &scaled)))
    };
    match soup.merge {
        Merge::Uniform => displaced(uniform(&displacements)),
        Merge::TaskArithmetic => {
            let by = task_arithmetic(&displacements, soup.scale)?;
            Ok(Some(moved(&fleet.start, &by)))
        }
        Merge::Slerp => Ok(Some(slerp_sequence(&layers, &positions)?.into())),
        Merge::Ties => displaced(ties(&displacements, density)?),
        Merge::Dare => displaced(dare(&displacements, 1.0 - density, draws)?),
        Merge::DareTies => displaced(dare_ties(&displacements, 1.0 - density, draws)?),
        Merge::ModelStock => displaced(model_stock(&layers, &displacements)?),
        Merge::Greedy
        | Merge::Learned
        | Merge::RandomAffine
        | Merge::CmaAffine
        | Merge::CmaFree
            if !window.last =>
        {
            Ok(None)
        }
        Merge::Greedy => {
            let alone = window.lab.utility(at, window.number).map_err(SearchError::Utility)?;
            let mut meter = Meter::new(soup.budget, |values: &[f32]| one(window, values));
            Ok(Some(greedy(&positions, &alone, &mut meter)?.values.into()))
        }
        Merge::Learned => searched(soup, window, |meter| learned_soup(&positions, meter, draws)),
        Merge::RandomAffine => searched(soup, window, |meter| {
            random(&positions, Space::Affine, deviation(at.len()), meter, draws)
        }),
        Merge::CmaAffine => searched(soup, window, |meter| {
            cma_es(&positions, Space::Affine, deviation(at.len()), meter, draws)
        }),
        Merge::CmaFree => searched(soup, window, |meter| {
            cma_es(&positions, Space::Free, deviation(at.len()), meter, draws)
        }),
    }
}

/// Utilities one after the other, as the searches ask for them.
type Measuring<'m> = Box<dyn FnMut(&[f32]) -> Result<f64, LabError> + 'm>;

fn searched<'w>(
    soup: &Soup,
    window: &'w mut Window<'_, '_>,
    search: impl FnOnce(&mut Meter<Measuring<'w>>) -> Result<Found, SearchError<LabError>>,
) -> Result<Option<Flat>, SoupError> {
    let measure: Measuring<'w> = Box::new(move |values| one(window, values));
    Ok(Some(search(&mut Meter::new(soup.budget, measure))?.values.into()))
}

fn one(window: &mut Window<'_, '_>, values: &[f32]) -> Result<f64, LabError> {
    let utilities = window.lab.utility(&[values.into()], window.number)?;
    Ok(utilities.first().copied().unwrap_or(f64::MIN))
}
