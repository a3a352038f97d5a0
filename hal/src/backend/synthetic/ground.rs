//! Colour of the ground at a place: strips, wear, shadows, paint.

use super::draw::{Rgb, hash, lerp, mix, noise, scaled, smoothstep, unit};
use super::scene::{Grain, Line, Material, Scene, Strip};
use super::texture::{Texture, Textures};

/// A place on the ground, and how much of it one pixel sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    /// Right of the middle of the road, and along it.
    pub(super) u: f32,
    pub(super) s: f32,
    /// Size of the pixel's footprint across and along the road.
    pub(super) across: f32,
    pub(super) along: f32,
}

/// Part of [at − half a footprint, at + half a footprint] that lies within [from, to].
#[inline]
pub(super) fn covered(at: f32, footprint: f32, from: f32, to: f32) -> f32 {
    let low = (at - 0.5 * footprint).max(from);
    let high = (at + 0.5 * footprint).min(to);
    ((high - low) / footprint).clamp(0.0, 1.0)
}

/// Share of a footprint that dashes of length `dash` every `period` cover.
#[inline]
pub(super) fn dashed(at: f32, footprint: f32, dash: f32, period: f32) -> f32 {
    if dash >= period {
        return 1.0;
    }
    let sum = |x: f32| {
        let turns = super::draw::floor(x / period) as f32;
        turns * dash + (x - turns * period).min(dash)
    };
    let footprint = footprint.max(1e-3);
    ((sum(at + 0.5 * footprint) - sum(at - 0.5 * footprint)) / footprint).clamp(0.0, 1.0)
}

impl Textures {
    fn of(&self, grain: Grain) -> &Texture {
        match grain {
            Grain::Asphalt => &self.grain,
            Grain::Grass => &self.grass,
            Grain::Soil | Grain::Slabs | Grain::Floor | Grain::Water => &self.cloud,
        }
    }
}

/// Ground of one scene.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    pub(super) scene: &'a Scene,
    pub(super) textures: &'a Textures,
}

impl Ground<'_> {
    /// Colour of a spot, without light and haze.
    pub(super) fn colour(&self, spot: Spot) -> Rgb {
        let scene = self.scene;
        let Spot { u, s, across, along } = spot;
        // Coarse unevenness, the same for all strips: stains, dry patches, ragged edges.
        let coarse = self.textures.cloud.sample(u * 3.1 + 17.0, s * 2.3, across * 3.1, along * 2.3);
        let broad = self.textures.cloud.sample(u * 0.61, s * 0.43, across * 0.61, along * 0.43);
        let wild = coarse + 0.7 * broad;
        let strips = &scene.strips;
        let edge = |strip: &Strip| strip.to + strip.ragged * wild;
        let index = strips.iter().position(|strip| u < edge(strip)).unwrap_or(strips.len() - 1);
        let mut colour = self.material(&strips[index].material, spot, coarse, broad);
        let beyond = (edge(&strips[index]) - u) / across;
        if beyond < 0.5 && index + 1 < strips.len() {
            let next = self.material(&strips[index + 1].material, spot, coarse, broad);
            colour = mix(next, colour, beyond + 0.5);
        } else if index > 0 {
            let inside = (u - edge(&strips[index - 1])) / across;
            if inside < 0.5 {
                let before = self.material(&strips[index - 1].material, spot, coarse, broad);
                colour = mix(before, colour, inside + 0.5);
            }
        }
        if u > scene.road.0 - 0.5 && u < scene.road.1 + 0.5 {
            colour = self.wear(colour, spot, coarse);
            for line in &scene.lines {
                colour = self.paint(colour, line, spot, coarse);
            }
            colour = self.events(colour, spot);
        }
        self.shade(colour, spot)
    }

    fn material(&self, material: &Material, spot: Spot, coarse: f32, broad: f32) -> Rgb {
        let d = material.density;
        let fine = self.textures.of(material.grain).sample(
            spot.u * d,
            spot.s * d,
            spot.across * d,
            spot.along * d,
        );
        let mut level =
            0.55 + 0.9 * material.fine * fine + material.coarse * (0.5 * coarse + 0.6 * broad);
        if material.grain == Grain::Slabs {
            let gap =
                dashed(spot.s, spot.along, 0.04, 1.0) + dashed(spot.u, spot.across, 0.04, 1.0);
            level -= 0.35 * gap;
        }
        mix(material.dark, material.light, level.clamp(-0.4, 1.5))
    }

    /// Tracks of wheels, cracks, seams, patches, joints.
    fn wear(&self, colour: Rgb, spot: Spot, coarse: f32) -> Rgb {
        let wear = &self.scene.wear;
        let Spot { u, s, across, along } = spot;
        let mut light = 1.0;
        if wear.tracks > 0.0 {
            let lane = self.scene.traffic.own.first().map_or(1.7, |&first| first.abs()) * 2.0;
            let place = u / lane - super::draw::floor(u / lane) as f32;
            let track = (place - 0.27).abs().min((place - 0.73).abs());
            light -= wear.tracks * smoothstep(0.16, 0.03, track) * (1.0 + coarse);
            light -= 0.6 * wear.tracks * smoothstep(0.2, 0.0, (place - 0.5).abs());
        }
        if wear.cracks > 0.0 {
            let crack = self.textures.cracks.sample(u * 9.0, s * 7.0, across * 9.0, along * 7.0);
            light += wear.cracks * 0.5 * crack.min(0.0);
        }
        if wear.seams > 0.0 {
            let wander = 0.25 * noise(self.scene.seed ^ 21, s * 0.11)
                + 0.05 * noise(self.scene.seed ^ 22, s * 0.9);
            let lane = self.scene.traffic.own.first().map_or(3.5, |&first| first.abs() * 2.0);
            let at = self.scene.road.0
                + lane * 0.5
                + (unit(hash(self.scene.seed, 3)) * 3.0) * lane
                + wander;
            let broken = smoothstep(-0.3, 0.1, noise(self.scene.seed ^ 23, s * 0.02));
            light -= wear.seams * broken * covered(u, across.max(0.01), at - 0.05, at + 0.05);
        }
        if wear.patches > 0.0 {
            let cell = super::draw::floor(s / 17.0);
            let h = hash(self.scene.seed ^ 31, cell);
            if unit(h) < 0.6 {
                let from = (cell as f32 + 0.5 * unit(hash(h, 1))) * 17.0;
                let left = lerp(self.scene.road.0, self.scene.road.1, unit(hash(h, 2)));
                let cover = covered(s, along.max(0.01), from, from + 2.0 + 7.0 * unit(hash(h, 3)))
                    * covered(u, across.max(0.01), left, left + 1.0 + 2.5 * unit(hash(h, 4)));
                let by = if unit(hash(h, 5)) < 0.7 { -1.0 } else { 0.6 };
                light += by * wear.patches * cover;
            }
        }
        if wear.joints > 0.0 {
            light -= wear.joints * dashed(s, along, 0.06, 5.0);
        }
        scaled(colour, light)
    }

    #[inline]
    fn paint(&self, colour: Rgb, line: &Line, spot: Spot, coarse: f32) -> Rgb {
        let across = spot.across.max(0.01);
        let half = 0.5 * line.width;
        if (spot.u - line.at).abs() > half + across {
            return colour;
        }
        let cover = covered(spot.u, across, line.at - half, line.at + half)
            * dashed(spot.s + line.phase, spot.along, line.dash, line.period);
        if cover <= 0.0 {
            return colour;
        }
        let worn = if line.paint < 0.95 {
            let d = 19.0;
            let fine =
                self.textures.grain.sample(spot.u * d, spot.s * d, across * d, spot.along * d);
            (line.paint + 0.6 * fine + 0.3 * coarse).clamp(0.0, 1.0)
        } else {
            0.97
        };
        mix(colour, line.colour, cover * worn)
    }

    /// Stop lines and crossings of towns, arrows and hatched areas.
    fn events(&self, colour: Rgb, spot: Spot) -> Rgb {
        let scene = self.scene;
        if scene.wear.crossings <= 0.0 || scene.lines.is_empty() {
            return colour;
        }
        let cell = super::draw::floor(spot.s / 45.0);
        let h = hash(scene.seed ^ 41, cell);
        if unit(h) > scene.wear.crossings {
            return colour;
        }
        let white = scene.lines[0].colour;
        let from = (cell as f32 + 0.2 + 0.5 * unit(hash(h, 1))) * 45.0;
        let along = spot.along.max(0.01);
        let cover = match hash(h, 2) % 4 {
            0 => {
                covered(spot.s, along, from, from + 3.5)
                    * dashed(spot.u, spot.across.max(0.01), 0.5, 1.0)
            }
            1 => covered(spot.s, along, from, from + 0.5),
            2 => {
                let lane = scene.traffic.own[hash(h, 3) as usize % scene.traffic.own.len()];
                covered(spot.s, along, from, from + 5.0)
                    * covered(spot.u, spot.across.max(0.01), lane - 0.1, lane + 0.1)
                    + covered(spot.s, along, from + 4.0, from + 5.0)
                        * covered(spot.u, spot.across.max(0.01), lane - 0.5, lane + 0.5)
            }
            _ => {
                let inside = covered(spot.s, along, from, from + 14.0)
                    * covered(
                        spot.u,
                        spot.across.max(0.01),
                        scene.road.1 - 3.0,
                        scene.road.1 - 0.5,
                    );
                inside * dashed(spot.s + spot.u, along + spot.across, 0.8, 2.0)
            }
        };
        mix(colour, white, (cover * 0.9).min(1.0))
    }

    /// Shadows of trees; wet and snowy ground.
    fn shade(&self, colour: Rgb, spot: Spot) -> Rgb {
        let light = &self.scene.light;
        let mut colour = colour;
        if light.shade > 0.0 {
            let Spot { u, s, across, along } = spot;
            let skew = s + 0.4 * u;
            let big = self.textures.cloud.sample(u * 4.0, skew * 8.0, across * 4.0, along * 8.0);
            let small =
                self.textures.leaves.sample(u * 14.0, skew * 22.0, across * 14.0, along * 22.0);
            let edge =
                light.shade * 1.6 - 0.8 - 0.5 * noise(self.scene.seed ^ 51, s * 0.03).max(0.0);
            let side = 0.08 * (u - 3.0) * (light.right - light.left);
            let dark = smoothstep(-0.12, 0.12, edge + side - big - 0.35 * small);
            colour = scaled(colour, 1.0 - dark * light.shadow);
        }
        colour
    }
}
