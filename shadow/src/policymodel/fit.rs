//! The batches of a policy in its training graph.

use shoal_runtime::engine::{EngineError, Session};
use shoal_runtime::gradient::{LossSpec, PlacedLoss};
use shoal_runtime::rollout::Feed;

use super::PolicyBatch;
use crate::fit::{Binding, FitError, only_loss};
use crate::package::{Column, Description, Reading};

/// Frames and speed in, the driver's bin as target, all samples of one weight.
pub struct PolicyBinding {
    frames: usize,
    motion: usize,
    speed: Column,
    target: usize,
    moved: Vec<f32>,
}

/// What a package of a policy of this kind binds: frames, one column of the speed, logits on the grid.
pub(super) fn bound(package: &Description) -> Result<(&str, &str, &Column, &str), FitError> {
    let why = |why| FitError::NoPolicy { why };
    let frames = package.frames.as_ref().ok_or(why("binds no [frames]"))?;
    let action = package.action.as_ref().ok_or(why("binds no [action]"))?;
    if action.reading != Reading::Grid {
        return Err(why("tells no logits on the action grid"));
    }
    let signals = package.signals.as_ref().ok_or(why("binds no [signals]"))?;
    let [speed] = &signals.columns[..] else {
        return Err(why("binds other signals than the speed"));
    };
    if frames.count != super::FRAMES || signals.rows != 1 || signals.lag != 1 {
        return Err(why("reads other rows than the default policy's"));
    }
    Ok((&frames.input, &signals.input, speed, &action.output))
}

impl Binding for PolicyBinding {
    type Batch = PolicyBatch;

    fn loss(package: &Description) -> Result<LossSpec, FitError> {
        let (_, _, _, output) = bound(package)?;
        only_loss(package, &["cross-entropy"], output)
    }

    fn feed(_package: &Description) -> Result<Feed, FitError> {
        Err(FitError::NotFedBack { why: "an action is no frame" })
    }

    fn bind(
        package: &Description,
        session: &mut dyn Session,
        losses: &[PlacedLoss],
    ) -> Result<Self, FitError> {
        let (frames, motion, speed, _) = bound(package)?;
        let loss = losses.first().ok_or(FitError::NoPolicy { why: "has no loss" })?;
        let weight = session.input_index(&loss.weight)?;
        let samples = session.inputs()[weight].ty.values();
        session.write_f32(weight, &vec![1.0; samples])?;
        Ok(PolicyBinding {
            frames: session.input_index(frames)?,
            motion: session.input_index(motion)?,
            speed: *speed,
            target: session.input_index(&loss.target)?,
            moved: Vec::new(),
        })
    }

    /// Policy batches go through their graph whole: `first` is 0.
    fn write(
        &mut self,
        session: &mut dyn Session,
        batch: &PolicyBatch,
        _first: usize,
    ) -> Result<(), EngineError> {
        session.write_f32(self.frames, &batch.frames)?;
        self.moved.clear();
        self.moved.extend(batch.speed_m_s.iter().map(|&speed| shown(&self.speed, speed)));
        session.write_f32(self.motion, &self.moved)?;
        session.write_i64(self.target, &batch.target)
    }
}

/// A speed as the model reads it.
pub(super) fn shown(column: &Column, speed_m_s: f32) -> f32 {
    let motion = shoal_hal::Motion { speed_m_s: Some(speed_m_s), ..shoal_hal::Motion::default() };
    column.value(&motion).unwrap_or(0.0)
}
