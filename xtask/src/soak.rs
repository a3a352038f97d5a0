//! `cargo xtask soak`: what takes hours. Its summary stands beside the commit it is of.

use std::ffi::OsString;
use std::fs;

use serde_json::json;

use crate::clock::Watch;
use crate::flags::Flags;
use crate::process::Run;
use crate::steps::Outcome;
use crate::{Done, Failure, fuzz, image, root};

const HELP: &str = "\
cargo xtask soak [--cases N] [--fuzz-seconds N]

Every property test with N cases (default 20000), replay killed and cut, a vehicle computer whose power is cut, its image
made twice, and every fuzz target for N seconds (default 1800); writes docs/evidence/soak-COMMIT.json.";

/// Times that a program is killed while it writes replay.
const KILLS: u32 = 300;
/// What was passed over was not shown.
fn all_of_it(outcome: Outcome) -> Done {
    match outcome {
        Outcome::Passed | Outcome::PassedWith(_) => Ok(()),
        Outcome::Skipped(skip) => Err(Failure(skip.why)),
    }
}

/// Times that the power of an emulated vehicle computer is cut.
const POWER_CUTS: u32 = 10;
/// Seeds of the simulated disk that is cut before every operation.
const CUT_SEEDS: u32 = 40;

pub(crate) fn run(args: &[String]) -> Done {
    let flags = Flags::parse(args, &["--cases", "--fuzz-seconds"], &["--help"])?;
    if flags.has("--help") {
        println!("{HELP}");
        return Ok(());
    }
    let number = |name: &str, default: u64| match flags.value(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_error| Failure(format!("{name} {text} is no number"))),
    };
    let (cases, seconds) = (number("--cases", 20_000)?, number("--fuzz-seconds", 1800)?);
    let git = |args: &[&str]| Run::new("git").args(args).output();
    let commit = git(&["rev-parse", "HEAD"])?;
    let changed = !git(&["status", "--porcelain"])?.is_empty();

    let watch = Watch::start();
    let variables: [(&'static str, OsString); 1] = [("PROPTEST_CASES", cases.to_string().into())];
    let properties = Run::cargo()
        .args(["test", "--package", "shoal-wire", "--package", "shoal-window", "properties"])
        .envs(&variables)
        .run();
    let replay = Run::cargo()
        .args(["test", "--package", "shoal-shadow", "--test", "replay_kill"])
        .args(["--test", "replay_faults"])
        .env("SHOAL_REPLAY_KILLS", KILLS.to_string())
        .env("SHOAL_REPLAY_CUT_SEEDS", CUT_SEEDS.to_string())
        .run();
    let image = image::booted::step(Some(POWER_CUTS), &crate::test::variables());
    let twice = image::booted::is_repeatable();
    let fuzzed = fuzz::step(fuzz::Length::Seconds(seconds), &variables);
    let summary = json!({
        "schema": 1,
        "commit": commit,
        "changed": changed,
        "seconds": watch.elapsed().as_secs(),
        "properties": {"cases": cases, "passed": properties.is_ok()},
        "replay": {"kills": KILLS, "cut_seeds": CUT_SEEDS, "passed": replay.is_ok()},
        "image": {"power_cuts": POWER_CUTS, "result": format!("{image:?}"), "twice_the_same": format!("{twice:?}")},
        "fuzz": {"seconds_each": seconds, "result": format!("{fuzzed:?}")},
    });
    let folder = root().join("docs/evidence");
    let short = commit.get(..12).unwrap_or(&commit);
    let path = folder.join(format!("soak-{short}.json"));
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&path, format!("{summary:#}\n")))
        .map_err(|error| Failure(format!("cannot write {}: {error}", path.display())))?;
    println!("wrote {}", path.display());
    properties.and(replay).and(image.and_then(all_of_it)).and(twice).and(fuzzed.map(|_outcome| ()))
}
