//! A disk in memory that can be cut from power at any operation, and that can be full.
//!
//! What was not synced is at the mercy of the seed: of the writes to a file since its last sync any
//! set may have reached the medium, in pieces of a sector; of the changes to the folder any set.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::{Digest, Sha256};
use shoal_shadow::chance::{Draws, Purpose};
use shoal_shadow::replay::{Disk, DiskFile};

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

impl Write {
    /// Reaches the medium, whole.
    fn reach(&self, medium: &mut Vec<u8>) {
        match self {
            Self::Length(len) => medium.resize(*len, 0),
            Self::Bytes(at, bytes) => {
                let end = at + bytes.len();
                medium.resize(medium.len().max(end), 0);
                medium[*at..end].copy_from_slice(bytes);
            }
        }
    }

    /// The power goes: some sectors reach the medium, some don't.
    fn tear(&self, medium: &mut Vec<u8>, draws: &mut Draws) {
        match self {
            Self::Length(_) if draws.happens(0.5) => self.reach(medium),
            Self::Length(_) => {}
            Self::Bytes(offset, bytes) => {
                let mut at = 0;
                while at < bytes.len() {
                    let sector_end = SECTOR_BYTES - (offset + at) % SECTOR_BYTES;
                    let end = (at + sector_end).min(bytes.len());
                    if draws.happens(0.5) {
                        Self::Bytes(offset + at, bytes[at..end].to_vec()).reach(medium);
                    }
                    at = end;
                }
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
}

#[derive(Clone, Debug)]
enum Link {
    To(String, usize),
    Gone(String),
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes since the last sync, each whole or not at all: a rename is one change.
    pending: Vec<Vec<Link>>,
    operations: u64,
    /// The power goes before the operation of this number.
    cut_at: Option<u64>,
    bytes_max: Option<usize>,
    /// Operations that failed because the disk was full.
    full: u64,
    /// All that was ever written, in order, and what a cut left of it.
    written: Sha256,
}

/// The disk; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// Operations that changed or synced something so far.
    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Cuts the power before the operation of this number.
    pub(crate) fn cut_at(&self, operation: u64) {
        self.state().cut_at = Some(operation);
    }

    /// Whether the power is gone.
    pub(crate) fn is_cut(&self) -> bool {
        let state = self.state();
        state.cut_at.is_some_and(|cut_at| state.operations >= cut_at)
    }

    /// Allows so many bytes in all files together.
    pub(crate) fn allow(&self, bytes_max: Option<usize>) {
        self.state().bytes_max = bytes_max;
    }

    /// Bytes in all files together.
    pub(crate) fn used(&self) -> usize {
        self.state().used()
    }

    /// Operations that failed because the disk was full.
    pub(crate) fn full(&self) -> u64 {
        self.state().full
    }

    /// SHA-256 of all that was ever written here, where and in which order, and of what cuts left of it.
    #[allow(dead_code, reason = "worlds alone compare it")]
    pub(crate) fn written(&self) -> [u8; 32] {
        self.state().written.clone().finalize().into()
    }

    /// Names of all files.
    pub(crate) fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// A copy of the disk with one bit of a file flipped.
    pub(crate) fn flipped(&self, name: &str, at: usize) -> Self {
        let copy = self.after_cut(0);
        let inode = copy.inode(name).unwrap();
        copy.state().inodes[inode].bytes[at] ^= 0x10;
        copy
    }

    /// The disk as it is when the power comes back.
    pub(crate) fn after_cut(&self, seed: u64) -> Self {
        let state = self.state();
        let mut draws = Draws::new(Purpose::Tuning, seed, state.operations, 0);
        let mut names = state.durable_names.clone();
        for links in &state.pending {
            if draws.happens(0.5) {
                links.iter().for_each(|link| apply_link(&mut names, link));
            }
        }
        let mut inodes = Vec::new();
        let mut written = state.written.clone();
        for inode in &state.inodes {
            let mut bytes = inode.durable.clone();
            for write in &inode.pending {
                write.tear(&mut bytes, &mut draws);
            }
            written.update(&bytes);
            inodes.push(Inode { durable: bytes.clone(), bytes, pending: Vec::new() });
        }
        let durable_names = names.clone();
        let state = State { inodes, names, durable_names, written, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn relink(&self, links: &[Link]) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        links.iter().for_each(|link| apply_link(&mut state.names, link));
        state.pending.push(links.to_vec());
        Ok(())
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        let found = self.state().names.get(name).copied();
        found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

fn apply_link(names: &mut BTreeMap<String, usize>, link: &Link) {
    match link {
        Link::To(name, inode) => drop(names.insert(name.clone(), *inode)),
        Link::Gone(name) => drop(names.remove(name)),
    }
}

impl State {
    fn operate(&mut self) -> io::Result<()> {
        if self.cut_at.is_some_and(|cut_at| self.operations >= cut_at) {
            return Err(io::Error::other("the power is gone"));
        }
        self.operations += 1;
        Ok(())
    }

    fn used(&self) -> usize {
        self.names.values().map(|inode| self.inodes[*inode].bytes.len()).sum()
    }

    /// How far a file may grow to `len`; less than `len` if the disk is full then.
    fn room(&mut self, inode: usize, len: usize) -> usize {
        let now = self.inodes[inode].bytes.len();
        let free = self.bytes_max.map_or(usize::MAX, |max| max.saturating_sub(self.used()));
        let may = now.saturating_add(free);
        if len > now && len > may {
            self.full += 1;
            return may;
        }
        len
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let state = self.state();
        let file = |(name, inode): (&String, &usize)| {
            (name.clone(), state.inodes[*inode].bytes.len() as u64)
        };
        Ok(state.names.iter().map(file).collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let inode = {
            let mut state = self.state();
            state.inodes.push(Inode::default());
            state.inodes.len() - 1
        };
        self.relink(&[Link::To(name.into(), inode)])?;
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(SimFile { disk: self.clone(), inode: self.inode(name)? }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.inode(from)?;
        self.relink(&[Link::Gone(from.into()), Link::To(to.into(), inode)])
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inode(name)?;
        self.relink(&[Link::Gone(name.into())])
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.durable_names = state.names.clone();
        state.pending.clear();
        Ok(())
    }

    fn is_private(&self, _: &str) -> io::Result<bool> {
        Ok(true)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("sim").join(name)
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state();
        let at = usize::try_from(offset).unwrap();
        let bytes = state.inodes[self.inode].bytes.get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operate()?;
        let at = usize::try_from(offset).unwrap();
        let end = state.room(self.inode, at + bytes.len());
        let written = &bytes[..end.saturating_sub(at).min(bytes.len())];
        let inode = &mut state.inodes[self.inode];
        if inode.bytes.len() < at + written.len() {
            inode.bytes.resize(at + written.len(), 0);
        }
        inode.bytes[at..at + written.len()].copy_from_slice(written);
        inode.pending.push(Write::Bytes(at, written.to_vec()));
        let place = [self.inode as u64, offset, written.len() as u64];
        place.iter().for_each(|number| state.written.update(number.to_le_bytes()));
        state.written.update(written);
        if written.len() < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operate()?;
        let len = usize::try_from(len).unwrap();
        if state.room(self.inode, len) < len {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = &mut state.inodes[self.inode];
        inode.bytes.resize(len, 0);
        inode.pending.push(Write::Length(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operate()?;
        let inode = &mut state.inodes[self.inode];
        for write in std::mem::take(&mut inode.pending) {
            write.reach(&mut inode.durable);
        }
        Ok(())
    }
}
