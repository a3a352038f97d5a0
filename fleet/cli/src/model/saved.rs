//! Where training goes on from.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use sha2::{Digest, Sha256};
use shoal_runtime::onnx::write_whole;
use shoal_shadow::fit::Binding;
use shoal_shadow::tune::Stepper;

use crate::output::{Failure, Outcome};

/// A file: SHA-256 (32 bytes) of what training was asked, then the trainer's checkpoint. Batches are drawn by seed and step, so the step
/// of the checkpoint is the place of their source, too.
pub(super) struct Saved<'a> {
    path: &'a Path,
    head: [u8; 32],
}

impl<'a> Saved<'a> {
    /// Of training that was asked this.
    pub(super) fn new(path: &'a Path, asked: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in asked {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Saved { path, head: hash.finalize().into() }
    }

    /// Fails where nothing could be written here: after the training it is too late.
    pub(super) fn check(path: &Path) -> Outcome {
        if path.is_dir() {
            return Err(format!("{} is a folder: --checkpoint names a file", path.display()).into());
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        // As it is written: beside, then renamed.
        let part = path.with_file_name(name);
        let tried = File::create(&part).and_then(|_file| std::fs::remove_file(&part));
        Ok(tried.map_err(|error| cannot_write(path, &error))?)
    }

    /// What was written behind the head, if there is a file.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, Failure> {
        let bytes = match std::fs::read(self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(format!("cannot read {}: {error}", self.path.display()).into());
            }
        };
        match bytes.split_first_chunk() {
            Some((head, rest)) if *head == self.head => Ok(Some(rest.to_vec())),
            Some(_) | None => {
                let what = "is of another seed, roll-out, learning rate, adapter, model or data: name another file";
                Err(format!("{} {what}", self.path.display()).into())
            }
        }
    }

    /// Writes where training is.
    pub(super) fn write(&self, parts: &[&[u8]]) -> Outcome {
        let bytes = [&[&self.head[..]], parts].concat().concat();
        Ok(write_whole(self.path, &bytes).map_err(|error| cannot_write(self.path, &error))?)
    }

    /// Goes on where the file says, if there is one.
    pub(super) fn resume<B: Binding>(&self, stepper: &mut Stepper<B>) -> Outcome {
        match self.read()? {
            Some(checkpoint) => Ok(stepper.resume(&checkpoint)?),
            None => Ok(()),
        }
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("cannot write the checkpoint {}: {error}", path.display())
}
