//! `cargo xtask demo`: a fleet learns over a broker, from x_p to more than any vehicle learns alone.

mod asked;
mod calendar;
mod children;
mod fleet;
mod lines;
mod lock;
mod stop;
mod watch;

use std::fs::{self, File};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::Run;
use crate::{Done, Failure, clock, onnxruntime, root};
use asked::{Asked, Engine};
use calendar::Calendar;
use children::{Children, Runs};
use stop::Stop;
use watch::{Watch, What};

const HELP: &str = "\
cargo xtask demo [--drives DIR] [--pretrain DIR] [--policy] [--engine ort|tract] [--providers LIST]
                 [--programs DIR] [--broker URL] [--vehicles N] [--windows N] [--seed N] [--seeds N]
                 [--rule consensus|paper] [--headless]

Vehicles drive generated roads in shadow mode, tune adapters on their own next frames, and exchange what
they learnt over MQTT in windows of seconds. The same vehicles do it alone before. What came of both is
measured from outside, on frames that no vehicle has seen. Writes to target/demo: result.json, split.json,
skill.svg, logs. Under five minutes on two cores, once built; with tract three to four times that.

--drives DIR     recorded drives instead of generated roads
--pretrain DIR   pretrains the model on this footage too, before the drives
--policy         vehicles carry the driving policy, a world model beside it, and learn what attentive drivers do
--engine         ort: ONNX Runtime, fetched by pip when it is not there; tract: pure Rust, three to four
                 times slower. Without it: ort when it can be had, else tract
--providers LIST what ONNX Runtime runs vehicles' models on, in this order: cuda,cpu (default cpu)
--programs DIR   `shoal` and `shoal-vehicle`, built elsewhere (both are built)
--broker URL     a broker that runs already (mqtt://HOST:PORT) instead of the embedded one
--vehicles N     how many (default 4)
--windows N      how many (default 9)
--seed N         of roads, draws and keys (default 1)
--seeds N        repeats it with N seeds, from that one on, and says how sure the gain is (headless)
--rule           how particles move: consensus (default), or paper: Model Swarms, as published
--headless       plain lines, ends by itself; without it the console stays until Enter";

/// The world model that ships, and the policy.
const PACKAGE: &str = "models/world";
const POLICY: &str = "models/policy";
/// Roads that attentive drivers drive for the pack of a policy.
const PACK_ROADS: &str = "5";
const PRETRAIN_STEPS: &str = "2000";
/// From one look at what runs to the next.
const LOOK: Duration = Duration::from_millis(300);
/// How long a program may take to say where it listens.
const START: Duration = Duration::from_secs(20);
/// Seconds that are left between the plan and the opening of window 0, beside what a vehicle takes to get there.
const BEFORE_SECONDS: u64 = 3;
/// So long nothing may happen at all before it counts as a hang.
const SILENCE: Duration = Duration::from_secs(300);

pub(crate) fn run(args: &[String]) -> Done {
    let Some(asked) = Asked::parse(args)? else {
        println!("{HELP}");
        return Ok(());
    };
    let mut demo = Demo::prepare(asked)?;
    if demo.asked.seeds > 1 {
        return demo.repeat();
    }
    demo.once()
}

/// Everything that is settled before the first program runs.
struct Demo {
    asked: Asked,
    engine: Engine,
    stop: Stop,
    /// Where everything goes.
    folder: PathBuf,
    /// Where the programs are.
    programs: PathBuf,
    package: PathBuf,
    /// That no other demo is here, until this one has ended.
    _lock: File,
}

/// How long the stages took.
struct Stages(Vec<(&'static str, Duration)>);

impl Demo {
    fn prepare(asked: Asked) -> Done<Self> {
        let folder = root().join("target/demo");
        let lock = lock::take(&root().join("target"))?;
        let engine = asked::engine(asked.engine)?;
        let programs = match &asked.programs {
            Some(folder) => folder.clone(),
            None => build()?,
        };
        let package = match asked.pretrain {
            None => root().join(if asked.policy { POLICY } else { PACKAGE }),
            Some(_) => folder.join("model"),
        };
        let stop = Stop::listen()?;
        Ok(Self { asked, engine, stop, folder, programs, package, _lock: lock })
    }

    /// The demo with one seed after the other, and how sure it is then.
    fn repeat(&mut self) -> Done {
        let seeds = self.folder.join("seeds");
        fleet::fresh(&seeds)?;
        let mut results = Vec::new();
        for seed in self.asked.seed..self.asked.seed + self.asked.seeds {
            println!("seed {seed}");
            self.asked.seed = seed;
            self.once()?;
            let result = seeds.join(format!("result-{seed}.json"));
            fleet::copy(&self.folder.join("result.json"), &result)?;
            results.push(result);
        }
        let summary = self.folder.join("seeds.json");
        results
            .iter()
            .fold(self.shoal(["fleet", "seeds"]), Run::arg)
            .arg("-o")
            .arg(&summary)
            .run()?;
        println!("all figures: {}; those of each seed: {}", summary.display(), seeds.display());
        Ok(())
    }

    /// The demo with one seed.
    fn once(&self) -> Done {
        for part in ["fleet", "pack", "logs"] {
            fleet::fresh(&self.folder.join(part))?;
        }
        let mut children = Children::new(&self.folder.join("logs"))?;
        self.fleet(&mut children)
    }

    /// The demo from the pack to the report.
    fn fleet(&self, children: &mut Children) -> Done {
        let mut stages = Stages(Vec::new());
        println!("{}", self.promise());
        stages.time("prepare", || self.authority())?;
        let (url, broker) = self.broker(children)?;
        stages.time("init", || self.init(&url))?;
        let (calendar, ready) = stages.time("alone", || self.alone(children))?;
        let calendar = self.sign(calendar, ready)?;
        let console = self.serve(children, &url)?;
        stages.time("windows", || self.windows(children, calendar))?;
        self.report(&broker, &stages)?;
        let out = self.folder.display();
        println!("the curves: {out}/skill.svg; all figures: {out}/result.json; logs: {out}/logs");
        if !self.asked.headless {
            println!("the console: {console} (Enter ends it)");
            self.stop.at_enter();
            while self.stop.wait(SILENCE).is_ok() {
                children.all_done()?;
            }
        }
        Ok(())
    }

    /// How long it will take, from what it took on two cores.
    fn promise(&self) -> String {
        let work = self.asked.vehicles * self.asked.windows;
        let seconds = 60 + 5 * work;
        let seconds = if self.engine == Engine::Tract { 36 * seconds / 10 } else { seconds };
        let minutes = seconds.div_ceil(60);
        let engine = self.engine.name();
        format!("about {minutes} minutes with {engine} on two cores; Ctrl-C ends it at any time")
    }

    /// What the authority of the fleet does before there are vehicles: the model, and the pack of its drives.
    fn authority(&self) -> Done {
        if let Some(footage) = &self.asked.pretrain {
            fleet::remove(&self.package)?;
            let pretrain = self.shoal(["model", "pretrain"]).arg(root().join(PACKAGE));
            let pretrain =
                pretrain.arg("--data").arg(footage).args(["--engine", self.engine.name()]);
            pretrain.args(["--steps", PRETRAIN_STEPS, "-o"]).arg(&self.package).run()?;
        }
        let world = root().join(PACKAGE);
        let text = fleet::vehicle_toml(&fleet::Told {
            package: &self.package,
            beside: self.asked.policy.then_some(world.as_path()),
            drives: self.asked.drives.as_deref(),
            engine: self.engine,
            providers: self.asked.providers.as_deref(),
            seed: self.asked.seed,
        });
        fleet::write(&self.vehicle_toml(), &text)?;
        // `pack build` wants a new directory.
        fleet::remove(&self.pack())?;
        let build = self.shoal(["pack", "build"]);
        let build = if self.asked.policy {
            let seed = self.asked.seed.to_string();
            build.args(["--metric", "imitation", "--attentive", PACK_ROADS, "--seed", &seed])
        } else {
            build.arg("--vehicle").arg(self.vehicle_toml())
        };
        build.arg("--package").arg(&self.package).arg("-o").arg(self.pack()).run()
    }

    /// Where the broker is, and what it is.
    fn broker(&self, children: &mut Children) -> Done<(String, String)> {
        if let Some(url) = &self.asked.broker {
            return Ok((url.clone(), url.clone()));
        }
        let mut command = Command::new(self.programs.join("shoal"));
        command.args(["broker", "--listen", "127.0.0.1:0"]);
        children.start("broker", Runs::UntilEnded, &mut command)?;
        let url = children.said("broker", "mqtt://", START, &self.stop)?;
        Ok((url, format!("embedded/mqtt5-{}", locked_version("mqtt5")?)))
    }

    fn init(&self, url: &str) -> Done {
        fleet::remove(&self.fleet_folder())?;
        // On a broker of others, what an earlier demo left there is another fleet's.
        let name = match self.asked.broker {
            None => "demo".to_owned(),
            Some(_) => format!("demo-{}", clock::utc().as_secs()),
        };
        let (vehicles, seed) = (self.asked.vehicles.to_string(), self.asked.seed.to_string());
        let init = self.shoal(["fleet", "init"]).arg(self.fleet_folder());
        let init = init.args(["--name", &name, "--broker", url, "--rule", &self.asked.rule]);
        let init = init.args(["--vehicles", &vehicles, "--seed", &seed]);
        let init = init.arg("--vehicle").arg(self.vehicle_toml());
        init.arg("--package").arg(&self.package).arg("--pack").arg(self.pack()).run()?;
        (0..self.asked.vehicles).try_for_each(|number| fleet::write_alone(&self.vehicle(number)))
    }

    /// Every vehicle without the fleet; the windows that their nights ask for, and how long a vehicle takes to be ready
    /// for its first.
    fn alone(&self, children: &mut Children) -> Done<(Calendar, Duration)> {
        println!("every vehicle alone, {} nights", self.asked.windows);
        let began = clock::Watch::start();
        let mut watch = self.agents(children, "alone", What::Alone)?;
        let (mut ready, mut silent) = (Duration::ZERO, clock::Watch::start());
        let mut seen = 0;
        while !children.all_done()? {
            self.stop.wait(LOOK)?;
            watch.look();
            let lines = watch.lines().count();
            if lines > seen {
                (seen, silent) = (lines, clock::Watch::start());
            }
            let first: Vec<f64> =
                watch.lines().filter(|line| line.window == 0).map(lines::Line::work).collect();
            if ready == Duration::ZERO && first.len() as u64 == self.asked.vehicles {
                let night = first.into_iter().fold(f64::INFINITY, f64::min);
                ready = began.elapsed().saturating_sub(Duration::from_secs_f64(night));
            }
            if silent.elapsed() > SILENCE {
                return Err(Failure::new("no vehicle finished a night for five minutes"));
            }
        }
        watch.look();
        let accelerated = self.asked.providers.as_ref().is_some_and(|all| all != &["cpu"]);
        Ok((Calendar::after(watch.by_vehicle(), 0, accelerated), ready))
    }

    /// Signs the calendar, whose window 0 opens when vehicles are ready.
    fn sign(&self, calendar: Calendar, ready: Duration) -> Done<Calendar> {
        let epoch = (clock::utc() + ready).as_secs() + 1 + BEFORE_SECONDS;
        let calendar = Calendar { epoch, ..calendar };
        let [epoch, period, open] =
            [calendar.epoch, calendar.period, calendar.open].map(|seconds| seconds.to_string());
        let plan = self.shoal(["fleet", "plan"]).arg(self.fleet_folder());
        plan.args(["--epoch", &epoch, "--period", &period, "--open", &open]).run()?;
        Ok(calendar)
    }

    /// Starts the timekeeper and the console; where the console is.
    fn serve(&self, children: &mut Children, url: &str) -> Done<String> {
        let (windows, seed) = (self.asked.windows.to_string(), self.asked.seed.to_string());
        let mut serve = Command::new(self.programs.join("shoal"));
        serve.args(["fleet", "serve"]).arg(self.fleet_folder());
        serve.args(["--broker", url, "--windows", &windows, "--seed", &seed]);
        children.start("timekeeper", Runs::ByItself, &mut serve)?;
        let mut console = Command::new(self.programs.join("shoal"));
        console.args(["console", "--fleet"]).arg(self.fleet_folder());
        console.args(["--broker", url, "--listen", "127.0.0.1:0"]);
        children.start("console", Runs::UntilEnded, &mut console)?;
        let console = children.said("console", "http://", START, &self.stop)?;
        println!("the console: {console}");
        Ok(console)
    }

    /// Every vehicle with the fleet, until the last window has closed.
    fn windows(&self, children: &mut Children, calendar: Calendar) -> Done {
        let Calendar { period, open, .. } = calendar;
        println!("{} windows, one every {period} s, open for {open} s", self.asked.windows);
        let mut watch = self.agents(children, "vehicle", What::Windows(calendar))?;
        let end = Duration::from_secs(calendar.end(self.asked.windows) + 60 + 2 * period);
        while !children.all_done()? {
            self.stop.wait(LOOK)?;
            watch.look();
            if clock::utc() > end {
                return Err(Failure::new("the last window closed long ago and a vehicle goes on"));
            }
        }
        watch.look();
        Ok(())
    }

    /// Starts every vehicle with the file of this name.
    fn agents(&self, children: &mut Children, file: &str, what: What) -> Done<Watch> {
        let state = if what == What::Alone { "alone" } else { "state" };
        let windows = self.asked.windows;
        let mut states = Vec::new();
        for number in 0..self.asked.vehicles {
            let folder = self.vehicle(number);
            let mut agent = Command::new(self.programs.join("shoal-vehicle"));
            agent.arg("--config").arg(folder.join(file).with_extension("toml"));
            agent.args(["--windows", &windows.to_string()]);
            if let Some(library) = self.library() {
                agent.env("SHOAL_ONNXRUNTIME", library);
            }
            children.start(&format!("vehicle-{number}-{state}"), Runs::ByItself, &mut agent)?;
            states.push(folder.join(state));
        }
        let redraw = !self.asked.headless && std::io::stdout().is_terminal();
        let term = if self.asked.policy { "imitation gain" } else { "skill" };
        Ok(Watch::new(what, term, states, windows, redraw))
    }

    fn report(&self, broker: &str, stages: &Stages) -> Done {
        let mut report = self.shoal(["fleet", "report"]).arg(self.fleet_folder());
        report = report.arg("-o").arg(&self.folder).args(["--broker", broker]);
        for (stage, took) in &stages.0 {
            report = report.arg("--seconds").arg(format!("{stage}={:.1}", took.as_secs_f64()));
        }
        report.run()
    }

    fn shoal<const N: usize>(&self, args: [&str; N]) -> Run {
        let run = Run::new(self.programs.join("shoal")).args(args);
        self.library().iter().fold(run, |run, library| run.env("SHOAL_ONNXRUNTIME", library))
    }

    fn library(&self) -> Option<PathBuf> {
        onnxruntime::library().filter(|_library| self.engine == Engine::Ort)
    }

    fn vehicle_toml(&self) -> PathBuf {
        self.folder.join("vehicle.toml")
    }

    fn pack(&self) -> PathBuf {
        self.folder.join("pack")
    }

    fn fleet_folder(&self) -> PathBuf {
        self.folder.join("fleet")
    }

    fn vehicle(&self, number: u64) -> PathBuf {
        self.fleet_folder().join(format!("vehicle-{number}"))
    }
}

impl Stages {
    fn time<T>(&mut self, stage: &'static str, work: impl FnOnce() -> Done<T>) -> Done<T> {
        let watch = clock::Watch::start();
        let done = work()?;
        self.0.push((stage, watch.elapsed()));
        Ok(done)
    }
}

/// Builds the programs; the folder they lie in.
fn build() -> Done<PathBuf> {
    println!("building; the first time takes minutes");
    Run::cargo()
        .args(["build", "--quiet", "--workspace"])
        .args(["--bin", "shoal", "--bin", "shoal-vehicle"])
        .run()?;
    let own = std::env::current_exe()
        .map_err(|error| Failure(format!("cannot tell where the programs are: {error}")))?;
    Ok(own.parent().unwrap_or(&own).to_owned())
}

/// The version of a package that this workspace is built with.
fn locked_version(package: &str) -> Done<String> {
    let path = root().join("Cargo.lock");
    let text = fs::read_to_string(&path)
        .map_err(|error| Failure(format!("cannot read {}: {error}", path.display())))?;
    version(&text, package).ok_or_else(|| Failure(format!("Cargo.lock has no {package}")))
}

fn version(lock: &str, package: &str) -> Option<String> {
    let table: toml::Table = lock.parse().ok()?;
    let packages = table.get("package")?.as_array()?;
    let found = packages.iter().find(|one| one["name"].as_str() == Some(package))?;
    Some(found["version"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_package_is_that_of_the_lock_file() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.2.3\"\n";
        assert_eq!(version(lock, "a").as_deref(), Some("1.2.3"));
        assert_eq!(version(lock, "b"), None);
    }
}
