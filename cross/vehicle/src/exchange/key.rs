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

/// The keys of now, and those of the timekeepers before for nonces: what came while these signed was believed then, and is read back by
/// their keys after they were replaced. What comes is not.
#[derive(Clone, Copy, Debug)]
pub struct ReadBack<'a, K> {
    /// Who signs now.
    pub now: &'a K,
    /// Who signed nonces before.
    pub timekeepers: &'a [PublicKey],
}

impl<K: Keys> Keys for ReadBack<'_, K> {
    fn find(&self, id: KeyId, kind: Kind) -> Option<PublicKey> {
        let before = || self.timekeepers.iter().find(|key| kind == Kind::Nonce && key.id() == id);
        self.now.find(id, kind).or_else(|| before().copied())
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
