//! What lifelong learning reports, from the score on every task after every stage.

use crate::input::{InputError, all_finite, count};

/// R\[t\]\[j\]: the score on task j after stage t. As many stages as tasks, at least one; higher is better.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores(Vec<Vec<f64>>);

impl Scores {
    /// The scores of these stages, `[T][T]`. A loss is negated, or taken as exp(−loss), the same way everywhere.
    ///
    /// # Errors
    /// [`InputError`] unless rows and columns are as many, at least one, and all scores finite.
    pub fn new(stages: Vec<Vec<f64>>) -> Result<Self, InputError> {
        crate::input::at_least(stages.len(), 1)?;
        for stage in &stages {
            count("tasks of a stage", stage.len(), stages.len())?;
            all_finite("score", stage)?;
        }
        Ok(Self(stages))
    }

    /// AA_t = (1/t)·Σ_{j ≤ t} R\[t\]\[j\], of each stage: the mean over the tasks so far.
    pub fn average_accuracies(&self) -> Vec<f64> {
        let of = |(stage, row): (usize, &Vec<f64>)| mean(&row[..=stage]);
        self.0.iter().enumerate().map(of).collect()
    }

    /// AA: AA_t of the last stage.
    pub fn average_accuracy(&self) -> f64 {
        mean(self.last())
    }

    /// AIA = (1/T)·Σ AA_t.
    pub fn average_incremental_accuracy(&self) -> f64 {
        mean(&self.average_accuracies())
    }

    /// FGT = (1/(T−1))·Σ_{j<T} (max_{j ≤ t < T} R\[t\]\[j\] − R\[T\]\[j\]): the mean drop from the best so far. Above 0 is bad.
    /// `None` with one task.
    pub fn forgetting(&self) -> Option<f64> {
        let last = self.0.len() - 1;
        let best = |task: usize| {
            self.0[task..last].iter().map(|row| row[task]).fold(f64::NEG_INFINITY, f64::max)
        };
        some_mean((0..last).map(|task| best(task) - self.last()[task]))
    }

    /// BWT = (1/(T−1))·Σ_{j<T} (R\[T\]\[j\] − R\[j\]\[j\]): the mean change since a task's own stage. `None` with one task.
    pub fn backward_transfer(&self) -> Option<f64> {
        let last = self.0.len() - 1;
        some_mean((0..last).map(|task| self.last()[task] - self.0[task][task]))
    }

    /// FWD, as zero-shot: (1/(T−1))·Σ_{j ≥ 2} (R\[j−1\]\[j\] − b_j). `None` with one task.
    ///
    /// # Shapes and units
    /// `base`: b, the score of the untouched base on each task, `[T]`.
    /// # Errors
    /// [`InputError`] unless there is one finite score a task.
    /// # Source
    /// GEM, arXiv 1706.08840, equation 4.
    pub fn forward_zero_shot(&self, base: &[f64]) -> Result<Option<f64>, InputError> {
        self.check(base)?;
        Ok(some_mean((1..self.0.len()).map(|task| self.0[task - 1][task] - base[task])))
    }

    /// FWD, as plasticity: (1/(T−1))·Σ_{j ≥ 2} (R\[j\]\[j\] − ref_j). `None` with one task.
    ///
    /// # Shapes and units
    /// `alone`: ref, the score of a model trained on each task alone, `[T]`.
    /// # Errors
    /// [`InputError`] unless there is one finite score a task.
    /// # Source
    /// The reading of the survey arXiv 2406.06391 in words, "mean improvement on new tasks".
    pub fn forward_plasticity(&self, alone: &[f64]) -> Result<Option<f64>, InputError> {
        self.check(alone)?;
        Ok(some_mean((1..self.0.len()).map(|task| self.0[task][task] - alone[task])))
    }

    fn check(&self, references: &[f64]) -> Result<(), InputError> {
        count("reference scores", references.len(), self.0.len())?;
        all_finite("reference score", references)
    }

    fn last(&self) -> &[f64] {
        &self.0[self.0.len() - 1]
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn some_mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| mean(&values))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a task scored before its own stage is nothing to forget.
    #[test]
    fn forgetting_starts_from_the_peak_and_backward_transfer_from_the_own_stage() {
        let rows = vec![vec![0.5, 0.95, 0.0], vec![0.9, 0.4, 0.0], vec![0.6, 0.3, 0.8]];
        let scores = Scores::new(rows).unwrap();
        assert!((scores.forgetting().unwrap() - (0.3 + 0.1) / 2.0).abs() < 1e-12);
        assert!((scores.backward_transfer().unwrap() - (0.1 - 0.1) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn one_task_has_nothing_to_forget() {
        let scores = Scores::new(vec![vec![0.7]]).unwrap();
        assert_eq!((scores.average_accuracy(), scores.forgetting()), (0.7, None));
        assert_eq!(scores.forward_zero_shot(&[0.1]).unwrap(), None);
    }

    #[test]
    fn scores_are_square_and_finite() {
        assert!(Scores::new(vec![]).is_err());
        assert!(Scores::new(vec![vec![0.1, 0.2]]).is_err());
        assert!(Scores::new(vec![vec![f64::NAN]]).is_err());
        assert!(Scores::new(vec![vec![0.1]]).unwrap().forward_plasticity(&[]).is_err());
    }
}
