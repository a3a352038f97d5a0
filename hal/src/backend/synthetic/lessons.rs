//! Short drives to learn driving from: displaced, disturbed, and labelled with what an attentive driver would do.

use sha2::{Digest, Sha256};

use super::closed::{ClosedLoop, SimulatedAction, Start, StartLeader};
use super::draw::Draws;
use super::driver::{Driven, SimulatedDriver, Style};
use super::{Region, Road, split};
use crate::{Drive, FrameShape, Moment};

/// Name of the stream of draws.
const LESSON: u32 = 19;

/// Share of the lessons that begin behind someone, at these gaps (m) and shares of the own speed.
const LEADER_SHARE: f32 = 0.4;
const LEADER_GAP_M: (f32, f32) = (4.0, 90.0);
const LEADER_SPEED: (f32, f32) = (0.0, 1.15);

/// Share of the lessons on a road whose bends are tighter, and how much.
const BENT_SHARE: f32 = 0.5;
const BENT: (f32, f32) = (1.0, 5.0);

/// What lessons are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LessonForm {
    /// What is seen at the wheel.
    pub shape: FrameShape,
    /// Columns that are kept at each side of it, so that one who looks a little aside can be shown what he would see.
    pub margin: u16,
    /// Frames of a lesson at most, at 10 Hz.
    pub frames: usize,
}

impl LessonForm {
    /// The frames that are kept.
    #[must_use]
    pub fn wide(&self) -> FrameShape {
        let width = self.shape.width.saturating_add(self.margin.saturating_mul(2));
        FrameShape { width, ..self.shape }
    }

    /// What is seen at the wheel of a frame that is kept.
    fn cut(&self, wide: &[u8], seen: &mut [u8]) {
        let [wide_row, row, margin] = [self.wide().width, self.shape.width, self.margin]
            .map(|columns| 3 * usize::from(columns));
        for (wide, seen) in wide.chunks_exact(wide_row).zip(seen.chunks_exact_mut(row)) {
            seen.copy_from_slice(&wide[margin..margin + row]);
        }
    }
}

/// Lesson number `index` of the endless series of `seed`, on roads of the pretraining share alone: fewer frames than
/// asked for where something went wrong.
///
/// It begins up to 1 m beside the lane's middle, turned by up to 0.06 rad, at 0.4 to 1.3 of the wanted speed, often behind
/// someone near, and often on a road whose bends are up to five times as tight as its region's. `wheel` says what is done: it is given the
/// moment and what an attentive driver would do there. What is done is now and then not what it says. But
/// [`Driven::actions`] is always what an attentive driver would do where the vehicle came to be: so the way back is in the
/// lessons too, and what a learner's own mistakes lead to if it is at the wheel.
///
/// # Panics
/// If `shape` has no pixel.
/// # Source
/// Shifted and turned views: Bojarski et al., *End to End Learning for Self-Driving Cars*, 2016, section 3. Disturbed
/// supervisors: Laskey et al., *DART: Noise Injection for Robust Imitation Learning*, 2017. Learners at the wheel: Ross,
/// Gordon and Bagnell, *A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning*, 2011.
#[must_use]
pub fn lesson(
    seed: u64,
    index: u64,
    form: LessonForm,
    mut wheel: impl FnMut(&Moment<'_>, SimulatedAction) -> SimulatedAction,
) -> Driven {
    let mut draws = Draws::new(LESSON, seed, index);
    let (road, mut closed) = begin(&form, &mut draws);
    let mut seen = vec![0; form.shape.bytes()];
    let mut driver = SimulatedDriver::new(Style::Attentive, seed);
    let mut bytes = Vec::with_capacity(form.frames * form.wide().bytes());
    let (mut motion, mut truths, mut actions) = (Vec::new(), Vec::new(), Vec::new());
    let mut events = Vec::new();
    let mut push = (SimulatedAction::default(), 0);
    for index in 0..form.frames {
        let (moment, truth) = (closed.moment(), closed.truth());
        let wide = moment.frame.unwrap_or_default();
        bytes.extend_from_slice(wide);
        form.cut(wide, &mut seen);
        motion.push(moment.motion);
        let action = driver.act(&truth);
        let mut done = wheel(&Moment { frame: Some(&seen), ..moment }, action);
        truths.push(truth);
        actions.push(action);
        if let Some(event) = truth.event {
            events.push((index, event));
            break;
        }
        if push.1 == 0 && draws.chance(0.08) {
            let most = (1.5 / (truth.speed_m_s * truth.speed_m_s).max(1.0)).min(0.02);
            let curvature_1_m = most * draws.range((-1.0, 1.0));
            let acceleration_m_s2 = draws.range((-1.5, 1.5));
            let push_by = SimulatedAction { curvature_1_m, acceleration_m_s2 };
            push = (push_by, 3 + draws.below(6));
        }
        if push.1 > 0 {
            push.1 -= 1;
            done.curvature_1_m += push.0.curvature_1_m;
            done.acceleration_m_s2 += push.0.acceleration_m_s2;
        }
        closed.step(done);
    }
    let sha256 = Sha256::digest(&bytes).into();
    let drive = Drive::new(road.name(), sha256, 10.0, form.wide(), bytes, motion);
    let (wheelbase_m, steering_ratio) = closed.vehicle();
    Driven { drive, truth: truths, actions, events, wheelbase_m, steering_ratio }
}

/// A road for pretraining, and a start on it.
fn begin(form: &LessonForm, draws: &mut Draws) -> (Road, ClosedLoop) {
    let wider = f32::from(form.wide().width) / f32::from(form.shape.width);
    loop {
        let region = split::mixed(draws.unit());
        let road = Road { region, seed: u64::from(draws.word()) % 1_000_000 };
        let mild = if draws.chance(0.5) { 0.3 } else { 1.0 };
        let leader = draws.chance(LEADER_SHARE).then(|| StartLeader {
            gap_m: draws.log_range(LEADER_GAP_M),
            speed_share: draws.range(LEADER_SPEED),
        });
        let start = Start {
            offset_m: mild * draws.range((-1.0, 1.0)),
            heading_rad: mild * draws.range((-0.06, 0.06)),
            speed_share: draws.range((0.4, 1.3)),
            leader,
        };
        let bend = if draws.chance(BENT_SHARE) { draws.log_range(BENT) } else { 1.0 };
        // Tracks for small cars are no roads.
        if region != Region::RcTrack
            && let Some(closed) = road.closed_loop_altered(form.wide(), 10.0, start, (bend, wider))
        {
            return (road, closed);
        }
    }
}
