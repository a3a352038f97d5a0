//! A fleet that believes: what a vehicle would measure of what others made, it takes from their claims.
//!
//! A vehicle that votes on a nominee, or is about to move to a particle, measures it beside what it has. One that believes
//! measures only what it has, on the part of the claim, and takes the rest from the claim, as if it were exact. Of
//! contributions nobody claims anything: it folds them plainly, as if none were worse than another. What it made or has
//! itself it measures as always.

use shoal_swarm::swarm::{Flat, On, TermResult};
use shoal_wire::v1::Measured;

use super::shell::Shell;

/// What a vehicle believes instead of measuring it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Belief {
    /// Of a fold of contributions: that it is no worse than any other.
    Plain,
    /// Of a particle that others claim: this, on this part.
    Claimed { part: u8, terms: Vec<Measured> },
}

/// A claim that is believed, beside what the vehicle has.
pub(super) fn believed(claimed: &[Measured], has: &[TermResult]) -> Vec<TermResult> {
    let both = claimed.iter().zip(has);
    both.map(|(claimed, has)| TermResult {
        value: claimed.value,
        beside: has.value,
        value_error: claimed.standard_error,
        difference_error: 0,
    })
    .collect()
}

impl Shell {
    /// What it believes of what its core would have measured; `None`: that is measured.
    pub(super) fn belief(
        &self,
        candidate: &Flat,
        beside: Option<&Flat>,
        on: On,
        awaited: bool,
    ) -> Option<Belief> {
        let on_pack = match on {
            On::Part(_) => true,
            On::Own => false,
        };
        // What nobody waits for is for the vehicle's own use.
        if !self.ways.believes || !awaited || !on_pack {
            return None;
        }
        let particle = self.particle(candidate);
        if beside.is_none() {
            // Its own merge, to be claimed, is known by name; what the search tries is not.
            return particle.is_none().then_some(Belief::Plain);
        }
        let (particle, records) = (particle?, self.swarm.records());
        let claims = records.claimed_windows().into_iter().rev().find_map(|window| {
            let of = |claim: &&shoal_swarm::records::Signed<shoal_wire::v1::ClaimFields>| {
                claim.body.particle == particle && claim.signer != self.id()
            };
            // The highest, as for a nominee.
            let height = |terms: &[Measured]| -> i64 {
                terms.iter().map(|term| i64::from(term.value)).sum()
            };
            records.claims(window).filter(of).max_by_key(|claim| height(&claim.body.terms))
        });
        let claim = claims?;
        let terms = claim.body.terms.iter().copied().collect();
        Some(Belief::Claimed { part: claim.body.part, terms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_claimed_is_taken_as_exact() {
        let has = TermResult { value: 5_000, beside: 1, value_error: 30, difference_error: 40 };
        let claimed = Measured { value: 9_900, standard_error: 10 };
        let found = believed(&[claimed], &[has]);
        let want = TermResult { value: 9_900, beside: 5_000, value_error: 10, difference_error: 0 };
        assert_eq!(found, [want]);
    }
}
