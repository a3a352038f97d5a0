//! Textures with every combination of horizontal and vertical reduction (*rip maps*): a road is
//! seen at a flat angle, and its footprint on a texture is long and narrow.

use super::draw::{Draws, floor, lerp, smoothstep};

/// Texels along one side.
pub(super) const SIDE: usize = 256;
const SIDE_BITS: usize = 8;
const LEVELS: usize = 7;

/// One periodic gray texture.
#[derive(Debug)]
pub(super) struct Texture {
    /// `LEVELS × LEVELS` maps, `[level_x * LEVELS + level_y]`; each is halved per level.
    maps: Vec<Vec<u8>>,
}

/// ⌊log2(x·√2)⌋ of a positive number, at least 0: the nearest level of reduction.
#[inline]
fn level(texels: f32) -> usize {
    let bits = (texels * core::f32::consts::SQRT_2).to_bits();
    ((bits >> 23) as usize).saturating_sub(127).min(LEVELS - 1)
}

impl Texture {
    fn new(texels: Vec<f32>) -> Self {
        let (mean, sd) = moments(&texels);
        let full: Vec<f32> =
            texels.iter().map(|x| ((x - mean) / sd * 42.0 + 127.5).clamp(0.0, 255.0)).collect();
        let mut maps = Vec::with_capacity(LEVELS * LEVELS);
        let mut column = full;
        for level_x in 0..LEVELS {
            let width = SIDE >> level_x;
            let mut map = column.clone();
            for level_y in 0..LEVELS {
                maps.push(map.iter().map(|x| (x + 0.5) as u8).collect());
                if level_y + 1 < LEVELS {
                    map = halved_y(&map, width);
                }
            }
            if level_x + 1 < LEVELS {
                column = halved_x(&column);
            }
        }
        Self { maps }
    }

    /// The texture at (x, y) averaged over a footprint, all in texels: mean 0, standard deviation
    /// about 1/3 where the footprint is one texel, within −1..1.
    #[inline]
    pub(super) fn sample(&self, x: f32, y: f32, footprint_x: f32, footprint_y: f32) -> f32 {
        let (level_x, level_y) = (level(footprint_x), level(footprint_y));
        let map = &self.maps[level_x * LEVELS + level_y];
        let (bits_x, bits_y) = (SIDE_BITS - level_x, SIDE_BITS - level_y);
        let x = x * (1.0 / (1_u32 << level_x) as f32) - 0.5;
        let y = y * (1.0 / (1_u32 << level_y) as f32) - 0.5;
        let (i, j) = (floor(x), floor(y));
        let (tx, ty) = (x - i as f32, y - j as f32);
        let (mask_x, mask_y) = ((1_usize << bits_x) - 1, (1_usize << bits_y) - 1);
        let (i0, j0) = (i as usize & mask_x, j as usize & mask_y);
        let (i1, j1) = ((i0 + 1) & mask_x, (j0 + 1) & mask_y);
        let at = |i: usize, j: usize| f32::from(map[(j << bits_x) + i]);
        let upper = lerp(at(i0, j0), at(i1, j0), tx);
        let lower = lerp(at(i0, j1), at(i1, j1), tx);
        (lerp(upper, lower, ty) - 127.5) * (1.0 / 127.5)
    }
}

fn moments(texels: &[f32]) -> (f32, f32) {
    let n = texels.len() as f64;
    let mean = texels.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let square = texels.iter().map(|&x| (f64::from(x) - mean) * (f64::from(x) - mean)).sum::<f64>();
    (mean as f32, ((square / n).sqrt() as f32).max(1e-6))
}

fn halved_x(map: &[f32]) -> Vec<f32> {
    map.chunks_exact(2).map(|pair| (pair[0] + pair[1]) * 0.5).collect()
}

fn halved_y(map: &[f32], width: usize) -> Vec<f32> {
    map.chunks_exact(2 * width)
        .flat_map(|rows| (0..width).map(|i| (rows[i] + rows[i + width]) * 0.5))
        .collect()
}

/// The textures that every road shares; scenes differ in which part, scale and colour they use.
#[derive(Debug)]
pub(super) struct Textures {
    /// Clouds, stains, soil: detail at every scale, 1/f.
    pub(super) cloud: Texture,
    /// Grains and small stones.
    pub(super) grain: Texture,
    /// Leaves and branches, lit from above, with dark gaps.
    pub(super) leaves: Texture,
    /// Tufts of grass.
    pub(super) grass: Texture,
    /// Boxes, shelves, windows: overlapping rectangles of many sizes.
    pub(super) clutter: Texture,
    /// Thin winding lines.
    pub(super) cracks: Texture,
}

impl Textures {
    pub(super) fn new() -> Self {
        let mut draws = Draws::new(1, 0, 0);
        Self {
            cloud: Texture::new(fractal(&mut draws, 1, 0.55)),
            grain: Texture::new(grain(&mut draws)),
            leaves: Texture::new(dead_leaves(&mut draws, Leaf::Round, (1.3, 26.0))),
            grass: Texture::new(dead_leaves(&mut draws, Leaf::Upright, (1.0, 14.0))),
            clutter: Texture::new(dead_leaves(&mut draws, Leaf::Box, (2.0, 40.0))),
            cracks: Texture::new(cracks(&mut draws)),
        }
    }
}

/// Sum of octaves of periodic noise from `1 << first` cells on, each weaker by `gain`.
pub(super) fn fractal(draws: &mut Draws, first: u32, gain: f32) -> Vec<f32> {
    let mut out = vec![0.0; SIDE * SIDE];
    let mut weight = 1.0;
    for octave in first..=7 {
        let cells = 1_usize << octave;
        let values: Vec<f32> = (0..cells * cells).map(|_| draws.range((-1.0, 1.0))).collect();
        let step = cells as f32 / SIDE as f32;
        for (index, texel) in out.iter_mut().enumerate() {
            let (x, y) = ((index % SIDE) as f32 * step, (index / SIDE) as f32 * step);
            let (i, j) = (x as usize, y as usize);
            let (tx, ty) = (smoothstep(0.0, 1.0, x - i as f32), smoothstep(0.0, 1.0, y - j as f32));
            let (i1, j1) = ((i + 1) % cells, (j + 1) % cells);
            let upper = lerp(values[j * cells + i], values[j * cells + i1], tx);
            let lower = lerp(values[j1 * cells + i], values[j1 * cells + i1], tx);
            *texel += weight * lerp(upper, lower, ty);
        }
        weight *= gain;
    }
    out
}

fn grain(draws: &mut Draws) -> Vec<f32> {
    let mut out = fractal(draws, 4, 0.9);
    for texel in &mut out {
        *texel += draws.normal() * 0.7;
    }
    out
}

fn cracks(draws: &mut Draws) -> Vec<f32> {
    let (a, b) = (fractal(draws, 1, 0.5), fractal(draws, 3, 0.6));
    a.iter().zip(&b).map(|(a, b)| -(1.0 - 9.0 * a.abs()).max(0.0) * (0.6 + b).max(0.0)).collect()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaf {
    Round,
    Upright,
    Box,
}

/// Shapes of many sizes over one another (the *dead leaves* model, whose statistics are those of
/// natural pictures: edges, and power that falls with the square of frequency).
fn dead_leaves(draws: &mut Draws, leaf: Leaf, (small, large): (f32, f32)) -> Vec<f32> {
    let mut out = vec![0.0; SIDE * SIDE];
    let mut painted = 0.0;
    let area = (SIDE * SIDE) as f32;
    while painted < area * 9.0 {
        // Density of sizes r^-3 between the bounds.
        let (inv_small, inv_large) = (1.0 / (small * small), 1.0 / (large * large));
        let radius = 1.0 / lerp(inv_large, inv_small, draws.unit()).sqrt();
        let (x, y) = (draws.unit() * SIDE as f32, draws.unit() * SIDE as f32);
        let value = draws.range((-1.0, 1.0));
        let (rx, ry) = match leaf {
            Leaf::Round => (radius, radius * draws.range((0.6, 1.1))),
            Leaf::Upright => (radius * draws.range((0.25, 0.6)), radius),
            Leaf::Box => (radius * draws.range((0.4, 1.2)), radius * draws.range((0.4, 1.2))),
        };
        let slope = if leaf == Leaf::Box { draws.range((-0.3, 0.3)) } else { 0.55 };
        paint(&mut out, leaf, (x, y), (rx, ry), (value, slope));
        painted += rx * ry * 3.0;
    }
    out
}

fn paint(
    out: &mut [f32],
    leaf: Leaf,
    (x, y): (f32, f32),
    (rx, ry): (f32, f32),
    (value, slope): (f32, f32),
) {
    for j in floor(y - ry)..=floor(y + ry) {
        for i in floor(x - rx)..=floor(x + rx) {
            let (dx, dy) = ((i as f32 + 0.5 - x) / rx, (j as f32 + 0.5 - y) / ry);
            let inside = if leaf == Leaf::Box {
                dx.abs() < 1.0 && dy.abs() < 1.0
            } else {
                dx * dx + dy * dy < 1.0
            };
            if inside {
                let (i, j) = (i.rem_euclid(SIDE as i32), j.rem_euclid(SIDE as i32));
                // Rows count upwards from the ground: lit from above.
                out[j as usize * SIDE + i as usize] = value + slope * dy;
            }
        }
    }
}
