//! Evolution strategies: nobody trains. Vehicles measure one position with noise added and taken away, and tell the seeds of the
//! noise and the utilities they found; from these everybody makes the same step.

use shoal_soup::search::{EvolutionStrategy, REPORT_BYTES, Report};
use shoal_swarm::swarm::Flat;
use shoal_wire::v1::PARTS;

use super::carried::{Carried, connect};
use super::{Fleet, Method, MethodError, Window};
use crate::config::{Evolution, Lie, MeasuredOn};
use crate::lab::{On, Tune};

/// Seeds of one vehicle in one window, at most: 256 mirrored pairs.
const SEEDS_OF_WINDOW: u64 = 512;

/// A fleet around one position.
pub(super) struct Evolving {
    fleet: Fleet,
    asked: Evolution,
    strategy: EvolutionStrategy,
    /// Reports of each window, one message a vehicle that was there.
    told: Vec<Vec<Option<Carried>>>,
    /// Windows whose reports each vehicle has.
    has: Vec<usize>,
}

impl Evolving {
    pub(super) fn new(fleet: Fleet, asked: Evolution) -> Result<Self, MethodError> {
        let start = fleet.start.to_vec();
        let strategy = EvolutionStrategy::new(start, asked.deviation, asked.rate)?;
        let has = vec![0; fleet.vehicles as usize];
        Ok(Evolving { fleet, asked, strategy, told: Vec::new(), has })
    }

    /// The first seed of a vehicle in a window; no two have one in common.
    fn first_seed(&self, vehicle: usize, window: u32) -> u64 {
        let turn = u64::from(window) * u64::from(self.fleet.vehicles) + vehicle as u64;
        // High bits of the fleet's own, low bits of the turn: 1000 windows of 64 vehicles are 2¹⁶.
        let fleet = self.fleet.night_seed(u32::MAX, 0) & !0xff_ffff_ffff;
        fleet | (turn * SEEDS_OF_WINDOW)
    }

    /// What a vehicle found at its seeds.
    fn reports(
        &self,
        vehicle: usize,
        window: &mut Window<'_, '_>,
    ) -> Result<Vec<Report>, MethodError> {
        let first = self.first_seed(vehicle, window.number);
        let seeds = first..first + 2 * u64::from(self.asked.pairs);
        let positions: Vec<Flat> =
            seeds.clone().map(|seed| self.strategy.position(seed).into()).collect();
        let number = window.number;
        let found = match self.asked.on {
            MeasuredOn::Pack => {
                let part = (number % u32::from(PARTS)) as u8;
                window.lab.judged_on_part(&positions, number, part)?
            }
            MeasuredOn::Own => {
                let on = On::OwnPack(vehicle as u32);
                let asked: Vec<(Flat, On)> =
                    positions.into_iter().map(|values| (values, on)).collect();
                let found = window.lab.measure(&asked)?;
                // A road on which nothing moves tells nothing.
                found.iter().map(|found| found.skill().unwrap_or(0.0)).collect()
            }
        };
        let lie = self.fleet.lie_in(vehicle, number);
        let report = |(seed, found)| Report { seed, utility: told(lie, seed, found) };
        // Where a gate does not hold there is nothing to tell.
        Ok(seeds.zip(found).map(report).filter(|report| report.utility.is_finite()).collect())
    }
}

/// The utility that is told of a seed in place of what was found.
fn told(lie: Option<Lie>, seed: u64, found: f64) -> f64 {
    match lie {
        Some(Lie::Random | Lie::ForgedWorst) => -found,
        Some(Lie::Inflated) => 1.0,
        // Whoever measures nothing has nothing of its own to tell, and no report of others can be told twice; of two that contradict
        // each other neither counts.
        Some(Lie::Copied | Lie::Withheld | Lie::Equivocating) => 0.0,
        // Perfect where noise is added, and as bad as can be where it is taken away.
        Some(Lie::Colluding) => {
            if seed.is_multiple_of(2) {
                1.0
            } else {
                -1.0
            }
        }
        // On its own road there is no part to fit anything to.
        None | Some(Lie::Overfitting) => found,
    }
}

impl Method for Evolving {
    fn nights(&self, _window: u32) -> Vec<Tune> {
        Vec::new()
    }

    fn exchange(
        &mut self,
        window: &mut Window<'_, '_>,
        _tuned: Vec<Flat>,
    ) -> Result<(), MethodError> {
        let present: Vec<bool> = window.present.to_vec();
        let (mut all, mut told) = (Vec::new(), Vec::new());
        for (vehicle, present) in present.iter().enumerate() {
            if !present {
                told.push(None);
                continue;
            }
            let reports = self.reports(vehicle, window)?;
            told.push(Some(Carried::signed(REPORT_BYTES * reports.len())));
            all.extend(reports);
        }
        self.strategy.update(&all)?;
        self.told.push(told);
        for (number, has) in self.has.iter_mut().enumerate() {
            let present = present.get(number).copied().unwrap_or(false);
            let Some(traffic) = window.traffic.get_mut(number).filter(|_| present) else {
                continue;
            };
            connect(traffic);
            let own = self.told.last().and_then(|told| told.get(number)?.as_ref());
            own.into_iter().for_each(|own| own.up(traffic));
            // Everybody else's, and of the windows it missed, too.
            let missed = self.told.iter().skip(*has).flat_map(|told| told.iter().enumerate());
            let others = missed.filter(|(of, _told)| *of != number);
            others.filter_map(|(_of, told)| told.as_ref()).for_each(|told| told.down(traffic));
            *has = self.told.len();
        }
        Ok(())
    }

    fn fleet(&self) -> Option<Flat> {
        Some(self.strategy.centre().into())
    }

    fn tuned(&self, _vehicle: u32) -> Flat {
        self.strategy.centre().into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_vehicles_or_windows_or_fleets_share_noise() {
        let asked = Evolution { pairs: 256, deviation: 0.1, rate: 0.1, on: MeasuredOn::Pack };
        let evolving = |seed| {
            let start = [0.0].as_slice().into();
            let (liars, stale, ranks) = (vec![false; 64], vec![false; 64], vec![None; 64]);
            let lie = Lie::Random;
            let fleet = Fleet { vehicles: 64, seed, start, liars, lie, lies_from: 1, stale, ranks };
            Evolving::new(fleet, asked).unwrap()
        };
        let mut seen = BTreeSet::new();
        for fleet in [evolving(0), evolving(1)] {
            for (window, vehicle) in (1..=1000).flat_map(|window| [(window, 0), (window, 63)]) {
                let first = fleet.first_seed(vehicle, window);
                assert!(first.is_multiple_of(SEEDS_OF_WINDOW), "pairs are mirrored");
                assert!(seen.insert(first), "{window} {vehicle}");
            }
        }
    }
}
