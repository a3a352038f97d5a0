//! The own vehicle: where it is, how it moves, how its camera shakes.

use super::draw::{Draws, hash, noise, smoothstep, unit};
use super::lens::Pose;
use super::scene::Scene;
use super::steered::Steered;
use crate::Motion;

/// Longest step of the integration, s.
const STEP_S: f64 = 0.02;

/// The own vehicle at one time.
#[derive(Clone, Debug)]
pub(super) struct Ego {
    seed: u32,
    time: f64,
    /// Distance along the road, units.
    pub(super) s: f64,
    /// Units a second, and its change.
    pub(super) speed: f32,
    acceleration: f32,
    stop_and_go: bool,
    frame: u32,
    /// Moved by actions, in the closed loop alone.
    pub(super) steered: Option<Steered>,
}

impl Ego {
    pub(super) fn new(scene: &Scene, draws: &mut Draws) -> Self {
        let stop_and_go = scene.wear.crossings > 0.05 && draws.chance(0.35);
        let time = f64::from(draws.range((0.0, 100.0)));
        let s = f64::from(draws.range((0.0, 3_000.0)));
        let seed = draws.word();
        let (speed, acceleration, frame, steered) = (0.0, 0.0, 0, None);
        let mut ego = Self { seed, time, s, speed, acceleration, stop_and_go, frame, steered };
        ego.speed = ego.speed_at(scene, time);
        ego.acceleration = ego.acceleration_at(scene, time);
        ego
    }

    fn speed_at(&self, scene: &Scene, time: f64) -> f32 {
        let t = time as f32;
        let driver = &scene.driver;
        let swing = noise(self.seed, t * 0.13) + 0.3 * noise(self.seed ^ 9, t * 0.6);
        let mut speed = driver.speed * (1.0 + driver.speed_swing * swing);
        if self.stop_and_go {
            speed *= smoothstep(-0.25, 0.25, noise(self.seed ^ 7, t * 0.06) + 0.1);
        }
        speed.max(0.0)
    }

    fn acceleration_at(&self, scene: &Scene, time: f64) -> f32 {
        let before = self.speed_at(scene, time - 0.1);
        let after = self.speed_at(scene, time + 0.1);
        (after - before) * 5.0
    }

    /// Moves on by `dt` seconds.
    pub(super) fn advance(&mut self, scene: &Scene, dt: f64) {
        let steps = (dt / STEP_S).ceil().max(1.0);
        let step = dt / steps;
        if let Some(steered) = &mut self.steered {
            for _ in 0..steps as u32 {
                let road = scene.route.curvature_at(self.s as f32);
                self.s += f64::from(steered.advance(road, step as f32)) * step;
            }
            (self.speed, self.acceleration) = (steered.speed, steered.acceleration);
        } else {
            for i in 0..steps as u32 {
                let time = self.time + (f64::from(i) + 0.5) * step;
                self.s += f64::from(self.speed_at(scene, time)) * step;
            }
            self.speed = self.speed_at(scene, self.time + dt);
            self.acceleration = self.acceleration_at(scene, self.time + dt);
        }
        self.time += dt;
        self.frame = self.frame.wrapping_add(1);
    }

    /// Lets actions move it from here on: at its speed, `u` right of the middle of the road and
    /// turned by `heading` from the road's direction (right positive, rad).
    pub(super) fn steer(&mut self, scene: &Scene, speed: f32, u: f32, heading: f32) {
        let curvature = scene.route.curvature_at(self.s as f32);
        self.steered = Some(Steered::new(speed, u, heading, curvature));
        (self.speed, self.acceleration) = (speed, 0.0);
    }

    /// Distance to the right of the middle of the road.
    pub(super) fn lateral(&self, scene: &Scene, s: f32) -> f32 {
        if let Some(steered) = &self.steered {
            return steered.u;
        }
        let driver = &scene.driver;
        let length = driver.wander_time * driver.speed.max(2.0);
        let wander =
            noise(self.seed ^ 3, s / length) + 0.3 * noise(self.seed ^ 4, s / length * 2.3);
        let slot_length = 9.0 * driver.speed.max(3.0);
        let slot = (s / slot_length) as i32;
        let lane = |slot: i32| {
            let h = hash(self.seed ^ 5, slot);
            if unit(h) >= driver.lane_change {
                return driver.lane;
            }
            let lanes = &scene.traffic.own;
            lanes[hash(h, 1) as usize % lanes.len()]
        };
        let part = s / slot_length - slot as f32;
        let (a, b) = (lane(slot), lane(slot + 1));
        a + (b - a) * smoothstep(0.3, 0.8, part) + driver.wander * wander
    }

    /// Direction relative to the road's, right positive, rad.
    pub(super) fn heading(&self, scene: &Scene) -> f32 {
        if let Some(steered) = &self.steered {
            return steered.heading;
        }
        let s = self.s as f32;
        libm::atanf((self.lateral(scene, s + 1.0) - self.lateral(scene, s - 1.0)) * 0.5)
    }

    /// Curvature of the own path, 1/unit, right positive.
    pub(super) fn curvature(&self, scene: &Scene) -> f32 {
        if let Some(steered) = &self.steered {
            return steered.curvature;
        }
        let s = self.s as f32;
        let h = (0.15 * scene.driver.speed).clamp(1.0, 4.0);
        let u = |s| self.lateral(scene, s);
        scene.route.curvature_at(s) + (u(s + h) - 2.0 * u(s) + u(s - h)) / (h * h)
    }

    /// How the vehicle moves, in metres whatever the scene's unit.
    pub(super) fn motion(&self, scene: &Scene) -> Motion {
        let driver = &scene.driver;
        let curvature = self.curvature(scene);
        let steering = -driver.ratio * libm::atanf(driver.wheelbase * curvature);
        Motion {
            speed_m_s: Some(self.speed * driver.scale),
            steering_rad: Some(steering),
            acceleration_m_s2: Some(self.acceleration * driver.scale),
            lateral_acceleration_m_s2: Some(-self.speed * self.speed * curvature * driver.scale),
        }
    }

    /// How the camera looks now, bumps included.
    pub(super) fn pose(&self, scene: &Scene) -> Pose {
        let camera = &scene.camera;
        let t = self.time as f32;
        let moving = (self.speed / scene.driver.speed.max(1.0)).min(1.0);
        let rough = |purpose: u32| unit(hash(self.seed ^ purpose, self.frame as i32)) * 2.0 - 1.0;
        let shake = |purpose: u32, hz: f32| {
            let smooth = noise(self.seed ^ purpose, t * hz)
                + 0.6 * noise(self.seed ^ purpose ^ 64, t * hz * 2.6);
            moving
                * (smooth * 1.5 * (1.0 - camera.shake_rough)
                    + rough(purpose) * 1.7 * camera.shake_rough)
        };
        let sway = self.curvature(scene) * self.speed * self.speed * 0.002;
        let pan = camera.swing * noise(self.seed ^ 15, t * 0.3);
        Pose {
            yaw: self.heading(scene) + camera.yaw + camera.shake_yaw * shake(11, 0.6) + pan,
            pitch: camera.pitch + camera.shake_pitch * shake(12, 1.2) - self.acceleration * 0.002,
            roll: camera.roll + camera.shake_roll * shake(13, 0.9) + sway,
            height: camera.height * (1.0 + 0.15 * camera.shake_pitch * shake(12, 1.2)),
        }
    }
}
