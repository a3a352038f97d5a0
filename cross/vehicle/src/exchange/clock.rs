//! What time it is: since the start, and UTC as far as it can be believed.

use std::time::{SystemTime, UNIX_EPOCH};

use embassy_time::Instant;
use shoal_wire::{Now, Utc};

/// When this program was written, UTC seconds (2026-11-21): no true time is before it, whatever a computer without a
/// clock that is always supplied believes when it starts.
const WRITTEN_SECONDS: u64 = 1_795_219_200;

/// The vehicle's clock.
#[derive(Debug)]
pub struct Clock {
    started: std::time::Instant,
    at_least_seconds: u64,
}

impl Clock {
    /// A clock of a vehicle that has seen time signed as late as this.
    #[expect(clippy::disallowed_methods, reason = "a program knows the time; cores are told it")]
    pub fn start(at_least_seconds: u64) -> Self {
        let at_least_seconds = at_least_seconds.max(WRITTEN_SECONDS);
        Clock { started: std::time::Instant::now(), at_least_seconds }
    }

    /// Takes a signed time: true time is not before it. True: it is later than any before.
    pub fn accept(&mut self, seconds: u64) -> bool {
        let later = seconds > self.at_least_seconds;
        self.at_least_seconds = self.at_least_seconds.max(seconds);
        later
    }

    /// Now. The system's clock is believed unless it is before a time that was signed.
    #[expect(clippy::disallowed_methods, reason = "a program knows the time; cores are told it")]
    pub fn now(&self) -> Now {
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let since_boot = Instant::from_micros(micros);
        let system = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let utc = if system >= self.at_least_seconds {
            Utc::Known { seconds: system, uncertainty_seconds: 0 }
        } else {
            Utc::AtLeast { seconds: self.at_least_seconds }
        };
        Now { since_boot, utc }
    }

    /// UTC seconds, to date with what is seen now.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        match self.now().utc {
            Utc::Known { seconds, .. } | Utc::AtLeast { seconds } => seconds,
        }
    }

    /// UTC seconds that have passed for certain: they were signed.
    #[must_use]
    pub fn passed_seconds(&self) -> u64 {
        self.at_least_seconds
    }

    /// How long it is until this moment.
    pub fn until(&self, moment: Instant) -> std::time::Duration {
        let left = moment.saturating_duration_since(self.now().since_boot);
        std::time::Duration::from_micros(left.as_micros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_put_back_is_not_believed() {
        let mut clock = Clock::start(0);
        assert!(matches!(clock.now().utc, Utc::Known { .. }));
        assert!(clock.accept(u64::MAX));
        assert!(!clock.accept(5), "an older signed time changes nothing");
        assert_eq!(clock.now().utc, Utc::AtLeast { seconds: u64::MAX });
        assert_eq!(clock.seconds(), u64::MAX);
    }

    #[test]
    fn what_has_passed_for_certain_is_never_the_system_s_word() {
        let mut clock = Clock::start(0);
        assert_eq!(clock.passed_seconds(), WRITTEN_SECONDS);
        assert!(clock.accept(WRITTEN_SECONDS + 7));
        assert_eq!(clock.passed_seconds(), WRITTEN_SECONDS + 7);
    }
}
