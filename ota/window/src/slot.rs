//! A publisher's slots: which of its topics a new particle takes.
//!
//! Claim, header and chunks of one particle share a slot; what is retained on any broker is so bounded. A new
//! particle overwrites the oldest one that nobody builds on.

use shoal_wire::ParticleId;
use shoal_wire::v1::SLOTS;

use crate::saved::Record;

/// The store's key of the slots.
pub const SLOTS_KEY: &str = "window/slots";

const COUNT: usize = SLOTS as usize;
/// More particles than anybody publishes: there are as many orders again for those that come after what was read.
const ORDER_MAX: u64 = u64::MAX / 2;
const VERSION: u8 = 1;
/// Particle and order.
const HELD_BYTES: usize = 32 + 8;
const BYTES: usize = 1 + COUNT * HELD_BYTES;

/// What this vehicle's slots hold. Take a slot, store what [`Slots::poll_persist`] gives, then publish.
#[derive(Clone, Debug)]
pub struct Slots {
    held: [Option<Held>; COUNT],
    stored: bool,
    record: [u8; BYTES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    particle: ParticleId,
    /// Grows with every particle, from 1.
    order: u64,
}

/// No slot may be overwritten: each holds a best, a worst or an anchor. The vehicle does not claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("every slot holds a particle that others build on")]
pub struct NoSlot;

/// Why what a store gave back was rejected. The slots are then found again on the broker.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectSlots {
    /// Another version or length, one order twice, or one that nobody has come to.
    #[error("stored slots of {len} bytes do not decode")]
    Malformed { len: usize },
}

impl Slots {
    /// Slots that hold nothing.
    pub const fn new() -> Self {
        Self { held: [None; COUNT], stored: true, record: [0; BYTES] }
    }

    /// Reads what the store holds under [`SLOTS_KEY`].
    ///
    /// # Errors
    /// [`RejectSlots`]: a store can be damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, RejectSlots> {
        let malformed = RejectSlots::Malformed { len: bytes.len() };
        let (version, mut rest) = bytes.split_first().ok_or(malformed)?;
        let mut slots = Self::new();
        for held in &mut slots.held {
            let (particle, after) = rest.split_first_chunk::<32>().ok_or(malformed)?;
            let (order, after) = after.split_first_chunk::<8>().ok_or(malformed)?;
            let (particle, order) = (ParticleId::new(*particle), u64::from_le_bytes(*order));
            *held = (order > 0).then_some(Held { particle, order });
            rest = after;
        }
        let twice = slots.held.iter().enumerate().any(|(index, held)| {
            held.is_some_and(|held| {
                let before = slots.held.iter().take(index).flatten();
                before.into_iter().any(|other| other.order == held.order)
            })
        });
        let far = slots.held.iter().flatten().any(|held| held.order > ORDER_MAX);
        if *version != VERSION || !rest.is_empty() || twice || far {
            return Err(malformed);
        }
        Ok(slots)
    }

    /// The slot for this particle: its own if it has one, else an empty one, else the oldest of those that
    /// hold none of `keep` (every best, worst and anchor).
    ///
    /// # Errors
    /// [`NoSlot`]: nothing was changed.
    pub fn take(&mut self, particle: ParticleId, keep: &[ParticleId]) -> Result<u8, NoSlot> {
        if let Some(slot) = self.find(particle) {
            return Ok(slot);
        }
        let newest = self.held.iter().flatten().map(|held| held.order).max().unwrap_or(0);
        let free = |held: &Option<Held>| held.is_none_or(|held| !keep.contains(&held.particle));
        let places = (0..SLOTS).zip(&mut self.held).filter(|(_slot, held)| free(held));
        // An empty slot is older than any.
        let oldest = places.min_by_key(|(_slot, held)| held.map_or(0, |held| held.order));
        let (slot, place) = oldest.ok_or(NoSlot)?;
        *place = Some(Held { particle, order: newest.saturating_add(1) });
        self.stored = false;
        Ok(slot)
    }

    /// The slot that holds this particle.
    pub fn find(&self, particle: ParticleId) -> Option<u8> {
        let held = |held: &Option<Held>| held.is_some_and(|held| held.particle == particle);
        (0..SLOTS).zip(&self.held).find(|(_slot, place)| held(place)).map(|(slot, _place)| slot)
    }

    /// The particle in this slot; `None` when it holds none, or there is no such slot.
    pub fn particle(&self, slot: u8) -> Option<ParticleId> {
        self.held.get(usize::from(slot))?.map(|held| held.particle)
    }

    /// The record to make durable before anything is published in a slot that was taken.
    pub fn poll_persist(&mut self) -> Option<Record<'_>> {
        if self.stored {
            return None;
        }
        self.stored = true;
        self.record = self.encode();
        Some(Record { key: SLOTS_KEY, bytes: &self.record })
    }

    fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let (version, places) = bytes.split_at_mut(1);
        version.copy_from_slice(&[VERSION]);
        for (held, place) in self.held.iter().zip(places.chunks_exact_mut(HELD_BYTES)) {
            let Some(Held { particle, order }) = held else { continue };
            let order = order.to_le_bytes();
            for (to, from) in place.iter_mut().zip(particle.bytes().iter().chain(&order)) {
                *to = *from;
            }
        }
        bytes
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test fails by panicking"
    )]

    use super::*;

    fn particle(number: u8) -> ParticleId {
        ParticleId::new([number; 32])
    }

    /// Six particles, 1 to 6, in slots 0 to 5.
    fn full() -> Slots {
        let mut slots = Slots::new();
        for slot in 0..SLOTS {
            assert_eq!(slots.take(particle(slot + 1), &[]), Ok(slot));
        }
        slots
    }

    #[test]
    fn a_new_particle_takes_the_oldest_slot_that_nobody_builds_on() {
        let mut slots = full();
        let taken = [7, 8].map(|number| slots.take(particle(number), &[particle(1), particle(3)]));
        assert_eq!(taken, [Ok(1), Ok(3)]);
        assert_eq!(slots.take(particle(9), &[]), Ok(0), "1 is not kept any more, and the oldest");
    }

    #[test]
    fn with_no_slot_free_nothing_is_taken() {
        let mut slots = full();
        while slots.poll_persist().is_some() {}
        let all = [1, 2, 3, 4, 5, 6].map(particle);
        assert_eq!(slots.take(particle(7), &all), Err(NoSlot));
        assert!(slots.poll_persist().is_none());
        assert_eq!(slots.find(particle(7)), None);
    }

    #[test]
    fn a_particle_keeps_its_slot() {
        let mut slots = full();
        assert_eq!(slots.take(particle(2), &[]), Ok(1));
        assert_eq!(slots.particle(1), Some(particle(2)));
        assert_eq!(slots.particle(6), None);
    }

    #[test]
    fn slots_survive_the_store_with_their_order() {
        let mut slots = full();
        slots.take(particle(7), &[]).unwrap();
        let stored = slots.poll_persist().unwrap().bytes.to_vec();
        assert!(slots.poll_persist().is_none(), "stored once");
        let mut again = Slots::decode(&stored).unwrap();
        assert_eq!(again.held, slots.held);
        assert_eq!(again.take(particle(8), &[]), slots.take(particle(8), &[]));
    }

    #[test]
    fn damaged_slots_are_refused() {
        let bytes = full().encode();
        for len in 0..BYTES {
            assert!(Slots::decode(bytes.get(..len).unwrap()).is_err());
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(Slots::decode(&longer).is_err());
        let mut twice = bytes;
        let (first, second) = twice[1..].split_at_mut(HELD_BYTES);
        second[..HELD_BYTES].copy_from_slice(&first[..HELD_BYTES]);
        assert!(Slots::decode(&twice).is_err());
        // What is put beside it could not be read again.
        let mut far = bytes;
        far[1 + 32..1 + HELD_BYTES].copy_from_slice(&(u64::MAX - 1).to_le_bytes());
        assert!(Slots::decode(&far).is_err());
    }
}
