//! Short drives to learn driving from: displaced, disturbed, and labelled with what an attentive driver would do.

use sha2::{Digest, Sha256};

use super::closed::{SimulatedAction, Start};
use super::draw::Draws;
use super::driver::{Driven, SimulatedDriver, Style};
use super::{Region, Road, split};
use crate::{Drive, FrameShape};

/// Name of the stream of draws.
const LESSON: u32 = 19;

/// Lesson number `index` of the endless series of `seed`, on roads of the pretraining share alone: at most `frames` frames at
/// 10 Hz, fewer where something went wrong.
///
/// It begins up to 1 m beside the lane's middle, turned by up to 0.06 rad, at 0.4 to 1.1 of the wanted speed, and what is done
/// is now and then not what is asked; but [`Driven::actions`] is always what an attentive driver would do
/// there. So the way back is in the lessons too.
///
/// # Panics
/// If `shape` has no pixel.
/// # Source
/// Shifted and turned views: Bojarski et al., *End to End Learning for Self-Driving Cars*, 2016, section 3. Disturbed
/// supervisors: Laskey et al., *DART: Noise Injection for Robust Imitation Learning*, 2017.
#[must_use]
pub fn lesson(seed: u64, index: u64, shape: FrameShape, frames: usize) -> Driven {
    let mut draws = Draws::new(LESSON, seed, index);
    let (road, mut closed) = loop {
        let region = split::mixed(draws.unit());
        let road = Road { region, seed: u64::from(draws.word()) % 1_000_000 };
        let mild = if draws.chance(0.5) { 0.3 } else { 1.0 };
        let start = Start {
            offset_m: mild * draws.range((-1.0, 1.0)),
            heading_rad: mild * draws.range((-0.06, 0.06)),
            speed_share: draws.range((0.4, 1.1)),
        };
        // Tracks for small cars are no roads.
        if region != Region::RcTrack
            && let Some(closed) = road.closed_loop(shape, 10.0, start)
        {
            break (road, closed);
        }
    };
    let mut driver = SimulatedDriver::new(Style::Attentive, seed);
    let mut bytes = Vec::with_capacity(frames * shape.bytes());
    let (mut motion, mut truths, mut actions) = (Vec::new(), Vec::new(), Vec::new());
    let mut events = Vec::new();
    let mut push = (SimulatedAction::default(), 0);
    for index in 0..frames {
        let (moment, truth) = (closed.moment(), closed.truth());
        bytes.extend_from_slice(moment.frame.unwrap_or_default());
        motion.push(moment.motion);
        let action = driver.act(&truth);
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
        let mut done = action;
        if push.1 > 0 {
            push.1 -= 1;
            done.curvature_1_m += push.0.curvature_1_m;
            done.acceleration_m_s2 += push.0.acceleration_m_s2;
        }
        closed.step(done);
    }
    let sha256 = Sha256::digest(&bytes).into();
    let drive = Drive::new(road.name(), sha256, 10.0, shape, bytes, motion);
    let (wheelbase_m, steering_ratio) = closed.vehicle();
    Driven { drive, truth: truths, actions, events, wheelbase_m, steering_ratio }
}
