//! The regions' beacons: the cores that ship, each at a node of the broker. They are killed and started again, and know nothing then.

use std::collections::BTreeSet;

use bytes::Bytes;
use shoal_swarm::beacon::{Beacon, Input, Output, Reads, Settings};
use shoal_wire::{KeyId, Kind, Label, Topic, Unverified};

use crate::board::{Board, matches};
use crate::documents::{FLEET, Fleet};
use crate::weather::Weather;

/// A beacon, whether it runs or not.
pub struct Station {
    core: Option<Beacon>,
    region: &'static str,
    settings: Settings,
    /// At which node of the broker.
    pub node: usize,
    filters: BTreeSet<String>,
    /// How much of what came to stand at its node it has heard.
    heard: usize,
    /// It passes on that it is there, and nothing else.
    withholds: bool,
    /// It has asked for what stands at a topic, and was not told that this was all.
    reads: bool,
}

impl Station {
    /// One that was never started.
    #[must_use]
    pub fn new(number: usize, node: usize, fleet: &Fleet, weather: &Weather) -> Self {
        let region = fleet.regions()[number % fleet.regions];
        let settings = Settings {
            authority: fleet.authority.public(),
            timekeeper: fleet.timekeeper.public(),
            id: KeyId::new([0xb0 + number as u8; 8]),
            reads: if weather.beacons_fold { Reads::Region } else { Reads::Fleet },
        };
        let (core, filters, withholds) = (None, BTreeSet::new(), weather.beacons_withhold);
        Station { core, region, settings, node, filters, heard: 0, withholds, reads: false }
    }

    /// It runs.
    pub fn start(&mut self, node: &Board) {
        self.kill();
        let (fleet, region) = (Label::new(FLEET).unwrap(), Label::new(self.region).unwrap());
        let mut core = Beacon::new(fleet, region, &self.settings);
        core.handle_input(Input::Connected).expect("it is connected");
        self.core = Some(core);
        self.heard = node.came_since(0).len();
    }

    /// Whoever runs it tells it of another key: it begins anew, if it runs.
    pub fn rekey(&mut self, fleet: &Fleet, node: &Board) {
        self.settings.timekeeper = fleet.timekeeper.public();
        if self.core.is_some() {
            self.start(node);
        }
    }

    /// It is killed.
    pub fn kill(&mut self) {
        self.core = None;
        self.filters.clear();
        self.reads = false;
    }

    /// Some time has passed.
    pub fn tick(&mut self) {
        let Some(core) = &mut self.core else { return };
        if std::mem::take(&mut self.reads) {
            core.handle_input(Input::Read).expect("what stood there has come");
        }
        core.handle_timeout();
    }

    /// Something is handed on to it; what is not true it may refuse.
    pub fn hear(&mut self, topic: &str, bytes: &[u8]) {
        let (Some(core), Ok(place)) = (&mut self.core, Topic::decode(topic)) else { return };
        if self.filters.iter().any(|filter| matches(filter, topic)) {
            let _refused = core.handle_input(Input::Message { topic: &place, bytes });
        }
    }

    /// It takes what is new at its node and does what there is to do; what it leaves there, each with its topic.
    pub fn act(&mut self, node: &Board) -> Vec<(String, Bytes)> {
        let new = node.came_since(self.heard);
        self.heard += new.len();
        for (topic, bytes) in new {
            self.hear(topic, bytes);
        }
        let mut left = Vec::new();
        while let Some(core) = &mut self.core {
            let asked = match core.poll_output() {
                None => break,
                Some(Output::Publish { topic, records }) => {
                    if self.withholds && !says_nonce(records.bytes()) {
                        continue;
                    }
                    left.push((topic.text().to_string(), Bytes::copy_from_slice(records.bytes())));
                    continue;
                }
                Some(Output::Clear(topic)) => {
                    left.push((topic.text().to_string(), Bytes::new()));
                    continue;
                }
                Some(Output::Unsubscribe(filter)) => {
                    self.filters.remove(&filter);
                    continue;
                }
                Some(Output::Subscribe(filter)) => {
                    self.reads = true;
                    self.filters.insert(filter.clone());
                    filter
                }
                Some(Output::Ask(topic)) => topic,
            };
            for (topic, bytes) in node.stands().filter(|(topic, _)| matches(&asked, topic)) {
                let place = Topic::decode(topic).expect("it was asked for");
                let _refused = core.handle_input(Input::Message { topic: &place, bytes });
            }
        }
        left
    }
}

fn says_nonce(bytes: &[u8]) -> bool {
    Unverified::decode(bytes).is_ok_and(|record| record.head().kind == Kind::Nonce)
}

#[cfg(test)]
mod tests {
    use shoal_wire::Leaf;

    use crate::documents::place;
    use crate::weather::Weather;
    use crate::world::{Happening, SECOND_US, World};

    /// Nobody hears a beacon of a broker that takes no connection; if all listened to everybody for it, a large region would fall silent.
    #[test]
    fn a_broker_that_is_away_as_a_window_opens_is_not_taken_for_its_beacons() {
        let weather = Weather { beacons: 1, listens: 1.0, absent: 1.0, ..Weather::fair(3, 1) };
        let mut world = World::new(1, weather);
        let last = world.weather.all_windows() - 1;
        // From the last window's opening on nobody is let in, for a third of it.
        world.at(world.calendar.opens_us(last) - SECOND_US / 2, Happening::Trouble(0));
        world.at(world.calendar.opens_us(last) + 20 * SECOND_US, Happening::Trouble(last));
        world.run();
        assert_eq!(world.troubles.get("absent"), Some(&6), "twice each");
        let there = |number| world.checks.crossed.contains_key(&(number, last));
        assert!((0..3).all(there), "they were there in the rest of it");
        // Of somebody who is none of them: nobody asked for it by name.
        let claim = place(&world.fleet.authority, Leaf::Claim { slot: 0 });
        assert_eq!(world.cluster.nodes()[0].listeners(&claim), 0);
    }
}
