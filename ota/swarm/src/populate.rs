//! How a swarm begins: more particles out of few, and their first velocities.
#![expect(clippy::arithmetic_side_effects, reason = "numbers are floats: none overflows")]

use alloc::vec::Vec;

use crate::draws::Chance;
use crate::real::Real;

/// A particle between two others, or past the first: `w·first + (1 − w)·second`.
///
/// `w` in `[0, 1]` interpolates, as the paper says; [`populate`] draws it in `[0, 2)`, as its code does.
///
/// # Panics
/// If the slices differ in length.
pub fn child<T: Real>(first: &[T], second: &[T], w: f64) -> Vec<T> {
    assert_eq!(first.len(), second.len(), "particles of one layout");
    let (first_weight, second_weight) = (T::nearest(w), T::nearest(1.0 - w));
    first.iter().zip(second).map(|(&a, &b)| first_weight * a + second_weight * b).collect()
}

/// Grows a swarm to `count` particles. Each new one has two parents, drawn from all that are there: particles
/// made before can be parents. The second is drawn again until it is another than the first; then u is drawn, and
/// w = 2u.
///
/// A swarm of fewer than two particles stays as it is: there is no pair to draw.
///
/// # Source
/// `BunsenFeng/model_swarm`, `search.py`: half interpolation, half extrapolation past the first parent, where the
/// paper says interpolation.
pub fn populate<T: Real>(particles: &mut Vec<Vec<T>>, count: usize, chance: &mut impl Chance) {
    if particles.len() < 2 {
        return;
    }
    while particles.len() < count {
        let first = chance.index(particles.len());
        let second = loop {
            let second = chance.index(particles.len());
            if second != first {
                break second;
            }
        };
        let w = 2.0 * chance.unit();
        let (Some(first), Some(second)) = (particles.get(first), particles.get(second)) else {
            return;
        };
        let child = child(first, second, w);
        particles.push(child);
    }
}

/// The particle towards which the one with this index first moves: any other of `count`, all alike.
///
/// `None` when there is no other.
pub fn partner(index: usize, count: usize, chance: &mut impl Chance) -> Option<usize> {
    let others = count.checked_sub(1).filter(|others| *others > 0)?;
    let drawn = chance.index(others);
    Some(if drawn < index { drawn } else { drawn.saturating_add(1) })
}

/// The velocity with which one step reaches the partner: `partner − x`.
///
/// # Panics
/// If the slices differ in length.
pub fn velocity<T: Real>(x: &[T], partner: &[T]) -> Vec<T> {
    assert_eq!(x.len(), partner.len(), "particles of one layout");
    x.iter().zip(partner).map(|(&x, &partner)| partner - x).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

    use super::*;
    use crate::draws::{Draws, Key, Term};

    fn draws(term: Term) -> Draws {
        Draws::new(Key { seed: 5, vehicle: None, window: 0, step: 0, term })
    }

    #[test]
    fn a_swarm_of_one_cannot_grow() {
        let mut particles = alloc::vec![alloc::vec![1.0_f32]];
        populate(&mut particles, 5, &mut draws(Term::Parents));
        assert_eq!(particles.len(), 1);
        assert_eq!(partner(0, 1, &mut draws(Term::Partner)), None);
    }

    #[test]
    fn a_partner_is_any_other_particle_and_never_itself() {
        let mut draws = draws(Term::Partner);
        let mut seen = [0_u32; 4];
        for _ in 0..300 {
            seen[partner(2, 4, &mut draws).unwrap()] += 1;
        }
        let [a, b, itself, d] = seen;
        assert_eq!(itself, 0);
        assert!([a, b, d].iter().all(|count| *count > 60), "{seen:?}");
    }
}
