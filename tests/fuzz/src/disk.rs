//! A disk in memory: what stores of a vehicle are laid down on.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_shadow::replay::{Disk, DiskFile};

/// Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<BTreeMap<String, File>>>);

/// Clones are the same file.
#[derive(Clone, Debug, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_file() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Memory {
    /// Lays a file down.
    pub(crate) fn lay(&self, name: &str, bytes: &[u8]) {
        let file = File(Arc::new(Mutex::new(bytes.to_vec())));
        held(&self.0).insert(name.to_owned(), file);
    }

    /// What a file holds; nothing, where there is none.
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        held(&self.0).get(name).map(|file| held(&file.0).clone()).unwrap_or_default()
    }

    /// Another disk with the same files.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::default();
        held(&self.0).iter().for_each(|(name, file)| copy.lay(name, &held(&file.0)));
        copy
    }
}

impl Disk for Memory {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let files = held(&self.0);
        files.iter().map(|(name, file)| Ok((name.clone(), file.len()?))).collect()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = File::default();
        held(&self.0).insert(name.to_owned(), file.clone());
        Ok(Box::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = held(&self.0).get(name).cloned().ok_or_else(no_file)?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = held(&self.0);
        let file = files.remove(from).ok_or_else(no_file)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        held(&self.0).remove(name).map(drop).ok_or_else(no_file)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn is_private(&self, _name: &str) -> io::Result<bool> {
        Ok(true)
    }

    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(held(&self.0).len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = held(&self.0);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = bytes.get(from..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(rest.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(|_error| io::ErrorKind::StorageFull)?;
        let to = from.checked_add(bytes.len()).filter(|to| *to <= LENGTH_MAX);
        let to = to.ok_or(io::ErrorKind::StorageFull)?;
        let mut file = held(&self.0);
        if file.len() < to {
            file.resize(to, 0);
        }
        file[from..to].copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).ok().filter(|len| *len <= LENGTH_MAX);
        held(&self.0).resize(len.ok_or(io::ErrorKind::StorageFull)?, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The disk has room for files of so many bytes: what is to grow beyond that by the word of a file fails, as on a disk that is full.
const LENGTH_MAX: usize = 64 << 20;
