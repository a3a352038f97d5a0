//! `cargo xtask oracle flower`: Flower's simulation engine and ours, one after the other, on the same machine in the same run.
//!
//! Others who use the machine disturb both, so each is run several times, in turn, and the best of each counts. Where clients do
//! next to nothing Flower is given one, two and four workers a core: it waits more than it works.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cargo::target_dir;
use crate::clock::Watch;
use crate::flags::Flags;
use crate::process::Run;
use crate::{Done, Failure, onnxruntime, root, test};

const HELP: &str = "\
cargo xtask oracle flower [engine|training]...

Installs Flower's simulation engine, Ray and PyTorch into target/tools/oracle (gigabytes) and compares with `shoal sim`:
  engine     clients that do next to nothing, FedAvg: client-rounds a second
  training   LoRA of the shipped world model on the same batches, FedAvg: seconds a round
Writes docs/evidence/flower.json.";

const NAMES: [&str; 2] = ["engine", "training"];
/// Runs of each side, of which the best counts.
const RUNS: usize = 3;

/// Clients of each comparison of the engines, their values and rounds, and the rounds before Flower's clock starts.
const ENGINES: [Engines; 3] = [
    Engines { clients: 100, values: 1000, rounds: 12 },
    Engines { clients: 1000, values: 1000, rounds: 6 },
    Engines { clients: 100, values: 53_928, rounds: 12 },
];
const WARM: usize = 2;

struct Engines {
    clients: usize,
    values: usize,
    rounds: usize,
}

/// The comparison of training: vehicles, rounds that are timed after one that is not.
const VEHICLES: usize = 4;
const ROUNDS: usize = 4;
const STEPS: usize = 20;

pub(super) fn run(args: &[String]) -> Done {
    let flags = Flags::with_words(args, &[], &["--help"])?;
    if flags.has("--help") {
        println!("{HELP}");
        return Ok(());
    }
    if let Some(other) = flags.rest.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(Failure(format!("no comparison {other}\n\n{HELP}")));
    }
    let python = super::install(&["requirements.txt", "flower.txt"])?;
    Run::cargo().args(["build", "--package", "shoal"]).run()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = |name: &str| flags.rest.is_empty() || flags.rest.iter().any(|rest| rest == name);
    let mut told = vec![("cores".to_owned(), json!(cores)), ("runs".to_owned(), json!(RUNS))];
    if wanted("engine") {
        let all = ENGINES.iter().map(|engines| engine(&python, engines, cores));
        told.push(("engine".into(), Value::Array(all.collect::<Done<_>>()?)));
    }
    if wanted("training") {
        told.push(("training".into(), training(&python, cores)?));
    }
    keep(told)
}

/// What is told stands beside what was told before of the other comparison.
fn keep(told: Vec<(String, Value)>) -> Done {
    let path = root().join("docs/evidence/flower.json");
    let before = fs::read_to_string(&path).ok();
    let mut kept: Value =
        before.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(json!({"schema": 1}));
    for (name, value) in told {
        kept[name] = value;
    }
    write(&path, &format!("{kept:#}\n"))?;
    println!("wrote docs/evidence/flower.json");
    Ok(())
}

/// Clients that do next to nothing.
fn engine(python: &Path, engines: &Engines, cores: usize) -> Done<Value> {
    let Engines { clients, values, rounds } = engines;
    let folder = empty("engine")?;
    let file = folder.join("fleet.toml");
    let fleet = format!(
        "vehicles = {clients}\nwindows = {rounds}\nmeasure_every = {rounds}\n\
         [trivial]\nvalues = {values}\n[engine]\njobs = {cores}\n\
         [[methods]]\nname = \"fedavg\"\nkind = \"average\"\n"
    );
    write(&file, &fleet)?;
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let number = |number: &usize| number.to_string();
        let asked = Run::new(python)
            .arg("xtask/oracle/flower_engine.py")
            .args(["--clients", &number(clients), "--values", &number(values)])
            .args(["--rounds", &number(rounds), "--warm", &number(&WARM)])
            .args(["--cpus", &number(&(cores << run))]);
        theirs.push(answer(&asked.output()?)?);
        ours.push(sim(&file, &folder.join(run.to_string()))?);
    }
    let by_workers = |name: &str| theirs.iter().map(|told| figure(told, name)).collect::<Vec<_>>();
    let best = |name: &str| by_workers(name).into_iter().fold(0.0, f64::max);
    let (flower, with_start) = (best("client_rounds_s"), best("with_start_client_rounds_s"));
    let done = (clients * rounds) as f64;
    let shoal = ours.iter().filter_map(|sim| sim.client_rounds_s).fold(0.0, f64::max);
    let whole = ours.iter().map(|sim| done / sim.seconds).fold(0.0, f64::max);
    println!(
        "{clients} clients of {values} values, {rounds} rounds, client-rounds a second, the best of {RUNS}:\n  \
         Flower {flower:.0} once warm, {with_start:.0} with its start\n  \
         shoal {shoal:.0}, {whole:.0} with the whole program's start and its report\n  \
         ratio {:.0}, {:.0} of whole runs",
        shoal / flower,
        whole / with_start,
    );
    let first = theirs.first().cloned().unwrap_or_default();
    Ok(json!({
        "flwr": first["flwr"], "ray": first["ray"],
        "clients": clients, "values": values, "rounds": rounds,
        "flower_client_rounds_s_by_workers": by_workers("client_rounds_s"),
        "flower_client_rounds_s": flower, "flower_with_start_client_rounds_s": with_start,
        "shoal_client_rounds_s": shoal, "shoal_whole_program_client_rounds_s": whole,
        "ratio": shoal / flower, "ratio_of_whole_runs": whole / with_start,
    }))
}

/// The shipped world model on the same batches.
fn training(python: &Path, cores: usize) -> Done<Value> {
    if onnxruntime::library().is_none() {
        onnxruntime::install()?;
    }
    let folder = empty("training")?;
    let (file, nights) = (folder.join("fleet.toml"), folder.join("nights"));
    let without_ort = folder.join("nights.toml");
    let package = root().join("models/world");
    // The last window is looked at, which Flower does not do: it is one more than those that are timed.
    let windows = ROUNDS + 2;
    let fleet = format!(
        "vehicles = {VEHICLES}\nwindows = {windows}\nmeasure_every = 1000\n\
         [model]\npackage = {package:?}\n[engine]\njobs = {cores}\n\
         [roads]\nregions = [\"night\", \"snow\", \"left_hand\", \"tight_curves\"]\n\
         [night]\nsteps = {STEPS}\nbatch = 8\nlearning_rate = 3e-3\n\
         [[methods]]\nname = \"fedavg\"\nkind = \"average\"\n"
    );
    write(&file, &fleet)?;
    // Nothing is run where nights are written down: any engine will do.
    write(&without_ort, &fleet.replace("[engine]\n", "[engine]\nkind = \"tract\"\n"))?;
    Run::cargo()
        .args(["run", "--quiet", "--package", "shoal-sim", "--example", "nights", "--"])
        .args([&without_ort, &nights])
        .run()?;
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let output = folder.join(run.to_string());
        let simulated = sim(&file, &output)?;
        // From the end of the first window on, as Flower's: who begins is not warm.
        ours.push(simulated.ends(1 + ROUNDS)? - simulated.ends(1)?);
        let asked = Run::new(python)
            .args(["xtask/oracle/flower_training.py", "models/world/model.onnx"])
            .arg(&nights)
            .arg("--results")
            .arg(output.join("seed-0/results"))
            .args(["--vehicles", &VEHICLES.to_string(), "--rounds", &(1 + ROUNDS).to_string()])
            .args(["--cpus", &cores.to_string()]);
        theirs.push(answer(&asked.output()?)?);
    }
    let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
    let shoal = least(&mut ours.iter().copied());
    let flower = least(&mut theirs.iter().map(|told| figure(told, "seconds")));
    let apart = theirs.iter().map(|told| figure(told, "apart")).fold(0.0, f64::max);
    println!(
        "{VEHICLES} vehicles, {ROUNDS} rounds of {STEPS} steps of 8, one thread each, the least of {RUNS}:\n  \
         Flower with PyTorch {flower:.2} s, shoal {shoal:.2} s, ratio {:.2}; \
         adapters of the first round are {apart:.1e} apart",
        shoal / flower,
    );
    // A gigabyte.
    let _kept = fs::remove_dir_all(&nights);
    let first = theirs.first().cloned().unwrap_or_default();
    Ok(json!({
        "flwr": first["flwr"], "ray": first["ray"], "torch": first["torch"],
        "onnxruntime": onnxruntime::VERSION,
        "vehicles": VEHICLES, "rounds": ROUNDS, "steps": STEPS, "batch": 8,
        "flower_seconds": theirs.iter().map(|told| figure(told, "seconds")).collect::<Vec<_>>(),
        "shoal_seconds": ours, "ratio": shoal / flower, "first_adapters_apart": apart,
    }))
}

/// What one run of `shoal sim` said.
#[derive(Debug, Default, PartialEq)]
struct Sim {
    /// Of the whole program.
    seconds: f64,
    /// By its own count.
    client_rounds_s: Option<f64>,
    /// When each window ended, from window 0 on.
    ends: Vec<f64>,
}

impl Sim {
    /// Takes in a line of its progress.
    fn hear(&mut self, line: &str) {
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok());
        let line = line.trim();
        if line.starts_with("window ") {
            let seconds = line.strip_suffix(" s").and_then(|line| line.rsplit(' ').next());
            self.ends.extend(number(seconds));
        } else if line.contains(" client-rounds in ") {
            let rate = line.strip_suffix(" a second").and_then(|line| line.rsplit(' ').next());
            self.client_rounds_s = number(rate);
        }
    }

    fn ends(&self, window: usize) -> Done<f64> {
        let end = self.ends.get(window).copied();
        end.ok_or_else(|| Failure(format!("shoal sim said nothing of window {window}")))
    }
}

fn sim(file: &Path, output: &Path) -> Done<Sim> {
    let built = target_dir().join("debug/shoal");
    let mut said = Sim::default();
    let watch = Watch::start();
    let well = Run::new(built)
        .arg("sim")
        .arg(file)
        .arg("-o")
        .arg(output)
        .envs(&test::variables())
        .lines(|line| said.hear(line))?;
    said.seconds = watch.elapsed().as_secs_f64();
    if well { Ok(said) } else { Err(Failure::new("shoal sim failed")) }
}

/// The last line of JSON that a script wrote.
fn answer(output: &str) -> Done<Value> {
    let line = output.lines().rev().find(|line| line.starts_with('{'));
    line.and_then(|line| serde_json::from_str(line).ok())
        .ok_or_else(|| Failure(format!("no answer in {output:?}")))
}

fn figure(told: &Value, name: &str) -> f64 {
    told[name].as_f64().unwrap_or_default()
}

/// An empty folder of this name.
fn empty(name: &str) -> Done<PathBuf> {
    let folder = root().join("target/oracle/flower").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .map_err(|error| Failure(format!("cannot empty {}: {error}", folder.display())))?;
    }
    fs::create_dir_all(&folder)
        .map_err(|error| Failure(format!("cannot make {}: {error}", folder.display())))?;
    Ok(folder)
}

fn write(path: &Path, text: &str) -> Done {
    fs::write(path, text)
        .map_err(|error| Failure(format!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_heard() {
        let mut said = Sim::default();
        for line in [
            "fedavg, seed 0",
            "  window   0 of 2: skill 0.0000 driven, – unseen, 0.0000 pack; 0.0 kB sent, 0.0 received; 0.25 s",
            "  window   1 of 2: not looked at; 4.5 kB sent, 4.4 received; 1.50 s",
            "  200 client-rounds in 1.500 s: 133.3 a second",
        ] {
            said.hear(line);
        }
        assert_eq!(said.ends, [0.25, 1.5]);
        assert_eq!(said.client_rounds_s, Some(133.3));
        assert!(said.ends(2).is_err());
    }

    #[test]
    fn the_answer_is_the_last_line_of_json() {
        let told = answer("{\"a\": 1}\nhello\n{\"a\": 2.5}\nbye").unwrap();
        assert_eq!(figure(&told, "a"), 2.5);
        assert!(answer("hello").is_err());
    }
}
