//! Adapters as bytes in slots and files: layout hash (32 bytes) ‖ values f32, little-endian ‖ SHA-256 of all before. What was written
//! before there was that last hash ends with the values, and is read.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use shoal_hal::backend::files::{DirSlots, FilesError, write_whole};
use shoal_hal::{AdapterSlots, Slot};
use shoal_runtime::adapter::{Adapter, AdapterError, Layout};

/// Bytes of the layout hash, and of the last.
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
    /// Its file is gone.
    #[error("{place} is empty, and the vehicle's state says that it is used")]
    Gone {
        /// Slot.
        place: String,
    },
    /// It was trained for another model, rank or set of sites.
    #[error("{place} holds an adapter of another model or layout, or a part of one: remove it")]
    OtherLayout {
        /// Slot or file.
        place: String,
    },
    /// It is not what was written.
    #[error("{place} is not what was written: remove it")]
    Damaged {
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

impl KeepError {
    /// Whether what is kept can never be used, with this model.
    pub(super) fn is_for_good(&self) -> bool {
        match self {
            Self::Gone { .. }
            | Self::OtherLayout { .. }
            | Self::Damaged { .. }
            | Self::Values { .. } => true,
            Self::Read { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            Self::Files(_) | Self::Remove { .. } => false,
        }
    }
}

/// The adapter in a slot of those in this folder.
pub(super) fn read_slot(
    slots: &DirSlots,
    slot: Slot,
    layout: &Arc<Layout>,
    folder: &Path,
) -> Result<Adapter, KeepError> {
    let place = format!("adapter slot {slot:?} in {}", folder.display());
    let Some(length) = slots.bytes(slot)? else { return Err(KeepError::Gone { place }) };
    if length > bytes_of(layout) as u64 {
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
    let failed = |source| KeepError::Read { path: path.to_path_buf(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    // One more than there are of the longest, which is then another's.
    let (mut bytes, bytes_max) = (Vec::new(), bytes_of(layout) as u64 + 1);
    file.take(bytes_max).read_to_end(&mut bytes).map_err(failed)?;
    from_bytes(&bytes, layout, path.display().to_string())
}

/// Bytes of an adapter of this layout.
fn bytes_of(layout: &Layout) -> usize {
    HASH_BYTES + 4 * layout.values() + HASH_BYTES
}

/// An adapter as it lies in a slot.
#[must_use]
pub fn to_bytes(adapter: &Adapter) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(bytes_of(adapter.layout()));
    bytes.extend_from_slice(&adapter.layout().hash());
    adapter.values().iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    let hash = Sha256::digest(&bytes);
    bytes.extend_from_slice(&hash);
    bytes
}

/// An adapter of this layout of the bytes of a slot, which errors call `place`.
///
/// # Errors
/// [`KeepError`]: they are none, or damaged.
pub fn from_bytes(bytes: &[u8], layout: &Arc<Layout>, place: String) -> Result<Adapter, KeepError> {
    let (whole, hash) = match bytes.split_last_chunk::<HASH_BYTES>() {
        Some((whole, hash)) if bytes.len() == bytes_of(layout) => (whole, Some(hash)),
        Some(_) | None => (bytes, None),
    };
    let values = whole.strip_prefix(&layout.hash()[..]);
    let Some(values) = values.filter(|values| values.len() == 4 * layout.values()) else {
        return Err(KeepError::OtherLayout { place });
    };
    if hash.is_some_and(|hash| Sha256::digest(whole).as_slice() != hash) {
        return Err(KeepError::Damaged { place });
    }
    let values = values.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value));
    Adapter::from_values(Arc::clone(layout), values.collect())
        .map_err(|source| KeepError::Values { place, source })
}
