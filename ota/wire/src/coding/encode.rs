//! The writer: a run of tensors into chunks.

use super::choose::Choice;
use super::quantise::{Quantised, quantise};
use super::range::{Full, RangeWriter};
use super::table::{Places, Shape, TOTAL_BITS, Table};
use super::{
    BLOCK_VALUES_MAX, Before, END, HEAD_BITS, HEAD_SCALE_NEAR, HEAD_TABLE_SAME, PAST_LENGTH_BITS,
    Quality, SCALE_BITS, SCALE_NEAR_BITS, SCALE_NEAR_ZERO, TABLE_BITS, scale,
};
use crate::v1::CHUNK_BYTES_MAX;

/// A block that does not fit is cut to what does, down to here; below, the next chunk takes it.
const BLOCK_VALUES_SPLIT: usize = 256;
/// What a block takes besides its levels, at most, and a little for what differs in a part of it.
const BLOCK_OVERHEAD_BITS: u64 = 100;

/// Why a run was not coded.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Not a number, or infinite; nothing was coded and nothing changed.
    #[error("value {index} is not finite")]
    NotFinite { index: usize },
    /// The tensors are not the run.
    #[error("the tensors hold {tensors} values, the run {values}, what is received {received}")]
    Lengths { tensors: u64, values: usize, received: usize },
    /// Not one value fits.
    #[error("a buffer of {len} bytes is too small for any block")]
    BufferTooSmall { len: usize },
}

/// One chunk, in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodedChunk<'a> {
    /// Index of its first value in the run.
    pub first_value: u32,
    /// Count of its values.
    pub values: u32,
    /// At most [`CHUNK_BYTES_MAX`].
    pub bytes: &'a [u8],
}

/// Codes one run, chunk by chunk.
///
/// What is sent is `carried`: the difference to the reference plus the remainder of earlier windows. When the last chunk
/// is out, `received` holds what every receiver sees, and `carried` the new remainder: what was to be sent less what is
/// received. The same run at the same quality gives the same bytes and values on every machine.
#[derive(Debug)]
pub struct Encoder<'a> {
    quality: Quality,
    /// Of the tensors that are not complete; the first is what is left of it.
    tensors: core::slice::Iter<'a, u32>,
    left: usize,
    carried: &'a mut [f32],
    received: &'a mut [f32],
    first_value: u32,
}

impl<'a> Encoder<'a> {
    /// Before the first chunk.
    ///
    /// # Shapes and units
    /// `tensors` are the counts of values of each tensor in the order of the run; `carried` and `received` are as long
    /// as their sum.
    /// # Errors
    /// [`EncodeError::NotFinite`], [`EncodeError::Lengths`]; nothing has changed then.
    pub fn new(
        quality: Quality,
        tensors: &'a [u32],
        carried: &'a mut [f32],
        received: &'a mut [f32],
    ) -> Result<Self, EncodeError> {
        let sum = tensors.iter().fold(0_u64, |sum, len| sum.saturating_add(u64::from(*len)));
        let values = carried.len();
        if sum != values as u64 || received.len() != values || sum > u64::from(u32::MAX) {
            return Err(EncodeError::Lengths { tensors: sum, values, received: received.len() });
        }
        if let Some(index) = carried.iter().position(|value| !value.is_finite()) {
            return Err(EncodeError::NotFinite { index });
        }
        Ok(Self { quality, tensors: tensors.iter(), left: 0, carried, received, first_value: 0 })
    }

    /// The next chunk, as long as the buffer and [`CHUNK_BYTES_MAX`] allow; `None` after the last value.
    ///
    /// # Errors
    /// [`EncodeError::BufferTooSmall`]; the encoder is then where it was.
    pub fn next_chunk<'b>(
        &mut self,
        buffer: &'b mut [u8],
    ) -> Result<Option<EncodedChunk<'b>>, EncodeError> {
        let len = buffer.len();
        let too_small = |_full: Full| EncodeError::BufferTooSmall { len };
        let buffer = buffer.get_mut(..len.min(CHUNK_BYTES_MAX as usize)).unwrap_or_default();
        let first_value = self.first_value;
        let mut writer = RangeWriter::new(buffer);
        let mut before = Some(Before::FIRST);
        while let Some(found) = before {
            before = self.next_block(found, &mut writer);
        }
        let values = self.first_value.wrapping_sub(first_value);
        if values == 0 {
            return if self.tensor() == 0 { Ok(None) } else { Err(too_small(Full)) };
        }
        let end = writer.finish(END, HEAD_BITS).map_err(too_small)?;
        Ok(Some(EncodedChunk { first_value, values, bytes: end }))
    }
}

impl Encoder<'_> {
    /// Writes one block, if there are values left and it fits; what the next one finds before it.
    fn next_block(&mut self, before: Before, writer: &mut RangeWriter<'_>) -> Option<Before> {
        let tensor = self.tensor();
        let blocks = tensor.div_ceil(BLOCK_VALUES_MAX as usize);
        let mut count = if blocks > 0 { tensor.div_ceil(blocks) } else { 0 };
        let start = writer.mark();
        let count_min = if start.is_start() { 1 } else { BLOCK_VALUES_SPLIT.min(count) };
        while count >= count_min && count > 0 {
            let values = self.carried.get_mut(..count)?;
            let levels = self.received.get_mut(..count)?;
            let block = quantise(self.quality, values, levels, before.shape);
            if let Ok(before) = write(block, levels, before, writer) {
                receive(block, values, levels);
                self.advance(count);
                return Some(before);
            }
            writer.take_back(start);
            // As many as the room is for at the cost of these, and always fewer than these.
            let bits = block.map_or(0, |block| block.choice.bits());
            let room = writer.room_bits().saturating_sub(BLOCK_OVERHEAD_BITS);
            let fit = (count as u64).wrapping_mul(room).checked_div(bits).unwrap_or_default();
            count = usize::try_from(fit).unwrap_or(count).min(count.wrapping_mul(15) >> 4);
        }
        None
    }

    /// Count of values left in the tensor that is next.
    fn tensor(&mut self) -> usize {
        while self.left == 0 {
            match self.tensors.next() {
                Some(len) => self.left = *len as usize,
                None => break,
            }
        }
        self.left
    }

    fn advance(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count);
        let values = u32::try_from(count).unwrap_or(u32::MAX);
        self.first_value = self.first_value.saturating_add(values);
        for run in [&mut self.carried, &mut self.received] {
            let rest = core::mem::take(run).split_at_mut_checked(count);
            *run = rest.map_or(Default::default(), |(_done, rest)| rest);
        }
    }
}

/// Writes a block; what the next one finds before it.
fn write(
    block: Option<Quantised>,
    levels: &[f32],
    before: Before,
    writer: &mut RangeWriter<'_>,
) -> Result<Before, Full> {
    let count = u32::try_from(levels.len()).unwrap_or(u32::MAX);
    let length = count.checked_ilog2().unwrap_or_default();
    let Some(Quantised { scale, choice: Choice { shape, cost: _ } }) = block else {
        writer.put_bits(length << 2, HEAD_BITS)?;
        writer.put_bits(count ^ 1 << length, length)?;
        writer.put_bits(0, SCALE_BITS)?;
        return Ok(before);
    };
    let near = scale.wrapping_add(SCALE_NEAR_ZERO).wrapping_sub(before.scale);
    let near = (near >> SCALE_NEAR_BITS == 0).then_some(near);
    let same = shape == before.shape;
    let near_flag = near.map_or(0, |_near| HEAD_SCALE_NEAR);
    let same_flag = if same { HEAD_TABLE_SAME } else { 0 };
    writer.put_bits(length << 2 | near_flag | same_flag, HEAD_BITS)?;
    writer.put_bits(count ^ 1 << length, length)?;
    match near {
        Some(near) => writer.put_bits(near, SCALE_NEAR_BITS)?,
        None => writer.put_bits(scale, SCALE_BITS)?,
    }
    if !same {
        writer.put_bits(shape.number(), TABLE_BITS)?;
    }
    write_levels(shape, levels, writer)?;
    Ok(Before { scale, shape })
}

fn write_levels(shape: Shape, levels: &[f32], writer: &mut RangeWriter<'_>) -> Result<(), Full> {
    let table = Table::new(shape);
    let own = table.own();
    for level in levels {
        let level = *level as i32;
        let Some(above) = level.unsigned_abs().checked_sub(1) else {
            writer.put(0, table.zero, TOTAL_BITS)?;
            continue;
        };
        match own.get((above >> shape.low_bits) as usize) {
            Some(places) => {
                put(*places, level < 0, writer)?;
                if shape.low_bits > 0 {
                    writer.put_bits(above & !(u32::MAX << shape.low_bits), shape.low_bits)?;
                }
            }
            None => {
                // A table for levels past its classes has a class for them.
                put(table.past().copied().ok_or(Full)?, level < 0, writer)?;
                let first = u32::try_from(own.len()).unwrap_or(u32::MAX) << shape.low_bits;
                let past = above.wrapping_sub(first).wrapping_add(1);
                let length = past.checked_ilog2().unwrap_or_default();
                writer.put_bits(length, PAST_LENGTH_BITS)?;
                writer.put_bits(past ^ 1 << length, length)?;
            }
        }
    }
    Ok(())
}

#[inline]
fn put(places: Places, negative: bool, writer: &mut RangeWriter<'_>) -> Result<(), Full> {
    let (start, freq) = (u32::from(places.start), u32::from(places.freq));
    let start = if negative { start.wrapping_add(freq) } else { start };
    writer.put(start, freq, TOTAL_BITS)
}

/// What the receiver sees, in place of the levels, and the remainder, in place of the values.
fn receive(block: Option<Quantised>, values: &mut [f32], levels: &mut [f32]) {
    let scale = block.map_or(0.0, |block| scale(block.scale));
    for (value, level) in values.iter_mut().zip(levels) {
        // By way of the integer, as the reader does: a negative zero becomes zero.
        let received = *level as i32 as f32 * scale;
        *value -= received;
        *level = received;
    }
}
