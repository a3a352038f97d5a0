//! A vote: what a voter measured of a nominee and of best, on the same part of the pack.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::canonical::{OPTION_HASH_WIRE_BYTES_MAX, U16_WIRE_BYTES_MAX, U32_WIRE_BYTES_MAX, body};
use crate::envelope::ENVELOPE_OVERHEAD_BYTES;
use crate::name::{PackHash, ParticleId};
use crate::topic::Leaf;
use crate::v1::check::{PARTS, RejectTerms, TERMS_MAX, measured};

/// The longest envelope of a vote, in bytes.
pub const VOTE_BYTES_MAX: usize = 512;
/// Nominees of one window, and the votes that one vehicle casts in it.
pub const NOMINEES: u8 = 4;
/// Votes of so many windows stand on the broker: those of window w take slot w mod 4.
pub const VOTE_WINDOWS: u8 = 4;

const WIRE_BYTES_MAX: usize = U32_WIRE_BYTES_MAX
    + 1
    + 32
    + OPTION_HASH_WIRE_BYTES_MAX
    + 32
    + 1
    + U32_WIRE_BYTES_MAX
    + 1
    + TERMS_MAX * 3 * U16_WIRE_BYTES_MAX;
const _: () = assert!(ENVELOPE_OVERHEAD_BYTES + WIRE_BYTES_MAX <= VOTE_BYTES_MAX);

/// One term of a nominee beside best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Of the nominee: units of 1e-4, at most [`TERM_VALUE_MAX`](crate::v1::TERM_VALUE_MAX) either way.
    pub value: i16,
    /// Of best: likewise.
    pub best: i16,
    /// The standard error of the difference, in units of 1e-4.
    pub standard_error: u16,
}

/// The fields of a vote, in the order of the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteFields {
    /// The window whose nonce asked for it.
    pub window: u32,
    /// The number of this vote among the signer's of that window, from 0: below [`NOMINEES`].
    pub place: u8,
    /// The nominee.
    pub nominee: ParticleId,
    /// Best, as it was when the window opened; `None`: there was none, and the base model stands for it. The nominee itself:
    /// [`VoteFields::missing`].
    pub best: Option<ParticleId>,
    /// The pack both were measured on.
    pub pack: PackHash,
    /// The part of the pack: below [`PARTS`].
    pub part: u8,
    /// The version of the utility document that lists the terms.
    pub utility_version: u32,
    /// One for each term of that document, in its order: at least one.
    pub terms: Vec<Compared, TERMS_MAX>,
}

impl VoteFields {
    /// A vote that says that the nominee's values were not to be had: it stands beside itself, and its one term says nothing.
    #[must_use]
    pub fn missing(mut self) -> Self {
        let nothing = Compared { value: 0, best: 0, standard_error: 0 };
        self.best = Some(self.nominee);
        self.terms = Vec::from_array([nothing]);
        self
    }

    /// Whether it says that.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.best == Some(self.nominee)
    }
}

/// A vote within its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote(VoteFields);

/// Which bound of a vote is broken.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectVote {
    #[error("place {place}, but places are 0 to {}", NOMINEES - 1)]
    Place { place: u8 },
    #[error("part {part}, but parts are 0 to {}", PARTS - 1)]
    Part { part: u8 },
    #[error("the measurement is none")]
    Terms(#[source] RejectTerms),
}

impl Vote {
    /// A vote with these fields.
    ///
    /// # Errors
    /// [`RejectVote`] names the first bound that is broken.
    pub fn new(fields: VoteFields) -> Result<Self, RejectVote> {
        let VoteFields { place, part, .. } = fields;
        if place >= NOMINEES {
            return Err(RejectVote::Place { place });
        }
        if part >= PARTS {
            return Err(RejectVote::Part { part });
        }
        let values = fields.terms.iter().map(|term| [term.value, term.best]);
        measured(values).map_err(RejectVote::Terms)?;
        Ok(Self(fields))
    }
}

body!(Vote, VoteFields, 1, |vote| Leaf::vote(vote.0.window, vote.0.place));
