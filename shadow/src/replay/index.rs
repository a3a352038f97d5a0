//! The index: one row a span, in redb. Times, sizes and hashes are in it, no frame and no motion.

use std::collections::BTreeMap;
use std::io;

use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::blob;
use super::disk::{Disk, DiskFile, TablesFile};
use super::span::StoredSpan;

/// Name of the index's file.
pub(super) const INDEX_FILE: &str = "index.redb";

/// Name of an index that is being made: what has the other name is whole.
const FRESH_FILE: &str = "tmp-index";

/// Memory that the index may cache.
const CACHE_BYTES: usize = 1 << 20;

const SPANS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("spans");
const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");
const KEY_ID: &str = "key";
const NEXT_ID: &str = "next";

/// Why the index failed. After any of these it has to be opened again.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The disk failed.
    #[error("the index cannot be read or written")]
    Disk(#[source] io::Error),
    /// The database is damaged, or is none.
    #[error("the index is damaged")]
    Database(#[source] Box<redb::Error>),
    /// A row that this version did not write.
    #[error("the index has a row `{0}` that this version cannot read")]
    Row(String),
    /// The database met damage that it does not expect, and panicked.
    #[error("the index is damaged beyond what its database expects")]
    Panic,
}

impl IndexError {
    /// Whether the index is not what was written: opened again, it is so again.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Disk(error) => {
                matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
            }
            Self::Database(_) | Self::Panic => true,
            // Whole, and of another version.
            Self::Row(_) => false,
        }
    }
}

/// What the index holds.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) spans: BTreeMap<u64, StoredSpan>,
    pub(super) key_id: Option<[u8; 16]>,
    pub(super) next_id: u64,
}

/// What one commit changes, all of it or nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change<'a> {
    /// In the order of their numbers.
    pub(super) add: &'a [StoredSpan],
    pub(super) remove: &'a [u64],
    pub(super) key_id: Option<[u8; 16]>,
}

#[derive(Debug)]
pub(super) struct Index {
    database: Database,
}

impl Index {
    /// Opens the index, making an empty one if there is none, and checks all of it.
    pub(super) fn open(disk: &dyn Disk) -> Result<(Self, Rows), IndexError> {
        contained(|| Self::open_checked(disk))
    }

    /// Makes a change durable.
    pub(super) fn commit(&self, change: &Change<'_>) -> Result<(), IndexError> {
        contained(|| self.commit_whole(change))
    }

    /// Makes an index of nothing but this, in the place of one that is damaged.
    pub(super) fn make(disk: &dyn Disk, change: &Change<'_>) -> Result<(), IndexError> {
        contained(|| Self::make_whole(disk, change))
    }

    fn make_whole(disk: &dyn Disk, change: &Change<'_>) -> Result<(), IndexError> {
        Self::on(disk.create(FRESH_FILE).map_err(IndexError::Disk)?)?.commit_whole(change)?;
        disk.rename(FRESH_FILE, INDEX_FILE).map_err(IndexError::Disk)?;
        disk.sync().map_err(IndexError::Disk)
    }

    fn open_checked(disk: &dyn Disk) -> Result<(Self, Rows), IndexError> {
        let file = match disk.open(INDEX_FILE) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let files = disk.list().map_err(IndexError::Disk)?;
                if files.iter().any(|(name, _bytes)| blob::is_file_name(name)) {
                    // The first span comes after the index, and an erasure takes the key before both.
                    let error = io::Error::new(io::ErrorKind::InvalidData, "the index is gone");
                    return Err(IndexError::Disk(error));
                }
                Self::make_whole(disk, &Change::default())?;
                disk.open(INDEX_FILE).map_err(IndexError::Disk)?
            }
            Err(error) => return Err(IndexError::Disk(error)),
        };
        if file.is_empty().map_err(IndexError::Disk)? {
            // redb would take it for a new one, and every span for one that nobody knows.
            let error = io::Error::new(io::ErrorKind::InvalidData, "the index has no bytes");
            return Err(IndexError::Disk(error));
        }
        let mut index = Self::on(file)?;
        // Opening reads little of it; a flipped bit elsewhere would show at some later commit.
        index.database.check_integrity().map_err(failed)?;
        let rows = index.rows()?;
        Ok((index, rows))
    }

    fn commit_whole(&self, change: &Change<'_>) -> Result<(), IndexError> {
        let mut transaction = self.database.begin_write().map_err(failed)?;
        transaction.set_durability(Durability::Immediate).map_err(failed)?;
        transaction.set_quick_repair(true);
        {
            let mut spans = transaction.open_table(SPANS).map_err(failed)?;
            let mut about = transaction.open_table(ABOUT).map_err(failed)?;
            for id in change.remove {
                spans.remove(id).map_err(failed)?;
            }
            for span in change.add {
                spans.insert(span.id, &span.row()[..]).map_err(failed)?;
                let next = (span.id + 1).to_le_bytes();
                about.insert(NEXT_ID, &next[..]).map_err(failed)?;
            }
            if let Some(key_id) = change.key_id {
                about.insert(KEY_ID, &key_id[..]).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }

    fn on(file: Box<dyn DiskFile>) -> Result<Self, IndexError> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder.create_with_backend(TablesFile(file)).map_err(failed)?;
        Ok(Self { database })
    }

    fn rows(&self) -> Result<Rows, IndexError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let about = transaction.open_table(ABOUT).map_err(failed)?;
        let mut rows = Rows::default();
        if let Some(bytes) = about.get(KEY_ID).map_err(failed)? {
            let row = || IndexError::Row(KEY_ID.into());
            rows.key_id = Some(bytes.value().try_into().map_err(|_| row())?);
        }
        if let Some(bytes) = about.get(NEXT_ID).map_err(failed)? {
            let row = || IndexError::Row(NEXT_ID.into());
            rows.next_id = u64::from_le_bytes(bytes.value().try_into().map_err(|_| row())?);
            if rows.next_id == u64::MAX {
                // No span would have a number after it.
                return Err(row());
            }
        }
        let spans = transaction.open_table(SPANS).map_err(failed)?;
        for row in spans.iter().map_err(failed)? {
            let (id, row) = row.map_err(failed)?;
            let id = id.value();
            let span = StoredSpan::from_row(id, row.value())
                .filter(|_| id < rows.next_id)
                .ok_or_else(|| IndexError::Row(id.to_string()))?;
            rows.spans.insert(id, span);
        }
        Ok(rows)
    }
}

/// redb trusts its file: on some damage it panics. The file is data, and the panic an error here;
/// whoever gets it drops the database and opens it again.
fn contained<T>(work: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    crate::contained::contained(work).unwrap_or(Err(IndexError::Panic))
}

fn failed(error: impl Into<redb::Error>) -> IndexError {
    let error = error.into();
    if let redb::Error::Io(error) = error {
        return IndexError::Disk(error);
    }
    IndexError::Database(Box::new(error))
}
