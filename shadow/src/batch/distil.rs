//! Learning without forgetting: what the shipped model predicts in the place of what came.

use std::ops::Range;

use shoal_runtime::engine::EngineError;

use super::{Batch, MixedBatch};
use crate::fit::Source;
use crate::measure::Predictor;

/// The batches of a [`MixedBatch`], the last of whose augmented samples have as target what a model predicts for them.
///
/// With the shipped model as teacher an adapter stays near it where nothing that was seen contradicts it. A
/// sample is made as without a teacher and keeps its weight, 1 / (e + 0.5·ē + 3e-4) of the frame that came: its loss reads as
/// the distance to the teacher ÷ the error of 'nothing moves' there, in the unit of the other samples, so that `count` samples
/// of a batch count as so many. All other samples are those of the `MixedBatch`, bit for bit. What the teacher predicts is
/// clamped to `[0, 1]`, as where it is measured.
///
/// # Source
/// Learning without Forgetting, Li and Hoiem, arXiv 1606.09282: old outputs are recorded on inputs of the task that is learnt.
/// There a distillation loss stands beside the loss of each input; here, for frames, it is the squared error of other samples.
pub struct Distilled<'a, P> {
    source: MixedBatch<'a>,
    teacher: P,
    places: Range<usize>,
}

impl<'a, P: Predictor> Distilled<'a, P> {
    /// As many samples of a batch as `teacher` takes at once are distilled from it; `None` if so many are not augmented
    /// ([`MixedBatch::augmented`]).
    pub fn new(source: MixedBatch<'a>, teacher: P) -> Option<Self> {
        let augmented = source.augmented();
        let first = augmented.end.checked_sub(teacher.batch())?;
        let places = first..augmented.end;
        (first >= augmented.start).then_some(Distilled { source, teacher, places })
    }

    /// Which samples of a batch are distilled.
    #[must_use]
    pub fn places(&self) -> Range<usize> {
        self.places.clone()
    }
}

impl<P: Predictor> Source<Batch> for Distilled<'_, P> {
    /// # Panics
    /// If `batch` or the teacher are of another form or number of samples than the source. Of several frames ahead the first
    /// is the teacher's, the others are those that came.
    fn fill(&mut self, step: u64, batch: &mut Batch) -> Result<(), EngineError> {
        self.source.fill(step, batch);
        assert_eq!(*self.teacher.form(), batch.form, "a teacher of this model");
        // What is of the first step stands first.
        let Batch { form, frames, motion, target, .. } = batch;
        let of = |values: usize| self.places.start * values..self.places.end * values;
        self.teacher.predict(
            self.places.len(),
            &frames[of(form.frames_len())],
            &motion[of(form.motion.len())],
            &mut target[of(form.shape.bytes())],
        )
    }
}

#[cfg(test)]
mod tests {
    use shoal_hal::FrameShape;

    use super::*;
    use crate::batch::{Mix, Road};
    use crate::clip::{Clips, Frames};
    use crate::form::{Form, MotionInput};

    const SHAPE: FrameShape = FrameShape { width: 4, height: 2 };

    fn form() -> Form {
        let motion = MotionInput::speed_and_steering();
        Form { shape: SHAPE, frames: 2, context: 2, rate_hz: 10.0, motion }
    }

    /// Half of the last frame's light and a quarter of the motion's first value, `.0` clips at a time.
    struct Half(usize, Form);

    impl Predictor for Half {
        fn describe(&self) -> String {
            "half".into()
        }

        fn form(&self) -> &Form {
            &self.1
        }

        fn batch(&self) -> usize {
            self.0
        }

        fn predict(
            &mut self,
            clips: usize,
            frames: &[f32],
            motion: &[f32],
            next: &mut [f32],
        ) -> Result<(), EngineError> {
            let size = SHAPE.bytes();
            assert_eq!((frames.len(), next.len()), (2 * clips * size, clips * size));
            for (sample, next) in next.chunks_exact_mut(size).enumerate() {
                let last = &frames[(2 * sample + 1) * size..][..size];
                let values = next.iter_mut().zip(last);
                values.for_each(|(next, last)| *next = 0.5 * last + 0.25 * motion[2 * sample]);
            }
            Ok(())
        }
    }

    fn mixed(own: &Frames) -> MixedBatch<'_> {
        let own = Road::new(&[Clips::of_all(own, 2, 1)], &form()).unwrap();
        MixedBatch::new(form(), Mix::RECIPE_R, vec![own.clone()], vec![own], 3).unwrap()
    }

    #[test]
    fn distilled_samples_have_the_teachers_prediction_of_their_own_input_and_others_are_as_they_were()
     {
        let bytes = (0..40 * SHAPE.bytes()).map(|at| (at * 37 % 251) as u8).collect();
        let own = Frames::new(SHAPE, 10.0, bytes, Vec::new()).unwrap();
        let (mut plain, mut told) = (Batch::new(form(), 8), Batch::new(form(), 8));
        let mut distilled = Distilled::new(mixed(&own), Half(2, form())).unwrap();
        assert_eq!(distilled.places(), 4..6);
        for step in 0..3 {
            mixed(&own).fill(step, &mut plain);
            distilled.fill(step, &mut told).unwrap();
            assert_eq!((told.frames(), told.motion()), (plain.frames(), plain.motion()));
            assert_eq!(told.weight(), plain.weight());
            let size = SHAPE.bytes();
            for sample in 0..8 {
                let of = |batch: &Batch| batch.target()[sample * size..][..size].to_vec();
                let (frames, motion) = (
                    &plain.frames()[2 * sample * size..][..2 * size],
                    &plain.motion()[2 * sample..],
                );
                let mut want = vec![0.0; size];
                Half(1, form()).predict(1, frames, &motion[..2], &mut want).unwrap();
                let want = if (4..6).contains(&sample) { want } else { of(&plain) };
                assert_eq!(of(&told), want, "sample {sample}");
            }
        }
    }

    #[test]
    fn no_more_are_distilled_than_are_augmented() {
        let own = Frames::new(SHAPE, 10.0, vec![9; 40 * SHAPE.bytes()], Vec::new()).unwrap();
        assert!(Distilled::new(mixed(&own), Half(3, form())).is_some());
        assert!(Distilled::new(mixed(&own), Half(4, form())).is_none());
        assert!(Distilled::new(mixed(&own), Half(9, form())).is_none());
    }
}
