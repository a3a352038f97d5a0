//! The header of a particle: what its weights are, against what, and the hash of every chunk.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::canonical::{Fields, RejectBody};
use crate::envelope::ENVELOPE_OVERHEAD_BYTES;
use crate::kind::{Body, Kind};
use crate::name::{ChunkHash, LayoutHash, ModelHash, ParticleId};

/// The longest envelope of a particle header, in bytes.
pub const PARTICLE_HEADER_BYTES_MAX: usize = 1024;
/// The longest chunk, in bytes.
pub const CHUNK_BYTES_MAX: u32 = 64 * 1024;
/// The most chunks a particle can have; with them its header is within its bound.
pub const CHUNKS_MAX: usize = 20;
/// Slots of one publisher, numbered from 0.
pub const SLOTS: u8 = 6;

/// Longest postcard numbers: 7 bits a byte.
const U32_WIRE_BYTES_MAX: usize = 5;
const CHUNK_BYTES_WIRE_BYTES_MAX: usize = 3;
const _: () = assert!(CHUNK_BYTES_MAX < 1 << (7 * CHUNK_BYTES_WIRE_BYTES_MAX));
const CHUNK_WIRE_BYTES_MAX: usize = U32_WIRE_BYTES_MAX + CHUNK_BYTES_WIRE_BYTES_MAX + 32;
const FIELDS_WIRE_BYTES_MAX: usize =
    1 + 1 + U32_WIRE_BYTES_MAX + 32 + 32 + (1 + 32) + U32_WIRE_BYTES_MAX + 1;
const _: () = assert!(
    ENVELOPE_OVERHEAD_BYTES + FIELDS_WIRE_BYTES_MAX + CHUNKS_MAX * CHUNK_WIRE_BYTES_MAX
        <= PARTICLE_HEADER_BYTES_MAX,
    "a header with every chunk is within its bound"
);

/// What a particle's weights are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// A vehicle's own particle, claimed as good.
    Best,
    /// One to keep away from.
    Worst,
    /// A vehicle's displacement since the anchor.
    Contribution,
    /// Contributions folded into one.
    Merge,
}

/// One chunk: where its values begin in the flat adapter, how long it is, and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Index of the chunk's first value in the flat run of f32.
    pub first_value: u32,
    /// Bytes of the chunk: 1 to [`CHUNK_BYTES_MAX`].
    pub bytes: u32,
    /// Of those bytes.
    pub hash: ChunkHash,
}

/// The fields of a particle header, in the order of the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParticleHeaderFields {
    /// What the weights are for.
    pub role: Role,
    /// The publisher's slot that holds header and chunks: below [`SLOTS`].
    pub slot: u8,
    /// The window in which the particle is claimed.
    pub window: u32,
    /// The model it adapts.
    pub base_model: ModelHash,
    /// The layout of its flat run.
    pub layout: LayoutHash,
    /// The particle its values are a difference to; `None`: the base model itself, all zeros.
    pub anchor: Option<ParticleId>,
    /// Count of values in the flat run, at least 1.
    pub values: u32,
    /// The chunks, in order of their first value.
    pub chunks: Vec<Chunk, CHUNKS_MAX>,
}

/// A particle header within its bounds: chunks start at value 0, in order, none empty, none too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParticleHeader(ParticleHeaderFields);

/// Which bound of a particle header is broken.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectParticleHeader {
    #[error("slot {slot}, but slots are 0 to {}", SLOTS - 1)]
    Slot { slot: u8 },
    #[error("no chunks")]
    NoChunks,
    /// The first chunk does not start at 0, or one starts where or before the one before it does.
    #[error("chunk {index} starts at value {first_value}, out of order")]
    ChunkOrder { index: usize, first_value: u32 },
    /// A chunk without a value.
    #[error("chunk {index} starts at value {first_value} of {values}")]
    ChunkStart { index: usize, first_value: u32, values: u32 },
    #[error("chunk {index} has {bytes} bytes, 1 to {CHUNK_BYTES_MAX} allowed")]
    ChunkBytes { index: usize, bytes: u32 },
}

impl ParticleHeader {
    /// A header with these fields.
    ///
    /// # Errors
    /// [`RejectParticleHeader`] names the first bound that is broken.
    pub fn new(fields: ParticleHeaderFields) -> Result<Self, RejectParticleHeader> {
        if fields.slot >= SLOTS {
            return Err(RejectParticleHeader::Slot { slot: fields.slot });
        }
        if fields.chunks.is_empty() {
            return Err(RejectParticleHeader::NoChunks);
        }
        let mut before = None;
        for (index, chunk) in fields.chunks.iter().enumerate() {
            let Chunk { first_value, bytes, hash: _ } = *chunk;
            let in_order = before.map_or(first_value == 0, |before| first_value > before);
            if !in_order {
                return Err(RejectParticleHeader::ChunkOrder { index, first_value });
            }
            if first_value >= fields.values {
                let values = fields.values;
                return Err(RejectParticleHeader::ChunkStart { index, first_value, values });
            }
            if !(1..=CHUNK_BYTES_MAX).contains(&bytes) {
                return Err(RejectParticleHeader::ChunkBytes { index, bytes });
            }
            before = Some(first_value);
        }
        Ok(Self(fields))
    }

    /// The fields.
    pub const fn fields(&self) -> &ParticleHeaderFields {
        &self.0
    }
}

impl Fields for ParticleHeader {
    type Wire = ParticleHeaderFields;

    fn from_wire(wire: ParticleHeaderFields) -> Result<Self, RejectBody> {
        Self::new(wire).map_err(RejectBody::ParticleHeader)
    }

    fn wire(&self) -> &ParticleHeaderFields {
        &self.0
    }
}

impl Body for ParticleHeader {
    const KIND: Kind = Kind::ParticleHeader;
    const VERSION: u8 = 1;
}
