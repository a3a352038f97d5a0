//! Vehicles that may not exchange for a while in the middle of a window: hot, unplugged, driving, away from a network that is free.

use shoal_hal::{Conditions, Network};
use shoal_vehicle::config::Config;
use shoal_vehicle::exchange::look::Look;

use crate::calendar::SPAN_S;
use crate::documents::OPEN_S;
use crate::must::must;
use crate::world::{Happening, SECOND_US, World};

/// By when a vehicle has said goodbye whose conditions do not allow an exchange any more: that is when its window closes, and a
/// packet may be on its way.
const GOODBYE_US: u64 = 15 * SECOND_US;
/// Nobody leaves so late in a window that it may have been there to its end.
const EARLY_S: u64 = 15;

/// Each of them alone keeps a window shut.
const UNFIT: [Conditions; 5] = [
    Conditions { network: Network::None, ..FIT },
    Conditions { network: Network::Metered, ..FIT },
    Conditions { temperature_c: 86, ..FIT },
    Conditions { external_power: false, battery_soc_percent: 29, ..FIT },
    Conditions { parked: false, ..FIT },
];
const FIT: Conditions = Look::recorded().conditions;

impl World {
    /// Draws for whom it does not go on in this window, from when and until when.
    pub(crate) fn draw_conditions(&mut self) {
        let now = self.now_us.get();
        for number in 0..self.vehicles.len() {
            if self.calm {
                self.become_fit(number);
                continue;
            }
            if !self.fitness.happens(self.weather.unfit) {
                continue;
            }
            let which = self.fitness.between(0, UNFIT.len() as u64) as usize;
            let from = self.fitness.between(0, u64::from(OPEN_S) - EARLY_S);
            let to = from + self.fitness.between(1, u64::from(SPAN_S) - from);
            self.at(now + from * SECOND_US, Happening::Unfit(number, which));
            self.at(now + to * SECOND_US, Happening::Fit(number));
        }
    }

    /// From now on a vehicle may not exchange.
    pub(crate) fn become_unfit(&mut self, number: usize, which: usize) {
        let now = self.now_us.get();
        self.trouble("unfit");
        let vehicle = &mut self.vehicles[number];
        vehicle.look = Look::new(UNFIT[which], &Config::default().plan());
        vehicle.unfit_us.get_or_insert(now);
        self.serve(number);
    }

    /// From now on it may again.
    pub(crate) fn become_fit(&mut self, number: usize) {
        let vehicle = &mut self.vehicles[number];
        (vehicle.look, vehicle.unfit_us) = (Look::recorded(), None);
        self.serve(number);
    }

    /// Every second: who may not exchange is on no line of a window any more.
    pub(crate) fn look_at_conditions(&self) {
        let now = self.now_us.get();
        for vehicle in &self.vehicles {
            let Some(since) = vehicle.unfit_us.filter(|since| since + GOODBYE_US < now) else {
                continue;
            };
            let on = vehicle.wires.iter().find(|wire| wire.conn.is_some() && wire.window.is_some());
            let (number, look) = (vehicle.number, vehicle.look);
            must!(
                self.checks.looked_at,
                Unfit,
                on.is_none(),
                "{now}: vehicle {number} is {look:?} since {since}, and on {on:?}"
            );
        }
    }
}
