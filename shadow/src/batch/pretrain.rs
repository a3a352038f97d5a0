//! Batches that pretrain a model on generated roads or footage: much augmentation, no road favoured.

use super::view::{self, Drift, Painter, Tone, View, Window};
use super::{Batch, MOTION_HIDDEN, NOISE_FLOOR, colours, window};
use crate::chance::{Draws, Purpose};
use crate::clip::Footage;
use crate::form::Form;
use shoal_hal::Span;

/// Share of samples that are a still frame under an evenly moving camera.
const STILL: f32 = 0.1;

/// Why a batch could not be made.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// A span that was given has no room for a clip.
    #[error("a span of {frames} frames is given, a clip needs {needed}")]
    TooShort { frames: usize, needed: usize },
    /// A span that was given is not of its footage.
    #[error("frames {first} to {last} are given of footage with {frames}")]
    Outside { first: usize, last: usize, frames: usize },
}

/// Makes the batches that pretrain a model.
///
/// Per sample: flip ½; in 70 % a window (width 0.56–1 of the frame's, aspect 0.85–1.2) resized; the
/// model's time step in half of the samples, else 0.6–1.5 of it (true frames only: footage of a higher
/// rate than the model's gives more of them); gain 0.7–1.25, offset ±0.08, gamma 0.7–1.4; colours in any
/// order in 20 %; in 10 % the clip is one still frame under a camera that zooms, pans and rolls evenly.
/// Motion is withheld in half of the samples. Weight 1 / (copy error of the sample + 3e-4).
pub struct Pretraining {
    form: Form,
    seed: u64,
    painter: Painter,
}

impl Pretraining {
    /// Batches for a model of `form`; all draws come from `seed`.
    pub fn new(form: Form, seed: u64) -> Self {
        Pretraining { form, seed, painter: Painter::default() }
    }

    /// Makes the batch of step `step`. `source` gives the footage of each sample, and the span of it
    /// that the clip may lie in; it must draw from nothing but what it is given.
    ///
    /// # Errors
    /// [`PickError`] if a span is too short for a clip or outside its footage.
    /// # Panics
    /// If `batch` was made for another form.
    pub fn fill<'a>(
        &mut self,
        step: u64,
        mut source: impl FnMut(&mut Draws) -> (&'a dyn Footage, Span),
        batch: &mut Batch,
    ) -> Result<(), PickError> {
        assert_eq!(batch.form, self.form, "a batch of this model");
        for index in 0..batch.samples() {
            let mut draws = Draws::new(Purpose::Pretraining, self.seed, step, index as u64);
            let (footage, span) = source(&mut draws);
            let (first, last, frames) = (span.first, span.last, footage.len());
            if first > last || last >= frames {
                return Err(PickError::Outside { first, last, frames });
            }
            self.sample(index, footage, span, &mut draws, batch)?;
        }
        Ok(())
    }

    fn sample(
        &mut self,
        index: usize,
        footage: &dyn Footage,
        span: Span,
        draws: &mut Draws,
        batch: &mut Batch,
    ) -> Result<(), PickError> {
        let flip = draws.happens(0.5);
        let window = if draws.happens(0.7) {
            let width = draws.between(0.5625, 1.0);
            let height = (width * draws.between(0.85, 1.2)).min(1.0);
            window(draws, width, height)
        } else {
            Window::WHOLE
        };
        let speed = if draws.happens(0.5) { 1.0 } else { f64::from(draws.between(0.6, 1.5)) };
        let (gain, offset) = (draws.between(0.7, 1.25), draws.between(-0.08, 0.08));
        let tone = Tone { gain, offset, gamma: draws.between(0.7, 1.4) };
        let colours = colours(draws, 0.2);
        let drift = draws.happens(STILL).then(|| drift(draws));
        let hide_motion = draws.happens(MOTION_HIDDEN);

        let ratio = footage.rate_hz() / self.form.rate_hz;
        let context = self.form.context;
        let plain = view::true_step(ratio, 1.0);
        let step = view::true_step(ratio, speed);
        let (frames, needed) = (span.last - span.first + 1, view::reach(context, plain) + 1);
        if frames < needed {
            return Err(PickError::TooShort { frames, needed });
        }
        let start = span.first + draws.index(frames - needed + 1);
        let (first, step) = view::place(span, start, context, step, plain)
            .expect("the span has room for the model's own step");
        let view = View { window, flip, tone, colours, first, step, drift, hide_motion };
        batch.set(index, footage, &view, NOISE_FLOOR, &mut self.painter);
        Ok(())
    }
}

/// Mostly into the picture, as a camera on a road; a few pixels a step at the edges.
fn drift(draws: &mut Draws) -> Drift {
    Drift {
        zoom: draws.between(-0.01, 0.05),
        right: draws.between(-0.03, 0.03),
        down: draws.between(-0.01, 0.01),
        roll_rad: draws.between(-0.015, 0.015),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::Frames;
    use crate::form::MotionInput;
    use shoal_hal::FrameShape;

    const SHAPE: FrameShape = FrameShape { width: 8, height: 4 };

    fn form() -> Form {
        Form { shape: SHAPE, frames: 4, context: 4, rate_hz: 10.0, motion: MotionInput::NONE }
    }

    /// Footage larger than the model's frames and at 25 Hz, each frame of one light.
    fn footage() -> Frames {
        let shape = FrameShape { width: 10, height: 5 };
        let bytes = (0..60_u8).flat_map(|k| [40 + 3 * k; 150]).collect();
        Frames::new(shape, 25.0, bytes, Vec::new()).unwrap()
    }

    #[test]
    fn batches_repeat_from_seed_and_step_and_hold_what_they_say() {
        let footage = footage();
        let fill = |seed, step| {
            let mut batch = Batch::new(form(), 8);
            let source =
                |_: &mut Draws| -> (&dyn Footage, Span) { (&footage, Span { first: 0, last: 59 }) };
            Pretraining::new(form(), seed).fill(step, source, &mut batch).unwrap();
            batch
        };
        let batch = fill(4, 9);
        assert_eq!(batch.frames(), fill(4, 9).frames());
        assert_ne!(batch.frames(), fill(4, 10).frames());
        assert_ne!(batch.frames(), fill(5, 9).frames());

        let size = SHAPE.bytes();
        for sample in 0..8 {
            let last = &batch.frames()[(sample * 4 + 3) * size..][..size];
            let next = &batch.target()[sample * size..][..size];
            let error = super::super::mean_square(last, next);
            let weight = f64::from(batch.weight()[sample]);
            assert!((weight * (error + 3e-4) - 1.0).abs() < 1e-5);
            assert!(last.iter().chain(next).all(|value| (0.0..=1.0).contains(value)));
        }
    }

    #[test]
    fn spans_too_short_or_outside_are_refused() {
        let footage = footage();
        let mut batch = Batch::new(form(), 8);
        let mut fill = |first, last| {
            let source =
                |_: &mut Draws| -> (&dyn Footage, Span) { (&footage, Span { first, last }) };
            Pretraining::new(form(), 0).fill(0, source, &mut batch)
        };
        assert_eq!(fill(3, 12), Err(PickError::TooShort { frames: 10, needed: 11 }));
        assert_eq!(fill(3, 60), Err(PickError::Outside { first: 3, last: 60, frames: 60 }));
        assert_eq!(fill(3, 13), Ok(()));
    }
}
