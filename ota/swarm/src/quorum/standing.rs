//! Standing: who stands aside by what came of the windows that are looked back on, but for what the authority reinstated.

use alloc::collections::{BTreeMap, BTreeSet};

use shoal_wire::KeyId;

use super::{Judged, Quorum, Verdict};
use crate::records::STANDING_WINDOWS;

impl Verdict {
    /// Whether it holds without these: who found it are still more than half of those who voted.
    pub(super) fn holds_without(&self, liars: &BTreeSet<KeyId>) -> bool {
        self.found_by.difference(liars).count().saturating_mul(2) > self.of
    }

    /// Whether it is held against the accused, while these are known to lie. What nearly all found is sure.
    pub(super) fn counts(&self, liars: &BTreeSet<KeyId>) -> bool {
        self.sure || self.holds_without(liars)
    }
}

impl<'a> Quorum<'a> {
    /// Who is not in good standing in this window, by what came of those before. Who votes falsely or breaks a claim in the eyes of three
    /// in four is sure to lie, and what such vehicles found is held against nobody: where a third lies, five of nine voters do so in every
    /// seventh draw, and break a claim that holds. A reinstatement does not change that.
    pub(super) fn standing(
        &self,
        judged: &BTreeMap<u32, Judged<'a>>,
        window: u32,
    ) -> BTreeSet<KeyId> {
        let liars = liars(judged, window);
        let mut aside = BTreeSet::new();
        for (&of, judged) in looked_back_on(judged, window) {
            let verdicts = judged.broken.iter().chain(&judged.withheld);
            let mut found = accused(verdicts.filter(|verdict| verdict.counts(&liars)));
            found.extend(judged.misvoted.iter().map(|(_nominee, voter)| *voter));
            let held = |vehicle: &KeyId| self.good_again(*vehicle, of).is_none_or(|w| w > window);
            aside.extend(found.into_iter().filter(held));
        }
        aside
    }

    /// From which window on the authority's word is that what came of this window's claims is not held against a vehicle. It was found
    /// in the window after.
    pub(super) fn good_again(&self, vehicle: KeyId, of: u32) -> Option<u32> {
        let found = of.saturating_add(1);
        self.reinstated.from(self.names(vehicle), found)
    }
}

/// Who is sure to lie, by what came of the windows that standing in this one looks back on.
pub(super) fn liars(judged: &BTreeMap<u32, Judged<'_>>, window: u32) -> BTreeSet<KeyId> {
    let judged = || looked_back_on(judged, window).map(|(_window, judged)| judged);
    let misvoted = judged().flat_map(|judged| &judged.misvoted).map(|(_nominee, voter)| *voter);
    let mut liars: BTreeSet<KeyId> = misvoted.collect();
    let broken = judged().flat_map(|judged| &judged.broken);
    liars.extend(accused(broken.filter(|verdict| verdict.sure)));
    liars
}

/// The eight windows before this one, without the last, whose claims are not voted on yet.
pub(super) fn looked_back_on<'j, 'a>(
    judged: &'j BTreeMap<u32, Judged<'a>>,
    window: u32,
) -> impl Iterator<Item = (&'j u32, &'j Judged<'a>)> {
    let from = window.saturating_sub(STANDING_WINDOWS);
    // An empty range has no place in a map.
    let to = window.saturating_sub(1).max(from);
    judged.range(from..to)
}

pub(super) fn accused<'v>(verdicts: impl IntoIterator<Item = &'v Verdict>) -> BTreeSet<KeyId> {
    verdicts.into_iter().flat_map(|verdict| verdict.accused.iter().copied()).collect()
}
