//! Generated roads: pictures drawn in perspective, with the true motion attached.
//!
//! A road is a pure function of its [`Region`] and seed: the same bytes on every machine. It is a
//! three-dimensional world: a road with curves and hills, ground and walls of trees, houses or rock
//! along it, single things, other vehicles; seen by a camera that is mounted, shaken, exposed and
//! encoded as real ones are. Textures are averaged over each pixel's footprint, so that what moves
//! on the picture moves as on a real one.
//!
//! [`Road`] gives drives; [`pretraining_clip`] gives short clips, each of another world. In a
//! [`ClosedLoop`] actions move the own vehicle, and the camera sees what came of them; [`lesson`] gives
//! short drives to learn driving from. Which
//! regions and seeds are for what is [`SPLIT`]: what models are pretrained on is never what they
//! are measured on.

mod block;
mod closed;
mod draw;
mod driver;
mod ego;
mod frame;
mod ground;
mod hall;
mod lens;
mod lessons;
mod optics;
mod region;
mod route;
mod scene;
mod section;
mod side;
mod sky;
mod solid;
mod split;
mod sprite;
mod steered;
mod texture;
mod thing;
mod traffic;
mod wall;

use core::convert::Infallible;
use core::time::Duration;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::{Drive, FrameShape, Moment, Moments, Motion};
use draw::Draws;
use ego::Ego;
use frame::{Library, Painter, View};
use lens::Lens;
use optics::Chain;
use scene::Scene;
use traffic::Others;

pub use closed::{
    AHEAD_STEP_M, CAMERA_HALF_WIDTH, ClosedLoop, Event, Leader, SimulatedAction, Start,
    StartLeader, Truth,
};
pub use driver::{Driven, SimulatedDriver, Style};
pub use lessons::{LessonForm, lesson};
pub use region::Region;
pub use split::{PRETRAINING, SPLIT, Share, UNSEEN, Use};

/// Names of the streams of draws.
const SCENE: u32 = 16;
const CLIP: u32 = 17;

/// One generated road.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Road {
    /// What kind of road.
    pub region: Region,
    /// Which of its kind: see [`SPLIT`].
    pub seed: u64,
}

impl Road {
    /// Its name: `synthetic/<region>/<seed>`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("synthetic/{}/{}", self.region.name(), self.seed)
    }

    /// The drive along it, frame by frame, without end.
    ///
    /// # Panics
    /// If `shape` has no pixel or `rate_hz` is not a positive number.
    #[must_use]
    pub fn moments(&self, shape: FrameShape, rate_hz: f64) -> RoadMoments {
        assert!(rate_hz.is_finite() && rate_hz > 0.0, "rate {rate_hz} Hz");
        let mut draws = Draws::new(SCENE, self.seed, self.region as u64);
        let scene = Scene::draw(self.region, &mut draws);
        RoadMoments::new(scene, draws, shape, 1.0 / rate_hz)
    }

    /// The first `frames` frames at `rate_hz`, in memory. `source_sha256` is that of the frames.
    ///
    /// # Panics
    /// If `shape` has no pixel or `rate_hz` is not a positive number.
    #[must_use]
    pub fn render(&self, shape: FrameShape, rate_hz: f64, frames: usize) -> Drive {
        let mut road = self.moments(shape, rate_hz);
        let mut bytes = Vec::with_capacity(frames * shape.bytes());
        let mut motion = Vec::with_capacity(frames);
        for _ in 0..frames {
            motion.push(Some(road.step()));
            bytes.extend_from_slice(&road.bytes);
        }
        let sha256 = Sha256::digest(&bytes).into();
        Drive::new(self.name(), sha256, rate_hz, shape, bytes, motion)
    }
}

/// A drive along a generated road, made frame by frame: it never ends.
#[derive(Debug)]
pub struct RoadMoments {
    scene: Scene,
    ego: Ego,
    others: Others,
    painter: Painter,
    chain: Chain,
    shape: FrameShape,
    interval: f64,
    index: u64,
    time: f64,
    heading: f32,
    bytes: Vec<u8>,
}

impl RoadMoments {
    fn new(scene: Scene, mut draws: Draws, shape: FrameShape, interval: f64) -> Self {
        assert!(shape.bytes() > 0, "frames of {}×{}", shape.width, shape.height);
        let (width, height) = (usize::from(shape.width), usize::from(shape.height));
        let lens = Lens::new(&scene.camera, shape, &mut draws);
        let ego = Ego::new(&scene, &mut draws);
        let others = Others::new(&scene, scene.driver.lane, &mut draws);
        let painter = Painter::new(&scene, lens, width, height);
        let chain = Chain::new(&scene, library(), width, height);
        let heading = scene.route.heading;
        let bytes = vec![0; shape.bytes()];
        Self {
            scene,
            ego,
            others,
            painter,
            chain,
            shape,
            interval,
            index: 0,
            time: 0.0,
            heading,
            bytes,
        }
    }

    /// Time of the source frame that is shown for frame `index`: the nearest of a camera with a
    /// rate of its own, so that steps alternate as in resampled footage.
    fn source_time(&self, index: u64) -> f64 {
        let time = index as f64 * self.interval;
        let hz = f64::from(self.scene.optics.source_hz);
        if hz * self.interval < 1.5 {
            return time;
        }
        (time * hz - 0.5).ceil() / hz
    }

    /// Paints the next frame into `bytes` and returns the motion at it.
    fn step(&mut self) -> Motion {
        let time = self.source_time(self.index);
        let dt = time - self.time;
        if dt > 0.0 {
            let before = self.ego.s as f32;
            self.ego.advance(&self.scene, dt);
            let s = self.ego.s as f32;
            let turn = self.scene.route.curvature_at(0.5 * (s + before)) * (s - before);
            self.heading += turn;
            let lane = self.ego.lateral(&self.scene, s);
            let along = self.ego.steered.as_ref().map_or(self.ego.speed, |steered| steered.along);
            self.others.advance(&self.scene, dt as f32, along, lane);
        }
        self.time = time;
        self.index += 1;
        let s = self.ego.s as f32;
        let pose = self.ego.pose(&self.scene);
        let u = self.ego.lateral(&self.scene, s) + self.scene.camera.offset;
        let view =
            View { scene: &self.scene, library: library(), pose, s, u, heading: self.heading };
        self.painter.paint(&view, &self.others);
        let interval = self.interval as f32;
        let (canvas, lens) = (&self.painter.canvas, &self.painter.lens);
        self.chain.develop(&self.scene, (canvas, lens), &self.ego, pose, interval, &mut self.bytes);
        self.ego.motion(&self.scene)
    }
}

impl Moments for RoadMoments {
    type Error = Infallible;

    fn shape(&self) -> FrameShape {
        self.shape
    }

    fn next(&mut self) -> Result<Option<Moment<'_>>, Infallible> {
        let since_start = Duration::from_secs_f64(self.index as f64 * self.interval);
        let motion = self.step();
        Ok(Some(Moment { frame: Some(&self.bytes), motion: Some(motion), since_start }))
    }
}

/// A short run of frames of a world of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// What kind of road.
    pub region: Region,
    /// Shape of every frame.
    pub shape: FrameShape,
    /// Seconds from one frame to the next.
    pub interval_s: f64,
    /// The frames, RGB, HWC, one after another.
    pub frames: Vec<u8>,
    /// Motion at each.
    pub motion: Vec<Motion>,
}

/// Clip number `index` of the endless pretraining mixture of `seed`: region, landscape, weather,
/// camera, driving and frame interval (0.05–0.15 s, half of them 0.1 s) are drawn anew for each.
///
/// # Panics
/// If `shape` has no pixel.
#[must_use]
pub fn pretraining_clip(seed: u64, index: u64, shape: FrameShape, frames: usize) -> Clip {
    let mut draws = Draws::new(CLIP, seed, index);
    let region = split::mixed(draws.unit());
    let interval_s = if draws.chance(0.5) { 0.1 } else { f64::from(draws.range((0.05, 0.15))) };
    let mut scene = Scene::draw(region, &mut draws);
    if draws.chance(0.15) {
        scene.camera.swing = draws.range((0.1, 0.7));
    }
    let mut road = RoadMoments::new(scene, draws, shape, interval_s);
    let mut clip = Clip {
        region,
        shape,
        interval_s,
        frames: Vec::with_capacity(frames * shape.bytes()),
        motion: Vec::with_capacity(frames),
    };
    for _ in 0..frames {
        clip.motion.push(road.step());
        clip.frames.extend_from_slice(&road.bytes);
    }
    clip
}

/// What all roads share, made at the first use.
fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(Library::new)
}
