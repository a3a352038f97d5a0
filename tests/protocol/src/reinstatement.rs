//! An operator who puts vehicles into good standing again, liars and honest ones, and what must hold of it in the end.

use std::collections::BTreeSet;

use shoal_swarm::quorum::Quorum;
use shoal_swarm::reinstated::{NAME, Reinstated};
use shoal_swarm::roster::Roster;
use shoal_swarm::utility::Utility;
use shoal_vehicle::exchange::key::{Own, verified};
use shoal_vehicle::exchange::run::Exchange;
use shoal_wire::v1::{Document, DocumentFields, UtilityDocument};
use shoal_wire::{KeyId, Kind};

use crate::calendar::{SPAN_S, utc_ms};
use crate::chance::Dice;
use crate::check::SOON_US;
use crate::documents::sealed;
use crate::engine::Character;
use crate::must::must;
use crate::vehicle::Vehicle;
use crate::weather::PLENTY;
use crate::world::{Happening, SECOND_US, World};

/// The authority's envelopes of reinstatements have counters from here on.
const COUNTER: u64 = 300;
/// In so many windows before the end all hear of the last one.
const HEARD_WINDOWS: u32 = 4;

impl World {
    /// Draws in which windows the operator looks at who stands aside.
    pub(crate) fn draw_reinstatements(&mut self) {
        let mut dice = Dice::new(self.seed, 13);
        for window in 2..self.weather.all_windows().saturating_sub(HEARD_WINDOWS) {
            if dice.happens(self.weather.reinstates) {
                let at =
                    self.calendar.opens_us(window) + dice.between(0, u64::from(SPAN_S)) * SECOND_US;
                // From the window after the next one on, or from the next one on.
                let from = window + 1 + u32::from(dice.happens(0.7));
                self.at(at, Happening::Reinstates(from, dice.between(0, 1 << 32)));
            }
        }
    }

    /// The authority signs that one of those who stand aside is in good standing again, or that anybody is.
    pub(crate) fn reinstates(&mut self, from: u32, lot: u64) {
        let swarms = honest(&self.vehicles).filter_map(swarm);
        let aside: BTreeSet<KeyId> = swarms.flat_map(|swarm| swarm.quarantined(from)).collect();
        let all = || self.vehicles.iter().map(|vehicle| vehicle.key);
        let of: Vec<KeyId> =
            if aside.is_empty() { all().collect() } else { aside.into_iter().collect() };
        let vehicle = of[lot as usize % of.len()];
        self.trouble("reinstated");
        let same = |(_given, ordered, of): &(u32, KeyId, u32)| (*ordered, *of) == (vehicle, from);
        if !self.orders.iter().any(same) {
            self.orders.push((self.calendar.window_of(self.now_us.get()), vehicle, from));
        }
        let version = self.orders.len() as u32;
        let bytes = self.reinstated(self.orders.len()).encode();
        let fields = DocumentFields { name: NAME, version, bytes: &bytes };
        let counter = COUNTER + self.happened;
        let document = sealed(&self.fleet.authority, counter, &Document::new(fields).unwrap()).0;
        self.keeper.learn(&self.fleet, document, utc_ms(self.now_us.get()));
        self.keep_time();
    }

    /// By the first orders, so many of them.
    fn reinstated(&self, count: usize) -> Reinstated {
        let orders = self.orders.iter().take(count);
        let orders: BTreeSet<(KeyId, u32)> =
            orders.map(|(_given, of, from)| (*of, *from)).collect();
        Reinstated::new(orders.into_iter().collect()).unwrap()
    }

    /// Before a calm window closes: who was connected for a while goes by all that was ordered before the last window.
    pub(crate) fn look_at_standing(&self, window: u32) {
        let now = self.now_us.get();
        if !self.calm || self.weather.bytes_max < PLENTY {
            return;
        }
        let heard = self.orders.iter().filter(|(given, _of, _from)| given + 1 < window).count();
        let keys = self.vehicles.iter().map(|vehicle| vehicle.key).collect();
        let roster = Roster::new(keys).unwrap();
        for vehicle in honest(&self.vehicles) {
            let since = vehicle.connected_in(window);
            let (Some(swarm), true) =
                (swarm(vehicle), since.is_some_and(|since| since + SOON_US < now))
            else {
                continue;
            };
            let utility = self.utility_of(vehicle);
            let by = |count| {
                let quorum = Quorum::new(swarm.records(), &roster, &utility, window).unwrap();
                quorum.reinstating(&self.reinstated(count)).quarantined(window)
            };
            let (number, aside) = (vehicle.number, swarm.quarantined(window));
            let orders = &self.orders;
            must!(
                self.checks.looked_at,
                Ordered,
                (heard..=orders.len()).any(|count| by(count) == aside),
                "{now}: vehicle {number} has {aside:?} aside, and the first {heard} of {orders:?} were heard"
            );
        }
    }

    fn utility_of(&self, vehicle: &Vehicle) -> Utility {
        let exchange = vehicle.exchange.as_ref().unwrap();
        let envelope = exchange.goes_by(Kind::UtilityDocument).unwrap();
        let own = Own(self.fleet.authority.public());
        Utility::new(verified::<UtilityDocument>(envelope, &own).unwrap().body())
    }

    /// All who can talk go by every order: what was found before its window is not held against the vehicle, and whatever was found
    /// later is.
    pub(crate) fn end_reinstatements(&self) {
        if self.weather.bytes_max < PLENTY {
            return;
        }
        let window = self.weather.all_windows();
        let keys = self.vehicles.iter().map(|vehicle| vehicle.key).collect();
        let (roster, reinstated) = (Roster::new(keys).unwrap(), self.reinstated(self.orders.len()));
        for vehicle in honest(&self.vehicles) {
            let Some(swarm) = swarm(vehicle) else { continue };
            let utility = self.utility_of(vehicle);
            let quorum = Quorum::new(swarm.records(), &roster, &utility, window).unwrap();
            let mut aside = BTreeSet::new();
            for (of, account) in quorum.reinstating(&reinstated).ledger(window) {
                for finding in account.findings {
                    let later = self.orders.iter().filter(|(_given, ordered, from)| {
                        (*ordered, *from > finding.window + 1) == (of, true)
                    });
                    let from = later.map(|(_given, _vehicle, from)| *from).min();
                    let over = from.is_some_and(|from| from <= window);
                    let said = format!("{of} is reinstated by {reinstated:?}: {finding:?}");
                    must!(
                        self.checks.looked_at,
                        Reinstated,
                        finding.reinstated_from == from && !(over && finding.counts),
                        "{said}"
                    );
                    aside.extend(finding.counts.then_some(of));
                }
            }
            let number = vehicle.number;
            must!(
                self.checks.looked_at,
                Standing,
                swarm.quarantined(window) == aside,
                "vehicle {number} does not go by {reinstated:?}"
            );
        }
    }
}

fn honest(vehicles: &[Vehicle]) -> impl Iterator<Item = &Vehicle> {
    vehicles.iter().filter(|vehicle| vehicle.character == Character::Honest)
}

fn swarm(vehicle: &Vehicle) -> Option<&shoal_swarm::swarm::Swarm> {
    vehicle.exchange.as_ref().and_then(Exchange::swarm)
}
