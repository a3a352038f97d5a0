//! The closed loop: a generated road on which actions move the own vehicle, and its camera sees what
//! came of them.
//!
//! This is arithmetic on a generated road. Nothing here opens a device or could reach a vehicle: an
//! action is two numbers that the road's own vehicle model integrates.

use core::time::Duration;

use super::draw::Draws;
use super::scene::{Scene, Traffic};
use super::steered::Steered;
use super::{Road, RoadMoments, SCENE};
use crate::{FrameShape, Moment, Motion};

/// Distance between two values of [`Truth::curvature_ahead_1_m`], m.
pub const AHEAD_STEP_M: f32 = 5.0;
const AHEAD_COUNT: usize = 16;

/// The own vehicle about its camera, m: to its bumpers, and half its width.
const FRONT_M: f32 = 1.9;
const REAR_M: f32 = 2.6;
const HALF_WIDTH_M: f32 = 0.9;

/// Slowest speed that a driver wants, m/s: who stands keeps every lane.
const WANTED_MIN_M_S: f32 = 4.0;
/// What a driver wants to feel in curves, and how early he slows down for them, m/s².
const CURVE_LATERAL_M_S2: f32 = 2.2;
const CURVE_BRAKE_M_S2: f32 = 1.2;

/// The camera of every closed loop: half its picture's width at distance 1, and how far down it looks, rad.
pub const CAMERA_HALF_WIDTH: f32 = 0.65;
const CAMERA_PITCH: f32 = 0.06;

/// What the own vehicle of a generated road is to do next.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SimulatedAction {
    /// Curvature of the path, 1/m, positive to the left.
    pub curvature_1_m: f32,
    /// Acceleration along it, m/s².
    pub acceleration_m_s2: f32,
}

/// How a closed loop begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    /// Beside the lane's middle, m, positive to the left.
    pub offset_m: f32,
    /// Turned from the road's direction, rad, positive to the left.
    pub heading_rad: f32,
    /// Speed as a share of the wanted one.
    pub speed_share: f32,
    /// Who is put into the own lane; without one there is room ahead.
    pub leader: Option<StartLeader>,
}

impl Default for Start {
    fn default() -> Self {
        Start { offset_m: 0.0, heading_rad: 0.0, speed_share: 1.0, leader: None }
    }
}

/// A vehicle ahead at the start of a closed loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StartLeader {
    /// From bumper to bumper, m.
    pub gap_m: f32,
    /// Its speed as a share of the own one.
    pub speed_share: f32,
}

/// What has gone wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// More than half of the vehicle is out of its lane.
    LaneDeparture,
    /// A side of the vehicle is beyond the road's edge.
    RoadDeparture,
    /// It overlaps another vehicle.
    Crash,
}

/// The vehicle ahead in the own path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leader {
    /// From bumper to bumper, m.
    pub gap_m: f32,
    /// Along the road, m/s; negative when it comes towards.
    pub speed_m_s: f32,
}

impl Leader {
    /// Gap ÷ closing speed, s; `None` where the gap does not close.
    #[must_use]
    pub fn time_to_collision_s(&self, own_speed_m_s: f32) -> Option<f32> {
        let closing = own_speed_m_s - self.speed_m_s;
        (closing > 1e-3).then(|| self.gap_m.max(0.0) / closing)
    }
}

/// What is true where the own vehicle is. Left is positive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// From the lane's middle to the vehicle's, m.
    pub offset_m: f32,
    /// Half the width of the lane, m.
    pub lane_half_m: f32,
    /// From the vehicle's sides to the road's edges, left and right, m: negative beyond them.
    pub edges_m: [f32; 2],
    /// From the road's direction to the vehicle's, rad.
    pub heading_rad: f32,
    /// Curvature of the lane's middle ahead, from 0 in steps of [`AHEAD_STEP_M`], 1/m.
    pub curvature_ahead_1_m: [f32; AHEAD_COUNT],
    /// Speed and acceleration of the own vehicle, m/s, m/s².
    pub speed_m_s: f32,
    /// Acceleration along the own path, m/s².
    pub acceleration_m_s2: f32,
    /// Curvature of the own path, 1/m.
    pub curvature_1_m: f32,
    /// Speed that its driver wants here with no one ahead: his own, less before curves, m/s.
    pub speed_wanted_m_s: f32,
    /// The vehicle ahead in the own path.
    pub leader: Option<Leader>,
    /// What has gone wrong, the worst of it.
    pub event: Option<Event>,
}

impl Road {
    /// The closed loop on this road; `None` on a track for small cars, whose curves are no road's.
    ///
    /// The scene is that of [`Road::moments`], seen by a calibrated camera (in the vehicle's middle, ahead, without distortion,
    /// of one focal length, every frame when it is due): what a vehicle's calibration makes of any. Vehicles ahead
    /// slow down now and then and do not give way, since the own one can brake; those of one lane do not drive through one another.
    ///
    /// # Panics
    /// If `shape` has no pixel or `rate_hz` is not a positive number.
    #[must_use]
    pub fn closed_loop(&self, shape: FrameShape, rate_hz: f64, start: Start) -> Option<ClosedLoop> {
        self.closed_loop_altered(shape, rate_hz, start, (1.0, 1.0))
    }

    /// The same on a road whose bends are `bend` times as tight, and shorter by the root of it, seen `wider` by so much.
    pub(super) fn closed_loop_altered(
        &self,
        shape: FrameShape,
        rate_hz: f64,
        start: Start,
        (bend, wider): (f32, f32),
    ) -> Option<ClosedLoop> {
        assert!(rate_hz.is_finite() && rate_hz > 0.0, "rate {rate_hz} Hz");
        let mut draws = Draws::new(SCENE, self.seed, self.region as u64);
        let mut scene = Scene::draw(self.region, &mut draws);
        if scene.driver.scale < 0.5 {
            return None;
        }
        calibrate(&mut scene);
        scene.camera.half_width *= wider;
        scene.route.curvature *= bend;
        scene.route.curve /= libm::sqrtf(bend);
        let lane_half = half_lane(&scene.traffic);
        let mut closed = ClosedLoop {
            road: RoadMoments::new(scene, draws, shape, 1.0 / rate_hz),
            lane_half,
            motion: Motion::default(),
            truth: None,
        };
        closed.road.others.own_brakes = true;
        closed.place(start);
        closed.motion = closed.road.step();
        Some(closed)
    }
}

/// A generated road whose own vehicle actions move: step by step, without end.
#[derive(Debug)]
pub struct ClosedLoop {
    road: RoadMoments,
    lane_half: f32,
    motion: Motion,
    truth: Option<Truth>,
}

impl ClosedLoop {
    /// What the camera sees and how the vehicle moves.
    #[must_use]
    pub fn moment(&self) -> Moment<'_> {
        let steps = self.road.index.saturating_sub(1);
        let since_start = Duration::from_secs_f64(steps as f64 * self.road.interval);
        Moment { frame: Some(&self.road.bytes), motion: Some(self.motion), since_start }
    }

    /// What is true now.
    #[must_use]
    pub fn truth(&self) -> Truth {
        self.truth.unwrap_or_else(|| self.look())
    }

    /// Of the own vehicle: distance between the axles, m, and angle of the steering wheel per angle of the road wheels.
    #[must_use]
    pub fn vehicle(&self) -> (f32, f32) {
        let driver = &self.road.scene.driver;
        (driver.wheelbase * driver.scale, driver.ratio)
    }

    /// Seconds of a step.
    #[must_use]
    pub fn interval_s(&self) -> f64 {
        self.road.interval
    }

    /// Lets the vehicle do `action` until the next frame. An action that is not a number is none.
    pub fn step(&mut self, action: SimulatedAction) {
        let number = |value: f32| if value.is_finite() { value } else { 0.0 };
        if let Some(steered) = &mut self.road.ego.steered {
            steered.asked = (-number(action.curvature_1_m), number(action.acceleration_m_s2));
        }
        self.motion = self.road.step();
        self.truth = Some(self.look());
    }

    /// Puts the vehicle back as at the start: in its lane, with room ahead. The frame is that of the next step.
    pub fn recover(&mut self) {
        self.place(Start::default());
        self.truth = Some(self.look());
    }

    /// The same, and what is to be done until the next frame: on along the lane at the speed there is. What was asked for before was
    /// of the vehicle that was lost.
    pub fn put_back(&mut self) -> SimulatedAction {
        self.recover();
        SimulatedAction { curvature_1_m: self.truth().curvature_1_m, acceleration_m_s2: 0.0 }
    }

    fn place(&mut self, start: Start) {
        let scene = &self.road.scene;
        let lane = scene.driver.lane;
        let speed = wanted(&self.road, &self.curvatures(lane)) * start.speed_share;
        self.road.ego.steer(scene, speed, lane - start.offset_m, -start.heading_rad);
        self.road.others.clear(lane, 20.0 + 1.8 * speed);
        if let Some(leader) = start.leader {
            let speed = speed * leader.speed_share;
            self.road.others.put(&self.road.scene, FRONT_M + leader.gap_m, lane, speed);
        }
    }

    /// Curvature of the line `u` right of the road's middle, left positive.
    fn curvatures(&self, u: f32) -> [f32; AHEAD_COUNT] {
        core::array::from_fn(|index| {
            let s = self.road.ego.s as f32 + index as f32 * AHEAD_STEP_M;
            let road = self.road.scene.route.curvature_at(s);
            -road / (1.0 - road * u).max(0.2)
        })
    }

    fn look(&self) -> Truth {
        let scene = &self.road.scene;
        let lane = scene.driver.lane;
        let ahead = self.curvatures(lane);
        let zero = Steered::new(self.road.ego.speed, lane, 0.0, 0.0);
        let own = self.road.ego.steered.unwrap_or(zero);
        let edges = edges(scene);
        let edges = [own.u - HALF_WIDTH_M - edges[0], edges[1] - own.u - HALF_WIDTH_M];
        let (leader, crash) = self.others(own.u);
        let offset = lane - own.u;
        let event = if crash {
            Some(Event::Crash)
        } else if edges.iter().any(|&edge| edge < 0.0) {
            Some(Event::RoadDeparture)
        } else {
            (offset.abs() > self.lane_half).then_some(Event::LaneDeparture)
        };
        Truth {
            offset_m: offset,
            lane_half_m: self.lane_half,
            edges_m: edges,
            heading_rad: -own.heading,
            curvature_ahead_1_m: ahead,
            speed_m_s: own.speed,
            acceleration_m_s2: own.acceleration,
            curvature_1_m: -own.curvature,
            speed_wanted_m_s: wanted(&self.road, &ahead),
            leader,
            event,
        }
    }

    /// Who is ahead in the own path, and whether anyone is overlapped.
    fn others(&self, u: f32) -> (Option<Leader>, bool) {
        let mut leader: Option<Leader> = None;
        let mut crash = false;
        for other in self.road.others.met() {
            let (half, aside) = (0.5 * other.length, (other.u - u).abs());
            let gap = other.ahead - half - FRONT_M;
            let behind = -REAR_M - (other.ahead + half);
            let widths = HALF_WIDTH_M + 0.5 * other.width;
            crash |= gap < 0.0 && behind < 0.0 && aside < widths;
            let nearer = leader.is_none_or(|known| gap < known.gap_m);
            if other.ahead > 0.0 && aside < widths + 0.2 && nearer {
                leader = Some(Leader { gap_m: gap, speed_m_s: other.speed });
            }
        }
        (leader, crash)
    }
}

/// The own driver's speed, less where a curve asks for it.
fn wanted(road: &RoadMoments, ahead: &[f32; AHEAD_COUNT]) -> f32 {
    let own = road.scene.driver.speed.max(WANTED_MIN_M_S);
    ahead.iter().enumerate().fold(own, |least, (index, curvature)| {
        let room = 2.0 * CURVE_BRAKE_M_S2 * AHEAD_STEP_M * index as f32;
        least.min((CURVE_LATERAL_M_S2 / curvature.abs().max(1e-4) + room).sqrt())
    })
}

/// The camera that every vehicle's calibration gives.
fn calibrate(scene: &mut Scene) {
    let camera = &mut scene.camera;
    camera.half_width = CAMERA_HALF_WIDTH;
    camera.pitch = CAMERA_PITCH;
    (camera.yaw, camera.roll, camera.offset) = (0.0, 0.0, 0.0);
    (camera.distortion, camera.decentred, camera.swing) = (0.0, 0.0, 0.0);
    scene.optics.source_hz = 0.0;
    scene.optics.bars = (0.0, 0.0);
    scene.driver.lane_change = 0.0;
}

/// Lanes lie side by side from the road's middle on.
fn half_lane(traffic: &Traffic) -> f32 {
    traffic.own.first().map_or(1.75, |lane| lane.abs())
}

/// Left and right edge of what may be driven on, right of the road's middle: where directions are apart,
/// the own one's.
fn edges(scene: &Scene) -> [f32; 2] {
    let (left, right) = scene.road;
    let half = half_lane(&scene.traffic);
    let apart = scene.traffic.oncoming.first().is_some_and(|lane| lane.abs() > half + 0.1);
    let shoulder = 0.3;
    match (apart, scene.driver.lane > 0.0) {
        (false, _) => [left, right],
        (true, true) => [-shoulder, right],
        (true, false) => [left, shoulder],
    }
}
