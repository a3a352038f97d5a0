//! Bodies: postcard, and canonical: a body that does not re-encode to itself is refused.

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::kind::Body;
use crate::v1::{
    RejectClaim, RejectDocument, RejectNonce, RejectParticleHeader, RejectPresence, RejectRefusal,
    RejectRoster, RejectRosterPage, RejectSwarmDocument, RejectUtilityDocument, RejectVote,
    RejectWindowPlan,
};

/// The longest postcard numbers, in bytes: 7 bits a byte.
pub(crate) const U16_WIRE_BYTES_MAX: usize = 3;
/// See [`U16_WIRE_BYTES_MAX`].
pub(crate) const U32_WIRE_BYTES_MAX: usize = 5;
/// See [`U16_WIRE_BYTES_MAX`].
pub(crate) const U64_WIRE_BYTES_MAX: usize = 10;
/// A hash that may be missing.
pub(crate) const OPTION_HASH_WIRE_BYTES_MAX: usize = 1 + 32;

/// Why the body of an authentic envelope was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectBody {
    /// Not postcard of this kind, or more elements than the bound of a list.
    #[error("the body does not decode")]
    Malformed,
    /// The same value has other bytes (an overlong number, bytes after the end): two records would
    /// say one thing.
    #[error("the body does not re-encode to itself")]
    NotCanonical,
    /// Decoded, but not a claim within its bounds.
    #[error("claim out of bounds")]
    Claim(#[source] RejectClaim),
    /// Decoded, but not a vote within its bounds.
    #[error("vote out of bounds")]
    Vote(#[source] RejectVote),
    /// Decoded, but not a particle header within its bounds.
    #[error("particle header out of bounds")]
    ParticleHeader(#[source] RejectParticleHeader),
    /// Decoded, but not a presence within its bounds.
    #[error("presence out of bounds")]
    Presence(#[source] RejectPresence),
    /// Decoded, but not a nonce within its bounds.
    #[error("nonce out of bounds")]
    Nonce(#[source] RejectNonce),
    /// Decoded, but not a window plan within its bounds.
    #[error("window plan out of bounds")]
    WindowPlan(#[source] RejectWindowPlan),
    /// Decoded, but not a roster within its bounds.
    #[error("roster out of bounds")]
    Roster(#[source] RejectRoster),
    /// Decoded, but not a roster page within its bounds.
    #[error("roster page out of bounds")]
    RosterPage(#[source] RejectRosterPage),
    /// Decoded, but not a utility document within its bounds.
    #[error("utility document out of bounds")]
    UtilityDocument(#[source] RejectUtilityDocument),
    /// Decoded, but not a swarm document within its bounds.
    #[error("swarm document out of bounds")]
    SwarmDocument(#[source] RejectSwarmDocument),
    /// Decoded, but not a refusal within its bounds.
    #[error("refusal out of bounds")]
    Refusal(#[source] RejectRefusal),
    /// Decoded, but not a document within its bounds.
    #[error("document out of bounds")]
    Document(#[source] RejectDocument),
}

/// How a body lies on the wire, and what makes it valid.
#[expect(
    unnameable_types,
    reason = "seals `Body`: no other crate can name it, so none implements it"
)]
pub trait Fields<'a>: Sized {
    /// What postcard writes, and reads from bytes that live for `'a`.
    type Wire: Serialize + Deserialize<'a>;

    /// The valid value with these fields.
    ///
    /// # Errors
    /// [`RejectBody`] naming the bound that is broken.
    fn from_wire(wire: Self::Wire) -> Result<Self, RejectBody>;

    /// The fields.
    fn wire(&self) -> &Self::Wire;
}

/// Makes a type the body of the kind of its name: `body!(Claim, ClaimFields, 1)`, of version 1. The type is a
/// tuple with its fields first, and has a constructor `new` that checks them. A function behind that gives
/// the place on a topic that a body names.
macro_rules! body {
    ($body:ident $(<$life:lifetime>)?, $fields:ident, $version:literal $(, $leaf:expr)?) => {
        impl $(<$life>)? $body $(<$life>)? {
            /// The fields.
            pub const fn fields(&self) -> &$fields $(<$life>)? {
                &self.0
            }
        }

        impl<'a> $crate::canonical::Fields<'a> for $body $(<$life>)? {
            type Wire = $fields $(<$life>)?;

            fn from_wire(wire: Self::Wire) -> Result<Self, $crate::RejectBody> {
                Self::new(wire).map_err($crate::RejectBody::$body)
            }

            fn wire(&self) -> &Self::Wire {
                &self.0
            }
        }

        impl<'a> $crate::Body<'a> for $body $(<$life>)? {
            const KIND: $crate::Kind = $crate::Kind::$body;
            const VERSION: u8 = $version;
            $(
                fn stands_at(&self, leaf: $crate::Leaf) -> bool {
                    let place: fn(&Self) -> $crate::Leaf = $leaf;
                    leaf == place(self)
                }
            )?
        }
    };
}
pub(crate) use body;

/// Reads a body from exactly these bytes. It says nothing of who wrote them: a record is a
/// [`Verified`](crate::Verified) body, and this is what verifying one ends with. Tools read bodies alone by it.
///
/// # Errors
/// [`RejectBody`]: it does not decode, is not canonical, or is out of its bounds; in this order.
// Apart from the signature's check before it: on an MCU the stack of one is free again for the other.
#[inline(never)]
pub fn decode_body<'a, T: Body<'a>>(bytes: &'a [u8]) -> Result<T, RejectBody> {
    let (wire, _rest) =
        postcard::take_from_bytes::<T::Wire>(bytes).map_err(|_error| RejectBody::Malformed)?;
    // Compared as it is written, without a second buffer; what is left over is a difference too.
    postcard::serialize_with_flavor(&wire, Compare { expected: bytes })
        .map_err(|_error| RejectBody::NotCanonical)?;
    T::from_wire(wire)
}

/// Accepts exactly the expected bytes.
struct Compare<'a> {
    expected: &'a [u8],
}

impl Flavor for Compare<'_> {
    type Output = ();

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        match self.expected.split_first() {
            Some((expected, rest)) if *expected == data => {
                self.expected = rest;
                Ok(())
            }
            Some(_) | None => Err(postcard::Error::SerializeBufferFull),
        }
    }

    fn finalize(self) -> postcard::Result<()> {
        if self.expected.is_empty() { Ok(()) } else { Err(postcard::Error::SerializeBufferFull) }
    }
}

/// How many bytes a body has, and their SHA-256; `None` if postcard cannot write it.
pub(crate) fn measure(wire: &impl Serialize) -> Option<(usize, [u8; 32])> {
    postcard::serialize_with_flavor(wire, Measure { bytes: 0, hasher: Sha256::new() }).ok()
}

/// Counts and hashes what is written.
struct Measure {
    bytes: usize,
    hasher: Sha256,
}

impl Flavor for Measure {
    type Output = (usize, [u8; 32]);

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.try_extend(&[data])
    }

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.bytes = self.bytes.saturating_add(data.len());
        self.hasher.update(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Self::Output> {
        Ok((self.bytes, self.hasher.finalize().into()))
    }
}
