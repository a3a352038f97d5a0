//! What a window's contributions are a difference to: the merge that the vehicle tuned from.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use shoal_wire::ParticleId;
use shoal_wire::v1::Role;

use super::night::Begun;
use super::{Flat, Swarm};

/// A merge of so many windows ago is at hand to all who were there.
const RECENT_WINDOWS: u32 = 2;
/// So many anchors of one window are fetched: vehicles that measured nearly alike may have moved to one of two merges.
const ANCHORS_MAX: usize = 4;

/// A particle that contributions are a difference to; `None`: x_p.
pub(super) type Anchor = Option<ParticleId>;

impl Swarm {
    /// What this vehicle's contribution is a difference to: where it tuned from, if the others know that; else best. A difference to
    /// where nearly all stand holds what the vehicle found alone, and coding keeps its bits for that.
    pub(super) fn own_anchor(&self, window: u32, begun: &Begun) -> Anchor {
        let from = self.tuned_at;
        if self.anchors(window, begun).contains(&from) { from } else { begun.elected() }
    }

    /// What contributions of this window may be a difference to: best, x_p before there is one, and the merges of the last windows.
    pub(super) fn anchors(&self, window: u32, begun: &Begun) -> BTreeSet<Anchor> {
        let recent = window.saturating_sub(RECENT_WINDOWS)..window;
        let merges = recent.flat_map(|window| self.records.particles(window));
        let merges = merges.filter(|header| header.body.role == Role::Merge);
        let merges = merges.map(|header| Some(header.body.id));
        merges.chain([begun.elected()]).collect()
    }
}

/// Those that most contributions name, the most named first; of equal ones, the lowest.
pub(super) fn most_named(named: impl Iterator<Item = Anchor>) -> Vec<Anchor> {
    let mut counts: BTreeMap<Anchor, usize> = BTreeMap::new();
    for anchor in named {
        let count = counts.entry(anchor).or_default();
        *count = count.saturating_add(1);
    }
    let mut anchors: Vec<(Anchor, usize)> = counts.into_iter().collect();
    anchors.sort_by_key(|(_anchor, count)| core::cmp::Reverse(*count));
    anchors.truncate(ANCHORS_MAX);
    anchors.into_iter().map(|(anchor, _count)| anchor).collect()
}

/// A difference to one anchor, as a difference to another: `[dim]` each.
pub(super) fn from_another(values: &[f32], from: &[f32], to: &[f32]) -> Flat {
    let apart = from.iter().zip(to).map(|(from, to)| from - to);
    values.iter().zip(apart).map(|(value, apart)| value + apart).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_to_another_anchor_ends_at_the_same_place() {
        let (from, to, values) = ([1.0, -2.0], [0.5, 4.0], [0.25, 8.0]);
        assert_eq!(*from_another(&values, &from, &to), [0.75, 2.0]);
    }

    #[test]
    fn what_most_name_comes_first() {
        let id = |number| Some(ParticleId::new([number; 32]));
        let named = [id(2), None, id(1), id(2), id(1), id(3)];
        assert_eq!(most_named(named.into_iter()), [id(1), id(2), None, id(3)]);
        let many = (0..9).map(id);
        assert_eq!(most_named(many), [id(0), id(1), id(2), id(3)]);
    }
}
