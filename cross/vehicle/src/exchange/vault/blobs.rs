//! Blobs of a vault: files named by the SHA-256 of their bytes.

use std::collections::BTreeSet;
use std::io;

use sha2::{Digest, Sha256};
use shoal_shadow::replay::{Disk, DiskFile};

/// Files whose name begins so were being written.
const FRESH_PREFIX: &str = "tmp-";

/// Name of a blob while it is being written.
const FRESH_FILE: &str = "tmp-blob";

/// Removes what a cut left half written; how many files.
pub(super) fn clean(disk: &dyn Disk) -> io::Result<usize> {
    let files = disk.list()?;
    let partial: Vec<&str> = files
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| name.starts_with(FRESH_PREFIX))
        .collect();
    for name in &partial {
        disk.remove(name)?;
    }
    Ok(partial.len())
}

/// Makes a blob durable; gives its hash.
pub(super) fn keep(disk: &dyn Disk, bytes: &[u8]) -> io::Result<[u8; 32]> {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    let name = hex(&hash);
    if read(disk, &name)?.is_none_or(|kept| kept != bytes) {
        write(disk, &name, bytes).inspect_err(|_| {
            // On a full disk this makes room; else the next open does.
            let _ = disk.remove(FRESH_FILE);
        })?;
    }
    // Of a blob that was there its name may not be durable yet: the program may have been killed
    // before it got here.
    disk.sync()?;
    Ok(hash)
}

/// A blob; `None` if there is none, or if it was damaged and is removed.
pub(super) fn blob(disk: &dyn Disk, hash: &[u8; 32]) -> io::Result<Option<Vec<u8>>> {
    let name = hex(hash);
    let Some(bytes) = read(disk, &name)? else { return Ok(None) };
    if Sha256::digest(&bytes)[..] == hash[..] {
        return Ok(Some(bytes));
    }
    disk.remove(&name)?;
    Ok(None)
}

/// Removes a blob, if it is there.
pub(super) fn remove(disk: &dyn Disk, hash: &[u8; 32]) -> io::Result<()> {
    match disk.remove(&hex(hash)) {
        Ok(()) => disk.sync(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes blobs that are not in `keep`; how many.
pub(super) fn sweep(disk: &dyn Disk, keep: &BTreeSet<[u8; 32]>) -> io::Result<usize> {
    let keep: BTreeSet<String> = keep.iter().map(hex).collect();
    let files = disk.list()?;
    let gone: Vec<&str> = files
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| is_hash(name) && !keep.contains(*name))
        .collect();
    for name in &gone {
        disk.remove(name)?;
    }
    if !gone.is_empty() {
        disk.sync()?;
    }
    Ok(gone.len())
}

/// Name of the file of a blob: its hash as 64 hexadecimal digits.
pub(super) fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_hash(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

fn write(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let file = disk.create(FRESH_FILE)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(FRESH_FILE, name)
}

fn read(disk: &dyn Disk, name: &str) -> io::Result<Option<Vec<u8>>> {
    match disk.open(name).and_then(|file| read_all(file.as_ref())) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}
