//! What the tests of the coding share: a run through the encoder, and chunks through the decoder.

use shoal_wire::coding::{ChunkDecoder, EncodeError, Encoder, Quality, RejectChunk};

/// Chunks with the index of their first value and their count of values, and what the encoder said of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Coded {
    pub(crate) chunks: Vec<(u32, u32, Vec<u8>)>,
    pub(crate) received: Vec<f32>,
    pub(crate) remainder: Vec<f32>,
}

impl Coded {
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.iter().map(|(_first, _values, bytes)| bytes.len()).sum()
    }
}

pub(crate) fn quality(bits: u8) -> Quality {
    Quality::new(bits).unwrap()
}

pub(crate) fn encode(bits: u8, tensors: &[u32], values: &[f32]) -> Result<Coded, EncodeError> {
    encode_into(bits, tensors, values, 1 << 16)
}

/// With chunks of at most so many bytes.
pub(crate) fn encode_into(
    bits: u8,
    tensors: &[u32],
    values: &[f32],
    len: usize,
) -> Result<Coded, EncodeError> {
    let mut remainder = values.to_vec();
    // Not zeros: what was there before must not matter.
    let mut received = vec![f32::NAN; values.len()];
    let mut buffer = vec![0xa5; len];
    let mut chunks = Vec::new();
    let mut encoder = Encoder::new(quality(bits), tensors, &mut remainder, &mut received)?;
    while let Some(chunk) = encoder.next_chunk(&mut buffer)? {
        chunks.push((chunk.first_value, chunk.values, chunk.bytes.to_vec()));
    }
    Ok(Coded { chunks, received, remainder })
}

/// One chunk, in pieces of these sizes, around and around.
pub(crate) fn decode(values: u32, bytes: &[u8], sizes: &[usize]) -> Result<Vec<f32>, RejectChunk> {
    let mut decoder = ChunkDecoder::new(values);
    let mut decoded = Vec::new();
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let (piece, left) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        rest = left;
        decoder.push(piece, |index, value| {
            assert_eq!(index as usize, decoded.len(), "each index once, in order");
            decoded.push(value);
            assert!(value.is_finite() && index < values);
        })?;
    }
    decoder.finish().map(|()| decoded)
}

/// To the bit: a negative zero is not zero.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
