//! What goes wrong in a world, when its weather says so.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use bytes::Bytes;
use shoal_link::{SHAKEN, Why};
use shoal_wire::v1::{Claim, NOMINEES, Vote};
use shoal_wire::{Kind, Leaf, Topic, Unverified};

use crate::board::{Board, Conn};
use crate::calendar::{SPAN_S, utc_ms};
use crate::check::SOON_US;
use crate::documents::{OPEN_S, place_in, sealed};
use crate::engine::{Character, Lie};
use crate::intruder::Everybody;
use crate::station::Station;
use crate::vehicle::{Vehicle, Wire};
use crate::weather::{PLENTY, Weather};
use crate::world::{Happening, SECOND_US, World};

/// The chance that a node which loses what it acknowledges is killed just after it has heard something.
const DIES_OF_IT: f64 = 0.01;

impl World {
    /// What is on its way to the broker is lost, or arrives all the same.
    pub(crate) fn lose(&mut self, conn: Conn) {
        if self.dice.happens(0.5) {
            self.lost.insert(conn);
        }
    }

    /// Cuts the connections of a vehicle: what was on its way to it is lost.
    pub(crate) fn cut(&mut self, number: usize) {
        let now = self.now_us.get();
        let mut gone = Vec::new();
        for wire in &mut self.vehicles[number].wires {
            if let Some(conn) = wire.conn.take() {
                (wire.over, wire.dialling) = (false, false);
                wire.inbox.clear();
                wire.link.closed(Why::Network(ErrorKind::ConnectionReset));
                wire.was_cut = true;
                gone.push(conn);
            }
        }
        if !gone.is_empty() {
            self.vehicles[number].ends_us.push(now);
        }
        for conn in gone {
            self.trouble("cut");
            self.lose(conn);
            let later = self.dice.between(0, 50 * SECOND_US);
            self.at(now + later, Happening::Gone(conn));
        }
        self.serve(number);
    }

    /// Every second.
    pub(crate) fn weathers(&mut self) {
        for number in 0..self.vehicles.len() {
            if !self.calm && self.dice.happens(self.weather.cuts) {
                self.cut(number);
            }
        }
        if !self.calm && self.dice.happens(self.weather.forged) {
            self.intrude();
        }
        if self.looks {
            self.look_at_conditions();
        }
        self.checks.attended(&self.vehicles, self.now_us.get());
        self.stations.iter_mut().for_each(Station::tick);
        let spoken = self.cluster.release();
        spoken.into_iter().for_each(|conn| self.hear(conn));
        let now = self.now_us.get();
        // Who may read no more bytes hears of no acknowledgement.
        if self.weather.bytes_max == PLENTY {
            for vehicle in &mut self.vehicles {
                for wire in &mut vehicle.wires {
                    self.checks.acknowledged(vehicle.number, wire, now);
                }
            }
        }
        self.at(self.calendar.next_weather_us(now), Happening::Weather);
    }

    /// Somebody says something that is not true.
    pub(crate) fn intrude(&mut self) {
        let node = self.dice.between(0, self.weather.nodes as u64) as usize;
        // Documents are at the first.
        let heard = match self.cluster.published(node) {
            [] => self.cluster.published(0),
            heard => heard,
        };
        let forged = self.intruder.forge(&mut self.dice, &self.fleet, heard);
        let Some((topic, bytes)) = forged else { return };
        self.trouble("forged");
        if node == 0 {
            self.keeper.hear(&topic, &bytes, utc_ms(self.now_us.get()));
            self.keep_time();
        }
        for station in self.stations.iter_mut().filter(|station| station.node == node) {
            station.hear(&topic, &bytes);
        }
        let spoken = self.cluster.nodes()[node].hand_on(&topic, Bytes::from(bytes));
        spoken.into_iter().for_each(|conn| self.hear(conn));
    }

    /// What happens to whom in a window.
    pub(crate) fn troubles_of(&mut self, window: u32) {
        self.checks.saw_the_end(&self.vehicles);
        // What is claimed is voted on now.
        self.lost_of.extend(self.cluster.lost_of());
        self.calm = window >= self.weather.windows;
        let again = [Lie::Equivocates, Lie::VotesTwice].map(Character::Liar);
        for number in 0..self.vehicles.len() {
            if again.contains(&self.vehicles[number].character) {
                // Half of them while the window is open in which they said it first.
                let to = if self.dice.happens(0.5) { OPEN_S } else { SPAN_S + 50 };
                let after = self.dice.between(20, u64::from(to)) * SECOND_US;
                let at = self.now_us.get() + after;
                self.at(at, Happening::SaysAgain(number, window));
            }
            // What waits comes in this window, or waits on.
            let late = self.vehicles[number].character == Character::Liar(Lie::Late);
            if late && self.dice.happens(0.4) {
                let after = self.dice.between(0, u64::from(SPAN_S)) * SECOND_US;
                let at = self.now_us.get() + after;
                self.at(at, Happening::ComesLate(number));
            }
        }
        for number in 0..self.vehicles.len() {
            let pause = window + self.weather.pause >= self.weather.windows;
            let away = !self.calm && (pause || self.dice.happens(self.weather.absent));
            if away {
                self.trouble("absent");
                self.cut(number);
            }
            self.away[number] = away;
            self.vehicles[number].fill_disk(!self.calm && self.dice.happens(self.weather.full));
            if self.calm {
                self.vehicles[number].off_s.set(0);
                self.vehicles[number].cut_power_after(u64::MAX / 2);
                self.serve(number);
                continue;
            }
            if self.dice.happens(self.weather.power) {
                let operations = self.dice.between(0, 200);
                self.vehicles[number].cut_power_after(operations);
            }
            self.draw_clock(number);
        }
        self.draw_conditions();
        if self.calm {
            self.cluster.part(false);
            self.cluster.nodes().iter_mut().for_each(Board::calm);
            return;
        }
        for number in 0..self.stations.len() {
            if self.dice.happens(self.weather.beacon_dies) {
                self.trouble("beacon");
                self.stations[number].kill();
                let after = self.dice.between(1, 3 * u64::from(SPAN_S)) * SECOND_US;
                self.at(self.now_us.get() + after, Happening::BeaconStarts(number));
            }
        }
        if self.dice.happens(self.weather.broker) {
            let after = self.dice.between(0, u64::from(SPAN_S)) * SECOND_US;
            self.at(self.now_us.get() + after, Happening::NodeDies(None));
        }
        self.draw_away();
        if self.weather.nodes > 1 && self.dice.happens(self.weather.parted) {
            self.trouble("parted");
            let from = self.now_us.get() + self.dice.between(0, u64::from(SPAN_S)) * SECOND_US;
            let to = from + self.dice.between(5, u64::from(SPAN_S)) * SECOND_US;
            self.at(from, Happening::Parted(true));
            self.at(to, Happening::Parted(false));
        }
    }

    /// The last node goes while the window is open, and comes back before the next.
    fn draw_away(&mut self) {
        if self.leaving.happens(self.weather.away) {
            let node = self.weather.nodes - 1;
            let goes = self.now_us.get() + self.leaving.between(0, u64::from(OPEN_S)) * SECOND_US;
            let back = goes + self.leaving.between(2, u64::from(SPAN_S - OPEN_S)) * SECOND_US;
            self.at(goes, Happening::NodeIsAway(node, true));
            self.at(back, Happening::NodeIsAway(node, false));
        }
    }

    /// A clock jumps, or one that did is set right.
    fn draw_clock(&mut self, number: usize) {
        let (trouble, off_s) = if self.dice.happens(self.weather.clock) {
            let jump = self.weather.jump_s;
            ("clock", self.dice.between(0, 2 * jump as u64 + 1) as i64 - jump)
        } else if self.vehicles[number].off_s.get() != 0 && self.setting.happens(0.5) {
            ("set right", 0)
        } else {
            return;
        };
        self.trouble(trouble);
        self.vehicles[number].off_s.set(off_s);
        self.serve(number);
    }

    /// When the fleet is told another utility, and when the authority makes a mistake of it and sets it right.
    pub(crate) fn draw_news(&mut self) {
        if self.weather.regions > 1 {
            self.trouble("regions");
        }
        if !self.weather.news {
            return;
        }
        let window = self.dice.between(0, u64::from(self.weather.windows)) as u32;
        let after = self.dice.between(0, u64::from(SPAN_S)) * SECOND_US;
        let at = self.calendar.opens_us(window) + after;
        for at in [at, at + 2 * SECOND_US * u64::from(SPAN_S)] {
            self.at(at, Happening::News(window));
        }
    }

    /// The fleet is told the next utility document.
    pub(crate) fn news(&mut self, window: u32) {
        // Who has none yet would believe one that does not follow.
        let has_one = |vehicle: &Vehicle| {
            let exchange = vehicle.exchange.as_ref();
            exchange.is_some_and(|one| one.goes_by(Kind::UtilityDocument).is_some())
        };
        if self.fleet.next_is_mistaken() && !self.vehicles.iter().all(has_one) {
            return;
        }
        let news = self.fleet.news(window);
        if self.fleet.is_mistaken() {
            self.trouble("mistaken");
            self.at(self.now_us.get() + 30 * SECOND_US, Happening::News(window));
        } else {
            self.trouble("news");
        }
        self.keeper.learn(&self.fleet, news, utc_ms(self.now_us.get()));
        self.keep_time();
    }

    /// The timekeeper is killed.
    pub(crate) fn keeper_dies(&mut self) {
        self.trouble("timekeeper");
        self.keeper.kill();
    }

    /// A node of the broker is killed, and there again at once.
    pub(crate) fn node_dies(&mut self, node: Option<usize>) {
        self.trouble("broker");
        let nodes = self.weather.nodes as u64;
        let node = node.unwrap_or_else(|| self.dice.between(0, nodes) as usize);
        if self.cluster.is_away(node) {
            return;
        }
        self.cut_all_at(node);
        let now_ms = self.now_us.get() / 1000;
        let keeps = self.weather.keeps_sessions;
        self.cluster.nodes()[node].restart(keeps, now_ms);
    }

    /// A node that loses what it acknowledges is killed within a second after it has heard something.
    pub(crate) fn dies_of_it(&mut self, conn: Conn) {
        let Weather { broker, manners, .. } = self.weather;
        let loses = broker > 0.0 && manners.loses > 0.0 && !self.calm;
        if loses && self.leaving.happens(DIES_OF_IT) {
            let at = self.now_us.get() + self.leaving.between(0, SECOND_US);
            self.at(at, Happening::NodeDies(self.cluster.node_at(conn)));
        }
    }

    fn cut_all_at(&mut self, node: usize) {
        for number in 0..self.vehicles.len() {
            if self.cluster.node_of(number) == node {
                self.cut(number);
            }
        }
    }

    /// A node of the broker is killed and stays away: its vehicles try the next. Or it is there again, and who is at another stays there.
    pub(crate) fn node_is_away(&mut self, node: usize, away: bool) {
        let now_ms = self.now_us.get() / 1000;
        if away {
            self.trouble("away");
            self.cut_all_at(node);
            self.cluster.goes_away(node, self.weather.keeps_sessions, now_ms);
        } else {
            let spoken = self.cluster.comes_back(node, now_ms);
            spoken.into_iter().for_each(|conn| self.hear(conn));
        }
    }

    /// A window is about to close.
    pub(crate) fn closes(&mut self, window: u32) {
        self.drive_off(window);
        self.log.mark(&self.vehicles, window);
        if self.looks {
            self.look_before_it_closes(window);
        }
    }

    /// What must hold of what was said in a window.
    fn look_before_it_closes(&mut self, window: u32) {
        let now = self.now_us.get();
        self.checks.has_plenty(&self.vehicles, window);
        if self.weather.lies.is_empty() {
            self.checks.remembers(&self.vehicles, window);
        }
        if self.weather.liars_are_few() {
            self.checks.nobody_is_slandered(&self.vehicles, &self.lost_of, window, now);
        }
        for aside in self.checks.stand_aside(&self.vehicles, window) {
            let withholds = self.vehicles[aside].character == Character::Liar(Lie::Withholds);
            self.trouble(if withholds { "stood aside" } else { "quarantined" });
        }
        if self.weather.only_lies() {
            self.checks.who_withholds_stands_aside(&self.vehicles, window, now);
        }
    }

    /// Before exchanges are asked to finish: what was lost in this window stands there again, if its vehicle may know of it and has been
    /// on a connection for a while since: a connection of it ended soon after it was published, or shortly before.
    fn look_at_lost(&mut self, window: u32) {
        let now = self.now_us.get();
        let Weather { bytes_max, delay_ms, clock, .. } = self.weather;
        if bytes_max < PLENTY || delay_ms > 300 || clock > 0.0 {
            return;
        }
        let shaken_us = SHAKEN.as_micros();
        for (key, lost) in self.cluster.lost() {
            let at = lost.at_ms * 1_000;
            let of =
                |vehicle: &&Vehicle| vehicle.key == key && at >= self.calendar.opens_us(window);
            let Some(vehicle) = self.vehicles.iter().find(of) else { continue };
            let since = |wire: &Wire| Some((wire.connected_in(window)?, wire.was_cut));
            let Some((since, was_cut)) = vehicle.wires.iter().find_map(since) else { continue };
            let ended = |end: &u64| (at..at + shaken_us).contains(end) && *end < since;
            let settles = was_cut && (since..since + shaken_us).contains(&at);
            if since + SOON_US <= now && (settles || vehicle.ends_us.iter().any(ended)) {
                self.checks.stands_again(vehicle.number, lost, (since, now));
            }
        }
    }

    /// Before exchanges are asked to finish: who listens has heard.
    pub(crate) fn finishes(&mut self, window: u32) {
        if !self.looks {
            return;
        }
        self.look_at_standing(window);
        self.look_at_lost(window);
        let now = self.now_us.get();
        for vehicle in self.vehicles.iter().filter(|vehicle| !vehicle.beacons) {
            self.checks.hears(vehicle, window, now);
        }
        // Who thinks that it is another window refuses what is said in this one, and what is slow comes late.
        for vehicle in &self.vehicles {
            let honest = vehicle.character == Character::Honest;
            let slow = self.weather.delay_ms > 300;
            if !honest || slow || vehicle.beacons || self.weather.bytes_max < PLENTY {
                continue;
            }
            let node = self.cluster.node_of(vehicle.number);
            self.checks.who_is_connected_listens(&self.cluster.nodes()[node], vehicle, now);
            if self.weather.clock == 0.0 {
                let at = (node, self.cluster.nodes()[node].lost());
                self.checks.who_listens_knows(at, vehicle, window, now);
            }
            if self.weather.nodes == 1 && vehicle.off_s.get() == 0 {
                let stands = self.cluster.nodes()[0].stands();
                self.checks.who_comes_back_knows(stands, vehicle, window, now);
            }
        }
    }

    /// A plan by which a window has bytes enough counts from now on.
    pub(crate) fn lifts_budget(&mut self) {
        self.plenty = true;
        let now_ms = utc_ms(self.now_us.get());
        self.keeper.learn(&self.fleet, self.fleet.plenty(), now_ms);
        self.keep_time();
    }

    pub(crate) fn start_beacon(&mut self, number: usize) {
        let station = &mut self.stations[number];
        station.start(&self.cluster.nodes()[station.node]);
    }

    /// What a vehicle claimed in windows that are over comes; what it claimed in this one later.
    pub(crate) fn comes_late(&mut self, number: usize) {
        let (node, key) = (self.cluster.next_of(number), self.vehicles[number].key);
        let board = &mut self.cluster.nodes()[node];
        for (topic, bytes) in board.kept_back(key) {
            self.trouble("late");
            let spoken = self.cluster.nodes()[node].leave(&topic, bytes);
            spoken.into_iter().for_each(|conn| self.hear(conn));
        }
    }

    /// Who claims twice claims that it was twice as good; who votes twice votes the same at other places.
    pub(crate) fn says_again(&mut self, number: usize, window: u32) {
        let (node, key) = (self.cluster.node_of(number), self.vehicles[number].key);
        let published = self.cluster.published(node).iter();
        let own: Vec<(String, Bytes)> = published
            .filter(|(topic, _)| Topic::decode(topic).is_ok_and(|place| place.publisher() == key))
            .cloned()
            .collect();
        // Said again at one place, it is the same as before.
        let mut places = BTreeSet::new();
        for (topic, bytes) in
            own.into_iter().rev().filter(|(topic, _)| places.insert(topic.clone()))
        {
            let lie = self.vehicles[number].character;
            let Some((topic, bytes)) = self.said_again(lie, number, window, (&topic, &bytes))
            else {
                continue;
            };
            self.trouble("said again");
            if lie == Character::Liar(Lie::Equivocates) {
                self.checks.contradicted.push((window, key, self.now_us.get()));
            }
            let there = self.cluster.next_of(number);
            let spoken = self.cluster.nodes()[there].leave(&topic, Bytes::from(bytes));
            spoken.into_iter().for_each(|conn| self.hear(conn));
        }
    }

    fn said_again(
        &self,
        lie: Character,
        number: usize,
        window: u32,
        (topic, bytes): (&str, &[u8]),
    ) -> Option<(String, Vec<u8>)> {
        let (fleet, key) = (&self.fleet, &self.fleet.vehicles[number]);
        let record = Unverified::decode(bytes).ok()?;
        let head = *record.head();
        if head.kind == Kind::Claim && lie == Character::Liar(Lie::Equivocates) {
            let mut fields =
                record.verify::<Claim>(&Everybody(fleet)).ok()?.body().fields().clone();
            for term in &mut fields.terms {
                term.value = term.value.saturating_mul(2);
            }
            let claim = (fields.window == window).then(|| Claim::new(fields).ok())??;
            return Some((topic.to_owned(), sealed(key, head.counter + 1, &claim).0));
        }
        if head.kind == Kind::Vote && lie == Character::Liar(Lie::VotesTwice) {
            let mut fields = record.verify::<Vote>(&Everybody(fleet)).ok()?.body().fields().clone();
            fields.place = NOMINEES - 1 - fields.place;
            let leaf = Leaf::vote(window, fields.place);
            let vote = (fields.window == window).then(|| Vote::new(fields).ok())??;
            let there = Topic::decode(topic).ok()?;
            let topic = place_in(there.region().text(), there.publisher(), leaf);
            return Some((topic, sealed(key, head.counter + 9, &vote).0));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use shoal_vehicle::exchange::run::Exchange;
    use shoal_wire::RecordId;

    use super::World;
    use crate::weather::Weather;
    use crate::world::{Happening, SECOND_US};

    /// By its clock it is window 0 when what was said in window 2 comes, and a broker sends that once.
    #[test]
    fn who_was_behind_knows_what_was_said_meanwhile_once_its_clock_is_set() {
        let mut world = World::new(1, Weather::fair(4, 3));
        world.vehicles[1].off_s.set(-245);
        // Away from any network it does not hear either how late it is.
        world.at(10 * SECOND_US, Happening::Unfit(1, 0));
        world.at(world.calendar.opens_us(2) + 46 * SECOND_US, Happening::Fit(1));
        world.run();
        assert!(world.checks.crossed.contains_key(&(1, 0)), "it was there in its window 0");
        assert!(!world.troubles.contains_key("set right"), "its clock was wrong through window 2");
        let knows = |number: usize| -> BTreeSet<RecordId> {
            let swarm = world.vehicles[number].exchange.as_ref().and_then(Exchange::swarm);
            let records = swarm.expect("it has joined").records();
            let claims = records.claims(2).map(|claim| claim.id);
            let headers = records.particles(2).map(|header| header.id);
            claims.chain(headers).chain(records.votes(2).map(|vote| vote.id)).collect()
        };
        assert_eq!(knows(1), knows(0));
    }

    /// What was elected long ago counts while nothing better is, and is judged by the nonces of its time.
    #[test]
    fn nonces_that_count_are_there_after_a_start_however_old_they_are() {
        let mut world = World::new(1, Weather::fair(4, 22));
        world.run();
        let nonces = |world: &World| -> BTreeSet<RecordId> {
            let swarm = world.vehicles[1].exchange.as_ref().and_then(Exchange::swarm);
            swarm.expect("it has joined").records().nonces().collect()
        };
        let before = nonces(&world);
        assert!(before.len() > 20, "{}", before.len());
        let _lost = world.vehicles[1].lose_power(1);
        world.happen(Happening::Start(1));
        assert_eq!(nonces(&world), before);
    }

    /// Its conditions ended for two seconds, and its line was asked to finish.
    #[test]
    fn who_may_go_on_in_a_window_listens_on_another_line() {
        let weather = Weather { keeps_sessions: false, ..Weather::fair(3, 2) };
        let mut world = World::new(1, weather);
        let at = world.calendar.opens_us(1) + 5 * SECOND_US;
        world.at(at, Happening::Unfit(1, 0));
        world.at(at + 2 * SECOND_US, Happening::Fit(1));
        world.at(at + 15 * SECOND_US, Happening::NodeDies(None));
        // That whoever is connected listens is looked at before the window closes.
        world.run();
        assert!(world.troubles.contains_key("broker") && world.troubles.contains_key("unfit"));
    }
}
