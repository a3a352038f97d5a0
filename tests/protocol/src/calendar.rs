//! When windows are, by the world's own time.

use crate::documents::PERIOD_S;
use crate::vehicle::BEFORE_S;
use crate::world::SECOND_US;

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
