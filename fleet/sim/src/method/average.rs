//! A server combines what vehicles tuned, and everybody begins the next window from that: FedAvg and those after it, at any
//! number of bits.

use shoal_swarm::swarm::Flat;
use shoal_vehicle::exchange::weights::{About, code};
use shoal_wire::coding::Quality;
use shoal_wire::v1::Role;
use shoal_wire::{LayoutHash, ModelHash};

use super::carried::{Carried, connect};
use super::server::Server;
use super::{Fleet, Method, MethodError, Window, difference, lie, mean, moved, ranks};
use crate::config::Average;
use crate::lab::{Base, Tune, trained};

/// A fleet with a server.
pub(super) struct Averaged<'a> {
    fleet: Fleet,
    average: Average,
    base: &'a Base,
    tensors: Vec<u32>,
    server: Server,
    /// What everybody who was there last has.
    global: Flat,
    /// The last ones, the newest last.
    globals: Vec<Flat>,
    /// What the coding of the server's steps kept back.
    remainder: Vec<f32>,
    vehicles: Vec<Vehicle>,
    /// Bytes of the step of each window, for those who come back.
    steps: Vec<Carried>,
    /// Which values of an adapter a vehicle trains; `None`: all.
    rows: Vec<Option<Vec<bool>>>,
}

/// One vehicle.
struct Vehicle {
    /// What it began from when it was there last.
    anchor: Flat,
    /// Where it tunes from.
    at: Flat,
    tuned: Flat,
    /// What coding kept back of what it sent.
    remainder: Vec<f32>,
    /// Windows whose steps it has.
    has: usize,
    /// Where it is always late: what it tuned for this window.
    late: Option<Vec<f32>>,
}

impl<'a> Averaged<'a> {
    pub(super) fn new(fleet: Fleet, average: Average, base: &'a Base) -> Result<Self, MethodError> {
        let start = &fleet.start;
        let vehicle = || Vehicle {
            anchor: start.clone(),
            at: start.clone(),
            tuned: start.clone(),
            remainder: vec![0.0; start.len()],
            has: 0,
            late: None,
        };
        let rows = |rank: &Option<u8>| rank.map(|rank| trained(&base.layout, rank.into()));
        Ok(Averaged {
            average,
            base,
            tensors: base.tensors(),
            server: Server::new(average.server, start.len())?,
            global: start.clone(),
            globals: Vec::new(),
            remainder: vec![0.0; start.len()],
            vehicles: (0..fleet.vehicles).map(|_| vehicle()).collect(),
            steps: Vec::new(),
            rows: fleet.ranks.iter().map(rows).collect(),
            fleet,
        })
    }

    /// What each vehicle that is there would send, by vehicle; of one that is always late, what it tuned for the window
    /// before.
    fn honest(&mut self, window: &Window<'_, '_>, tuned: Vec<Flat>) -> Vec<Option<Vec<f32>>> {
        let mut honest = Vec::new();
        for (number, (vehicle, tuned)) in self.vehicles.iter_mut().zip(tuned).enumerate() {
            let by = difference(&tuned, &vehicle.anchor);
            (vehicle.at, vehicle.tuned) = (tuned.clone(), tuned);
            let stale = self.fleet.stale.get(number).copied().unwrap_or(false);
            let mut by = if stale { vehicle.late.replace(by) } else { Some(by) };
            if let Some(by) = by.as_mut().filter(|_| self.average.feedback) {
                by.iter_mut().zip(&vehicle.remainder).for_each(|(by, kept)| *by += kept);
            }
            let present = window.present.get(number).copied().unwrap_or(false);
            honest.push(by.filter(|_| present));
        }
        honest
    }

    /// What is received of `meant`, what is kept back of it, and what was sent.
    fn coded(
        &self,
        meant: Vec<f32>,
        bits: u8,
        window: u32,
    ) -> Result<(Vec<f32>, Vec<f32>, Carried), MethodError> {
        // 32 bits a value: not coded.
        let Some(quality) = Quality::new(bits) else {
            let (kept, carried) = (vec![0.0; meant.len()], Carried::raw(meant.len()));
            return Ok((meant, kept, carried));
        };
        let about = About {
            role: Role::Contribution,
            window,
            base_model: ModelHash::new(self.base.hash),
            layout: LayoutHash::new(self.base.layout.hash()),
            anchor: None,
            inputs: Vec::new(),
        };
        let coded = code(about, meant, &self.tensors, quality)?;
        let header = postcard::to_stdvec(coded.header.fields()).map_or(0, |bytes| bytes.len());
        let sent = Carried::coded(header, coded.chunks.iter().map(Vec::len));
        Ok((coded.received, coded.remainder, sent))
    }
}

impl Method for Averaged<'_> {
    fn nights(&self, window: u32) -> Vec<Tune> {
        self.fleet.nights(window, self.vehicles.iter().map(|vehicle| &vehicle.at))
    }

    fn exchange(
        &mut self,
        window: &mut Window<'_, '_>,
        tuned: Vec<Flat>,
    ) -> Result<(), MethodError> {
        let honest = self.honest(window, tuned);
        let (mut displacements, mut has) = (Vec::new(), Vec::new());
        for (number, own) in honest.iter().enumerate() {
            let present = window.present.get(number).copied().unwrap_or(false);
            let Some(traffic) = window.traffic.get_mut(number).filter(|_| present) else {
                continue;
            };
            connect(traffic);
            let told = lie::instead(&self.fleet, window.number, number, &honest);
            let Some(meant) = told.or_else(|| own.clone()) else { continue };
            let (received, kept, sent) = self.coded(meant, self.average.up_bits, window.number)?;
            let Some(vehicle) = self.vehicles.get_mut(number) else { continue };
            sent.up(traffic);
            vehicle.remainder = kept;
            displacements.push(received);
            has.push(self.rows.get(number).and_then(Option::as_deref));
        }
        if self.average.by_rank {
            ranks::fill(&mut displacements, &has);
        }
        let mut step = self.server.step(&displacements)?;
        if self.average.feedback {
            step.iter_mut().zip(&self.remainder).for_each(|(step, kept)| *step += kept);
        }
        let (received, kept, sent) = self.coded(step, self.average.down_bits, window.number)?;
        self.remainder = kept;
        self.global = moved(&self.global, &received);
        self.globals.push(self.global.clone());
        if self.globals.len() > usize::from(self.average.mean_last) {
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
