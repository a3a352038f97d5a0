//! What holds for every run and every bytes.

use crate::common::{bits, decode, encode_into};
use proptest::prelude::*;
use shoal_wire::coding::{EncodeError, RejectChunk};

/// Values of every kind that is finite.
fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -1.0_f32..1.0,
        2 => Just(0.0_f32),
        1 => prop::num::f32::NORMAL,
        1 => prop::num::f32::SUBNORMAL | prop::num::f32::ZERO,
        1 => (-3_i8..=3).prop_map(|level| f32::from(level) * 0.25),
    ]
}

prop_compose! {
    /// Tensors and their values.
    fn runs()(
        tensors in prop::collection::vec(prop::collection::vec(value(), 0..300), 0..6),
        exponent in -30_i32..30,
    ) -> (Vec<u32>, Vec<f32>) {
        let lengths = tensors.iter().map(|tensor| u32::try_from(tensor.len()).unwrap()).collect();
        let scaled = |value: f32| (value * 2_f32.powi(exponent)).clamp(-f32::MAX, f32::MAX);
        (lengths, tensors.concat().into_iter().map(scaled).collect())
    }
}

proptest! {
    #[test]
    fn what_is_decoded_is_what_the_encoder_said(
        (tensors, values) in runs(), quality in 1_u8..=8, len in 20_usize..400,
        sizes in prop::collection::vec(1_usize..50, 1..5),
    ) {
        let coded = match encode_into(quality, &tensors, &values, len) {
            Ok(coded) => coded,
            Err(EncodeError::BufferTooSmall { .. }) if len < 24 => return Ok(()),
            Err(other) => panic!("{other}"),
        };
        let mut decoded = Vec::new();
        for (first, count, bytes) in &coded.chunks {
            prop_assert_eq!(*first as usize, decoded.len());
            decoded.extend(decode(*count, bytes, &sizes).unwrap());
        }
        prop_assert_eq!(bits(&decoded), bits(&coded.received));
        for ((value, received), remainder) in values.iter().zip(&decoded).zip(&coded.remainder) {
            prop_assert_eq!((value - received).to_bits(), remainder.to_bits());
        }
        prop_assert_eq!(encode_into(quality, &tensors, &values, len).unwrap(), coded);
    }

    /// With every other claim of `decode`: indices in order, below what was announced, finite values.
    #[test]
    fn no_bytes_panic_the_decoder(
        bytes in prop::collection::vec(any::<u8>(), 0..300), announced in 0_u32..40_000,
        sizes in prop::collection::vec(1_usize..50, 1..5),
    ) {
        let _either = decode(announced, &bytes, &sizes);
    }

    #[test]
    fn a_changed_byte_never_gives_the_wrong_count(
        (tensors, values) in runs(), quality in 1_u8..=8, at: prop::sample::Index, change in 1_u8..,
    ) {
        for (_first, count, mut bytes) in encode_into(quality, &tensors, &values, 400).unwrap().chunks {
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            if let Ok(decoded) = decode(count, &bytes, &[64]) {
                prop_assert_eq!(decoded.len(), count as usize);
            }
        }
    }

    #[test]
    fn pieces_of_any_size_are_refused_as_the_whole_is(
        bytes in prop::collection::vec(any::<u8>(), 0..100), announced in 0_u32..40_000,
        sizes in prop::collection::vec(1_usize..9, 1..5),
    ) {
        let kind = |result: Result<Vec<f32>, RejectChunk>| result.map(|values| bits(&values));
        prop_assert_eq!(
            kind(decode(announced, &bytes, &sizes)),
            kind(decode(announced, &bytes, &[usize::MAX]))
        );
    }
}
