//! `cargo xtask test`: the whole of CI. One run shows every fault; what was not checked is said at the end.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::thread::available_parallelism;

use crate::flags::Flags;
use crate::process::{Run, found};
use crate::steps::{Outcome, Skip, Steps};
use crate::{
    Done, Failure, accelerator, bare, demo, fuzz, image, install, onnxruntime, root, tidy,
};

const HELP: &str = "\
cargo xtask test [STEP]... [--exclude PACKAGE]... [--no-install]

Steps: fmt tidy clippy tests docs demo bare gateway vehicle deny machete fuzz accelerator. Without one named, all of them.
--exclude PACKAGE   leaves a package out of clippy, tests and docs (while developing)
--no-install        uses what is there

Reads: CI=true (what is skipped is a failure, unless nothing here could do it),
SHOAL_DATA (recorded drives; else ../shared/data), SHOAL_ONNXRUNTIME (the library; else it is fetched).";

type Step = (&'static str, fn(&Session) -> Done<Outcome>);

/// In order: what is quick and what builds what others use comes first.
const STEPS: [Step; 13] = [
    ("fmt", |_session| passed(Run::cargo().args(["fmt", "--all", "--check"]))),
    ("tidy", |_session| tidy::step()),
    ("clippy", clippy),
    ("tests", tests),
    ("docs", docs),
    ("demo", |_session| demo::run(&DEMO.map(String::from)).map(|()| Outcome::Passed)),
    ("bare", |_session| bare::step()),
    ("gateway", |session| image::gateway::step(&session.variables)),
    ("vehicle", |session| image::booted::step(None, &session.variables)),
    ("deny", |_session| deny()),
    ("machete", |_session| machete()),
    ("fuzz", |session| fuzz::step(fuzz::Length::TEST, &session.variables)),
    ("accelerator", |_session| accelerator::step()),
];

/// The README's first command, as short as it gets: that it runs and what it writes is read back, not how much is learnt.
const DEMO: [&str; 5] = ["--headless", "--vehicles", "2", "--windows", "3"];

/// Tests of real programs, of which each waits for the others…
const FLEETS: &str = "package(shoal-tests) and not binary(cuts)";
/// …and the rest; the cuts' network is real, and its programs are killed at an instant.
const ALL_ELSE: &str = "not (package(shoal-tests) and not binary(cuts))";

/// What one run goes by.
struct Session {
    exclude: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
}

pub(crate) fn run(args: &[String]) -> Done {
    let flags = Flags::parse(args, &["--exclude"], &["--no-install", "--help"])?;
    if flags.has("--help") {
        println!("{HELP}");
        return Ok(());
    }
    for name in &flags.rest {
        if !STEPS.iter().any(|(step, _run)| step == name) {
            return Err(Failure(format!("no step {name}\n\n{HELP}")));
        }
    }
    let wanted = |name: &str| flags.rest.is_empty() || flags.rest.iter().any(|step| step == name);

    let mut steps = Steps::new(std::env::var("CI").is_ok_and(|ci| ci == "true"));
    if !flags.has("--no-install") {
        install::install(&mut steps);
    }
    let exclude = flags.all("--exclude").flat_map(|name| ["--exclude".into(), name.into()]);
    let exclude: Vec<OsString> = exclude.collect();
    if !exclude.is_empty() {
        let names = flags.all("--exclude").collect::<Vec<_>>().join(", ");
        steps.skip("packages", Skip::because(format!("excluded: {names}")));
    }
    let session = Session { exclude, variables: required(&mut steps) };
    for (name, step) in STEPS {
        if wanted(name) {
            steps.step(name, || step(&session));
        } else {
            steps.skip(name, Skip::because("not asked for"));
        }
    }
    steps.finish()
}

/// What tests go by: with a `SHOAL_REQUIRE_*` they fail where they would pass over what is missing.
fn required(steps: &mut Steps) -> Vec<(&'static str, OsString)> {
    let mut variables = variables();
    let wants: [(&str, &str, bool, &str); 7] = [
        (
            "SHOAL_REQUIRE_ORT",
            "with ONNX Runtime",
            onnxruntime::library().is_some(),
            "no library of it",
        ),
        ("SHOAL_REQUIRE_FFMPEG", "with video", install::has_ffmpeg(), "no program ffmpeg"),
        (
            "SHOAL_REQUIRE_MOSQUITTO",
            "on Mosquitto",
            install::has_mosquitto(),
            "no program mosquitto",
        ),
        ("SHOAL_REQUIRE_NATS", "on NATS", install::has_nats(), "no program nats-server"),
        (
            "SHOAL_REQUIRE_SOFTHSM",
            "with a token",
            install::has_softhsm(),
            "no program softhsm2-util",
        ),
        ("SHOAL_REQUIRE_CHROMIUM", "of the page", install::has_chromium(), "no program chromium"),
        (
            "SHOAL_REQUIRE_DATA",
            "on real roads",
            data().is_some(),
            "no ../shared/data, no SHOAL_DATA",
        ),
    ];
    for (name, what, is_there, why) in wants {
        if is_there || steps.ci() {
            variables.push((name, "1".into()));
        } else {
            steps.skip("tests (some)", Skip::because(format!("those {what}: {why}")));
        }
    }
    variables
}

/// Where tests and benches find what the repository does not hold.
pub(crate) fn variables() -> Vec<(&'static str, OsString)> {
    let library = onnxruntime::library().map(|path| ("SHOAL_ONNXRUNTIME", path.into_os_string()));
    let data = data().map(|path| ("SHOAL_DATA", path.into_os_string()));
    library.into_iter().chain(data).collect()
}

/// Recorded drives, logs and models of others, which the repository does not hold.
pub(crate) fn data() -> Option<PathBuf> {
    let named = std::env::var_os("SHOAL_DATA").map(PathBuf::from);
    let data = named.unwrap_or_else(|| root().join("../shared/data"));
    data.is_dir().then_some(data)
}

fn passed(run: Run) -> Done<Outcome> {
    run.run().map(|()| Outcome::Passed)
}

fn clippy(session: &Session) -> Done<Outcome> {
    let args = ["clippy", "--workspace", "--all-targets"];
    passed(Run::cargo().args(args).args(&session.exclude).args(["--", "-D", "warnings"]))
}

fn docs(session: &Session) -> Done<Outcome> {
    let run = Run::cargo().args(["doc", "--workspace", "--no-deps", "--quiet"]);
    passed(run.args(&session.exclude).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Every test, by nextest where it is, by cargo else; ends in one line of counts.
fn tests(session: &Session) -> Done<Outcome> {
    let mut counts = Counts::default();
    let mut run = |runner: &[&str]| {
        Run::cargo()
            .args(runner)
            .args(["--workspace", "--no-fail-fast"])
            .args(&session.exclude)
            .envs(&session.variables)
            .lines(|line| counts.read(line))
    };
    let mut well = true;
    if found("cargo-nextest") {
        // Vehicles run at the lowest priority, and their windows do not wait: nothing computes beside them. A fleet waits half
        // of its time.
        let processors = available_parallelism().map_or(1, usize::from);
        for (which, at_once) in [(FLEETS, 2 * processors), (ALL_ELSE, processors)] {
            let nextest = ["nextest", "run", "--no-tests", "pass", "--filterset", which];
            well &= run(&[&nextest[..], &["--test-threads", &at_once.to_string()]].concat())?;
        }
    } else {
        well &= run(&["test", "--lib", "--bins", "--tests", "--examples"])?;
    }
    // Examples in documentation: nextest does not know them.
    well &= run(&["test", "--doc"])?;
    let Counts { passed, failed, names } = counts;
    println!("\n{passed} passed, {failed} failed");
    match (well, failed) {
        (true, 0) if passed > 0 => Ok(Outcome::PassedWith(format!("{passed} passed, 0 failed"))),
        (true, 0) => Err(Failure::new("no test ran")),
        (_, 0) => Err(Failure(format!("tests did not build or end: {passed} passed, 0 failed"))),
        _ => {
            let names: Vec<String> = names.into_iter().collect();
            Err(Failure(format!("{passed} passed, {failed} failed: {}", names.join(", "))))
        }
    }
}

/// Tests counted in what runners print.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    /// Of those that failed, where the runner says them one a line.
    names: BTreeSet<String>,
}

impl Counts {
    /// `test result: ok. 3 passed; 1 failed; …` and `Summary [ 0.5s] 4 tests run: 3 passed, 1 failed, …`.
    fn read(&mut self, line: &str) {
        self.names.extend(failing(line));
        if !line.starts_with("test result:") && !line.trim_start().starts_with("Summary [") {
            return;
        }
        let words: Vec<&str> = line.split([' ', ',', ';', ':', '.']).collect();
        for pair in words.windows(2) {
            if let [count, what] = pair
                && let Ok(count) = count.parse::<u64>()
            {
                match *what {
                    "passed" => self.passed += count,
                    "failed" => self.failed += count,
                    _ => {}
                }
            }
        }
    }
}

/// The test of `FAIL [ 0.5s] (1/9) shoal-wire::records a_test`; `TIMEOUT`, or a signal, in place of `FAIL`.
fn failing(line: &str) -> Option<String> {
    let (how, rest) = line.trim_start().split_once(" [")?;
    let fatal = matches!(how, "FAIL" | "TIMEOUT" | "ABORT" | "XFAIL") || how.starts_with("SIG");
    let name = rest.split_once(']').filter(|_| fatal)?.1.trim_start();
    let numbered = name.starts_with('(');
    let name = name.split_once(") ").filter(|_| numbered).map_or(name, |(_number, name)| name);
    Some(name.trim().to_owned())
}

/// Licences, bans and sources must hold; advisories too where their database can be fetched.
fn deny() -> Done<Outcome> {
    let Some(deny) = install::deny() else {
        return Ok(Outcome::Skipped(Skip::because("no cargo-deny in target/tools")));
    };
    Run::new(&deny).args(["check", "licenses", "bans", "sources"]).run()?;
    let mut fetched = true;
    let well = Run::new(&deny).args(["check", "advisories"]).lines(|line| {
        fetched &= !line.contains("failed to fetch advisory database");
    })?;
    match (well, fetched) {
        (true, _) => Ok(Outcome::Passed),
        (false, true) => Err(Failure::new("an advisory stands against a dependency: see above")),
        (false, false) => {
            let note =
                "licences, bans and sources; ADVISORIES SKIPPED: their database cannot be fetched";
            Ok(Outcome::PassedWith(note.to_owned()))
        }
    }
}

fn machete() -> Done<Outcome> {
    match install::machete() {
        Some(machete) => passed(Run::new(machete)),
        None => Ok(Outcome::Skipped(Skip::because("no cargo-machete in target/tools"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runners_are_counted() {
        let mut counts = Counts::default();
        counts.read(
            "test result: FAILED. 27 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        );
        counts
            .read("     Summary [   0.512s] 29 tests run: 28 passed (1 slow), 1 failed, 3 skipped");
        counts.read("     Summary [   0.512s] 1 test run: 1 passed, 0 skipped");
        counts.read("9 passed, 9 failed");
        assert_eq!(counts, Counts { passed: 56, failed: 3, names: BTreeSet::new() });
    }

    #[test]
    fn the_tests_that_failed_are_named_once() {
        let mut counts = Counts::default();
        counts.read("        PASS [   0.012s] ( 3/29) shoal-wire::records a_whole_one");
        counts.read("        FAIL [   0.512s] ( 4/29) shoal-wire::records a_damaged_one");
        counts.read("     SIGKILL [   1.512s] shoal-tests::cuts a_cut");
        counts.read("        FAIL [   0.512s] ( 4/29) shoal-wire::records a_damaged_one");
        let names: Vec<&str> = counts.names.iter().map(String::as_str).collect();
        assert_eq!(names, ["shoal-tests::cuts a_cut", "shoal-wire::records a_damaged_one"]);
    }

    #[test]
    fn a_step_that_does_not_exist_is_refused() {
        assert!(run(&["lint".to_owned()]).is_err());
    }
}
