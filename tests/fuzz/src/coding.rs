//! The coding of particles: chunks that were never written, and runs of any values.

use shoal_wire::coding::{ChunkDecoder, Encoder, Quality, RejectChunk, decode_chunk};

/// Longer inputs say nothing more.
const CHUNK_BYTES_MAX: usize = 600;
const VALUES_BYTES_MAX: usize = 200;
/// The first byte of an input that is values; it says how many the first tensor has. All others are chunks.
const VALUES: u8 = 0xf8;

/// Reads the bytes as a chunk, whole and byte by byte, or codes them as values.
///
/// # Panics
/// If a chunk yields a value that is not finite or more than were announced, pieces give something else than the
/// whole, or what is decoded is not what the encoder said.
pub fn coding(bytes: &[u8]) {
    match bytes {
        [first @ VALUES..=u8::MAX, bits, values @ ..] => {
            let values = values.get(..VALUES_BYTES_MAX).unwrap_or(values);
            code(first - VALUES, *bits, values);
        }
        [high, low, chunk @ ..] => {
            let chunk = chunk.get(..CHUNK_BYTES_MAX).unwrap_or(chunk);
            read(u16::from_be_bytes([*high, *low]), chunk);
        }
        [] | [_] => {}
    }
}

fn read(announced: u16, chunk: &[u8]) {
    let mut whole = vec![0.0; usize::from(announced)];
    let result = decode_chunk(chunk, &mut whole);
    assert!(whole.iter().all(|value| value.is_finite()));
    let mut pieces = Vec::new();
    let in_pieces = decode(announced.into(), chunk, 1, &mut pieces);
    assert_eq!(result, in_pieces, "pieces give what the whole does");
    assert!(result.is_err() || bits(&pieces) == bits(&whole));
}

/// The bytes as values of two tensors.
fn code(first: u8, bits_a_value: u8, bytes: &[u8]) {
    let quality = Quality::new(1 + bits_a_value % 8).expect("1 to 8");
    let values: Vec<f32> =
        bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect();
    let first = usize::from(first).min(values.len());
    let tensors = [first, values.len() - first].map(|len| u32::try_from(len).expect("short"));
    let (mut carried, mut received) = (values.clone(), vec![0.0; values.len()]);
    let mut decoded = Vec::new();
    let finite = values.iter().all(|value| value.is_finite());
    let Ok(mut encoder) = Encoder::new(quality, &tensors, &mut carried, &mut received) else {
        assert!(!finite, "finite values are coded");
        return;
    };
    let mut buffer = [0; 200];
    while let Some(chunk) = encoder.next_chunk(&mut buffer).expect("a block fits") {
        let read = decode(chunk.values, chunk.bytes, 7, &mut decoded);
        assert_eq!(read, Ok(()), "a chunk is read as it was written");
    }
    assert_eq!(bits(&decoded), bits(&received));
    assert!(carried.iter().all(|remainder| remainder.is_finite()));
}

fn decode(
    announced: u32,
    chunk: &[u8],
    piece_bytes: usize,
    values: &mut Vec<f32>,
) -> Result<(), RejectChunk> {
    let mut decoder = ChunkDecoder::new(announced);
    let mut yielded = 0;
    for piece in chunk.chunks(piece_bytes) {
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
