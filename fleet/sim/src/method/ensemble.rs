//! Vehicles learn alone; after the last window everybody has everybody's adapter, and predictions are mixed, not values.

use shoal_soup::ensemble::top_members;
use shoal_swarm::swarm::Flat;

use super::carried::Carried;
use super::handing::{Handed, Handing};
use super::{Fleet, Method, MethodError, Window, lie};
use crate::config::{self, SimConfig};
use crate::lab::{Ensemble, FEATURE_VALUES, Tune, Weighing};

/// A fleet whose vehicles meet once.
pub(super) struct Mixing {
    fleet: Fleet,
    asked: config::Ensemble,
    at: Vec<Flat>,
    handing: Handing,
    mixed: Option<Ensemble>,
}

impl Mixing {
    pub(super) fn new(fleet: Fleet, config: &SimConfig, asked: config::Ensemble) -> Self {
        let at = vec![fleet.start.clone(); fleet.vehicles as usize];
        let handing = Handing::new(&fleet, config);
        Mixing { fleet, asked, at, handing, mixed: None }
    }

    /// How these adapters are mixed.
    fn weighing(
        &self,
        of: &[Handed],
        sent: &[Flat],
        window: &mut Window<'_, '_>,
    ) -> Result<Weighing, MethodError> {
        Ok(match self.asked {
            config::Ensemble::TopK { keep } => {
                let utilities = window.lab.judged(sent, window.number)?;
                // Whose gates do not hold has no vote; nobody's may.
                let may = utilities.iter().filter(|utility| utility.is_finite()).count();
                Weighing::Fixed(match may {
                    0 => vec![0.0; utilities.len()],
                    may => top_members(&utilities, keep.min(may))?,
                })
            }
            config::Ensemble::PackLlm { temperature } => Weighing::Seen { temperature },
            config::Ensemble::Cbtm { temperature, keep } => {
                let centre = |handed: &Handed| window.lab.centre(handed.vehicle, handed.window);
                let centres = of.iter().map(centre).collect::<Result<_, _>>()?;
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
        self.handing.take(window, &self.at);
        let mut up = vec![Carried::raw(self.fleet.start.len())];
        if matches!(self.asked, config::Ensemble::Cbtm { .. }) {
            // Every centre goes with its adapter.
            up.push(Carried::signed(4 * FEATURE_VALUES));
        }
        self.handing.charge(window, &up);
        let of = lie::adapters(&self.fleet, self.handing.last());
        if !window.last || of.is_empty() {
            return Ok(());
        }
        let sent: Vec<Flat> = of.iter().map(|handed| handed.at.clone()).collect();
        let weighing = self.weighing(&of, &sent, window)?;
        let given: Vec<bool> = match &weighing {
            Weighing::Fixed(weights) => weights.iter().map(|weight| *weight > 0.0).collect(),
            Weighing::Seen { .. } | Weighing::Nearest { .. } => vec![true; sent.len()],
        };
        let there = (0_u32..).zip(window.traffic.iter_mut()).zip(window.present);
        for ((number, traffic), _there) in there.filter(|(_, there)| **there) {
            let others =
                given.iter().zip(&of).filter(|(given, of)| **given && of.vehicle != number);
            others.for_each(|_other| up.iter().for_each(|carried| carried.down(traffic)));
        }
        self.mixed = Some(if given.contains(&true) {
            Ensemble { members: sent, weighing }
        } else {
            let weighing = Weighing::Fixed(vec![1.0]);
            Ensemble { members: vec![self.fleet.start.clone()], weighing }
        });
        Ok(())
    }

    fn fleet(&self) -> Option<Flat> {
        None
    }

    fn tuned(&self, vehicle: u32) -> Flat {
        self.at.get(vehicle as usize).unwrap_or(&self.fleet.start).clone()
    }

    fn waits(&self) -> bool {
        self.mixed.is_none()
    }

    fn ensemble(&self) -> Option<&Ensemble> {
        self.mixed.as_ref()
    }
}
