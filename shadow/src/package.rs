//! A model package: a directory with `model.toml`, a model and perhaps footage.
//!
//! `model.toml` binds tensors of the model to what a vehicle senses. Time is counted in *rows* of
//! the model's rate. A *target* row is what the model predicts; every input ends some rows before
//! it (its *lag*):
//!
//! ```toml
//! rate_hz = 10.0
//!
//! [frames]              # rows target−4 … target−1 of the camera
//! input = "frames"
//! count = 4
//! width = 128
//! height = 64
//!
//! [next_frame]          # the target row's frame
//! output = "next"
//! ```
//!
//! A model of signals, as tinyphysics, whose token of row i is predicted from states i−19…i and
//! tokens i−20…i−1:
//!
//! ```toml
//! rate_hz = 10.0
//!
//! [signals]
//! input = "states"
//! rows = 20
//! lag = 0
//! columns = [
//!     { field = "steering_deg", scale = 0.01 },
//!     { constant = 0.0 },
//!     { field = "speed_m_s" },
//!     { field = "acceleration_m_s2" },
//! ]
//!
//! [tokens]
//! input = "tokens"
//! rows = 20
//! field = "lateral_acceleration_m_s2"
//! low = -5.0
//! high = 5.0
//! bins = 1024
//!
//! [next_token]          # logits of the target row's token at the last position
//! output = "output"
//! ```
//!
//! A model of a camera's frames as codes (a tokenizer's), whose code of row i is predicted from the two
//! frames before it in the order of the stream; a row is a code, the rate is that of frames:
//!
//! ```toml
//! rate_hz = 20.0
//!
//! [tokens]
//! input = "tokens"
//! rows = 256
//! vocabulary = 1024
//! frame = 128
//! place = "place"       # where in its frame the predicted code is, 0 to 127
//!
//! [next_token]
//! output = "logits"
//! ```
//!
//! A policy says what it would do at the newest row that it is given, as logits of `action_grid/v1`, or as a steering angle
//! with the geometry of the vehicle that it learnt from:
//!
//! ```toml
//! [action]
//! output = "logits"     # [1281] or [61, 21]
//! grid = "SHA-256 of action_grid/v1"
//! rehearsal = 0.5       # share of a night's samples that are lessons on generated roads, for who was taught so; by default 0
//!
//! [action]
//! output = "angle"
//! grid = "SHA-256 of action_grid/v1"
//! field = "steering_rad"
//! wheelbase_m = 2.79
//! steering_ratio = 14.7
//! width_per_m = 0.003   # standard deviation of the curvature
//! ```
//!
//! Training minimises the weighted sum of the losses; of a model that foresees frames and has logits of the grid it may have one
//! on either:
//!
//! ```toml
//! [[loss]]
//! kind = "gaussian-nll" # or mse, charbonnier; cross-entropy on logits
//! output = "next"
//! log_variance = "doubt"
//! weight = 0.5          # by default 1
//!
//! [[loss]]
//! kind = "cross-entropy"
//! output = "logits"
//! ```

mod read;
mod signal;
mod write;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use shoal_hal::FrameShape;
use shoal_runtime::gradient::LossSpec;

pub(crate) use self::read::loss_name;
pub use self::signal::{Bins, Column, Field};
use crate::document::{DOCUMENT_BYTES_MAX, DocumentError};
use crate::grid::Geometry;

/// Name of the description in a package's directory.
pub const DESCRIPTION_FILE: &str = "model.toml";

/// Most rows that any binding may reach back from its target.
pub const CONTEXT_ROWS_MAX: usize = 1000;

/// What `model.toml` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Name for people; by default the directory's.
    pub name: String,
    /// The model's file, relative to the directory; by default `model.onnx`.
    pub model: PathBuf,
    /// SHA-256 of the model's file; checked by [`Package::open`] where it is given.
    pub model_sha256: Option<[u8; 32]>,
    /// Rows in a second: the rate of frames, signals and predictions; of codes frames in a second.
    pub rate_hz: f64,
    /// The camera.
    pub frames: Option<Frames>,
    /// Numbers of the motion.
    pub signals: Option<Signals>,
    /// One number of the motion, cut into bins, or codes of frames.
    pub tokens: Option<Tokens>,
    /// The output that predicts the target row's frame.
    pub next_frame: Option<NextFrame>,
    /// The output that predicts the target row's token.
    pub next_token: Option<NextToken>,
    /// The output that says what the model would do.
    pub action: Option<Action>,
    /// Where an adapter is grafted.
    pub adapter: Adapter,
    /// What training minimises: the sum of these, each times its factor; by default mse on `next_frame`, cross-entropy on
    /// `next_token`; of a policy alone cross-entropy on the grid's logits.
    pub loss: Vec<LossSpec>,
    /// Folder of drives replayed while tuning, relative to the directory.
    pub footage: Option<PathBuf>,
}

/// Camera frames in an input tensor, oldest first; the newest is the row before the target.
#[derive(Clone, Debug, PartialEq)]
pub struct Frames {
    /// Name of the input.
    pub input: String,
    /// Frames in a sample, by default 4.
    pub count: usize,
    /// Size of a frame.
    pub shape: FrameShape,
    /// Order of the values, by default `nchw`.
    pub layout: Layout,
    /// Values that stand for a byte's 0 and 255, by default 0 and 1.
    pub range: [f32; 2],
}

/// Order of the values of one sample's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[count·3, height, width]`, which in memory is also `[count, 3, height, width]`.
    Nchw,
    /// `[height, width, count·3]`: a pixel's channels of all frames beside each other.
    Nhwc,
    /// `[count, height, width, 3]`: whole frames after each other.
    Nthwc,
}

/// Rows of motion in a float input tensor `[rows, columns]`, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Signals {
    /// Name of the input.
    pub input: String,
    /// Rows in a sample, by default 1.
    pub rows: usize,
    /// Rows from the newest given row to the target, by default 1; 0 gives the target row's own.
    pub lag: usize,
    /// What stands in each column.
    pub columns: Vec<Column>,
}

/// Rows of tokens in an i64 input tensor `[rows]`, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    /// Name of the input.
    pub input: String,
    /// Rows in a sample, by default 1.
    pub rows: usize,
    /// Rows from the newest given row to the target, by default 1.
    pub lag: usize,
    /// What a token is.
    pub kind: TokenKind,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenKind {
    /// One number of the motion, cut into bins.
    Motion {
        /// Which number.
        field: Field,
        /// How it becomes a token.
        bins: Bins,
    },
    /// A code of a camera's frame, one after another as a tokenizer writes them.
    Codes(Codes),
}

/// Codes of a camera's frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    /// Codes are 0 … vocabulary − 1.
    pub vocabulary: usize,
    /// Codes of a frame.
    pub frame: usize,
    /// Name of the i64 input `[1]` that is told the predicted code's place in its frame, if the model asks.
    pub place: Option<String>,
}

impl TokenKind {
    /// How many tokens there are.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Motion { bins, .. } => bins.count(),
            Self::Codes(codes) => codes.vocabulary,
        }
    }
}

/// The output that predicts the target row's frame: `[3, height, width]` or `[height, width, 3]`.
#[derive(Clone, Debug, PartialEq)]
pub struct NextFrame {
    /// Name of the output.
    pub output: String,
    /// Order of its values, by default that of [`Frames`]; `nhwc` and `nthwc` are one for a frame.
    pub layout: Layout,
    /// Values that stand for a byte's 0 and 255, by default those of [`Frames`].
    pub range: [f32; 2],
}

/// The output with logits `[rows, bins]` of [`Tokens`]; the last row is the target row's.
#[derive(Clone, Debug, PartialEq)]
pub struct NextToken {
    /// Name of the output.
    pub output: String,
}

/// The output that says what the model would do in the row before the target.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// Name of the output.
    pub output: String,
    /// How its values are read.
    pub reading: Reading,
    /// Share of a night's samples that are lessons on generated roads, 0 to 0.9: for a policy that was taught with such; by default 0.
    pub rehearsal: f32,
}

/// How the values of an [`Action`] are read.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// The first value times `scale` is that of a number of the motion, in its unit.
    Value {
        /// Which number.
        field: Field,
        /// Field units per unit of the output, by default 1.
        scale: f32,
        /// Difference that counts as a disagreement of 1, in the field's unit.
        tolerance: f32,
    },
    /// Logits of the bins of a number of the motion.
    Logits {
        /// Which number.
        field: Field,
        /// Its bins.
        bins: Bins,
    },
    /// Logits of the bins of `action_grid/v1`, in the order of its flat index: `[1281]` or `[61, 21]`.
    Grid,
    /// A steering angle, told on `action_grid/v1`.
    Steering(Steering),
}

impl Reading {
    /// Whether it speaks of `action_grid/v1`.
    #[must_use]
    pub fn is_on_the_grid(&self) -> bool {
        match self {
            Self::Grid | Self::Steering(_) => true,
            Self::Value { .. } | Self::Logits { .. } => false,
        }
    }
}

/// How a steering angle becomes an opinion on the grid: a normal distribution around its curvature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steering {
    /// The angle's unit: `steering_rad` or `steering_deg`, positive to the left.
    pub field: Field,
    /// Field units per unit of the output, by default 1; negative where the model's right is positive.
    pub scale: f32,
    /// Of the vehicle that the model learnt to steer: [`Geometry`] leads from its steering wheel to the curvature.
    pub geometry: Geometry,
    /// Standard deviation of the curvature, 1/m: how sure the model is taken to be.
    pub width_per_m: f32,
}

/// Where an adapter is grafted.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// Globs on the names of sites; none means all.
    pub targets: Vec<String>,
    /// Rank, by default 8.
    pub rank: usize,
    /// α of ΔW = (α/r)·B·A, by default 16.
    pub alpha: f32,
}

impl Default for Adapter {
    fn default() -> Self {
        Self { targets: Vec::new(), rank: 8, alpha: 16.0 }
    }
}

impl Description {
    /// Reads a description; `file` names it in errors, `name` is the name it has by default.
    ///
    /// # Errors
    /// What is missing, unknown or not allowed, with its place.
    pub fn parse(file: &str, source: &str, name: &str) -> Result<Self, DocumentError> {
        read::description(file, source, name)
    }

    /// Whether the model foresees frames.
    #[must_use]
    pub fn foresees(&self) -> bool {
        self.next_frame.is_some()
    }

    /// Whether the model says on the action grid what it would do.
    #[must_use]
    pub fn acts(&self) -> bool {
        self.action.as_ref().is_some_and(|action| action.reading.is_on_the_grid())
    }

    /// Whether a model that foresees frames is trained on what drivers do, too: it has a loss on its action.
    #[must_use]
    pub fn imitates(&self) -> bool {
        let acts = |action: &Action| self.loss.iter().any(|loss| loss.output == action.output);
        self.foresees() && self.action.as_ref().is_some_and(acts)
    }

    /// Share of a night's samples that are rehearsed on generated roads: as asked, or as the package says.
    #[must_use]
    pub fn rehearsal(&self, asked: Option<f32>) -> f32 {
        asked.or(self.action.as_ref().map(|action| action.rehearsal)).unwrap_or(0.0)
    }

    /// Rows before the target that a sample reaches back: a clip has `context() + 1` rows.
    #[must_use]
    pub fn context(&self) -> usize {
        let frames = self.frames.as_ref().map_or(0, |frames| frames.count);
        let signals = self.signals.as_ref().map_or(0, |signals| signals.rows + signals.lag - 1);
        let tokens = self.tokens.as_ref().map_or(0, |tokens| tokens.rows + tokens.lag - 1);
        frames.max(signals).max(tokens)
    }

    /// The description as `model.toml`; reading it gives an equal description.
    #[must_use]
    pub fn to_toml(&self) -> String {
        write::description(self)
    }
}

/// A package on disk, whose files were there when it was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Package {
    directory: PathBuf,
    description: Description,
    model: PathBuf,
}

/// Why a package could not be opened.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum OpenPackageError {
    /// A file of the package cannot be read.
    #[error("cannot read {}: a model package is a directory with {DESCRIPTION_FILE} in it", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The model cannot be read.
    #[error("cannot read the package's model {}; --model FILE names one that is elsewhere", path.display())]
    Model { path: PathBuf, source: io::Error },
    /// The description is wrong.
    #[error(transparent)]
    Description(#[from] DocumentError),
    /// The model is another than the description names.
    #[error("{} has SHA-256 {got}, {DESCRIPTION_FILE} names {want}", path.display())]
    Hash { path: PathBuf, got: String, want: String },
    /// The footage is not a folder.
    #[error("{} is not a folder: `footage` names the folder of drives to replay", path.display())]
    Footage { path: PathBuf },
}

impl Package {
    /// Reads the description in `directory` and checks that the files it names are there, and that
    /// the model has the hash it names.
    ///
    /// # Errors
    /// [`OpenPackageError`], naming the file.
    pub fn open(directory: &Path) -> Result<Self, OpenPackageError> {
        Self::open_with(directory, None)
    }

    /// As [`Package::open`], with `model` in place of the model that the description names, where there
    /// is one: a description of a model that may not be copied, or another model of the same tensors.
    /// The hash is not asked for: whoever names a file means it.
    ///
    /// # Errors
    /// As for [`Package::open`].
    pub fn open_with(directory: &Path, model: Option<&Path>) -> Result<Self, OpenPackageError> {
        let path = directory.join(DESCRIPTION_FILE);
        let source = read_at_most(&path, DOCUMENT_BYTES_MAX as u64 + 1)
            .map_err(|source| OpenPackageError::Read { path: path.clone(), source })?;
        let name = directory.file_name().map_or("model".into(), |name| name.to_string_lossy());
        let mut description = Description::parse(&path.to_string_lossy(), &source, &name)?;
        if model.is_some() {
            description.model_sha256 = None;
        }
        let model = model.map_or_else(|| directory.join(&description.model), Path::to_path_buf);
        let package = Self { directory: directory.into(), description, model };
        package.check()?;
        Ok(package)
    }

    /// What `model.toml` says.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The package's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The model's file.
    #[must_use]
    pub fn model_path(&self) -> PathBuf {
        self.model.clone()
    }

    /// The folder of drives to replay while tuning.
    #[must_use]
    pub fn footage_path(&self) -> Option<PathBuf> {
        self.description.footage.as_ref().map(|footage| self.directory.join(footage))
    }

    fn check(&self) -> Result<(), OpenPackageError> {
        let path = self.model_path();
        let got = hash_file(&path)
            .map_err(|source| OpenPackageError::Model { path: path.clone(), source })?;
        if let Some(want) = self.description.model_sha256
            && want != got
        {
            let (got, want) = (crate::digits::hex(&got), crate::digits::hex(&want));
            return Err(OpenPackageError::Hash { path, got, want });
        }
        match self.footage_path() {
            Some(path) if !path.is_dir() => Err(OpenPackageError::Footage { path }),
            Some(_) | None => Ok(()),
        }
    }
}

fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(bytes_max).read_to_string(&mut text)?;
    Ok(text)
}

/// SHA-256 of a file's bytes: what names a model.
///
/// # Errors
/// [`io::Error`] if it cannot be read.
pub fn hash_file(path: &Path) -> io::Result<[u8; 32]> {
    struct Hasher(Sha256);
    impl io::Write for Hasher {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hasher = Hasher(Sha256::new());
    io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.0.finalize().into())
}

#[cfg(test)]
mod tests;
