//! The window plan: the signed calendar of OTA windows.

use serde::{Deserialize, Serialize};

use crate::canonical::{U32_WIRE_BYTES_MAX, U64_WIRE_BYTES_MAX, body};
use crate::envelope::ENVELOPE_OVERHEAD_BYTES;

/// The longest envelope of a window plan, in bytes.
pub const WINDOW_PLAN_BYTES_MAX: usize = 256;
const WIRE_BYTES_MAX: usize = 3 * U64_WIRE_BYTES_MAX + 3 * U32_WIRE_BYTES_MAX;
const _: () = assert!(ENVELOPE_OVERHEAD_BYTES + WIRE_BYTES_MAX <= WINDOW_PLAN_BYTES_MAX);

/// The fields of a window plan, in the order of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowPlanFields {
    /// When window 0 opens: UTC in seconds.
    pub epoch_seconds: u64,
    /// From one opening to the next: at least 1.
    pub period_seconds: u32,
    /// How long a window is open: 1 to `period_seconds`.
    pub open_seconds: u32,
    /// The longest a vehicle waits after the opening, so that not all connect at once: at most half of
    /// the time the window is open.
    pub jitter_ms_max: u32,
    /// What a vehicle may send in a window: at least 1.
    pub up_bytes_max: u64,
    /// What a vehicle may receive in a window: at least 1.
    pub down_bytes_max: u64,
}

/// A window plan within its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowPlan(WindowPlanFields);

/// Which bound of a window plan is broken.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectWindowPlan {
    #[error("period of no seconds")]
    NoPeriod,
    #[error("open for {open_seconds} s of {period_seconds} s")]
    Open { open_seconds: u32, period_seconds: u32 },
    #[error("jitter up to {jitter_ms_max} ms, but open for {open_seconds} s")]
    Jitter { jitter_ms_max: u32, open_seconds: u32 },
    #[error("no bytes in one direction")]
    NoBytes,
}

impl WindowPlan {
    /// A plan with these fields.
    ///
    /// # Errors
    /// [`RejectWindowPlan`] names the first bound that is broken.
    pub fn new(fields: WindowPlanFields) -> Result<Self, RejectWindowPlan> {
        let WindowPlanFields { period_seconds, open_seconds, jitter_ms_max, .. } = fields;
        if period_seconds == 0 {
            return Err(RejectWindowPlan::NoPeriod);
        }
        if !(1..=period_seconds).contains(&open_seconds) {
            return Err(RejectWindowPlan::Open { open_seconds, period_seconds });
        }
        if u64::from(jitter_ms_max) > u64::from(open_seconds).saturating_mul(500) {
            return Err(RejectWindowPlan::Jitter { jitter_ms_max, open_seconds });
        }
        if fields.up_bytes_max == 0 || fields.down_bytes_max == 0 {
            return Err(RejectWindowPlan::NoBytes);
        }
        Ok(Self(fields))
    }
}

body!(WindowPlan, WindowPlanFields, 1);
