//! Bodies: postcard, and canonical: a body that does not re-encode to itself is refused.

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::v1::{RejectParticleHeader, RejectWindowPlan};

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
    /// Decoded, but out of the bounds of a particle header.
    #[error("particle header out of bounds")]
    ParticleHeader(#[source] RejectParticleHeader),
    /// Decoded, but out of the bounds of a window plan.
    #[error("window plan out of bounds")]
    WindowPlan(#[source] RejectWindowPlan),
}

/// How a body lies on the wire, and what makes it valid.
#[expect(
    unnameable_types,
    reason = "seals `Body`: no other crate can name it, so none implements it"
)]
pub trait Fields: Sized {
    /// What postcard writes and reads.
    type Wire: Serialize + DeserializeOwned;

    /// The valid value with these fields.
    ///
    /// # Errors
    /// [`RejectBody`] naming the bound that is broken.
    fn from_wire(wire: Self::Wire) -> Result<Self, RejectBody>;

    /// The fields.
    fn wire(&self) -> &Self::Wire;
}

/// Reads a body from exactly these bytes.
pub(crate) fn decode<T: Fields>(bytes: &[u8]) -> Result<T, RejectBody> {
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
