//! Fuzz targets: the binaries of the package in tests/fuzz. Each builds itself with instrumentation, starts
//! from its corpus, runs for so long, and ends with 0 when no bytes panicked it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::sync::Mutex;
use std::thread;

use serde_json::{Map, Value, json};

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
    /// Of each target, in `cargo xtask test`: a minute for all, where `cargo xtask soak` takes hours.
    pub(crate) const TEST: Length = Length::Runs(20_000);

    fn args(self) -> [String; 2] {
        match self {
            Length::Runs(n) => ["--runs".to_owned(), n.to_string()],
            Length::Seconds(n) => ["--seconds".to_owned(), n.to_string()],
        }
    }
}

/// Every target: whether no input broke one.
pub(crate) fn step(length: Length, variables: &[(&'static str, OsString)]) -> Done<Outcome> {
    let targets = match targets()? {
        Ok(targets) => targets,
        Err(skip) => return Ok(Outcome::Skipped(skip)),
    };
    build(&targets)?;
    let (_told, done) = every(&targets, length, variables);
    let [unit, n] = length.args();
    done.map(|()| Outcome::PassedWith(format!("{} targets, each {unit} {n}", targets.len())))
}

/// Each target for so many seconds, or `only` those named, and the rows of all of them `grow`: what each came to, and whether no
/// input broke one. What an `earlier` run of as many seconds shows is not run again.
pub(crate) fn long(
    seconds: u64,
    only: &[String],
    earlier: Option<&Value>,
    grow: &mut dyn FnMut(&Value) -> Done,
) -> Done<(Value, Done)> {
    let mut targets = match targets()? {
        Ok(targets) => targets,
        Err(Skip { why, .. }) => return Ok((json!({"skipped": why}), Err(Failure(why)))),
    };
    if let Some(unknown) = only.iter().find(|name| !targets.contains(name)) {
        let why = format!("no target {unknown}; there are: {}", targets.join(" "));
        return Ok((earlier.cloned().unwrap_or_default(), Err(Failure(why))));
    }
    let told = |rows: &Map<String, Value>| json!({"seconds_each": seconds, "targets": rows});
    let mut rows = known(earlier, seconds);
    targets.retain(|name| only.is_empty() || only.contains(name));
    targets.retain(|name| !rows.contains_key(name));
    if !targets.is_empty() {
        build(&targets)?;
    }
    let mut failed = Ok(());
    for some in targets.chunks(at_once()) {
        let (more, done) = every(some, Length::Seconds(seconds), &[]);
        rows.extend(more);
        grow(&told(&rows))?;
        failed = failed.and(done);
    }
    Ok((told(&rows), failed))
}

/// The targets of an earlier report that ran as long, and passed.
fn known(earlier: Option<&Value>, seconds: u64) -> Map<String, Value> {
    let rows = earlier.filter(|earlier| earlier["seconds_each"] == seconds);
    let mut rows = rows.and_then(|rows| rows["targets"].as_object().cloned()).unwrap_or_default();
    rows.retain(|_name, row| row["passed"] == true);
    rows
}

/// How many targets run at once: as many as there are processors.
fn at_once() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// As many of these targets at once as there are processors. They are built.
fn every(
    targets: &[String],
    length: Length,
    variables: &[(&'static str, OsString)],
) -> (Map<String, Value>, Done) {
    let waiting = Mutex::new(targets.iter().collect::<VecDeque<_>>());
    let told = Mutex::new(Map::new());
    let work = || {
        while let Some(target) = waiting.lock().ok().and_then(|mut all| all.pop_front()) {
            let program = Run::new(target_dir().join("debug").join(target));
            let mut inputs = None;
            let ended = program
                .args(length.args())
                .envs(variables)
                .lines(|line| inputs = inputs_of(line).or(inputs));
            let shown = json!({"passed": matches!(ended, Ok(true)), "inputs": inputs});
            if let Ok(mut told) = told.lock() {
                told.insert(target.clone(), shown);
            }
        }
    };
    thread::scope(|scope| (0..at_once()).for_each(|_| drop(scope.spawn(work))));
    let told = told.into_inner().unwrap_or_default();
    let passed = |target: &&String| told.get(*target).is_some_and(|shown| shown["passed"] == true);
    let failed: Vec<&str> =
        targets.iter().filter(|target| !passed(target)).map(String::as_str).collect();
    let done = match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure(format!("fuzz targets failed: {}", failed.join(", ")))),
    };
    (told, done)
}

/// libFuzzer's count of inputs, if this is the line that tells it.
fn inputs_of(line: &str) -> Option<u64> {
    line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok()
}

/// The names of the targets.
fn targets() -> Done<Result<Vec<String>, Skip>> {
    let folder = root().join("tests/fuzz");
    let mut packages = packages()?.into_iter();
    let Some(package) = packages.find(|package| package.manifest.starts_with(&folder)) else {
        return Ok(Err(Skip::because("no package in tests/fuzz")));
    };
    if !has_cxx() {
        return Ok(Err(Skip::because("no C++ compiler for libFuzzer")));
    }
    let targets: Vec<String> =
        package.targets_of("bin").map(|target| target.name.clone()).collect();
    if targets.is_empty() {
        return Ok(Err(Skip::because("no target in tests/fuzz")));
    }
    Ok(Ok(targets))
}

/// Builds the targets, with all of the workspace: dependencies have the features that they have in every other build.
fn build(targets: &[String]) -> Done {
    let named = targets.iter().flat_map(|target| ["--bin", target]);
    Run::cargo().args(["build", "--quiet", "--workspace"]).args(named).run()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{inputs_of, known};

    #[test]
    fn a_target_that_ran_as_long_and_passed_is_not_run_again() {
        let targets = json!({"a": {"passed": true, "inputs": 5}, "b": {"passed": false}});
        let earlier = json!({"seconds_each": 600, "targets": targets});
        let names = |seconds| known(Some(&earlier), seconds).keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(600), ["a"]);
        assert!(names(60).is_empty() && known(None, 600).is_empty());
    }

    #[test]
    fn the_count_of_inputs_is_read_from_what_libfuzzer_tells() {
        assert_eq!(inputs_of("stat::number_of_executed_units: 50000"), Some(50_000));
        assert_eq!(inputs_of("stat::average_exec_per_sec:     833"), None);
        assert_eq!(inputs_of("stat::number_of_executed_units: many"), None);
    }
}
