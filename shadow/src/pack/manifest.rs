//! `pack.json`.

use super::rows::row_bytes;
use super::{MANIFEST_BYTES_MAX, PART_BYTES_MAX, PARTS, part_file};
use crate::digits;
use crate::grid::{self, Geometry};
use crate::measure::driving::DrivingMetric;
use crate::measure::{COPY_PSNR_MAX_DB, ROLLOUT_FRAMES};
use serde::{Deserialize, Serialize};
use shoal_hal::{CONTEXT_FRAMES_MAX, FrameShape};

/// Version of the manifest's form.
const SCHEMA: u32 = 1;

/// Most characters of a pack's id.
const ID_CHARS_MAX: usize = 64;

/// What `pack.json` says; one that exists is consistent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this form: 1.
    pub schema: u32,
    /// Name of the pack: letters, digits, `-`, `_` and `.`.
    pub id: String,
    /// Version of the pack; a later one has another content.
    pub version: u32,
    /// What is measured on it.
    pub metric: Metric,
    /// Of actions: SHA-256 of the action grid on which they are told, in hexadecimal digits. Whoever names the pack commits
    /// to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<String>,
    /// Of actions: whether every row is followed by who was ahead, so that the distance to him can be measured.
    #[serde(default, skip_serializing_if = "is_false")]
    pub leaders: bool,
    /// Under which licence the frames may be used.
    pub licence: String,
    /// Pixels in a row of every frame.
    pub width: u16,
    /// Rows of every frame.
    pub height: u16,
    /// Frames per second.
    pub rate_hz: f64,
    /// Past frames of the clips for which the parts were cut.
    pub context: usize,
    /// Every drive that has frames in the pack.
    pub drives: Vec<PackDrive>,
    /// The four parts.
    pub parts: Vec<PackPart>,
}

/// What is measured on a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Skill of the next frame.
    Skill,
    /// Nearness to what the driver did, weighted by hindsight, and whatever else proposals are measured by
    /// ([`Manifest::driving`]); every run's frames are followed by one [`Row`](super::Row) a frame.
    Imitation,
}

impl Metric {
    /// Its name in files and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Skill => "skill",
            Self::Imitation => "imitation",
        }
    }
}

/// What of a drive's vehicle decides how its steering wheel bends its path.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackGeometry {
    /// Distance between the axles, m: 0.05 to 30.
    pub wheelbase_m: f64,
    /// Angle of the steering wheel per angle of the road wheels: 0.1 to 100.
    pub steering_ratio: f64,
}

/// A drive of a pack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackDrive {
    /// Its name.
    pub name: String,
    /// SHA-256 of its source, in hexadecimal digits.
    pub source_sha256: String,
    /// PSNR of 'nothing moves' over the whole drive, in dB; null if nothing ever moves.
    pub copy_psnr_db: Option<f64>,
    /// Of actions: the vehicle's geometry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geometry: Option<PackGeometry>,
}

impl PackDrive {
    /// Whether it moves enough to be counted.
    fn is_counted(&self) -> bool {
        self.copy_psnr_db.is_some_and(|psnr| psnr <= COPY_PSNR_MAX_DB)
    }

    /// The vehicle's geometry, of a pack of actions.
    #[must_use]
    pub fn geometry(&self) -> Option<Geometry> {
        let PackGeometry { wheelbase_m, steering_ratio } = self.geometry?;
        Geometry::new(wheelbase_m, steering_ratio)
    }
}

/// One part: a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackPart {
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
    /// Its frames, in the file's order.
    pub runs: Vec<PackRun>,
}

/// Consecutive frames of one drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackRun {
    /// Index of the drive among [`Manifest::drives`].
    pub drive: usize,
    /// Index of the first frame in the drive.
    pub first: usize,
    /// Number of frames.
    pub frames: usize,
}

/// Why the bytes of a manifest were refused.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Longer than [`MANIFEST_BYTES_MAX`].
    #[error("more than {MANIFEST_BYTES_MAX} bytes")]
    TooLong,
    /// Not JSON, or not of this form; the source names line and column.
    #[error("not a manifest of schema {SCHEMA}")]
    Json(#[source] serde_json::Error),
    /// A value that is not allowed.
    #[error("{place}: {got} is not allowed, expected {want}")]
    Value { place: String, got: String, want: String },
    /// Actions on another grid than this program's.
    #[error(
        "grid: the pack's actions are told on the grid of SHA-256 {got}, the packages here on {}, \
         SHA-256 {}: take a pack of that grid",
        grid::NAME,
        digits::hex(&grid::SHA256)
    )]
    Grid { got: String },
    /// Two runs hold the same frame.
    #[error("{place}: shares frames with {other}; two parts never share a frame")]
    Shared { place: String, other: String },
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// [`ManifestError`], naming the place.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLong);
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The manifest as the bytes of `pack.json`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("a manifest holds nothing that JSON lacks");
        bytes.push(b'\n');
        bytes
    }

    /// Bytes beside a frame.
    pub(super) fn row_bytes(&self) -> usize {
        row_bytes(self.metric, self.leaders)
    }

    /// What can be measured of a policy on it; of no pack of actions nothing.
    #[must_use]
    pub fn driving(&self) -> Vec<DrivingMetric> {
        let all = DrivingMetric::ALL.into_iter();
        match self.metric {
            Metric::Skill => Vec::new(),
            Metric::Imitation => {
                all.filter(|of| self.leaders || *of != DrivingMetric::Distance).collect()
            }
        }
    }

    /// Whether there is anything to measure on: of frames a drive that moves enough to be counted.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        match self.metric {
            Metric::Skill => self.drives.iter().any(PackDrive::is_counted),
            Metric::Imitation => !self.drives.is_empty(),
        }
    }

    /// Whether the fifth frame of a roll-out can be measured, whatever part is asked for.
    #[must_use]
    pub fn has_rollouts(&self) -> bool {
        let drives = self.drives.iter().enumerate().filter(|(_, drive)| drive.is_counted());
        let drives = drives.map(|(number, _)| number);
        let has_room = |run: &PackRun| run.frames >= self.context + ROLLOUT_FRAMES;
        let told = |asked: usize, drive: usize| {
            let part = self.turn(drive, asked).and_then(|part| self.parts.get(part));
            part.is_some_and(|part| part.runs.iter().any(|run| run.drive == drive && has_room(run)))
        };
        self.metric == Metric::Skill
            && (0..PARTS).all(|asked| drives.clone().any(|drive| told(asked, drive)))
    }

    /// The part of a drive whose turn it is where this one is asked for; `None`: it has no frames.
    pub(super) fn turn(&self, drive: usize, asked: usize) -> Option<usize> {
        let fills = |part: &PackPart| part.runs.iter().any(|run| run.drive == drive);
        let parts = self.parts.iter().enumerate();
        let filled: Vec<usize> =
            parts.filter(|(_, part)| fills(part)).map(|(part, _)| part).collect();
        filled.get(asked.checked_rem(filled.len())?).copied()
    }

    /// Shape of every frame.
    pub fn shape(&self) -> FrameShape {
        FrameShape { width: self.width, height: self.height }
    }

    pub(super) fn check(&self) -> Result<(), ManifestError> {
        let Self { schema, id, version, rate_hz, context, .. } = self;
        require(*schema == SCHEMA, "schema", schema, "1")?;
        let named = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let id_fits = (1..=ID_CHARS_MAX).contains(&id.len()) && id.chars().all(named);
        require(id_fits, "id", id, "1 to 64 letters, digits, `-`, `_` or `.`")?;
        require(*version > 0, "version", version, "1 or more")?;
        require(self.width > 0, "width", self.width, "1 or more")?;
        require(self.height > 0, "height", self.height, "1 or more")?;
        let rate_fits = rate_hz.is_finite() && *rate_hz > 0.0 && *rate_hz <= 1000.0;
        require(rate_fits, "rate_hz", rate_hz, "above 0, up to 1000")?;
        let context_fits = (1..=CONTEXT_FRAMES_MAX).contains(context);
        require(context_fits, "context", context, "1 to 1000")?;
        require(self.parts.len() == PARTS, "parts", self.parts.len(), "4 parts")?;
        for (index, drive) in self.drives.iter().enumerate() {
            let place = |key: &str| format!("drives[{index}].{key}");
            require_hash(&place("source_sha256"), &drive.source_sha256)?;
            let psnr = drive.copy_psnr_db;
            require(psnr.is_none_or(f64::is_finite), place("copy_psnr_db"), "NaN", "a number")?;
            let first = self.drives.iter().position(|other| other.name == drive.name);
            require(first == Some(index), place("name"), &drive.name, "a name of its own")?;
        }
        self.check_actions()?;
        for (index, part) in self.parts.iter().enumerate() {
            self.check_part(index, part)?;
        }
        self.check_shared()
    }

    /// A pack of actions names grid and geometries; no other does.
    fn check_actions(&self) -> Result<(), ManifestError> {
        let acts = match self.metric {
            Metric::Skill => false,
            Metric::Imitation => true,
        };
        let said = |is: bool| if is { "one" } else { "none" };
        let want = format!("{}, as a pack of {} has", said(acts), self.metric.name());
        require(self.grid.is_some() == acts, "grid", said(!acts), &want)?;
        require(acts || !self.leaders, "leaders", "true", "none, as a pack of skill has")?;
        if let Some(grid) = &self.grid {
            require_hash("grid", grid)?;
            if digits::hash(grid) != Some(grid::SHA256) {
                return Err(ManifestError::Grid { got: grid.to_ascii_lowercase() });
            }
        }
        for (index, drive) in self.drives.iter().enumerate() {
            let place = format!("drives[{index}].geometry");
            require(drive.geometry.is_some() == acts, &place, said(!acts), &want)?;
            let Some(PackGeometry { wheelbase_m, steering_ratio }) = drive.geometry else {
                continue;
            };
            let fits = (0.05..=30.0).contains(&wheelbase_m);
            require(fits, format!("{place}.wheelbase_m"), wheelbase_m, "0.05 to 30 m")?;
            let fits = (0.1..=100.0).contains(&steering_ratio);
            require(fits, format!("{place}.steering_ratio"), steering_ratio, "0.1 to 100")?;
        }
        Ok(())
    }

    fn check_part(&self, index: usize, part: &PackPart) -> Result<(), ManifestError> {
        require_hash(&format!("parts[{index}].sha256"), &part.sha256)?;
        let mut frames = 0_u64;
        for (number, run) in part.runs.iter().enumerate() {
            let place = |key: &str| format!("parts[{index}].runs[{number}].{key}");
            let below = format!("below {}", self.drives.len());
            require(run.drive < self.drives.len(), place("drive"), run.drive, &below)?;
            let room = run.frames > self.context && run.first.checked_add(run.frames).is_some();
            let want = format!("more than {} frames, a clip's worth", self.context);
            require(room, place("frames"), run.frames, &want)?;
            frames = frames.saturating_add(run.frames as u64);
        }
        let frame_bytes = (self.shape().bytes() + self.row_bytes()) as u64;
        let bytes = frames.saturating_mul(frame_bytes);
        let place = format!("parts[{index}].bytes");
        require(part.bytes == bytes, &place, part.bytes, &format!("{bytes}, as the runs have"))?;
        let most = format!("at most {PART_BYTES_MAX} in {}", part_file(index));
        require(part.bytes <= PART_BYTES_MAX, &place, part.bytes, &most)
    }

    /// No frame of a drive stands twice, in one part or in two.
    fn check_shared(&self) -> Result<(), ManifestError> {
        let mut runs: Vec<(PackRun, usize, usize)> = Vec::new();
        for (part, PackPart { runs: of_part, .. }) in self.parts.iter().enumerate() {
            runs.extend(of_part.iter().enumerate().map(|(number, run)| (*run, part, number)));
        }
        runs.sort_by_key(|(run, ..)| (run.drive, run.first));
        for pair in runs.windows(2) {
            let [(before, part, number), (after, other_part, other)] = pair else { continue };
            if before.drive == after.drive && before.first + before.frames > after.first {
                let place = format!("parts[{other_part}].runs[{other}]");
                return Err(ManifestError::Shared {
                    place,
                    other: format!("parts[{part}].runs[{number}]"),
                });
            }
        }
        Ok(())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

fn require(
    allowed: bool,
    place: impl Into<String>,
    got: impl ToString,
    want: &str,
) -> Result<(), ManifestError> {
    if allowed {
        return Ok(());
    }
    Err(ManifestError::Value { place: place.into(), got: got.to_string(), want: want.into() })
}

fn require_hash(place: &str, text: &str) -> Result<(), ManifestError> {
    require(digits::hash(text).is_some(), place, text, "64 hexadecimal digits")
}
