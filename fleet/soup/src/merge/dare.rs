//! Drop and rescale.

use crate::chance::Draws;
use crate::input::{InputError, Members, count, within};
use crate::merge::uniform;

/// A share of 1 leaves nothing to rescale.
const SHARE: &str = "at least 0 and less than 1";

/// The mean of displacements of which a share p of entries, drawn at random, is dropped, the rest divided by 1 − p.
///
/// ```text
/// τ̃ᵢ = maskᵢ·τᵢ/(1 − p),  maskᵢ ~ Bernoulli(1 − p) per entry
/// merged = mean τ̃ᵢ
/// ```
///
/// Draws: one an entry, member after member. Some public copies do not rescale; this one does.
///
/// # Errors
/// [`InputError`] if the share is not in `[0, 1)`.
/// # Source
/// DARE, arXiv 2311.03099, equation 3.
pub fn dare(
    displacements: &Members<'_>,
    share: f64,
    draws: &mut Draws,
) -> Result<Vec<f32>, InputError> {
    let dropped = all(displacements, share, draws)?;
    Ok(uniform(&Members::new(&dropped)?))
}

/// One displacement with a share p of its entries dropped at random, the rest divided by 1 − p.
///
/// # Errors
/// [`InputError`] if the share is not in `[0, 1)`.
pub fn drop_entries(
    displacement: &[f32],
    share: f64,
    draws: &mut Draws,
) -> Result<Vec<f32>, InputError> {
    within("share of dropped entries", share, 0.0..1.0, SHARE)?;
    let kept: Vec<bool> = displacement.iter().map(|_value| !draws.happens(share)).collect();
    rescale(displacement, &kept, share)
}

/// The kept entries divided by 1 − share, the others 0.
///
/// # Errors
/// [`InputError`] if the lengths differ, or the share is not in `[0, 1)`.
pub fn rescale(displacement: &[f32], kept: &[bool], share: f64) -> Result<Vec<f32>, InputError> {
    within("share of dropped entries", share, 0.0..1.0, SHARE)?;
    count("entries of the mask", kept.len(), displacement.len())?;
    let of = |(value, kept): (&f32, &bool)| {
        if *kept { (f64::from(*value) / (1.0 - share)) as f32 } else { 0.0 }
    };
    Ok(displacement.iter().zip(kept).map(of).collect())
}

/// [`drop_entries`] of each.
pub(crate) fn all(
    displacements: &Members<'_>,
    share: f64,
    draws: &mut Draws,
) -> Result<Vec<Vec<f32>>, InputError> {
    displacements.rows().iter().map(|row| drop_entries(row, share, draws)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_over_masks_is_the_displacement() {
        let row = [1.0, -2.0, 0.5];
        let mut draws = Draws::new(1, 0);
        let mut sum = [0.0; 3];
        for _ in 0..4000 {
            let dropped = drop_entries(&row, 0.75, &mut draws).unwrap();
            sum.iter_mut().zip(dropped).for_each(|(sum, value)| *sum += value / 4000.0);
        }
        for (mean, value) in sum.iter().zip(row) {
            assert!((mean - value).abs() < 0.06 * value.abs() + 0.02, "{sum:?}");
        }
    }

    #[test]
    fn nothing_dropped_is_the_mean_and_all_dropped_is_refused() {
        let rows = [[1.0, 2.0], [3.0, -2.0]];
        let members = Members::new(&rows).unwrap();
        assert_eq!(dare(&members, 0.0, &mut Draws::new(1, 0)).unwrap(), [2.0, 0.0]);
        for share in [1.0, -0.1, f64::NAN] {
            assert!(dare(&members, share, &mut Draws::new(1, 0)).is_err());
        }
    }

    #[test]
    fn one_seed_gives_one_merge() {
        let rows = [[1.0; 64], [3.0; 64]];
        let members = Members::new(&rows).unwrap();
        let merge = |seed| dare(&members, 0.5, &mut Draws::new(seed, 0)).unwrap();
        assert_eq!(merge(1), merge(1));
        assert_ne!(merge(1), merge(2));
    }
}
