//! What the core keeps beside the records of window, transfer and trial: which slot does what, and what is the newest.

use heapless::Vec;
use serde::{Deserialize, Serialize};
use shoal_hal::{Slot, SlotState};
use shoal_window::{Saved, Trial};
use shoal_wire::{KeyId, ParticleId};

use crate::protocol::{SlotStatus, decode};
use crate::provision::{PUBLISHERS_MAX, Provision};

/// Of the records here: what is written by another version is refused.
const VERSION: u8 = 1;
/// The longest of them: of every publisher a key id and a counter, each at its longest.
pub(crate) const RECORD_BYTES: usize = 1 + 10 + 1 + PUBLISHERS_MAX * (8 + 10);
const _: () = assert!(RECORD_BYTES >= 1 + 2 + 1 + 1 + 3 * 33);

/// What a store gave back, checked. The default is an empty store: a first start.
#[derive(Debug, Default)]
pub struct Kept {
    pub(crate) window: Saved,
    pub(crate) trial: Option<Trial>,
    pub(crate) slots: Slots,
    pub(crate) newest: Newest,
}

/// Which slot does what. One record: every step of a slot is one write of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slots {
    /// Whether B is active; `None`: no slot.
    active_is_b: Option<bool>,
    /// Whether the inactive slot is on trial.
    trial: bool,
    /// Whether the inactive slot holds what the trial has not heard of.
    pub(crate) staged: bool,
    /// What is sealed in A and B.
    sealed: [Option<ParticleId>; 2],
    /// What comes to the inactive slot.
    pub(crate) receiving: Option<ParticleId>,
}

impl Slots {
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, slots) = decode::<(u8, Self)>(bytes)?;
        (version == VERSION).then_some(slots)
    }

    pub(crate) fn encode<'a>(&self, buffer: &'a mut [u8; RECORD_BYTES]) -> &'a [u8] {
        postcard::to_slice(&(VERSION, self), buffer).map_or(&[], |bytes| bytes)
    }

    pub(crate) fn state(&self) -> SlotState {
        let active = self.active_is_b.map(|is_b| if is_b { Slot::B } else { Slot::A });
        SlotState { active, trial: self.trial }
    }

    pub(crate) fn inactive(&self) -> Slot {
        self.state().inactive()
    }

    pub(crate) fn sealed(&self, slot: Slot) -> Option<ParticleId> {
        let [a, b] = self.sealed;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    /// Whether a particle is here, sealed.
    pub(crate) fn has(&self, particle: ParticleId) -> bool {
        self.sealed.contains(&Some(particle))
    }

    /// The inactive slot is written: what it held counts no more.
    pub(crate) fn begin(&mut self, particle: ParticleId) {
        self.set_inactive(None);
        self.staged = false;
        self.receiving = Some(particle);
    }

    pub(crate) fn seal(&mut self, particle: ParticleId) {
        self.set_inactive(Some(particle));
        self.staged = true;
        self.receiving = None;
    }

    /// Takes what the trial says. What was done before stays as it is.
    pub(crate) fn start_trial(&mut self, particle: ParticleId) {
        if self.sealed(self.inactive()) == Some(particle) {
            self.staged = false;
            self.trial = true;
        }
    }

    pub(crate) fn confirm(&mut self, particle: ParticleId) {
        let inactive = self.inactive();
        if self.trial && self.sealed(inactive) == Some(particle) {
            self.active_is_b = Some(inactive == Slot::B);
            self.trial = false;
        }
    }

    pub(crate) fn roll_back(&mut self) {
        self.trial = false;
    }

    pub(crate) fn status(&self) -> SlotStatus {
        SlotStatus {
            active: self.active_is_b.map(u8::from),
            trial: self.trial,
            sealed: self.sealed,
        }
    }

    fn set_inactive(&mut self, particle: Option<ParticleId>) {
        let [a, b] = &mut self.sealed;
        match self.active_is_b {
            Some(false) => *b = particle,
            Some(true) | None => *a = particle,
        }
    }
}

/// Against rollback: the newest counter of every publisher's headers, and the newest signed time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Newest {
    pub(crate) signed_seconds: u64,
    counters: Vec<(KeyId, u64), PUBLISHERS_MAX>,
}

impl Newest {
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, newest) = decode::<(u8, Self)>(bytes)?;
        (version == VERSION).then_some(newest)
    }

    pub(crate) fn encode<'a>(&self, buffer: &'a mut [u8; RECORD_BYTES]) -> &'a [u8] {
        postcard::to_slice(&(VERSION, self), buffer).map_or(&[], |bytes| bytes)
    }

    pub(crate) fn counter(&self, key: KeyId) -> Option<u64> {
        self.counters.iter().find(|(of, _counter)| *of == key).map(|(_of, counter)| *counter)
    }

    /// Keeps the counter. Keys that are no publisher's any more make room; there is room for all that are.
    pub(crate) fn keep(&mut self, key: KeyId, counter: u64, provision: &Provision) {
        if let Some((_of, newest)) = self.counters.iter_mut().find(|(of, _counter)| *of == key) {
            *newest = counter;
            return;
        }
        self.counters.retain(|(of, _counter)| provision.publisher(*of).is_some());
        // It is a publisher's: so there are fewer others than there is room for.
        let _full = self.counters.push((key, counter)).is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_records_have_room() {
        let particle = Some(ParticleId::new([0xff; 32]));
        let slots = Slots {
            active_is_b: Some(true),
            trial: true,
            staged: true,
            sealed: [particle; 2],
            receiving: particle,
        };
        let mut buffer = [0; RECORD_BYTES];
        assert_eq!(Slots::decode(slots.encode(&mut buffer)), Some(slots));
        let counters = (0..8).map(|number| (KeyId::new([number; 8]), u64::MAX)).collect();
        let newest = Newest { signed_seconds: u64::MAX, counters };
        assert_eq!(Newest::decode(newest.encode(&mut buffer)), Some(newest));
    }

    #[test]
    fn another_version_and_bytes_left_over_are_refused() {
        let mut buffer = [0; RECORD_BYTES];
        let bytes = Slots::default().encode(&mut buffer).to_vec();
        let mut other = bytes.clone();
        other.push(0);
        assert_eq!(Slots::decode(&other), None);
        other = bytes.clone();
        other.first_mut().into_iter().for_each(|version| *version = 2);
        assert_eq!(Slots::decode(&other), None);
    }

    /// After a restart a trial says its last word again.
    #[test]
    fn what_was_confirmed_stays_when_it_is_said_again() {
        let (first, second) = (ParticleId::new([1; 32]), ParticleId::new([2; 32]));
        let mut slots = Slots::default();
        for particle in [first, second] {
            slots.begin(particle);
            slots.seal(particle);
            slots.start_trial(particle);
            slots.confirm(particle);
        }
        let confirmed = slots;
        assert_eq!(slots.state(), SlotState { active: Some(Slot::B), trial: false });
        slots.confirm(second);
        slots.start_trial(second);
        slots.confirm(first);
        assert_eq!(slots, confirmed);
    }
}
