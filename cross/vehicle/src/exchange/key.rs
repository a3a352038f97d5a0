//! Envelopes, read by the keys of who may sign them.

use sha2::{Digest, Sha256};
use shoal_wire::{
    Body, KeyId, Keys, Kind, PublicKey, RecordId, RejectEnvelope, Unverified, Verified,
};

/// The vehicle's own key as the only one: what it sealed before and stored is read back by it.
#[derive(Clone, Copy, Debug)]
pub struct Own(pub PublicKey);

impl Keys for Own {
    fn find(&self, id: KeyId, _kind: Kind) -> Option<PublicKey> {
        (id == self.0.id()).then_some(self.0)
    }
}

/// An envelope of this kind that a key of these signed.
///
/// # Errors
/// [`RejectEnvelope`].
pub fn verified<'a, T: Body<'a>>(
    bytes: &'a [u8],
    keys: &impl Keys,
) -> Result<Verified<'a, T>, RejectEnvelope> {
    Unverified::decode(bytes)?.verify(keys)
}

/// SHA-256 of all bytes received, whether or not they are an envelope.
pub fn received(bytes: &[u8]) -> RecordId {
    RecordId::new(Sha256::digest(bytes).into())
}
