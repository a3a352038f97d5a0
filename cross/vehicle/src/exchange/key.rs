//! The vehicle's secret key, a file of 64 hexadecimal digits; and envelopes, read by the keys of who may sign them.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use shoal_shadow::digits;
use shoal_wire::{
    Body, KeyId, Keys, Kind, PublicKey, RecordId, RejectEnvelope, SecretKey, Unverified, Verified,
};

/// Why a file is no secret key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the vehicle's key {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not 64 hexadecimal digits. What it holds is not repeated.
    #[error("{} holds no key: 64 hexadecimal digits are", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a key, as `shoal fleet init` writes it.
///
/// # Errors
/// [`KeyError`].
pub fn read(path: &Path) -> Result<SecretKey, KeyError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| KeyError::Read { path: path.to_path_buf(), source })?;
    let seed = digits::hash(text.trim_end());
    let seed = seed.ok_or_else(|| KeyError::NoKey { path: path.to_path_buf() })?;
    Ok(SecretKey::from_seed(&seed))
}

/// The vehicle's own key as the only one: what it sealed before and stored is read back by it.
#[derive(Clone, Copy, Debug)]
pub struct Own(pub PublicKey);

impl Keys for Own {
    fn find(&self, id: KeyId, _kind: Kind) -> Option<PublicKey> {
        (id == self.0.id()).then_some(self.0)
    }
}

/// An envelope of this kind that a key of these signed.
///
/// # Errors
/// [`RejectEnvelope`].
pub fn verified<'a, T: Body<'a>>(
    bytes: &'a [u8],
    keys: &impl Keys,
) -> Result<Verified<'a, T>, RejectEnvelope> {
    Unverified::decode(bytes)?.verify(keys)
}

/// SHA-256 of all bytes received, whether or not they are an envelope.
pub fn received(bytes: &[u8]) -> RecordId {
    RecordId::new(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_and_what_is_none_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vehicle.key");
        std::fs::write(&path, format!("{}\n", "07".repeat(32))).unwrap();
        assert_eq!(
            read(&path).unwrap().public().id(),
            SecretKey::from_seed(&[7; 32]).public().id()
        );
        std::fs::write(&path, "secret words").unwrap();
        let refused = read(&path).unwrap_err().to_string();
        assert!(refused.contains("vehicle.key") && !refused.contains("secret words"), "{refused}");
        assert!(matches!(read(&folder.path().join("none")), Err(KeyError::Read { .. })));
    }
}
