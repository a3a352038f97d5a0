//! What a vehicle measures, codes and tunes with when others ask: its engine, the fleet's pack and its own roads.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use shoal_hal::Drive;
use shoal_runtime::adapter::{Adapter, AdapterError};
use shoal_shadow::batch::MixedBatch;
use shoal_shadow::clip::{Clips, Frames};
use shoal_shadow::measure::{DriveClips, Horizon, Measurement, measure};
use shoal_shadow::pack::{Pack, ReadPackError};
use shoal_shadow::tune::Tuner;
use shoal_swarm::swarm::{Flat, On, TermResult, ValuesHash};
use shoal_wire::{ModelHash, PackHash};

use super::measured::term;
use crate::agent::{Agent, AgentError};

/// Measurements that are remembered: within a window the same adapter is measured beside many others.
const REMEMBERED: usize = 64;
/// Clips predicted at a time: pieces of a pack are short, and a batch that is not full costs a full one.
const BATCH: usize = 1;
/// A span gives this part of its frames, the last ones, to measuring on the vehicle's own roads.
const HELD_BACK_PART: u32 = 6;

/// Why the bench cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The agent cannot.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The evaluation pack cannot be read.
    #[error(transparent)]
    Pack(#[from] ReadPackError),
    /// The pack holds no frames.
    #[error("the evaluation pack holds no frames")]
    EmptyPack,
    /// What came is no adapter of this model.
    #[error("no adapter of this model")]
    Adapter(#[from] AdapterError),
    /// The model file cannot be read.
    #[error("cannot read {path}")]
    Model {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// A vehicle's engine with what it measures on.
pub struct Bench {
    agent: Agent,
    pack: Pack,
    remembered: VecDeque<((ValuesHash, On), Measurement)>,
}

/// The vehicle's own roads, read back for one tuning.
pub(super) struct Roads {
    spans: Vec<Frames>,
    footage: Vec<Drive>,
}

impl Bench {
    /// A bench of this agent and the evaluation pack in `pack`.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn open(agent: Agent, pack: &Path) -> Result<Self, BenchError> {
        let pack = Pack::open(pack)?;
        if pack.parts().is_empty() {
            return Err(BenchError::EmptyPack);
        }
        Ok(Bench { agent, pack, remembered: VecDeque::new() })
    }

    /// The agent.
    pub fn agent(&mut self) -> &mut Agent {
        &mut self.agent
    }

    /// What the utility document calls the pack.
    pub fn pack(&self) -> PackHash {
        PackHash::new(self.pack.sha256())
    }

    /// SHA-256 of the model file.
    ///
    /// # Errors
    /// [`BenchError::Model`].
    pub fn base_model(&self) -> Result<ModelHash, BenchError> {
        let path = self.agent.model_path();
        let bytes = std::fs::read(&path).map_err(|source| {
            let path = path.display().to_string();
            BenchError::Model { path, source }
        })?;
        Ok(ModelHash::new(Sha256::digest(&bytes).into()))
    }

    /// Lengths of the tensors of an adapter's flat run.
    pub fn tensors(&self) -> Vec<u32> {
        self.agent.layout().factors().map(|factor| factor.range.len() as u32).collect()
    }

    /// These values as an adapter.
    ///
    /// # Errors
    /// [`BenchError::Adapter`].
    pub fn adapter(&self, values: &[f32]) -> Result<Adapter, BenchError> {
        Ok(Adapter::from_values(Arc::clone(self.agent.layout()), values.to_vec())?)
    }

    /// One term of an adapter, beside another one on the same clips; `None` where there is nothing to measure on.
    ///
    /// # Errors
    /// [`BenchError`]: it could not be measured.
    pub fn measure(
        &mut self,
        candidate: &Flat,
        beside: Option<&Flat>,
        on: On,
    ) -> Result<Option<TermResult>, BenchError> {
        let candidate = self.measured(candidate, on)?;
        let beside = beside.map(|beside| self.measured(beside, on)).transpose()?;
        Ok(term(&candidate, beside.as_ref()))
    }

    fn measured(&mut self, values: &Flat, on: On) -> Result<Measurement, BenchError> {
        let key = (ValuesHash::of(values), on);
        if let Some((_key, known)) = self.remembered.iter().find(|(other, _)| *other == key) {
            return Ok(known.clone());
        }
        let adapter = self.adapter(values)?;
        let mut predictor = self.agent.predictor(Some(&adapter), BATCH)?;
        let context = self.agent.form().context;
        let measured = match on {
            On::Part(part) => {
                let footages = self.pack.read_turn(usize::from(part))?;
                measure(&mut predictor, &footages.clips(context), Horizon::Next)
            }
            On::Own => {
                let held = |frames| held_back(frames, context).unwrap_or(frames)..frames;
                let spans = self.agent.remembered(held, &mut |_tell| {});
                let clips = clips(&spans, context);
                // A vehicle's own roads count whether or not they move much.
                let own = DriveClips { name: "own".into(), copy_psnr_db: 0.0, clips };
                measure(&mut predictor, &[own], Horizon::Next)
            }
        };
        let measured = measured.map_err(AgentError::from)?;
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((key, measured.clone()));
        Ok(measured)
    }

    /// Reads back what is tuned on: what the vehicle remembers before what it holds back, and the footage that ships
    /// with the model.
    pub(super) fn roads(&mut self) -> Result<Roads, BenchError> {
        let context = self.agent.form().context;
        let tuned_on = |frames| 0..held_back(frames, context).unwrap_or(frames);
        let spans = self.agent.remembered(tuned_on, &mut |_tell| {});
        Ok(Roads { spans, footage: self.agent.footage()? })
    }

    /// A tuner that begins at these values.
    pub(super) fn tuner(&self, from: &Flat, seed: u64) -> Result<Tuner, BenchError> {
        Ok(self.agent.tuner(Some(&self.adapter(from)?), seed)?)
    }

    /// Batches of these roads; `None` when nothing is remembered.
    pub(super) fn batches<'a>(&self, roads: &'a Roads, seed: u64) -> Option<MixedBatch<'a>> {
        let own = clips(&roads.spans, self.agent.form().context);
        self.agent.batches(&own, &roads.footage, seed)
    }
}

fn clips(spans: &[Frames], context: usize) -> Vec<Clips<'_>> {
    spans.iter().map(|span| Clips::of_all(span, context, 1)).collect()
}

/// The first of the frames that a span of this many holds back; `None`: it is too short to spare any.
fn held_back(frames: u32, context: usize) -> Option<u32> {
    let clip = u32::try_from(context).ok()?.checked_add(1)?;
    let back = (frames / HELD_BACK_PART).max(clip);
    // What is left must still give clips to tune on.
    (frames >= back + 2 * clip).then(|| frames - back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_holds_back_its_end_and_keeps_enough_to_tune_on() {
        for frames in 0..200 {
            let Some(first) = held_back(frames, 4) else {
                assert!(frames < 15, "{frames} frames can spare a clip");
                continue;
            };
            // A clip has four past frames and the next.
            assert!(frames - first >= 5 && first >= 10, "{frames} frames held back from {first}");
        }
        assert_eq!(held_back(120, 4), Some(100));
    }
}
