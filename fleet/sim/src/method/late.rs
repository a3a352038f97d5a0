//! Vehicles that are always late: what each sends is what it would have sent a window before.

use shoal_swarm::swarm::Flat;

/// What a vehicle would send of a night.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Where it began: others know what it was given.
    pub(super) from: Flat,
    pub(super) by: Vec<f32>,
}

/// What one vehicle sends, window after window.
#[derive(Clone, Debug)]
pub(super) struct Late<T> {
    stale: bool,
    before: Option<T>,
}

impl<T> Late<T> {
    /// Of a vehicle that is on time, or always late.
    pub(super) fn new(stale: bool) -> Self {
        Late { stale, before: None }
    }

    /// What there is to send where this is what it would send now; `None`: who is late has nothing in its first window.
    pub(super) fn sends(&mut self, now: T) -> Option<T> {
        if self.stale { self.before.replace(now) } else { Some(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_late_sends_what_was_a_window_before() {
        let (mut late, mut on_time) = (Late::new(true), Late::new(false));
        let sent = [1, 2, 3].map(|now| (late.sends(now), on_time.sends(now)));
        assert_eq!(sent, [(None, Some(1)), (Some(1), Some(2)), (Some(2), Some(3))]);
    }
}
