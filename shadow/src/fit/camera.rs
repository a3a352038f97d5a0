//! The batches of a camera world model in its training graph.

use shoal_runtime::engine::{EngineError, Session};
use shoal_runtime::gradient::{LossKind, LossSpec, PlacedLoss};

use super::{Binding, FitError};
use crate::batch::Batch;
use crate::form::{Form, FormError, arrange};
use crate::package::{Description, Layout};

/// Frames and motion in, the next frame as target, one weight a sample.
pub struct Camera {
    frames: usize,
    motion: Option<usize>,
    target: usize,
    weight: usize,
    read: (Layout, [f32; 2]),
    written: (Layout, [f32; 2]),
    form: Form,
    arranged: Vec<f32>,
}

impl Binding for Camera {
    type Batch = Batch;

    fn loss(package: &Description) -> Result<LossSpec, FitError> {
        let shown = package.next_frame.as_ref().ok_or(FormError::NoNextFrame)?;
        Ok(LossSpec { kind: LossKind::Mse, output: shown.output.clone() })
    }

    fn bind(
        package: &Description,
        session: &mut dyn Session,
        loss: &PlacedLoss,
    ) -> Result<Self, FitError> {
        let form = Form::of(package)?;
        let seen = package.frames.as_ref().ok_or(FormError::NoFrames)?;
        let shown = package.next_frame.as_ref().ok_or(FormError::NoNextFrame)?;
        let signals = package.signals.as_ref().filter(|_| !form.motion.is_empty());
        Ok(Camera {
            frames: session.input_index(&seen.input)?,
            motion: signals.map(|signals| session.input_index(&signals.input)).transpose()?,
            target: session.input_index(&loss.target)?,
            weight: session.input_index(&loss.weight)?,
            read: (seen.layout, seen.range),
            written: (shown.layout, shown.range),
            form,
            arranged: Vec::new(),
        })
    }

    fn write(&mut self, session: &mut dyn Session, batch: &Batch) -> Result<(), EngineError> {
        let shape = self.form.shape;
        let parts =
            [(batch.frames(), self.frames, self.read), (batch.target(), self.target, self.written)];
        for (planes, input, (layout, range)) in parts {
            if layout == Layout::Nchw && range == [0.0, 1.0] {
                session.write_f32(input, planes)?;
                continue;
            }
            self.arranged.resize(planes.len(), 0.0);
            let sample = planes.len() / batch.samples();
            for (from, to) in planes.chunks(sample).zip(self.arranged.chunks_mut(sample)) {
                arrange(from, shape, layout, range, to);
            }
            session.write_f32(input, &self.arranged)?;
        }
        if let Some(motion) = self.motion {
            session.write_f32(motion, batch.motion())?;
        }
        session.write_f32(self.weight, batch.weight())
    }
}
