//! Fuzz targets: the binaries of the package in tests/fuzz. Each builds itself with instrumentation, starts
//! from its corpus, runs for `--seconds N`, and ends with 0 when no bytes panicked it.

use std::ffi::OsString;

use crate::cargo::{Package, packages};
use crate::install::has_cxx;
use crate::process::Run;
use crate::steps::{Outcome, Skip};
use crate::{Done, Failure, root};

/// Of each target, in `cargo xtask test`.
pub(crate) const TEST_SECONDS: u64 = 20;

pub(crate) fn step(seconds: u64, variables: &[(&'static str, OsString)]) -> Done<Outcome> {
    let folder = root().join("tests/fuzz");
    let mut packages = packages()?.into_iter();
    let Some(package) = packages.find(|package| package.manifest.starts_with(&folder)) else {
        return Ok(Outcome::Skipped(Skip::because("no package in tests/fuzz")));
    };
    if !has_cxx() {
        return Ok(Outcome::Skipped(Skip::because("no C++ compiler for libFuzzer")));
    }
    let failed: Vec<&str> = package
        .targets_of("bin")
        .map(|target| target.name.as_str())
        .filter(|target| run(&package, target, seconds, variables).is_err())
        .collect();
    let count = package.targets_of("bin").count();
    match (count, failed.is_empty()) {
        (0, _) => Ok(Outcome::Skipped(Skip::because("no target in tests/fuzz"))),
        (_, true) => Ok(Outcome::PassedWith(format!("{count} targets, {seconds} s each"))),
        (_, false) => Err(Failure(format!("fuzz targets failed: {}", failed.join(", ")))),
    }
}

fn run(
    package: &Package,
    target: &str,
    seconds: u64,
    variables: &[(&'static str, OsString)],
) -> Done {
    Run::cargo()
        .args(["run", "--quiet", "--package", &package.name, "--bin", target])
        .args(["--", "--seconds", &seconds.to_string()])
        .envs(variables)
        .run()
}
