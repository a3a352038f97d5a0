//! The flash: the board's large memory, as a NOR flash behaves. QEMU keeps it in a file, which outlives the machine as
//! a flash does.
#![expect(unsafe_code, reason = "a flash that is mapped into memory")]

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};
use shoal_gateway::FLASH_BYTES;

use crate::board::FLASH;

/// Programs words of 8 bytes, erases sectors of 4 KiB.
#[derive(Debug)]
pub(crate) struct Mapped;

/// A call outside of the flash, or across its words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outside(NorFlashErrorKind);

impl NorFlashError for Outside {
    fn kind(&self) -> NorFlashErrorKind {
        self.0
    }
}

impl ErrorType for Mapped {
    type Error = Outside;
}

impl ReadNorFlash for Mapped {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Outside> {
        check_read(self, offset, bytes.len()).map_err(Outside)?;
        for (place, to) in (offset..).zip(bytes) {
            *to = byte(place);
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        FLASH_BYTES as usize
    }
}

impl NorFlash for Mapped {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Outside> {
        check_erase(self, from, to).map_err(Outside)?;
        for place in from..to {
            set(place, 0xff);
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Outside> {
        check_write(self, offset, bytes.len()).map_err(Outside)?;
        for (place, from) in (offset..).zip(bytes) {
            // Programming clears bits and sets none.
            set(place, byte(place) & from);
        }
        Ok(())
    }
}

fn byte(place: u32) -> u8 {
    // SAFETY: the caller checked that the place is within the flash, which is mapped as long as the machine runs.
    unsafe { (FLASH.wrapping_add(place as usize) as *const u8).read_volatile() }
}

fn set(place: u32, value: u8) {
    // SAFETY: as for reading; no reference to this memory exists.
    unsafe { (FLASH.wrapping_add(place as usize) as *mut u8).write_volatile(value) }
}
