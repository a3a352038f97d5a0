//! What a transfer keeps over a power cut: the header's envelope, and which chunks arrived.

use heapless::Vec;
use shoal_wire::v1::{PARTICLE_HEADER_BYTES_MAX, ParticleHeader};
use shoal_wire::{Keys, ParticleId, RejectEnvelope, Unverified, Verified};

use crate::saved::Record;

/// The store's key of a transfer's header: its envelope, as received.
pub const TRANSFER_HEADER_KEY: &str = "transfer/header";
/// The store's key of a transfer's progress.
pub const TRANSFER_PROGRESS_KEY: &str = "transfer/progress";

const VERSION: u8 = 1;

/// A set of chunks, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bits(u32);

impl Bits {
    pub(crate) const NONE: Self = Self(0);
    /// How many chunks there are bits for.
    pub(crate) const COUNT_MAX: u8 = 32;

    /// The set of this chunk alone; empty past the last bit.
    pub(crate) fn one(index: u8) -> Self {
        Self(1_u32.checked_shl(u32::from(index)).unwrap_or(0))
    }

    /// The first `count` chunks.
    pub(crate) fn all(count: u8) -> Self {
        Self(u32::MAX.checked_shr(u32::from(Self::COUNT_MAX.saturating_sub(count))).unwrap_or(0))
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn has(self, index: u8) -> bool {
        self.and(Self::one(index)) != Self::NONE
    }

    pub(crate) fn first(self) -> Option<u8> {
        u8::try_from(self.0.trailing_zeros()).ok().filter(|index| *index < Self::COUNT_MAX)
    }

    pub(crate) fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

/// A header whose signature holds, with its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptHeader {
    pub(crate) header: ParticleHeader,
    bytes: Vec<u8, PARTICLE_HEADER_BYTES_MAX>,
}

impl KeptHeader {
    pub(crate) fn new(verified: &Verified<'_, ParticleHeader>) -> Self {
        Self {
            header: verified.body().clone(),
            // A verified header is within the capacity: no byte is lost.
            bytes: Vec::from_slice(verified.bytes()).unwrap_or_default(),
        }
    }

    /// Count of chunks.
    pub(crate) fn count(&self) -> u8 {
        u8::try_from(self.header.fields().chunks.len()).unwrap_or(u8::MAX)
    }

    pub(crate) fn record(&self) -> Record<'_> {
        Record { key: TRANSFER_HEADER_KEY, bytes: &self.bytes }
    }
}

/// What a store gave back of a transfer, checked.
#[derive(Clone, Debug)]
pub struct SavedTransfer {
    pub(crate) want: ParticleId,
    pub(crate) header: Option<KeptHeader>,
    pub(crate) have: Bits,
}

/// Why what a store gave back was rejected. The transfer begins anew.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectSavedTransfer {
    /// The header is no envelope of one, or its key may not sign one any more.
    #[error("stored header rejected")]
    Header(#[source] RejectEnvelope),
    /// Header or progress of another particle.
    #[error("stored for particle {got}, not for {want}")]
    OtherParticle { got: ParticleId, want: ParticleId },
    /// Another version or length, or chunks the header does not name.
    #[error("stored progress of {len} bytes does not decode")]
    Progress { len: usize },
}

impl SavedTransfer {
    /// Bytes of the progress record: version, particle, a bit a chunk.
    pub(crate) const BYTES: usize = 1 + 32 + 4;

    /// An empty store.
    pub(crate) fn nothing(want: ParticleId) -> Self {
        Self { want, header: None, have: Bits::NONE }
    }

    /// Reads what the store holds for this particle under [`TRANSFER_HEADER_KEY`] and
    /// [`TRANSFER_PROGRESS_KEY`], if anything.
    ///
    /// # Errors
    /// [`RejectSavedTransfer`]: a store can be damaged, or put back to an older state by whoever holds it.
    pub fn decode(
        want: ParticleId,
        header: Option<&[u8]>,
        progress: Option<&[u8]>,
        keys: &impl Keys,
    ) -> Result<Self, RejectSavedTransfer> {
        let mut saved = Self::nothing(want);
        if let Some(bytes) = header {
            let verified = Unverified::decode(bytes)
                .and_then(|header| header.verify::<ParticleHeader>(keys))
                .map_err(RejectSavedTransfer::Header)?;
            let got = verified.body().id();
            if got != want {
                return Err(RejectSavedTransfer::OtherParticle { got, want });
            }
            saved.header = Some(KeptHeader::new(&verified));
        }
        if let Some(bytes) = progress {
            let malformed = RejectSavedTransfer::Progress { len: bytes.len() };
            let (got, have) = decode(bytes).ok_or(malformed)?;
            if got != want {
                return Err(RejectSavedTransfer::OtherParticle { got, want });
            }
            let count = saved.header.as_ref().map_or(0, KeptHeader::count);
            if have.without(Bits::all(count)) != Bits::NONE {
                return Err(malformed);
            }
            saved.have = have;
        }
        Ok(saved)
    }

    pub(crate) fn encode(want: ParticleId, have: Bits) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let fields: [&[u8]; 3] = [&[VERSION], want.bytes(), &have.0.to_le_bytes()];
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    pub(crate) fn record(bytes: &[u8; Self::BYTES]) -> Record<'_> {
        Record { key: TRANSFER_PROGRESS_KEY, bytes }
    }
}

fn decode(bytes: &[u8]) -> Option<(ParticleId, Bits)> {
    let (version, rest) = bytes.split_first()?;
    let (want, rest) = rest.split_first_chunk()?;
    let (have, rest) = rest.split_first_chunk()?;
    (*version == VERSION && rest.is_empty())
        .then(|| (ParticleId::new(*want), Bits(u32::from_le_bytes(*have))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_beyond_the_last_are_none() {
        assert_eq!(Bits::one(32), Bits::NONE);
        assert_eq!(Bits::all(0), Bits::NONE);
        assert_eq!(Bits::all(32), Bits(u32::MAX));
        assert_eq!(Bits::all(255), Bits(u32::MAX));
        assert_eq!(Bits::NONE.first(), None);
        assert_eq!(Bits::one(31).first(), Some(31));
    }

    #[test]
    fn progress_of_another_length_or_version_is_refused() {
        let bytes = SavedTransfer::encode(ParticleId::new([7; 32]), Bits(5));
        assert_eq!(decode(&bytes), Some((ParticleId::new([7; 32]), Bits(5))));
        for len in 0..bytes.len() {
            assert_eq!(decode(bytes.get(..len).unwrap_or_default()), None);
        }
        let mut other = bytes;
        if let Some(version) = other.first_mut() {
            *version = 2;
        }
        assert_eq!(decode(&other), None);
    }
}
