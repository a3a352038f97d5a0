//! Rays of the camera's pixels, and back from a direction to a pixel.

use super::draw::Draws;
use super::scene::Camera;
use crate::FrameShape;

/// How the camera looks in one frame, relative to the road's direction where it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pose {
    /// Right positive, rad.
    pub(super) yaw: f32,
    /// Down positive, rad.
    pub(super) pitch: f32,
    /// Clockwise positive, rad.
    pub(super) roll: f32,
    /// Above the road, units.
    pub(super) height: f32,
}

/// Rays of one camera: fixed for a drive, turned for every frame.
#[derive(Debug)]
pub(super) struct Lens {
    width: usize,
    height: usize,
    /// Pixels for a slope of 1 at the middle.
    pub(super) focal: f32,
    distortion: f32,
    centre: (f32, f32),
    fixed: Vec<[f32; 2]>,
    /// Side and depth slopes of each pixel's ray: (x/z to the right, y/z down), row by row.
    pub(super) rays: Vec<[f32; 2]>,
    turn: [[f32; 3]; 3],
}

impl Lens {
    pub(super) fn new(camera: &Camera, shape: FrameShape, draws: &mut Draws) -> Self {
        let (width, height) = (usize::from(shape.width), usize::from(shape.height));
        let focal = 0.5 * width as f32 / camera.half_width;
        let shift = draws.range((-0.03, 0.03)) * height as f32 * camera.decentred;
        let centre = (0.5 * width as f32 + shift, 0.5 * height as f32);
        let fixed = (0..width * height)
            .map(|i| {
                let a = ((i % width) as f32 + 0.5 - centre.0) / focal;
                let b = ((i / width) as f32 + 0.5 - centre.1) / focal;
                let by = 1.0 + camera.distortion * (a * a + b * b);
                [a * by, b * by]
            })
            .collect();
        let rays = vec![[0.0; 2]; width * height];
        let turn = [[0.0; 3]; 3];
        Self { width, height, focal, distortion: camera.distortion, centre, fixed, rays, turn }
    }

    /// Turns all rays to a pose.
    pub(super) fn aim(&mut self, pose: Pose) {
        let (sr, cr) = (libm::sinf(pose.roll), libm::cosf(pose.roll));
        let (sp, cp) = (libm::sinf(pose.pitch), libm::cosf(pose.pitch));
        let (sy, cy) = (libm::sinf(pose.yaw), libm::cosf(pose.yaw));
        // Camera (right, down, ahead) to road (right, down, ahead): roll, then pitch, then yaw.
        self.turn = [
            [cr * cy - sy * sr * sp, -sr * cy - sy * cr * sp, sy * cp],
            [sr * cp, cr * cp, sp],
            [-cr * sy - cy * sr * sp, sr * sy - cy * cr * sp, cy * cp],
        ];
        let [[xa, xb, xc], [ya, yb, yc], [za, zb, zc]] = self.turn;
        for (ray, &[a, b]) in self.rays.iter_mut().zip(&self.fixed) {
            let x = xa * a + xb * b + xc;
            let y = ya * a + yb * b + yc;
            let z = (za * a + zb * b + zc).max(0.05);
            *ray = [x / z, y / z];
        }
    }

    /// Pixel (column, row) that sees the direction (x right, y down, z ahead) of the road frame;
    /// `None` if it is not before the camera.
    pub(super) fn pixel(&self, [x, y, z]: [f32; 3]) -> Option<(f32, f32)> {
        let t = &self.turn;
        let dot = |c: usize| t[0][c] * x + t[1][c] * y + t[2][c] * z;
        let ahead = dot(2);
        if ahead < 0.02 {
            return None;
        }
        let (a, b) = (dot(0) / ahead, dot(1) / ahead);
        let (mut p, mut q) = (a, b);
        for _ in 0..4 {
            let by = 1.0 + self.distortion * (p * p + q * q);
            (p, q) = (a / by, b / by);
        }
        Some((self.centre.0 + p * self.focal, self.centre.1 + q * self.focal))
    }

    /// Smallest rectangle of pixels (columns, rows) that holds all of these directions.
    pub(super) fn bounds(
        &self,
        corners: &[[f32; 3]],
    ) -> (core::ops::Range<usize>, core::ops::Range<usize>) {
        let (w, h) = (self.width as f32, self.height as f32);
        let (mut left, mut right, mut top, mut bottom) = (w, 0.0_f32, h, 0.0_f32);
        for &corner in corners {
            let (x, y) = match self.pixel(corner) {
                Some(pixel) => pixel,
                // Beside or behind: it may cover anything on that side.
                None => (
                    if corner[0] < 0.0 { -w } else { 2.0 * w },
                    if corner[1] < 0.0 { -h } else { 2.0 * h },
                ),
            };
            (left, right) = (left.min(x), right.max(x));
            (top, bottom) = (top.min(y), bottom.max(y));
        }
        let clip = |x: f32, end: usize| (x.clamp(0.0, end as f32)) as usize;
        let columns = clip(left - 1.0, self.width)..clip(right + 2.0, self.width);
        let rows = clip(top - 1.0, self.height)..clip(bottom + 2.0, self.height);
        (columns, rows)
    }
}
