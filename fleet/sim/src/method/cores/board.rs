//! The notice board: what is retained, one record a topic, and chunks while their slot holds the particle.

use std::collections::BTreeMap;
use std::sync::Arc;

use shoal_swarm::records::Signed;
use shoal_swarm::swarm::Flat;
use shoal_wire::v1::{Claim, Nonce, NonceFields, ParticleHeader, Role, Vote};
use shoal_wire::{Body, Kind, Leaf, ParticleId, SecretKey, Topic, seal};

use super::Publisher;

/// Names of fleet and region in topics.
const FLEET: &str = "sim";
const REGION: &str = "road";
/// What is signed in a simulation does not end.
const NEVER: u64 = u64::MAX;

/// A record as it travels, with the lengths of its topic and payload.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) what: What,
    pub(super) topic: usize,
    pub(super) payload: usize,
    /// Bytes of chunks that went before it.
    pub(super) chunks: usize,
    /// Its place on the board.
    place: (u8, Publisher, u32, u8),
}

/// What a record says.
#[derive(Clone, Debug)]
pub(super) enum What {
    Claim(Arc<Signed<Claim>>),
    Vote(Arc<Signed<Vote>>),
    Header(Arc<Signed<ParticleHeader>>, u8),
    Nonce(Arc<Signed<Nonce>>),
}

/// A particle's chunks, with their lengths.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) particle: ParticleId,
    pub(super) values: Flat,
    pub(super) chunks: Vec<usize>,
    pub(super) topic: usize,
}

/// The board.
#[derive(Default)]
pub(super) struct Board {
    records: BTreeMap<(u8, Publisher, u32, u8), Record>,
    chunks: BTreeMap<(Publisher, u8), Held>,
    counter: u64,
}

impl Board {
    pub(super) fn retain(&mut self, record: &Record) {
        self.records.insert(record.place, record.clone());
    }

    pub(super) fn retained(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    pub(super) fn put(&mut self, publisher: Publisher, slot: u8, held: Held) {
        self.chunks.insert((publisher, slot), held);
    }

    pub(super) fn chunks(
        &self,
        publisher: Publisher,
        slot: u8,
        particle: ParticleId,
    ) -> Option<&Held> {
        self.chunks.get(&(publisher, slot)).filter(|held| held.particle == particle)
    }

    /// The newest particle for one of these that is not of this vehicle and whose chunks are there.
    pub(super) fn newest(
        &self,
        not_of: Publisher,
        roles: &[Role],
    ) -> Option<(&ParticleHeader, &Held)> {
        let particles = self.records.values().filter_map(|record| match &record.what {
            What::Header(header, slot) => Some((header, *slot)),
            What::Claim(_) | What::Vote(_) | What::Nonce(_) => None,
        });
        let of_others = particles.filter(|(header, _slot)| {
            header.signer != not_of && roles.contains(&header.body.fields().role)
        });
        let there = of_others.filter_map(|(header, slot)| {
            Some((&header.body, self.chunks(header.signer, slot, header.body.id())?))
        });
        there.max_by_key(|(header, _held)| header.fields().window)
    }

    /// Signs what a vehicle or the timekeeper says.
    pub(super) fn sign<T: for<'b> Body<'b>>(
        &mut self,
        key: &SecretKey,
        body: T,
    ) -> (Signed<T>, usize) {
        self.counter += 1;
        let mut buffer = vec![0; T::KIND.envelope_bytes_max()];
        let sealed = seal(&body, self.counter, NEVER, key, &mut buffer);
        let sealed = sealed.expect("the buffer is as long as an envelope of its kind can be");
        let (id, payload) = (sealed.id(), sealed.bytes().len());
        let signed = Signed {
            id,
            signer: key.public().id(),
            counter: self.counter,
            not_after_seconds: NEVER,
            body,
        };
        (signed, payload)
    }

    pub(super) fn claim(&mut self, key: &SecretKey, claim: Claim) -> Record {
        let slot = claim.fields().slot;
        let (signed, payload) = self.sign(key, claim);
        let leaf = Leaf::Claim { slot };
        self.record(
            key,
            leaf,
            (Kind::Claim, slot.into(), 0),
            payload,
            What::Claim(Arc::new(signed)),
        )
    }

    pub(super) fn vote(&mut self, key: &SecretKey, vote: Vote) -> Record {
        let (window, place) = (vote.fields().window, vote.fields().place);
        let (signed, payload) = self.sign(key, vote);
        let leaf = Leaf::vote(window, place);
        let at = (Kind::Vote, window % 4, place);
        self.record(key, leaf, at, payload, What::Vote(Arc::new(signed)))
    }

    pub(super) fn header(
        &mut self,
        key: &SecretKey,
        header: &Arc<Signed<ParticleHeader>>,
        payload: usize,
        slot: u8,
    ) -> Record {
        let leaf = Leaf::Particle { slot };
        let at = (Kind::ParticleHeader, slot.into(), 0);
        self.record(key, leaf, at, payload, What::Header(Arc::clone(header), slot))
    }

    pub(super) fn nonce(&mut self, key: &SecretKey, window: u32, utc_seconds: u64) -> Record {
        let fields = NonceFields { window, nonce: drawn(key, window), utc_seconds };
        let leaf = Leaf::nonce(window);
        let at = (Kind::Nonce, window % 16, 0);
        let nonce = Nonce::new(fields).expect("a drawn nonce breaks no bound");
        let (signed, payload) = self.sign(key, nonce);
        self.record(key, leaf, at, payload, What::Nonce(Arc::new(signed)))
    }

    fn record(
        &self,
        key: &SecretKey,
        leaf: Leaf,
        (kind, number, place): (Kind, u32, u8),
        payload: usize,
        what: What,
    ) -> Record {
        let publisher = key.public().id();
        let topic = topic_bytes(publisher, leaf);
        Record { what, topic, payload, chunks: 0, place: (kind.number(), publisher, number, place) }
    }
}

/// The nonce of a window.
pub(super) fn drawn(timekeeper: &SecretKey, window: u32) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    let drawn = Sha256::new_with_prefix(b"shoal simulation nonce")
        .chain_update(timekeeper.public().id().bytes())
        .chain_update(window.to_le_bytes());
    drawn.finalize().into()
}

/// The length of a topic.
pub(super) fn topic_bytes(publisher: Publisher, leaf: Leaf) -> usize {
    let labels = shoal_wire::Label::new(FLEET).ok().zip(shoal_wire::Label::new(REGION).ok());
    let topic = labels.and_then(|(fleet, region)| Topic::new(fleet, region, publisher, leaf).ok());
    topic.map_or(0, |topic| topic.text().to_string().len())
}
