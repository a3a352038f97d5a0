//! `cargo xtask soak`: what takes hours. Its summary stands beside the commit it is of.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::clock::Watch;
use crate::flags::Flags;
use crate::process::Run;
use crate::steps::Outcome;
use crate::{Done, Failure, cuts, fuzz, image, root, worlds};

const HELP: &str = "\
cargo xtask soak [--only PART]... [--cases N] [--fuzz-seconds N] [--seeds N] [--defect NAME]
                 [--cuts N] [--seed S]

  properties   every property test with N cases (default 20000)
  replay       replay killed and cut
  image        a vehicle computer whose power is cut; its image made twice
  fuzz         every fuzz target for N seconds (default 1800)
  worlds       N worlds of a whole fleet in virtual time (default 10000)
  defects      each defect of tests/protocol/defects.toml, or NAME, is found by one of N worlds (default 2000)
  cuts         N cuts (default 200), drawn from S (default 1), into a fleet of the real programs in network
               namespaces; each, with what shows that it happened, in docs/evidence/cuts-COMMIT.jsonl

Writes docs/evidence/soak-COMMIT.json, of the parts that ran, beside those of that commit that ran
before; with --defect nothing.";

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

/// Worlds in which a seeded defect must show itself.
const DEFECT_WORLDS: u64 = 2_000;

/// Cuts into a fleet of the real programs.
const CUTS: u64 = 200;

const PARTS: [&str; 7] = ["properties", "replay", "image", "fuzz", "worlds", "defects", "cuts"];

pub(crate) fn run(args: &[String]) -> Done {
    let valued = ["--only", "--cases", "--fuzz-seconds", "--seeds", "--defect", "--cuts", "--seed"];
    let flags = Flags::parse(args, &valued, &["--help"])?;
    if flags.has("--help") {
        println!("{HELP}");
        return Ok(());
    }
    if let Some(part) = flags.all("--only").find(|part| !PARTS.contains(part)) {
        return Err(no_part(part));
    }
    let git = |args: &[&str]| Run::new("git").args(args).output();
    let commit = git(&["rev-parse", "HEAD"])?;
    // What earlier parts wrote is no change of what they ran.
    let changed = !git(&["status", "--porcelain", "--", ".", ":!docs/evidence"])?.is_empty();

    let folder = root().join("docs/evidence");
    let short = commit.get(..12).unwrap_or(&commit);
    let log = folder.join(format!("cuts-{short}.jsonl"));

    let watch = Watch::start();
    let mut summary = Map::new();
    let mut failures = Vec::new();
    let only: Vec<&str> = flags.all("--only").collect();
    for part in if only.is_empty() { &PARTS } else { only.as_slice() } {
        let (value, done) = one(part, &flags, &log)?;
        summary.insert((*part).to_owned(), value);
        failures.extend(done.err().map(|Failure(why)| format!("{part}: {why}")));
    }
    if flags.has("--defect") {
        return ended(&failures);
    }
    summary.insert("schema".into(), json!(2));
    summary.insert("commit".into(), json!(commit));
    summary.insert("changed".into(), json!(changed));
    summary.insert("seconds".into(), json!(watch.elapsed().as_secs()));
    let path = folder.join(format!("soak-{short}.json"));
    let before = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let summary = beside(before, summary);
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&path, format!("{:#}\n", Value::Object(summary))))
        .map_err(|error| Failure(format!("cannot write {}: {error}", path.display())))?;
    println!("wrote {}", path.display());
    ended(&failures)
}

/// What ran now, beside what ran before of the same commit; seconds are of all of it.
fn beside(before: Option<Map<String, Value>>, mut now: Map<String, Value>) -> Map<String, Value> {
    let of = |summary: &Map<String, Value>| {
        ["schema", "commit", "changed"].map(|key| summary.get(key).cloned())
    };
    let Some(before) = before.filter(|before| of(before) == of(&now)) else { return now };
    let seconds = |summary: &Map<String, Value>| summary.get("seconds").and_then(Value::as_u64);
    let all = seconds(&before).unwrap_or_default() + seconds(&now).unwrap_or_default();
    for (part, value) in before {
        now.entry(part).or_insert(value);
    }
    now.insert("seconds".into(), json!(all));
    now
}

fn no_part(part: &str) -> Failure {
    Failure(format!("no part {part}; there are: {}", PARTS.join(" ")))
}

fn ended(failures: &[String]) -> Done {
    if failures.is_empty() { Ok(()) } else { Err(Failure(failures.join("; "))) }
}

/// One part: what it showed, and whether that is what was asked for.
fn one(part: &str, flags: &Flags, log: &Path) -> Done<(Value, Done)> {
    let number = |name: &str, default: u64| match flags.value(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_error| Failure(format!("{name} {text} is no number"))),
    };
    let cases = number("--cases", 20_000)?;
    let variables: [(&'static str, OsString); 1] = [("PROPTEST_CASES", cases.to_string().into())];
    Ok(match part {
        "properties" => {
            let done = Run::cargo()
                .args([
                    "test",
                    "--package",
                    "shoal-wire",
                    "--package",
                    "shoal-window",
                    "properties",
                ])
                .envs(&variables)
                .run();
            (json!({"cases": cases, "passed": done.is_ok()}), done)
        }
        "replay" => {
            let done = Run::cargo()
                .args(["test", "--package", "shoal-shadow", "--test", "replay_kill"])
                .args(["--test", "replay_faults"])
                .env("SHOAL_REPLAY_KILLS", KILLS.to_string())
                .env("SHOAL_REPLAY_CUT_SEEDS", CUT_SEEDS.to_string())
                .run();
            (json!({"kills": KILLS, "cut_seeds": CUT_SEEDS, "passed": done.is_ok()}), done)
        }
        "image" => {
            let cut = image::booted::step(Some(POWER_CUTS), &crate::test::variables());
            let twice = image::booted::is_repeatable();
            let shown = json!({"power_cuts": POWER_CUTS, "result": format!("{cut:?}"), "twice_the_same": format!("{twice:?}")});
            (shown, cut.and_then(all_of_it).and(twice))
        }
        "fuzz" => fuzz::long(number("--fuzz-seconds", 1800)?)?,
        "worlds" => worlds::worlds(number("--seeds", 10_000)?),
        "defects" => worlds::found(number("--seeds", DEFECT_WORLDS)?, flags.value("--defect")),
        "cuts" => {
            let (count, seed) = (number("--cuts", CUTS)?, number("--seed", 1)?);
            cuts::cuts(count, seed, log, &crate::test::variables())
        }
        part => return Err(no_part(part)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_one_commit_stand_beside_each_other() {
        let summary = |value: Value| value.as_object().cloned().unwrap();
        let worlds = |commit: &str| {
            summary(
                json!({"schema": 2, "commit": commit, "changed": false, "seconds": 5, "worlds": 1, "cuts": 1}),
            )
        };
        let cuts =
            summary(json!({"schema": 2, "commit": "a", "changed": false, "seconds": 7, "cuts": 2}));
        let both = json!({"schema": 2, "commit": "a", "changed": false, "seconds": 12, "worlds": 1, "cuts": 2});
        assert_eq!(beside(Some(worlds("a")), cuts.clone()), summary(both));
        assert_eq!(beside(Some(worlds("b")), cuts.clone()), cuts);
        assert_eq!(beside(None, cuts.clone()), cuts);
    }
}
