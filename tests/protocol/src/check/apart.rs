//! Whether votes fell apart, counted another way than the quorum does.

use std::collections::BTreeMap;

use shoal_swarm::roster::{VOTERS_MAX, majority};
use shoal_swarm::swarm::Swarm;

/// Windows in a row.
const ROW: usize = 4;

/// Whether the votes that this vehicle knows show four windows in a row, of those in which enough of a fleet of so many voted, in
/// none of which a majority measured beside one particle. Where nobody lies, who votes was drawn.
pub(super) fn fell_apart(swarm: &Swarm, vehicles: usize) -> bool {
    let most = majority(vehicles.saturating_sub(1).min(VOTERS_MAX));
    let records = swarm.records();
    let mut row = 0;
    for claimed in records.claimed_windows() {
        let mut by_nominee: BTreeMap<_, BTreeMap<_, usize>> = BTreeMap::new();
        for vote in records.votes(claimed + 1).filter(|vote| !vote.body.is_missing()) {
            let beside = by_nominee.entry(vote.body.nominee).or_default();
            *beside.entry(vote.body.best).or_default() += 1;
        }
        let all = by_nominee.values().map(|beside| beside.values().sum::<usize>()).max();
        let of_one = by_nominee.values().flat_map(BTreeMap::values).copied().max();
        if all.is_none_or(|all| all < most) {
            continue;
        }
        row = if of_one.is_some_and(|one| one >= most) { 0 } else { row + 1 };
        if row == ROW {
            return true;
        }
    }
    false
}
