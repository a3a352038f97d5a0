//! The entry of the target `saved`: what a vehicle reads back from its store after a power cut, or after somebody had its disk.

use shoal_swarm::privacy::Ledger;
use shoal_swarm::swarm;
use shoal_window::{
    SLOTS_KEY, Saved, SavedTransfer, Slots, Trial, TrialInput, TrialPolicy, TrialState,
};
use shoal_wire::v1::SLOTS;
use shoal_wire::{KeyId, Keys, Kind, ParticleId, PublicKey};

const POLICY: TrialPolicy = TrialPolicy { frames_min: 100, loss_max: 1000 };

/// Nobody's key is known: no signature can be guessed.
struct NoKeys;

impl Keys for NoKeys {
    fn find(&self, _id: KeyId, _kind: Kind) -> Option<PublicKey> {
        None
    }
}

/// Reads the bytes as each record of a store.
///
/// # Panics
/// If what is accepted cannot be gone on with, or is written otherwise than it was read.
pub fn saved(bytes: &[u8]) {
    if let Ok(saved) = swarm::Saved::decode(Some(bytes)) {
        assert!(saved.values().len() <= 6, "a state names its own values");
    }
    let spent = Ledger::decode(Some(bytes));
    let epsilon = spent.epsilon(1e-5);
    assert!(epsilon >= 0.0, "what was paid is a number: {epsilon}");
    assert_eq!(Ledger::decode(Some(&spent.encode())), spent, "no budget comes back");
    assert!(Saved::decode(Some(bytes), None, &NoKeys).is_err(), "nobody signed this plan");
    let _ledger = Saved::decode(None, Some(bytes), &NoKeys);
    let want = bytes.first_chunk::<33>().map_or([0; 32], |[_version, want @ ..]| *want);
    let want = ParticleId::new(want);
    assert!(SavedTransfer::decode(want, Some(bytes), None, &NoKeys).is_err(), "nor this header");
    let _progress = SavedTransfer::decode(want, None, Some(bytes), &NoKeys);
    slots(bytes);
    trial(bytes);
}

/// A particle finds a slot, whatever the store said of the others.
fn slots(bytes: &[u8]) {
    let Ok(mut slots) = Slots::decode(bytes) else { return };
    let slot = slots.take(ParticleId::new([7; 32]), &[]);
    assert!(slot.is_ok_and(|slot| slot < SLOTS), "no particle is kept: one of them is free");
    let Some(record) = slots.poll_persist() else { return };
    assert_eq!(record.key, SLOTS_KEY);
    assert!(Slots::decode(record.bytes).is_ok(), "what is written can be read");
}

/// A trial goes on, and ends.
fn trial(bytes: &[u8]) {
    let Ok(mut trial) = Trial::decode(bytes, POLICY) else { return };
    let particle = ParticleId::new([7; 32]);
    let _running = trial.handle_input(TrialInput::Staged(particle));
    for _failure in 0..8 {
        let _none = trial.handle_input(TrialInput::Watched { frames: u32::MAX, gain: i64::MIN });
        let _none = trial.handle_input(TrialInput::Failed);
    }
    assert!(!matches!(trial.state(), TrialState::OnTrial(_)), "{:?}", trial.state());
}
