//! The entry of the target `campaign`: what the authority's documents of a campaign and of reinstatements carry, before an approval
//! is believed.

use std::collections::BTreeMap;

use shoal_swarm::campaign::{Campaign, Outcome, Plan};
use shoal_swarm::reinstated::{ORDERS_MAX, Reinstated};
use shoal_swarm::roster::Roster;
use shoal_wire::{KeyId, SecretKey};

/// Reads the bytes as a plan, as a campaign and as reinstatements, and asks a plan within its bounds how far it is.
///
/// # Panics
/// If what is accepted has another form, more stages are open than there are, or an order reinstates nobody.
pub fn campaign(bytes: &[u8]) {
    if let Ok(reinstated) = Reinstated::decode(bytes) {
        assert_eq!(reinstated.encode(), bytes, "reinstatements have one form");
        assert!(reinstated.orders().len() <= ORDERS_MAX);
        for (vehicle, from) in reinstated.orders() {
            let before = from.checked_sub(1).and_then(|found| reinstated.from([*vehicle], found));
            assert!(before.is_none_or(|again| again == *from), "the first window after it");
            assert!(reinstated.from([*vehicle], *from).is_none_or(|later| later > *from));
        }
    }
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
    let progress = plan.progress(&plan.draw(&roster, 0), &outcomes);
    assert!(progress.open <= plan.stages.len() && progress.halted.is_none());
    let in_stages: usize = progress.stages.iter().map(|stage| stage.vehicles).sum();
    assert!(in_stages <= roster.count(), "a vehicle is in one stage");
}
