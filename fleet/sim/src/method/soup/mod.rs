//! Merges of whole adapters, once, of vehicles that learn alone.

mod model_swarms;
mod regmean;
mod search;

use shoal_runtime::adapter::Layout;
use shoal_soup::chance::Draws;
use shoal_soup::input::{InputError, Members};
use shoal_soup::merge::{
    Part, dare, dare_ties, fisher, lego, model_stock, slerp_sequence, task_arithmetic, ties,
    uniform,
};
use shoal_soup::search::{
    SearchError, Space, cma_es, differential_evolution, genome, learned_soup, lorahub, pso_merging,
    random,
};
use shoal_soup::sites::{Layers, SitesError};
use shoal_swarm::swarm::Flat;

use self::search::{among, away, deviation};
use super::handing::Handed;
use super::sites::sites;
use super::{Fleet, MethodError, Window, difference, moved};
use crate::config::{self, Merge, Soup};
use crate::lab::{Information, LabError, triangles};

/// Why there is no such merge.
#[expect(missing_docs, reason = "each says what its source says")]
#[derive(Debug, thiserror::Error)]
pub enum SoupError {
    #[error(
        "site `{site}`: vehicles saw fewer different inputs than it has: take a smaller `shrink`, or more `samples`"
    )]
    Singular { site: String },
    #[error("the adapters cannot be merged")]
    Input(#[from] InputError),
    #[error("the model's adapters cannot be merged site by site")]
    Sites(#[from] SitesError),
    #[error("the search ended")]
    Search(#[from] SearchError<LabError>),
    #[error(transparent)]
    Lab(#[from] LabError),
}

/// What is merged.
struct Given<'g> {
    soup: &'g Soup,
    fleet: &'g Fleet,
    layout: &'g Layout,
    /// Who gave what, and when.
    of: &'g [Handed],
    /// Positions.
    at: &'g [Flat],
    /// Differences to where the fleet began.
    by: Vec<Vec<f32>>,
}

/// Values that a vehicle sends after the last window: its adapter, of Fisher merging the diagonal, of RegMean the Gram matrices
/// beside it.
pub(super) fn values_sent(merge: Merge, layout: &Layout) -> usize {
    let beside = if merge.sends_grams() { triangles(layout).sum() } else { 0 };
    layout.values() * merge.runs_sent() + beside
}

/// The merge of these adapters, of fewer than it needs where the fleet began; `None`: one that measures, or takes gradients or Gram
/// matrices, which is only run in the last window.
pub(super) fn merge(
    soup: &Soup,
    fleet: &Fleet,
    layout: &Layout,
    of: &[Handed],
    window: &mut Window<'_, '_>,
) -> Result<Option<Flat>, MethodError> {
    if soup.merge.is_costly() && !window.last {
        return Ok(None);
    }
    if of.len() < soup.merge.members_min() as usize {
        return Ok(Some(fleet.start.clone()));
    }
    let at: Vec<Flat> = of.iter().map(|handed| handed.at.clone()).collect();
    let by = at.iter().map(|values| difference(values, &fleet.start)).collect();
    let given = Given { soup, fleet, layout, of, at: &at, by };
    let mut draws = Draws::new(fleet.seed, u64::from(window.number));
    let merged = given.merged(window, &mut draws).map_err(MethodError::from)?;
    Ok(Some(merged))
}

impl Given<'_> {
    fn merged(&self, window: &mut Window<'_, '_>, draws: &mut Draws) -> Result<Flat, SoupError> {
        let displacements = Members::new(&self.by)?;
        let lengths: Vec<usize> = self.layout.factors().map(|factor| factor.range.len()).collect();
        let layers = Layers::blocks(&lengths);
        let density = self.soup.density;
        match self.soup.merge {
            Merge::Uniform => Ok(self.displaced(&uniform(&displacements))),
            Merge::TaskArithmetic => {
                let by = task_arithmetic(&displacements, self.soup.scale)?;
                Ok(moved(&self.fleet.start, &by))
            }
            Merge::Slerp => Ok(slerp_sequence(&layers, &Members::new(self.at)?)?.into()),
            Merge::Ties => Ok(self.displaced(&ties(&displacements, density)?)),
            Merge::Dare => Ok(self.displaced(&dare(&displacements, 1.0 - density, draws)?)),
            Merge::DareTies => {
                Ok(self.displaced(&dare_ties(&displacements, 1.0 - density, draws)?))
            }
            Merge::ModelStock => Ok(self.displaced(&model_stock(&layers, &displacements)?)),
            Merge::Lego => {
                let sites = sites(self.layout)?;
                let part = |values| Part { sites: &sites, values };
                let parts: Vec<Part<'_>> = self.at.iter().map(|values| part(values)).collect();
                Ok(lego(&parts, &sites, draws)?.into())
            }
            Merge::Fisher(asked) => self.fisher(asked, &displacements, window),
            Merge::RegMean(asked) => regmean::merged(self, asked, window),
            Merge::Greedy => search::greedy(self, window),
            Merge::Learned => among(self, window, |at, meter| learned_soup(at, meter, draws)),
            Merge::RandomAffine => among(self, window, |at, meter| {
                random(at, Space::Affine, deviation(at.count()), meter, draws)
            }),
            Merge::CmaAffine => among(self, window, |at, meter| {
                cma_es(at, Space::Affine, deviation(at.count()), meter, draws)
            }),
            Merge::CmaFree => among(self, window, |at, meter| {
                cma_es(at, Space::Free, deviation(at.count()), meter, draws)
            }),
            Merge::LoraHub(by) => among(self, window, |at, meter| lorahub(at, by, meter, draws)),
            Merge::Genome(by) => among(self, window, |at, meter| genome(at, by, meter, draws)),
            Merge::Differential(by) => {
                among(self, window, |at, meter| differential_evolution(at, by, meter, draws))
            }
            Merge::PsoMerging(by) => {
                away(self, window, |from, meter| pso_merging(from, by, meter, draws))
            }
            Merge::EvoMerge(asked) => search::evolved(self, asked, window, draws),
            Merge::ModelSwarms(asked) => model_swarms::searched(self, asked, window),
        }
    }

    /// Of differences: a value that matters to nobody stays where the fleet began.
    fn fisher(
        &self,
        asked: config::Fisher,
        displacements: &Members<'_>,
        window: &mut Window<'_, '_>,
    ) -> Result<Flat, SoupError> {
        let asked = self.asked(asked.samples);
        let information = evened(&window.lab.information(&asked)?);
        let weights = vec![1.0 / self.at.len() as f64; self.at.len()];
        let by = fisher(displacements, &Members::new(&information)?, &weights)?;
        Ok(self.displaced(&by))
    }

    /// What is asked of every vehicle at its own adapter, on so many samples of its own.
    fn asked(&self, samples: u32) -> Vec<Information> {
        let ask = |handed: &Handed| {
            let Handed { vehicle, window, ref at } = *handed;
            let seed = self.fleet.night_seed(vehicle, window);
            Information { vehicle, window, at: at.clone(), samples, seed }
        };
        self.of.iter().map(ask).collect()
    }

    /// What a search found, by its utility; where no gate held in what it measured, where the fleet began.
    fn unless_gated(&self, utility: f64, found: Flat) -> Flat {
        if utility == f64::NEG_INFINITY { self.fleet.start.clone() } else { found }
    }

    fn displaced(&self, by: &[f32]) -> Flat {
        let scale = self.soup.scale as f32;
        let scaled: Vec<f32> = by.iter().map(|by| by * scale).collect();
        moved(&self.fleet.start, &scaled)
    }
}

/// In units of the mean over all vehicles and values: only proportions count, and what the merge divides by at least is small
/// against 1.
fn evened(information: &[Flat]) -> Vec<Vec<f32>> {
    let count: usize = information.iter().map(|of| of.len()).sum();
    let sum: f64 = information.iter().flat_map(|of| of.iter()).map(|v| f64::from(*v)).sum();
    let mean = sum / count.max(1) as f64;
    let even = |value: &f32| if mean > 0.0 { (f64::from(*value) / mean) as f32 } else { 1.0 };
    information.iter().map(|of| of.iter().map(even).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn information_keeps_its_proportions_whatever_its_size() {
        let small: [Flat; 2] = [[1e-12, 3e-12].as_slice().into(), [0.0, 4e-12].as_slice().into()];
        assert_eq!(evened(&small), [[0.5, 1.5], [0.0, 2.0]]);
        let none: [Flat; 1] = [[0.0, 0.0].as_slice().into()];
        assert_eq!(evened(&none), [[1.0, 1.0]], "nobody knows more than another");
    }
}
