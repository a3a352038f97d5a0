//! Without an exchange: every vehicle alone, what a merge of such vehicles would be, and the one adapter tuned on all roads.

use shoal_swarm::swarm::Flat;

use super::carried::Carried;
use super::handing::Handing;
use super::{Fleet, Method, MethodError, Window, lie, soup};
use crate::config::{SimConfig, Soup};
use crate::lab::{Tune, Who};

/// Every vehicle goes on from what it tuned.
pub(super) struct Local {
    fleet: Fleet,
    at: Vec<Flat>,
    merging: Option<Merging>,
}

/// A merge of what vehicles hand in.
struct Merging {
    soup: Soup,
    handing: Handing,
    merged: Option<Flat>,
    /// Whether vehicles have it: it is the last.
    given: bool,
}

impl Local {
    pub(super) fn new(fleet: Fleet, config: &SimConfig, soup: Option<Soup>) -> Self {
        let at = vec![fleet.start.clone(); fleet.vehicles as usize];
        let merging = soup.map(|soup| {
            let handing = Handing::new(&fleet, config);
            Merging { soup, handing, merged: None, given: false }
        });
        Local { fleet, at, merging }
    }
}

impl Merging {
    /// Whoever is there hands in where it is, and of what has been handed in a merge is made; it is charged once, as it is: every
    /// merge before the last was only looked at.
    fn exchange(
        &mut self,
        fleet: &Fleet,
        at: &[Flat],
        window: &mut Window<'_, '_>,
    ) -> Result<(), MethodError> {
        self.handing.take(window, at);
        let layout = &window.lab.base().layout;
        let sent = lie::adapters(fleet, self.handing.last());
        self.merged = soup::merge(&self.soup, fleet, layout, &sent, window)?;
        let up = Carried::raw(soup::values_sent(self.soup.merge, layout));
        self.handing.charge(window, &[up]);
        self.given = window.last;
        if window.last {
            let down = Carried::raw(fleet.start.len());
            let there = window.traffic.iter_mut().zip(window.present).filter(|(_, there)| **there);
            there.for_each(|(traffic, _there)| down.down(traffic));
        }
        Ok(())
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
        self.at = tuned;
        match &mut self.merging {
            Some(merging) => merging.exchange(&self.fleet, &self.at, window),
            None => Ok(()),
        }
    }

    fn fleet(&self) -> Option<Flat> {
        self.merging.as_ref()?.merged.clone()
    }

    fn is_looked_at(&self) -> bool {
        self.merging.as_ref().is_some_and(|merging| !merging.given)
    }

    fn waits(&self) -> bool {
        self.merging.as_ref().is_some_and(|merging| merging.merged.is_none())
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
