//! Elements of stored weights for which there is no arithmetic: integers and floats of 4 bits, and floats of 8. They are read as
//! wider ones that have each of their values.
//!
//! | in the file | read as |
//! |---|---|
//! | UINT4, INT4: two to a byte, the lower half first | uint8, int8 |
//! | FLOAT4E2M1: as those | float16 |
//! | FLOAT8E4M3FN, FLOAT8E4M3FNUZ, FLOAT8E5M2, FLOAT8E5M2FNUZ | float16 |
//! | FLOAT8E8M0: a power of two, from 2⁻¹²⁷ to 2¹²⁷ | float32 |
//! # Source
//! ONNX `onnx.proto` (TensorProto.DataType), `docs/docsgen/source/technical/float8.md`, `float4.md`; OCP Microscaling Formats 1.0.

use half::f16;

use super::tensor::{Data, Element};

/// An element that is stored so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Narrow {
    /// Unsigned, of 4 bits.
    U4,
    /// Signed, of 4 bits.
    I4,
    /// A float of 4 bits: sign, two of exponent, one behind the point; nothing infinite, and no NaN.
    F4,
    /// A power of two, by its exponent alone: no sign, no zero.
    Power,
    /// A float of 8 bits.
    Eight {
        /// Bits behind the point.
        mantissa: u32,
        /// What is taken from the exponent.
        bias: i32,
        /// What of it is no number.
        nan: Nan,
    },
}

/// Which floats of 8 bits are no number, or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nan {
    /// All ones but for the sign; nothing is infinite (FN).
    AllOnes,
    /// Minus zero; nothing is infinite (FNUZ).
    MinusZero,
    /// As of IEEE 754: the highest exponent.
    HighestExponent,
}

impl Narrow {
    /// The element with this `TensorProto.data_type`.
    pub(crate) fn from_onnx(number: i32) -> Option<Narrow> {
        let eight = |mantissa, bias, nan| Some(Narrow::Eight { mantissa, bias, nan });
        match number {
            17 => eight(3, 7, Nan::AllOnes),
            18 => eight(3, 8, Nan::MinusZero),
            19 => eight(2, 15, Nan::HighestExponent),
            20 => eight(2, 16, Nan::MinusZero),
            21 => Some(Narrow::U4),
            22 => Some(Narrow::I4),
            23 => Some(Narrow::F4),
            24 => Some(Narrow::Power),
            _ => None,
        }
    }

    /// What it is read as.
    pub(crate) fn wide(self) -> Element {
        match self {
            Narrow::U4 => Element::U8,
            Narrow::I4 => Element::I8,
            Narrow::F4 | Narrow::Eight { .. } => Element::F16,
            Narrow::Power => Element::F32,
        }
    }

    /// How many bytes so many values are stored in.
    pub(crate) fn bytes(self, values: usize) -> usize {
        match self {
            Narrow::U4 | Narrow::I4 | Narrow::F4 => values.div_ceil(2),
            Narrow::Power | Narrow::Eight { .. } => values,
        }
    }

    /// The first `count` values of these bytes, or fewer where there are no more.
    pub(crate) fn values(self, stored: &[u8], count: usize) -> Data {
        let halves = || stored.iter().flat_map(|byte| [byte & 15, byte >> 4]).take(count);
        match self {
            Narrow::U4 => Data::U8(halves().collect()),
            Narrow::I4 => Data::I8(halves().map(|half| ((half << 4).cast_signed()) >> 4).collect()),
            Narrow::F4 => Data::F16(halves().map(|half| f16::from_f32(four(half))).collect()),
            Narrow::Power => {
                Data::F32(stored.iter().take(count).map(|&byte| power(byte)).collect())
            }
            Narrow::Eight { mantissa, bias, nan } => {
                let float = |byte: &u8| f16::from_f32(eight(*byte, mantissa, bias, nan));
                Data::F16(stored.iter().take(count).map(float).collect())
            }
        }
    }
}

/// The value of a float of 4 bits.
fn four(half: u8) -> f32 {
    let (low, high) = (f32::from(half & 1), half >> 1 & 3);
    let value = match high {
        0 => low * 0.5,
        1 => 1.0 + low * 0.5,
        2 => 2.0 + low,
        _ => 4.0 + low * 2.0,
    };
    if half & 8 == 0 { value } else { -value }
}

/// The power of two with this exponent.
fn power(byte: u8) -> f32 {
    match byte {
        0xff => f32::NAN,
        // Below the smallest normal float32.
        0 => f32::from_bits(1 << 22),
        _ => f32::from_bits(u32::from(byte) << 23),
    }
}

/// The value of a float of 8 bits; float32 and float16 have each of them.
fn eight(byte: u8, mantissa: u32, bias: i32, nan: Nan) -> f32 {
    let (low, high) = (byte & ((1 << mantissa) - 1), (byte & 0x7f) >> mantissa);
    let highest = 0x7f >> mantissa;
    match nan {
        Nan::AllOnes if byte & 0x7f == 0x7f => return f32::NAN,
        Nan::MinusZero if byte == 0x80 => return f32::NAN,
        Nan::HighestExponent if high == highest && low != 0 => return f32::NAN,
        Nan::HighestExponent if high == highest => {
            return if byte >> 7 == 0 { f32::INFINITY } else { f32::NEG_INFINITY };
        }
        Nan::AllOnes | Nan::MinusZero | Nan::HighestExponent => {}
    }
    // Without the leading one where the exponent is 0, which then counts as 1.
    let whole = f32::from(low) + if high == 0 { 0.0 } else { f32::from(1_u8 << mantissa) };
    let exponent = i32::from(high.max(1)) - bias - mantissa.cast_signed();
    let value = whole * f32::from_bits(((exponent + 127).cast_unsigned()) << 23);
    if byte >> 7 == 0 { value } else { -value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(number: i32, bytes: &[u8]) -> Vec<f32> {
        let read = Narrow::from_onnx(number).unwrap().values(bytes, bytes.len());
        let Data::F16(values) = read else { panic!("{read:?}") };
        values.iter().map(|value| value.to_f32()).collect()
    }

    #[test]
    fn four_bits_stand_two_to_a_byte_and_the_last_half_may_be_left_over() {
        let values = Narrow::I4.values(&[0x7f, 0x80, 0x0b], 5);
        assert_eq!(values, Data::I8(vec![-1, 7, 0, -8, -5]));
        assert_eq!(Narrow::U4.values(&[0x7f, 0x80], 4), Data::U8(vec![15, 7, 0, 8]));
        assert_eq!([5, 4].map(|count| Narrow::U4.bytes(count)), [3, 2]);
        assert_eq!(Narrow::U4.values(&[0x7f], 4).len(), 2);
    }

    /// All sixteen, as ONNX's document on floats of 4 bits has them.
    #[test]
    fn floats_of_four_bits_are_what_their_table_says() {
        let read = Narrow::F4.values(&[0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe], 16);
        let Data::F16(values) = read else { panic!("{read:?}") };
        let values: Vec<f32> = values.iter().map(|value| value.to_f32()).collect();
        let above = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
        assert_eq!(values[..8], above);
        assert_eq!(values[8..], above.map(|value| -value));
        assert!(values[8].is_sign_negative());
        assert_eq!([5, 4].map(|count| Narrow::F4.bytes(count)), [3, 2]);
        assert_eq!(Narrow::F4.values(&[0x2c, 0x05], 3), {
            Data::F16([-2.0, 1.0, 3.0].map(f16::from_f32).to_vec())
        });
    }

    #[test]
    fn exponents_of_eight_bits_are_powers_of_two_and_one_of_them_no_number() {
        let read = Narrow::Power.values(&[0, 1, 126, 127, 128, 254, 255], 7);
        let Data::F32(values) = read else { panic!("{read:?}") };
        let two = 2.0_f32;
        let want = [two.powi(-127), two.powi(-126), 0.5, 1.0, 2.0, two.powi(127)];
        assert_eq!(values[..6], want);
        assert!(values[6].is_nan() && values[0] > 0.0);
        assert_eq!(Narrow::Power.bytes(3), 3);
    }

    /// Values from the tables of ONNX's document on floats of 8 bits.
    #[test]
    fn floats_of_eight_bits_are_what_their_tables_say() {
        let (tiny, half) = (0.5_f32.powi(9), 0.5_f32.powi(10));
        assert_eq!(
            floats(17, &[0x00, 0x38, 0x7e, 0xfe, 0x01, 0x08]),
            [0.0, 1.0, 448.0, -448.0, tiny, 0.015_625]
        );
        assert_eq!(floats(18, &[0x40, 0x7f, 0xff, 0x01]), [1.0, 240.0, -240.0, half]);
        assert_eq!(
            floats(19, &[0x3c, 0x7b, 0x01, 0x7c, 0xfc]),
            [1.0, 57344.0, 0.5_f32.powi(16), f32::INFINITY, f32::NEG_INFINITY]
        );
        assert_eq!(floats(20, &[0x40, 0x7f, 0x01]), [1.0, 57344.0, 0.5_f32.powi(17)]);
        for (number, byte) in [(17, 0x7f), (17, 0xff), (18, 0x80), (19, 0x7d), (20, 0x80)] {
            assert!(floats(number, &[byte])[0].is_nan(), "{number} {byte:x}");
        }
        // Every other byte is a number, and as a float16 it is not rounded.
        for (number, numbers) in [(17, 254), (18, 255), (19, 248), (20, 255)] {
            let all: Vec<u8> = (0..=255).collect();
            let Narrow::Eight { mantissa, bias, nan } = Narrow::from_onnx(number).unwrap() else {
                panic!("{number} is a float");
            };
            let exact = all.iter().map(|byte| eight(*byte, mantissa, bias, nan));
            let kept = floats(number, &all);
            let equal =
                exact.zip(&kept).filter(|(exact, kept)| exact == *kept && exact.is_finite());
            assert_eq!(equal.count(), numbers, "{number}");
        }
    }
}
