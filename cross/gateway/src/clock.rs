//! The gateway's own time: a clock that the vehicle's line sets, and never before the newest signed time.

use embassy_time::Instant;
use shoal_wire::{Now, Utc};

/// A crystal's error, at most: a millisecond in so many.
const DRIFT: u64 = 10_000;
const SECOND_MS: u64 = 1000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The newest signed time ever accepted.
    at_least_seconds: u64,
    between: Option<Between>,
}

/// What UTC was at some moment, in milliseconds: between these two.
#[derive(Clone, Copy, Debug)]
struct Between {
    at: Instant,
    earliest_ms: u64,
    latest_ms: u64,
}

impl Between {
    /// The same, later: a crystal is not exact.
    fn at(self, now: Instant) -> Self {
        let elapsed_ms = now.as_millis().saturating_sub(self.at.as_millis());
        let drift_ms = elapsed_ms.div_ceil(DRIFT);
        let (earliest_ms, latest_ms) = (
            self.earliest_ms.saturating_add(elapsed_ms),
            self.latest_ms.saturating_add(elapsed_ms),
        );
        Self {
            at: now,
            earliest_ms: earliest_ms.saturating_sub(drift_ms),
            latest_ms: latest_ms.saturating_add(drift_ms),
        }
    }

    fn utc(self) -> Utc {
        let earliest = self.earliest_ms.checked_div(SECOND_MS).unwrap_or(0);
        let doubt = self.latest_ms.div_ceil(SECOND_MS).saturating_sub(earliest).div_ceil(2);
        Utc::Known {
            seconds: earliest.saturating_add(doubt),
            uncertainty_seconds: u32::try_from(doubt).unwrap_or(u32::MAX),
        }
    }
}

impl Clock {
    pub(crate) const fn new(at_least_seconds: u64) -> Self {
        Self { at_least_seconds, between: None }
    }

    pub(crate) const fn at_least_seconds(&self) -> u64 {
        self.at_least_seconds
    }

    /// It is this time, or later.
    pub(crate) fn signed(&mut self, seconds: u64) {
        self.at_least_seconds = self.at_least_seconds.max(seconds);
    }

    /// Takes what the vehicle's line says. What it said before counts beside it, if both can be so: said in whole seconds, time would else
    /// go back by a part of one each time, and a window that has just opened would be over.
    pub(crate) fn set(&mut self, at: Instant, seconds: u64, uncertainty_seconds: u32) {
        let doubt = u64::from(uncertainty_seconds);
        let earliest = seconds.saturating_sub(doubt);
        let latest = seconds.saturating_add(doubt).saturating_add(1);
        let said = Between {
            at,
            earliest_ms: earliest.saturating_mul(SECOND_MS),
            latest_ms: latest.saturating_mul(SECOND_MS),
        };
        let both = self.between.map(|before| before.at(at)).map(|before| Between {
            at,
            earliest_ms: said.earliest_ms.max(before.earliest_ms),
            latest_ms: said.latest_ms.min(before.latest_ms),
        });
        self.between = both.filter(|both| both.earliest_ms <= both.latest_ms).or(Some(said));
    }

    /// A clock that can only be behind what was signed counts as none: it went back.
    pub(crate) fn now(&self, since_boot: Instant) -> Now {
        let at_least = Utc::AtLeast { seconds: self.at_least_seconds };
        let between = self.between.map(|between| between.at(since_boot));
        let believed = between
            .filter(|between| between.latest_ms.div_ceil(SECOND_MS) >= self.at_least_seconds);
        Now { since_boot, utc: believed.map_or(at_least, Between::utc) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(clock: &Clock, ms: u64) -> (u64, u64) {
        let utc = clock.now(Instant::from_millis(ms)).utc;
        (utc.earliest_seconds(), utc.latest_seconds().unwrap())
    }

    #[test]
    fn it_runs_on_and_grows_less_certain() {
        let mut clock = Clock::new(7);
        assert_eq!(clock.now(Instant::from_secs(5)).utc, Utc::AtLeast { seconds: 7 });
        clock.set(Instant::from_secs(10), 1000, 2);
        assert_eq!(bounds(&clock, 10_000), (998, 1004));
        // Two seconds in twenty thousand, both ways.
        assert_eq!(bounds(&clock, 20_010_000), (20_996, 21_006));
    }

    /// The vehicle's line says whole seconds, several times in each.
    #[test]
    fn it_never_goes_back_while_what_is_said_agrees() {
        let mut clock = Clock::new(0);
        let mut before = 0;
        for ms in (0..30_000).step_by(70) {
            let utc_ms = 5_000_370 + ms;
            clock.set(Instant::from_millis(ms), utc_ms / 1000, 0);
            let (earliest, latest) = bounds(&clock, ms);
            assert!(before <= earliest && earliest * 1000 <= utc_ms, "{ms}");
            assert!(utc_ms <= latest * 1000 && latest <= earliest + 2, "{ms}");
            before = earliest;
        }
        // Somebody sets it.
        clock.set(Instant::from_secs(31), 4_000, 0);
        assert_eq!(bounds(&clock, 31_000), (4_000, 4_002));
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
