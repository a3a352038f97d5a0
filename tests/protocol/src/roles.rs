//! Who is what in the fleet from some moment on: another timekeeper, more vehicles.

use crate::calendar::utc_ms;
use crate::chance::Dice;
use crate::world::{Happening, SECOND_US, World};

impl World {
    /// When another key takes the timekeeper's place, and when the fleet grows.
    pub(crate) fn draw_roles(&mut self) {
        let windows = self.weather.windows;
        if self.weather.rotates && self.keeper.has_metadata() {
            let at = self.dice.between(1, self.calendar.opens_us(windows) / SECOND_US);
            self.at(at * SECOND_US, Happening::Rotates);
        }
        if self.weather.grows > 0 {
            let mut dice = Dice::new(self.seed, 34);
            let window = dice.between(0, u64::from(windows) - 1) as u32;
            let (from, until) =
                (self.calendar.opens_us(window), self.calendar.opens_us(window + 1));
            let at = dice.between(from, until);
            self.at(at, Happening::Grows(window));
            // They start when they are on the roster, or some windows later.
            let latest = self.calendar.opens_us(windows + 2);
            for number in self.fleet.enrolled..self.vehicles.len() {
                let starts = dice.between(at + 1, latest);
                self.vehicles[number].came_us = starts;
                self.at(starts, Happening::Start(number));
            }
        }
    }

    /// Another key takes the place of the timekeeper's, which begins anew with it, and so do the beacons.
    pub(crate) fn rotates(&mut self) {
        self.trouble("rotated");
        let before = self.fleet.timekeeper.public();
        self.fleet.rotate_timekeeper();
        self.keeper.resign(before, &self.fleet.timekeeper);
        let stands = self.cluster.nodes()[0].stands();
        self.keeper.start(&self.fleet, utc_ms(self.now_us.get()), stands);
        for station in &mut self.stations {
            station.rekey(&self.fleet, &self.cluster.nodes()[station.node]);
        }
        self.keep_time();
    }

    /// The authority takes the last vehicles into the fleet.
    pub(crate) fn grows(&mut self, window: u32) {
        self.trouble("grown");
        for document in self.fleet.grow(window) {
            self.keeper.learn(&self.fleet, document, utc_ms(self.now_us.get()));
        }
        self.keep_time();
    }
}
