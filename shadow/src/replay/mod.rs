//! The replay store: spans of frames and motion on the vehicle's own disk.
//!
//! - **Bounded**: its files never hold more than `bytes_max`, except that a span is written before
//!   those it pushes out are removed. The lowest priority goes first, of equals the oldest; what
//!   cannot be read goes before that; never the span just being written.
//! - **Encrypted**: a file a span, XChaCha20-Poly1305 ([`Damage`] says what is noticed), a random
//!   key in a file that only its owner can read. The index holds times, sizes and hashes.
//! - **Durable**: when [`Replay::put`] returns, the span outlives a cut of power. A file is written
//!   under a temporary name, synced, renamed to its SHA-256, the folder synced; then one commit of
//!   the index adds it and removes what it pushed out. A cut between the two leaves a file that no
//!   row names: it is removed when the store is opened. An index that is damaged is made again there,
//!   of what the spans' files say of themselves.
//! - **Forgetting**: spans older than `days_max` are removed by [`Replay::retain`], a stretch of
//!   time by [`Replay::erase_between`]. [`Replay::erase_all`] destroys the key first: from then on
//!   nothing can be read, whatever is left on the medium. Of a single removed span the encrypted
//!   bytes may stay on a flash medium until it reuses them.
//!
//! Nothing in here can be sent, and nothing is logged: what happened is returned.

mod blob;
mod disk;
mod index;
mod key;
mod open;
mod put;
mod recent;
mod span;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::PathBuf;

pub use self::blob::{Damage, FRAMES_MAX, StoredMoment};
pub use self::disk::{Disk, DiskFile, Folder, TablesFile};
pub use self::index::IndexError;
use self::index::{Change, Index};
use self::key::StoreKey;
pub use self::open::{OpenReplayError, OpenReport};
pub use self::put::{NewSpan, PutError, Stored};
pub use self::recent::Recent;
pub use self::span::{Priority, Reason, StoredSpan};
use crate::clip::Frames;

/// Bounds of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayOptions {
    /// Most bytes of all spans together.
    pub bytes_max: u64,
    /// Days after which a span is removed.
    pub days_max: u32,
}

/// How full a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Filled {
    /// Spans, those that cannot be read included.
    pub spans: usize,
    /// Their frames.
    pub frames: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Most bytes allowed.
    pub bytes_max: u64,
    /// Spans that turned out not to be readable.
    pub unreadable: usize,
}

impl Filled {
    /// Share of the bytes allowed, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.bytes as f64 / self.bytes_max.max(1) as f64
    }
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Spans.
    pub spans: usize,
    /// Bytes of their files.
    pub bytes: u64,
}

/// A span that is not what was written, or that the disk does not give back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its number.
    pub id: u64,
    /// Its file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// Why spans were not removed, or not all of them.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// A file could not be removed; the span is out of the index, and the file goes at next open.
    #[error("cannot remove {}", path.display())]
    Disk { path: PathBuf, source: io::Error },
    /// The index could not be written.
    #[error("cannot remove spans from {}", path.display())]
    Index { path: PathBuf, source: IndexError },
    /// The store failed and cannot be opened again yet.
    #[error("the replay store cannot be opened again")]
    Open(#[from] OpenReplayError),
}

/// Why frames could not be read.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum ReadReplayError {
    /// There is no such span.
    #[error("there is no span {id}")]
    NoSpan { id: u64 },
    /// The span has no such frames.
    #[error("span {id} has {frames} frames, not {range:?}")]
    Range { id: u64, frames: u32, range: Range<u32> },
    /// The file is not what was written: the span is not read again and goes first.
    #[error("span {id} in {}: {damage}", path.display())]
    Damaged { id: u64, path: PathBuf, damage: Damage },
    /// The disk does not give the file back: the span is not read again and goes first.
    #[error("cannot read {} (span {id})", path.display())]
    Disk { id: u64, path: PathBuf, source: io::Error },
}

/// A replay store that is open.
#[derive(Debug)]
pub struct Replay {
    disk: Box<dyn Disk>,
    options: ReplayOptions,
    /// `None` from the moment an erase begins until there is another key.
    key: Option<StoreKey>,
    /// `None` after it failed, until it could be opened again.
    index: Option<Index>,
    spans: BTreeMap<u64, StoredSpan>,
    unreadable: BTreeMap<u64, Unreadable>,
    next_id: u64,
}

impl Replay {
    /// Frames `range` of a span, decrypted.
    ///
    /// # Errors
    /// [`ReadReplayError`]. A span that is damaged is left out of every later draw.
    pub fn read(&mut self, id: u64, range: Range<u32>) -> Result<Frames, ReadReplayError> {
        let span = *self.spans.get(&id).ok_or(ReadReplayError::NoSpan { id })?;
        let key = self.key.as_ref().ok_or(ReadReplayError::NoSpan { id })?;
        if range.start >= range.end || range.end > span.frames {
            return Err(ReadReplayError::Range { id, frames: span.frames, range });
        }
        let path = self.disk.path(&span.file_name());
        let mut frames = Vec::with_capacity(span.shape.bytes() * range.len());
        let mut motion = Vec::with_capacity(range.len());
        let outcome = self.disk.open(&span.file_name()).and_then(|file| {
            blob::read(file.as_ref(), key, &span, range, &mut frames, &mut motion)
        });
        let error = match outcome {
            Ok(Ok(())) => {
                let frames = Frames::new(span.shape, span.rate_hz, frames, motion);
                return Ok(frames.expect("rows with an impossible shape or rate are not read"));
            }
            Ok(Err(damage)) => ReadReplayError::Damaged { id, path: path.clone(), damage },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                ReadReplayError::Damaged { id, path: path.clone(), damage: Damage::Missing }
            }
            Err(source) => ReadReplayError::Disk { id, path: path.clone(), source },
        };
        self.unreadable.insert(id, Unreadable { id, path, why: error.to_string() });
        Err(error)
    }

    /// Reads every frame of every span; those that cannot be read are then in
    /// [`Replay::unreadable`]. Returns how many were read.
    pub fn verify(&mut self) -> usize {
        let spans: Vec<(u64, u32)> =
            self.spans.values().map(|span| (span.id, span.frames)).collect();
        spans.iter().filter(|(id, frames)| self.read(*id, 0..*frames).is_ok()).count()
    }

    /// Spans that turned out not to be readable since the store was opened, by number.
    pub fn unreadable(&self) -> impl Iterator<Item = &Unreadable> {
        self.unreadable.values()
    }

    /// How many clips of so many frames there are in the spans that are, as far as is known, readable.
    ///
    /// # Panics
    /// If a clip has no frame.
    #[must_use]
    pub fn clips(&self, clip_frames: u32) -> u64 {
        assert!(clip_frames > 0, "a clip has frames");
        let readable = self.spans.values().filter(|span| !self.unreadable.contains_key(&span.id));
        let of = |span: &StoredSpan| u64::from(span.frames.saturating_sub(clip_frames - 1));
        readable.map(of).sum()
    }

    /// Every span, by number.
    pub fn spans(&self) -> impl Iterator<Item = &StoredSpan> {
        self.spans.values()
    }

    /// How full the store is.
    #[must_use]
    pub fn filled(&self) -> Filled {
        Filled {
            spans: self.spans.len(),
            frames: self.spans.values().map(|span| u64::from(span.frames)).sum(),
            bytes: self.bytes(),
            bytes_max: self.options.bytes_max,
            unreadable: self.unreadable.len(),
        }
    }

    /// Removes spans that are older than the store may hold, and those that were recorded before one that is.
    ///
    /// `now_s` is a UTC second that has certainly passed: a clock that ran ahead would empty the
    /// store.
    /// # Errors
    /// [`RemoveError`].
    pub fn retain(&mut self, now_s: u64) -> Result<Removed, RemoveError> {
        let age_s = u64::from(self.options.days_max) * 24 * 60 * 60;
        let first_s = now_s.saturating_sub(age_s);
        self.ready()?;
        // Numbers are given in the order of recording: no span is younger than one after it, whatever a clock that ran
        // ahead said.
        let mut ended_at_s = u64::MAX;
        let mut old = BTreeSet::new();
        for span in self.spans.values().rev() {
            ended_at_s = ended_at_s.min(span.ended_at_s());
            if ended_at_s < first_s {
                old.insert(span.id);
            }
        }
        self.remove_where(|span| old.contains(&span.id))
    }

    /// Removes every span of which a frame may have been seen in `first_s … last_s`, UTC seconds,
    /// both inclusive.
    ///
    /// # Errors
    /// [`RemoveError`].
    pub fn erase_between(&mut self, first_s: u64, last_s: u64) -> Result<Removed, RemoveError> {
        self.remove_where(|span| span.recorded_at_s <= last_s && span.ended_at_s() >= first_s)
    }

    /// Destroys the key, then removes everything and begins again with another key.
    ///
    /// # Errors
    /// [`RemoveError`]. Once the key is gone nothing can be read, whatever fails after it; the next
    /// call, or the next open, goes on with it.
    pub fn erase_all(&mut self) -> Result<Removed, RemoveError> {
        let removed = Removed { spans: self.spans.len(), bytes: self.bytes() };
        (self.key, self.index) = (None, None);
        self.spans.clear();
        self.unreadable.clear();
        key::destroy(self.disk.as_ref())
            .map_err(|source| RemoveError::Disk { path: self.disk.path(key::KEY_FILE), source })?;
        self.ready()?;
        Ok(removed)
    }

    fn remove_where(&mut self, gone: impl Fn(&StoredSpan) -> bool) -> Result<Removed, RemoveError> {
        self.ready()?;
        let spans: Vec<StoredSpan> =
            self.spans.values().filter(|span| gone(span)).copied().collect();
        if spans.is_empty() {
            return Ok(Removed::default());
        }
        let remove: Vec<u64> = spans.iter().map(|span| span.id).collect();
        self.commit(&Change { remove: &remove, ..Change::default() }).map_err(|source| {
            RemoveError::Index { path: self.disk.path(index::INDEX_FILE), source }
        })?;
        remove.iter().for_each(|id| self.forget(*id));
        for span in &spans {
            let name = span.file_name();
            self.remove_file(&name)
                .map_err(|source| RemoveError::Disk { path: self.disk.path(&name), source })?;
        }
        self.disk
            .sync()
            .map_err(|source| RemoveError::Disk { path: self.disk.path(""), source })?;
        Ok(Removed { spans: spans.len(), bytes: spans.iter().map(StoredSpan::bytes).sum() })
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        match self.disk.remove(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// Opens the store again if it failed before.
    fn ready(&mut self) -> Result<(), OpenReplayError> {
        if self.index.is_none() || self.key.is_none() {
            let (loaded, _) = open::load(self.disk.as_ref(), &self.options)?;
            (self.key, self.index) = (Some(loaded.key), Some(loaded.index));
            (self.spans, self.next_id) = (loaded.spans, loaded.next_id);
            let spans = &self.spans;
            self.unreadable.retain(|id, _| spans.contains_key(id));
        }
        Ok(())
    }

    fn commit(&mut self, change: &Change<'_>) -> Result<(), IndexError> {
        let index = self.index.as_ref().expect("a store that is ready has its index");
        let outcome = index.commit(change);
        if outcome.is_err() {
            // Whether it became durable is not known: what is on the disk decides. Where it cannot
            // be opened now, the next call tries again.
            self.index = None;
            let _ = self.ready();
        }
        outcome
    }

    fn forget(&mut self, id: u64) {
        self.spans.remove(&id);
        self.unreadable.remove(&id);
    }

    fn bytes(&self) -> u64 {
        self.spans.values().map(StoredSpan::bytes).sum()
    }
}
