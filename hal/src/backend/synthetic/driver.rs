//! Drivers of known quality for the closed loop: they see the truth, and log what a vehicle would.

use super::Road;
use super::closed::{AHEAD_STEP_M, ClosedLoop, Event, SimulatedAction, Start, Truth};
use super::draw::{Draws, noise};
use crate::{Drive, FrameShape, Motion};
use sha2::{Digest, Sha256};

/// Name of the stream of draws.
const DRIVER: u32 = 18;
/// Steps of truth that a driver remembers: a reckless one acts on old ones.
const MEMORY: usize = 12;

/// How far ahead an attentive driver looks, s.
const ATTENTIVE_S: f32 = 1.2;

/// How hard anyone brakes for being faster than he wants to be, m/s²: a wish is no obstacle, and nothing shows it.
const WISH_BRAKE_M_S2: f32 = 1.4;

/// How a simulated driver drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Keeps to the lane's middle by looking ahead, follows at 1.6 s, brakes early, changes little at a time.
    Attentive,
    /// Follows at 0.4 s and brakes late and hard, sees curves late, wanders in the lane, drives a fifth faster than
    /// others want to, and now and then does nothing for a second.
    Reckless,
    /// As attentive, with habits of his own, which the seed draws: wants 0.8 to 1.1 times the speed that others want, follows at
    /// 1.2 s to 2.4 s, keeps up to 0.4 m to a side of the lane's middle where it is wide enough.
    Particular,
}

/// What a [`Style::Particular`] driver does in his way.
#[derive(Clone, Copy, Debug)]
struct Habits {
    /// Of the speed that others want.
    wish: f32,
    /// Time to who is ahead, s.
    headway_s: f32,
    /// Left of the lane's middle, m.
    aside_m: f32,
}

impl Habits {
    /// What attentive drivers do.
    const NONE: Habits = Habits { wish: 1.0, headway_s: 1.6, aside_m: 0.0 };

    fn of(style: Style, draws: &mut Draws) -> Self {
        match style {
            Style::Attentive | Style::Reckless => Habits::NONE,
            Style::Particular => Habits {
                wish: draws.range((0.8, 1.1)),
                headway_s: draws.range((1.2, 2.4)),
                aside_m: draws.range((-0.4, 0.4)),
            },
        }
    }
}

/// A driver who sees the truth. The same style, seed and road give the same drive.
///
/// Steering is pure pursuit of a point L ahead on the lane's middle, added to the road's curvature on the way there; offset e and
/// heading ψ left positive. Speed is the intelligent driver model's.
///
/// ```text
/// κ = mean(κ_road over L) − 2·(e + L·ψ) ÷ L²                     L = 1.2 s · v, 8 m to 40 m
/// a = a₀·(1 − (v ÷ v_wanted)⁴ − (s* ÷ gap)²)                     s* = s₀ + v·T + v·(v − v_leader) ÷ (2·√(a₀·b))
/// ```
///
/// # Source
/// Coulter, *Implementation of the Pure Pursuit Path Tracking Algorithm*, CMU-RI-TR-92-01; Treiber, Hennecke and
/// Helbing, *Congested traffic states in empirical observations and microscopic simulations*, 2000.
#[derive(Clone, Debug)]
pub struct SimulatedDriver {
    style: Style,
    seed: u32,
    step: u32,
    memory: Vec<Truth>,
    /// What is done while nothing is looked at, and for how many steps more.
    absent: (SimulatedAction, u32),
    braking: bool,
    habits: Habits,
    draws: Draws,
}

impl SimulatedDriver {
    /// A driver of this style.
    #[must_use]
    pub fn new(style: Style, seed: u64) -> Self {
        let mut draws = Draws::new(DRIVER, seed, style as u64);
        let (seed, absent) = (draws.word(), (SimulatedAction::default(), 0));
        let habits = Habits::of(style, &mut draws);
        SimulatedDriver {
            style,
            seed,
            step: 0,
            memory: Vec::new(),
            absent,
            braking: false,
            habits,
            draws,
        }
    }

    /// What he does at this moment; called once a step of 0.1 s or so.
    pub fn act(&mut self, truth: &Truth) -> SimulatedAction {
        self.step = self.step.wrapping_add(1);
        match self.style {
            Style::Attentive | Style::Particular => attentive(truth, &self.habits),
            Style::Reckless => self.reckless(truth),
        }
    }

    /// Forgets what he saw and began: he is at the wheel of another drive, or was put back into his lane.
    pub fn forget(&mut self) {
        self.memory.clear();
        self.absent = (SimulatedAction::default(), 0);
        self.braking = false;
    }

    /// How much more to the left an attentive driver steers, 1/m, for every radian that the vehicle is turned to the right.
    #[must_use]
    pub fn straightens_1_m_rad(truth: &Truth) -> f32 {
        const TURNED_RAD: f32 = 0.04;
        let at = |turned| {
            steer(&Truth { heading_rad: truth.heading_rad + turned, ..*truth }, ATTENTIVE_S)
        };
        (at(-TURNED_RAD) - at(TURNED_RAD)) / (2.0 * TURNED_RAD)
    }

    /// The same, where nothing but the speed (m/s) is known: 2 ÷ L. It holds for small angles, and while he may steer as hard as he
    /// would.
    #[must_use]
    pub fn straightens_at_1_m_rad(speed_m_s: f32) -> f32 {
        2.0 / ahead_m(speed_m_s, ATTENTIVE_S)
    }

    fn reckless(&mut self, truth: &Truth) -> SimulatedAction {
        self.memory.push(*truth);
        if self.memory.len() > MEMORY {
            self.memory.remove(0);
        }
        if self.absent.1 > 0 {
            self.absent.1 -= 1;
            return self.absent.0;
        }
        let before = |steps: usize| self.memory[self.memory.len().saturating_sub(1 + steps)];
        let time = self.step as f32 * 0.1;
        // Where he thinks the middle is, and the curve of a moment ago.
        let wander = (truth.lane_half_m - 0.9).max(0.2) * 0.8 * noise(self.seed, time * 0.25);
        let late = before(4);
        let seen = Truth {
            offset_m: truth.offset_m - wander,
            curvature_ahead_1_m: late.curvature_ahead_1_m,
            ..*truth
        };
        let curvature_1_m = steer(&seen, 1.0);
        let acceleration_m_s2 = self.late_speed(truth, &before(7));
        let action = SimulatedAction { curvature_1_m, acceleration_m_s2 };
        if self.draws.chance(0.02) {
            self.absent = (action, 5 + self.draws.below(8) as u32);
        }
        action
    }

    /// Drives up to whom is ahead and brakes when it is nearly too late; `late` is what was true before.
    fn late_speed(&mut self, truth: &Truth, late: &Truth) -> f32 {
        let wanted = 1.2 * truth.speed_wanted_m_s;
        let free = follow(truth.speed_m_s, wanted, None, (2.0, 0.4, 3.0, 1.0));
        let Some(leader) = late.leader else {
            self.braking = false;
            return free;
        };
        let left = leader.time_to_collision_s(truth.speed_m_s).unwrap_or(f32::MAX);
        let close = leader.gap_m < 1.0 + 0.3 * truth.speed_m_s;
        // Once he brakes he goes on until the gap opens.
        self.braking = left < 2.2 || (self.braking && truth.speed_m_s > leader.speed_m_s);
        if self.braking {
            return -6.5;
        }
        if close { free.min(0.8 * (leader.speed_m_s - truth.speed_m_s)) } else { free }
    }
}

/// What an attentive driver does where this is true: the label of every moment, also of those he
/// would not have come into.
fn attentive(truth: &Truth, habits: &Habits) -> SimulatedAction {
    let v = truth.speed_m_s;
    let room = (truth.lane_half_m - 1.2).max(0.0);
    let aside_m = habits.aside_m.clamp(-room, room);
    let leader = truth.leader.map(|leader| (leader.gap_m, leader.speed_m_s));
    let wanted = habits.wish * truth.speed_wanted_m_s;
    let acceleration_m_s2 = follow(v, wanted, leader, (1.2, habits.headway_s, 2.0, 3.0));
    let seen = Truth { offset_m: truth.offset_m - aside_m, ..*truth };
    SimulatedAction {
        curvature_1_m: steer(&seen, ATTENTIVE_S),
        acceleration_m_s2: acceleration_m_s2.clamp(-6.0, 1.5),
    }
}

/// Pure pursuit of a point `seconds` ahead.
fn steer(truth: &Truth, seconds: f32) -> f32 {
    let v = truth.speed_m_s;
    let ahead = ahead_m(v, seconds);
    // What is asked now is done some tenths of a second later, and turns until the point is reached.
    let (from, to) = (0.2 * v, (0.5 * ahead).max(0.5 * v));
    let road = mean_curvature(truth, from, to);
    let back = 2.0 * (truth.offset_m + ahead * libm::sinf(truth.heading_rad)) / (ahead * ahead);
    let most = 4.0 / (v * v).max(1.0);
    road + (-back).clamp(-most, most)
}

/// How far ahead the point is that is pursued, m.
fn ahead_m(speed_m_s: f32, seconds: f32) -> f32 {
    (seconds * speed_m_s).clamp(8.0, 40.0)
}

/// Mean curvature of the lane between two distances, m.
fn mean_curvature(truth: &Truth, from: f32, to: f32) -> f32 {
    let at = |distance: f32| {
        let place = (distance / AHEAD_STEP_M).max(0.0);
        let last = truth.curvature_ahead_1_m.len() - 1;
        let index = (place as usize).min(last);
        let (a, b) =
            (truth.curvature_ahead_1_m[index], truth.curvature_ahead_1_m[last.min(index + 1)]);
        a + (b - a) * (place - index as f32).clamp(0.0, 1.0)
    };
    let step = (to - from) * 0.25;
    (0..5).map(|k| at(from + step * k as f32)).sum::<f32>() / 5.0
}

/// The intelligent driver model: `(a₀, T, b, s₀)`.
fn follow(
    v: f32,
    wanted: f32,
    leader: Option<(f32, f32)>,
    (most, headway, brake, standing): (f32, f32, f32, f32),
) -> f32 {
    let ratio = v / wanted.max(1.0);
    let free = (1.0 - ratio * ratio * ratio * ratio).max(-WISH_BRAKE_M_S2 / most);
    let near = leader.map_or(0.0, |(gap, speed)| {
        let closing = v * (v - speed) / (2.0 * (most * brake).sqrt());
        let asked = standing + (v * headway + closing).max(0.0);
        let share = asked / gap.max(0.5);
        share * share
    });
    (most * (free - near)).max(-8.0)
}

/// A drive in the closed loop, as a vehicle would log it, with what was true and done.
#[derive(Clone, Debug)]
pub struct Driven {
    /// Frames and motion.
    pub drive: Drive,
    /// What was true at each frame.
    pub truth: Vec<Truth>,
    /// What was done from each frame on.
    pub actions: Vec<SimulatedAction>,
    /// What went wrong; the vehicle was put back into its lane at the next frame.
    pub events: Vec<(usize, Event)>,
    /// Distance between the vehicle's axles, m.
    pub wheelbase_m: f32,
    /// Angle of its steering wheel per angle of its road wheels.
    pub steering_ratio: f32,
}

impl Road {
    /// A drive of `frames` frames by a driver of this style, begun as `start` says; `None` on a track for small cars.
    ///
    /// # Panics
    /// If `shape` has no pixel or `rate_hz` is not a positive number.
    #[must_use]
    pub fn driven(
        &self,
        (style, seed): (Style, u64),
        start: Start,
        (shape, rate_hz, frames): (FrameShape, f64, usize),
    ) -> Option<Driven> {
        let mut closed: ClosedLoop = self.closed_loop(shape, rate_hz, start)?;
        let mut driver = SimulatedDriver::new(style, seed);
        let mut bytes = Vec::with_capacity(frames * shape.bytes());
        let mut motion: Vec<Option<Motion>> = Vec::with_capacity(frames);
        let (mut truths, mut actions, mut events) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..frames {
            let (moment, truth) = (closed.moment(), closed.truth());
            bytes.extend_from_slice(moment.frame.unwrap_or_default());
            motion.push(moment.motion);
            let mut action = driver.act(&truth);
            truths.push(truth);
            if let Some(event) = truth.event {
                events.push((index, event));
                driver.forget();
                action = closed.put_back();
            }
            actions.push(action);
            closed.step(action);
        }
        let sha256 = Sha256::digest(&bytes).into();
        let name = match style {
            Style::Attentive => format!("{}/attentive/{seed}", self.name()),
            Style::Reckless => format!("{}/reckless/{seed}", self.name()),
            Style::Particular => format!("{}/particular/{seed}", self.name()),
        };
        let drive = Drive::new(name, sha256, rate_hz, shape, bytes, motion);
        let (wheelbase_m, steering_ratio) = closed.vehicle();
        Some(Driven { drive, truth: truths, actions, events, wheelbase_m, steering_ratio })
    }
}
