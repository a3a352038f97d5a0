//! The cross section of a road: strips of ground, painted lines, and what stands on either side.

use super::draw::{Draws, Rgb, scaled};
use super::region::{Profile, Side};
use super::scene::{Curtain, Grain, Line, Material, Row, Strip, Thing, Wall};

/// A cross section, right-hand traffic: u = 0 is the left edge of the own lanes.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) strips: Vec<Strip>,
    pub(super) lines: Vec<Line>,
    pub(super) road: (f32, f32),
    pub(super) curtains: Vec<Curtain>,
    pub(super) rows: Vec<Row>,
    pub(super) ceiling: Option<f32>,
    pub(super) own_lanes: Vec<f32>,
    pub(super) oncoming_lanes: Vec<f32>,
    pub(super) urban: bool,
}

const WHITE: Rgb = [0.88, 0.88, 0.86];
const YELLOW: Rgb = [0.86, 0.66, 0.16];

/// Colours of a landscape, one draw for both sides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    pub(super) grass: (Rgb, Rgb),
    pub(super) leaf: (Rgb, Rgb),
    pub(super) soil: (Rgb, Rgb),
    pub(super) stone: (Rgb, Rgb),
}

impl Palette {
    fn draw(snow: f32, dry: bool, draws: &mut Draws) -> Self {
        let pair = |draws: &mut Draws, base: Rgb, depth: f32| {
            let light = draws.near(base, 0.25, 0.15);
            (scaled(light, depth), light)
        };
        let grass = if dry || draws.chance(0.3) { [0.68, 0.57, 0.36] } else { [0.40, 0.50, 0.22] };
        let leaf = draws.pick(&[
            [0.36, 0.48, 0.20],
            [0.30, 0.44, 0.17],
            [0.25, 0.36, 0.20],
            [0.44, 0.44, 0.22],
            [0.40, 0.52, 0.22],
        ]);
        let leaf = if draws.chance(0.06) { [0.62, 0.42, 0.18] } else { leaf };
        let mut palette = Self {
            grass: pair(draws, grass, 0.55),
            leaf: pair(draws, leaf, 0.16),
            soil: pair(draws, [0.56, 0.47, 0.36], 0.65),
            stone: pair(draws, [0.58, 0.55, 0.50], 0.45),
        };
        if snow > 0.0 {
            palette.grass = ([0.72, 0.75, 0.80], [0.95, 0.96, 0.98]);
            palette.soil = ([0.60, 0.61, 0.64], [0.92, 0.93, 0.96]);
        }
        palette
    }
}

/// What is built up while a section is drawn.
pub(super) struct Builder<'a> {
    pub(super) draws: &'a mut Draws,
    pub(super) palette: Palette,
    pub(super) section: Section,
}

impl Section {
    pub(super) fn draw(profile: &Profile, draws: &mut Draws) -> Self {
        let dry = profile.sides.contains(&Side::Desert) && draws.chance(0.7);
        let palette = Palette::draw(profile.snow, dry, draws);
        let section = Self {
            strips: Vec::new(),
            lines: Vec::new(),
            road: (0.0, 0.0),
            curtains: Vec::new(),
            rows: Vec::new(),
            ceiling: None,
            own_lanes: Vec::new(),
            oncoming_lanes: Vec::new(),
            urban: false,
        };
        let mut builder = Builder { draws, palette, section };
        builder.road(profile);
        let left = builder.draws.pick(profile.sides);
        let right =
            if builder.draws.chance(0.6) { left } else { builder.draws.pick(profile.sides) };
        let (from, to) = builder.section.road;
        let left_end = builder.side(left, -1.0, from);
        let right_end = builder.side(right, 1.0, to);
        builder.verges(profile, left_end, right_end);
        builder.above(profile, &[left, right]);
        builder.section
    }
}

impl Builder<'_> {
    pub(super) fn material(&mut self, grain: Grain, (dark, light): (Rgb, Rgb)) -> Material {
        let (density, fine, coarse) = match grain {
            Grain::Asphalt => ((20.0, 60.0), (0.04, 0.16), (0.03, 0.2)),
            Grain::Grass => ((14.0, 40.0), (0.5, 1.1), (0.3, 0.9)),
            Grain::Soil => ((8.0, 30.0), (0.4, 0.9), (0.3, 0.9)),
            Grain::Slabs => ((10.0, 30.0), (0.1, 0.3), (0.1, 0.4)),
            Grain::Water => ((2.0, 5.0), (0.3, 0.8), (0.2, 0.5)),
            Grain::Floor => ((3.0, 12.0), (0.05, 0.2), (0.1, 0.6)),
        };
        Material {
            grain,
            dark,
            light,
            density: self.draws.log_range(density),
            fine: self.draws.range(fine),
            coarse: self.draws.range(coarse),
        }
    }

    fn asphalt(&mut self, profile: &Profile) -> Material {
        let gray = self.draws.range((0.26, 0.74));
        let light = self.draws.near([gray, gray, gray * 1.01], 0.05, 0.035);
        if profile.scale < 0.5 {
            let floor = self.draws.pick(&[
                [0.52, 0.47, 0.30],
                [0.45, 0.45, 0.44],
                [0.30, 0.31, 0.34],
                [0.62, 0.58, 0.50],
                [0.40, 0.28, 0.20],
            ]);
            let light = self.draws.near(floor, 0.2, 0.1);
            return self.material(Grain::Floor, (scaled(light, 0.6), light));
        }
        if profile.snow > 0.0 {
            let light = self.draws.near([0.66, 0.68, 0.72], 0.2, 0.03);
            return self.material(Grain::Soil, (scaled(light, 0.6), light));
        }
        self.material(Grain::Asphalt, (scaled(light, 0.6), light))
    }

    /// Lanes, shoulders, lines, the other direction.
    fn road(&mut self, profile: &Profile) {
        let lanes = profile.lanes.0
            + self.draws.below((profile.lanes.1 - profile.lanes.0 + 1) as usize) as u32;
        let lane = self.draws.range(profile.lane_m) / profile.scale;
        let divided = self.draws.chance(profile.divided);
        let marked = self.draws.chance(profile.marked);
        let width = lane * lanes as f32;
        let wide = if lanes > 1 || divided { (0.8, 3.5) } else { (0.1, 0.9) };
        let (left_shoulder, right_shoulder) =
            (self.draws.range((0.3, 1.5)), self.draws.range(wide));
        let asphalt = self.asphalt(profile);
        let soil = self.palette.soil;
        let strip = |to, material, ragged| Strip { to, material, ragged };

        self.section.own_lanes = (0..lanes).map(|i| (i as f32 + 0.5) * lane).collect();
        if profile.scale < 0.5 {
            self.section.own_lanes = vec![lane * self.draws.range((-0.4, 0.4))];
        }
        let mut left = -left_shoulder;
        if divided {
            let median = self.draws.range((1.0, 14.0));
            let opposite = left - median - width - 2.0;
            self.section.oncoming_lanes =
                (0..lanes).map(|i| left - median - (i as f32 + 0.5) * lane).collect();
            let green = if median > 3.0 { self.palette.grass } else { soil };
            let material = self.material(Grain::Grass, green);
            self.section.strips =
                vec![strip(left - median, asphalt, 0.1), strip(left, material, 0.1)];
            self.median(left - median * 0.5, median);
            left = opposite;
        } else if profile.scale > 0.5 {
            self.section.oncoming_lanes = (0..lanes).map(|i| -(i as f32 + 0.5) * lane).collect();
            left = -width - right_shoulder;
        } else {
            left = -lane;
        }
        let right = if profile.scale < 0.5 { lane } else { width + right_shoulder };
        self.section.strips.push(strip(right, asphalt, 0.15));
        self.section.road = (left, right);
        if marked {
            self.lines(profile, lanes, lane, divided);
        }
    }

    fn lines(&mut self, profile: &Profile, lanes: u32, lane: f32, divided: bool) {
        let indoor = profile.scale < 0.5;
        let paint = if self.draws.chance(0.25) { (0.35, 0.8) } else { (0.8, 1.0) };
        let paint = self.draws.range(paint);
        let mut width = self.draws.range((0.10, 0.26));
        if indoor {
            width = self.draws.range((0.3, 0.7));
        }
        let mut white = self.draws.near(WHITE, 0.1, 0.03);
        let mut yellow = self.draws.near(YELLOW, 0.1, 0.12);
        if indoor {
            let colours = [WHITE, YELLOW, [0.2, 0.4, 0.8], [0.85, 0.75, 0.15]];
            let other = self.draws.pick(&colours);
            white = self.draws.pick(&[WHITE, other]);
            yellow = self.draws.pick(&colours);
        }
        let dashes = [(3.0, 12.0), (6.0, 18.0), (3.0, 9.0), (4.5, 12.0), (8.0, 20.0), (2.0, 6.0)];
        let (mut dash, mut period) = self.draws.pick(&dashes);
        if indoor {
            period = self.draws.range((2.5, 7.0));
            dash = period * self.draws.range((0.35, 0.65));
        }
        let phase = self.draws.unit() * period;
        let solid =
            Line { at: 0.0, width, dash: 1.0, period: 1.0, phase: 0.0, colour: white, paint };
        let dashed = Line { dash, period, phase, ..solid };
        let out = &mut self.section.lines;
        for i in 1..lanes {
            out.push(Line { at: i as f32 * lane, ..dashed });
        }
        out.push(Line { at: lanes as f32 * lane, width: width * 1.3, ..solid });
        let middle = if self.draws.chance(0.5) { yellow } else { white };
        if divided {
            out.push(Line { at: 0.0, colour: middle, ..solid });
            if let [first, .., last] = self.section.oncoming_lanes[..] {
                for i in 1..lanes {
                    out.push(Line { at: first + lane * 0.5 - i as f32 * lane, ..dashed });
                }
                out.push(Line { at: last - lane * 0.5, ..solid });
            }
            return;
        }
        if indoor {
            out.push(Line { at: -lane * lanes as f32, ..solid });
        } else {
            out.push(Line { at: -(lanes as f32) * lane, width: width * 1.3, ..solid });
        }
        for i in 1..lanes {
            out.push(Line { at: -(i as f32) * lane, ..dashed });
        }
        if !indoor && self.draws.chance(0.35) {
            out.push(Line { at: -width, colour: middle, ..solid });
            let second = if self.draws.chance(0.4) { dashed } else { solid };
            out.push(Line { at: width, colour: middle, ..second });
        } else {
            out.push(Line { at: 0.0, colour: middle, ..dashed });
        }
    }

    pub(super) fn curtain(
        &mut self,
        wall: Wall,
        at: f32,
        height: f32,
        colours: (Rgb, Rgb),
    ) -> Curtain {
        let density = match wall {
            Wall::Trees => (9.0, 26.0),
            Wall::Hedge | Wall::Bank => (16.0, 50.0),
            Wall::Rail | Wall::Fence | Wall::Panels => (20.0, 60.0),
            Wall::Houses => (5.0, 14.0),
            Wall::Rock => (8.0, 24.0),
            Wall::Clutter | Wall::Wires => (6.0, 30.0),
        };
        Curtain {
            wall,
            at,
            height,
            uneven: 0.3,
            piece: 4.0,
            dark: colours.0,
            light: colours.1,
            density: self.draws.log_range(density),
            presence: 1.0,
            length: 40.0,
            seed: self.draws.word(),
        }
    }

    pub(super) fn row(
        &mut self,
        thing: Thing,
        at: (f32, f32),
        spacing: f32,
        size: (f32, f32),
    ) -> Row {
        Row {
            thing,
            at,
            spacing,
            jitter: 1.0,
            share: 0.8,
            size,
            colour: self.palette.leaf.1,
            seed: self.draws.word(),
        }
    }

    /// What divides two directions.
    fn median(&mut self, at: f32, width: f32) {
        let gray = ([0.42, 0.42, 0.42], [0.66, 0.66, 0.65]);
        match self.draws.below(4) {
            0 => {
                let height = self.draws.range((0.8, 1.1));
                let wall = self.curtain(Wall::Panels, at, height, gray);
                self.section.curtains.push(Curtain { uneven: 0.0, piece: 6.0, ..wall });
            }
            1 => {
                let wall = self.curtain(Wall::Rail, at, 0.8, gray);
                self.section.curtains.push(Curtain { uneven: 0.0, piece: 4.0, ..wall });
                if width > 3.0 && self.draws.chance(0.6) {
                    let bush = self.row(Thing::Bush, (at - 0.6, at + 0.6), 5.0, (1.0, 2.2));
                    self.section.rows.push(bush);
                }
            }
            2 if width > 3.0 => {
                let leaf = self.palette.leaf;
                let height = self.draws.range((0.8, 2.0));
                let hedge = self.curtain(Wall::Hedge, at, height, leaf);
                self.section.curtains.push(Curtain { presence: 0.6, ..hedge });
                if width > 6.0 && self.draws.chance(0.5) {
                    let trees = self.row(Thing::Tree, (at - 1.5, at + 1.5), 18.0, (4.0, 9.0));
                    self.section.rows.push(trees);
                }
            }
            _ => {}
        }
        if self.draws.chance(0.3) {
            let lamps = self.row(Thing::Lamp, (at, at), 40.0, (9.0, 12.0));
            self.section.rows.push(Row { jitter: 0.0, share: 1.0, colour: [0.45; 3], ..lamps });
        }
    }

    /// Ground beside the road, from its edge to the horizon.
    fn verges(&mut self, profile: &Profile, left_end: f32, right_end: f32) {
        let (from, to) = self.section.road;
        if profile.scale < 0.5 {
            self.section.strips.truncate(1);
            self.section.strips[0].to = f32::MAX;
            return;
        }
        let Palette { grass, soil, stone, .. } = self.palette;
        let town = self.section.urban || profile.sides.contains(&Side::Tunnel);
        let make = |builder: &mut Self| {
            let near = match builder.draws.below(3) {
                _ if town => (Grain::Slabs, ([0.40; 3], [0.58, 0.57, 0.55])),
                0 => (Grain::Soil, soil),
                1 => (Grain::Soil, stone),
                _ => (Grain::Grass, grass),
            };
            let near = builder.material(near.0, near.1);
            let sand = profile.sides.contains(&Side::Desert) && builder.draws.chance(0.7);
            let far = if sand { (Grain::Soil, soil) } else { (Grain::Grass, grass) };
            let far = builder.material(far.0, far.1);
            (near, far)
        };
        let (left_near, left_far) = make(self);
        let (right_near, right_far) =
            if self.draws.chance(0.6) { (left_near, left_far) } else { make(self) };
        let mut strips = vec![
            Strip { to: left_end, material: left_far, ragged: 0.5 },
            Strip { to: from, material: left_near, ragged: 0.15 },
        ];
        strips.append(&mut self.section.strips);
        strips.push(Strip { to: right_end, material: right_near, ragged: 0.5 });
        let water = profile.sides.contains(&Side::Water) && self.draws.chance(0.6);
        if water {
            strips.push(Strip { to: to + 8.0, material: right_far, ragged: 0.8 });
            let sea = ([0.16, 0.25, 0.32], [0.36, 0.48, 0.56]);
            let material = self.material(Grain::Water, sea);
            strips.push(Strip { to: f32::MAX, material, ragged: 0.0 });
        } else {
            strips.push(Strip { to: f32::MAX, material: right_far, ragged: 0.0 });
        }
        self.section.strips = strips;
    }

    /// Bridges and gantries.
    fn above(&mut self, profile: &Profile, sides: &[Side]) {
        if sides.iter().any(|side| matches!(side, Side::Tunnel | Side::Hall)) {
            return;
        }
        let (from, to) = self.section.road;
        let big = profile.divided > 0.5;
        if self.draws.chance(if big { 0.5 } else { 0.1 }) {
            let bridges = self.row(Thing::Bridge, (from, to), 350.0, (4.8, 6.5));
            let colour = self.draws.near([0.55, 0.53, 0.5], 0.3, 0.06);
            self.section.rows.push(Row { colour, ..bridges });
        }
        if self.draws.chance(if big { 0.4 } else { 0.05 }) {
            let gantries = self.row(Thing::Gantry, (from, to), 260.0, (5.2, 6.5));
            self.section.rows.push(Row { colour: [0.5; 3], ..gantries });
        }
    }
}
