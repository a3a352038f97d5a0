//! A trainer's state as bytes, so that training goes on where it stopped, to the bit.
//!
//! ```text
//! magic "SHTC" ‖ version u32 ‖ parameters [32] ‖ step u64 ‖ values ‖ means ‖ squares
//!   ‖ averages u8 [‖ average] ‖ SHA-256 [32] of all before it
//! parameters = SHA-256 over, per parameter in order: length u32 and name ‖ rank u32 and dims u64…
//! ```
//!
//! Little-endian; the four runs are f32, in the order of the parameters.

use sha2::{Digest, Sha256};

use super::{TrainError, Trainer};

const MAGIC: &[u8; 4] = b"SHTC";
const VERSION: u32 = 1;
const HASH: usize = 32;
const HEADER: usize = 4 + 4 + HASH + 8;

/// Why a checkpoint is refused. The trainer is then untouched.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Not the first bytes of a checkpoint.
    #[error("no training checkpoint: it does not begin with SHTC")]
    Foreign,
    /// Written by another version.
    #[error("checkpoint of version {got}, version {VERSION} is read")]
    Version { got: u32 },
    /// Bytes were changed or lost.
    #[error("the checkpoint is damaged: {bytes} bytes whose SHA-256 is not the one at their end")]
    Damaged { bytes: usize },
    /// Whole, and what no training leaves: it was made by something else.
    #[error("the checkpoint holds {value} at {index} of its {run}: train from the start")]
    Value { run: &'static str, index: usize, value: f32 },
    /// Of another graph.
    #[error("the checkpoint is of other parameters: their names or shapes differ")]
    OtherParameters,
    /// The trainer keeps a running average and the checkpoint has none, or the other way round.
    #[error("the checkpoint {} a running average of the parameters", if *has { "has" } else { "lacks" })]
    Average { has: bool },
    /// The engine did not take the parameters.
    #[error("the parameters of the checkpoint could not be written")]
    Write(#[source] TrainError),
}

impl Trainer {
    /// Parameters, moments and step count, as the head of this file lays them out.
    ///
    /// # Errors
    /// [`TrainError::Engine`] when they cannot be brought from a device.
    pub fn checkpoint(&mut self) -> Result<Vec<u8>, TrainError> {
        self.bring()?;
        let state = &self.state;
        let mut bytes = Vec::with_capacity(self.checkpoint_bytes());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.parameters_hash());
        bytes.extend_from_slice(&self.step.to_le_bytes());
        for run in [&state.values, &state.means, &state.squares] {
            write(run, &mut bytes);
        }
        bytes.push(u8::from(self.options.average.is_some()));
        write(&state.average, &mut bytes);
        let hash = Sha256::digest(&bytes);
        bytes.extend_from_slice(&hash);
        Ok(bytes)
    }

    /// Goes on from a checkpoint of the same graph; the next step is the one that would have
    /// followed.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        if !bytes.starts_with(MAGIC) {
            return Err(CheckpointError::Foreign);
        }
        let damaged = CheckpointError::Damaged { bytes: bytes.len() };
        let Some((body, hash)) = bytes.split_last_chunk::<HASH>() else { return Err(damaged) };
        if Sha256::digest(body).as_slice() != hash || body.len() <= HEADER {
            return Err(damaged);
        }
        let (header, body) = body.split_at(HEADER);
        let version = u32::from_le_bytes(header[4..8].try_into().expect("four bytes"));
        if version != VERSION {
            return Err(CheckpointError::Version { got: version });
        }
        if header[8..8 + HASH] != self.parameters_hash() {
            return Err(CheckpointError::OtherParameters);
        }
        let run = self.state.values.len() * 4;
        let has = match body.get(3 * run) {
            Some(0) => false,
            Some(1) => true,
            Some(_) | None => return Err(damaged),
        };
        if has != self.options.average.is_some() {
            return Err(CheckpointError::Average { has });
        }
        if body.len() != 3 * run + 1 + self.state.average.len() * 4 {
            return Err(damaged);
        }
        check(body, run)?;
        self.step = u64::from_le_bytes(header[HEADER - 8..].try_into().expect("eight bytes"));
        read(&body[..run], &mut self.state.values);
        read(&body[run..2 * run], &mut self.state.means);
        read(&body[2 * run..3 * run], &mut self.state.squares);
        read(&body[3 * run + 1..], &mut self.state.average);
        self.restate().map_err(|error| CheckpointError::Write(error.into()))
    }

    fn checkpoint_bytes(&self) -> usize {
        HEADER + 12 * self.state.values.len() + 1 + 4 * self.state.average.len() + HASH
    }

    fn parameters_hash(&self) -> [u8; HASH] {
        let mut hash = Sha256::new();
        for parameter in &self.parameters {
            hash.update((parameter.name.len() as u32).to_le_bytes());
            hash.update(parameter.name.as_bytes());
            hash.update((parameter.dims.len() as u32).to_le_bytes());
            for &dim in &parameter.dims {
                hash.update((dim as u64).to_le_bytes());
            }
        }
        hash.finalize().into()
    }
}

/// All of it is finite, and no mean of squares is negative; one that is too large for its type is infinite.
fn check(body: &[u8], run: usize) -> Result<(), CheckpointError> {
    type Sound = fn(f32) -> bool;
    let runs: [(&str, &[u8], Sound); 4] = [
        ("values", &body[..run], f32::is_finite),
        ("means", &body[run..2 * run], f32::is_finite),
        ("squares", &body[2 * run..3 * run], |square| square >= 0.0),
        ("average", &body[3 * run + 1..], f32::is_finite),
    ];
    for (run, bytes, is_sound) in runs {
        let values = bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value));
        if let Some((index, value)) = values.enumerate().find(|(_index, value)| !is_sound(*value)) {
            return Err(CheckpointError::Value { run, index, value });
        }
    }
    Ok(())
}

fn write(run: &[f32], bytes: &mut Vec<u8>) {
    for value in run {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
}

fn read(bytes: &[u8], run: &mut [f32]) {
    for (value, bytes) in run.iter_mut().zip(bytes.chunks_exact(4)) {
        *value = f32::from_le_bytes(bytes.try_into().expect("four bytes"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_training_leaves_is_refused() {
        let of = |runs: [[f32; 2]; 3]| {
            let mut body: Vec<u8> = runs.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
            body.push(0);
            check(&body, 8)
        };
        assert!(of([[1.0, -2.0], [0.0, -0.5], [0.0, f32::INFINITY]]).is_ok());
        for (runs, want) in [
            ([[1.0, f32::NAN], [0.0; 2], [0.0; 2]], ("values", 1)),
            ([[f32::INFINITY, 1.0], [0.0; 2], [0.0; 2]], ("values", 0)),
            ([[0.0; 2], [f32::NAN, 0.0], [0.0; 2]], ("means", 0)),
            ([[0.0; 2], [0.0; 2], [0.0, -1.0]], ("squares", 1)),
            ([[0.0; 2], [0.0; 2], [f32::NAN, 0.0]], ("squares", 0)),
        ] {
            match of(runs) {
                Err(CheckpointError::Value { run, index, .. }) => assert_eq!((run, index), want),
                other => panic!("{other:?}"),
            }
        }
    }
}
