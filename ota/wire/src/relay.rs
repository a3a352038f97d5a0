//! Records that a beacon passes on: unchanged, one after the other. `SPEC.md` §5 says which.

use crate::envelope::{HEAD_BYTES, Head, RejectEnvelope, Unverified};
use crate::kind::Kind;
use crate::seal::Outbound;
use crate::v1::{CLAIM_BYTES_MAX, PARTICLE_HEADER_BYTES_MAX};

/// The most records that stand together: a claim and the header of its particle.
pub const RELAYED_MAX: usize = 2;
/// The most bytes of them.
pub const RELAYED_BYTES_MAX: usize = CLAIM_BYTES_MAX + PARTICLE_HEADER_BYTES_MAX;

/// Records to be passed on. Made by [`relay`] of what was sealed or verified; nobody else makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relayed<'a> {
    bytes: &'a [u8],
}

/// Why bytes are no records to be passed on. Who passed them on is untrusted: no variant is a bug of ours.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectRelayed {
    /// Not an envelope, or one that ends early.
    #[error("no record")]
    Envelope(#[from] RejectEnvelope),
    #[error("{len} bytes, at most {RELAYED_BYTES_MAX} allowed")]
    TooLong { len: usize },
    /// Neither a nonce, nor a vote, nor a claim, nor a claim and a header.
    #[error("not what is passed on: {first:?}, then {second:?}")]
    Kinds { first: Option<Kind>, second: Option<Kind> },
}

impl<'a> Relayed<'a> {
    /// The bytes to send.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Writes a nonce, a vote, a claim, or a claim and its header to the start of `buffer`; [`RELAYED_BYTES_MAX`] bytes are always enough.
///
/// # Errors
/// [`RejectRelayed`]: other kinds, or the buffer is too small.
pub fn relay<'a>(
    first: Outbound<'_>,
    second: Option<Outbound<'_>>,
    buffer: &'a mut [u8],
) -> Result<Relayed<'a>, RejectRelayed> {
    check([Some(first.kind()), second.map(|second| second.kind())])?;
    let rest = second.map_or(&[][..], |second| second.bytes());
    let len = first.bytes().len().saturating_add(rest.len());
    let to = buffer.get_mut(..len).ok_or(RejectRelayed::TooLong { len })?;
    to.iter_mut().zip(first.bytes().iter().chain(rest)).for_each(|(to, from)| *to = *from);
    Ok(Relayed { bytes: to })
}

/// The records that were passed on, in their order; nothing in them is to be believed yet.
///
/// # Errors
/// [`RejectRelayed`]: the bytes are not one nonce, one vote, one claim, or a claim and a header, to their end.
pub fn relayed(bytes: &[u8]) -> Result<[Option<Unverified<'_>>; RELAYED_MAX], RejectRelayed> {
    if bytes.len() > RELAYED_BYTES_MAX {
        return Err(RejectRelayed::TooLong { len: bytes.len() });
    }
    let (first, rest) = record(bytes)?;
    let second = if rest.is_empty() { None } else { Some(Unverified::decode(rest)?) };
    check([Some(first.head().kind), second.map(|second| second.head().kind)])?;
    Ok([Some(first), second])
}

/// One record, and what follows it.
fn record(bytes: &[u8]) -> Result<(Unverified<'_>, &[u8]), RejectRelayed> {
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
        return Ok((Unverified::decode(bytes)?, &[]));
    };
    let len = usize::try_from(Head::decode(head)?.envelope_bytes()).unwrap_or(usize::MAX);
    let (first, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
    Ok((Unverified::decode(first)?, rest))
}

fn check([first, second]: [Option<Kind>; RELAYED_MAX]) -> Result<(), RejectRelayed> {
    match (first, second) {
        (Some(Kind::Nonce | Kind::Vote | Kind::Claim), None)
        | (Some(Kind::Claim), Some(Kind::ParticleHeader)) => Ok(()),
        (first, second) => Err(RejectRelayed::Kinds { first, second }),
    }
}
