//! EvoMerge in parameter space: weights and densities of a TIES or DARE merge, layer by layer, found by CMA-ES.

use super::meter::{Found, Meter, SearchError};
use super::probe::{Made, Probe};
use crate::chance::Draws;
use crate::input::{InputError, Members, count};
use crate::merge::by_magnitude;
use crate::merge::{disjoint_mean, elect};
use crate::sites::{Layers, gather, scatter};

/// No layer of a member is thinned to less than this share of its entries.
const DENSITY_MIN: f64 = 0.01;

/// How a displacement is thinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinning {
    /// As TIES does: the largest entries stay.
    Trim,
    /// As DARE does: entries drawn by chance stay, divided by the density. Which go first is drawn once for a search, so that
    /// a recipe has one utility.
    Drop,
}

/// One merge: a weight and a density for every member in every layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// `[layers][count]`, `>= 0`.
    pub weights: Vec<Vec<f64>>,
    /// `[layers][count]`, the share of entries that stay, 0.01 to 1.
    pub densities: Vec<Vec<f64>>,
}

/// What recipes are applied to: displacements in layers, with the order in which entries go.
#[derive(Clone, Debug)]
pub struct Recipes<'a> {
    layers: &'a Layers,
    /// `[layers][count]`: the entries of a layer.
    rows: Vec<Vec<Vec<f32>>>,
    /// `[layers][count]`: the place of each entry, 0 for the one that stays longest.
    places: Vec<Vec<Vec<u32>>>,
    thinning: Thinning,
}

impl Recipe {
    /// The genes of a recipe: of each layer its weights, then its densities; any number is a gene.
    fn of(genes: &[f64], members: usize) -> Self {
        let (mut weights, mut densities) = (Vec::new(), Vec::new());
        for layer in genes.chunks_exact(2 * members) {
            let (weight, density) = layer.split_at(members);
            weights.push(weight.iter().map(|gene| gene.max(0.0)).collect());
            densities.push(density.iter().map(|gene| gene.clamp(DENSITY_MIN, 1.0)).collect());
        }
        Self { weights, densities }
    }
}

impl<'a> Recipes<'a> {
    /// Recipes for these displacements. Draws, for [`Thinning::Drop`]: the places of entries, layer by layer, member by member.
    ///
    /// # Errors
    /// [`InputError`] if the layers are of another length.
    pub fn new(
        layers: &'a Layers,
        displacements: &Members<'_>,
        thinning: Thinning,
        draws: &mut Draws,
    ) -> Result<Self, InputError> {
        layers.check(displacements.dim())?;
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        for ranges in layers.ranges() {
            let layer: Vec<Vec<f32>> =
                displacements.rows().iter().map(|row| gather(ranges, row)).collect();
            places.push(layer.iter().map(|row| places_of(row, thinning, draws)).collect());
            rows.push(layer);
        }
        Ok(Self { layers, rows, places, thinning })
    }

    /// The merge of a recipe, a displacement: in each layer every member is thinned to its density, signs are elected by weight,
    /// and the merge is the weighted mean of those that agree, times the sum of all weights. With weights 1/n it is TIES, or
    /// DARE-TIES.
    ///
    /// # Errors
    /// [`InputError`] if the recipe has not one finite weight and density for every member in every layer.
    pub fn apply(&self, recipe: &Recipe) -> Result<Vec<f32>, InputError> {
        count("layers of weights", recipe.weights.len(), self.rows.len())?;
        count("layers of densities", recipe.densities.len(), self.rows.len())?;
        let mut values = vec![0.0; self.layers.dim()];
        for (index, ranges) in self.layers.ranges().enumerate() {
            let (weights, densities) = (&recipe.weights[index], &recipe.densities[index]);
            let rows = &self.rows[index];
            count("densities", densities.len(), rows.len())?;
            let parts = rows.iter().zip(&self.places[index]).zip(densities);
            let thinned: Vec<Vec<f32>> =
                parts.map(|((row, places), density)| self.thin(row, places, *density)).collect();
            let members = Members::new(&thinned)?;
            let signs = elect(&members, weights)?;
            let all: f64 = weights.iter().sum();
            let mean = disjoint_mean(&members, &signs, weights)?;
            let layer: Vec<f32> = mean.iter().map(|x| (f64::from(*x) * all) as f32).collect();
            scatter(ranges, &layer, &mut values);
        }
        Ok(values)
    }

    fn thin(&self, row: &[f32], places: &[u32], density: f64) -> Vec<f32> {
        let kept = libm::round(density * row.len() as f64);
        let factor = match self.thinning {
            Thinning::Trim => 1.0,
            Thinning::Drop => 1.0 / density,
        };
        let of = |(value, place): (&f32, &u32)| {
            if f64::from(*place) < kept { (f64::from(*value) * factor) as f32 } else { 0.0 }
        };
        row.iter().zip(places).map(of).collect()
    }
}

/// CMA-ES over recipes, from weights 1/n and densities ½, until the budget is spent. The coefficients of what is found are genes: of
/// each layer its weights, then its densities, 2·n·layers in all; some hundred at most.
///
/// # Shapes and units
/// `deviation`: of a gene; weights begin at 1/n. The utility is that of the displacement; the closure puts it onto its base.
/// # Errors
/// [`SearchError`] without a budget, if the deviation is not positive, or a measurement fails.
/// # Source
/// Evolutionary model merge, arXiv 2403.13187, parameter space: DARE-TIES by layer, CMA-ES.
pub fn evolve_recipe<F, E>(
    recipes: &Recipes<'_>,
    deviation: f64,
    meter: &mut Meter<F>,
    draws: &mut Draws,
) -> Result<Found, SearchError<E>>
where
    F: FnMut(&[f32]) -> Result<f64, E>,
{
    let members = recipes.rows.first().map_or(0, Vec::len);
    let layer = [vec![1.0 / members as f64; members], vec![0.5; members]].concat();
    let start = layer.repeat(recipes.rows.len());
    let decode = |genes: &[f64]| {
        let values = recipes.apply(&Recipe::of(genes, members))?;
        Ok(Made { values, coefficients: genes.to_vec(), price: 0.0 })
    };
    Probe::new(meter, decode).cma_es(start, deviation, draws)
}

fn places_of(row: &[f32], thinning: Thinning, draws: &mut Draws) -> Vec<u32> {
    let order = match thinning {
        Thinning::Trim => by_magnitude(row),
        Thinning::Drop => draws.shuffled(row.len()),
    };
    let mut places = vec![0; row.len()];
    for (place, index) in order.into_iter().enumerate() {
        places[index] = place as u32;
    }
    places
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::merge::ties;

    const ROWS: [[f32; 4]; 3] =
        [[2.0, -0.1, 0.5, 1.0], [-1.0, 0.4, 0.6, -3.0], [0.5, 0.3, -2.0, 0.1]];

    #[test]
    fn the_plain_recipe_is_ties() {
        let layers = Layers::whole(4);
        let members = Members::new(&ROWS).unwrap();
        let recipes =
            Recipes::new(&layers, &members, Thinning::Trim, &mut Draws::new(1, 0)).unwrap();
        let plain = Recipe { weights: vec![vec![1.0 / 3.0; 3]], densities: vec![vec![0.5; 3]] };
        let merged = recipes.apply(&plain).unwrap();
        for (value, want) in merged.iter().zip(ties(&members, 0.5).unwrap()) {
            assert!((value - want).abs() < 1e-6, "{merged:?}");
        }
    }

    #[test]
    fn a_member_can_be_left_out_of_one_layer() {
        let layers = Layers::blocks(&[2, 2]);
        let members = Members::new(&ROWS).unwrap();
        let recipes =
            Recipes::new(&layers, &members, Thinning::Trim, &mut Draws::new(1, 0)).unwrap();
        let weights = vec![vec![1.0, 0.0, 0.0], vec![0.0, 0.5, 0.0]];
        let recipe = Recipe { weights, densities: vec![vec![1.0; 3]; 2] };
        assert_eq!(recipes.apply(&recipe).unwrap(), [2.0, -0.1, 0.3, -1.5]);
        let short = Recipe { weights: vec![vec![1.0; 3]], densities: vec![vec![1.0; 3]; 2] };
        assert!(recipes.apply(&short).is_err());
    }

    #[test]
    fn dropped_entries_are_made_up_for_and_the_same_every_time() {
        let rows = [[1.0_f32; 100]];
        let layers = Layers::whole(100);
        let members = Members::new(&rows).unwrap();
        let recipes =
            Recipes::new(&layers, &members, Thinning::Drop, &mut Draws::new(1, 0)).unwrap();
        let recipe = Recipe { weights: vec![vec![1.0]], densities: vec![vec![0.25]] };
        let merged = recipes.apply(&recipe).unwrap();
        assert_eq!(merged.iter().filter(|value| **value == 4.0).count(), 25);
        assert_eq!(merged.iter().sum::<f32>(), 100.0);
        assert_eq!(recipes.apply(&recipe).unwrap(), merged);
    }

    #[test]
    fn evolution_finds_layers_of_different_members() {
        let layers = Layers::blocks(&[2, 2]);
        let members = Members::new(&ROWS).unwrap();
        let mut draws = Draws::new(1, 0);
        let recipes = Recipes::new(&layers, &members, Thinning::Trim, &mut draws).unwrap();
        let utility = |x: &[f32]| -> Result<f64, Infallible> {
            let apart = |(x, best): (&f32, f64)| (f64::from(*x) - best) * (f64::from(*x) - best);
            Ok(-x.iter().zip([2.0, 0.0, 0.0, -3.0]).map(apart).sum::<f64>())
        };
        let mut meter = Meter::new(600, utility);
        let found = evolve_recipe(&recipes, 0.3, &mut meter, &mut draws).unwrap();
        let start = utility(&ties(&members, 0.5).unwrap()).unwrap();
        assert_eq!(found.evaluations, 600);
        assert!(found.utility > -0.4 && start < -4.0, "{} {start}", found.utility);
    }
}
