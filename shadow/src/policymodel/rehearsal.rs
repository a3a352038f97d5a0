//! Rehearsal: lessons on generated roads among a night's own, so that a night forgets less of what the policy was taught.

use shoal_hal::FrameShape;
use shoal_hal::backend::synthetic::LessonForm;
use shoal_runtime::engine::EngineError;

use super::{LESSON_FRAMES, PolicyClip, PolicySession, PolicySource, turned_columns};
use crate::batch::{LessonBatch, Lessons, TURN_RAD};
use crate::fit::Source;
use crate::form::Form;

/// Share of a night's samples that a policy rehearses whose lessons were such: what its package says.
pub const REHEARSAL: f32 = 0.5;

/// Lessons that a night makes at most: 24 MB of frames of the default policy.
const LESSONS_MAX: usize = 400;

/// A night's own lessons, and in the first places of every batch samples of generated roads, of which the policy that begins the
/// night drives two in three.
///
/// Those of generated roads count 1; they are what pretraining draws ([`PolicySource`]), so that a policy that was taught otherwise
/// has nothing to rehearse here. The own ones are those of [`Lessons`], bit for bit.
///
/// # Source
/// Robins, *Catastrophic Forgetting, Rehearsal and Pseudorehearsal*, 1995. Learners at the wheel: Ross, Gordon and Bagnell, *A
/// Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning*, 2011.
pub struct Rehearsed<'a> {
    own: Lessons<'a>,
    source: PolicySource,
    clips: Vec<PolicyClip>,
    places: usize,
}

/// How much is rehearsed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rehearsal {
    /// Share of the samples, 0 to 1.
    pub share: f32,
    /// Samples of a batch.
    pub samples: usize,
    /// Steps of the night.
    pub steps: u32,
    /// Seed of roads and draws.
    pub seed: u64,
}

impl Rehearsal {
    /// Samples of a batch that are rehearsed.
    #[must_use]
    pub fn places(&self) -> usize {
        (self.share.clamp(0.0, 1.0) * self.samples as f32 + 0.5) as usize
    }

    /// As many lessons as show every frame about once.
    fn lessons(&self) -> usize {
        self.places().saturating_mul(self.steps as usize).div_ceil(LESSON_FRAMES).min(LESSONS_MAX)
    }
}

/// The form of lessons for a policy that sees frames of this shape: turned aside by up to [`TURN_RAD`], as in pretraining.
#[must_use]
pub fn lesson_form(shape: FrameShape) -> LessonForm {
    LessonForm { shape, margin: turned_columns(TURN_RAD, shape.width), frames: LESSON_FRAMES }
}

impl<'a> Rehearsed<'a> {
    /// Makes the lessons: frames of the own ones' form, `learner` at the wheel in two of three. It is asked for where anything is
    /// rehearsed, and is then of the rate of generated roads.
    ///
    /// # Errors
    /// Those of `learner`, or [`EngineError`] of who learns.
    /// # Panics
    /// If who learns reads frames of another size.
    pub fn new<E: From<EngineError>>(
        own: Lessons<'a>,
        form: &Form,
        rehearsal: &Rehearsal,
        learner: impl FnOnce() -> Result<PolicySession, E>,
    ) -> Result<Self, E> {
        let lesson = lesson_form(form.shape);
        let seed = rehearsal.seed;
        let mut clips = Vec::new();
        if rehearsal.lessons() > 0 {
            let mut learner = learner()?;
            for number in 0..rehearsal.lessons() {
                let wheel = (!number.is_multiple_of(3)).then_some(&mut learner);
                clips.push(PolicyClip::lesson((seed, number as u64), lesson, wheel)?);
            }
        }
        let places = if clips.is_empty() { 0 } else { rehearsal.places() };
        Ok(Rehearsed { own, source: PolicySource { seed }, clips, places })
    }
}

impl Source<LessonBatch> for Rehearsed<'_> {
    /// # Panics
    /// If there is no own lesson, or the batch is of another form.
    fn fill(&mut self, step: u64, batch: &mut LessonBatch) -> Result<(), EngineError> {
        self.own.fill(step, batch)?;
        self.source.fill_places(step, 0..self.places.min(batch.samples()), &self.clips, batch);
        Ok(())
    }
}
