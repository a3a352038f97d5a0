//! The fleet in virtual time, many worlds of it; and whether it bites: defects put into a copy of the tree, each of which some
//! world must find.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use toml::Table;

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
    /// How many there were, and what happened in them.
    summary: Option<String>,
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

/// So many worlds from seed 0; what happened in them.
pub(crate) fn worlds(seeds: u64) -> (Value, Done) {
    let told = run(&root(), &root().join("target"), seeds, u64::MAX);
    match told {
        Ok(Told { failed: None, summary: Some(summary) }) => {
            (json!({"passed": true, "told": summary}), Ok(()))
        }
        Ok(told) => {
            let failure = Failure(format!("worlds failed, see above: {told:?}"));
            (json!({"passed": false, "told": format!("{told:?}")}), Err(failure))
        }
        Err(failure) => (json!({"passed": false}), Err(failure)),
    }
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
        let built = Run::cargo()
            .args(["test", "--quiet", "--workspace", "--test", "worlds", "--no-run"])
            .env("CARGO_TARGET_DIR", &target)
            .at(&tree)
            .run();
        built.map_err(|Failure(why)| Failure(format!("with {}: {why}", defect.name)))?;
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
                told.summary = Some(line.to_owned());
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
