//! A flash in memory that is as strict as any: a word is programmed once between two erases, and power can be cut at
//! every step, in the middle of it.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use shoal_gateway::FLASH_BYTES;

const WORD_BYTES: usize = 8;
const SECTOR_BYTES: usize = 4096;

#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
    programmed: Vec<bool>,
    /// Steps (words programmed, sectors erased) that are left before power is cut.
    pub(crate) left: Option<u64>,
    pub(crate) steps: u64,
    /// Of these, sectors erased.
    pub(crate) erased: u64,
    /// Every write fails.
    pub(crate) broken: bool,
    /// Bits that do not take: what is programmed below this offset comes out otherwise.
    pub(crate) weak: Option<std::ops::Range<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut;

impl NorFlashError for Cut {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl Memory {
    pub(crate) fn erased() -> Self {
        let bytes = vec![0xff; FLASH_BYTES as usize];
        let programmed = vec![false; bytes.len() / WORD_BYTES];
        Self { bytes, programmed, left: None, steps: 0, erased: 0, broken: false, weak: None }
    }

    /// What is there when power comes back.
    pub(crate) fn power_on(mut self) -> Self {
        self.left = None;
        self
    }

    /// Whether this step is still made whole.
    fn step(&mut self) -> Result<bool, Cut> {
        self.steps += 1;
        match &mut self.left {
            _ if self.broken => Err(Cut),
            None => Ok(true),
            Some(0) => Err(Cut),
            Some(left) => {
                *left -= 1;
                Ok(*left > 0)
            }
        }
    }
}

impl ErrorType for Memory {
    type Error = Cut;
}

impl ReadNorFlash for Memory {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Cut> {
        let from = offset as usize;
        bytes.copy_from_slice(&self.bytes[from..from + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for Memory {
    const WRITE_SIZE: usize = WORD_BYTES;
    const ERASE_SIZE: usize = SECTOR_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Cut> {
        let (from, to) = (from as usize, to as usize);
        assert!(from.is_multiple_of(SECTOR_BYTES) && to.is_multiple_of(SECTOR_BYTES) && from <= to);
        for sector in (from..to).step_by(SECTOR_BYTES) {
            // A cut in the middle leaves one half erased, and nobody knows which: the later one here.
            let whole = self.step()?;
            self.erased += 1;
            let start = if whole { sector } else { sector + SECTOR_BYTES / 2 };
            self.bytes[start..sector + SECTOR_BYTES].fill(0xff);
            self.programmed[start / WORD_BYTES..(sector + SECTOR_BYTES) / WORD_BYTES].fill(false);
            if !whole {
                return Err(Cut);
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Cut> {
        let offset = offset as usize;
        assert!(offset.is_multiple_of(WORD_BYTES) && bytes.len().is_multiple_of(WORD_BYTES));
        for (index, word) in bytes.chunks(WORD_BYTES).enumerate() {
            let at = offset + index * WORD_BYTES;
            assert!(!self.programmed[at / WORD_BYTES], "a word is programmed twice, at {at:#x}");
            let whole = self.step()?;
            self.programmed[at / WORD_BYTES] = true;
            let taken = if whole { WORD_BYTES } else { WORD_BYTES / 2 };
            for (to, from) in self.bytes[at..].iter_mut().zip(&word[..taken]) {
                *to &= from;
            }
            if self.weak.as_ref().is_some_and(|weak| weak.contains(&at)) {
                self.bytes[at] ^= 1;
            }
            if !whole {
                return Err(Cut);
            }
        }
        Ok(())
    }
}
