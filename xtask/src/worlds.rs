//! The fleet in virtual time, many worlds of it; and whether it bites: defects put into a copy of the tree, each of which some
//! world must find.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use toml::Table;

use crate::clock::Watch;
use crate::process::Run;
use crate::{Done, Failure, root};

/// Worlds that run at once: enough that everything comes that can go wrong, and some minutes.
const BATCH: u64 = 500;

/// The list of defects.
pub(crate) const DEFECTS: &str = "tests/protocol/defects.toml";

/// A defect: what it is, and what it changes.
#[derive(Debug)]
pub(crate) struct Defect {
    pub(crate) name: String,
    what: String,
    pub(crate) changes: Vec<Change>,
}

/// Something in a file that becomes something else.
#[derive(Debug)]
pub(crate) struct Change {
    /// Relative to the root.
    pub(crate) file: PathBuf,
    pub(crate) from: String,
    to: String,
}

/// What a run of worlds says.
#[derive(Debug, Default)]
struct Told {
    /// The first that failed, and why.
    failed: Option<(u64, String)>,
    /// How many there were, and what happened in them: a line for people…
    line: Option<String>,
    /// …and the same, field by field.
    summary: Option<Value>,
    /// Whether everything came that can go wrong, if none failed.
    came: bool,
}

/// Reads the list.
pub(crate) fn defects(text: &str) -> Done<Vec<Defect>> {
    let wrong = |what: &str| Failure(format!("{DEFECTS}: {what}"));
    let list: Table = text.parse().map_err(|error| wrong(&format!("{error}")))?;
    let string = |table: &Table, key: &str| {
        let value = table.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        value.ok_or_else(|| wrong(&format!("no {key} in {table}")))
    };
    let tables = |table: &Table, key: &str| {
        let array = table.get(key).and_then(toml::Value::as_array);
        let array = array.ok_or_else(|| wrong(&format!("no [[{key}]]")))?;
        let tables = array.iter().map(|value| value.as_table().cloned());
        tables.collect::<Option<Vec<Table>>>().ok_or_else(|| wrong("not a table"))
    };
    let change = |table: Table| {
        let (from, to) = (string(&table, "from")?, string(&table, "to")?);
        Ok(Change { file: string(&table, "file")?.into(), from, to })
    };
    let defect = |table: Table| {
        let changes = tables(&table, "changes")?.into_iter().map(change);
        let (name, what) = (string(&table, "name")?, string(&table, "what")?);
        Ok(Defect { name, what, changes: changes.collect::<Done<Vec<Change>>>()? })
    };
    tables(&list, "defects")?.into_iter().map(defect).collect()
}

/// So many worlds, each twice, in batches, the sum of which `grows`: what happened in them, and how long that took once
/// they were built. What an `earlier` run shows of them is not run again, if all of it passed. The first batch begins at a seed; those
/// before it come last.
pub(crate) fn worlds(
    (first, seeds): (u64, u64),
    earlier: Option<&Value>,
    grows: &mut dyn FnMut(&Value) -> Done,
) -> Done<(Value, Done)> {
    let target = root().join("target");
    let mut sum = earlier.filter(|sum| passed(sum).is_some()).cloned();
    let mut ran = sum.as_ref().and_then(passed).unwrap_or(first..first);
    if !ran.is_empty() {
        println!("worlds {} to {} of this commit passed before", ran.start, ran.end - 1);
    }
    let mut built = None;
    while let Some(batch) = next(&ran, seeds) {
        // Once: what is edited meanwhile is not what the summary is of.
        let program = match built.take().map_or_else(|| build(&root(), &target), Ok) {
            Ok(program) => built.insert(program),
            Err(failure) => return Ok((sum.unwrap_or(json!({"passed": false})), Err(failure))),
        };
        let watch = Watch::start();
        let told = run(program, &root(), batch.clone(), u64::MAX);
        let (report, done) = reported(told, watch.elapsed().as_secs_f64());
        let is_whole = report["summary"].is_object();
        let all = added(sum.take(), report);
        grows(&all)?;
        if !is_whole {
            return Ok((all, done));
        }
        ran = ran.start.min(batch.start)..ran.end.max(batch.end);
        sum = Some(all);
    }
    let sum = sum.unwrap_or_default();
    let done = match sum["passed"] == true {
        true => Ok(()),
        false => Err(Failure(format!("worlds failed, see above: {}", sum["told"]))),
    };
    Ok((sum, done))
}

/// The worlds that run next, of so many from seed 0 on: those behind what ran, then those before it.
fn next(ran: &Range<u64>, seeds: u64) -> Option<Range<u64>> {
    if ran.end < seeds {
        Some(ran.end..ran.end + batch(seeds - ran.end))
    } else {
        (ran.start > 0).then(|| ran.start - batch(ran.start)..ran.start)
    }
}

/// How many worlds run next, of so many: none is left that would be too few to show everything.
fn batch(left: u64) -> u64 {
    if left < 2 * BATCH { left } else { BATCH }
}

/// The worlds that have passed by this report.
fn passed(report: &Value) -> Option<Range<u64>> {
    let summary = &report["summary"];
    let (first, worlds) = (summary["first_seed"].as_u64()?, summary["worlds"].as_u64()?);
    let all = report["passed"] == true && summary["failed"] == 0;
    all.then_some(first..first + worlds)
}

fn reported(told: Done<Told>, seconds: f64) -> (Value, Done) {
    let (mut report, done) = match told {
        Ok(Told { failed: None, line: Some(line), summary: Some(summary), came: true }) => {
            (json!({"passed": true, "told": line, "summary": summary}), Ok(()))
        }
        Ok(told) => {
            let failure = Failure(format!("worlds failed, see above: {told:?}"));
            let summary = told.summary.clone();
            let told = format!("{told:?}");
            (json!({"passed": false, "told": told, "summary": summary}), Err(failure))
        }
        Err(failure) => (json!({"passed": false, "told": failure.0}), Err(failure)),
    };
    if let Some(summary) = report.get_mut("summary").and_then(Value::as_object_mut) {
        summary.insert("seconds".to_owned(), json!(seconds));
        summary.insert("runs_per_seed".to_owned(), json!(2));
    }
    (report, done)
}

/// The report of a batch, added to that of the batches before. All have passed if no world failed, and everything came in one of
/// them: in another it may be missing.
fn added(before: Option<Value>, mut report: Value) -> Value {
    let Some(before) = before else { return report };
    if !report["summary"].is_object() {
        report["summary"] = before["summary"].clone();
        return report;
    }
    let mut summary = plus(&before["summary"], &report["summary"]);
    summary["runs_per_seed"] = before["summary"]["runs_per_seed"].clone();
    let first = [&before, &report].map(|of| of["summary"]["first_seed"].as_u64());
    summary["first_seed"] = json!(first.into_iter().flatten().min());
    let number = |name: &str| summary[name].as_f64().unwrap_or_default();
    let (each, days) = (number("worlds").max(1.0), number("virtual_days"));
    let events = (number("events") / each).floor() as u64;
    summary["virtual_days_per_seed"] = json!(days / each);
    summary["events_per_seed"] = json!(events);
    let is_passed =
        summary["failed"] == 0 && (before["passed"] == true || report["passed"] == true);
    let told = if is_passed {
        let [worlds, first, events, troubles] =
            ["worlds", "first_seed", "events", "troubles"].map(|name| &summary[name]);
        json!(format!(
            "{worlds} worlds from seed {first}: {days:.1} virtual days, {events} events, {troubles}"
        ))
    } else {
        let failed = if before["passed"] == true { &report } else { &before };
        failed["told"].clone()
    };
    json!({"passed": is_passed, "told": told, "summary": summary})
}

/// Numbers are summed, by their names.
fn plus(one: &Value, other: &Value) -> Value {
    if let (Some(one), Some(other)) = (one.as_object(), other.as_object()) {
        let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
        let of = |all: &Map<String, Value>, name: &str| all.get(name).cloned().unwrap_or(json!(0));
        let sum = |name: &String| (name.clone(), plus(&of(one, name), &of(other, name)));
        return names.into_iter().map(sum).collect();
    }
    match (one.as_u64(), other.as_u64()) {
        (Some(one), Some(other)) => json!(one + other),
        _ => json!(one.as_f64().unwrap_or_default() + other.as_f64().unwrap_or_default()),
    }
}

/// Builds the worlds of a tree: their program.
fn build(tree: &Path, target: &Path) -> Done<PathBuf> {
    println!("  building worlds");
    let told = Run::cargo()
        .args(["test", "--quiet", "--workspace", "--test", "worlds", "--no-run"])
        .arg("--message-format=json-render-diagnostics")
        .env("CARGO_TARGET_DIR", target)
        .at(tree)
        .output()?;
    let built = told.lines().find_map(program);
    built.ok_or_else(|| Failure::new("cargo does not say which program the worlds are"))
}

/// The program of the worlds, if this line of cargo's tells of it.
fn program(line: &str) -> Option<PathBuf> {
    let told: Value = serde_json::from_str(line).ok()?;
    let is_worlds = told["target"]["name"] == "worlds" && told["target"]["kind"][0] == "test";
    told["executable"].as_str().filter(|_program| is_worlds).map(PathBuf::from)
}

/// Each defect in a copy of the tree, and the first world of so many that finds it; the rows of all of them `grow`. What an `earlier`
/// run of as many worlds shows is not run again.
pub(crate) fn found(
    seeds: u64,
    only: Option<&str>,
    earlier: Option<&Value>,
    grow: &mut dyn FnMut(&Value) -> Done,
) -> Done<(Value, Done)> {
    let mut all = defects(&read(&root().join(DEFECTS))?)?;
    all.retain(|defect| only.is_none_or(|only| only == defect.name));
    if all.is_empty() {
        return Err(Failure(format!("{DEFECTS}: no defect {}", only.unwrap_or_default())));
    }
    let tree = root().join("target/defects/tree");
    copy(&tree)?;
    let told = |rows: &[Value]| json!({"seeds": seeds, "defects": rows});
    let mut rows = Vec::new();
    for defect in &all {
        if let Some(row) = known(earlier, seeds, &defect.name) {
            println!("{}: as before", defect.name);
            rows.push(row.clone());
            continue;
        }
        match row(&tree, defect, seeds) {
            Ok(row) => rows.push(row),
            Err(failure) => return Ok((told(&rows), Err(failure))),
        }
        grow(&told(&rows))?;
    }
    let missed = rows.iter().filter(|row| row["seed"].is_null());
    let missed: Vec<&str> = missed.filter_map(|row| row["name"].as_str()).collect();
    let done = match missed.is_empty() {
        true => Ok(()),
        false => Err(Failure(format!("found by none of {seeds} worlds: {}", missed.join(", ")))),
    };
    Ok((told(&rows), done))
}

/// The row of a defect in an earlier report of as many worlds.
fn known<'a>(earlier: Option<&'a Value>, seeds: u64, name: &str) -> Option<&'a Value> {
    let earlier = earlier.filter(|earlier| earlier["seeds"] == seeds)?;
    earlier["defects"].as_array()?.iter().find(|row| row["name"] == name)
}

/// Which world finds a defect, and how; it is put into the tree and taken out again.
fn row(tree: &Path, defect: &Defect, seeds: u64) -> Done<Value> {
    // The same crates at another place have the same names there.
    let target = root().join("target/defects/target");
    println!("\n{}: {}", defect.name, defect.what);
    for change in &defect.changes {
        put_in(tree, change)?;
    }
    let program = build(tree, &target)
        .map_err(|Failure(why)| Failure(format!("with {}: {why}", defect.name)))?;
    let (seed, by) = run(&program, tree, 0..seeds, 1)?.failed.unzip();
    println!("{}: {seed:?}, {by:?}", defect.name);
    for change in &defect.changes {
        let whole = root().join(&change.file);
        write(&tree.join(&change.file), &read(&whole)?)?;
    }
    Ok(json!({"name": defect.name, "what": defect.what, "seed": seed, "found": by}))
}

/// Runs the worlds of these seeds, of the tree at this place, until so many have failed.
fn run(program: &Path, tree: &Path, seeds: Range<u64>, failures: u64) -> Done<Told> {
    let mut told = Told::default();
    let mut failing = None;
    told.came = Run::new(program)
        .args(["what_must_hold", "--nocapture", "--quiet"])
        .env("SHOAL_SEED", seeds.start.to_string())
        .env("SHOAL_SEEDS", (seeds.end - seeds.start).to_string())
        .env("SHOAL_FAILURES", failures.to_string())
        .env("RUST_BACKTRACE", "0")
        .at(&tree.join("tests/protocol"))
        .lines(|line| {
            if let Some(seed) = failing.take() {
                told.failed.get_or_insert((seed, line.chars().take(300).collect()));
            }
            if line.contains(" virtual days, ") {
                told.line = Some(line.to_owned());
            }
            if let Some(summary) = line.strip_prefix("summary ") {
                told.summary = serde_json::from_str(summary).ok();
            }
            let seed = line.strip_prefix("seed ").and_then(|rest| rest.split(',').next());
            failing = seed.and_then(|seed| seed.parse().ok());
        })?;
    if !told.came && told.failed.is_none() && told.summary.is_none() {
        return Err(Failure("the worlds ended before one of them failed: see above".to_owned()));
    }
    Ok(told)
}

/// Every file that git holds, as it is now.
fn copy(tree: &Path) -> Done {
    let list = Run::new("git").args(["ls-files"]).output()?;
    for path in list.lines() {
        let (from, to) = (root().join(path), tree.join(path));
        // What was deleted, and links.
        let Ok(bytes) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        let folder = to.parent().unwrap_or(tree);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&to, bytes))
            .map_err(|error| Failure(format!("cannot write {}: {error}", to.display())))?;
    }
    Ok(())
}

fn put_in(tree: &Path, change: &Change) -> Done {
    let path = tree.join(&change.file);
    let text = read(&path)?;
    if text.matches(&change.from).count() != 1 {
        let (file, from) = (change.file.display(), &change.from);
        return Err(Failure(format!("{DEFECTS}: not once in {file}: {from}")));
    }
    write(&path, &text.replace(&change.from, &change.to))
}

fn read(path: &Path) -> Done<String> {
    let failed = |error| Failure(format!("cannot read {}: {error}", path.display()));
    fs::read_to_string(path).map_err(failed)
}

fn write(path: &Path, text: &str) -> Done {
    let failed = |error| Failure(format!("cannot write {}: {error}", path.display()));
    fs::write(path, text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_worlds_has_what_was_told_and_every_figure_by_its_name() {
        let summary = json!({"worlds": 500, "events_per_seed": 7_574, "troubles": {"cut": 3}});
        let line = Some("500 worlds".into());
        let told = Told { failed: None, line, summary: Some(summary), came: true };
        let (report, done) = reported(Ok(told), 12.5);
        assert!(done.is_ok());
        assert_eq!(report["passed"], json!(true));
        assert_eq!(report["told"], json!("500 worlds"));
        assert_eq!(report["summary"]["seconds"], json!(12.5));
        assert_eq!(report["summary"]["runs_per_seed"], json!(2));
        assert_eq!(report["summary"]["troubles"]["cut"], json!(3));
    }

    /// A report of so many worlds from this seed on, of which some failed.
    fn batch_of(first: u64, worlds: u64, failed: u64, came: bool) -> Value {
        let summary = json!({
            "first_seed": first, "worlds": worlds, "failed": failed, "events": 10 * worlds, "virtual_days": 0.5,
            "troubles": {"cut": worlds, (format!("of {first}")): 1}, "looked_at": {"kept": 2},
        });
        let failed = (failed > 0).then(|| (first, "why".to_owned()));
        reported(Ok(Told { failed, line: Some("line".into()), summary: Some(summary), came }), 2.0)
            .0
    }

    #[test]
    fn batches_are_added_up_figure_by_figure() {
        let sum = added(Some(batch_of(0, 500, 0, true)), batch_of(500, 700, 0, true));
        let summary = json!({
            "first_seed": 0, "worlds": 1200, "failed": 0, "events": 12_000, "virtual_days": 1.0, "seconds": 4.0,
            "troubles": {"cut": 1200, "of 0": 1, "of 500": 1}, "looked_at": {"kept": 4}, "runs_per_seed": 2,
            "events_per_seed": 10, "virtual_days_per_seed": 1.0 / 1200.0,
        });
        assert_eq!((&sum["passed"], &sum["summary"]), (&json!(true), &summary));
        let line = sum["told"].as_str().unwrap();
        assert!(
            line.starts_with("1200 worlds from seed 0: 1.0 virtual days, 12000 events,"),
            "{line}"
        );
        assert_eq!(passed(&sum), Some(0..1200), "the next run goes on from there");
        let before = added(Some(batch_of(500, 700, 0, true)), batch_of(0, 500, 0, true));
        assert_eq!((passed(&before), &before["summary"]), (Some(0..1200), &summary));
    }

    #[test]
    fn a_sum_has_passed_if_no_world_failed_and_everything_came_in_one_batch() {
        let sum = |one, other| added(Some(one), other);
        let (well, bad) = (batch_of(0, 500, 0, true), batch_of(500, 500, 1, false));
        let (some, other) = (batch_of(0, 500, 0, false), batch_of(500, 500, 0, false));
        assert_eq!(passed(&sum(some.clone(), batch_of(500, 500, 0, true))), Some(0..1000));
        assert_eq!(passed(&sum(well.clone(), other.clone())), Some(0..1000));
        let without_a_word = reported(Err(Failure::new("killed")), 1.0).0;
        for sum in [sum(some, other), sum(well.clone(), bad), sum(well, without_a_word)] {
            assert_eq!((passed(&sum), &sum["passed"]), (None, &json!(false)));
            assert!(sum["told"].is_string(), "{sum}");
        }
    }

    #[test]
    fn worlds_behind_those_that_ran_come_before_those_that_they_began_with() {
        let mut ran = 1_500..1_500;
        let mut batches = Vec::new();
        while let Some(batch) = next(&ran, 2_600) {
            ran = ran.start.min(batch.start)..ran.end.max(batch.end);
            batches.push(batch);
        }
        assert_eq!(
            batches,
            [1_500..2_000, 2_000..2_600, 1_000..1_500, 500..1_000, 0..500],
            "{ran:?}"
        );
        assert_eq!(ran, 0..2_600);
    }

    #[test]
    fn cargo_says_which_program_the_worlds_are() {
        let line = |kind: &str, name: &str| {
            json!({"reason": "compiler-artifact", "target": {"kind": [kind], "name": name}, "executable": "/worlds-1"})
                .to_string()
        };
        assert_eq!(program(&line("test", "worlds")), Some(PathBuf::from("/worlds-1")));
        for other in [line("bin", "worlds"), line("test", "other"), "built".to_owned()] {
            assert_eq!(program(&other), None, "{other}");
        }
    }

    #[test]
    fn no_batch_is_too_small_for_everything_to_come() {
        assert_eq!([700, 999, 1000, 10_000].map(batch), [700, 999, 500, 500]);
    }

    #[test]
    fn a_row_of_as_many_worlds_is_not_looked_for_again() {
        let earlier = json!({"seeds": 300, "defects": [{"name": "a", "seed": 3}]});
        assert_eq!(known(Some(&earlier), 300, "a").unwrap()["seed"], 3);
        assert_eq!(known(Some(&earlier), 300, "b"), None);
        assert_eq!(known(Some(&earlier), 2000, "a"), None);
        assert_eq!(known(None, 300, "a"), None);
    }

    #[test]
    fn worlds_that_ended_without_a_word_have_not_passed() {
        let (report, done) = reported(Ok(Told::default()), 1.0);
        assert!(done.is_err());
        assert_eq!(report["passed"], json!(false));
    }
}
