//! Colour and outline of the surfaces that stand along the road.

use super::draw::{Rgb, floor, hash, lerp, mix, noise, scaled, smoothstep, unit};
use super::ground::{covered, dashed};
use super::scene::{Curtain, Wall};
use super::texture::Textures;

/// A place on a wall, and the size of a pixel's footprint there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patch {
    pub(super) s: f32,
    pub(super) h: f32,
    pub(super) along: f32,
    pub(super) up: f32,
}

/// Colour and cover (0..1) of a wall at a place.
pub(super) fn look(textures: &Textures, curtain: &Curtain, patch: Patch) -> (Rgb, f32) {
    let presence = if curtain.presence >= 1.0 {
        1.0
    } else {
        let n = noise(curtain.seed, patch.s / curtain.length);
        smoothstep(-0.15, 0.15, curtain.presence - n)
    };
    if presence <= 0.0 {
        return ([0.0; 3], 0.0);
    }
    match curtain.wall {
        Wall::Trees => trees(textures, curtain, patch, presence),
        Wall::Hedge | Wall::Bank | Wall::Rock => heap(textures, curtain, patch, presence),
        Wall::Rail => rail(textures, curtain, patch, presence),
        Wall::Panels => panels(textures, curtain, patch, presence),
        Wall::Fence => fence(curtain, patch, presence),
        Wall::Houses => houses(textures, curtain, patch, presence),
        Wall::Clutter => clutter(textures, curtain, patch),
        Wall::Wires => wires(curtain, patch),
    }
}

/// Part of a wall's unevenness that is seen where a pixel spans many of its pieces.
#[inline]
fn seen(c: &Curtain, p: Patch) -> f32 {
    c.uneven * (1.6 * c.piece / (p.along + 0.001) - 0.3).clamp(0.0, 1.0)
}

/// Tallest that any part of a wall is.
pub(super) fn tallest(curtain: &Curtain) -> f32 {
    curtain.height * (1.0 + curtain.uneven) * 1.25
}

#[inline]
fn under(top: f32, patch: Patch) -> f32 {
    ((top - patch.h) / patch.up + 0.5).clamp(0.0, 1.0)
}

/// Trees have depth: seen along the road they look as wide as from the side, so a row that is seen
/// at a flat angle is painted with fewer, wider crowns, ever others as the angle changes.
fn trees(textures: &Textures, c: &Curtain, p: Patch, presence: f32) -> (Rgb, f32) {
    let mut flat = 0.75 * p.along / p.up;
    let mut level = 0;
    while flat > 2.0 && level < 6 {
        flat *= 0.5;
        level += 1;
    }
    let (colour, cover) = crowns(textures, c, p, presence, level);
    let next = smoothstep(1.6, 2.0, flat);
    if next <= 0.0 {
        return (colour, cover);
    }
    let (far_colour, far_cover) = crowns(textures, c, p, presence, level + 1);
    let both = lerp(cover, far_cover, next);
    if both <= 0.0 {
        return (colour, 0.0);
    }
    (mix(colour, far_colour, next * far_cover / both), both)
}

/// One row of crowns, `2^level` times as wide as high.
fn crowns(textures: &Textures, c: &Curtain, p: Patch, presence: f32, level: i32) -> (Rgb, f32) {
    let narrow = 1.0 / (1 << level) as f32;
    let p = Patch { s: p.s * narrow, along: p.along * narrow, ..p };
    let d = c.density;
    let leaf = textures.leaves.sample(p.s * d, p.h * d, p.along * d, p.up * d);
    let broad =
        textures.cloud.sample(p.s * d * 0.21, p.h * d * 0.23, p.along * d * 0.21, p.up * d * 0.23);
    // The taller of the two nearest crowns.
    let place = p.s / c.piece;
    let first = floor(place - 0.5);
    let uneven = seen(c, p);
    let blend = uneven / c.uneven.max(0.01);
    let (mut top, mut who, mut dome) = (0.0, 0, 0.0);
    for tree in [first, first + 1] {
        let h = hash(c.seed ^ 77 ^ (level as u32 * 0x51), tree);
        let x = place - (tree as f32 + 0.5 + 0.5 * (unit(h) - 0.5));
        let round = (1.0 - 0.8 * x * x * blend).max(0.0);
        let height = c.height * (1.0 + uneven * (2.0 * unit(hash(h, 1)) - 1.0)) * round.sqrt();
        if height > top {
            (top, who, dome) = (height, h, round);
        }
    }
    top = top * presence + c.height * 0.16 * (leaf * 0.8 + broad * 0.7);
    let cover = under(top, p);
    if cover <= 0.0 {
        return ([0.0; 3], 0.0);
    }
    let high = (p.h / top.max(0.1)).clamp(0.0, 1.0);
    let level = 0.26 + 0.42 * high + 0.62 * leaf + 0.42 * broad + 0.12 * (dome - 0.6);
    let own = 0.82 + 0.36 * unit(hash(who, 2));
    let warm = 0.10 * (unit(hash(who, 3)) - 0.5);
    let mut colour = scaled(mix(c.dark, c.light, level.clamp(-0.1, 1.25)), own);
    colour[0] *= 1.0 + warm;
    colour[2] *= 1.0 - warm;
    // Dark trunks and gaps between them below the crowns.
    let low = smoothstep(0.32, 0.12, high);
    if low > 0.0 {
        let trunk =
            textures.grass.sample(p.s * d * 0.8, p.h * d * 0.1, p.along * d * 0.8, p.up * d * 0.1);
        colour = scaled(colour, 1.0 - low * (0.35 + 0.5 * trunk).clamp(-0.2, 0.8));
    }
    (colour, cover)
}

fn heap(textures: &Textures, c: &Curtain, p: Patch, presence: f32) -> (Rgb, f32) {
    let d = c.density;
    let texture = match c.wall {
        Wall::Rock => &textures.cloud,
        Wall::Bank => &textures.grass,
        Wall::Trees
        | Wall::Hedge
        | Wall::Rail
        | Wall::Panels
        | Wall::Fence
        | Wall::Houses
        | Wall::Wires
        | Wall::Clutter => &textures.leaves,
    };
    let fine = texture.sample(p.s * d, p.h * d, p.along * d, p.up * d);
    let fine = if c.wall == Wall::Rock {
        // Layers and blocks, tilted.
        let (x, y) = (p.s * 0.8 - p.h * 0.5, p.h + p.s * 0.25);
        0.6 * fine + 0.8 * textures.leaves.sample(x * d * 0.5, y * d, p.along * d * 0.5, p.up * d)
    } else {
        fine
    };
    let broad =
        textures.cloud.sample(p.s * d * 0.17, p.h * d * 0.3, p.along * d * 0.17, p.up * d * 0.3);
    let uneven = noise(c.seed ^ 5, p.s / c.piece) + 0.4 * noise(c.seed ^ 6, p.s / c.piece * 3.1);
    let top = c.height * (1.0 + seen(c, p) * 0.8 * uneven) * presence + c.height * 0.12 * fine;
    let cover = under(top, p);
    let high = (p.h / top.max(0.1)).clamp(0.0, 1.0);
    let mut level = 0.45 + 0.25 * (high - 0.5) + 0.55 * fine + 0.4 * broad;
    if c.wall == Wall::Rock {
        let crack = textures.cracks.sample(
            p.s * d * 0.6,
            p.h * d * 0.35,
            p.along * d * 0.6,
            p.up * d * 0.35,
        );
        level += 0.45 * crack + 0.25 * fine;
    }
    (mix(c.dark, c.light, level.clamp(-0.2, 1.3)), cover)
}

fn rail(textures: &Textures, c: &Curtain, p: Patch, presence: f32) -> (Rgb, f32) {
    let present = if presence > 0.5 { 1.0 } else { 0.0 };
    let (low, high) = (c.height * 0.58, c.height);
    let band = covered(p.h, p.up, low, high);
    let post = dashed(p.s, p.along, 0.14, c.piece) * covered(p.h, p.up, -0.2, high * 0.95);
    let place = ((p.h - low) / (high - low)).clamp(0.0, 1.0);
    let profile = 0.55 + 0.5 * (place - 0.5).abs() + 0.35 * place;
    let dirt = textures.cloud.sample(p.s * 9.0, p.h * 20.0, p.along * 9.0, p.up * 20.0);
    let joint = 1.0 - 0.3 * dashed(p.s, p.along, 0.12, c.piece);
    let steel = scaled(mix(c.dark, c.light, profile + 0.25 * dirt), joint);
    let cover = (band + post * (1.0 - band)).min(1.0);
    let colour = mix(scaled(c.dark, 0.7), steel, if cover > 0.0 { band / cover } else { 0.0 });
    (colour, cover * present)
}

fn panels(textures: &Textures, c: &Curtain, p: Patch, presence: f32) -> (Rgb, f32) {
    let d = c.density * 0.25;
    let piece = floor(p.s / c.piece);
    let step = seen(c, p) * (2.0 * unit(hash(c.seed, piece)) - 1.0);
    let top = c.height * (1.0 + step) * if presence > 0.5 { 1.0 } else { 0.0 };
    let stain = textures.cloud.sample(p.s * d, p.h * d * 0.6, p.along * d, p.up * d * 0.6);
    let fine =
        textures.grain.sample(p.s * d * 4.0, p.h * d * 4.0, p.along * d * 4.0, p.up * d * 4.0);
    let gap = dashed(p.s, p.along, 0.12, c.piece);
    let rows = dashed(p.h, p.up, 0.05, (c.height * 0.25).clamp(0.3, 1.2));
    let own = 0.1 * (unit(hash(c.seed ^ 3, piece)) - 0.5);
    let mut level = 0.65 + 0.5 * stain + 0.2 * fine + own - 0.25 * rows - 0.45 * gap;
    // Dirt from the road at the foot, a bright edge on top.
    level -= 0.35 * smoothstep(0.5, 0.0, p.h);
    level += 0.25 * covered(p.h, p.up, top - 0.12, top);
    (mix(c.dark, c.light, level), under(top, p))
}

fn fence(c: &Curtain, p: Patch, presence: f32) -> (Rgb, f32) {
    let post = dashed(p.s, p.along, 0.12, c.piece);
    let boards = (hash(c.seed, 1) % 3) as f32;
    let filled = if boards < 1.0 {
        dashed(p.h, p.up, 0.1, c.height * 0.4)
    } else if boards < 2.0 {
        0.18 + 0.2 * dashed(p.s, p.along, 0.03, 0.12)
    } else {
        dashed(p.s, p.along, 0.09, 0.13)
    };
    let cover = (post + filled * (1.0 - post)) * under(c.height, p);
    let own = unit(hash(c.seed ^ 4, floor(p.s / c.piece)));
    (
        mix(c.dark, c.light, 0.5 + 0.5 * own - 0.3 * post),
        cover * if presence > 0.5 { 1.0 } else { 0.0 },
    )
}

/// Colour of a house front `h` above the ground, at `x` of its own length, with windows.
pub(super) fn front(
    textures: &Textures,
    seed: u32,
    base: Rgb,
    x: f32,
    h: f32,
    size: (f32, f32),
) -> Rgb {
    let (across, up) = size;
    let hue = 0.25 * (unit(hash(seed, 7)) - 0.5);
    let own = [base[0] * (1.0 + hue), base[1], base[2] * (1.0 - hue)];
    let bright = 0.55 + 0.8 * unit(hash(seed, 8));
    let stain =
        textures.cloud.sample(x * 6.0 + (seed & 255) as f32, h * 5.0, across * 6.0, up * 5.0);
    let mut colour = scaled(own, bright * (1.0 + 0.2 * stain)).map(|v| v.min(0.95));
    let (bay, storey) = (1.8 + 2.0 * unit(hash(seed, 9)), 2.7 + 0.8 * unit(hash(seed, 10)));
    let (wide, tall) = (bay * (0.35 + 0.4 * unit(hash(seed, 11))), storey * 0.5);
    let window = dashed(x, across, wide, bay) * dashed(h - storey * 0.3, up, tall, storey);
    let pane = hash(hash(seed, floor(x / bay)), floor((h - storey * 0.3) / storey));
    let glass = 0.12 + 0.5 * unit(pane) * unit(pane);
    if h < storey {
        // Shops and doors at street level.
        let d = 7.0;
        let shop = textures.clutter.sample(x * d + (seed & 127) as f32, h * d, across * d, up * d);
        let shade = 0.35 + 0.5 * shop;
        colour = mix(colour, [shade * 1.05, shade, shade * 0.95], 0.65);
    } else {
        colour = mix(colour, [glass * 0.9, glass, glass * 1.1], window * 0.9);
    }
    colour
}

fn houses(textures: &Textures, c: &Curtain, p: Patch, presence: f32) -> (Rgb, f32) {
    let piece = floor(p.s / c.piece);
    let h = hash(c.seed ^ 15, piece);
    let top = c.height * (1.0 + seen(c, p) * (2.0 * unit(hash(h, 1)) - 1.0));
    let gap = unit(hash(h, 2)) * 0.14 * c.piece;
    let x = p.s - piece as f32 * c.piece;
    let inside = covered(x, p.along, gap, c.piece);
    let cover = inside * under(top, p) * if presence > 0.5 { 1.0 } else { 0.0 };
    if cover <= 0.0 {
        return ([0.0; 3], 0.0);
    }
    let base = mix(c.dark, c.light, 0.4 + 0.6 * unit(hash(h, 3)));
    let colour = front(textures, h, base, x, p.h, (p.along, p.up));
    let eaves = covered(p.h, p.up, top - 0.5, top);
    (scaled(colour, 1.0 - 0.35 * eaves), cover)
}

fn wires(c: &Curtain, p: Patch) -> (Rgb, f32) {
    let span = p.s / c.piece - floor(p.s / c.piece) as f32;
    let sag = 4.0 * span * (1.0 - span) * 0.08 * c.height;
    let count = 1 + (hash(c.seed, 1) % 4) as i32;
    let mut cover = 0.0;
    for wire in 0..count {
        let at = c.height - sag - 0.45 * wire as f32;
        cover += covered(p.h, p.up, at - 0.03, at + 0.03);
    }
    (c.dark, cover.min(1.0))
}

fn clutter(textures: &Textures, c: &Curtain, p: Patch) -> (Rgb, f32) {
    let d = c.density * 0.35;
    let shapes = textures.clutter.sample(p.s * d, p.h * d, p.along * d, p.up * d);
    let fine =
        textures.clutter.sample(p.h * d * 3.0, p.s * d * 3.0, p.up * d * 3.0, p.along * d * 3.0);
    let hue =
        textures.cloud.sample(p.s * d * 0.4, p.h * d * 0.4, p.along * d * 0.4, p.up * d * 0.4);
    let piece = floor(p.s / c.piece);
    let step = seen(c, p) * (2.0 * unit(hash(c.seed, piece)) - 1.0);
    let top = c.height * (1.0 + step) + 0.1 * c.height * shapes;
    let level = 0.45 + 0.75 * shapes + 0.45 * fine;
    let mut colour = mix(c.dark, c.light, level.clamp(-0.1, 1.3));
    colour[0] *= 1.0 + 0.35 * hue;
    colour[2] *= 1.0 - 0.35 * hue;
    (colour, under(top, p))
}
