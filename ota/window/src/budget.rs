//! The byte budget of a window, granted in slices.

/// Bytes both ways, counted at the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Sent by the vehicle.
    pub up: u64,
    /// Received by the vehicle.
    pub down: u64,
}

impl Bytes {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { up: self.up.saturating_add(other.up), down: self.down.saturating_add(other.down) }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self { up: self.up.saturating_sub(other.up), down: self.down.saturating_sub(other.down) }
    }

    /// Whether either direction is used up: an exchange moves bytes both ways, so one ends it.
    pub(crate) fn spends(self, budget: Self) -> bool {
        self.up >= budget.up || self.down >= budget.down
    }
}

/// How much more may be granted at a time: what a power cut can cost, at most, of a window's budget.
const SLICES: u64 = 8;

/// What is granted when this much is used: the grant as it is, or a slice more, or what the next exchange needs in whole slices,
/// never over the budget. So a window has as many grants as slices, whatever is asked for: each is a record that is written.
///
/// The grant grows before it is used up, when less than half a slice of it is left, so that a transfer
/// does not wait for the store.
pub(crate) fn granted(granted: Bytes, used: Bytes, needed: Bytes, budget: Bytes) -> Bytes {
    Bytes {
        up: one_way(granted.up, used.up, needed.up, budget.up),
        down: one_way(granted.down, used.down, needed.down, budget.down),
    }
}

fn one_way(granted: u64, used: u64, needed: u64, budget: u64) -> u64 {
    let slice = budget.div_ceil(SLICES);
    let least = match used.saturating_add(needed) {
        least if least <= granted => granted,
        least => least.div_ceil(slice.max(1)).saturating_mul(slice),
    };
    if granted.saturating_sub(used) >= slice.div_ceil(2) {
        return granted.max(least).min(budget);
    }
    granted.max(used).saturating_add(slice).max(least).min(budget)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_grows_before_it_is_used_up_and_ends_at_the_budget() {
        let grants: [u64; 6] = [(0, 0), (100, 40), (100, 51), (100, 500), (750, 740), (800, 800)]
            .map(|(granted, used)| one_way(granted, used, 0, 800));
        assert_eq!(grants, [100, 100, 200, 600, 800, 800]);
    }

    #[test]
    fn a_grant_grows_to_what_is_needed_and_no_further_than_the_budget() {
        let grants: [u64; 4] = [(0, 40), (0, 300), (500, 300), (500, u64::MAX)]
            .map(|(used, needed)| one_way(used, used, needed, 800));
        assert_eq!(grants, [100, 300, 800, 800]);
        assert_eq!(
            one_way(100, 20, 90, 800),
            200,
            "more than half a slice is left, and not enough"
        );
    }

    #[test]
    fn whatever_is_asked_for_a_window_has_no_more_grants_than_slices() {
        let (mut granted, mut grants) = (0, 0);
        for needed in 1..=800 {
            let more = one_way(granted, 0, needed, 800);
            grants += u64::from(more != granted);
            granted = more;
        }
        assert_eq!((granted, grants), (800, SLICES));
    }

    #[test]
    fn the_smallest_budget_is_granted_whole() {
        assert_eq!(one_way(0, 0, 0, 1), 1);
        assert_eq!(one_way(0, 0, 0, u64::MAX), u64::MAX.div_ceil(SLICES));
    }
}
