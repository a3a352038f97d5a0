//! Where the vehicle tunes from next: only from what it has itself measured to be no worse.

use alloc::vec::Vec;

use shoal_wire::ParticleId;
use shoal_wire::v1::{Role, Rule};

use super::consensus::surely_worse;
use super::night::{Begun, Job, Night};
use super::store::Want;
use super::{Event, Flat, On, Output, Swarm, TermResult};
use crate::fold::displacement;
use crate::quorum::{Elected, Nominee};
use crate::roster::{part, part_after};

/// A particle that the vehicle may move towards.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Contender {
    pub(super) particle: ParticleId,
    /// The part to measure it on: neither its claim nor its votes used it, nor who chose it.
    pub(super) part: u8,
    /// Another such part, where there is one, for a second look.
    pub(super) other_part: Option<u8>,
    /// What it gained at the first look.
    pub(super) first: Option<f64>,
    /// What it was folded from.
    pub(super) inputs: Vec<ParticleId>,
}

impl Contender {
    /// One that nobody measured yet. Parts of the pack that neither the claim, nor who chose the particle, nor its votes have
    /// used are for who moves; who folds a merge chooses on the part after the claim's.
    pub(super) fn new(
        particle: ParticleId,
        claimed: u8,
        voted: Option<u8>,
        inputs: Vec<ParticleId>,
    ) -> Self {
        let mut unused = [2, 3]
            .map(|parts| part_after(claimed, parts))
            .into_iter()
            .filter(|p| voted != Some(*p));
        let part = unused.next().unwrap_or(claimed);
        Self { particle, part, other_part: unused.next(), first: None, inputs }
    }
}

impl Swarm {
    /// A nominee as something to move towards; `None` of one that is claimed as bad, or whose claim has no nonce.
    pub(super) fn contender(
        &self,
        nominee: &Nominee,
        claimed: u32,
        voted: Option<u8>,
    ) -> Option<Contender> {
        let good = match nominee.role {
            Role::Best | Role::Merge => true,
            Role::Worst | Role::Contribution => false,
        };
        let claim_part = part(self.records.nonce_of(claimed)?);
        let header = self.records.particle(claimed, nominee.claimant, nominee.role);
        let inputs = header.map(|header| {
            header.body.inputs.iter().map(|input| input.particle).collect::<Vec<ParticleId>>()
        });
        good.then(|| {
            Contender::new(nominee.particle, claim_part, voted, inputs.unwrap_or_default())
        })
    }

    /// Best, for a vehicle that did not vote on it.
    pub(super) fn elected_contender(&self, best: Option<&Elected>) -> Vec<Contender> {
        let Some(&Elected { window, particle, role, claimant, .. }) = best else {
            return Vec::new();
        };
        let voted = window.checked_add(1).and_then(|asked| self.records.nonce_of(asked)).map(part);
        let nominee = Nominee { particle, role, claimant, slot: 0 };
        self.contender(&nominee, window, voted).into_iter().collect()
    }

    /// Measures the next contender beside what the vehicle has.
    pub(super) fn compare(&mut self, night: &mut Night, begun: &mut Begun) -> bool {
        if night.measuring.is_some() {
            return false;
        }
        if begun.contenders.is_empty() || !begun.walking.ready(&self.document.rule) {
            return false;
        }
        let Some(beside) = self.has(night, begun) else { return false };
        let mut index = 0;
        while let Some(contender) = begun.contenders.get(index).cloned() {
            if self.known_to_be_no_better(&contender) {
                begun.contenders.remove(index);
                continue;
            }
            match self.want(Some(contender.particle), night.online) {
                Want::Here(candidate) => {
                    begun.contenders.remove(index);
                    let on = On::Part(contender.part);
                    self.measure(night, Job::Compare(contender), candidate, Some(beside), on);
                    return true;
                }
                Want::Coming => index = index.saturating_add(1),
                Want::Lost => {
                    begun.contenders.remove(index);
                }
            }
        }
        false
    }

    /// What a contender must not be worse than: the particle moved to last, or best if that is not to be had; by the
    /// paper's rule, the personal best. `None`: it is on its way.
    fn has(&mut self, night: &Night, begun: &Begun) -> Option<Flat> {
        if let Rule::Paper(_) = self.document.rule {
            return Some(self.personal_best());
        }
        for place in [self.state.base, begun.elected()] {
            match self.want(place, night.online) {
                Want::Here(values) => return Some(values),
                Want::Coming => return None,
                Want::Lost => {}
            }
        }
        Some(self.start.clone())
    }

    /// Where the vehicle stands already, or has come from.
    fn known_to_be_no_better(&self, contender: &Contender) -> bool {
        match self.document.rule {
            Rule::Consensus(_) => {
                [self.state.base, self.state.before].contains(&Some(contender.particle))
            }
            Rule::Paper(_) | Rule::Coefficients => false,
        }
    }

    /// By the consensus rule: once all is measured that can be, moves to what gained most, or stays.
    pub(super) fn decide(&mut self, night: &mut Night, begun: &mut Begun) -> bool {
        let Rule::Consensus(_) = self.document.rule else { return false };
        let open = night.measuring.is_some()
            || night.coding.is_some()
            || !begun.all_voted()
            || !begun.contenders.is_empty()
            || !begun.merging.done();
        if begun.decided || open {
            return false;
        }
        begun.decided = true;
        self.keep_own();
        let mut most: Option<&(Contender, f64)> = None;
        for one in &begun.no_worse {
            if most.is_none_or(|(_, gain)| one.1 > *gain) {
                most = Some(one);
            }
        }
        let there = most.and_then(|(contender, gain)| {
            let values = self.store.get(contender.particle)?.clone();
            Some((contender.clone(), *gain, values))
        });
        match there {
            Some((contender, gain, values)) => {
                self.move_to(&contender, gain, &values, night.window);
            }
            None => {
                let from = self.reached();
                self.stand_at(&from);
                self.say(Output::Event(Event::Stayed));
                self.say(Output::Tune { from, particle: None, window: night.window });
            }
        }
        true
    }

    /// How far the vehicle has come: what it tuned, or where it stands while that is not done.
    pub(super) fn reached(&self) -> Flat {
        let tuned = self.tuned.as_ref().filter(|_tuned| self.has_tuned);
        tuned.unwrap_or(&self.position).clone()
    }

    /// From here it tunes next, also after a start.
    fn stand_at(&mut self, position: &Flat) {
        self.state.position = Some(self.keep_values(position));
        // Of the paper's rule, where the fleet went by that before.
        self.state.walk = None;
        (self.has_tuned, self.state.given) = (false, false);
        self.position = position.clone();
        self.keep_state();
    }

    /// What the vehicle tuned itself since the last decision joins what it tuned before, which fades.
    fn keep_own(&mut self) {
        let Some(tuned) = self.tuned.as_ref().filter(|_tuned| self.has_tuned) else { return };
        let step: Flat = displacement(tuned, &self.position, None).into();
        let own: Flat = match &self.kept.own {
            Some(own) => {
                let kept = self.conduct.own_kept;
                own.iter().zip(step.iter()).map(|(own, step)| kept * own + step).collect()
            }
            None => step,
        };
        self.state.own = Some(self.keep_values(&own));
        self.kept.own = Some(own);
    }

    fn move_to(&mut self, contender: &Contender, gain: f64, values: &Flat, window: u32) {
        let Contender { particle, inputs, .. } = contender;
        self.state.before = self.state.base;
        self.state.base = Some(*particle);
        // What no merge has had yet is owed to the next one, however long that is after.
        let pending = self.state.pending.filter(|pending| inputs.contains(&pending.contribution));
        if let Some(pending) = pending {
            self.state.owed = Some(pending.values);
            self.kept.owed.clone_from(&self.kept.pending);
        }
        // What it tuned before is not a difference to this.
        self.fresh = false;
        self.stand_at(values);
        self.say(Output::Event(Event::Moved { particle: *particle, gain }));
        self.say(Output::Tune { from: values.clone(), particle: Some(*particle), window });
    }
}

impl Begun {
    /// `second_look`: [`Conduct::second_look`](super::Conduct::second_look).
    pub(super) fn compared(
        &mut self,
        contender: Contender,
        second_look: bool,
        terms: Option<&[TermResult]>,
    ) {
        let Some(terms) = terms else { return };
        let Some(gain) = self.gain(terms) else { return };
        self.spoilt |= surely_worse(self, terms);
        if let Some(first) = contender.first {
            let mean = f64::midpoint(first, gain);
            if mean >= 0.0 {
                self.no_worse.push((contender, mean));
            }
            return;
        }
        if gain >= 0.0 {
            self.no_worse.push((contender, gain));
            return;
        }
        if let Some(part) = contender.other_part.filter(|_part| second_look) {
            self.contend(Contender { part, other_part: None, first: Some(gain), ..contender });
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_wire::v1::PARTS;

    use super::*;

    #[test]
    fn a_contender_is_measured_where_nothing_was_chosen() {
        let particle = ParticleId::new([0; 32]);
        for claimed in 0..PARTS {
            let chosen = part_after(claimed, 1);
            for voted in (0..PARTS).map(Some).chain([None]) {
                let one = Contender::new(particle, claimed, voted, Vec::new());
                let parts: Vec<u8> =
                    [Some(one.part), one.other_part].into_iter().flatten().collect();
                assert!(parts.len() == 2 || voted.is_some());
                for part in &parts {
                    assert!(*part < PARTS && *part != claimed && *part != chosen);
                    assert!(Some(*part) != voted);
                }
                assert!(parts.len() < 2 || parts.first() != parts.last());
            }
        }
    }
}
