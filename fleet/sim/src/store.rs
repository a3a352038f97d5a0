//! Results by what they were made of: what was tuned or measured once is read back, by a run that goes on after a cut and by
//! every method that asks for the same.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use shoal_hal::backend::files::{FilesError, write_whole};
use shoal_shadow::digits::hex;

/// First bytes of a file.
const MAGIC: [u8; 8] = *b"SHLLAB01";
const HASH_BYTES: usize = 32;

/// The name of a result: SHA-256 over all that decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; HASH_BYTES]);

impl Key {
    /// The name of what is made of this, `kind` of work on `parts`. Each part goes in with its length, so that no two
    /// lists are alike.
    #[must_use]
    pub fn of(kind: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in [kind.as_bytes()].iter().chain(parts) {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Key(hasher.finalize().into())
    }

    fn file(&self) -> String {
        hex(&self.0)
    }
}

/// Why a result cannot be kept.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot make {}", path.display())]
    Make { path: PathBuf, source: std::io::Error },
    #[error("cannot keep a result: free space on the disk")]
    Write(#[from] FilesError),
}

/// A folder of results.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The folder `folder`, made when it is missing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        make(folder)?;
        Ok(Store { folder: folder.to_owned() })
    }

    /// A result, if it is there and whole; a damaged one is as good as none: it is made again.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Vec<u8>> {
        let mut bytes = fs::read(self.path(key)).ok()?;
        let (head, body) = bytes.split_at_checked(MAGIC.len() + HASH_BYTES)?;
        let whole = head.starts_with(&MAGIC) && head.ends_with(&Sha256::digest(body));
        whole.then(|| bytes.split_off(MAGIC.len() + HASH_BYTES))
    }

    /// Keeps a result.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(key);
        if let Some(folder) = path.parent() {
            make(folder)?;
        }
        let hash: [u8; HASH_BYTES] = Sha256::digest(bytes).into();
        Ok(write_whole(&path, &[&MAGIC[..], &hash, bytes].concat())?)
    }

    fn path(&self, key: &Key) -> PathBuf {
        let file = key.file();
        let (first, rest) = file.split_at(2);
        self.folder.join(first).join(rest)
    }
}

fn make(folder: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(folder)
        .map_err(|source| StoreError::Make { path: folder.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_back_and_a_damaged_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = Key::of("tune", &[b"a", b"bc"]);
        assert_ne!(key, Key::of("tune", &[b"ab", b"c"]));
        assert_eq!(store.get(&key), None);
        store.put(&key, b"values").unwrap();
        assert_eq!(store.get(&key).as_deref(), Some(&b"values"[..]));
        let path = store.path(&key);
        let mut bytes = fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            assert_eq!(store.get(&key), None, "cut after {cut} bytes");
        }
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(store.get(&key), None);
    }
}
