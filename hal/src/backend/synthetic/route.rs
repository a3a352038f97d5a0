//! The road ahead of one place, as tables over distance.

use super::draw::{lerp, noise};
use super::scene::Route;

/// Places of the table, and distance of the nearest and growth from one to the next: to 1.9 km.
pub(super) const PLACES: usize = 144;
const NEAREST: f32 = 0.25;
const GROWTH: f32 = 1.063_8;

impl Route {
    /// Curvature at `s`, 1/unit, positive to the right: straights and curves in turn.
    pub(super) fn curvature_at(&self, s: f32) -> f32 {
        if let Some(lap) = &self.lap {
            return lap.curvature(s);
        }
        let n =
            noise(self.seed, s / self.curve) + 0.35 * noise(self.seed ^ 1, s / self.curve * 2.7);
        let bent = (n.abs() - 0.12).clamp(0.0, 0.5) * 2.0;
        if n < 0.0 { -bent * self.curvature } else { bent * self.curvature }
    }

    /// Rise over run at `s`.
    pub(super) fn grade_at(&self, s: f32) -> f32 {
        self.grade * noise(self.seed ^ 2, s / self.hill)
    }
}

/// The middle of the road ahead, in the frame of the road where the camera is: `z` along its
/// direction, `x` to its right, `y` above its tangent plane.
#[derive(Clone, Debug)]
pub(super) struct Ahead {
    /// Distance along the road.
    pub(super) along: Vec<f32>,
    pub(super) x: Vec<f32>,
    pub(super) y: Vec<f32>,
    pub(super) z: Vec<f32>,
    /// Sine and cosine of the direction.
    pub(super) sin: Vec<f32>,
    pub(super) cos: Vec<f32>,
    /// Places before the road turns away by more than a right angle or so.
    pub(super) count: usize,
}

/// A place between two entries of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) along: f32,
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) sin: f32,
    pub(super) cos: f32,
}

impl Ahead {
    pub(super) fn new() -> Self {
        let empty = || vec![0.0; PLACES];
        let mut along = empty();
        let mut distance = NEAREST;
        for entry in &mut along {
            *entry = distance;
            distance *= GROWTH;
        }
        Self { along, x: empty(), y: empty(), z: empty(), sin: empty(), cos: empty(), count: 0 }
    }

    /// Fills the table for a camera at `s`, `u` right of the middle of the road.
    pub(super) fn fill(&mut self, route: &Route, s: f32, u: f32) {
        let grade = route.grade_at(s);
        let (mut x, mut y, mut z, mut turn) = (-u, 0.0, 0.0, 0.0);
        let mut before = 0.0;
        self.count = PLACES;
        for i in 0..PLACES {
            let step = self.along[i] - before;
            let middle = s + before + 0.5 * step;
            // Far away the noise is sampled too coarsely to be right, and too small to be seen.
            let half = 0.5 * step * route.curvature_at(middle);
            let (sin, cos) = (libm::sinf(turn + half), libm::cosf(turn + half));
            turn += 2.0 * half;
            x += sin * step;
            z += cos * step;
            y += (route.grade_at(middle) - grade) * step;
            before = self.along[i];
            self.x[i] = x;
            self.y[i] = y;
            self.z[i] = z;
            self.sin[i] = libm::sinf(turn);
            self.cos[i] = libm::cosf(turn);
            if turn.abs() > 1.2 {
                self.count = i + 1;
                break;
            }
        }
    }

    /// The place at a fractional index of the table.
    #[inline]
    pub(super) fn at(&self, index: f32) -> Place {
        let i = (index as usize).min(self.count - 2);
        let t = index - i as f32;
        Place {
            along: lerp(self.along[i], self.along[i + 1], t),
            x: lerp(self.x[i], self.x[i + 1], t),
            y: lerp(self.y[i], self.y[i + 1], t),
            sin: lerp(self.sin[i], self.sin[i + 1], t),
            cos: lerp(self.cos[i], self.cos[i + 1], t),
        }
    }

    /// Fractional index of a distance along the road; `None` behind the camera or out of sight.
    pub(super) fn index_of(&self, along: f32) -> Option<f32> {
        let known = &self.along[..self.count];
        if along < known[0] {
            return if along > -30.0 {
                Some((along - known[0]) / (known[1] - known[0]))
            } else {
                None
            };
        }
        let next = known.partition_point(|&a| a <= along);
        if next >= self.count {
            return None;
        }
        let (a, b) = (known[next - 1], known[next]);
        Some((next - 1) as f32 + (along - a) / (b - a))
    }

    /// Where a thing stands: (x, y, z) in the camera's road frame, and the road's direction there.
    pub(super) fn stand(&self, along: f32, u: f32) -> Option<([f32; 3], (f32, f32))> {
        let index = self.index_of(along)?;
        if index < 0.0 {
            // Beside or behind: the road is straight enough there.
            let x = self.x[0] - self.sin[0] * self.along[0];
            return Some(([x + u, 0.0, along], (0.0, 1.0)));
        }
        let i = (index as usize).min(self.count - 2);
        let t = index - i as f32;
        let place = self.at(index);
        let z = lerp(self.z[i], self.z[i + 1], t);
        Some(([place.x + u * place.cos, place.y, z - u * place.sin], (place.sin, place.cos)))
    }
}

/// Where rays of a given slope first meet a surface: distance and place of the table.
///
/// A slope is height over distance for the ground, or side over distance for a wall: both fall with
/// distance, apart from crests and bends, behind which the surface is hidden.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    from: f32,
    per_step: f32,
    /// (1 / z, index): 1/z is 0 where nothing is met.
    entries: Vec<(f32, f32)>,
    lowest: f32,
}

impl Reach {
    pub(super) fn new(from: f32, to: f32, steps: usize) -> Self {
        let per_step = steps as f32 / (to - from);
        Self { from, per_step, entries: vec![(0.0, 0.0); steps + 2], lowest: from }
    }

    /// Fills the table from the slopes of a surface at the places ahead, near to far. `nearer` is
    /// slope × z of the surface at the camera.
    pub(super) fn fill(&mut self, ahead: &Ahead, offset: impl Fn(usize) -> f32) {
        self.entries.fill((0.0, 0.0));
        let mut lowest = self.from + (self.entries.len() - 1) as f32 / self.per_step;
        let mut next = self.entries.len() - 1;
        let mut inverse_before = 0.0;
        let mut index_before = -1.0;
        let mut slope_before = lowest;
        for i in 0..ahead.count {
            if ahead.z[i] <= 0.01 {
                continue;
            }
            let inverse = 1.0 / ahead.z[i];
            let slope = offset(i) * inverse;
            if index_before < 0.0 {
                // Nearer than the first place the surface is taken as flat: 1/z goes with slope.
                inverse_before = inverse * (lowest / slope.max(1e-6)).max(1.0);
                index_before = i as f32;
                slope_before = lowest;
            }
            if slope < lowest {
                let place = self.from + next as f32 / self.per_step;
                let mut place_now = place;
                while place_now >= slope {
                    let t = ((slope_before - place_now) / (slope_before - slope)).clamp(0.0, 1.0);
                    self.entries[next] =
                        (lerp(inverse_before, inverse, t), lerp(index_before, i as f32, t));
                    if next == 0 {
                        self.lowest = self.from;
                        return;
                    }
                    next -= 1;
                    place_now = self.from + next as f32 / self.per_step;
                }
                lowest = slope;
            }
            inverse_before = inverse;
            index_before = i as f32;
            slope_before = slope;
        }
        self.lowest = lowest;
    }

    /// (1 / z, index in the table ahead) of the ray with this slope; `None` if it meets nothing.
    #[inline]
    pub(super) fn at(&self, slope: f32) -> Option<(f32, f32)> {
        if slope < self.lowest {
            return None;
        }
        let x = ((slope - self.from) * self.per_step).max(0.0);
        let i = x as usize;
        if i + 1 >= self.entries.len() {
            // Beyond the table: as at its end, nearer.
            let (inverse, index) = self.entries[self.entries.len() - 1];
            return Some((inverse.max(1e-6), index));
        }
        let ((a, i_a), (b, i_b)) = (self.entries[i], self.entries[i + 1]);
        if b == 0.0 {
            return None;
        }
        if a == 0.0 {
            return Some((b, i_b));
        }
        let t = x - i as f32;
        Some((lerp(a, b, t), lerp(i_a, i_b, t)))
    }
}
