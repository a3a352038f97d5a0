//! FedAdam: Adam on the server, the mean step of the vehicles as its gradient.

use super::{mean_step, wide};
use crate::input::{InputError, Members, narrow, positive, within};

/// Constants of [`FedAdam`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FedAdamSettings {
    /// η, in units of the values.
    pub step: f64,
    /// β₁, 0 to below 1.
    pub beta_1: f64,
    /// β₂, 0 to below 1.
    pub beta_2: f64,
    /// τ: how adaptive; the larger, the more like plain averaging.
    pub tau: f64,
}

impl FedAdamSettings {
    /// β and τ of the paper's experiments; η is to be tuned there.
    pub const PAPER: Self = Self { step: 0.01, beta_1: 0.9, beta_2: 0.99, tau: 1e-3 };
}

/// Adam over rounds:
///
/// ```text
/// Δ = mean (xᵢ − x)
/// m ← β₁·m + (1 − β₁)·Δ
/// v ← β₂·v + (1 − β₂)·Δ²
/// x ← x + η·m/(√v + τ)
/// ```
///
/// m begins at 0, v at τ²; there is no correction of the bias, as in the paper.
///
/// # Source
/// Reddi et al., Adaptive federated optimization, arXiv 2003.00295, algorithm 2.
#[derive(Clone, Debug, PartialEq)]
pub struct FedAdam {
    settings: FedAdamSettings,
    global: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
}

impl FedAdam {
    /// From this position, `[dim]`.
    ///
    /// # Errors
    /// [`InputError`] if a value is not finite or a setting out of its range.
    pub fn new(global: &[f32], settings: FedAdamSettings) -> Result<Self, InputError> {
        positive("step", settings.step)?;
        within("beta_1", settings.beta_1, 0.0..1.0, "at least 0 and less than 1")?;
        within("beta_2", settings.beta_2, 0.0..1.0, "at least 0 and less than 1")?;
        positive("tau", settings.tau)?;
        let global = wide(global)?;
        let first = vec![0.0; global.len()];
        let second = vec![settings.tau * settings.tau; global.len()];
        Ok(Self { settings, global, first, second })
    }

    /// The global position, `[dim]`.
    pub fn global(&self) -> Vec<f32> {
        narrow(&self.global)
    }

    /// One round.
    ///
    /// # Errors
    /// [`InputError`] if lengths differ; nothing then moves.
    pub fn step(&mut self, locals: &Members<'_>) -> Result<(), InputError> {
        let FedAdamSettings { step, beta_1, beta_2, tau } = self.settings;
        for (index, delta) in mean_step(&self.global, locals)?.into_iter().enumerate() {
            let first = beta_1 * self.first[index] + (1.0 - beta_1) * delta;
            let second = beta_2 * self.second[index] + (1.0 - beta_2) * delta * delta;
            (self.first[index], self.second[index]) = (first, second);
            self.global[index] += step * first / (second.sqrt() + tau);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_steps_are_those_worked_by_hand() {
        let settings = FedAdamSettings { step: 0.1, beta_1: 0.5, beta_2: 0.75, tau: 0.5 };
        let mut server = FedAdam::new(&[1.0], settings).unwrap();
        // Δ = 2: m = 1, v = ¾·¼ + ¼·4 = 1.1875.
        let locals = [[2.0], [4.0]];
        server.step(&Members::new(&locals).unwrap()).unwrap();
        let first = 1.0 + 0.1 / (1.1875_f64.sqrt() + 0.5);
        assert!((f64::from(server.global()[0]) - first).abs() < 1e-6);
        // Nobody moves: m = ½, v = 0.890625.
        let here = [[server.global()[0]]];
        server.step(&Members::new(&here).unwrap()).unwrap();
        let second = first + 0.05 / (0.890_625_f64.sqrt() + 0.5);
        assert!((f64::from(server.global()[0]) - second).abs() < 1e-6);
    }

    #[test]
    fn large_and_small_entries_step_alike() {
        let mut server = FedAdam::new(&[0.0, 0.0], FedAdamSettings::PAPER).unwrap();
        let locals = [[100.0, 1.0]];
        server.step(&Members::new(&locals).unwrap()).unwrap();
        let global = server.global();
        assert!((global[0] / global[1] - 1.0).abs() < 0.05, "{global:?}");
    }

    #[test]
    fn settings_have_their_ranges() {
        let bad = FedAdamSettings { beta_2: 1.0, ..FedAdamSettings::PAPER };
        assert!(FedAdam::new(&[0.0], bad).is_err());
        let mut server = FedAdam::new(&[0.0], FedAdamSettings::PAPER).unwrap();
        let locals = [[1.0, 2.0]];
        assert!(server.step(&Members::new(&locals).unwrap()).is_err());
    }
}
