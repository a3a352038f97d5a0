//! The utility as a harmonic mean of terms: the swarm's own is arithmetic.

use crate::input::{InputError, all_finite, count, within};

/// What a term counts for at least: one term of 0 does not hide the others.
pub const TERM_MIN: f64 = 0.01;

/// (Σ αₘ / max(sₘ, 0.01))⁻¹ with α the weights divided by their sum.
///
/// # Shapes and units
/// `terms`: s, each in `[0, 1]`; a term in `[−1, 1]` goes through [`to_unit`] first. `weights`: `>= 0`, one a term.
/// # Errors
/// [`InputError`] if counts differ, a term or weight is out of its range, or the weights sum to 0.
/// # Source
/// Model Swarms' utility of two tasks: `BunsenFeng/model_swarm`, `evaluate.py`.
pub fn harmonic(terms: &[f64], weights: &[f64]) -> Result<f64, InputError> {
    count("weights", weights.len(), terms.len())?;
    all_finite("weight", weights)?;
    for (term, weight) in terms.iter().zip(weights) {
        within("term", *term, 0.0..=1.0, "0 to 1")?;
        within("weight", *weight, 0.0.., "at least 0")?;
    }
    let sum: f64 = weights.iter().sum();
    if sum <= 0.0 || !sum.is_finite() {
        return Err(InputError::NoMass { what: "weights", sum });
    }
    let inverse = |(term, weight): (&f64, &f64)| weight / sum / term.max(TERM_MIN);
    Ok(1.0 / terms.iter().zip(weights).map(inverse).sum::<f64>())
}

/// (1 + s)/2: a term of `[−1, 1]` in `[0, 1]`.
pub fn to_unit(term: f64) -> f64 {
    (1.0 + term) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weakest_term_counts_most() {
        assert!((harmonic(&[0.5, 1.0], &[1.0, 1.0]).unwrap() - 2.0 / 3.0).abs() < 1e-12);
        assert!((harmonic(&[0.0, 0.0], &[1.0, 3.0]).unwrap() - 0.01).abs() < 1e-12);
        assert_eq!(harmonic(&[to_unit(-1.0), to_unit(1.0)], &[0.0, 2.0]).unwrap(), 1.0);
    }

    #[test]
    fn terms_and_weights_have_their_ranges() {
        assert!(harmonic(&[1.1], &[1.0]).is_err());
        assert!(harmonic(&[0.5], &[-1.0]).is_err());
        assert!(harmonic(&[0.5], &[0.0]).is_err());
        assert!(harmonic(&[], &[]).is_err());
        assert!(harmonic(&[f64::NAN], &[1.0]).is_err());
    }
}
