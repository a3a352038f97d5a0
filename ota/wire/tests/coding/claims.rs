//! One claim of SPEC.md §6 a test.

use crate::chance::{ADAPTER, Chance};
use crate::common::{Coded, bits, decode, encode, encode_into, quality};
use shoal_wire::coding::{
    BLOCK_VALUES_MAX, ChunkDecoder, EncodeError, Encoder, Quality, RejectChunk, decode_chunk,
};
use shoal_wire::v1::CHUNK_BYTES_MAX;

fn displacement() -> Vec<f32> {
    Chance(5).displacement(&ADAPTER)
}

fn only(coded: &Coded) -> (u32, &[u8]) {
    let [(0, values, bytes)] = &coded.chunks[..] else { panic!("{} chunks", coded.chunks.len()) };
    (*values, bytes)
}

#[test]
fn a_quality_is_1_to_8_bits() {
    assert_eq!(Quality::new(0), None);
    assert_eq!(Quality::new(9), None);
    assert_eq!((1..=8).map(|bits| quality(bits).bits()).collect::<Vec<_>>(), Vec::from_iter(1..=8));
}

#[test]
fn what_is_received_and_the_remainder_are_what_was_sent() {
    let values = displacement();
    for bits in 1..=8 {
        let Coded { received, remainder, .. } = encode(bits, &ADAPTER, &values).unwrap();
        for ((value, received), remainder) in values.iter().zip(received).zip(remainder) {
            assert_eq!(remainder, value - received);
        }
    }
}

#[test]
fn zeros_cost_next_to_nothing() {
    let coded = encode(4, &[1 << 20], &vec![0.0; 1 << 20]).unwrap();
    assert!(coded.bytes() < 320, "{} bytes", coded.bytes());
    assert_eq!(bits(&coded.received), vec![0; 1 << 20]);
    let coded = encode(4, &[3], &[-0.0; 3]).unwrap();
    assert_eq!(bits(&coded.received), [0; 3], "a zero has one sign");
}

#[test]
fn a_value_alone_is_received_within_a_256th_and_half_a_step() {
    for bits in 1..=8 {
        for value in [1.0_f32, -0.37, 1e29, 1e-29] {
            let coded = encode(bits, &[1], &[value]).unwrap();
            let error = (coded.received[0] - value).abs() / value.abs();
            let bound = if bits <= 3 { 1.0 / 256.0 } else { 0.18 };
            assert!(error < bound, "{bits} bits: {value} is received as {}", coded.received[0]);
        }
    }
}

#[test]
fn signs_of_one_magnitude_are_received_at_every_quality() {
    let values: Vec<f32> = (0..500).map(|i| if i * i % 7 < 3 { 0.002 } else { -0.002 }).collect();
    for bits in 1..=8 {
        let coded = encode(bits, &[500], &values).unwrap();
        for (value, received) in values.iter().zip(&coded.received) {
            assert!((value - received).abs() < 0.17 * value.abs(), "{bits} bits: {received}");
        }
    }
}

#[test]
fn values_too_small_for_any_scale_stay_in_the_remainder() {
    let denormals = [f32::from_bits(1), -f32::from_bits(70_000), 0.0];
    for quality in 1..=8 {
        let coded = encode(quality, &[3], &denormals).unwrap();
        assert_eq!(bits(&coded.received), [0; 3]);
        assert_eq!(bits(&coded.remainder), bits(&denormals));
    }
}

#[test]
fn an_outlier_is_received_and_what_it_hid_remains() {
    let mut values = displacement();
    values[1000] = 3e4;
    for bits in 1..=8 {
        let coded = encode(bits, &ADAPTER, &values).unwrap();
        let (count, bytes) = only(&coded);
        assert_eq!(decode(count, bytes, &[512]).unwrap(), coded.received);
        assert!(coded.remainder[1000].abs() < 3e3, "{bits} bits: {}", coded.remainder[1000]);
        assert_eq!(coded.received[999] + coded.remainder[999], values[999]);
    }
}

#[test]
fn the_largest_f32_are_received_as_finite_values() {
    for bits in 1..=8 {
        let coded = encode(bits, &[4], &[f32::MAX, -f32::MAX, 1.0, 0.0]).unwrap();
        let (count, bytes) = only(&coded);
        assert_eq!(decode(count, bytes, &[1]).unwrap(), coded.received);
        assert!(coded.remainder.iter().all(|value| value.is_finite()));
        assert!(coded.received[0] > 0.0 && coded.received[1] < 0.0);
    }
}

#[test]
fn a_value_that_is_not_finite_is_named_and_nothing_changes() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut carried = [1.0, 2.0, bad, 4.0];
        let before = bits(&carried);
        let mut received = [7.0; 4];
        let refused = Encoder::new(quality(2), &[1, 3], &mut carried, &mut received).unwrap_err();
        assert_eq!(refused, EncodeError::NotFinite { index: 2 });
        assert_eq!((bits(&carried), received), (before, [7.0; 4]));
    }
}

#[test]
fn tensors_that_are_not_the_run_are_refused() {
    for (tensors, values, received) in
        [(&[2, 2][..], 3, 3), (&[3], 3, 2), (&[u32::MAX, u32::MAX], 3, 3), (&[], 1, 1)]
    {
        let refused =
            Encoder::new(quality(2), tensors, &mut vec![1.0; values], &mut vec![1.0; received])
                .map(|_encoder| ());
        let tensors = tensors.iter().map(|len| u64::from(*len)).sum();
        assert_eq!(refused, Err(EncodeError::Lengths { tensors, values, received }));
    }
}

#[test]
fn tensors_without_values_and_runs_without_tensors_are_coded() {
    assert_eq!(encode(4, &[], &[]).unwrap().chunks, []);
    assert_eq!(encode(4, &[0, 0], &[]).unwrap().chunks, []);
    let gaps = encode(4, &[0, 2, 0, 0, 1, 0], &[1.0, -2.0, 5.0]).unwrap();
    assert_eq!(gaps, encode(4, &[2, 1], &[1.0, -2.0, 5.0]).unwrap());
}

#[test]
fn a_buffer_that_is_too_small_is_an_error_and_the_encoder_stays_where_it_was() {
    let (mut carried, mut received) = ([0.5, -0.25], [0.0; 2]);
    let mut encoder = Encoder::new(quality(4), &[2], &mut carried, &mut received).unwrap();
    let mut buffer = [0; 64];
    for len in 0..9 {
        let refused = encoder.next_chunk(&mut buffer[..len]);
        assert_eq!(refused, Err(EncodeError::BufferTooSmall { len }));
    }
    let chunk = encoder.next_chunk(&mut buffer).unwrap().unwrap();
    assert_eq!((chunk.first_value, chunk.values), (0, 2));
    assert_eq!(
        Ok(chunk.bytes.to_vec()),
        encode(4, &[2], &[0.5, -0.25]).map(|c| c.chunks[0].2.clone())
    );
}

#[test]
fn a_chunk_is_at_most_64_kib_and_most_of_that_is_used() {
    let mut chance = Chance(6);
    let values: Vec<f32> = (0..400_000).map(|_i| chance.gauss() as f32).collect();
    let coded = encode_into(4, &[300_000, 100_000], &values, 1 << 20).unwrap();
    let (last, full) = coded.chunks.split_last().unwrap();
    assert!(last.2.len() <= CHUNK_BYTES_MAX as usize);
    for (first, _values, bytes) in full {
        let len = u32::try_from(bytes.len()).unwrap();
        assert!(len <= CHUNK_BYTES_MAX && len > CHUNK_BYTES_MAX - 600, "{first}: {len} bytes");
    }
}

#[test]
fn chunks_say_where_they_begin_and_leave_no_gap() {
    let coded = encode_into(3, &ADAPTER, &displacement(), 900).unwrap();
    assert!(coded.chunks.len() > 20);
    let mut next = 0;
    for (first, values, bytes) in &coded.chunks {
        assert_eq!(*first, next);
        assert!(*values > 0 && bytes.len() <= 900);
        next += values;
    }
    assert_eq!(next as usize, coded.received.len());
}

#[test]
fn chunks_decode_alone_and_in_any_order() {
    let coded = encode_into(2, &ADAPTER, &displacement(), 700).unwrap();
    let mut seen = vec![f32::NAN; coded.received.len()];
    let stride = 7; // no divisor of their count: each once
    assert_ne!(coded.chunks.len() % stride, 0);
    for index in 0..coded.chunks.len() {
        let (first, values, bytes) = &coded.chunks[index * stride % coded.chunks.len()];
        let mut decoder = ChunkDecoder::new(*values);
        decoder.push(bytes, |index, value| seen[(first + index) as usize] = value).unwrap();
        decoder.finish().unwrap();
    }
    assert_eq!(bits(&seen), bits(&coded.received));
}

#[test]
fn pieces_of_one_byte_decode_as_the_whole_does() {
    for quality in 1..=8 {
        let coded = encode(quality, &ADAPTER, &displacement()).unwrap();
        let (count, bytes) = only(&coded);
        assert_eq!(bits(&decode(count, bytes, &[1]).unwrap()), bits(&coded.received));
        let mut whole = vec![f32::NAN; count as usize];
        decode_chunk(bytes, &mut whole).unwrap();
        assert_eq!(bits(&whole), bits(&coded.received));
    }
}

#[test]
fn a_chunk_that_is_cut_off_is_refused_at_every_length() {
    let values = &displacement()[..600];
    let coded = encode(2, &[600], values).unwrap();
    let (count, bytes) = only(&coded);
    for len in 0..bytes.len() {
        let refused = decode(count, &bytes[..len], &[64]).unwrap_err();
        assert!(matches!(refused, RejectChunk::CutOff { .. }), "{len}: {refused:?}");
    }
}

#[test]
fn bytes_after_the_end_are_refused_for_good() {
    let coded = encode(2, &[600], &displacement()[..600]).unwrap();
    let (count, bytes) = only(&coded);
    let mut decoder = ChunkDecoder::new(count);
    decoder.push(bytes, |_index, _value| ()).unwrap();
    decoder.push(&[], |_index, _value| ()).unwrap();
    for _again in 0..2 {
        assert_eq!(decoder.push(&[0], |_index, _value| ()), Err(RejectChunk::Trailing));
    }
    assert_eq!(decoder.finish(), Err(RejectChunk::Trailing));
}

#[test]
fn a_chunk_of_another_count_than_announced_is_refused() {
    let coded = encode(2, &[600], &displacement()[..600]).unwrap();
    let (_count, bytes) = only(&coded);
    let refused = decode(599, bytes, &[64]).unwrap_err();
    assert_eq!(refused, RejectChunk::TooManyValues { count: 600, left: 599 });
    let refused = decode(601, bytes, &[64]).unwrap_err();
    assert_eq!(refused, RejectChunk::End { values: 600, announced: 601 });
}

/// Blocks of zeros cost 4 bytes for 16,384 values: what was announced bounds the work.
#[test]
fn a_small_chunk_cannot_hold_more_values_than_announced() {
    let zeros = vec![0.0; 4 * BLOCK_VALUES_MAX as usize];
    let coded = encode(2, &[4 * BLOCK_VALUES_MAX], &zeros).unwrap();
    let (_count, bytes) = only(&coded);
    assert!(bytes.len() < 30);
    let mut yielded = 0;
    let mut decoder = ChunkDecoder::new(BLOCK_VALUES_MAX);
    let refused = decoder.push(bytes, |_index, _value| yielded += 1).unwrap_err();
    assert_eq!(refused, RejectChunk::TooManyValues { count: BLOCK_VALUES_MAX, left: 0 });
    assert_eq!(yielded, BLOCK_VALUES_MAX);
}

#[test]
fn equal_runs_give_equal_bytes() {
    let values = displacement();
    assert_eq!(encode(2, &ADAPTER, &values), encode(2, &ADAPTER, &values));
}
