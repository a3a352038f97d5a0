//! A claim: what a vehicle measured of its own particle.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::canonical::{U16_WIRE_BYTES_MAX, U32_WIRE_BYTES_MAX, body};
use crate::envelope::ENVELOPE_OVERHEAD_BYTES;
use crate::name::{PackHash, ParticleId};
use crate::topic::Leaf;
use crate::v1::check::{PARTS, RejectTerms, TERMS_MAX, measured};
use crate::v1::header::{Role, SLOTS};

/// The longest envelope of a claim, in bytes.
pub const CLAIM_BYTES_MAX: usize = 512;
const WIRE_BYTES_MAX: usize = U32_WIRE_BYTES_MAX
    + 1
    + 32
    + 1
    + 32
    + 1
    + U32_WIRE_BYTES_MAX
    + 1
    + TERMS_MAX * 2 * U16_WIRE_BYTES_MAX;
const _: () = assert!(ENVELOPE_OVERHEAD_BYTES + WIRE_BYTES_MAX <= CLAIM_BYTES_MAX);

/// One term of a particle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Units of 1e-4, at most [`TERM_VALUE_MAX`](crate::v1::TERM_VALUE_MAX) either way.
    pub value: i16,
    /// The standard error of `value`, in units of 1e-4.
    pub standard_error: u16,
}

/// The fields of a claim, in the order of the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimFields {
    /// The window in which the particle is claimed.
    pub window: u32,
    /// The publisher's slot that holds header and chunks, and this claim: below [`SLOTS`].
    pub slot: u8,
    /// The particle.
    pub particle: ParticleId,
    /// What it is claimed as: the role in its header.
    pub role: Role,
    /// The pack it was measured on.
    pub pack: PackHash,
    /// The part of the pack: below [`PARTS`].
    pub part: u8,
    /// The version of the utility document that lists the terms.
    pub utility_version: u32,
    /// One for each term of that document, in its order: at least one.
    pub terms: Vec<Measured, TERMS_MAX>,
}

/// A claim within its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim(ClaimFields);

/// Which bound of a claim is broken.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectClaim {
    #[error("slot {slot}, but slots are 0 to {}", SLOTS - 1)]
    Slot { slot: u8 },
    #[error("part {part}, but parts are 0 to {}", PARTS - 1)]
    Part { part: u8 },
    #[error("the measurement is none")]
    Terms(#[source] RejectTerms),
}

impl Claim {
    /// A claim with these fields.
    ///
    /// # Errors
    /// [`RejectClaim`] names the first bound that is broken.
    pub fn new(fields: ClaimFields) -> Result<Self, RejectClaim> {
        let ClaimFields { slot, part, .. } = fields;
        if slot >= SLOTS {
            return Err(RejectClaim::Slot { slot });
        }
        if part >= PARTS {
            return Err(RejectClaim::Part { part });
        }
        measured(fields.terms.iter().map(|term| [term.value])).map_err(RejectClaim::Terms)?;
        Ok(Self(fields))
    }
}

body!(Claim, ClaimFields, 1, |claim| Leaf::Claim { slot: claim.0.slot });
