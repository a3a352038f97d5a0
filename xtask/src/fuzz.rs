//! Fuzz targets: the binaries of the package in tests/fuzz. Each builds itself with instrumentation, starts
//! from its corpus, runs for so long, and ends with 0 when no bytes panicked it.

use std::ffi::OsString;

use crate::cargo::{packages, target_dir};
use crate::install::has_cxx;
use crate::process::Run;
use crate::steps::{Outcome, Skip};
use crate::{Done, Failure, root};

/// How long each target runs, as its arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Length {
    /// Inputs: the same ones each time, so that `cargo xtask test` says the same of the same code.
    Runs(u64),
    /// Seconds: other inputs each time.
    Seconds(u64),
}

impl Length {
    /// Of each target, in `cargo xtask test`: a minute or two for all, where `cargo xtask soak` takes hours.
    pub(crate) const TEST: Length = Length::Runs(50_000);

    fn args(self) -> [String; 2] {
        match self {
            Length::Runs(n) => ["--runs".to_owned(), n.to_string()],
            Length::Seconds(n) => ["--seconds".to_owned(), n.to_string()],
        }
    }
}

pub(crate) fn step(length: Length, variables: &[(&'static str, OsString)]) -> Done<Outcome> {
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
        .filter(|target| run(target, length, variables).is_err())
        .collect();
    let count = package.targets_of("bin").count();
    match (count, failed.is_empty()) {
        (0, _) => Ok(Outcome::Skipped(Skip::because("no target in tests/fuzz"))),
        (_, true) => {
            let [unit, n] = length.args();
            Ok(Outcome::PassedWith(format!("{count} targets, each {unit} {n}")))
        }
        (_, false) => Err(Failure(format!("fuzz targets failed: {}", failed.join(", ")))),
    }
}

/// Built with all of the workspace: dependencies have the features that they have in every other build.
fn run(target: &str, length: Length, variables: &[(&'static str, OsString)]) -> Done {
    Run::cargo().args(["build", "--quiet", "--workspace", "--bin", target]).run()?;
    let binary = target_dir().join("debug").join(target);
    Run::new(binary).args(length.args()).envs(variables).run()
}
