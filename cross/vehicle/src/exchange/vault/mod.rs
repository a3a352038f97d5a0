//! What an exchanging vehicle must not lose, on its own disk.
//!
//! - **Durable**: what a `&mut` method acknowledged outlives `kill -9` and a cut of power at any
//!   moment; what it did not is there wholly or not at all. Rows are redb commits with quick repair.
//!   A blob is written under a temporary name, synced, renamed to its SHA-256, the folder synced.
//! - **A full disk, or one that fails, is an error** and all is as it was; a later call works again
//!   once the cause is gone.
//! - **Damage stops no vehicle**: tables that are damaged, or that another program wrote, are set
//!   aside as `vault.redb.damaged` when the vault is opened, and it begins empty; [`Vault::found`]
//!   says so. What was in them is on the broker and in the signed documents; only the counter is not,
//!   and [`Vault::counter`] goes above the vehicle's own retained records, which the caller names. A
//!   blob whose bytes have another hash is none.
//!
//! ```text
//! lock                      held while it is open
//! vault.redb                small records, envelopes, counter, time
//! vault.redb.damaged        the newest tables that were set aside
//! blobs/<64 hex digits>     one file a blob, named by its SHA-256
//! ```

mod blobs;
mod tables;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use shoal_shadow::replay::{Disk, Folder};

pub use self::tables::Damage;
use self::tables::{Number, Tables, TablesError};

/// Counters reserved in one commit; what a restart skips at most.
pub const COUNTERS_RESERVED: u64 = 64;

const BLOBS: &str = "blobs";
const DAMAGED_FILE: &str = "vault.redb.damaged";

/// An envelope that came or was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRecord {
    /// The window it belongs to.
    pub window: u32,
    /// The topic it stood at.
    pub topic: String,
    /// The envelope.
    pub bytes: Vec<u8>,
}

/// What opening a vault found and put right.
#[derive(Debug, Default)]
pub struct Found {
    /// Tables that were damaged and are set aside; the vault began empty.
    pub set_aside: Option<SetAside>,
    /// Files half written when the vault was cut; removed.
    pub partial: usize,
}

/// Tables that were set aside.
#[derive(Debug)]
pub struct SetAside {
    /// Where they are.
    pub path: PathBuf,
    /// What is wrong with them; `None` if that was seen at a start that was cut before its end.
    pub why: Option<Damage>,
}

/// Why a vault could not be opened, read or written. What was in it is as it was.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Another process has it open.
    #[error("{} is in use by another process: stop it first", path.display())]
    Held { path: PathBuf },
    /// A file cannot be read.
    #[error("cannot read {}: check the disk and its permissions", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file cannot be written; most often the disk is full. In the rare case that all of a commit
    /// but its confirmation succeeded, the change is there when the vault is next opened.
    #[error("cannot write {}: free space on the disk", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The tables turned out to be damaged while they were open. Opening sets them aside.
    #[error("{} is damaged: restart the agent, which sets it aside", path.display())]
    Damaged { path: PathBuf, source: Damage },
    /// No counter is left above the one named.
    #[error("no counter above {above} is left: give the vehicle a new key")]
    CounterSpent { above: u64 },
}

/// Everything that an exchanging vehicle must not lose. One process holds it at a time.
#[derive(Debug)]
pub struct Vault {
    disk: Box<dyn Disk>,
    blobs: Box<dyn Disk>,
    /// `None` after a failure, until they could be opened again.
    tables: Option<Tables>,
    found: Found,
    /// The next counter, and the one from which on none is reserved.
    counter_next: u64,
    counter_end: u64,
    utc: u64,
}

impl Vault {
    /// Opens the vault in `folder`, creating it if there is none.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn open(folder: &Path) -> Result<Self, VaultError> {
        let hold = |path: &Path| {
            Folder::open(path).map_err(|source| {
                let path = path.into();
                if source.kind() == io::ErrorKind::WouldBlock {
                    VaultError::Held { path }
                } else {
                    VaultError::Write { path, source }
                }
            })
        };
        let disk = hold(folder)?;
        let blobs = hold(&folder.join(BLOBS))?;
        sync_above(folder)?;
        Self::on(Box::new(disk), Box::new(blobs))
    }

    /// Opens the vault on disks of the caller's: one for its tables, one for its blobs.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn on(disk: Box<dyn Disk>, blobs: Box<dyn Disk>) -> Result<Self, VaultError> {
        let mut found = Found::default();
        let tables = load(disk.as_ref(), &mut found)?;
        found.partial += blobs::clean(blobs.as_ref())
            .map_err(|source| VaultError::Write { path: blobs.path(""), source })?;
        let read = |source| reading(disk.as_ref(), source);
        let counter = tables.number(Number::Reserved).map_err(read)?.max(1);
        let utc = tables.number(Number::Utc).map_err(read)?;
        let tables = Some(tables);
        Ok(Self { disk, blobs, tables, found, counter_next: counter, counter_end: counter, utc })
    }

    /// What opening found and put right.
    #[must_use]
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Replaces the small record of this name as a whole.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn put(&mut self, key: &str, bytes: &[u8]) -> Result<(), VaultError> {
        self.change(|tables| tables.set_value(key, Some(bytes)))
    }

    /// The same of several, those without bytes removed: all of it, or nothing.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn put_all(&mut self, values: &[(String, Option<&[u8]>)]) -> Result<(), VaultError> {
        self.change(|tables| tables.set_values(values))
    }

    /// The small record of this name.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, VaultError> {
        self.read(|tables| tables.value(key))
    }

    /// Removes the small record of this name; there may be none.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn remove(&mut self, key: &str) -> Result<(), VaultError> {
        self.change(|tables| tables.set_value(key, None))
    }

    /// Names of small records that begin with `prefix`, sorted.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>, VaultError> {
        self.read(|tables| tables.keys(prefix))
    }

    /// Keeps an envelope with the topic it stood at and the window it belongs to. One whose bytes
    /// are kept already stays as it is.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn keep_record(
        &mut self,
        window: u32,
        topic: &str,
        bytes: &[u8],
    ) -> Result<(), VaultError> {
        self.keep_records(&[(window, topic, bytes)])
    }

    /// Keeps several envelopes (window, topic, bytes) in one commit: all of them or none.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn keep_records(&mut self, records: &[(u32, &str, &[u8])]) -> Result<(), VaultError> {
        self.change(|tables| tables.add_records(records))
    }

    /// All envelopes, in the order in which they were kept.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn records(&self) -> Result<Vec<KeptRecord>, VaultError> {
        let records = self.read(Tables::records)?;
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }

    /// Whether tables were set aside once, and lie there still: what they held is not known.
    ///
    /// # Errors
    /// [`VaultError::Read`].
    pub fn was_set_aside(&self) -> Result<bool, VaultError> {
        let failed = |source| VaultError::Read { path: self.disk.path(DAMAGED_FILE), source };
        Ok(self.disk.list().map_err(failed)?.iter().any(|(name, _bytes)| name == DAMAGED_FILE))
    }

    /// Removes envelopes, in one commit; how many.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn forget_records(
        &mut self,
        mut gone: impl FnMut(&KeptRecord) -> bool,
    ) -> Result<usize, VaultError> {
        let mut records = self.read(Tables::records)?;
        records.retain(|(_, record)| gone(record));
        self.change(|tables| tables.remove_records(&records))?;
        Ok(records.len())
    }

    /// A counter above `above` and above every one that was given before, by any run.
    ///
    /// `above` is the highest counter of the vehicle's own retained records on the broker: it holds
    /// where the tables were lost. A restart skips up to [`COUNTERS_RESERVED`].
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn counter(&mut self, above: u64) -> Result<u64, VaultError> {
        let spent = VaultError::CounterSpent { above };
        let Some(least) = above.checked_add(1) else { return Err(spent) };
        let counter = self.counter_next.max(least);
        let Some(next) = counter.checked_add(1) else { return Err(spent) };
        if counter >= self.counter_end {
            let end = counter.saturating_add(COUNTERS_RESERVED);
            self.change(|tables| tables.set_number(Number::Reserved, end))?;
            self.counter_end = end;
        }
        self.counter_next = next;
        Ok(counter)
    }

    /// The least counter of what is signed from now on.
    #[must_use]
    pub const fn counter_next(&self) -> u64 {
        self.counter_next
    }

    /// The newest signed time ever accepted, UTC seconds; 0 before there is one.
    ///
    /// # Errors
    /// None: it is known since the vault was opened.
    pub fn utc_at_least(&self) -> Result<u64, VaultError> {
        Ok(self.utc)
    }

    /// Accepts a signed time, UTC seconds; an older one than before changes nothing.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn accept_utc(&mut self, seconds: u64) -> Result<(), VaultError> {
        if seconds > self.utc {
            self.change(|tables| tables.set_number(Number::Utc, seconds))?;
            self.utc = seconds;
        }
        Ok(())
    }

    /// Forgets it: who signed it is believed no more.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn forget_utc(&mut self) -> Result<(), VaultError> {
        if self.utc > 0 {
            self.change(|tables| tables.set_number(Number::Utc, 0))?;
            self.utc = 0;
        }
        Ok(())
    }

    /// Keeps a blob; gives its SHA-256.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn keep_blob(&mut self, bytes: &[u8]) -> Result<[u8; 32], VaultError> {
        let path = || self.blobs.path("");
        blobs::keep(self.blobs.as_ref(), bytes)
            .map_err(|source| VaultError::Write { path: path(), source })
    }

    /// The blob with this SHA-256; `None` if there is none. One that was damaged is none, and removed.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn blob(&mut self, hash: &[u8; 32]) -> Result<Option<Vec<u8>>, VaultError> {
        let path = || self.blobs.path(&blobs::hex(hash));
        blobs::blob(self.blobs.as_ref(), hash)
            .map_err(|source| VaultError::Read { path: path(), source })
    }

    /// Removes the blob with this SHA-256, if it is there.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn remove_blob(&mut self, hash: &[u8; 32]) -> Result<(), VaultError> {
        let path = || self.blobs.path(&blobs::hex(hash));
        blobs::remove(self.blobs.as_ref(), hash)
            .map_err(|source| VaultError::Write { path: path(), source })
    }

    /// Removes blobs that are not in `keep`; how many.
    ///
    /// # Errors
    /// [`VaultError`]; some may be removed then.
    pub fn sweep(&mut self, keep: &BTreeSet<[u8; 32]>) -> Result<usize, VaultError> {
        let path = || self.blobs.path("");
        blobs::sweep(self.blobs.as_ref(), keep)
            .map_err(|source| VaultError::Write { path: path(), source })
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&Tables) -> Result<T, TablesError>,
    ) -> Result<T, VaultError> {
        let Some(tables) = &self.tables else {
            let source = io::Error::other("it failed before and could not be opened again");
            return Err(VaultError::Read { path: self.disk.path(tables::FILE), source });
        };
        work(tables).map_err(|error| reading(self.disk.as_ref(), error))
    }

    /// Changes the tables. redb takes nothing after a failure until it is opened again: done at once,
    /// so that reading goes on, and tried again at the next change.
    fn change<T>(
        &mut self,
        work: impl FnOnce(&Tables) -> Result<T, TablesError>,
    ) -> Result<T, VaultError> {
        let disk = self.disk.as_ref();
        let tables = match self.tables.take() {
            Some(tables) => tables,
            None => Tables::open(disk).map_err(|error| reading(disk, error))?,
        };
        match work(&tables) {
            Ok(done) => {
                self.tables = Some(tables);
                Ok(done)
            }
            Err(error) => {
                drop(tables);
                self.tables = Tables::open(disk).ok();
                Err(writing(disk, error))
            }
        }
    }
}

/// Opens the tables, setting aside what is none of ours; makes them if there are none.
fn load(disk: &dyn Disk, found: &mut Found) -> Result<Tables, VaultError> {
    let path = || disk.path(tables::FILE);
    let failed = |source| VaultError::Write { path: path(), source };
    let names: BTreeSet<String> =
        disk.list().map_err(failed)?.into_iter().map(|(name, _)| name).collect();
    if names.contains(tables::FRESH_FILE) {
        disk.remove(tables::FRESH_FILE).map_err(failed)?;
        found.partial += 1;
    }
    let aside = |why| Some(SetAside { path: disk.path(DAMAGED_FILE), why });
    if names.contains(tables::FILE) {
        match Tables::open(disk) {
            Ok(tables) => return Ok(tables),
            Err(TablesError::Disk(source)) => {
                return Err(VaultError::Read { path: path(), source });
            }
            Err(TablesError::Damaged(why)) => found.set_aside = aside(Some(why)),
        }
    } else if names.contains(DAMAGED_FILE) {
        found.set_aside = aside(None);
    }
    // First what takes space: if there is none, all stays as it was.
    Tables::make(disk).map_err(|error| {
        let _ = disk.remove(tables::FRESH_FILE);
        writing(disk, error)
    })?;
    if names.contains(tables::FILE) {
        disk.rename(tables::FILE, DAMAGED_FILE).map_err(failed)?;
        // Else a cut could leave the next name and not this one: they would be gone.
        disk.sync().map_err(failed)?;
    }
    disk.rename(tables::FRESH_FILE, tables::FILE).map_err(failed)?;
    disk.sync().map_err(failed)?;
    Tables::open(disk).map_err(|error| reading(disk, error))
}

/// Makes the names of folders durable that opening may have created.
fn sync_above(folder: &Path) -> Result<(), VaultError> {
    for above in folder.ancestors().take(3) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        let synced = File::open(above).and_then(|folder| folder.sync_all());
        synced.map_err(|source| VaultError::Write { path: above.into(), source })?;
    }
    Ok(())
}

fn reading(disk: &dyn Disk, error: TablesError) -> VaultError {
    let path = disk.path(tables::FILE);
    match error {
        TablesError::Disk(source) => VaultError::Read { path, source },
        TablesError::Damaged(source) => VaultError::Damaged { path, source },
    }
}

fn writing(disk: &dyn Disk, error: TablesError) -> VaultError {
    let path = disk.path(tables::FILE);
    match error {
        TablesError::Disk(source) => VaultError::Write { path, source },
        TablesError::Damaged(source) => VaultError::Damaged { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_there_when_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state/exchange");
        let mut vault = Vault::open(&folder).unwrap();
        vault.put("swarm/state", b"one").unwrap();
        vault.put("swarm/state", b"two").unwrap();
        vault.put("swarm/slots", b"").unwrap();
        vault.put("tune", b"x").unwrap();
        vault.remove("tune").unwrap();
        vault.keep_records(&[(2, "b", b"second"), (1, "a", b"first")]).unwrap();
        vault.keep_record(9, "z", b"first").unwrap();
        vault.accept_utc(70).unwrap();
        vault.accept_utc(60).unwrap();
        let blob = vault.keep_blob(b"weights").unwrap();
        drop(vault);

        let mut vault = Vault::open(&folder).unwrap();

        assert_eq!(vault.get("swarm/state").unwrap().unwrap(), b"two");
        assert_eq!(vault.get("tune").unwrap(), None);
        assert_eq!(vault.keys("swarm/").unwrap(), ["swarm/slots", "swarm/state"]);
        let kept = |window, topic: &str, bytes: &[u8]| KeptRecord {
            window,
            topic: topic.into(),
            bytes: bytes.into(),
        };
        let (second, first) = (kept(2, "b", b"second"), kept(1, "a", b"first"));
        assert_eq!(vault.records().unwrap(), [second, first.clone()]);
        assert_eq!(vault.forget_records(|record| record.window == 2).unwrap(), 1);
        assert_eq!(vault.records().unwrap(), [first]);
        assert_eq!(vault.utc_at_least().unwrap(), 70);
        assert_eq!(vault.blob(&blob).unwrap().unwrap(), b"weights");
        assert!(vault.found().set_aside.is_none());
    }

    #[test]
    fn counter_is_above_every_earlier_one_and_above_what_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut newest = 0;
        for run in 0..3 {
            let mut vault = Vault::open(dir.path()).unwrap();
            for _ in 0..COUNTERS_RESERVED + 3 {
                let counter = vault.counter(0).unwrap();
                assert!(counter > newest, "run {run}");
                newest = counter;
            }
        }
        let mut vault = Vault::open(dir.path()).unwrap();
        assert_eq!(vault.counter(1_000_000).unwrap(), 1_000_001);
        assert_eq!(vault.counter(5).unwrap(), 1_000_002);
        assert!(matches!(vault.counter(u64::MAX), Err(VaultError::CounterSpent { .. })));
        assert!(matches!(vault.counter(u64::MAX - 1), Err(VaultError::CounterSpent { .. })));
        assert_eq!(vault.counter(u64::MAX - 2).unwrap(), u64::MAX - 1);
    }

    #[test]
    fn sweep_removes_blobs_that_nobody_keeps_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut vault = Vault::open(dir.path()).unwrap();
        let (keep, gone) = (vault.keep_blob(b"keep").unwrap(), vault.keep_blob(b"gone").unwrap());
        assert_eq!(vault.sweep(&BTreeSet::from([keep])).unwrap(), 1);
        assert_eq!(vault.blob(&keep).unwrap().unwrap(), b"keep");
        assert_eq!(vault.blob(&gone).unwrap(), None);
    }

    #[test]
    fn second_process_is_told_that_the_vault_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let _vault = Vault::open(dir.path()).unwrap();
        let error = Vault::open(dir.path()).unwrap_err();
        assert!(matches!(error, VaultError::Held { .. }), "{error:?}");
    }
}
