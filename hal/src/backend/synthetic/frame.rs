//! One frame: ground and sky, then everything that stands, from far to near.

use super::draw::{Rgb, hash, mix, scaled, tinted, unit};
use super::ground::{Ground, Spot, covered, dashed};
use super::hall::Hall;
use super::lens::{Lens, Pose};
use super::route::{Ahead, Reach};
use super::scene::{Curtain, Scene, Thing};
use super::sprite::Sprites;
use super::texture::Textures;
use super::thing::{Face, Item, Shape, bridge_depth, each, shapes};
use super::traffic::{Others, roofs};
use super::{sky, wall};

pub(super) const SKY: f32 = 1.0e5;

/// What all roads share: made once, 4 MB.
#[derive(Debug)]
pub(super) struct Library {
    pub(super) textures: Textures,
    pub(super) sprites: Sprites,
}

impl Library {
    pub(super) fn new() -> Self {
        Self { textures: Textures::new(), sprites: Sprites::new() }
    }
}

/// A picture in work: colours, and for each pixel the distance ahead and the speed of what it shows.
#[derive(Debug)]
pub(super) struct Canvas {
    pub(super) colour: Vec<Rgb>,
    pub(super) depth: Vec<f32>,
    pub(super) speed: Vec<f32>,
}

/// Paints the frames of one scene.
#[derive(Debug)]
pub(super) struct Painter {
    pub(super) width: usize,
    pub(super) lens: Lens,
    pub(super) canvas: Canvas,
    ahead: Ahead,
    reach: Reach,
    walls: Vec<usize>,
    wall_reach: Reach,
    items: Vec<Item>,
    order: Vec<(u32, f32, usize)>,
    roofs: Vec<(f32, f32)>,
}

/// What a frame is painted from.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) scene: &'a Scene,
    pub(super) library: &'a Library,
    pub(super) pose: Pose,
    pub(super) s: f32,
    pub(super) u: f32,
    /// Direction of the road: which part of the sky is ahead.
    pub(super) heading: f32,
}

impl Painter {
    pub(super) fn new(scene: &Scene, lens: Lens, width: usize, height: usize) -> Self {
        let pixels = width * height;
        let fine = lens.focal * 2.0;
        let steps = |span: f32| (span * fine) as usize + 8;
        let mut walls: Vec<usize> = (0..scene.curtains.len()).collect();
        let far = |i: &usize| scene.curtains[*i].at - 0.5 * (scene.road.0 + scene.road.1);
        walls.sort_by(|a, b| far(b).abs().total_cmp(&far(a).abs()));
        Self {
            width,
            lens,
            canvas: Canvas {
                colour: vec![[0.0; 3]; pixels],
                depth: vec![SKY; pixels],
                speed: vec![0.0; pixels],
            },
            ahead: Ahead::new(),
            reach: Reach::new(-0.3, 2.2, steps(2.5)),
            walls,
            wall_reach: Reach::new(-3.0, 3.0, steps(6.0)),
            items: Vec::new(),
            order: Vec::new(),
            roofs: Vec::new(),
        }
    }

    /// Paints one frame into the canvas.
    pub(super) fn paint(&mut self, view: &View<'_>, others: &Others) {
        self.lens.aim(view.pose);
        self.ahead.fill(&view.scene.route, view.s, view.u);
        self.reach.fill(&self.ahead, |i| view.pose.height - self.ahead.y[i]);
        self.collect(view, others);
        self.background(view);
        let mut next = 0;
        for zone in 0..=self.walls.len() {
            while next < self.order.len() && self.order[next].0 == zone as u32 {
                let item = self.items[self.order[next].2];
                self.item(view, &item);
                next += 1;
            }
            if let Some(&index) = self.walls.get(zone) {
                self.curtain(view, &view.scene.curtains[index]);
            }
        }
    }

    /// Things in sight, sorted from the outermost zone between two walls inwards, far to near.
    fn collect(&mut self, view: &View<'_>, others: &Others) {
        let (items, ahead, roofs_out) = (&mut self.items, &self.ahead, &mut self.roofs);
        items.clear();
        roofs_out.clear();
        for row in &view.scene.rows {
            each(row, view.s, |h, along, u| {
                if roofs(row.thing) {
                    let deep = bridge_depth(h);
                    let shift = 4.0 * (view.scene.light.left - view.scene.light.right);
                    roofs_out.push((view.s + along - deep + shift, view.s + along + deep + shift));
                }
                shapes(view.scene, row, h, u, |u, shape| {
                    if let Some((foot, turn)) = ahead.stand(along, u) {
                        items.push(Item { foot, turn, u, shape });
                    }
                });
            });
        }
        others.items(view.scene, &self.ahead, &mut self.items);
        if let Some(hall) = &view.scene.hall {
            hall.items(&hall.stand(view.s, view.u, view.pose.height), &mut self.items);
        }
        self.order.clear();
        let middle = 0.5 * (view.scene.road.0 + view.scene.road.1);
        for (index, item) in self.items.iter().enumerate() {
            let side = item.u - middle;
            // How many walls are farther out: painted before.
            let zone = self
                .walls
                .iter()
                .filter(|&&w| (view.scene.curtains[w].at - middle).abs() > side.abs())
                .count();
            self.order.push((zone as u32, item.foot[2], index));
        }
        self.order.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
    }

    /// Floor, walls and ceiling of a hall.
    fn indoors(&mut self, view: &View<'_>, hall: &Hall) {
        let scene = view.scene;
        let textures = &view.library.textures;
        let ground = Ground { scene, textures };
        let stand = hall.stand(view.s, view.u, view.pose.height);
        let pixel = 1.0 / self.lens.focal;
        for (index, &ray) in self.lens.rays.iter().enumerate() {
            let (z, floor) = hall.meet(&stand, ray);
            let colour = match floor {
                Some((u, s)) => {
                    let along = (z * z * pixel / stand.height).max(z * pixel);
                    // The track turns: what is across and what is along changes over the floor.
                    let across = (0.5 * along).max(z * pixel);
                    let colour = ground.colour(Spot { u, s, across, along });
                    let (gleam, share) = hall.gleam(textures, &stand, ray, pixel);
                    mix(colour, gleam, share)
                }
                None => hall.backdrop(textures, &stand, ray, pixel),
            };
            self.canvas.colour[index] = lit(scene, colour, z, 0.0);
            self.canvas.depth[index] = z;
            self.canvas.speed[index] = 0.0;
        }
    }

    /// The place on the ground that a ray meets, and its distance ahead.
    fn spot(&self, view: &View<'_>, ray: [f32; 2]) -> Option<(Spot, f32)> {
        let (inverse, place) = self.reach.at(ray[1])?;
        let (height, pixel) = (view.pose.height, 1.0 / self.lens.focal);
        let z = 1.0 / inverse;
        let place = self.ahead.at(place);
        let side = ray[0] * z - place.x;
        // A pixel's height, too, spans some of the road's width.
        let slant = (ray[0] - place.sin / place.cos).abs() * z / height;
        let spot = Spot {
            u: side * place.cos,
            s: view.s + place.along + side * place.sin,
            across: z * pixel * (1.0 + 0.8 * slant),
            along: (z * z * pixel / height).max(z * pixel),
        };
        Some((spot, z))
    }

    /// Ground, ceiling and sky of every pixel.
    fn background(&mut self, view: &View<'_>) {
        let scene = view.scene;
        if let Some(hall) = &scene.hall {
            self.indoors(view, hall);
            return;
        }
        let ground = Ground { scene, textures: &view.library.textures };
        let height = view.pose.height;
        let pixel = 1.0 / self.lens.focal;
        for (index, &ray) in self.lens.rays.iter().enumerate() {
            let (colour, depth) = match self.spot(view, ray) {
                Some((spot, z)) => {
                    let mut colour = ground.colour(spot);
                    for &(from, to) in &self.roofs {
                        let dark = covered(spot.s, spot.along.max(2.5), from, to);
                        colour = scaled(colour, 1.0 - 0.5 * dark);
                    }
                    (lit(scene, colour, z, spot.u), z)
                }
                None => match scene.ceiling {
                    Some(top) if ray[1] < -0.001 => {
                        let z = (top - height) / -ray[1];
                        (ceiling(scene, view, z, ray, pixel), z)
                    }
                    _ => {
                        (sky::colour(scene, &view.library.textures, ray, view.heading, pixel), SKY)
                    }
                },
            };
            self.canvas.colour[index] = colour;
            self.canvas.depth[index] = depth;
            self.canvas.speed[index] = 0.0;
        }
    }

    fn curtain(&mut self, view: &View<'_>, curtain: &Curtain) {
        let scene = view.scene;
        let sign = if curtain.at > view.u { 1.0 } else { -1.0 };
        let ahead = &self.ahead;
        self.wall_reach.fill(ahead, |i| sign * (ahead.x[i] + curtain.at / ahead.cos[i]));
        let pixel = 1.0 / self.lens.focal;
        let height = view.pose.height;
        let tallest = wall::tallest(curtain);
        let face = if sign > 0.0 { scene.light.left } else { scene.light.right };
        let aside = (curtain.at - view.u).abs().max(0.5);
        for (index, &ray) in self.lens.rays.iter().enumerate() {
            let Some((inverse, place)) = self.wall_reach.at(sign * ray[0]) else { continue };
            let z = 1.0 / inverse;
            let up = z * pixel;
            if z > self.canvas.depth[index] * (1.01 + 0.6 * up / height) || z > 1_500.0 {
                continue;
            }
            let above = height - ray[1] * z;
            if above > tallest + 1.0 {
                continue;
            }
            let place = self.ahead.at(place);
            let h = above - place.y;
            if h > tallest || h < -0.5 * up {
                continue;
            }
            let patch = wall::Patch {
                s: view.s + place.along + curtain.at / place.cos * place.sin,
                h: h.max(0.0),
                along: (z * z * pixel / aside).min(200.0).max(z * pixel),
                up,
            };
            let (colour, cover) = wall::look(&view.library.textures, curtain, patch);
            let cover = cover * (h / up + 0.5).min(1.0);
            if cover <= 0.004 {
                continue;
            }
            let colour = lit(scene, scaled(colour, face), z, curtain.at);
            let out = &mut self.canvas.colour[index];
            *out = mix(*out, colour, cover);
            if cover > 0.5 {
                self.canvas.depth[index] = z;
                self.canvas.speed[index] = 0.0;
            }
        }
    }

    fn item(&mut self, view: &View<'_>, item: &Item) {
        match item.shape {
            Shape::Picture { .. } => self.picture(view, item),
            Shape::Panel { .. } => self.panel(view, item),
            Shape::Vehicle { .. } => self.vehicle(view, item),
            Shape::Solid { .. } => self.solid(view, item),
        }
    }

    /// Corners of an upright rectangle across the line of sight.
    fn upright(
        foot: [f32; 3],
        left: f32,
        right: f32,
        low: f32,
        high: f32,
        height: f32,
    ) -> [[f32; 3]; 4] {
        let [x, y, z] = foot;
        [(left, low), (right, low), (left, high), (right, high)]
            .map(|(a, b)| [x + a, height - y - b, z])
    }

    fn picture(&mut self, view: &View<'_>, item: &Item) {
        let Shape::Picture { thing, seed, width, height: tall, colour } = item.shape else {
            return;
        };
        let [x, y, z] = item.foot;
        if z < 0.4 {
            return;
        }
        let sprites = &view.library.sprites;
        let of = match thing {
            Thing::Fir => &sprites.firs,
            Thing::Bare => &sprites.bare,
            Thing::Bush => &sprites.bushes,
            Thing::Palm => &sprites.palms,
            Thing::Person => &sprites.people,
            Thing::Tree
            | Thing::Pole
            | Thing::Lamp
            | Thing::Marker
            | Thing::Sign
            | Thing::Board
            | Thing::Gantry
            | Thing::Bridge
            | Thing::Parked
            | Thing::House => &sprites.trees,
        };
        let sprite = &of[hash(seed, 71) as usize % of.len()];
        let flip = hash(seed, 72) & 1 == 1;
        let wood = if thing == Thing::Person { [0.75, 0.55, 0.45] } else { [0.42, 0.36, 0.29] };
        let height = view.pose.height;
        let corners = Self::upright(item.foot, -0.5 * width, 0.5 * width, 0.0, tall, height);
        let (columns, rows) = self.lens.bounds(&corners);
        let footprint = z / self.lens.focal / width.max(tall);
        let front = 0.5 * view.scene.light.front
            + 0.5 * if x > 0.0 { view.scene.light.left } else { view.scene.light.right };
        for row in rows {
            for column in columns.clone() {
                let index = row * self.width + column;
                if z > self.canvas.depth[index] * 1.02 {
                    continue;
                }
                let ray = self.lens.rays[index];
                let a = (ray[0] * z - x) / width + 0.5;
                let b = (height - y - ray[1] * z) / tall;
                if b < 0.0 {
                    continue;
                }
                let texel = sprite.sample(if flip { 1.0 - a } else { a }, b, footprint);
                if texel.cover <= 0.01 {
                    continue;
                }
                let level = texel.light / texel.cover;
                let wooden = (texel.wood / texel.cover).min(1.0);
                let base = mix(colour, wood, wooden);
                let painted =
                    lit(view.scene, scaled(base, (0.12 + 1.5 * level) * front), z, item.u);
                let out = &mut self.canvas.colour[index];
                *out = mix(*out, painted, texel.cover);
                if texel.cover > 0.5 {
                    self.canvas.depth[index] = z;
                    self.canvas.speed[index] = 0.0;
                }
            }
        }
    }

    fn panel(&mut self, view: &View<'_>, item: &Item) {
        let Shape::Panel { left, right, low, high, seed, colour, face } = item.shape else {
            return;
        };
        let [x, y, z] = item.foot;
        if z < 0.4 {
            return;
        }
        let height = view.pose.height;
        let corners = Self::upright(item.foot, left, right, low, high, height);
        let (columns, rows) = self.lens.bounds(&corners);
        let foot = z / self.lens.focal;
        let textures = &view.library.textures;
        for row in rows {
            for column in columns.clone() {
                let index = row * self.width + column;
                if z > self.canvas.depth[index] * 1.02 {
                    continue;
                }
                let ray = self.lens.rays[index];
                let (a, b) = (ray[0] * z - x, height - y - ray[1] * z);
                let mut cover = covered(a, foot, left, right) * covered(b, foot, low, high);
                if cover <= 0.0 {
                    continue;
                }
                let mut painted = colour;
                let (p, q) = ((a - left) / (right - left), (b - low) / (high - low));
                let size = foot / (high - low);
                match face {
                    Face::Plain => {}
                    Face::Round => {
                        let r = ((p - 0.5) * (p - 0.5) + (q - 0.5) * (q - 0.5)).sqrt();
                        cover *= ((0.5 - r) / size + 0.5).clamp(0.0, 1.0);
                        let ring = ((r - 0.38) / size + 0.5).clamp(0.0, 1.0);
                        painted =
                            mix(mix([0.9; 3], [0.1; 3], 0.35 * unit(seed)), [0.75, 0.1, 0.1], ring);
                    }
                    Face::Triangle => {
                        let inside = (1.0 - q) * 0.5 - (p - 0.5).abs();
                        cover *= (inside / size + 0.5).clamp(0.0, 1.0);
                        let edge = ((0.1 - inside) / size + 0.5).clamp(0.0, 1.0);
                        painted = mix([0.9, 0.88, 0.8], [0.75, 0.1, 0.1], edge);
                    }
                    Face::Text => painted = text(textures, seed, colour, (p, q), (a, b), foot),
                    Face::Glow => {
                        let r = ((p - 0.5) * (p - 0.5) + (q - 0.5) * (q - 0.5)) * 4.0;
                        cover *= (1.0 - r).max(0.0);
                    }
                }
                let painted = if face == Face::Glow {
                    painted
                } else {
                    lit(view.scene, scaled(painted, view.scene.light.front), z, item.u)
                };
                let out = &mut self.canvas.colour[index];
                *out = mix(*out, painted, cover);
                if cover > 0.5 {
                    self.canvas.depth[index] = z;
                    self.canvas.speed[index] = 0.0;
                }
            }
        }
    }
}

fn text(
    textures: &Textures,
    seed: u32,
    colour: Rgb,
    (p, q): (f32, f32),
    (a, b): (f32, f32),
    foot: f32,
) -> Rgb {
    let dark = colour[0] + colour[1] > 1.2;
    let ink = if dark { [0.1; 3] } else { [0.92; 3] };
    let border = !(0.04..0.96).contains(&p) || !(0.06..0.94).contains(&q);
    if border {
        return ink;
    }
    let line = q * 4.0 - (q * 4.0) as i32 as f32;
    let row = (q * 4.0) as i32;
    let long = 0.3 + 0.6 * unit(hash(seed, 60 + row));
    if !(0.25..=0.75).contains(&line) || p < 0.1 || p > long {
        return colour;
    }
    let d = 30.0;
    let letters = textures.clutter.sample(a * d + (seed & 511) as f32, b * d, foot * d, foot * d);
    mix(colour, ink, (0.5 + 1.5 * letters).clamp(0.0, 1.0))
}

fn ceiling(scene: &Scene, view: &View<'_>, z: f32, ray: [f32; 2], pixel: f32) -> Rgb {
    let s = view.s + z;
    let u = ray[0] * z + view.u;
    let foot = z * z * pixel * 0.3;
    let textures = &view.library.textures;
    let stain = textures.cloud.sample(u * 4.0, s * 4.0, z * pixel * 4.0, foot * 4.0);
    let lamps = dashed(s, foot.max(0.05), 1.6, 8.0);
    let middle = 0.5 * (scene.road.0 + scene.road.1);
    let lamp = lamps * covered(u - middle, (z * pixel).max(0.05), -0.3, 0.3);
    let base = scaled([0.34, 0.33, 0.30], 1.0 + 0.4 * stain);
    mix(lit(scene, base, z, u), [1.0, 0.95, 0.82], lamp)
}

/// Light and air: what of a colour at distance `z` reaches the camera.
#[inline]
pub(super) fn lit(scene: &Scene, colour: Rgb, z: f32, u: f32) -> Rgb {
    let light = &scene.light;
    let mut colour = tinted(colour, light.tint);
    if light.night && scene.ceiling.is_none() {
        // Head lamps: a cone ahead, brightest some metres before the vehicle.
        let near = 1.0 / (1.0 + (z / 22.0) * (z / 22.0));
        let aside = (u - scene.driver.lane) / (3.0 + 0.25 * z);
        let cone = 1.0 / (1.0 + aside * aside);
        colour = scaled(colour, light.glow + 1.5 * light.lamps * near * cone);
    }
    // exp(−x) ≈ (1 − x/8)⁸ is cheap and has the same bits everywhere.
    let x = (1.0 - z / (8.0 * light.haze_distance)).max(0.0);
    let x = (x * x) * (x * x);
    let clear = x * x;
    mix(light.haze, colour, clear)
}

#[cfg(test)]
mod tests {
    use super::super::RoadMoments;
    use super::*;
    use crate::FrameShape;
    use crate::backend::synthetic::{Region, Road};

    const SHAPE: FrameShape = FrameShape { width: 128, height: 64 };

    fn view(road: &RoadMoments) -> View<'_> {
        let s = road.ego.s as f32;
        let u = road.ego.lateral(&road.scene, s) + road.scene.camera.offset;
        let pose = road.ego.pose(&road.scene);
        View { scene: &road.scene, library: super::super::library(), pose, s, u, heading: 0.0 }
    }

    /// What is painted at a pixel is, a frame later, where the vehicle's motion has brought it: the
    /// ray to where the place then stands meets the same place again.
    #[test]
    fn a_place_on_the_ground_is_seen_where_the_motion_brings_it() {
        let mut checked = 0;
        for region in [Region::Highway, Region::Rural, Region::Mountain, Region::TightCurves] {
            for seed in 3_000_100..3_000_106 {
                let mut road = Road { region, seed }.moments(SHAPE, 10.0);
                road.step();
                let painter = &road.painter;
                let below = &painter.lens.rays[usize::from(SHAPE.width) * 34..];
                let spots: Vec<(Spot, f32)> = below
                    .iter()
                    .step_by(97)
                    .filter_map(|&ray| painter.spot(&view(&road), ray))
                    .filter(|(spot, z)| *z < 60.0 && spot.u.abs() < 6.0)
                    .collect();
                road.step();
                let seen = view(&road);
                for (spot, z) in spots {
                    let place = road.painter.ahead.stand(spot.s - seen.s, spot.u);
                    let Some(([x, y, ahead], _)) = place else { continue };
                    if ahead < 2.0 {
                        continue;
                    }
                    let ray = [x / ahead, (seen.pose.height - y) / ahead];
                    let Some((again, _)) = road.painter.spot(&seen, ray) else { continue };
                    let (du, ds) = ((again.u - spot.u).abs(), (again.s - spot.s).abs());
                    assert!(du < 0.05 + 0.01 * z, "{region:?} {seed}: {spot:?} {again:?}");
                    assert!(ds < 0.3 + 0.03 * z, "{region:?} {seed}: {spot:?} {again:?}");
                    checked += 1;
                }
            }
        }
        assert!(checked > 200, "{checked} places");
    }

    /// The way between two frames is the speed between them, and the heading follows the curvature
    /// that steering and lateral acceleration tell of.
    #[test]
    fn the_way_between_frames_is_speed_times_time() {
        for region in [Region::Highway, Region::City, Region::TightCurves, Region::RcTrack] {
            let mut road = Road { region, seed: 3_000_200 }.moments(SHAPE, 20.0);
            let mut before = road.step();
            for _ in 0..10 {
                let (s, time) = (road.ego.s, road.time);
                let after = road.step();
                let speed = |m: &crate::Motion| f64::from(m.speed_m_s.unwrap());
                let way = (road.ego.s - s) * f64::from(road.scene.driver.scale);
                let want = 0.5 * (speed(&before) + speed(&after)) * (road.time - time);
                assert!((way - want).abs() < 0.01 + 0.02 * want, "{region:?}: {way} {want}");
                before = after;
            }
        }
    }
}
