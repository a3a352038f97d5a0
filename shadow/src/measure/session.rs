//! A model in a session as a predictor.

use std::num::NonZeroUsize;

use super::Predictor;
use crate::form::{Form, FormError, arrange, restore};
use crate::grid;
use crate::package::{Description, Layout, Reading};
use shoal_runtime::engine::{EngineError, Session, TensorPort};
use shoal_runtime::onnx::Element;

/// Why a session cannot predict frames as its package says.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum SessionPredictorError {
    /// The package is not one of a camera world model.
    #[error(transparent)]
    Form(#[from] FormError),
    /// A tensor that the package names is not in the model.
    #[error("model.toml does not fit the model")]
    Binding(#[source] EngineError),
    /// A tensor that the package names has another type or shape.
    #[error(
        "model.toml binds `{tensor}` to {bound}: {want} f32 values a sample; the model has {got}"
    )]
    Shape { tensor: String, bound: &'static str, want: usize, got: String },
}

/// A world model in a [`Session`], with its tensors bound as the package describes.
pub struct SessionPredictor {
    description: String,
    form: Form,
    session: Box<dyn Session>,
    batch: usize,
    adapters: usize,
    frames: usize,
    motion: Option<usize>,
    next: usize,
    /// The output with what the model would do, and its values a sample.
    action: Option<(usize, usize)>,
    read: (Layout, [f32; 2]),
    written: (Layout, [f32; 2]),
    arranged: Vec<f32>,
    moved: Vec<f32>,
}

impl SessionPredictor {
    /// Binds a session of a pinned model; the batch is the first dimension of its frames input.
    ///
    /// Inputs that the package does not bind (factors of an adapter) keep what is in their buffers:
    /// write them through [`SessionPredictor::session_mut`].
    ///
    /// # Errors
    /// [`SessionPredictorError`], naming the tensor.
    pub fn new(
        session: Box<dyn Session>,
        package: &Description,
    ) -> Result<Self, SessionPredictorError> {
        SessionPredictor::of_many(session, package, NonZeroUsize::MIN)
    }

    /// Binds a session of a graph that runs so many adapters at once (see [`shoal_runtime::many`]), each of which gives a next
    /// frame.
    ///
    /// # Errors
    /// As [`SessionPredictor::new`].
    pub fn of_many(
        session: Box<dyn Session>,
        package: &Description,
        adapters: NonZeroUsize,
    ) -> Result<Self, SessionPredictorError> {
        let adapters = adapters.get();
        let form = Form::of(package)?;
        let seen = package.frames.as_ref().ok_or(FormError::NoFrames)?;
        let shown = package.next_frame.as_ref().ok_or(FormError::NoNextFrame)?;
        let binding = SessionPredictorError::Binding;
        let frames = session.input_index(&seen.input).map_err(binding)?;
        let next = session.output_index(&shown.output).map_err(binding)?;
        let signals = package.signals.as_ref().filter(|_| !form.motion.is_empty());
        let motion = match signals {
            Some(signals) => Some(session.input_index(&signals.input).map_err(binding)?),
            None => None,
        };
        let batch = session.inputs()[frames].ty.dims.first().copied().unwrap_or(0).max(1);
        check(&session.inputs()[frames], "the frames", batch, form.frames_len())?;
        check(&session.outputs()[next], "the next frame", adapters * batch, form.shape.bytes())?;
        if let Some(motion) = motion {
            check(&session.inputs()[motion], "the motion", batch, form.motion.len())?;
        }
        // What one of several would do is nobody's question.
        let action = match package.action.as_ref().filter(|_| adapters == 1) {
            Some(action) => {
                let index = session.output_index(&action.output).map_err(binding)?;
                let values = match &action.reading {
                    Reading::Logits { bins, .. } => bins.count(),
                    Reading::Grid => grid::BINS,
                    Reading::Value { .. } | Reading::Steering(_) => {
                        session.outputs()[index].ty.values() / batch
                    }
                };
                check(&session.outputs()[index], "the action", batch, values.max(1))?;
                Some((index, values))
            }
            None => None,
        };
        Ok(SessionPredictor {
            description: package.name.clone(),
            arranged: vec![0.0; batch * form.frames_len()],
            moved: vec![0.0; batch * form.motion.len()],
            form,
            session,
            batch,
            adapters,
            frames,
            motion,
            next,
            action,
            read: (seen.layout, seen.range),
            written: (shown.layout, shown.range),
        })
    }

    /// What the model would do, as its `action` output says of the first clip of the last prediction; `None` if the
    /// package binds no such output.
    ///
    /// # Errors
    /// [`EngineError`] if the engine that runs it fails.
    pub fn action(&mut self) -> Result<Option<&[f32]>, EngineError> {
        let Some((output, values)) = self.action else { return Ok(None) };
        Ok(Some(&self.session.output_f32(output)?[..values]))
    }

    /// The session, to write inputs that are not bound here.
    pub fn session_mut(&mut self) -> &mut dyn Session {
        &mut *self.session
    }
}

/// Checks that a tensor has `batch` samples of `want` f32 values.
pub(super) fn check(
    port: &TensorPort,
    bound: &'static str,
    batch: usize,
    want: usize,
) -> Result<(), SessionPredictorError> {
    if port.ty.element == Element::F32 && port.ty.values() == batch * want {
        return Ok(());
    }
    let (tensor, got) = (port.name.clone(), format!("{} {:?}", port.ty.element, port.ty.dims));
    Err(SessionPredictorError::Shape { tensor, bound, want, got })
}

impl Predictor for SessionPredictor {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn form(&self) -> &Form {
        &self.form
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn adapters(&self) -> usize {
        self.adapters
    }

    fn predict(
        &mut self,
        clips: usize,
        frames: &[f32],
        motion: &[f32],
        next: &mut [f32],
    ) -> Result<(), EngineError> {
        assert!((1..=self.batch).contains(&clips), "{clips} clips for a batch of {}", self.batch);
        let (shape, (layout, range)) = (self.form.shape, self.read);
        let past = self.form.frames_len();
        for (index, out) in self.arranged.chunks_exact_mut(past).enumerate() {
            arrange(sample(frames, past, index.min(clips - 1)), shape, layout, range, out);
        }
        self.session.write_f32(self.frames, &self.arranged)?;
        if let Some(input) = self.motion {
            let values = self.form.motion.len();
            for (index, out) in self.moved.chunks_exact_mut(values).enumerate() {
                out.copy_from_slice(sample(motion, values, index.min(clips - 1)));
            }
            self.session.write_f32(input, &self.moved)?;
        }
        self.session.run()?;
        let out = self.session.output_f32(self.next)?;
        let (layout, range) = self.written;
        let frame = shape.bytes();
        let by_adapter = out.chunks_exact(self.batch * frame);
        for (next, out) in next.chunks_exact_mut(clips * frame).zip(by_adapter) {
            for (planes, out) in next.chunks_exact_mut(frame).zip(out.chunks_exact(frame)) {
                restore(out, shape, layout, range, planes);
            }
        }
        Ok(())
    }
}

/// Sample `index` of values that hold `len` each. A batch that is not full repeats its last clip, so
/// that nothing of an earlier one is in it.
pub(super) fn sample(values: &[f32], len: usize, index: usize) -> &[f32] {
    &values[index * len..(index + 1) * len]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::Copy;
    use crate::clip::Frames;
    use crate::measure::{DriveClips, Horizon, measure};
    use crate::{clip::Clips, measure::copy_psnr_db};
    use shoal_hal::{FrameShape, Motion};
    use shoal_runtime::engine::Engine;
    use shoal_runtime::engine::testing::{ort_or_skip, plain_options};
    use shoal_runtime::onnx::{Attr, Builder, Model, TensorType};

    /// 4×2 pixels; bytes read as −1 … 1; frames in channels; `steer` is [speed / 10].
    const PACKAGE: &str = "
        name = 'turn'
        rate_hz = 10.0
        [frames]
        input = 'seen'
        count = 2
        width = 4
        height = 2
        layout = 'nhwc'
        range = [-1.0, 1.0]
        [signals]
        input = 'steer'
        columns = [{ field = 'speed_m_s', scale = 0.1 }]
        [next_frame]
        output = 'comes'
        layout = 'nhwc'
    ";

    fn package(toml: &str) -> Description {
        Description::parse("model.toml", toml, "turn").unwrap()
    }

    /// `comes` = 2·last − before + 0·steer, a line through the last two frames, three at a time; `would` = 2·steer.
    fn model(rows: usize) -> Model {
        let mut b = Builder::new(17);
        let seen = b.input("seen", TensorType::f32(&[3, rows, 4, 6]));
        let speed = b.input("steer", TensorType::f32(&[3, 1]));
        let split = [("axis", Attr::Int(3))];
        let halves = b.i64s(&[3, 3]);
        let parts = b.op_n("Split", &[Some(&seen), Some(&halves)], &split, 2).unwrap();
        let step = b.op("Sub", &[&parts[1], &parts[0]], &[]).unwrap();
        let sum = b.op("Add", &[&parts[1], &step], &[]).unwrap();
        let axes = b.i64s(&[1, 2]);
        let steer = b.op("Unsqueeze", &[&speed, &axes], &[]).unwrap();
        let zero = b.scalar(0.0);
        let nothing = b.op("Mul", &[&steer, &zero], &[]).unwrap();
        let comes = b.op("Add", &[&sum, &nothing], &[]).unwrap();
        b.output("comes", &comes);
        let two = b.scalar(2.0);
        let would = b.op("Mul", &[&speed, &two], &[]).unwrap();
        b.output("would", &would);
        b.into_model()
    }

    #[test]
    fn a_model_in_a_session_predicts_in_its_own_layout_and_range() {
        let Some(ort) = ort_or_skip() else { return };
        let session = ort.load(&model(2), &plain_options()).unwrap();
        let mut predictor = SessionPredictor::new(session, &package(PACKAGE)).unwrap();
        assert_eq!(predictor.batch(), 3);
        let form = predictor.form().clone();

        // Every pixel and colour on a line of its own, of up to nine units of a byte a frame.
        let shape = FrameShape { width: 4, height: 2 };
        let bytes = (0..10)
            .flat_map(|k| (0..24).map(move |place| (place + k * place * 2 / 5) as u8))
            .collect();
        let motion = vec![Some(Motion { speed_m_s: Some(9.0), ..Motion::default() }); 10];
        let road = Frames::new(shape, 10.0, bytes, motion).unwrap();
        let drive = DriveClips {
            name: "lines".into(),
            copy_psnr_db: copy_psnr_db(&road),
            clips: vec![Clips::of_all(&road, 2, 1)],
        };
        let drives = [drive];
        let measured = measure(&mut predictor, &drives, Horizon::NextAndRollout).unwrap();
        let copied = measure(&mut Copy::new(form), &drives, Horizon::Next).unwrap();
        assert_eq!(measured.drives[0].next.clips(), 8); // Two batches of three and one of two.
        let errors = &measured.drives[0].next;
        // Rounded lines: at most one unit of a byte off, where a copy is up to nine off.
        assert!(errors.model.iter().all(|&error| error < 1.0 / (255.0 * 255.0)), "{errors:?}");
        assert!(errors.skill().unwrap() > 0.9);
        assert_eq!(errors.copy, copied.drives[0].next.copy);
    }

    #[test]
    fn what_the_model_would_do_comes_beside_its_prediction() {
        let Some(ort) = ort_or_skip() else { return };
        let load = |toml: &str| {
            let session = ort.load(&model(2), &plain_options()).unwrap();
            SessionPredictor::new(session, &package(toml))
        };
        let acts = format!(
            "{PACKAGE}\n[action]\noutput = 'would'\nfield = 'speed_m_s'\ntolerance = 1.0\n"
        );
        let mut predictor = load(&acts).unwrap();
        let (frames, mut next) = (vec![0.5; 3 * 48], vec![0.0; 3 * 24]);
        predictor.predict(3, &frames, &[0.7, 0.1, 0.2], &mut next).unwrap();
        assert_eq!(predictor.action().unwrap(), Some(&[1.4_f32][..]));
        assert_eq!(load(PACKAGE).unwrap().action().unwrap(), None);
        let said = load(&acts.replace("'would'", "'comes'")).map(|_| ());
        assert!(said.is_ok(), "of several values the first counts");
        let said = load(&acts.replace("'would'", "'could'")).map(|_| ()).unwrap_err().to_string();
        assert_eq!(said, "model.toml does not fit the model");
    }

    #[test]
    fn a_package_that_does_not_fit_the_model_is_refused_by_the_tensors_name() {
        let Some(ort) = ort_or_skip() else { return };
        let new = |rows, toml: &str| {
            let session = ort.load(&model(rows), &plain_options()).unwrap();
            SessionPredictor::new(session, &package(toml)).map(|_| ()).unwrap_err().to_string()
        };
        let said = new(3, PACKAGE);
        assert!(said.contains("binds `seen` to the frames: 48 f32 values a sample"), "{said}");
        let said = new(2, &PACKAGE.replace("'comes'", "'goes'"));
        assert_eq!(said, "model.toml does not fit the model");
    }
}
