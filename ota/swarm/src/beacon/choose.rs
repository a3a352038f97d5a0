//! Which records of a window matter by now: those are asked of the board, and passed on once they are whole.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use shoal_wire::v1::{Claim, ParticleHeader};
use shoal_wire::{KeyId, Leaf, Outbound, ParticleId, Unverified};

use super::fold::{Fold, Kept, Reading};
use super::references::Named;
use super::{Act, Beacon, MERGES_MAX, Wanted, topic, votes, when};
use crate::quorum::{Nominee, Quorum};
use crate::records::Signed;

/// What matters of a window.
struct Look {
    kept: Kept,
    /// Who is not in good standing.
    aside: BTreeSet<KeyId>,
    /// Of an open window: who may be drawn to fold.
    folding: BTreeSet<KeyId>,
    /// What majorities of the votes on it are measured beside.
    references: Vec<ParticleId>,
}

impl Beacon {
    /// Asks for what matters of a window's claims and was not passed on, and for the votes on its candidates.
    pub(super) fn choose(&mut self, window: u32) {
        let Some(Look { kept, aside, folding, references }) = self.look(window) else { return };
        let asked = window.saturating_add(1);
        let open = !self.nonces.contains_key(&asked);
        self.note_what_matters(window, &kept, &references);
        let all = (window, KeyId::new([0; 8]))..=(window, KeyId::new([u8::MAX; 8]));
        let others = self.passed.range(all).filter(|((_, signer), _)| !folding.contains(signer));
        let full = open && others.count() >= MERGES_MAX;
        for (signer, with_header) in kept.claims {
            let key = (window, signer);
            let had = self.passed.get(&key);
            if had.is_some_and(|had| had.is_some() || !with_header)
                || full && !folding.contains(&signer)
            {
                continue;
            }
            let wanted = self.wanted.get(&key);
            if wanted.is_none_or(|wanted| with_header && !wanted.with_header) {
                self.wanted.insert(key, Wanted { with_header, ..Wanted::default() });
                self.ask(window, signer);
            }
        }
        let Some(nonce) = self.records.as_ref().and_then(|records| records.nonce_of(asked)) else {
            return;
        };
        let roster = self.agreed.keyring.roster();
        let drawn = |nominee: &Nominee| {
            let voters = roster.at(asked).voters(nonce, nominee.particle, nominee.claimant, &aside);
            voters.into_iter().map(|voter| (voter, nominee.particle)).collect::<Vec<_>>()
        };
        let drawn: Vec<(KeyId, ParticleId)> = kept.candidates.iter().flat_map(drawn).collect();
        for (voter, nominee) in drawn {
            let (first, held) = self.voters.draw((asked, voter), nominee);
            if first {
                self.subscribe_everywhere(&votes(asked, voter));
            }
            if let Some(vote) = held {
                self.put(asked, Some(nominee), vote);
            }
        }
        for reference in references {
            match self.references.named(asked, reference) {
                Named::PassOn(pair) => self.put(asked, Some(reference), pair),
                Named::Seek => self.hear(),
                Named::Enough => {}
            }
        }
    }

    /// Of a window: what its claims, and the votes on them in the next one, are about.
    fn note_what_matters(&mut self, window: u32, kept: &Kept, references: &[ParticleId]) {
        let (roster, fold) = (self.agreed.keyring.roster(), self.folds.get(&window));
        let claimed = |signer: &KeyId| fold?.claimed(roster.number(*signer)?);
        let claims = kept.claims.keys().filter_map(claimed).map(|claim| claim.body.particle);
        let candidates = kept.candidates.iter().map(|candidate| candidate.particle);
        let matters = claims.chain(candidates).chain(references.iter().copied());
        self.matters.insert(window, matters.collect());
    }

    fn look(&self, window: u32) -> Option<Look> {
        let (records, utility) = (self.records.as_ref()?, self.agreed.utility()?);
        let roster = self.agreed.keyring.roster();
        let nonce = records.nonce_of(window)?;
        let next = window.checked_add(1).and_then(|next| records.nonce_of(next));
        let read = window.saturating_add(next.is_some().into());
        let quorum = Quorum::new(records, roster, utility, read)?;
        let quorum = quorum.reinstating(self.agreed.reinstated());
        let aside = quorum.quarantined(read);
        let references = quorum.ballots(window).iter().filter_map(|ballot| ballot.reference);
        let references = references.collect::<BTreeSet<_>>().into_iter().collect();
        let folding = if next.is_some() {
            BTreeSet::new()
        } else {
            let asked = roster.at(window).asked(nonce, self.agreed.asked, &aside);
            roster.folders(nonce, &asked, MERGES_MAX).into_iter().collect()
        };
        let reading =
            Reading { roster, utility, nonce, next, quarantined: &aside, folding: &folding };
        let kept = self.folds.get(&window)?.kept(&reading);
        Some(Look { kept, aside, folding, references })
    }

    /// A window's claims, with room for all vehicles that there are now.
    pub(super) fn fold(&mut self, window: u32) -> &mut Fold {
        let vehicles = self.agreed.keyring.roster().places();
        let fold = self.folds.entry(window).or_insert_with(|| Fold::new(window, vehicles));
        fold.grow(vehicles);
        fold
    }

    /// For all that the board did not give.
    pub(super) fn ask_again(&mut self) {
        let wanted: Vec<(u32, KeyId)> = self.wanted.keys().copied().collect();
        wanted.into_iter().for_each(|(window, signer)| self.ask(window, signer));
    }

    /// Asks the board for what a claim lacks.
    fn ask(&mut self, window: u32, signer: KeyId) {
        let roster = self.agreed.keyring.roster();
        let Some(claim) =
            roster.number(signer).and_then(|number| self.folds.get(&window)?.claimed(number))
        else {
            return;
        };
        let slot = claim.body.slot;
        let Some(wanted) = self.wanted.get(&(window, signer)) else { return };
        let claim = wanted.claim.is_none().then_some(Leaf::Claim { slot });
        let lacks_header = wanted.with_header && wanted.header.is_none();
        let header = lacks_header.then_some(Leaf::Particle { slot });
        for leaf in [claim, header].into_iter().flatten() {
            if let Some(topic) = topic(&self.fleet, &self.region, signer, leaf) {
                self.acts.push_back(Act::Ask(topic.in_any_region().as_str().into()));
            }
        }
    }

    /// Passes a claim on once all of it is here.
    pub(super) fn complete(&mut self, key: (u32, KeyId)) {
        let Some(wanted) = self.wanted.get(&key) else { return };
        let whole = wanted.claim.is_some() && wanted.with_header == wanted.header.is_some();
        if !whole {
            return;
        }
        let (Some(when), Some(wanted)) = (when(self.newest), self.wanted.remove(&key)) else {
            return;
        };
        let (claim, header) = (wanted.claim.unwrap_or_default(), wanted.header);
        let keys = &self.agreed.keyring;
        let claim = Unverified::decode(&claim).and_then(|claim| claim.verify::<Claim>(keys));
        let header = header.as_deref().map(|header| {
            Unverified::decode(header).and_then(|header| header.verify::<ParticleHeader>(keys))
        });
        // Both held when they came: only who left the roster since is not known any more.
        let (Ok(claim), Ok(header)) = (claim, header.transpose()) else { return };
        let (slot, particle) = (claim.body().fields().slot, claim.body().fields().particle);
        self.record(|records, roster| records.claim(&when, roster, &Signed::from(&claim)));
        if let Some(header) = &header {
            let signed = Signed::from(header);
            self.record(|records, roster| records.header(&when, roster, &signed, slot));
        }
        self.passed.insert(key, header.as_ref().map(|_header| claim.bytes().to_vec()));
        self.changed = true;
        let header = header.as_ref().map(Outbound::from);
        if let Some(header) = &header {
            self.references.learn(particle, key.0, &[claim.bytes(), header.bytes()].concat());
        }
        self.pass_on((key.0, particle), Outbound::from(&claim), header);
    }
}
