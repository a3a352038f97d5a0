//! Records by key that outlive a cut of power: each is wholly the one before the last `put`, or wholly the one after.
//!
//! An area is a head and a log of records. A record that replaces another is written behind it; when an area is full, the newest
//! of every key go to the other area, and that one's head is written last, with the next number: from then on it is
//! the one that counts. A torn record ends the log, and the next one begins in the other area: a word of which nobody
//! knows how far it was programmed is never programmed again.

use embedded_storage::nor_flash::NorFlash;

use super::{AREA_BYTES, AREAS, FlashError, PIECE_ALIGN_BYTES, erase, program, read};
use crate::crc::Crc;

const MAGIC: u32 = 0x5348_4731;
const HEAD_BYTES: u32 = PIECE_ALIGN_BYTES as u32;
/// Of a record: CRC of what follows, key, a byte 0, length u16.
const RECORD_HEAD_BYTES: usize = 8;
const COPY_BYTES: usize = PIECE_ALIGN_BYTES;

/// What there is a record of. The number is in flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Key {
    /// The window plan's envelope.
    Plan = 1,
    /// What was granted in a window.
    Ledger = 2,
    /// The trial.
    Trial = 3,
    /// The newest counters and the newest signed time.
    Newest = 4,
    /// Which slot does what.
    Slots = 5,
    /// The envelope of the particle in slot A.
    HeaderA = 6,
    /// The same of slot B.
    HeaderB = 7,
    /// Which chunks of it are there, of the slot that is being written.
    Progress = 8,
}

impl Key {
    /// Every key.
    pub const ALL: [Self; 8] = [
        Self::Plan,
        Self::Ledger,
        Self::Trial,
        Self::Newest,
        Self::Slots,
        Self::HeaderA,
        Self::HeaderB,
        Self::Progress,
    ];
}

/// The records of a flash; the flash is an argument.
#[derive(Clone, Copy, Debug)]
pub struct Records {
    /// The area that counts, and its number; `None` before the first.
    area: Option<(u32, u32)>,
    /// Where the next record begins, relative to the area.
    tail: u32,
    /// Whether the area ends in something torn.
    torn: bool,
}

/// A record in flash.
#[derive(Clone, Copy)]
struct Entry {
    key: u8,
    bytes: u16,
    crc: u32,
    /// Of its head, relative to the area.
    at: u32,
}

impl Entry {
    fn data_at(self) -> u32 {
        self.at.saturating_add(RECORD_HEAD_BYTES as u32)
    }

    fn end(self) -> u32 {
        let end = self.data_at().saturating_add(u32::from(self.bytes));
        end.checked_next_multiple_of(PIECE_ALIGN_BYTES as u32).unwrap_or(u32::MAX)
    }
}

impl Records {
    /// Finds what the flash holds.
    ///
    /// # Errors
    /// [`FlashError`]: it cannot be read.
    pub fn open<F: NorFlash>(flash: &mut F) -> Result<Self, FlashError> {
        let mut records = Self { area: None, tail: HEAD_BYTES, torn: false };
        for area in AREAS {
            let Some(number) = head(flash, area)? else { continue };
            // The one after the last there is, is the first.
            let is_after = |newest: u32| number.wrapping_sub(newest).cast_signed() > 0;
            if records.area.is_none_or(|(_area, newest)| is_after(newest)) {
                records.area = Some((area, number));
            }
        }
        let Some((area, _number)) = records.area else { return Ok(records) };
        while let Some(entry) = entry(flash, area, records.tail)? {
            if !is_whole(flash, area, entry)? {
                break;
            }
            records.tail = entry.end();
        }
        records.torn = !is_erased(flash, area, records.tail)?;
        Ok(records)
    }

    /// Copies the record of `key` to the start of `buffer`; `None` when there is none.
    ///
    /// # Errors
    /// [`FlashError`]: it cannot be read, or `buffer` is too short.
    pub fn get<'a, F: NorFlash>(
        &self,
        flash: &mut F,
        key: Key,
        buffer: &'a mut [u8],
    ) -> Result<Option<&'a [u8]>, FlashError> {
        let Some((area, _number)) = self.area else { return Ok(None) };
        let Some(entry) = self.newest(flash, area, key)? else { return Ok(None) };
        let record = buffer.get_mut(..usize::from(entry.bytes)).ok_or(FlashError::Full)?;
        read(flash, area.saturating_add(entry.data_at()), record)?;
        Ok(Some(record))
    }

    /// Sets the record of `key`; durable when this returns.
    ///
    /// # Errors
    /// [`FlashError`]: there is no room, or the flash fails; the record is then the former or the latter.
    pub fn put<F: NorFlash>(
        &mut self,
        flash: &mut F,
        key: Key,
        record: &[u8],
    ) -> Result<(), FlashError> {
        let bytes = u16::try_from(record.len()).map_err(|_error| FlashError::Full)?;
        let entry = Entry { key: key as u8, bytes, crc: 0, at: self.tail };
        match self.area {
            Some((area, _number)) if !self.torn && entry.end() <= AREA_BYTES => {
                // What fails in the middle is torn.
                self.torn = true;
                append(flash, area, entry, record)?;
                self.torn = false;
                self.tail = entry.end();
                Ok(())
            }
            Some(_) | None => self.move_on(flash, key, record),
        }
    }

    /// The newest of every key, and this one, into the other area.
    fn move_on<F: NorFlash>(
        &mut self,
        flash: &mut F,
        key: Key,
        record: &[u8],
    ) -> Result<(), FlashError> {
        let [first, second] = AREAS;
        let (to, number) = match self.area {
            Some((area, number)) if area == first => (second, number.wrapping_add(1)),
            Some((_area, number)) => (first, number.wrapping_add(1)),
            None => (first, 1),
        };
        erase(flash, to, AREA_BYTES)?;
        let mut tail = HEAD_BYTES;
        for other in Key::ALL.into_iter().filter(|other| *other != key) {
            let Some((area, _number)) = self.area else { break };
            if let Some(entry) = self.newest(flash, area, other)? {
                tail = copy(flash, area, entry, to, tail)?;
            }
        }
        let bytes = u16::try_from(record.len()).map_err(|_error| FlashError::Full)?;
        let entry = Entry { key: key as u8, bytes, crc: 0, at: tail };
        if entry.end() > AREA_BYTES {
            return Err(FlashError::Full);
        }
        append(flash, to, entry, record)?;
        let mut head = [0xff; HEAD_BYTES as usize];
        let number_bytes = number.to_le_bytes();
        let crc = Crc::of(&number_bytes).to_le_bytes();
        let fields = [&MAGIC.to_le_bytes(), &number_bytes, &crc];
        for (to, from) in head.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        program(flash, to, &head)?;
        *self = Self { area: Some((to, number)), tail: entry.end(), torn: false };
        Ok(())
    }

    fn newest<F: NorFlash>(
        &self,
        flash: &mut F,
        area: u32,
        key: Key,
    ) -> Result<Option<Entry>, FlashError> {
        let (mut at, mut found) = (HEAD_BYTES, None);
        while at < self.tail {
            let Some(entry) = entry(flash, area, at)? else { break };
            if entry.key == key as u8 {
                found = Some(entry);
            }
            at = entry.end();
        }
        Ok(found)
    }
}

/// The number of an area that is whole.
fn head<F: NorFlash>(flash: &mut F, area: u32) -> Result<Option<u32>, FlashError> {
    let mut bytes = [0; 12];
    read(flash, area, &mut bytes)?;
    let [m0, m1, m2, m3, n0, n1, n2, n3, c0, c1, c2, c3] = bytes;
    let number = [n0, n1, n2, n3];
    let whole = u32::from_le_bytes([m0, m1, m2, m3]) == MAGIC
        && u32::from_le_bytes([c0, c1, c2, c3]) == Crc::of(&number);
    Ok(whole.then(|| u32::from_le_bytes(number)))
}

/// What stands at `at`, if it can be a record.
fn entry<F: NorFlash>(flash: &mut F, area: u32, at: u32) -> Result<Option<Entry>, FlashError> {
    if at.saturating_add(RECORD_HEAD_BYTES as u32) > AREA_BYTES {
        return Ok(None);
    }
    let mut bytes = [0; RECORD_HEAD_BYTES];
    read(flash, area.saturating_add(at), &mut bytes)?;
    let [c0, c1, c2, c3, key, zero, l0, l1] = bytes;
    let entry = Entry {
        key,
        bytes: u16::from_le_bytes([l0, l1]),
        crc: u32::from_le_bytes([c0, c1, c2, c3]),
        at,
    };
    Ok((zero == 0 && entry.end() <= AREA_BYTES).then_some(entry))
}

fn is_whole<F: NorFlash>(flash: &mut F, area: u32, entry: Entry) -> Result<bool, FlashError> {
    let mut crc = crc_of(entry);
    let mut buffer = [0; COPY_BYTES];
    let mut left = usize::from(entry.bytes);
    let mut at = area.saturating_add(entry.data_at());
    while left > 0 {
        let piece = buffer.get_mut(..left.min(COPY_BYTES)).unwrap_or_default();
        read(flash, at, piece)?;
        crc = crc.push(piece);
        left = left.saturating_sub(COPY_BYTES);
        at = at.saturating_add(COPY_BYTES as u32);
    }
    Ok(crc.value() == entry.crc)
}

fn crc_of(entry: Entry) -> Crc {
    let [l0, l1] = entry.bytes.to_le_bytes();
    Crc::new().push(&[entry.key, 0, l0, l1])
}

/// Whether nothing was programmed from there to the end.
fn is_erased<F: NorFlash>(flash: &mut F, area: u32, from: u32) -> Result<bool, FlashError> {
    let mut at = from;
    let mut buffer = [0; COPY_BYTES];
    while at < AREA_BYTES {
        let left = (AREA_BYTES.saturating_sub(at) as usize).min(COPY_BYTES);
        let piece = buffer.get_mut(..left).unwrap_or_default();
        read(flash, area.saturating_add(at), piece)?;
        if piece.iter().any(|byte| *byte != 0xff) {
            return Ok(false);
        }
        at = at.saturating_add(COPY_BYTES as u32);
    }
    Ok(true)
}

/// Writes head and data as one run of words.
fn append<F: NorFlash>(
    flash: &mut F,
    area: u32,
    entry: Entry,
    record: &[u8],
) -> Result<(), FlashError> {
    let mut word = [0xff; PIECE_ALIGN_BYTES];
    let head = head_of(entry, crc_of(entry).push(record).value());
    let first = record.len().min(PIECE_ALIGN_BYTES.saturating_sub(RECORD_HEAD_BYTES));
    let (with_head, rest) = record.split_at_checked(first).unwrap_or((record, &[]));
    for (to, from) in word.iter_mut().zip(head.iter().chain(with_head)) {
        *to = *from;
    }
    let at = area.saturating_add(entry.at);
    program(flash, at, &word)?;
    program(flash, at.saturating_add(PIECE_ALIGN_BYTES as u32), rest)
}

fn head_of(entry: Entry, crc: u32) -> [u8; RECORD_HEAD_BYTES] {
    let [c0, c1, c2, c3] = crc.to_le_bytes();
    let [l0, l1] = entry.bytes.to_le_bytes();
    [c0, c1, c2, c3, entry.key, 0, l0, l1]
}

/// Copies a record as it is; returns where the next one begins.
fn copy<F: NorFlash>(
    flash: &mut F,
    from: u32,
    entry: Entry,
    to: u32,
    tail: u32,
) -> Result<u32, FlashError> {
    let bytes = entry.end().saturating_sub(entry.at);
    let mut buffer = [0; COPY_BYTES];
    let mut copied = 0_u32;
    while copied < bytes {
        read(flash, from.saturating_add(entry.at).saturating_add(copied), &mut buffer)?;
        program(flash, to.saturating_add(tail).saturating_add(copied), &buffer)?;
        copied = copied.saturating_add(COPY_BYTES as u32);
    }
    Ok(tail.saturating_add(bytes))
}
