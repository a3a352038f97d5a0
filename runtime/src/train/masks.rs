//! The masks of dropout, drawn for every step.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::engine::{EngineError, Session};
use crate::graft::MASK;

/// Draws the masks of a training graph ([`crate::graft::with_masks`]): 0 with the rate's chance, else 1 ÷ (1 − rate), so that the
/// mean of what goes on is what came.
///
/// Words of ChaCha8 with key SHA-256(`shoal/dropout` ‖ seed u64 ‖ step u64 ‖ part u32 ‖ name of the input, little-endian), nonce
/// 0: word w is dropped if (w ≫ 8)·2⁻²⁴ is below the rate. The same step has the same masks, whatever was before it.
#[derive(Debug)]
pub struct Masks {
    /// Input, its name, its values.
    inputs: Vec<(usize, String, usize)>,
    rate: f64,
    seed: u64,
    values: Vec<f32>,
}

impl Masks {
    /// Those of a session; `rate` is in `[0, 1)`. They are ones until they are drawn.
    ///
    /// # Errors
    /// [`EngineError`] if the engine fails.
    pub fn of(session: &mut dyn Session, rate: f64, seed: u64) -> Result<Self, EngineError> {
        let ports = session.inputs().iter().enumerate();
        let inputs: Vec<(usize, String, usize)> = ports
            .filter(|(_, port)| port.name.starts_with(MASK))
            .map(|(index, port)| (index, port.name.clone(), port.ty.values()))
            .collect();
        let most = inputs.iter().map(|(_, _, values)| *values).max().unwrap_or(0);
        let mut masks = Masks { inputs, rate, seed, values: vec![1.0; most] };
        masks.open(session)?;
        Ok(masks)
    }

    /// Lets everything through, as where losses are measured.
    ///
    /// # Errors
    /// [`EngineError`] if the engine fails.
    pub fn open(&mut self, session: &mut dyn Session) -> Result<(), EngineError> {
        self.values.fill(1.0);
        let mut inputs = self.inputs.iter();
        inputs.try_for_each(|(input, _, count)| session.write_f32(*input, &self.values[..*count]))
    }

    /// What the last of them was given, and behind it what is left of longer ones.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Draws those of one part of a step's batch.
    ///
    /// # Errors
    /// [`EngineError`] if the engine fails.
    pub fn draw(
        &mut self,
        session: &mut dyn Session,
        step: u64,
        part: u32,
    ) -> Result<(), EngineError> {
        let kept = (1.0 / (1.0 - self.rate)) as f32;
        let bound = (self.rate * f64::from(1 << 24)).ceil() as u32;
        for (input, name, count) in &self.inputs {
            let mut key = Sha256::new();
            key.update(b"shoal/dropout");
            key.update(self.seed.to_le_bytes());
            key.update(step.to_le_bytes());
            key.update(part.to_le_bytes());
            key.update(name.as_bytes());
            let mut random = ChaCha8Rng::from_seed(key.finalize().into());
            let values = &mut self.values[..*count];
            values.fill_with(|| if random.next_u32() >> 8 < bound { 0.0 } else { kept });
            session.write_f32(*input, values)?;
        }
        Ok(())
    }
}
