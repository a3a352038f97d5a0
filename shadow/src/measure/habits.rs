//! What a driver usually does: what skill at imitation is counted from.

use crate::grid::{ACCELERATION_BINS, CURVATURE_BINS, Distribution};
use crate::opinion::{Did, Opinion};

/// How often a driver chose each bin of both axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Habits {
    curvature: [f64; CURVATURE_BINS],
    acceleration: [f64; ACCELERATION_BINS],
}

impl Default for Habits {
    fn default() -> Self {
        Habits { curvature: [0.0; CURVATURE_BINS], acceleration: [0.0; ACCELERATION_BINS] }
    }
}

impl Habits {
    /// Counts a moment `weight` times.
    pub fn add(&mut self, did: &Did, weight: f64) {
        if let Some(bin) = did.curvature {
            self.curvature[bin] += weight;
        }
        if let Some(bin) = did.acceleration {
            self.acceleration[bin] += weight;
        }
    }

    /// The opinion that holds every bin for as probable as it was often chosen.
    #[must_use]
    pub fn often(&self, accelerates: bool) -> Opinion {
        let actions = Distribution::from_axes(&self.curvature(), &self.acceleration());
        Opinion { actions, accelerates }
    }

    /// How much the driver does that is not always the same, 0 to ½: the mean distance of these habits from the moments that they
    /// are of, over the axes that a policy speaks of and the driver's drive knows; 0 if there is none.
    #[must_use]
    pub fn variety(&self, accelerates: bool) -> f64 {
        let curvature = variety(&self.curvature);
        let acceleration = variety(&self.acceleration).filter(|_| accelerates);
        match (curvature, acceleration) {
            (Some(curvature), Some(acceleration)) => (curvature + acceleration) / 2.0,
            (one, other) => one.or(other).unwrap_or(0.0),
        }
    }

    pub(super) fn curvature(&self) -> [f64; CURVATURE_BINS] {
        with_one(&self.curvature)
    }

    pub(super) fn acceleration(&self) -> [f64; ACCELERATION_BINS] {
        with_one(&self.acceleration)
    }
}

/// With one count more, spread evenly: nothing is impossible.
fn with_one<const N: usize>(counts: &[f64; N]) -> [f64; N] {
    counts.map(|count| count + 1.0 / N as f64)
}

/// Σ P(bin ≤ k)·(1 − P(bin ≤ k)) ÷ (bins − 1): the mean ranked probability score of a distribution on its own draws.
fn variety(counts: &[f64]) -> Option<f64> {
    let all: f64 = counts.iter().sum();
    let (mut below, mut sum) = (0.0, 0.0);
    for count in counts.iter().take(counts.len() - 1) {
        below += count;
        sum += below / all * (1.0 - below / all);
    }
    (all > 0.0).then(|| sum / (counts.len() - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn habits(moments: &[(Option<usize>, Option<usize>)]) -> Habits {
        let mut habits = Habits::default();
        for &(curvature, acceleration) in moments {
            habits.add(&Did { curvature, acceleration }, 0.5);
        }
        habits
    }

    #[test]
    fn variety_is_the_mean_distance_of_habits_from_their_own_moments() {
        let moments = [(Some(30), Some(11)), (Some(33), Some(11)), (Some(40), Some(9))];
        let habits = habits(&moments.repeat(4000));
        for accelerates in [false, true] {
            let opinion = habits.often(accelerates);
            let distance = moments.map(|(curvature, acceleration)| {
                opinion.distance(&Did { curvature, acceleration }).unwrap()
            });
            let mean = distance.iter().sum::<f64>() / 3.0;
            assert!((habits.variety(accelerates) - mean).abs() < 1e-4, "{accelerates}: {mean}");
        }
    }

    #[test]
    fn who_always_does_the_same_and_who_is_not_known_show_no_variety() {
        assert_eq!(habits(&[(Some(30), Some(11)); 9]).variety(true), 0.0);
        assert_eq!(habits(&[(None, None); 9]).variety(true), 0.0);
        let steers = habits(&[(Some(30), None), (Some(31), None)]);
        assert_eq!(steers.variety(true), 1.0 / 240.0);
        assert_eq!(steers.variety(true), steers.variety(false));
    }
}
