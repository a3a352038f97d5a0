//! The envelope: one signed unit on the wire, whole in memory. `SPEC.md` §1 draws its bytes.

use core::fmt;

use crate::canonical::{RejectBody, decode_body};
use crate::key::{KeyId, Keys};
use crate::kind::{Body, Kind};
use crate::name::RecordId;
use crate::stream::Stream;

/// The first four bytes of every envelope.
pub(crate) const MAGIC: [u8; 4] = *b"SHL1";
/// Bytes before the body: magic, kind, version, key id, counter, not_after, body length.
pub const HEAD_BYTES: usize = 4 + 1 + 1 + 8 + 8 + 8 + 4;
/// Bytes after the body.
pub const SIGNATURE_BYTES: usize = 64;
/// Bytes of an envelope beside its body.
pub const ENVELOPE_OVERHEAD_BYTES: usize = HEAD_BYTES + SIGNATURE_BYTES;

/// Why an envelope was rejected. The sender is untrusted: no variant is a bug of ours.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectEnvelope {
    /// Ends before its signature does.
    #[error("envelope ends early: {missing} more bytes expected")]
    TooShort { missing: usize },
    /// Longer than its kind may be; nothing was decoded.
    #[error("envelope of {kind:?} has {len} bytes, at most {max} allowed")]
    TooLong { kind: Kind, len: u64, max: usize },
    /// Bytes after the signature.
    #[error("bytes after the envelope's end")]
    Trailing,
    /// Not an envelope at all.
    #[error("does not begin with SHL1")]
    Magic,
    /// A kind this crate does not read.
    #[error("kind {kind} is not known")]
    UnknownKind { kind: u8 },
    /// A version of the body this crate does not read.
    #[error("version {version} of {kind:?} is not known")]
    UnknownVersion { kind: Kind, version: u8 },
    /// Another kind or version than the caller asked for.
    #[error("carries {got:?} version {got_version}, expected {want:?} version {want_version}")]
    NotAsked { got: Kind, got_version: u8, want: Kind, want_version: u8 },
    /// Signed by a key that is not known or may not sign this kind.
    #[error("key {key} may not sign {kind:?}")]
    UnknownKey { key: KeyId, kind: Kind },
    /// The signature is not this key's over these bytes.
    #[error("signature is not that of key {key}")]
    Signature { key: KeyId },
    /// These are not the bytes whose signature was checked.
    #[error("bytes differ from those that were verified")]
    Changed,
    /// Authentic, but its body is not what its kind says.
    #[error("body rejected")]
    Body(#[source] RejectBody),
}

/// What stands before the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the body is.
    pub kind: Kind,
    /// The coding of the body: 1 to [`Kind::version_max`].
    pub version: u8,
    /// Who signed.
    pub key: KeyId,
    /// Grows with every envelope of one key.
    pub counter: u64,
    /// UTC in seconds after which the envelope counts no more.
    pub not_after_seconds: u64,
    /// Bytes of the body; with it the envelope is within [`Kind::envelope_bytes_max`].
    pub body_bytes: u32,
}

impl Head {
    /// Reads a head and checks all that can be known before the body is seen.
    ///
    /// # Errors
    /// [`RejectEnvelope`]: magic, kind, version or length.
    pub fn decode(bytes: &[u8; HEAD_BYTES]) -> Result<Self, RejectEnvelope> {
        let mut rest = bytes.as_slice();
        if take::<4>(&mut rest) != MAGIC {
            return Err(RejectEnvelope::Magic);
        }
        let [number] = take::<1>(&mut rest);
        let kind = Kind::from_number(number).ok_or(RejectEnvelope::UnknownKind { kind: number })?;
        let [version] = take::<1>(&mut rest);
        if version == 0 || version > kind.version_max() {
            return Err(RejectEnvelope::UnknownVersion { kind, version });
        }
        let head = Self {
            kind,
            version,
            key: KeyId::new(take(&mut rest)),
            counter: u64::from_le_bytes(take(&mut rest)),
            not_after_seconds: u64::from_le_bytes(take(&mut rest)),
            body_bytes: u32::from_le_bytes(take(&mut rest)),
        };
        let (len, max) = (head.envelope_bytes(), kind.envelope_bytes_max());
        if len > max as u64 {
            return Err(RejectEnvelope::TooLong { kind, len, max });
        }
        Ok(head)
    }

    /// Bytes of the whole envelope.
    pub fn envelope_bytes(&self) -> u64 {
        (ENVELOPE_OVERHEAD_BYTES as u64).saturating_add(u64::from(self.body_bytes))
    }

    pub(crate) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let fields: [&[u8]; 7] = [
            &MAGIC,
            &[self.kind.number()],
            &[self.version],
            self.key.bytes(),
            &self.counter.to_le_bytes(),
            &self.not_after_seconds.to_le_bytes(),
            &self.body_bytes.to_le_bytes(),
        ];
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }
}

/// An envelope whose length is right; nothing in it is to be believed yet.
#[derive(Clone, Copy, Debug)]
pub struct Unverified<'a> {
    head: Head,
    bytes: &'a [u8],
}

impl<'a> Unverified<'a> {
    /// Takes exactly one envelope.
    ///
    /// # Errors
    /// [`RejectEnvelope`]: magic, kind, version, or a length that is not the declared one.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RejectEnvelope> {
        let Some(first) = bytes.first_chunk::<HEAD_BYTES>() else {
            let missing = ENVELOPE_OVERHEAD_BYTES.saturating_sub(bytes.len());
            return Err(RejectEnvelope::TooShort { missing });
        };
        let head = Head::decode(first)?;
        let declared = usize::try_from(head.envelope_bytes()).unwrap_or(usize::MAX);
        match declared.checked_sub(bytes.len()) {
            Some(0) => Ok(Self { head, bytes }),
            Some(missing) => Err(RejectEnvelope::TooShort { missing }),
            None => Err(RejectEnvelope::Trailing),
        }
    }

    /// What the envelope says of itself; not to be believed.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The bytes of the body; not to be believed.
    pub fn body(&self) -> &'a [u8] {
        let body_bytes = usize::try_from(self.head.body_bytes).unwrap_or(usize::MAX);
        let body = self.bytes.get(HEAD_BYTES..).and_then(|rest| rest.get(..body_bytes));
        body.unwrap_or_default()
    }

    /// Checks signature and body.
    ///
    /// # Errors
    /// [`RejectEnvelope`], cheapest check first: kind, key, signature, body.
    pub fn verify<T: Body<'a>>(self, keys: &impl Keys) -> Result<Verified<'a, T>, RejectEnvelope> {
        self.head.asked::<T>()?;
        let mut stream = Stream::new();
        stream.push(self.bytes)?;
        let authentic = stream.finish(keys)?;
        Verified::open(*authentic.head(), authentic.id(), self.bytes)
    }
}

impl Head {
    /// Whether the body is a `T`.
    pub(crate) fn asked<'a, T: Body<'a>>(&self) -> Result<(), RejectEnvelope> {
        if self.kind == T::KIND && self.version == T::VERSION {
            return Ok(());
        }
        Err(RejectEnvelope::NotAsked {
            got: self.kind,
            got_version: self.version,
            want: T::KIND,
            want_version: T::VERSION,
        })
    }
}

/// An envelope that its signer's key signed, with a body that is canonical and within its bounds. Whether
/// it is fresh (counter, `not_after`) is for who keeps the newest.
#[derive(Clone, Copy)]
pub struct Verified<'a, T> {
    head: Head,
    id: RecordId,
    bytes: &'a [u8],
    body: T,
}

impl<'a, T: Body<'a>> Verified<'a, T> {
    /// Decodes the body of bytes whose signature holds.
    pub(crate) fn open(head: Head, id: RecordId, bytes: &'a [u8]) -> Result<Self, RejectEnvelope> {
        let body = bytes
            .get(HEAD_BYTES..bytes.len().saturating_sub(SIGNATURE_BYTES))
            .ok_or(RejectEnvelope::Changed)?;
        let body = decode_body::<T>(body).map_err(RejectEnvelope::Body)?;
        Ok(Self { head, id, bytes, body })
    }

    /// Who signed, when it ends to count, and its counter.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// SHA-256 of the envelope's bytes.
    pub const fn id(&self) -> RecordId {
        self.id
    }

    /// The envelope's bytes as received: what is stored and forwarded.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The body.
    pub const fn body(&self) -> &T {
        &self.body
    }
}

impl<T: fmt::Debug> fmt::Debug for Verified<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("head", &self.head).field("body", &self.body).finish()
    }
}

/// The next `N` bytes of a head; zeros past its end, which its fixed length rules out.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    match rest.split_first_chunk::<N>() {
        Some((taken, left)) => {
            *rest = left;
            *taken
        }
        None => [0; N],
    }
}
