//! A server combines what vehicles tuned, and everybody begins the next window from that: FedAvg and those after it, over any
//! link.

use shoal_swarm::privacy::{Ledger, Noise, Privacy};
use shoal_swarm::swarm::Flat;

use super::carried::{Carried, connect};
use super::late::{Late, Step};
use super::link::{Link, Sender};
use super::server::Server;
use super::{Fleet, Method, MethodError, Window, counted, difference, lie, mean, moved, ranks};
use crate::lab::{Base, Pull, Tune};

/// A fleet with a server.
pub(super) struct Averaged<'a> {
    fleet: Fleet,
    server: Server,
    link: Box<dyn Link + 'a>,
    asked: Asked,
    /// Which values of an adapter a vehicle trains; `None`: all.
    rows: Vec<Option<Vec<bool>>>,
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
    late: Late<Step>,
    /// What the fleet was given when it was there last.
    given: Flat,
    /// What hides it, and what that has cost.
    noise: Noise,
    ledger: Ledger,
    /// What the server has of it since the last window.
    published: Option<Flat>,
}

/// What is asked of a server beside its rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The fleet is given the mean of so many last adapters.
    pub(super) mean_last: usize,
    /// μ of the pull of nights to where a vehicle began; `None`: there is none.
    pub(super) pull: Option<f64>,
    /// Whether the mean of those that have a row stands for the row of a vehicle whose rank has none.
    pub(super) by_rank: bool,
    /// How what vehicles send is made private.
    pub(super) privacy: Option<Privacy>,
}

impl<'a> Averaged<'a> {
    pub(super) fn new(
        fleet: Fleet,
        base: &Base,
        server: Server,
        link: Box<dyn Link + 'a>,
        asked: Asked,
    ) -> Self {
        let start = &fleet.start;
        let vehicle = |number| Vehicle {
            anchor: start.clone(),
            at: start.clone(),
            tuned: start.clone(),
            has: 0,
            late: Late::new(fleet.is_stale(number)),
            given: start.clone(),
            noise: fleet.noise_of(number),
            ledger: Ledger::default(),
            published: None,
        };
        let rows = |rank: &Option<u8>| rank.map(|rank| base.layout.of_rank(rank.into()));
        Averaged {
            server,
            link,
            asked,
            rows: fleet.ranks.iter().map(rows).collect(),
            global: start.clone(),
            globals: Vec::new(),
            vehicles: (0..fleet.vehicles as usize).map(vehicle).collect(),
            steps: Vec::new(),
            fleet,
        }
    }

    /// What each vehicle that is there would send, by vehicle, and from where; of one that is always late, what it tuned for the
    /// window before.
    fn honest(
        &mut self,
        window: &Window<'_, '_>,
        tuned: Vec<Flat>,
    ) -> (Vec<Flat>, Vec<Option<Vec<f32>>>, u32) {
        let (mut anchors, mut honest, mut withheld) = (Vec::new(), Vec::new(), 0);
        for (number, (vehicle, tuned)) in self.vehicles.iter_mut().zip(tuned).enumerate() {
            let by = difference(&tuned, &vehicle.anchor);
            let step = Step { from: vehicle.anchor.clone(), by };
            (vehicle.at, vehicle.tuned) = (tuned.clone(), tuned);
            let step = vehicle.late.sends(step);
            let present = window.present.get(number).copied().unwrap_or(false);
            let step = step.filter(|_step| present);
            anchors.push(step.as_ref().map_or(&self.global, |step| &step.from).clone());
            let steps = step.is_some();
            let sent = step.and_then(|step| vehicle.hidden(step.by, self.asked.privacy.as_ref()));
            withheld += u32::from(steps && sent.is_none());
            honest.push(sent);
        }
        (anchors, honest, withheld)
    }
}

impl Vehicle {
    /// What it sends of a step; `None`: that cannot be paid for.
    fn hidden(&mut self, mut step: Vec<f32>, privacy: Option<&Privacy>) -> Option<Vec<f32>> {
        if let Some(privacy) = privacy {
            if !self.ledger.pay(privacy) {
                return None;
            }
            privacy.privatise(&mut step, &mut self.noise);
        }
        Some(step)
    }
}

impl Method for Averaged<'_> {
    fn nights(&self, window: u32) -> Vec<Tune> {
        let mut nights = self.fleet.nights(window, self.vehicles.iter().map(|vehicle| &vehicle.at));
        if let Some(mu) = self.asked.pull {
            for (night, vehicle) in nights.iter_mut().zip(&self.vehicles) {
                let towards = vehicle.anchor.clone();
                night.pull = Some(Pull { towards, mu, importance: None });
            }
        }
        nights
    }

    fn exchange(
        &mut self,
        window: &mut Window<'_, '_>,
        tuned: Vec<Flat>,
    ) -> Result<(), MethodError> {
        let (anchors, honest, withheld) = self.honest(window, tuned);
        self.vehicles.iter_mut().for_each(|vehicle| vehicle.published = None);
        if let Some(privacy) = self.asked.privacy {
            let of = |vehicle: &Vehicle| vehicle.ledger.epsilon(privacy.delta);
            let most = self.vehicles.iter().map(of).fold(0.0, f64::max);
            window.tell_paid(most);
            window.also.insert("withheld".into(), f64::from(withheld));
        }
        let (mut displacements, mut has) = (Vec::new(), Vec::new());
        let sent = lie::meant(&self.fleet, window.number, honest, &mut *self.link);
        for (number, (meant, from)) in sent.into_iter().zip(&anchors).enumerate() {
            let present = window.present.get(number).copied().unwrap_or(false);
            let Some(traffic) = window.traffic.get_mut(number).filter(|_| present) else {
                continue;
            };
            connect(traffic);
            let Some(meant) = meant else { continue };
            let (received, sent) = self.link.send(Sender::Vehicle(number), meant, window.number)?;
            sent.up(traffic);
            if let Some(vehicle) = self.vehicles.get_mut(number) {
                vehicle.published = Some(moved(from, &received));
            }
            displacements.push(counted(from, received, &self.global));
            has.push(self.rows.get(number).and_then(Option::as_deref));
        }
        if self.asked.by_rank {
            ranks::fill(&mut displacements, &has);
        }
        let step = self.server.step(&displacements)?;
        let meant = self.link.meant(Sender::Server, step);
        let (received, sent) = self.link.send(Sender::Server, meant, window.number)?;
        self.global = moved(&self.global, &received);
        self.globals.push(self.global.clone());
        if self.globals.len() > self.asked.mean_last {
            self.globals.remove(0);
        }
        self.steps.push(sent);
        let given = self.fleet().unwrap_or_else(|| self.global.clone());
        for (number, vehicle) in self.vehicles.iter_mut().enumerate() {
            let present = window.present.get(number).copied().unwrap_or(false);
            let Some(traffic) = window.traffic.get_mut(number).filter(|_| present) else {
                continue;
            };
            // Who was away gets the steps it missed, too.
            self.steps.iter().skip(vehicle.has).for_each(|step| step.down(traffic));
            vehicle.has = self.steps.len();
            (vehicle.anchor, vehicle.at) = (self.global.clone(), self.global.clone());
            vehicle.given = given.clone();
        }
        Ok(())
    }

    fn fleet(&self) -> Option<Flat> {
        mean(&self.globals).or_else(|| Some(self.global.clone()))
    }

    /// Who was away has what it was given before.
    fn teacher(&self, vehicle: u32) -> Option<Flat> {
        Some(self.vehicles.get(vehicle as usize)?.given.clone())
    }

    fn published(&self, vehicle: u32) -> Option<Flat> {
        self.vehicles.get(vehicle as usize)?.published.clone()
    }

    fn tuned(&self, vehicle: u32) -> Flat {
        let vehicle = self.vehicles.get(vehicle as usize);
        vehicle.map_or_else(|| self.global.clone(), |vehicle| vehicle.tuned.clone())
    }
}
