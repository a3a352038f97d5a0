//! Why nothing was elected of what a window's vehicles claimed. As all that a quorum says, a pure function of records: of what stands
//! on the board, to whoever looks.

use alloc::vec::Vec;

use shoal_wire::v1::Role;

use super::{Nominee, Quorum};
use crate::ballot::Ballot;
use crate::roster::majority;

/// The first of all that an election takes, and that was not there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unelected {
    /// The window's nonce: nobody knew what to measure on.
    NoNonce,
    /// A claim of a particle that could be best.
    NoClaim,
    /// One that counts.
    NoneCounts {
        /// So many do not.
        claims: usize,
        /// Of these, such as are below a gate; the others are of another part or pack, or their particle has no header.
        below_gate: usize,
    },
    /// The next window's nonce: nobody was asked to vote.
    NotAsked,
    /// Somebody in good standing who claimed.
    AllAside {
        /// So many claimed.
        claims: usize,
    },
    /// A majority of the voters drawn on one nominee, who measured it beside the same particle.
    NoQuorum {
        /// So many must.
        majority: usize,
        /// Of so many drawn.
        voters: usize,
        /// So many voted on the nominee with the most votes.
        votes: usize,
        /// So many could not get its values.
        missing: usize,
    },
    /// A nominee that was surely better than what was best.
    NoneBetter {
        /// By how much the nearest to it was better, in utility: the median of the votes.
        gain: f64,
        /// The median of their standard errors.
        standard_error: f64,
    },
    /// One of these that is below no gate.
    BelowGate,
}

impl Quorum<'_> {
    /// Why nothing claimed in this window was elected best. `None`: something was, or it may still be.
    pub fn unelected(&self, window: u32) -> Option<Unelected> {
        let asked = window.checked_add(1)?;
        if window >= self.window || self.best_of(window).is_some() {
            return None;
        }
        if self.records.nonce_of(window).is_none() {
            return Some(Unelected::NoNonce);
        }
        let claims = self.records.claims(window).filter(|claim| is_candidate(claim.body.role));
        let claims = claims.count();
        if claims == 0 {
            return Some(Unelected::NoClaim);
        }
        let counted = self.claimed(window, &self.weighing);
        let mut counted = counted.iter().filter(|one| is_candidate(one.claim.body.role)).peekable();
        if counted.peek().is_none() {
            return Some(Unelected::NoneCounts { claims, below_gate: self.below_gate(window) });
        }
        if asked >= self.window {
            return None;
        }
        if self.records.nonce_of(asked).is_none() {
            return Some(Unelected::NotAsked);
        }
        let aside = self.quarantined(asked);
        if counted.all(|one| aside.contains(&one.claim.signer)) {
            return Some(Unelected::AllAside { claims });
        }
        Some(self.unvoted(window))
    }

    /// What the votes on this window's nominees lack.
    fn unvoted(&self, window: u32) -> Unelected {
        let ballots = self.ballots(window).iter().filter(|ballot| is_candidate(ballot.role));
        let nearest = ballots.max_by(|one, other| one.better.total_cmp(&other.better));
        match nearest {
            Some(Ballot { better, gain, standard_error, .. }) if *better <= 0.0 => {
                Unelected::NoneBetter { gain: *gain, standard_error: *standard_error }
            }
            Some(_sure) => Unelected::BelowGate,
            None => {
                let nominees = self.nominees(window);
                let of = nominees.iter().filter(|nominee| is_candidate(nominee.role));
                let votes = of.map(|nominee| self.voted(window, nominee)).max();
                let (votes, missing) = votes.unwrap_or_default();
                let voters = self.roster.at(window.saturating_add(1)).voters_count();
                Unelected::NoQuorum { majority: majority(voters), voters, votes, missing }
            }
        }
    }

    /// How many of those drawn voted on a nominee, and how many of these could not get its values.
    fn voted(&self, window: u32, nominee: &Nominee) -> (usize, usize) {
        let judged = self.judged().get(&window);
        let votes = judged.and_then(|judged| judged.votes.get(&nominee.particle));
        votes.map_or((0, 0), |votes| (votes.count(), votes.missing.len()))
    }

    /// Claims of this window that were measured as they were to be, and are below a gate.
    fn below_gate(&self, window: u32) -> usize {
        let below = self.measured(window).filter(|claim| {
            let values: Vec<i16> = claim.body.terms.iter().map(|term| term.value).collect();
            is_candidate(claim.body.role) && !self.weighing.passes(&values)
        });
        below.count()
    }
}

/// Whether what is claimed so can be best.
const fn is_candidate(role: Role) -> bool {
    match role {
        Role::Best | Role::Merge => true,
        Role::Worst | Role::Contribution => false,
    }
}
