//! Frames: what was sent is what comes, whatever came before.

use proptest::prelude::*;
use shoal_gateway::{Decoder, FRAME_BYTES_MAX, LINE_BYTES_MAX, encode_frame};

fn encoded(message: &[u8]) -> Vec<u8> {
    let mut line = [0; LINE_BYTES_MAX];
    encode_frame(message, &mut line).unwrap().to_vec()
}

fn decoded(line: &[u8], piece: usize) -> (Vec<Vec<u8>>, u32) {
    let mut decoder = Decoder::<FRAME_BYTES_MAX>::new();
    let mut messages = Vec::new();
    for piece in line.chunks(piece) {
        let mut rest = piece;
        while !rest.is_empty() {
            rest = &rest[decoder.push(rest)..];
            messages.extend(decoder.message().map(<[u8]>::to_vec));
        }
    }
    (messages, decoder.dropped())
}

/// The worked examples of the paper's encoding, without the CRC: runs of 253 to 255 bytes are where codes change.
#[test]
fn every_length_around_a_full_run_comes_back() {
    for len in [0, 1, 248, 249, 250, 251, 252, 253, 254, 255, 504, 508, 1024, 1084] {
        for byte in [0, 1, 255] {
            let message = vec![byte; len];
            let line = encoded(&message);
            assert_eq!(line.iter().filter(|byte| **byte == 0).count(), 1, "one zero, the end");
            assert_eq!(decoded(&line, 7), (vec![message], 0), "{len} of {byte}");
        }
    }
}

#[test]
fn one_byte_too_many_is_no_frame() {
    let mut line = [0; LINE_BYTES_MAX + 8];
    let long = vec![7; FRAME_BYTES_MAX - 4 + 1];
    let line = encode_frame(&long, &mut line).unwrap().to_vec();
    assert_eq!(decoded(&line, 64), (vec![], 1));
    let mut short = [0; 8];
    assert_eq!(encode_frame(&[1; 7], &mut short), None);
}

#[test]
fn a_frame_after_endless_bytes_without_a_zero_is_read() {
    let mut line = vec![0x55; 100_000];
    line.push(0);
    line.extend(encoded(b"here"));
    assert_eq!(decoded(&line, 1000), (vec![b"here".to_vec()], 1));
}

proptest! {
    #[test]
    fn any_messages_come_back_in_any_pieces(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 1..4),
        piece in 1_usize..80,
    ) {
        let line: Vec<u8> = messages.iter().flat_map(|message| encoded(message)).collect();
        prop_assert_eq!(decoded(&line, piece), (messages, 0));
    }

    #[test]
    fn after_any_garbage_and_a_zero_the_next_frame_is_read(
        garbage in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        let mut line = garbage;
        line.push(0);
        line.extend(encoded(b"next"));
        let (messages, _dropped) = decoded(&line, 33);
        prop_assert_eq!(messages.last().map(Vec::as_slice), Some(b"next".as_slice()));
    }

    #[test]
    fn a_flipped_bit_is_never_another_message(
        message in prop::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), bit in 0..8,
    ) {
        let mut line = encoded(&message);
        let at = at.index(line.len());
        line[at] ^= 1_u8 << bit;
        line.push(0);
        let (messages, _dropped) = decoded(&line, 50);
        prop_assert!(messages.iter().all(|got| *got == message), "{:?}", messages);
    }
}
