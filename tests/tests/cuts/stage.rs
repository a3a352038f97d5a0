//! A fleet of the real programs, each in a namespace of its own, and who starts them again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use shoal_swarm::keyring::Keyring;
use shoal_tests::brokers::installed;
use shoal_tests::clock::{Stopwatch, until};
use shoal_tests::fleet::{Fleet, Plan, Program, program, say, text, utc_ms};
use shoal_tests::observer::Observer;
use shoal_wire::Unverified;
use shoal_wire::v1::WindowPlan;
use tempfile::TempDir;

use crate::draw::{OPEN_S, PERIOD_S, Target, VEHICLES};
use crate::inside;
use crate::shaper::{Shaper, address};

/// What a vehicle's disk holds.
pub(crate) const DISK: &str = "64m";
/// What may cross a vehicle's socket in a window: more than it needs when all goes well, and not much more.
pub(crate) const UP_BYTES_MAX: u64 = 12 << 10;
pub(crate) const DOWN_BYTES_MAX: u64 = 40 << 10;
/// The file on its disk that takes what is free.
pub(crate) const FILLER: &str = "filler";

/// The fleet, its broker, and the network between them.
pub(crate) struct Stage {
    pub(crate) fleet: Fleet,
    pub(crate) shaper: Shaper,
    pub(crate) observer: Observer,
    /// When the network began, UTC in milliseconds.
    pub(crate) began_ms: u64,
    /// When window 0 opened, UTC in milliseconds.
    epoch_ms: u64,
    watch: Stopwatch,
    broker: TempDir,
    mosquitto: PathBuf,
    faketime: Option<PathBuf>,
    programs: BTreeMap<Target, Mutex<Option<Program>>>,
    failures: Mutex<Vec<String>>,
}

impl Stage {
    /// All of it, running; `None`, said aloud: this machine has not what it takes, and it is not required.
    pub(crate) fn set(test: &str, seed: u64, faketime: Option<PathBuf>) -> Option<Self> {
        let mosquitto = installed("mosquitto", "-h", "SHOAL_REQUIRE_MOSQUITTO")?;
        let names: Vec<String> = targets().into_iter().map(name).chain(["me".into()]).collect();
        let shaper = match Shaper::between(&names, seed) {
            Ok(shaper) => shaper,
            Err(why) => {
                inside::skipped(test, &why, inside::REQUIRE_NAMESPACES);
                return None;
            }
        };
        let began_ms = utc_ms();
        let broker: SocketAddr =
            format!("{}:1883", address(node(Target::Broker))).parse().expect("an address");
        let plan = Plan {
            vehicles: VEHICLES as u32,
            period_seconds: PERIOD_S,
            open_seconds: OPEN_S,
            ..Plan::default()
        };
        let fleet = Fleet::make(&plan, broker)?;
        let [up, down] = [UP_BYTES_MAX, DOWN_BYTES_MAX].map(|bytes| bytes.to_string());
        fleet.plan(&["--bytes-up", &up, "--bytes-down", &down, "--few-bytes"]);
        for vehicle in 0..VEHICLES {
            let state = fleet.vehicle_path(vehicle as u32).join("state");
            fs::create_dir_all(&state).expect("a folder");
            inside::mount(&state, DISK).expect("a disk");
        }
        let folder = TempDir::new().expect("a folder");
        let observer = Observer::start(&fleet.told(0));
        let stage = Self {
            shaper,
            observer,
            began_ms,
            watch: Stopwatch::start(),
            epoch_ms: epoch_ms(&fleet),
            fleet,
            mosquitto,
            broker: folder,
            faketime,
            programs: targets().into_iter().map(|target| (target, Mutex::new(None))).collect(),
            failures: Mutex::new(Vec::new()),
        };
        stage.start(Target::Broker);
        until("mosquitto runs", || stage.said(Target::Broker).contains(" running").then_some(()));
        for target in targets() {
            stage.move_clock(target, 0);
            if target != Target::Broker {
                stage.start(target);
            }
        }
        Some(stage)
    }

    /// Starts it, in its namespace.
    pub(crate) fn start(&self, target: Target) {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", name(target)));
        match target {
            Target::Vehicle(number) => {
                let clock = self.clock_file(target);
                if let Some(library) = &self.faketime {
                    command.arg("env").arg(format!("LD_PRELOAD={}", library.display()));
                    command.env("FAKETIME_TIMESTAMP_FILE", clock);
                    command.env("FAKETIME_CACHE_DURATION", "1").env("NO_FAKE_STAT", "1");
                    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
                }
                let config = self.fleet.vehicle_path(number as u32).join("vehicle.toml");
                command.arg(program("shoal-vehicle"));
                command.args(["--config", text(&config), "--verbose"]);
            }
            Target::Broker => {
                let path = self.broker.path().join("mosquitto.conf");
                let folder = self.broker.path().display();
                // A sign of life every ten seconds; what it retains is written soon.
                let lines = format!(
                    "user root\nallow_anonymous true\npersistence true\npersistence_location {folder}/\n\
                     autosave_on_changes true\nautosave_interval 20\nmax_keepalive 10\n\
                     max_queued_messages 100000\n\
                     log_dest stderr\nlog_type information\nlog_type warning\nlog_type error\n\
                     listener 1883 0.0.0.0\n"
                );
                fs::write(&path, lines).expect("a file");
                command.arg(&self.mosquitto).args(["-c", text(&path)]);
            }
            Target::Timekeeper => {
                command.arg(program("shoal")).args(["fleet", "serve", text(&self.fleet.path())]);
            }
        }
        *self.program(target) = Some(Program::run(command, self.log(target)));
    }

    /// The program of a target; `None`: it does not run.
    pub(crate) fn program(&self, target: Target) -> MutexGuard<'_, Option<Program>> {
        lock(&self.programs[&target])
    }

    /// Its process.
    pub(crate) fn id(&self, target: Target) -> u32 {
        self.program(target).as_ref().map_or(0, Program::id)
    }

    /// Where it says what it does.
    pub(crate) fn log(&self, target: Target) -> PathBuf {
        match target {
            Target::Vehicle(number) => self.fleet.vehicle_path(number as u32).join("log"),
            Target::Broker => self.broker.path().join("log"),
            Target::Timekeeper => self.broker.path().join("serve.log"),
        }
    }

    /// All that it has said.
    pub(crate) fn said(&self, target: Target) -> String {
        self.said_after(target, 0).0
    }

    /// What it has said after so many bytes, in whole lines; and how many bytes these are with those before.
    pub(crate) fn said_after(&self, target: Target, bytes: u64) -> (String, u64) {
        let mut said = Vec::new();
        if let Ok(mut file) = File::open(self.log(target)) {
            let from = file.seek(SeekFrom::Start(bytes));
            from.and_then(|_at| file.read_to_end(&mut said)).expect("its log is read");
        }
        let whole = said.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        said.truncate(whole);
        (String::from_utf8_lossy(&said).into_owned(), bytes + whole as u64)
    }

    /// How much it has said.
    pub(crate) fn said_bytes(&self, target: Target) -> u64 {
        fs::metadata(self.log(target)).map_or(0, |log| log.len())
    }

    /// From now on the clock of its process is so many seconds off.
    pub(crate) fn move_clock(&self, target: Target, seconds: i64) {
        // Replaced as a whole: it is read at any moment.
        let (file, new) = (self.clock_file(target), self.broker.path().join(name(target)));
        fs::write(&new, format!("{seconds:+}\n")).expect("a file");
        fs::rename(&new, &file).expect("a file");
    }

    fn clock_file(&self, target: Target) -> PathBuf {
        self.broker.path().join(format!("{}.clock", name(target)))
    }

    /// What the broker keeps.
    pub(crate) fn kept(&self) -> PathBuf {
        self.broker.path().join("mosquitto.db")
    }

    /// The disk of a vehicle.
    pub(crate) fn disk(&self, number: usize) -> PathBuf {
        self.fleet.vehicle_path(number as u32).join("state")
    }

    /// Takes all that is free on a vehicle's disk; how much that was. The system refuses more.
    pub(crate) fn fill(&self, number: usize) -> Result<u64, String> {
        let path = self.disk(number).join(FILLER);
        let mut file = File::create(&path).map_err(|error| error.to_string())?;
        let mut filled = 0;
        for piece in [1 << 20, 1 << 16, 1 << 12] {
            let piece = vec![0xA5; piece];
            loop {
                match file.write(&piece) {
                    Ok(wrote) => filled += wrote as u64,
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.to_string()),
                }
            }
        }
        Ok(filled)
    }

    /// Gives it back.
    pub(crate) fn free(&self, number: usize) {
        fs::remove_file(self.disk(number).join(FILLER)).expect("the filler is there");
    }

    /// The window at this moment of UTC, by the plan.
    pub(crate) fn window(&self, utc_ms: u64) -> u64 {
        utc_ms.saturating_sub(self.epoch_ms) / (1000 * u64::from(PERIOD_S))
    }

    /// Time since the start, in milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        self.watch.elapsed().as_millis() as u64
    }

    /// Something does not hold: nothing more is begun.
    pub(crate) fn fails(&self, why: String) {
        say(&format!("FAILED: {why}"));
        lock(&self.failures).push(why);
    }

    /// What does not hold.
    pub(crate) fn failures(&self) -> Vec<String> {
        lock(&self.failures).clone()
    }
}

/// When window 0 opens, as the authority signed it.
fn epoch_ms(fleet: &Fleet) -> u64 {
    let plan = fs::read(fleet.path().join("documents/plan.shl")).expect("a plan");
    let told = fleet.told(0);
    let keys = Keyring::new(told.authority, told.timekeeper);
    let plan = Unverified::decode(&plan).expect("a record").verify::<WindowPlan>(&keys);
    plan.expect("a plan").body().fields().epoch_seconds * 1000
}

/// All of them.
pub(crate) fn targets() -> Vec<Target> {
    let vehicles = (0..VEHICLES).map(Target::Vehicle);
    vehicles.chain([Target::Broker, Target::Timekeeper]).collect()
}

/// Which node it is.
pub(crate) fn node(target: Target) -> usize {
    match target {
        Target::Vehicle(number) => number,
        Target::Broker => VEHICLES,
        Target::Timekeeper => VEHICLES + 1,
    }
}

/// What its namespace and its interface are called.
pub(crate) fn name(target: Target) -> String {
    match target {
        Target::Vehicle(number) => format!("vehicle-{number}"),
        Target::Broker => "broker".into(),
        Target::Timekeeper => "timekeeper".into(),
    }
}

/// Waits so long.
pub(crate) fn rest(milliseconds: u64) {
    let (watch, whole) = (Stopwatch::start(), Duration::from_millis(milliseconds));
    while let Some(left) = whole.checked_sub(watch.elapsed()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}

/// Looks until it is there, for so long.
pub(crate) fn within<T>(milliseconds: u64, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let (watch, whole) = (Stopwatch::start(), Duration::from_millis(milliseconds));
    loop {
        let found = look();
        if found.is_some() || watch.elapsed() > whole {
            return found;
        }
        thread::park_timeout(Duration::from_millis(4));
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
