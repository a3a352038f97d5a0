//! One scene: every parameter of a road, its landscape, weather, traffic and camera.

use super::draw::{Draws, Rgb};
use super::hall::{Hall, Lap};
use super::region::{Profile, Region, Side, Sky};

/// Where the road goes: curvature and slope as noise over its length.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) seed: u32,
    pub(super) curvature: f32,
    pub(super) curve: f32,
    pub(super) grade: f32,
    pub(super) hill: f32,
    /// A closed track instead.
    pub(super) lap: Option<Lap>,
    /// Heading at the start, rad: which part of the skyline is ahead.
    pub(super) heading: f32,
}

/// How the camera is mounted and what its lens does; angles in rad.
#[derive(Clone, Debug)]
pub(super) struct Camera {
    pub(super) height: f32,
    /// Half the picture's width at distance 1.
    pub(super) half_width: f32,
    pub(super) pitch: f32,
    pub(super) roll: f32,
    pub(super) yaw: f32,
    /// Offset of the camera from the vehicle's middle, positive right.
    pub(super) offset: f32,
    /// Share of the lens's displacement from the picture's middle that is left: 1, 0 where it is calibrated away.
    pub(super) decentred: f32,
    /// Radial distortion: ray = place · (1 + k·r²).
    pub(super) distortion: f32,
    pub(super) shake_pitch: f32,
    pub(super) shake_roll: f32,
    pub(super) shake_yaw: f32,
    /// How far the camera pans from side to side, rad: as at crossings, in roundabouts.
    pub(super) swing: f32,
    /// Share of the shake that is new in every frame.
    pub(super) shake_rough: f32,
}

/// How the vehicle is driven, in units of the scene.
#[derive(Clone, Debug)]
pub(super) struct Driver {
    pub(super) speed: f32,
    pub(super) speed_swing: f32,
    pub(super) lane: f32,
    pub(super) wander: f32,
    pub(super) wander_time: f32,
    pub(super) lane_change: f32,
    pub(super) wheelbase: f32,
    /// Steering-wheel angle over road-wheel angle.
    pub(super) ratio: f32,
    /// Metres of one unit of the scene.
    pub(super) scale: f32,
}

/// What the ground is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grain {
    Asphalt,
    Grass,
    Soil,
    Slabs,
    Water,
    Floor,
}

/// One kind of ground.
#[derive(Clone, Copy, Debug)]
pub(super) struct Material {
    pub(super) grain: Grain,
    pub(super) dark: Rgb,
    pub(super) light: Rgb,
    /// Texels in a unit of the scene, and contrast of fine and coarse detail.
    pub(super) density: f32,
    pub(super) fine: f32,
    pub(super) coarse: f32,
}

/// A run of ground along the road, from where the one before ends to `to`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strip {
    pub(super) to: f32,
    pub(super) material: Material,
    /// How far its right edge wanders.
    pub(super) ragged: f32,
}

/// A painted line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) at: f32,
    pub(super) width: f32,
    /// Painted length and length of paint and gap; a solid line has both equal.
    pub(super) dash: f32,
    pub(super) period: f32,
    pub(super) phase: f32,
    pub(super) colour: Rgb,
    /// Share of the paint that is left, 0..1.
    pub(super) paint: f32,
}

/// A surface that stands along the road.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wall {
    /// Crowns of trees, one beside the other.
    Trees,
    /// A hedge with a nearly even top.
    Hedge,
    /// A steel band on posts.
    Rail,
    /// Concrete or panels.
    Panels,
    /// Wire or boards on posts: one sees through.
    Fence,
    /// House fronts.
    Houses,
    /// Rock or earth.
    Rock,
    /// Grass, low plants.
    Bank,
    /// Boards, furniture, machines.
    Clutter,
    /// Power or telephone lines between poles.
    Wires,
}

/// One wall, on one side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Curtain {
    pub(super) wall: Wall,
    /// Distance from the middle of the road, positive right.
    pub(super) at: f32,
    /// Height, and how much it varies (0..1).
    pub(super) height: f32,
    pub(super) uneven: f32,
    /// Length of one tree, panel or house.
    pub(super) piece: f32,
    pub(super) dark: Rgb,
    pub(super) light: Rgb,
    /// Texels in a unit of the scene.
    pub(super) density: f32,
    /// Stands where noise over `length` is below this: 1 always, −1 never.
    pub(super) presence: f32,
    pub(super) length: f32,
    pub(super) seed: u32,
}

/// A kind of thing beside or above the road.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thing {
    Tree,
    Fir,
    Bare,
    Palm,
    Bush,
    Person,
    Pole,
    Lamp,
    Marker,
    Sign,
    Board,
    Gantry,
    Bridge,
    Parked,
    House,
}

/// Things of one kind, each `spacing` or so after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) thing: Thing,
    /// Nearest and farthest distance from the middle of the road, positive right.
    pub(super) at: (f32, f32),
    pub(super) spacing: f32,
    /// 0: as on a ruler; 1: anywhere.
    pub(super) jitter: f32,
    /// Share of places where one stands.
    pub(super) share: f32,
    pub(super) size: (f32, f32),
    pub(super) colour: Rgb,
    pub(super) seed: u32,
}

/// Light, sky and air.
#[derive(Clone, Debug)]
pub(super) struct Light {
    pub(super) tint: Rgb,
    /// Light on faces to the left, to the front, to the right, from above.
    pub(super) left: f32,
    pub(super) front: f32,
    pub(super) right: f32,
    pub(super) shadow: f32,
    /// Share of the road in the shade of trees.
    pub(super) shade: f32,
    pub(super) haze: Rgb,
    pub(super) haze_distance: f32,
    pub(super) zenith: Rgb,
    pub(super) horizon: Rgb,
    pub(super) cloud: Rgb,
    pub(super) clouds: f32,
    pub(super) cloud_scale: f32,
    pub(super) skyline: [f32; 2],
    pub(super) skyline_colour: Rgb,
    pub(super) night: bool,
    /// Strength of the head lamps, and light of the night itself.
    pub(super) lamps: f32,
    pub(super) glow: f32,
    pub(super) wet: f32,
    pub(super) rain: f32,
    pub(super) snow: f32,
}

/// Marks of use on the road.
#[derive(Clone, Debug)]
pub(super) struct Wear {
    pub(super) tracks: f32,
    pub(super) patches: f32,
    pub(super) cracks: f32,
    pub(super) seams: f32,
    pub(super) joints: f32,
    pub(super) crossings: f32,
}

/// Other vehicles.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    /// Middles of lanes that go the own way, and of lanes that come towards.
    pub(super) own: Vec<f32>,
    pub(super) oncoming: Vec<f32>,
    /// Vehicles in a lane within sight.
    pub(super) per_lane: f32,
    pub(super) speed: f32,
    pub(super) trucks: f32,
}

/// What the camera's electronics and the window before it do to the picture.
#[derive(Clone, Debug)]
pub(super) struct Optics {
    /// Mean that the exposure aims at.
    pub(super) brightness: f32,
    pub(super) gain: f32,
    pub(super) contrast: f32,
    pub(super) saturation: f32,
    pub(super) balance: Rgb,
    pub(super) black: f32,
    pub(super) vignette: f32,
    /// Standard deviation of the lens's blur, pixels.
    pub(super) blur: f32,
    /// Share of the frame interval during which the shutter is open.
    pub(super) shutter: f32,
    pub(super) noise: f32,
    pub(super) drift: f32,
    /// Changes smaller than this are not transmitted, in blocks.
    pub(super) dead_zone: f32,
    pub(super) bonnet: f32,
    pub(super) bonnet_colour: Rgb,
    pub(super) reflection: f32,
    pub(super) overlay: bool,
    /// Share of the height that black bars hide, above and below.
    pub(super) bars: (f32, f32),
    /// Share of the width that a pillar hides, negative at the left.
    pub(super) pillar: f32,
    /// Radius of a still mark in the picture, 0 for none.
    pub(super) mark: f32,
    pub(super) sharpen: f32,
    /// Frames a second of the source that is resampled, 0: exact.
    pub(super) source_hz: f32,
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) seed: u32,
    pub(super) route: Route,
    pub(super) camera: Camera,
    pub(super) driver: Driver,
    pub(super) strips: Vec<Strip>,
    pub(super) lines: Vec<Line>,
    pub(super) road: (f32, f32),
    pub(super) curtains: Vec<Curtain>,
    pub(super) rows: Vec<Row>,
    pub(super) ceiling: Option<f32>,
    pub(super) hall: Option<Hall>,
    pub(super) light: Light,
    pub(super) wear: Wear,
    pub(super) traffic: Traffic,
    pub(super) optics: Optics,
}

impl Scene {
    /// Draws a scene of a region.
    pub(super) fn draw(region: Region, draws: &mut Draws) -> Self {
        let profile = region.profile();
        let seed = draws.word();
        let route = route(profile, draws);
        let camera = camera(profile, draws);
        let light = light(profile, draws);
        let section = super::section::Section::draw(profile, draws);
        let driver = driver(profile, &section, draws);
        let traffic = traffic(profile, &section, &driver, draws);
        let optics = optics(profile, draws);
        let hall = route
            .lap
            .as_ref()
            .map(|lap| Hall::draw(lap, section.road.1.max(-section.road.0), draws));
        let indoor = profile.scale < 0.5;
        let wear = Wear {
            tracks: draws.range((0.0, 0.12)),
            patches: if draws.chance(0.4) && !indoor { draws.range((0.02, 0.25)) } else { 0.0 },
            cracks: if draws.chance(0.4) && !indoor { draws.range((0.1, 0.5)) } else { 0.0 },
            seams: if draws.chance(0.5) && !indoor { draws.range((0.1, 0.5)) } else { 0.0 },
            joints: if draws.chance(0.2) { draws.range((0.1, 0.4)) } else { 0.0 },
            crossings: if section.urban { draws.range((0.1, 0.5)) } else { 0.01 },
        };
        let mut scene = Self {
            seed,
            route,
            camera,
            driver,
            strips: section.strips,
            lines: section.lines,
            road: section.road,
            curtains: section.curtains,
            rows: section.rows,
            ceiling: section.ceiling,
            hall,
            light,
            wear,
            traffic,
            optics,
        };
        if profile.left_hand {
            scene.mirror();
        }
        scene
    }

    /// Left becomes right.
    fn mirror(&mut self) {
        self.road = (-self.road.1, -self.road.0);
        self.driver.lane = -self.driver.lane;
        self.camera.offset = -self.camera.offset;
        for lane in self.traffic.own.iter_mut().chain(&mut self.traffic.oncoming) {
            *lane = -*lane;
        }
        for line in &mut self.lines {
            line.at = -line.at;
        }
        for curtain in &mut self.curtains {
            curtain.at = -curtain.at;
        }
        for row in &mut self.rows {
            row.at = (-row.at.0, -row.at.1);
        }
        let ends: Vec<f32> = self.strips.iter().map(|strip| strip.to).collect();
        self.strips.reverse();
        for (index, strip) in self.strips.iter_mut().enumerate() {
            // The right end of a strip was the right end of its left neighbour.
            strip.to = ends.len().checked_sub(index + 2).map_or(f32::MAX, |i| -ends[i]);
        }
    }
}

fn route(profile: &Profile, draws: &mut Draws) -> Route {
    let scale = profile.scale;
    Route {
        seed: draws.word(),
        curvature: draws.range(profile.curvature) * scale,
        curve: draws.range(profile.curve_m) / scale,
        grade: draws.range(profile.grade),
        hill: draws.range((60.0, 300.0)),
        lap: (scale < 0.5).then(|| Lap::draw(draws)),
        heading: draws.range((-50.0, 50.0)),
    }
}

fn camera(profile: &Profile, draws: &mut Draws) -> Camera {
    let small = profile.scale < 0.5;
    let degree = core::f32::consts::PI / 180.0;
    let view = if small { draws.range((65.0, 125.0)) } else { draws.range((42.0, 90.0)) };
    let shake = draws.log_range(profile.shake_deg) * degree;
    let pitch = if small { draws.range((3.0, 22.0)) } else { draws.range((-4.0, 8.0)) };
    Camera {
        height: draws.range(profile.camera_m) / profile.scale
            + if !small && draws.chance(0.08) { draws.range((0.3, 1.0)) } else { 0.0 },
        half_width: libm::tanf(view * 0.5 * degree),
        pitch: pitch * degree,
        roll: draws.normal() * 0.7 * degree,
        yaw: draws.normal() * 2.0 * degree,
        offset: draws.range((-0.4, 0.4)),
        decentred: 1.0,
        distortion: if draws.chance(0.5) { draws.range((0.0, 0.12)) } else { 0.0 }
            * if small { 2.0 } else { 1.0 },
        shake_pitch: shake,
        shake_roll: shake * draws.range((0.2, 0.8)),
        shake_yaw: shake * draws.range((0.1, 0.6)),
        swing: 0.0,
        shake_rough: draws.range((0.0, 0.3)),
    }
}

fn driver(profile: &Profile, section: &super::section::Section, draws: &mut Draws) -> Driver {
    let small = profile.scale < 0.5;
    let speed = draws.range(profile.speed_m_s) / profile.scale;
    let speed = if !small && draws.chance(0.12) { speed * draws.range((0.05, 0.6)) } else { speed };
    Driver {
        speed,
        speed_swing: draws.range((0.02, 0.25)),
        lane: draws.pick(&section.own_lanes),
        wander: draws.range((0.05, 0.35)) * if small { 4.0 } else { 1.0 },
        wander_time: if small { draws.range((0.8, 2.0)) } else { draws.range((2.5, 7.0)) },
        lane_change: if section.own_lanes.len() > 1 { 0.15 } else { 0.0 },
        wheelbase: draws.range((2.5, 3.1)),
        ratio: if small { 1.0 } else { draws.range((13.0, 17.0)) },
        scale: profile.scale,
    }
}

fn traffic(
    profile: &Profile,
    section: &super::section::Section,
    driver: &Driver,
    draws: &mut Draws,
) -> Traffic {
    Traffic {
        own: section.own_lanes.clone(),
        oncoming: section.oncoming_lanes.clone(),
        per_lane: draws.range(profile.traffic_per_km) * 0.3,
        speed: driver.speed * draws.range((0.75, 1.15)),
        trucks: draws.range((0.05, 0.35)),
    }
}

fn light(profile: &Profile, draws: &mut Draws) -> Light {
    let sky = draws.pick(profile.skies);
    let (zenith, horizon, cloud, clouds) = match sky {
        Sky::Clear => ([0.30, 0.47, 0.74], [0.68, 0.78, 0.87], [0.93, 0.94, 0.96], 0.05),
        Sky::Broken => ([0.28, 0.45, 0.72], [0.72, 0.79, 0.85], [0.95, 0.95, 0.96], 0.5),
        Sky::Overcast => ([0.62, 0.65, 0.69], [0.78, 0.80, 0.81], [0.86, 0.87, 0.88], 0.75),
        Sky::White => ([0.93, 0.95, 0.98], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0], 0.3),
        Sky::Dusk => ([0.14, 0.22, 0.42], [0.86, 0.62, 0.42], [0.62, 0.48, 0.42], 0.55),
        Sky::Night => ([0.02, 0.02, 0.035], [0.07, 0.06, 0.06], [0.05, 0.05, 0.05], 0.3),
    };
    let sunny = matches!(sky, Sky::Clear | Sky::Broken);
    let sun = draws.range((-1.0, 1.0));
    let dim = match sky {
        Sky::Dusk => draws.range((0.35, 0.6)),
        Sky::Clear | Sky::Broken | Sky::Overcast | Sky::White | Sky::Night => 1.0,
    };
    let haze_distance = draws.log_range(profile.haze_m);
    let horizon = draws.near(horizon, 0.08, 0.04);
    let tint = draws.near([0.96, 0.96, 0.96], 0.05, 0.04).map(|c| c * dim);
    Light {
        tint,
        left: if sunny { 1.0 + 0.3 * sun } else { 0.95 },
        front: if sunny { draws.range((0.65, 1.1)) } else { 0.95 },
        right: if sunny { 1.0 - 0.3 * sun } else { 0.95 },
        shadow: if sunny { draws.range((0.35, 0.65)) } else { draws.range((0.0, 0.15)) },
        shade: if sunny && draws.chance(0.45) { draws.range((0.1, 0.75)) } else { 0.0 },
        haze: horizon.map(|c| c * 0.96),
        haze_distance,
        zenith: draws.near(zenith, 0.2, 0.1),
        horizon,
        cloud: draws.near(cloud, 0.05, 0.02),
        clouds: (clouds + draws.range((-0.15, 0.25))).clamp(0.0, 1.0),
        cloud_scale: draws.log_range((8.0, 60.0)),
        skyline: [draws.range((-0.02, 0.06)), draws.range((0.0, 0.12)) * draws.unit()],
        skyline_colour: draws.near([0.30, 0.36, 0.38], 0.3, 0.15),
        night: sky == Sky::Night,
        lamps: draws.range((0.5, 1.0)),
        glow: draws.range((0.06, 0.3)),
        wet: if profile.rain > 0.0 { draws.range((0.3, 0.9)) } else { 0.0 },
        rain: profile.rain * draws.range((0.2, 1.0)),
        snow: profile.snow,
    }
}

fn optics(profile: &Profile, draws: &mut Draws) -> Optics {
    let small = profile.scale < 0.5;
    let gray = !small && draws.chance(0.08);
    let (brightness, black) = match profile.skies {
        [Sky::Dusk] => ((0.18, 0.38), -0.04),
        [Sky::Night] if !profile.sides.contains(&Side::Tunnel) => ((0.10, 0.24), 0.0),
        _ => ((0.34, 0.56), -0.04),
    };
    Optics {
        brightness: draws.range(brightness),
        gain: draws.range((0.9, 1.1)),
        contrast: draws.range((0.85, 1.35)),
        saturation: if gray { 0.0 } else { draws.range((0.5, 1.25)) },
        balance: draws.near([0.98, 0.98, 0.98], 0.0, 0.04),
        black: draws.range((black, 0.05)),
        vignette: if draws.chance(0.5) { draws.range((0.0, 0.35)) } else { 0.0 },
        blur: draws.range((0.25, 0.6))
            + if draws.chance(0.15) { draws.range((0.1, 0.8)) } else { 0.0 },
        shutter: if small || draws.chance(0.3) { draws.range((0.05, 0.5)) } else { 0.0 },
        noise: draws.log_range((0.0006, 0.006)) * if small { 1.3 } else { 1.0 },
        drift: draws.range((0.0, 0.06)),
        dead_zone: if draws.chance(0.35) { draws.log_range((0.003, 0.018)) } else { 0.0 },
        bonnet: if !small && draws.chance(0.25) { draws.range((0.04, 0.2)) } else { 0.0 },
        bonnet_colour: {
            let base = draws.unit() * 0.5;
            draws.near([base; 3], 0.2, 0.15)
        },
        reflection: if !small && draws.chance(0.2) { draws.range((0.02, 0.12)) } else { 0.0 },
        overlay: draws.chance(0.07),
        bars: if draws.chance(0.05) {
            (draws.range((0.03, 0.15)), draws.range((0.03, 0.15)))
        } else {
            (0.0, 0.0)
        },
        pillar: if !small && draws.chance(0.05) { draws.range((-0.12, 0.12)) } else { 0.0 },
        mark: if draws.chance(0.05) { draws.range((0.03, 0.1)) } else { 0.0 },
        sharpen: if draws.chance(0.4) { draws.range((0.1, 0.6)) } else { 0.0 },
        source_hz: draws.pick(&[0.0, 0.0, 20.0, 24.0, 23.976, 25.0, 29.97, 30.0, 50.0, 60.0]),
    }
}
