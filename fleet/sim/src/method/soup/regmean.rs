//! RegMean: vehicles send what goes into each site as a Gram matrix, and the merge answers as each of them did on its own.

use shoal_runtime::adapter::Layout;
use shoal_soup::input::{InputError, Members};
use shoal_soup::merge::{Gram, regmean};
use shoal_swarm::swarm::Flat;

use super::{Given, SoupError};
use crate::config;
use crate::lab::Grams;
use crate::method::Window;
use crate::method::sites::sites;

/// Added to the diagonal of every vehicle's matrix of a site, in units of the mean diagonal over all vehicles: an input that was
/// zero for everybody (a channel that never fires, motion that nobody knows) would leave nothing to divide by. There the merge
/// is the plain mean. RegMean's own shrinking of what is not on the diagonal does not help where the diagonal is zero.
const RIDGE: f64 = 1e-6;

/// At what vehicles sent, in product space.
pub(super) fn merged(
    given: &Given<'_>,
    asked: config::RegMean,
    window: &mut Window<'_, '_>,
) -> Result<Flat, SoupError> {
    let ask = given.asked(asked.samples);
    let mut grams = window.lab.grams(&ask)?;
    let inputs: Vec<usize> = inputs(given.layout).collect();
    for (site, inputs) in inputs.iter().enumerate() {
        ridge(&mut grams, site, *inputs);
    }
    let whole = |of_vehicle: &Grams| -> Vec<Vec<f32>> {
        of_vehicle.iter().zip(&inputs).map(|(triangle, inputs)| whole(triangle, *inputs)).collect()
    };
    let whole: Vec<Vec<Vec<f32>>> = grams.iter().map(whole).collect();
    let whole: Vec<Vec<Gram<'_>>> =
        whole.iter().map(|of| of.iter().map(|values| Gram { values }).collect()).collect();
    let sites = sites(given.layout)?;
    let merged = regmean(&sites, &Members::new(given.at)?, &whole, asked.shrink);
    Ok(merged.map_err(|error| named(given.layout, error))?.into())
}

/// A site by its name instead of its number.
fn named(layout: &Layout, error: InputError) -> SoupError {
    if let InputError::Singular { site } = error
        && let Some(site) = layout.sites.get(site)
    {
        return SoupError::Singular { site: site.name.clone() };
    }
    error.into()
}

/// Columns of A of each site.
fn inputs(layout: &Layout) -> impl Iterator<Item = usize> {
    layout.sites.iter().map(|site| site.a.dims.iter().skip(1).product())
}

/// Adds [`RIDGE`] to the diagonals of a site; where nobody saw anything they become 1.
fn ridge(grams: &mut [Grams], site: usize, inputs: usize) {
    let mut sum = 0.0;
    let vehicles = grams.len();
    each_diagonal(grams, site, inputs, |value| sum += f64::from(*value));
    let mean = sum / (vehicles * inputs).max(1) as f64;
    let ridge = if mean > 0.0 { RIDGE * mean } else { 1.0 };
    each_diagonal(grams, site, inputs, |value| *value = (f64::from(*value) + ridge) as f32);
}

fn each_diagonal(grams: &mut [Grams], site: usize, inputs: usize, mut each: impl FnMut(&mut f32)) {
    for triangle in grams.iter_mut().filter_map(|of_vehicle| of_vehicle.get_mut(site)) {
        let mut rest = &mut triangle[..];
        for length in (1..=inputs).rev() {
            let Some((line, below)) = rest.split_at_mut_checked(length) else { break };
            line.iter_mut().take(1).for_each(&mut each);
            rest = below;
        }
    }
}

/// The symmetric matrix `[in, in]` of an upper triangle.
fn whole(triangle: &[f32], inputs: usize) -> Vec<f32> {
    let mut whole = vec![0.0; inputs * inputs];
    let mut rest = triangle;
    for row in 0..inputs {
        let Some((line, below)) = rest.split_at_checked(inputs - row) else { break };
        for (offset, value) in line.iter().enumerate() {
            let column = row + offset;
            for place in [row * inputs + column, column * inputs + row] {
                if let Some(entry) = whole.get_mut(place) {
                    *entry = *value;
                }
            }
        }
        rest = below;
    }
    whole
}

#[cfg(test)]
mod tests {
    use shoal_soup::sites::{Site, Sites};

    use super::*;

    #[test]
    fn a_triangle_is_half_of_a_symmetric_matrix() {
        let want = [1.0, 2.0, 3.0, 2.0, 4.0, 5.0, 3.0, 5.0, 6.0];
        assert_eq!(whole(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3), want);
    }

    /// An input that was zero for all gets the mean of what vehicles learnt there.
    #[test]
    fn an_input_that_nobody_saw_is_merged_by_the_plain_mean() {
        // Two inputs, one output: the second input is dead. The first vehicle saw twice as much of the first.
        let mut grams: Vec<Grams> =
            vec![vec![vec![2.0, 0.0, 0.0]], vec![vec![1.0, 0.0, 0.0]], vec![vec![0.0; 3]]];
        ridge(&mut grams, 0, 2);
        let ridged = (RIDGE * 0.5) as f32;
        assert_eq!(grams[1][0][2], ridged);
        assert_eq!(grams[2][0], [ridged, 0.0, ridged]);
        let sites = Sites::new(vec![Site { a: 0..2, b: 2..3, rank: 1, scale: 1.0 }]).unwrap();
        let rows = [[1.0, 3.0, 1.0], [4.0, 6.0, 1.0], [7.0, 9.0, 1.0]];
        let whole: Vec<Vec<f32>> = grams.iter().map(|of| whole(&of[0], 2)).collect();
        let whole: Vec<Vec<Gram<'_>>> = whole.iter().map(|values| vec![Gram { values }]).collect();
        let members = Members::new(&rows).unwrap();
        let merged = regmean(&sites, &members, &whole, 0.9).unwrap();
        let delta = shoal_soup::product::deltas(&sites, &merged).unwrap();
        assert!((delta[0] - 2.0).abs() < 1e-4 && (delta[1] - 6.0).abs() < 1e-4, "{delta:?}");

        let mut nothing: Vec<Grams> = vec![vec![vec![0.0; 3]]; 2];
        ridge(&mut nothing, 0, 2);
        assert_eq!(nothing[1][0], [1.0, 0.0, 1.0]);
    }
}
