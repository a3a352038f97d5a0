//! FlexLoRA: the mean of products, cut back to a rank.

use crate::input::{InputError, all_finite, at_least, count};
use crate::matrix::Matrix;
use crate::product::{decompose, pair, put};
use crate::sites::{Site, Sites};

/// One member with its own sites: ranks may differ from member to member, the shapes of ΔW may not.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Where its factors stand.
    pub sites: &'a Sites,
    /// Its flat run, `[sites.dim()]`.
    pub values: &'a [f32],
}

/// The factors whose products are nearest to Σ cᵢ·scaleᵢ·Bᵢ·Aᵢ, site by site.
///
/// The products are never formed: with B = \[c₁B₁ … c_nB_n\] and A = \[A₁; …; A_n\] stacked, QR of B and Aᵀ leaves a core of
/// Σ rankᵢ columns at most, whose singular values are those of the sum. Exact where the rank of the sum is no larger than
/// that of `to`. The gauge is that of [`factors`](crate::product::factors).
///
/// # Shapes and units
/// `coefficients`: c, `[count]`, of any sign. The result: a flat run of `to`.
/// # Errors
/// [`InputError`] without parts, if a site's ΔW has another shape in a part than in `to`, or a value is not finite.
/// # Source
/// FlexLoRA, arXiv 2402.11505; the stacking is FLoRA's, arXiv 2409.05976.
pub fn flexlora(
    parts: &[Part<'_>],
    coefficients: &[f64],
    to: &Sites,
) -> Result<Vec<f32>, InputError> {
    at_least(parts.len(), 1)?;
    count("coefficients", coefficients.len(), parts.len())?;
    all_finite("coefficient", coefficients)?;
    for (member, part) in parts.iter().enumerate() {
        part.sites.check(member, part.values)?;
        alike(member, part.sites, to)?;
    }
    let mut values = vec![0.0; to.dim()];
    for (index, site) in to.sites().iter().enumerate() {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for (part, coefficient) in parts.iter().zip(coefficients) {
            let own = &part.sites.sites()[index];
            let (b, a) = pair(own, part.values);
            left.push(b.scaled(coefficient * f64::from(own.scale)));
            right.push(a);
        }
        let svd = decompose(&Matrix::beside(&left), &Matrix::below(&right));
        put(site, &svd, &mut values);
    }
    Ok(values)
}

/// As many sites, of the same inputs and outputs.
pub(crate) fn alike(member: usize, sites: &Sites, to: &Sites) -> Result<(), InputError> {
    count("sites", sites.sites().len(), to.sites().len())?;
    let shape = |site: &Site| (site.outputs(), site.inputs());
    let pairs = sites.sites().iter().zip(to.sites());
    match pairs.into_iter().position(|(own, to)| shape(own) != shape(to)) {
        Some(site) => Err(InputError::Shape { member, site }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Draws;
    use crate::product::{deltas, factors};

    /// One site of a `[4, 5]` weight.
    fn sites(rank: usize, scale: f32) -> Sites {
        let site = Site { a: 0..5 * rank, b: 5 * rank..9 * rank, rank, scale };
        Sites::new(vec![site]).unwrap()
    }

    fn values(sites: &Sites, seed: u64) -> Vec<f32> {
        let mut draws = Draws::new(seed, 0);
        (0..sites.dim()).map(|_index| draws.normal() as f32).collect()
    }

    fn apart(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn it_is_exact_when_the_rank_suffices_whatever_the_members_ranks() {
        let (one, two, three) = (sites(1, 2.0), sites(2, 0.5), sites(3, -1.5));
        let (first, second) = (values(&one, 1), values(&two, 2));
        let parts = [Part { sites: &one, values: &first }, Part { sites: &two, values: &second }];
        let merged = flexlora(&parts, &[0.25, -2.0], &three).unwrap();

        let (a, b) = (deltas(&one, &first).unwrap(), deltas(&two, &second).unwrap());
        let want: Vec<f32> = a.iter().zip(&b).map(|(a, b)| 0.25 * a - 2.0 * b).collect();
        assert!(apart(&deltas(&three, &merged).unwrap(), &want) < 1e-5);
    }

    #[test]
    fn cut_to_a_rank_it_is_the_cut_of_the_whole_sum() {
        let two = sites(2, 1.0);
        let rows: Vec<Vec<f32>> = (1..5).map(|seed| values(&two, seed)).collect();
        let parts: Vec<Part<'_>> = rows.iter().map(|values| Part { sites: &two, values }).collect();
        let merged = flexlora(&parts, &[0.25; 4], &two).unwrap();

        let mut sum = vec![0.0; 20];
        for row in &rows {
            let delta = deltas(&two, row).unwrap();
            sum.iter_mut().zip(delta).for_each(|(sum, value)| *sum += 0.25 * value);
        }
        let whole = factors(&two, &sum).unwrap();
        assert!(apart(&merged, &whole) < 1e-4);
        assert!(apart(&deltas(&two, &merged).unwrap(), &sum) > 0.1, "the cut is one");
    }

    #[test]
    fn another_shape_is_refused() {
        let two = sites(2, 1.0);
        let other = Sites::new(vec![Site { a: 0..8, b: 8..18, rank: 2, scale: 1.0 }]).unwrap();
        let row = values(&two, 1);
        let error = flexlora(&[Part { sites: &two, values: &row }], &[1.0], &other).unwrap_err();
        assert_eq!(error, InputError::Shape { member: 0, site: 0 });
        assert!(flexlora(&[], &[], &two).is_err());
    }
}
