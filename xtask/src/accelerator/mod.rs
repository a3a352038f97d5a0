//! `cargo xtask accelerator`: all that only a GPU can show, in one go, as one report.
//!
//! Every model is warmed by `shoal model warm` twice. The first time shows which provider got which node, how far each output
//! (of training graphs: losses and gradients) is from the processor's, and how long a run takes; the second time that nothing is
//! built again. Then steps of training are timed: with the optimiser on the host, on the device, and replayed as one CUDA graph,
//! beside PyTorch where it is at hand. Then every bare file is trained ten steps there and on the processor, and the fleet of
//! `cargo xtask demo` drives, tunes and exchanges on it. All of it runs with `--providers cpu` as well, which needs no GPU.

mod trained;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cargo::target_dir;
use crate::flags::Flags;
use crate::process::Run;
use crate::steps::{Outcome, Skip};
use crate::{Done, Failure, bench, demo, onnxruntime, root, test};

const HELP: &str = "\
cargo xtask accelerator [--only PART]... [--providers LIST] [--device N] [--fp16] [--cuda-graphs] [--runs N]
                        [--programs DIR] [-o FILE]

--only PART       graphs, steps, trained or fleet; more of them by giving it again   (all)
--providers LIST  what is asked of ONNX Runtime, in this order        (tensorrt,cuda,cpu)
--device N        number of the accelerator; a fleet takes the first    (0)
--fp16            TensorRT may compute in half precision
--cuda-graphs     CUDA replays its first run of a graph where it got every node
--programs DIR    `shoal`, `shoal-vehicle` and the benchmark `step`, built elsewhere (they are built)
--runs N          runs of each graph, whose median is told            (50)
-o FILE           the report, JSON                                    (target/accelerator.json)

Reads: SHOAL_ONNXRUNTIME (the library of `onnxruntime-gpu`), SHOAL_DATA (models/*.onnx in it are tried too).";

const PARTS: [&str; 4] = ["graphs", "steps", "trained", "fleet"];

/// The packages that ship.
const PACKAGES: [&str; 2] = ["models/world", "models/policy"];
/// How far an output may be from the processor's, over its greatest value: float32, other orders of sums.
const APART_MAX: f64 = 1e-3;
/// In half precision: 11 bits, once for every node.
const APART_MAX_HALF: f64 = 2e-2;

/// What is asked for.
struct Asked {
    providers: String,
    device: String,
    fp16: bool,
    cuda_graphs: bool,
    runs: String,
}

pub(crate) fn run(args: &[String]) -> Done {
    let valued = ["--only", "--providers", "--device", "--runs", "--programs", "-o"];
    let flags = Flags::parse(args, &valued, &["--fp16", "--cuda-graphs", "--help"])?;
    if flags.has("--help") {
        println!("{HELP}");
        return Ok(());
    }
    let mut only: Vec<&str> = flags.all("--only").collect();
    if let Some(part) = only.iter().find(|part| !PARTS.contains(part)) {
        return Err(Failure(format!("no part {part}; there are: {}", PARTS.join(" "))));
    }
    if only.is_empty() {
        only = PARTS.to_vec();
    }
    let last = |name: &str, usual: &str| flags.value(name).unwrap_or(usual).to_owned();
    let asked = Asked {
        providers: last("--providers", "tensorrt,cuda,cpu"),
        device: last("--device", "0"),
        fp16: flags.has("--fp16"),
        cuda_graphs: flags.has("--cuda-graphs"),
        runs: last("--runs", "50"),
    };
    if asked.accelerated()
        && let Some(missing) = missing()
    {
        return Err(Failure(missing));
    }
    let programs = match flags.value("--programs") {
        Some(folder) => PathBuf::from(folder),
        None => build()?,
    };
    let report = root().join(last("-o", "target/accelerator.json"));
    let faults = faults(&all(&only, &asked, &programs, &report)?);
    println!("{}", report.display());
    if faults.is_empty() { Ok(()) } else { Err(Failure(faults.join("\n"))) }
}

/// Every part that is asked for. The report is written after each: what was found stands, whatever the next does.
fn all(only: &[&str], asked: &Asked, programs: &Path, report: &Path) -> Done<Value> {
    let save = |checked: &Value| {
        std::fs::write(report, format!("{checked:#}\n"))
            .map_err(|error| Failure(format!("cannot write {}: {error}", report.display())))
    };
    let shoal = programs.join("shoal");
    let device = Run::new("nvidia-smi").arg("-L").output().unwrap_or_default();
    let mut checked = json!({
        "schema": 2,
        "providers": asked.providers,
        "fp16": asked.fp16,
        "cuda_graphs": asked.cuda_graphs,
        "device": device,
        "models": [],
        "steps": [],
        "trained": [],
        "fleet": null,
    });
    for part in only {
        match *part {
            "graphs" => checked["models"] = Value::Array(graphs(&shoal, asked, &models())?),
            "steps" => steps(&programs.join(bench::STEP), asked, |timed| {
                checked["steps"] = Value::Array(timed.to_vec());
                save(&checked)
            })?,
            "trained" => trained::check(&shoal, asked, &files(), |rows| {
                checked["trained"] = Value::Array(rows.to_vec());
                save(&checked)
            })?,
            _fleet => checked["fleet"] = fleet(asked, programs),
        }
        save(&checked)?;
    }
    Ok(checked)
}

/// The step of `cargo xtask test`: CUDA, which every library for GPUs has; TensorRT is asked for by name.
pub(crate) fn step() -> Done<Outcome> {
    match missing() {
        Some(missing) => Ok(Outcome::Skipped(Skip::excused(missing))),
        None => run(&["--providers".into(), "cuda,cpu".into()]).map(|()| Outcome::Passed),
    }
}

/// Builds what runs; the folder it lies in.
fn build() -> Done<PathBuf> {
    Run::cargo()
        .args(["build", "--quiet", "--workspace", "--bin", "shoal", "--bin", "shoal-vehicle"])
        .run()?;
    let programs = target_dir().join("debug");
    let (built, step) = (bench::built(bench::STEP)?, programs.join(bench::STEP));
    std::fs::copy(&built, &step)
        .map_err(|error| Failure(format!("cannot copy {}: {error}", built.display())))?;
    Ok(programs)
}

/// What a check on a GPU lacks here.
fn missing() -> Option<String> {
    let devices = ["/dev/nvidia0", "/dev/nvgpu", "/dev/nvhost-gpu"];
    if !devices.iter().any(|device| Path::new(device).exists()) {
        return Some(format!("no NVIDIA GPU: none of {}", devices.join(", ")));
    }
    let Some(library) = onnxruntime::library() else {
        return Some("a GPU, and no ONNX Runtime: name it by SHOAL_ONNXRUNTIME".to_owned());
    };
    let provider = library.with_file_name("libonnxruntime_providers_cuda.so");
    let absent = format!(
        "a GPU, and no {}: install the wheel `onnxruntime-gpu`, name its library by SHOAL_ONNXRUNTIME",
        provider.display()
    );
    (!provider.is_file()).then_some(absent)
}

/// The packages that ship, and the files of others.
fn models() -> Vec<PathBuf> {
    PACKAGES.iter().map(|package| root().join(package)).chain(files()).collect()
}

/// The files of others, where they are at hand.
fn files() -> Vec<PathBuf> {
    let others = test::data().and_then(|data| std::fs::read_dir(data.join("models")).ok());
    let mut others: Vec<PathBuf> =
        others.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    others.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    others.sort();
    others
}

/// The demo's vehicles: what they measured, or why there is nothing.
fn fleet(asked: &Asked, programs: &Path) -> Value {
    println!("  a fleet");
    let programs = programs.to_string_lossy().into_owned();
    let flags = ["--headless", "--providers", &asked.providers, "--programs", &programs];
    let result = root().join("target/demo/result.json");
    let read = demo::run(&flags.map(str::to_owned)).and_then(|()| {
        let text = std::fs::read(&result)
            .map_err(|error| Failure(format!("cannot read {}: {error}", result.display())))?;
        serde_json::from_slice::<Value>(&text)
            .map_err(|error| Failure(format!("{}: {error}", result.display())))
    });
    match read {
        Ok(result) => json!({ "result": result, "failed": null }),
        Err(Failure(why)) => json!({ "result": null, "failed": why }),
    }
}

impl Asked {
    fn accelerated(&self) -> bool {
        self.providers != "cpu"
    }

    fn warm(&self, program: &Path, model: &Path, cache: &Path) -> Done<Value> {
        let mut run = Run::new(program).args(["model", "warm"]).arg(model);
        run = run.args(["--providers", &self.providers, "--device", &self.device]);
        run = run.args(["--runs", &self.runs, "--compare", "--json"]);
        if self.accelerated() {
            run = run.arg("--cache").arg(cache);
        }
        if self.fp16 {
            run = run.arg("--fp16");
        }
        if self.cuda_graphs {
            run = run.arg("--cuda-graphs");
        }
        let printed = run.envs(&test::variables()).output()?;
        serde_json::from_str(&printed)
            .map_err(|error| Failure(format!("{}: no report: {error}", model.display())))
    }
}

/// Warms every model twice in a fresh folder. docs/schemas/accelerator.schema.json describes what comes of it.
fn graphs(program: &Path, asked: &Asked, models: &[PathBuf]) -> Done<Vec<Value>> {
    let cache = root().join(format!("target/accelerator-{}", std::process::id()));
    let mut reports = Vec::new();
    for model in models {
        println!("  {}", model.display());
        let both = asked.warm(program, model, &cache).and_then(|first| {
            let again = asked.warm(program, model, &cache)?;
            Ok(json!({ "model": model.display().to_string(), "first": first, "again": again, "failed": null }))
        });
        // One model that a provider cannot run hides nothing of the others.
        reports.push(both.unwrap_or_else(|Failure(why)| {
            json!({ "model": model.display().to_string(), "first": null, "again": null, "failed": why })
        }));
    }
    if let Err(error) = std::fs::remove_dir_all(&cache)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(Failure(format!("cannot remove {}: {error}", cache.display())));
    }
    Ok(reports)
}

/// Times a step of each model in every way that these providers have, and in PyTorch; what fails says so in its place. All that
/// was timed is told after each.
fn steps(program: &Path, asked: &Asked, mut told: impl FnMut(&[Value]) -> Done) -> Done {
    let providers = format!("providers={}", asked.providers);
    let mut ways = vec![vec![providers.clone()]];
    if asked.providers.starts_with("cuda") {
        ways.push(vec![providers.clone(), "optimiser=host".to_owned()]);
        ways.push(vec![providers, "graphs=1".to_owned()]);
        ways.push(vec!["providers=cpu".to_owned()]);
    }
    let mut timed = Vec::new();
    for arguments in bench::steps_of_one_thread() {
        for way in &ways {
            println!("  step of {} {}", arguments.join(" "), way.join(" "));
            let run = Run::new(program).args(&arguments).args(way).envs(&test::variables());
            timed.push(line_of(run.output(), &way.join(" ")));
            told(&timed)?;
        }
        if asked.accelerated() {
            for compile in [&[][..], &["--compile"]] {
                let run = bench::in_torch("python3", &arguments).args(["--device", "cuda"]);
                println!("  the same in PyTorch {}", compile.join(" "));
                timed.push(line_of(run.args(compile).output(), "PyTorch"));
                told(&timed)?;
            }
        }
    }
    Ok(())
}

/// The last line of JSON that a program printed, or why there is none.
fn line_of(printed: Done<String>, what: &str) -> Value {
    let read = printed.and_then(|printed| {
        let line = printed.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
        serde_json::from_str(line).map_err(|error| Failure(format!("no line of JSON: {error}")))
    });
    read.unwrap_or_else(|Failure(why)| json!({ "what": what, "failed": why }))
}

/// What is not as it should be, model by model.
fn faults(report: &Value) -> Vec<String> {
    let builds = report["providers"].as_str().is_some_and(|asked| asked.contains("tensorrt"));
    let most = if report["fp16"] == true { APART_MAX_HALF } else { APART_MAX };
    let mut faults: Vec<String> = Vec::new();
    for step in report["steps"].as_array().into_iter().flatten() {
        // PyTorch is beside the point where it is not there.
        if let (Some(why), true) = (step["failed"].as_str(), step["what"] != "PyTorch") {
            faults.push(format!("a step with {}: {why}", step["what"]));
        }
    }
    let array = |part: &str| report[part].as_array().cloned().unwrap_or_default();
    faults.extend(trained::faults(&array("trained")));
    if let Some(why) = report["fleet"]["failed"].as_str() {
        faults.push(format!("a fleet: {why}"));
    }
    for model in report["models"].as_array().into_iter().flatten() {
        let name = &model["model"];
        if let Some(why) = model["failed"].as_str() {
            faults.push(format!("{name}: {why}"));
            continue;
        }
        let graphs = |time: &str| model[time]["graphs"].as_array().cloned().unwrap_or_default();
        let (first, again) = (graphs("first"), graphs("again"));
        if first.is_empty() || again.len() != first.len() {
            faults.push(format!("{name}: {} graphs, then {}", first.len(), again.len()));
        }
        for graph in &first {
            for (output, apart) in graph["apart"].as_object().into_iter().flatten() {
                // JSON has no infinity: what is no number there is null.
                if apart.as_f64().is_none_or(|apart| apart > most) {
                    let of = &graph["name"];
                    faults.push(format!("{name}: {of}: {output} is {apart} from the processor's"));
                }
            }
        }
        if builds {
            let built = again.iter().filter(|graph| graph["was_kept"] != true);
            faults.extend(built.map(|graph| format!("{name}: {} is built twice", graph["name"])));
            let kept =
                |of: &str| first.iter().find(|graph| graph["name"] == of).map(|g| &g["kept"]);
            if kept("adapted").is_some_and(|adapted| kept("inference") != Some(adapted)) {
                faults.push(format!("{name}: an adapter has an engine of its own"));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(name: &str, kept: &str, was_kept: bool, apart: Value) -> Value {
        json!({ "name": name, "kept": kept, "was_kept": was_kept, "apart": { "y": apart } })
    }

    fn report(providers: &str, first: &[Value], again: &[Value]) -> Value {
        let model = json!({ "model": "m", "failed": null,
            "first": { "graphs": first }, "again": { "graphs": again } });
        json!({ "providers": providers, "fp16": false, "models": [model] })
    }

    #[test]
    fn an_output_that_is_far_from_the_processors_or_no_number_is_a_fault() {
        for (apart, count) in [(json!(1e-5), 0), (json!(2e-3), 1), (Value::Null, 1)] {
            let graph = [graph("training", "a", false, apart)];
            assert_eq!(faults(&report("cuda,cpu", &graph, &graph)).len(), count);
        }
    }

    #[test]
    fn engines_that_are_built_twice_or_for_one_adapter_are_faults() {
        let of = |kept: &str, was| {
            [graph("inference", "a", was, json!(0)), graph("adapted", kept, was, json!(0))]
        };
        assert!(faults(&report("tensorrt,cuda", &of("a", false), &of("a", true))).is_empty());
        let twice = faults(&report("tensorrt,cuda", &of("a", false), &of("a", false)));
        assert!(twice.len() == 2 && twice[0].contains("built twice"), "{twice:?}");
        let own = faults(&report("tensorrt,cuda", &of("b", false), &of("b", true)));
        assert!(own.len() == 1 && own[0].contains("of its own"), "{own:?}");
        assert!(faults(&report("cuda", &of("b", false), &of("b", false))).is_empty());
    }

    #[test]
    fn a_model_that_fails_or_has_no_graphs_is_a_fault() {
        assert_eq!(faults(&report("cpu", &[], &[])).len(), 1);
        let failed = json!({ "model": "m", "failed": "no", "first": null, "again": null });
        assert_eq!(faults(&json!({ "providers": "cpu", "models": [failed] })), ["\"m\": no"]);
    }

    /// All of it but the GPU: the program, both looks at a package, the verdict.
    #[test]
    fn the_check_runs_through_on_the_processor() {
        let program = target_dir().join("debug/shoal");
        if !program.is_file() || onnxruntime::library().is_none() {
            assert!(std::env::var_os("SHOAL_REQUIRE_ORT").is_none(), "shoal is not built");
            return;
        }
        let (providers, device, runs) = ("cpu".into(), "0".into(), "1".into());
        let asked = Asked { providers, device, fp16: false, cuda_graphs: false, runs };
        let path = std::env::temp_dir().join(format!("accelerator-{}.json", std::process::id()));
        let mut report = all(&[], &asked, Path::new("nowhere"), &path).unwrap();
        let looked = graphs(&program, &asked, &[root().join(PACKAGES[1])]).unwrap();
        report["models"] = Value::Array(looked);
        // Steps are a benchmark's: here only what is said of one that cannot run.
        report["steps"] = Value::Array(vec![line_of(Ok("no JSON".into()), "providers=cpu")]);
        assert!(faults(&report)[0].contains("a step with \"providers=cpu\""));
        report["steps"] = json!([]);
        assert_eq!(faults(&report), Vec::<String>::new());
        let graphs = report["models"][0]["first"]["graphs"].as_array().unwrap();
        assert!(graphs.iter().any(|graph| graph["name"] == "training"), "{report}");
        let schema = root().join("docs/schemas/accelerator.schema.json");
        let schema: Value = serde_json::from_slice(&std::fs::read(schema).unwrap()).unwrap();
        let keys = |of: &Value| of.as_object().unwrap().keys().cloned().collect::<Vec<String>>();
        let known = |of: &Value| keys(&of["properties"]);
        assert_eq!(keys(&report), known(&schema));
        assert_eq!(keys(&report["models"][0]), known(&schema["properties"]["models"]["items"]));
    }
}
