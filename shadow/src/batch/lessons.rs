//! What a driver did as lessons for a policy: imitation, weighted by hindsight.

use super::view::{Painter, View, Window, shift};
use super::{gain, seen};
use crate::chance::{Draws, Purpose};
use crate::clip::Footage;
use crate::fit::Source;
use crate::form::Form;
use crate::grid::{ActionGrid, Geometry};
use crate::hindsight::{Known, weights};
use crate::opinion::{Correction, Did};
use crate::policymodel::{ROWS_MAX, turned_columns, turned_rad};
use shoal_hal::Span;
use shoal_hal::backend::synthetic::SimulatedDriver;
use shoal_runtime::engine::EngineError;

/// Seconds after an action that it is judged by.
pub const HORIZON_S: f64 = 3.0;

/// How much more a moment counts in which the driver corrected himself ([`crate::opinion::Corrections`]).
pub const ATTENTION: f32 = 2.0;

/// How far nights turn the camera to either side at most, rad: eight of 128 columns, as far as pretraining does.
pub const TURN_RAD: f32 = 0.08;

/// The tensors of one step of a policy, reused from step to step.
#[derive(Clone, Debug)]
pub struct LessonBatch {
    form: Form,
    frames: Vec<f32>,
    motion: Vec<f32>,
    target: Vec<i64>,
    weight: Vec<f32>,
}

impl LessonBatch {
    /// Room for `samples` samples of `form`, all zero.
    pub fn new(form: Form, samples: usize) -> Self {
        LessonBatch {
            frames: vec![0.0; samples * form.frames_len()],
            motion: vec![0.0; samples * form.motion.len()],
            target: vec![0; samples],
            weight: vec![0.0; samples],
            form,
        }
    }

    /// How many samples it holds.
    pub fn samples(&self) -> usize {
        self.target.len()
    }

    /// What its samples are of.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// Sets what a sample is to teach, and gives room for what is seen and known there: frames
    /// (`[frames, 3, height, width]`) and motion (`[rows, columns]`).
    pub(crate) fn set(
        &mut self,
        index: usize,
        bin: usize,
        weight: f32,
    ) -> (&mut [f32], &mut [f32]) {
        let (frames, values) = (self.form.frames_len(), self.form.motion.len());
        self.target[index] = bin as i64;
        self.weight[index] = weight;
        (&mut self.frames[index * frames..][..frames], &mut self.motion[index * values..][..values])
    }

    /// `[samples, frames, 3, height, width]`, values in `[0, 1]`, oldest first.
    pub fn frames(&self) -> &[f32] {
        &self.frames
    }

    /// `[samples, rows, columns]`, 0 for what is not known.
    pub fn motion(&self) -> &[f32] {
        &self.motion
    }

    /// The flat index of what the driver did, `[samples]`.
    pub fn target(&self) -> &[i64] {
        &self.target
    }

    /// Loss weights, `[samples]`: hindsight's, times [`ATTENTION`] for what is a correction.
    pub fn weight(&self) -> &[f32] {
        &self.weight
    }
}

/// One moment to learn from.
#[derive(Clone, Copy)]
struct Lesson<'a> {
    footage: &'a dyn Footage,
    /// The newest row that is seen, in which the driver did it.
    at: usize,
    did: Did,
    /// As it was driven, 1/m.
    curvature_per_m: f64,
    /// How much more to the left is to be steered, 1/m, for every radian that the camera is turned to the right.
    straightens_1_m_rad: f32,
    weight: f32,
}

impl Lesson<'_> {
    /// What is to be done where the camera is turned to the left by so much.
    fn turned(&self, left_rad: f32) -> Did {
        if left_rad == 0.0 {
            return self.did;
        }
        let back = f64::from(self.straightens_1_m_rad * left_rad);
        let curvature = ActionGrid::v1().curvature_bin(self.curvature_per_m - back);
        Did { curvature: Some(curvature), ..self.did }
    }
}

/// Draws the batches that tune a policy: every moment with equal chances, half of them mirrored, gain 0.8–1.25.
///
/// Weights are not normalised over the batch, so who drives badly counts little beside who drives well; and since AdamW takes no
/// notice of what all gradients are multiplied by, [`Lessons::learning_rate`] makes a bad driver's night one of small steps.
///
/// A driver's own road holds the middle of the lane and no way back to it. [`Lessons::turning`] shows it turned aside.
pub struct Lessons<'a> {
    form: Form,
    seed: u64,
    lessons: Vec<Lesson<'a>>,
    holds_speed: bool,
    /// Columns and rows that pictures are moved by at most.
    turn: [u16; 2],
    painter: Painter,
}

impl<'a> Lessons<'a> {
    /// No lessons yet; all draws come from `seed`.
    pub fn new(form: Form, seed: u64) -> Self {
        let painter = Painter::default();
        Lessons { form, seed, lessons: Vec::new(), holds_speed: false, turn: [0; 2], painter }
    }

    /// The same with a camera that is turned: each moment to the left or right by up to `rad`, in whole columns, with the curvature
    /// that leads back as an attentive driver would; and up or down by up to two rows. A turn needs no depth. What lies beside the
    /// picture is its outermost column. 0: the camera as it was.
    ///
    /// It takes the pictures for those of the camera that the closed loop has, 1.3 as wide as far away
    /// ([`CAMERA_HALF_WIDTH`](shoal_hal::backend::synthetic::CAMERA_HALF_WIDTH)).
    ///
    /// # Source
    /// Turned cameras: Bojarski et al., *End to End Learning for Self-Driving Cars*, 2016, section 3. Why the way back is
    /// forgotten: Ross and Bagnell, *Efficient Reductions for Imitation Learning*, 2010, section 2.
    #[must_use]
    pub fn turning(mut self, rad: f32) -> Self {
        let columns = turned_columns(rad, self.form.shape.width);
        self.turn = [columns, if columns > 0 { ROWS_MAX as u16 } else { 0 }];
        self
    }

    /// The same for logs that know no acceleration, as donkeycar tubs: who drives there is taken to hold the speed (0 m/s²), so
    /// that at least the steering is learnt.
    #[must_use]
    pub fn holding_speed(mut self) -> Self {
        self.holds_speed = true;
        self
    }

    /// Adds the moments of some spans of a road whose curvature and acceleration are both known, with enough rows before them.
    /// `known` has what is known of every frame of the footage ([`Known::of`] its motion, and whatever is known beside it);
    /// `corrections` count their moments by rows: what the driver did now gets [`ATTENTION`], what he took back none. Returns how many
    /// were added.
    ///
    /// Footage at another rate than the model's is not learnt from: its past is not what the policy sees.
    ///
    /// # Panics
    /// If `known` is not of as many frames, or a span is not within the footage.
    pub fn add(
        &mut self,
        footage: &'a dyn Footage,
        spans: &[Span],
        known: &[Known],
        geometry: &Geometry,
        corrections: &[Correction],
    ) -> usize {
        assert_eq!(known.len(), footage.len(), "what is known of every frame");
        if (footage.rate_hz() / self.form.rate_hz - 1.0).abs() > 1e-6 {
            return 0;
        }
        let (before, context) = (self.lessons.len(), self.form.context.max(1));
        for span in spans {
            let weights = weights(&known[span.first..=span.last], footage.rate_hz(), HORIZON_S);
            for at in span.first + context - 1..=span.last {
                let motion = footage.motion(at).unwrap_or_default();
                let did = Did::of_log(&motion, geometry, self.holds_speed);
                if did.bin().is_none() {
                    continue;
                }
                let corrects = corrections.iter().any(|correction| correction.now == at as u64);
                let attention = if corrects { ATTENTION } else { 1.0 };
                let speed = motion.speed_m_s.unwrap_or_default();
                self.lessons.push(Lesson {
                    footage,
                    at,
                    did,
                    curvature_per_m: geometry.curvature_of(&motion).unwrap_or_default(),
                    straightens_1_m_rad: SimulatedDriver::straightens_at_1_m_rad(speed),
                    weight: attention * weights[at - span.first],
                });
            }
        }
        self.lessons.len() - before
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lessons.len()
    }

    /// Whether there is nothing to learn from.
    pub fn is_empty(&self) -> bool {
        self.lessons.is_empty()
    }

    /// Mean weight of all lessons; 0 without one. What a driver teaches, in one figure.
    pub fn weight_mean(&self) -> f64 {
        let sum: f64 = self.lessons.iter().map(|lesson| f64::from(lesson.weight)).sum();
        sum / self.lessons.len().max(1) as f64
    }

    /// How long a night's steps on these lessons are, where `asked` is asked for: as much of it as the mean weight leaves, at most all.
    #[must_use]
    pub fn learning_rate(&self, asked: f64) -> f64 {
        asked * self.weight_mean().min(1.0)
    }

    fn set(
        &mut self,
        index: usize,
        lesson: Lesson<'a>,
        draws: &mut Draws,
        batch: &mut LessonBatch,
    ) {
        let flip = draws.happens(0.5);
        let shape = self.form.shape;
        let [columns, rows] = self.turn.map(|most| draws.whole(most));
        let did = lesson.turned(turned_rad(columns, shape.width));
        let did = if flip { did.mirrored() } else { did };
        let (planes, moved) = batch.set(index, did.bin().unwrap_or(0), lesson.weight);
        let view = View {
            window: Window::WHOLE,
            flip,
            tone: gain(draws.between(0.8, 1.25)),
            colours: [0, 1, 2],
            first: lesson.at + 1 - self.form.frames,
            step: 1.0,
            drift: None,
            hide_motion: false,
        };
        self.painter.paint(lesson.footage, &view, 0, shape, planes);
        shift(planes, shape, if flip { -columns } else { columns }, rows);
        let motion = |back: usize| {
            lesson.footage.motion(lesson.at + 1 - back).map(|motion| seen(motion, flip, 1.0))
        };
        self.form.motion.write(motion, moved);
    }
}

impl Source<LessonBatch> for Lessons<'_> {
    /// # Panics
    /// If there is no lesson, or the batch is of another form.
    fn fill(&mut self, step: u64, batch: &mut LessonBatch) -> Result<(), EngineError> {
        assert_eq!(batch.form, self.form, "a batch of this policy");
        for index in 0..batch.samples() {
            let mut draws = Draws::new(Purpose::Tuning, self.seed, step, index as u64);
            let lesson = self.lessons[draws.index(self.lessons.len())];
            self.set(index, lesson, &mut draws, batch);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::Frames;
    use crate::form::MotionInput;
    use crate::grid::ACCELERATION_BINS;
    use crate::opinion::Corrections;
    use crate::package::{Column, Field};
    use shoal_hal::{FrameShape, Motion};

    const SHAPE: FrameShape = FrameShape { width: 4, height: 2 };

    fn form() -> Form {
        let column = Column::Field { field: Field::SpeedMS, scale: 0.1, offset: 0.0 };
        let motion = MotionInput { rows: 1, lag: 1, columns: vec![column] };
        Form { shape: SHAPE, frames: 2, context: 2, rate_hz: 10.0, motion }
    }

    /// Frame k is bright by k on its left half; the driver steers left at 10 m/s and brakes from frame 60 on.
    fn road() -> Frames {
        let bytes = (0..80_u8).flat_map(|k| [[k; 6], [0; 6], [k; 6], [0; 6]].concat()).collect();
        let motion = (0..80).map(|k| {
            let acceleration = if k < 60 { 0.0 } else { -7.0 };
            Some(Motion {
                speed_m_s: Some(10.0),
                steering_rad: Some(0.2),
                acceleration_m_s2: Some(acceleration),
                ..Motion::default()
            })
        });
        Frames::new(SHAPE, 10.0, bytes, motion.collect()).unwrap()
    }

    fn known(road: &Frames) -> Vec<Known> {
        let of = |at| Known::of(&road.motion(at).unwrap(), &Geometry::default());
        (0..road.len()).map(of).collect()
    }

    #[test]
    fn a_lesson_is_the_drivers_bin_at_the_newest_frame_mirrored_with_it() {
        let road = road();
        let mut lessons = Lessons::new(form(), 5);
        let span = Span { first: 0, last: 20 };
        let added = lessons.add(&road, &[span], &known(&road), &Geometry::default(), &[]);
        assert_eq!((added, lessons.len(), lessons.weight_mean()), (20, 20, 1.0));
        let mut batch = LessonBatch::new(form(), 64);
        lessons.fill(0, &mut batch).unwrap();
        let left = Did::of(&road.motion(0).unwrap(), &Geometry::default());
        let (mut plain, mut mirrored) = (0, 0);
        for (sample, &target) in batch.target().iter().enumerate() {
            let row = &batch.frames()[sample * 2 * SHAPE.bytes()..][SHAPE.bytes()..][..4];
            if row[3] > 0.0 {
                mirrored += 1;
                assert_eq!(target, left.mirrored().bin().unwrap() as i64);
            } else {
                plain += 1;
                assert_eq!(target, left.bin().unwrap() as i64);
            }
            assert_eq!(batch.motion()[sample], 1.0);
        }
        assert!(plain > 10 && mirrored > 10, "{plain} {mirrored}");
    }

    /// The road's bright half ends at column 2, so what is beside it tells how far it was moved: to the right where the camera looks to
    /// the left, and then more is steered to the right.
    #[test]
    fn a_camera_that_is_turned_to_the_left_is_steered_to_the_right() {
        let road = road();
        // A column of four is 0.31 rad.
        let mut lessons = Lessons::new(form(), 5).turning(0.32);
        let span = Span { first: 5, last: 20 };
        lessons.add(&road, &[span], &known(&road), &Geometry::default(), &[]);
        let mut batch = LessonBatch::new(form(), 64);
        lessons.fill(0, &mut batch).unwrap();
        let (mut seen, grid) = ([0; 3], ActionGrid::v1());
        let plain = Did::of(&road.motion(5).unwrap(), &Geometry::default());
        let driven = Geometry::default().curvature_per_m(0.2);
        for (sample, &target) in batch.target().iter().enumerate() {
            let row = &batch.frames()[sample * 2 * SHAPE.bytes()..][SHAPE.bytes()..][..4];
            let bright = row.iter().filter(|light| **light > 0.0).count();
            // 1/6 for every radian at 10 m/s, whose road is pursued 12 m ahead.
            let turned = (bright as i32 - 2) as f32 * libm::atanf(2.0 * 0.65 / 4.0);
            let wanted = grid.curvature_bin(driven - f64::from(turned / 6.0));
            let wanted = Did { curvature: Some(wanted), ..plain };
            let wanted = if row[3] > 0.0 { wanted.mirrored() } else { wanted };
            assert_eq!(target, wanted.bin().unwrap() as i64, "{row:?}");
            seen[bright - 1] += 1;
        }
        assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
    }

    #[test]
    fn what_came_before_a_harsh_brake_weighs_little_and_a_correction_more() {
        let road = road();
        let mut lessons = Lessons::new(form(), 0);
        let span = Span { first: 0, last: 79 };
        let corrected = [Correction { then: 2, now: 3 }];
        lessons.add(&road, &[span], &known(&road), &Geometry::default(), &corrected);
        let weight = |at: usize| lessons.lessons[at - 1].weight;
        assert_eq!((weight(2), weight(3)), (1.0, ATTENTION));
        assert!(weight(31) < 0.05 && weight(59) < 0.05 && weight(70) < 0.05);
    }

    /// The driver is in bin 30 where the policy proposes 40, and a second later in bin 36: the policy was right before him.
    #[test]
    fn a_correction_is_learnt_where_it_was_made_and_not_where_it_was_taken_back() {
        let (grid, geometry) = (ActionGrid::v1(), Geometry::default());
        let steered = |bin: usize| {
            let middle = grid.centre(bin * ACCELERATION_BINS + ACCELERATION_BINS / 2);
            Motion {
                speed_m_s: Some(10.0),
                steering_rad: Some(geometry.steering_rad(middle.curvature_per_m) as f32),
                acceleration_m_s2: Some(0.0),
                ..Motion::default()
            }
        };
        let motion: Vec<Option<Motion>> =
            (0..30).map(|at| Some(steered(if at < 12 { 30 } else { 36 }))).collect();
        let road = Frames::new(SHAPE, 10.0, vec![0; 30 * SHAPE.bytes()], motion).unwrap();
        let mut corrections = Corrections::new(30);
        let found: Vec<Correction> = [(2, Some(40)), (7, None), (12, None)]
            .into_iter()
            .filter_map(|(at, proposed)| {
                let did = Did::of(&road.motion(at).unwrap(), &geometry);
                corrections.handle_moment(at as u64, &did, proposed)
            })
            .collect();
        let mut lessons = Lessons::new(form(), 0);
        lessons.add(&road, &[Span { first: 0, last: 29 }], &known(&road), &geometry, &found);
        let of = |at: usize| {
            let lesson = lessons.lessons[at - 1];
            (lesson.did.curvature, lesson.weight)
        };
        assert_eq!(of(2), (Some(30), 1.0), "what he took back is no more than any moment");
        assert_eq!(of(12), (Some(36), ATTENTION));
        let attended = lessons.lessons.iter().filter(|lesson| lesson.weight > 1.0);
        assert_eq!(attended.count(), 1);
    }

    #[test]
    fn moments_without_both_axes_and_roads_at_another_rate_teach_nothing() {
        let bytes = vec![0; 30 * SHAPE.bytes()];
        let steers = Motion { steering_rad: Some(0.1), ..Motion::default() };
        let blind = Frames::new(SHAPE, 10.0, bytes.clone(), vec![Some(steers); 30]).unwrap();
        let fast = Frames::new(SHAPE, 20.0, bytes, vec![Some(steers); 30]).unwrap();
        let span = [Span { first: 0, last: 29 }];
        let mut lessons = Lessons::new(form(), 0);
        let nothing = vec![Known::default(); 30];
        assert_eq!(lessons.add(&blind, &span, &nothing, &Geometry::default(), &[]), 0);
        assert_eq!(lessons.add(&fast, &span, &nothing, &Geometry::default(), &[]), 0);
        assert!(lessons.is_empty());
        let mut held = Lessons::new(form(), 0).holding_speed();
        assert_eq!(held.add(&blind, &span, &nothing, &Geometry::default(), &[]), 29);
        let still = Motion { acceleration_m_s2: Some(0.0), ..steers };
        assert_eq!(held.lessons[0].did, Did::of(&still, &Geometry::default()));
    }
}
