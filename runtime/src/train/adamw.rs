//! The optimiser: AdamW on one flat run of values.

/// Constants of the optimiser; all dimensionless.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the mean of gradients, β₁ in `[0, 1)`.
    pub beta_mean: f32,
    /// Decay of the mean of squared gradients, β₂ in `[0, 1)`.
    pub beta_square: f32,
    /// Keeps the division finite where no gradient ever came, ε > 0.
    pub epsilon: f32,
    /// Decoupled decay λ: each step takes `learning rate · λ` of a value. Tensors of rank 0 and 1
    /// (biases, gains) do not decay.
    pub weight_decay: f32,
}

impl Default for AdamW {
    /// β = (0.9, 0.999), ε = 1e-8, no decay.
    fn default() -> Self {
        Self { beta_mean: 0.9, beta_square: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// What one step multiplies with: computed once per step, in f64, rounded once.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepFactors {
    optimiser: AdamW,
    /// α ÷ (1 − β₁ᵗ)
    pub(super) rate: f32,
    /// 1 ÷ √(1 − β₂ᵗ)
    pub(super) root: f32,
    /// 1 − α·λ
    pub(super) keep: f32,
    /// What every gradient is multiplied with first.
    clip: f32,
}

impl StepFactors {
    /// Factors of step `step`, counted from 1.
    pub(super) fn new(optimiser: AdamW, step: u64, learning_rate: f64, clip: f32) -> Self {
        let corrected = |beta: f32| 1.0 - libm::pow(f64::from(beta), step as f64);
        Self {
            optimiser,
            rate: (learning_rate / corrected(optimiser.beta_mean)) as f32,
            root: (1.0 / corrected(optimiser.beta_square).sqrt()) as f32,
            keep: (1.0 - learning_rate * f64::from(optimiser.weight_decay)) as f32,
            clip,
        }
    }

    /// Moves one tensor by one step, in place.
    ///
    /// ```text
    /// g ← clip·g      m ← β₁·m + (1 − β₁)·g      s ← β₂·s + (1 − β₂)·g²
    /// x ← (1 − α·λ)·x − α·m̂ ÷ (√ŝ + ε)           m̂ = m ÷ (1 − β₁ᵗ), ŝ = s ÷ (1 − β₂ᵗ)
    /// ```
    ///
    /// # Panics
    /// If the slices differ in length.
    /// # Source
    /// Kingma & Ba, arXiv 1412.6980, algorithm 1; Loshchilov & Hutter, arXiv 1711.05101,
    /// algorithm 2, with the schedule inside α as PyTorch has it.
    pub(super) fn step(
        &self,
        x: &mut [f32],
        mean: &mut [f32],
        square: &mut [f32],
        gradient: &[f32],
        decays: bool,
    ) {
        let n = x.len();
        assert!(mean.len() == n && square.len() == n && gradient.len() == n, "one length");
        let AdamW { beta_mean, beta_square, epsilon, .. } = self.optimiser;
        let keep = if decays { self.keep } else { 1.0 };
        for i in 0..n {
            let g = self.clip * gradient[i];
            mean[i] = beta_mean * mean[i] + (1.0 - beta_mean) * g;
            square[i] = beta_square * square[i] + (1.0 - beta_square) * g * g;
            x[i] = keep * x[i] - self.rate * mean[i] / (square[i].sqrt() * self.root + epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three steps by hand in f64, from the formulas of the two papers, with decay and clipping.
    #[test]
    fn three_steps_agree_with_the_formulas_of_the_papers() {
        let optimiser =
            AdamW { beta_mean: 0.9, beta_square: 0.99, epsilon: 1e-6, weight_decay: 0.1 };
        let gradients = [[0.5_f32, -2.0], [0.25, 1.0], [-1.0, 0.0]];
        let (rate, clip) = (0.05, 0.5);

        let (mut x, mut mean, mut square) = ([1.0_f32, -3.0], [0.0; 2], [0.0; 2]);
        for (index, gradient) in gradients.iter().enumerate() {
            let factors = StepFactors::new(optimiser, index as u64 + 1, rate, clip);
            factors.step(&mut x, &mut mean, &mut square, gradient, true);
        }

        for i in 0..2 {
            let (mut want, mut m, mut s) = ([1.0_f64, -3.0][i], 0.0, 0.0);
            for (t, gradient) in gradients.iter().enumerate() {
                let g = 0.5 * f64::from(gradient[i]);
                m = 0.9 * m + 0.1 * g;
                s = 0.99 * s + 0.01 * g * g;
                let t = t as i32 + 1;
                let (mh, sh) = (m / (1.0 - 0.9_f64.powi(t)), s / (1.0 - 0.99_f64.powi(t)));
                want -= rate * 0.1 * want;
                want -= rate * mh / (sh.sqrt() + 1e-6);
            }
            assert!((f64::from(x[i]) - want).abs() < 1e-6, "{} is not {want}", x[i]);
        }
    }

    /// Kingma & Ba, section 2.1: the size of a step is bounded by the learning rate, and the first
    /// one has it, whatever the size of the gradient.
    #[test]
    fn the_first_step_is_as_long_as_the_learning_rate() {
        for gradient in [1e-3_f32, 1.0, 1e3] {
            let (mut x, mut mean, mut square) = ([0.0_f32], [0.0], [0.0]);
            let factors = StepFactors::new(AdamW::default(), 1, 0.01, 1.0);
            factors.step(&mut x, &mut mean, &mut square, &[gradient], true);
            assert!((x[0] + 0.01).abs() < 1e-6, "{}", x[0]);
        }
    }

    /// Loshchilov & Hutter: decay is decoupled, so it does not depend on the gradient's scale.
    #[test]
    fn decay_without_a_gradient_takes_rate_times_decay() {
        let optimiser = AdamW { weight_decay: 0.5, ..AdamW::default() };
        let factors = StepFactors::new(optimiser, 1, 0.1, 1.0);
        let (mut x, mut mean, mut square) = ([2.0_f32], [0.0], [0.0]);
        factors.step(&mut x, &mut mean, &mut square, &[0.0], true);
        assert_eq!(x, [1.9]);
        factors.step(&mut x, &mut mean, &mut square, &[0.0], false);
        assert_eq!(x, [1.9]);
    }
}
