//! Vehicles learn alone; after the last window everybody has everybody's adapter, and predictions are mixed, not values.

use shoal_soup::ensemble::top_members;
use shoal_swarm::swarm::Flat;

use super::carried::{Carried, connect};
use super::{Fleet, Method, MethodError, Window, lie};
use crate::config;
use crate::lab::{Ensemble, FEATURE_VALUES, Tune, Weighing};

/// A fleet whose vehicles meet once.
pub(super) struct Mixing {
    fleet: Fleet,
    asked: config::Ensemble,
    at: Vec<Flat>,
    mixed: Option<Ensemble>,
}

impl Mixing {
    pub(super) fn new(fleet: Fleet, asked: config::Ensemble) -> Self {
        let at = vec![fleet.start.clone(); fleet.vehicles as usize];
        Mixing { fleet, asked, at, mixed: None }
    }

    /// How these adapters are mixed.
    fn weighing(
        &self,
        sent: &[Flat],
        window: &mut Window<'_, '_>,
    ) -> Result<Weighing, MethodError> {
        Ok(match self.asked {
            config::Ensemble::TopK { keep } => {
                let utilities = window.lab.utility(sent, window.number)?;
                Weighing::Fixed(top_members(&utilities, keep)?)
            }
            config::Ensemble::PackLlm { temperature } => Weighing::Seen { temperature },
            config::Ensemble::Cbtm { temperature, keep } => {
                let centre = |vehicle| window.lab.centre(vehicle, window.number);
                let centres = (0..self.fleet.vehicles).map(centre).collect::<Result<_, _>>()?;
                Weighing::Nearest { centres, temperature, keep }
            }
        })
    }
}

impl Method for Mixing {
    fn nights(&self, window: u32) -> Vec<Tune> {
        self.fleet.nights(window, self.at.iter())
    }

    fn exchange(
        &mut self,
        window: &mut Window<'_, '_>,
        tuned: Vec<Flat>,
    ) -> Result<(), MethodError> {
        self.at = tuned;
        if !window.last {
            return Ok(());
        }
        let sent = lie::adapters(&self.fleet, window.number, self.at.clone());
        let weighing = self.weighing(&sent, window)?;
        let given: Vec<bool> = match &weighing {
            Weighing::Fixed(weights) => weights.iter().map(|weight| *weight > 0.0).collect(),
            Weighing::Seen { .. } | Weighing::Nearest { .. } => vec![true; sent.len()],
        };
        let beside = match &weighing {
            // Every centre goes with its adapter.
            Weighing::Nearest { .. } => Some(Carried::signed(4 * FEATURE_VALUES)),
            Weighing::Fixed(_) | Weighing::Seen { .. } => None,
        };
        let carried = Carried::raw(self.fleet.start.len());
        for (number, traffic) in window.traffic.iter_mut().enumerate() {
            connect(traffic);
            carried.up(traffic);
            beside.iter().for_each(|beside| beside.up(traffic));
            let others = given.iter().enumerate().filter(|(of, given)| **given && *of != number);
            for _other in others {
                carried.down(traffic);
                beside.iter().for_each(|beside| beside.down(traffic));
            }
        }
        self.mixed = Some(Ensemble { members: sent, weighing });
        Ok(())
    }

    fn fleet(&self) -> Option<Flat> {
        None
    }

    fn tuned(&self, vehicle: u32) -> Flat {
        self.at.get(vehicle as usize).unwrap_or(&self.fleet.start).clone()
    }

    fn ensemble(&self) -> Option<&Ensemble> {
        self.mixed.as_ref()
    }
}
