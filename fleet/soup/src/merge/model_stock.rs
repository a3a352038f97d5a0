//! Model Stock: how far to trust the mean, by the angle between members.

use crate::input::{InputError, Members, at_least, dot};
use crate::merge::uniform;
use crate::sites::{Layers, gather, scatter};

/// The mean of displacements, shortened layer by layer: t·mean τᵢ with t = [`ratio`] of the layer's [`mean_cosine`].
///
/// # Errors
/// [`InputError`] if there are fewer than two members (there is no angle), or the layers are of another length.
/// # Source
/// Model Stock, arXiv 2403.19522, equation 5.
pub fn model_stock(layers: &Layers, displacements: &Members<'_>) -> Result<Vec<f32>, InputError> {
    layers.check(displacements.dim())?;
    at_least(displacements.count(), 2)?;
    let mut merged = uniform(displacements);
    for ranges in layers.ranges() {
        let rows: Vec<Vec<f32>> =
            displacements.rows().iter().map(|row| gather(ranges, row)).collect();
        let layer = Members::new(&rows)?;
        let t = ratio(mean_cosine(&layer), rows.len());
        let mean = uniform(&layer).into_iter().map(|value| (t * f64::from(value)) as f32);
        scatter(ranges, &mean.collect::<Vec<f32>>(), &mut merged);
    }
    Ok(merged)
}

/// The mean cosine over all pairs of members; of a pair with a zero in it 0. 0 without pairs.
pub fn mean_cosine(members: &Members<'_>) -> f64 {
    let rows = members.rows();
    let lengths: Vec<f64> = rows.iter().map(|row| dot(row, row).sqrt()).collect();
    let (mut sum, mut pairs) = (0.0, 0_u32);
    for first in 0..rows.len() {
        for second in first + 1..rows.len() {
            let both = lengths[first] * lengths[second];
            sum += if both > 0.0 { dot(rows[first], rows[second]) / both } else { 0.0 };
            pairs += 1;
        }
    }
    if pairs == 0 { 0.0 } else { sum / f64::from(pairs) }
}

/// t = k·cos/(1 + (k − 1)·cos) for `count` members, a negative cosine taken as 0: 0 for members that have nothing in common, 1
/// for equal ones.
pub fn ratio(cosine: f64, count: usize) -> f64 {
    let (cosine, count) = (cosine.max(0.0), count as f64);
    count * cosine / (1.0 + (count - 1.0) * cosine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_are_trusted_and_strangers_are_not() {
        let layers = Layers::blocks(&[2, 2]);
        let rows = [[3.0, 4.0, 1.0, 0.0], [3.0, 4.0, 0.0, 1.0]];
        let merged = model_stock(&layers, &Members::new(&rows).unwrap()).unwrap();
        assert_eq!(merged, [3.0, 4.0, 0.0, 0.0]);
    }

    #[test]
    fn opposites_and_zeros_give_nothing() {
        let rows = [[1.0, 1.0], [-1.0, -1.0]];
        let members = Members::new(&rows).unwrap();
        assert_eq!(model_stock(&Layers::whole(2), &members).unwrap(), [0.0, 0.0]);
        let rows = [[0.0, 0.0], [1.0, 2.0]];
        assert_eq!(mean_cosine(&Members::new(&rows).unwrap()), 0.0);
        assert_eq!(ratio(-0.5, 2), 0.0);
    }

    #[test]
    fn one_member_has_no_angle() {
        let rows = [[1.0, 1.0]];
        let error = model_stock(&Layers::whole(2), &Members::new(&rows).unwrap()).unwrap_err();
        assert_eq!(error, InputError::TooFew { got: 1, want: 2 });
    }
}
