//! The learning rate of each step.

use std::num::NonZeroU64;

/// Learning rate over the steps: a linear warm-up to the peak, then constant or a half cosine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest learning rate, `> 0`.
    pub peak: f64,
    /// Steps of the warm-up: step t (from 1) has `peak · t ÷ warm_up_steps`; 0 starts at the peak.
    pub warm_up_steps: u64,
    /// What follows.
    pub decay: Decay,
}

/// What follows the warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// The peak, for ever.
    Constant,
    /// From the peak down to `floor · peak` along half a cosine, reached at step `steps` and held.
    Cosine {
        /// Number of the last step, warm-up included.
        steps: NonZeroU64,
        /// Share of the peak that is left, in `[0, 1]`.
        floor: f64,
    },
}

impl Schedule {
    /// The learning rate of step `step`, counted from 1.
    ///
    /// # Source
    /// Loshchilov & Hutter, SGDR, arXiv 1608.03983, equation 5, without restarts.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warm_up_steps {
            return self.peak * step as f64 / self.warm_up_steps as f64;
        }
        match self.decay {
            Decay::Constant => self.peak,
            Decay::Cosine { steps, floor } => {
                let past = step.min(steps.get()).saturating_sub(self.warm_up_steps);
                let span = steps.get().saturating_sub(self.warm_up_steps).max(1);
                let done = past as f64 / span as f64;
                let wave = 0.5 * (1.0 + libm::cos(std::f64::consts::PI * done));
                self.peak * (floor + (1.0 - floor) * wave)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(warm_up_steps: u64, steps: u64, floor: f64) -> Schedule {
        let steps = NonZeroU64::new(steps).unwrap();
        Schedule { peak: 2.0, warm_up_steps, decay: Decay::Cosine { steps, floor } }
    }

    #[test]
    fn warm_up_is_linear_and_ends_at_the_peak() {
        let schedule = cosine(4, 100, 0.0);
        assert_eq!([1, 2, 4].map(|t| schedule.rate(t)), [0.5, 1.0, 2.0]);
    }

    #[test]
    fn a_cosine_is_half_way_in_the_middle_and_holds_its_floor() {
        let schedule = cosine(0, 100, 0.1);
        assert!((schedule.rate(50) - 1.1).abs() < 1e-12);
        assert!((schedule.rate(100) - 0.2).abs() < 1e-12);
        assert_eq!(schedule.rate(100), schedule.rate(1000));
    }

    #[test]
    fn a_warm_up_longer_than_the_training_does_not_divide_by_zero() {
        assert!(cosine(10, 5, 0.0).rate(20).is_finite());
    }

    #[test]
    fn without_warm_up_and_decay_every_step_has_the_peak() {
        let schedule = Schedule { peak: 3e-3, warm_up_steps: 0, decay: Decay::Constant };
        assert_eq!(schedule.rate(1), 3e-3);
        assert_eq!(schedule.rate(1_000_000), 3e-3);
    }
}
