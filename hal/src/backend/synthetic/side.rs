//! What stands on either side of a road, for each kind of landscape.

use super::draw::scaled;
use super::region::Side;
use super::scene::{Curtain, Row, Thing, Wall};
use super::section::Builder;

impl Builder<'_> {
    /// Builds one side from the road's edge outwards; returns where the near verge ends.
    pub(super) fn side(&mut self, side: Side, sign: f32, edge: f32) -> f32 {
        let gap = self.draws.range((0.6, 3.0));
        let near = edge + sign * gap;
        if matches!(side, Side::Hall) {
            return near;
        }
        self.furniture(side, sign, edge);
        match side {
            Side::Open => self.open(sign, near),
            Side::Forest => self.forest(sign, near),
            Side::Hedge => self.hedge(sign, near),
            Side::Suburb => self.suburb(sign, near),
            Side::City => self.city(sign, near),
            Side::Rock => self.rock(sign, near),
            Side::Slope => self.slope(sign, near),
            Side::Barrier => self.barrier(sign, near),
            Side::Desert => self.desert(sign, near),
            Side::Water => self.water(sign, near),
            Side::Tunnel => self.tunnel(sign, near),
            Side::Hall => {}
        }
        near
    }

    /// Rails, posts, signs, poles: most roads have some.
    fn furniture(&mut self, side: Side, sign: f32, edge: f32) {
        if side == Side::Tunnel {
            return;
        }
        let town = matches!(side, Side::City | Side::Suburb);
        if !town && self.draws.chance(0.4) {
            let gray = ([0.40, 0.40, 0.40], [0.70, 0.70, 0.70]);
            let at = edge + sign * self.draws.range((0.4, 1.0));
            let rail = self.curtain(Wall::Rail, at, 0.78, gray);
            let presence = if self.draws.chance(0.5) { 1.0 } else { 0.3 };
            self.section.curtains.push(Curtain { uneven: 0.0, presence, length: 150.0, ..rail });
        }
        if !town && self.draws.chance(0.5) {
            let at = edge + sign * 0.7;
            let spacing = self.draws.range((20.0, 50.0));
            let posts = self.row(Thing::Marker, (at, at), spacing, (0.9, 1.1));
            self.section.rows.push(Row { jitter: 0.0, share: 1.0, colour: [0.85; 3], ..posts });
        }
        if self.draws.chance(0.75) {
            let at = (edge + sign * 1.0, edge + sign * 3.0);
            let spacing = self.draws.range((40.0, 150.0));
            let signs = self.row(Thing::Sign, at, spacing, (0.5, 1.0));
            self.section.rows.push(signs);
        }
        if sign > 0.0 && !town && self.draws.chance(0.4) {
            let at = (edge + 2.0, edge + 5.0);
            let boards = self.row(Thing::Board, at, 220.0, (2.0, 5.0));
            self.section.rows.push(boards);
        }
        if self.draws.chance(if town { 0.8 } else { 0.4 }) {
            let thing = if self.draws.chance(0.6) { Thing::Lamp } else { Thing::Pole };
            let at = edge + sign * self.draws.range((0.8, 6.0));
            let spacing = self.draws.range((25.0, 60.0));
            let poles = self.row(thing, (at, at), spacing, (6.0, 12.0));
            if thing == Thing::Pole && self.draws.chance(0.7) {
                let height = poles.size.1 * 0.95;
                let wires = self.curtain(Wall::Wires, at, height, ([0.15; 3], [0.15; 3]));
                self.section.curtains.push(Curtain { piece: poles.spacing, ..wires });
            }
            let colour = self.draws.pick(&[[0.45; 3], [0.6; 3], [0.35, 0.27, 0.2], [0.25; 3]]);
            self.section.rows.push(Row { jitter: 0.1, share: 0.95, colour, ..poles });
        }
    }

    fn woods(&mut self, at: f32, height: (f32, f32), presence: f32) {
        let leaf = self.palette.leaf;
        let height = self.draws.range(height);
        let by = self.draws.range((0.8, 1.15));
        let wall = self.curtain(Wall::Trees, at, height, (scaled(leaf.0, by), scaled(leaf.1, by)));
        let piece = height * self.draws.range((0.35, 0.8));
        let uneven = self.draws.range((0.2, 0.6));
        let length = self.draws.range((30.0, 150.0));
        self.section.curtains.push(Curtain { piece, uneven, presence, length, ..wall });
    }

    fn trees(&mut self, at: (f32, f32), spacing: f32, size: (f32, f32)) {
        let thing =
            self.draws.pick(&[Thing::Tree, Thing::Tree, Thing::Tree, Thing::Fir, Thing::Bare]);
        let row = self.row(thing, at, spacing, size);
        let colour = self.draws.near(row.colour, 0.15, 0.08);
        self.section.rows.push(Row { colour, ..row });
    }

    fn bushes(&mut self, at: (f32, f32), spacing: f32, size: (f32, f32)) {
        let row = self.row(Thing::Bush, at, spacing, size);
        let colour = self.draws.near(row.colour, 0.2, 0.1);
        self.section.rows.push(Row { colour, ..row });
    }

    fn open(&mut self, sign: f32, near: f32) {
        let far = near + sign * self.draws.range((60.0, 250.0));
        let presence = self.draws.range((0.0, 1.0));
        self.woods(far, (6.0, 16.0), presence);
        let middle = near + sign * self.draws.range((18.0, 50.0));
        if self.draws.chance(0.5) {
            let presence = self.draws.range((-0.6, 0.2));
            self.woods(middle, (3.0, 9.0), presence);
        }
        let spacing = self.draws.log_range((12.0, 70.0));
        self.trees((near + sign * 3.0, near + sign * 40.0), spacing, (4.0, 12.0));
        if self.draws.chance(0.6) {
            let spacing = self.draws.range((5.0, 25.0));
            self.bushes((near + sign * 1.0, near + sign * 15.0), spacing, (0.8, 2.5));
        }
        if self.draws.chance(0.4) {
            let at = near + sign * self.draws.range((1.0, 6.0));
            let colours = ([0.25, 0.22, 0.18], [0.55, 0.5, 0.42]);
            let height = self.draws.range((1.0, 1.6));
            let fence = self.curtain(Wall::Fence, at, height, colours);
            self.section.curtains.push(Curtain { uneven: 0.0, piece: 2.5, ..fence });
        }
        if self.draws.chance(0.2) {
            let colour = self.draws.near([0.6, 0.58, 0.55], 0.3, 0.1);
            let at = near + sign * self.draws.range((50.0, 160.0));
            let height = self.draws.log_range((6.0, 30.0));
            let town = self.curtain(Wall::Houses, at, height, (scaled(colour, 0.5), colour));
            let piece = self.draws.range((15.0, 40.0));
            self.section.curtains.push(Curtain {
                piece,
                uneven: 0.6,
                presence: 0.1,
                length: 120.0,
                ..town
            });
        }
        if self.draws.chance(0.3) {
            let houses =
                self.row(Thing::House, (near + sign * 20.0, near + sign * 60.0), 120.0, (5.0, 9.0));
            self.section.rows.push(houses);
        }
    }

    fn forest(&mut self, sign: f32, near: f32) {
        let away = self.draws.range((7.0, 14.0));
        self.woods(near + sign * away, (12.0, 24.0), 1.0);
        let away = self.draws.range((2.5, 5.0));
        self.woods(near + sign * away, (6.0, 16.0), 0.35);
        let spacing = self.draws.range((3.0, 9.0));
        self.trees((near + sign * 1.0, near + sign * 6.0), spacing, (7.0, 17.0));
        let spacing = self.draws.range((2.0, 8.0));
        self.bushes((near + sign * 0.3, near + sign * 4.0), spacing, (0.6, 2.6));
    }

    fn hedge(&mut self, sign: f32, near: f32) {
        let leaf = self.palette.leaf;
        let height = self.draws.range((1.0, 3.5));
        let at = near + sign * self.draws.range((1.0, 4.0));
        let hedge = self.curtain(Wall::Hedge, at, height, leaf);
        let presence = self.draws.range((-0.2, 1.0));
        self.section.curtains.push(Curtain { presence, length: 60.0, ..hedge });
        let away = self.draws.range((4.0, 18.0));
        self.woods(at + sign * away, (5.0, 14.0), 0.5);
        let spacing = self.draws.range((6.0, 25.0));
        self.trees((at, at + sign * 10.0), spacing, (4.0, 12.0));
        let spacing = self.draws.range((3.0, 15.0));
        self.bushes((near, at + sign * 3.0), spacing, (0.8, 2.5));
    }

    fn suburb(&mut self, sign: f32, near: f32) {
        let at = near + sign * self.draws.range((1.5, 4.0));
        let wood = self.draws.near([0.6, 0.55, 0.5], 0.4, 0.1);
        let wall = self.draws.pick(&[Wall::Fence, Wall::Hedge, Wall::Panels]);
        let colours =
            if wall == Wall::Hedge { self.palette.leaf } else { (scaled(wood, 0.5), wood) };
        let height = self.draws.range((0.9, 2.0));
        let fence = self.curtain(wall, at, height, colours);
        self.section.curtains.push(Curtain {
            presence: 0.5,
            length: 25.0,
            piece: 2.5,
            uneven: 0.1,
            ..fence
        });
        if self.draws.chance(0.3) {
            // Yards: sheds, containers, stacked goods.
            let colour = self.draws.near([0.7, 0.65, 0.6], 0.3, 0.15);
            let height = self.draws.range((2.0, 6.0));
            let yard =
                self.curtain(Wall::Clutter, at + sign * 8.0, height, (scaled(colour, 0.2), colour));
            let piece = self.draws.range((4.0, 12.0));
            self.section.curtains.push(Curtain { uneven: 0.8, piece, ..yard });
        }
        let houses = (at + sign * 4.0, at + sign * 9.0);
        let spacing = self.draws.range((14.0, 26.0));
        let row = self.row(Thing::House, houses, spacing, (4.5, 8.0));
        self.section.rows.push(Row { jitter: 0.3, share: 0.9, ..row });
        self.woods(at + sign * 22.0, (6.0, 12.0), 0.7);
        let spacing = self.draws.range((8.0, 20.0));
        self.trees((near + sign * 0.5, at + sign * 12.0), spacing, (4.0, 9.0));
        let spacing = self.draws.range((4.0, 10.0));
        self.bushes((near + sign, at + sign * 6.0), spacing, (0.6, 1.8));
        self.parked(sign, near, 0.4);
    }

    fn parked(&mut self, sign: f32, near: f32, share: f32) {
        let at = near - sign * 0.2;
        let cars = self.row(Thing::Parked, (at, at), 6.5, (1.0, 1.0));
        let share = share * self.draws.range((0.0, 2.0));
        self.section.rows.push(Row { jitter: 0.15, share, ..cars });
    }

    fn city(&mut self, sign: f32, near: f32) {
        self.section.urban = true;
        let at = near + sign * self.draws.range((2.0, 7.0));
        let colour = self.draws.near([0.55, 0.52, 0.48], 0.35, 0.1);
        let height = self.draws.log_range((7.0, 30.0));
        let houses = self.curtain(Wall::Houses, at, height, (scaled(colour, 0.5), colour));
        let (piece, uneven) = (self.draws.range((9.0, 25.0)), self.draws.range((0.1, 0.6)));
        let presence = self.draws.range((0.5, 1.0));
        self.section.curtains.push(Curtain { piece, uneven, presence, length: 60.0, ..houses });
        let back = self.curtain(
            Wall::Houses,
            at + sign * 25.0,
            height * 1.6,
            (scaled(colour, 0.5), colour),
        );
        self.section.curtains.push(Curtain { piece: piece * 1.3, uneven: 0.5, ..back });
        if self.draws.chance(0.6) {
            let spacing = self.draws.range((8.0, 20.0));
            self.trees((near + sign * 0.5, near + sign * 1.5), spacing, (4.0, 8.0));
        }
        self.parked(sign, near, 0.5);
        let people =
            self.row(Thing::Person, (near + sign * 0.5, at - sign * 0.5), 12.0, (1.5, 1.9));
        self.section.rows.push(people);
    }

    fn rock(&mut self, sign: f32, near: f32) {
        let stone = self.palette.stone;
        let height = self.draws.range((3.0, 18.0));
        let at = near + sign * self.draws.range((0.3, 3.0));
        let rock = self.curtain(Wall::Rock, at, height, stone);
        let length = self.draws.range((40.0, 120.0));
        self.section.curtains.push(Curtain {
            uneven: 0.6,
            piece: 9.0,
            presence: 0.5,
            length,
            ..rock
        });
        self.woods(at + sign * 9.0, (9.0, 22.0), 0.6);
        self.bushes((near, at + sign * 2.0), 7.0, (0.6, 2.0));
        self.trees((at + sign * 1.0, at + sign * 12.0), 10.0, (6.0, 16.0));
    }

    fn slope(&mut self, sign: f32, near: f32) {
        let grass = self.palette.grass;
        let height = self.draws.range((1.0, 4.0));
        let at = near + sign * self.draws.range((1.0, 4.0));
        let bank = self.curtain(Wall::Bank, at, height, grass);
        let presence = self.draws.range((0.2, 1.0));
        self.section.curtains.push(Curtain {
            uneven: 0.6,
            piece: 12.0,
            presence,
            length: 90.0,
            ..bank
        });
        let away = self.draws.range((2.0, 8.0));
        self.woods(at + sign * away, (7.0, 18.0), 0.7);
        let spacing = self.draws.range((4.0, 20.0));
        self.trees((at + sign * 0.5, at + sign * 8.0), spacing, (5.0, 13.0));
        let spacing = self.draws.range((3.0, 12.0));
        self.bushes((near, at + sign * 1.0), spacing, (0.6, 2.2));
    }

    fn barrier(&mut self, sign: f32, near: f32) {
        let colour = self.draws.near([0.55, 0.52, 0.48], 0.35, 0.15);
        let height = self.draws.range((0.9, 4.5));
        let wall = self.curtain(Wall::Panels, near, height, (scaled(colour, 0.6), colour));
        let piece = self.draws.range((2.0, 8.0));
        self.section.curtains.push(Curtain { uneven: 0.03, piece, ..wall });
        let away = self.draws.range((3.0, 15.0));
        self.woods(near + sign * away, (6.0, 18.0), 0.6);
        let spacing = self.draws.range((6.0, 30.0));
        self.trees((near + sign * 2.0, near + sign * 12.0), spacing, (5.0, 12.0));
    }

    fn desert(&mut self, sign: f32, near: f32) {
        let stone = self.palette.stone;
        let at = near + sign * self.draws.range((40.0, 200.0));
        let height = self.draws.range((5.0, 25.0));
        let hills = self.curtain(Wall::Rock, at, height, stone);
        self.section.curtains.push(Curtain {
            uneven: 0.9,
            piece: 60.0,
            presence: 0.4,
            length: 200.0,
            ..hills
        });
        let shrub = self.draws.near([0.45, 0.43, 0.28], 0.2, 0.1);
        for (from, to, spacing) in [(0.5, 8.0, 3.0), (8.0, 30.0, 4.0)] {
            let row =
                self.row(Thing::Bush, (near + sign * from, near + sign * to), spacing, (0.4, 1.4));
            self.section.rows.push(Row { colour: shrub, ..row });
        }
        let thing = self.draws.pick(&[Thing::Palm, Thing::Bare, Thing::Tree]);
        let row = self.row(thing, (near + sign * 4.0, near + sign * 30.0), 45.0, (3.0, 9.0));
        self.section.rows.push(row);
    }

    fn water(&mut self, sign: f32, near: f32) {
        let gray = ([0.40, 0.40, 0.40], [0.75, 0.75, 0.75]);
        let rail = self.curtain(Wall::Rail, near, 0.9, gray);
        self.section.curtains.push(Curtain { uneven: 0.0, ..rail });
        self.bushes((near, near + sign * 4.0), 9.0, (0.5, 1.5));
        let row = self.row(Thing::Palm, (near + sign * 0.5, near + sign * 5.0), 22.0, (6.0, 11.0));
        self.section.rows.push(row);
    }

    fn tunnel(&mut self, sign: f32, near: f32) {
        let colour = self.draws.near([0.55, 0.53, 0.47], 0.3, 0.12);
        let wall = self.curtain(Wall::Panels, near, 30.0, (scaled(colour, 0.6), colour));
        let piece = self.draws.range((3.0, 12.0));
        self.section.curtains.push(Curtain { uneven: 0.0, piece, ..wall });
        let height = self.draws.range((4.6, 6.5));
        self.section.ceiling = Some(height);
        let boxes = self.row(Thing::Sign, (near - sign * 0.2, near - sign * 0.2), 25.0, (0.5, 0.8));
        self.section.rows.push(boxes);
    }
}
