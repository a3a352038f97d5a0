//! The batches of a camera world model in its training graph.

use shoal_runtime::engine::{EngineError, Session};
use shoal_runtime::gradient::{LossKind, LossSpec, PlacedLoss};
use shoal_runtime::rollout::{Feed, of_step};

use super::losses::{classes_only, fitting_losses};
use super::{Binding, FitError};
use crate::batch::Batch;
use crate::form::{Form, FormError, MotionInput, arrange};
use crate::package::{Action, Description, Layout, NextFrame, Reading};

/// Frames and motion in, the next frames as targets, one weight a sample and frame; of a model that acts, too, what the driver
/// did before each.
pub struct Camera {
    frames: usize,
    /// One for each prediction in a row; none if the model reads no motion.
    motion: Vec<usize>,
    /// What is fed to the losses of each prediction in a row.
    fed: Vec<Vec<Fed>>,
    /// Samples that the graph takes at once.
    once: usize,
    read: (Layout, [f32; 2]),
    written: (Layout, [f32; 2]),
    form: Form,
    arranged: Vec<f32>,
}

/// The target and the weight of one loss or of several on one output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fed {
    /// The next frame.
    Frame { target: usize, weight: usize },
    /// The bin of what the driver did.
    Bin { target: usize, weight: usize },
}

/// Why a batch of frames has no target for a loss.
fn unfit(
    loss: &LossSpec,
    shown: &NextFrame,
    action: Option<&Action>,
    motion: &MotionInput,
) -> Option<String> {
    if loss.output == shown.output {
        let of_classes = matches!(loss.kind, LossKind::CrossEntropy);
        return of_classes.then(|| {
            "a frame has values, not classes: ask for mse, charbonnier or gaussian-nll".to_owned()
        });
    }
    match action.filter(|action| action.output == loss.output) {
        Some(action) if action.reading != Reading::Grid => Some(
            "only logits of action_grid/v1 are trained on what drivers do: other actions are served as they are"
                .to_owned(),
        ),
        Some(_) if !motion.is_empty() && motion.lag == 0 => {
            Some("signals.lag is 0: who acts is not told the next row's motion".to_owned())
        }
        Some(_) => classes_only(loss, "what a driver does"),
        None => {
            let acts = action.map(|action| format!(" and [action] `{}`", action.output));
            Some(format!(
                "batches of frames have targets for [next_frame] `{}`{}",
                shown.output,
                acts.unwrap_or_else(|| " alone".to_owned())
            ))
        }
    }
}

impl Binding for Camera {
    type Batch = Batch;

    fn losses(package: &Description) -> Result<Vec<LossSpec>, FitError> {
        let shown = package.next_frame.as_ref().ok_or(FormError::NoNextFrame)?;
        let (action, motion) = (package.action.as_ref(), Form::of(package)?.motion);
        fitting_losses(package, |loss| unfit(loss, shown, action, &motion))
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
        let frames = session.input_index(&seen.input)?;
        let once = session.inputs()[frames].ty.values() / form.frames_len();
        let mut fed = Vec::new();
        for placed in losses.chunks(package.loss.len().max(1)) {
            let mut ports = Vec::new();
            for (asked, loss) in package.loss.iter().zip(placed) {
                let target = session.input_index(&loss.target)?;
                let weight = session.input_index(&loss.weight)?;
                let port = if asked.output == shown.output {
                    Fed::Frame { target, weight }
                } else if session.inputs()[target].ty.values() == once {
                    Fed::Bin { target, weight }
                } else {
                    return Err(FitError::NoLogits { output: asked.output.clone() });
                };
                if !ports.contains(&port) {
                    ports.push(port);
                }
            }
            fed.push(ports);
        }
        let motion = match package.signals.as_ref().filter(|_| !form.motion.is_empty()) {
            None => Vec::new(),
            Some(signals) if fed.len() == 1 => vec![session.input_index(&signals.input)?],
            Some(signals) => (1..=fed.len())
                .map(|step| session.input_index(&of_step(&signals.input, step)))
                .collect::<Result<_, _>>()?,
        };
        Ok(Camera {
            frames,
            motion,
            fed,
            once,
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
        let (values, once) = (self.form.motion.len(), self.once);
        let of = |run: usize, each: usize| {
            let start = (run * batch.samples() + first) * each;
            start..start + once * each
        };
        let (read, written) = (self.read, self.written);
        self.planes(session, &batch.frames()[of(0, past)], self.frames, once, read)?;
        for step in 0..self.fed.len() {
            for port in 0..self.fed[step].len() {
                match self.fed[step][port] {
                    Fed::Frame { target, weight } => {
                        let planes = &batch.target()[of(step, frame)];
                        self.planes(session, planes, target, once, written)?;
                        session.write_f32(weight, &batch.weight()[of(step, 1)])?;
                    }
                    Fed::Bin { target, weight } => {
                        session.write_i64(target, &batch.bins()[of(step, 1)])?;
                        session.write_f32(weight, &batch.bin_weight()[of(step, 1)])?;
                    }
                }
            }
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
