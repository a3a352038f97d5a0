//! FedAvg, and the term that FedProx adds to a vehicle's gradient.

use crate::input::{InputError, Members, count, run, within};
use crate::merge::weighted;

/// Federated averaging: the global position is the mean of the locals, weighted by their samples.
///
/// On adapters this averages A and B apart (FedIT, arXiv 2305.05644); [`product`](crate::product) has the way around.
///
/// # Source
/// FedAvg, arXiv 1602.05629, algorithm 1.
#[derive(Clone, Debug, PartialEq)]
pub struct FedAvg {
    global: Vec<f32>,
}

impl FedAvg {
    /// From this position, `[dim]`.
    ///
    /// # Errors
    /// [`InputError`] if a value is not finite.
    pub fn new(global: Vec<f32>) -> Result<Self, InputError> {
        run("values of the global position", &global, global.len())?;
        Ok(Self { global })
    }

    /// The global position, `[dim]`.
    pub fn global(&self) -> &[f32] {
        &self.global
    }

    /// One round: Σ nᵢ·xᵢ / Σ nᵢ.
    ///
    /// # Shapes and units
    /// `samples`: nᵢ, what each local was trained on, `[count]`.
    /// # Errors
    /// [`InputError`] if lengths differ, or nobody has a sample; the position then stays.
    pub fn step(&mut self, locals: &Members<'_>, samples: &[u64]) -> Result<(), InputError> {
        count("values", locals.dim(), self.global.len())?;
        let weights: Vec<f64> = samples.iter().map(|samples| *samples as f64).collect();
        self.global = weighted(locals, &weights)?;
        Ok(())
    }
}

/// Adds μ·(w − w_global) to a gradient: what keeps a vehicle's training near the global position.
///
/// It is the gradient of (μ/2)·|w − w_global|².
///
/// # Shapes and units
/// All `[dim]`. `mu`: `>= 0`; 0.001 to 1 in the paper.
/// # Errors
/// [`InputError`] if lengths differ, μ is negative, or a value is not finite; the gradient is then untouched.
/// # Source
/// FedProx, arXiv 1812.06127, equation 2.
pub fn proximal(
    gradient: &mut [f32],
    local: &[f32],
    global: &[f32],
    mu: f64,
) -> Result<(), InputError> {
    within("mu", mu, 0.0..=f64::MAX, "a number, at least 0")?;
    run("values of the local position", local, gradient.len())?;
    run("values of the global position", global, gradient.len())?;
    for ((gradient, local), global) in gradient.iter_mut().zip(local).zip(global) {
        let away = f64::from(*local) - f64::from(*global);
        *gradient = (f64::from(*gradient) + mu * away) as f32;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_weigh() {
        let mut server = FedAvg::new(vec![0.0]).unwrap();
        let locals = [[1.0], [5.0]];
        let locals = Members::new(&locals).unwrap();
        server.step(&locals, &[3, 1]).unwrap();
        assert_eq!(server.global(), [2.0]);
        assert!(server.step(&locals, &[0, 0]).is_err());
        assert!(server.step(&locals, &[1]).is_err());
        assert_eq!(server.global(), [2.0]);
    }

    #[test]
    fn the_proximal_term_pulls_back_and_is_0_at_home() {
        let mut gradient = [0.5, 0.5];
        proximal(&mut gradient, &[1.0, 3.0], &[1.0, 1.0], 0.1).unwrap();
        assert_eq!(gradient, [0.5, 0.7]);
        assert!(proximal(&mut gradient, &[1.0, 3.0], &[1.0, 1.0], -0.1).is_err());
        assert!(proximal(&mut gradient, &[1.0], &[1.0, 1.0], 0.1).is_err());
        assert_eq!(gradient, [0.5, 0.7]);
    }
}
