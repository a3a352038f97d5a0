//! Secret keys as files: 64 hexadecimal digits of the seed, readable by their owner alone, or the URI of a token that holds the key.

use std::path::Path;

use sha2::{Digest, Sha256};
use shoal_keys::KeyAt;
use shoal_wire::{SecretKey, Signer};

use crate::output::Failure;

/// Where seeds of keys come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// The operating system: every key is new.
    Random,
    /// A number, for a fleet that can be made again: its keys are as secret as the number.
    Repeatable(u64),
}

impl Source {
    fn seed(self, name: &str) -> Result<[u8; 32], Failure> {
        match self {
            Source::Random => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed)
                    .map_err(|error| format!("the system gives no random bytes: {error}"))?;
                Ok(seed)
            }
            Source::Repeatable(number) => {
                let hasher = Sha256::new().chain_update(b"shoal/key/1");
                let hasher = hasher.chain_update(number.to_le_bytes()).chain_update(name);
                Ok(hasher.finalize().into())
            }
        }
    }
}

/// Makes a key and writes it to a file that must not exist. `name` tells the keys of one source apart.
///
/// # Errors
/// When the file is there or cannot be written.
pub(crate) fn create(path: &Path, source: Source, name: &str) -> Result<SecretKey, Failure> {
    Ok(shoal_keys::create(path, &source.seed(name)?)?)
}

/// The key that this file holds, or names in a token.
///
/// # Errors
/// When there is none; what is in the file is not shown.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Signer>, Failure> {
    Ok(KeyAt::File(path.to_path_buf()).open()?)
}

/// The same; `None`: there is no such file.
///
/// # Errors
/// When what is there is no key, or cannot be read.
pub(crate) fn open_if_there(path: &Path) -> Result<Option<Box<dyn Signer>>, Failure> {
    if path.exists() { open(path).map(Some) } else { Ok(None) }
}
