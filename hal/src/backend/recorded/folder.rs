//! A folder of PNG or JPEG frames, one file a frame; where poses lie beside them, with the motion.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ReadError;
use super::clock::Ratio;
use super::gather::{Budget, Gather, Gathered, check_same_size};
use super::picture::{Picture, read_picture_file};
use super::poses::{POSES_FILE, read_poses};
use crate::{FrameShape, Motion};

/// One frame of a folder or tub: its file, and the motion at it.
pub(super) struct FrameFile {
    pub(super) path: PathBuf,
    pub(super) motion: Option<Motion>,
}

/// Reads the frames `names` of the folder at `path`, which come at `rate_hz`: that is `rate_source`, too.
///
/// The hash is over the poses, if there are any, and the pictures.
pub(super) fn read_folder(
    (path, names, rate_hz): (&Path, &[OsString], f64),
    shape: FrameShape,
    (rate_source, rate): (Ratio, Ratio),
    budget: &mut Budget,
) -> Result<(Gathered, [u8; 32]), ReadError> {
    let mut hash = Sha256::new();
    let poses = path.join(POSES_FILE);
    let motions = if poses.is_file() {
        let (content, motions) = read_poses(&poses, names.len(), rate_hz)?;
        hash.update(&content);
        motions.into_iter().map(Some).collect()
    } else {
        vec![None; names.len()]
    };
    let frame = |(name, motion)| FrameFile { path: path.join::<&OsString>(name), motion };
    let files: Vec<FrameFile> = names.iter().zip(motions).map(frame).collect();
    let gather = Gather::new(path, shape, rate, rate_source.inverse(), budget);
    let gathered = read_files(path, &files, gather, &mut hash)?;
    Ok((gathered, hash.finalize().into()))
}

/// Reads frame files one after another; every file is hashed and its size checked, those that stand
/// for a tick are decoded.
pub(super) fn read_files(
    drive: &Path,
    files: &[FrameFile],
    mut gather: Gather<'_>,
    hash: &mut Sha256,
) -> Result<Gathered, ReadError> {
    if files.is_empty() {
        return Err(ReadError::NoFrame { path: drive.to_owned() });
    }
    let mut first = None;
    for (index, file) in files.iter().enumerate() {
        let content = read_picture_file(&file.path)?;
        hash.update(&content);
        let picture = Picture::open(&file.path, &content)?;
        let size = picture.size();
        check_same_size(&file.path, index, *first.get_or_insert(size), size)?;
        let next = (index + 1 < files.len()).then_some(index as i64 + 1);
        let count = gather.ticks(index, index as i64, next)?;
        if count > 0 {
            gather.add(&picture.rgb()?, size, file.motion, count);
        }
    }
    Ok(gather.finish())
}
