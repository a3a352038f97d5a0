//! Means along the arc.

use crate::input::{InputError, Members, dot, within};
use crate::sites::{Layers, gather, scatter};

/// From this cosine on, arc and chord are one.
const STRAIGHT: f64 = 0.9995;

/// From a (t = 0) to b (t = 1) along the arc between them, layer by layer:
///
/// ```text
/// ω = arccos(⟨a, b⟩ / |a||b|)
/// slerp(t) = sin((1 − t)ω)/sin ω · a + sin(tω)/sin ω · b
/// ```
///
/// Along the chord where |cos ω| > 0.9995 or one of them is zero. The angle is that of the directions, the result keeps the
/// lengths.
///
/// # Errors
/// [`InputError`] if the runs differ in length, or `t` is not in `[0, 1]`.
/// # Source
/// Shoemake, 1985; per tensor and with this limit as in mergekit.
pub fn slerp(layers: &Layers, a: &[f32], b: &[f32], t: f64) -> Result<Vec<f32>, InputError> {
    let dim = Members::new(&[a, b])?.dim();
    layers.check(dim)?;
    within("t", t, 0.0..=1.0, "0 to 1")?;
    let mut values = vec![0.0; dim];
    for ranges in layers.ranges() {
        let layer = arc(&gather(ranges, a), &gather(ranges, b), t);
        scatter(ranges, &layer, &mut values);
    }
    Ok(values)
}

/// Members one after the other: m₁ = x₁, m_k = slerp(1/k; from m_{k−1} to x_k). The order counts.
///
/// # Errors
/// [`InputError`] if the layers are of another length.
pub fn slerp_sequence(layers: &Layers, members: &Members<'_>) -> Result<Vec<f32>, InputError> {
    layers.check(members.dim())?;
    let mut merged = members.rows()[0].to_vec();
    for (index, member) in members.rows().iter().enumerate().skip(1) {
        merged = slerp(layers, &merged, member, 1.0 / (index + 1) as f64)?;
    }
    Ok(merged)
}

fn arc(a: &[f32], b: &[f32], t: f64) -> Vec<f32> {
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    let cosine = if lengths > 0.0 { (dot(a, b) / lengths).clamp(-1.0, 1.0) } else { 1.0 };
    let (first, second) = if cosine.abs() > STRAIGHT {
        (1.0 - t, t)
    } else {
        let angle = libm::acos(cosine);
        let whole = libm::sin(angle);
        (libm::sin((1.0 - t) * angle) / whole, libm::sin(t * angle) / whole)
    };
    let at = |(a, b): (&f32, &f32)| (first * f64::from(*a) + second * f64::from(*b)) as f32;
    a.iter().zip(b).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arc_keeps_the_length_and_halves_the_angle() {
        let merged = slerp(&Layers::whole(2), &[2.0, 0.0], &[0.0, 2.0], 0.5).unwrap();
        let side = 2.0_f32.sqrt();
        assert!(merged.iter().all(|value| (value - side).abs() < 1e-6), "{merged:?}");
    }

    #[test]
    fn equals_opposites_and_zeros_go_straight() {
        let layers = Layers::whole(2);
        assert_eq!(slerp(&layers, &[3.0, 4.0], &[3.0, 4.0], 0.3).unwrap(), [3.0, 4.0]);
        assert_eq!(slerp(&layers, &[1.0, 0.0], &[-1.0, 0.0], 0.5).unwrap(), [0.0, 0.0]);
        assert_eq!(slerp(&layers, &[0.0, 0.0], &[4.0, 0.0], 0.25).unwrap(), [1.0, 0.0]);
    }

    #[test]
    fn layers_turn_each_by_their_own_angle() {
        let layers = Layers::new(vec![vec![0..2, 3..4], vec![2..3, 4..5]]).unwrap();
        let merged =
            slerp(&layers, &[1.0, 0.0, 1.0, 0.0, 0.0], &[0.0, 1.0, 3.0, 0.0, 0.0], 0.5).unwrap();
        let side = 0.5_f32.sqrt();
        for (value, want) in merged.iter().zip([side, side, 2.0, 0.0, 0.0]) {
            assert!((value - want).abs() < 1e-6, "{merged:?}");
        }
    }

    #[test]
    fn a_sequence_gives_each_member_its_share_and_knows_the_order() {
        let rows = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let merged = slerp_sequence(&Layers::whole(3), &Members::new(&rows).unwrap()).unwrap();
        // A third of the way from the diagonal of the first two to the last: 90° · ⅓ = 30°.
        let (sin, cos) = (0.5, 0.75_f32.sqrt());
        for (value, want) in merged.iter().zip([cos * 0.5_f32.sqrt(), cos * 0.5_f32.sqrt(), sin]) {
            assert!((value - want).abs() < 1e-6, "{merged:?}");
        }
        assert!(slerp(&Layers::whole(3), &rows[0], &rows[1], 1.5).is_err());
        assert!(slerp(&Layers::whole(2), &rows[0], &rows[1], 0.5).is_err());
    }
}
