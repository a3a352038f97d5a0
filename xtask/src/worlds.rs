//! The fleet in virtual time, many worlds of it; and whether it bites: defects put into a copy of the tree, each of which some
//! world must find.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use toml::Table;

use crate::clock::Watch;
use crate::process::Run;
use crate::{Done, Failure, root};

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

/// So many worlds from seed 0, each twice; what happened in them, and how long that took once they were built.
pub(crate) fn worlds(seeds: u64) -> (Value, Done) {
    let target = root().join("target");
    if let Err(failure) = build(&root(), &target) {
        return (json!({"passed": false}), Err(failure));
    }
    let watch = Watch::start();
    let told = run(&root(), &target, seeds, u64::MAX);
    reported(told, watch.elapsed().as_secs_f64())
}

fn reported(told: Done<Told>, seconds: f64) -> (Value, Done) {
    let (mut report, done) = match told {
        Ok(Told { failed: None, line: Some(line), summary: Some(summary) }) => {
            (json!({"passed": true, "told": line, "summary": summary}), Ok(()))
        }
        Ok(told) => {
            let failure = Failure(format!("worlds failed, see above: {told:?}"));
            let summary = told.summary.clone();
            let told = format!("{told:?}");
            (json!({"passed": false, "told": told, "summary": summary}), Err(failure))
        }
        Err(failure) => (json!({"passed": false}), Err(failure)),
    };
    if let Some(summary) = report.get_mut("summary").and_then(Value::as_object_mut) {
        summary.insert("seconds".to_owned(), json!(seconds));
        summary.insert("runs_per_seed".to_owned(), json!(2));
    }
    (report, done)
}

fn build(tree: &Path, target: &Path) -> Done {
    Run::cargo()
        .args(["test", "--quiet", "--workspace", "--test", "worlds", "--no-run"])
        .env("CARGO_TARGET_DIR", target)
        .at(tree)
        .run()
}

/// Each defect in a copy of the tree, and the first world of so many that finds it.
pub(crate) fn found(seeds: u64, only: Option<&str>) -> (Value, Done) {
    match each(seeds, only) {
        Err(failure) => (Value::Null, Err(failure)),
        Ok(rows) => {
            let missed: Vec<&str> = rows
                .iter()
                .filter(|row| row["seed"].is_null())
                .filter_map(|row| row["name"].as_str())
                .collect();
            let missing = missed.join(", ");
            let done = if missed.is_empty() {
                Ok(())
            } else {
                Err(Failure(format!("found by none of {seeds} worlds: {missing}")))
            };
            (json!({"seeds": seeds, "defects": rows}), done)
        }
    }
}

fn each(seeds: u64, only: Option<&str>) -> Done<Vec<Value>> {
    let tree = root().join("target/defects/tree");
    // The same crates at another place have the same names there.
    let target = root().join("target/defects/target");
    copy(&tree)?;
    let text = read(&root().join(DEFECTS))?;
    let mut rows = Vec::new();
    for defect in defects(&text)? {
        if only.is_some_and(|only| only != defect.name) {
            continue;
        }
        println!("\n{}: {}", defect.name, defect.what);
        for change in &defect.changes {
            put_in(&tree, change)?;
        }
        build(&tree, &target)
            .map_err(|Failure(why)| Failure(format!("with {}: {why}", defect.name)))?;
        let told = run(&tree, &target, seeds, 1)?;
        let (seed, by) = told.failed.unzip();
        println!("{}: {seed:?}, {by:?}", defect.name);
        rows.push(json!({"name": defect.name, "what": defect.what, "seed": seed, "found": by}));
        for change in &defect.changes {
            let whole = root().join(&change.file);
            write(&tree.join(&change.file), &read(&whole)?)?;
        }
    }
    if rows.is_empty() {
        return Err(Failure(format!("{DEFECTS}: no defect {}", only.unwrap_or_default())));
    }
    Ok(rows)
}

/// Runs worlds of the tree at this place until so many have failed.
fn run(tree: &Path, target: &Path, seeds: u64, failures: u64) -> Done<Told> {
    let mut told = Told::default();
    let mut failing = None;
    let passed = Run::cargo()
        .args(["test", "--quiet", "--workspace", "--test", "worlds"])
        .args(["what_must_hold", "--", "--nocapture"])
        .env("CARGO_TARGET_DIR", target)
        .env("SHOAL_SEEDS", seeds.to_string())
        .env("SHOAL_FAILURES", failures.to_string())
        .env("RUST_BACKTRACE", "0")
        .at(tree)
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
    if !passed && told.failed.is_none() {
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
        let told = Told { failed: None, line: Some("500 worlds".into()), summary: Some(summary) };
        let (report, done) = reported(Ok(told), 12.5);
        assert!(done.is_ok());
        assert_eq!(report["passed"], json!(true));
        assert_eq!(report["told"], json!("500 worlds"));
        assert_eq!(report["summary"]["seconds"], json!(12.5));
        assert_eq!(report["summary"]["runs_per_seed"], json!(2));
        assert_eq!(report["summary"]["troubles"]["cut"], json!(3));
    }

    #[test]
    fn worlds_that_ended_without_a_word_have_not_passed() {
        let (report, done) = reported(Ok(Told::default()), 1.0);
        assert!(done.is_err());
        assert_eq!(report["passed"], json!(false));
    }
}
