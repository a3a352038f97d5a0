//! Recorded drives: MP4, folders of PNG or JPEG frames, donkeycar tubs; and comma2k19 logs.
//!
//! Every MP4, every folder of frames and every tub below a directory is a [`Drive`] at the model's
//! size and rate. All of them go one way: source pictures with their times → the one nearest to each
//! tick `k/rate` after the first (a tie: the earlier; none after the last picture's own time), never
//! interpolated → upright → the largest centred cut of the model's aspect → area average. Gray is
//! repeated into RGB; pixels count as square.
//!
//! - **MP4** by the program `ffmpeg`, frames by container time; colours as declared, BT.601 limited range
//!   when undeclared.
//! - **Folder**: 10 Hz unless [`RecordedOptions::folder_rate_hz`] says another rate, in the order of
//!   the numbers in the file names. Where `poses.txt` lies beside them, as the KITTI odometry benchmark has it, a line a frame, it
//!   tells the motion: speed, and acceleration along and across.
//! - **Tub**: 20 Hz, in the order of its catalogs, deleted records left out; it gives the steering.
//!
//! What cannot be read, and what is too short for two clips in every part, is skipped with its reason.

mod clock;
pub mod codes;
pub mod comma;
mod error;
mod find;
mod folder;
mod gather;
pub mod npy;
mod picture;
mod poses;
mod said;
mod split_file;
mod tub;
mod video;

use std::path::{Path, PathBuf};

pub use error::{OpenError, ReadError, SkipReason, Skipped};
pub use said::frames_said;
pub use split_file::{WriteSplitError, write_split_json};

use crate::{CONTEXT_FRAMES_MAX, Drive, FrameShape};
use clock::Ratio;
use find::{Found, Kind};
use gather::Budget;
use video::Ffmpeg;

/// Longest side of a source picture, pixels.
pub const SIDE_PIXELS_MAX: usize = 8192;

/// How recorded drives are read.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedOptions {
    /// Frames in a second of a folder of frames; 10 unless the user says another (`--rate`).
    pub folder_rate_hz: f64,
    /// Past frames of the model (4 for the default one): drives with fewer than two clips in a part are
    /// skipped. `None` keeps drives of any length.
    pub context: Option<usize>,
    /// Steering angle of a tub's front wheels at full lock, rad. A tub does not say it: 25° is usual for
    /// cars of that kind.
    pub tub_lock_rad: f32,
    /// Most bytes of frames kept, over all drives.
    pub decoded_bytes_max: u64,
    /// The program that decodes video.
    pub ffmpeg: PathBuf,
}

impl Default for RecordedOptions {
    fn default() -> Self {
        Self {
            folder_rate_hz: 10.0,
            context: Some(4),
            tub_lock_rad: 25f32.to_radians(),
            decoded_bytes_max: 4 << 30,
            ffmpeg: PathBuf::from("ffmpeg"),
        }
    }
}

/// The drives of a directory.
#[derive(Debug)]
pub struct Drives {
    /// Those that were read, sorted by path, bytewise.
    pub drives: Vec<Drive>,
    /// Those that were not, and why, in the same order.
    pub skipped: Vec<Skipped>,
}

impl Drives {
    /// Reads every drive below `dir` at `rate_hz` into frames of `shape`.
    ///
    /// # Errors
    /// When `dir` cannot be listed, holds no drive or none that can be used, when there is a video and
    /// no `ffmpeg`, or when the frames exceed the bytes allowed.
    pub fn open(
        dir: &Path,
        shape: FrameShape,
        rate_hz: f64,
        options: &RecordedOptions,
    ) -> Result<Self, OpenError> {
        let model = Model::new(shape, rate_hz, options)?;
        let found = find::find(dir)?;
        if found.is_empty() {
            return Err(OpenError::Empty { path: dir.to_owned() });
        }
        let ffmpeg = find_ffmpeg(&found, &options.ffmpeg)?;
        let mut budget = Budget { bytes_left: options.decoded_bytes_max };
        let (mut drives, mut skipped) = (Vec::new(), Vec::new());
        for found in found {
            match model.read(&found, ffmpeg.as_ref(), &mut budget) {
                Ok(drive) => drives.push(drive),
                Err(SkipReason::Unreadable(ReadError::TooMuch { path, frame })) => {
                    let bytes_max = options.decoded_bytes_max;
                    return Err(OpenError::TooMuch { path, frame, bytes_max });
                }
                Err(reason) => skipped.push(Skipped { path: found.name, reason }),
            }
        }
        if drives.is_empty() {
            return Err(OpenError::NoneLeft { path: dir.to_owned(), skipped });
        }
        Ok(Self { drives, skipped })
    }
}

/// Looks for the program when there is something for it to decode.
fn find_ffmpeg(found: &[Found], program: &Path) -> Result<Option<Ffmpeg>, OpenError> {
    let Some(video) = found.iter().find(|found| found.kind == Kind::Video) else {
        return Ok(None);
    };
    Ffmpeg::find(program).map(Some).map_err(|source| OpenError::FfmpegMissing {
        program: program.to_owned(),
        video: video.path.clone(),
        source,
    })
}

/// What the frames are for, checked.
struct Model<'a> {
    shape: FrameShape,
    rate_hz: f64,
    rate: Ratio,
    folder_rate: Ratio,
    tub_rate: Ratio,
    options: &'a RecordedOptions,
}

impl<'a> Model<'a> {
    fn new(
        shape: FrameShape,
        rate_hz: f64,
        options: &'a RecordedOptions,
    ) -> Result<Self, OpenError> {
        let context = options.context.unwrap_or(0);
        if shape.bytes() == 0 || context > CONTEXT_FRAMES_MAX {
            let FrameShape { width, height } = shape;
            return Err(OpenError::Model { width, height, context });
        }
        let lock_rad = options.tub_lock_rad;
        if !(0.0..=core::f32::consts::PI).contains(&lock_rad) {
            return Err(OpenError::Lock { lock_rad });
        }
        let ratio = |rate_hz| Ratio::of_rate(rate_hz).ok_or(OpenError::Rate { rate_hz });
        let (rate, folder_rate) = (ratio(rate_hz)?, ratio(options.folder_rate_hz)?);
        let tub_rate = ratio(tub::TUB_RATE_HZ)?;
        Ok(Self { shape, rate_hz, rate, folder_rate, tub_rate, options })
    }

    fn read(
        &self,
        found: &Found,
        ffmpeg: Option<&Ffmpeg>,
        budget: &mut Budget,
    ) -> Result<Drive, SkipReason> {
        let path = &found.path;
        let before = *budget;
        let (gathered, sha256) = match &found.kind {
            Kind::Video => {
                let ffmpeg = ffmpeg.expect("looked for when a video was found");
                video::read_video(ffmpeg, path, self.shape, self.rate, budget)
            }
            Kind::Folder(names) => {
                let rates = (self.folder_rate, self.rate);
                let folder = (path.as_path(), names.as_slice(), self.options.folder_rate_hz);
                folder::read_folder(folder, self.shape, rates, budget)
            }
            Kind::Tub => {
                let rates = (self.tub_rate, self.rate);
                tub::read_tub(path, self.options.tub_lock_rad, self.shape, rates, budget)
            }
            Kind::OldTub => Err(ReadError::OldTub { path: path.clone() }),
        }
        .inspect_err(|_| *budget = before)?;
        let name = found.name.clone();
        let drive =
            Drive::new(name, sha256, self.rate_hz, self.shape, gathered.frames, gathered.motion);
        if let Some(context) = self.options.context {
            drive.split(context).check().inspect_err(|_| *budget = before)?;
        }
        Ok(drive)
    }
}
