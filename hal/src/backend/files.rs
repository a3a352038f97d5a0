//! A store and adapter slots in directories of a file system that renames atomically.
//!
//! What is written goes to a temporary file first, is synced, renamed over its name, and the directory
//! synced: after a cut of power each file is wholly the former or wholly the latter. Names of temporary
//! files start with a dot; what a cut left of them is removed on opening. Each directory is locked
//! while it is open: two programs never write one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::{AdapterSlots, RECORD_BYTES_MAX, Slot, SlotState, Store, is_key};

/// Largest adapter that a slot in a directory holds, bytes.
pub const SLOT_BYTES_MAX: u64 = 1 << 30;

/// File that is locked while a directory is open.
const LOCK: &str = ".lock";

/// Start of the names of temporary files.
const TEMPORARY: &str = ".new-";

/// Why a store or slots in a directory failed.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The file system failed. What was to be changed is wholly as before or wholly changed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Another program has the directory open.
    #[error("{} is in use by another program; stop it first", path.display())]
    InUse { path: PathBuf },
    /// A name that [`is_key`] refuses.
    #[error("{key:?} is no key")]
    Key { key: String },
    /// Longer than a record, or than an adapter, may be.
    #[error("{bytes} bytes, at most {bytes_max} are kept")]
    TooLarge { bytes: u64, bytes_max: u64 },
    /// The caller's buffer is too short for the record.
    #[error("the record of {key} has {bytes} bytes, the buffer {buffer}")]
    Buffer { key: String, bytes: usize, buffer: usize },
    /// The slot holds no sealed adapter.
    #[error("slot {slot:?} holds no sealed adapter")]
    Empty { slot: Slot },
    /// A trial runs, and the door needs that none does.
    #[error("an adapter is on trial; confirm it or roll it back first")]
    OnTrial,
    /// No trial runs.
    #[error("no adapter is on trial")]
    NoTrial,
    /// `append` or `seal` without `begin`.
    #[error("no adapter is being written")]
    NotBegun,
    /// An adapter of another length than `begin` announced.
    #[error("{got} bytes of an adapter of {announced}")]
    Length { got: u64, announced: u64 },
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FilesError {
    move |source| FilesError::Io { doing, path: path.to_owned(), source }
}

/// A directory that this program alone writes.
#[derive(Debug)]
struct Dir {
    path: PathBuf,
    /// Holds the lock until it is closed.
    _lock: File,
}

impl Dir {
    /// Opens `path`, made when it is missing, and removes what a cut of power left.
    fn open(path: &Path) -> Result<Self, FilesError> {
        fs::create_dir_all(path).map_err(failed("make", path))?;
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(failed("open", &lock_path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => FilesError::InUse { path: path.to_owned() },
            TryLockError::Error(source) => failed("lock", &lock_path)(source),
        })?;
        let dir = Self { path: path.to_owned(), _lock: lock };
        for name in dir.names()? {
            if name.starts_with(TEMPORARY) {
                dir.remove(&name)?;
            }
        }
        // The directory itself must be there after a cut.
        sync_dir(holder(path))?;
        Ok(dir)
    }

    /// Names of the files in it, bytewise; those that are not text are not ours.
    fn names(&self) -> Result<Vec<String>, FilesError> {
        let list = failed("list", &self.path);
        let entries = fs::read_dir(&self.path).and_then(|dir| dir.collect::<Result<Vec<_>, _>>());
        let mut names: Vec<String> = entries
            .map_err(list)?
            .into_iter()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn temporary(&self, name: &str) -> PathBuf {
        self.path.join(format!("{TEMPORARY}{name}"))
    }

    /// Makes `content` the file `name`, durably.
    fn replace(&self, name: &str, content: &[u8]) -> Result<(), FilesError> {
        let temporary = self.temporary(name);
        let mut file = File::create(&temporary).map_err(failed("make", &temporary))?;
        file.write_all(content).map_err(failed("write", &temporary))?;
        self.publish(name, &file)
    }

    /// Makes the temporary file of `name`, open as `file`, the file `name`, durably.
    fn publish(&self, name: &str, file: &File) -> Result<(), FilesError> {
        let (temporary, path) = (self.temporary(name), self.path.join(name));
        file.sync_all().map_err(failed("sync", &temporary))?;
        fs::rename(&temporary, &path).map_err(failed("rename", &temporary))?;
        sync_dir(&self.path)
    }

    /// Removes the file `name`, durably; none is no error.
    fn remove(&self, name: &str) -> Result<(), FilesError> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Ok(()) => sync_dir(&self.path),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("remove", &path)(error)),
        }
    }

    /// The file `name`, if there is one.
    fn file(&self, name: &str) -> Result<Option<File>, FilesError> {
        let path = self.path.join(name);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open", &path)(error)),
        }
    }
}

/// Makes a folder that only its owner can look into, unless it is there already.
///
/// # Errors
/// When the file system fails.
pub fn make_private(path: &Path) -> Result<(), FilesError> {
    fs::create_dir_all(holder(path)).map_err(failed("make", holder(path)))?;
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(_there) if path.is_dir() => Ok(()),
        made => made.map_err(failed("make", path)),
    }
}

/// Makes `content` the file at `path`, durably and whole or not at all.
///
/// # Errors
/// When the file system fails; what was there before is then still there.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<(), FilesError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let mut file = File::create(&part).map_err(failed("make", &part))?;
    file.write_all(content).map_err(failed("write", &part))?;
    file.sync_all().map_err(failed("sync", &part))?;
    fs::rename(&part, path).map_err(failed("rename", &part))?;
    sync_dir(holder(path))
}

/// The directory that a path lies in: of a bare name, the one that the program stands in.
fn holder(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

fn sync_dir(path: &Path) -> Result<(), FilesError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(failed("sync", path))
}

/// A [`Store`] in a directory: one file a record, its name the key.
#[derive(Debug)]
pub struct DirStore {
    dir: Dir,
}

impl DirStore {
    /// Opens the store in `path`, made when it is missing.
    ///
    /// # Errors
    /// When another program has it open, or the file system fails.
    pub fn open(path: &Path) -> Result<Self, FilesError> {
        Ok(Self { dir: Dir::open(path)? })
    }
}

fn check_key(key: &str) -> Result<(), FilesError> {
    if is_key(key) { Ok(()) } else { Err(FilesError::Key { key: key.to_owned() }) }
}

impl Store for DirStore {
    type Error = FilesError;

    fn get(&self, key: &str, buffer: &mut [u8]) -> Result<Option<usize>, FilesError> {
        check_key(key)?;
        let Some(file) = self.dir.file(key)? else { return Ok(None) };
        let mut record = Vec::new();
        file.take(RECORD_BYTES_MAX as u64 + 1)
            .read_to_end(&mut record)
            .map_err(failed("read", &self.dir.path.join(key)))?;
        let bytes = record.len();
        check_length(bytes as u64, RECORD_BYTES_MAX as u64)?;
        let Some(place) = buffer.get_mut(..bytes) else {
            return Err(FilesError::Buffer { key: key.to_owned(), bytes, buffer: buffer.len() });
        };
        place.copy_from_slice(&record);
        Ok(Some(bytes))
    }

    fn put(&mut self, key: &str, record: &[u8]) -> Result<(), FilesError> {
        check_key(key)?;
        check_length(record.len() as u64, RECORD_BYTES_MAX as u64)?;
        self.dir.replace(key, record)
    }

    fn remove(&mut self, key: &str) -> Result<(), FilesError> {
        check_key(key)?;
        self.dir.remove(key)
    }

    fn keys(&self, prefix: &str, visit: &mut dyn FnMut(&str)) -> Result<(), FilesError> {
        for name in self.dir.names()? {
            if is_key(&name) && name.starts_with(prefix) {
                visit(&name);
            }
        }
        Ok(())
    }
}

fn check_length(bytes: u64, bytes_max: u64) -> Result<(), FilesError> {
    if bytes > bytes_max { Err(FilesError::TooLarge { bytes, bytes_max }) } else { Ok(()) }
}

/// [`AdapterSlots`] in a directory: a file for each sealed adapter, and one for the state.
#[derive(Debug)]
pub struct DirSlots {
    dir: Dir,
    state: SlotState,
    /// What stood in the place of the state was not written by us.
    damaged: bool,
    writing: Option<Writing>,
}

/// An adapter between `begin` and `seal`.
#[derive(Debug)]
struct Writing {
    file: File,
    announced: u64,
    got: u64,
}

const STATE: &str = "state";

impl DirSlots {
    /// Opens the slots in `path`, made when it is missing. A slot that the state names may be empty where its file was lost: whoever
    /// reads it is told. Where the state itself is not what was written no slot is active, as before the first adapter.
    ///
    /// # Errors
    /// When another program has them open, or the file system fails.
    pub fn open(path: &Path) -> Result<Self, FilesError> {
        let dir = Dir::open(path)?;
        let state = read_state(&dir)?;
        let damaged = state.is_none();
        Ok(Self { dir, state: state.unwrap_or_default(), damaged, writing: None })
    }

    /// Whether the state was damaged when it was read: which slot was active is not known.
    #[must_use]
    pub const fn was_damaged(&self) -> bool {
        self.damaged
    }

    /// Makes `state` durable, then current.
    fn set(&mut self, state: SlotState) -> Result<(), FilesError> {
        self.dir.replace(STATE, state_line(state).as_bytes())?;
        self.state = state;
        Ok(())
    }
}

const fn slot_name(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "a",
        Slot::B => "b",
    }
}

fn state_line(state: SlotState) -> String {
    let active = state.active.map_or("none", slot_name);
    format!("active {active} trial {}\n", state.trial)
}

/// The state; `None`: it is none that we wrote.
fn read_state(dir: &Dir) -> Result<Option<SlotState>, FilesError> {
    let Some(file) = dir.file(STATE)? else { return Ok(Some(SlotState::default())) };
    let mut line = Vec::new();
    file.take(64).read_to_end(&mut line).map_err(failed("read", &dir.path.join(STATE)))?;
    let mut states = [None, Some(Slot::A), Some(Slot::B)]
        .into_iter()
        .flat_map(|active| [false, true].map(|trial| SlotState { active, trial }));
    Ok(states.find(|&state| state_line(state).as_bytes() == line))
}

impl AdapterSlots for DirSlots {
    type Error = FilesError;

    fn state(&self) -> SlotState {
        self.state
    }

    fn bytes(&self, slot: Slot) -> Result<Option<u64>, FilesError> {
        let name = slot_name(slot);
        let Some(file) = self.dir.file(name)? else { return Ok(None) };
        let metadata = file.metadata().map_err(failed("read", &self.dir.path.join(name)))?;
        Ok(Some(metadata.len()))
    }

    fn read(&self, slot: Slot, offset: u64, buffer: &mut [u8]) -> Result<usize, FilesError> {
        let name = slot_name(slot);
        let mut file = self.dir.file(name)?.ok_or(FilesError::Empty { slot })?;
        let mut filled = 0;
        let mut read = || -> io::Result<()> {
            file.seek(SeekFrom::Start(offset))?;
            while filled < buffer.len() {
                match file.read(&mut buffer[filled..]) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        read().map_err(failed("read", &self.dir.path.join(name)))?;
        Ok(filled)
    }

    fn begin(&mut self, bytes: u64) -> Result<(), FilesError> {
        if self.state.trial {
            return Err(FilesError::OnTrial);
        }
        check_length(bytes, SLOT_BYTES_MAX)?;
        self.writing = None;
        let name = slot_name(self.state.inactive());
        self.dir.remove(name)?;
        let temporary = self.dir.temporary(name);
        let file = File::create(&temporary).map_err(failed("make", &temporary))?;
        self.writing = Some(Writing { file, announced: bytes, got: 0 });
        Ok(())
    }

    fn append(&mut self, piece: &[u8]) -> Result<(), FilesError> {
        let temporary = self.dir.temporary(slot_name(self.state.inactive()));
        let writing = self.writing.as_mut().ok_or(FilesError::NotBegun)?;
        let got = writing.got + piece.len() as u64;
        if got > writing.announced {
            return Err(FilesError::Length { got, announced: writing.announced });
        }
        if let Err(error) = writing.file.write_all(piece) {
            // How much was written is unknown: begin again.
            self.writing = None;
            return Err(failed("write", &temporary)(error));
        }
        writing.got = got;
        Ok(())
    }

    fn seal(&mut self) -> Result<(), FilesError> {
        let Some(Writing { file, announced, got }) = self.writing.take() else {
            return Err(FilesError::NotBegun);
        };
        if got != announced {
            self.writing = Some(Writing { file, announced, got });
            return Err(FilesError::Length { got, announced });
        }
        self.dir.publish(slot_name(self.state.inactive()), &file)
    }

    fn start_trial(&mut self) -> Result<(), FilesError> {
        if self.state.trial {
            return Err(FilesError::OnTrial);
        }
        let slot = self.state.inactive();
        self.bytes(slot)?.ok_or(FilesError::Empty { slot })?;
        self.set(SlotState { trial: true, ..self.state })
    }

    fn confirm(&mut self) -> Result<(), FilesError> {
        if !self.state.trial {
            return Err(FilesError::NoTrial);
        }
        self.set(SlotState { active: Some(self.state.inactive()), trial: false })
    }

    fn roll_back(&mut self) -> Result<(), FilesError> {
        if !self.state.trial {
            return Err(FilesError::NoTrial);
        }
        self.set(SlotState { trial: false, ..self.state })
    }

    fn deactivate(&mut self) -> Result<(), FilesError> {
        if self.state.trial {
            return Err(FilesError::OnTrial);
        }
        // Slot A is the one to be written next; what is being written now may go to another.
        self.writing = None;
        self.set(SlotState::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(slots: &mut DirSlots, adapter: &[u8]) {
        slots.begin(adapter.len() as u64).unwrap();
        for piece in adapter.chunks(3) {
            slots.append(piece).unwrap();
        }
        slots.seal().unwrap();
    }

    fn content(slots: &DirSlots, slot: Slot) -> Vec<u8> {
        let mut buffer = [0; 64];
        let filled = slots.read(slot, 0, &mut buffer).unwrap();
        buffer[..filled].to_vec()
    }

    #[cfg(unix)]
    #[test]
    fn a_private_folder_is_its_owners_and_one_that_is_there_stays_as_it_is() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/state");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        make_private(&path).unwrap();
        assert_eq!(mode(), 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        make_private(&path).unwrap();
        assert_eq!(mode(), 0o750);
        fs::write(dir.path().join("file"), b"").unwrap();
        assert!(make_private(&dir.path().join("file")).is_err());
    }

    #[test]
    fn a_record_is_there_after_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut buffer = [0; 8];
        let mut store = DirStore::open(dir.path()).unwrap();
        store.put("b.1", b"one").unwrap();
        store.put("b.1", b"two!").unwrap();
        store.put("a", b"").unwrap();
        drop(store);
        let mut store = DirStore::open(dir.path()).unwrap();
        assert_eq!(store.get("b.1", &mut buffer).unwrap(), Some(4));
        assert_eq!(&buffer[..4], b"two!");
        assert_eq!(store.get("a", &mut buffer).unwrap(), Some(0));
        store.remove("a").unwrap();
        store.remove("a").unwrap();
        assert_eq!(store.get("a", &mut buffer).unwrap(), None);
    }

    #[test]
    fn keys_come_in_order_and_by_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = DirStore::open(dir.path()).unwrap();
        for key in ["z", "claim.2", "claim.10", "vote.1"] {
            store.put(key, b"x").unwrap();
        }
        let keys = |prefix: &str| {
            let mut keys = Vec::new();
            store.keys(prefix, &mut |key| keys.push(key.to_owned())).unwrap();
            keys
        };
        assert_eq!(keys(""), ["claim.10", "claim.2", "vote.1", "z"]);
        assert_eq!(keys("claim."), ["claim.10", "claim.2"]);
    }

    #[test]
    fn a_temporary_file_left_by_a_cut_is_no_record() {
        let dir = tempfile::tempdir().unwrap();
        DirStore::open(dir.path()).unwrap().put("k", b"whole").unwrap();
        let left = dir.path().join(format!("{TEMPORARY}k"));
        fs::write(&left, b"ha").unwrap();
        let store = DirStore::open(dir.path()).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(store.get("k", &mut buffer).unwrap(), Some(5));
        assert!(!left.exists());
    }

    #[test]
    fn a_record_too_long_or_a_key_that_is_none_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = DirStore::open(dir.path()).unwrap();
        let long = vec![0; RECORD_BYTES_MAX + 1];
        assert!(matches!(store.put("k", &long), Err(FilesError::TooLarge { .. })));
        assert!(matches!(store.put("../k", b""), Err(FilesError::Key { .. })));
        store.put("k", &long[1..]).unwrap();
        let short = store.get("k", &mut [0; 10]);
        assert!(matches!(short, Err(FilesError::Buffer { bytes: RECORD_BYTES_MAX, .. })));
        fs::write(dir.path().join("k"), &long).unwrap();
        assert!(matches!(store.get("k", &mut [0; 10]), Err(FilesError::TooLarge { .. })));
    }

    #[test]
    fn one_directory_is_open_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = DirStore::open(dir.path()).unwrap();
        assert!(matches!(DirStore::open(dir.path()), Err(FilesError::InUse { .. })));
        drop(store);
        DirStore::open(dir.path()).unwrap();
    }

    #[test]
    fn an_adapter_becomes_active_only_by_trial_and_confirm() {
        let dir = tempfile::tempdir().unwrap();
        let mut slots = DirSlots::open(dir.path()).unwrap();
        assert_eq!(slots.state(), SlotState { active: None, trial: false });
        assert!(matches!(slots.start_trial(), Err(FilesError::Empty { slot: Slot::A })));
        fill(&mut slots, b"first one");
        slots.start_trial().unwrap();
        assert!(matches!(slots.begin(1), Err(FilesError::OnTrial)));
        slots.confirm().unwrap();
        assert_eq!(slots.state(), SlotState { active: Some(Slot::A), trial: false });

        fill(&mut slots, b"second");
        slots.start_trial().unwrap();
        drop(slots);
        // A restart in the middle of a trial goes on with it.
        let mut slots = DirSlots::open(dir.path()).unwrap();
        assert_eq!(slots.state(), SlotState { active: Some(Slot::A), trial: true });
        assert_eq!(content(&slots, Slot::B), b"second");
        slots.roll_back().unwrap();
        assert_eq!(slots.state(), SlotState { active: Some(Slot::A), trial: false });
        assert_eq!(content(&slots, Slot::A), b"first one");
        assert!(matches!(slots.confirm(), Err(FilesError::NoTrial)));
    }

    #[test]
    fn the_base_model_and_the_adapter_before_can_be_gone_back_to() {
        let dir = tempfile::tempdir().unwrap();
        let mut slots = DirSlots::open(dir.path()).unwrap();
        for (adapter, slot) in [(b"first", Slot::A), (b"secon", Slot::B)] {
            fill(&mut slots, adapter);
            slots.start_trial().unwrap();
            assert!(matches!(slots.deactivate(), Err(FilesError::OnTrial)));
            slots.confirm().unwrap();
            assert_eq!(slots.state().active, Some(slot));
        }
        slots.start_trial().unwrap();
        slots.confirm().unwrap();
        assert_eq!(
            (slots.state().active, content(&slots, Slot::A)),
            (Some(Slot::A), b"first".into())
        );
        slots.deactivate().unwrap();
        drop(slots);
        let slots = DirSlots::open(dir.path()).unwrap();
        assert_eq!(slots.state(), SlotState::default());
    }

    #[test]
    fn an_adapter_that_was_not_sealed_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut slots = DirSlots::open(dir.path()).unwrap();
        fill(&mut slots, b"old");
        slots.begin(6).unwrap();
        slots.append(b"new").unwrap();
        assert!(matches!(slots.seal(), Err(FilesError::Length { got: 3, announced: 6 })));
        assert!(matches!(slots.append(b"much more"), Err(FilesError::Length { .. })));
        drop(slots);
        let slots = DirSlots::open(dir.path()).unwrap();
        assert_eq!(slots.bytes(Slot::A).unwrap(), None);
    }

    #[test]
    fn by_a_state_that_we_did_not_write_no_slot_is_active() {
        let dir = tempfile::tempdir().unwrap();
        for damaged in [&b"active a trial"[..], b"", b"active a trial true\n\n", b"\xff\xfe"] {
            fs::write(dir.path().join(STATE), damaged).unwrap();
            let mut slots = DirSlots::open(dir.path()).unwrap();
            assert!(slots.was_damaged());
            assert_eq!(slots.state(), SlotState::default());
            fill(&mut slots, b"next");
            slots.start_trial().unwrap();
            drop(slots);
            let slots = DirSlots::open(dir.path()).unwrap();
            assert!(!slots.was_damaged());
            assert_eq!(slots.state(), SlotState { active: None, trial: true });
        }
    }

    #[test]
    fn a_slot_whose_file_is_gone_is_empty_and_the_others_doors_work() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(STATE), b"active a trial true\n").unwrap();
        let mut slots = DirSlots::open(dir.path()).unwrap();
        assert_eq!(slots.bytes(Slot::A).unwrap(), None);
        let read = slots.read(Slot::B, 0, &mut [0; 4]);
        assert!(matches!(read, Err(FilesError::Empty { slot: Slot::B })));
        slots.roll_back().unwrap();
        assert!(matches!(slots.start_trial(), Err(FilesError::Empty { slot: Slot::B })));
        slots.deactivate().unwrap();
        fill(&mut slots, b"next");
        slots.start_trial().unwrap();
        slots.confirm().unwrap();
        assert_eq!(content(&slots, Slot::A), b"next");
    }

    #[test]
    fn an_adapter_is_read_from_any_byte_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut slots = DirSlots::open(dir.path()).unwrap();
        fill(&mut slots, b"0123456789");
        let mut buffer = [0; 4];
        assert_eq!(slots.read(Slot::A, 8, &mut buffer).unwrap(), 2);
        assert_eq!(&buffer[..2], b"89");
        assert_eq!(slots.read(Slot::A, 99, &mut buffer).unwrap(), 0);
    }
}
