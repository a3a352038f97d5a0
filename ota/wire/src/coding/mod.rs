//! Coding: a flat run of f32, as the difference to a reference, into chunks and back (SPEC.md §6).
//!
//! [`Encoder`] quantises tensor by tensor and writes chunks; it yields what a receiver will see, to the bit, and the
//! remainder to be carried to the next window. [`ChunkDecoder`] reads one chunk, alone, from pieces of any size.

mod choose;
mod decode;
mod encode;
mod quantise;
mod range;
mod table;

pub use decode::{ChunkDecoder, RejectChunk, decode_chunk};
pub use encode::{EncodeError, EncodedChunk, Encoder};
use table::Shape;

/// Values of one block, at most.
pub const BLOCK_VALUES_MAX: u32 = 1 << 14;
/// The largest level: a value is at most this many scales.
pub const LEVEL_MAX: u32 = 1 << 20;

/// The smallest and the largest scale, as the wire writes them: 2^-126 and 2^100.
const SCALE_MIN: u32 = 1 << 8;
const SCALE_MAX: u32 = (127 + 100) << 8;

/// A block begins with 6 bits: the length of its count (4), whether its scale is written as the difference to the one
/// before (1), whether its table is the one before (1). A length of all ones, alone, is the end of the chunk.
const HEAD_BITS: u32 = 6;
const HEAD_SCALE_NEAR: u32 = 0b10;
const HEAD_TABLE_SAME: u32 = 0b01;
const END: u32 = 0b11_1100;
const SCALE_BITS: u32 = 16;
/// A near scale's code less the one before, from -256 on.
const SCALE_NEAR_BITS: u32 = 9;
const SCALE_NEAR_ZERO: u32 = 1 << 8;
/// What the first block of a chunk finds as the scale before: 2^-6.
const SCALE_FIRST: u32 = (127 - 6) << 8;
const TABLE_BITS: u32 = 16;
/// Bits of the length of a magnitude past the classes.
const PAST_LENGTH_BITS: u32 = 5;

/// The f32 that 16 bits of a scale stand for: its exponent and 8 bits of its mantissa.
const fn scale(code: u32) -> f32 {
    f32::from_bits(code << 15)
}

/// What a block may refer to: scale and table of the last one in its chunk that had any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Before {
    scale: u32,
    shape: Shape,
}

impl Before {
    const FIRST: Self = Self { scale: SCALE_FIRST, shape: Shape::SIGNS };
}

/// How fine the steps are: nominal bits a value, 1 to 8. Gaussian values take 0.35 bit less from 4 bits up, 2.77
/// bits at 3, 1.55 at 2 and 1.00 at 1; the ratio of signal to error is 20.4 dB at 4 and 6 dB more with each bit above,
/// 15.1 dB at 3, 7.7 at 2, 4.6 at 1 (docs/benchmarks.md, "Coding").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quality(u8);

impl Quality {
    /// `None` unless 1 to 8.
    pub const fn new(bits: u8) -> Option<Self> {
        if matches!(bits, 1..=8) { Some(Self(bits)) } else { None }
    }

    /// Nominal bits a value.
    pub const fn bits(self) -> u8 {
        self.0
    }
}
