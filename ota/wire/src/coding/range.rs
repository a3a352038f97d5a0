//! A range coder over bytes: 32 bits of state, no division to write, one to read (SPEC.md §6.3).

use core::slice::Iter;

/// Below this the range is widened by a byte.
const RANGE_MIN: u32 = 1 << 24;
/// Bytes of the state, which end a chunk: the reader holds as many.
const WINDOW_BYTES: usize = 4;
/// Bytes that must be left free for the end: the state, and one that the mark of the end may push out.
const END_BYTES: usize = WINDOW_BYTES + 1;

/// The buffer has no room for this and the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Where the writer stands; bytes before `len` do not change any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// 32 bits, and the carry above them.
    low: u64,
    range: u32,
    len: usize,
    /// The last byte, which a carry may still change, and how many 0xff after it.
    held: Option<u8>,
    held_max: usize,
}

impl Mark {
    /// Whether nothing was written.
    pub(super) const fn is_start(&self) -> bool {
        self.range == u32::MAX
    }
}

/// Writes into a buffer.
#[derive(Debug)]
pub(super) struct RangeWriter<'a> {
    bytes: &'a mut [u8],
    room: usize,
    at: Mark,
}

impl<'a> RangeWriter<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        let room = bytes.len().saturating_sub(END_BYTES);
        let at = Mark { low: 0, range: u32::MAX, len: 0, held: None, held_max: 0 };
        Self { bytes, room, at }
    }

    pub(super) const fn mark(&self) -> Mark {
        self.at
    }

    /// Forgets what was written since.
    pub(super) const fn take_back(&mut self, mark: Mark) {
        self.at = mark;
    }

    /// Bits that can still be written.
    pub(super) fn room_bits(&self) -> u64 {
        let left = self.room.saturating_sub(self.at.len).saturating_sub(self.at.held_max);
        (left as u64).saturating_mul(8)
    }

    /// A symbol that holds `freq` of `2^total_bits` places, from `start`.
    #[inline]
    pub(super) fn put(&mut self, start: u32, freq: u32, total_bits: u32) -> Result<(), Full> {
        let place = self.at.range.wrapping_shr(total_bits);
        self.at.low = self.at.low.wrapping_add(u64::from(place.wrapping_mul(start)));
        self.at.range = place.wrapping_mul(freq);
        while self.at.range < RANGE_MIN {
            self.shift()?;
            self.at.range <<= 8;
        }
        Ok(())
    }

    /// A number below `2^bits`, all alike.
    #[inline]
    pub(super) fn put_bits(&mut self, value: u32, bits: u32) -> Result<(), Full> {
        self.put(value, 1, bits)
    }

    /// The mark of the end and the state's bytes; returns what was written from the start.
    pub(super) fn finish(mut self, end: u32, bits: u32) -> Result<&'a [u8], Full> {
        self.room = self.bytes.len();
        self.put_bits(end, bits)?;
        for _byte in 0..WINDOW_BYTES {
            self.shift()?;
        }
        self.release(0)?;
        self.bytes.get(..self.at.len).ok_or(Full)
    }

    /// Moves the highest byte of the state out.
    fn shift(&mut self) -> Result<(), Full> {
        let [.., carry, byte, _, _, _] = self.at.low.to_be_bytes();
        if byte == u8::MAX && carry == 0 {
            self.at.held_max = self.at.held_max.wrapping_add(1);
        } else {
            self.release(carry)?;
            self.at.held = Some(byte);
        }
        self.at.low = (self.at.low & 0x00ff_ffff) << 8;
        let held = self.at.held_max.wrapping_add(usize::from(self.at.held.is_some()));
        if self.at.len.wrapping_add(held) > self.room { Err(Full) } else { Ok(()) }
    }

    /// Writes the held bytes with the carry.
    fn release(&mut self, carry: u8) -> Result<(), Full> {
        if let Some(held) = self.at.held.take() {
            self.push(held.wrapping_add(carry))?;
        }
        for _byte in 0..core::mem::take(&mut self.at.held_max) {
            self.push(u8::MAX.wrapping_add(carry))?;
        }
        Ok(())
    }

    fn push(&mut self, byte: u8) -> Result<(), Full> {
        *self.bytes.get_mut(self.at.len).ok_or(Full)? = byte;
        self.at.len = self.at.len.wrapping_add(1);
        Ok(())
    }
}

/// A place that no symbol holds: the bytes were not written by this coder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoSymbol;

/// Reads from pieces: [`fill`](Self::fill) before every symbol.
#[derive(Clone, Copy, Debug)]
pub(super) struct RangeReader {
    code: u32,
    range: u32,
    missing: usize,
}

impl RangeReader {
    pub(super) const fn new() -> Self {
        Self { code: 0, range: u32::MAX, missing: WINDOW_BYTES }
    }

    /// Takes the bytes that the next symbol needs; `false` if there are too few.
    #[inline]
    pub(super) fn fill(&mut self, bytes: &mut Iter<'_, u8>) -> bool {
        while self.missing > 0 {
            let Some(byte) = bytes.next() else { return false };
            self.code = self.code << 8 | u32::from(*byte);
            self.missing = self.missing.wrapping_sub(1);
        }
        while self.range < RANGE_MIN {
            let Some(byte) = bytes.next() else { return false };
            self.code = self.code << 8 | u32::from(*byte);
            self.range <<= 8;
        }
        true
    }

    /// How wide one of `2^total_bits` places is, and the place the reader stands in.
    #[inline]
    pub(super) fn place(&self, total_bits: u32) -> Result<(u32, u32), NoSymbol> {
        let width = self.range.wrapping_shr(total_bits);
        // The range is at least 2^24 and totals at most 2^16: never zero.
        let place = self.code.checked_div(width).unwrap_or(u32::MAX);
        if place.wrapping_shr(total_bits) > 0 { Err(NoSymbol) } else { Ok((width, place)) }
    }

    /// Leaves the symbol that was found.
    #[inline]
    pub(super) fn take(&mut self, width: u32, start: u32, freq: u32) {
        self.code = self.code.wrapping_sub(width.wrapping_mul(start));
        self.range = width.wrapping_mul(freq);
    }

    /// A number below `2^bits`, all alike.
    #[inline]
    pub(super) fn bits(&mut self, bits: u32) -> Result<u32, NoSymbol> {
        let (width, value) = self.place(bits)?;
        self.take(width, value, 1);
        Ok(value)
    }

    /// Whether the writer ended here: then nothing is left in the state.
    pub(super) const fn is_end(&self) -> bool {
        self.code == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Symbols at the top of the range push low past 2^32 again and again, through runs of 0xff.
    #[test]
    fn carries_reach_the_bytes_before() {
        let mut symbols = [(0_u32, 1_u32); 600];
        for (index, symbol) in (0_u32..).zip(&mut symbols) {
            *symbol = match index % 7 {
                0 | 3 => (0x7fff, 1),
                1 => (0x3fff, 0x4001),
                5 => (0, 1),
                _ => (1, 0x7fff),
            };
        }
        let mut buffer = [0; 2048];
        let mut writer = RangeWriter::new(&mut buffer);
        for (start, freq) in symbols {
            writer.put(start, freq, 15).unwrap();
        }
        let bytes = writer.finish(60, 6).unwrap();

        let (mut reader, mut rest) = (RangeReader::new(), bytes.iter());
        for (start, freq) in symbols {
            assert!(reader.fill(&mut rest));
            let (width, place) = reader.place(15).unwrap();
            assert!((start..start + freq).contains(&place));
            reader.take(width, start, freq);
        }
        assert!(reader.fill(&mut rest));
        assert_eq!(reader.bits(6), Ok(60));
        assert!(reader.fill(&mut rest) && reader.is_end() && rest.len() == 0);
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace() {
        let (mut plain, mut other) = ([0; 64], [0; 64]);
        let put = |writer: &mut RangeWriter<'_>, value| writer.put_bits(value, 16).unwrap();
        let mut writer = RangeWriter::new(&mut plain);
        (0..8).for_each(|value| put(&mut writer, 0xffff - value % 2));
        let len = writer.finish(60, 6).unwrap().len();
        let mut writer = RangeWriter::new(&mut other);
        (0..4).for_each(|value| put(&mut writer, 0xffff - value % 2));
        let mark = writer.mark();
        (0..9).for_each(|_again| put(&mut writer, 0xffff));
        writer.take_back(mark);
        (4..8).for_each(|value| put(&mut writer, 0xffff - value % 2));
        assert_eq!(writer.finish(60, 6).map(<[u8]>::len), Ok(len));
        assert_eq!(plain.get(..len), other.get(..len));
    }

    #[test]
    fn a_writer_that_is_full_can_still_end() {
        for len in 6..40 {
            let mut buffer = [0; 40];
            let mut writer = RangeWriter::new(buffer.get_mut(..len).unwrap());
            let mut mark = writer.mark();
            while writer.put_bits(0xffff, 16).is_ok() {
                mark = writer.mark();
            }
            writer.take_back(mark);
            assert!(writer.finish(60, 6).is_ok());
        }
    }
}
