//! What the records mean: nominees, standing, best and worst. Pure functions of records, roster, utility document and
//! window; nothing of it is stored, sent or merged.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use shoal_wire::v1::{ClaimFields, Compared, NOMINEES, Role, VoteFields};
use shoal_wire::{KeyId, PackHash, ParticleId};

use crate::ballot::{Ballot, lower_median, upper_median};
use crate::records::{Records, STANDING_WINDOWS, Signed};
use crate::roster::{Roster, lot, majority, part};
use crate::utility::{Utility, Weighing};

/// A claim is broken when the quorum finds this many standard errors less than was claimed.
const BROKEN: f64 = 3.0;
/// Nobody's own standard error counts for more than this times the median of all claims of the window.
const ERRORS_MAX: f64 = 2.0;
/// The nominees that are the highest claims.
const HIGHEST: usize = 2;
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
struct Claimed<'a> {
    claim: &'a Signed<ClaimFields>,
    utility: f64,
}

/// Votes, each with its voter.
type Votes<'a> = Vec<(KeyId, &'a VoteFields)>;

/// The records, read in one window.
pub struct Quorum<'a> {
    records: &'a Records,
    roster: &'a Roster,
    pack: PackHash,
    weighing: Weighing,
    window: u32,
}

impl<'a> Quorum<'a> {
    /// The reading of these records in this window; `None` when every term of the utility has weight 0.
    pub fn new(
        records: &'a Records,
        roster: &'a Roster,
        utility: &Utility,
        window: u32,
    ) -> Option<Self> {
        let (weighing, pack) = (utility.at(window)?, utility.pack()?);
        Some(Self { records, roster, pack, weighing, window })
    }

    /// The utility by which they are read.
    pub const fn weighing(&self) -> &Weighing {
        &self.weighing
    }

    /// The particles of this window's claims that the next window's nonce puts to the vote, in this order:
    /// the two highest claims of vehicles in good standing, the highest claimed merge beside them, and one drawn of the
    /// rest. Where nobody claims a merge, the lowest claim of a worst stands for it. Fewer when there are not as many.
    ///
    /// None without the nonces of both windows: nothing was measured, or nobody is asked.
    pub fn nominees(&self, window: u32) -> Vec<Nominee> {
        let Some(nonce) = window.checked_add(1).and_then(|next| self.records.nonce_of(next)) else {
            return Vec::new();
        };
        let quarantined = self.quarantined(window.saturating_add(1));
        let mut rest: Vec<Claimed<'_>> = self.claimed(window);
        let standing = |claimed: &Claimed<'_>| !quarantined.contains(&claimed.claim.signer);
        let role = |claimed: &Claimed<'_>| claimed.claim.body.role;
        let mut nominees = Vec::new();
        let merges = rest.iter().any(|claimed| role(claimed) == Role::Merge);
        for _ in 0..HIGHEST {
            let good = |claimed: &Claimed<'_>| standing(claimed) && role(claimed) != Role::Worst;
            nominate(&mut nominees, &mut rest, |all| all.iter().position(good));
        }
        if merges {
            let merge = |claimed: &Claimed<'_>| standing(claimed) && role(claimed) == Role::Merge;
            nominate(&mut nominees, &mut rest, |all| all.iter().position(merge));
        } else {
            let worst = |claimed: &Claimed<'_>| standing(claimed) && role(claimed) == Role::Worst;
            nominate(&mut nominees, &mut rest, |all| all.iter().rposition(worst));
        }
        nominate(&mut nominees, &mut rest, |all| {
            let lots = all.iter().map(|claimed| lot(nonce, claimed.claim.body.particle));
            lots.enumerate().min_by_key(|(_index, lot)| *lot).map(|(index, _lot)| index)
        });
        debug_assert!(nominees.len() <= usize::from(NOMINEES));
        nominees
    }

    /// The merges claimed in this window by vehicles in good standing, the highest first, each particle once.
    pub fn merges(&self, window: u32) -> Vec<Nominee> {
        let quarantined = self.quarantined(window);
        let mut rest = self.claimed(window);
        rest.retain(|one| {
            one.claim.body.role == Role::Merge && !quarantined.contains(&one.claim.signer)
        });
        let mut merges = Vec::new();
        while !rest.is_empty() {
            nominate(&mut merges, &mut rest, |_all| Some(0));
        }
        merges
    }

    /// What the vehicles drawn have found of this window's claims, for each that a majority measured.
    pub fn ballots(&self, window: u32) -> Vec<Ballot> {
        let count = |(particle, (claimed, votes)): (&ParticleId, &(&Claimed<'_>, Votes<'_>))| {
            let (claimant, role) = (claimed.claim.signer, claimed.claim.body.role);
            let voters = self.roster.voters_count();
            let votes: Vec<&VoteFields> = votes.iter().map(|(_voter, vote)| *vote).collect();
            Ballot::count(*particle, role, claimant, voters, &votes, &self.weighing)
        };
        let claims = self.claimed(window);
        self.counted(window, &claims).iter().filter_map(count).collect()
    }

    /// Who claimed what the quorum then found to be less by more than three standard errors: by how much the particle
    /// was better than the reference of the votes, each on one part of the pack. A claim of which the votes of a majority do
    /// not say that is not judged.
    pub fn broken(&self, window: u32) -> BTreeSet<KeyId> {
        let claims = self.claimed(window);
        let errors: Vec<f64> = claims.iter().map(|claimed| self.claimed_error(claimed)).collect();
        let usual = ERRORS_MAX * lower_median(errors).unwrap_or(0.0);
        let mut broken = BTreeSet::new();
        for ballot in self.ballots(window) {
            let Some((least, most)) = self.level(window, ballot.reference) else { continue };
            let of_particle =
                claims.iter().filter(|claimed| claimed.claim.body.particle == ballot.particle);
            for claimed in of_particle {
                let error = self.claimed_error(claimed).min(usual);
                let both = error * error + ballot.standard_error * ballot.standard_error;
                // Of two middle values that which speaks for the claimant: half of the votes condemn nobody.
                let missing = if claimed.claim.body.role == Role::Worst {
                    ballot.gain - (claimed.utility - least)
                } else {
                    (claimed.utility - most) - ballot.gain_most
                };
                if missing > BROKEN * libm::sqrt(both) {
                    broken.insert(claimed.claim.signer);
                }
            }
        }
        broken
    }

    /// Who is not in good standing in this window: a claim of theirs was broken in the eight windows before. The claims of
    /// the last of these are not voted on yet.
    pub fn quarantined(&self, window: u32) -> BTreeSet<KeyId> {
        let from = window.saturating_sub(STANDING_WINDOWS);
        let judged = from..window.saturating_sub(1);
        let windows = self.records.claimed_windows().into_iter().filter(|one| judged.contains(one));
        windows.flat_map(|window| self.broken(window)).collect()
    }

    /// Best in this window: of the nominees that a majority found surely better, that of the latest window; of several,
    /// the one that is surely better by most. `None`: x_p.
    ///
    /// Votes stand on the board for a few windows. A vehicle that was away when best was elected takes it from a majority
    /// that voted later, and measured beside it: it knows no election of that particle, and those who voted did.
    pub fn best(&self) -> Option<Elected> {
        let mut windows = self.records.claimed_windows();
        windows.retain(|claimed| claimed.saturating_add(ELECTED_AFTER) <= self.window);
        let elected = windows.iter().rev().find_map(|window| self.best_of(*window));
        let after = elected.as_ref().map_or(0, |elected| elected.window.saturating_add(1));
        let later = windows.iter().rev().take_while(|window| **window >= after);
        let is = |elected: Option<&Elected>, other: &Elected| {
            elected.map(|one| one.particle) == Some(other.particle)
        };
        let witnessed = later.copied().find_map(|window| self.witnessed(window)).filter(|other| {
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

    /// What a majority of the voters on a nominee of this window took for best.
    fn witnessed(&self, window: u32) -> Option<Elected> {
        let ballots = self.ballots(window);
        let nominees = if ballots.is_empty() { Vec::new() } else { self.nominees(window) };
        let nominated =
            |ballot: &&Ballot| nominees.iter().any(|nominee| nominee.particle == ballot.particle);
        ballots.iter().filter(nominated).find_map(|ballot| {
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
        let mut best: Option<(f64, Ballot)> = None;
        let ballots = self.ballots(window);
        if !ballots.iter().any(|ballot| merit(ballot).is_some()) {
            return None;
        }
        let nominees = self.nominees(window);
        // By growing name.
        for ballot in ballots {
            let nominated = nominees.iter().any(|nominee| nominee.particle == ballot.particle);
            let Some(merit) = merit(&ballot).filter(|_merit| nominated) else { continue };
            if best.as_ref().is_none_or(|(highest, _)| merit > *highest) {
                best = Some((merit, ballot));
            }
        }
        best.map(|(_merit, ballot)| {
            let Ballot { particle, role, claimant, values, .. } = ballot;
            Elected { window, particle, role, claimant, values }
        })
    }

    /// The claims of a window that count, highest first; of equal ones, that of the lowest record. They are measured on
    /// the part of the window's nonce, pass every gate, and their particle has a header.
    fn claimed(&self, window: u32) -> Vec<Claimed<'a>> {
        let Some(nonce) = self.records.nonce_of(window) else { return Vec::new() };
        let part = part(nonce);
        let counts = |claim: &'a Signed<ClaimFields>| {
            let fields = &claim.body;
            let values: Vec<i16> = fields.terms.iter().map(|term| term.value).collect();
            let header = self.records.particle(window, claim.signer, fields.role)?;
            let right = header.body.id == fields.particle
                && fields.role != Role::Contribution
                && fields.part == part
                && fields.pack == self.pack
                && self.weighing.passes(&values);
            let utility = self.weighing.utility(&values).filter(|_utility| right)?;
            Some(Claimed { claim, utility })
        };
        let mut claims: Vec<Claimed<'_>> = self.records.claims(window).filter_map(counts).collect();
        claims.sort_by(|a, b| {
            b.utility.total_cmp(&a.utility).then_with(|| a.claim.id.cmp(&b.claim.id))
        });
        claims
    }

    fn claimed_error(&self, claimed: &Claimed<'_>) -> f64 {
        let errors: Vec<u16> =
            claimed.claim.body.terms.iter().map(|term| term.standard_error).collect();
        self.weighing.standard_error(&errors)
    }

    /// The votes on each particle claimed in this window: of voters who were drawn, on the part of the nonce that asked.
    /// Who votes twice on one particle, and not the same, has not voted on it.
    fn counted<'c>(
        &self,
        window: u32,
        claims: &'c [Claimed<'a>],
    ) -> BTreeMap<ParticleId, (&'c Claimed<'a>, Votes<'a>)> {
        let mut counted = BTreeMap::new();
        let Some(asked) = window.checked_add(1) else { return counted };
        let Some(nonce) = self.records.nonce_of(asked) else { return counted };
        let part = part(nonce);
        let mut by_nominee: BTreeMap<ParticleId, BTreeMap<KeyId, Option<&'a VoteFields>>> =
            BTreeMap::new();
        for vote in self.records.votes(asked) {
            let fields = &vote.body;
            let right = fields.part == part
                && fields.pack == self.pack
                && fields.best != Some(fields.nominee);
            if !right {
                continue;
            }
            let votes = by_nominee.entry(fields.nominee).or_default();
            let kept = votes.entry(vote.signer).or_insert(Some(fields));
            if kept.is_some_and(|kept| (kept.best, &kept.terms) != (fields.best, &fields.terms)) {
                *kept = None;
            }
        }
        for (nominee, votes) in by_nominee {
            // The first is the highest.
            let Some(claimed) = claims.iter().find(|one| one.claim.body.particle == nominee) else {
                continue;
            };
            let drawn = self.roster.voters(nonce, nominee, claimed.claim.signer);
            let of_drawn = votes.into_iter().filter(|(voter, _vote)| drawn.contains(voter));
            let counts = of_drawn.filter_map(|(voter, vote)| Some((voter, vote?)));
            counted.insert(nominee, (claimed, counts.collect()));
        }
        counted
    }

    /// The utility of a particle on the part of this window's nonce, as those who voted in this window measured it, one value a
    /// voter: both middle ones. `None` while these are fewer than a majority of those who are drawn on a nominee.
    fn level(&self, window: u32, particle: Option<ParticleId>) -> Option<(f64, f64)> {
        let before = window.checked_sub(1)?;
        let claims = self.claimed(before);
        let mut levels = BTreeMap::new();
        for (nominee, (_claimed, votes)) in self.counted(before, &claims) {
            for (voter, vote) in votes {
                let values = |value: &dyn Fn(&Compared) -> i16| {
                    vote.terms.iter().map(value).collect::<Vec<i16>>()
                };
                let level = if particle == Some(nominee) {
                    self.weighing.utility(&values(&|term| term.value))
                } else if particle == vote.best {
                    self.weighing.utility(&values(&|term| term.best))
                } else {
                    None
                };
                levels.extend(level.map(|level| (voter, level)));
            }
        }
        if levels.len() < majority(self.roster.voters_count()) {
            return None;
        }
        let levels: Vec<f64> = levels.into_values().collect();
        Some((lower_median(levels.clone())?, upper_median(levels)?))
    }
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
