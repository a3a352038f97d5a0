//! A nonce: random bytes of a window, which nobody knew before the window before it closed.

use serde::{Deserialize, Serialize};

use crate::canonical::{U32_WIRE_BYTES_MAX, U64_WIRE_BYTES_MAX, body};
use crate::envelope::ENVELOPE_OVERHEAD_BYTES;
use crate::topic::Leaf;

/// The longest envelope of a nonce, in bytes.
pub const NONCE_BYTES_MAX: usize = 256;
/// The timekeeper's nonces of so many windows stand beside each other: a vehicle's standing looks back on eight, and
/// votes come a window after their claims.
pub const NONCE_WINDOWS: u8 = 16;
const WIRE_BYTES_MAX: usize = U32_WIRE_BYTES_MAX + 32 + U64_WIRE_BYTES_MAX;
const _: () = assert!(ENVELOPE_OVERHEAD_BYTES + WIRE_BYTES_MAX <= NONCE_BYTES_MAX);

/// The fields of a nonce, in the order of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NonceFields {
    /// The window whose draws it makes.
    pub window: u32,
    /// From a true random source.
    pub nonce: [u8; 32],
    /// When it was drawn: UTC in seconds. A vehicle without a clock knows by it that it is not earlier.
    pub utc_seconds: u64,
}

/// A nonce within its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce(NonceFields);

/// Which bound of a nonce is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectNonce {
    /// What a source of random bytes leaves when it fails.
    #[error("32 zeros")]
    Zeros,
}

impl Nonce {
    /// A nonce with these fields.
    ///
    /// # Errors
    /// [`RejectNonce`]: nothing was drawn.
    pub fn new(fields: NonceFields) -> Result<Self, RejectNonce> {
        if fields.nonce == [0; 32] {
            return Err(RejectNonce::Zeros);
        }
        Ok(Self(fields))
    }
}

body!(Nonce, NonceFields, 1, |nonce| Leaf::nonce(nonce.0.window));
