//! `split.json`: which frames of which drive were tuning, pack and held-out.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Skipped;
use crate::{Drive, Part, Span};

#[derive(Serialize)]
struct SplitFile<'a> {
    schema: u32,
    context: usize,
    drives: Vec<DriveEntry<'a>>,
    skipped: Vec<SkippedEntry<'a>>,
}

#[derive(Serialize)]
struct DriveEntry<'a> {
    path: &'a str,
    sha256: String,
    rate: f64,
    frames: usize,
    parts: Parts,
}

#[derive(Serialize)]
struct Parts {
    tuning: Vec<[usize; 2]>,
    pack: Vec<[usize; 2]>,
    held_out: Vec<[usize; 2]>,
}

#[derive(Serialize)]
struct SkippedEntry<'a> {
    path: &'a str,
    reason: String,
}

/// Why a split was not written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub struct WriteSplitError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Writes how `drives` are cut for a model with `context` past frames, as JSON, to `path`.
///
/// ```json
/// {"schema": 1, "context": 4,
///  "drives": [{"path": "a.mp4", "sha256": "…", "rate": 10.0, "frames": 123,
///              "parts": {"tuning": [[0, 72]], "pack": [[77, 97]], "held_out": [[102, 122]]}}],
///  "skipped": [{"path": "b.mp4", "reason": "…"}]}
/// ```
///
/// `rate` is the model's, at which frames are counted; a span holds its first and last frame. The
/// file is complete under its name or not there.
///
/// # Errors
/// When the file cannot be written.
pub fn write_split_json(
    path: &Path,
    drives: &[Drive],
    skipped: &[Skipped],
    context: usize,
) -> Result<(), WriteSplitError> {
    let drives = drives.iter().map(|drive| drive_entry(drive, context)).collect();
    let skipped = skipped
        .iter()
        .map(|skipped| SkippedEntry { path: &skipped.path, reason: skipped.to_string() })
        .collect();
    let file = SplitFile { schema: 1, context, drives, skipped };
    write(path, &file).map_err(|source| WriteSplitError { path: path.to_owned(), source })
}

fn drive_entry(drive: &Drive, context: usize) -> DriveEntry<'_> {
    let split = drive.split(context);
    let spans =
        |part| split.spans(part).iter().map(|&Span { first, last }| [first, last]).collect();
    DriveEntry {
        path: &drive.name,
        sha256: drive.source_sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        rate: drive.rate_hz,
        frames: drive.len(),
        parts: Parts {
            tuning: spans(Part::Tuning),
            pack: spans(Part::Pack),
            held_out: spans(Part::HeldOut),
        },
    }
}

fn write(path: &Path, content: &SplitFile<'_>) -> io::Result<()> {
    let part = path.with_extension("json.part");
    let mut file = BufWriter::new(File::create(&part)?);
    serde_json::to_writer_pretty(&mut file, content)?;
    file.write_all(b"\n")?;
    file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    fs::rename(&part, path)
}
