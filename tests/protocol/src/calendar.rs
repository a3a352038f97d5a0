//! When windows are, by the world's own time.

use crate::documents::{OPEN_S, PERIOD_S};
use crate::vehicle::BEFORE_S;
use crate::world::SECOND_US;

/// Seconds after its opening from when on exchanges are asked to finish, an eighth of it before its end; and a little before that.
pub const FINISHES_S: u64 = OPEN_S as u64 * 7 / 8 - 2;

/// When a window opens, in microseconds of the world.
#[must_use]
pub fn opens_us(window: u32) -> u64 {
    (BEFORE_S + u64::from(window) * u64::from(PERIOD_S)) * SECOND_US
}

/// Which window it is, from its opening to that of the next; the first, also before it opens.
#[must_use]
pub fn window_of(now_us: u64) -> u32 {
    (now_us.saturating_sub(opens_us(0)) / (u64::from(PERIOD_S) * SECOND_US)) as u32
}
