//! When windows are, by the world's own time.

use crate::documents::{EPOCH_S, OPEN_S};
use crate::vehicle::BEFORE_S;
use crate::world::SECOND_US;

/// Seconds after its opening from when on exchanges are asked to finish, an eighth of it before its end; and a little before that.
pub const FINISHES_S: u64 = OPEN_S as u64 * 7 / 8 - 2;
/// From the opening of a window on there is trouble for so many seconds. Windows of most worlds follow each other so.
pub const SPAN_S: u32 = 100;

/// When windows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// From one window to the next, in seconds: [`SPAN_S`] at least.
    pub period_s: u32,
}

impl Default for Calendar {
    fn default() -> Self {
        Calendar { period_s: SPAN_S }
    }
}

impl Calendar {
    /// When a window opens, in microseconds of the world.
    #[must_use]
    pub fn opens_us(self, window: u32) -> u64 {
        (BEFORE_S + u64::from(window) * u64::from(self.period_s)) * SECOND_US
    }

    /// Which window it is, from its opening to that of the next; the first, also before it opens.
    #[must_use]
    pub fn window_of(self, now_us: u64) -> u32 {
        let since = now_us.saturating_sub(self.opens_us(0));
        (since / (u64::from(self.period_s) * SECOND_US)) as u32
    }

    /// So many windows, in microseconds.
    #[must_use]
    pub fn windows_us(self, count: u32) -> u64 {
        u64::from(count) * u64::from(self.period_s) * SECOND_US
    }

    /// The next second with weather after this one: between windows that are far apart there is none.
    #[must_use]
    pub fn next_weather_us(self, now_us: u64) -> u64 {
        let next = now_us + SECOND_US;
        let opened = self.opens_us(self.window_of(next));
        let span = u64::from(SPAN_S) * SECOND_US;
        let opens = self.opens_us(self.window_of(next) + 1) - BEFORE_S * SECOND_US;
        if next < opened + span { next } else { next.max(opens) }
    }
}

/// True UTC, in milliseconds.
pub(crate) fn utc_ms(now_us: u64) -> u64 {
    (EPOCH_S - BEFORE_S) * 1_000 + now_us / 1_000
}

/// When it is so late, in microseconds of the world.
pub(crate) fn us_of(utc_ms: u64) -> u64 {
    utc_ms.saturating_sub((EPOCH_S - BEFORE_S) * 1_000) * 1_000
}
