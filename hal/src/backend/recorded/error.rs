//! What can be wrong with a folder of drives.

use std::io;
use std::path::PathBuf;

use super::SIDE_PIXELS_MAX;
use super::clock::{RATE_HZ_MAX, RATE_HZ_MIN};
use crate::drive::TooShort;

/// Why one drive could not be read. It is then skipped, by name; the others are read.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file or folder cannot be read, or is missing.
    #[error("cannot read {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file exceeds what we read of its kind.
    #[error("{} has {bytes} bytes, at most {bytes_max} are read", path.display())]
    FileTooLarge { path: PathBuf, bytes: u64, bytes_max: u64 },
    /// A picture has no pixel, or too many.
    #[error(
        "{} is {width}×{height}; sides of 1 to {SIDE_PIXELS_MAX} pixels are read",
        path.display()
    )]
    PictureSize { path: PathBuf, width: usize, height: usize },
    /// A picture is corrupt, or not the PNG or JPEG it is named.
    #[error("cannot decode {}", path.display())]
    Picture {
        path: PathBuf,
        #[source]
        source: image::ImageError,
    },
    /// A JPEG ends before its end marker.
    #[error("{} is cut off: it has no end-of-image marker", path.display())]
    PictureCutOff { path: PathBuf },
    /// A picture of the drive has another size than those before it.
    #[error(
        "frame {frame}, {}, is {width}×{height}, the frames before it {first_width}×{first_height}",
        path.display()
    )]
    SizeChanged {
        path: PathBuf,
        frame: usize,
        width: usize,
        height: usize,
        first_width: usize,
        first_height: usize,
    },
    /// The decoder gave up on a video: truncated, corrupt, no video in it.
    #[error("{}: ffmpeg, after {frames} frames: {message}", path.display())]
    Video { path: PathBuf, frames: usize, message: String },
    /// The program that decodes video could not be started or read from.
    #[error("{}: cannot run the program ffmpeg", path.display())]
    FfmpegRun {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A frame is earlier than the one before it, or has no time.
    #[error("{}: the time of frame {frame} is not after the frame before it", path.display())]
    TimeWentBack { path: PathBuf, frame: usize },
    /// A time is too large to be counted at the model's rate.
    #[error("{}: the time of frame {frame} is too large", path.display())]
    TimeTooLarge { path: PathBuf, frame: usize },
    /// Nothing to see.
    #[error("{} has no frame", path.display())]
    NoFrame { path: PathBuf },
    /// The drives do not fit in the bytes allowed. Not a fault of the drive: ends the opening.
    #[error(
        "the frames kept exceed the limit at frame {frame} of {}; raise the limit of decoded bytes \
         or give fewer drives",
        path.display()
    )]
    TooMuch { path: PathBuf, frame: usize },
    /// A tub of one JSON file a record, as donkeycar wrote them before 4.0.
    #[error(
        "{} is a tub from before donkeycar 4.0; donkeycar's convert_to_tub_v2.py turns it into one \
         that is read",
        path.display()
    )]
    OldTub { path: PathBuf },
    /// A line of the poses beside a folder's frames is none.
    #[error(
        "{}, line {line}: {what}: a pose is twelve numbers, a line for each frame of the folder",
        path.display()
    )]
    Poses { path: PathBuf, line: usize, what: &'static str },
    /// A line of a tub's manifest or catalog is not what donkeycar writes.
    #[error("{}, line {line}: {what}", path.display())]
    Tub { path: PathBuf, line: usize, what: &'static str },
    /// A line of a tub's manifest or catalog is not JSON.
    #[error("{}, line {line}: not the JSON of a tub", path.display())]
    TubJson {
        path: PathBuf,
        line: usize,
        #[source]
        source: serde_json::Error,
    },
}

/// Why a drive is not among those opened.
#[derive(Debug, thiserror::Error)]
pub enum SkipReason {
    /// It could not be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// It is too short to be cut into parts.
    #[error(transparent)]
    TooShort(#[from] TooShort),
}

/// A drive that is not among those opened.
#[derive(Debug)]
pub struct Skipped {
    /// Its path relative to the folder of drives.
    pub path: String,
    /// Why.
    pub reason: SkipReason,
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)?;
        let mut cause = std::error::Error::source(&self.reason);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Why a folder of drives could not be opened.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder, or one within it, cannot be listed.
    #[error("cannot list {}", path.display())]
    List {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// More files than a folder of drives has.
    #[error("{} holds more than {entries_max} files and folders", path.display())]
    TooManyFiles { path: PathBuf, entries_max: usize },
    /// There is nothing to read.
    #[error("{} holds no MP4, no folder of PNG or JPEG frames and no donkeycar tub", path.display())]
    Empty { path: PathBuf },
    /// Every drive was skipped.
    #[error("no drive of {} is left: {}", path.display(), list(skipped))]
    NoneLeft { path: PathBuf, skipped: Vec<Skipped> },
    /// A rate is no rate.
    #[error("{rate_hz} Hz is no rate: {RATE_HZ_MIN} to {RATE_HZ_MAX} Hz are")]
    Rate { rate_hz: f64 },
    /// A frame shape without a pixel, or a context beyond [`crate::CONTEXT_FRAMES_MAX`].
    #[error("a model of {width}×{height} pixels and {context} past frames cannot be fed")]
    Model { width: u16, height: u16, context: usize },
    /// A steering angle at full lock is none.
    #[error("{lock_rad} rad is no steering angle at full lock: 0 to π are")]
    Lock { lock_rad: f32 },
    /// There is a video, and no program to decode it.
    #[error(
        "{} is read by the program {}, which cannot be run: install the Debian package ffmpeg \
         (apt-get install ffmpeg)",
        video.display(),
        program.display()
    )]
    FfmpegMissing {
        program: PathBuf,
        video: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The drives do not fit in the bytes allowed.
    #[error(
        "the frames of {} come to more than {bytes_max} bytes at frame {frame}: raise the limit of \
         decoded bytes or give fewer drives",
        path.display()
    )]
    TooMuch { path: PathBuf, frame: usize, bytes_max: u64 },
}

fn list(skipped: &[Skipped]) -> String {
    skipped.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
