//! A folder that one program at a time writes to.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// The file that is locked, and says by whom.
const FILE: &str = "in-use";
/// More is no name of a holder.
const NAME_BYTES_MAX: u64 = 200;

/// Why a folder is not held.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The file system failed.
    #[error("cannot write {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Another program holds it.
    #[error("{} is in use by {who}: wait until it has ended", folder.display())]
    Held { folder: PathBuf, who: String },
}

/// A folder is held until this is dropped, or the program ends, also by a kill.
#[derive(Debug)]
pub struct Hold {
    /// Open, and so locked.
    _file: File,
}

impl Hold {
    /// Takes a folder, which is there; others are told that `who` has it.
    ///
    /// # Errors
    /// [`HoldError`].
    pub fn take(folder: &Path, who: &str) -> Result<Self, HoldError> {
        let path = folder.join(FILE);
        let failed = |source| HoldError::Io { path: path.clone(), source };
        let mut open = OpenOptions::new();
        let open = open.read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(failed)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let (folder, who) = (folder.to_owned(), holder(&file));
                return Err(HoldError::Held { folder, who });
            }
            // Where a file system has no locks, nobody is refused.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let name = format!("{who} (process {})", std::process::id());
        let write = file.set_len(0).and_then(|()| file.rewind());
        write.and_then(|()| file.write_all(name.as_bytes())).map_err(failed)?;
        Ok(Self { _file: file })
    }

    /// Whether a program holds this folder; `true` also where that cannot be told. Nothing is written.
    #[must_use]
    pub fn is_held(folder: &Path) -> bool {
        match File::open(folder.join(FILE)) {
            Ok(file) => file.try_lock_shared().is_err(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Whether a program holds this folder for certain; `false` also where that cannot be told. Nothing is written.
    #[must_use]
    pub fn is_surely_held(folder: &Path) -> bool {
        let file = File::open(folder.join(FILE));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

/// Who has it, by its own word.
fn holder(file: &File) -> String {
    let mut name = Vec::new();
    let _unknown = file.take(NAME_BYTES_MAX).read_to_end(&mut name);
    let name: String =
        String::from_utf8_lossy(&name).chars().filter(|one| !one.is_control()).collect();
    if name.is_empty() { "another program".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one_and_the_other_is_told_by_whom() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!Hold::is_held(folder.path()) && !Hold::is_surely_held(folder.path()));
        let held = Hold::take(folder.path(), "a long name of the first").unwrap();
        assert!(Hold::is_held(folder.path()) && Hold::is_surely_held(folder.path()));
        let refused = Hold::take(folder.path(), "the second").unwrap_err().to_string();
        let who = format!("a long name of the first (process {})", std::process::id());
        assert!(refused.contains(&who), "{refused}");
        drop(held);
        assert!(!Hold::is_held(folder.path()) && !Hold::is_surely_held(folder.path()));
        let _held = Hold::take(folder.path(), "third").unwrap();
        let refused = Hold::take(folder.path(), "fourth").unwrap_err().to_string();
        assert!(refused.contains("in use by third (process"), "{refused}");
        let nowhere = Hold::take(&folder.path().join("none"), "fifth").unwrap_err();
        assert!(matches!(nowhere, HoldError::Io { .. }) && nowhere.to_string().contains("in-use"));
    }
}
