//! Storing a span, and what it pushes out.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use shoal_hal::FrameShape;

use super::blob::{self, FRAMES_MAX, StoredMoment};
use super::index::{self, Change, IndexError};
use super::key::StoreKey;
use super::span::{Priority, Reason, StoredSpan};
use super::{OpenReplayError, Replay};

/// Name of a span's file while it is being written.
const FRESH_FILE: &str = "tmp-span";

/// A span to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewSpan<'a> {
    /// UTC second of the first frame.
    pub recorded_at_s: u64,
    /// Frames in a second.
    pub rate_hz: f64,
    /// Size of every frame.
    pub shape: FrameShape,
    /// What opened the span.
    pub reason: Reason,
    /// What it is evicted by, and read back before others.
    pub priority: Priority,
    /// The frames, RGB, HWC, in order, each with the motion if it was known.
    pub moments: &'a [StoredMoment<'a>],
}

/// A span that was stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its number.
    pub id: u64,
    /// Spans that it pushed out, in the order of eviction.
    pub evicted: Vec<StoredSpan>,
}

/// Why a span was not stored. What was in the store is as it was.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The span has no frame, or more than [`FRAMES_MAX`].
    #[error("a span has 1 to {FRAMES_MAX} frames, this one has {frames}")]
    Frames { frames: usize },
    /// A frame is not of the size that the span says.
    #[error("frame {index} has {bytes} bytes, expected {want}")]
    FrameBytes { index: usize, bytes: usize, want: usize },
    /// A motion holds a NaN or an infinity.
    #[error("the motion at frame {index} is not finite")]
    Motion { index: usize },
    /// The rate is not a positive number.
    #[error("frame rate {rate_hz} Hz is not a positive number")]
    Rate { rate_hz: f64 },
    /// The span alone is larger than the store may be.
    #[error("the span has {bytes} bytes, the replay store may have {bytes_max}")]
    TooLarge { bytes: u64, bytes_max: u64 },
    /// Its file could not be written; most often the disk is full.
    #[error("cannot write {}: free space on the disk or allow the replay store less", path.display())]
    Disk { path: PathBuf, source: io::Error },
    /// The index could not be written. In the rare case that all of the commit but its
    /// confirmation succeeded, the span is there when the store is next opened.
    #[error("cannot add a span to {}: free space on the disk or allow the replay store less", path.display())]
    Index { path: PathBuf, source: IndexError },
    /// The store failed before and cannot be opened again yet.
    #[error("the replay store failed and cannot be opened again")]
    Open(#[from] OpenReplayError),
}

impl PutError {
    /// Whether it was the disk's fault, and not the span's: the same span may be stored once the disk has room.
    #[must_use]
    pub const fn is_of_the_disk(&self) -> bool {
        match self {
            Self::Disk { .. } | Self::Index { .. } | Self::Open(_) => true,
            Self::Frames { .. }
            | Self::FrameBytes { .. }
            | Self::Motion { .. }
            | Self::Rate { .. }
            | Self::TooLarge { .. } => false,
        }
    }
}

impl Replay {
    /// Stores a span; it is durable when this returns. Spans that no longer fit are evicted.
    ///
    /// # Errors
    /// [`PutError`]. A later call works again once the cause is gone.
    pub fn put(&mut self, new: &NewSpan<'_>) -> Result<Stored, PutError> {
        self.ready()?;
        let mut span = self.check(new)?;
        let key = self.key.as_ref().expect("a store that is ready has its key");
        span.sha256 = self.write_file(key, &span, new.moments)?;
        let evicted = self.evict_for(span.bytes());
        let remove: Vec<u64> = evicted.iter().map(|span| span.id).collect();
        self.commit(&Change { add: &[span], remove: &remove, key_id: None }).map_err(|source| {
            PutError::Index { path: self.disk.path(index::INDEX_FILE), source }
        })?;
        self.next_id = span.id + 1;
        self.spans.insert(span.id, span);
        for span in &evicted {
            self.forget(span.id);
            // A file that stays is one that no row names: it goes when the store is next opened.
            let _ = self.disk.remove(&span.file_name());
        }
        Ok(Stored { id: span.id, evicted })
    }

    fn check(&self, new: &NewSpan<'_>) -> Result<StoredSpan, PutError> {
        let NewSpan { recorded_at_s, rate_hz, shape, reason, priority, moments } = *new;
        let frames = u32::try_from(moments.len()).unwrap_or(u32::MAX);
        if !(1..=FRAMES_MAX).contains(&frames) {
            return Err(PutError::Frames { frames: moments.len() });
        }
        if !(rate_hz.is_finite() && rate_hz > 0.0) {
            return Err(PutError::Rate { rate_hz });
        }
        let want = shape.bytes();
        for (index, (frame, motion)) in moments.iter().enumerate() {
            if want == 0 || frame.len() != want {
                return Err(PutError::FrameBytes { index, bytes: frame.len(), want });
            }
            if motion.is_some_and(|motion| !motion.is_finite()) {
                return Err(PutError::Motion { index });
            }
        }
        let id = self.next_id;
        let sha256 = [0; 32];
        let span =
            StoredSpan { id, recorded_at_s, rate_hz, shape, frames, reason, priority, sha256 };
        let (bytes, bytes_max) = (span.bytes(), self.options.bytes_max);
        if bytes > bytes_max {
            return Err(PutError::TooLarge { bytes, bytes_max });
        }
        Ok(span)
    }

    /// Writes the file of a span, durably, under its own name.
    fn write_file(
        &self,
        key: &StoreKey,
        span: &StoredSpan,
        moments: &[StoredMoment<'_>],
    ) -> Result<[u8; 32], PutError> {
        let disk = self.disk.as_ref();
        let written = blob::write(disk, FRESH_FILE, key, span, moments).and_then(|sha256| {
            disk.rename(FRESH_FILE, &blob::file_name(&sha256))?;
            disk.sync()?;
            Ok(sha256)
        });
        written.map_err(|source| {
            // On a full disk this makes room; else the next open does.
            let _ = disk.remove(FRESH_FILE);
            PutError::Disk { path: disk.path(FRESH_FILE), source }
        })
    }

    fn evict_for(&self, bytes: u64) -> Vec<StoredSpan> {
        let unreadable = |id| self.unreadable.contains_key(&id);
        evict(&self.spans, unreadable, self.options.bytes_max.saturating_sub(bytes))
    }
}

/// The spans that go so that the rest has at most `bytes_max`: unreadable ones, then those of the
/// lowest priority, of equals the oldest.
pub(super) fn evict(
    spans: &BTreeMap<u64, StoredSpan>,
    unreadable: impl Fn(u64) -> bool,
    bytes_max: u64,
) -> Vec<StoredSpan> {
    let mut left: u64 = spans.values().map(StoredSpan::bytes).sum();
    let mut order: Vec<&StoredSpan> = spans.values().collect();
    order.sort_by_key(|span| (!unreadable(span.id), span.priority, span.id));
    let mut evicted = Vec::new();
    for span in order {
        if left <= bytes_max {
            break;
        }
        left -= span.bytes();
        evicted.push(*span);
    }
    evicted
}
