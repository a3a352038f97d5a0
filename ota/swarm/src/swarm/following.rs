//! By the consensus rule, who folds a window's contributions, and what the others do: they take the merge that one of
//! these claims, and measure it like any other.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use shoal_wire::v1::Role;
use shoal_wire::{KeyId, ParticleId};

use super::consensus::Merging;
use super::night::{Begun, Job, Night};
use super::{Swarm, moving::Contender};

/// Whether this vehicle folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Folds,
    /// Follows, and folds if near the end of the window there is nothing to follow, or what nobody should.
    StandsBy,
    Follows,
    /// That depends on who else contributes.
    Open,
}

impl Swarm {
    /// Who folds is drawn by the nonce of those who contributed: they are there. Nobody waits for who did not come.
    pub(super) fn turn(&self, night: &Night, begun: &Begun, contributed: BTreeSet<KeyId>) -> Turn {
        let Some(nonce) = self.records.nonce_of(night.window) else { return Turn::Open };
        if !self.roster.at(night.window).has(self.vehicle) {
            return Turn::Follows;
        }
        let place = |of: &BTreeSet<KeyId>| {
            let drawn = self.roster.folders(nonce, of, self.conduct.drawn());
            drawn.iter().position(|one| *one == self.vehicle)
        };
        let folders = self.conduct.folders;
        if place(&begun.asked).is_some_and(|place| place < folders) {
            return Turn::Folds;
        }
        let nobody = contributed.is_empty();
        let complete = night.late || begun.asked.is_subset(&contributed);
        let mut with_me = contributed;
        with_me.insert(self.vehicle);
        match place(&with_me) {
            None => Turn::Follows,
            // Whoever else comes, it only moves further back.
            Some(place) if place >= folders => Turn::StandsBy,
            Some(_) if !complete => Turn::Open,
            Some(_) if nobody || begun.asked.contains(&self.vehicle) => Turn::Folds,
            Some(_) => Turn::Follows,
        }
    }

    /// Takes the merge of whoever is drawn first to fold as something to move to; one that was measured to be worse gives way
    /// to the next. Until the window closes, or all who fold have claimed; who stands by folds then, while there is time.
    pub(super) fn follow(
        &mut self,
        night: &Night,
        begun: &mut Begun,
        mut tried: Vec<ParticleId>,
    ) -> bool {
        if begun.no_worse.iter().any(|(one, _gain)| tried.contains(&one.particle)) {
            begun.merging = Merging::Over;
            return true;
        }
        let comparing = match &night.measuring {
            Some((_id, Job::Compare(one))) => tried.contains(&one.particle),
            Some(_) | None => false,
        };
        let waiting = begun.contenders.iter().any(|one| tried.contains(&one.particle));
        if comparing || waiting {
            begun.merging = Merging::Following(tried);
            return false;
        }
        let merges = self.merges(night.window);
        let next = merges.iter().find(|one| !tried.contains(&one.particle)).cloned();
        if let Some(next) = next {
            tried.push(next.particle);
            begun.contend(next);
            begun.merging = Merging::Following(tried);
            return true;
        }
        let nothing = tried.is_empty() || begun.spoilt;
        // Who was to fold was looked at, and nobody should follow: who is next waits for nothing.
        let failed = begun.spoilt
            && self.folding(night, begun, self.conduct.drawn()).contains(&self.vehicle)
            && self.have_folded(night, begun, self.conduct.folders);
        if begun.stands_by && nothing && (night.hurried || failed) && !night.closing {
            (begun.stands_by, begun.relieves) = (false, true);
            begun.merging = Merging::Gathering;
            return true;
        }
        let all = self.conduct.drawn();
        let over = night.closing || self.have_folded(night, begun, all);
        begun.merging = if over { Merging::Over } else { Merging::Following(tried) };
        over
    }

    /// The first so many who are drawn to fold or stand by, of those who contributed.
    fn folding(&self, night: &Night, begun: &Begun, count: usize) -> BTreeSet<KeyId> {
        let Some(nonce) = self.records.nonce_of(night.window) else { return BTreeSet::new() };
        let contributed = self.have_contributed(night, begun);
        self.roster.folders(nonce, &contributed, count).into_iter().collect()
    }

    /// Whether so many of them are drawn, and have claimed a merge. Who claims one without being drawn does not count: liars do.
    fn have_folded(&self, night: &Night, begun: &Begun, count: usize) -> bool {
        let drawn = self.folding(night, begun, count);
        // A claim whose header is on its way is not there yet.
        let claimed = |id: &KeyId| {
            let mut claims = self.records.claims(night.window);
            claims.any(|one| one.signer == *id && one.body.role == Role::Merge)
                && self.records.particle(night.window, *id, Role::Merge).is_some()
        };
        drawn.len() == count && drawn.iter().all(claimed)
    }

    /// Merges claimed in this window, the highest first.
    fn merges(&self, window: u32) -> Vec<Contender> {
        let Some(quorum) = self.quorum(window) else { return Vec::new() };
        let merges = quorum.merges(window);
        merges.iter().filter_map(|merge| self.contender(merge, window, None)).collect()
    }
}
