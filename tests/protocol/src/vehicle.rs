//! One vehicle: the program that ships, on disks, a clock and wires of this world.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use embassy_time::Instant;
use shoal_keys::KeyAt;
use shoal_link::{Broker, LinkError, Settings, Unwired};
use shoal_swarm::privacy::{Noise, Privacy};
use shoal_swarm::records::{STANDING_WINDOWS, age_windows};
use shoal_swarm::swarm::Swarm;
use shoal_vehicle::config::FleetConfig;
use shoal_vehicle::exchange::around::{Around, Dial, Time};
use shoal_vehicle::exchange::clock::Clock;
use shoal_vehicle::exchange::look::Look;
use shoal_vehicle::exchange::metrics::Metrics;
use shoal_vehicle::exchange::run::{Carried, Exchange, ExchangeError, Run};
use shoal_vehicle::exchange::vault::Vault;
use shoal_wire::v1::Metric;
use shoal_wire::{KeyId, RecordId};

use crate::board::Conn;
use crate::calendar::Calendar;
use crate::documents::{EPOCH_S, FLEET, Fleet};
use crate::engine::{Character, Simulated, layout};
use crate::sim_disk::SimDisk;

/// The world begins so long before the first window, in seconds.
pub const BEFORE_S: u64 = 50;

/// A vehicle and what it lives on.
pub struct Vehicle {
    /// Its number.
    pub number: usize,
    /// Where it is.
    pub region: &'static str,
    /// Who it is.
    pub key: KeyId,
    /// What it does to others.
    pub character: Character,
    /// Its engine.
    pub engine: Simulated,
    /// How its contributions are made private.
    pub privacy: Option<Privacy>,
    /// Whether it listens to beacons.
    pub beacons: bool,
    /// The program, while it runs.
    pub exchange: Option<Exchange>,
    /// What it counts.
    pub metrics: Metrics,
    /// Its connections.
    pub wires: Vec<Wire>,
    /// How far its clock is off, in seconds.
    pub off_s: Rc<Cell<i64>>,
    /// When it came to the fleet.
    pub came_us: u64,
    /// When connections of it ended that it did not end.
    pub ends_us: Vec<u64>,
    /// When the program began.
    pub started_us: u64,
    /// When it is looked at again.
    pub wakes_us: Option<u64>,
    /// What its conditions are…
    pub look: Look,
    /// …and since when they do not allow an exchange.
    pub unfit_us: Option<u64>,
    /// What counted when its power went, until it is seen whether it still does.
    pub counted: BTreeSet<RecordId>,
    /// Who stood aside in that window when its power went.
    pub aside: (u32, BTreeSet<KeyId>),
    calendar: Calendar,
    tables: SimDisk,
    blobs: SimDisk,
    folder: PathBuf,
    /// What says which documents count, if anything does.
    trust: Option<PathBuf>,
    now_us: Rc<Cell<u64>>,
    dialled: Rc<RefCell<Vec<Wire>>>,
}

/// A link, and the socket that carries it.
#[derive(Debug)]
pub struct Wire {
    /// The vehicle's end.
    pub link: Unwired,
    /// The socket.
    pub conn: Option<Conn>,
    /// Whether one is being opened.
    pub dialling: bool,
    /// Since when there is that socket.
    pub since_us: u64,
    /// Whether an earlier one of it was cut.
    pub was_cut: bool,
    /// Since when something that was sent waits for its acknowledgement.
    pub waits_us: Option<u64>,
    /// When the last bytes each way arrive.
    pub up_us: u64,
    /// The other way.
    pub down_us: u64,
    /// What arrived and the link did not take yet.
    pub inbox: Vec<u8>,
    /// Whether the broker closed it, once that is taken.
    pub over: bool,
    /// The window that it is for, by the vehicle's clock: what it carries counts there. `None`: it joins, with a budget of its own.
    pub window: Option<u32>,
}

impl Wire {
    /// Since when it is connected in this window.
    pub fn connected_in(&self, window: u32) -> Option<u64> {
        (self.window == Some(window) && self.conn.is_some()).then_some(self.since_us)
    }
}

#[derive(Debug)]
struct Clocks {
    now_us: Rc<Cell<u64>>,
    started_us: u64,
    off_s: Rc<Cell<i64>>,
}

impl Time for Clocks {
    fn since_start(&self) -> Instant {
        Instant::from_micros(self.now_us.get() - self.started_us)
    }

    fn utc_seconds(&self) -> u64 {
        utc_seconds(self.now_us.get()).saturating_add_signed(self.off_s.get())
    }
}

/// True UTC, in seconds.
#[must_use]
pub fn utc_seconds(now_us: u64) -> u64 {
    EPOCH_S - BEFORE_S + now_us / 1_000_000
}

#[derive(Debug)]
struct Dialler {
    calendar: Calendar,
    now_us: Rc<Cell<u64>>,
    off_s: Rc<Cell<i64>>,
    dialled: Rc<RefCell<Vec<Wire>>>,
}

impl Dial for Dialler {
    fn dial(&mut self, settings: Settings) -> Result<Box<dyn Broker>, LinkError> {
        // A line that joins has a budget of its own from the beginning.
        let utc_s = utc_seconds(self.now_us.get()).saturating_add_signed(self.off_s.get());
        let window = utc_s.saturating_sub(EPOCH_S) / u64::from(self.calendar.period_s);
        let window = (settings.limit.up == 0).then_some(window as u32);
        let link = Unwired::new(settings, Instant::from_micros(self.now_us.get()));
        self.dialled.borrow_mut().push(Wire {
            link: link.clone(),
            conn: None,
            dialling: false,
            since_us: 0,
            was_cut: false,
            waits_us: None,
            up_us: 0,
            down_us: 0,
            inbox: Vec::new(),
            over: false,
            window,
        });
        Ok(Box::new(link))
    }
}

impl Vehicle {
    /// A vehicle that was never started.
    #[must_use]
    pub fn new(
        number: usize,
        fleet: &Fleet,
        engine: Simulated,
        character: Character,
        folder: PathBuf,
        now_us: Rc<Cell<u64>>,
    ) -> Self {
        fs::create_dir_all(&folder).unwrap();
        shoal_keys::create(&folder.join("vehicle.key"), &fleet.secret(number)).unwrap();
        Vehicle {
            number,
            region: fleet.regions()[number % fleet.regions],
            key: fleet.vehicles[number].public().id(),
            character,
            engine,
            privacy: None,
            beacons: false,
            exchange: None,
            metrics: Metrics::default(),
            came_us: 0,
            ends_us: Vec::new(),
            wires: Vec::new(),
            off_s: Rc::default(),
            started_us: 0,
            wakes_us: None,
            look: Look::recorded(),
            unfit_us: None,
            counted: BTreeSet::new(),
            aside: (0, BTreeSet::new()),
            calendar: fleet.calendar,
            tables: SimDisk::default(),
            blobs: SimDisk::default(),
            folder,
            trust: None,
            now_us,
            dialled: Rc::default(),
        }
    }

    /// From its next start on, a document counts for it by metadata alone.
    pub fn trust(&mut self, fleet: &Fleet) {
        let folder = self.folder.join("trust");
        fleet.write_trust(&folder, self.region);
        self.trust = Some(folder);
    }

    /// The program starts.
    ///
    /// # Errors
    /// As the program's.
    pub fn start(&mut self, fleet: &Fleet) -> Result<(), ExchangeError> {
        (self.started_us, self.metrics) = (self.now_us.get(), Metrics::default());
        let vault = Vault::on(Box::new(self.tables.clone()), Box::new(self.blobs.clone()))?;
        let (now_us, off_s) = (Rc::clone(&self.now_us), Rc::clone(&self.off_s));
        let time = Clocks { now_us, started_us: self.started_us, off_s };
        let clock = Clock::on(Box::new(time), vault.utc_at_least()?);
        let dial = Dialler {
            calendar: self.calendar,
            now_us: Rc::clone(&self.now_us),
            off_s: Rc::clone(&self.off_s),
            dialled: Rc::clone(&self.dialled),
        };
        let engine = Box::new(self.engine.clone());
        let noise = Noise::new(self.noise_key());
        let around = Around { clock, dial: Box::new(dial), engine, noise, guard: None };
        let told = FleetConfig {
            name: FLEET.into(),
            region: self.region.into(),
            regions: fleet.regions().iter().map(|region| (*region).into()).collect(),
            broker: "mqtt://broker".into(),
            certificates: None,
            key: KeyAt::File(self.folder.join("vehicle.key")),
            next_key: None,
            packs: vec![self.folder.clone()],
            authority: fleet.authority.public(),
            timekeeper: fleet.timekeeper.public(),
            approver: fleet.approver.public(),
            trust: self.trust.clone(),
            exchange: true,
            beacons: self.beacons,
            metered: false,
            while_driving: false,
            battery_soc_min_percent: 30,
            temperature_max_c: 85,
        };
        let run = Run {
            windows: None,
            stop: Arc::new(AtomicBool::new(false)),
            state: self.folder.clone(),
            seed: self.number as u64,
            metrics: self.metrics.clone(),
            recorded: false,
            privacy: self.privacy,
        };
        let (base_model, measures) = (fleet.model(), vec![(fleet.pack(), Metric::Skill)]);
        let (layout, tried) = (layout(), self.engine.tried());
        let carried = Carried { layout, base_model, measures, tried };
        let mut exchange = Exchange::on(run, told, carried, vault, around, self.look)?;
        exchange.begin();
        self.exchange = Some(exchange);
        Ok(())
    }

    /// Another one at each start: a start has its time.
    fn noise_key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        let parts =
            (self.number as u64).to_le_bytes().into_iter().chain(self.started_us.to_le_bytes());
        key.iter_mut().zip(parts).for_each(|(key, part)| *key = part);
        key
    }

    /// Links that it has begun since this was asked last.
    pub fn take_dialled(&mut self) {
        let mut new = self.dialled.borrow_mut();
        self.wires.append(&mut new);
    }

    /// The power goes after so many more operations of its disk.
    pub fn cut_power_after(&self, operations: u64) {
        self.tables.cut_at(self.tables.operations() + operations);
    }

    /// From now on its disks have no room, or as much as they need.
    pub fn fill_disk(&self, full: bool) {
        for disk in [&self.tables, &self.blobs] {
            disk.allow(full.then(|| disk.used()));
        }
    }

    /// Operations that failed for want of room.
    #[must_use]
    pub fn had_no_room(&self) -> u64 {
        self.tables.full() + self.blobs.full()
    }

    /// SHA-256 of all that was ever written on each of its disks.
    #[must_use]
    pub fn written(&self) -> [[u8; 32]; 2] {
        [&self.tables, &self.blobs].map(SimDisk::written)
    }

    /// Whether it has no power.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.tables.is_cut()
    }

    /// Nothing runs any more: what was not written down is lost, or half there. Its sockets are gone.
    pub fn lose_power(&mut self, seed: u64) -> Vec<Conn> {
        if let Some(swarm) = self.exchange.take().as_ref().and_then(Exchange::swarm) {
            let window = self.calendar.window_of(self.now_us.get());
            // A window may open before it is there again, and with it what was kept longest is too old.
            let lives = age_windows(self.calendar.period_s) + STANDING_WINDOWS;
            self.counted = records_since(swarm, (window + 2).saturating_sub(lives));
            self.aside = (window, swarm.quarantined(window));
        }
        self.engine.forget();
        self.tables = self.tables.after_cut(seed);
        self.blobs = self.blobs.after_cut(seed);
        self.dialled.borrow_mut().clear();
        self.ends_us.push(self.now_us.get());
        self.wires.drain(..).filter_map(|wire| wire.conn).collect()
    }

    /// Since when it is connected in this window.
    #[must_use]
    pub fn connected_in(&self, window: u32) -> Option<u64> {
        self.wires.iter().filter_map(|wire| wire.connected_in(window)).min()
    }

    /// When it has something to do again.
    #[must_use]
    pub fn due_us(&self) -> Option<u64> {
        let exchange = self.exchange.as_ref()?.poll_timeout();
        let exchange = exchange.map(|at| self.started_us.saturating_add(at.as_micros()));
        let waits = self.wires.iter().filter(|wire| !wire.dialling);
        let wires = waits.filter_map(|wire| wire.link.poll_timeout());
        let wires = wires.map(|at| at.as_micros()).min();
        [exchange, wires, self.engine.poll_timeout()].into_iter().flatten().min()
    }
}

/// More windows than any world of a seed has.
pub const WINDOWS_MAX: u32 = 64;

/// Windows of which something may count: all of a world of a seed, the last of one that goes on for long.
#[must_use]
pub fn windows(swarm: &Swarm) -> Range<u32> {
    let last = swarm.records().claimed_windows().last().copied().unwrap_or(0);
    let first = last.saturating_sub(WINDOWS_MAX - 8);
    first..first + WINDOWS_MAX
}

/// All that counts.
#[must_use]
pub fn records(swarm: &Swarm) -> BTreeSet<RecordId> {
    records_since(swarm, 0)
}

/// What counts of this window and later ones.
fn records_since(swarm: &Swarm, first: u32) -> BTreeSet<RecordId> {
    let records = swarm.records();
    let mut all = BTreeSet::new();
    for window in windows(swarm).filter(|window| *window >= first) {
        all.extend(records.claims(window).map(|claim| claim.id));
        all.extend(records.particles(window).map(|header| header.id));
        all.extend(records.votes(window).map(|vote| vote.id));
    }
    all
}

impl fmt::Debug for Vehicle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wait = |at: Instant| at.as_micros();
        let program = self.exchange.as_ref().and_then(|exchange| exchange.poll_timeout());
        f.debug_struct("Vehicle")
            .field("number", &self.number)
            .field("program", &program.map(|at| self.started_us.saturating_add(at.as_micros())))
            .field("engine", &self.engine.poll_timeout())
            .field("events", &self.wires.iter().map(|w| w.link.has_event()).collect::<Vec<_>>())
            .field(
                "links",
                &self.wires.iter().map(|w| w.link.poll_timeout().map(wait)).collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use shoal_wire::v1::Claim;
    use shoal_wire::{Leaf, Topic, Unverified};

    use super::Vehicle;
    use crate::board::{Lost, Manners};
    use crate::intruder::Everybody;
    use crate::weather::Weather;
    use crate::world::{Happening, SECOND_US, World};

    /// The window in which something goes wrong.
    const WINDOW: u32 = 1;

    /// Whether it has claimed something in that window, as its diary has it.
    fn claimed(vehicle: &Vehicle) -> bool {
        let diary = fs::read_to_string(vehicle.folder.join("windows.jsonl")).unwrap();
        let entry = |line| -> serde_json::Value { serde_json::from_str(line).unwrap() };
        diary.lines().map(entry).any(|of| of["window"] == WINDOW && of["claimed"] == true)
    }

    /// Whether a claim of it of that window ever stood on the board.
    fn stood(world: &World, vehicle: &Vehicle) -> bool {
        let keys = Everybody(&world.fleet);
        world.cluster.published(0).iter().any(|(topic, bytes)| {
            let place = Topic::decode(topic).unwrap();
            let own = place.publisher() == vehicle.key;
            own && matches!(place.leaf(), Leaf::Claim { .. }) && {
                let claim = Unverified::decode(bytes).unwrap().verify::<Claim>(&keys).unwrap();
                claim.body().fields().window == WINDOW
            }
        })
    }

    /// The line is dead while the claim is measured, and is given up: the next one in this window says it, none of a later one can.
    #[test]
    fn what_was_claimed_as_conditions_ended_stands_on_the_board_once_they_are_back() {
        let (mut said, mut silent) = (0, Vec::new());
        for tenths in (30..80).step_by(2) {
            let mut world = World::new(1, Weather::fair(2, 2));
            let at = world.calendar.opens_us(WINDOW) + tenths * SECOND_US / 10;
            for number in 0..2 {
                world.at(at, Happening::Unfit(number, 0));
                for cut in 0..120 {
                    world.at(at + cut * SECOND_US / 20, Happening::Cut(number));
                }
                world.at(at + 5 * SECOND_US, Happening::Fit(number));
            }
            world.run();
            for vehicle in world.vehicles.iter().filter(|vehicle| claimed(vehicle)) {
                if stood(&world, vehicle) {
                    said += 1;
                } else {
                    silent.push((tenths, vehicle.number));
                }
            }
        }
        assert_eq!((silent, said > 0), (Vec::new(), true), "tenths of a second, and vehicles");
    }

    /// A node that dies takes with it what it acknowledged in its last second.
    #[test]
    fn what_a_node_took_with_it_is_published_again() {
        let mut mended = 0;
        for tenths in (2..200).step_by(6) {
            let manners = Manners { loses: 1.0, ..Manners::default() };
            let mut world = World::new(1, Weather { manners, ..Weather::fair(3, 2) });
            let at = world.calendar.opens_us(WINDOW) + tenths * SECOND_US / 10;
            world.at(at, Happening::NodeDies(None));
            world.run();
            let lost: Vec<&Lost> = world.cluster.lost().map(|(_key, lost)| lost).collect();
            assert!(lost.iter().all(|lost| lost.mended), "{tenths} tenths of a second: {lost:?}");
            mended += lost.len();
        }
        assert!(mended > 10, "{mended}");
    }

    /// Its clock said that the plan was over when that came.
    #[test]
    fn a_plan_that_came_while_the_clock_was_ahead_counts_once_it_is_set() {
        let mut world = World::new(1, Weather::fair(2, 2));
        world.vehicles[1].off_s.set(400 * 86_400);
        // With the first calm window's trouble all clocks are right.
        let windows = world.weather.windows;
        world.at(30 * SECOND_US, Happening::Trouble(windows));
        world.run();
        let vehicle = &world.vehicles[1];
        assert!(vehicle.started_us < 30 * SECOND_US, "it has not started again");
        assert!(world.checks.crossed.contains_key(&(1, 0)), "it took no part in the first window");
    }
}
