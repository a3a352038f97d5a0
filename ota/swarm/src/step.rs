//! One step of one particle.
#![expect(clippy::arithmetic_side_effects, reason = "numbers are floats: none overflows")]

use crate::real::Real;

/// How much each term weighs: φ of the paper, one number each, `>= 0`. A term that is off weighs 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// φ_v: how much of its velocity a particle keeps.
    pub inertia: f64,
    /// φ_p: how much its personal best draws it.
    pub cognitive: f64,
    /// φ_g: how much the global best draws it.
    pub social: f64,
    /// φ_w: how much the global worst repels it.
    pub repel: f64,
}

/// The pulls of one step, `a` of the formula: weight times draw, `>= 0`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pull {
    /// a_v
    pub inertia: f64,
    /// a_p
    pub cognitive: f64,
    /// a_g
    pub social: f64,
    /// a_w
    pub repel: f64,
}

impl Weights {
    /// The pulls with these draws, one a term, in the order of the fields: four numbers in `[0, 1)`.
    ///
    /// One draw moves all coordinates of a particle; there is none a coordinate or a layer.
    pub fn pull(&self, draws: [f64; 4]) -> Pull {
        let [inertia, cognitive, social, repel] = draws;
        Pull {
            inertia: inertia * self.inertia,
            cognitive: cognitive * self.cognitive,
            social: social * self.social,
            repel: repel * self.repel,
        }
    }
}

impl Pull {
    /// The pulls when best and worst are old: halved each time `half_life` steps have passed since they
    /// were measured. The sum of the pulls, by which [`step`] divides, shrinks with them.
    ///
    /// Not of the paper: swarm.md §8.
    ///
    /// # Panics
    /// If `half_life` is not above 0.
    pub fn damped(self, best_age: f64, worst_age: f64, half_life: f64) -> Self {
        assert!(half_life > 0.0, "a half-life of {half_life} steps");
        let damp = |age: f64| libm::exp2(-age / half_life);
        Self { social: self.social * damp(best_age), repel: self.repel * damp(worst_age), ..self }
    }

    /// `C` of the formula.
    pub fn sum(&self) -> f64 {
        self.inertia + self.cognitive + self.social + self.repel
    }
}

/// Where a particle is drawn to and kept from; each `[dim]`.
#[derive(Clone, Copy, Debug)]
pub struct Landmarks<'a, T> {
    /// p: the best position of this particle.
    pub personal_best: &'a [T],
    /// g: the best of the swarm.
    pub global_best: &'a [T],
    /// g_w: the worst of the swarm. Any position while the pull of it is 0.
    pub global_worst: &'a [T],
}

/// Why a particle did not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// No term pulls: each weight or its draw is 0.
    #[error("the pulls sum to zero")]
    ZeroPull,
    /// A pull is infinite or not a number.
    #[error("a pull is not finite")]
    NotFinite,
}

/// Moves one particle by one step, in place.
///
/// ```text
/// v ← (a_v·v + a_p·(p − x) + a_g·(g − x) + a_w·(x − g_w)) / (a_v + a_p + a_g + a_w)
/// x ← x + λ·v
/// ```
///
/// The pulls are divided by their sum in f64 and then rounded; each product is of the particle's kind of
/// number, added in the order written.
///
/// # Shapes and units
/// Every slice is one flat adapter, `[dim]`, in the order of its layout. Pulls `a` are weight times
/// draw, dimensionless, `>= 0`. `step_length` (λ) is dimensionless, in `(0, 1]`.
/// # Errors
/// [`StepError`] if the pulls sum to zero or are not finite; position and velocity are then untouched.
/// # Panics
/// If the slices differ in length: a layout is checked once, when a particle is decoded.
/// # Source
/// Model Swarms, arXiv 2410.11163; `BunsenFeng/model_swarm`, `search.py`, `particle_update`.
pub fn step<T: Real>(
    x: &mut [T],
    v: &mut [T],
    at: Landmarks<'_, T>,
    pull: Pull,
    step_length: T,
) -> Result<(), StepError> {
    let Landmarks { personal_best, global_best, global_worst } = at;
    for other in [&*v, personal_best, global_best, global_worst] {
        assert_eq!(x.len(), other.len(), "particles of one layout");
    }
    let sum = pull.sum();
    if !sum.is_finite() {
        return Err(StepError::NotFinite);
    }
    if sum <= 0.0 {
        return Err(StepError::ZeroPull);
    }
    let inertia = T::nearest(pull.inertia / sum);
    let cognitive = T::nearest(pull.cognitive / sum);
    let social = T::nearest(pull.social / sum);
    let repel = T::nearest(pull.repel / sum);
    let landmarks = personal_best.iter().zip(global_best).zip(global_worst);
    for ((x, v), ((&p, &g), &w)) in x.iter_mut().zip(v).zip(landmarks) {
        *v = ((inertia * *v + cognitive * (p - *x)) + social * (g - *x)) + repel * (*x - w);
        *x = *x + step_length * *v;
    }
    Ok(())
}

/// Puts a particle back to its personal best, at rest. The step that follows moves it from there.
///
/// # Panics
/// If the slices differ in length.
pub fn restart<T: Real>(x: &mut [T], v: &mut [T], personal_best: &[T]) {
    assert_eq!(v.len(), x.len(), "particles of one layout");
    x.copy_from_slice(personal_best);
    v.fill(T::ZERO);
}

/// λ over the steps: shorter each time, down to a floor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLength {
    /// Of the first step.
    pub first: f64,
    /// φ_λ: what a step's length is multiplied by for the next.
    pub decay: f64,
    /// λ_min: never shorter than this.
    pub floor: f64,
}

impl StepLength {
    /// The length of the step after one of this length.
    pub fn after(&self, length: f64) -> f64 {
        let shorter = length * self.decay;
        if shorter > self.floor { shorter } else { self.floor }
    }

    /// The length of the step with this index, from 0.
    pub fn at(&self, index: u32) -> f64 {
        let mut length = self.first;
        for _ in 0..index {
            let next = self.after(length);
            if next.total_cmp(&length).is_eq() {
                break;
            }
            length = next;
        }
        length
    }

    /// The index of the last step that is at least half as long as the first; the highest if all are.
    pub fn longer_than_half(&self) -> u32 {
        let (mut length, half) = (self.first, 0.5 * self.first);
        for index in 0..u32::MAX {
            let next = self.after(length);
            if next.total_cmp(&length).is_eq() {
                break;
            }
            if next < half {
                return index;
            }
            length = next;
        }
        u32::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Landmarks<'_, f32> =
        Landmarks { personal_best: &[1.0], global_best: &[2.0], global_worst: &[3.0] };

    #[test]
    fn a_particle_that_nothing_pulls_stays_and_says_so() {
        let (mut x, mut v) = ([5.0_f32], [7.0]);
        let none = Pull { inertia: 0.0, cognitive: 0.0, social: 0.0, repel: 0.0 };
        assert_eq!(step(&mut x, &mut v, AT, none, 1.0), Err(StepError::ZeroPull));
        for bad in [f64::NAN, f64::INFINITY] {
            let pull = Pull { social: bad, ..none };
            assert_eq!(step(&mut x, &mut v, AT, pull, 1.0), Err(StepError::NotFinite));
        }
        assert_eq!((x, v), ([5.0], [7.0]));
    }

    #[test]
    fn a_step_length_of_any_index_is_that_of_the_steps_one_by_one() {
        let schedule = StepLength { first: 0.7, decay: 0.95, floor: 0.1 };
        let mut length = schedule.first;
        for index in 0..100 {
            assert_eq!(schedule.at(index).to_bits(), length.to_bits(), "step {index}");
            length = schedule.after(length);
        }
        assert_eq!(schedule.at(u32::MAX), 0.1);
        let steady = StepLength { decay: 1.0, ..schedule };
        assert_eq!(steady.at(u32::MAX), 0.7);
        let half = schedule.longer_than_half();
        assert!(schedule.at(half) >= 0.35 && schedule.at(half + 1) < 0.35, "{half}");
        assert_eq!(steady.longer_than_half(), u32::MAX);
        assert_eq!(StepLength { floor: 0.35, ..schedule }.longer_than_half(), u32::MAX);
    }
}
