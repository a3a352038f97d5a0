//! From the painted picture to the bytes of a frame: what shutter, lens, window, sensor and encoder
//! do to it.

use super::draw::{Rgb, bits, floor, hash, lerp, mix, noise, scaled, smoothstep, unit};
use super::ego::Ego;
use super::frame::{Canvas, Library};
use super::lens::{Lens, Pose};
use super::scene::Scene;

/// Side of the blocks in which an encoder leaves out small changes.
const BLOCK: usize = 4;

/// The chain behind the lens, with what it remembers of the frame before.
#[derive(Debug)]
pub(super) struct Chain {
    width: usize,
    height: usize,
    picture: Vec<Rgb>,
    spare: Vec<Rgb>,
    fixed: Vec<(Rgb, f32)>,
    sent: Vec<f32>,
    before: Option<Pose>,
    /// What the exposure makes of the scene's brightness.
    exposure: f32,
    frame: u32,
}

impl Chain {
    pub(super) fn new(scene: &Scene, library: &Library, width: usize, height: usize) -> Self {
        let pixels = width * height;
        let fixed = (0..pixels).map(|i| fixed(scene, library, i % width, i / width, width, height));
        Self {
            width,
            height,
            picture: vec![[0.0; 3]; pixels],
            spare: vec![[0.0; 3]; pixels],
            fixed: fixed.collect(),
            sent: Vec::new(),
            before: None,
            exposure: 0.0,
            frame: 0,
        }
    }

    /// Develops the canvas into `out`, RGB bytes.
    pub(super) fn develop(
        &mut self,
        scene: &Scene,
        (canvas, lens): (&Canvas, &Lens),
        ego: &Ego,
        pose: Pose,
        interval: f32,
        out: &mut [u8],
    ) {
        self.picture.copy_from_slice(&canvas.colour);
        let optics = &scene.optics;
        if optics.shutter > 0.0 {
            let open = optics.shutter * interval;
            self.smear(canvas, lens, ego, (pose, self.before.unwrap_or(pose)), open, interval);
        }
        self.before = Some(pose);
        if scene.light.rain > 0.0 || scene.light.snow > 0.0 {
            self.weather(scene, ego);
        }
        for (pixel, &(colour, cover)) in self.picture.iter_mut().zip(&self.fixed) {
            if cover > 0.0 {
                *pixel = mix(*pixel, colour, cover);
            }
        }
        self.blur(optics.blur);
        if optics.sharpen > 0.0 {
            self.sharpen(optics.sharpen);
        }
        self.tone(scene);
        self.send(scene, out);
        self.frame = self.frame.wrapping_add(1);
    }

    /// Blur by motion while the shutter is open, along the true motion of every pixel.
    fn smear(
        &mut self,
        canvas: &Canvas,
        lens: &Lens,
        ego: &Ego,
        (pose, before): (Pose, Pose),
        open: f32,
        interval: f32,
    ) {
        let turn = (pose.yaw - before.yaw) / interval * open;
        let nod = (pose.pitch - before.pitch) / interval * open;
        self.spare.copy_from_slice(&self.picture);
        let (w, h) = (self.width as i32, self.height as i32);
        for y in 0..h {
            for x in 0..w {
                let index = (y * w + x) as usize;
                let [a, b] = lens.rays[index];
                let z = canvas.depth[index];
                let closer = (ego.speed - canvas.speed[index]) * open / z;
                let dx = (a * closer - turn * (1.0 + a * a)) * lens.focal;
                let dy = (b * closer - nod) * lens.focal;
                let length = dx.abs().max(dy.abs());
                if length < 0.4 {
                    continue;
                }
                let taps = ((length * 1.5) as i32).min(7) + 2;
                let mut sum = [0.0; 3];
                for tap in 0..taps {
                    let t = (tap as f32 + 0.5) / taps as f32 - 0.5;
                    let px = (x as f32 + dx * t + 0.5) as i32;
                    let py = (y as f32 + dy * t + 0.5) as i32;
                    let from = self.spare[(py.clamp(0, h - 1) * w + px.clamp(0, w - 1)) as usize];
                    sum = core::array::from_fn(|c| sum[c] + from[c]);
                }
                self.picture[index] = scaled(sum, 1.0 / taps as f32);
            }
        }
    }

    /// Streaks of rain and flakes of snow before the camera, drops on the window.
    fn weather(&mut self, scene: &Scene, ego: &Ego) {
        let light = &scene.light;
        let (w, h) = (self.width as f32, self.height as f32);
        let count = ((120.0 * light.rain + 160.0 * light.snow) * w * h / 8_192.0) as i32;
        let slant = (ego.speed / 25.0).min(1.5);
        for i in 0..count {
            let seed = hash(scene.seed ^ 91 ^ bits(self.frame), i);
            let (x, y) = (unit(seed) * w, unit(hash(seed, 1)) * h);
            let long = if light.snow > 0.0 { 1.5 } else { 3.0 + 6.0 * unit(hash(seed, 2)) };
            let strength = if light.snow > 0.0 { 0.5 } else { 0.10 } * unit(hash(seed, 3));
            let (cx, cy) = ((x - 0.5 * w) / w * slant, 1.0);
            let mut t = 0.0;
            while t < long {
                let (px, py) = ((x + cx * t) as usize, (y + cy * t) as usize);
                if px < self.width && py < self.height {
                    let pixel = &mut self.picture[py * self.width + px];
                    *pixel = mix(*pixel, light.horizon, strength);
                }
                t += 1.0;
            }
        }
    }

    fn blur(&mut self, sigma: f32) {
        // A binomial kernel of this variance, three taps as often as needed.
        let mut left = sigma * sigma;
        while left > 0.01 {
            let side = (left.min(0.5)) * 0.5;
            self.pass(side);
            left -= 0.5;
        }
    }

    /// One three-tap pass in both directions: `side` is the weight of each neighbour.
    fn pass(&mut self, side: f32) {
        let (w, middle) = (self.width, 1.0 - 2.0 * side);
        for (row, to) in self.picture.chunks_exact(w).zip(self.spare.chunks_exact_mut(w)) {
            for x in 0..w {
                let (a, b, c) = (row[x.saturating_sub(1)], row[x], row[(x + 1).min(w - 1)]);
                to[x] = core::array::from_fn(|k| b[k] * middle + (a[k] + c[k]) * side);
            }
        }
        for y in 0..self.height {
            let (up, down) = (y.saturating_sub(1) * w, (y + 1).min(self.height - 1) * w);
            for x in 0..w {
                let (a, b, c) = (self.spare[up + x], self.spare[y * w + x], self.spare[down + x]);
                self.picture[y * w + x] =
                    core::array::from_fn(|k| b[k] * middle + (a[k] + c[k]) * side);
            }
        }
    }

    fn sharpen(&mut self, amount: f32) {
        let sharp = self.picture.clone();
        self.pass(0.25);
        for (pixel, original) in self.picture.iter_mut().zip(sharp) {
            let soft = *pixel;
            *pixel = core::array::from_fn(|k| original[k] + amount * (original[k] - soft[k]));
        }
    }

    /// Follows the brightness slowly, as cameras do, most of the way to a middle gray.
    fn expose(&mut self, scene: &Scene) {
        let sum: f32 = self.picture.iter().map(|p| p[0] + 2.0 * p[1] + p[2]).sum();
        let mean = (0.25 * sum / self.picture.len() as f32).max(0.02);
        let wanted = (scene.optics.brightness / mean).clamp(0.7, 2.0);
        let follow = if self.frame == 0 { 1.0 } else { 0.06 };
        self.exposure = lerp(self.exposure, wanted, follow);
    }

    /// Exposure, contrast, colour, vignette.
    fn tone(&mut self, scene: &Scene) {
        let optics = &scene.optics;
        let drift = 1.0 + optics.drift * noise(scene.seed ^ 81, self.frame as f32 * 0.05);
        self.expose(scene);
        let gain = optics.gain * drift * self.exposure;
        let (w, h) = (self.width as f32, self.height as f32);
        for (index, pixel) in self.picture.iter_mut().enumerate() {
            let (x, y) =
                ((index % self.width) as f32 / w - 0.5, (index / self.width) as f32 / h - 0.5);
            let corner = 1.0 - optics.vignette * 2.0 * (x * x + y * y);
            let mut c = tinted_by(*pixel, optics.balance, gain * corner);
            let gray = 0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2];
            c = c.map(|v| {
                let v = lerp(gray, v, optics.saturation);
                (v - 0.45) * optics.contrast + 0.45 + optics.black
            });
            *pixel = c;
        }
    }

    /// Noise, bytes, and an encoder that leaves out small changes.
    fn send(&mut self, scene: &Scene, out: &mut [u8]) {
        let optics = &scene.optics;
        let level = optics.noise * 255.0;
        let seed = scene.seed ^ bits(self.frame ^ 0x5bd1);
        let (w, h) = (self.width, self.height);
        let mut now: Vec<f32> = Vec::with_capacity(w * h * 3);
        for (index, pixel) in self.picture.iter().enumerate() {
            let r = hash(seed, index as i32);
            let shared = ((r & 255) as f32 + ((r >> 8) & 255) as f32 - 255.0) * (1.0 / 104.0);
            let own = bits(r);
            for (c, &value) in pixel.iter().enumerate() {
                let single = ((own >> (8 * c)) & 255) as f32 * (1.0 / 74.0) - 1.72;
                // Gray cameras have gray noise.
                let grain = shared * 0.8 + single * 0.6 * optics.saturation.min(1.0);
                let v = value * 255.0;
                // Brighter is noisier until it clips.
                let by = level * (0.6 + 0.8 * value.clamp(0.0, 1.0));
                now.push((v + grain * by).clamp(0.0, 255.0));
            }
        }
        if optics.dead_zone > 0.0 && !self.sent.is_empty() {
            self.keep_small_changes_out(&mut now, optics.dead_zone * 255.0);
        }
        for (byte, value) in out.iter_mut().zip(&now) {
            *byte = (value + 0.5) as u8;
        }
        self.sent = now;
    }

    fn keep_small_changes_out(&self, now: &mut [f32], threshold: f32) {
        let row = self.width * 3;
        for top in (0..self.height).step_by(BLOCK) {
            let rows = BLOCK.min(self.height - top);
            for left in (0..row).step_by(BLOCK * 3) {
                let columns = (BLOCK * 3).min(row - left);
                let mut change = 0.0;
                for y in top..top + rows {
                    let span = y * row + left..y * row + left + columns;
                    let pairs = now[span.clone()].iter().zip(&self.sent[span]);
                    change += pairs.map(|(a, b)| (a - b).abs()).sum::<f32>();
                }
                if change < threshold * (rows * columns) as f32 {
                    for y in top..top + rows {
                        let span = y * row + left..y * row + left + columns;
                        now[span.clone()].copy_from_slice(&self.sent[span]);
                    }
                }
            }
        }
    }
}

fn tinted_by(colour: Rgb, by: Rgb, gain: f32) -> Rgb {
    [colour[0] * by[0] * gain, colour[1] * by[1] * gain, colour[2] * by[2] * gain]
}

/// What does not move with the world: bonnet, reflections, dirt, text.
fn fixed(scene: &Scene, library: &Library, x: usize, y: usize, w: usize, h: usize) -> (Rgb, f32) {
    let optics = &scene.optics;
    let (px, py) = ((x as f32 + 0.5) / w as f32, (y as f32 + 0.5) / h as f32);
    let seed = scene.seed;
    if py < optics.bars.0 || py > 1.0 - optics.bars.1 {
        return ([0.0; 3], 1.0);
    }
    let pillar = if optics.pillar > 0.0 { px } else { 1.0 - px };
    if pillar < optics.pillar.abs() * (1.0 - 0.6 * py) {
        return (scaled(optics.bonnet_colour, 0.25), 1.0);
    }
    if optics.mark > 0.0 {
        let (cx, cy) = (unit(hash(seed, 105)), unit(hash(seed, 106)));
        let (dx, dy) = ((px - cx) * w as f32 / h as f32, py - cy);
        let r = (dx * dx + dy * dy).sqrt();
        if r < optics.mark {
            let inner = if dx.abs() < 0.35 * optics.mark && dx.abs() > 0.1 * optics.mark {
                0.9
            } else {
                0.4
            };
            return ([inner; 3], 0.8);
        }
    }
    if optics.bonnet > 0.0 {
        let bulge = 1.0 - 3.2 * (px - 0.5) * (px - 0.5) * (0.3 + unit(hash(seed, 101)));
        let edge = 1.0 - optics.bonnet * bulge.max(0.0);
        let cover = ((py - edge) * h as f32 + 0.5).clamp(0.0, 1.0);
        if cover > 0.0 {
            let t = ((py - edge) / optics.bonnet.max(0.01)).clamp(0.0, 1.0);
            let shine =
                mix(scene.light.horizon, optics.bonnet_colour, 0.4 + 0.6 * t.min(0.5) * 2.0);
            return (mix(optics.bonnet_colour, shine, 0.35 * (1.0 - t)), cover);
        }
    }
    if optics.overlay && py > 0.88 && px < 0.62 && px > 0.02 && py < 0.96 {
        let cell = floor(px * w as f32 / 2.5);
        if unit(hash(seed ^ 103, cell)) < 0.7 {
            let ink = unit(hash(hash(seed ^ 104, cell), floor(py * h as f32 / 1.5)));
            return ([0.95; 3], smoothstep(0.3, 0.7, ink));
        }
    }
    if optics.reflection > 0.0 {
        let shape =
            library.textures.clutter.sample(px * 90.0 + (seed & 255) as f32, py * 60.0, 1.5, 2.0);
        let fade = smoothstep(0.1, 1.0, py);
        let cover = (optics.reflection * (0.5 + 1.3 * shape) * fade).clamp(0.0, 0.5);
        return ([0.75, 0.75, 0.72], cover);
    }
    ([0.0; 3], 0.0)
}
