//! Reading a pack: nothing is used before its hash is known to be right.

use super::manifest::{Manifest, ManifestError, PackPart};
use super::{MANIFEST_BYTES_MAX, MANIFEST_FILE, PARTS, part_file};
use crate::clip::{Clips, Frames, FramesError};
use crate::digits;
use crate::measure::DriveClips;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A pack on disk, its manifest read and checked.
#[derive(Clone, Debug)]
pub struct Pack {
    directory: PathBuf,
    bytes: Vec<u8>,
    manifest: Manifest,
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
        Ok(Pack { directory: directory.to_owned(), bytes, manifest })
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
        let mut footages: Vec<PackFootage> = self
            .manifest
            .drives
            .iter()
            .map(|drive| PackFootage {
                name: drive.name.clone(),
                copy_psnr_db: drive.copy_psnr_db.unwrap_or(f64::INFINITY),
                runs: Vec::new(),
            })
            .collect();
        for &index in parts {
            let part =
                self.manifest.parts.get(index).ok_or(ReadPackError::NoPart { part: index })?;
            let path = self.directory.join(part_file(index));
            for (run, frames) in self.read_part(&path, part)?.into_iter().enumerate() {
                let drive = part.runs[run].drive;
                if wanted(drive, index) {
                    footages[drive].runs.push(frames);
                }
            }
        }
        footages.retain(|footage| !footage.runs.is_empty());
        Ok(Footages(footages))
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
        let turn: Vec<Option<usize>> = drives.map(|drive| self.turn(drive, part)).collect();
        let parts: BTreeSet<usize> = turn.iter().flatten().copied().collect();
        let parts: Vec<usize> = parts.into_iter().collect();
        self.read_runs(&parts, |drive, part| turn.get(drive) == Some(&Some(part)))
    }

    /// The part of a drive whose turn it is; `None`: it has no frames.
    fn turn(&self, drive: usize, asked: usize) -> Option<usize> {
        let fills = |part: &PackPart| part.runs.iter().any(|run| run.drive == drive);
        let parts = self.manifest.parts.iter().enumerate();
        let filled: Vec<usize> =
            parts.filter(|(_, part)| fills(part)).map(|(part, _)| part).collect();
        filled.get(asked.checked_rem(filled.len())?).copied()
    }

    /// The runs of one part; none is handed out before the hash of all is right.
    fn read_part(&self, path: &Path, part: &PackPart) -> Result<Vec<Frames>, ReadPackError> {
        let read = |source| ReadPackError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(read)?;
        let (got, want) = (file.metadata().map_err(read)?.len(), part.bytes);
        if got != want {
            return Err(ReadPackError::Length { path: path.to_owned(), got, want });
        }
        let shape = self.manifest.shape();
        let mut hash = Sha256::new();
        let mut runs = Vec::with_capacity(part.runs.len());
        for (number, run) in part.runs.iter().enumerate() {
            let mut bytes = vec![0; run.frames * shape.bytes()];
            file.read_exact(&mut bytes).map_err(read)?;
            hash.update(&bytes);
            let frames = Frames::new(shape, self.manifest.rate_hz, bytes, Vec::new());
            runs.push(frames.map_err(|source| {
                let path = path.to_owned();
                ReadPackError::Frames { path, run: number, source }
            })?);
        }
        let (got, want) = (digits::hex(&hash.finalize()), part.sha256.to_ascii_lowercase());
        if got != want {
            return Err(ReadPackError::Hash { path: path.to_owned(), got, want });
        }
        Ok(runs)
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
}
