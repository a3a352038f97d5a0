//! The clock of a program: what decides is told the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::output::Failure;

/// The last second that is written so: that of year 9999.
const LAST_S: u64 = 253_402_300_799;

/// UTC in milliseconds since 1970.
///
/// # Errors
/// When the machine's clock stands before that.
#[expect(clippy::disallowed_methods, reason = "a program knows the time; cores are told it")]
pub(crate) fn utc_ms() -> Result<u64, Failure> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// Seconds since 1970 of a time that [`utc`], or somebody else by RFC 3339, wrote.
///
/// # Errors
/// When it is none, or before that.
pub(crate) fn seconds(text: &str) -> Result<u64, Failure> {
    Ok(humantime::parse_rfc3339(text)?.duration_since(UNIX_EPOCH)?.as_secs())
}

/// A second of UTC as people write it; one that no calendar has, as a number.
pub(crate) fn utc(seconds: u64) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds.min(LAST_S)));
    at.map_or_else(|| seconds.to_string(), |at| humantime::format_rfc3339_seconds(at).to_string())
}
