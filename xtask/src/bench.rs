//! `cargo xtask bench`: every benchmark of the workspace, one after the other, on the profile that is tested.

use std::path::PathBuf;

use crate::cargo::packages;
use crate::flags::Flags;
use crate::process::Run;
use crate::{Done, Failure, onnxruntime, oracle, root, test};

const HELP: &str = "\
cargo xtask bench [NAME]...

Runs the benchmarks with these names, or all. Each says what it measures and what it is measured against.";

/// The model that is measured.
const MODEL: &str = "models/world/model.onnx";
/// And the policy.
const POLICY: &str = "models/policy/model.onnx";
/// The sites that its package names.
const TARGETS: &str = "targets=!motion.*";

pub(crate) fn run(args: &[String]) -> Done {
    let flags = Flags::with_words(args, &[], &["--help"])?;
    if flags.has("--help") {
        println!("{HELP}");
        return Ok(());
    }
    let mut benches = Vec::new();
    for package in packages()? {
        let targets = package.targets_of("bench").cloned();
        benches.extend(targets.map(|bench| (package.name.clone(), bench)));
    }
    let known: Vec<&str> = benches.iter().map(|(_package, bench)| bench.name.as_str()).collect();
    if let Some(other) = flags.rest.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Failure(format!("no benchmark {other}; there are: {}", known.join(" "))));
    }
    if benches.is_empty() {
        return Err(Failure::new("no crate has a benchmark"));
    }
    if onnxruntime::library().is_none() {
        onnxruntime::install()?;
    }
    let variables = test::variables();
    let wanted = |name: &String| flags.rest.is_empty() || flags.rest.contains(name);
    for (package, bench) in benches.iter().filter(|(_package, bench)| wanted(&bench.name)) {
        for arguments in arguments(&bench.name) {
            Run::cargo()
                .args(["bench", "--quiet", "--profile", "dev", "--package", package.as_str()])
                .args(["--bench", bench.name.as_str(), "--features", &bench.features.join(",")])
                .arg("--")
                .args(&arguments)
                .envs(&variables)
                .run()?;
            if bench.name == STEP {
                torch(&arguments)?;
            }
        }
    }
    Ok(())
}

/// The benchmark that has a peer in PyTorch.
pub(crate) const STEP: &str = "step";

/// What each benchmark is run with, once for each list.
fn arguments(bench: &str) -> Vec<Vec<String>> {
    let model = root().join(MODEL).to_string_lossy().into_owned();
    match bench {
        "inference" => inference(&model),
        STEP => steps(&model),
        "many" => many(&model),
        _ => vec![Vec::new()],
    }
}

/// Models of other kinds, where they are at hand: of steering, of motion (a transformer), of objects (the one with most convolutions).
const OTHERS: [&str; 3] = ["e2e_pilotnet_mae.onnx", "tinyphysics.onnx", "yolox_nano_416.onnx"];
/// The one with most work, of lanes.
const MOST_WORK: &str = "twinlitenet_360x640.onnx";
/// Steps of models that are not the shipped one: batch, and how many.
const STEPS: [(&str, &str, &str); 3] =
    [("tinyphysics.onnx", "8", "40"), ("yolox_nano_416.onnx", "1", "10"), (MOST_WORK, "1", "5")];
/// The shipped model's step with its forward pass computed again in so many segments on the way back, as `shoal model differentiate --memory-limit` has it.
const LIMITED: &str = "segments=12";

/// The shipped model's step, with all the memory it takes and with less, and those of others with every site, each with a thread
/// and with two.
fn steps(model: &str) -> Vec<Vec<String>> {
    let others = all_models(model);
    let other = |&(name, batch, count): &(&str, &'static str, &'static str)| {
        let path = others.iter().find(|path| path.ends_with(name))?.clone();
        Some((path, batch, count, vec![]))
    };
    let shipped = [vec![TARGETS], vec![TARGETS, LIMITED]];
    let shipped = shipped.map(|settings| (model.to_owned(), "8", "40", settings));
    shipped
        .into_iter()
        .chain(STEPS.iter().filter_map(other))
        .flat_map(|(model, batch, count, settings)| {
            ["1", "2"].map(|threads| {
                let rest = [batch, threads, count].into_iter().chain(settings.clone());
                std::iter::once(model.clone()).chain(rest.map(str::to_owned)).collect::<Vec<_>>()
            })
        })
        .collect()
}

/// What [`STEP`] is run with, each model once.
pub(crate) fn steps_of_one_thread() -> Vec<Vec<String>> {
    let all = steps(&root().join(MODEL).to_string_lossy());
    let is_one = |arguments: &Vec<String>| {
        arguments[2] == "1" && !arguments.iter().any(|argument| argument == LIMITED)
    };
    all.into_iter().filter(is_one).collect()
}

/// Builds a benchmark and says where it is.
pub(crate) fn built(bench: &str) -> Done<PathBuf> {
    let printed = Run::cargo()
        .args(["bench", "--quiet", "--profile", "dev", "--workspace", "--bench", bench, "--no-run"])
        .args(["--message-format", "json"])
        .output()?;
    let mut made = printed.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == bench;
        message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
    });
    made.next_back().ok_or_else(|| Failure(format!("cargo does not say where {bench} is")))
}

/// The same step in PyTorch, by this Python.
pub(crate) fn in_torch(python: impl AsRef<std::ffi::OsStr>, arguments: &[String]) -> Run {
    let [model, batch, threads] = [0, 1, 2].map(|at| arguments.get(at).map_or("", String::as_str));
    Run::new(python).args(["xtask/oracle/step.py", model, "--batch", batch, "--threads", threads])
}

/// Every model, once.
fn inference(model: &str) -> Vec<Vec<String>> {
    all_models(model).into_iter().map(|model| vec![model]).collect()
}

fn all_models(model: &str) -> Vec<String> {
    models(model, &[&OTHERS[..], &[MOST_WORK]].concat())
}

/// The shipped model and those of others that are at hand.
fn models(model: &str, others: &[&str]) -> Vec<String> {
    let data =
        std::env::var_os("SHOAL_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    let others = others.iter().map(|name| data.join("models").join(name));
    let others =
        others.filter(|path| path.is_file()).map(|path| path.to_string_lossy().into_owned());
    std::iter::once(model.to_owned()).chain(others).collect()
}

/// Every model, and the shipped policy, with all sites and with those behind half of the work, for one sample and for four.
fn many(model: &str) -> Vec<Vec<String>> {
    let ways = [("all", "1"), ("half", "1"), ("all", "4"), ("half", "4")];
    let of = |model: &String| {
        ways.map(|(sites, batch)| [model, sites, batch].map(str::to_owned).to_vec())
    };
    let policy = root().join(POLICY).to_string_lossy().into_owned();
    models(model, &OTHERS).iter().chain([&policy]).flat_map(of).collect()
}

/// The same step in PyTorch, right after ours: eager and compiled.
fn torch(arguments: &[String]) -> Done {
    let Some(python) = oracle::python() else {
        println!("no PyTorch to compare with: `cargo xtask oracle` installs it");
        return Ok(());
    };
    for compile in [&[][..], &["--compile"]] {
        in_torch(&python, arguments).args(compile).run()?;
    }
    Ok(())
}
