//! Which votes are counted: those on what was put to the vote when voters began.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use shoal_wire::v1::{Role, VoteFields};
use shoal_wire::{KeyId, ParticleId};

use super::{Claimed, Draws, Nominee, Quorum, candidates};
use crate::roster::{majority, part};

/// By nominee, what each voter says of it; `None`: two things.
type Cast<'a> = BTreeMap<ParticleId, BTreeMap<KeyId, Option<&'a VoteFields>>>;

/// The votes on one nominee.
#[derive(Default)]
pub(super) struct Votes<'a> {
    /// Each with its voter.
    pub(super) measured: Vec<(KeyId, &'a VoteFields)>,
    /// Who says that its values were not to be had.
    pub(super) missing: BTreeSet<KeyId>,
}

/// What was put to the vote, and what was said of it.
pub(super) struct Poll<'a> {
    /// How many are drawn on each nominee.
    pub(super) voters: usize,
    /// By what the claims say.
    pub(super) nominees: Vec<Nominee>,
    /// On what votes count: those of the candidates on which a majority has voted, as if nothing else were claimed; then the nominees on
    /// which none has. A claim of one of the last may have come once voters had begun, and takes no place from what they found
    /// (docs/decisions/0096).
    pub(super) counted: Vec<Nominee>,
    /// The votes on each of those.
    pub(super) votes: BTreeMap<ParticleId, Votes<'a>>,
}

impl Votes<'_> {
    /// How many voted.
    pub(super) fn count(&self) -> usize {
        self.measured.len().saturating_add(self.missing.len())
    }
}

impl<'a> Quorum<'a> {
    /// What of these claims, highest first, is put to the vote in window `asked`, and the votes that the nonce of that window asked
    /// for: of voters who were drawn, on its part. Who votes twice on one particle, and not the same, has not voted on it.
    pub(super) fn poll(
        &self,
        asked: u32,
        draws: &Draws<'_>,
        claims: &[Claimed<'a>],
        aside: &BTreeSet<KeyId>,
    ) -> Poll<'a> {
        let (nominees, next) = candidates(draws, claims, aside);
        let voters = self.roster.at(asked).voters_count();
        let (most, cast) = (majority(voters), self.cast(asked, draws.lot));
        let votes = |nominee: &Nominee| {
            let votes = self.drawn_of(&cast, (asked, draws.lot), nominee, aside)?;
            Some((nominee.particle, votes))
        };
        let mut votes: BTreeMap<ParticleId, Votes<'a>> =
            nominees.iter().chain(&next).filter_map(votes).collect();
        let voted_on = |claimed: &Claimed<'_>| {
            let votes = votes.get(&claimed.claim.body.particle);
            votes.is_some_and(|votes| votes.count() >= most)
        };
        let merges = claims.iter().any(|one| one.claim.body.role == Role::Merge && voted_on(one));
        let mut counted = super::nominees(draws, claims.to_vec(), aside, merges, voted_on);
        let counts = |counted: &[Nominee], particle: &ParticleId| {
            counted.iter().any(|one| one.particle == *particle)
        };
        let others = nominees.iter().filter(|one| !counts(&counted, &one.particle));
        let others: Vec<Nominee> = others.cloned().collect();
        counted.extend(others);
        votes.retain(|particle, _votes| counts(&counted, particle));
        Poll { voters, nominees, counted, votes }
    }

    /// Every vote of a window on the part of its nonce.
    fn cast(&self, asked: u32, nonce: &[u8; 32]) -> Cast<'a> {
        let part = part(nonce);
        let mut cast = Cast::new();
        for vote in self.records.votes(asked) {
            let fields = &vote.body;
            if fields.part != part || fields.pack != self.pack {
                continue;
            }
            let Some(voter) = self.roster.present(vote.signer) else { continue };
            let votes = cast.entry(fields.nominee).or_default();
            let kept = votes.entry(voter).or_insert(Some(fields));
            if kept.is_some_and(|kept| (kept.best, &kept.terms) != (fields.best, &fields.terms)) {
                *kept = None;
            }
        }
        cast
    }

    /// Of the votes on this candidate, those of who was drawn in window `asked`. `None`: nobody has voted on it.
    fn drawn_of(
        &self,
        cast: &Cast<'a>,
        (asked, nonce): (u32, &[u8; 32]),
        nominee: &Nominee,
        aside: &BTreeSet<KeyId>,
    ) -> Option<Votes<'a>> {
        let votes = cast.get(&nominee.particle)?;
        let present = self.roster.at(asked);
        let drawn = present.voters(nonce, nominee.particle, nominee.claimant, aside);
        let of_drawn = votes.iter().filter(|(voter, _vote)| drawn.contains(*voter));
        let once = of_drawn.filter_map(|(voter, vote)| Some((*voter, (*vote)?)));
        let mut counts = Votes::default();
        for (voter, vote) in once {
            if vote.is_missing() {
                counts.missing.insert(voter);
            } else {
                counts.measured.push((voter, vote));
            }
        }
        Some(counts)
    }
}
