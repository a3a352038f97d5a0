//! Without an exchange: every vehicle alone, what a merge of such vehicles would be, and the one adapter tuned on all roads.

use shoal_swarm::swarm::Flat;

use super::carried::{Carried, connect};
use super::{Fleet, Method, MethodError, Window, lie, soup};
use crate::config::Soup;
use crate::lab::{Tune, Who};

/// Every vehicle goes on from what it tuned.
pub(super) struct Local {
    fleet: Fleet,
    at: Vec<Flat>,
    /// Where each was a window before.
    before: Vec<Flat>,
    soup: Option<Soup>,
    merged: Option<Flat>,
}

impl Local {
    pub(super) fn new(fleet: Fleet, soup: Option<Soup>) -> Self {
        let at = vec![fleet.start.clone(); fleet.vehicles as usize];
        Local { fleet, before: at.clone(), at, soup, merged: None }
    }
}

impl Local {
    /// What vehicles give to a merge.
    fn sent(&self, window: u32) -> Vec<Flat> {
        let place = |(number, (at, before)): (usize, (&Flat, &Flat))| {
            let stale = self.fleet.stale.get(number).copied().unwrap_or(false);
            if stale { before.clone() } else { at.clone() }
        };
        let places = self.at.iter().zip(&self.before).enumerate().map(place).collect();
        lie::adapters(&self.fleet, window, places)
    }
}

impl Method for Local {
    fn nights(&self, window: u32) -> Vec<Tune> {
        self.fleet.nights(window, self.at.iter())
    }

    fn exchange(
        &mut self,
        window: &mut Window<'_, '_>,
        tuned: Vec<Flat>,
    ) -> Result<(), MethodError> {
        self.before = std::mem::replace(&mut self.at, tuned);
        if let Some(soup) = self.soup {
            let layout = &window.lab.base().layout;
            let sent = self.sent(window.number);
            self.merged = soup::merge(&soup, &self.fleet, layout, &sent, window)?;
            if window.last {
                // Once, as they are; every window before it was only looked at.
                let up = Carried::raw(soup::values_sent(soup.merge, layout));
                let down = Carried::raw(self.fleet.start.len());
                for traffic in window.traffic.iter_mut() {
                    connect(traffic);
                    up.up(traffic);
                    down.down(traffic);
                }
            }
        }
        Ok(())
    }

    fn fleet(&self) -> Option<Flat> {
        self.merged.clone()
    }

    fn tuned(&self, vehicle: u32) -> Flat {
        self.at.get(vehicle as usize).unwrap_or(&self.fleet.start).clone()
    }
}

/// One adapter, tuned on everybody's roads.
pub(super) struct Pooled {
    fleet: Fleet,
    at: Flat,
}

impl Pooled {
    pub(super) fn new(fleet: Fleet) -> Self {
        let at = fleet.start.clone();
        Pooled { fleet, at }
    }
}

impl Method for Pooled {
    fn nights(&self, window: u32) -> Vec<Tune> {
        let seed = self.fleet.night_seed(u32::MAX, window);
        vec![Tune { who: Who::All, window, from: self.at.clone(), seed, pull: None, teacher: None }]
    }

    fn exchange(
        &mut self,
        _window: &mut Window<'_, '_>,
        tuned: Vec<Flat>,
    ) -> Result<(), MethodError> {
        if let Some(tuned) = tuned.into_iter().next() {
            self.at = tuned;
        }
        Ok(())
    }

    fn fleet(&self) -> Option<Flat> {
        Some(self.at.clone())
    }

    fn tuned(&self, _vehicle: u32) -> Flat {
        self.at.clone()
    }
}
