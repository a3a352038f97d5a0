//! The samples of one training step: recipe R for tuning, stronger augmentation for pretraining.
//!
//! Every draw comes from [`Draws`] keyed by (seed, step, sample): a batch can be made again without
//! those before it, and no sample depends on its neighbours.
//!
//! # Loss weights
//! A sample's weight is 1 / (its copy error + a floor), so that its loss reads as error ÷ error of
//! 'nothing moves' = 1 − skill, between 0 and about 1 on a fast road and on a slow one. Weights are not
//! normalised over the batch: the training graph divides by the number of samples, and with that the
//! mean loss, the gradient norm that is clipped and therefore the learning rate mean the same on every
//! road. Dividing by the batch's mean weight would tie a sample to its neighbours and undo it.

mod distil;
mod lessons;
mod pretrain;
mod recipe;
mod view;

pub use distil::Distilled;
pub use lessons::{ATTENTION, HORIZON_S, LessonBatch, Lessons, TURN_RAD};
pub use pretrain::{PickError, Pretraining};
pub use recipe::{Mix, MixedBatch, Road};

use crate::chance::Draws;
use crate::clip::Footage;
use crate::form::Form;
use shoal_hal::Motion;
use view::{Painter, Tone, View, Window};

/// Added to every copy error that divides, in squared RGB units: about 35 dB, camera noise.
const NOISE_FLOOR: f64 = 3e-4;

/// Share of samples whose known motion is withheld: on many roads, and in packs, none is known.
const MOTION_HIDDEN: f32 = 0.5;

/// What stands for a bin that nobody knows: a cross-entropy ignores it.
const NO_BIN: i64 = -1;

/// The tensors of one step, reused from step to step.
#[derive(Clone, Debug)]
pub struct Batch {
    form: Form,
    samples: usize,
    ahead: usize,
    frames: Vec<f32>,
    motion: Vec<f32>,
    target: Vec<f32>,
    weight: Vec<f32>,
    bins: Vec<i64>,
    bin_weight: Vec<f32>,
    /// All frames of the sample being made, `[frames + ahead, 3, height, width]`.
    clip: Vec<f32>,
}

impl Batch {
    /// Room for `samples` samples of `form`, all zero, with one true next frame each.
    pub fn new(form: Form, samples: usize) -> Self {
        Self::with_ahead(form, samples, 1)
    }

    /// As [`Batch::new`], with `ahead` true next frames each: what a roll-out of as many steps is compared with.
    pub fn with_ahead(form: Form, samples: usize, ahead: usize) -> Self {
        let frame = form.shape.bytes();
        Batch {
            samples,
            ahead,
            frames: vec![0.0; samples * form.frames_len()],
            motion: vec![0.0; ahead * samples * form.motion.len()],
            target: vec![0.0; ahead * samples * frame],
            weight: vec![0.0; ahead * samples],
            bins: vec![NO_BIN; ahead * samples],
            bin_weight: vec![0.0; ahead * samples],
            clip: vec![0.0; (form.frames + ahead) * frame],
            form,
        }
    }

    /// How many samples it holds.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// How many true next frames each has.
    pub fn ahead(&self) -> usize {
        self.ahead
    }

    /// Past frames, `[samples, frames, 3, height, width]`, values in `[0, 1]`, oldest first.
    pub fn frames(&self) -> &[f32] {
        &self.frames
    }

    /// `[ahead, samples, rows, columns]` of [`MotionInput`](crate::form::MotionInput), 0 for what is not known.
    pub fn motion(&self) -> &[f32] {
        &self.motion
    }

    /// The true next frames, `[ahead, samples, 3, height, width]`.
    pub fn target(&self) -> &[f32] {
        &self.target
    }

    /// Loss weights, `[ahead, samples]`: each by the copy error of the last frame seen against that step's.
    pub fn weight(&self) -> &[f32] {
        &self.weight
    }

    /// The flat index of what the driver did in the row before each next frame, `[ahead, samples]`; −1 where nobody says
    /// ([`MixedBatch::imitating`]).
    pub fn bins(&self) -> &[i64] {
        &self.bins
    }

    /// Loss weights of these, `[ahead, samples]`: hindsight's, 0 where nobody says.
    pub fn bin_weight(&self) -> &[f32] {
        &self.bin_weight
    }

    /// Tells what the driver did before next frame `step` of sample `index`, and how much it counts.
    fn set_bin(&mut self, index: usize, step: usize, did: Option<(usize, f32)>) {
        let place = step * self.samples + index;
        self.bins[place] = did.map_or(NO_BIN, |(bin, _)| bin as i64);
        self.bin_weight[place] = did.map_or(0.0, |(_, weight)| weight);
    }

    /// Makes sample `index` from `footage` as `view` sees it; `floor` is added to its copy error.
    fn set(
        &mut self,
        index: usize,
        footage: &dyn Footage,
        view: &View,
        floor: f64,
        painter: &mut Painter,
    ) {
        let (form, frame, past) = (&self.form, self.form.shape.bytes(), self.form.frames_len());
        let (samples, values) = (self.samples, self.form.motion.len());
        painter.paint(footage, view, form.context - form.frames, form.shape, &mut self.clip);
        let (before, after) = self.clip.split_at(past);
        self.frames[index * past..][..past].copy_from_slice(before);
        let speed = (view.step * form.rate_hz / footage.rate_hz()) as f32;
        let hidden = view.hide_motion || view.drift.is_some();
        for (step, next) in after.chunks_exact(frame).enumerate() {
            let place = step * samples + index;
            self.target[place * frame..][..frame].copy_from_slice(next);
            let error = mean_square(&before[past - frame..], next);
            self.weight[place] = (1.0 / (error + floor)) as f32;
            let motion = |back: usize| {
                let known = footage.motion(view.index(form.context + step - back));
                known.filter(|_| !hidden).map(|motion| seen(motion, view.flip, speed))
            };
            form.motion.write(motion, &mut self.motion[place * values..][..values]);
        }
    }
}

/// The motion as a view shows it: `speed` times as fast, mirrored if it is flipped.
fn seen(motion: Motion, flip: bool, speed: f32) -> Motion {
    let mirrored = |value: f32| if flip { -value } else { value };
    Motion {
        speed_m_s: motion.speed_m_s.map(|value| value * speed),
        steering_rad: motion.steering_rad.map(mirrored),
        acceleration_m_s2: motion.acceleration_m_s2.map(|value| value * speed * speed),
        lateral_acceleration_m_s2: motion
            .lateral_acceleration_m_s2
            .map(|value| mirrored(value) * speed * speed),
    }
}

/// Mean squared difference of two frames in planes.
pub(crate) fn mean_square(before: &[f32], after: &[f32]) -> f64 {
    let squares: f64 = before
        .chunks(64)
        .zip(after.chunks(64))
        .map(|(before, after)| {
            let squares: f32 = before.iter().zip(after).map(|(a, b)| (a - b) * (a - b)).sum();
            f64::from(squares)
        })
        .sum();
    squares / before.len() as f64
}

/// Which colour each of red, green and blue shows: with probability `chance` any of six orders.
fn colours(draws: &mut Draws, chance: f32) -> [usize; 3] {
    const ORDERS: [[usize; 3]; 6] =
        [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    if draws.happens(chance) { ORDERS[draws.index(ORDERS.len())] } else { ORDERS[0] }
}

/// A window of the given shares of width and height, anywhere in the frame.
fn window(draws: &mut Draws, width: f32, height: f32) -> Window {
    let left = draws.between(0.0, 1.0 - width);
    let top = draws.between(0.0, 1.0 - height);
    Window { left, top, width, height }
}

/// A tone that only makes light brighter or darker.
fn gain(gain: f32) -> Tone {
    Tone { gain, offset: 0.0, gamma: 1.0 }
}
