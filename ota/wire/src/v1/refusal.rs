//! A refusal: that a record of another publisher was not taken, and why.

use serde::{Deserialize, Serialize};

use crate::canonical::{RejectBody, U16_WIRE_BYTES_MAX, U32_WIRE_BYTES_MAX, body};
use crate::envelope::{ENVELOPE_OVERHEAD_BYTES, RejectEnvelope};
use crate::name::RecordId;
use crate::topic::RejectPlace;

/// The longest envelope of a refusal, in bytes.
pub const REFUSAL_BYTES_MAX: usize = 256;
const WIRE_BYTES_MAX: usize = U32_WIRE_BYTES_MAX + 32 + U16_WIRE_BYTES_MAX;
const _: () = assert!(ENVELOPE_OVERHEAD_BYTES + WIRE_BYTES_MAX <= REFUSAL_BYTES_MAX);

/// The fields of a refusal, in the order of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalFields {
    /// The window in which the record was refused.
    pub window: u32,
    /// The record: SHA-256 of all bytes received, whether or not they are an envelope.
    pub record: RecordId,
    /// Why: [`RefusalCode::number`]. Never 0; a number that is not known is from later software.
    pub code: u16,
}

/// A refusal within its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(RefusalFields);

/// Which bound of a refusal is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectRefusal {
    /// 0 is never a code.
    #[error("code 0")]
    NoCode,
}

impl Refusal {
    /// A refusal with these fields.
    ///
    /// # Errors
    /// [`RejectRefusal`]: no code.
    pub fn new(fields: RefusalFields) -> Result<Self, RejectRefusal> {
        if fields.code == 0 {
            return Err(RejectRefusal::NoCode);
        }
        Ok(Self(fields))
    }
}

body!(Refusal, RefusalFields, 1);

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $code:ident = $number:literal $name:literal;)*) => {
        /// Why a record was refused, in the order in which reasons are looked for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum RefusalCode {
            $($(#[doc = $doc])* $code = $number,)*
        }

        impl RefusalCode {
            /// Every code, in order of number.
            pub const ALL: [Self; [$($number),*].len()] = [$(Self::$code),*];

            /// How reports and counters name it: lower case, words joined by `_`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)*
                }
            }
        }
    };
}

codes! {
    /// Ends before its signature does.
    TooShort = 1 "too_short";
    /// Longer than its kind may be.
    TooLong = 2 "too_long";
    /// Bytes after the signature.
    Trailing = 3 "trailing";
    /// Does not begin with `SHL1`.
    Magic = 4 "magic";
    /// A kind that is not known.
    UnknownKind = 5 "unknown_kind";
    /// A version of the body that is not known.
    UnknownVersion = 6 "unknown_version";
    /// Not the kind, the publisher or the slot of the topic it stood at.
    Misplaced = 7 "misplaced";
    /// Signed by a key that is not on the roster or may not sign this kind.
    UnknownKey = 8 "unknown_key";
    /// The signature does not hold.
    Signature = 9 "signature";
    /// Stored bytes are not those whose signature was checked.
    Changed = 10 "changed";
    /// The body does not decode.
    Malformed = 11 "malformed";
    /// The body does not re-encode to itself.
    NotCanonical = 12 "not_canonical";
    /// A field of the body is out of its bounds.
    OutOfBounds = 13 "out_of_bounds";
    /// Past its `not_after`.
    Expired = 20 "expired";
    /// Its counter is not above that of a record in its place: a rollback.
    OldCounter = 21 "old_counter";
    /// Of a window that is over, or not yet open.
    WrongWindow = 22 "wrong_window";
    /// Another record of the same signer says otherwise under one key: both are void.
    Contradicted = 23 "contradicted";
    /// Of another base model.
    WrongBaseModel = 30 "wrong_base_model";
    /// Of another layout.
    WrongLayout = 31 "wrong_layout";
    /// Measured on another pack than was asked.
    WrongPack = 32 "wrong_pack";
    /// A utility document that does not follow the one before: what was measured by either could not be compared.
    WrongUtility = 33 "wrong_utility";
    /// A difference to a particle that is not the anchor.
    WrongAnchor = 34 "wrong_anchor";
    /// Voted without having been drawn.
    NotDrawn = 35 "not_drawn";
    /// The header of a claimed particle, or an input of a merge, is not to be had.
    Missing = 36 "missing";
    /// Bytes of a chunk that are not those of the header's hash.
    ChunkHash = 40 "chunk_hash";
    /// A chunk that does not decode.
    ChunkMalformed = 41 "chunk_malformed";
    /// A value that is not finite.
    NotFinite = 42 "not_finite";
    /// Longer than any honest displacement.
    Norm = 43 "norm";
    /// Not what folding its inputs gives.
    NotTheMerge = 44 "not_the_merge";
    /// Measured here, and worse than it was claimed.
    FalseClaim = 50 "false_claim";
    /// Measured here, and a loss.
    Loss = 51 "loss";
    /// Its publisher is quarantined.
    Quarantined = 52 "quarantined";
    /// Voted what those who voted beside it did not find.
    FalseVote = 53 "false_vote";
    /// Watched on the road by a campaign, and predicted worse than the adapter in use.
    TrialWorse = 60 "trial_worse";
    /// Watched on the road, and predicted too far from the adapter in use.
    TrialApart = 61 "trial_apart";
    /// Watched on the road, and too slow.
    TrialSlow = 62 "trial_slow";
    /// Watched on the road, and the engine or the vehicle failed with it.
    TrialFailed = 63 "trial_failed";
}

impl RefusalCode {
    /// Codes that no program says. What they are of is passed over and counts for nothing; but whether it does follows from the nonce,
    /// the roster and other records, which may still come, so nobody is told that it was refused.
    pub const RESERVED: [Self; 4] =
        [Self::WrongAnchor, Self::NotDrawn, Self::NotTheMerge, Self::Quarantined];

    /// The code with this number; `None` for one this crate does not know.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

impl From<RejectPlace> for RefusalCode {
    fn from(_reject: RejectPlace) -> Self {
        Self::Misplaced
    }
}

impl From<RejectEnvelope> for RefusalCode {
    fn from(reject: RejectEnvelope) -> Self {
        match reject {
            RejectEnvelope::TooShort { .. } => Self::TooShort,
            RejectEnvelope::TooLong { .. } => Self::TooLong,
            RejectEnvelope::Trailing => Self::Trailing,
            RejectEnvelope::Magic => Self::Magic,
            RejectEnvelope::UnknownKind { .. } => Self::UnknownKind,
            RejectEnvelope::UnknownVersion { .. } => Self::UnknownVersion,
            RejectEnvelope::NotAsked { .. } => Self::Misplaced,
            RejectEnvelope::UnknownKey { .. } => Self::UnknownKey,
            RejectEnvelope::Signature { .. } => Self::Signature,
            RejectEnvelope::Changed => Self::Changed,
            RejectEnvelope::Body(RejectBody::Malformed) => Self::Malformed,
            RejectEnvelope::Body(RejectBody::NotCanonical) => Self::NotCanonical,
            RejectEnvelope::Body(
                RejectBody::Claim(_)
                | RejectBody::Vote(_)
                | RejectBody::ParticleHeader(_)
                | RejectBody::Presence(_)
                | RejectBody::Nonce(_)
                | RejectBody::WindowPlan(_)
                | RejectBody::Roster(_)
                | RejectBody::RosterPage(_)
                | RejectBody::UtilityDocument(_)
                | RejectBody::SwarmDocument(_)
                | RejectBody::Refusal(_)
                | RejectBody::Document(_),
            ) => Self::OutOfBounds,
        }
    }
}
