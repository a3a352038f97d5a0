//! `cargo xtask bench`: every benchmark of the workspace, one after the other, on the profile that is tested.

use crate::cargo::packages;
use crate::flags::Flags;
use crate::process::Run;
use crate::{Done, Failure, onnxruntime, test};

const HELP: &str = "\
cargo xtask bench [NAME]...

Runs the benchmarks with these names, or all. Each says what it measures and what it is measured against.";

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
        Run::cargo()
            .args(["bench", "--quiet", "--profile", "dev", "--package", package.as_str()])
            .args(["--bench", bench.name.as_str(), "--features", &bench.features.join(",")])
            .envs(&variables)
            .run()?;
    }
    Ok(())
}
