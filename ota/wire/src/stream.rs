//! One pass over an envelope that comes in pieces: on an MCU it never lies in memory as a whole.

use sha2::{Digest, Sha256};

use crate::envelope::{HEAD_BYTES, Head, RejectEnvelope, SIGNATURE_BYTES, Verified};
use crate::key::Keys;
use crate::kind::Body;
use crate::name::RecordId;

/// What is signed begins with this, so that no signature over anything else is one over an envelope.
const CONTEXT: [u8; 8] = *b"shoal/1/";
const MESSAGE_BYTES: usize = CONTEXT.len() + 2 + 32;

/// Verifies an envelope piece by piece. The caller stores the pieces where it likes and believes nothing
/// of them before [`Stream::finish`].
#[derive(Clone, Debug)]
pub struct Stream {
    hasher: Sha256,
    part: Part,
}

/// Where the next byte belongs.
#[derive(Clone, Copy, Debug)]
enum Part {
    Head { bytes: [u8; HEAD_BYTES], count: usize },
    Body { head: Head, left: usize },
    Signature { head: Head, signed: [u8; 32], bytes: [u8; SIGNATURE_BYTES], count: usize },
    Rejected(RejectEnvelope),
}

impl Stream {
    /// Before the first byte.
    pub fn new() -> Self {
        Self { hasher: Sha256::new(), part: Part::Head { bytes: [0; HEAD_BYTES], count: 0 } }
    }

    /// Takes the next bytes, as many as there are.
    ///
    /// # Errors
    /// [`RejectEnvelope`] as soon as the head is read and wrong, and for bytes after the end; the same
    /// again for every later call.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), RejectEnvelope> {
        let mut rest = piece;
        while !rest.is_empty() {
            (self.part, rest) = match self.part {
                Part::Head { bytes, count } => self.push_head(bytes, count, rest),
                Part::Body { head, left } => self.push_body(head, left, rest),
                Part::Signature { head, signed, bytes, count } => {
                    self.push_signature(head, signed, bytes, count, rest)
                }
                Part::Rejected(reject) => return Err(reject),
            };
        }
        match self.part {
            Part::Rejected(reject) => Err(reject),
            Part::Head { .. } | Part::Body { .. } | Part::Signature { .. } => Ok(()),
        }
    }

    /// What the envelope says of itself, once that many bytes are in; not to be believed.
    pub fn head(&self) -> Option<&Head> {
        match &self.part {
            Part::Body { head, .. } | Part::Signature { head, .. } => Some(head),
            Part::Head { .. } | Part::Rejected(_) => None,
        }
    }

    /// Checks the signature over all that was pushed.
    ///
    /// # Errors
    /// [`RejectEnvelope`]: too short, key, signature, or what `push` had refused.
    pub fn finish(self, keys: &impl Keys) -> Result<Authentic, RejectEnvelope> {
        let missing = |left: usize| RejectEnvelope::TooShort { missing: left };
        let (head, signed, signature) = match self.part {
            Part::Head { count, .. } => {
                let left = HEAD_BYTES.saturating_sub(count).saturating_add(SIGNATURE_BYTES);
                return Err(missing(left));
            }
            Part::Body { left, .. } => return Err(missing(left.saturating_add(SIGNATURE_BYTES))),
            Part::Signature { count, .. } if count < SIGNATURE_BYTES => {
                return Err(missing(SIGNATURE_BYTES.saturating_sub(count)));
            }
            Part::Signature { head, signed, bytes, count: _ } => (head, signed, bytes),
            Part::Rejected(reject) => return Err(reject),
        };
        let key = keys
            .find(head.key, head.kind)
            .filter(|key| key.id() == head.key)
            .ok_or(RejectEnvelope::UnknownKey { key: head.key, kind: head.kind })?;
        if !key.signed(&message(&head, &signed), &signature) {
            return Err(RejectEnvelope::Signature { key: head.key });
        }
        Ok(Authentic { head, id: RecordId::new(self.hasher.finalize().into()) })
    }

    fn push_head<'a>(
        &mut self,
        mut bytes: [u8; HEAD_BYTES],
        mut count: usize,
        piece: &'a [u8],
    ) -> (Part, &'a [u8]) {
        let (taken, rest) = fill(&mut bytes, &mut count, piece);
        self.hasher.update(taken);
        if count < HEAD_BYTES {
            return (Part::Head { bytes, count }, rest);
        }
        let part = Head::decode(&bytes).map_or_else(Part::Rejected, |head| {
            self.after_body(head, usize::try_from(head.body_bytes).unwrap_or(usize::MAX))
        });
        (part, rest)
    }

    fn push_body<'a>(&mut self, head: Head, left: usize, piece: &'a [u8]) -> (Part, &'a [u8]) {
        let (taken, rest) = piece.split_at_checked(left).unwrap_or((piece, &[]));
        self.hasher.update(taken);
        (self.after_body(head, left.saturating_sub(taken.len())), rest)
    }

    /// The body if any of it is left, else the signature, over all bytes so far.
    fn after_body(&self, head: Head, left: usize) -> Part {
        if left > 0 {
            return Part::Body { head, left };
        }
        let signed = self.hasher.clone().finalize().into();
        Part::Signature { head, signed, bytes: [0; SIGNATURE_BYTES], count: 0 }
    }

    fn push_signature<'a>(
        &mut self,
        head: Head,
        signed: [u8; 32],
        mut bytes: [u8; SIGNATURE_BYTES],
        mut count: usize,
        piece: &'a [u8],
    ) -> (Part, &'a [u8]) {
        if count == SIGNATURE_BYTES {
            return (Part::Rejected(RejectEnvelope::Trailing), &[]);
        }
        let (taken, rest) = fill(&mut bytes, &mut count, piece);
        self.hasher.update(taken);
        (Part::Signature { head, signed, bytes, count }, rest)
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self::new()
    }
}

/// An envelope whose signature holds; its bytes lie where the caller put them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authentic {
    head: Head,
    id: RecordId,
}

impl Authentic {
    /// Who signed, what, and for how long.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// SHA-256 of the envelope's bytes.
    pub const fn id(&self) -> RecordId {
        self.id
    }

    /// Decodes the body, from the stored bytes of the same envelope.
    ///
    /// # Errors
    /// [`RejectEnvelope`]: not the kind that was asked for, bytes that are not those verified (the
    /// store may have lost some), or the body.
    pub fn open<'a, T: Body<'a>>(self, bytes: &'a [u8]) -> Result<Verified<'a, T>, RejectEnvelope> {
        self.head.asked::<T>()?;
        let id = RecordId::new(Sha256::digest(bytes).into());
        if id != self.id {
            return Err(RejectEnvelope::Changed);
        }
        Verified::open(self.head, id, bytes)
    }
}

/// What ed25519 signs: the context, kind and version, and the SHA-256 of all bytes before the signature.
pub(crate) fn message(head: &Head, signed: &[u8; 32]) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    let fields: [&[u8]; 3] = [&CONTEXT, &[head.kind.number(), head.version], signed];
    for (to, from) in message.iter_mut().zip(fields.into_iter().flatten()) {
        *to = *from;
    }
    message
}

/// Copies from the piece into what is still free of `bytes`; returns what was taken and what is left.
fn fill<'a, const N: usize>(
    bytes: &mut [u8; N],
    count: &mut usize,
    piece: &'a [u8],
) -> (&'a [u8], &'a [u8]) {
    let free = N.saturating_sub(*count);
    let (taken, rest) = piece.split_at_checked(free).unwrap_or((piece, &[]));
    for (to, from) in bytes.iter_mut().skip(*count).zip(taken) {
        *to = *from;
    }
    *count = count.saturating_add(taken.len());
    (taken, rest)
}
