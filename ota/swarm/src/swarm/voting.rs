//! Votes: which nominees this vehicle was drawn for, and what it measured of them.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use shoal_wire::v1::{Compared, NOMINEES, VoteFields};
use shoal_wire::{KeyId, ParticleId};

use super::moving::Contender;
use super::night::{Begun, Job, Night};
use super::store::Want;
use super::{On, Swarm, TermResult};
use crate::quorum::Nominee;

/// One nominee to vote on.
#[derive(Clone, Debug)]
pub(super) struct Voting {
    nominee: Nominee,
    done: bool,
}

impl Swarm {
    /// The nominees that this vehicle may vote on and has not voted on yet; `aside`: who is not in good standing.
    pub(super) fn drawn(
        &self,
        nonce: &[u8; 32],
        nominees: Vec<Nominee>,
        aside: &BTreeSet<KeyId>,
    ) -> Vec<Voting> {
        let voted = self.voted_on(self.window);
        let drawn = |nominee: &Nominee, me: KeyId| {
            let present = self.roster.at(self.window);
            present.voters(nonce, nominee.particle, nominee.claimant, aside).contains(&me)
        };
        nominees
            .into_iter()
            .filter(|nominee| drawn(nominee, self.vehicle))
            .filter(|nominee| !voted.contains(&nominee.particle))
            .map(|nominee| Voting { nominee, done: false })
            .collect()
    }

    /// Fetches nominees; measures the next one whose values are there beside best, on the part of the nonce.
    pub(super) fn vote(&mut self, night: &mut Night, begun: &mut Begun) -> bool {
        if begun.votes.iter().all(|vote| vote.done) {
            return false;
        }
        let best = match self.want(begun.elected(), night.online) {
            Want::Here(best) => best,
            Want::Coming => return false,
            Want::Lost => {
                begun.votes.clear();
                return true;
            }
        };
        let mut changed = false;
        let mut missing = Vec::new();
        for (index, vote) in begun.votes.iter_mut().enumerate().filter(|(_, vote)| !vote.done) {
            // What is best already has been voted on.
            if begun.best.as_ref().is_some_and(|b| b.particle == vote.nominee.particle) {
                vote.done = true;
                changed = true;
                continue;
            }
            match self.want(Some(vote.nominee.particle), night.online) {
                Want::Here(candidate) => {
                    if night.measuring.is_none() {
                        let on = On::Part(begun.part);
                        self.measure(night, Job::Vote(index), candidate, Some(best.clone()), on);
                        return true;
                    }
                }
                Want::Coming => {}
                Want::Lost => {
                    vote.done = true;
                    changed = true;
                    missing.push(vote.nominee.particle);
                }
            }
        }
        missing.retain(|particle| night.online && self.store.is_missing(*particle));
        for particle in missing {
            let vote = self.vote_on(night.window, particle, begun, &[]).map(VoteFields::missing);
            vote.into_iter().for_each(|vote| self.publish_vote(vote));
        }
        changed
    }

    /// The next vote; `None`: there is no pack, or no place.
    fn vote_on(
        &self,
        window: u32,
        nominee: ParticleId,
        begun: &Begun,
        terms: &[TermResult],
    ) -> Option<VoteFields> {
        let compared = |term: &TermResult| Compared {
            value: term.value,
            best: term.beside,
            standard_error: term.difference_error,
        };
        Some(VoteFields {
            window,
            place: self.next_place(window)?,
            nominee,
            best: begun.elected(),
            pack: self.utility.pack()?,
            part: begun.part,
            utility_version: self.utility.version(),
            terms: terms.iter().map(compared).collect(),
        })
    }

    /// The place of this vehicle's next vote in this window: its votes are numbered as it casts them. A nominee's own place
    /// would not do: it changes while claims come in, and a second vote would take the topic of the first and contradict it.
    fn next_place(&self, window: u32) -> Option<u8> {
        u8::try_from(self.voted_on(window).len()).ok().filter(|place| *place < NOMINEES)
    }

    /// What this vehicle has voted on in this window.
    fn voted_on(&self, window: u32) -> &[ParticleId] {
        let voted = self.state.voted.as_ref().filter(|(of, _)| *of == window);
        voted.map_or(&[], |(_window, voted)| voted)
    }

    pub(super) fn voted(
        &mut self,
        night: &Night,
        begun: &mut Begun,
        index: usize,
        terms: Option<&[TermResult]>,
    ) {
        let Some(vote) = begun.votes.get_mut(index) else { return };
        vote.done = true;
        let (nominee, claimed) = (vote.nominee.clone(), night.window.saturating_sub(1));
        let Some(terms) = terms else { return };
        let Some(fields) = self.vote_on(night.window, nominee.particle, begun, terms) else {
            return;
        };
        if night.online {
            self.publish_vote(fields);
        }
        let asked = Some(begun.part);
        if let Some(contender) = self.contender(&nominee, claimed, asked) {
            begun.contend(contender);
        }
    }
}

impl Begun {
    /// Whether every vote is cast, or cannot be.
    pub(super) fn all_voted(&self) -> bool {
        self.votes.iter().all(|vote| vote.done)
    }

    pub(super) fn contend(&mut self, contender: Contender) {
        if !self.contenders.iter().any(|one| one.particle == contender.particle) {
            self.contenders.push(contender);
        }
    }
}
