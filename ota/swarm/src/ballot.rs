//! The ballot on one particle: what the voters who were drawn measured of it.

use alloc::vec::Vec;

use shoal_wire::v1::{Compared, Role, VoteFields};
use shoal_wire::{KeyId, ParticleId};

use crate::roster::majority;
use crate::utility::Weighing;

/// One-sided 95 %: a gain below this many standard errors is none.
pub(crate) const SURE: f64 = 1.645;

/// What a majority of voters found.
#[derive(Clone, Debug, PartialEq)]
pub struct Ballot {
    /// On which particle.
    pub particle: ParticleId,
    /// As what it was claimed.
    pub role: Role,
    /// Whose claim was voted on: the highest, if several vehicles claimed it.
    pub claimant: KeyId,
    /// k: how many were drawn.
    pub voters: usize,
    /// How many of them measured it beside the same particle.
    pub votes: usize,
    /// Which particle that was; `None`: x_p, before there was a best.
    pub reference: Option<ParticleId>,
    /// The median of how much better it is.
    pub gain: f64,
    /// The median of the standard errors of that.
    pub standard_error: f64,
    /// The median of gain − 1.645 standard errors: surely so much better.
    pub better: f64,
    /// The median of −gain − 1.645 standard errors: surely so much worse.
    pub worse: f64,
    /// The median of what each term was, in units of 1e-4.
    pub values: Vec<i16>,
    /// The same of the particle that it was measured beside.
    pub reference_values: Vec<i16>,
}

impl Ballot {
    /// Counts votes of voters who were drawn, one each. `None` while no majority of `voters` has measured the
    /// particle beside the same one.
    pub(crate) fn count(
        particle: ParticleId,
        role: Role,
        claimant: KeyId,
        voters: usize,
        votes: &[&VoteFields],
        weighing: &Weighing,
    ) -> Option<Self> {
        let agreeing = |reference: Option<ParticleId>| {
            votes.iter().filter(move |vote| vote.best == reference).copied()
        };
        let most = |vote: &&&VoteFields| agreeing(vote.best).count() >= majority(voters);
        let reference = votes.iter().find(most)?.best;
        let votes: Vec<&VoteFields> = agreeing(reference).collect();
        let differences: Vec<(f64, f64)> =
            votes.iter().map(|vote| weighing.difference(&vote.terms)).collect();
        let of = |bound: &dyn Fn(f64, f64) -> f64| {
            lower_median(differences.iter().map(|(gain, error)| bound(*gain, *error)).collect())
        };
        Some(Self {
            particle,
            role,
            claimant,
            voters,
            votes: votes.len(),
            reference,
            gain: of(&|gain, _error| gain)?,
            standard_error: of(&|_gain, error| error)?,
            better: of(&|gain, error| gain - SURE * error)?,
            worse: of(&|gain, error| -gain - SURE * error)?,
            values: medians(&votes, |term| term.value),
            reference_values: medians(&votes, |term| term.best),
        })
    }

    /// Whether it can be best: claimed as good, surely better than its reference, below no gate.
    pub fn elects_best(&self, weighing: &Weighing) -> bool {
        let claimed = match self.role {
            Role::Best | Role::Merge => true,
            Role::Worst | Role::Contribution => false,
        };
        claimed && self.better > 0.0 && weighing.passes(&self.values)
    }

    /// Whether it can be worst: claimed as bad, surely worse than its reference, below no gate.
    pub fn elects_worst(&self, weighing: &Weighing) -> bool {
        self.role == Role::Worst && self.worse > 0.0 && weighing.passes(&self.values)
    }
}

/// The middle value, the lower of the two middle ones: a voter who stays away cannot make a gain out of half the votes.
pub(crate) fn lower_median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// The middle value, the upper of the two middle ones.
pub(crate) fn upper_median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The lower median of each term, of those who measured it, as far as most of the votes go: one that is short takes no gate away.
fn medians(votes: &[&VoteFields], of: impl Fn(&Compared) -> i16) -> Vec<i16> {
    let terms = votes.iter().map(|vote| vote.terms.len()).max().unwrap_or(0);
    let of_term = |index: usize| {
        let mut values: Vec<i16> =
            votes.iter().filter_map(|vote| vote.terms.get(index)).map(&of).collect();
        values.sort_unstable();
        let most = values.len() > votes.len() / 2;
        values.get(values.len().saturating_sub(1) / 2).copied().filter(|_value| most)
    };
    (0..terms).map_while(of_term).collect()
}
