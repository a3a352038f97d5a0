//! The histogram of steps: what the next token is when only the last one is looked at.

use std::collections::BTreeMap;

use crate::measure::tokens::Nats;
use crate::tokens::{TokenForm, TokenLog, TokenRows};

/// How far tokens step from the newest given one to the predicted one, as counted on some rows.
///
/// ```text
/// P(step) = (1 − ε)·(count(step) + ½) ÷ (n + k/2) + ε ÷ bins      smallest ≤ step ≤ largest seen
///         = ε ÷ bins                                              any other step
/// ε = 1 ÷ (n + 1)
/// ```
///
/// n rows were counted; k steps lie between the smallest and the largest seen. The half a count is
/// Krichevsky and Trofimov's, ε is what a step never seen gets by Laplace's rule of succession, spread
/// over all tokens. Beside the lowest and the highest token some of the chance is for steps that cannot
/// be; it is not given to the others.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenSteps {
    counts: BTreeMap<i64, u32>,
    smallest: i64,
    largest: i64,
    total: u32,
    lag: usize,
    bins: usize,
}

impl TokenSteps {
    /// Counts the steps of `rows`, of which there is at least one.
    pub fn count(rows: &TokenRows<'_>, form: &TokenForm) -> Self {
        let mut counts = BTreeMap::new();
        for (log, row) in rows.iter() {
            *counts.entry(step(log, row, form.lag)).or_insert(0) += 1;
        }
        TokenSteps {
            smallest: counts.first_key_value().map_or(0, |(&step, _)| step),
            largest: counts.last_key_value().map_or(0, |(&step, _)| step),
            total: counts.values().sum(),
            counts,
            lag: form.lag,
            bins: form.kind.count(),
        }
    }

    /// The chance of a step.
    pub fn chance(&self, step: i64) -> f64 {
        let unseen = 1.0 / f64::from(self.total + 1);
        let mut chance = unseen / self.bins as f64;
        if (self.smallest..=self.largest).contains(&step) {
            let between = (self.largest - self.smallest + 1) as f64;
            let count = f64::from(self.counts.get(&step).copied().unwrap_or(0));
            chance += (1.0 - unseen) * (count + 0.5) / (f64::from(self.total) + 0.5 * between);
        }
        chance
    }

    /// Nats of every row.
    pub fn measure(&self, rows: &TokenRows<'_>) -> Nats {
        Nats::of(rows, |log, row| -libm::log(self.chance(step(log, row, self.lag))))
    }
}

fn step(log: &TokenLog, row: usize, lag: usize) -> i64 {
    log.tokens()[row] - log.tokens()[row - lag]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::tests::{log, package};
    use shoal_hal::Part;

    #[test]
    fn chances_of_all_steps_from_a_token_far_from_the_ends_sum_to_one() {
        let form = TokenForm::of(&package()).unwrap();
        // Steps of +1, and of −15 where the token wraps.
        let logs = [log(60, &form)];
        let rows = TokenRows::of_part(&logs, Part::Tuning, &form).unwrap();
        let steps = TokenSteps::count(&rows, &form);
        assert_eq!((steps.smallest, steps.largest, steps.total), (-15, 1, 33));
        // All 17 steps of the range, which the 16 tokens just hold but one: ε is there 17 times.
        let sum: f64 = (-15..=1).map(|step| steps.chance(step)).sum();
        let spread = 17.0 / 16.0 / 34.0;
        assert!((sum - (33.0 / 34.0 + spread)).abs() < 1e-12, "{sum}");
        // 31 steps of +1 (two wraps): (31 + ½)/(33 + 17/2)·33/34 + 1/34/16.
        let want = 31.5 / 41.5 * 33.0 / 34.0 + 1.0 / 34.0 / 16.0;
        assert!((steps.chance(1) - want).abs() < 1e-12);
        assert!((steps.chance(2) - 1.0 / 34.0 / 16.0).abs() < 1e-12);
    }

    #[test]
    fn rows_that_only_step_as_counted_cost_next_to_nothing() {
        let form = TokenForm::of(&package()).unwrap();
        let logs = [log(16, &form)];
        let rows = TokenRows::of_part(&logs, Part::HeldOut, &form).unwrap();
        let nats = TokenSteps::count(&rows, &form).measure(&rows);
        assert_eq!(nats.each.len(), rows.count());
        assert!(nats.mean() < 0.25, "{nats:?}");
    }
}
