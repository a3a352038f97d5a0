//! A pull of the parameters towards a place, as part of what is minimised.

use std::ops::Range;

/// (μ/2)·|w − place|² beside the loss.
#[derive(Clone, Debug)]
pub(super) struct Pull {
    mu: f64,
    /// The place, `[values]`, in the order of the trainer's parameters.
    towards: Vec<f32>,
    /// Of the loss and the pull together, `[values]`.
    gradient: Vec<f32>,
}

impl Pull {
    pub(super) fn new(mu: f64, towards: Vec<f32>) -> Self {
        let gradient = vec![0.0; towards.len()];
        Self { mu, towards, gradient }
    }

    /// Takes the loss's gradient of one parameter, which stands at `place` and has these values, and adds μ·(w − place): in
    /// float64, rounded once.
    ///
    /// # Panics
    /// If the lengths differ.
    pub(super) fn add(&mut self, place: Range<usize>, gradient: &[f32], values: &[f32]) {
        assert!(gradient.len() == place.len() && values.len() == place.len(), "one length");
        let (towards, sums) = (&self.towards[place.clone()], &mut self.gradient[place]);
        for (((sum, gradient), value), towards) in
            sums.iter_mut().zip(gradient).zip(values).zip(towards)
        {
            let away = f64::from(*value) - f64::from(*towards);
            *sum = (f64::from(*gradient) + self.mu * away) as f32;
        }
    }

    /// What [`Pull::add`] made of the parameter at `place`.
    pub(super) fn gradient(&self, place: Range<usize>) -> &[f32] {
        &self.gradient[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_is_as_long_as_the_way_and_nothing_without_a_weight() {
        let mut pull = Pull::new(0.5, vec![9.0, 1.0, 1.0]);
        pull.add(1..3, &[0.5, -0.25], &[1.0, 3.0]);
        assert_eq!(pull.gradient(1..3), [0.5, 0.75]);
        let mut none = Pull::new(0.0, vec![1.0]);
        none.add(0..1, &[0.1], &[7.0]);
        assert_eq!(none.gradient(0..1), [0.1]);
    }
}
