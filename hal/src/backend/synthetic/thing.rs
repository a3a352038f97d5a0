//! Single things beside, on and above the road: where they stand, and how they are painted.

use super::block::{Block, Look};
use super::draw::{Rgb, floor, hash, lerp, scaled, unit};
use super::scene::{Row, Scene, Thing};

/// What is painted of a thing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// An upright picture: kind, seed, width, height, colour of leaves or clothes.
    Picture { thing: Thing, seed: u32, width: f32, height: f32, colour: Rgb },
    /// An upright rectangle across the road: left, right (from the foot), low, high.
    Panel { left: f32, right: f32, low: f32, high: f32, seed: u32, colour: Rgb, face: Face },
    /// A vehicle.
    Vehicle { look: Look, oncoming: bool, speed: f32 },
    /// A box: a house, a bridge.
    Solid { block: Block, seed: u32, colour: Rgb, roof: bool },
}

/// What is on a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    Plain,
    Round,
    Triangle,
    Text,
    Glow,
}

/// One thing to paint in one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// Foot, in the camera's road frame: right, up, ahead.
    pub(super) foot: [f32; 3],
    pub(super) turn: (f32, f32),
    /// Distance right of the middle of the road.
    pub(super) u: f32,
    pub(super) shape: Shape,
}

/// Farthest that things of a kind are painted.
fn sight(thing: Thing) -> f32 {
    match thing {
        Thing::Tree | Thing::Fir | Thing::Bare | Thing::Palm | Thing::House | Thing::Bridge => {
            420.0
        }
        Thing::Gantry | Thing::Board | Thing::Lamp | Thing::Pole => 320.0,
        Thing::Bush | Thing::Person | Thing::Marker | Thing::Sign | Thing::Parked => 150.0,
    }
}

/// Calls `put` for every thing of a row that is in sight: its index's hash, place and side.
pub(super) fn each(row: &Row, s: f32, mut put: impl FnMut(u32, f32, f32)) {
    let first = floor((s - 12.0) / row.spacing);
    let last = floor((s + sight(row.thing)) / row.spacing);
    for index in first..=last.min(first + 90) {
        let h = hash(row.seed, index);
        if unit(h) >= row.share {
            continue;
        }
        let along = (index as f32 + 0.5 + row.jitter * (unit(hash(h, 1)) - 0.5)) * row.spacing - s;
        put(h, along, lerp(row.at.0, row.at.1, unit(hash(h, 2))));
    }
}

/// Shapes that one thing is made of.
pub(super) fn shapes(scene: &Scene, row: &Row, h: u32, u: f32, mut put: impl FnMut(f32, Shape)) {
    let size = lerp(row.size.0, row.size.1, unit(hash(h, 3)));
    let own = 0.75 + 0.5 * unit(hash(h, 4));
    let colour = scaled(row.colour, own);
    let inwards = if u > 0.0 { -1.0 } else { 1.0 };
    let panel = |left: f32, right: f32, low: f32, high: f32, colour: Rgb, face: Face| {
        Shape::Panel { left, right, low, high, seed: h, colour, face }
    };
    match row.thing {
        Thing::Tree | Thing::Bare | Thing::Palm | Thing::Bush | Thing::Fir | Thing::Person => {
            let wide = if row.thing == Thing::Fir {
                0.6
            } else if row.thing == Thing::Bush {
                1.5
            } else {
                1.0
            };
            let width = size * wide * (0.8 + 0.4 * unit(hash(h, 5)));
            let colour = if row.thing == Thing::Person { cloth(h) } else { colour };
            put(u, Shape::Picture { thing: row.thing, seed: h, width, height: size, colour });
        }
        Thing::Pole => put(u, panel(-0.09, 0.09, 0.0, size, row.colour, Face::Plain)),
        Thing::Lamp => {
            put(u, panel(-0.08, 0.08, 0.0, size, row.colour, Face::Plain));
            let (from, to) = if inwards < 0.0 { (-2.2, 0.0) } else { (0.0, 2.2) };
            put(u, panel(from, to, size - 0.12, size + 0.06, row.colour, Face::Plain));
            if scene.light.night {
                let at = inwards * 2.0;
                put(
                    u,
                    panel(at - 0.5, at + 0.5, size - 0.5, size + 0.3, [1.0, 0.86, 0.6], Face::Glow),
                );
            }
        }
        Thing::Marker => {
            put(u, panel(-0.06, 0.06, 0.0, size, row.colour, Face::Plain));
            put(u, panel(-0.06, 0.06, size * 0.7, size * 0.88, [0.08; 3], Face::Plain));
        }
        Thing::Sign => sign(h, u, size, &mut put),
        Thing::Board => board(h, u, size, &mut put),
        Thing::Gantry => gantry(scene, row, h, size, &mut put),
        Thing::Bridge => bridge(scene, row, h, size, &mut put),
        Thing::Parked => {
            let look = Look::new(h, 0.03);
            put(u, Shape::Vehicle { look, oncoming: unit(hash(h, 9)) < 0.2, speed: 0.0 });
        }
        Thing::House => {
            let half = (size * 0.8, size * (0.7 + 0.5 * unit(hash(h, 6))));
            let block = Block { foot: [0.0; 3], turn: (0.0, 1.0), half, low: 0.0, high: size };
            let wall = [[0.78, 0.74, 0.68], [0.62, 0.42, 0.34], [0.7, 0.7, 0.68], [0.8, 0.72, 0.5]];
            let colour = scaled(wall[hash(h, 7) as usize % 4], own);
            put(u, Shape::Solid { block, seed: h, colour, roof: true });
        }
    }
}

fn cloth(h: u32) -> Rgb {
    [0.15 + 0.7 * unit(hash(h, 11)), 0.15 + 0.6 * unit(hash(h, 12)), 0.15 + 0.6 * unit(hash(h, 13))]
}

fn sign(h: u32, u: f32, size: f32, put: &mut impl FnMut(f32, Shape)) {
    let post = Shape::Panel {
        left: -0.04,
        right: 0.04,
        low: 0.0,
        high: 2.1,
        seed: h,
        colour: [0.5; 3],
        face: Face::Plain,
    };
    put(u, post);
    let colours = [
        [0.92, 0.92, 0.9],
        [0.12, 0.25, 0.6],
        [0.85, 0.75, 0.15],
        [0.75, 0.12, 0.1],
        [0.92, 0.92, 0.9],
    ];
    let colour = colours[hash(h, 21) as usize % colours.len()];
    let face = [Face::Round, Face::Triangle, Face::Text, Face::Plain][hash(h, 22) as usize % 4];
    let half = size * 0.55;
    put(
        u,
        Shape::Panel {
            left: -half,
            right: half,
            low: 2.0,
            high: 2.0 + 2.0 * half,
            seed: h,
            colour,
            face,
        },
    );
}

fn board_colour(h: u32) -> Rgb {
    [[0.1, 0.3, 0.65], [0.06, 0.36, 0.2], [0.1, 0.25, 0.55], [0.9, 0.9, 0.88], [0.1, 0.4, 0.3]]
        [hash(h, 23) as usize % 5]
}

fn board(h: u32, u: f32, size: f32, put: &mut impl FnMut(f32, Shape)) {
    let (half, low) = (0.5 * size, 1.2 + 1.5 * unit(hash(h, 24)));
    for x in [-0.6 * half, 0.6 * half] {
        put(
            u,
            Shape::Panel {
                left: x - 0.08,
                right: x + 0.08,
                low: 0.0,
                high: low,
                seed: h,
                colour: [0.45; 3],
                face: Face::Plain,
            },
        );
    }
    let high = low + size * (0.5 + 0.4 * unit(hash(h, 25)));
    put(
        u,
        Shape::Panel {
            left: -half,
            right: half,
            low,
            high,
            seed: h,
            colour: board_colour(h),
            face: Face::Text,
        },
    );
}

fn gantry(scene: &Scene, row: &Row, h: u32, size: f32, put: &mut impl FnMut(f32, Shape)) {
    let (from, to) = (row.at.0.min(row.at.1) - 1.0, row.at.0.max(row.at.1) + 1.0);
    let middle = 0.5 * (from + to);
    let half = 0.5 * (to - from);
    for x in [-half, half] {
        put(
            middle,
            Shape::Panel {
                left: x - 0.2,
                right: x + 0.2,
                low: 0.0,
                high: size + 1.0,
                seed: h,
                colour: row.colour,
                face: Face::Plain,
            },
        );
    }
    for low in [size, size + 0.9] {
        put(
            middle,
            Shape::Panel {
                left: -half,
                right: half,
                low,
                high: low + 0.18,
                seed: h,
                colour: row.colour,
                face: Face::Plain,
            },
        );
    }
    for (index, &lane) in scene.traffic.own.iter().enumerate() {
        let g = hash(h, 40 + index as i32);
        if unit(g) < 0.7 {
            let x = lane - middle;
            let wide = 1.2 + unit(hash(g, 1));
            put(
                middle,
                Shape::Panel {
                    left: x - wide,
                    right: x + wide,
                    low: size - 0.3,
                    high: size + 1.2 + unit(hash(g, 2)),
                    seed: g,
                    colour: board_colour(h),
                    face: Face::Text,
                },
            );
        }
    }
}

fn bridge(scene: &Scene, row: &Row, h: u32, size: f32, put: &mut impl FnMut(f32, Shape)) {
    let solid = |half: (f32, f32), low: f32, high: f32| Shape::Solid {
        block: Block { foot: [0.0; 3], turn: (0.0, 1.0), half, low, high },
        seed: h,
        colour: row.colour,
        roof: false,
    };
    let deep = 3.0 + 6.0 * unit(hash(h, 31));
    let thick = 0.8 + unit(hash(h, 32));
    put(0.0, solid((90.0, deep), size, size + thick));
    for edge in [scene.road.0 - 1.5, scene.road.1 + 1.5] {
        put(edge, solid((0.6, deep), 0.0, size));
    }
}

/// Half the depth of the bridge that a hash names.
pub(super) fn bridge_depth(h: u32) -> f32 {
    3.0 + 6.0 * unit(hash(h, 31))
}
