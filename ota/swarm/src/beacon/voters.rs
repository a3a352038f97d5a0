//! Who is drawn to vote, on what, and what they voted on besides.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use shoal_wire::{KeyId, Leaf, ParticleId};

/// Where a vehicle's votes of a window stand.
pub(super) fn votes(window: u32, voter: KeyId) -> String {
    let Leaf::Vote { window, .. } = Leaf::vote(window, 0) else { return String::new() };
    format!("vote/{voter}/{window}/+")
}

/// The voters of the last windows. Anybody may vote on anything: what is passed on is votes on what a voter is drawn to vote on, and
/// what contradicts those.
#[derive(Debug, Default)]
pub(super) struct Voters {
    /// By the window of the votes.
    drawn: BTreeMap<(u32, KeyId), BTreeSet<ParticleId>>,
    /// Votes on what may still be nominated, or be contradicted: one a place.
    held: BTreeMap<(u32, KeyId, u8), (ParticleId, Vec<u8>)>,
}

impl Voters {
    /// This vehicle is drawn to vote on that. Whether it is the first thing, and what it has voted on it already.
    pub(super) fn draw(
        &mut self,
        (window, voter): (u32, KeyId),
        nominee: ParticleId,
    ) -> (bool, Option<Vec<u8>>) {
        let drawn = self.drawn.entry((window, voter)).or_default();
        let first = drawn.is_empty();
        if !drawn.insert(nominee) {
            return (first, None);
        }
        let places = (window, voter, 0)..=(window, voter, u8::MAX);
        let mut held = self.held.range(places);
        let held = held.find(|(_key, (on, _bytes))| *on == nominee).map(|(key, _held)| *key);
        (first, held.and_then(|key| self.release(key)))
    }

    pub(super) fn is_drawn(&self, voter: (u32, KeyId)) -> bool {
        self.drawn.contains_key(&voter)
    }

    pub(super) fn is_drawn_on(&self, voter: (u32, KeyId), nominee: ParticleId) -> bool {
        self.drawn.get(&voter).is_some_and(|drawn| drawn.contains(&nominee))
    }

    /// Keeps a vote on what its voter is not drawn to vote on.
    pub(super) fn hold(&mut self, key: (u32, KeyId, u8), nominee: ParticleId, bytes: &[u8]) {
        self.held.insert(key, (nominee, bytes.to_vec()));
    }

    /// What was kept of a place.
    pub(super) fn release(&mut self, key: (u32, KeyId, u8)) -> Option<Vec<u8>> {
        self.held.remove(&key).map(|(_nominee, bytes)| bytes)
    }

    /// Votes up to this window are settled: whose they were.
    pub(super) fn settle(&mut self, old: u32) -> Vec<(u32, KeyId)> {
        self.held.retain(|(window, ..), _vote| *window > old);
        let over = self.drawn.keys().copied().filter(|(window, _voter)| *window <= old);
        let over: Vec<(u32, KeyId)> = over.collect();
        self.drawn.retain(|(window, _voter), _drawn| *window > old);
        over
    }
}
