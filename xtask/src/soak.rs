//! `cargo xtask soak`: what takes hours. Its summary stands beside the commit it is of, and is written as it grows: a run that is cut
//! loses little.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::cargo::{Package, packages};
use crate::clock::Watch;
use crate::flags::Flags;
use crate::process::Run;
use crate::steps::Outcome;
use crate::{Done, Failure, cuts, fuzz, image, root, test, worlds};

const HELP: &str = "\
cargo xtask soak [--only PART]... [--cases N] [--fuzz-seconds N] [--target NAME]... [--seeds N]
                 [--first N] [--defect NAME] [--cuts N] [--seed S]

  properties   the tests of every package with property tests, each property with N cases (default 20000) but those that
               say how many themselves
  replay       replay killed and cut
  image        a vehicle computer whose power is cut; its image made twice
  fuzz         every fuzz target, or those of NAME alone, for N seconds (default 1800)
  worlds       N worlds of a whole fleet in virtual time (default 10000); --first: from this one on, then those before it
  defects      each defect of tests/protocol/defects.toml, or NAME alone, is found by one of N worlds (default 2000)
  cuts         N cuts (default 200), drawn from S (default 1), into a fleet of the real programs in network
               namespaces; each, with what shows that it happened, in docs/evidence/cuts-COMMIT.jsonl

Writes docs/evidence/soak-COMMIT.json after each part, beside those of that commit that ran before, and while worlds,
defects and fuzz run: these go on from what stands there. COMMIT is the newest that changed anything but documents; of worlds and
defects, anything of which they are made: models, roads and desktop programs are not in them. With --defect nothing is
written.";

/// What a commit has that runs: all but documents.
const THAT_RUNS: [&str; 3] = [".", ":!docs", ":!*.md"];
/// Of what worlds are made: the vehicle's programs, what these say to each other, and of models only what an adapter is.
const WORLDS_OF: [&str; 14] = [
    "Cargo.lock",
    "Cargo.toml",
    "hal",
    "ota",
    "cross/gateway/src",
    "cross/vehicle/src",
    "tests/protocol",
    "runtime/src/adapter",
    "runtime/src/adapter.rs",
    "runtime/src/graft",
    "runtime/src/graft.rs",
    "shadow/src/chance.rs",
    ":!ota/*/tests",
    ":!*.md",
];

/// What this part is made of, for git.
fn made_of(part: &str) -> &'static [&'static str] {
    match part {
        "worlds" | "defects" => &WORLDS_OF,
        _all => &THAT_RUNS,
    }
}

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

/// Worlds that must all hold, and those in which a seeded defect must show itself.
const WORLDS: u64 = 10_000;
const DEFECT_WORLDS: u64 = 2_000;

/// Cuts into a fleet of the real programs.
const CUTS: u64 = 200;

const PARTS: [&str; 7] = ["properties", "replay", "image", "fuzz", "worlds", "defects", "cuts"];

/// What is asked for, read before anything runs.
#[derive(Debug)]
struct Asked {
    parts: Vec<&'static str>,
    cases: u64,
    fuzz_seconds: u64,
    /// None named: all of them.
    targets: Vec<String>,
    /// `None`: as many worlds as each part has.
    seeds: Option<u64>,
    first: u64,
    defect: Option<String>,
    cuts: u64,
    seed: u64,
}

impl Asked {
    /// `None` when help is asked for.
    fn parse(args: &[String]) -> Done<Option<Self>> {
        let valued = [
            "--only",
            "--cases",
            "--fuzz-seconds",
            "--target",
            "--seeds",
            "--first",
            "--defect",
            "--cuts",
            "--seed",
        ];
        let flags = Flags::parse(args, &valued, &["--help"])?;
        if flags.has("--help") {
            return Ok(None);
        }
        let part = |name: &str| {
            let known = PARTS.into_iter().find(|part| *part == name);
            known.ok_or_else(|| Failure(format!("no part {name}; there are: {}", PARTS.join(" "))))
        };
        let mut parts = flags.all("--only").map(part).collect::<Done<Vec<&str>>>()?;
        let defect = flags.value("--defect").map(str::to_owned);
        if defect.is_some() {
            if let Some(other) = parts.iter().find(|part| **part != "defects") {
                return Err(Failure(format!("--defect is of defects alone: leave {other} out")));
            }
            parts = vec!["defects"];
        } else if parts.is_empty() {
            parts = PARTS.to_vec();
        }
        let targets: Vec<String> = flags.all("--target").map(str::to_owned).collect();
        if !targets.is_empty() && parts != ["fuzz"] {
            return Err(Failure::new("--target is of fuzz alone: add --only fuzz"));
        }
        let number = |name: &str, least: u64| {
            let Some(text) = flags.value(name) else { return Ok(None) };
            let number = text.parse::<u64>().ok().filter(|number| *number >= least);
            let wrong = || Failure(format!("{name} {text}: a number from {least} on"));
            number.map(Some).ok_or_else(wrong)
        };
        Ok(Some(Self {
            parts,
            cases: number("--cases", 1)?.unwrap_or(20_000),
            fuzz_seconds: number("--fuzz-seconds", 1)?.unwrap_or(1800),
            targets,
            seeds: number("--seeds", 1)?,
            first: number("--first", 0)?.unwrap_or(0),
            defect,
            cuts: number("--cuts", 1)?.unwrap_or(CUTS),
            seed: number("--seed", 0)?.unwrap_or(1),
        }))
    }
}

pub(crate) fn run(args: &[String]) -> Done {
    let Some(asked) = Asked::parse(args)? else {
        println!("{HELP}");
        return Ok(());
    };
    let mut failures = Vec::new();
    for part in &asked.parts {
        let (mut evidence, log) = Evidence::of_this_tree(part, asked.defect.is_none())?;
        let (value, done) = one(part, &asked, &mut evidence, &log)
            .unwrap_or_else(|failure| (json!({"passed": false}), Err(failure)));
        for done in [done, evidence.put(part, value)] {
            failures.extend(done.err().map(|Failure(why)| format!("{part}: {why}")));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure(failures.join("; "))) }
}

/// The summary of a commit.
struct Evidence {
    /// Where it stands; `None`: nothing is written.
    path: Option<PathBuf>,
    /// What stood there.
    before: Option<Map<String, Value>>,
    now: Map<String, Value>,
    watch: Watch,
}

impl Evidence {
    /// That of a part of this tree, and where its log of cuts stands.
    fn of_this_tree(part: &str, written: bool) -> Done<(Self, PathBuf)> {
        let git = |args: &[&str]| Run::new("git").args(args).args(made_of(part)).output();
        let commit = git(&["log", "--max-count=1", "--format=%H", "--"])?;
        let changed = !git(&["status", "--porcelain", "--"])?.is_empty();
        let short = commit.get(..12).unwrap_or(&commit);
        let folder = root().join("docs/evidence");
        let log = folder.join(format!("cuts-{short}.jsonl"));
        let path = written.then(|| folder.join(format!("soak-{short}.json")));
        Ok((Self::open(path, &commit, changed), log))
    }

    fn open(path: Option<PathBuf>, commit: &str, changed: bool) -> Self {
        let text = path.as_ref().and_then(|path| fs::read(path).ok());
        let before = text.and_then(|text| serde_json::from_slice(&text).ok());
        let head = [("schema", json!(2)), ("commit", json!(commit)), ("changed", json!(changed))];
        let now = head.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
        Self { path, before, now, watch: Watch::start() }
    }

    /// What stands there of a part, if it is of this commit and nothing was changed in it.
    fn earlier(&self, part: &str) -> Option<Value> {
        let before = self.before.as_ref().filter(|before| are_of_one(before, &self.now))?;
        before.get(part).filter(|_part| before.get("changed") == Some(&json!(false))).cloned()
    }

    /// Writes what is known of a part, beside all others.
    fn put(&mut self, part: &str, value: Value) -> Done {
        self.now.insert(part.to_owned(), value);
        self.now.insert("seconds".to_owned(), json!(self.watch.elapsed().as_secs()));
        let Some(path) = &self.path else { return Ok(()) };
        let summary = Value::Object(beside(self.before.clone(), self.now.clone()));
        let failed = |error| Failure(format!("cannot write {}: {error}", path.display()));
        // Whole at any moment: it is cut as programs are.
        let new = path.with_extension("json.new");
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&new, format!("{summary:#}\n")))
            .and_then(|()| fs::rename(&new, path))
            .map_err(failed)?;
        println!("wrote {}", path.display());
        Ok(())
    }
}

/// Whether both are of the same commit, in the same form.
fn are_of_one(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    ["schema", "commit", "changed"].into_iter().all(|key| one.get(key) == other.get(key))
}

/// What ran now, beside what ran before of the same commit; seconds are of all of it.
fn beside(before: Option<Map<String, Value>>, mut now: Map<String, Value>) -> Map<String, Value> {
    let Some(before) = before.filter(|before| are_of_one(before, &now)) else { return now };
    let seconds = |summary: &Map<String, Value>| summary.get("seconds").and_then(Value::as_u64);
    let all = seconds(&before).unwrap_or_default() + seconds(&now).unwrap_or_default();
    for (part, value) in before {
        now.entry(part).or_insert(value);
    }
    now.insert("seconds".into(), json!(all));
    now
}

/// One part: what it showed, and whether that is what was asked for.
fn one(part: &str, asked: &Asked, evidence: &mut Evidence, log: &Path) -> Done<(Value, Done)> {
    let earlier = evidence.earlier(part);
    let mut grows = |value: &Value| evidence.put(part, value.clone());
    Ok(match part {
        "properties" => properties(asked.cases)?,
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
            let cut = image::booted::step(Some(POWER_CUTS), &test::variables());
            let twice = image::booted::is_repeatable();
            let shown = json!({"power_cuts": POWER_CUTS, "result": format!("{cut:?}"), "twice_the_same": format!("{twice:?}")});
            (shown, cut.and_then(all_of_it).and(twice))
        }
        "fuzz" => fuzz::long(asked.fuzz_seconds, &asked.targets, earlier.as_ref(), &mut grows)?,
        "worlds" => {
            let seeds = asked.seeds.unwrap_or(WORLDS);
            worlds::worlds((asked.first.min(seeds), seeds), earlier.as_ref(), &mut grows)?
        }
        "defects" => {
            let seeds = asked.seeds.unwrap_or(DEFECT_WORLDS);
            worlds::found(seeds, asked.defect.as_deref(), earlier.as_ref(), &mut grows)?
        }
        _cuts => cuts::cuts(asked.cuts, asked.seed, log, &test::variables()),
    })
}

/// All tests of the packages that have properties.
fn properties(cases: u64) -> Done<(Value, Done)> {
    let all = packages()?;
    let names = with_properties(&all);
    let done = names
        .iter()
        .fold(Run::cargo().args(["test", "--tests"]), |run, name| run.args(["--package", name]))
        .envs(&test::variables())
        .env("PROPTEST_CASES", cases.to_string())
        .run();
    Ok((json!({"cases": cases, "packages": names, "passed": done.is_ok()}), done))
}

/// The packages that have properties.
fn with_properties(packages: &[Package]) -> Vec<&str> {
    let has = |package: &&Package| {
        package.dependencies.iter().any(|other| other.dev && other.name == "proptest")
    };
    packages.iter().filter(has).map(|package| package.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(args: &[&str]) -> Vec<String> {
        args.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_not_understood_is_refused_before_anything_runs() {
        for args in [&["--cuts", "x"][..], &["worlds"]] {
            assert!(run(&strings(args)).is_err(), "{args:?}");
        }
        for args in [
            &["--only", "world"][..],
            &["--cases", "0"],
            &["--seeds", "-1"],
            &["--only", "worlds", "--defect", "a"],
            &["--target", "onnx"],
            &["--only", "fuzz", "--only", "cuts", "--target", "onnx"],
        ] {
            assert!(Asked::parse(&strings(args)).is_err(), "{args:?}");
        }
    }

    #[test]
    fn who_names_a_defect_asks_for_defects_alone() {
        for args in [&["--defect", "a"][..], &["--only", "defects", "--defect", "a"]] {
            let asked = Asked::parse(&strings(args)).unwrap().unwrap();
            assert_eq!((asked.parts, asked.defect), (vec!["defects"], Some("a".to_owned())));
        }
        assert_eq!(Asked::parse(&[]).unwrap().unwrap().parts, PARTS);
    }

    #[test]
    fn every_package_with_properties_is_run() {
        let all = packages().unwrap();
        let text = |package: &Package| fs::read_to_string(&package.manifest).unwrap();
        let named = all.iter().filter(|package| text(package).contains("\nproptest"));
        let named: Vec<&str> = named.map(|package| package.name.as_str()).collect();
        assert_eq!(with_properties(&all), named);
        assert!(named.len() > 2, "{named:?}");
    }

    #[test]
    fn what_a_part_showed_stands_there_while_others_run_and_is_gone_on_from() {
        let folder = std::env::temp_dir().join(format!("shoal-soak-{}", std::process::id()));
        let path = folder.join("soak.json");
        let open = |commit, changed| Evidence::open(Some(path.clone()), commit, changed);
        let mut first = open("a", false);
        first.put("worlds", json!(1)).unwrap();
        first.put("defects", json!(2)).unwrap();
        first.put("worlds", json!(3)).unwrap();
        let then = ["worlds", "defects", "cuts"].map(|part| open("a", false).earlier(part));
        assert_eq!(then, [Some(json!(3)), Some(json!(2)), None]);
        assert_eq!(open("b", false).earlier("worlds"), None);
        let mut changed = open("a", true);
        changed.put("worlds", json!(4)).unwrap();
        assert_eq!(open("a", true).earlier("worlds"), None, "of a tree that nobody can have");
        fs::remove_dir_all(&folder).unwrap();
    }

    /// A path that is gone would leave out what is to be there.
    #[test]
    fn worlds_are_made_of_what_is_there() {
        for path in WORLDS_OF.into_iter().filter(|path| !path.starts_with(':')) {
            assert!(root().join(path).exists(), "{path}");
        }
        let all = packages().unwrap();
        let worlds = all.iter().find(|package| package.name == "shoal-protocol").unwrap();
        let ours = worlds.dependencies.iter().filter(|other| other.name.starts_with("shoal-"));
        for other in ours {
            let package = all.iter().find(|package| package.name == other.name).unwrap();
            let folder = package.manifest.parent().unwrap().strip_prefix(root()).unwrap();
            let is_named = WORLDS_OF.into_iter().any(|path| {
                Path::new(path).starts_with(folder) || folder.starts_with(Path::new(path))
            });
            assert!(is_named, "worlds use {}", other.name);
        }
    }

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
