//! Time as every core takes it: an argument. Here, because all cores see `wire` and not each other.

use embassy_time::Instant;

/// What the shell knows of time when it calls a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since this start of the machine; never goes back. Never stored, never sent.
    pub since_boot: Instant,
    /// The time all vehicles share.
    pub utc: Utc,
}

/// UTC, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Utc {
    /// A clock that was set by something trusted: true time is within `seconds ± uncertainty_seconds`.
    Known {
        /// Seconds since 1970-01-01T00:00:00Z.
        seconds: u64,
        /// Largest error, either way, in seconds.
        uncertainty_seconds: u32,
    },
    /// No trusted clock: only that true time is not before the newest signed time ever accepted.
    AtLeast {
        /// Seconds since 1970-01-01T00:00:00Z.
        seconds: u64,
    },
}

impl Utc {
    /// The earliest that true time can be, in seconds: what is not after this is surely over.
    pub fn earliest_seconds(self) -> u64 {
        match self {
            Self::Known { seconds, uncertainty_seconds } => {
                seconds.saturating_sub(u64::from(uncertainty_seconds))
            }
            Self::AtLeast { seconds } => seconds,
        }
    }

    /// The latest that true time can be, in seconds; `None` when nothing bounds it.
    pub fn latest_seconds(self) -> Option<u64> {
        match self {
            Self::Known { seconds, uncertainty_seconds } => {
                Some(seconds.saturating_add(u64::from(uncertainty_seconds)))
            }
            Self::AtLeast { .. } => None,
        }
    }
}
