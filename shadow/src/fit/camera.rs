//! The batches of a camera world model in its training graph.

use shoal_runtime::engine::{EngineError, Session};
use shoal_runtime::gradient::{LossSpec, PlacedLoss};
use shoal_runtime::rollout::{Feed, of_step};

use super::{Binding, FitError};
use crate::batch::Batch;
use crate::form::{Form, FormError, arrange};
use crate::package::{Description, Layout};

/// Frames and motion in, the next frames as targets, one weight a sample and frame.
pub struct Camera {
    frames: usize,
    /// One for each prediction in a row; none if the model reads no motion.
    motion: Vec<usize>,
    /// Target and weight of each prediction in a row.
    losses: Vec<(usize, usize)>,
    read: (Layout, [f32; 2]),
    written: (Layout, [f32; 2]),
    form: Form,
    arranged: Vec<f32>,
}

impl Binding for Camera {
    type Batch = Batch;

    fn loss(package: &Description) -> Result<LossSpec, FitError> {
        let shown = package.next_frame.as_ref().ok_or(FormError::NoNextFrame)?;
        super::only_loss(package, &["mse", "charbonnier", "gaussian-nll"], &shown.output)
    }

    /// The next frame, clamped as where it is measured, becomes the newest of the frames.
    fn feed(package: &Description) -> Result<Feed, FitError> {
        let seen = package.frames.as_ref().ok_or(FormError::NoFrames)?;
        let shown = package.next_frame.as_ref().ok_or(FormError::NoNextFrame)?;
        if (seen.layout == Layout::Nchw) != (shown.layout == Layout::Nchw) {
            return Err(FitError::NotFedBack { why: "its layout is not that of the frames" });
        }
        if seen.range != shown.range {
            return Err(FitError::NotFedBack { why: "its range is not that of the frames" });
        }
        let axis = match seen.layout {
            Layout::Nchw | Layout::Nthwc => 1,
            Layout::Nhwc => 3,
        };
        Ok(Feed {
            output: shown.output.clone(),
            input: seen.input.clone(),
            axis: (seen.count > 1).then_some(axis),
            clamp: Some(shown.range),
        })
    }

    fn bind(
        package: &Description,
        session: &mut dyn Session,
        losses: &[PlacedLoss],
    ) -> Result<Self, FitError> {
        let form = Form::of(package)?;
        let seen = package.frames.as_ref().ok_or(FormError::NoFrames)?;
        let shown = package.next_frame.as_ref().ok_or(FormError::NoNextFrame)?;
        let motion = match package.signals.as_ref().filter(|_| !form.motion.is_empty()) {
            None => Vec::new(),
            Some(signals) if losses.len() == 1 => vec![session.input_index(&signals.input)?],
            Some(signals) => (1..=losses.len())
                .map(|step| session.input_index(&of_step(&signals.input, step)))
                .collect::<Result<_, _>>()?,
        };
        let ports = |loss: &PlacedLoss| -> Result<_, EngineError> {
            Ok((session.input_index(&loss.target)?, session.input_index(&loss.weight)?))
        };
        Ok(Camera {
            frames: session.input_index(&seen.input)?,
            motion,
            losses: losses.iter().map(ports).collect::<Result<_, _>>()?,
            read: (seen.layout, seen.range),
            written: (shown.layout, shown.range),
            form,
            arranged: Vec::new(),
        })
    }

    fn write(
        &mut self,
        session: &mut dyn Session,
        batch: &Batch,
        first: usize,
    ) -> Result<(), EngineError> {
        let (frame, past) = (self.form.shape.bytes(), self.form.frames_len());
        let values = self.form.motion.len();
        // The weight of a step has one value a sample: as many as the graph takes at once.
        let once =
            self.losses.first().map_or(0, |&(_, weight)| session.inputs()[weight].ty.values());
        let of = |run: usize, each: usize| {
            let start = (run * batch.samples() + first) * each;
            start..start + once * each
        };
        let (read, written) = (self.read, self.written);
        self.planes(session, &batch.frames()[of(0, past)], self.frames, once, read)?;
        for step in 0..self.losses.len() {
            let (target, weight) = self.losses[step];
            self.planes(session, &batch.target()[of(step, frame)], target, once, written)?;
            session.write_f32(weight, &batch.weight()[of(step, 1)])?;
            if let Some(&motion) = self.motion.get(step) {
                session.write_f32(motion, &batch.motion()[of(step, values)])?;
            }
        }
        Ok(())
    }
}

impl Camera {
    /// Writes frames of `once` samples in the order and range that the model has them in.
    fn planes(
        &mut self,
        session: &mut dyn Session,
        planes: &[f32],
        input: usize,
        once: usize,
        (layout, range): (Layout, [f32; 2]),
    ) -> Result<(), EngineError> {
        if layout == Layout::Nchw && range == [0.0, 1.0] {
            return session.write_f32(input, planes);
        }
        self.arranged.resize(planes.len(), 0.0);
        let sample = planes.len() / once.max(1);
        for (from, to) in planes.chunks(sample).zip(self.arranged.chunks_mut(sample)) {
            arrange(from, self.form.shape, layout, range, to);
        }
        session.write_f32(input, &self.arranged)
    }
}
