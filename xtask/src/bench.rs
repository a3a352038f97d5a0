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
/// The sites that its package names.
const TARGETS: &str = "targets=!motion.*";

pub(crate) fn run(args: &[String]) -> Done {
    let flags = Flags::parse(args, &[], &["--help"])?;
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
const STEP: &str = "step";

/// What each benchmark is run with, once for each list.
fn arguments(bench: &str) -> Vec<Vec<String>> {
    let model = root().join(MODEL).to_string_lossy().into_owned();
    let list = |rest: &[&str]| {
        let rest = rest.iter().map(|argument| (*argument).to_owned());
        std::iter::once(model.clone()).chain(rest).collect()
    };
    match bench {
        "inference" => vec![list(&[])],
        STEP => ["1", "2"].map(|threads| list(&["8", threads, "40", TARGETS])).into(),
        "many" => many(&model),
        _ => vec![Vec::new()],
    }
}

/// Models of other kinds, where they are at hand: of steering, of motion, of objects.
const OTHERS: [&str; 3] = ["e2e_pilotnet_mae.onnx", "tinyphysics.onnx", "yolox_nano_416.onnx"];

/// Every model with all its sites and with those behind half of its work, for one sample and for four.
fn many(model: &str) -> Vec<Vec<String>> {
    let data =
        std::env::var_os("SHOAL_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    let others = OTHERS.iter().map(|name| data.join("models").join(name));
    let others =
        others.filter(|path| path.is_file()).map(|path| path.to_string_lossy().into_owned());
    let models: Vec<String> = std::iter::once(model.to_owned()).chain(others).collect();
    let ways = [("all", "1"), ("half", "1"), ("all", "4"), ("half", "4")];
    let of = |model: &String| {
        ways.map(|(sites, batch)| [model, sites, batch].map(str::to_owned).to_vec())
    };
    models.iter().flat_map(of).collect()
}

/// The same step in PyTorch, right after ours: eager and compiled.
fn torch(arguments: &[String]) -> Done {
    let Some(python) = oracle::python() else {
        println!("no PyTorch to compare with: `cargo xtask oracle` installs it");
        return Ok(());
    };
    let [model, _batch, threads, ..] = arguments else {
        return Err(Failure::new("a step is compared at a number of threads"));
    };
    for compile in [&[][..], &["--compile"]] {
        Run::new(&python)
            .args(["xtask/oracle/step.py", model, "--threads", threads])
            .args(compile)
            .run()?;
    }
    Ok(())
}
