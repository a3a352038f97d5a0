//! Adapters as bytes in slots and files: layout hash (32 bytes) ‖ values f32, little-endian.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shoal_hal::backend::files::{DirSlots, FilesError, write_whole};
use shoal_hal::{AdapterSlots, Slot};
use shoal_runtime::adapter::{Adapter, AdapterError, Layout};

/// Bytes of the layout hash.
const HASH_BYTES: usize = 32;

/// Why a kept adapter cannot be used, or one cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The storage failed.
    #[error("an adapter cannot be kept or read back")]
    Files(#[from] FilesError),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is no longer needed cannot be removed.
    #[error("cannot remove {}", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It was trained for another model, rank or set of sites.
    #[error("{place} holds an adapter of another model or layout: remove the vehicle's state")]
    OtherLayout {
        /// Slot or file.
        place: String,
    },
    /// Its values are not those of its layout.
    #[error("{place} holds no valid adapter")]
    Values {
        /// Slot or file.
        place: String,
        /// What is wrong.
        source: AdapterError,
    },
}

/// Writes an adapter to the inactive slot and starts its trial.
pub(super) fn stage(slots: &mut DirSlots, adapter: &Adapter) -> Result<(), KeepError> {
    let bytes = to_bytes(adapter);
    slots.begin(bytes.len() as u64)?;
    slots.append(&bytes)?;
    slots.seal()?;
    Ok(slots.start_trial()?)
}

/// The adapter in a slot.
pub(super) fn read_slot(
    slots: &DirSlots,
    slot: Slot,
    layout: &Arc<Layout>,
) -> Result<Adapter, KeepError> {
    let place = format!("adapter slot {slot:?}");
    let length = slots.bytes(slot)?.unwrap_or(0);
    if length != (HASH_BYTES + 4 * layout.values()) as u64 {
        return Err(KeepError::OtherLayout { place });
    }
    let mut bytes = vec![0; length as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match slots.read(slot, filled as u64, &mut bytes[filled..])? {
            0 => break,
            more => filled += more,
        }
    }
    from_bytes(&bytes, layout, place)
}

/// Writes an adapter to a file, whole or not at all.
pub(super) fn write_file(path: &Path, adapter: &Adapter) -> Result<(), KeepError> {
    Ok(write_whole(path, &to_bytes(adapter))?)
}

/// Reads an adapter from a file.
pub(super) fn read_file(path: &Path, layout: &Arc<Layout>) -> Result<Adapter, KeepError> {
    let bytes = std::fs::read(path)
        .map_err(|source| KeepError::Read { path: path.to_path_buf(), source })?;
    from_bytes(&bytes, layout, path.display().to_string())
}

fn to_bytes(adapter: &Adapter) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HASH_BYTES + 4 * adapter.values().len());
    bytes.extend_from_slice(&adapter.layout().hash());
    adapter.values().iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    bytes
}

fn from_bytes(bytes: &[u8], layout: &Arc<Layout>, place: String) -> Result<Adapter, KeepError> {
    let Some(values) = bytes.strip_prefix(&layout.hash()[..]) else {
        return Err(KeepError::OtherLayout { place });
    };
    let values = values.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value));
    Adapter::from_values(Arc::clone(layout), values.collect())
        .map_err(|source| KeepError::Values { place, source })
}
