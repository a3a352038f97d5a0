//! RegMean: the weights whose outputs are nearest to those of all members, each on its own inputs.

use crate::input::{InputError, Members, count, run, within};
use crate::matrix::Matrix;
use crate::product::{decompose, pair, put};
use crate::sites::{Site, Sites};

/// The Gram matrix Xᵀ·X of a site's inputs, as one member saw them.
#[derive(Clone, Copy, Debug)]
pub struct Gram<'a> {
    /// `[in, in]` row-major, symmetric; a node that sends it sends in·(in + 1)/2 numbers.
    pub values: &'a [f32],
}

/// The factors nearest to the members' regression mean, site by site:
///
/// ```text
/// G̃ᵢ = a·Gᵢ + (1 − a)·diag(Gᵢ)
/// ΔWᵀ = (Σ G̃ᵢ)⁻¹ Σ G̃ᵢ·ΔWᵢᵀ        (y = x·Wᵀ)
/// ```
///
/// In product space, then cut to the sites' rank. The base weight is the same in all members, so that it drops out. What is
/// decomposed has Σ rankᵢ columns, as with [`flexlora`](crate::merge::flexlora).
///
/// # Shapes and units
/// `grams[member][site]`. `shrink`: a, 0 to 1; 0.9 in the paper.
/// # Errors
/// [`InputError`] if shapes differ, a value is not finite, or the sum of Gram matrices of a site is singular: an input that no
/// member ever saw.
/// # Source
/// RegMean, arXiv 2212.09849, equation 2 and section 4.
pub fn regmean(
    sites: &Sites,
    members: &Members<'_>,
    grams: &[Vec<Gram<'_>>],
    shrink: f64,
) -> Result<Vec<f32>, InputError> {
    count("values", members.dim(), sites.dim())?;
    count("members with Gram matrices", grams.len(), members.count())?;
    within("a", shrink, 0.0..=1.0, "0 to 1")?;
    for of_member in grams {
        count("Gram matrices", of_member.len(), sites.sites().len())?;
    }
    let mut values = vec![0.0; sites.dim()];
    for (index, site) in sites.sites().iter().enumerate() {
        let of_site: Result<Vec<Matrix>, InputError> =
            grams.iter().map(|of_member| shrunk(site, of_member[index], shrink)).collect();
        let (left, right) =
            solved(site, members, &of_site?).ok_or(InputError::Singular { site: index })?;
        let svd = decompose(&left, &right);
        put(site, &svd, &mut values);
    }
    Ok(values)
}

/// G̃ of one member.
fn shrunk(site: &Site, gram: Gram<'_>, shrink: f64) -> Result<Matrix, InputError> {
    let inputs = site.inputs();
    run("values of a Gram matrix", gram.values, inputs * inputs)?;
    let mut matrix = Matrix::wide(inputs, gram.values).scaled(shrink);
    for index in 0..inputs {
        matrix[(index, index)] = f64::from(gram.values[index * inputs + index]);
    }
    Ok(matrix)
}

/// Two stacks whose product is ΔW: scale·\[B₁ … B_n\] and \[A₁G̃₁; …; A_nG̃_n\]·(Σ G̃ᵢ)⁻¹.
fn solved(site: &Site, members: &Members<'_>, grams: &[Matrix]) -> Option<(Matrix, Matrix)> {
    let mut sum = Matrix::zero(site.inputs(), site.inputs());
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for (row, gram) in members.rows().iter().zip(grams) {
        let (b, a) = pair(site, row);
        sum.add(gram, 1.0);
        left.push(b.scaled(f64::from(site.scale)));
        right.push(a.times(gram));
    }
    let right = sum.solve(&Matrix::below(&right).transposed())?.transposed();
    Some((Matrix::beside(&left), right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Draws;
    use crate::product::deltas;

    fn sites() -> Sites {
        Sites::new(vec![Site { a: 0..6, b: 6..10, rank: 2, scale: 0.5 }]).unwrap()
    }

    fn gram(seed: u64) -> Vec<f32> {
        let mut draws = Draws::new(seed, 1);
        let x = Matrix::of(3, (0..15).map(|_index| draws.normal()));
        x.transposed().times(&x).values().iter().map(|value| *value as f32).collect()
    }

    fn merge(rows: &[Vec<f32>], grams: &[Vec<f32>]) -> Result<Vec<f32>, InputError> {
        let grams: Vec<Vec<Gram<'_>>> = grams.iter().map(|values| vec![Gram { values }]).collect();
        let sites = sites();
        let merged = regmean(&sites, &Members::new(rows)?, &grams, 0.9)?;
        deltas(&sites, &merged)
    }

    fn row(seed: u64) -> Vec<f32> {
        let mut draws = Draws::new(seed, 0);
        (0..10).map(|_index| draws.normal() as f32).collect()
    }

    #[test]
    fn equals_stay_whatever_they_saw() {
        let merged = merge(&[row(1), row(1)], &[gram(1), gram(2)]).unwrap();
        for (value, want) in merged.iter().zip(deltas(&sites(), &row(1)).unwrap()) {
            assert!((value - want).abs() < 1e-5, "{merged:?}");
        }
    }

    #[test]
    fn with_equal_inputs_it_is_the_mean_of_products() {
        let merged = merge(&[row(1), row(2)], &[gram(1), gram(1)]).unwrap();
        let (a, b) = (deltas(&sites(), &row(1)).unwrap(), deltas(&sites(), &row(2)).unwrap());
        // Two outputs: any sum of products has rank 2.
        for ((value, a), b) in merged.iter().zip(a).zip(b) {
            assert!((value - (a + b) / 2.0).abs() < 1e-5, "{merged:?}");
        }
    }

    #[test]
    fn an_input_nobody_saw_is_refused() {
        let blind = |seed| {
            let mut gram = gram(seed);
            [1, 3, 4, 5, 7].into_iter().for_each(|index| gram[index] = 0.0);
            gram
        };
        let error = merge(&[row(1), row(2)], &[blind(1), blind(2)]).unwrap_err();
        assert_eq!(error, InputError::Singular { site: 0 });
        assert!(merge(&[row(1), row(2)], &[gram(1), vec![0.0; 8]]).is_err());
    }
}
