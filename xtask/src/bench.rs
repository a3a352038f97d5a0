//! `cargo xtask bench`: every benchmark of the workspace, one after the other, on the profile that is tested.

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
        _ => vec![Vec::new()],
    }
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
