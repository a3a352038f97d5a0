//! The gateway's own time: a clock that the vehicle's line sets, and never before the newest signed time.

use embassy_time::Instant;
use shoal_wire::{Now, Utc};

/// A crystal's error, at most: a second in so many.
const DRIFT: u64 = 10_000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The newest signed time ever accepted.
    at_least_seconds: u64,
    set: Option<Set>,
}

#[derive(Clone, Copy, Debug)]
struct Set {
    at: Instant,
    seconds: u64,
    uncertainty_seconds: u32,
}

impl Clock {
    pub(crate) const fn new(at_least_seconds: u64) -> Self {
        Self { at_least_seconds, set: None }
    }

    pub(crate) const fn at_least_seconds(&self) -> u64 {
        self.at_least_seconds
    }

    /// It is this time, or later.
    pub(crate) fn signed(&mut self, seconds: u64) {
        self.at_least_seconds = self.at_least_seconds.max(seconds);
    }

    pub(crate) fn set(&mut self, at: Instant, seconds: u64, uncertainty_seconds: u32) {
        self.set = Some(Set { at, seconds, uncertainty_seconds });
    }

    /// A clock that can only be behind what was signed counts as none: it went back.
    pub(crate) fn now(&self, since_boot: Instant) -> Now {
        let at_least = Utc::AtLeast { seconds: self.at_least_seconds };
        let known = self.set.map(|set| {
            let elapsed = since_boot.as_secs().saturating_sub(set.at.as_secs());
            let drift = elapsed.checked_div(DRIFT).unwrap_or(0).saturating_add(1);
            let drift = u32::try_from(drift).unwrap_or(u32::MAX);
            Utc::Known {
                seconds: set.seconds.saturating_add(elapsed),
                uncertainty_seconds: set.uncertainty_seconds.saturating_add(drift),
            }
        });
        let believed = known.filter(|utc| {
            utc.latest_seconds().is_some_and(|latest| latest >= self.at_least_seconds)
        });
        Now { since_boot, utc: believed.unwrap_or(at_least) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_on_and_grows_less_certain() {
        let mut clock = Clock::new(7);
        assert_eq!(clock.now(Instant::from_secs(5)).utc, Utc::AtLeast { seconds: 7 });
        clock.set(Instant::from_secs(10), 1000, 2);
        let at = |seconds| clock.now(Instant::from_secs(seconds)).utc;
        assert_eq!(at(10), Utc::Known { seconds: 1000, uncertainty_seconds: 3 });
        assert_eq!(at(20_010), Utc::Known { seconds: 21_000, uncertainty_seconds: 5 });
    }

    #[test]
    fn a_clock_before_the_newest_signed_time_is_none() {
        let mut clock = Clock::new(0);
        clock.set(Instant::from_secs(0), 1000, 2);
        clock.signed(1004);
        assert_eq!(clock.now(Instant::from_secs(0)).utc, Utc::AtLeast { seconds: 1004 });
        clock.signed(900);
        assert_eq!(clock.at_least_seconds(), 1004);
    }
}
