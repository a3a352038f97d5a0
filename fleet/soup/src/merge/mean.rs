//! Means and sums.

use crate::input::{InputError, Members, run};

/// The plain mean: Σ xᵢ / n.
///
/// # Source
/// Model soups, arXiv 2203.05482, uniform soup.
pub fn uniform(members: &Members<'_>) -> Vec<f32> {
    let share = 1.0 / members.count() as f64;
    let sum = members.sum(&vec![1.0; members.count()]);
    sum.into_iter().map(|value| (value * share) as f32).collect()
}

/// The weighted mean: Σ wᵢ·xᵢ / Σ wᵢ.
///
/// # Errors
/// [`InputError`] unless there is one finite weight a member, and their sum is positive.
pub fn weighted(members: &Members<'_>, weights: &[f64]) -> Result<Vec<f32>, InputError> {
    members.check(weights)?;
    let sum: f64 = weights.iter().sum();
    if sum <= 0.0 || !sum.is_finite() {
        return Err(InputError::NoMass { what: "weights", sum });
    }
    let shares: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
    members.combine(&shares)
}

/// The sum of displacements, scaled: s·Σ τᵢ. A displacement; [`onto`] puts it on a position.
///
/// # Errors
/// [`InputError`] if the scale is not finite.
/// # Source
/// Task arithmetic, arXiv 2212.04089; s of 0.3 to 1 is chosen on validation.
pub fn task_arithmetic(displacements: &Members<'_>, scale: f64) -> Result<Vec<f32>, InputError> {
    displacements.combine(&vec![scale; displacements.count()])
}

/// position − anchor.
///
/// # Errors
/// [`InputError`] if they differ in length, or a value is not finite.
pub fn displacement(position: &[f32], anchor: &[f32]) -> Result<Vec<f32>, InputError> {
    Members::new(&[position, anchor])?.combine(&[1.0, -1.0])
}

/// anchor + displacement.
///
/// # Errors
/// [`InputError`] if they differ in length, or a value is not finite.
pub fn onto(anchor: &[f32], displacement: &[f32]) -> Result<Vec<f32>, InputError> {
    run("values of a displacement", displacement, anchor.len())?;
    Members::new(&[anchor, displacement])?.combine(&[1.0, 1.0])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Up to rounding of the last bit, the order of members does not count.
        #[test]
        fn a_mean_does_not_know_the_order(rows in prop::collection::vec(prop::array::uniform3(-10.0_f32..10.0), 1..6)) {
            let turned: Vec<[f32; 3]> = rows.iter().rev().copied().collect();
            let one = uniform(&Members::new(&rows).unwrap());
            let other = uniform(&Members::new(&turned).unwrap());
            for (one, other) in one.iter().zip(&other) {
                prop_assert!((one - other).abs() <= 1e-5);
            }
        }

        #[test]
        fn the_mean_of_equals_is_the_same(row in prop::collection::vec(-10.0_f32..10.0, 1..9), count in 1_usize..9) {
            let rows = vec![row.clone(); count];
            let members = Members::new(&rows).unwrap();
            prop_assert_eq!(uniform(&members), row.clone());
            let weights: Vec<f64> = (1..=count).map(|weight| weight as f64).collect();
            prop_assert_eq!(weighted(&members, &weights).unwrap(), row);
        }
    }

    #[test]
    fn weights_without_a_sum_are_refused() {
        let rows = [[1.0], [2.0]];
        let members = Members::new(&rows).unwrap();
        assert!(weighted(&members, &[1.0, -1.0]).is_err());
        assert_eq!(weighted(&members, &[3.0, 1.0]).unwrap(), [1.25]);
        assert!(task_arithmetic(&members, f64::NAN).is_err());
    }

    #[test]
    fn a_displacement_leads_from_anchor_to_position() {
        let (anchor, position) = ([1.0, -2.0], [0.5, 3.0]);
        let way = displacement(&position, &anchor).unwrap();
        assert_eq!(onto(&anchor, &way).unwrap(), position);
        assert!(onto(&anchor, &[1.0]).is_err());
    }
}
