//! Batches of what a driver saw and did.

use std::ops::Range;

use shoal_hal::Motion;
use shoal_hal::backend::synthetic::{
    CAMERA_HALF_WIDTH, LessonForm, SimulatedAction, SimulatedDriver, lesson,
};
use shoal_runtime::engine::EngineError;

use super::PolicySession;
use crate::batch::LessonBatch;
use crate::chance::{Draws, Purpose};
use crate::grid::{Action, ActionGrid};

/// Frames of one camera 0.1 s apart, the speed at each, and what a driver would do there.
#[derive(Clone, Debug)]
pub struct PolicyClip {
    /// Size of what a policy sees of every frame, and what is beside it.
    pub form: LessonForm,
    /// RGB, row-major, one after another, each of [`LessonForm::wide`].
    pub frames: Vec<u8>,
    /// At each frame, m/s.
    pub speed_m_s: Vec<f32>,
    /// What is to be learnt at each frame.
    pub actions: Vec<SimulatedAction>,
    /// How much more to the left is to be steered at each, 1/m, for every radian that the camera is turned to the right.
    pub straightens_1_m_rad: Vec<f32>,
}

impl PolicyClip {
    /// Lesson `number` of the series of `seed` ([`lesson`]): who learns is at the wheel, if given, else the attentive driver.
    /// What is to be learnt is always what the latter would do.
    ///
    /// # Errors
    /// [`EngineError`] of who learns.
    /// # Panics
    /// If who learns reads frames of another size.
    pub fn lesson(
        (seed, number): (u64, u64),
        form: LessonForm,
        mut learner: Option<&mut PolicySession>,
    ) -> Result<Self, EngineError> {
        let mut failed = None;
        if let Some(learner) = &mut learner {
            learner.restart();
        }
        let driven = lesson(seed, number, form, |moment, asked| match &mut learner {
            Some(learner) => learner.act(moment).unwrap_or_else(|error| {
                failed = Some(error);
                asked
            }),
            None => asked,
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(PolicyClip {
                form,
                straightens_1_m_rad: driven
                    .truth
                    .iter()
                    .map(SimulatedDriver::straightens_1_m_rad)
                    .collect(),
                frames: driven.drive.frames(0..driven.drive.len()).to_vec(),
                speed_m_s: driven.truth.iter().map(|truth| truth.speed_m_s).collect(),
                actions: driven.actions,
            }),
        }
    }
}

/// Draws batches from clips, seen as other cameras and on the other side of the road would.
///
/// Half of the samples are mirrored (the curvature with them); brightness 0.6–1.4, offset ±0.1, colours in any order in a
/// third. The camera is turned aside by up to a clip's margin, and what is to be steered with it; it is turned up or down by up to
/// `ROWS_MAX` rows. Before a clip's first frame there is that frame again, as at the start of a drive.
///
/// # Source
/// Turned cameras: Bojarski et al., *End to End Learning for Self-Driving Cars*, 2016, section 3.
#[derive(Clone, Copy, Debug)]
pub struct PolicySource {
    /// Seed of the draws.
    pub seed: u64,
}

/// Rows that a picture is moved up or down at most.
pub(crate) const ROWS_MAX: usize = 2;

impl PolicySource {
    /// Makes the batch of step `step`: the same for the same step and clips.
    ///
    /// # Panics
    /// If there is no clip, or one is empty or of another shape than the batch.
    pub fn fill(&self, step: u64, clips: &[PolicyClip], batch: &mut LessonBatch) {
        self.fill_places(step, 0..batch.samples(), clips, batch);
    }

    /// The same of these places alone; all others stay as they are.
    pub(super) fn fill_places(
        &self,
        step: u64,
        places: Range<usize>,
        clips: &[PolicyClip],
        batch: &mut LessonBatch,
    ) {
        let (shape, count) = (batch.form().shape, batch.form().frames);
        let motion_input = batch.form().motion.clone();
        for sample in places {
            let mut draws = Draws::new(Purpose::Pretraining, self.seed, step, sample as u64);
            let clip = &clips[draws.index(clips.len())];
            assert_eq!(clip.form.shape, shape, "frames of the batch's shape");
            let last = draws.index(clip.actions.len());
            let view = View::draw(&mut draws, &clip.form);
            let sign = if view.mirrored { -1.0 } else { 1.0 };
            let turned = clip.actions[last].curvature_1_m
                - clip.straightens_1_m_rad[last] * view.turned_rad(&clip.form);
            let action = Action {
                curvature_per_m: sign * f64::from(turned),
                acceleration_m_s2: f64::from(clip.actions[last].acceleration_m_s2),
            };
            let (planes, motion) = batch.set(sample, ActionGrid::v1().bin(action), 1.0);
            let bytes = clip.form.wide().bytes();
            for (frame, planes) in planes.chunks_exact_mut(shape.bytes()).enumerate() {
                let index = (last + frame + 1).saturating_sub(count);
                view.write(&clip.frames[index * bytes..][..bytes], &clip.form, planes);
            }
            let known = |back: usize| {
                let speed_m_s = clip.speed_m_s[(last + 1).saturating_sub(back)];
                Some(Motion { speed_m_s: Some(speed_m_s), ..Motion::default() })
            };
            motion_input.write(known, motion);
        }
    }
}

/// How far a camera is turned to the left, rad, whose pictures of `width` columns show everything so many columns further right.
pub(crate) fn turned_rad(columns: i32, width: u16) -> f32 {
    libm::atanf(columns as f32 * 2.0 * CAMERA_HALF_WIDTH / f32::from(width))
}

/// Columns by which a picture of `width` columns moves whose camera is turned by so much, rad.
pub(crate) fn turned_columns(rad: f32, width: u16) -> u16 {
    (libm::tanf(rad) * f32::from(width) / (2.0 * CAMERA_HALF_WIDTH) + 0.5) as u16
}

/// How a sample is seen.
struct View {
    mirrored: bool,
    gain: f32,
    offset: f32,
    colours: [usize; 3],
    /// First column that is seen, and rows that the picture is moved up by, from [`ROWS_MAX`] down.
    column: usize,
    row: usize,
}

impl View {
    fn draw(draws: &mut Draws, form: &LessonForm) -> Self {
        const ORDERS: [[usize; 3]; 6] =
            [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let mirrored = draws.happens(0.5);
        let (gain, offset) = (draws.between(0.6, 1.4), draws.between(-0.1, 0.1));
        let colours = if draws.happens(0.33) { ORDERS[draws.index(6)] } else { ORDERS[0] };
        let column = draws.index(2 * usize::from(form.margin) + 1);
        let row = draws.index(2 * ROWS_MAX + 1);
        View { mirrored, gain, offset, colours, column, row }
    }

    /// How far the camera is turned to the left, rad.
    fn turned_rad(&self, form: &LessonForm) -> f32 {
        turned_rad(i32::from(form.margin) - self.column as i32, form.shape.width)
    }

    /// Bytes in pixels to planes. What lies above or below the picture is its outermost row.
    fn write(&self, bytes: &[u8], form: &LessonForm, planes: &mut [f32]) {
        let [width, wide] = [form.shape.width, form.wide().width].map(usize::from);
        let rows = usize::from(form.shape.height);
        for (plane, colour) in planes.chunks_exact_mut(width * rows).zip(self.colours) {
            for (row, line) in plane.chunks_exact_mut(width).enumerate() {
                let row = (row + self.row).saturating_sub(ROWS_MAX).min(rows - 1);
                let seen = &bytes[3 * (row * wide + self.column)..][..3 * width];
                for (column, value) in line.iter_mut().enumerate() {
                    let column = if self.mirrored { width - 1 - column } else { column };
                    let byte = f32::from(seen[3 * column + colour]) / 255.0;
                    *value = (byte * self.gain + self.offset).clamp(0.0, 1.0);
                }
            }
        }
    }
}
