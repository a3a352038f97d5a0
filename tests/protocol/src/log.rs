//! What happened in a world, as a number: what crossed the wires and when, what every vehicle decided, and every byte of its vault.

use sha2::{Digest, Sha256};
use shoal_swarm::swarm::Swarm;
use shoal_vehicle::exchange::run::Exchange;
use shoal_wire::RecordId;

use crate::vehicle::{Vehicle, records};

/// The log of a world, of which its digest is kept: as it was when each window closed, and as it is.
#[derive(Debug, Default)]
pub struct Log {
    digest: Sha256,
    marks: Vec<[u8; 32]>,
}

impl Log {
    /// Something happens at this time, in microseconds.
    pub fn at(&mut self, us: u64) {
        self.digest.update(us.to_le_bytes());
    }

    /// These bytes cross a wire.
    pub fn crosses(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    /// What the vehicles hold true in this window and have written down so far.
    pub fn mark(&mut self, vehicles: &[Vehicle], window: u32) {
        for vehicle in vehicles {
            self.digest.update(decided(vehicle, window));
            vehicle.written().iter().for_each(|disk| self.digest.update(disk));
        }
        self.marks.push(self.digest.clone().finalize().into());
    }

    /// Two logs of one world are the same.
    ///
    /// # Panics
    /// If they are not: it says from which window on.
    pub fn is_repeated_by(&self, other: &Log) {
        let apart = self.marks.iter().zip(&other.marks).position(|(one, two)| one != two);
        assert!(apart.is_none(), "it does not repeat: apart before window {apart:?} closes");
        assert_eq!(self.marks.len(), other.marks.len(), "it does not repeat: other windows");
        let [one, two] = [self, other].map(|log| log.digest.clone().finalize());
        assert_eq!(one, two, "it does not repeat: apart after the last window");
    }
}

/// What a vehicle holds true, tuned from, was asked to try, and counts.
fn decided(vehicle: &Vehicle, window: u32) -> [u8; 32] {
    let mut digest = Sha256::new();
    let seen = vehicle.engine.seen();
    let counts = [seen.tuned_from.len(), seen.compared.len(), seen.begun.len()];
    counts.iter().for_each(|count| digest.update(count.to_le_bytes()));
    let adapters = seen.tuned_from.iter().chain(seen.begun.iter().map(|(_ask, adapter)| adapter));
    adapters.for_each(|adapter| digest.update(adapter.bytes()));
    digest.update(format!("{:?}", vehicle.engine.tried()));
    if let Some(swarm) = vehicle.exchange.as_ref().and_then(Exchange::swarm) {
        digest.update(believed(swarm, window));
    }
    digest.finalize().into()
}

fn believed(swarm: &Swarm, window: u32) -> [u8; 32] {
    let mut digest = Sha256::new();
    let quorum = swarm.quorum(window).expect("a term counts in every window of a world");
    for elected in [quorum.best(), quorum.worst()] {
        digest.update(elected.map_or([0; 32], |elected| *elected.particle.bytes()));
    }
    for aside in quorum.quarantined(window) {
        digest.update(aside.bytes());
    }
    records(swarm).iter().map(RecordId::bytes).for_each(|id| digest.update(id));
    digest.finalize().into()
}
