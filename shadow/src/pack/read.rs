//! Reading a pack: nothing is used before its hash is known to be right.

use super::manifest::{Manifest, ManifestError, Metric, PackPart};
use super::rows::{RejectRow, Row, leader_from_bytes};
use super::{MANIFEST_BYTES_MAX, MANIFEST_FILE, PARTS, part_file};
use crate::clip::{Clips, Footage, Frames, FramesError};
use crate::digits;
use crate::grid::Geometry;
use crate::measure::DriveClips;
use crate::measure::imitation::{ActedRun, DriveActs, Habits, VARIETY_MIN};
use crate::opinion::Did;
use sha2::{Digest, Sha256};
use shoal_hal::backend::synthetic::Leader;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A pack on disk, its manifest read and checked.
#[derive(Clone, Debug)]
pub struct Pack {
    directory: PathBuf,
    bytes: Vec<u8>,
    manifest: Manifest,
    /// Of a pack of actions, by drive: known once all parts were read.
    habits: OnceLock<Vec<Habits>>,
}

/// Why a pack could not be read.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum ReadPackError {
    /// A file of the pack cannot be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The manifest is wrong.
    #[error("{}", path.display())]
    Manifest { path: PathBuf, source: ManifestError },
    /// A part has another length than the manifest says.
    #[error("{} has {got} bytes, {MANIFEST_FILE} says {want}: fetch it again", path.display())]
    Length { path: PathBuf, got: u64, want: u64 },
    /// A part is not the one that the manifest names.
    #[error("{} has SHA-256 {got}, {MANIFEST_FILE} names {want}: fetch it again", path.display())]
    Hash { path: PathBuf, got: String, want: String },
    /// A run of a part does not make frames.
    #[error("{}, run {run}", path.display())]
    Frames { path: PathBuf, run: usize, source: FramesError },
    /// What stands beside a frame is not allowed.
    #[error("{}, run {run}, row {row}", path.display())]
    Row { path: PathBuf, run: usize, row: usize, source: RejectRow },
    /// There are four parts.
    #[error("there is no part {part}: a pack has parts 0 to {}", PARTS - 1)]
    NoPart { part: usize },
}

/// Frames of some parts of a pack in memory.
#[derive(Clone, Debug)]
pub struct Footages(Vec<PackFootage>);

/// Frames of one drive, of the parts that were read.
#[derive(Clone, Debug)]
pub struct PackFootage {
    name: String,
    copy_psnr_db: f64,
    runs: Vec<Frames>,
    acts: Option<Acts>,
}

/// What is known of a drive's actions.
#[derive(Clone, Debug)]
struct Acts {
    geometry: Geometry,
    habits: Habits,
    /// By run, the weight of every frame.
    weights: Vec<Vec<f32>>,
    /// By run, who was ahead at every frame; empty where the pack does not say.
    leaders: Vec<Vec<Option<Leader>>>,
}

/// One run as it was read; of no metric of actions without weights.
struct Run {
    frames: Frames,
    weights: Vec<f32>,
    leaders: Vec<Option<Leader>>,
}

impl Pack {
    /// Reads and checks the manifest in `directory`; parts are read when they are asked for.
    ///
    /// # Errors
    /// [`ReadPackError`], naming the file and the place.
    pub fn open(directory: &Path) -> Result<Self, ReadPackError> {
        let path = directory.join(MANIFEST_FILE);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(MANIFEST_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
            .map_err(|source| ReadPackError::Read { path: path.clone(), source })?;
        let manifest = Manifest::from_bytes(&bytes)
            .map_err(|source| ReadPackError::Manifest { path, source })?;
        let (directory, habits) = (directory.to_owned(), OnceLock::new());
        Ok(Pack { directory, bytes, manifest, habits })
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The exact bytes of `pack.json`: what is signed.
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of `pack.json`: what a utility document names.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }

    /// Parts that hold frames: a pack of short drives has only the first ones.
    pub fn parts(&self) -> Vec<usize> {
        (0..PARTS).filter(|&part| !self.manifest.parts[part].runs.is_empty()).collect()
    }

    /// Whether every part is as long as the manifest says: what can be seen without reading them.
    ///
    /// # Errors
    /// [`ReadPackError::Read`], [`ReadPackError::Length`].
    pub fn check_lengths(&self) -> Result<(), ReadPackError> {
        for part in self.parts() {
            self.open_part(part, &self.manifest.parts[part])?;
        }
        Ok(())
    }

    /// Reads parts and checks their hashes; the drives come in the manifest's order, those without
    /// frames in these parts are left out.
    ///
    /// # Errors
    /// [`ReadPackError`], naming the file.
    pub fn read(&self, parts: &[usize]) -> Result<Footages, ReadPackError> {
        self.read_runs(parts, |_drive, _part| true)
    }

    fn read_runs(
        &self,
        parts: &[usize],
        wanted: impl Fn(usize, usize) -> bool,
    ) -> Result<Footages, ReadPackError> {
        let habits = self.habits()?;
        let drives = self.manifest.drives.iter().enumerate();
        let mut footages: Vec<PackFootage> = drives
            .map(|(index, drive)| PackFootage {
                name: drive.name.clone(),
                copy_psnr_db: drive.copy_psnr_db.unwrap_or(f64::INFINITY),
                runs: Vec::new(),
                acts: drive.geometry().zip(habits.get(index)).map(|(geometry, habits)| Acts {
                    geometry,
                    habits: habits.clone(),
                    weights: Vec::new(),
                    leaders: Vec::new(),
                }),
            })
            .collect();
        for &index in parts {
            let part =
                self.manifest.parts.get(index).ok_or(ReadPackError::NoPart { part: index })?;
            for (number, run) in self.read_part(index, part)?.into_iter().enumerate() {
                let drive = part.runs[number].drive;
                if wanted(drive, index) {
                    let footage = &mut footages[drive];
                    footage.runs.push(run.frames);
                    if let Some(acts) = &mut footage.acts {
                        acts.weights.push(run.weights);
                        acts.leaders.push(run.leaders);
                    }
                }
            }
        }
        footages.retain(|footage| !footage.runs.is_empty());
        Ok(Footages(footages))
    }

    /// How often the driver of each drive did what, over all parts, each moment by its weight; of no metric of actions nothing.
    fn habits(&self) -> Result<&[Habits], ReadPackError> {
        if let Some(habits) = self.habits.get() {
            return Ok(habits);
        }
        let mut habits = Vec::new();
        if self.manifest.row_bytes() > 0 {
            habits.resize_with(self.manifest.drives.len(), Habits::default);
            for (index, part) in self.manifest.parts.iter().enumerate() {
                for (run, Run { frames, weights, .. }) in
                    part.runs.iter().zip(self.read_part(index, part)?)
                {
                    let Some(geometry) = self.manifest.drives[run.drive].geometry() else {
                        continue;
                    };
                    for (at, &weight) in weights.iter().enumerate() {
                        let did = frames.motion(at).map(|motion| Did::of(&motion, &geometry));
                        habits[run.drive].add(&did.unwrap_or_default(), weight.into());
                    }
                }
            }
        }
        Ok(self.habits.get_or_init(|| habits))
    }

    /// Whether there is anything to measure on: of frames a drive that moves enough to be counted, of actions one whose driver does
    /// more than one thing.
    ///
    /// # Errors
    /// [`ReadPackError`], naming the file.
    pub fn is_counted(&self) -> Result<bool, ReadPackError> {
        if self.manifest.metric == Metric::Skill {
            return Ok(self.manifest.is_counted());
        }
        let counts = |habits: &Habits| {
            [true, false].iter().any(|accelerates| habits.variety(*accelerates) >= VARIETY_MIN)
        };
        Ok(self.habits()?.iter().any(counts))
    }

    /// What is measured when this part is asked for: every drive on that part, or, where it is too short to fill all four,
    /// on one of those it fills, in turn. So every drive counts in every measurement, and two measurements of one
    /// part are of the same clips.
    ///
    /// # Errors
    /// [`ReadPackError`], naming the file.
    pub fn read_turn(&self, part: usize) -> Result<Footages, ReadPackError> {
        if part >= PARTS {
            return Err(ReadPackError::NoPart { part });
        }
        let drives = 0..self.manifest.drives.len();
        let turn: Vec<Option<usize>> =
            drives.map(|drive| self.manifest.turn(drive, part)).collect();
        let parts: BTreeSet<usize> = turn.iter().flatten().copied().collect();
        let parts: Vec<usize> = parts.into_iter().collect();
        self.read_runs(&parts, |drive, part| turn.get(drive) == Some(&Some(part)))
    }

    /// The runs of one part; none is handed out before the hash of all is right.
    fn open_part(&self, index: usize, part: &PackPart) -> Result<File, ReadPackError> {
        let path = self.directory.join(part_file(index));
        let read = |source| ReadPackError::Read { path: path.clone(), source };
        let file = File::open(&path).map_err(read)?;
        let (got, want) = (file.metadata().map_err(read)?.len(), part.bytes);
        if got == want { Ok(file) } else { Err(ReadPackError::Length { path, got, want }) }
    }

    fn read_part(&self, index: usize, part: &PackPart) -> Result<Vec<Run>, ReadPackError> {
        let mut file = self.open_part(index, part)?;
        let path = self.directory.join(part_file(index));
        let read = |source| ReadPackError::Read { path: path.clone(), source };
        let (shape, row_bytes) = (self.manifest.shape(), self.manifest.row_bytes());
        let mut hash = Sha256::new();
        let mut runs = Vec::with_capacity(part.runs.len());
        for run in &part.runs {
            let mut frames = vec![0; run.frames * shape.bytes()];
            let mut rows = vec![0; run.frames * row_bytes];
            for bytes in [&mut frames, &mut rows] {
                file.read_exact(bytes).map_err(read)?;
                hash.update(bytes);
            }
            runs.push((frames, rows));
        }
        let (got, want) = (digits::hex(&hash.finalize()), part.sha256.to_ascii_lowercase());
        if got != want {
            return Err(ReadPackError::Hash { path, got, want });
        }
        let runs = runs.into_iter().enumerate();
        runs.map(|(run, (frames, rows))| self.run(&path, run, frames, &rows)).collect()
    }

    fn run(
        &self,
        path: &Path,
        run: usize,
        frames: Vec<u8>,
        rows: &[u8],
    ) -> Result<Run, ReadPackError> {
        let (mut motion, mut weights, mut leaders) = (Vec::new(), Vec::new(), Vec::new());
        for (row, bytes) in rows.chunks_exact(self.manifest.row_bytes().max(1)).enumerate() {
            let refused = |source| ReadPackError::Row { path: path.to_owned(), run, row, source };
            let Some((bytes, ahead)) = bytes.split_first_chunk() else { continue };
            let Row { motion: moved, weight } = Row::from_bytes(bytes).map_err(refused)?;
            motion.push(Some(moved));
            weights.push(weight);
            if let Some(bytes) = ahead.first_chunk() {
                leaders.push(leader_from_bytes(bytes).map_err(refused)?);
            }
        }
        let frames = Frames::new(self.manifest.shape(), self.manifest.rate_hz, frames, motion);
        let frames = frames.map_err(|source| {
            let path = path.to_owned();
            ReadPackError::Frames { path, run, source }
        })?;
        Ok(Run { frames, weights, leaders })
    }
}

impl Footages {
    /// The drives.
    pub fn drives(&self) -> &[PackFootage] {
        &self.0
    }

    /// What is measured: every drive's clips with `context` past frames, each run by itself.
    pub fn clips(&self, context: usize) -> Vec<DriveClips<'_>> {
        self.0
            .iter()
            .map(|drive| DriveClips {
                name: drive.name.clone(),
                copy_psnr_db: drive.copy_psnr_db,
                clips: drive.runs.iter().map(|run| Clips::of_all(run, context, 1)).collect(),
            })
            .collect()
    }

    /// The same of a pack of actions: every drive's moments, what they weigh, and the driver's habits. Of any other nothing.
    pub fn acts(&self) -> Vec<DriveActs<'_>> {
        self.0.iter().filter_map(PackFootage::acts).collect()
    }
}

impl PackFootage {
    /// The drive's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its runs, each consecutive frames.
    pub fn runs(&self) -> &[Frames] {
        &self.runs
    }

    fn acts(&self) -> Option<DriveActs<'_>> {
        let acts = self.acts.as_ref()?;
        let known = acts.weights.iter().zip(&acts.leaders);
        let runs = self.runs.iter().zip(known).map(|(run, (weights, leaders))| ActedRun {
            footage: run,
            weights,
            leaders,
        });
        Some(DriveActs {
            name: self.name.clone(),
            copy_psnr_db: self.copy_psnr_db,
            geometry: acts.geometry,
            habits: &acts.habits,
            runs: runs.collect(),
        })
    }
}
