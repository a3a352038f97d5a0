//! Fetching particles over links that are cut, from brokers that restart.

use std::collections::BTreeMap;
use std::convert::Infallible;

use embassy_time::Duration;
use shoal_link::{Broker, Fetch, Fetched, RejectFetched, Settings, Store};
use shoal_tests::brokers::TestBroker;
use shoal_tests::clock::Deadline;
use shoal_tests::relay::Relay;
use shoal_window::{
    Bytes, Pace, RejectTransfer, SavedTransfer, TRANSFER_HEADER_KEY, TRANSFER_PROGRESS_KEY,
    Transfer,
};
use shoal_wire::{ChunkHash, ParticleId};

use crate::party::{OneKey, Particle, Party, key, label, on, through};

pub(crate) const CHUNK_BYTES: usize = 64 * 1024;
const PACE: Pace = Pace { bytes_min: 1024, period: Duration::from_secs(20) };
/// Bytes beside a chunk's own that a chunk costs, at most: both messages, topics, answers.
const OVERHEAD_BYTES: u64 = 400;

/// What survives a power cut.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) chunks: BTreeMap<u8, Vec<u8>>,
    records: BTreeMap<&'static str, Vec<u8>>,
}

impl Store for Memory {
    type Error = Infallible;

    fn keep_chunk(
        &mut self,
        _particle: ParticleId,
        index: u8,
        _hash: ChunkHash,
        bytes: &[u8],
    ) -> Result<(), Infallible> {
        assert!(self.chunks.insert(index, bytes.to_vec()).is_none(), "kept twice");
        Ok(())
    }

    fn keep_record(
        &mut self,
        _particle: ParticleId,
        key: &'static str,
        bytes: &[u8],
    ) -> Result<(), Infallible> {
        self.records.insert(key, bytes.to_vec());
        Ok(())
    }
}

impl Memory {
    pub(crate) fn holds(&self, particle: &Particle) -> bool {
        self.chunks.values().eq(&particle.chunks)
    }
}

/// One particle on its way to one party.
pub(crate) struct Receiver {
    pub(crate) party: Party,
    pub(crate) store: Memory,
    fetch: Fetch,
    pub(crate) rejected: Vec<RejectFetched>,
}

impl Receiver {
    pub(crate) fn new(party: Party, particle: ParticleId, slot: u8) -> Self {
        let transfer = Transfer::new(particle, PACE);
        let (store, fetch) = (Memory::default(), fetch(transfer, slot));
        let mut receiver = Self { party, store, fetch, rejected: Vec::new() };
        receiver.start();
        receiver
    }

    fn start(&mut self) {
        let now = self.party.now();
        self.fetch.start(now, &mut self.party.link, &mut self.store).unwrap();
    }

    /// Handles one event.
    pub(crate) fn step(&mut self) -> Fetched {
        let event = self.party.next();
        let now = self.party.now();
        let (link, store) = (&mut self.party.link, &mut self.store);
        let fetched = self.fetch.handle_event(now, &event, &OneKey, link, store).unwrap();
        self.rejected.extend(self.fetch.poll_rejected());
        fetched
    }

    /// To the end of the transfer, over as many connections as it takes.
    pub(crate) fn run(&mut self) -> Fetched {
        let deadline = Deadline::seconds(60);
        loop {
            deadline.check("the end of a transfer");
            match self.step() {
                Fetched::Going => {}
                end @ (Fetched::Ended(_) | Fetched::Complete | Fetched::Gone) => return end,
            }
        }
    }
}

fn fetch(transfer: Transfer, slot: u8) -> Fetch {
    // It is published in a region that who fetches does not name.
    Fetch::new(transfer, label("test"), None, key(1).public().id(), slot).unwrap()
}

/// A party that has left these particles in its slots, from 0 on.
pub(crate) fn publisher(settings: Settings, particles: &[&Particle]) -> Party {
    let mut party = Party::connected(settings);
    for (slot, particle) in (0..).zip(particles) {
        party.publish_particle(particle, slot);
    }
    party
}

pub(crate) fn a_particle_arrives(broker: &mut dyn TestBroker) {
    let particle = Particle::new(1, 20, CHUNK_BYTES);
    let _publisher = publisher(on(broker, 1), &[&particle]);
    let mut receiver = Receiver::new(Party::open(on(broker, 2)), particle.id(), 0);
    assert_eq!(receiver.run(), Fetched::Complete);
    assert!(receiver.store.holds(&particle));
    assert_eq!(receiver.rejected, []);
}

/// Twenty cuts in 2 MiB, which are two particles of 64 KiB chunks.
pub(crate) fn twenty_cuts_cost_no_more_than_a_chunk_each(broker: &mut dyn TestBroker) {
    const CUTS: u64 = 20;
    let particles = [Particle::new(1, 20, CHUNK_BYTES), Particle::new(2, 12, CHUNK_BYTES)];
    let _publisher = publisher(on(broker, 1), &[&particles[0], &particles[1]]);
    let bytes: u64 = particles.iter().map(Particle::bytes).sum();
    assert_eq!(bytes, 2 << 20);

    let relay = Relay::to(broker.address());
    // At every place of a chunk: in its head, its middle, its end.
    let place = |cut: u64| 60_000 + 7919 * cut % 65_536;
    let mut cuts = 0;
    let mut party = Party::open(through(broker, relay.address(), 2));
    for (slot, particle) in (0..).zip(&particles) {
        let mut receiver = Receiver::new(party, particle.id(), slot);
        let deadline = Deadline::seconds(60);
        loop {
            deadline.check("the end of a transfer");
            let fetched = receiver.step();
            if relay.cuts() == cuts && cuts < CUTS {
                relay.cut_after(place(cuts));
                cuts += 1;
            }
            if fetched == Fetched::Complete {
                break;
            }
        }
        assert!(receiver.store.holds(particle));
        assert_eq!(receiver.rejected, []);
        party = receiver.party;
    }
    assert_eq!(relay.cuts(), CUTS, "all of them in the middle");
    let down = relay.passed().down;
    let chunks = bytes / CHUNK_BYTES as u64 + CUTS;
    let most = bytes + CUTS * CHUNK_BYTES as u64 + chunks * OVERHEAD_BYTES;
    assert!(down <= most, "{down} bytes came for {bytes}, at most {most}");
    println!("{bytes} bytes over {CUTS} cuts: {down} came, {} twice", down - bytes);
}

pub(crate) fn a_broker_that_restarts_in_the_middle_costs_no_chunk_that_arrived(
    broker: &mut dyn TestBroker,
) {
    broker.keep();
    let particle = Particle::new(1, 20, CHUNK_BYTES);
    let publisher = publisher(on(broker, 1), &[&particle]);
    let relay = Relay::to(broker.address());
    let mut receiver =
        Receiver::new(Party::open(through(broker, relay.address(), 2)), particle.id(), 0);
    let deadline = Deadline::seconds(60);
    while receiver.store.chunks.len() < 7 {
        deadline.check("some chunks");
        receiver.step();
    }
    // The publisher is gone for good: what the broker retains is all there is.
    drop(publisher);
    broker.restart();
    assert_eq!(receiver.run(), Fetched::Complete);
    assert!(receiver.store.holds(&particle));
    // What is on its way when the broker ends is sent again: as many chunks as are asked for at a time.
    let most = particle.bytes() + 24 * OVERHEAD_BYTES + 4 * CHUNK_BYTES as u64;
    assert!(relay.passed().down <= most, "{:?}, at most {most}", relay.passed());
}

pub(crate) fn a_receiver_that_restarts_goes_on_where_its_store_is(broker: &mut dyn TestBroker) {
    let particle = Particle::new(1, 20, CHUNK_BYTES);
    let _publisher = publisher(on(broker, 1), &[&particle]);
    let party = Party::open(on(broker, 2));
    let mut receiver = Receiver::new(party, particle.id(), 0);
    let deadline = Deadline::seconds(60);
    while receiver.store.chunks.len() < 11 {
        deadline.check("some chunks");
        receiver.step();
    }
    let store = receiver.store;
    drop(receiver.party);

    let get = |key| store.records.get(key).map(Vec::as_slice);
    let (header, progress) = (get(TRANSFER_HEADER_KEY), get(TRANSFER_PROGRESS_KEY));
    let saved = SavedTransfer::decode(particle.id(), header, progress, &OneKey).unwrap();
    let party = Party::open(on(broker, 2));
    let fetch = fetch(Transfer::resume(saved, PACE), 0);
    let mut receiver = Receiver { party, store, fetch, rejected: Vec::new() };
    receiver.start();
    assert_eq!(receiver.run(), Fetched::Complete);
    assert!(receiver.store.holds(&particle));
    let down = receiver.party.link.used().down;
    assert!(down <= 9 * (CHUNK_BYTES as u64 + OVERHEAD_BYTES), "{down} bytes for nine chunks");
}

/// A particle of twenty chunks in windows that grant four and a half each: five windows, each with a link of its own, and between them nothing
/// but what the store holds.
pub(crate) fn a_transfer_takes_as_many_windows_as_its_budget_needs(broker: &mut dyn TestBroker) {
    let particle = Particle::new(1, 20, CHUNK_BYTES);
    let _publisher = publisher(on(broker, 1), &[&particle]);
    let limit = Bytes { up: 100_000, down: 300_000 };
    let mut store = Memory::default();
    let mut down = Vec::new();
    while !store.holds(&particle) {
        let relay = Relay::to(broker.address());
        let mut window = through(broker, relay.address(), 2);
        window.limit = limit;
        let get = |key| store.records.get(key).map(Vec::as_slice);
        let (header, progress) = (get(TRANSFER_HEADER_KEY), get(TRANSFER_PROGRESS_KEY));
        let saved = SavedTransfer::decode(particle.id(), header, progress, &OneKey).unwrap();
        let fetch = fetch(Transfer::resume(saved, PACE), 0);
        let party = Party::open(window);
        let had = store.chunks.len();
        let mut receiver = Receiver { party, store, fetch, rejected: Vec::new() };
        receiver.start();
        let deadline = Deadline::seconds(60);
        // Four chunks fit whole; a fifth is not begun.
        while receiver.store.chunks.len() < had + 4 {
            deadline.check("what a window's budget is enough for");
            receiver.step();
        }
        assert_eq!(receiver.store.chunks.len(), had + 4);
        store = receiver.store;
        receiver.party.link.close();
        down.push(relay.finish().down);
    }
    assert_eq!(down.len(), 5);
    let tls = broker.tls_bytes();
    assert!(down.iter().all(|down| *down <= limit.down + tls), "{down:?}");
    let most = particle.bytes() + 5 * (2 * OVERHEAD_BYTES + tls) + 20 * OVERHEAD_BYTES;
    assert!(down.iter().sum::<u64>() <= most, "{down:?}, at most {most} together");
}

pub(crate) fn a_slot_that_is_overwritten_in_the_middle_is_given_up(broker: &mut dyn TestBroker) {
    let (old, new) = (Particle::new(1, 20, CHUNK_BYTES), Particle::new(2, 20, CHUNK_BYTES));
    let mut publisher = publisher(on(broker, 1), &[&old]);
    let party = Party::open(on(broker, 2));
    let mut receiver = Receiver::new(party, old.id(), 0);
    let deadline = Deadline::seconds(60);
    while receiver.store.chunks.len() < 3 {
        deadline.check("some chunks");
        receiver.step();
    }
    publisher.publish_particle(&new, 0);
    assert_eq!(receiver.run(), Fetched::Gone);
    let other = RejectTransfer::OtherParticle { got: new.id(), want: old.id() };
    assert_eq!(receiver.rejected.last(), Some(&RejectFetched::Transfer(other)));
    let of_old = |(index, chunk): (&u8, &Vec<u8>)| *chunk == old.chunks[usize::from(*index)];
    assert!(receiver.store.chunks.iter().all(of_old), "nothing of the new one was taken for it");
}
