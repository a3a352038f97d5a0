//! Which claims are broken: the voters found less than was claimed, of the utility or of what has a gate.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use shoal_wire::v1::{ClaimFields, Compared, Role, VoteFields};
use shoal_wire::{KeyId, ParticleId};

use super::counting::{Poll, Votes};
use super::{Claimed, Judged, Nominee, Quorum, Verdict, held_against, nearly_all, weighed};
use crate::ballot::{Ballot, lower_median, upper_median};
use crate::records::Signed;
use crate::roster::majority;
use crate::utility::Weighing;

/// A claim is broken when the quorum finds this many standard errors less than was claimed.
pub(super) const BROKEN: f64 = 3.0;
/// Nobody's own standard error counts for more than this times the median of all claims of the window, or than what the votes have.
const ERRORS_MAX: f64 = 2.0;
/// How far two parts of a pack differ in what a particle is worth beside another, as a share of that: an error of every
/// claim, which the standard errors do not know, for they are of one part (docs/decisions/0042). Below a third, a particle that is
/// claimed as no worse than its reference breaks its claim however much worse it is.
const PARTS_DIFFER: f64 = 0.25;

/// What a window's claims are held against.
struct Held<'c, 'a> {
    claims: &'c [Claimed<'a>],
    /// No standard error of a claim counts for more.
    usual: f64,
    /// What they say is the utility, which is low of a worst; else a term that has a gate, which is high where it passes.
    of_utility: bool,
    /// How many are drawn on each nominee.
    voters: usize,
    /// The window in which their reference was measured on the part of the claims.
    level: Option<&'c Judged<'a>>,
}

impl<'a> Quorum<'a> {
    /// The claims of this window that what was found of them in the next breaks; `level`: what came of the window before.
    ///
    /// A claim may be true of the utility and false of a gate: voters refuse the particle for it, and it holds a nominee's place.
    pub(super) fn broken_claims(
        &self,
        window: u32,
        (claims, poll): (&[Claimed<'a>], &Poll<'a>),
        level: Option<&Judged<'a>>,
        weighing: &Weighing,
    ) -> Vec<Verdict> {
        let then = self.ballots_of(poll, weighing);
        // Every claim of the window is read for what is usual: not where nothing is judged by it.
        if then.is_empty() {
            return Vec::new();
        }
        let usual = |weighing: &Weighing| ERRORS_MAX * self.usual_error(window, weighing);
        let voters = poll.voters;
        let held = Held { claims, usual: usual(weighing), of_utility: true, voters, level };
        let mut broken = self.break_by(&then, poll, &held, weighing);
        for gate in weighing.gated() {
            let failed = self.ballots_of(poll, &gate).into_iter();
            let failed: Vec<Ballot> = failed.filter(|one| !gate.passes(&one.values)).collect();
            if failed.is_empty() {
                continue;
            }
            let of_gate = claims.iter().filter_map(|one| weighed(one.claim, &gate));
            let claims: Vec<Claimed<'a>> = of_gate.collect();
            let usual = usual(&gate);
            let held = Held { claims: &claims, usual, of_utility: false, voters, level };
            broken.extend(self.break_by(&failed, poll, &held, &gate));
        }
        broken
    }

    /// What was found of what was put to the vote, as far as a majority measured it.
    pub(super) fn ballots_of(&self, poll: &Poll<'a>, weighing: &Weighing) -> Vec<Ballot> {
        let count = |nominee: &Nominee| {
            let votes = &poll.votes.get(&nominee.particle)?.measured;
            let votes: Vec<&VoteFields> = votes.iter().map(|(_voter, vote)| *vote).collect();
            let Nominee { particle, role, claimant, .. } = *nominee;
            Ballot::count(particle, role, claimant, poll.voters, &votes, weighing)
        };
        poll.counted.iter().filter_map(count).collect()
    }

    fn break_by(
        &self,
        ballots: &[Ballot],
        poll: &Poll<'a>,
        held: &Held<'_, 'a>,
        weighing: &Weighing,
    ) -> Vec<Verdict> {
        let broken = ballots.iter().filter_map(|ballot| {
            let votes = poll.votes.get(&ballot.particle)?;
            Some(self.breaks(ballot, votes, held, weighing))
        });
        broken.flatten().collect()
    }

    /// Which claims of its particle a ballot breaks.
    fn breaks(
        &self,
        ballot: &Ballot,
        votes: &Votes<'a>,
        held: &Held<'_, 'a>,
        weighing: &Weighing,
    ) -> Vec<Verdict> {
        let level = held.level.and_then(|level| self.level(level, ballot.reference, weighing));
        let Some((least, most)) = level else { return Vec::new() };
        let parts = PARTS_DIFFER * ballot.gain;
        let verdict = |claimed: &Claimed<'a>| {
            // Who claims no error makes nobody's own smaller than what its voters find.
            let usual = held.usual.max(ballot.standard_error);
            let error = claimed_error(claimed.claim, weighing).min(usual);
            let both =
                error * error + ballot.standard_error * ballot.standard_error + parts * parts;
            let worst = held.of_utility && claimed.claim.body.role == Role::Worst;
            let (level, sign) = if worst { (least, -1.0) } else { (most, 1.0) };
            let breaks = |vote: &VoteFields| {
                let gain = (claimed.utility - level) - weighing.difference(&vote.terms).0;
                // The reference may be fitted to one part: beside it, what is worth what was claimed is no lie.
                let value = worth(vote, weighing, |term| term.value);
                let missing =
                    value.map(|value| (sign * gain).min(sign * (claimed.utility - value)));
                missing.is_some_and(|missing| missing > BROKEN * libm::sqrt(both))
            };
            let beside = votes.measured.iter().filter(|(_, vote)| vote.best == ballot.reference);
            let found_by = beside.filter(|(_, vote)| breaks(vote));
            let found_by: BTreeSet<KeyId> = found_by.map(|(voter, _)| *voter).collect();
            let accused = self.names(claimed.claim.signer).collect();
            let sure = nearly_all(found_by.len(), held.voters);
            let (particle, gains) = (ballot.particle, Some((claimed.utility - level, ballot.gain)));
            let verdict = Verdict { accused, particle, gains, found_by, of: ballot.votes, sure };
            // Half of the votes condemn nobody.
            verdict.holds_without(&BTreeSet::new()).then_some(verdict)
        };
        held_against(held.claims, ballot.particle).into_iter().filter_map(verdict).collect()
    }

    /// The median of the standard errors of claims of this window: of those that the nonce of the next one draws, where there are
    /// many.
    fn usual_error(&self, window: u32, weighing: &Weighing) -> f64 {
        let asked = window.saturating_add(1);
        let Some(nonce) = self.records.nonce_of(asked) else { return 0.0 };
        let of: BTreeMap<KeyId, &Signed<ClaimFields>> =
            self.measured(window).map(|claim| (claim.signer, claim)).collect();
        let drawn = self.roster.errors(nonce, of.keys().copied());
        let counts = drawn.iter().filter_map(|id| weighed(of.get(id)?, weighing));
        let errors = counts.map(|claimed| claimed_error(claimed.claim, weighing));
        lower_median(errors.collect()).unwrap_or(0.0)
    }

    /// The utility of a particle, as those who voted on the nominees of this window measured it, one value a voter: both middle
    /// ones. `None` while these are fewer than a majority of those who are drawn on a nominee.
    fn level(
        &self,
        of: &Judged<'a>,
        particle: Option<ParticleId>,
        weighing: &Weighing,
    ) -> Option<(f64, f64)> {
        let mut levels = BTreeMap::new();
        for (nominee, votes) in &of.votes {
            for (voter, vote) in &votes.measured {
                let level = if particle == Some(*nominee) {
                    worth(vote, weighing, |term| term.value)
                } else if particle == vote.best {
                    worth(vote, weighing, |term| term.best)
                } else {
                    None
                };
                levels.extend(level.map(|level| (*voter, level)));
            }
        }
        if levels.len() < majority(of.voters) {
            return None;
        }
        let levels: Vec<f64> = levels.into_values().collect();
        Some((lower_median(levels.clone())?, upper_median(levels)?))
    }
}

/// What one of a vote's two particles is worth, as the voter measured it.
fn worth(vote: &VoteFields, weighing: &Weighing, of: fn(&Compared) -> i16) -> Option<f64> {
    weighing.utility(&vote.terms.iter().map(of).collect::<Vec<i16>>())
}

fn claimed_error(claim: &Signed<ClaimFields>, weighing: &Weighing) -> f64 {
    let errors: Vec<u16> = claim.body.terms.iter().map(|term| term.standard_error).collect();
    weighing.standard_error(&errors)
}
