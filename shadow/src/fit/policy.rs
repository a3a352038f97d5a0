//! The batches of a policy in its training graph.

use shoal_runtime::engine::{EngineError, Session};
use shoal_runtime::gradient::{LossSpec, PlacedLoss};
use shoal_runtime::rollout::Feed;

use super::losses::{classes_only, fitting_losses};
use super::{Binding, FitError};
use crate::batch::LessonBatch;
use crate::form::{Form, FormError, arrange};
use crate::package::{Description, Layout, Reading};

/// Frames and motion in, the driver's bins as targets, one weight a sample: the loss is the weighted sum of their nats, divided
/// by the number of samples.
pub struct Policy {
    frames: usize,
    motion: Option<usize>,
    target: usize,
    weight: usize,
    read: (Layout, [f32; 2]),
    form: Form,
    arranged: Vec<f32>,
}

impl Binding for Policy {
    type Batch = LessonBatch;

    fn losses(package: &Description) -> Result<Vec<LossSpec>, FitError> {
        let action = package.action.as_ref().ok_or(FormError::NoPolicy)?;
        match &action.reading {
            Reading::Grid => fitting_losses(package, |loss| match loss.output == action.output {
                true => classes_only(loss, "what a driver does"),
                false => Some(format!(
                    "what drivers do is a target for [action] `{}` alone",
                    action.output
                )),
            }),
            Reading::Steering(_) | Reading::Value { .. } | Reading::Logits { .. } => {
                Err(FitError::NoLogits { output: action.output.clone() })
            }
        }
    }

    fn feed(_package: &Description) -> Result<Feed, FitError> {
        Err(FitError::NotFedBack { why: "an action is no frame" })
    }

    fn bind(
        package: &Description,
        session: &mut dyn Session,
        losses: &[PlacedLoss],
    ) -> Result<Self, FitError> {
        let form = Form::of_policy(package)?;
        let seen = package.frames.as_ref().ok_or(FormError::NoFrames)?;
        let loss = losses.first().ok_or(FormError::NoPolicy)?;
        let frames = session.input_index(&seen.input)?;
        let motion = match package.signals.as_ref().filter(|_| !form.motion.is_empty()) {
            Some(signals) => Some(session.input_index(&signals.input)?),
            None => None,
        };
        let (target, weight) =
            (session.input_index(&loss.target)?, session.input_index(&loss.weight)?);
        let samples = session.inputs()[frames].ty.values() / form.frames_len();
        if session.inputs()[target].ty.values() != samples {
            return Err(FitError::NoLogits { output: loss.output.clone() });
        }
        let read = (seen.layout, seen.range);
        let arranged = vec![0.0; session.inputs()[frames].ty.values()];
        Ok(Policy { frames, motion, target, weight, read, form, arranged })
    }

    fn write(
        &mut self,
        session: &mut dyn Session,
        batch: &LessonBatch,
        first: usize,
    ) -> Result<(), EngineError> {
        let (past, values) = (self.form.frames_len(), self.form.motion.len());
        let once = self.arranged.len() / past;
        let (layout, range) = self.read;
        let planes = batch.frames()[first * past..].chunks_exact(past);
        for (planes, out) in planes.zip(self.arranged.chunks_exact_mut(past)) {
            arrange(planes, self.form.shape, layout, range, out);
        }
        session.write_f32(self.frames, &self.arranged)?;
        if let Some(motion) = self.motion {
            session.write_f32(motion, &batch.motion()[first * values..][..once * values])?;
        }
        session.write_i64(self.target, &batch.target()[first..first + once])?;
        session.write_f32(self.weight, &batch.weight()[first..first + once])
    }
}
