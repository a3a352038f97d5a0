//! The tables of a vault, in redb: small records, kept envelopes, two numbers that only grow.

use std::io;

use redb::{
    Builder, Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable,
    TableDefinition, WriteTransaction,
};
use sha2::{Digest, Sha256};
use shoal_shadow::replay::{Disk, DiskFile, TablesFile};

use super::KeptRecord;

/// Name of the tables' file.
pub(super) const FILE: &str = "vault.redb";

/// Name of tables that are being made: what has the other name is whole.
pub(super) const FRESH_FILE: &str = "tmp-vault";

/// Memory that the tables may cache.
const CACHE_BYTES: usize = 1 << 20;

/// What the tables below mean; another number is another program's.
const FORMAT: u64 = 1;

const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
const RECORD_IDS: TableDefinition<'_, &[u8; 32], u64> = TableDefinition::new("record ids");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const FORMAT_KEY: &str = "format";

/// A number that only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// Every counter below this one may have been given.
    Reserved,
    /// The newest signed time ever accepted, UTC seconds.
    Utc,
}

impl Number {
    fn key(self) -> &'static str {
        match self {
            Self::Reserved => "counter",
            Self::Utc => "utc",
        }
    }
}

/// Why the tables failed. After any of these they have to be opened again.
#[derive(Debug, thiserror::Error)]
pub(super) enum TablesError {
    /// The disk failed.
    #[error("the disk failed")]
    Disk(#[source] io::Error),
    /// What is in the file is not what was written.
    #[error("damaged")]
    Damaged(#[source] Damage),
}

/// What is wrong with the tables of a vault.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The database does not take the file for its own, or finds it changed.
    #[error("the database finds it damaged")]
    Database(#[source] Box<redb::Error>),
    /// The file is shorter than it was, or no database.
    #[error("it was cut short, or is no database")]
    File(#[source] io::Error),
    /// A database, and not one that this version wrote.
    #[error("its row `{0}` is none that this version wrote")]
    Row(String),
    /// The database met damage that it does not expect, and panicked.
    #[error("it is damaged beyond what its database expects")]
    Panic,
}

#[derive(Debug)]
pub(super) struct Tables {
    database: Database,
}

impl Tables {
    /// Makes empty tables under the temporary name.
    pub(super) fn make(disk: &dyn Disk) -> Result<(), TablesError> {
        contained(|| {
            let tables = Self::on(disk.create(FRESH_FILE).map_err(TablesError::Disk)?)?;
            tables.commit_whole(|transaction| {
                transaction.open_table(VALUES).map_err(failed)?;
                transaction.open_table(RECORDS).map_err(failed)?;
                transaction.open_table(RECORD_IDS).map_err(failed)?;
                let mut numbers = transaction.open_table(NUMBERS).map_err(failed)?;
                numbers.insert(FORMAT_KEY, FORMAT).map_err(failed)?;
                Ok(true)
            })
        })
    }

    /// Opens the tables and checks all of them.
    pub(super) fn open(disk: &dyn Disk) -> Result<Self, TablesError> {
        contained(|| {
            let file = disk.open(FILE).map_err(TablesError::Disk)?;
            if file.is_empty().map_err(TablesError::Disk)? {
                // redb would take it for a new one.
                return Err(TablesError::Damaged(Damage::File(eof())));
            }
            let mut tables = Self::on(file)?;
            // Opening reads little of it; a flipped bit elsewhere would show at some later commit.
            tables.database.check_integrity().map_err(failed)?;
            tables.check()?;
            Ok(tables)
        })
    }

    pub(super) fn number(&self, number: Number) -> Result<u64, TablesError> {
        self.read(|transaction| {
            let numbers = transaction.open_table(NUMBERS).map_err(failed)?;
            let row = numbers.get(number.key()).map_err(failed)?;
            Ok(row.map_or(0, |row| row.value()))
        })
    }

    pub(super) fn set_number(&self, number: Number, value: u64) -> Result<(), TablesError> {
        self.commit(|transaction| {
            let mut numbers = transaction.open_table(NUMBERS).map_err(failed)?;
            numbers.insert(number.key(), value).map_err(failed)?;
            Ok(true)
        })
    }

    pub(super) fn value(&self, key: &str) -> Result<Option<Vec<u8>>, TablesError> {
        self.read(|transaction| {
            let values = transaction.open_table(VALUES).map_err(failed)?;
            let row = values.get(key).map_err(failed)?;
            Ok(row.map(|row| row.value().to_vec()))
        })
    }

    /// Sets or removes the value of a key; one that is so already costs no commit.
    /// All of them, or none.
    pub(super) fn set_values(&self, values: &[(String, Option<&[u8]>)]) -> Result<(), TablesError> {
        self.commit(|transaction| {
            let mut table = transaction.open_table(VALUES).map_err(failed)?;
            for (key, bytes) in values {
                match bytes {
                    Some(bytes) => drop(table.insert(key.as_str(), *bytes).map_err(failed)?),
                    None => drop(table.remove(key.as_str()).map_err(failed)?),
                }
            }
            Ok(!values.is_empty())
        })
    }

    pub(super) fn set_value(&self, key: &str, bytes: Option<&[u8]>) -> Result<(), TablesError> {
        if self.value(key)?.as_deref() == bytes {
            return Ok(());
        }
        self.commit(|transaction| {
            let mut values = transaction.open_table(VALUES).map_err(failed)?;
            match bytes {
                Some(bytes) => drop(values.insert(key, bytes).map_err(failed)?),
                None => drop(values.remove(key).map_err(failed)?),
            }
            Ok(true)
        })
    }

    pub(super) fn keys(&self, prefix: &str) -> Result<Vec<String>, TablesError> {
        self.read(|transaction| {
            let values = transaction.open_table(VALUES).map_err(failed)?;
            let mut keys = Vec::new();
            for row in values.range(prefix..).map_err(failed)? {
                let (key, _) = row.map_err(failed)?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                keys.push(key.value().to_owned());
            }
            Ok(keys)
        })
    }

    /// Adds those records that are not there yet, in this order, in one commit.
    pub(super) fn add_records(&self, records: &[(u32, &str, &[u8])]) -> Result<(), TablesError> {
        self.commit(|transaction| {
            let mut ids = transaction.open_table(RECORD_IDS).map_err(failed)?;
            let mut rows = transaction.open_table(RECORDS).map_err(failed)?;
            let mut next = match rows.last().map_err(failed)? {
                Some((last, _)) => last.value() + 1,
                None => 0,
            };
            let mut added = false;
            for (window, topic, bytes) in records {
                let id: [u8; 32] = Sha256::digest(bytes).into();
                if ids.get(&id).map_err(failed)?.is_some() {
                    continue;
                }
                rows.insert(next, &row(*window, topic, bytes)[..]).map_err(failed)?;
                ids.insert(&id, next).map_err(failed)?;
                next += 1;
                added = true;
            }
            Ok(added)
        })
    }

    /// All records by their places, in the order in which they were added.
    pub(super) fn records(&self) -> Result<Vec<(u64, KeptRecord)>, TablesError> {
        self.read(|transaction| {
            let rows = transaction.open_table(RECORDS).map_err(failed)?;
            let mut records = Vec::new();
            for entry in rows.iter().map_err(failed)? {
                let (place, row) = entry.map_err(failed)?;
                let place = place.value();
                records.push((place, kept(row.value()).ok_or_else(|| strange(place))?));
            }
            Ok(records)
        })
    }

    /// Removes records by their places, in one commit.
    pub(super) fn remove_records(&self, gone: &[(u64, KeptRecord)]) -> Result<(), TablesError> {
        self.commit(|transaction| {
            let mut ids = transaction.open_table(RECORD_IDS).map_err(failed)?;
            let mut rows = transaction.open_table(RECORDS).map_err(failed)?;
            for (place, record) in gone {
                let id: [u8; 32] = Sha256::digest(&record.bytes).into();
                ids.remove(&id).map_err(failed)?;
                rows.remove(place).map_err(failed)?;
            }
            Ok(!gone.is_empty())
        })
    }

    fn on(file: Box<dyn DiskFile>) -> Result<Self, TablesError> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder.create_with_backend(TablesFile(file)).map_err(failed)?;
        Ok(Self { database })
    }

    /// All tables are there, of the types that this version writes, and every row can be read.
    fn check(&self) -> Result<(), TablesError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        transaction.open_table(VALUES).map_err(failed)?;
        transaction.open_table(RECORD_IDS).map_err(failed)?;
        let numbers = transaction.open_table(NUMBERS).map_err(failed)?;
        let format = numbers.get(FORMAT_KEY).map_err(failed)?.map(|row| row.value());
        if format != Some(FORMAT) {
            return Err(TablesError::Damaged(Damage::Row(FORMAT_KEY.into())));
        }
        let rows = transaction.open_table(RECORDS).map_err(failed)?;
        for entry in rows.iter().map_err(failed)? {
            let (place, row) = entry.map_err(failed)?;
            if fields(row.value()).is_none() || place.value() == u64::MAX {
                return Err(strange(place.value()));
            }
        }
        Ok(())
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, TablesError>,
    ) -> Result<T, TablesError> {
        contained(|| work(&self.database.begin_read().map_err(failed)?))
    }

    /// Makes a change durable, all of it or nothing; `work` says whether there is one.
    fn commit(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<bool, TablesError>,
    ) -> Result<(), TablesError> {
        contained(|| self.commit_whole(work))
    }

    fn commit_whole(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<bool, TablesError>,
    ) -> Result<(), TablesError> {
        let mut transaction = self.database.begin_write().map_err(failed)?;
        transaction.set_durability(Durability::Immediate).map_err(failed)?;
        // Two phases: a row that rots later is damage, never a reason to go back to older counters. What a quick repair would
        // need is not written with every commit, a third of its bytes: whoever opens these tables reads all of them.
        transaction.set_two_phase_commit(true);
        if work(&transaction)? {
            transaction.commit().map_err(failed)
        } else {
            transaction.abort().map_err(failed)
        }
    }
}

/// A record as a row: window u32 ‖ length of the topic u16 ‖ topic ‖ envelope, little-endian.
fn row(window: u32, topic: &str, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(topic.len()).expect("a topic has at most 65,535 bytes");
    let mut row = Vec::with_capacity(6 + topic.len() + bytes.len());
    row.extend(window.to_le_bytes());
    row.extend(length.to_le_bytes());
    row.extend(topic.as_bytes());
    row.extend(bytes);
    row
}

fn fields(row: &[u8]) -> Option<(u32, &str, &[u8])> {
    let (window, rest) = row.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (topic, bytes) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    Some((u32::from_le_bytes(*window), std::str::from_utf8(topic).ok()?, bytes))
}

fn kept(row: &[u8]) -> Option<KeptRecord> {
    let (window, topic, bytes) = fields(row)?;
    Some(KeptRecord { window, topic: topic.into(), bytes: bytes.into() })
}

fn strange(place: u64) -> TablesError {
    TablesError::Damaged(Damage::Row(format!("record {place}")))
}

fn eof() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

/// redb trusts its file: on some damage it panics. The file is data, and the panic an error here;
/// whoever gets it drops the database and opens it again.
fn contained<T>(work: impl FnOnce() -> Result<T, TablesError>) -> Result<T, TablesError> {
    shoal_shadow::contained::contained(work).unwrap_or(Err(TablesError::Damaged(Damage::Panic)))
}

fn failed(error: impl Into<redb::Error>) -> TablesError {
    let error = error.into();
    if let redb::Error::Io(error) = error {
        let kinds = [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData];
        return if kinds.contains(&error.kind()) {
            TablesError::Damaged(Damage::File(error))
        } else {
            TablesError::Disk(error)
        };
    }
    if let redb::Error::PreviousIo = error {
        return TablesError::Disk(io::Error::other("it failed before"));
    }
    TablesError::Damaged(Damage::Database(Box::new(error)))
}
