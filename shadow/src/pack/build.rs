//! Making a pack from drives that their authority owns.

use super::manifest::{Manifest, Metric, PackDrive, PackPart, PackRun};
use super::{MANIFEST_BYTES_MAX, MANIFEST_FILE, ManifestError, PARTS, RUN_CLIPS_MIN, part_file};
use crate::digits;
use crate::measure::copy_psnr_db;
use sha2::{Digest, Sha256};
use shoal_hal::{Drive, Part, Span};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What the authority says of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackOptions {
    /// Name of the pack: letters, digits, `-`, `_` and `.`.
    pub id: String,
    /// Version of the pack, at least 1.
    pub version: u32,
    /// Under which licence the frames may be used.
    pub licence: String,
    /// Past frames of a clip.
    pub context: usize,
}

/// Why a pack was not built.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum BuildPackError {
    /// No drive has pack frames for two clips.
    #[error("none of {drives} drives has pack frames for two clips: use longer drives")]
    NoClips { drives: usize },
    /// The drives differ in shape or rate.
    #[error("{drive} has {got}, the drives before it {want}: open all at one size and rate")]
    Mixed { drive: String, got: String, want: String },
    /// The manifest would not be allowed.
    #[error("the pack would not be readable")]
    Manifest(#[source] ManifestError),
    /// The manifest would not fit into a signed document.
    #[error(
        "the manifest of {drives} drives has {bytes} bytes, at most {MANIFEST_BYTES_MAX} fit into \
         a signed document: build several packs"
    )]
    TooManyDrives { drives: usize, bytes: usize },
    /// The directory holds something.
    #[error("{} is not empty: name a new directory", path.display())]
    NotEmpty { path: PathBuf },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Builds a pack of the pack frames of `drives` in the new or empty directory `out`.
///
/// Every drive's pack frames are cut into four runs of time, as equal as its spans allow; a drive too
/// short for four of two clips each gives as many as it can to the first parts, and one without two
/// clips gives nothing. `pack.json` is written last: a directory without it holds no pack.
///
/// # Errors
/// [`BuildPackError`]; what was written by then stays, without a manifest.
pub fn build(
    drives: &[Drive],
    options: &PackOptions,
    out: &Path,
) -> Result<Manifest, BuildPackError> {
    let plan = plan(drives, options)?;
    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildPackError::Write { path, source }
    };
    fs::create_dir_all(out).map_err(write(out))?;
    if fs::read_dir(out).map_err(write(out))?.next().is_some() {
        return Err(BuildPackError::NotEmpty { path: out.to_owned() });
    }
    let mut manifest = plan.manifest;
    for (index, part) in manifest.parts.iter_mut().enumerate() {
        let path = out.join(part_file(index));
        part.sha256 = write_part(&path, part, &plan.drives).map_err(write(&path))?;
    }
    let bytes = manifest.to_bytes();
    let path = out.join(MANIFEST_FILE);
    let written = File::create_new(&path).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()
    });
    written.map_err(write(&path))?;
    Ok(manifest)
}

/// A manifest whose parts have no hashes yet, and its drives in order.
struct Plan<'a> {
    manifest: Manifest,
    drives: Vec<&'a Drive>,
}

fn plan<'a>(drives: &'a [Drive], options: &PackOptions) -> Result<Plan<'a>, BuildPackError> {
    let mut used: Vec<&Drive> = Vec::new();
    let mut parts = vec![Vec::new(); PARTS];
    for drive in drives {
        let runs = runs(drive.split(options.context).spans(Part::Pack), options.context);
        if runs.is_empty() {
            continue;
        }
        if let Some(first) = used.first() {
            check_alike(first, drive)?;
        }
        for (part, spans) in parts.iter_mut().zip(runs) {
            part.extend(spans.iter().map(|span| PackRun {
                drive: used.len(),
                first: span.first,
                frames: span.len(),
            }));
        }
        used.push(drive);
    }
    let first = used.first().ok_or(BuildPackError::NoClips { drives: drives.len() })?;
    let frame_bytes = first.shape.bytes() as u64;
    let part = |runs: Vec<PackRun>| PackPart {
        bytes: frame_bytes * runs.iter().map(|run| run.frames as u64).sum::<u64>(),
        sha256: digits::hex(&[0; 32]),
        runs,
    };
    let manifest = Manifest {
        schema: 1,
        id: options.id.clone(),
        version: options.version,
        metric: Metric::Skill,
        licence: options.licence.clone(),
        width: first.shape.width,
        height: first.shape.height,
        rate_hz: first.rate_hz,
        context: options.context,
        drives: used.iter().map(|drive| listed(drive)).collect(),
        parts: parts.into_iter().map(part).collect(),
    };
    manifest.check().map_err(BuildPackError::Manifest)?;
    let bytes = manifest.to_bytes().len();
    if bytes > MANIFEST_BYTES_MAX {
        return Err(BuildPackError::TooManyDrives { drives: used.len(), bytes });
    }
    Ok(Plan { manifest, drives: used })
}

fn check_alike(first: &Drive, drive: &Drive) -> Result<(), BuildPackError> {
    if (first.shape, first.rate_hz) == (drive.shape, drive.rate_hz) {
        return Ok(());
    }
    let text = |drive: &Drive| {
        format!("{}×{} at {} Hz", drive.shape.width, drive.shape.height, drive.rate_hz)
    };
    let (got, want) = (text(drive), text(first));
    Err(BuildPackError::Mixed { drive: drive.name.clone(), got, want })
}

fn listed(drive: &Drive) -> PackDrive {
    let copy_psnr_db = copy_psnr_db(drive);
    PackDrive {
        name: drive.name.clone(),
        source_sha256: digits::hex(&drive.source_sha256),
        copy_psnr_db: copy_psnr_db.is_finite().then_some(copy_psnr_db),
    }
}

/// Writes the runs of a part and returns the SHA-256 of the file in digits.
fn write_part(path: &Path, part: &PackPart, drives: &[&Drive]) -> io::Result<String> {
    let mut file = BufWriter::new(File::create_new(path)?);
    let mut hash = Sha256::new();
    for run in &part.runs {
        let frames = drives[run.drive].frames(run.first..run.first + run.frames);
        hash.update(frames);
        file.write_all(frames)?;
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(digits::hex(&hash.finalize()))
}

/// Cuts spans into at most four runs of time, each of pieces with room for a clip.
///
/// The most runs are taken with which every one has two clips; none if not even one has.
pub(super) fn runs(spans: &[Span], context: usize) -> Vec<Vec<Span>> {
    let clips = |run: &Vec<Span>| run.iter().map(|span| span.len() - context).sum::<usize>();
    (1..=PARTS)
        .rev()
        .map(|count| cut(spans, count, context))
        .find(|runs| runs.iter().all(|run| clips(run) >= RUN_CLIPS_MIN))
        .unwrap_or_default()
}

/// Cuts spans into `count` runs at ⌊i·frames/count⌋, or at the end of a span if one is as near as a
/// clip's past; pieces without room for a clip are left out.
fn cut(spans: &[Span], count: usize, context: usize) -> Vec<Vec<Span>> {
    let mut ends = vec![0];
    for span in spans {
        ends.push(ends[ends.len() - 1] + span.len());
    }
    let frames = ends[ends.len() - 1];
    let place = |index: usize| {
        let even = index * frames / count;
        let end = ends.iter().copied().min_by_key(|end| end.abs_diff(even)).unwrap_or(even);
        if end.abs_diff(even) <= context { end } else { even }
    };
    (0..count)
        .map(|index| {
            let (from, to) = (place(index), place(index + 1));
            spans
                .iter()
                .zip(&ends)
                .filter_map(|(span, &begin)| {
                    let (low, high) = (from.max(begin), to.min(begin + span.len()));
                    (high > low + context).then(|| Span {
                        first: span.first + low - begin,
                        last: span.first + high - begin - 1,
                    })
                })
                .collect()
        })
        .collect()
}
