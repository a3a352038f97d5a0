//! What time it is: since the start, and UTC as far as it can be believed.

use embassy_time::Instant;
use shoal_wire::{Now, Utc};

use super::around::{Clocks, Time};

/// When this program was written, UTC seconds (2026-11-21): no true time is before it, whatever a computer without a
/// clock that is always supplied believes when it starts.
const WRITTEN_SECONDS: u64 = 1_795_219_200;

/// The vehicle's clock.
#[derive(Debug)]
pub struct Clock {
    time: Box<dyn Time>,
    at_least_seconds: u64,
}

impl Clock {
    /// A clock of a vehicle that has seen time signed as late as this.
    #[must_use]
    pub fn start(at_least_seconds: u64) -> Self {
        Clock::on(Box::new(Clocks::start()), at_least_seconds)
    }

    /// The same, of time that is told otherwise than by this computer.
    #[must_use]
    pub fn on(time: Box<dyn Time>, at_least_seconds: u64) -> Self {
        Clock { time, at_least_seconds: at_least_seconds.max(WRITTEN_SECONDS) }
    }

    /// Takes a signed time: true time is not before it. True: it is later than any before.
    pub fn accept(&mut self, seconds: u64) -> bool {
        let later = seconds > self.at_least_seconds;
        self.at_least_seconds = self.at_least_seconds.max(seconds);
        later
    }

    /// Forgets what was signed: who signed it is believed no more.
    pub fn forget(&mut self) {
        self.at_least_seconds = WRITTEN_SECONDS;
    }

    /// Now. The system's clock is believed unless it is before a time that was signed.
    pub fn now(&self) -> Now {
        let (since_boot, system) = (self.time.since_start(), self.time.utc_seconds());
        let utc = if system >= self.at_least_seconds {
            Utc::Known { seconds: system, uncertainty_seconds: 0 }
        } else {
            Utc::AtLeast { seconds: self.at_least_seconds }
        };
        Now { since_boot, utc }
    }

    /// How far the system's clock is behind a time that was signed, in seconds; 0: it is not, as far as is known.
    #[must_use]
    pub fn behind_seconds(&self) -> u64 {
        self.at_least_seconds.saturating_sub(self.time.utc_seconds())
    }

    /// UTC seconds, to date with what is seen now.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        match self.now().utc {
            Utc::Known { seconds, .. } | Utc::AtLeast { seconds } => seconds,
        }
    }

    /// When what is recorded now was recorded, UTC seconds, if something was recorded at `before_s` already. A clock that is behind is
    /// not asked: a time before that would make all of what is in replay older than it is.
    #[must_use]
    pub fn recorded_at(&self, before_s: u64) -> u64 {
        match self.now().utc {
            Utc::Known { seconds, .. } => seconds,
            Utc::AtLeast { seconds } => seconds.max(before_s),
        }
    }

    /// UTC seconds that have passed for certain: they were signed, and the system's clock says so, too. Neither a clock that runs
    /// ahead nor who has the timekeeper's key makes what is in replay old.
    #[must_use]
    pub fn passed_seconds(&self) -> u64 {
        self.at_least_seconds.min(self.time.utc_seconds())
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
        assert!(clock.behind_seconds() > u64::MAX / 2);
    }

    #[test]
    fn what_is_recorded_by_a_clock_that_is_behind_is_no_older_than_what_was_recorded_before() {
        let mut clock = Clock::start(0);
        let now = clock.seconds();
        assert!(clock.recorded_at(now + 1000) < now + 100, "a clock that is right is believed");
        clock.accept(now + 5000);
        assert_eq!(clock.recorded_at(now + 9000), now + 9000);
        assert_eq!(clock.recorded_at(now), now + 5000);
    }

    #[test]
    fn what_has_passed_for_certain_is_neither_the_system_s_word_nor_the_timekeeper_s_alone() {
        let mut clock = Clock::start(0);
        assert_eq!((clock.passed_seconds(), clock.behind_seconds()), (WRITTEN_SECONDS, 0));
        assert!(clock.accept(WRITTEN_SECONDS + 7));
        assert_eq!(clock.passed_seconds(), WRITTEN_SECONDS + 7);
        let system = clock.seconds();
        assert!(clock.accept(u64::MAX));
        assert!((system..system + 100).contains(&clock.passed_seconds()));
    }

    #[test]
    fn what_was_signed_by_who_is_believed_no_more_is_forgotten() {
        let mut clock = Clock::start(0);
        assert!(clock.accept(u64::MAX));
        clock.forget();
        assert!(matches!(clock.now().utc, Utc::Known { .. }));
        assert!(clock.accept(WRITTEN_SECONDS + 7), "others are believed");
    }
}
