//! The flash: what lies where, records that a cut of power cannot tear, and the places of chunks.
//!
//! ```text
//!        0  provision, 1 sector
//!    4,096  records, two areas of 2 sectors
//!   65,536  slot A: 20 places of 64 KiB, one a chunk
//!     then  slot B: the same
//! ```
//!
//! A chunk has a place of its own, so that one that was cut short or came wrong is erased alone, and chunks come in any
//! order. Every word is programmed once between two erases: flashes that keep a code beside each word allow no more.

mod records;
mod slots;

pub use records::{Key, Records};
pub(crate) use slots::{erase_chunk, holds, write_piece};

use embedded_storage::nor_flash::NorFlash;
use shoal_hal::Slot;
use shoal_wire::v1::{CHUNK_BYTES_MAX, CHUNKS_MAX};

/// Bytes that are erased at once, at most.
pub(crate) const SECTOR_BYTES: u32 = 4096;
/// The longest provision.
pub const PROVISION_BYTES_MAX: usize = 512;
/// Bytes of one area of records.
pub(crate) const AREA_BYTES: u32 = 2 * SECTOR_BYTES;
/// Where the areas begin.
pub(crate) const AREAS: [u32; 2] = [SECTOR_BYTES, SECTOR_BYTES + AREA_BYTES];
const SLOTS_OFFSET: u32 = 16 * SECTOR_BYTES;
const SLOT_BYTES: u32 = CHUNKS_MAX as u32 * CHUNK_BYTES_MAX;
/// What a flash must hold.
pub const FLASH_BYTES: u32 = SLOTS_OFFSET + 2 * SLOT_BYTES;
/// A piece but the last of a chunk is a multiple of this: what is programmed at once by any flash we know.
pub const PIECE_ALIGN_BYTES: usize = 32;

const _: () = assert!(SECTOR_BYTES + 2 * AREA_BYTES <= SLOTS_OFFSET);
const _: () = assert!(CHUNK_BYTES_MAX.is_multiple_of(SECTOR_BYTES));

/// Why the flash failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlashError {
    /// The driver says so, or the flash does not hold what was written.
    #[error("the flash failed")]
    Failed,
    /// A record is longer than there is room.
    #[error("no room")]
    Full,
}

/// Where the place of a chunk begins.
pub const fn chunk_offset(slot: Slot, index: u8) -> u32 {
    let slot = match slot {
        Slot::A => SLOTS_OFFSET,
        Slot::B => SLOTS_OFFSET.saturating_add(SLOT_BYTES),
    };
    slot.saturating_add((index as u32).saturating_mul(CHUNK_BYTES_MAX))
}

/// Whether a flash can be used at all: known when it is compiled.
pub(crate) const fn fits<F: NorFlash>() -> bool {
    F::READ_SIZE == 1
        && PIECE_ALIGN_BYTES.is_multiple_of(F::WRITE_SIZE)
        && (SECTOR_BYTES as usize).is_multiple_of(F::ERASE_SIZE)
}

pub(crate) fn read<F: NorFlash>(
    flash: &mut F,
    offset: u32,
    bytes: &mut [u8],
) -> Result<(), FlashError> {
    flash.read(offset, bytes).map_err(|_error| FlashError::Failed)
}

pub(crate) fn erase<F: NorFlash>(flash: &mut F, from: u32, bytes: u32) -> Result<(), FlashError> {
    flash.erase(from, from.saturating_add(bytes)).map_err(|_error| FlashError::Failed)
}

/// Programs bytes from an aligned offset on; what the last word has too many stays erased.
pub(crate) fn program<F: NorFlash>(
    flash: &mut F,
    offset: u32,
    bytes: &[u8],
) -> Result<(), FlashError> {
    let (words, rest) = bytes.as_chunks::<PIECE_ALIGN_BYTES>();
    let mut at = offset;
    for word in words {
        flash.write(at, word).map_err(|_error| FlashError::Failed)?;
        at = at.saturating_add(PIECE_ALIGN_BYTES as u32);
    }
    if rest.is_empty() {
        return Ok(());
    }
    let mut last = [0xff; PIECE_ALIGN_BYTES];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let used = rest.len().checked_next_multiple_of(F::WRITE_SIZE).unwrap_or(last.len());
    let last = last.get(..used).unwrap_or(&last);
    flash.write(at, last).map_err(|_error| FlashError::Failed)
}
