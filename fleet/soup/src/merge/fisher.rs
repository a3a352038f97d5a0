//! Fisher merging: entries weighted by how much they matter to each member.

use crate::input::{InputError, Members, count, within};

/// What the sum of the information is divided with where nobody has any.
const SMALL: f64 = 1e-8;

/// Σ λᵢ·Fᵢ·xᵢ / (Σ λᵢ·Fᵢ + 10⁻⁸), entry by entry.
///
/// # Shapes and units
/// `information`: Fᵢ, the diagonal of the Fisher matrix of each member, the mean over samples of (∂ log p/∂x)², `[count][dim]`,
/// `>= 0`. `weights`: λᵢ, `[count]`, `>= 0`; only their proportions to each other count while they sum to about 1.
/// # Errors
/// [`InputError`] if shapes differ, or a weight or an entry of F is negative.
/// # Source
/// Fisher-weighted averaging, arXiv 2111.09832, equation 3.
pub fn fisher(
    positions: &Members<'_>,
    information: &Members<'_>,
    weights: &[f64],
) -> Result<Vec<f32>, InputError> {
    positions.check(weights)?;
    count("members with Fisher information", information.count(), positions.count())?;
    count("entries of Fisher information", information.dim(), positions.dim())?;
    for weight in weights {
        within("weight", *weight, 0.0.., "at least 0")?;
    }
    let lowest = information.rows().iter().copied().flatten().copied().fold(0.0, f32::min);
    within("entry of Fisher information", f64::from(lowest), 0.0.., "at least 0")?;
    let (mut sum, mass) = (vec![0.0; positions.dim()], information.sum(weights));
    for ((row, information), weight) in positions.rows().iter().zip(information.rows()).zip(weights)
    {
        for ((sum, value), information) in sum.iter_mut().zip(*row).zip(*information) {
            *sum += weight * f64::from(*information) * f64::from(*value);
        }
    }
    Ok(sum.into_iter().zip(mass).map(|(sum, mass)| (sum / (mass + SMALL)) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_knows_an_entry_decides_it() {
        let rows = [[1.0, 1.0], [5.0, 5.0]];
        let information = [[1.0, 0.0], [0.0, 3.0]];
        let (members, information) =
            (Members::new(&rows).unwrap(), Members::new(&information).unwrap());
        let merged = fisher(&members, &information, &[0.5, 0.5]).unwrap();
        assert!((merged[0] - 1.0).abs() < 1e-6 && (merged[1] - 5.0).abs() < 1e-6, "{merged:?}");
    }

    #[test]
    fn negative_information_is_refused() {
        let rows = [[1.0, 1.0], [5.0, 5.0]];
        let information = [[1.0, 0.0], [0.0, -3.0]];
        let (members, information) =
            (Members::new(&rows).unwrap(), Members::new(&information).unwrap());
        assert!(fisher(&members, &information, &[0.5, 0.5]).is_err());
        assert!(fisher(&members, &members, &[0.5, -0.5]).is_err());
    }
}
