//! Trim, elect a sign, and the mean of those that agree.

use crate::chance::Draws;
use crate::input::{InputError, Members, count, within};
use crate::merge::dare;

/// TIES: each displacement keeps its largest entries, each entry its elected sign, and the mean is that of the members
/// which agree with it. A displacement.
///
/// # Shapes and units
/// `density`: the share of entries kept, 0 to 1; 0.2 in the paper, over all layers of a model.
/// # Errors
/// [`InputError`] if the density is not in `[0, 1]`.
/// # Source
/// TIES-merging, arXiv 2306.01708, algorithm 1.
pub fn ties(displacements: &Members<'_>, density: f64) -> Result<Vec<f32>, InputError> {
    let trimmed: Result<Vec<_>, _> =
        displacements.rows().iter().map(|row| trim(row, density)).collect();
    agreeing(&trimmed?)
}

/// DARE, then the sign and the mean of TIES without its trimming.
///
/// # Errors
/// [`InputError`] if the share of dropped entries is not in `[0, 1)`.
/// # Source
/// DARE, arXiv 2311.03099, section 4; TIES, arXiv 2306.01708.
pub fn dare_ties(
    displacements: &Members<'_>,
    share: f64,
    draws: &mut Draws,
) -> Result<Vec<f32>, InputError> {
    agreeing(&dare::all(displacements, share, draws)?)
}

/// The round(density·n) entries that are largest in magnitude (the first of equals), the others 0.
///
/// # Errors
/// [`InputError`] if the density is not in `[0, 1]`.
pub fn trim(displacement: &[f32], density: f64) -> Result<Vec<f32>, InputError> {
    within("density", density, 0.0..=1.0, "0 to 1")?;
    let kept = libm::round(density * displacement.len() as f64) as usize;
    let mut trimmed = vec![0.0; displacement.len()];
    for index in by_magnitude(displacement).into_iter().take(kept) {
        trimmed[index] = displacement[index];
    }
    Ok(trimmed)
}

/// Of each entry the sign of the members' weighted sum: −1, 0 or 1.
///
/// # Errors
/// [`InputError`] unless there is one finite weight a member.
pub fn elect(members: &Members<'_>, weights: &[f64]) -> Result<Vec<i8>, InputError> {
    members.check(weights)?;
    let sign = |sum: &f64| i8::from(*sum > 0.0) - i8::from(*sum < 0.0);
    Ok(members.sum(weights).iter().map(sign).collect())
}

/// Of each entry the weighted mean over the members whose sign is the elected one; 0 where there is none.
///
/// # Errors
/// [`InputError`] unless there is one finite weight, at least 0, a member and one sign an entry.
pub fn disjoint_mean(
    members: &Members<'_>,
    signs: &[i8],
    weights: &[f64],
) -> Result<Vec<f32>, InputError> {
    members.check(weights)?;
    count("signs", signs.len(), members.dim())?;
    for weight in weights {
        within("weight", *weight, 0.0.., "at least 0")?;
    }
    let (mut sum, mut mass) = (vec![0.0; members.dim()], vec![0.0; members.dim()]);
    for (row, weight) in members.rows().iter().zip(weights) {
        for (index, value) in row.iter().enumerate() {
            if f64::from(*value) * f64::from(signs[index]) > 0.0 {
                sum[index] += weight * f64::from(*value);
                mass[index] += weight;
            }
        }
    }
    let mean = |(sum, mass): (f64, f64)| if mass > 0.0 { (sum / mass) as f32 } else { 0.0 };
    Ok(sum.into_iter().zip(mass).map(mean).collect())
}

/// Indices in falling order of magnitude, the first of equals first.
pub(crate) fn by_magnitude(values: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()));
    order
}

fn agreeing(rows: &[Vec<f32>]) -> Result<Vec<f32>, InputError> {
    let (members, weights) = (Members::new(rows)?, vec![1.0; rows.len()]);
    disjoint_mean(&members, &elect(&members, &weights)?, &weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_model_ties_keeps_its_largest_entries() {
        let rows = [[0.1, -3.0, 0.2, 2.0, -0.3]];
        let members = Members::new(&rows).unwrap();
        assert_eq!(ties(&members, 0.4).unwrap(), [0.0, -3.0, 0.0, 2.0, 0.0]);
        assert_eq!(ties(&members, 1.0).unwrap(), rows[0]);
        assert_eq!(ties(&members, 0.0).unwrap(), [0.0; 5]);
    }

    #[test]
    fn of_equal_magnitudes_the_first_stay() {
        assert_eq!(trim(&[1.0, -1.0, 1.0, 1.0], 0.5).unwrap(), [1.0, -1.0, 0.0, 0.0]);
        assert!(trim(&[1.0], 1.1).is_err());
        assert!(trim(&[1.0], f64::NAN).is_err());
    }

    #[test]
    fn a_minority_does_not_pull_the_mean() {
        let rows = [[2.0, 1.0], [4.0, -1.0], [-1.0, 0.0]];
        let members = Members::new(&rows).unwrap();
        assert_eq!(ties(&members, 1.0).unwrap(), [3.0, 0.0]);
    }

    #[test]
    fn weights_count_in_the_vote_and_in_the_mean() {
        let rows = [[2.0], [-1.0], [-4.0]];
        let members = Members::new(&rows).unwrap();
        let weights = [1.0, 1.0, 0.5];
        let signs = elect(&members, &weights).unwrap();
        assert_eq!(signs, [-1]);
        assert_eq!(disjoint_mean(&members, &signs, &weights).unwrap(), [-2.0]);
        assert!(disjoint_mean(&members, &signs, &[1.0, 1.0, -0.5]).is_err());
    }

    #[test]
    fn with_nothing_dropped_dare_ties_is_ties_with_all() {
        let rows = [[2.0, 1.0], [4.0, -3.0], [-1.0, 0.0]];
        let members = Members::new(&rows).unwrap();
        let merged = dare_ties(&members, 0.0, &mut Draws::new(1, 0)).unwrap();
        assert_eq!(merged, ties(&members, 1.0).unwrap());
    }
}
