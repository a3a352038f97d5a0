//! Presence: what a vehicle is doing, for who watches the fleet. Nothing is decided by it.

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::canonical::{
    OPTION_HASH_WIRE_BYTES_MAX, U16_WIRE_BYTES_MAX, U32_WIRE_BYTES_MAX, U64_WIRE_BYTES_MAX, body,
};
use crate::envelope::ENVELOPE_OVERHEAD_BYTES;
use crate::name::ParticleId;
use crate::v1::check::{TERM_VALUE_MAX, TERMS_MAX, is_shown, is_term_value};

/// The longest envelope of a presence, in bytes.
pub const PRESENCE_BYTES_MAX: usize = 512;
/// The longest name of a software version, in bytes.
pub const SOFTWARE_BYTES_MAX: usize = 32;

const WIRE_BYTES_MAX: usize = (1 + U32_WIRE_BYTES_MAX)
    + 1
    + OPTION_HASH_WIRE_BYTES_MAX
    + (1 + SOFTWARE_BYTES_MAX)
    + 2 * U64_WIRE_BYTES_MAX
    + (1 + TERMS_MAX * U16_WIRE_BYTES_MAX)
    + U32_WIRE_BYTES_MAX;
const _: () = assert!(ENVELOPE_OVERHEAD_BYTES + WIRE_BYTES_MAX <= PRESENCE_BYTES_MAX);

/// What a vehicle is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activity {
    /// Started, and not ready yet.
    Starting,
    /// Drives, and watches.
    Driving,
    /// Parked, and kept from work by its conditions.
    Parked,
    /// Trains its adapter.
    Tuning,
    /// Measures particles on a pack.
    Measuring,
    /// Takes part in a window.
    Exchanging,
    /// Parked, and has nothing to do.
    Idle,
}

/// The fields of a presence, in the order of the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceFields {
    /// The window that is open, or was last; `None`: it has taken part in none.
    pub window: Option<u32>,
    /// What it is doing.
    pub activity: Activity,
    /// The particle its active adapter was made from; `None`: the base model runs alone.
    pub adapter: Option<ParticleId>,
    /// Version of its software, as shown to people: 1 to [`SOFTWARE_BYTES_MAX`] bytes, no control characters.
    pub software: String<SOFTWARE_BYTES_MAX>,
    /// Bytes sent in `window`.
    pub up_bytes: u64,
    /// Bytes received in `window`.
    pub down_bytes: u64,
    /// How its own adapter does on its own roads, one value a term, in units of 1e-4; empty: not measured.
    pub terms: Vec<i16, TERMS_MAX>,
    /// Steps of training since `window` was last over.
    pub steps: u32,
}

/// A presence within its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence(PresenceFields);

/// Which bound of a presence is broken.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectPresence {
    #[error("software is empty, or is not shown as it is")]
    Software,
    #[error("value {value} of term {index}, at most {TERM_VALUE_MAX} either way")]
    Value { index: usize, value: i16 },
}

impl Presence {
    /// A presence with these fields.
    ///
    /// # Errors
    /// [`RejectPresence`] names the first bound that is broken.
    pub fn new(fields: PresenceFields) -> Result<Self, RejectPresence> {
        if !is_shown(&fields.software) {
            return Err(RejectPresence::Software);
        }
        for (index, value) in fields.terms.iter().copied().enumerate() {
            if !is_term_value(value) {
                return Err(RejectPresence::Value { index, value });
            }
        }
        Ok(Self(fields))
    }
}

body!(Presence, PresenceFields, 1);
