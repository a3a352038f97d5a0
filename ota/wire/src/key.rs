//! Keys: ed25519, verified strictly.

use core::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::kind::Kind;
use crate::name::hexadecimal;

/// The first 8 bytes of SHA-256(public key): how an envelope names its signer, and how a vehicle is named.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// The id whose bytes these are.
    pub const fn new(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The id of the key with these bytes, whether or not it can verify anything.
    pub fn of(public_key: &[u8; 32]) -> Self {
        let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = <[u8; 32]>::from(Sha256::digest(public_key));
        Self([b0, b1, b2, b3, b4, b5, b6, b7])
    }

    /// The 8 bytes.
    pub const fn bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// Lower-case hexadecimal, 16 digits.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal(&self.0, f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A key that can verify: canonical bytes of a point that is not of small order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    id: KeyId,
}

/// Why 32 bytes were rejected as a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectKey {
    /// Not the coordinate of a point of the curve.
    #[error("not a point of the curve")]
    NotAPoint,
    /// The same point has other bytes, so one key would have two ids.
    #[error("the point's bytes are not canonical")]
    NotCanonical,
    /// A point of small order: one signature would verify for many messages.
    #[error("a point of small order")]
    SmallOrder,
}

impl PublicKey {
    /// Reads a public key.
    ///
    /// # Errors
    /// [`RejectKey`]: bytes that any strict ed25519 library refuses.
    pub fn decode(bytes: &[u8; 32]) -> Result<Self, RejectKey> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_error| RejectKey::NotAPoint)?;
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(RejectKey::NotCanonical);
        }
        if key.is_weak() {
            return Err(RejectKey::SmallOrder);
        }
        Ok(Self { key, id: KeyId::of(bytes) })
    }

    /// How envelopes name this key.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether this key signed this message, strictly: canonical S, canonical R of no small order, and
    /// the equation without the cofactor.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

/// A key that can sign. Wiped from memory when dropped; never shown.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key with this seed (RFC 8032's private key): 32 bytes from a true random source.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let key = self.0.verifying_key();
        PublicKey { key, id: KeyId::of(key.as_bytes()) }
    }
}

impl Signer for SecretKey {
    fn public(&self) -> PublicKey {
        self.public()
    }

    fn sign(&self, message: Message<'_>) -> Result<[u8; 64], Unsigned> {
        Ok(self.0.sign(message.0).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public().id())
    }
}

/// What a key may be asked to sign, and nothing else is: an envelope, by [`seal`](crate::seal), or metadata.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    pub(crate) const fn envelope(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// Metadata of The Update Framework in their canonical form. They begin with `{`, what envelopes sign does not: neither
    /// signature is one of the other. `None`: these are none.
    pub fn metadata(canonical: &'a [u8]) -> Option<Self> {
        canonical.starts_with(b"{").then_some(Self(canonical))
    }

    /// The bytes to sign.
    pub const fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether this is the key's signature of it, strictly: what a device gives is looked at before it is used.
    pub fn signed_by(&self, key: &PublicKey, signature: &[u8; 64]) -> bool {
        key.signed(self.0, signature)
    }
}

/// Something that signs: a key in memory, or one in a device that never gives it out.
pub trait Signer: fmt::Debug + Send + Sync {
    /// The public half.
    fn public(&self) -> PublicKey;

    /// The ed25519 signature (RFC 8032) of a message.
    ///
    /// # Errors
    /// [`Unsigned`]: the device does not sign at the moment. A key in memory always does.
    fn sign(&self, message: Message<'_>) -> Result<[u8; 64], Unsigned>;
}

/// Why a device does not sign, in words for who looks after it. It may later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not signed: {0}")]
pub struct Unsigned(pub &'static str);

/// Who may sign what: a roster, an authority, or both.
pub trait Keys {
    /// The key with this id, if it may sign this kind. A delegated key is found for its kinds alone.
    ///
    /// By value: a roster of many vehicles keeps 32 bytes of each, and decodes the key that is asked for.
    fn find(&self, id: KeyId, kind: Kind) -> Option<PublicKey>;
}
