//! What has a body: vehicles, houses, blocks; and the shadow of vehicles.

use super::block::{Block, Face as BlockFace, Hit};
use super::draw::{Rgb, hash, scaled, smoothstep, unit};
use super::frame::{Painter, SKY, View, lit};
use super::ground::dashed;
use super::scene::Scene;
use super::thing::{Item, Shape};
use super::wall;

impl Painter {
    pub(super) fn vehicle(&mut self, view: &View<'_>, item: &Item) {
        let Shape::Vehicle { look, oncoming, speed } = item.shape else { return };
        let turn = if oncoming { (-item.turn.0, -item.turn.1) } else { item.turn };
        self.shadow(view, item, look.width * 0.5, look.length * 0.5);
        let blocks = look.blocks(item.foot, turn);
        let lamps = view.scene.light.wet + if view.scene.light.night { 1.0 } else { 0.0 };
        let textures = &view.library.textures;
        self.solids(view, item, &blocks, speed, |part, hit| {
            let face = face_light(view.scene, hit.face, oncoming);
            let colour = look.colour(textures, part, hit, lamps);
            scaled(colour, face)
        });
    }

    pub(super) fn solid(&mut self, view: &View<'_>, item: &Item) {
        let Shape::Solid { mut block, seed, colour, roof } = item.shape else { return };
        block.foot = item.foot;
        block.turn = item.turn;
        let textures = &view.library.textures;
        self.solids(view, item, &[Some(block), None], 0.0, |_, hit| {
            let light = face_light(view.scene, hit.face, false);
            let foot = hit.z * 0.008;
            let painted = if roof && hit.face != BlockFace::Top {
                let x = match hit.face {
                    BlockFace::Left | BlockFace::Right => hit.l,
                    BlockFace::Back | BlockFace::Front | BlockFace::Top | BlockFace::Bottom => {
                        hit.x
                    }
                };
                if hit.y > block.high * 0.68 {
                    let tile =
                        textures.grain.sample(x * 9.0, hit.y * 30.0, foot * 9.0, foot * 30.0);
                    let red = 0.3 + 0.4 * unit(hash(seed, 51));
                    scaled([0.2 + 0.5 * red, 0.30, 0.26], 1.0 + 0.2 * tile)
                } else {
                    wall::front(textures, seed, colour, x + 40.0, hit.y + 3.6, (foot, foot))
                }
            } else {
                let d = 8.0;
                let stain =
                    textures.cloud.sample((hit.x + hit.l) * d, hit.y * d * 2.0, foot * d, foot * d);
                let bar = dashed(hit.y, foot, 0.1, 0.9);
                scaled(colour, 1.0 + 0.3 * stain - 0.2 * bar)
            };
            scaled(painted, light)
        });
    }

    /// Darkens the ground below a vehicle.
    fn shadow(&mut self, view: &View<'_>, item: &Item, half_width: f32, half_length: f32) {
        let height = view.pose.height;
        let block = Block {
            foot: item.foot,
            turn: item.turn,
            half: (half_width + 0.5, half_length + 0.5),
            low: 0.0,
            high: 0.05,
        };
        let (columns, rows) = self.lens.bounds(&block.corners(height));
        for row in rows {
            for column in columns.clone() {
                let index = row * self.width + column;
                let z = self.canvas.depth[index];
                let ray = self.lens.rays[index];
                if z >= SKY || (height - ray[1] * z - item.foot[1]).abs() > 0.1 + 0.01 * z {
                    continue;
                }
                let (dx, dz) = (ray[0] * z - item.foot[0], z - item.foot[2]);
                let x = (dx * item.turn.1 - dz * item.turn.0).abs();
                let l = (dx * item.turn.0 + dz * item.turn.1).abs();
                let soft = 0.25 + z / self.lens.focal;
                let dark = smoothstep(half_width + soft, half_width - soft, x)
                    * smoothstep(half_length + soft * 2.0, half_length - soft, l);
                let out = &mut self.canvas.colour[index];
                *out = scaled(*out, 1.0 - 0.72 * dark);
            }
        }
    }

    /// Paints boxes, with as many rays a pixel as their size asks for.
    fn solids(
        &mut self,
        view: &View<'_>,
        item: &Item,
        blocks: &[Option<Block>; 2],
        speed: f32,
        paint: impl Fn(usize, &Hit) -> Rgb,
    ) {
        let height = view.pose.height;
        let mut corners = Vec::with_capacity(16);
        for block in blocks.iter().flatten() {
            corners.extend(block.corners(height));
        }
        let (columns, rows) = self.lens.bounds(&corners);
        let small = columns.len() * rows.len() < 600;
        let n = if small { 3 } else { 2 };
        let pixel = 1.0 / self.lens.focal;
        let share = 1.0 / (n * n) as f32;
        for row in rows {
            for column in columns.clone() {
                let index = row * self.width + column;
                let ray = self.lens.rays[index];
                let mut sum = [0.0; 3];
                let (mut cover, mut nearest) = (0.0, SKY);
                for sub in 0..n * n {
                    let dx = ((sub % n) as f32 + 0.5) / n as f32 - 0.5;
                    let dy = ((sub / n) as f32 + 0.5) / n as f32 - 0.5;
                    let ray = [ray[0] + dx * pixel, ray[1] + dy * pixel];
                    let hits = blocks
                        .iter()
                        .enumerate()
                        .filter_map(|(part, b)| Some((part, b.as_ref()?.hit(height, ray)?)));
                    let Some((part, hit)) = hits.min_by(|a, b| a.1.z.total_cmp(&b.1.z)) else {
                        continue;
                    };
                    if hit.z > self.canvas.depth[index] * 1.02 + 0.3 {
                        continue;
                    }
                    let colour = lit(view.scene, paint(part, &hit), hit.z, item.u);
                    sum = core::array::from_fn(|c| sum[c] + colour[c] * share);
                    cover += share;
                    nearest = hit.z.min(nearest);
                }
                if cover > 0.0 {
                    let out = &mut self.canvas.colour[index];
                    *out = core::array::from_fn(|c| out[c] * (1.0 - cover) + sum[c]);
                    if cover > 0.5 {
                        self.canvas.depth[index] = nearest;
                        self.canvas.speed[index] = speed;
                    }
                }
            }
        }
    }
}

fn face_light(scene: &Scene, face: BlockFace, turned: bool) -> f32 {
    let light = &scene.light;
    match (face, turned) {
        (BlockFace::Left, false) | (BlockFace::Right, true) => light.left,
        (BlockFace::Right, false) | (BlockFace::Left, true) => light.right,
        (BlockFace::Back | BlockFace::Front, _) => light.front,
        (BlockFace::Top, _) => 1.1,
        (BlockFace::Bottom, _) => 0.35,
    }
}
