//! Batches of what a driver saw and did.

use shoal_hal::backend::synthetic::SimulatedAction;
use shoal_hal::{FrameShape, Motion};

use crate::batch::LessonBatch;
use crate::chance::{Draws, Purpose};
use crate::grid::{Action, ActionGrid};

/// Frames of one camera 0.1 s apart, the speed at each, and what a driver would do there.
#[derive(Clone, Debug)]
pub struct PolicyClip {
    /// Size of every frame.
    pub shape: FrameShape,
    /// RGB, row-major, one after another.
    pub frames: Vec<u8>,
    /// At each frame, m/s.
    pub speed_m_s: Vec<f32>,
    /// What is to be learnt at each frame.
    pub actions: Vec<SimulatedAction>,
}

/// Draws batches from clips, seen as other cameras and on the other side of the road would.
///
/// Half of the samples are mirrored (the curvature with them); brightness 0.6–1.4, offset ±0.1, colours in any order in a
/// third. Before a clip's first frame there is that frame again, as at the start of a drive.
#[derive(Clone, Copy, Debug)]
pub struct PolicySource {
    /// Seed of the draws.
    pub seed: u64,
}

impl PolicySource {
    /// Makes the batch of step `step`: the same for the same step and clips.
    ///
    /// # Panics
    /// If there is no clip, or one is empty or of another shape than the batch.
    pub fn fill(&self, step: u64, clips: &[PolicyClip], batch: &mut LessonBatch) {
        let (shape, count) = (batch.form().shape, batch.form().frames);
        let motion_input = batch.form().motion.clone();
        for sample in 0..batch.samples() {
            let mut draws = Draws::new(Purpose::Pretraining, self.seed, step, sample as u64);
            let clip = &clips[draws.index(clips.len())];
            assert_eq!(clip.shape, shape, "frames of the batch's shape");
            let last = draws.index(clip.actions.len());
            let view = View::draw(&mut draws);
            let sign = if view.mirrored { -1.0 } else { 1.0 };
            let action = Action {
                curvature_per_m: sign * f64::from(clip.actions[last].curvature_1_m),
                acceleration_m_s2: f64::from(clip.actions[last].acceleration_m_s2),
            };
            let (planes, motion) = batch.set(sample, ActionGrid::v1().bin(action), 1.0);
            for (frame, planes) in planes.chunks_exact_mut(shape.bytes()).enumerate() {
                let index = (last + frame + 1).saturating_sub(count);
                view.write(&clip.frames[index * shape.bytes()..][..shape.bytes()], shape, planes);
            }
            let known = |back: usize| {
                let speed_m_s = clip.speed_m_s[(last + 1).saturating_sub(back)];
                Some(Motion { speed_m_s: Some(speed_m_s), ..Motion::default() })
            };
            motion_input.write(known, motion);
        }
    }
}

/// How a sample is seen.
struct View {
    mirrored: bool,
    gain: f32,
    offset: f32,
    colours: [usize; 3],
}

impl View {
    fn draw(draws: &mut Draws) -> Self {
        const ORDERS: [[usize; 3]; 6] =
            [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let mirrored = draws.happens(0.5);
        let (gain, offset) = (draws.between(0.6, 1.4), draws.between(-0.1, 0.1));
        let colours = if draws.happens(0.33) { ORDERS[draws.index(6)] } else { ORDERS[0] };
        View { mirrored, gain, offset, colours }
    }

    /// Bytes in pixels to planes.
    fn write(&self, bytes: &[u8], shape: FrameShape, planes: &mut [f32]) {
        let width = usize::from(shape.width);
        let area = shape.bytes() / 3;
        for (plane, colour) in planes.chunks_exact_mut(area).zip(self.colours) {
            for (row, bytes) in plane.chunks_exact_mut(width).zip(bytes.chunks_exact(3 * width)) {
                for (column, value) in row.iter_mut().enumerate() {
                    let column = if self.mirrored { width - 1 - column } else { column };
                    let byte = f32::from(bytes[3 * column + colour]) / 255.0;
                    *value = (byte * self.gain + self.offset).clamp(0.0, 1.0);
                }
            }
        }
    }
}
