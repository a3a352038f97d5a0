//! The clock of a program: what decides is told the time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::output::Failure;

/// UTC in milliseconds since 1970.
///
/// # Errors
/// When the machine's clock stands before that.
#[expect(clippy::disallowed_methods, reason = "a program knows the time; cores are told it")]
pub(crate) fn utc_ms() -> Result<u64, Failure> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}
