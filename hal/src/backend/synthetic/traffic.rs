//! Other vehicles: they keep their lanes, and are replaced out of sight.

use super::block::Look;
use super::draw::{Draws, hash, noise, smoothstep, unit};
use super::route::Ahead;
use super::scene::{Scene, Thing};
use super::thing::{Face, Item, Shape};

const BEHIND: f32 = -40.0;
const AHEAD: f32 = 300.0;

#[derive(Clone, Debug)]
struct Vehicle {
    /// Ahead of the own vehicle, along the road.
    ahead: f32,
    lane: f32,
    speed: f32,
    /// What it drives at this moment.
    now: f32,
    oncoming: bool,
    look: Look,
    seed: u32,
}

impl Vehicle {
    /// How far on it is in its own direction.
    fn along(&self) -> f32 {
        if self.oncoming { -self.ahead } else { self.ahead }
    }

    /// Whether the two drive in one lane, one behind the other.
    fn shares_lane(&self, other: &Vehicle) -> bool {
        self.lane == other.lane && self.oncoming == other.oncoming
    }

    /// From bumper to bumper along the road; negative where the two overlap.
    fn gap(&self, other: &Vehicle) -> f32 {
        (self.ahead - other.ahead).abs() - 0.5 * (self.look.length + other.look.length)
    }

    /// Glows of the lamps that one sees: red from behind, white from ahead.
    fn lamps(&self, foot: [f32; 3], turn: (f32, f32), out: &mut Vec<Item>) {
        let end = 0.5 * self.look.length + 0.1;
        let foot = [foot[0] - end * turn.0, foot[1], foot[2] - end * turn.1];
        let aside = 0.4 * self.look.width;
        let (colour, size) =
            if self.oncoming { ([1.0, 0.98, 0.9], 0.55) } else { ([0.95, 0.12, 0.08], 0.25) };
        for middle in [-aside, aside] {
            let shape = Shape::Panel {
                left: middle - size,
                right: middle + size,
                low: 0.7 - size,
                high: 0.7 + size,
                seed: 0,
                colour,
                face: Face::Glow,
            };
            out.push(Item { foot, turn, u: self.lane, shape });
        }
    }
}

/// All other vehicles.
#[derive(Clone, Debug)]
pub(super) struct Others {
    vehicles: Vec<Vehicle>,
    time: f32,
    drawn: u32,
    /// Whether those ahead drive on as they like: in the closed loop the own vehicle can brake.
    pub(super) own_brakes: bool,
}

/// Another vehicle as the own one meets it, in the scene's units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Met {
    /// Its middle ahead of the own vehicle's camera, along the road.
    pub(super) ahead: f32,
    /// Its middle, right of the middle of the road.
    pub(super) u: f32,
    pub(super) length: f32,
    pub(super) width: f32,
    /// Along the road, negative towards the own vehicle.
    pub(super) speed: f32,
}

impl Others {
    pub(super) fn new(scene: &Scene, lane: f32, draws: &mut Draws) -> Self {
        let mut others = Self { vehicles: Vec::new(), time: 0.0, drawn: 0, own_brakes: false };
        let traffic = &scene.traffic;
        let lanes = traffic.own.iter().map(|&l| (l, false));
        for (at, oncoming) in lanes.chain(traffic.oncoming.iter().map(|&l| (l, true))) {
            let per_lane = traffic.per_lane;
            if per_lane <= 0.0 {
                continue;
            }
            let own = !oncoming && (at - lane).abs() < 1.0;
            let spacing = (AHEAD - BEHIND) / per_lane;
            let mut place = BEHIND + spacing * draws.unit();
            while place < AHEAD {
                let seed = draws.word();
                if !(own && (-14.0..12.0).contains(&place)) {
                    others.vehicles.push(vehicle(scene, place, at, oncoming, seed));
                }
                place += spacing * draws.range((0.5, 1.5)) + 7.0;
            }
        }
        others
    }

    pub(super) fn advance(&mut self, scene: &Scene, dt: f32, own_speed: f32, own_lane: f32) {
        self.time += dt;
        for index in 0..self.vehicles.len() {
            let other = &self.vehicles[index];
            let mut speed = other.speed * (1.0 + 0.06 * noise(other.seed, self.time * 0.2));
            if self.own_brakes && !other.oncoming {
                // Now and then it slows down, by up to a half in some seconds.
                let slow = smoothstep(0.3, 0.9, noise(other.seed ^ 5, self.time * 0.1));
                speed *= 1.0 - 0.5 * slow;
            }
            // In open loop those that come towards keep the speed they like.
            if self.own_brakes || !other.oncoming {
                let leader = self.leader(other);
                if let Some(leader) = leader.filter(|v| v.gap(other) < near(speed)) {
                    let limit = if self.own_brakes { leader.now } else { leader.speed };
                    speed = if other.oncoming { speed.max(limit) } else { speed.min(limit) };
                }
            }
            if !other.oncoming {
                let beside = (other.lane - own_lane).abs() < 1.6;
                if beside && other.ahead < 0.0 && other.ahead > -30.0 {
                    speed = speed.min(own_speed);
                } else if self.own_brakes {
                    // It knows nothing of who comes from behind.
                } else if beside && other.ahead < 6.0 + 0.5 * own_speed && other.ahead > 0.0 {
                    speed = speed.max(own_speed + 0.4);
                }
            }
            let other = &mut self.vehicles[index];
            other.now = speed;
            other.ahead += (speed - own_speed) * dt;
            if other.ahead < BEHIND || other.ahead > AHEAD + 30.0 {
                self.replace(scene, index);
            }
        }
    }

    /// The next one before it in its lane.
    fn leader(&self, other: &Vehicle) -> Option<&Vehicle> {
        let before = |v: &&Vehicle| v.shares_lane(other) && v.along() > other.along();
        let before = self.vehicles.iter().filter(before);
        before.min_by(|a, b| a.along().total_cmp(&b.along()))
    }

    /// Another one takes the place of one that is out of sight. In the closed loop it waits until there is room: who came into
    /// another vehicle would follow it from within.
    fn replace(&mut self, scene: &Scene, index: usize) {
        let other = &self.vehicles[index];
        let place = if other.ahead < BEHIND { AHEAD + 20.0 * unit(other.seed) } else { BEHIND };
        let drawn = self.drawn.wrapping_add(1);
        let seed = hash(other.seed, drawn as i32);
        let new = vehicle(scene, place, other.lane, other.oncoming, seed);
        let apart = |(at, v): (usize, &Vehicle)| {
            at == index || !v.shares_lane(&new) || v.gap(&new) > near(new.speed)
        };
        if !self.own_brakes || self.vehicles.iter().enumerate().all(apart) {
            (self.vehicles[index], self.drawn) = (new, drawn);
        }
    }

    /// Where a vehicle is across the road.
    fn place(&self, other: &Vehicle) -> f32 {
        let wander = 0.25 * noise(other.seed ^ 2, self.time * 0.25);
        other.lane + wander
    }

    /// Every other vehicle.
    pub(super) fn met(&self) -> impl Iterator<Item = Met> {
        self.vehicles.iter().map(|other| {
            let Look { length, width, .. } = other.look;
            Met { ahead: other.ahead, u: self.place(other), length, width, speed: other.now }
        })
    }

    /// Takes away those that go the own way, in the own lane or so, from a little behind to `ahead`.
    pub(super) fn clear(&mut self, lane: f32, ahead: f32) {
        let near = |other: &Vehicle| {
            (other.lane - lane).abs() < 1.6 && (-14.0..ahead).contains(&other.ahead)
        };
        self.vehicles.retain(|other| !near(other));
    }

    /// Puts one ahead that goes the own way: its rear bumper `rear` ahead of the own camera. Who is too near to it is taken away.
    pub(super) fn put(&mut self, scene: &Scene, rear: f32, lane: f32, speed: f32) {
        self.drawn = self.drawn.wrapping_add(1);
        let mut other = vehicle(scene, rear, lane, false, hash(scene.seed, self.drawn as i32));
        other.ahead += 0.5 * other.look.length;
        (other.speed, other.now) = (speed, speed);
        self.vehicles.retain(|v| !v.shares_lane(&other) || v.gap(&other) > near(speed));
        self.vehicles.push(other);
    }

    /// What is in sight.
    pub(super) fn items(&self, scene: &Scene, ahead: &Ahead, out: &mut Vec<Item>) {
        for other in &self.vehicles {
            if other.ahead < -8.0 {
                continue;
            }
            let Some((foot, turn)) = ahead.stand(other.ahead, self.place(other)) else {
                continue;
            };
            let shape =
                Shape::Vehicle { look: other.look, oncoming: other.oncoming, speed: other.speed };
            out.push(Item { foot, turn, u: other.lane, shape });
            if scene.light.night && scene.ceiling.is_none() {
                other.lamps(foot, turn, out);
            }
        }
    }
}

/// The gap from which on one is held up by the next, at this speed of its own.
fn near(speed: f32) -> f32 {
    3.0 + 0.4 * speed.abs()
}

fn vehicle(scene: &Scene, ahead: f32, lane: f32, oncoming: bool, seed: u32) -> Vehicle {
    let look = Look::new(hash(seed, 1), scene.traffic.trucks);
    let speed = scene.traffic.speed * (0.88 + 0.28 * unit(hash(seed, 2)));
    let speed = if oncoming { -speed } else { speed };
    Vehicle { ahead, lane, speed, now: speed, oncoming, look, seed }
}

/// Whether a thing can throw a shadow over the whole road.
pub(super) fn roofs(thing: Thing) -> bool {
    thing == Thing::Bridge
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::synthetic::region::Region;

    #[test]
    fn vehicles_of_a_lane_do_not_drive_through_one_another_in_the_closed_loop() {
        for seed in 0..8 {
            let mut draws = Draws::new(1, seed, 0);
            let scene = Scene::draw(Region::DenseTraffic, &mut draws);
            let (lane, speed) = (scene.driver.lane, scene.driver.speed.max(4.0));
            let mut others = Others::new(&scene, lane, &mut draws);
            others.own_brakes = true;
            others.clear(lane, 20.0 + 1.8 * speed);
            others.put(&scene, 60.0, lane, 0.5 * speed);
            for step in 0..600 {
                // Half a minute on the way, then standing.
                others.advance(&scene, 0.1, if step < 300 { speed } else { 0.0 }, lane);
                let ahead = others.vehicles.iter().filter(|v| v.ahead > 0.0);
                for (at, one) in ahead.clone().enumerate() {
                    let mut rest = ahead.clone().skip(at + 1);
                    let within = rest.find(|v| v.shares_lane(one) && v.gap(one) < 0.0);
                    assert!(within.is_none(), "seed {seed}, step {step}: {one:?}, {within:?}");
                    assert!(one.now != 0.0, "seed {seed}, step {step}: {one:?} stands");
                }
            }
        }
    }
}
