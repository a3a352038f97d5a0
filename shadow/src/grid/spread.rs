//! A policy's opinion on the grid: how probable it holds every bin.

use super::{ACCELERATION_BINS, Action, ActionGrid, BINS, CURVATURE_BINS};

/// How many bins of the curvature to either side of the most probable one belong to the same way.
const AROUND_BINS: usize = 4;

/// Probabilities of the grid's bins; none is negative, they sum to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    joint: [f64; BINS],
}

impl Distribution {
    /// Softmax of [`BINS`] logits in the order of the flat index, or `None` unless there are so many and all are finite.
    #[must_use]
    pub fn from_logits(logits: &[f32]) -> Option<Self> {
        if logits.len() != BINS || !logits.iter().all(|logit| logit.is_finite()) {
            return None;
        }
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut joint = [0.0; BINS];
        for (weight, logit) in joint.iter_mut().zip(logits) {
            *weight = libm::exp(f64::from(*logit) - f64::from(largest));
        }
        Some(Self::normalised(joint))
    }

    /// The distribution whose axes know nothing of each other: joint = curvature × acceleration.
    ///
    /// # Panics
    /// If a value is negative or not finite, or an axis sums to 0.
    #[must_use]
    pub fn from_axes(
        curvature: &[f64; CURVATURE_BINS],
        acceleration: &[f64; ACCELERATION_BINS],
    ) -> Self {
        let mut joint = [0.0; BINS];
        for (row, c) in joint.chunks_exact_mut(ACCELERATION_BINS).zip(curvature) {
            for (weight, a) in row.iter_mut().zip(acceleration) {
                *weight = c * a;
            }
        }
        Self::normalised(joint)
    }

    pub(super) fn normalised(mut weights: [f64; BINS]) -> Self {
        let sum: f64 = weights.iter().sum();
        let fit = weights.iter().all(|weight| *weight >= 0.0) && sum > 0.0 && sum.is_finite();
        assert!(fit, "weights of bins are finite, not negative and not all 0");
        weights.iter_mut().for_each(|weight| *weight /= sum);
        Self { joint: weights }
    }

    /// Probabilities in the order of the flat index, [`BINS`] of them.
    #[must_use]
    pub fn joint(&self) -> &[f64] {
        &self.joint
    }

    /// How probable each bin of the curvature is, whatever the acceleration.
    #[must_use]
    pub fn curvature(&self) -> [f64; CURVATURE_BINS] {
        let rows = self.joint.chunks_exact(ACCELERATION_BINS);
        let mut sums = [0.0; CURVATURE_BINS];
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = row.iter().sum();
        }
        sums
    }

    /// How probable each bin of the acceleration is, whatever the curvature.
    #[must_use]
    pub fn acceleration(&self) -> [f64; ACCELERATION_BINS] {
        let mut sums = [0.0; ACCELERATION_BINS];
        for row in self.joint.chunks_exact(ACCELERATION_BINS) {
            for (sum, p) in sums.iter_mut().zip(row) {
                *sum += p;
            }
        }
        sums
    }

    /// The mean of the bins' middles. Between two ways that are both probable it may be none of them: see [`Self::mode`].
    #[must_use]
    pub fn expectation(&self) -> Action {
        let grid = ActionGrid::v1();
        let mut mean = Action::default();
        for (bin, p) in self.joint.iter().enumerate() {
            let centre = grid.centre(bin);
            mean.curvature_per_m += p * centre.curvature_per_m;
            mean.acceleration_m_s2 += p * centre.acceleration_m_s2;
        }
        mean
    }

    /// The most probable bin's flat index; of several the lowest.
    #[must_use]
    pub fn mode(&self) -> usize {
        let mut best = 0;
        for (bin, p) in self.joint.iter().enumerate() {
            if *p > self.joint[best] {
                best = bin;
            }
        }
        best
    }

    /// What to do: the mean of what lies around the most probable curvature, and of the accelerations that go with it. Of two
    /// ways that exclude each other it is one, where [`Self::expectation`] may be neither.
    ///
    /// # Source
    /// One step of the mean shift (K. Fukunaga and L. Hostetler, 1975) from the mode of the curvature, smoothed by the same window.
    #[must_use]
    pub fn decided(&self) -> Action {
        let curvature = self.curvature();
        let around = |bin: usize| {
            bin.saturating_sub(AROUND_BINS)..(bin + AROUND_BINS + 1).min(CURVATURE_BINS)
        };
        let mass = |bin: usize| curvature[around(bin)].iter().sum::<f64>();
        let mut best = 0;
        for bin in 1..CURVATURE_BINS {
            if mass(bin) > mass(best) {
                best = bin;
            }
        }
        let grid = ActionGrid::v1();
        let bins = around(best).start * ACCELERATION_BINS..around(best).end * ACCELERATION_BINS;
        let (mut mean, mut sum) = (Action::default(), 0.0);
        for bin in bins {
            let (p, centre) = (self.joint[bin], grid.centre(bin));
            sum += p;
            mean.curvature_per_m += p * centre.curvature_per_m;
            mean.acceleration_m_s2 += p * centre.acceleration_m_s2;
        }
        Action {
            curvature_per_m: mean.curvature_per_m / sum,
            acceleration_m_s2: mean.acceleration_m_s2 / sum,
        }
    }

    /// −ln of a bin's probability, nats; infinite where it is 0.
    ///
    /// # Panics
    /// If `bin` is not below [`BINS`].
    #[must_use]
    pub fn nats(&self, bin: usize) -> f64 {
        -libm::log(self.joint[bin])
    }
}

/// How a normal distribution around `mean` falls into bins: its mass between their edges, the tails in the outermost bins.
///
/// # Units
/// `mean`, `deviation` and `edges` in one unit; the sum is 1.
/// # Panics
/// If `mean` is not finite, or `deviation` is not finite or not above 0.
#[must_use]
pub fn bin_spread<const BINS: usize>(edges: &[f64], mean: f64, deviation: f64) -> [f64; BINS] {
    assert!(mean.is_finite() && deviation.is_finite() && deviation > 0.0);
    assert_eq!(edges.len(), BINS + 1);
    let below =
        |edge: f64| 0.5 * libm::erfc((mean - edge) / (deviation * std::f64::consts::SQRT_2));
    std::array::from_fn(|bin| {
        let low = if bin == 0 { 0.0 } else { below(edges[bin]) };
        let high = if bin + 1 == BINS { 1.0 } else { below(edges[bin + 1]) };
        (high - low).max(0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peaked(bin: usize, logit: f32) -> Vec<f32> {
        (0..BINS).map(|at| if at == bin { logit } else { 0.0 }).collect()
    }

    #[test]
    fn equal_logits_hold_every_bin_equally_probable() {
        let flat = Distribution::from_logits(&[7.5; BINS]).unwrap();
        assert!((flat.nats(3) - libm::log(BINS as f64)).abs() < 1e-12);
        let axis: f64 = flat.curvature().iter().sum();
        assert!((axis - 1.0).abs() < 1e-12);
        assert!((flat.acceleration()[20] - 1.0 / 21.0).abs() < 1e-12);
    }

    #[test]
    fn logits_follow_the_flat_index() {
        let action = Action { curvature_per_m: 0.01, acceleration_m_s2: -2.0 };
        let grid = ActionGrid::v1();
        let sure = Distribution::from_logits(&peaked(grid.bin(action), 40.0)).unwrap();
        assert_eq!(sure.mode(), grid.bin(action));
        assert!(sure.curvature()[grid.curvature_bin(0.01)] > 0.999);
        assert!(sure.acceleration()[grid.acceleration_bin(-2.0)] > 0.999);
        let mean = sure.expectation();
        assert!((mean.curvature_per_m - 0.01).abs() < 0.001, "{mean:?}");
        assert!((mean.acceleration_m_s2 + 2.0).abs() < 0.4, "{mean:?}");
    }

    #[test]
    fn logits_of_another_number_or_not_finite_are_none() {
        assert_eq!(Distribution::from_logits(&[0.0; BINS - 1]), None);
        assert_eq!(Distribution::from_logits(&peaked(9, f32::NAN)), None);
        assert!(Distribution::from_logits(&peaked(9, f32::MAX)).is_some());
    }

    #[test]
    fn axes_are_the_marginals_of_their_product() {
        let grid = ActionGrid::v1();
        let curvature = bin_spread::<CURVATURE_BINS>(grid.curvature_edges(), 0.004, 0.002);
        let acceleration = bin_spread::<ACCELERATION_BINS>(grid.acceleration_edges(), -0.5, 0.4);
        let joint = Distribution::from_axes(&curvature, &acceleration);
        for (got, want) in joint.curvature().iter().zip(&curvature) {
            assert!((got - want).abs() < 1e-12);
        }
        for (got, want) in joint.acceleration().iter().zip(&acceleration) {
            assert!((got - want).abs() < 1e-12);
        }
    }

    #[test]
    fn a_narrow_spread_is_its_bin_and_one_beyond_the_edge_is_the_outermost() {
        let edges = ActionGrid::v1().curvature_edges();
        let narrow = bin_spread::<CURVATURE_BINS>(edges, 0.0, 1e-6);
        assert!((narrow[30] - 1.0).abs() < 1e-12);
        let beyond = bin_spread::<CURVATURE_BINS>(edges, 0.5, 1e-3);
        assert_eq!(beyond[60], 1.0);
        let wide = bin_spread::<CURVATURE_BINS>(edges, 0.01, 0.02);
        assert!((wide.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
