//! Particles folded into one, and what is made of the result: the arithmetic of merges, in f32, in one order.

use alloc::vec::Vec;

use shoal_wire::ParticleId;

/// The values of an input of a merge, `[dim]`.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// A contribution: a difference to the anchor.
    Displacement(&'a [f32]),
    /// An adapter: its difference to the anchor counts.
    Position(&'a [f32]),
}

/// An input of a merge.
#[derive(Clone, Copy, Debug)]
pub struct Weighted<'a> {
    /// Its name, which says where in the order it stands.
    pub particle: ParticleId,
    /// Its values.
    pub values: Values<'a>,
    /// What it is multiplied with.
    pub weight: f32,
}

/// Why there is no merge of these inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// Finite inputs with finite weights can still add up to what is not.
    #[error("value {index} of the merge is not finite")]
    NotFinite {
        /// Index in the flat run.
        index: usize,
    },
}

/// Folds inputs into one adapter: a function of the named inputs and the listed weights, to the bit.
///
/// ```text
/// s ← 0;  for each input, by growing name:  s ← s + weight·displacement   or   s ← s + weight·(position − anchor)
/// merge ← anchor + s
/// ```
///
/// # Shapes and units
/// `anchor` and every input are flat adapters of one layout, `[dim]`, f32; each operation is rounded to f32.
/// # Errors
/// [`FoldError`]: the inputs come from others.
/// # Panics
/// If an input differs in length from the anchor: a layout is checked once, when a particle is decoded.
pub fn fold(anchor: &[f32], inputs: &[Weighted<'_>]) -> Result<Vec<f32>, FoldError> {
    let mut in_order: Vec<&Weighted<'_>> = inputs.iter().collect();
    in_order.sort_by_key(|input| input.particle);
    let mut sum = alloc::vec![0.0_f32; anchor.len()];
    for Weighted { values, weight, .. } in in_order {
        match values {
            Values::Displacement(displacement) => {
                assert_eq!(displacement.len(), anchor.len(), "particles of one layout");
                for (sum, value) in sum.iter_mut().zip(*displacement) {
                    *sum += weight * value;
                }
            }
            Values::Position(position) => {
                assert_eq!(position.len(), anchor.len(), "particles of one layout");
                for ((sum, value), anchor) in sum.iter_mut().zip(*position).zip(anchor) {
                    *sum += weight * (value - anchor);
                }
            }
        }
    }
    for (sum, anchor) in sum.iter_mut().zip(anchor) {
        *sum += anchor;
    }
    match sum.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(FoldError::NotFinite { index }),
        None => Ok(sum),
    }
}

/// Euclidean length, summed in f64 in index order.
pub fn norm(values: &[f32]) -> f64 {
    libm::sqrt(values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum())
}

/// What a contribution is made of: how far the vehicle went from the anchor, and what rounding has kept back.
///
/// `position − anchor + remainder`, each operation in f32.
///
/// # Panics
/// If the slices differ in length.
pub fn displacement(position: &[f32], anchor: &[f32], remainder: Option<&[f32]>) -> Vec<f32> {
    assert_eq!(position.len(), anchor.len(), "particles of one layout");
    let mut made: Vec<f32> = position.iter().zip(anchor).map(|(to, from)| to - from).collect();
    if let Some(remainder) = remainder {
        assert_eq!(remainder.len(), made.len(), "particles of one layout");
        made.iter_mut().zip(remainder).for_each(|(made, kept)| *made += kept);
    }
    made
}

/// What coding kept back of a displacement, to be added to the next: error feedback.
///
/// # Panics
/// If the slices differ in length.
pub fn remainder(displacement: &[f32], decoded: &[f32]) -> Vec<f32> {
    assert_eq!(displacement.len(), decoded.len(), "particles of one layout");
    displacement.iter().zip(decoded).map(|(meant, sent)| meant - sent).collect()
}

/// The mean of adapters, summed in f32 in the order given; `None` of none.
///
/// # Panics
/// If they differ in length.
pub fn mean(positions: &[&[f32]]) -> Option<Vec<f32>> {
    let (first, rest) = positions.split_first()?;
    let mut sum = first.to_vec();
    for position in rest {
        assert_eq!(position.len(), sum.len(), "particles of one layout");
        sum.iter_mut().zip(*position).for_each(|(sum, value)| *sum += value);
    }
    let count = positions.len() as f32;
    sum.iter_mut().for_each(|sum| *sum /= count);
    Some(sum)
}

/// The point on the line from one adapter through another: `from + share·(to − from)`.
///
/// # Panics
/// If they differ in length.
pub fn between(from: &[f32], to: &[f32], share: f32) -> Vec<f32> {
    assert_eq!(from.len(), to.len(), "particles of one layout");
    from.iter().zip(to).map(|(from, to)| from + share * (to - from)).collect()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn named(name: u8, values: Values<'_>, weight: f32) -> Weighted<'_> {
        Weighted { particle: ParticleId::new([name; 32]), values, weight }
    }

    #[test]
    fn the_order_in_which_inputs_came_does_not_matter() {
        let (a, b, c) = ([0.1_f32, 1e8], [0.2, 1.0], [0.7, -1e8]);
        let inputs = [
            named(3, Values::Displacement(&a), 0.3),
            named(1, Values::Position(&b), 0.3),
            named(2, Values::Displacement(&c), 0.3),
        ];
        let anchor = [0.5, 0.25];
        let once = fold(&anchor, &inputs).unwrap();
        let [x, y, z] = inputs;
        for again in [[y, z, x], [z, y, x], [y, x, z]] {
            assert_eq!(fold(&anchor, &again).unwrap(), once);
        }
    }

    #[test]
    fn a_position_counts_by_its_difference_to_the_anchor() {
        let inputs = [
            named(1, Values::Displacement(&[2.0]), 0.5),
            named(2, Values::Position(&[14.0]), 0.25),
            named(3, Values::Position(&[12.0]), -0.25),
        ];
        assert_eq!(fold(&[10.0], &inputs).unwrap(), [11.5]);
    }

    #[test]
    fn a_merge_that_overflows_is_refused() {
        let inputs = [named(1, Values::Displacement(&[0.0, f32::MAX]), 2.0)];
        assert_eq!(fold(&[0.0; 2], &inputs), Err(FoldError::NotFinite { index: 1 }));
    }

    /// What is sent over several windows adds up to what was meant.
    #[test]
    fn error_feedback_loses_nothing() {
        let steps = [0.4_f32, 0.3, 0.45, -0.2, 0.35];
        let (mut sent, mut kept) = (0.0, vec![0.0]);
        for step in steps {
            let meant = displacement(&[step], &[0.0], Some(&kept));
            let decoded: Vec<f32> = meant.iter().map(|value| libm::roundf(*value)).collect();
            kept = remainder(&meant, &decoded);
            sent += decoded.iter().sum::<f32>();
        }
        let meant: f32 = steps.iter().sum();
        assert!((meant - sent - kept.iter().sum::<f32>()).abs() < 1e-6);
        assert!((meant - sent).abs() <= 0.5);
    }

    #[test]
    fn a_mean_and_a_point_between_are_what_they_say() {
        assert_eq!(mean(&[&[1.0, 2.0], &[3.0, 6.0]]), Some(vec![2.0, 4.0]));
        assert_eq!(mean(&[]), None);
        assert_eq!(between(&[1.0], &[3.0], 1.25), [3.5]);
        assert_eq!(norm(&[3.0, -4.0]), 5.0);
    }
}
