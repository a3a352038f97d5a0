//! The header of a particle: what its weights are, against what, from what, and the hash of every chunk.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::canonical::{OPTION_HASH_WIRE_BYTES_MAX, U32_WIRE_BYTES_MAX, body, measure};
use crate::envelope::ENVELOPE_OVERHEAD_BYTES;
use crate::name::{ChunkHash, LayoutHash, ModelHash, ParticleId};

/// The longest envelope of a particle header, in bytes.
pub const PARTICLE_HEADER_BYTES_MAX: usize = 1024;
/// The longest chunk, in bytes.
pub const CHUNK_BYTES_MAX: u32 = 64 * 1024;
/// The most chunks a particle can have; with them, and one input, its header is within its bound.
pub const CHUNKS_MAX: usize = 20;
/// The most inputs of a merge; with them, and 6 chunks, its header is within its bound.
pub const INPUTS_MAX: usize = 16;
/// Slots of one publisher, numbered from 0.
pub const SLOTS: u8 = 6;
/// The newest version of the coding of chunks; the first is 1.
pub const CODING_VERSION_MAX: u8 = 1;

const BODY_BYTES_MAX: usize = PARTICLE_HEADER_BYTES_MAX - ENVELOPE_OVERHEAD_BYTES;
const CHUNK_BYTES_WIRE_BYTES_MAX: usize = 3;
const _: () = assert!(CHUNK_BYTES_MAX < 1 << (7 * CHUNK_BYTES_WIRE_BYTES_MAX));
const CHUNK_WIRE_BYTES_MAX: usize = U32_WIRE_BYTES_MAX + CHUNK_BYTES_WIRE_BYTES_MAX + 32;
const INPUT_WIRE_BYTES: usize = 32 + 4;
/// All but the lists and the anchor, which only a contribution has.
const FIELDS_WIRE_BYTES_MAX: usize =
    1 + U32_WIRE_BYTES_MAX + 32 + 32 + 1 + 1 + U32_WIRE_BYTES_MAX + 1;
const CONTRIBUTION_WIRE_BYTES_MAX: usize =
    FIELDS_WIRE_BYTES_MAX + OPTION_HASH_WIRE_BYTES_MAX + CHUNKS_MAX * CHUNK_WIRE_BYTES_MAX;
const MERGE_WIRE_BYTES_MAX: [usize; 2] = [
    FIELDS_WIRE_BYTES_MAX + 1 + INPUT_WIRE_BYTES + CHUNKS_MAX * CHUNK_WIRE_BYTES_MAX,
    FIELDS_WIRE_BYTES_MAX + 1 + INPUTS_MAX * INPUT_WIRE_BYTES + 6 * CHUNK_WIRE_BYTES_MAX,
];
const _: () = assert!(CONTRIBUTION_WIRE_BYTES_MAX <= BODY_BYTES_MAX);
const _: () = assert!(MERGE_WIRE_BYTES_MAX[0] <= BODY_BYTES_MAX);
const _: () = assert!(MERGE_WIRE_BYTES_MAX[1] <= BODY_BYTES_MAX);

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

/// One input of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MergeInput {
    /// The particle that was added.
    pub particle: ParticleId,
    /// What it was multiplied with: finite, not 0.
    pub weight: f32,
}

/// The fields of a particle header, in the order of the wire. None says who publishes it or where: two
/// vehicles that fold one merge write one header, and so name one particle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParticleHeaderFields {
    /// What the weights are for.
    pub role: Role,
    /// The window in which the particle is claimed.
    pub window: u32,
    /// The model it adapts.
    pub base_model: ModelHash,
    /// The layout of its flat run.
    pub layout: LayoutHash,
    /// The particle a contribution is a difference to; `None`: the start adapter, always so for other roles.
    pub anchor: Option<ParticleId>,
    /// What a merge was folded from, by growing particle id: at least one. Empty for other roles.
    pub inputs: Vec<MergeInput, INPUTS_MAX>,
    /// The version of the coding of the chunks: 1 to [`CODING_VERSION_MAX`].
    pub coding: u8,
    /// Count of values in the flat run, at least 1.
    pub values: u32,
    /// The chunks, in order of their first value.
    pub chunks: Vec<Chunk, CHUNKS_MAX>,
}

/// A particle header within its bounds: chunks start at value 0, in order, none empty, none too long.
#[derive(Clone, Debug, PartialEq)]
pub struct ParticleHeader(ParticleHeaderFields, ParticleId);

/// No weight within bounds is NaN.
impl Eq for ParticleHeader {}

/// Which bound of a particle header is broken.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectParticleHeader {
    /// Only a contribution is a difference to another particle: there are no chains.
    #[error("{role:?} with an anchor")]
    Anchor { role: Role },
    #[error("{role:?} with {count} inputs")]
    Inputs { role: Role, count: usize },
    #[error("input {index} is not after the one before")]
    InputOrder { index: usize },
    #[error("the weight of input {index} is 0 or not finite")]
    Weight { index: usize },
    #[error("coding {coding} is not known")]
    Coding { coding: u8 },
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
    /// Every list is within its bound, but all together are not.
    #[error("a body of {bytes} bytes, at most {BODY_BYTES_MAX} allowed")]
    TooLong { bytes: usize },
}

impl ParticleHeader {
    /// A header with these fields.
    ///
    /// # Errors
    /// [`RejectParticleHeader`] names the first bound that is broken.
    pub fn new(fields: ParticleHeaderFields) -> Result<Self, RejectParticleHeader> {
        let ParticleHeaderFields { role, coding, .. } = fields;
        if fields.anchor.is_some() && role != Role::Contribution {
            return Err(RejectParticleHeader::Anchor { role });
        }
        check_inputs(role, &fields.inputs)?;
        if !(1..=CODING_VERSION_MAX).contains(&coding) {
            return Err(RejectParticleHeader::Coding { coding });
        }
        check_chunks(fields.values, &fields.chunks)?;
        // Every body of bounded lists can be written: what cannot be is longer than any.
        let (bytes, hash) = measure(&fields).unwrap_or((usize::MAX, [0; 32]));
        if bytes > BODY_BYTES_MAX {
            return Err(RejectParticleHeader::TooLong { bytes });
        }
        Ok(Self(fields, ParticleId::new(hash)))
    }

    /// The particle: SHA-256 of the body, as it lies on the wire.
    pub const fn id(&self) -> ParticleId {
        self.1
    }
}

fn check_inputs(role: Role, inputs: &[MergeInput]) -> Result<(), RejectParticleHeader> {
    if inputs.is_empty() == (role == Role::Merge) {
        return Err(RejectParticleHeader::Inputs { role, count: inputs.len() });
    }
    let mut before = None;
    for (index, MergeInput { particle, weight }) in inputs.iter().enumerate() {
        if before.is_some_and(|before| before >= particle) {
            return Err(RejectParticleHeader::InputOrder { index });
        }
        if !weight.is_finite() || *weight == 0.0 {
            return Err(RejectParticleHeader::Weight { index });
        }
        before = Some(particle);
    }
    Ok(())
}

fn check_chunks(values: u32, chunks: &[Chunk]) -> Result<(), RejectParticleHeader> {
    if chunks.is_empty() {
        return Err(RejectParticleHeader::NoChunks);
    }
    let mut before = None;
    for (index, chunk) in chunks.iter().enumerate() {
        let Chunk { first_value, bytes, hash: _ } = *chunk;
        let in_order = before.map_or(first_value == 0, |before| first_value > before);
        if !in_order {
            return Err(RejectParticleHeader::ChunkOrder { index, first_value });
        }
        if first_value >= values {
            return Err(RejectParticleHeader::ChunkStart { index, first_value, values });
        }
        if !(1..=CHUNK_BYTES_MAX).contains(&bytes) {
            return Err(RejectParticleHeader::ChunkBytes { index, bytes });
        }
        before = Some(first_value);
    }
    Ok(())
}

body!(ParticleHeader, ParticleHeaderFields, 1);
