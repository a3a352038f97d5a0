//! The places of chunks.

use embedded_storage::nor_flash::NorFlash;
use sha2::{Digest, Sha256};
use shoal_hal::Slot;
use shoal_wire::ChunkHash;

use super::{FlashError, SECTOR_BYTES, chunk_offset, erase, program, read};

/// Bytes that are read at once.
const READ_BYTES: usize = 128;

/// Erases the sectors of so many bytes from the start of a chunk's place on.
pub(crate) fn erase_chunk<F: NorFlash>(
    flash: &mut F,
    slot: Slot,
    index: u8,
    bytes: u32,
) -> Result<(), FlashError> {
    let whole = bytes.checked_next_multiple_of(SECTOR_BYTES).ok_or(FlashError::Full)?;
    erase(flash, chunk_offset(slot, index), whole)
}

/// Writes the piece of a chunk that begins after so many bytes of it.
pub(crate) fn write_piece<F: NorFlash>(
    flash: &mut F,
    (slot, index): (Slot, u8),
    offset: u32,
    piece: &[u8],
) -> Result<(), FlashError> {
    program(flash, chunk_offset(slot, index).saturating_add(offset), piece)
}

/// Whether the place holds the bytes of this hash: what was verified is what was written.
pub(crate) fn holds<F: NorFlash>(
    flash: &mut F,
    (slot, index): (Slot, u8),
    bytes: u32,
    hash: ChunkHash,
) -> Result<bool, FlashError> {
    let mut hasher = Sha256::new();
    let mut buffer = [0; READ_BYTES];
    let mut at = 0_u32;
    while at < bytes {
        let left = bytes.saturating_sub(at).min(READ_BYTES as u32);
        let piece = buffer.get_mut(..left as usize).ok_or(FlashError::Failed)?;
        read(flash, chunk_offset(slot, index).saturating_add(at), piece)?;
        hasher.update(piece);
        at = at.saturating_add(left);
    }
    Ok(ChunkHash::new(hasher.finalize().into()) == hash)
}
