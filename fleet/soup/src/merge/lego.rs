//! LoRA-LEGO: adapters taken apart into ranks, like ranks clustered, one rank built of each cluster.

use crate::chance::Draws;
use crate::cluster::k_means;
use crate::input::{InputError, Members, at_least, dot};
use crate::merge::Part;
use crate::merge::flexlora::alike;
use crate::sites::{Site, Sites};

/// One adapter of the members' ranks, site by site: row j of A with column j of B is a unit, all members' units are clustered
/// into as many groups as `to` has ranks, and each group gives its mean.
///
/// Two scales put back what the mean loses: a mean is stretched to the mean length of its units, and the whole is multiplied
/// by √(r/k), r the members' mean rank, k that of `to`; half of it, √√(r/k), in each factor. A group without units gives a
/// rank of zeros. Scales of sites go into B.
///
/// Clusters are drawn by k-means++ ([`k_means`]), a site after the other.
///
/// # Errors
/// [`InputError`] without parts, if shapes differ, a value is not finite, or a site has fewer units than `to` has ranks.
/// # Source
/// LoRA-LEGO, arXiv 2409.16167. Units and clusters are those of its abstract; the two scales follow summaries of its section on
/// dual reweighting and were not checked against its equations.
pub fn lego(parts: &[Part<'_>], to: &Sites, draws: &mut Draws) -> Result<Vec<f32>, InputError> {
    at_least(parts.len(), 1)?;
    for (member, part) in parts.iter().enumerate() {
        part.sites.check(member, part.values)?;
        alike(member, part.sites, to)?;
    }
    let mut values = vec![0.0; to.dim()];
    for (index, site) in to.sites().iter().enumerate() {
        let units: Vec<Vec<f32>> = parts
            .iter()
            .flat_map(|part| units(&part.sites.sites()[index], part.values, site.scale))
            .collect();
        let rank = units.len() as f64 / parts.len() as f64;
        let stretch = (rank / site.rank as f64).sqrt().sqrt();
        let members = Members::new(&units)?;
        let clusters = k_means(&members, site.rank, draws)?;
        for (unit, centre) in clusters.centres.iter().enumerate() {
            let group: Vec<&[f32]> = units
                .iter()
                .zip(&clusters.of)
                .filter(|(_values, of)| **of == unit)
                .map(|(values, _of)| values.as_slice())
                .collect();
            let factor = stretch * lengthened(centre, &group);
            put_unit(site, unit, centre, factor, &mut values);
        }
    }
    Ok(values)
}

/// Each rank of a site: its row of A, then its column of B, the latter in units of `scale`.
fn units(site: &Site, values: &[f32], scale: f32) -> Vec<Vec<f32>> {
    let (inputs, factor) = (site.inputs(), site.scale / scale);
    let of = |unit: usize| {
        let a = values[site.a.clone()].iter().skip(unit * inputs).take(inputs).copied();
        let b = values[site.b.clone()].iter().skip(unit).step_by(site.rank);
        a.chain(b.map(|value| value * factor)).collect()
    };
    (0..site.rank).map(of).collect()
}

/// What a centre is multiplied with to be as long as its units are on average; 0 without units.
fn lengthened(centre: &[f32], group: &[&[f32]]) -> f64 {
    let length = dot(centre, centre).sqrt();
    if group.is_empty() || length == 0.0 {
        return 0.0;
    }
    let mean = group.iter().map(|unit| dot(unit, unit).sqrt()).sum::<f64>() / group.len() as f64;
    mean / length
}

fn put_unit(site: &Site, unit: usize, values: &[f32], factor: f64, to: &mut [f32]) {
    let inputs = site.inputs();
    let scaled = |value: &f32| (f64::from(*value) * factor) as f32;
    for (column, value) in values[..inputs].iter().enumerate() {
        to[site.a.start + unit * inputs + column] = scaled(value);
    }
    for (row, value) in values[inputs..].iter().enumerate() {
        to[site.b.start + row * site.rank + unit] = scaled(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::deltas;

    /// One site of a `[3, 4]` weight.
    fn sites(rank: usize) -> Sites {
        let site = Site { a: 0..4 * rank, b: 4 * rank..7 * rank, rank, scale: 2.0 };
        Sites::new(vec![site]).unwrap()
    }

    fn values(dim: usize, seed: u64) -> Vec<f32> {
        let mut draws = Draws::new(seed, 0);
        (0..dim).map(|_index| draws.normal() as f32).collect()
    }

    fn close(a: &[f32], b: &[f32]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
    }

    #[test]
    fn equals_stay_and_the_order_of_ranks_does_not_count() {
        let two = sites(2);
        let row = values(14, 1);
        // The same adapter, its two ranks exchanged.
        let mut turned = row.clone();
        turned[..8].rotate_left(4);
        turned[8..].chunks_exact_mut(2).for_each(<[f32]>::reverse);
        let want = deltas(&two, &row).unwrap();
        assert!(close(&deltas(&two, &turned).unwrap(), &want));

        let parts = [&row, &turned, &row].map(|values| Part { sites: &two, values });
        let merged = lego(&parts, &two, &mut Draws::new(1, 0)).unwrap();
        assert!(close(&deltas(&two, &merged).unwrap(), &want), "{merged:?}");
    }

    #[test]
    fn with_a_rank_for_every_unit_nothing_is_lost_but_the_scale() {
        let (two, four) = (sites(2), sites(4));
        let rows = [values(14, 1), values(14, 2)];
        let parts = [&rows[0], &rows[1]].map(|values| Part { sites: &two, values });
        let merged = lego(&parts, &four, &mut Draws::new(1, 0)).unwrap();
        let sum: Vec<f32> = deltas(&two, &rows[0])
            .unwrap()
            .iter()
            .zip(deltas(&two, &rows[1]).unwrap())
            .map(|(a, b)| (a + b) * 0.5_f32.sqrt())
            .collect();
        assert!(close(&deltas(&four, &merged).unwrap(), &sum));
    }

    #[test]
    fn a_mean_of_units_is_as_long_as_they_are() {
        let one = sites(1);
        let mut rows = [vec![0.0; 7], vec![0.0; 7]];
        (rows[0][0], rows[1][1]) = (2.0, 2.0);
        let parts = [&rows[0], &rows[1]].map(|values| Part { sites: &one, values });
        let merged = lego(&parts, &one, &mut Draws::new(1, 0)).unwrap();
        let side = 2.0_f32.sqrt();
        assert!(close(&merged, &[side, side, 0.0, 0.0, 0.0, 0.0, 0.0]), "{merged:?}");
    }

    #[test]
    fn too_few_units_are_refused() {
        let (two, four) = (sites(2), sites(4));
        let row = values(14, 1);
        let parts = [Part { sites: &two, values: &row }];
        assert!(lego(&parts, &four, &mut Draws::new(1, 0)).is_err());
    }
}
