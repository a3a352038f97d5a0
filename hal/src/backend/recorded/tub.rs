//! A donkeycar tub: `manifest.json`, catalogs of one JSON record a line, pictures in `images/`.
//!
//! # Motion
//! A record's `user/angle` is what the driver steered, −1 (full left) to 1 (full right). Such a car has
//! no steering wheel: [`Motion::steering_rad`](crate::Motion::steering_rad) is the angle of the front
//! wheels, −angle × [`RecordedOptions::tub_lock_rad`](super::RecordedOptions::tub_lock_rad), positive to
//! the left as everywhere. `user/throttle` is the voltage asked of the motor, no speed and no
//! acceleration, and how fast the car goes at it is nowhere in a tub: both stay unknown.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::ReadError;
use super::clock::Ratio;
use super::folder::{FrameFile, read_files};
use super::gather::{Budget, Gather, Gathered};
use super::picture::read_file;
use crate::{FrameShape, Motion};

/// Frames in a second of every tub: its recorder's nominal rate (recorded times may be those of the
/// writing, milliseconds apart).
pub(super) const TUB_RATE_HZ: f64 = 20.0;

/// Longest manifest and catalog read, bytes.
const TEXT_BYTES_MAX: u64 = 256 << 20;

/// The last line of a manifest.
#[derive(Deserialize)]
struct Catalogs {
    paths: Vec<String>,
    #[serde(default)]
    deleted_indexes: Vec<u64>,
}

/// A line of a catalog: what we use of it.
#[derive(Deserialize)]
struct Record {
    #[serde(rename = "_index")]
    index: u64,
    #[serde(rename = "cam/image_array")]
    image: String,
    #[serde(rename = "user/angle")]
    angle: Option<f64>,
}

/// Reads the tub at `path`: the frames in the order of its catalogs, deleted ones left out.
///
/// The hash is over the manifest, the catalogs in the manifest's order, and the pictures that count.
pub(super) fn read_tub(
    path: &Path,
    lock_rad: f32,
    shape: FrameShape,
    (rate_source, rate): (Ratio, Ratio),
    budget: &mut Budget,
) -> Result<(Gathered, [u8; 32]), ReadError> {
    let mut hash = Sha256::new();
    let catalogs = read_manifest(&path.join("manifest.json"), &mut hash)?;
    let deleted: BTreeSet<u64> = catalogs.deleted_indexes.into_iter().collect();
    let mut files = Vec::new();
    for name in &catalogs.paths {
        if !is_plain_name(name) {
            let what = "a catalog's path is not the name of a file of the tub";
            return Err(ReadError::Tub { path: path.join("manifest.json"), line: 0, what });
        }
        let catalog = path.join(name);
        let content = read_file(&catalog, TEXT_BYTES_MAX)?;
        hash.update(&content);
        for (line, text) in lines(&content) {
            let record: Record = serde_json::from_slice(text)
                .map_err(|source| ReadError::TubJson { path: catalog.clone(), line, source })?;
            if deleted.contains(&record.index) {
                continue;
            }
            if !is_plain_name(&record.image) {
                let what = "cam/image_array is not the name of a file";
                return Err(ReadError::Tub { path: catalog, line, what });
            }
            let motion = motion(record.angle, lock_rad).map_err(|what| ReadError::Tub {
                path: catalog.clone(),
                line,
                what,
            })?;
            files.push(FrameFile { path: path.join("images").join(&record.image), motion });
        }
    }
    let gather = Gather::new(path, shape, rate, rate_source.inverse(), budget);
    let gathered = read_files(path, &files, gather, &mut hash)?;
    Ok((gathered, hash.finalize().into()))
}

/// The last line of the manifest that is not empty.
fn read_manifest(path: &Path, hash: &mut Sha256) -> Result<Catalogs, ReadError> {
    let content = read_file(path, TEXT_BYTES_MAX)?;
    hash.update(&content);
    let Some((line, text)) = lines(&content).last() else {
        return Err(ReadError::Tub { path: path.to_owned(), line: 1, what: "the file is empty" });
    };
    serde_json::from_slice(text).map_err(|source| ReadError::TubJson {
        path: path.to_owned(),
        line,
        source,
    })
}

/// The lines of `content` that are not blank, with their numbers from 1.
fn lines(content: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    content
        .split(|&byte| byte == b'\n')
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim_ascii()))
        .filter(|(_, line)| !line.is_empty())
}

/// Whether `name` is one file name: no path leads out of the tub.
fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(Component::Normal(only)) if only == name)
        && components.next().is_none()
}

fn motion(angle: Option<f64>, lock_rad: f32) -> Result<Option<Motion>, &'static str> {
    let Some(angle) = angle else { return Ok(None) };
    // Recorders clip to ±1; a little beyond is their rounding.
    if !(-1.01..=1.01).contains(&angle) {
        return Err("user/angle is not within -1 and 1");
    }
    let steering_rad = Some(-(angle.clamp(-1.0, 1.0) as f32) * lock_rad);
    Ok(Some(Motion { steering_rad, ..Motion::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_out_of_the_tub_is_none() {
        assert!(is_plain_name("0_cam_image_array_.jpg"));
        for not in ["", ".", "..", "../x.jpg", "a/b.jpg", "/etc/passwd", "a/"] {
            assert!(!is_plain_name(not), "{not:?}");
        }
    }

    #[test]
    fn steering_to_the_left_is_positive() {
        let left = motion(Some(-1.0), 0.5).unwrap().unwrap();
        assert_eq!(left, Motion { steering_rad: Some(0.5), ..Motion::default() });
        assert_eq!(motion(None, 0.5), Ok(None));
        assert!(motion(Some(f64::NAN), 0.5).is_err());
        assert!(motion(Some(90.0), 0.5).is_err());
    }
}
