//! What the records mean: nominees, standing, best and worst. Pure functions of records, roster, utility document, reinstatements
//! and window; nothing of it is stored, sent or merged.

mod apart;
mod broken;
mod counting;
mod ledger;
mod standing;
mod unelected;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cell::OnceCell;

use shoal_wire::v1::{ClaimFields, NOMINEES, Role, VoteFields};
use shoal_wire::{KeyId, PackHash, ParticleId};

use crate::ballot::{Ballot, lower_median, upper_median};
use crate::records::{Particle, Records, Signed};
use crate::reinstated::Reinstated;
use crate::roster::{Roster, lot, majority, part};
use crate::utility::{Utility, Weighing};
use broken::BROKEN;
use counting::{Poll, Votes};
use standing::accused;

pub use ledger::{Account, Fault, Finding};
pub use unelected::Unelected;

/// The nominees that are the highest claims of vehicles in good standing: the first ones.
pub const HIGHEST: usize = 2;
/// Of one particle, so many claims are held against what its voters found: those that say most for themselves.
const JUDGED: usize = 8;
/// Votes on one nominee are held against each other where so many in four of those drawn found the same: all of them measured the
/// same on the same part (docs/decisions/0059). What so many find is sure (docs/decisions/0060).
const ALIKE: (usize, usize) = (3, 4);
/// By how much engines differ in the utility of the same particles on the same part, besides.
const ROUNDED: f64 = 2e-3;
/// So many who publish a particle publish its chunks, too; who finds them there already adds a header and no copy.
pub(crate) const COPIES: usize = 2;
/// Without the authority's word.
static NOBODY: Reinstated = Reinstated::NOBODY;
/// From how many windows after its claim a particle can be best…
const ELECTED_AFTER: u32 = 2;
/// …and for how many windows it can be worst.
const WORST_WINDOWS: u32 = 2;

/// A particle up for a vote.
#[derive(Clone, Debug, PartialEq)]
pub struct Nominee {
    /// Its name.
    pub particle: ParticleId,
    /// As what it is claimed.
    pub role: Role,
    /// Whose claim it is: the highest, if several vehicles claimed it.
    pub claimant: KeyId,
    /// The claimant's slot.
    pub slot: u8,
}

/// What the records elect.
#[derive(Clone, Debug, PartialEq)]
pub struct Elected {
    /// The window of its claim.
    pub window: u32,
    /// Which particle.
    pub particle: ParticleId,
    /// As what it was claimed.
    pub role: Role,
    /// Whose claim it was.
    pub claimant: KeyId,
    /// The median of what each term was for its voters, in units of 1e-4.
    pub values: Vec<i16>,
}

/// A claim that counts, with its utility.
#[derive(Clone, Copy)]
pub(crate) struct Claimed<'a> {
    pub(crate) claim: &'a Signed<ClaimFields>,
    pub(crate) utility: f64,
}

/// What voters found against a vehicle.
struct Verdict {
    /// What it is called and was called.
    accused: Vec<KeyId>,
    /// What it claimed.
    particle: ParticleId,
    /// By how much that is better than the reference: as claimed, and as found. `None`: nobody could measure it.
    gains: Option<(f64, f64)>,
    /// Who found it.
    found_by: BTreeSet<KeyId>,
    /// Of so many who voted.
    of: usize,
    /// Three in four of those drawn found it: the accused is believed nothing.
    sure: bool,
}

/// What came of the claims of one window.
struct Judged<'a> {
    /// How many were drawn on each nominee.
    voters: usize,
    nominees: Vec<Nominee>,
    votes: BTreeMap<ParticleId, Votes<'a>>,
    ballots: Vec<Ballot>,
    broken: Vec<Verdict>,
    withheld: Vec<Verdict>,
    /// Nominee and voter.
    misvoted: BTreeSet<(ParticleId, KeyId)>,
}

/// The records, read in one window.
pub struct Quorum<'a> {
    records: &'a Records,
    roster: &'a Roster,
    utility: &'a Utility,
    pack: PackHash,
    weighing: Weighing,
    window: u32,
    reinstated: &'a Reinstated,
    judged: OnceCell<BTreeMap<u32, Judged<'a>>>,
}

impl<'a> Quorum<'a> {
    /// The reading of these records in this window; `None` when every term of the utility has weight 0.
    pub fn new(
        records: &'a Records,
        roster: &'a Roster,
        utility: &'a Utility,
        window: u32,
    ) -> Option<Self> {
        let (weighing, pack) = (utility.at(window)?, utility.pack()?);
        let (reinstated, judged) = (&NOBODY, OnceCell::new());
        Some(Self { records, roster, utility, pack, weighing, window, reinstated, judged })
    }

    /// The same reading, where the authority reinstated these.
    pub fn reinstating(self, reinstated: &'a Reinstated) -> Self {
        Self { reinstated, judged: OnceCell::new(), ..self }
    }

    /// The utility by which they are read.
    pub const fn weighing(&self) -> &Weighing {
        &self.weighing
    }

    /// The particles of this window's claims that the next window's nonce puts to the vote, in this order:
    /// the two highest claims of vehicles in good standing, beside them the merge of whoever of those is drawn first to fold, and
    /// one drawn of the rest. Where nobody claims a merge, the lowest claim of a worst stands for it. Fewer when there are not as many. They are
    /// weighed as in the window that votes on them, and stay what they are when weights change.
    ///
    /// None without the nonces of both windows: nothing was measured, or nobody is asked.
    pub fn nominees(&self, window: u32) -> Vec<Nominee> {
        self.judged().get(&window).map(|judged| judged.nominees.clone()).unwrap_or_default()
    }

    /// The merges claimed in this window by vehicles in good standing, in the order in which those are drawn who fold, each particle
    /// once: whoever claims without being drawn comes late, however high the claim.
    pub fn merges(&self, window: u32) -> Vec<Nominee> {
        let Some(nonce) = self.records.nonce_of(window) else { return Vec::new() };
        in_turn(self.roster, nonce, self.claimed(window, &self.weighing), &self.quarantined(window))
    }

    /// What the vehicles drawn have found of this window's nominees, for each that a majority measured, by growing name. Votes on
    /// what nobody was asked about say nothing.
    pub fn ballots(&self, window: u32) -> &[Ballot] {
        self.judged().get(&window).map(|judged| judged.ballots.as_slice()).unwrap_or_default()
    }

    /// Who claimed what the quorum then found to be less by more than three standard errors: both what the particle is worth, and
    /// by how much it was better than the reference of the votes, each on one part of the pack. A claim of which the votes of a
    /// majority do not say that is not judged.
    pub fn broken(&self, window: u32) -> BTreeSet<KeyId> {
        self.judged().get(&window).map(|judged| accused(&judged.broken)).unwrap_or_default()
    }

    /// Who claimed what a majority of those drawn then could not get from anybody. Claims of what several others have published
    /// before break nobody: who makes one relies on their copies.
    pub fn withheld(&self, window: u32) -> BTreeSet<KeyId> {
        self.judged().get(&window).map(|judged| accused(&judged.withheld)).unwrap_or_default()
    }

    /// Who voted on a nominee of this window what those who voted beside them did not find: by more than three standard errors,
    /// where three in four of all who were drawn found the same.
    pub fn misvoted(&self, window: u32) -> BTreeSet<(ParticleId, KeyId)> {
        self.judged().get(&window).map(|judged| judged.misvoted.clone()).unwrap_or_default()
    }

    /// Who is not in good standing in this window: a claim of theirs was broken, what they claimed withheld, or a vote of theirs
    /// false, in the eight windows before, and the authority has not reinstated it since. The claims of the last of these are not voted on
    /// yet.
    pub fn quarantined(&self, window: u32) -> BTreeSet<KeyId> {
        self.standing(self.judged(), window)
    }

    /// Every window that has claims, judged: who is nominated depends on the standing that the windows before left.
    fn judged(&self) -> &BTreeMap<u32, Judged<'a>> {
        self.judged.get_or_init(|| {
            let mut judged = BTreeMap::new();
            for window in self.records.claimed_windows() {
                let this = self.judge(window, &judged);
                judged.extend(this.map(|this| (window, this)));
            }
            judged
        })
    }

    /// `before`: the windows before it. `None`: nobody is asked about this one.
    fn judge(&self, window: u32, before: &BTreeMap<u32, Judged<'a>>) -> Option<Judged<'a>> {
        let asked = window.checked_add(1)?;
        let nonce = self.records.nonce_of(asked)?;
        // As in the window that votes: what was nominated, and who lied, does not change with the weights.
        let weighing = self.utility.at(asked)?;
        let claims = self.claimed(window, &weighing);
        let aside = self.standing(before, asked);
        let draws = Draws { roster: self.roster, fold: self.records.nonce_of(window)?, lot: nonce };
        let poll = self.poll(asked, &draws, &claims, &aside);
        let level = window.checked_sub(1).and_then(|window| before.get(&window));
        let broken = self.broken_claims(window, (&claims, &poll), level, &weighing);
        let withheld = self.withholds(&claims, &poll);
        let misvoted = poll.votes.iter().flat_map(|(nominee, votes)| {
            let voters = self.misvotes(&votes.measured, poll.voters, &weighing);
            voters.into_iter().map(|voter| (*nominee, voter))
        });
        let misvoted = misvoted.collect();
        let mut ballots = self.ballots_of(&poll, &self.weighing);
        ballots.sort_by_key(|ballot| ballot.particle);
        let Poll { voters, nominees, votes, .. } = poll;
        Some(Judged { voters, nominees, votes, ballots, broken, withheld, misvoted })
    }

    /// Whose claims nobody could measure.
    fn withholds(&self, claims: &[Claimed<'a>], poll: &Poll<'a>) -> Vec<Verdict> {
        let most = majority(poll.voters);
        let verdict = |claimed: &Claimed<'a>| {
            let (particle, claimant) = (claimed.claim.body.particle, claimed.claim.signer);
            let missing = &poll.votes.get(&particle)?.missing;
            // A vehicle that has two keys is one; and a header that its publisher took back by another may be why there are no chunks.
            let publishers = self.records.may_have(&claimed.claim.body);
            let publishers: BTreeSet<u32> =
                publishers.filter_map(|id| self.roster.number(id)).collect();
            let gone = missing.len() >= most && publishers.len() <= COPIES;
            // Who cannot be heard may still say what is so.
            gone.then(|| Verdict {
                accused: self.names(claimant).collect(),
                particle,
                gains: None,
                found_by: missing.clone(),
                of: missing.len(),
                sure: false,
            })
        };
        claims.iter().filter_map(verdict).collect()
    }

    /// Whose votes on one nominee say what nearly all others did not find. Those who measured it beside the same particle measured the
    /// same: engines round in other ways.
    fn misvotes(
        &self,
        votes: &[(KeyId, &VoteFields)],
        voters: usize,
        weighing: &Weighing,
    ) -> BTreeSet<KeyId> {
        let beside = |reference| votes.iter().filter(move |(_voter, vote)| vote.best == reference);
        let most =
            votes.iter().find(|(_voter, vote)| nearly_all(beside(vote.best).count(), voters));
        let Some((_voter, of)) = most else { return BTreeSet::new() };
        let found = beside(of.best).map(|(voter, vote)| (*voter, weighing.difference(&vote.terms)));
        let found: Vec<(KeyId, (f64, f64))> = found.collect();
        let gains = found.iter().map(|(_voter, (gain, _error))| *gain).collect();
        let errors = found.iter().map(|(_voter, (_gain, error))| *error).collect();
        let middle = lower_median(gains).zip(upper_median(errors));
        let Some((middle, error)) = middle else { return BTreeSet::new() };
        let (alike, other): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|(_voter, (gain, _))| (gain - middle).abs() <= ROUNDED + BROKEN * error);
        if !nearly_all(alike.len(), voters) {
            return BTreeSet::new();
        }
        other.into_iter().flat_map(|(voter, _)| self.names(voter)).collect()
    }

    /// What a vehicle is called and was called before: another key sheds no quarantine.
    fn names(&self, id: KeyId) -> impl Iterator<Item = KeyId> {
        core::iter::once(id).chain(self.roster.others(id))
    }

    /// Best in this window: of the nominees that a majority found surely better, that of the latest window; of several,
    /// the one that is surely better by most. `None`: x_p.
    ///
    /// Votes stand on the board for a few windows. A vehicle that was away when best was elected takes it from a majority
    /// that voted later, and measured beside it: it knows no election of that particle, and those who voted did. Where votes fell
    /// apart for good it is x_p, which all have, until a majority measures beside something again.
    pub fn best(&self) -> Option<Elected> {
        let mut windows = self.records.claimed_windows();
        windows.retain(|claimed| claimed.saturating_add(ELECTED_AFTER) <= self.window);
        let elected = windows.iter().rev().find_map(|window| self.best_of(*window));
        let after = elected.as_ref().map_or(0, |elected| elected.window.saturating_add(1));
        let (_until, later) = windows.split_at(windows.partition_point(|window| *window < after));
        let apart = self.apart(later);
        let mut since = later.iter().skip(apart).rev();
        let witnessed = since.find_map(|window| self.witnessed(*window));
        if apart > 0 {
            return witnessed;
        }
        let is = |elected: Option<&Elected>, other: &Elected| {
            elected.map(|one| one.particle) == Some(other.particle)
        };
        let witnessed = witnessed.filter(|other| {
            let known = |window: &u32| is(self.best_of(*window).as_ref(), other);
            // Nearly always they agree, and no other window is counted again.
            !is(elected.as_ref(), other) && !windows.iter().any(known)
        });
        witnessed.or(elected)
    }

    fn best_of(&self, window: u32) -> Option<Elected> {
        let merit = |ballot: &Ballot| ballot.elects_best(&self.weighing).then_some(ballot.better);
        self.elected(window, merit)
    }

    /// What a majority of the voters on a nominee of this window took for best, unless they found it below a gate.
    fn witnessed(&self, window: u32) -> Option<Elected> {
        let passes = |ballot: &&Ballot| self.weighing.passes(&ballot.reference_values);
        self.ballots(window).iter().filter(passes).find_map(|ballot| {
            let particle = ballot.reference?;
            let header = self.records.with_id(particle).into_iter().next()?;
            let (window, role) = (header.body.window, header.body.role);
            let values = ballot.reference_values.clone();
            Some(Elected { window, particle, role, claimant: header.signer, values })
        })
    }

    /// Worst in this window, if any: it lasts two windows.
    pub fn worst(&self) -> Option<Elected> {
        let last = self.window.checked_sub(ELECTED_AFTER)?;
        let first = last.saturating_sub(WORST_WINDOWS.saturating_sub(1));
        (first..=last).rev().find_map(|window| {
            self.elected(window, |ballot| {
                ballot.elects_worst(&self.weighing).then_some(ballot.worse)
            })
        })
    }

    /// The nominee of this window with the highest merit; of equal ones, that with the lowest name.
    fn elected(&self, window: u32, merit: impl Fn(&Ballot) -> Option<f64>) -> Option<Elected> {
        let mut best: Option<(f64, &Ballot)> = None;
        // By growing name.
        for ballot in self.ballots(window) {
            let Some(merit) = merit(ballot) else { continue };
            if best.is_none_or(|(highest, _)| merit > highest) {
                best = Some((merit, ballot));
            }
        }
        best.map(|(_merit, ballot)| {
            let Ballot { particle, role, claimant, ref values, .. } = *ballot;
            Elected { window, particle, role, claimant, values: values.clone() }
        })
    }

    /// The claims of a window that count, highest first; of equal ones, that of the lowest record. They are measured on
    /// the part of the window's nonce, pass every gate, and their particle has a header in the slot that they name.
    fn claimed(&self, window: u32, weighing: &Weighing) -> Vec<Claimed<'a>> {
        let has_header = |claim: &&Signed<ClaimFields>| {
            let header = self.records.particle(window, claim.signer, claim.body.role);
            let of_claim = |header: &Signed<Particle>| {
                header.body.id == claim.body.particle && header.body.stands_in(claim.body.slot)
            };
            header.is_some_and(of_claim)
        };
        let claims = self.measured(window).filter(has_header);
        let mut claims: Vec<Claimed<'_>> =
            claims.filter_map(|claim| weighed(claim, weighing)).collect();
        highest_first(&mut claims);
        claims
    }

    /// The claims of what was measured as the window's nonce said.
    fn measured(&self, window: u32) -> impl Iterator<Item = &'a Signed<ClaimFields>> {
        let part = self.records.nonce_of(window).map(part);
        let pack = self.pack;
        let (records, roster) = (self.records, self.roster);
        let present = roster.at(window);
        let claims = records.claims(window).filter(move |claim| present.has(claim.signer));
        let claims = claims.filter(|claim| records.is_heard(roster, claim));
        claims.filter(move |claim| part.is_some_and(|part| is_measured(&claim.body, part, pack)))
    }
}

/// Whether these are three in four of all who are drawn to vote on one nominee.
fn nearly_all(count: usize, voters: usize) -> bool {
    let (of_those, in_all) = ALIKE;
    count.saturating_mul(in_all) >= voters.saturating_mul(of_those)
}

/// Whether a claim is of what was to be measured: a particle that can be nominated, on this part of this pack.
pub(crate) fn is_measured(claim: &ClaimFields, part: u8, pack: PackHash) -> bool {
    claim.role != Role::Contribution && claim.part == part && claim.pack == pack
}

/// A claim with its utility; `None`: it fails a gate, or was not measured by every term that counts.
pub(crate) fn weighed<'a>(
    claim: &'a Signed<ClaimFields>,
    weighing: &Weighing,
) -> Option<Claimed<'a>> {
    let values: Vec<i16> = claim.body.terms.iter().map(|term| term.value).collect();
    let utility = weighing.utility(&values).filter(|_utility| weighing.passes(&values))?;
    Some(Claimed { claim, utility })
}

/// Of equal ones, that of the lowest record first.
pub(crate) fn highest_first(claims: &mut [Claimed<'_>]) {
    claims
        .sort_by(|a, b| b.utility.total_cmp(&a.utility).then_with(|| a.claim.id.cmp(&b.claim.id)));
}

/// The claims of a particle, of all, highest first, that are held against what its voters find: the highest, of a worst the lowest.
pub(crate) fn held_against<'a, 'c>(
    claims: &'c [Claimed<'a>],
    particle: ParticleId,
) -> Vec<&'c Claimed<'a>> {
    let mut of_particle: Vec<&Claimed<'a>> =
        claims.iter().filter(|claimed| claimed.claim.body.particle == particle).collect();
    let over = of_particle.len().saturating_sub(JUDGED);
    let worst = of_particle.first().is_some_and(|one| one.claim.body.role == Role::Worst);
    let kept = if worst { over..of_particle.len() } else { 0..of_particle.len().min(JUDGED) };
    of_particle.drain(kept).collect()
}

/// What is drawn when nominees are chosen.
pub(crate) struct Draws<'a> {
    pub(crate) roster: &'a Roster,
    /// The nonce of the claims' window, which draws who folds.
    pub(crate) fold: &'a [u8; 32],
    /// The nonce of the window that votes.
    pub(crate) lot: &'a [u8; 32],
}

/// The merges among these claims, highest first, of vehicles in good standing, in the order in which those are drawn who fold; each
/// particle once.
pub(crate) fn in_turn(
    roster: &Roster,
    nonce: &[u8; 32],
    mut rest: Vec<Claimed<'_>>,
    quarantined: &BTreeSet<KeyId>,
) -> Vec<Nominee> {
    rest.retain(|one| {
        one.claim.body.role == Role::Merge && !quarantined.contains(&one.claim.signer)
    });
    let mut merges = Vec::new();
    // A claimant who left the roster has no turn.
    while let Some(next) = first_drawn(roster, nonce, &rest, |_one| true) {
        nominate(&mut merges, &mut rest, |_all| Some(next));
    }
    merges
}

/// Of these claims, that of the vehicle which is first of those who fold.
fn first_drawn(
    roster: &Roster,
    nonce: &[u8; 32],
    claims: &[Claimed<'_>],
    counts: impl Fn(&Claimed<'_>) -> bool,
) -> Option<usize> {
    let counted = claims.iter().enumerate().filter(|(_index, claimed)| counts(claimed));
    let lots = counted.filter_map(|(index, claimed)| {
        Some((roster.fold_lot(nonce, claimed.claim.signer)?, index))
    });
    lots.min().map(|(_lot, index)| index)
}

/// Whom of these claims, highest first, these draws put to the vote, if nothing were claimed but what `counts`; beside the highest a
/// merge or, where none is claimed, a worst.
fn nominees(
    draws: &Draws<'_>,
    mut rest: Vec<Claimed<'_>>,
    quarantined: &BTreeSet<KeyId>,
    merges: bool,
    counts: impl Fn(&Claimed<'_>) -> bool,
) -> Vec<Nominee> {
    let standing =
        |claimed: &Claimed<'_>| counts(claimed) && !quarantined.contains(&claimed.claim.signer);
    let role = |claimed: &Claimed<'_>| claimed.claim.body.role;
    let mut nominees = Vec::new();
    for _ in 0..HIGHEST {
        let good = |claimed: &Claimed<'_>| standing(claimed) && role(claimed) != Role::Worst;
        nominate(&mut nominees, &mut rest, |all| all.iter().position(good));
    }
    if merges {
        let merge = |claimed: &Claimed<'_>| standing(claimed) && role(claimed) == Role::Merge;
        nominate(&mut nominees, &mut rest, |all| first_drawn(draws.roster, draws.fold, all, merge));
    } else {
        let worst = |claimed: &Claimed<'_>| standing(claimed) && role(claimed) == Role::Worst;
        nominate(&mut nominees, &mut rest, |all| all.iter().rposition(worst));
    }
    nominate(&mut nominees, &mut rest, |all| {
        let counted = all.iter().enumerate().filter(|(_index, claimed)| counts(claimed));
        let lots = counted.map(|(index, one)| (lot(draws.lot, one.claim.body.particle), index));
        lots.min().map(|(_lot, index)| index)
    });
    debug_assert!(nominees.len() <= usize::from(NOMINEES));
    nominees
}

/// What of these claims votes may count on: what is put to the vote, and what would be if that were not claimed.
pub(crate) fn candidates(
    draws: &Draws<'_>,
    claims: &[Claimed<'_>],
    quarantined: &BTreeSet<KeyId>,
) -> (Vec<Nominee>, Vec<Nominee>) {
    let merges = claims.iter().any(|claimed| claimed.claim.body.role == Role::Merge);
    let first = nominees(draws, claims.to_vec(), quarantined, merges, |_claimed| true);
    let others = |one: &&Claimed<'_>| {
        first.iter().all(|nominee| nominee.particle != one.claim.body.particle)
    };
    let rest = claims.iter().filter(others).copied().collect();
    let second = nominees(draws, rest, quarantined, merges, |_claimed| true);
    (first, second)
}

/// Takes one claim out of the rest, and all others of its particle.
fn nominate(
    nominees: &mut Vec<Nominee>,
    rest: &mut Vec<Claimed<'_>>,
    choose: impl Fn(&[Claimed<'_>]) -> Option<usize>,
) {
    let Some(chosen) = choose(rest).and_then(|index| rest.get(index)) else { return };
    let ClaimFields { particle, role, .. } = chosen.claim.body;
    // The highest claim of the particle, whoever's was chosen: its voters are drawn without that claimant.
    let Some(highest) = rest.iter().find(|one| one.claim.body.particle == particle) else { return };
    let (claimant, slot) = (highest.claim.signer, highest.claim.body.slot);
    nominees.push(Nominee { particle, role, claimant, slot });
    rest.retain(|one| one.claim.body.particle != particle);
}
