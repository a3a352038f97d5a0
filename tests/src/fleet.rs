//! A fleet of the real programs: `shoal fleet serve` and `shoal-vehicle`, each a process, on generated roads of a few
//! small frames and with a model that learns from a step.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use shoal_hal::backend::synthetic::Region;
use shoal_runtime::engine::testing::ort_or_skip;
use shoal_shadow::package::Package;
use shoal_vehicle::config::{Config, FleetConfig};
use shoal_wire::SecretKey;
use tempfile::TempDir;

use crate::carried::{drivers, pack, pack_of, package, policy};
use crate::clock::until;
use crate::data;

/// Lines of a log that a failure shows.
const SHOWN: usize = 60;

/// How a fleet is to be.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Vehicles of the roster.
    pub vehicles: u32,
    /// Regions in which they are in turn.
    pub regions: &'static [&'static str],
    /// From one window to the next, in seconds.
    pub period_seconds: u32,
    /// How long a window is open, in seconds.
    pub open_seconds: u32,
    /// Steps of training between two windows.
    pub steps: u32,
    /// Which model they carry.
    pub carries: Carries,
    /// Whether they drive recorded roads, where this machine has some.
    pub recorded: bool,
}

/// A model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// One that is untrained and very small: all is quick.
    Tiny,
    /// The one that ships.
    Shipped,
    /// A policy as small and untrained, in the hands of attentive drivers.
    Policy,
}

impl Default for Plan {
    fn default() -> Self {
        let carries = Carries::Tiny;
        let (recorded, regions) = (false, &["region-0"][..]);
        Plan {
            vehicles: 2,
            regions,
            period_seconds: 4,
            open_seconds: 3,
            steps: 3,
            carries,
            recorded,
        }
    }
}

/// A fleet's folder.
#[derive(Debug)]
pub struct Fleet {
    folder: TempDir,
    /// Variables of its programs.
    variables: Vec<(&'static str, PathBuf)>,
}

/// A program of the fleet; dropped, it is killed.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Fleet {
    /// Makes one. `None`, said aloud: this machine has no ONNX Runtime.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn make(plan: &Plan, broker: SocketAddr) -> Option<Self> {
        Self::make_at(plan, &format!("mqtt://{broker}"))
    }

    /// The same, on a broker at this address.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn make_at(plan: &Plan, broker: &str) -> Option<Self> {
        ort_or_skip()?;
        let fleet = Self { folder: TempDir::new().expect("a folder"), variables: Vec::new() };
        let folder = fleet.folder.path();
        let (model, frames, rate) = match plan.carries {
            Carries::Tiny => {
                package(&folder.join("model"));
                (folder.join("model"), 90, 1e-2)
            }
            // As few frames as a drive may have.
            Carries::Shipped => {
                (Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/world"), 60, 1e-3)
            }
            Carries::Policy => {
                policy(&folder.join("model"));
                (folder.join("model"), 90, 1e-2)
            }
        };
        let package = Package::open(&model).expect("a package");
        // An emulated computer measures two frames a second.
        let roads = if plan.carries == Carries::Shipped { 1 } else { 4 };
        match plan.carries {
            Carries::Tiny | Carries::Shipped => {
                pack(package.description(), roads, &folder.join("pack"));
            }
            Carries::Policy => drivers(package.description(), &folder.join("pack")),
        }
        let like = folder.join("like.toml");
        let regions = "regions = [\"highway\", \"autobahn\", \"rural\", \"forest\"]";
        let tub = plan.recorded.then(|| data::folder("drives")).flatten();
        let tub = tub.map(|drives| drives.join("donkeycar_tub"));
        let drives = match &tub {
            Some(tub) => {
                data::copy_frames(tub, plan.vehicles, frames, &folder.join("recorded"));
                "directory = \"recorded\"".to_owned()
            }
            None if plan.carries == Carries::Policy => {
                format!("{regions}\nframes = {frames}\ndriver = \"attentive\"")
            }
            None => format!("{regions}\nframes = {frames}"),
        };
        let toml = format!(
            "[drives]\n{drives}\n\
             [replay]\nordinary_share = 1.0\n\
             [night]\nsteps = {}\nslice = 1\nbatch = 4\nclips_min = 1\nlearning_rate = {rate:?}\n",
            plan.steps
        );
        fs::write(&like, toml).expect("a file");
        // A first window that the vehicles are ready for.
        let epoch = (utc_seconds() + 2).to_string();
        let (vehicles, period) = (plan.vehicles.to_string(), plan.period_seconds.to_string());
        let open = plan.open_seconds.to_string();
        let made = Command::new(program("shoal"))
            .current_dir(folder)
            .args(["fleet", "init", "fleet", "--pack", "pack", "--seed", "7"])
            .args(["--package", text(&model)])
            .args(["--vehicle", "like.toml", "--broker", broker, "--vehicles", &vehicles])
            .args(plan.regions.iter().flat_map(|region| ["--region", region]))
            .args(["--period", &period, "--open", &open, "--epoch", &epoch])
            .output()
            .expect("shoal runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(fleet)
    }

    /// Makes one more pack of the tiny model, of two other roads.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn another_pack(&self, id: &str) -> PathBuf {
        let package = Package::open(&self.folder.path().join("model")).expect("a package");
        let folder = self.folder.path().join(id);
        pack_of(package.description(), (&[Region::City, Region::Suburb], 3_000_100), id, &folder);
        folder
    }

    /// Sets a variable of all programs that are started from now on.
    pub fn set(&mut self, variable: &'static str, to: PathBuf) {
        self.variables.push((variable, to));
    }

    /// Runs `shoal` with these variables.
    ///
    /// # Errors
    /// What it says is wrong.
    ///
    /// # Panics
    /// When it does not run.
    pub fn shoal(&self, args: &[&str]) -> Result<String, String> {
        shoal_with(&self.variables, args)
    }

    /// The folder that `shoal fleet init` wrote.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("fleet")
    }

    /// The folder of a vehicle.
    pub fn vehicle_path(&self, number: u32) -> PathBuf {
        self.path().join(format!("vehicle-{number}"))
    }

    /// How many vehicles it has.
    pub fn vehicles(&self) -> u32 {
        (0..).take_while(|number| self.vehicle_path(*number).is_dir()).count() as u32
    }

    /// What a vehicle is told.
    ///
    /// # Panics
    /// When its configuration cannot be read.
    pub fn config(&self, number: u32) -> Config {
        Config::read(&self.vehicle_path(number).join("vehicle.toml")).expect("a configuration")
    }

    /// What a vehicle is told of the fleet.
    ///
    /// # Panics
    /// As [`Fleet::config`].
    pub fn told(&self, number: u32) -> FleetConfig {
        self.config(number).fleet.expect("a fleet")
    }

    /// The key of a vehicle.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn key(&self, number: u32) -> SecretKey {
        let path = self.vehicle_path(number).join("vehicle.key");
        shoal_keys::read(&path).expect("a key")
    }

    /// Makes the next key of a vehicle, as on its computer; its public half.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn next_key(&self, number: u32) -> String {
        let config = self.vehicle_path(number).join("vehicle.toml");
        let args = ["--config", text(&config), "--next-key"];
        let done = Command::new(program("shoal-vehicle")).args(args).output().expect("it runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let said = String::from_utf8(done.stdout).expect("UTF-8");
        said.split_whitespace().last().expect("a public key").to_owned()
    }

    /// Gives a vehicle this key.
    ///
    /// # Panics
    /// When `shoal key rotate` fails.
    pub fn rotate(&self, number: u32, public: &str) {
        let (path, number) = (self.path(), number.to_string());
        let args = ["key", "rotate", text(&path), "vehicle", "--number", &number];
        self.shoal(&[&args[..], &["--public", public]].concat()).expect("a roster");
    }

    /// Starts a vehicle by a copy of its program, as an upgrade in another image slot is one.
    ///
    /// # Panics
    /// When there is no room for it.
    pub fn start_upgraded(&self, number: u32) -> Program {
        let copy = self.folder.path().join("slot-b");
        fs::create_dir_all(&copy).expect("a folder");
        let copy = copy.join("shoal-vehicle");
        fs::copy(program("shoal-vehicle"), &copy).expect("a file");
        let path = self.vehicle_path(number);
        let config = path.join("vehicle.toml");
        let args = ["--config", text(&config), "--verbose"];
        self.program(text(&copy), &args, path.join("log"))
    }

    /// Sends a vehicle to another address, from its next start on.
    ///
    /// # Panics
    /// When its configuration cannot be written.
    pub fn send(&self, number: u32, to: SocketAddr) {
        let before = format!("broker = \"{}\"", self.told(number).broker);
        self.tell(number, &before, &format!("broker = \"mqtt://{to}\""));
    }

    /// Changes what a vehicle is told, from its next start on.
    ///
    /// # Panics
    /// When its configuration cannot be written, or does not say what is to be changed.
    pub fn tell(&self, number: u32, before: &str, after: &str) {
        let path = self.vehicle_path(number).join("vehicle.toml");
        let toml = fs::read_to_string(&path).expect("a configuration");
        assert!(toml.contains(before), "{toml}");
        fs::write(&path, toml.replace(before, after)).expect("a file");
    }

    /// Collects what lies on a vehicle's computer that has the package that ships here, and reaches the broker at this
    /// address.
    ///
    /// # Panics
    /// When `shoal fleet provision` fails.
    pub fn provision(&self, number: u32, package: &str, broker: &str) -> PathBuf {
        let (path, equipped) = (self.path(), self.folder.path().join("equipped"));
        let done = Command::new(program("shoal"))
            .args(["fleet", "provision", text(&path), &number.to_string()])
            .args(["--output", text(&equipped), "--package", package, "--broker", broker])
            .output()
            .expect("shoal runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        equipped
    }

    /// Starts the timekeeper.
    pub fn serve(&self) -> Program {
        self.serve_with(&[])
    }

    /// Starts the timekeeper with these flags besides.
    pub fn serve_with(&self, args: &[&str]) -> Program {
        let log = self.folder.path().join("serve.log");
        let path = self.path();
        self.program("shoal", &[&["fleet", "serve", text(&path)], args].concat(), log)
    }

    /// Starts a beacon of this number.
    pub fn beacon(&self, number: u32) -> Program {
        self.beacon_with(number, &[])
    }

    /// The same with these flags besides.
    pub fn beacon_with(&self, number: u32, more: &[&str]) -> Program {
        let log = self.folder.path().join(format!("beacon-{number}.log"));
        let (path, number) = (self.path(), number.to_string());
        let args = ["fleet", "beacon", text(&path), "--number", &number];
        self.program("shoal", &[&args[..], more].concat(), log)
    }

    /// Starts the console; its page's address.
    ///
    /// # Panics
    /// When it says none in time.
    pub fn console(&self) -> (Program, String) {
        let log = self.folder.path().join("console.log");
        let path = self.path();
        let args = ["console", "--fleet", text(&path), "--listen", "127.0.0.1:0"];
        let console = self.program("shoal", &args, log);
        let url = until("the page's address", || {
            console.said().lines().find(|line| line.starts_with("http://")).map(str::to_owned)
        });
        (console, url)
    }

    /// Signs a window plan anew.
    ///
    /// # Panics
    /// When `shoal fleet plan` fails.
    pub fn plan(&self, args: &[&str]) {
        let path = self.path();
        self.shoal(&[&["fleet", "plan", text(&path)], args].concat()).expect("a plan");
    }

    /// Runs `shoal campaign` on the fleet's folder: what it printed, or what it says is wrong.
    ///
    /// # Errors
    /// What it says is wrong.
    ///
    /// # Panics
    /// When it does not run.
    pub fn campaign(&self, what: &str, args: &[&str]) -> Result<String, String> {
        let path = self.path();
        self.shoal(&[&["campaign", what, text(&path)], args].concat())
    }

    /// Writes the record of a campaign, which goes on from an earlier one, with bills of materials of others.
    ///
    /// # Errors
    /// What `shoal evidence` says is wrong.
    ///
    /// # Panics
    /// When it does not run.
    pub fn evidence(
        &self,
        number: u32,
        to: &Path,
        earlier: Option<&Path>,
        bills: &[&Path],
    ) -> Result<String, String> {
        let (path, number) = (self.path(), number.to_string());
        let mut args = vec!["evidence", "write", text(&path), &number, "--output", text(to)];
        args.extend(earlier.iter().flat_map(|earlier| ["--continues", text(earlier)]));
        args.extend(bills.iter().flat_map(|bill| ["--bill", text(bill)]));
        shoal(&args)
    }

    /// Checks such a record.
    ///
    /// # Errors
    /// As for [`Fleet::evidence`].
    ///
    /// # Panics
    /// When it does not run.
    pub fn check_evidence(&self, record: &Path) -> Result<String, String> {
        shoal(&["evidence", "check", text(record)])
    }

    /// Starts a vehicle.
    pub fn start(&self, number: u32, args: &[&str]) -> Program {
        let path = self.vehicle_path(number);
        let config = path.join("vehicle.toml");
        let args = [&["--config", text(&config), "--verbose"], args].concat();
        self.program("shoal-vehicle", &args, path.join("log"))
    }

    fn program(&self, name: &str, args: &[&str], log: PathBuf) -> Program {
        Program::start(name, args, log, &self.variables)
    }

    /// The lines of a vehicle's `windows.jsonl`, but for one half written.
    ///
    /// # Panics
    /// When a whole line is not JSON.
    pub fn windows(&self, number: u32) -> Vec<Value> {
        let path = self.vehicle_path(number).join("state/windows.jsonl");
        let lines = fs::read_to_string(path).unwrap_or_default();
        let whole = lines.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// The first line of a vehicle that is it; waits for it.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn line(&self, number: u32, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        until(what, || self.windows(number).into_iter().find(&is_it))
    }

    /// A window after this one of which all vehicles name the same best.
    ///
    /// # Panics
    /// When none comes in time, or one names another.
    pub fn agree_after(&self, window: u64) -> u64 {
        let later = self.line(0, "a best", |line| {
            line["window"].as_u64() > Some(window)
                && line["took_part"] == true
                && line["best"].is_string()
        });
        for number in 1..self.vehicles() {
            let other =
                self.line(number, "the other's line", |line| line["window"] == later["window"]);
            assert_eq!(later["best"], other["best"], "vehicle {number}");
        }
        later["window"].as_u64().expect("a window has a number")
    }
}

/// What `shoal` printed, or what it says is wrong.
///
/// # Errors
/// What it says is wrong.
///
/// # Panics
/// When it does not run.
pub fn shoal(args: &[&str]) -> Result<String, String> {
    shoal_with(&[], args)
}

/// The same, with these variables.
///
/// # Errors
/// As for [`shoal`].
///
/// # Panics
/// As for [`shoal`].
pub fn shoal_with(variables: &[(&str, PathBuf)], args: &[&str]) -> Result<String, String> {
    let variables = variables.iter().cloned();
    let done = Command::new(program("shoal")).envs(variables).args(args).output();
    let done = done.expect("shoal runs");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() { Ok(said(&done.stdout)) } else { Err(said(&done.stderr)) }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for number in 0..self.vehicles() {
            let path = self.vehicle_path(number);
            show(&path.join("state/windows.jsonl"));
            show(&path.join("log"));
        }
        show(&self.folder.path().join("serve.log"));
        for number in 1..=3 {
            show(&self.folder.path().join(format!("beacon-{number}.log")));
        }
    }
}

impl Program {
    /// Starts it; what it says is appended to `log`.
    fn start(name: &str, args: &[&str], log: PathBuf, variables: &[(&str, PathBuf)]) -> Self {
        let mut command = Command::new(program(name));
        command.args(args).envs(variables.iter().cloned());
        Program::run(command, log)
    }

    /// Starts what this command says; what it says is appended to `log`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn run(mut command: Command, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log).expect("a log");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a log"))
            .stderr(file)
            .spawn()
            .expect("the program starts");
        Self { child, log }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn end(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a process")
    }

    /// What it has said.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has said this, so often.
    pub fn says(&self, what: &str, times: usize) {
        until(what, || (self.said().matches(what).count() >= times).then_some(()));
    }

    /// Whether it runs.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn runs(&mut self) -> bool {
        self.end().is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn ended(&mut self) -> ExitStatus {
        until("an end", || self.child.try_wait().expect("a process"))
    }

    /// Sends it a signal, by its name for `kill`.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().expect("kill runs");
        assert!(sent.success(), "it runs");
    }

    /// Asks it to end; how it ends.
    ///
    /// # Panics
    /// When it cannot be asked, or does not end in time.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal("-TERM");
        self.ended()
    }

    /// Kills it: it has no moment to put anything in order. How it ended.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(mut self) -> ExitStatus {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// A program beside the test's own, built if it is not there.
///
/// # Panics
/// When it cannot be built.
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let test = std::env::current_exe().expect("a test has a file");
        let folder = test.ancestors().nth(2).expect("target/<profile>/deps").to_path_buf();
        let there = |name: &str| folder.join(name).is_file();
        if !(there("shoal") && there("shoal-vehicle")) {
            say("building the programs: shoal, shoal-vehicle");
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let built =
                Command::new(cargo).args(["build", "-p", "shoal", "-p", "shoal-vehicle"]).status();
            assert!(built.is_ok_and(|built| built.success()), "the programs are built");
        }
        folder
    });
    folder.join(name)
}

fn show(path: &Path) {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default();
    say(&format!("── {}\n{}", path.display(), last.join("\n")));
}

/// Past the capture of the harness.
pub fn say(text: &str) {
    let _said = writeln!(std::io::stderr(), "{text}");
}

/// A path as UTF-8.
///
/// # Panics
/// When it is not.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn utc_seconds() -> u64 {
    utc_ms() / 1000
}

/// What this machine believes UTC to be, in milliseconds.
#[expect(clippy::disallowed_methods, reason = "a test against real programs has their time")]
pub fn utc_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
