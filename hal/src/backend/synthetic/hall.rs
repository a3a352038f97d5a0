//! A hall with a closed track for small cars: floor, walls, ceiling and what stands around.
//!
//! Its world has fixed axes: directions are (sine, cosine) from the second axis clockwise.

use super::block::Block;
use super::draw::{Draws, Rgb, floor, hash, lerp, mix, scaled, unit};
use super::ground::{covered, dashed};
use super::scene::Thing;
use super::texture::Textures;
use super::thing::{Face, Item, Shape};

/// Waves of a lap's direction beside its one turn.
pub(super) const WAVES: usize = 3;

/// Direction along a closed track: one turn a lap and some waves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lap {
    pub(super) length: f32,
    pub(super) swing: [f32; WAVES],
    pub(super) phase: [f32; WAVES],
}

impl Lap {
    pub(super) fn draw(draws: &mut Draws) -> Self {
        let swing = core::array::from_fn(|k| draws.range((0.0, 0.75)) / (k as f32 + 1.3));
        Self {
            length: draws.log_range((80.0, 280.0)),
            swing,
            phase: core::array::from_fn(|_| draws.range((0.0, core::f32::consts::TAU))),
        }
    }

    fn wave(&self, s: f32, k: usize) -> (f32, f32) {
        let times = (k + 2) as f32;
        (times, core::f32::consts::TAU * times * s / self.length + self.phase[k])
    }

    fn direction(&self, s: f32) -> f32 {
        let mut turn = core::f32::consts::TAU * s / self.length;
        for k in 0..WAVES {
            turn += self.swing[k] * libm::sinf(self.wave(s, k).1);
        }
        turn
    }

    /// Change of direction with distance.
    pub(super) fn curvature(&self, s: f32) -> f32 {
        let mut sum = 1.0;
        for k in 0..WAVES {
            let (times, at) = self.wave(s, k);
            sum += times * self.swing[k] * libm::cosf(at);
        }
        sum * core::f32::consts::TAU / self.length
    }
}

/// One place of the track's middle.
#[derive(Clone, Copy, Debug)]
struct Post {
    at: [f32; 2],
    sin: f32,
    cos: f32,
}

/// Where the camera is in the hall.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stand {
    pub(super) at: [f32; 2],
    pub(super) sin: f32,
    pub(super) cos: f32,
    pub(super) height: f32,
}

/// The hall of one scene.
#[derive(Clone, Debug)]
pub(super) struct Hall {
    length: f32,
    posts: Vec<Post>,
    /// Nearest post of every cell of the floor.
    nearest: Vec<u16>,
    cells: [usize; 2],
    low: [f32; 2],
    high: [f32; 2],
    ceiling: f32,
    seed: u32,
    wall: Rgb,
    gloss: f32,
    lamps: f32,
    things: Vec<([f32; 2], f32, Shape)>,
}

const CELL: f32 = 2.0;
const POSTS: usize = 240;

impl Hall {
    /// The hall around a lap whose floor beyond `half` of its middle is free for things.
    pub(super) fn draw(lap: &Lap, half: f32, draws: &mut Draws) -> Self {
        let posts = posts(lap);
        let margin = draws.range((12.0, 45.0));
        let mut low = [f32::MAX; 2];
        let mut high = [f32::MIN; 2];
        for post in &posts {
            for axis in 0..2 {
                low[axis] = low[axis].min(post.at[axis] - margin);
                high[axis] = high[axis].max(post.at[axis] + margin);
            }
        }
        let cells = [0, 1].map(|axis| ((high[axis] - low[axis]) / CELL) as usize + 2);
        let nearest = (0..cells[0] * cells[1])
            .map(|index| {
                let x = low[0] + ((index % cells[0]) as f32 + 0.5) * CELL;
                let y = low[1] + ((index / cells[0]) as f32 + 0.5) * CELL;
                nearest(&posts, [x, y])
            })
            .collect();
        let bright = draws.range((0.35, 0.9));
        let mut hall = Self {
            length: lap.length,
            posts,
            nearest,
            cells,
            low,
            high,
            ceiling: draws.range((24.0, 70.0)),
            seed: draws.word(),
            wall: draws.near([bright, bright, bright * 0.96], 0.1, 0.08),
            gloss: if draws.chance(0.7) { draws.range((0.1, 0.55)) } else { 0.0 },
            lamps: draws.range((0.3, 1.0)),
            things: Vec::new(),
        };
        hall.furnish(half, draws);
        hall
    }

    fn furnish(&mut self, half: f32, draws: &mut Draws) {
        for _ in 0..draws.below(30) + 8 {
            let x = lerp(self.low[0], self.high[0], draws.unit());
            let y = lerp(self.low[1], self.high[1], draws.unit());
            let (u, _) = self.place([x, y]);
            if u.abs() < half + 5.0 {
                continue;
            }
            let h = draws.word();
            let turn = draws.range((0.0, core::f32::consts::TAU));
            let bright = draws.unit() * 0.9 + 0.05;
            let colour = draws.near([bright; 3], 0.3, 0.45);
            let shape = match draws.below(5) {
                0 => Shape::Picture {
                    thing: Thing::Person,
                    seed: h,
                    width: 16.0,
                    height: 17.0,
                    colour,
                },
                1 => Shape::Panel {
                    left: -0.4,
                    right: 0.4,
                    low: 0.0,
                    high: draws.range((6.0, 20.0)),
                    seed: h,
                    colour,
                    face: Face::Plain,
                },
                _ => {
                    let size = (draws.range((1.0, 7.0)), draws.range((1.0, 7.0)));
                    let block = Block {
                        foot: [0.0; 3],
                        turn: (0.0, 1.0),
                        half: size,
                        low: if draws.chance(0.3) { 5.0 } else { 0.0 },
                        high: draws.range((5.5, 16.0)),
                    };
                    Shape::Solid { block, seed: h, colour, roof: false }
                }
            };
            self.things.push(([x, y], turn, shape));
        }
        if draws.chance(0.45) {
            self.boards(half, draws);
        }
        if draws.chance(0.3) {
            self.cones(half, draws);
        }
    }

    /// Low boards along one edge of the track.
    fn boards(&mut self, half: f32, draws: &mut Draws) {
        let side = if draws.chance(0.7) { -1.0 } else { 1.0 };
        let offset = side * (half + draws.range((1.0, 6.0)));
        let base = draws.pick(&[[0.62, 0.12, 0.1], [0.82, 0.82, 0.8], [0.2, 0.3, 0.6], [0.3; 3]]);
        let colour = draws.near(base, 0.2, 0.1);
        let high = draws.range((0.7, 2.2));
        let step = 4;
        for i in (0..POSTS).step_by(step) {
            let post = self.posts[i];
            let at = [post.at[0] + offset * post.cos, post.at[1] - offset * post.sin];
            if self.place(at).0.abs() < half {
                continue;
            }
            let long = self.length / POSTS as f32 * step as f32 * (1.0 + offset.abs() / 20.0);
            let block =
                Block { foot: [0.0; 3], turn: (0.0, 1.0), half: (0.2, 0.5 * long), low: 0.0, high };
            let shape = Shape::Solid { block, seed: draws.word(), colour, roof: false };
            self.things.push((at, libm::atan2f(post.sin, post.cos), shape));
        }
    }

    fn cones(&mut self, half: f32, draws: &mut Draws) {
        for i in (0..POSTS).step_by(12) {
            let post = self.posts[i];
            let offset = (half + 1.0) * if draws.chance(0.5) { 1.0 } else { -1.0 };
            let at = [post.at[0] + offset * post.cos, post.at[1] - offset * post.sin];
            let colour = draws.near([0.9, 0.4, 0.1], 0.1, 0.1);
            let high = draws.range((0.8, 2.5));
            let (left, right, low) = (-0.5, 0.5, 0.0);
            let face = Face::Triangle;
            let shape = Shape::Panel { left, right, low, high, seed: i as u32, colour, face };
            self.things.push((at, 0.0, shape));
        }
    }

    /// Where a camera `u` right of the track's middle at `s` stands.
    pub(super) fn stand(&self, s: f32, u: f32, height: f32) -> Stand {
        let turns = s / self.length;
        let x = (turns - floor(turns) as f32) * POSTS as f32;
        let i = (x as usize).min(POSTS - 1);
        let (a, b) = (self.posts[i], self.posts[(i + 1) % POSTS]);
        let t = x - i as f32;
        let (sin, cos) = (lerp(a.sin, b.sin, t), lerp(a.cos, b.cos, t));
        let by = 1.0 / (sin * sin + cos * cos).sqrt();
        let (sin, cos) = (sin * by, cos * by);
        let at = [lerp(a.at[0], b.at[0], t) + u * cos, lerp(a.at[1], b.at[1], t) - u * sin];
        Stand { at, sin, cos, height }
    }

    /// Offset to the right of the track's middle, and distance along it, of a place on the floor.
    fn place(&self, at: [f32; 2]) -> (f32, f32) {
        let cell = |axis: usize| {
            let x = (at[axis] - self.low[axis]) / CELL;
            (x.max(0.0) as usize).min(self.cells[axis] - 1)
        };
        let index = self.nearest[cell(1) * self.cells[0] + cell(0)];
        let post = self.posts[usize::from(index)];
        let (dx, dy) = (at[0] - post.at[0], at[1] - post.at[1]);
        let s = f32::from(index) * self.length / POSTS as f32;
        (dx * post.cos - dy * post.sin, s + dx * post.sin + dy * post.cos)
    }

    /// What a ray meets: distance ahead, and the floor's (u, s) where it is the floor.
    pub(super) fn meet(&self, stand: &Stand, ray: [f32; 2]) -> (f32, Option<(f32, f32)>) {
        let wall = self.wall_ahead(stand, ray[0]).0;
        if ray[1] > 1e-4 {
            let z = stand.height / ray[1];
            if z < wall {
                let x = ray[0] * z;
                let at = [
                    stand.at[0] + x * stand.cos + z * stand.sin,
                    stand.at[1] - x * stand.sin + z * stand.cos,
                ];
                return (z, Some(self.place(at)));
            }
        }
        (wall, None)
    }

    /// Distance ahead of the wall to which a ray goes, which wall, and the place along it.
    fn wall_ahead(&self, stand: &Stand, side: f32) -> (f32, u32, f32) {
        let way = [side * stand.cos + stand.sin, -side * stand.sin + stand.cos];
        let mut best = (f32::MAX, 0, 0.0);
        for axis in 0..2 {
            let (edge, which) =
                if way[axis] > 0.0 { (self.high[axis], 0) } else { (self.low[axis], 1) };
            let d = if way[axis].abs() < 1e-5 { 1e-5 } else { way[axis] };
            let z = ((edge - stand.at[axis]) / d).abs();
            if z < best.0 {
                let along = stand.at[1 - axis] + way[1 - axis] * z;
                best = (z, axis as u32 * 2 + which, along);
            }
        }
        best
    }

    /// Colour of wall or ceiling in a direction, `soft` times less sharp than a pixel.
    pub(super) fn backdrop(
        &self,
        textures: &Textures,
        stand: &Stand,
        ray: [f32; 2],
        pixel: f32,
    ) -> Rgb {
        let (z, wall, along) = self.wall_ahead(stand, ray[0]);
        let h = stand.height - ray[1] * z;
        if h > self.ceiling {
            let z = (self.ceiling - stand.height) / -ray[1];
            return self.ceiling_at(textures, stand, ray, z, pixel);
        }
        let up = z * pixel;
        self.wall_at(textures, wall, along, h, up)
    }

    fn ceiling_at(
        &self,
        textures: &Textures,
        stand: &Stand,
        ray: [f32; 2],
        z: f32,
        pixel: f32,
    ) -> Rgb {
        let x = ray[0] * z;
        let at = [
            stand.at[0] + x * stand.cos + z * stand.sin,
            stand.at[1] - x * stand.sin + z * stand.cos,
        ];
        let foot = (z * z * pixel / self.ceiling).max(z * pixel);
        let lamp = dashed(at[0], foot, 5.0, 22.0) * dashed(at[1], foot, 12.0, 30.0);
        let beams = dashed(at[1], foot, 1.5, 15.0);
        let stain = textures.clutter.sample(at[0] * 1.5, at[1] * 1.5, foot * 1.5, foot * 1.5);
        let base = scaled(self.wall, 0.55 * (1.0 - 0.4 * beams + 0.3 * stain));
        mix(base, [1.3, 1.3, 1.25], lamp * self.lamps)
    }

    fn wall_at(&self, textures: &Textures, wall: u32, along: f32, h: f32, up: f32) -> Rgb {
        let bay = 9.0 + 14.0 * unit(hash(self.seed, wall as i32 + 4));
        let cell = floor(along / bay);
        let kind = hash(self.seed ^ (wall * 977), cell);
        let x = along - cell as f32 * bay;
        let d = 5.0;
        let shift = (kind & 1023) as f32;
        let mess = textures.clutter.sample(along * d + shift, h * d, up * d, up * d);
        let fine =
            textures.clutter.sample(h * d * 3.1, along * d * 3.1, up * d * 3.1, up * d * 3.1);
        let stain = textures.cloud.sample(along * 2.0, h * 2.0, up * 2.0, up * 2.0);
        let mut colour = scaled(self.wall, 1.0 + 0.15 * stain - 0.1 * dashed(along, up, 0.3, bay));
        let own = unit(hash(kind, 1));
        match kind % 5 {
            0 => {
                // A window, brighter than the hall.
                let pane = covered(x, up, 1.5, bay - 1.5) * covered(h, up, 9.0, self.ceiling * 0.8);
                let bars = dashed(x, up, 0.4, 4.0).max(dashed(h, up, 0.4, 6.0));
                colour = mix(colour, [1.15, 1.2, 1.25], pane * (1.0 - 0.8 * bars));
            }
            1 | 2 => {
                // Shelves, machines, people's things.
                let top = self.ceiling * (0.3 + 0.5 * own);
                let tint = [0.8 + 0.4 * unit(hash(kind, 2)), 0.9, 0.8 + 0.4 * unit(hash(kind, 3))];
                let level = (0.35 + 0.7 * mess + 0.5 * fine).clamp(0.02, 1.1);
                let goods = [tint[0] * level, tint[1] * level, tint[2] * level];
                colour = mix(colour, goods, ((top + 3.0 * mess - h) / up + 0.5).clamp(0.0, 1.0));
            }
            3 => {
                let door = covered(x, up, 2.0, 2.0 + 0.5 * bay) * covered(h, up, -9.0, 20.0);
                colour = mix(colour, scaled([0.5, 0.45, 0.4], 0.3 + own), door);
            }
            _ => {
                let poster =
                    covered(x, up, 2.0, bay - 2.0) * covered(h, up, 10.0, 10.0 + 8.0 * own);
                let level = 0.5 + 0.8 * mess;
                colour = mix(colour, [level, level * own, level * 0.6], poster);
            }
        }
        // Tables and chairs before the wall, dark gaps at the floor.
        let low = 6.0 + 5.0 * mess;
        let level = (0.25 + 0.7 * fine + 0.3 * stain).clamp(0.0, 1.0);
        mix(colour, [level, level, level * 0.95], ((low - h) / up + 0.5).clamp(0.0, 1.0) * 0.85)
    }

    /// What the floor mirrors of walls and lamps: colour and share.
    pub(super) fn gleam(
        &self,
        textures: &Textures,
        stand: &Stand,
        ray: [f32; 2],
        pixel: f32,
    ) -> (Rgb, f32) {
        if self.gloss <= 0.0 {
            return ([0.0; 3], 0.0);
        }
        let under = Stand { height: -stand.height, ..*stand };
        let colour = self.backdrop(textures, &under, [ray[0], -ray[1]], pixel * 6.0);
        (colour, self.gloss / (1.0 + 3.0 * ray[1]))
    }

    /// Everything that stands in the hall, in the camera's road frame.
    pub(super) fn items(&self, stand: &Stand, out: &mut Vec<Item>) {
        for &(at, turn, shape) in &self.things {
            let (dx, dy) = (at[0] - stand.at[0], at[1] - stand.at[1]);
            let x = dx * stand.cos - dy * stand.sin;
            let z = dx * stand.sin + dy * stand.cos;
            if z < -4.0 {
                continue;
            }
            let (sin, cos) = (libm::sinf(turn), libm::cosf(turn));
            let turn = (sin * stand.cos - cos * stand.sin, cos * stand.cos + sin * stand.sin);
            out.push(Item { foot: [x, 0.0, z], turn, u: 0.0, shape });
        }
    }
}

fn posts(lap: &Lap) -> Vec<Post> {
    let fine = 8;
    let step = lap.length / (POSTS * fine) as f32;
    let mut path = Vec::with_capacity(POSTS);
    let mut at = [0.0_f32; 2];
    for i in 0..POSTS * fine {
        if i % fine == 0 {
            path.push(at);
        }
        let direction = lap.direction((i as f32 + 0.5) * step);
        at = [at[0] + libm::sinf(direction) * step, at[1] + libm::cosf(direction) * step];
    }
    // The waves do not quite close the lap: spread what is missing over it.
    let close = |i: usize, axis: usize| path[i][axis] - at[axis] * i as f32 / POSTS as f32;
    let closed: Vec<[f32; 2]> = (0..POSTS).map(|i| [close(i, 0), close(i, 1)]).collect();
    (0..POSTS)
        .map(|i| {
            let (before, after) = (closed[(i + POSTS - 1) % POSTS], closed[(i + 1) % POSTS]);
            let (dx, dy) = (after[0] - before[0], after[1] - before[1]);
            let by = 1.0 / (dx * dx + dy * dy).sqrt().max(1e-6);
            Post { at: closed[i], sin: dx * by, cos: dy * by }
        })
        .collect()
}

fn nearest(posts: &[Post], at: [f32; 2]) -> u16 {
    let mut best = (f32::MAX, 0);
    for (i, post) in posts.iter().enumerate() {
        let (dx, dy) = (at[0] - post.at[0], at[1] - post.at[1]);
        let d = dx * dx + dy * dy;
        if d < best.0 {
            best = (d, i as u16);
        }
    }
    best.1
}
