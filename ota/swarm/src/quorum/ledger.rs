//! The ledger: what came of each vehicle's word in the windows that standing looks back on, and on what evidence somebody stands
//! aside. As all that a quorum says, a pure function of records: whoever has them sees the same.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use shoal_wire::{KeyId, ParticleId};

use super::standing::{accused, liars, looked_back_on};
use super::{Judged, Quorum, Verdict, held_against};
use crate::ballot::lower_median;
use crate::records::STANDING_WINDOWS;

/// What came of the word of one vehicle.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// Claims that were voted on and hold.
    pub kept: u32,
    /// What was found against it, in the order of windows.
    pub findings: Vec<Finding>,
    /// The first window in which it is in good standing again, as far as is known; `None`: it is so now.
    pub good_from: Option<u32>,
}

/// What was found against a vehicle.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The window of the claim; it was voted on in the next.
    pub window: u32,
    /// Of which particle.
    pub particle: ParticleId,
    /// What is wrong.
    pub fault: Fault,
    /// By how much the particle is better than the reference, by the word of the vehicle, in utility. `None`: nobody could measure it.
    pub said: Option<f64>,
    /// By how much the voters found it better: the median.
    pub found: Option<f64>,
    /// So many voters found it…
    pub found_by: usize,
    /// …of so many who voted.
    pub of: usize,
    /// Whether the vehicle stands aside for it. It does not where most of those who found it are found out themselves, nor once it is
    /// reinstated.
    pub counts: bool,
    /// From which window on the authority reinstated the vehicle in spite of it; `None`: it did not.
    pub reinstated_from: Option<u32>,
}

/// Ways of not keeping one's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A claim of which the quorum found less than was claimed.
    Broken,
    /// A claim of what nobody could get.
    Withheld,
    /// A vote that nearly all others contradict.
    FalseVote,
}

impl Account {
    /// The last window from which on the authority reinstated the vehicle in spite of what was found.
    pub fn reinstated_from(&self) -> Option<u32> {
        self.findings.iter().filter_map(|finding| finding.reinstated_from).max()
    }
}

impl Finding {
    /// The first window in which it is not looked back on, or not held against the vehicle.
    fn over_from(&self) -> u32 {
        let over = self.window.saturating_add(STANDING_WINDOWS).saturating_add(1);
        self.reinstated_from.map_or(over, |from| from.min(over))
    }
}

impl<'a> Quorum<'a> {
    /// The account of every vehicle of which something was judged in the windows that standing in this one looks back on. Who has
    /// a window to wait for in it is who is [quarantined](Quorum::quarantined).
    pub fn ledger(&self, window: u32) -> BTreeMap<KeyId, Account> {
        let mut ledger: BTreeMap<KeyId, Account> = BTreeMap::new();
        let found_out = liars(self.judged(), window);
        for (&of, judged) in looked_back_on(self.judged(), window) {
            for claimant in self.kept(of, judged) {
                let kept = &mut ledger.entry(claimant).or_default().kept;
                *kept = kept.saturating_add(1);
            }
            let broken = judged.broken.iter().map(|verdict| (Fault::Broken, verdict));
            let withheld = judged.withheld.iter().map(|verdict| (Fault::Withheld, verdict));
            for (fault, verdict) in broken.chain(withheld) {
                let finding = Finding {
                    window: of,
                    particle: verdict.particle,
                    fault,
                    said: verdict.gains.map(|(said, _found)| said),
                    found: verdict.gains.map(|(_said, found)| found),
                    found_by: verdict.found_by.len(),
                    of: verdict.of,
                    counts: verdict.counts(&found_out),
                    reinstated_from: None,
                };
                for vehicle in &verdict.accused {
                    ledger.entry(*vehicle).or_default().findings.push(finding.clone());
                }
            }
            for (particle, voter) in &judged.misvoted {
                let finding = self.contradicted(of, judged, *particle, *voter);
                ledger.entry(*voter).or_default().findings.push(finding);
            }
        }
        for (vehicle, account) in &mut ledger {
            for finding in &mut account.findings {
                finding.reinstated_from = self.good_again(*vehicle, finding.window);
                finding.counts &= finding.over_from() > window;
            }
            let counting = account.findings.iter().filter(|finding| finding.counts);
            account.good_from = counting.map(Finding::over_from).max();
        }
        ledger
    }

    /// Whose claims of this window a majority measured and did not break, once for each.
    fn kept(&self, window: u32, judged: &Judged<'a>) -> Vec<KeyId> {
        let weighing = window.checked_add(1).and_then(|asked| self.utility.at(asked));
        let claims = weighing.map(|weighing| self.claimed(window, &weighing)).unwrap_or_default();
        let of_ballot = |particle: ParticleId| {
            let verdicts: Vec<&Verdict> =
                judged.broken.iter().filter(|verdict| verdict.particle == particle).collect();
            let broken: BTreeSet<KeyId> = accused(verdicts);
            let held = held_against(&claims, particle).into_iter();
            let signers: BTreeSet<KeyId> = held.map(|claimed| claimed.claim.signer).collect();
            signers.into_iter().filter(move |signer| !broken.contains(signer))
        };
        judged.ballots.iter().flat_map(|ballot| of_ballot(ballot.particle)).collect()
    }

    /// A vote beside what the others found. A vehicle may have been called otherwise when it voted.
    fn contradicted(
        &self,
        window: u32,
        judged: &Judged<'a>,
        particle: ParticleId,
        voter: KeyId,
    ) -> Finding {
        let weighing = window.checked_add(1).and_then(|asked| self.utility.at(asked));
        let votes = judged.votes.get(&particle).map(|votes| votes.measured.as_slice());
        let votes = votes.unwrap_or_default();
        let names: BTreeSet<KeyId> = self.names(voter).collect();
        let own = votes.iter().find(|(one, _vote)| names.contains(one));
        let gain = |vote: &shoal_wire::v1::VoteFields| {
            weighing.as_ref().map(|weighing| weighing.difference(&vote.terms).0)
        };
        let others = votes.iter().filter(|(one, vote)| {
            !judged.misvoted.contains(&(particle, *one))
                && own.is_some_and(|(_, own)| own.best == vote.best)
        });
        let gains: Vec<f64> = others.filter_map(|(_voter, vote)| gain(vote)).collect();
        Finding {
            window,
            particle,
            fault: Fault::FalseVote,
            said: own.and_then(|(_voter, vote)| gain(vote)),
            found_by: gains.len(),
            found: lower_median(gains),
            of: votes.len(),
            counts: true,
            reinstated_from: None,
        }
    }
}
