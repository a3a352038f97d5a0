//! NoLoCo: gossip with one partner a round, no server at all.

use super::wide;
use crate::chance::Draws;
use crate::input::{InputError, count, narrow, positive, run, within};

/// Constants of [`NoLoCo`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoLoCoSettings {
    /// α: what of the last step is taken again, 0 to below 1.
    pub momentum: f64,
    /// β: how much of the mean inner step is taken.
    pub step: f64,
    /// γ: pull towards the pair's mean, `>= 0`.
    pub consensus: f64,
}

impl NoLoCoSettings {
    /// α and β of the paper's experiments. γ = 1: the positions of a pair meet, which is ours to choose.
    pub const USUAL: Self = Self { momentum: 0.5, step: 0.7, consensus: 1.0 };
}

/// One vehicle that gossips. Its *slow* position φ moves once a round, its local one θ by training from φ:
///
/// ```text
/// Δ = mean over the pair of (θ − φ)
/// δ ← α·δ + β·Δ − γ·(φ − mean over the pair of φ)
/// φ ← φ + δ
/// ```
///
/// A vehicle without a partner is a pair of its own: it takes its own step, and nothing pulls.
///
/// # Source
/// NoLoCo, arXiv 2506.10911, its modified Nesterov momentum: the form is from memory of the paper and the words of its abstract, not
/// checked against its equations.
#[derive(Clone, Debug, PartialEq)]
pub struct NoLoCo {
    settings: NoLoCoSettings,
    slow: Vec<f64>,
    momentum: Vec<f64>,
}

impl NoLoCo {
    /// From this position, `[dim]`.
    ///
    /// # Errors
    /// [`InputError`] if a value is not finite or a setting out of its range.
    pub fn new(slow: &[f32], settings: NoLoCoSettings) -> Result<Self, InputError> {
        within("momentum", settings.momentum, 0.0..1.0, "at least 0 and less than 1")?;
        positive("step", settings.step)?;
        within("consensus", settings.consensus, 0.0..=f64::MAX, "a number, at least 0")?;
        let slow = wide(slow)?;
        Ok(Self { settings, momentum: vec![0.0; slow.len()], slow })
    }

    /// φ, `[dim]`: what a vehicle sends, with its local position, and trains from.
    pub fn slow(&self) -> Vec<f32> {
        narrow(&self.slow)
    }

    /// One round with a partner's `(φ, θ)` as they came, or without one.
    ///
    /// # Shapes and units
    /// `local`: θ, `[dim]`; so are both of the partner's.
    /// # Errors
    /// [`InputError`] if lengths differ or a value is not finite; nothing then moves.
    pub fn step(
        &mut self,
        local: &[f32],
        partner: Option<(&[f32], &[f32])>,
    ) -> Result<(), InputError> {
        let dim = self.slow.len();
        run("values of the local position", local, dim)?;
        if let Some((slow, local)) = partner {
            run("values of the partner's slow position", slow, dim)?;
            run("values of the partner's local position", local, dim)?;
        }
        let NoLoCoSettings { momentum, step, consensus } = self.settings;
        for (index, own) in self.slow.iter_mut().enumerate() {
            let mut inner = f64::from(local[index]) - *own;
            let mut apart = 0.0;
            if let Some((slow, local)) = partner {
                let slow = f64::from(slow[index]);
                inner = (inner + f64::from(local[index]) - slow) / 2.0;
                apart = (*own - slow) / 2.0;
            }
            let delta = momentum * self.momentum[index] + step * inner - consensus * apart;
            self.momentum[index] = delta;
            *own += delta;
        }
        Ok(())
    }
}

/// The partner of each of `vehicles` in a round: pairs drawn from all pairings alike; `None` for the one that is left of an
/// odd number.
pub fn pairs(vehicles: usize, draws: &mut Draws) -> Vec<Option<usize>> {
    let mut partners = vec![None; vehicles];
    for pair in draws.shuffled(vehicles).chunks_exact(2) {
        partners[pair[0]] = Some(pair[1]);
        partners[pair[1]] = Some(pair[0]);
    }
    partners
}

/// One round of a whole fleet: everybody's local position, everybody's partner, all at once.
///
/// # Shapes and units
/// `locals`: `[vehicles][dim]`. `partners`: `[vehicles]`, as [`pairs`] gives them.
/// # Errors
/// [`InputError`] if counts or lengths differ, or a partner is none of the fleet.
pub fn gossip(
    fleet: &mut [NoLoCo],
    locals: &[Vec<f32>],
    partners: &[Option<usize>],
) -> Result<(), InputError> {
    count("local positions", locals.len(), fleet.len())?;
    count("partners", partners.len(), fleet.len())?;
    let slow: Vec<Vec<f32>> = fleet.iter().map(NoLoCo::slow).collect();
    for partner in partners.iter().flatten() {
        within("partner", *partner as f64, ..fleet.len() as f64, "a vehicle of the fleet")?;
    }
    for (index, vehicle) in fleet.iter_mut().enumerate() {
        let partner = partners[index].map(|at| (slow[at].as_slice(), locals[at].as_slice()));
        vehicle.step(&locals[index], partner)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_mutual_and_change() {
        let mut draws = Draws::new(1, 0);
        let mut met = [false; 7];
        for _ in 0..100 {
            let partners = pairs(7, &mut draws);
            assert_eq!(partners.iter().filter(|partner| partner.is_none()).count(), 1);
            for (index, partner) in partners.iter().enumerate() {
                if let Some(partner) = partner {
                    assert_eq!(partners[*partner], Some(index));
                    assert_ne!(*partner, index);
                }
            }
            if let Some(partner) = partners[0] {
                met[partner] = true;
            }
        }
        assert!(met[1..].iter().all(|met| *met), "{met:?}");
    }

    #[test]
    fn gossip_brings_the_fleet_together_and_keeps_its_mean() {
        let settings = NoLoCoSettings { momentum: 0.0, step: 0.7, consensus: 1.0 };
        let mut fleet: Vec<NoLoCo> =
            (0..8).map(|at| NoLoCo::new(&[at as f32], settings).unwrap()).collect();
        let mut draws = Draws::new(2, 0);
        for _ in 0..40 {
            // Nobody trains: locals are the slow positions.
            let locals: Vec<Vec<f32>> = fleet.iter().map(NoLoCo::slow).collect();
            gossip(&mut fleet, &locals, &pairs(8, &mut draws)).unwrap();
        }
        for vehicle in &fleet {
            assert!((vehicle.slow()[0] - 3.5).abs() < 1e-2, "{:?}", vehicle.slow());
        }
    }

    #[test]
    fn a_pair_takes_its_mean_step_and_meets() {
        let mut vehicle = NoLoCo::new(&[1.0], NoLoCoSettings::USUAL).unwrap();
        vehicle.step(&[2.0], Some((&[3.0], &[6.0]))).unwrap();
        // 0.7·(1 + 3)/2 and a way of 1 to the middle.
        assert!((vehicle.slow()[0] - 3.4).abs() < 1e-6, "{:?}", vehicle.slow());
    }

    #[test]
    fn a_vehicle_alone_takes_its_own_step() {
        let mut vehicle = NoLoCo::new(&[1.0], NoLoCoSettings::USUAL).unwrap();
        vehicle.step(&[2.0], None).unwrap();
        assert!((vehicle.slow()[0] - 1.7).abs() < 1e-6);
        // Momentum: ½·0.7, and nothing else.
        vehicle.step(&vehicle.slow(), None).unwrap();
        assert!((vehicle.slow()[0] - 2.05).abs() < 1e-6);
        assert!(vehicle.step(&[f32::NAN], None).is_err());
        assert!(vehicle.step(&[1.0], Some((&[1.0], &[]))).is_err());
    }
}
