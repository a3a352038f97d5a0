//! Several policies' opinions made one.

use super::Distribution;

/// How opinions are made one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Σ wⱼ·Pⱼ: what any of them holds probable stays so.
    Linear,
    /// Π Pⱼ^wⱼ, divided by its sum: what one of them excludes is out.
    Log,
}

/// The opinion of several: `weights`, one for each, are not negative and sum to 1.
///
/// Neither pool is a plan where one turns left and the other right: act on [`Distribution::decided`].
/// # Source
/// M. Stone, The Opinion Pool (1961); C. Genest and J. Zidek, Combining Probability Distributions (1986), logarithmic pool.
/// # Panics
/// Without an opinion, or unless there is a weight for each.
#[must_use]
pub fn pooled(pool: Pool, opinions: &[&Distribution], weights: &[f64]) -> Distribution {
    assert!(!opinions.is_empty(), "nobody has an opinion");
    assert_eq!(opinions.len(), weights.len(), "a weight for each opinion");
    let members = || opinions.iter().zip(weights).filter(|(_opinion, weight)| **weight > 0.0);
    let mut sums = [0.0; super::BINS];
    for (opinion, weight) in members() {
        for (sum, p) in sums.iter_mut().zip(opinion.joint()) {
            *sum += match pool {
                Pool::Linear => weight * p,
                Pool::Log => weight * libm::log(p.max(f64::MIN_POSITIVE)),
            };
        }
    }
    if pool == Pool::Log {
        let largest = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        sums.iter_mut().for_each(|sum| *sum = libm::exp(*sum - largest));
    }
    Distribution::normalised(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::{ACCELERATION_BINS, Action, ActionGrid, CURVATURE_BINS, bin_spread};

    fn at(curvature: f64, deviation: f64) -> Distribution {
        let grid = ActionGrid::v1();
        let bins = bin_spread(grid.curvature_edges(), curvature, deviation);
        Distribution::from_axes(&bins, &[1.0 / ACCELERATION_BINS as f64; ACCELERATION_BINS])
    }

    /// Source: swarm.md §2, vector `action_pool`: its four actions are four bins of curvature, w = softmax of its theta.
    #[test]
    fn pools_of_three_opinions_are_those_of_the_vector() {
        let opinion = |probabilities: [f64; 4]| {
            let (mut curvature, mut acceleration) =
                ([0.0; CURVATURE_BINS], [0.0; ACCELERATION_BINS]);
            curvature.iter_mut().zip(probabilities).for_each(|(bin, p)| *bin = p);
            acceleration.iter_mut().take(1).for_each(|bin| *bin = 1.0);
            Distribution::from_axes(&curvature, &acceleration)
        };
        let (a, b) = (opinion([0.7, 0.2, 0.05, 0.05]), opinion([0.1, 0.3, 0.4, 0.2]));
        let c = opinion([0.25; 4]);
        let weights = [0.5652537086405653, 0.280696684624496, 0.1540496067349386];
        let linear =
            [0.46225966619458, 0.23577214879919653, 0.1790537609655613, 0.1229144240406621];
        let log =
            [0.43940718281847974, 0.29461647325356016, 0.14588487669746186, 0.1200914672304981];
        for (pool, want) in [(Pool::Linear, linear), (Pool::Log, log)] {
            let curvature = pooled(pool, &[&a, &b, &c], &weights).curvature();
            let rest: f64 = curvature.iter().skip(4).sum();
            assert!(rest < 1e-12, "{pool:?}: {rest} elsewhere");
            for (got, want) in curvature.iter().zip(want) {
                assert!((got - want).abs() < 1e-12, "{pool:?}: {got} {want}");
            }
        }
    }

    /// Source: swarm.md §2, the closed form: precision Σ wⱼ ÷ σⱼ², mean Σ wⱼ·μⱼ ÷ σⱼ² ÷ precision.
    #[test]
    fn log_pool_of_two_normal_opinions_is_the_normal_of_the_closed_form() {
        let ((a, s), (b, t)) = ((0.004, 0.006), (-0.002, 0.012));
        let weights = [0.7, 0.3];
        let precision = 0.7 / (s * s) + 0.3 / (t * t);
        let mean = (0.7 * a / (s * s) + 0.3 * b / (t * t)) / precision;
        let both = pooled(Pool::Log, &[&at(a, s), &at(b, t)], &weights);
        let want = at(mean, libm::sqrt(1.0 / precision));
        let apart: f64 = both
            .curvature()
            .iter()
            .zip(want.curvature())
            .map(|(got, want)| (got - want).abs())
            .sum();
        assert!(apart < 0.02, "bins are not points: {apart}");
    }

    #[test]
    fn one_opinion_stays_what_it_is_and_who_has_no_weight_says_nothing() {
        let (a, b) = (at(0.01, 0.004), at(-0.03, 0.002));
        for pool in [Pool::Linear, Pool::Log] {
            for same in [pooled(pool, &[&a], &[1.0]), pooled(pool, &[&a, &b], &[1.0, 0.0])] {
                for (got, want) in same.joint().iter().zip(a.joint()) {
                    assert!((got - want).abs() < 1e-12);
                }
            }
        }
    }

    /// An obstacle ahead, of two policies one passes it on the left and one on the right. Driven in closed loop: point mass, one
    /// action every tenth of a second, each policy steering as far as it still must to pass.
    #[test]
    fn left_and_right_do_not_average_to_straight_on() {
        const HALF_WIDTH: f64 = 1.5;
        let drive = |decide: &dyn Fn(&Distribution) -> Action| {
            let (mut x, mut y, mut heading) = (0.0, 0.0, 0.0_f64);
            let (speed, dt) = (10.0, 0.1);
            while x < 40.0 {
                let wants = |side: f64| {
                    let turn = (side * 2.5 - y) / (40.0 - x) - heading;
                    at((turn / 8.0).clamp(-0.04, 0.04), 0.002)
                };
                let both = pooled(Pool::Linear, &[&wants(1.0), &wants(-1.0)], &[0.52, 0.48]);
                let action = decide(&both);
                heading += action.curvature_per_m * speed * dt;
                (x, y) = (x + speed * dt * libm::cos(heading), y + speed * dt * libm::sin(heading));
            }
            y
        };
        let averaged = drive(&|both| both.expectation());
        assert!(averaged.abs() < HALF_WIDTH, "the mean of both hits it: {averaged}");
        let decided = drive(&|both| both.decided());
        assert!(decided.abs() > HALF_WIDTH, "one of both passes it: {decided}");
    }
}
