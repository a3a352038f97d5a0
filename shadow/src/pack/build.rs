//! Making a pack from drives that their authority owns.

use super::manifest::{Manifest, Metric, PackDrive, PackGeometry, PackPart, PackRun};
use super::rows::{Row, leader_to_bytes, row_bytes};
use super::{MANIFEST_BYTES_MAX, MANIFEST_FILE, ManifestError, PARTS, RUN_CLIPS_MIN, part_file};
use crate::batch::HORIZON_S;
use crate::digits;
use crate::grid::{self, Geometry};
use crate::hindsight::{Known, weights};
use crate::measure::copy_psnr_db;
use sha2::{Digest, Sha256};
use shoal_hal::backend::synthetic::Driven;
use shoal_hal::{Drive, Motion, Part, Span};
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

/// What is known of a drive beside its frames and motion, for a pack of actions.
#[derive(Clone, Debug, PartialEq)]
pub struct Acted {
    /// From the steering wheel to the curvature of the path.
    pub geometry: Geometry,
    /// What is known of every frame: hindsight judges by it.
    pub known: Vec<Known>,
    /// Whether it is known of every frame who was ahead, if anyone.
    pub leaders: bool,
    /// Whether the driver is to be imitated; if not, his moments have weight 0, and are situations alone.
    pub imitated: bool,
}

impl Acted {
    /// What a drive's own motion tells.
    #[must_use]
    pub fn of(drive: &Drive, geometry: Geometry) -> Self {
        let known = |index: usize| {
            drive.motion(index).map_or(Known::default(), |motion| Known::of(&motion, &geometry))
        };
        let known = (0..drive.len()).map(known).collect();
        Acted { geometry, known, leaders: false, imitated: true }
    }

    /// The same of a generated road in the closed loop, whose truth tells who was ahead, and how near the edge was. `None` if its
    /// vehicle has no geometry.
    #[must_use]
    pub fn of_driven(driven: &Driven) -> Option<Self> {
        let geometry = Geometry::new(driven.wheelbase_m.into(), driven.steering_ratio.into())?;
        let Acted { known, imitated, .. } = Acted::of(&driven.drive, geometry);
        let known = known.into_iter().zip(&driven.truth).map(|(known, truth)| known.beside(truth));
        Some(Acted { geometry, known: known.collect(), leaders: true, imitated })
    }

    /// Hindsight's weight of every frame of these spans, each judged by no more than its span; 0 of any other.
    fn weights(&self, spans: &[Span], rate_hz: f64) -> Vec<f32> {
        let mut all = vec![0.0; self.known.len()];
        for span in spans.iter().filter(|_| self.imitated) {
            let known = &self.known[span.first..=span.last];
            all[span.first..=span.last].copy_from_slice(&weights(known, rate_hz, HORIZON_S));
        }
        all
    }
}

/// Why a pack was not built.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum BuildPackError {
    /// No drive has pack frames for two clips.
    #[error("none of {drives} drives has pack frames for two clips: use longer drives")]
    NoClips { drives: usize },
    /// No drive that is long enough knows what its driver did.
    #[error(
        "none of {drives} drives has pack frames for two clips and knows its steering or acceleration: \
         a pack of imitation is made of drives with motion"
    )]
    NoActions { drives: usize },
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
    build_of(&sources(drives), Metric::Skill, options, out)
}

/// As [`build`], a pack on which imitation is measured: beside the frames it holds the motion and hindsight's weight of every
/// moment. A drive that knows neither steering nor acceleration in its pack frames gives nothing.
///
/// Each moment is judged by the pack frames after it: what came in frames that are held out does not tell.
///
/// # Errors
/// As [`build`], and [`BuildPackError::NoActions`].
/// # Panics
/// If there is not one `acted` for each drive, of as many frames.
pub fn build_imitation(
    drives: &[Drive],
    acted: &[Acted],
    options: &PackOptions,
    out: &Path,
) -> Result<Manifest, BuildPackError> {
    build_of(&sources_acted(drives, acted), Metric::Imitation, options, out)
}

/// What [`build`] would write of these drives; nothing is written.
///
/// # Errors
/// [`BuildPackError`].
pub fn manifest(drives: &[Drive], options: &PackOptions) -> Result<Manifest, BuildPackError> {
    sealed(&sources(drives), Metric::Skill, options)
}

/// What [`build_imitation`] would write; nothing is written.
///
/// # Errors
/// As of [`build_imitation`].
/// # Panics
/// If there is not one `acted` for each drive, of as many frames.
pub fn manifest_imitation(
    drives: &[Drive],
    acted: &[Acted],
    options: &PackOptions,
) -> Result<Manifest, BuildPackError> {
    sealed(&sources_acted(drives, acted), Metric::Imitation, options)
}

/// A drive, and what is known of it for a pack of actions.
#[derive(Clone, Copy)]
struct Source<'a> {
    drive: &'a Drive,
    acted: Option<&'a Acted>,
}

impl Source<'_> {
    /// Whether anything of these runs can be measured.
    fn tells(&self, runs: &[Vec<Span>]) -> bool {
        let acts = |motion: Motion| {
            let Motion { steering_rad, acceleration_m_s2, lateral_acceleration_m_s2, .. } = motion;
            steering_rad.or(acceleration_m_s2).or(lateral_acceleration_m_s2).is_some()
        };
        let frames = || runs.iter().flatten().flat_map(|span| span.first..=span.last);
        self.acted.is_none() || frames().any(|at| self.drive.motion(at).is_some_and(acts))
    }
}

fn sources(drives: &[Drive]) -> Vec<Source<'_>> {
    drives.iter().map(|drive| Source { drive, acted: None }).collect()
}

fn sources_acted<'a>(drives: &'a [Drive], acted: &'a [Acted]) -> Vec<Source<'a>> {
    assert_eq!(drives.len(), acted.len(), "what is known of every drive");
    let mut sources = Vec::with_capacity(drives.len());
    for (drive, acted) in drives.iter().zip(acted) {
        assert_eq!(drive.len(), acted.known.len(), "what is known of every frame");
        sources.push(Source { drive, acted: Some(acted) });
    }
    sources
}

/// The manifest with the hashes of all parts, which nobody writes.
fn sealed(
    drives: &[Source<'_>],
    metric: Metric,
    options: &PackOptions,
) -> Result<Manifest, BuildPackError> {
    let Plan { mut manifest, drives } = plan(drives, metric, options)?;
    let leaders = manifest.leaders;
    for (index, part) in manifest.parts.iter_mut().enumerate() {
        let hashed = write_part(&mut io::sink(), (part, leaders), &drives);
        part.sha256 = hashed
            .map_err(|source| BuildPackError::Write { path: part_file(index).into(), source })?;
    }
    Ok(manifest)
}

fn build_of(
    drives: &[Source<'_>],
    metric: Metric,
    options: &PackOptions,
    out: &Path,
) -> Result<Manifest, BuildPackError> {
    let plan = plan(drives, metric, options)?;
    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildPackError::Write { path, source }
    };
    fs::create_dir_all(out).map_err(write(out))?;
    if fs::read_dir(out).map_err(write(out))?.next().is_some() {
        return Err(BuildPackError::NotEmpty { path: out.to_owned() });
    }
    let mut manifest = plan.manifest;
    let leaders = manifest.leaders;
    for (index, part) in manifest.parts.iter_mut().enumerate() {
        let path = out.join(part_file(index));
        let written = || {
            let mut file = BufWriter::new(File::create_new(&path)?);
            let hash = write_part(&mut file, (part, leaders), &plan.drives)?;
            file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            Ok(hash)
        };
        part.sha256 = written().map_err(write(&path))?;
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

/// A manifest whose parts have no hashes yet, and its drives in order with what each moment weighs (of no metric of actions:
/// nothing).
struct Plan<'a> {
    manifest: Manifest,
    drives: Vec<(Source<'a>, Vec<f32>)>,
}

fn plan<'a>(
    drives: &[Source<'a>],
    metric: Metric,
    options: &PackOptions,
) -> Result<Plan<'a>, BuildPackError> {
    let mut used: Vec<(Source<'a>, Vec<f32>)> = Vec::new();
    let mut parts = vec![Vec::new(); PARTS];
    let mut silent = false;
    for source in drives {
        let split = source.drive.split(options.context);
        let spans = split.spans(Part::Pack);
        let runs = runs(spans, options.context);
        if runs.is_empty() {
            continue;
        }
        if !source.tells(&runs) {
            silent = true;
            continue;
        }
        if let Some((first, _)) = used.first() {
            check_alike(first.drive, source.drive)?;
        }
        for (part, spans) in parts.iter_mut().zip(runs) {
            part.extend(spans.iter().map(|span| PackRun {
                drive: used.len(),
                first: span.first,
                frames: span.len(),
            }));
        }
        let weights = source.acted.map(|acted| acted.weights(spans, source.drive.rate_hz));
        used.push((*source, weights.unwrap_or_default()));
    }
    let first = used.first().ok_or(none(drives.len(), silent))?.0.drive;
    let leaders = used.iter().all(|(source, _)| source.acted.is_some_and(|acted| acted.leaders));
    let frame_bytes = (first.shape.bytes() + row_bytes(metric, leaders)) as u64;
    let part = |runs: Vec<PackRun>| PackPart {
        bytes: frame_bytes * runs.iter().map(|run| run.frames as u64).sum::<u64>(),
        sha256: digits::hex(&[0; 32]),
        runs,
    };
    let grid = match metric {
        Metric::Skill => None,
        Metric::Imitation => Some(digits::hex(&grid::SHA256)),
    };
    let (drives, parts) = (used.iter().map(|(source, _)| listed(source)), parts.into_iter());
    let manifest = Manifest {
        schema: 1,
        id: options.id.clone(),
        version: options.version,
        metric,
        grid,
        leaders,
        licence: options.licence.clone(),
        width: first.shape.width,
        height: first.shape.height,
        rate_hz: first.rate_hz,
        context: options.context,
        drives: drives.collect(),
        parts: parts.map(part).collect(),
    };
    manifest.check().map_err(BuildPackError::Manifest)?;
    let bytes = manifest.to_bytes().len();
    if bytes > MANIFEST_BYTES_MAX {
        return Err(BuildPackError::TooManyDrives { drives: used.len(), bytes });
    }
    Ok(Plan { manifest, drives: used })
}

/// Why nothing of so many drives is used; `silent`: some was long enough, and said nothing of its driver.
const fn none(drives: usize, silent: bool) -> BuildPackError {
    if silent { BuildPackError::NoActions { drives } } else { BuildPackError::NoClips { drives } }
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

fn listed(source: &Source<'_>) -> PackDrive {
    let drive = source.drive;
    let copy_psnr_db = copy_psnr_db(drive);
    PackDrive {
        name: drive.name.clone(),
        source_sha256: digits::hex(&drive.source_sha256),
        copy_psnr_db: copy_psnr_db.is_finite().then_some(copy_psnr_db),
        geometry: source.acted.map(|acted| PackGeometry {
            wheelbase_m: acted.geometry.wheelbase_m(),
            steering_ratio: acted.geometry.steering_ratio(),
        }),
    }
}

/// Writes the runs of a part, and after each its rows if moments have weights, and returns the SHA-256 of what it wrote in digits.
fn write_part(
    file: &mut impl Write,
    (part, leaders): (&PackPart, bool),
    drives: &[(Source<'_>, Vec<f32>)],
) -> io::Result<String> {
    let mut hash = Sha256::new();
    for run in &part.runs {
        let (source, weights) = &drives[run.drive];
        let frames = source.drive.frames(run.first..run.first + run.frames);
        hash.update(frames);
        file.write_all(frames)?;
        for (index, &weight) in weights.iter().enumerate().skip(run.first).take(run.frames) {
            let motion = source.drive.motion(index).unwrap_or_default();
            let row = Row { motion, weight }.to_bytes();
            hash.update(row);
            file.write_all(&row)?;
            if leaders {
                let known = source.acted.and_then(|acted| acted.known.get(index));
                let row = leader_to_bytes(known.and_then(Known::leader));
                hash.update(row);
                file.write_all(&row)?;
            }
        }
    }
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
