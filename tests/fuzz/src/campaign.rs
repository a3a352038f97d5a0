//! The entry of the target `campaign`: what the authority's document of a campaign carries, before an approval is believed.

use std::collections::BTreeMap;

use shoal_swarm::campaign::{Campaign, Outcome, Plan};
use shoal_swarm::roster::Roster;
use shoal_wire::{KeyId, SecretKey};

/// Reads the bytes as a plan and as a campaign, and asks a plan within its bounds how far it is.
///
/// # Panics
/// If what is accepted has another form, or more stages are open than there are.
pub fn campaign(bytes: &[u8]) {
    let approver = SecretKey::from_seed(&[1; 32]).public();
    let read = Campaign::decode(bytes, approver);
    assert!(read.is_err(), "no approval can be guessed");
    let Ok(plan) = Plan::decode(bytes) else { return };
    assert_eq!(plan.encode(), bytes, "a plan has one form");
    if plan.check().is_err() {
        return;
    }
    let ids: Vec<KeyId> = (0..16).map(|number| KeyId::new([number; 8])).collect();
    let outcomes: BTreeMap<KeyId, Outcome> =
        ids.iter().take(9).map(|vehicle| (*vehicle, Outcome::Kept)).collect();
    let Ok(roster) = Roster::new(ids) else { return };
    let progress = plan.progress(&plan.draw(&roster), &outcomes);
    assert!(progress.open <= plan.stages.len() && progress.halted.is_none());
    let in_stages: usize = progress.stages.iter().map(|stage| stage.vehicles).sum();
    assert!(in_stages <= roster.count(), "a vehicle is in one stage");
}
