//! Opening a store, and putting right what a cut left behind.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::blob::{self, Damage};
use super::disk::{Disk, Folder};
use super::index::{self, Change, Index, IndexError};
use super::key::{self, Found, StoreKey};
use super::put;
use super::span::StoredSpan;
use super::{Removed, Replay, ReplayOptions, Unreadable};

/// Files whose name begins so were being written.
const FRESH_PREFIX: &str = "tmp-";

/// What opening a store found and put right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Files half written when the store was cut; removed.
    pub partial: usize,
    /// Whole files that the index does not name; removed.
    pub orphans: usize,
    /// Spans whose file is missing or has another length; removed from the index.
    pub dropped: Vec<Unreadable>,
    /// Spans that did not fit in the bytes allowed any more; evicted.
    pub evicted: Removed,
    /// What was wrong with the index: it was made again, of the spans whose files are what was written.
    pub damaged: Option<String>,
    /// The key was gone: an erase was finished, and the store is empty.
    pub erased: bool,
}

/// Why a store could not be opened.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum OpenReplayError {
    /// Another process has it open.
    #[error("{} is in use by another process", path.display())]
    Held { path: PathBuf },
    /// A file or the folder cannot be read or written.
    #[error("cannot use {}", path.display())]
    Disk { path: PathBuf, source: io::Error },
    /// The key's file is not a key.
    #[error("{} has {bytes} bytes, a key has 32: put the right file back, or remove it to erase the store", path.display())]
    KeyLength { path: PathBuf, bytes: u64 },
    /// Others may read the key.
    #[error("{} can be read by others: make it readable by its owner only (chmod 600)", path.display())]
    KeyNotPrivate { path: PathBuf },
    /// The key is not the one that the spans were encrypted with.
    #[error("{} is the key of another store: put the right file back, or remove it to erase the store", path.display())]
    KeyOther { path: PathBuf },
    /// The index cannot be read or written, or another version wrote it.
    #[error("cannot use {}; to erase the store and begin again, remove the folder that it is in", path.display())]
    Index { path: PathBuf, source: IndexError },
}

/// What a store holds in memory while it is open.
pub(super) struct Loaded {
    pub(super) key: StoreKey,
    pub(super) index: Index,
    pub(super) spans: BTreeMap<u64, StoredSpan>,
    pub(super) next_id: u64,
}

impl Replay {
    /// Opens the store in `folder`, creating folder, key and index if there are none.
    ///
    /// # Errors
    /// [`OpenReplayError`]; nothing was removed then but files half written.
    pub fn open(
        folder: &Path,
        options: &ReplayOptions,
    ) -> Result<(Self, OpenReport), OpenReplayError> {
        let disk = Folder::open(folder).map_err(|source| {
            let path = folder.into();
            if source.kind() == io::ErrorKind::WouldBlock {
                OpenReplayError::Held { path }
            } else {
                OpenReplayError::Disk { path, source }
            }
        })?;
        Self::on(Box::new(disk), options)
    }

    /// Opens the store on a disk of the caller's.
    ///
    /// # Errors
    /// [`OpenReplayError`], as for [`Replay::open`].
    pub fn on(
        disk: Box<dyn Disk>,
        options: &ReplayOptions,
    ) -> Result<(Self, OpenReport), OpenReplayError> {
        let (loaded, report) = load(disk.as_ref(), options)?;
        let Loaded { key, index, spans, next_id } = loaded;
        let (key, index, unreadable) = (Some(key), Some(index), BTreeMap::new());
        let options = *options;
        Ok((Self { disk, options, key, index, spans, unreadable, next_id }, report))
    }
}

/// Reads what is on the disk and puts right what a cut left behind.
pub(super) fn load(
    disk: &dyn Disk,
    options: &ReplayOptions,
) -> Result<(Loaded, OpenReport), OpenReplayError> {
    let mut report = OpenReport::default();
    let key = load_key(disk, &mut report)?;
    let path = || disk.path(index::INDEX_FILE);
    let indexed = |source| OpenReplayError::Index { path: path(), source };
    let (index, rows) = match Index::open(disk) {
        Err(damage) if damage.is_damage() => {
            make_again(disk, &key)?;
            report.damaged = Some(damage.to_string());
            Index::open(disk)
        }
        opened => opened,
    }
    .map_err(indexed)?;
    let (mut spans, next_id) = (rows.spans, rows.next_id);
    if rows.key_id != Some(key.id) {
        if !spans.is_empty() {
            return Err(OpenReplayError::KeyOther { path: disk.path(key::KEY_FILE) });
        }
        let change = Change { key_id: Some(key.id), ..Change::default() };
        index.commit(&change).map_err(indexed)?;
    }
    let mut remove = clean(disk, &mut spans, &mut report)
        .map_err(|source| OpenReplayError::Disk { path: disk.path(""), source })?;
    let evicted = put::evict(&spans, |_| false, options.bytes_max);
    for span in &evicted {
        spans.remove(&span.id);
        remove.push(span.id);
        report.evicted.spans += 1;
        report.evicted.bytes += span.bytes();
    }
    if !remove.is_empty() {
        index.commit(&Change { remove: &remove, ..Change::default() }).map_err(indexed)?;
    }
    for span in &evicted {
        // A file that stays is one that no row names: it goes when the store is next opened.
        let _ = disk.remove(&span.file_name());
    }
    Ok((Loaded { key, index, spans, next_id }, report))
}

/// Makes an index that is damaged again, of what the files say: all of it is in their headers, but for the numbers of spans that
/// were removed. Files that the key did not make are none of the store's.
fn make_again(disk: &dyn Disk, key: &StoreKey) -> Result<(), OpenReplayError> {
    let mut spans = BTreeMap::new();
    let mut others = false;
    let failed = |path: &str, source| OpenReplayError::Disk { path: disk.path(path), source };
    for (name, _) in disk.list().map_err(|source| failed("", source))? {
        let Some(sha256) = blob::sha256_of(&name) else { continue };
        let file = disk.open(&name).map_err(|source| failed(&name, source))?;
        let span = blob::span_of(file.as_ref(), key, &sha256);
        match span.map_err(|source| failed(&name, source))? {
            Some(span) => drop(spans.insert(span.id, span)),
            None => others = true,
        }
    }
    if others && spans.is_empty() {
        return Err(OpenReplayError::KeyOther { path: disk.path(key::KEY_FILE) });
    }
    let add: Vec<StoredSpan> = spans.into_values().collect();
    let change = Change { add: &add, key_id: Some(key.id), remove: &[] };
    Index::make(disk, &change)
        .map_err(|source| OpenReplayError::Index { path: disk.path(index::INDEX_FILE), source })
}

/// The key; where there is none the store is new, or what is left of it can never be read again.
fn load_key(disk: &dyn Disk, report: &mut OpenReport) -> Result<StoreKey, OpenReplayError> {
    let path = || disk.path(key::KEY_FILE);
    let failed = |source| OpenReplayError::Disk { path: path(), source };
    key::finish_destroying(disk).map_err(failed)?;
    match key::read(disk).map_err(failed)? {
        Found::Key(key) => Ok(key),
        Found::WrongLength(bytes) => Err(OpenReplayError::KeyLength { path: path(), bytes }),
        Found::NotPrivate => Err(OpenReplayError::KeyNotPrivate { path: path() }),
        Found::None => {
            report.erased = remove_all(disk)
                .map_err(|source| OpenReplayError::Disk { path: disk.path(""), source })?;
            key::create(disk).map_err(failed)
        }
    }
}

/// Removes every file of a store without a key; whether there was one.
fn remove_all(disk: &dyn Disk) -> io::Result<bool> {
    let ours = |name: &str| {
        name == index::INDEX_FILE || name.starts_with(FRESH_PREFIX) || blob::is_file_name(name)
    };
    let files = disk.list()?;
    let mut erased = false;
    for (name, _) in files.iter().filter(|(name, _)| ours(name)) {
        disk.remove(name)?;
        erased |= !name.starts_with(FRESH_PREFIX);
    }
    disk.sync()?;
    Ok(erased)
}

/// Removes files that no row names, and gives the rows whose file is not what they name.
fn clean(
    disk: &dyn Disk,
    spans: &mut BTreeMap<u64, StoredSpan>,
    report: &mut OpenReport,
) -> io::Result<Vec<u64>> {
    let mut files: BTreeMap<String, u64> = disk.list()?.into_iter().collect();
    let mut dropped = Vec::new();
    for span in spans.values() {
        let name = span.file_name();
        let damage = match files.get(&name) {
            Some(bytes) if *bytes == span.bytes() => {
                files.remove(&name);
                continue;
            }
            Some(_) => Damage::Length,
            None => Damage::Missing,
        };
        let path = disk.path(&name);
        report.dropped.push(Unreadable { id: span.id, path, why: damage.to_string() });
        dropped.push(span.id);
    }
    for id in &dropped {
        spans.remove(id);
    }
    for name in files.keys() {
        let count = match (name.starts_with(FRESH_PREFIX), blob::is_file_name(name)) {
            (true, _) => &mut report.partial,
            (false, true) => &mut report.orphans,
            (false, false) => continue,
        };
        disk.remove(name)?;
        *count += 1;
    }
    Ok(dropped)
}
