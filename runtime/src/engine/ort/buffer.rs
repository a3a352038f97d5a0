//! Host memory that an engine keeps the address of.
#![expect(
    unsafe_code,
    reason = "an engine reads and writes these bytes through an address of its own"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use crate::engine::plain::Plain;

/// Alignment of every buffer in bytes: a cache line, and the widest vector register in use.
const ALIGN: usize = 64;

/// There is no such memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for a tensor of {bytes} bytes")]
pub(super) struct NoMemory {
    bytes: usize,
}

/// A run of zeroed bytes whose address never changes until it is dropped.
///
/// All accesses, ours and the engine's, go through the one address of the allocation. The borrow
/// checker sees ours; the engine's happen only inside a run, for which the owning session is
/// borrowed mutably.
#[derive(Debug)]
pub(super) struct HostBuffer {
    address: NonNull<u8>,
    layout: Layout,
    bytes: usize,
}

// SAFETY: the allocation is owned and has no thread affinity; access follows `&` and `&mut`.
unsafe impl Send for HostBuffer {}
// SAFETY: as for `Send`: shared access only reads.
unsafe impl Sync for HostBuffer {}

impl HostBuffer {
    /// Allocates `bytes` zeroed bytes, aligned to a cache line.
    ///
    /// # Errors
    /// If there is no such memory.
    pub(super) fn new(bytes: usize) -> Result<Self, NoMemory> {
        let none = NoMemory { bytes };
        let layout = Layout::from_size_align(bytes.max(1), ALIGN).map_err(|_too_large| none)?;
        // SAFETY: the layout is at least one byte long.
        let address = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(none)?;
        Ok(Self { address, layout, bytes })
    }

    /// The address an engine is given; valid for [`Self::bytes`] bytes as long as `self` lives.
    pub(super) fn address(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    /// Length in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The content as numbers, `[bytes / size_of::<T>()]`.
    pub(super) fn as_slice<T: Plain>(&self) -> &[T] {
        // SAFETY: initialised at allocation; aligned to 64, more than any `Plain` needs; the length
        // stays inside the allocation; no engine writes while `self` is borrowed.
        unsafe {
            std::slice::from_raw_parts(
                self.address().cast_const().cast(),
                self.bytes / size_of::<T>(),
            )
        }
    }

    /// The content as numbers to fill in place, `[bytes / size_of::<T>()]`.
    pub(super) fn as_mut_slice<T: Plain>(&mut self) -> &mut [T] {
        // SAFETY: as for `as_slice`, and `self` is borrowed mutably.
        unsafe {
            std::slice::from_raw_parts_mut(self.address().cast(), self.bytes / size_of::<T>())
        }
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, freed once.
        unsafe { dealloc(self.address.as_ptr(), self.layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_starts_zeroed_and_aligned_to_a_cache_line() {
        let mut buffer = HostBuffer::new(12).unwrap();
        assert_eq!(buffer.address().addr() % ALIGN, 0);
        assert_eq!(buffer.as_slice::<f32>(), [0.0; 3]);
        buffer.as_mut_slice::<f32>()[2] = 1.5;
        assert_eq!(buffer.as_slice::<f32>(), [0.0, 0.0, 1.5]);
        assert_eq!(buffer.bytes(), 12);
    }

    #[test]
    fn a_buffer_larger_than_memory_is_refused() {
        for bytes in [usize::MAX, isize::MAX as usize - ALIGN] {
            assert_eq!(HostBuffer::new(bytes).unwrap_err(), NoMemory { bytes });
        }
    }

    #[test]
    fn a_buffer_of_nothing_is_an_empty_run() {
        assert!(HostBuffer::new(0).unwrap().as_slice::<i64>().is_empty());
    }
}
