//! One queue of what happens, and who it happens to.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use embassy_time::Instant;
use shoal_link::Why;
use shoal_swarm::campaign::Order;
use shoal_vehicle::exchange::run::{ExchangeError, Turn};
use shoal_vehicle::exchange::vault::VaultError;
use shoal_wire::KeyId;
use tempfile::TempDir;

use crate::board::Conn;
use crate::calendar::{Calendar, FINISHES_S, us_of, utc_ms};
use crate::chance::Dice;
use crate::check::Checks;
use crate::cluster::{Cluster, Crossing};
use crate::documents::{Fleet, OPEN_S};
use crate::engine::{Character, Lie, Roads, Simulated};
use crate::intruder::Intruder;
use crate::keeper::Keeper;
use crate::log::Log;
use crate::promotion::Promotions;
use crate::station::Station;
use crate::vehicle::{Vehicle, Wire};
use crate::weather::{PLENTY, Weather};

/// Turns in which a vehicle must come to rest.
const TURNS_MAX: u32 = 2_000;
/// A second, in microseconds.
pub(crate) const SECOND_US: u64 = 1_000_000;

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// A program starts.
    Start(usize),
    /// A vehicle looks at its clock.
    Wake(usize),
    /// A socket is there, or not.
    Dialled(usize, Conn),
    /// Bytes arrive at the broker.
    Up(Conn, Vec<u8>),
    /// Bytes arrive at a vehicle; or the end of them.
    Down(usize, Conn, Option<Vec<u8>>),
    /// The broker sees that a socket is gone.
    Gone(Conn),
    /// A second of weather.
    Weather,
    /// The timekeeper's program starts.
    KeeperStarts,
    /// It is killed.
    KeeperEnds,
    /// It looks at its clock.
    KeeperWakes,
    /// The authority says what counts from now on.
    News(u32),
    /// Another key signs for the timekeeper.
    Rotates,
    /// The last vehicles are taken into the fleet.
    Grows(u32),
    /// Trouble of a window, drawn when it opens.
    Trouble(u32),
    /// A node of the broker is killed: this one, or any.
    NodeDies(Option<usize>),
    /// One is killed and stays away, or is there again.
    NodeIsAway(usize, bool),
    /// Exchanges are about to be asked to finish.
    Finishes(u32),
    /// A window is about to close.
    Closes(u32),
    /// Something comes from one node of the broker to another.
    Across(Crossing),
    /// From now on the nodes cannot talk, or can.
    Parted(bool),
    /// A vehicle says once more what it said in this window.
    SaysAgain(usize, u32),
    /// The authority says what is to be done with a campaign.
    Ordered(u32, Order),
    /// The authority reinstates somebody from this window on.
    Reinstates(u32, u64),
    /// A vehicle drives, with an adapter on trial.
    Drives(usize),
    /// A beacon starts.
    BeaconStarts(usize),
    /// The connections of a vehicle are cut.
    Cut(usize),
    /// What a vehicle claimed in a window that is over comes.
    ComesLate(usize),
    /// From now on there are bytes enough in every window.
    Plenty,
    /// From now on the conditions of a vehicle do not allow an exchange.
    Unfit(usize, usize),
    /// From now on they do.
    Fit(usize),
}

/// A world.
pub struct World {
    /// What it is made of.
    pub seed: u64,
    /// How bad it is.
    pub weather: Weather,
    /// The keys.
    pub fleet: Fleet,
    /// The broker.
    pub cluster: Cluster,
    /// The timekeeper.
    pub keeper: Keeper,
    /// The beacons.
    pub stations: Vec<Station>,
    /// The vehicles.
    pub vehicles: Vec<Vehicle>,
    /// What adapters are worth.
    pub roads: Rc<Roads>,
    /// What happened.
    pub log: Log,
    /// How much happened.
    pub happened: u64,
    /// Troubles that came to pass.
    pub troubles: BTreeMap<&'static str, u64>,
    /// What must hold.
    pub checks: Checks,
    pub(crate) calendar: Calendar,
    /// Whether it is looked at what must hold.
    pub(crate) looks: bool,
    /// Whether a window has bytes enough for all that there is.
    pub(crate) plenty: bool,
    pub(crate) promotions: Promotions,
    /// In which window it was ordered that somebody is reinstated, who, and from which window on.
    pub(crate) orders: Vec<(u32, KeyId, u32)>,
    pub(crate) intruder: Intruder,
    pub(crate) now_us: Rc<Cell<u64>>,
    queue: BTreeMap<(u64, u64), Happening>,
    count: u64,
    pub(crate) dice: Dice,
    pub(crate) fitness: Dice,
    pub(crate) setting: Dice,
    pub(crate) leaving: Dice,
    conns: Conn,
    /// Of these a header or a chunk was lost, and stood not there again before its claim was voted on.
    pub(crate) lost_of: BTreeSet<KeyId>,
    /// Connections that were cut before what was on its way to the broker arrived.
    pub(crate) lost: BTreeSet<Conn>,
    /// When the last of what goes to each node arrives.
    across_us: Vec<u64>,
    /// Which vehicles have no network in this window.
    pub(crate) away: Vec<bool>,
    pub(crate) calm: bool,
    _folder: TempDir,
}

impl World {
    /// A world of this weather.
    ///
    /// # Panics
    /// When there is no folder for it.
    #[must_use]
    pub fn new(seed: u64, weather: Weather) -> Self {
        let now_us = Rc::new(Cell::new(0));
        let Weather { vehicles, calendar, .. } = weather;
        let fleet = Fleet::new(seed, &weather);
        let roads = Rc::new(Roads::new(seed, vehicles, calendar));
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let folder = folder.expect("a folder");
        let vehicle = |number: usize| {
            let honest = weather.vehicles - weather.lies.len();
            let lie = number.checked_sub(honest).and_then(|liar| weather.lies.get(liar));
            let character = lie.map_or(Character::Honest, |lie| Character::Liar(*lie));
            let engine = Simulated::new(number, character, Rc::clone(&roads), Rc::clone(&now_us));
            let place = folder.path().join(format!("{number}"));
            Vehicle::new(number, &fleet, engine, character, place, Rc::clone(&now_us))
        };
        let vehicles: Vec<Vehicle> = (0..weather.vehicles).map(vehicle).collect();
        let mut world = World {
            seed,
            away: vec![false; vehicles.len()],
            vehicles,
            cluster: Cluster::new(seed, weather.nodes, weather.version, weather.manners),
            across_us: vec![0; weather.nodes],
            keeper: Keeper::new(seed, Vec::new(), false),
            stations: Vec::new(),
            roads,
            log: Log::default(),
            happened: 0,
            troubles: BTreeMap::new(),
            checks: Checks::new(calendar),
            calendar,
            looks: true,
            plenty: weather.bytes_max == PLENTY,
            promotions: Promotions::default(),
            orders: Vec::new(),
            intruder: Intruder::new(seed),
            now_us,
            queue: BTreeMap::new(),
            count: 0,
            dice: Dice::new(seed, 4),
            fitness: Dice::new(seed, 17),
            setting: Dice::new(seed, 18),
            leaving: Dice::new(seed, 32),
            conns: 0,
            lost_of: BTreeSet::new(),
            lost: BTreeSet::new(),
            calm: false,
            fleet,
            weather,
            _folder: folder,
        };
        let bytes_max = world.weather.bytes_max;
        // They cost more than a window of five kilobytes has.
        let metadata = world.weather.metadata && bytes_max == PLENTY;
        world.keeper = Keeper::new(seed, world.fleet.documents(bytes_max), metadata);
        if metadata {
            world.vehicles.iter_mut().for_each(|vehicle| vehicle.trust(&world.fleet));
        }
        let (nodes, weather) = (world.weather.nodes, &world.weather);
        let station = |number| Station::new(number, number % nodes, &world.fleet, weather);
        world.stations = (0..world.weather.beacons).map(station).collect();
        world.begin();
        world
    }

    fn begin(&mut self) {
        // Before the last window with trouble; without liars, also later.
        let settled =
            if self.weather.lies.is_empty() { self.weather.calm_windows() - 3 } else { 0 };
        for number in 0..self.vehicles.len() {
            let mut at = self.dice.between(0, 10 * SECOND_US);
            // One is there from the beginning.
            if number > 0 && self.dice.happens(self.weather.newcomers) {
                self.trouble("newcomer");
                at = self.dice.between(0, self.calendar.opens_us(self.weather.windows + settled));
            }
            self.vehicles[number].came_us = at;
            if number < self.fleet.enrolled {
                self.at(at, Happening::Start(number));
            }
        }
        for number in 0..self.vehicles.len() {
            let Vehicle { character, key, .. } = self.vehicles[number];
            for node in self.cluster.nodes() {
                match character {
                    Character::Liar(Lie::Withholds) => node.withhold(key),
                    Character::Liar(Lie::Late) => node.keep_back(key),
                    Character::Honest | Character::Liar(_) => {}
                }
            }
        }
        for number in 0..self.stations.len() {
            let at = self.dice.between(0, self.calendar.opens_us(2));
            self.at(at, Happening::BeaconStarts(number));
        }
        for number in 0..self.vehicles.len() {
            let beacons = self.weather.beacons > 0 && self.dice.happens(self.weather.listens);
            self.vehicles[number].beacons = beacons;
        }
        self.draw_news();
        self.draw_roles();
        if self.weather.bytes_max < PLENTY {
            let calm = self.calendar.opens_us(self.weather.windows);
            self.at(calm - 30 * SECOND_US, Happening::Plenty);
        }
        self.draw_campaigns();
        self.draw_reinstatements();
        let windows = self.weather.all_windows();
        for window in 0..windows {
            let opens = self.calendar.opens_us(window);
            if 0 < window && window < self.weather.windows {
                self.timekeeper_of(window);
            }
            self.at(opens - SECOND_US, Happening::Trouble(window));
            self.at(opens + FINISHES_S * SECOND_US, Happening::Finishes(window));
            self.at(opens + (u64::from(OPEN_S) - 2) * SECOND_US, Happening::Closes(window));
        }
        self.at(0, Happening::KeeperStarts);
        self.at(0, Happening::Weather);
    }

    /// Whether the timekeeper is there in this window, and to its end.
    fn timekeeper_of(&mut self, window: u32) {
        let opens = self.calendar.opens_us(window);
        if self.dice.happens(self.weather.no_nonce) {
            // It would draw when the window before closes.
            let (closes, open_s) = (self.calendar.opens_us(window - 1), u64::from(OPEN_S));
            self.at(closes + (open_s - 2) * SECOND_US, Happening::KeeperEnds);
            self.at(opens + (open_s + 2) * SECOND_US, Happening::KeeperStarts);
        } else if self.dice.happens(self.weather.power) {
            let before = self.dice.between(0, 50) * SECOND_US / 10;
            self.at(opens - 40 * SECOND_US + before, Happening::KeeperEnds);
            self.at(opens - 30 * SECOND_US, Happening::KeeperStarts);
        }
    }

    pub(crate) fn at(&mut self, us: u64, happening: Happening) {
        self.count += 1;
        self.queue.insert((us, self.count), happening);
    }

    pub(crate) fn trouble(&mut self, what: &'static str) {
        *self.troubles.entry(what).or_default() += 1;
    }

    /// The same once more, to the end, for its log: nothing of it depends on whether anybody looks.
    pub fn rerun(&mut self) {
        self.looks = false;
        self.run();
    }

    /// Runs to the end, checking what must hold after everything that happens.
    ///
    /// # Panics
    /// When something does not hold; it says what and when.
    pub fn run(&mut self) {
        let windows = self.weather.all_windows();
        let end = self.calendar.opens_us(windows);
        while let Some(((us, _count), happening)) = self.queue.pop_first() {
            if us >= end {
                break;
            }
            self.now_us.set(us);
            tracing::trace!(us, ?happening);
            self.happened += 1;
            self.log.at(us);
            self.happen(happening);
            self.pass_on();
            self.cross();
            if self.looks {
                self.checks.after(&self.cluster, &self.vehicles, (&self.fleet, &self.roads), us);
                for vehicle in &mut self.vehicles {
                    self.checks.remembered(vehicle, us);
                }
                self.check_campaigns();
            }
        }
        self.log.mark(&self.vehicles, windows);
        if self.looks {
            let poor = self.weather.bytes_max < PLENTY;
            self.checks.end(&self.vehicles, windows, poor.then_some(self.weather.windows));
            if self.weather.delay_ms <= 300 {
                self.checks.who_is_drawn_votes(&self.vehicles, windows);
            }
            if self.weather.lies.is_empty() {
                self.checks.elects(&self.vehicles, windows, &self.fleet.rule);
            }
            self.end_campaigns();
            self.end_reinstatements();
        }
        for (what, times) in self.cluster.nodes().iter().flat_map(|node| &node.did) {
            *self.troubles.entry(what).or_default() += times;
        }
        // Nearly all that may: nothing more was begun.
        let spent = |(up, down): &&(u64, u64)| *up.max(down) > self.weather.bytes_max * 4 / 5;
        if self.checks.crossed.values().any(|crossed| spent(&crossed)) {
            self.trouble("budget");
        }
    }

    /// The first window in which somebody honest had this vehicle in quarantine.
    #[must_use]
    pub fn first_aside(&self, number: usize) -> Option<u32> {
        self.checks.first_aside(number)
    }

    /// How long it went on, in days of its own.
    #[must_use]
    pub fn virtual_days(&self) -> f64 {
        self.calendar.opens_us(self.weather.all_windows()) as f64 / (86_400.0 * SECOND_US as f64)
    }

    pub(crate) fn happen(&mut self, happening: Happening) {
        let now = self.now_us.get();
        match happening {
            Happening::Start(number) => {
                self.start(number);
                self.serve(number);
            }
            Happening::Wake(number) => {
                if self.vehicles[number].wakes_us == Some(now) {
                    self.vehicles[number].wakes_us = None;
                    self.serve(number);
                }
            }
            Happening::Dialled(number, conn) => {
                self.dialled(number, conn);
                self.serve(number);
            }
            Happening::Up(conn, bytes) => {
                if self.lost.contains(&conn) {
                    return;
                }
                self.log.crosses(&bytes);
                let spoken = self.cluster.receive(conn, &bytes, now / 1000);
                spoken.into_iter().for_each(|conn| self.hear(conn));
                self.dies_of_it(conn);
            }
            Happening::Down(number, conn, bytes) => {
                if let Some(wire) = self.wire(number, conn) {
                    match bytes {
                        Some(bytes) => wire.inbox.extend(bytes),
                        None => wire.over = true,
                    }
                    self.serve(number);
                }
            }
            Happening::Gone(conn) => self.cluster.gone(conn, now / 1000),
            Happening::Weather => self.weathers(),
            Happening::KeeperStarts => {
                let stands = self.cluster.nodes()[0].stands();
                self.keeper.start(&self.fleet, utc_ms(now), stands);
                self.keep_time();
            }
            Happening::KeeperEnds => self.keeper_dies(),
            Happening::KeeperWakes => self.keep_time(),
            Happening::News(window) => self.news(window),
            Happening::Rotates => self.rotates(),
            Happening::Grows(window) => self.grows(window),
            Happening::Trouble(window) => self.troubles_of(window),
            Happening::NodeDies(node) => self.node_dies(node),
            Happening::NodeIsAway(node, away) => self.node_is_away(node, away),
            Happening::Finishes(window) => self.finishes(window),
            Happening::Closes(window) => self.closes(window),
            Happening::Across(crossing) => {
                let spoken = self.cluster.mirror(crossing);
                spoken.into_iter().for_each(|conn| self.hear(conn));
            }
            Happening::Parted(parted) => self.cluster.part(parted && !self.calm),
            Happening::SaysAgain(number, window) => self.says_again(number, window),
            Happening::Ordered(number, order) => self.order(number, order),
            Happening::Reinstates(from, lot) => self.reinstates(from, lot),
            Happening::Drives(number) => self.drives(number),
            Happening::Cut(number) => self.cut(number),
            Happening::ComesLate(number) => self.comes_late(number),
            Happening::Plenty => self.lifts_budget(),
            Happening::Unfit(number, which) => self.become_unfit(number, which),
            Happening::Fit(number) => self.become_fit(number),
            Happening::BeaconStarts(number) => self.start_beacon(number),
        }
    }

    fn wire(&mut self, number: usize, conn: Conn) -> Option<&mut Wire> {
        self.vehicles[number].wires.iter_mut().find(|wire| wire.conn == Some(conn))
    }

    fn start(&mut self, number: usize) {
        let started = self.vehicles[number].start(&self.fleet);
        if let Err(error) = started {
            self.ended(number, &error);
        }
    }

    /// A program ended: without power, or with an error that its computer answers by starting it again.
    fn ended(&mut self, number: usize, error: &ExchangeError) {
        let now = self.now_us.get();
        let vehicle = &self.vehicles[number];
        let (cut, full) = (vehicle.is_cut(), vehicle.had_no_room() > 0);
        let disk = matches!(
            error,
            ExchangeError::Vault(VaultError::Write { .. } | VaultError::Read { .. })
        );
        let why = disk && (cut || full);
        assert!(why, "seed {}: vehicle {number} ends by itself: {error:?}", self.seed);
        if !cut {
            self.trouble("full");
            self.vehicles[number].fill_disk(false);
        }
        self.power_off(number);
        let at = now + self.dice.between(2, 40) * SECOND_US;
        self.at(at, Happening::Start(number));
    }

    pub(crate) fn power_off(&mut self, number: usize) {
        self.trouble("power");
        let seed = self.dice.between(0, u64::MAX / 2);
        let now = self.now_us.get();
        for conn in self.vehicles[number].lose_power(seed) {
            // The broker hears nothing any more, and sees it later or when the name comes again.
            self.lose(conn);
            self.at(now + 45 * SECOND_US, Happening::Gone(conn));
        }
    }

    /// How long a packet takes.
    fn way_us(&mut self) -> u64 {
        self.dice.between(500, self.weather.delay_ms * 1000 + 1000)
    }

    fn dialled(&mut self, number: usize, conn: Conn) {
        let (reachable, now) = (!self.away[number], self.now_us.get());
        let Some(wire) = self.vehicles[number].wires.iter_mut().find(|wire| wire.dialling) else {
            return;
        };
        wire.dialling = false;
        if reachable {
            (wire.conn, wire.since_us, wire.waits_us) = (Some(conn), now, None);
            wire.link.opened();
            self.cluster.accept(number, conn);
        } else {
            wire.link.closed(Why::Network(ErrorKind::ConnectionRefused));
        }
    }

    /// What the broker has to say on a connection goes on its way.
    pub(crate) fn hear(&mut self, conn: Conn) {
        let Some(number) =
            (0..self.vehicles.len()).find(|number| self.wire(*number, conn).is_some())
        else {
            return;
        };
        let (bytes, over) = self.cluster.say(conn);
        let way = self.way_us();
        let at = {
            let now = self.now_us.get();
            let wire = self.wire(number, conn).expect("it was found");
            wire.down_us = wire.down_us.max(now + way);
            wire.down_us
        };
        if !bytes.is_empty() {
            self.log.crosses(&bytes);
            self.at(at, Happening::Down(number, conn, Some(bytes)));
        }
        if over {
            self.at(at, Happening::Down(number, conn, None));
        }
    }

    /// Lets a vehicle and its links do all that there is to do now.
    pub(crate) fn serve(&mut self, number: usize) {
        let now = self.now_us.get();
        for turn in 0.. {
            let vehicle = &self.vehicles[number];
            assert!(turn < TURNS_MAX, "seed {}, {now}: never rests: {vehicle:?}", self.seed);
            let turned = self.turn(number);
            if let Err(error) = turned {
                self.ended(number, &error);
                return;
            }
            let wired = self.wires(number);
            let vehicle = &self.vehicles[number];
            let heard = |wire: &Wire| wire.link.has_event() && !wire.link.is_closed();
            let events = vehicle.wires.iter().any(heard);
            let due = vehicle.due_us().is_some_and(|at| at <= now);
            if !wired && !events && !due {
                break;
            }
        }
        self.hang_up(number);
        let due = self.vehicles[number].due_us().map(|at| at.max(now + 1));
        let before = self.vehicles[number].wakes_us.filter(|at| *at > now);
        if let Some(due) = due
            && before.is_none_or(|before| due < before)
        {
            self.vehicles[number].wakes_us = Some(due);
            self.at(due, Happening::Wake(number));
        }
    }

    fn turn(&mut self, number: usize) -> Result<(), ExchangeError> {
        let vehicle = &mut self.vehicles[number];
        let _told = tracing::info_span!("turn", us = self.now_us.get(), number).entered();
        for wire in &vehicle.wires {
            wire.link.at(Instant::from_micros(self.now_us.get()));
        }
        let Some(exchange) = &mut vehicle.exchange else { return Ok(()) };
        let turn = exchange.turn(Some(vehicle.look))?;
        assert_eq!(turn, Turn::Goes, "nobody stops it");
        exchange.wait(Duration::ZERO)?;
        // As the program's own loop: what came is acted upon before anything is waited for.
        assert_eq!(exchange.turn(Some(vehicle.look))?, Turn::Goes, "nobody stops it");
        vehicle.take_dialled();
        Ok(())
    }

    /// Moves bytes between links and sockets; whether any moved.
    fn wires(&mut self, number: usize) -> bool {
        let now = self.now_us.get();
        let mut moved = false;
        for index in 0..self.vehicles[number].wires.len() {
            let way = self.way_us();
            let conn = self.conns + 1;
            let window = self.vehicles[number].wires[index].window.map(|window| (number, window));
            let may = if self.plenty { PLENTY } else { self.weather.bytes_max };
            let wire = &mut self.vehicles[number].wires[index];
            let takes = wire.link.takes().min(wire.inbox.len());
            if wire.conn.is_some() && takes > 0 {
                let bytes: Vec<u8> = wire.inbox.drain(..takes).collect();
                wire.link.receive(&bytes);
                moved = true;
                if let Some(window) = window {
                    self.checks.crosses(window, 0, takes as u64, may);
                }
            }
            let wire = &mut self.vehicles[number].wires[index];
            let mut happenings = Vec::new();
            if wire.conn.is_none() && !wire.dialling && wire.link.wants_socket() {
                wire.dialling = true;
                self.conns = conn;
                happenings.push((now + way, Happening::Dialled(number, conn)));
            }
            if let Some(conn) = wire.conn {
                let bytes = wire.link.take();
                if !bytes.is_empty() {
                    moved = true;
                    if let Some(window) = window {
                        self.checks.crosses(window, bytes.len() as u64, 0, may);
                    }
                    wire.up_us = wire.up_us.max(now + way);
                    happenings.push((wire.up_us, Happening::Up(conn, bytes)));
                    if !self.calm && self.dice.happens(self.weather.speaking) {
                        happenings.push((now + 1 + way / 2, Happening::Cut(number)));
                    }
                }
                let why = wire.link.ending();
                let why = why.or_else(|| {
                    (wire.over && wire.inbox.is_empty())
                        .then_some(Why::Network(ErrorKind::UnexpectedEof))
                });
                if let Some(why) = why {
                    moved = true;
                    (wire.conn, wire.over) = (None, false);
                    wire.inbox.clear();
                    wire.link.closed(why);
                    happenings.push((wire.up_us.max(now) + 1, Happening::Gone(conn)));
                }
            }
            happenings.into_iter().for_each(|(at, happening)| self.at(at, happening));
        }
        moved
    }

    /// Forgets links that said goodbye and have no socket any more.
    fn hang_up(&mut self, number: usize) {
        let over = |wire: &Wire| wire.link.is_closed() && wire.conn.is_none() && !wire.dialling;
        self.vehicles[number].wires.retain(|wire| !over(wire));
    }

    /// Lets the timekeeper do what there is to do now.
    pub(crate) fn keep_time(&mut self) {
        let now = self.now_us.get();
        for (topic, bytes) in self.keeper.act(utc_ms(now)) {
            self.keeper.hear(&topic, &bytes, utc_ms(now));
            let spoken = self.cluster.leave(&topic, Bytes::from(bytes));
            spoken.into_iter().for_each(|conn| self.hear(conn));
        }
        let due = self.keeper.poll_timeout().map(|ms| us_of(ms).max(now + 1));
        let before = self.keeper.wakes_us.filter(|at| *at > now);
        if let Some(due) = due
            && before.is_none_or(|before| due < before)
        {
            self.keeper.wakes_us = Some(due);
            self.at(due, Happening::KeeperWakes);
        }
    }

    /// Lets the beacons do what there is to do now.
    fn pass_on(&mut self) {
        for number in 0..self.stations.len() {
            let node = self.stations[number].node;
            loop {
                let left = self.stations[number].act(&self.cluster.nodes()[node]);
                if left.is_empty() {
                    break;
                }
                for (topic, bytes) in left {
                    self.trouble("passed on");
                    let spoken = self.cluster.nodes()[node].leave(&topic, bytes);
                    spoken.into_iter().for_each(|conn| self.hear(conn));
                }
            }
        }
    }

    /// What one node published goes on its way to the others.
    fn cross(&mut self) {
        for crossing in self.cluster.crosses() {
            let at = self.now_us.get() + self.way_us();
            let after = &mut self.across_us[crossing.to];
            *after = at.max(*after);
            let at = *after;
            self.at(at, Happening::Across(crossing));
        }
    }
}
