//! `cargo xtask bench`: every benchmark of the workspace, one after the other, on the profile that is tested.

use crate::cargo::packages;
use crate::flags::Flags;
use crate::process::Run;
use crate::{Done, Failure, onnxruntime};

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
        let names = package.targets_of("bench").map(str::to_owned);
        benches.extend(names.map(|bench| (package.name.clone(), bench)));
    }
    let known: Vec<&str> = benches.iter().map(|(_package, bench)| bench.as_str()).collect();
    if let Some(other) = flags.rest.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Failure(format!("no benchmark {other}; there are: {}", known.join(" "))));
    }
    if benches.is_empty() {
        return Err(Failure::new("no crate has a benchmark"));
    }
    if onnxruntime::library().is_none() {
        onnxruntime::install()?;
    }
    for (package, bench) in &benches {
        if flags.rest.is_empty() || flags.rest.contains(bench) {
            let run = Run::cargo().args(["bench", "--quiet", "--profile", "dev"]);
            let run = run.args(["--package", package.as_str(), "--bench", bench.as_str()]);
            let library = onnxruntime::library();
            let run = library.iter().fold(run, |run, path| run.env("SHOAL_ONNXRUNTIME", path));
            run.run()?;
        }
    }
    Ok(())
}
