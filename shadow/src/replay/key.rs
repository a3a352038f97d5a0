//! The store's key: 32 random bytes in a file of their own. Without it the spans are noise.

use std::io;

use chacha20poly1305::aead::Generate;
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305};
use sha2::{Digest, Sha256};

use super::disk::Disk;

/// Name of the key's file.
pub(super) const KEY_FILE: &str = "key";

/// Name of a key that is being destroyed: from the moment it has this name the store is erased.
pub(super) const ERASED_FILE: &str = "key.erased";

/// Name of a key that is being written.
const FRESH_FILE: &str = "tmp-key";

const KEY_BYTES: usize = 32;

/// The cipher of one key, and the key's name.
pub(super) struct StoreKey {
    pub(super) cipher: XChaCha20Poly1305,
    /// Names the key in the index, which tells one key from another and gives nothing away.
    pub(super) id: [u8; 16],
}

impl std::fmt::Debug for StoreKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("StoreKey(..)")
    }
}

/// What the key's file held.
pub(super) enum Found {
    Key(StoreKey),
    /// There is none: the store is new, or was erased.
    None,
    /// It is not 32 bytes long.
    WrongLength(u64),
    /// Others may read it.
    NotPrivate,
}

pub(super) fn read(disk: &dyn Disk) -> io::Result<Found> {
    let file = match disk.open(KEY_FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::None),
        Err(error) => return Err(error),
    };
    let len = file.len()?;
    if len != KEY_BYTES as u64 {
        return Ok(Found::WrongLength(len));
    }
    if !disk.is_private(KEY_FILE)? {
        return Ok(Found::NotPrivate);
    }
    let mut bytes = [0; KEY_BYTES];
    file.read_at(0, &mut bytes)?;
    Ok(Found::Key(StoreKey::new(bytes)))
}

/// Writes a random key, durably.
pub(super) fn create(disk: &dyn Disk) -> io::Result<StoreKey> {
    let bytes: [u8; KEY_BYTES] = random()?;
    let file = disk.create(FRESH_FILE)?;
    file.write_at(0, &bytes)?;
    file.sync()?;
    disk.rename(FRESH_FILE, KEY_FILE)?;
    disk.sync()?;
    Ok(StoreKey::new(bytes))
}

/// Takes the key out of use, durably; nothing that it encrypted can be read from here on.
pub(super) fn destroy(disk: &dyn Disk) -> io::Result<()> {
    match disk.rename(KEY_FILE, ERASED_FILE) {
        Ok(()) => disk.sync()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    finish_destroying(disk)
}

/// Overwrites and removes a key that was taken out of use, if there is one.
pub(super) fn finish_destroying(disk: &dyn Disk) -> io::Result<()> {
    let file = match disk.open(ERASED_FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    file.write_at(0, &[0; KEY_BYTES])?;
    file.sync()?;
    disk.remove(ERASED_FILE)?;
    disk.sync()
}

/// Random bytes of the system's.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    <[u8; N]>::try_generate().map_err(|error| io::Error::other(error.to_string()))
}

impl StoreKey {
    fn new(bytes: [u8; KEY_BYTES]) -> Self {
        let mut id = [0; 16];
        let hash = Sha256::new().chain_update(b"shoal replay key 1").chain_update(bytes);
        id.copy_from_slice(&hash.finalize()[..16]);
        Self { cipher: XChaCha20Poly1305::new(&Key::from(bytes)), id }
    }
}
