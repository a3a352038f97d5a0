//! DiLoCo: Nesterov's momentum on the mean of the vehicles' way back.

use super::{mean_step, wide};
use crate::input::{InputError, Members, narrow, positive, within};

/// Constants of [`DiLoCo`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiLoCoSettings {
    /// η
    pub step: f64,
    /// μ, 0 to below 1.
    pub momentum: f64,
}

impl DiLoCoSettings {
    /// Of the paper.
    pub const PAPER: Self = Self { step: 0.7, momentum: 0.9 };
}

/// The outer optimiser of DiLoCo:
///
/// ```text
/// Δ = mean (θ − θᵢ)
/// b ← μ·b + Δ
/// θ ← θ − η·(Δ + μ·b)
/// ```
///
/// θᵢ is what a vehicle's inner steps made of θ. With A frozen, means of B are means of what adapters do.
///
/// # Source
/// DiLoCo, arXiv 2311.08105, algorithm 1; momentum as PyTorch's SGD with `nesterov`.
#[derive(Clone, Debug, PartialEq)]
pub struct DiLoCo {
    settings: DiLoCoSettings,
    global: Vec<f64>,
    momentum: Vec<f64>,
}

impl DiLoCo {
    /// From this position, `[dim]`.
    ///
    /// # Errors
    /// [`InputError`] if a value is not finite or a setting out of its range.
    pub fn new(global: &[f32], settings: DiLoCoSettings) -> Result<Self, InputError> {
        positive("step", settings.step)?;
        within("momentum", settings.momentum, 0.0..1.0, "at least 0 and less than 1")?;
        let global = wide(global)?;
        Ok(Self { settings, momentum: vec![0.0; global.len()], global })
    }

    /// θ, `[dim]`.
    pub fn global(&self) -> Vec<f32> {
        narrow(&self.global)
    }

    /// b, `[dim]`.
    pub fn momentum(&self) -> &[f64] {
        &self.momentum
    }

    /// One round.
    ///
    /// # Errors
    /// [`InputError`] if lengths differ; nothing then moves.
    pub fn step(&mut self, locals: &Members<'_>) -> Result<(), InputError> {
        let DiLoCoSettings { step, momentum } = self.settings;
        for (index, towards) in mean_step(&self.global, locals)?.into_iter().enumerate() {
            let delta = -towards;
            self.momentum[index] = momentum * self.momentum[index] + delta;
            self.global[index] -= step * (delta + momentum * self.momentum[index]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_momentum_a_whole_step_is_the_mean() {
        let settings = DiLoCoSettings { step: 1.0, momentum: 0.0 };
        let mut server = DiLoCo::new(&[5.0, 5.0], settings).unwrap();
        let locals = [[1.0, 2.0], [3.0, -2.0]];
        server.step(&Members::new(&locals).unwrap()).unwrap();
        assert_eq!(server.global(), [2.0, 0.0]);
    }

    #[test]
    fn momentum_goes_on_when_nobody_moves() {
        let mut server = DiLoCo::new(&[0.0], DiLoCoSettings::PAPER).unwrap();
        let locals = [[1.0]];
        server.step(&Members::new(&locals).unwrap()).unwrap();
        let before = server.global()[0];
        let here = [[before]];
        server.step(&Members::new(&here).unwrap()).unwrap();
        assert!(server.global()[0] > before + 0.5, "{:?}", server.global());
        assert!(DiLoCo::new(&[0.0], DiLoCoSettings { step: 0.7, momentum: 1.0 }).is_err());
    }
}
