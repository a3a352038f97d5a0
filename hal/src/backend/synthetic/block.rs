//! Boxes: vehicles, houses, bridges. A ray meets the nearest face of the nearest box.

use super::draw::{Rgb, floor, hash, mix, scaled, unit};
use super::texture::Textures;

/// Which face of a box a ray met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    Left,
    Right,
    Back,
    Front,
    Top,
    Bottom,
}

/// A box upright on the ground, in the camera's road frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Middle of its foot: right, up (from the camera's foot), ahead.
    pub(super) foot: [f32; 3],
    /// Sine and cosine of its direction, right positive.
    pub(super) turn: (f32, f32),
    /// Half its width and half its length; lower and upper edge above its foot.
    pub(super) half: (f32, f32),
    pub(super) low: f32,
    pub(super) high: f32,
}

/// Where a ray met a block: distance ahead, face, and the place in the block's own frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    pub(super) z: f32,
    pub(super) face: Face,
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) l: f32,
}

impl Block {
    /// The eight corners as directions (right, down, ahead) from a camera `height` above its foot.
    pub(super) fn corners(&self, height: f32) -> [[f32; 3]; 8] {
        let (sin, cos) = self.turn;
        core::array::from_fn(|i| {
            let x = if i & 1 == 0 { -self.half.0 } else { self.half.0 };
            let l = if i & 2 == 0 { -self.half.1 } else { self.half.1 };
            let y = self.foot[1] + if i & 4 == 0 { self.low } else { self.high };
            [self.foot[0] + x * cos + l * sin, height - y, self.foot[2] - x * sin + l * cos]
        })
    }

    /// Meets the ray from a camera `height` above its foot with slopes `ray`.
    #[inline]
    pub(super) fn hit(&self, height: f32, ray: [f32; 2]) -> Option<Hit> {
        let (sin, cos) = self.turn;
        // Along the ray, per unit ahead, in the block's frame.
        let (dx, dl) = (ray[0] * cos - sin, ray[0] * sin + cos);
        let (ox, ol) =
            (-self.foot[0] * cos + self.foot[2] * sin, -self.foot[0] * sin - self.foot[2] * cos);
        let oy = height - self.foot[1];
        let slab = |o: f32, d: f32, low: f32, high: f32| {
            let per = 1.0 / if d.abs() < 1e-6 { 1e-6 } else { d };
            let (a, b) = ((low - o) * per, (high - o) * per);
            (a.min(b), a.max(b), d > 0.0)
        };
        let (x0, x1, xp) = slab(ox, dx, -self.half.0, self.half.0);
        let (l0, l1, lp) = slab(ol, dl, -self.half.1, self.half.1);
        let (y0, y1, yp) = slab(oy, -ray[1], self.low, self.high);
        let enter = x0.max(l0).max(y0);
        if enter > x1.min(l1).min(y1) || enter <= 0.05 {
            return None;
        }
        let face = if enter == l0 {
            if lp { Face::Back } else { Face::Front }
        } else if enter == x0 {
            if xp { Face::Left } else { Face::Right }
        } else if yp {
            Face::Bottom
        } else {
            Face::Top
        };
        let (x, y, l) = (ox + dx * enter, oy - ray[1] * enter, ol + dl * enter);
        Some(Hit { z: enter, face, x, y, l })
    }
}

/// Kinds of vehicles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Car,
    Tall,
    Van,
    Truck,
    Bus,
}

/// What a vehicle looks like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) body: Body,
    pub(super) width: f32,
    pub(super) length: f32,
    pub(super) height: f32,
    pub(super) colour: Rgb,
    pub(super) seed: u32,
}

impl Look {
    /// The look that a hash names; `trucks` is the share of trucks and buses.
    pub(super) fn new(seed: u32, trucks: f32) -> Self {
        let r = |i: i32| unit(hash(seed, i));
        let (body, width, length, height) = if r(0) < trucks * 0.8 {
            (Body::Truck, 2.5, 7.0 + 9.0 * r(1), 3.1 + 0.9 * r(2))
        } else if r(0) < trucks {
            (Body::Bus, 2.5, 9.0 + 3.0 * r(1), 3.0 + 0.3 * r(2))
        } else if r(3) < 0.12 {
            (Body::Van, 2.0, 5.0 + r(1), 2.0 + 0.6 * r(2))
        } else if r(3) < 0.45 {
            (Body::Tall, 1.8 + 0.15 * r(4), 4.3 + 0.5 * r(1), 1.6 + 0.25 * r(2))
        } else {
            (Body::Car, 1.7 + 0.15 * r(4), 3.9 + 0.9 * r(1), 1.4 + 0.12 * r(2))
        };
        let gray = 0.08 + 0.84 * r(5);
        let paints = [
            [0.55, 0.08, 0.08],
            [0.1, 0.16, 0.42],
            [0.12, 0.3, 0.2],
            [0.7, 0.6, 0.15],
            [0.45, 0.3, 0.2],
        ];
        let colour = if r(6) < 0.68 {
            [gray, gray * 1.01, gray * 1.03]
        } else {
            scaled(paints[hash(seed, 7) as usize % paints.len()], 0.7 + 0.7 * r(8))
        };
        Self { body, width, length, height, colour, seed }
    }

    /// Boxes of the vehicle at a place, largest first.
    pub(super) fn blocks(&self, foot: [f32; 3], turn: (f32, f32)) -> [Option<Block>; 2] {
        let block = |width: f32, from: f32, to: f32, low: f32, high: f32| {
            let middle = 0.5 * (from + to);
            Some(Block {
                foot: [foot[0] + middle * turn.0, foot[1], foot[2] + middle * turn.1],
                turn,
                half: (0.5 * width, 0.5 * (to - from)),
                low,
                high,
            })
        };
        let (w, l, h) = (self.width, self.length, self.height);
        match self.body {
            Body::Car => [
                block(w, -0.5 * l, 0.5 * l, 0.18, 0.62 * h),
                block(w * 0.82, -0.36 * l, 0.16 * l, 0.62 * h, h),
            ],
            Body::Tall => [
                block(w, -0.5 * l, 0.5 * l, 0.2, 0.6 * h),
                block(w * 0.86, -0.49 * l, 0.2 * l, 0.6 * h, h),
            ],
            Body::Van => [
                block(w, -0.5 * l, 0.36 * l, 0.25, h),
                block(w * 0.97, 0.36 * l, 0.5 * l, 0.25, 0.55 * h),
            ],
            Body::Truck => [
                block(w, -0.5 * l, 0.3 * l, 0.9, h),
                block(w * 0.96, -0.5 * l, 0.5 * l, 0.25, 0.75 * h.min(3.2)),
            ],
            Body::Bus => [block(w, -0.5 * l, 0.5 * l, 0.3, h), None],
        }
    }

    /// Colour of the place that a ray met; `oncoming` shows the front.
    pub(super) fn colour(&self, textures: &Textures, part: usize, hit: &Hit, lamps: f32) -> Rgb {
        let Hit { face, x, y, l, .. } = *hit;
        let w = 0.5 * self.width;
        let h = self.height;
        let glass = |tilt: f32| [0.13 + tilt, 0.15 + tilt, 0.18 + tilt];
        let dark = [0.05, 0.05, 0.055];
        let dirt = textures.cloud.sample(x * 20.0 + l * 23.0, y * 20.0, 3.0, 3.0);
        let paint = scaled(self.colour, 1.0 + 0.12 * dirt);
        let cabin = part == 1 && matches!(self.body, Body::Car | Body::Tall);
        match face {
            Face::Top => scaled(paint, 1.25),
            Face::Bottom => dark,
            Face::Back | Face::Front if cabin => {
                let edge = x.abs() > 0.36 * self.width || y > 0.95 * h;
                if edge { paint } else { glass(0.25 * ((y / h) - 0.6).max(0.0)) }
            }
            Face::Left | Face::Right if cabin => {
                let pillar = (l * 0.9 + 0.1).abs() < 0.07 || y > 0.94 * h;
                if pillar { paint } else { glass(0.1) }
            }
            Face::Back | Face::Front => self.end(face, part, x / w, y, paint, dark, lamps),
            Face::Left | Face::Right => {
                let wheel =
                    self.length * if matches!(self.body, Body::Truck) { 0.38 } else { 0.31 };
                let (near, radius) = ((l.abs() - wheel).abs(), if h > 2.4 { 0.5 } else { 0.33 });
                if near * near + (y - radius) * (y - radius) < radius * radius {
                    return if near * near + (y - radius) * (y - radius) < 0.2 * radius * radius {
                        [0.4; 3]
                    } else {
                        dark
                    };
                }
                self.flank(part, l, y, paint, glass(0.08))
            }
        }
    }

    fn flank(&self, part: usize, l: f32, y: f32, paint: Rgb, glass: Rgb) -> Rgb {
        let h = self.height;
        match self.body {
            Body::Bus if y > 0.42 * h && y < 0.8 * h => {
                if (l * 0.7 - floor(l * 0.7) as f32) < 0.12 { scaled(paint, 0.5) } else { glass }
            }
            Body::Van if y > 0.58 * h && y < 0.88 * h && l > 0.1 * self.length => glass,
            Body::Truck if part == 0 => {
                let logo = hash(self.seed ^ floor(l * 0.8) as u32, floor(y * 1.6));
                let mark =
                    if unit(hash(self.seed, 31)) < 0.6 && unit(logo) < 0.4 { 0.6 } else { 1.0 };
                scaled(paint, mark)
            }
            Body::Truck => scaled(paint, 0.3),
            Body::Car | Body::Tall | Body::Van | Body::Bus => {
                let gap = (l - 0.3).abs() < 0.03 || (l + 0.7).abs() < 0.03;
                scaled(paint, if gap { 0.5 } else { 0.75 + 0.5 * (y / h) })
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one face, described by where and what")]
    fn end(
        &self,
        face: Face,
        part: usize,
        x: f32,
        y: f32,
        paint: Rgb,
        dark: Rgb,
        lamps: f32,
    ) -> Rgb {
        let h = self.height;
        let car = matches!(self.body, Body::Car | Body::Tall);
        let back = face == Face::Back;
        if self.body == Body::Truck && part == 0 {
            let door = x.abs() < 0.02 || x.abs() > 0.94 || y > 0.96 * h;
            return scaled(paint, if door { 0.5 } else { 0.95 });
        }
        let lamp_low = if car { 0.4 * h } else { 0.22 * h.min(3.0) };
        let lamp_high = lamp_low + if car { 0.15 } else { 0.25 };
        if x.abs() > 0.62 && x.abs() < 0.97 && y > lamp_low && y < lamp_high {
            let on = unit(hash(self.seed, 21)) < 0.35;
            return if back {
                if on { [0.95, 0.25, 0.2] } else { [0.5, 0.07, 0.06] }
            } else if on || lamps > 0.5 {
                [1.0, 1.0, 0.95]
            } else {
                [0.75, 0.77, 0.8]
            };
        }
        if x.abs() < 0.3 && y > 0.32 * h.min(1.6) && y < 0.32 * h.min(1.6) + 0.14 {
            return [0.85, 0.85, 0.8];
        }
        if y < 0.33 {
            return if x.abs() > 0.6 { dark } else { scaled(dark, 2.0) };
        }
        let window = matches!(self.body, Body::Van | Body::Bus) && y > 0.55 * h && y < 0.9 * h;
        if window && x.abs() < 0.86 {
            return [0.14, 0.16, 0.19];
        }
        mix(scaled(paint, 0.7), paint, (y / h * 1.6).min(1.0))
    }
}
