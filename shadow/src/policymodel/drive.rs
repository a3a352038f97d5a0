//! A policy that drives in the closed loop on generated roads, and what it is held against.

use std::num::NonZeroUsize;

use shoal_hal::FrameShape;
use shoal_hal::backend::synthetic::{SimulatedAction, SimulatedDriver, Truth};
use shoal_runtime::engine::{Engine, EngineError, LoadOptions, Session};
use shoal_runtime::onnx::Model;

use super::FRAMES;
use super::fit::{bound, shown};
use crate::fit::{FitError, prepare};
use crate::grid::{ACCELERATION_BINS, ActionGrid, BINS};
use crate::package::{Column, Description};

/// Why a policy cannot drive.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum PolicySessionError {
    /// The model cannot be loaded, or its package is not one of a policy.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The engine failed.
    #[error("the policy cannot be run")]
    Engine(#[from] EngineError),
    /// Its output is not the grid's.
    #[error("the policy's output `{output}` has {got} values, the action grid {BINS} bins")]
    Output { output: String, got: usize },
}

/// A policy in a session of one sample.
pub struct PolicySession {
    session: Box<dyn Session>,
    shape: FrameShape,
    frames: usize,
    motion: usize,
    speed: Column,
    action: usize,
    /// The last frames in planes, oldest first; empty before the first.
    seen: Vec<f32>,
}

impl PolicySession {
    /// Loads the policy of a package.
    ///
    /// # Errors
    /// [`PolicySessionError`].
    pub fn load(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        threads: NonZeroUsize,
    ) -> Result<Self, PolicySessionError> {
        let (frames, motion, speed, output) = bound(package)?;
        let shape = package.frames.as_ref().map(|frames| frames.shape);
        let shape = shape.ok_or(FitError::NoPolicy { why: "binds no [frames]" })?;
        let options = LoadOptions { threads, ..LoadOptions::default() };
        let session = engine.load(&prepare(model, 1)?.model, &options)?;
        let action = session.output_index(output)?;
        let got = session.outputs()[action].ty.values();
        if got != BINS {
            return Err(PolicySessionError::Output { output: output.to_owned(), got });
        }
        Ok(PolicySession {
            frames: session.input_index(frames)?,
            motion: session.input_index(motion)?,
            speed: *speed,
            session,
            shape,
            action,
            seen: Vec::new(),
        })
    }

    /// Size of the frames that it reads.
    #[must_use]
    pub fn shape(&self) -> FrameShape {
        self.shape
    }

    /// Forgets what it saw: another drive begins.
    pub fn restart(&mut self) {
        self.seen.clear();
    }

    /// Logits on the grid after one more frame (RGB, row-major) at this speed.
    ///
    /// # Errors
    /// [`EngineError`].
    /// # Panics
    /// If the frame is of another size.
    pub fn logits(&mut self, frame: &[u8], speed_m_s: f32) -> Result<&[f32], EngineError> {
        let (size, area) = (self.shape.bytes(), self.shape.bytes() / 3);
        assert_eq!(frame.len(), size, "a frame of the policy's size");
        if self.seen.is_empty() {
            self.seen.resize(FRAMES * size, 0.0);
            (1..FRAMES)
                .for_each(|index| write(frame, area, &mut self.seen[index * size..][..size]));
        }
        self.seen.copy_within(size.., 0);
        write(frame, area, &mut self.seen[(FRAMES - 1) * size..]);
        self.session.write_f32(self.frames, &self.seen)?;
        self.session.write_f32(self.motion, &[shown(&self.speed, speed_m_s)])?;
        self.session.run()?;
        self.session.output_f32(self.action)
    }

    /// What it would do: the mean of its distribution over the bins' middles.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn act(&mut self, frame: &[u8], speed_m_s: f32) -> Result<SimulatedAction, EngineError> {
        Ok(mean_action(self.logits(frame, speed_m_s)?))
    }
}

/// Bytes in pixels to planes in `[0, 1]`.
fn write(frame: &[u8], area: usize, planes: &mut [f32]) {
    for (colour, plane) in planes.chunks_exact_mut(area).enumerate() {
        for (value, pixel) in plane.iter_mut().zip(frame.chunks_exact(3)) {
            *value = f32::from(pixel[colour]) / 255.0;
        }
    }
}

/// The mean action of the softmax of logits.
fn mean_action(logits: &[f32]) -> SimulatedAction {
    let grid = ActionGrid::v1();
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    let (mut sum, mut curvature, mut acceleration) = (0.0, 0.0, 0.0);
    for (row, logits) in logits.chunks(ACCELERATION_BINS).enumerate() {
        for (column, logit) in logits.iter().enumerate() {
            let weight = libm::exp(f64::from(logit - most));
            let centre = grid.centre(row * ACCELERATION_BINS + column);
            sum += weight;
            curvature += weight * centre.curvature_per_m;
            acceleration += weight * centre.acceleration_m_s2;
        }
    }
    SimulatedAction {
        curvature_1_m: (curvature / sum) as f32,
        acceleration_m_s2: (acceleration / sum) as f32,
    }
}

/// Who drives in the closed loop.
pub enum Reflex<'a> {
    /// A policy, by what it sees.
    Policy(&'a mut PolicySession),
    /// A driver who sees the truth.
    Driver(Box<SimulatedDriver>),
    /// Straight on at the speed there is.
    Straight,
    /// What an attentive driver did at the start, for ever.
    Hold(Option<SimulatedAction>),
}

impl Reflex<'_> {
    /// What is done at this moment.
    ///
    /// # Errors
    /// [`EngineError`] of the policy.
    pub fn act(&mut self, frame: &[u8], truth: &Truth) -> Result<SimulatedAction, EngineError> {
        match self {
            Reflex::Policy(session) => session.act(frame, truth.speed_m_s),
            Reflex::Driver(driver) => Ok(driver.act(truth)),
            Reflex::Straight => Ok(SimulatedAction::default()),
            Reflex::Hold(held) => {
                let first = || SimulatedAction {
                    curvature_1_m: truth.curvature_1_m,
                    acceleration_m_s2: truth.acceleration_m_s2,
                };
                Ok(*held.get_or_insert_with(first))
            }
        }
    }

    /// Forgets the drive before.
    pub fn restart(&mut self) {
        match self {
            Reflex::Policy(session) => session.restart(),
            Reflex::Hold(held) => *held = None,
            Reflex::Driver(_) | Reflex::Straight => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::Action;

    #[test]
    fn the_mean_action_of_a_certain_policy_is_its_bin() {
        let action = Action { curvature_per_m: 0.03, acceleration_m_s2: -2.0 };
        let bin = ActionGrid::v1().bin(action);
        let mut logits = vec![0.0; BINS];
        logits[bin] = 60.0;
        let centre = ActionGrid::v1().centre(bin);
        let mean = mean_action(&logits);
        assert!((f64::from(mean.curvature_1_m) - centre.curvature_per_m).abs() < 1e-6);
        assert!((f64::from(mean.acceleration_m_s2) - centre.acceleration_m_s2).abs() < 1e-5);
    }
}
