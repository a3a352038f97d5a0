//! A server combines what vehicles tuned, and everybody begins the next window from that: FedAvg and those after it, over any
//! link.

use shoal_swarm::swarm::Flat;

use super::carried::{Carried, connect};
use super::link::{Link, Sender};
use super::server::Server;
use super::{Fleet, Method, MethodError, Window, difference, mean, moved, noise};
use crate::config::Lie;
use crate::lab::{Pull, Tune};

/// A fleet with a server.
pub(super) struct Averaged<'a> {
    fleet: Fleet,
    server: Server,
    link: Box<dyn Link + 'a>,
    /// The fleet is given the mean of so many last adapters.
    mean_last: usize,
    /// μ of the pull of nights to where a vehicle began; `None`: there is none.
    pull: Option<f64>,
    /// What everybody who was there last has.
    global: Flat,
    /// The last ones, the newest last.
    globals: Vec<Flat>,
    vehicles: Vec<Vehicle>,
    /// Bytes of the step of each window, for those who come back.
    steps: Vec<Carried>,
}

/// One vehicle.
struct Vehicle {
    /// What it began from when it was there last.
    anchor: Flat,
    /// Where it tunes from.
    at: Flat,
    tuned: Flat,
    /// Windows whose steps it has.
    has: usize,
}

impl<'a> Averaged<'a> {
    pub(super) fn new(
        fleet: Fleet,
        server: Server,
        link: Box<dyn Link + 'a>,
        mean_last: u8,
        pull: Option<f64>,
    ) -> Self {
        let start = &fleet.start;
        let vehicle =
            || Vehicle { anchor: start.clone(), at: start.clone(), tuned: start.clone(), has: 0 };
        Averaged {
            server,
            link,
            mean_last: mean_last.into(),
            pull,
            global: start.clone(),
            globals: Vec::new(),
            vehicles: (0..fleet.vehicles).map(|_| vehicle()).collect(),
            steps: Vec::new(),
            fleet,
        }
    }
}

impl Method for Averaged<'_> {
    fn nights(&self, window: u32) -> Vec<Tune> {
        let mut nights = self.fleet.nights(window, self.vehicles.iter().map(|vehicle| &vehicle.at));
        if let Some(mu) = self.pull {
            for (night, vehicle) in nights.iter_mut().zip(&self.vehicles) {
                night.pull = Some(Pull { towards: vehicle.anchor.clone(), mu });
            }
        }
        nights
    }

    fn exchange(
        &mut self,
        window: &mut Window<'_, '_>,
        tuned: Vec<Flat>,
    ) -> Result<(), MethodError> {
        let mut displacements = Vec::new();
        for (number, tuned) in tuned.into_iter().enumerate() {
            let present = window.present.get(number).copied().unwrap_or(false);
            let Some(vehicle) = self.vehicles.get_mut(number) else { continue };
            let by = difference(&tuned, &vehicle.anchor);
            (vehicle.at, vehicle.tuned) = (tuned.clone(), tuned);
            let Some(traffic) = window.traffic.get_mut(number).filter(|_| present) else {
                continue;
            };
            let from = Sender::Vehicle(number);
            let mut meant = self.link.meant(from, by);
            if self.fleet.lie_of(number) == Some(Lie::Random) {
                meant = noise(&meant, self.fleet.night_seed(number as u32, window.number));
            }
            let (received, sent) = self.link.send(from, meant, window.number)?;
            connect(traffic);
            sent.up(traffic);
            displacements.push(received);
        }
        let step = self.server.step(&displacements)?;
        let meant = self.link.meant(Sender::Server, step);
        let (received, sent) = self.link.send(Sender::Server, meant, window.number)?;
        self.global = moved(&self.global, &received);
        self.globals.push(self.global.clone());
        if self.globals.len() > self.mean_last {
            self.globals.remove(0);
        }
        self.steps.push(sent);
        for (number, vehicle) in self.vehicles.iter_mut().enumerate() {
            let present = window.present.get(number).copied().unwrap_or(false);
            let Some(traffic) = window.traffic.get_mut(number).filter(|_| present) else {
                continue;
            };
            // Who was away gets the steps it missed, too.
            self.steps.iter().skip(vehicle.has).for_each(|step| step.down(traffic));
            vehicle.has = self.steps.len();
            (vehicle.anchor, vehicle.at) = (self.global.clone(), self.global.clone());
        }
        Ok(())
    }

    fn fleet(&self) -> Option<Flat> {
        mean(&self.globals).or_else(|| Some(self.global.clone()))
    }

    fn tuned(&self, vehicle: u32) -> Flat {
        let vehicle = self.vehicles.get(vehicle as usize);
        vehicle.map_or_else(|| self.global.clone(), |vehicle| vehicle.tuned.clone())
    }
}
