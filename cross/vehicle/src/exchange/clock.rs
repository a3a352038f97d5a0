//! What time it is: since the start, and UTC as far as it can be believed.

use std::time::{SystemTime, UNIX_EPOCH};

use embassy_time::Instant;
use shoal_wire::{Now, Utc};

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
    }
}
