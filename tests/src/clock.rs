//! The clock of tests: for deadlines, never for waiting.
#![expect(clippy::disallowed_methods, reason = "a test against real programs has their time")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// From one look to the next.
const LOOK: Duration = Duration::from_millis(20);
/// By when anything must have happened; a test that passes needs a part of it.
pub const PATIENCE_SECONDS: u64 = 120;

/// A moment by which something must have happened.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// This many seconds from the call on.
    pub fn seconds(seconds: u64) -> Self {
        Self(Instant::now() + Duration::from_secs(seconds))
    }

    /// What is left, and zero after it.
    pub fn left(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Panics when it has passed: what was waited for did not happen.
    ///
    /// # Panics
    /// After the deadline.
    pub fn check(&self, what: &str) {
        assert!(!self.left().is_zero(), "in time: {what}");
    }
}

/// Time since it was made.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since then.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// UTC in seconds since 1970.
///
/// # Panics
/// Before 1970.
pub fn utc_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs()
}

/// Looks until it is there.
///
/// # Panics
/// When it does not come in time.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Deadline::seconds(PATIENCE_SECONDS);
    loop {
        if let Some(found) = look() {
            return found;
        }
        deadline.check(what);
        std::thread::park_timeout(LOOK);
    }
}
