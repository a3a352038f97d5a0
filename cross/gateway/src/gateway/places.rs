//! Which sectors of the inactive slot are to be erased before they are written. Erasing wears a flash out: what is erased and
//! was not written since is not erased again.

use shoal_wire::v1::{CHUNK_BYTES_MAX, CHUNKS_MAX};

use crate::flash::SECTOR_BYTES;

const SECTORS: u8 = (CHUNK_BYTES_MAX / SECTOR_BYTES) as u8;
/// After a start, and for another particle: nobody knows how far a word was programmed that a cut ended.
const UNKNOWN: u8 = u8::MAX;
const _: () = assert!(CHUNK_BYTES_MAX / SECTOR_BYTES < UNKNOWN as u32);

/// Of the place of each chunk, how many sectors from its start on were written since they were erased.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places([u8; CHUNKS_MAX]);

impl Places {
    pub(super) const UNKNOWN: Self = Self([UNKNOWN; CHUNKS_MAX]);

    /// Whether a place holds what came of this particle's chunk before.
    pub(super) fn is_written(&self, index: u8) -> bool {
        let written = self.0.get(usize::from(index));
        written.is_some_and(|sectors| (1..=SECTORS).contains(sectors))
    }

    /// The bytes from the start of a place on that are to be erased for a chunk of this length: they are, from now on.
    pub(super) fn erase(&mut self, index: u8, bytes: u32) -> Option<u32> {
        let written = self.0.get_mut(usize::from(index))?;
        let sectors = core::mem::take(written);
        let bytes = bytes.min(u32::from(sectors).saturating_mul(SECTOR_BYTES));
        (bytes > 0).then_some(bytes)
    }

    /// A place is written up to there.
    pub(super) fn write(&mut self, index: u8, end: u32) {
        let sectors = u8::try_from(end.div_ceil(SECTOR_BYTES)).unwrap_or(SECTORS);
        if let Some(written) = self.0.get_mut(usize::from(index)) {
            *written = sectors.max(*written);
        }
    }

    /// The flash failed there.
    pub(super) fn lose(&mut self, index: u8) {
        if let Some(written) = self.0.get_mut(usize::from(index)) {
            *written = UNKNOWN;
        }
    }
}
