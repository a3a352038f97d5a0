//! Chunks of particles that were never written.

use shoal_wire::coding::{ChunkDecoder, RejectChunk, decode_chunk};

/// Longer inputs say nothing more.
const CHUNK_BYTES_MAX: usize = 300;
const ANNOUNCED_MAX: u16 = 1000;

/// Reads two bytes as the count of values that was announced and the rest as a chunk, whole and byte by byte.
///
/// # Panics
/// If a chunk yields a value that is not finite or more than were announced, or pieces give something else than the
/// whole.
pub fn coding(bytes: &[u8]) {
    let Some((announced, chunk)) = bytes.split_first_chunk() else { return };
    let announced = u16::from_be_bytes(*announced).min(ANNOUNCED_MAX);
    let chunk = chunk.get(..CHUNK_BYTES_MAX).unwrap_or(chunk);
    let mut whole = vec![0.0; usize::from(announced)];
    let result = decode_chunk(chunk, &mut whole);
    assert!(whole.iter().all(|value| value.is_finite()));
    let mut pieces = Vec::with_capacity(whole.len());
    assert_eq!(decode(announced.into(), chunk, &mut pieces), result);
    assert!(result.is_err() || bits(&pieces) == bits(&whole), "pieces give what the whole does");
}

/// Byte by byte.
fn decode(announced: u32, chunk: &[u8], values: &mut Vec<f32>) -> Result<(), RejectChunk> {
    let mut decoder = ChunkDecoder::new(announced);
    let mut yielded = 0;
    for piece in chunk.chunks(1) {
        decoder.push(piece, |index, value| {
            assert!(index == yielded && index < announced && value.is_finite());
            yielded += 1;
            values.push(value);
        })?;
    }
    decoder.finish()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
