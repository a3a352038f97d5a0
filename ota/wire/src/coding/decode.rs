//! The reader: one chunk, from pieces of any size, to levels times scale.

use core::slice::Iter;

use super::range::{NoSymbol, RangeReader};
use super::table::{Finder, Found, Magnitude, Shape, TOTAL_BITS, Table};
use super::{
    BLOCK_VALUES_MAX, Before, END, HEAD_BITS, HEAD_SCALE_NEAR, HEAD_TABLE_SAME, LEVEL_MAX,
    PAST_LENGTH_BITS, SCALE_BITS, SCALE_MAX, SCALE_MIN, SCALE_NEAR_BITS, SCALE_NEAR_ZERO,
    TABLE_BITS, scale,
};

/// Why a chunk was rejected. What was yielded before is to be dropped.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectChunk {
    /// A place among the frequencies that no symbol holds.
    #[error("value {value}: no symbol is coded so")]
    NoSymbol { value: u32 },
    /// A block of more values than one may have, or than the chunk was announced to have.
    #[error("a block of {count} values, {left} are left of those announced")]
    TooManyValues { count: u32, left: u32 },
    /// Out of 2^-126 to 2^100.
    #[error("value {value}: scale code {code} is out of bounds")]
    Scale { value: u32, code: u32 },
    #[error("value {value}: there is no table {number}")]
    Table { value: u32, number: u32 },
    #[error("value {value}: a level over {LEVEL_MAX}")]
    Level { value: u32 },
    /// Ended by its own account, before the values that were announced, or not where its writer did.
    #[error("the chunk ends after {values} values, {announced} were announced")]
    End { values: u32, announced: u32 },
    #[error("bytes after the end of the chunk")]
    Trailing,
    /// The bytes ended before the chunk.
    #[error("the chunk is cut off after {values} values")]
    CutOff { values: u32 },
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Part {
    Head,
    Count { head: u32 },
    Scale { head: u32, count: u32 },
    Table,
    Level,
    LowBits { above: u32, negative: bool },
    PastLength { negative: bool },
    Past { length: u32, negative: bool },
    End,
    Done,
    Rejected(RejectChunk),
}

/// Reads one chunk, without the others and without an allocator, in constant space.
#[derive(Clone, Debug)]
pub struct ChunkDecoder {
    reader: RangeReader,
    part: Part,
    /// Code of the last block's scale that was not zero.
    scale: u32,
    block: Block,
    /// Count of values before the next one, and of those announced.
    values: u32,
    announced: u32,
}

/// How the levels of a block are coded.
#[derive(Clone, Debug)]
struct Block {
    left: u32,
    scale: f32,
    low_bits: u32,
    finder: Finder,
}

impl ChunkDecoder {
    /// Before the first byte of a chunk that was announced to hold this many values.
    pub fn new(values: u32) -> Self {
        let finder = Finder::new(Table::new(Before::FIRST.shape));
        Self {
            reader: RangeReader::new(),
            part: Part::Head,
            scale: Before::FIRST.scale,
            block: Block { left: 0, scale: 0.0, low_bits: 0, finder },
            values: 0,
            announced: values,
        }
    }

    /// Takes the next bytes, as many as there are, and yields each value that they complete with its index in
    /// the chunk, from 0 on, each once.
    ///
    /// # Errors
    /// [`RejectChunk`]; the same again for every later call.
    pub fn push(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(u32, f32),
    ) -> Result<(), RejectChunk> {
        let mut bytes = piece.iter();
        loop {
            if let Part::Rejected(reject) = self.part {
                return Err(reject);
            }
            let next = if matches!(self.part, Part::Done) {
                if bytes.len() == 0 {
                    return Ok(());
                }
                Err(RejectChunk::Trailing)
            } else if !self.reader.fill(&mut bytes) {
                return Ok(());
            } else if matches!(self.part, Part::Level) {
                self.levels(&mut bytes, &mut each)
            } else {
                self.step(self.part, &mut each)
            };
            self.part = next.unwrap_or_else(Part::Rejected);
        }
    }

    /// Whether the chunk is complete.
    ///
    /// # Errors
    /// [`RejectChunk`]: cut off, or what `push` had refused.
    pub fn finish(self) -> Result<(), RejectChunk> {
        if let Part::Rejected(reject) = self.part {
            return Err(reject);
        }
        let done = matches!(self.part, Part::Done);
        if done { Ok(()) } else { Err(RejectChunk::CutOff { values: self.values }) }
    }

    /// One step that is not a level; the reader has what it needs.
    fn step(&mut self, part: Part, each: &mut impl FnMut(u32, f32)) -> Result<Part, RejectChunk> {
        let value = self.values;
        let no_symbol = |_reason: NoSymbol| RejectChunk::NoSymbol { value };
        let reader = &mut self.reader;
        let mut bits = |bits| reader.bits(bits).map_err(no_symbol);
        match part {
            Part::Head => match bits(HEAD_BITS)? {
                END => Ok(Part::End),
                head => Ok(Part::Count { head }),
            },
            Part::Count { head } => {
                let length = head >> 2;
                let count = 1 << length | bits(length)?;
                let left = self.announced.saturating_sub(self.values);
                if count > BLOCK_VALUES_MAX || count > left {
                    return Err(RejectChunk::TooManyValues { count, left });
                }
                Ok(Part::Scale { head, count })
            }
            Part::Scale { head, count } => {
                let code = if head & HEAD_SCALE_NEAR > 0 {
                    let near = bits(SCALE_NEAR_BITS)?.wrapping_add(self.scale);
                    near.wrapping_sub(SCALE_NEAR_ZERO)
                } else {
                    match bits(SCALE_BITS)? {
                        0 => {
                            (0..count).for_each(|_zero| self.emit(0.0, each));
                            return Ok(Part::Head);
                        }
                        code => code,
                    }
                };
                if !(SCALE_MIN..=SCALE_MAX).contains(&code) {
                    return Err(RejectChunk::Scale { value, code });
                }
                self.scale = code;
                self.block.left = count;
                self.block.scale = scale(code);
                Ok(if head & HEAD_TABLE_SAME > 0 { Part::Level } else { Part::Table })
            }
            Part::Table => {
                let number = bits(TABLE_BITS)?;
                let shape = Shape::from_number(number);
                let shape = shape.ok_or(RejectChunk::Table { value, number })?;
                self.block.low_bits = shape.low_bits;
                self.block.finder = Finder::new(Table::new(shape));
                Ok(Part::Level)
            }
            Part::LowBits { above, negative } => {
                let above = above | bits(self.block.low_bits)?;
                self.level(above, negative, each)
            }
            Part::PastLength { negative } => {
                Ok(Part::Past { length: bits(PAST_LENGTH_BITS)?, negative })
            }
            Part::Past { length, negative } => {
                if length > LEVEL_MAX.ilog2() {
                    return Err(RejectChunk::Level { value });
                }
                let past = (1 << length | bits(length)?).wrapping_sub(1);
                let first = self.block.finder.own() << self.block.low_bits;
                self.level(first.wrapping_add(past), negative, each)
            }
            Part::End if self.reader.is_end() && self.values == self.announced => Ok(Part::Done),
            Part::End | Part::Level | Part::Done | Part::Rejected(_) => {
                Err(RejectChunk::End { values: value, announced: self.announced })
            }
        }
    }

    /// Levels until the block ends, the bytes do, or one has more to it.
    fn levels(
        &mut self,
        bytes: &mut Iter<'_, u8>,
        each: &mut impl FnMut(u32, f32),
    ) -> Result<Part, RejectChunk> {
        while self.block.left > 0 {
            if !self.reader.fill(bytes) {
                return Ok(Part::Level);
            }
            let (width, place) = self
                .reader
                .place(TOTAL_BITS)
                .map_err(|_reason| RejectChunk::NoSymbol { value: self.values })?;
            let Found { magnitude, negative, start, freq } = self.block.finder.find(place);
            self.reader.take(width, start, freq);
            match magnitude {
                Magnitude::Zero => {
                    self.emit(0.0, each);
                    self.block.left = self.block.left.wrapping_sub(1);
                }
                Magnitude::Class(class) => {
                    let above = class << self.block.low_bits;
                    if self.block.low_bits > 0 {
                        return Ok(Part::LowBits { above, negative });
                    }
                    self.level(above, negative, each)?;
                }
                Magnitude::Past => return Ok(Part::PastLength { negative }),
            }
        }
        Ok(Part::Head)
    }

    /// A level that is `above` one.
    fn level(
        &mut self,
        above: u32,
        negative: bool,
        each: &mut impl FnMut(u32, f32),
    ) -> Result<Part, RejectChunk> {
        if above >= LEVEL_MAX {
            return Err(RejectChunk::Level { value: self.values });
        }
        let magnitude = above.wrapping_add(1) as f32 * self.block.scale;
        self.emit(if negative { -magnitude } else { magnitude }, each);
        self.block.left = self.block.left.wrapping_sub(1);
        Ok(if self.block.left == 0 { Part::Head } else { Part::Level })
    }

    #[inline]
    fn emit(&mut self, value: f32, each: &mut impl FnMut(u32, f32)) {
        each(self.values, value);
        self.values = self.values.wrapping_add(1);
    }
}

/// Reads a whole chunk that lies in memory.
///
/// # Shapes and units
/// `values`: as long as the chunk was announced to be; on an error what it holds is to be dropped.
/// # Errors
/// [`RejectChunk`].
pub fn decode_chunk(bytes: &[u8], values: &mut [f32]) -> Result<(), RejectChunk> {
    let mut decoder = ChunkDecoder::new(u32::try_from(values.len()).unwrap_or(u32::MAX));
    let mut places = values.iter_mut();
    // Each index once, in order: the next place is its place.
    decoder.push(bytes, |_index, value| {
        if let Some(place) = places.next() {
            *place = value;
        }
    })?;
    decoder.finish()
}

#[cfg(test)]
mod tests {
    use super::super::range::RangeWriter;
    use super::*;

    /// A chunk of these fields, each a number and its bits, and the end.
    fn rejected(fields: &[(u32, u32)]) -> RejectChunk {
        let mut buffer = [0; 64];
        let mut writer = RangeWriter::new(&mut buffer);
        for (value, bits) in fields {
            writer.put_bits(*value, *bits).unwrap();
        }
        let chunk = writer.finish(END, HEAD_BITS).unwrap();
        decode_chunk(chunk, &mut [0.0]).unwrap_err()
    }

    #[test]
    fn a_scale_out_of_bounds_is_refused() {
        for code in [1, SCALE_MIN - 1, SCALE_MAX + 1, u32::from(u16::MAX)] {
            let refused = rejected(&[(0, HEAD_BITS), (code, SCALE_BITS)]);
            assert_eq!(refused, RejectChunk::Scale { value: 0, code });
        }
        let near = [(HEAD_SCALE_NEAR, HEAD_BITS), (0, SCALE_NEAR_BITS)];
        let near_before = Before::FIRST.scale - SCALE_NEAR_ZERO;
        assert!((SCALE_MIN..=SCALE_MAX).contains(&near_before));
        assert!(!matches!(rejected(&near), RejectChunk::Scale { .. }));
    }

    #[test]
    fn a_table_that_is_not_in_the_grid_is_refused() {
        for number in [58 << 10, 58 << 4, u32::from(u16::MAX)] {
            let fields = [(0, HEAD_BITS), (SCALE_MIN, SCALE_BITS), (number, TABLE_BITS)];
            assert_eq!(rejected(&fields), RejectChunk::Table { value: 0, number });
        }
    }

    #[test]
    fn a_level_over_the_largest_is_refused() {
        let shape = Shape { zero: 29, ratio: 29, bend: 1, low_bits: 3 };
        let table = Table::new(shape);
        let places = *table.past().unwrap();
        let level = |length: u32, rest: u32| {
            let mut buffer = [0; 64];
            let mut writer = RangeWriter::new(&mut buffer);
            let head = [(0, HEAD_BITS), (SCALE_MAX, SCALE_BITS), (shape.number(), TABLE_BITS)];
            for (value, bits) in head {
                writer.put_bits(value, bits).unwrap();
            }
            writer.put(places.start.into(), places.freq.into(), TOTAL_BITS).unwrap();
            writer.put_bits(length, PAST_LENGTH_BITS).unwrap();
            writer.put_bits(rest, length.min(20)).unwrap();
            let mut values = [0.0];
            let chunk = writer.finish(END, HEAD_BITS).unwrap();
            decode_chunk(chunk, &mut values).map(|()| values[0])
        };
        let past_classes = u32::try_from(table.own().len()).unwrap() << shape.low_bits;
        let largest = LEVEL_MAX - past_classes;
        let rest = |past: u32| past - (1 << past.ilog2());
        let largest_value = LEVEL_MAX as f32 * scale(SCALE_MAX);
        assert_eq!(level(largest.ilog2(), rest(largest)), Ok(largest_value));
        assert!(largest_value.is_finite());
        let refused = Err(RejectChunk::Level { value: 0 });
        assert_eq!(level(largest.ilog2(), rest(largest) + 1), refused);
        assert_eq!(level(20, 0), refused);
        assert_eq!(level(21, 0), refused);
        assert_eq!(level(31, 0), refused);
    }
}
