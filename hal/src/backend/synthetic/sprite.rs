//! Pictures of trees, bushes and people, painted once, kept at every size (*mip maps*).

use super::draw::{Draws, floor, lerp, noise};

/// Pixels along one side of the largest map.
pub(super) const SIDE: usize = 64;
const LEVELS: usize = 6;

/// What a sprite shows at a place: everything is weighted by `cover`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Texel {
    /// How much of the place is covered, 0..1.
    pub(super) cover: f32,
    /// Brightness 0..1.
    pub(super) light: f32,
    /// How much of it is wood (trunk, branch) and not leaf, 0..1.
    pub(super) wood: f32,
}

/// One picture: x from left to right, y from the ground up.
#[derive(Debug)]
pub(super) struct Sprite {
    maps: Vec<Vec<[u8; 3]>>,
}

impl Sprite {
    fn new(texels: &[Texel]) -> Self {
        let mut map: Vec<[f32; 3]> =
            texels.iter().map(|t| [t.cover, t.light * t.cover, t.wood * t.cover]).collect();
        let mut maps = Vec::with_capacity(LEVELS);
        for level in 0..LEVELS {
            let side = SIDE >> level;
            maps.push(map.iter().map(|t| t.map(|x| (x * 255.0 + 0.5) as u8)).collect());
            let at = |x: usize, y: usize, c: usize| map[y * side + x][c];
            map = (0..side * side / 4)
                .map(|index| {
                    let (x, y) = (index % (side / 2) * 2, index / (side / 2) * 2);
                    [0, 1, 2].map(|c| {
                        (at(x, y, c) + at(x + 1, y, c) + at(x, y + 1, c) + at(x + 1, y + 1, c))
                            * 0.25
                    })
                })
                .collect();
        }
        Self { maps }
    }

    /// The picture at (x, y) in 0..1, averaged over a footprint (a part of its side).
    #[inline]
    pub(super) fn sample(&self, x: f32, y: f32, footprint: f32) -> Texel {
        let bits = (footprint * (SIDE as f32 * core::f32::consts::SQRT_2)).to_bits();
        let level = ((bits >> 23) as usize).saturating_sub(127).min(LEVELS - 1);
        let side = SIDE >> level;
        let map = &self.maps[level];
        let (x, y) = (x * side as f32 - 0.5, y * side as f32 - 0.5);
        let (i, j) = (floor(x), floor(y));
        let (tx, ty) = (x - i as f32, y - j as f32);
        let at = |i: i32, j: i32| {
            if i < 0 || j < 0 || i >= side as i32 || j >= side as i32 {
                // The lowest row goes on below the ground.
                if j < 0 && (0..side as i32).contains(&i) { map[i as usize] } else { [0; 3] }
            } else {
                map[j as usize * side + i as usize]
            }
        };
        let (a, b, c, d) = (at(i, j), at(i + 1, j), at(i, j + 1), at(i + 1, j + 1));
        let channel = |k: usize| {
            let upper = lerp(f32::from(a[k]), f32::from(b[k]), tx);
            lerp(upper, lerp(f32::from(c[k]), f32::from(d[k]), tx), ty) * (1.0 / 255.0)
        };
        Texel { cover: channel(0), light: channel(1), wood: channel(2) }
    }
}

/// Every sprite, by kind.
#[derive(Debug)]
pub(super) struct Sprites {
    /// Crowns of leaves on a trunk.
    pub(super) trees: Vec<Sprite>,
    /// Firs and spruces.
    pub(super) firs: Vec<Sprite>,
    /// Branches without leaves.
    pub(super) bare: Vec<Sprite>,
    /// Bushes, heaps of leaves down to the ground.
    pub(super) bushes: Vec<Sprite>,
    /// A trunk below a tuft of fronds.
    pub(super) palms: Vec<Sprite>,
    /// People standing or walking.
    pub(super) people: Vec<Sprite>,
}

impl Sprites {
    pub(super) fn new() -> Self {
        let mut draws = Draws::new(2, 0, 0);
        let mut many = |count: usize, paint: fn(&mut Draws) -> Vec<Texel>| {
            (0..count).map(|_| Sprite::new(&paint(&mut draws))).collect()
        };
        Self {
            trees: many(10, tree),
            firs: many(5, fir),
            bare: many(4, bare),
            bushes: many(6, bush),
            palms: many(3, palm),
            people: many(4, person),
        }
    }
}

fn disc(out: &mut [Texel], (x, y): (f32, f32), radius: f32, light: f32, wood: f32) {
    for j in floor(y - radius).max(0)..=floor(y + radius).min(SIDE as i32 - 1) {
        for i in floor(x - radius).max(0)..=floor(x + radius).min(SIDE as i32 - 1) {
            let (dx, dy) = ((i as f32 + 0.5 - x) / radius, (j as f32 + 0.5 - y) / radius);
            if dx * dx + dy * dy < 1.0 {
                let lit = (light + 0.16 * dy - 0.05 * dx).clamp(0.0, 1.0);
                out[j as usize * SIDE + i as usize] = Texel { cover: 1.0, light: lit, wood };
            }
        }
    }
}

fn limb(out: &mut [Texel], from: (f32, f32), to: (f32, f32), width: (f32, f32), light: f32) {
    let steps = 48;
    for step in 0..=steps {
        let t = step as f32 / steps as f32;
        let at = (lerp(from.0, to.0, t), lerp(from.1, to.1, t));
        disc(out, at, lerp(width.0, width.1, t).max(0.55), light, 1.0);
    }
}

fn leaves(
    draws: &mut Draws,
    out: &mut [Texel],
    (cx, cy): (f32, f32),
    (rx, ry): (f32, f32),
    (count, size): (usize, f32),
) {
    for index in 0..count {
        let angle = draws.unit() * core::f32::consts::TAU;
        let radius = draws.unit().sqrt();
        let (dx, dy) = (libm::cosf(angle) * radius, libm::sinf(angle) * radius);
        let leaf = size * draws.log_range((0.25, 1.0)) * (1.15 - 0.4 * index as f32 / count as f32);
        let light = 0.42 + 0.24 * dy - 0.08 * dx + 0.16 * draws.normal();
        disc(out, (cx + dx * rx, cy + dy * ry), leaf, light.clamp(0.02, 1.0), 0.0);
    }
}

fn tree(draws: &mut Draws) -> Vec<Texel> {
    let mut out = vec![Texel::default(); SIDE * SIDE];
    let crown = draws.range((0.3, 0.55));
    let x = draws.range((28.0, 36.0));
    limb(&mut out, (x, 0.0), (32.0, 40.0), (draws.range((1.2, 2.6)), 1.0), 0.35);
    for _ in 0..5 {
        let (cx, cy) = (draws.range((18.0, 46.0)), draws.range((64.0 * crown, 52.0)));
        limb(&mut out, (32.0, draws.range((14.0, 30.0))), (cx, cy), (1.2, 0.6), 0.3);
    }
    let base = 64.0 * crown;
    for lump in 0..draws.below(5) + 4 {
        let spread = if lump == 0 { 0.0 } else { 1.0 };
        let at = (
            32.0 + spread * draws.range((-17.0, 17.0)),
            lerp(base, 52.0, draws.unit()) * (1.0 - 0.1 * spread) + 4.0,
        );
        let size = (draws.range((8.0, 14.0)), draws.range((6.0, 10.0)));
        leaves(draws, &mut out, at, size, (60, 4.0));
    }
    out
}

fn fir(draws: &mut Draws) -> Vec<Texel> {
    let mut out = vec![Texel::default(); SIDE * SIDE];
    limb(&mut out, (32.0, 0.0), (32.0, 58.0), (1.4, 0.5), 0.3);
    let width = draws.range((10.0, 20.0));
    for layer in 0..26 {
        let y = 5.0 + layer as f32 * 2.25;
        let reach = width * (1.0 - layer as f32 / 27.0) * draws.range((0.75, 1.1)) + 1.0;
        for _ in 0..(reach * 1.4) as usize + 2 {
            let dx = draws.range((-1.0, 1.0));
            let light = 0.34 + 0.2 * draws.normal() * 0.6 - 0.1 * dx;
            let at = (32.0 + dx * reach, y - dx.abs() * 2.5 + draws.unit());
            disc(&mut out, at, draws.range((0.8, 2.2)), light.clamp(0.02, 1.0), 0.0);
        }
    }
    out
}

fn branch(draws: &mut Draws, out: &mut [Texel], at: (f32, f32), angle: f32, length: f32) {
    let to = (at.0 + libm::sinf(angle) * length, at.1 + libm::cosf(angle) * length);
    let width = length * 0.09;
    limb(out, at, to, (width, width * 0.7), 0.25 + 0.1 * draws.unit());
    if length > 3.5 {
        for side in [-1.0, 0.15, 1.0] {
            let turn = angle + side * draws.range((0.25, 0.75));
            let shorter = length * draws.range((0.55, 0.8));
            branch(draws, out, to, turn, shorter);
        }
    }
}

fn bare(draws: &mut Draws) -> Vec<Texel> {
    let mut out = vec![Texel::default(); SIDE * SIDE];
    let lean = draws.range((-0.08, 0.08));
    branch(draws, &mut out, (32.0, 0.0), lean, 19.0);
    out
}

fn bush(draws: &mut Draws) -> Vec<Texel> {
    let mut out = vec![Texel::default(); SIDE * SIDE];
    for _ in 0..draws.below(5) + 5 {
        let at = (draws.range((14.0, 50.0)), draws.range((8.0, 34.0)));
        let size = (draws.range((8.0, 14.0)), at.1.min(draws.range((9.0, 18.0))));
        leaves(draws, &mut out, at, size, (60, 3.6));
    }
    out
}

fn palm(draws: &mut Draws) -> Vec<Texel> {
    let mut out = vec![Texel::default(); SIDE * SIDE];
    limb(&mut out, (31.0, 0.0), (33.0, 46.0), (1.3, 0.9), 0.45);
    for frond in 0..11 {
        let angle = frond as f32 * 0.57 + draws.unit() * 0.3;
        let (dx, dy) = (libm::sinf(angle), libm::cosf(angle));
        for step in 0..24 {
            let t = step as f32 / 24.0;
            let at = (33.0 + dx * t * 17.0, 47.0 + dy * t * 12.0 - t * t * 8.0);
            disc(&mut out, at, 1.3, 0.35 + 0.12 * dy + 0.1 * draws.unit(), 0.0);
        }
    }
    out
}

fn person(draws: &mut Draws) -> Vec<Texel> {
    let mut out = vec![Texel::default(); SIDE * SIDE];
    let stride = draws.range((1.0, 8.0));
    limb(&mut out, (32.0 - stride, 0.0), (31.0, 30.0), (3.2, 4.2), 0.2);
    limb(&mut out, (32.0 + stride, 0.0), (33.0, 30.0), (3.2, 4.2), 0.25);
    for row in 0..26 {
        let width = 6.0 + 1.5 * noise(draws.word(), row as f32 * 0.3);
        disc(&mut out, (32.0, 29.0 + row as f32), width, 0.55, 0.0);
    }
    limb(&mut out, (25.0, 52.0), (23.0 - stride * 0.4, 30.0), (2.2, 1.8), 0.5);
    limb(&mut out, (39.0, 52.0), (41.0 + stride * 0.4, 30.0), (2.2, 1.8), 0.5);
    disc(&mut out, (32.0, 59.0), 4.6, 0.7, 1.0);
    out
}
