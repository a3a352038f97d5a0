//! The way out: a body becomes an envelope.

use sha2::{Digest, Sha256};

use crate::envelope::{HEAD_BYTES, Head, SIGNATURE_BYTES, Verified};
use crate::key::{Message, Signer, Unsigned};
use crate::kind::{Body, Kind};
use crate::name::RecordId;
use crate::stream::message;

/// An envelope: the one thing that may be published. Made by [`seal`], or again of one that was verified. Nobody else makes one:
///
/// ```compile_fail,E0451
/// let frame = [0; 320 * 160 * 3];
/// let id = shoal_wire::RecordId::new([0; 32]);
/// shoal_wire::Outbound { kind: shoal_wire::Kind::Claim, id, bytes: &frame };
/// ```
///
/// and of bytes that are no body there is nothing to seal:
///
/// ```compile_fail,E0277
/// # let key = shoal_wire::SecretKey::from_seed(&[1; 32]);
/// let frame = [0_u8; 320 * 160 * 3];
/// shoal_wire::seal(&frame, 1, 0, &key, &mut [0; 512]).ok();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outbound<'a> {
    kind: Kind,
    id: RecordId,
    bytes: &'a [u8],
}

impl<'a> Outbound<'a> {
    /// What it carries.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// SHA-256 of its bytes.
    pub const fn id(&self) -> RecordId {
        self.id
    }

    /// The bytes to send.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// What was sealed before, by us or by who asks us to pass it on: the same bytes again.
impl<'a, T: Body<'a>> From<&Verified<'a, T>> for Outbound<'a> {
    fn from(record: &Verified<'a, T>) -> Self {
        Self { kind: record.head().kind, id: record.id(), bytes: record.bytes() }
    }
}

/// Why a body could not be sealed.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// [`Kind::envelope_bytes_max`] bytes are always enough.
    #[error("buffer of {len} bytes is too small for this {kind:?}")]
    BufferTooSmall { kind: Kind, len: usize },
    /// The key is in a device, which may sign later.
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
}

/// Signs a body and writes its envelope to the start of `buffer`.
///
/// `counter` is above every counter this key has signed; `not_after_seconds` is UTC.
///
/// # Errors
/// [`SealError`]: the buffer is too small, or the key's device does not sign; the buffer may hold a part of the envelope then.
pub fn seal<'a, 'b, T: Body<'b>>(
    body: &T,
    counter: u64,
    not_after_seconds: u64,
    key: &dyn Signer,
    buffer: &'a mut [u8],
) -> Result<Outbound<'a>, SealError> {
    let kind = T::KIND;
    let len = buffer.len();
    let too_small = || SealError::BufferTooSmall { kind, len };

    let (first, after) = buffer.split_first_chunk_mut::<HEAD_BYTES>().ok_or_else(too_small)?;
    let body_bytes = postcard::to_slice(body.wire(), after).map_err(|_error| too_small())?.len();
    let head = Head {
        kind,
        version: T::VERSION,
        key: key.public().id(),
        counter,
        not_after_seconds,
        body_bytes: u32::try_from(body_bytes).map_err(|_error| too_small())?,
    };
    *first = head.encode();
    let (body, after) = after.split_at_mut_checked(body_bytes).ok_or_else(too_small)?;
    let signature = after.first_chunk_mut::<SIGNATURE_BYTES>().ok_or_else(too_small)?;

    let mut hasher = Sha256::new();
    hasher.update(first.as_slice());
    hasher.update(&*body);
    let message = message(&head, &hasher.clone().finalize().into());
    *signature = key.sign(Message::envelope(&message))?;
    hasher.update(signature.as_slice());
    let id = RecordId::new(hasher.finalize().into());

    let sealed = HEAD_BYTES.saturating_add(body_bytes).saturating_add(SIGNATURE_BYTES);
    let bytes = buffer.get(..sealed).ok_or_else(too_small)?;
    Ok(Outbound { kind, id, bytes })
}
