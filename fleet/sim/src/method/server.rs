//! What a server makes of displacements.

use crate::config::Server as Rule;

/// A server with its state.
pub(super) struct Server {
    rule: Rule,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Server {
    pub(super) fn new(rule: Rule, values: usize) -> Self {
        Server { rule, mean: vec![0.0; values], squares: vec![0.0; values] }
    }

    /// The step of one round; without displacements there is none.
    pub(super) fn step(&mut self, displacements: &[Vec<f32>]) -> Vec<f32> {
        let mut step = vec![0.0_f64; self.mean.len()];
        if displacements.is_empty() {
            return vec![0.0; step.len()];
        }
        for displacement in displacements {
            step.iter_mut().zip(displacement).for_each(|(step, value)| *step += f64::from(*value));
        }
        step.iter_mut().for_each(|step| *step /= displacements.len() as f64);
        match self.rule {
            Rule::Mean { rate } => step.iter_mut().for_each(|step| *step *= rate),
            Rule::Momentum { rate, momentum } => {
                for (step, mean) in step.iter_mut().zip(&mut self.mean) {
                    *mean = momentum * *mean + *step;
                    *step = rate * (*step + momentum * *mean);
                }
            }
            Rule::Adam { rate, beta1, beta2, epsilon } => {
                let moments = self.mean.iter_mut().zip(&mut self.squares);
                for (step, (mean, square)) in step.iter_mut().zip(moments) {
                    *mean = beta1 * *mean + (1.0 - beta1) * *step;
                    *square = beta2 * *square + (1.0 - beta2) * *step * *step;
                    *step = rate * *mean / (square.sqrt() + epsilon);
                }
            }
            Rule::Median | Rule::Trimmed { .. } | Rule::Krum { .. } => {}
        }
        step.into_iter().map(|step| step as f32).collect()
    }
}
