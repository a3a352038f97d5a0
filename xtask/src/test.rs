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
What the steps need beside Rust and a C compiler is said first, and installed where it is missing (apt-get, rustup, cargo, pip).
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
    let flags = Flags::with_words(args, &["--exclude"], &["--no-install", "--help"])?;
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
        install::install(&mut steps, wanted);
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

/// Something without which some tests show nothing.
struct Want {
    /// With this variable they fail where they would pass over what is missing.
    variable: &'static str,
    what: &'static str,
    is_there: fn() -> bool,
    why_not: &'static str,
}

const WANTS: [Want; 9] = [
    Want {
        variable: "SHOAL_REQUIRE_ORT",
        what: "with ONNX Runtime",
        is_there: || onnxruntime::library().is_some(),
        why_not: "no library of it",
    },
    Want {
        variable: "SHOAL_REQUIRE_FFMPEG",
        what: "with video",
        is_there: install::has_ffmpeg,
        why_not: "no program ffmpeg",
    },
    Want {
        variable: "SHOAL_REQUIRE_MOSQUITTO",
        what: "on Mosquitto",
        is_there: install::has_mosquitto,
        why_not: "no program mosquitto",
    },
    Want {
        variable: "SHOAL_REQUIRE_NATS",
        what: "on NATS",
        is_there: install::has_nats,
        why_not: "no program nats-server",
    },
    Want {
        variable: "SHOAL_REQUIRE_SOFTHSM",
        what: "with a token",
        is_there: install::has_softhsm,
        why_not: "no program softhsm2-util",
    },
    Want {
        variable: "SHOAL_REQUIRE_CHROMIUM",
        what: "of the page",
        is_there: install::has_chromium,
        why_not: "no program chromium",
    },
    Want {
        variable: "SHOAL_REQUIRE_NAMESPACES",
        what: "that cut real programs",
        is_there: install::has_namespaces,
        why_not: "no right to namespaces, no program ip, or no /dev/net/tun",
    },
    Want {
        variable: "SHOAL_REQUIRE_FAKETIME",
        what: "that move a clock",
        is_there: install::has_faketime,
        why_not: "no libfaketime",
    },
    Want {
        variable: "SHOAL_REQUIRE_DATA",
        what: "on real roads",
        is_there: || data().is_some(),
        why_not: "no ../shared/data, no SHOAL_DATA",
    },
];

/// What tests go by.
fn required(steps: &mut Steps) -> Vec<(&'static str, OsString)> {
    let mut variables = variables();
    for want in &WANTS {
        match demanded(want, (want.is_there)(), steps.ci()) {
            Ok(variable) => variables.push((variable, "1".into())),
            Err(why) => steps.skip("tests (some)", Skip::because(why)),
        }
    }
    variables
}

/// The variable that makes its absence a failure, or what is passed over and why.
fn demanded(want: &Want, is_there: bool, ci: bool) -> Result<&'static str, String> {
    match is_there || ci {
        true => Ok(want.variable),
        false => Err(format!("those {}: {}", want.what, want.why_not)),
    }
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
        let line = &plain(line);
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

/// A line without codes of colours, which runners write where `CARGO_TERM_COLOR` says so.
fn plain(line: &str) -> String {
    let mut pieces = line.split('\x1b');
    let first = pieces.next().unwrap_or_default();
    let is_of_code = |c: char| c.is_ascii_digit() || c == '[' || c == ';';
    pieces.fold(first.to_owned(), |text, piece| {
        text + piece.trim_start_matches(is_of_code).strip_prefix('m').unwrap_or(piece)
    })
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
        return Ok(Outcome::Skipped(Skip::because(
            "no cargo-deny, neither on PATH nor in target/tools",
        )));
    };
    Run::by_own_name(&deny).args(["check", "licenses", "bans", "sources"]).run()?;
    let mut fetched = true;
    let well = Run::by_own_name(&deny).args(["check", "advisories"]).lines(|line| {
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
        Some(machete) => passed(Run::by_own_name(machete)),
        None => Ok(Outcome::Skipped(Skip::because(
            "no cargo-machete, neither on PATH nor in target/tools",
        ))),
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

    /// As nextest and libtest write them with `CARGO_TERM_COLOR=always`.
    #[test]
    fn lines_in_colours_are_read_as_without() {
        let mut counts = Counts::default();
        counts.read(
            "\x1b[31;1m        FAIL\x1b[0m [   0.512s] (4/29) \x1b[35;1mshoal-wire::records\x1b[0m \x1b[34;1ma_test\x1b[0m",
        );
        counts.read(
            "\x1b[31;1m     Summary\x1b[0m [   0.5s] \x1b[1m4\x1b[0m tests run: \x1b[1m3\x1b[0m \x1b[32;1mpassed\x1b[0m, \
             \x1b[1m1\x1b[0m \x1b[31;1mfailed\x1b[0m",
        );
        counts.read("test result: \x1b[32mok\x1b[m. 2 passed; 0 failed; 0 ignored");
        let names = BTreeSet::from(["shoal-wire::records a_test".to_owned()]);
        assert_eq!(counts, Counts { passed: 5, failed: 1, names });
    }

    #[test]
    fn what_is_missing_is_passed_over_and_in_ci_required() {
        let of = |is_there, ci| WANTS.each_ref().map(|want| demanded(want, is_there, ci));
        assert!(of(false, false).iter().all(Result::is_err), "each says why");
        let variables = WANTS.each_ref().map(|want| Ok(want.variable));
        assert_eq!([of(true, false), of(false, true)], [variables.clone(), variables]);
        let fleet = ["SHOAL_REQUIRE_NAMESPACES", "SHOAL_REQUIRE_FAKETIME"];
        assert!(fleet.iter().all(|name| WANTS.iter().any(|want| want.variable == *name)));
    }

    #[test]
    fn only_what_the_named_steps_need_is_installed() {
        let needed = |asked: &str| {
            let needs = install::NEEDS.iter().filter(|need| need.is_of(|step| step == asked));
            needs.map(|need| need.name).collect::<Vec<_>>()
        };
        assert_eq!(needed("fmt"), ["rustfmt and clippy"]);
        assert_eq!(needed("fuzz"), ["C++ compiler", "ONNX Runtime"]);
        assert_eq!(needed("tidy"), [""; 0]);
        assert!(needed("tests").contains(&"mosquitto"));
        for need in &install::NEEDS {
            let known = |step: &&str| STEPS.iter().any(|(name, _run)| name == step);
            assert!(!need.steps.is_empty() && need.steps.iter().all(known), "{}", need.name);
        }
    }

    #[test]
    fn a_step_that_does_not_exist_is_refused() {
        assert!(run(&["lint".to_owned()]).is_err());
    }
}
