//! Without an exchange: every vehicle alone, what a merge of such vehicles would be, and the one adapter tuned on all roads.

use shoal_swarm::swarm::Flat;

use super::{Fleet, Method, MethodError, Window, difference, mean, moved};
use crate::config::{Merge, Soup};
use crate::lab::{Tune, Who};

/// Every vehicle goes on from what it tuned.
pub(super) struct Local {
    fleet: Fleet,
    at: Vec<Flat>,
    soup: Option<Soup>,
    merged: Option<Flat>,
}

impl Local {
    pub(super) fn new(fleet: Fleet, soup: Option<Soup>) -> Self {
        let at = vec![fleet.start.clone(); fleet.vehicles as usize];
        Local { fleet, at, soup, merged: None }
    }
}

impl Method for Local {
    fn nights(&self, window: u32) -> Vec<Tune> {
        let nights = (0..).zip(&self.at).map(|(vehicle, from)| Tune {
            who: Who::Vehicle(vehicle),
            window,
            from: from.clone(),
            seed: self.fleet.night_seed(vehicle, window),
        });
        nights.collect()
    }

    fn exchange(
        &mut self,
        window: &mut Window<'_, '_>,
        tuned: Vec<Flat>,
    ) -> Result<(), MethodError> {
        self.at = tuned;
        if let Some(soup) = self.soup {
            self.merged = Some(merge(&soup, &self.fleet, &self.at, window)?);
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

fn merge(
    soup: &Soup,
    fleet: &Fleet,
    at: &[Flat],
    window: &mut Window<'_, '_>,
) -> Result<Flat, MethodError> {
    let uniform = || mean(at).unwrap_or_else(|| fleet.start.clone());
    Ok(match soup.merge {
        Merge::Uniform => {
            let by = difference(&uniform(), &fleet.start);
            let scaled: Vec<f32> = by.iter().map(|by| by * soup.scale as f32).collect();
            moved(&fleet.start, &scaled)
        }
        Merge::Greedy => greedy(at, window)?.unwrap_or_else(uniform),
        Merge::Slerp | Merge::Ties | Merge::Dare | Merge::DareTies | Merge::ModelStock => uniform(),
    })
}

/// The best first; each next one stays in if the mean is no worse on the pack.
fn greedy(at: &[Flat], window: &mut Window<'_, '_>) -> Result<Option<Flat>, MethodError> {
    let utilities = window.lab.utility(at)?;
    let mut order: Vec<(f64, &Flat)> = utilities.into_iter().zip(at).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut order = order.into_iter();
    let Some((mut best, first)) = order.next() else { return Ok(None) };
    let mut members = vec![first.clone()];
    let mut soup = first.clone();
    for (_utility, next) in order {
        members.push(next.clone());
        let Some(tried) = mean(&members) else { break };
        let utility = window.lab.utility(std::slice::from_ref(&tried))?;
        match utility.first() {
            Some(utility) if *utility >= best => (best, soup) = (*utility, tried),
            Some(_) | None => {
                members.pop();
            }
        }
    }
    Ok(Some(soup))
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
        vec![Tune { who: Who::All, window, from: self.at.clone(), seed }]
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
