//! CMA-ES, asked and told.

use crate::chance::Draws;
use crate::input::{InputError, all_finite, count, positive};
use crate::matrix::{Matrix, Svd, dot};

/// Past this the step length grows no further: values would leave `f32`.
const DEVIATION_MAX: f64 = 1e12;
/// Below this share of the largest, a variance counts as this.
const CONDITION_MIN: f64 = 1e-14;

/// Constants of the strategy, from the dimension alone.
#[derive(Clone, Debug, PartialEq)]
struct Constants {
    population: usize,
    /// wᵢ of the better half, sum 1.
    weights: Vec<f64>,
    mu_eff: f64,
    c_sigma: f64,
    d_sigma: f64,
    c_c: f64,
    c_1: f64,
    c_mu: f64,
    /// E|N(0, I)|
    length: f64,
}

/// A search distribution N(m, σ²·C) that moves towards what is better.
///
/// ```text
/// x_k = m + σ·y_k,  y_k ~ N(0, C)
/// m ← m + σ·Σ wᵢ·y_(i)                    of the better half
/// p_σ ← (1 − c_σ)·p_σ + √(c_σ(2 − c_σ)μ_eff)·C^−½·Σ wᵢ·y_(i)
/// σ ← σ·exp((c_σ/d_σ)(|p_σ|/E|N(0, I)| − 1))
/// p_c ← (1 − c_c)·p_c + h_σ·√(c_c(2 − c_c)μ_eff)·Σ wᵢ·y_(i)
/// C ← (1 − c_1 − c_μ)·C + c_1·(p_c·p_cᵀ + (1 − h_σ)c_c(2 − c_c)·C) + c_μ·Σ wᵢ·y_(i)·y_(i)ᵀ
/// ```
///
/// Standard constants, a population of 4 + ⌊3 ln n⌋, no negative weights. It maximises. C is decomposed every
/// 1/(10·n·(c_1 + c_μ)) generations; up to some hundred dimensions.
///
/// # Source
/// Hansen, "The CMA evolution strategy: a tutorial", arXiv 1604.00772, figure 6 and table 1 without its negative weights.
#[derive(Clone, Debug, PartialEq)]
pub struct CmaEs {
    constants: Constants,
    mean: Vec<f64>,
    deviation: f64,
    path_sigma: Vec<f64>,
    path_c: Vec<f64>,
    covariance: Matrix,
    /// Columns: eigenvectors of C as of its last decomposition.
    basis: Matrix,
    /// Square roots of its eigenvalues.
    lengths: Vec<f64>,
    generation: u32,
    decomposed: u32,
}

impl Constants {
    fn new(dim: usize) -> Self {
        let n = dim.max(1) as f64;
        let population = 4 + (3.0 * libm::log(n)) as usize;
        let half = population / 2;
        let log = |rank: usize| libm::log((population as f64 + 1.0) / 2.0) - libm::log(rank as f64);
        let raw: Vec<f64> = (1..=half).map(log).collect();
        let sum: f64 = raw.iter().sum();
        let weights: Vec<f64> = raw.iter().map(|weight| weight / sum).collect();
        let mu_eff = 1.0 / dot(&weights, &weights);
        let c_sigma = (mu_eff + 2.0) / (n + mu_eff + 5.0);
        let above = ((mu_eff - 1.0) / (n + 1.0)).sqrt() - 1.0;
        let c_1 = 2.0 / ((n + 1.3) * (n + 1.3) + mu_eff);
        let c_mu = 2.0 * (mu_eff - 2.0 + 1.0 / mu_eff) / ((n + 2.0) * (n + 2.0) + mu_eff);
        Self {
            population,
            mu_eff,
            c_sigma,
            d_sigma: 1.0 + 2.0 * above.max(0.0) + c_sigma,
            c_c: (4.0 + mu_eff / n) / (n + 4.0 + 2.0 * mu_eff / n),
            c_1,
            c_mu: c_mu.min(1.0 - c_1),
            length: n.sqrt() * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n)),
            weights,
        }
    }
}

impl CmaEs {
    /// A search around this point.
    ///
    /// # Shapes and units
    /// `mean`: m, `[n]`. `deviation`: σ, in units of the point's coordinates; the optimum should lie within some of it.
    /// # Errors
    /// [`InputError`] if the point is not finite or the deviation not positive.
    pub fn new(mean: Vec<f64>, deviation: f64) -> Result<Self, InputError> {
        all_finite("coordinate", &mean)?;
        positive("deviation", deviation)?;
        let dim = mean.len();
        Ok(Self {
            constants: Constants::new(dim),
            mean,
            deviation,
            path_sigma: vec![0.0; dim],
            path_c: vec![0.0; dim],
            covariance: Matrix::identity(dim, dim),
            basis: Matrix::identity(dim, dim),
            lengths: vec![1.0; dim],
            generation: 0,
            decomposed: 0,
        })
    }

    /// Points of a generation.
    pub fn population(&self) -> usize {
        self.constants.population
    }

    /// m
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// σ
    pub fn deviation(&self) -> f64 {
        self.deviation
    }

    /// The points of a generation, `[population][n]`. n draws a point.
    pub fn ask(&self, draws: &mut Draws) -> Vec<Vec<f64>> {
        let point = |_index| {
            let z: Vec<f64> = self.lengths.iter().map(|length| length * draws.normal()).collect();
            let y = self.basis.times_vector(&z);
            self.mean.iter().zip(y).map(|(m, y)| m + self.deviation * y).collect()
        };
        (0..self.constants.population).map(point).collect()
    }

    /// Moves by a generation's utilities. Of equal ones the first is the better.
    ///
    /// # Errors
    /// [`InputError`] if counts or dimensions differ, a coordinate is not finite, or a utility is NaN; nothing moves then.
    pub fn tell(&mut self, points: &[Vec<f64>], utilities: &[f64]) -> Result<(), InputError> {
        count("points", points.len(), self.constants.population)?;
        count("utilities", utilities.len(), points.len())?;
        for point in points {
            count("coordinates", point.len(), self.mean.len())?;
            all_finite("coordinate", point)?;
        }
        if let Some(index) = utilities.iter().position(|utility| utility.is_nan()) {
            return Err(InputError::NotFinite { what: "utility", at: index, index });
        }
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by(|a, b| utilities[*b].total_cmp(&utilities[*a]));
        let best = order.into_iter().take(self.constants.weights.len());
        let steps: Vec<Vec<f64>> = best.map(|index| self.step(&points[index])).collect();
        self.generation += 1;
        let mean = self.weighted(&steps);
        for (m, y) in self.mean.iter_mut().zip(&mean) {
            *m += self.deviation * y;
        }
        let slow = self.paths(&mean);
        self.adapt(&steps, slow);
        Ok(())
    }

    /// y of a point.
    fn step(&self, point: &[f64]) -> Vec<f64> {
        point.iter().zip(&self.mean).map(|(x, m)| (x - m) / self.deviation).collect()
    }

    fn weighted(&self, steps: &[Vec<f64>]) -> Vec<f64> {
        let mut mean = vec![0.0; self.mean.len()];
        for (step, weight) in steps.iter().zip(&self.constants.weights) {
            mean.iter_mut().zip(step).for_each(|(sum, y)| *sum += weight * y);
        }
        mean
    }

    /// Both paths and the step length. True: h_σ = 1.
    fn paths(&mut self, mean: &[f64]) -> bool {
        let Constants { mu_eff, c_sigma, d_sigma, c_c, length, .. } = self.constants;
        let along = self.basis.transposed().times_vector(mean);
        let white: Vec<f64> = along.iter().zip(&self.lengths).map(|(y, d)| y / d).collect();
        let white = self.basis.times_vector(&white);
        let factor = (c_sigma * (2.0 - c_sigma) * mu_eff).sqrt();
        for (path, white) in self.path_sigma.iter_mut().zip(&white) {
            *path = (1.0 - c_sigma) * *path + factor * white;
        }
        let long = dot(&self.path_sigma, &self.path_sigma).sqrt();
        let grown = (c_sigma / d_sigma) * (long / length - 1.0);
        self.deviation = (self.deviation * libm::exp(grown.min(1.0))).min(DEVIATION_MAX);
        let begun = 1.0 - libm::pow(1.0 - c_sigma, 2.0 * f64::from(self.generation));
        let n = self.mean.len() as f64;
        let slow = long / begun.sqrt() < (1.4 + 2.0 / (n + 1.0)) * length;
        let factor = if slow { (c_c * (2.0 - c_c) * mu_eff).sqrt() } else { 0.0 };
        for (path, y) in self.path_c.iter_mut().zip(mean) {
            *path = (1.0 - c_c) * *path + factor * y;
        }
        slow
    }

    /// C, and now and then its decomposition.
    fn adapt(&mut self, steps: &[Vec<f64>], slow: bool) {
        let Constants { c_c, c_1, c_mu, .. } = self.constants;
        let lost = if slow { 0.0 } else { c_1 * c_c * (2.0 - c_c) };
        let n = self.mean.len();
        let mut next = self.covariance.clone().scaled(1.0 - c_1 - c_mu + lost);
        let weights = self.constants.weights.iter().map(|weight| c_mu * weight);
        let parts = std::iter::once((&self.path_c, c_1)).chain(steps.iter().zip(weights));
        for (step, weight) in parts {
            for row in 0..n {
                for column in 0..n {
                    next[(row, column)] += weight * step[row] * step[column];
                }
            }
        }
        self.covariance = next;
        let every = 1.0 / (10.0 * n as f64 * (c_1 + c_mu));
        if f64::from(self.generation - self.decomposed) > every {
            self.decomposed = self.generation;
            let Svd { u: _, singular, v } = self.covariance.svd();
            let most = singular.first().copied().unwrap_or(1.0).max(f64::MIN_POSITIVE);
            self.lengths = singular.iter().map(|s| s.max(most * CONDITION_MIN).sqrt()).collect();
            self.basis = v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Evaluations until an ellipsoid of this condition is at 10⁻⁹; `budget` if never.
    fn evaluations(dim: usize, condition: f64, budget: usize) -> usize {
        let utility = |x: &[f64]| {
            let axis = |(index, x): (usize, &f64)| {
                condition.powf(index as f64 / (dim - 1) as f64) * (x - 1.0) * (x - 1.0)
            };
            -x.iter().enumerate().map(axis).sum::<f64>()
        };
        let mut strategy = CmaEs::new(vec![0.0; dim], 0.5).unwrap();
        let mut draws = Draws::new(1, 0);
        let mut used = 0;
        while used < budget {
            let points = strategy.ask(&mut draws);
            let utilities: Vec<f64> = points.iter().map(|x| utility(x)).collect();
            used += points.len();
            if utilities.iter().any(|utility| *utility > -1e-9) {
                return used;
            }
            strategy.tell(&points, &utilities).unwrap();
        }
        budget
    }

    /// The tutorial's strategy needs about 5000 on the ten-dimensional ellipsoid of condition 10⁶; without C it needs
    /// a thousand times as many.
    #[test]
    fn it_finds_the_minimum_of_an_ellipsoid_within_a_budget() {
        let used = evaluations(10, 1e6, 8000);
        assert!(used < 6000, "{used}");
        let used = evaluations(10, 1.0, 8000);
        assert!(used < 2000, "{used}");
        let used = evaluations(2, 1e3, 8000);
        assert!(used < 700, "{used}");
    }

    #[test]
    fn constants_are_those_of_the_tutorial() {
        // Table 1 for n = 10.
        let constants = Constants::new(10);
        assert_eq!((constants.population, constants.weights.len()), (10, 5));
        assert!((constants.mu_eff - 3.1672).abs() < 1e-3, "{}", constants.mu_eff);
        assert!((constants.weights[0] - 0.4563).abs() < 1e-3, "{:?}", constants.weights);
        assert!((constants.c_sigma - 0.2844).abs() < 1e-3, "{}", constants.c_sigma);
    }

    #[test]
    fn it_only_ranks_utilities() {
        let mut draws = Draws::new(2, 0);
        let mut one = CmaEs::new(vec![0.0; 4], 1.0).unwrap();
        let mut other = one.clone();
        for _ in 0..20 {
            let points = one.ask(&mut draws);
            let utilities: Vec<f64> = points.iter().map(|x| -dot(x, x)).collect();
            let warped: Vec<f64> = utilities.iter().map(|u| -libm::exp(-u)).collect();
            one.tell(&points, &utilities).unwrap();
            other.tell(&points, &warped).unwrap();
        }
        assert_eq!(one, other);
    }

    #[test]
    fn a_generation_of_another_size_or_without_order_moves_nothing() {
        let mut strategy = CmaEs::new(vec![0.0; 3], 1.0).unwrap();
        let before = strategy.clone();
        let points = strategy.ask(&mut Draws::new(1, 0));
        assert!(strategy.tell(&points[1..], &[0.0; 6]).is_err());
        let mut utilities = vec![0.0; points.len()];
        utilities[3] = f64::NAN;
        assert!(strategy.tell(&points, &utilities).is_err());
        assert_eq!(strategy, before);
        assert!(CmaEs::new(vec![0.0], 0.0).is_err());
    }
}
