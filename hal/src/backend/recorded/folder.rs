//! A folder of PNG or JPEG frames, one file a frame.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ReadError;
use super::clock::Ratio;
use super::gather::{Budget, Gather, Gathered, check_same_size};
use super::picture::{Picture, read_picture_file};
use crate::{FrameShape, Motion};

/// One frame of a folder or tub: its file, and the motion at it.
pub(super) struct FrameFile {
    pub(super) path: PathBuf,
    pub(super) motion: Option<Motion>,
}

/// Reads the frames `names` of the folder at `path`, which come at `rate_source`.
pub(super) fn read_folder(
    path: &Path,
    names: &[OsString],
    shape: FrameShape,
    (rate_source, rate): (Ratio, Ratio),
    budget: &mut Budget,
) -> Result<(Gathered, [u8; 32]), ReadError> {
    let files: Vec<FrameFile> =
        names.iter().map(|name| FrameFile { path: path.join(name), motion: None }).collect();
    let mut hash = Sha256::new();
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
