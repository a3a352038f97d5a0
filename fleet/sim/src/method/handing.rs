//! What vehicles that learn alone hand in: a merge at the end, or a mixture, is made of what each of them handed in when it was there
//! last.

use shoal_swarm::swarm::Flat;

use super::Fleet;
use super::Window;
use super::carried::{Carried, connect};
use super::late::Late;
use crate::config::SimConfig;
use crate::run::present;

/// What each has handed in.
pub(super) struct Handing {
    late: Vec<Late<Flat>>,
    /// What who is late hands in first.
    start: Flat,
    /// By vehicle; `None`: it was not there yet.
    last: Vec<Option<Handed>>,
    /// The window in which each is there for the last time; `None`: it never is.
    leaves: Vec<Option<u32>>,
}

/// What a vehicle handed in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Handed {
    pub(super) vehicle: u32,
    /// In which window.
    pub(super) window: u32,
    pub(super) at: Flat,
}

impl Handing {
    /// Before the first window.
    pub(super) fn new(fleet: &Fleet, config: &SimConfig) -> Self {
        let mut leaves = vec![None; config.vehicles as usize];
        for window in 1..=config.windows {
            let there = leaves.iter_mut().zip(present(config, window));
            there.filter(|(_leaves, there)| *there).for_each(|(leaves, _)| *leaves = Some(window));
        }
        let late = (0..leaves.len()).map(|number| Late::new(fleet.is_stale(number))).collect();
        Handing { late, start: fleet.start.clone(), last: vec![None; leaves.len()], leaves }
    }

    /// Whoever is there hands in its place, by vehicle, instead of what it handed in before; who is always late the one that it had a
    /// window before.
    pub(super) fn take(&mut self, window: &Window<'_, '_>, now: &[Flat]) {
        let places = self.late.iter_mut().zip(now).map(|(late, at)| late.sends(at.clone()));
        let of = (0..).zip(places).zip(window.present).zip(&mut self.last);
        for (((vehicle, at), _there), last) in of.filter(|((_, there), _)| **there) {
            let at = at.unwrap_or_else(|| self.start.clone());
            *last = Some(Handed { vehicle, window: window.number, at });
        }
    }

    /// By vehicle.
    pub(super) fn last(&self) -> &[Option<Handed>] {
        &self.last
    }

    /// Who is there for the last time sends these messages: handing in counts once, as if whoever hands in knew that it will not come
    /// again.
    pub(super) fn charge(&self, window: &mut Window<'_, '_>, sent: &[Carried]) {
        for (traffic, leaves) in window.traffic.iter_mut().zip(&self.leaves) {
            if *leaves == Some(window.number) {
                connect(traffic);
                sent.iter().for_each(|sent| sent.up(traffic));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "vehicles = 8\nwindows = 12\n[trivial]\nvalues = 2\n[calendar]\nabsent = 0.6\n\
        [[methods]]\nname = \"alone\"\nkind = \"local\"\n";

    #[test]
    fn whoever_leaves_early_is_charged_when_it_leaves() {
        let config = SimConfig::parse("fleet.toml", FILE).unwrap();
        let fleet = Fleet::honest(8, vec![0.0; 2].into());
        let handing = Handing::new(&fleet, &config);
        let there = |window| present(&config, window);
        for (vehicle, leaves) in handing.leaves.iter().enumerate() {
            let last = (1..=12).rev().find(|window| there(*window)[vehicle]);
            assert_eq!(*leaves, last, "vehicle {vehicle}");
        }
        assert!(handing.leaves.iter().any(|leaves| *leaves < Some(12)), "{:?}", handing.leaves);
    }
}
