//! Reports on records that a formula makes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use shoal_sim::record::Record;
use shoal_sim::report::{self, ReportError};

mod formula;

fn names(files: &[PathBuf]) -> Vec<&str> {
    files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect()
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn a_run_is_reported_in_files_that_it_lists() {
    let folder = tempfile::tempdir().unwrap();
    let record = &formula::records(3, 1, 4, 12)[1];
    let files = report::run(record, folder.path()).unwrap();
    assert_eq!(names(&files), ["windows.parquet", "run.svg", "run.png", "report.html"]);
    let mut there: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    there.sort();
    let mut listed = files;
    listed.sort();
    assert_eq!(there, listed, "nothing else is left in the folder");
}

#[test]
fn a_comparison_is_the_same_to_the_byte_when_made_again() {
    let records = formula::records(8, 3, 4, 12);
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = report::compare(&records, "made-up 00", one.path()).unwrap();
    let second = report::compare(&records, "made-up 00", two.path()).unwrap();
    assert_eq!(first.len(), 9);
    for (one, two) in first.iter().zip(&second) {
        assert!(fs::read(one).unwrap() == fs::read(two).unwrap(), "{}", one.display());
    }
}

/// Works from a disk without a network: nothing in it is fetched.
#[test]
fn the_page_asks_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    report::compare(&formula::records(4, 2, 4, 8), "made-up 00", folder.path()).unwrap();
    let page = text(folder.path(), "report.html");
    for asks in
        ["<link rel=\"stylesheet", "src=", "@import", "url(", "href=\"http", "fetch(", "import "]
    {
        assert!(!page.contains(asks), "{asks}");
    }
}

#[test]
fn names_from_files_are_shown_and_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = formula::records(3, 2, 3, 6);
    let bad = "<img src=x onerror=alert(1)>|\"'&";
    for record in &mut records {
        record.head.engine = bad.to_owned();
        if record.head.method == "made-up 00" {
            record.head.method = bad.to_owned();
        }
        let kind = record.head.roads["road-00"];
        record.head.roads.insert(bad.to_owned(), kind);
        for row in &mut record.rows {
            row.skill.insert(bad.to_owned(), 0.5);
            row.also.insert(bad.to_owned(), 0.5);
        }
    }
    report::compare(&records, bad, folder.path()).unwrap();
    for name in ["report.html", "skill.svg", "bytes.svg", "methods.svg"] {
        let text = text(folder.path(), name);
        assert!(!text.contains("<img") && text.contains("&lt;img"), "{name}");
    }
    assert!(text(folder.path(), "table.md").contains("\\<img src=x onerror=alert(1)\\>\\|"));
    report::run(&records[0], folder.path()).unwrap();
    assert!(!text(folder.path(), "report.html").contains("<img"));
}

#[test]
fn a_run_that_has_only_begun_is_reported_and_cannot_be_compared() {
    let folder = tempfile::tempdir().unwrap();
    let mut record = formula::records(2, 1, 2, 4).remove(1);
    record.rows.truncate(1);
    report::run(&record, folder.path()).unwrap();
    let Record { head, .. } = record.clone();
    let files = report::run(&Record { head, rows: Vec::new() }, folder.path()).unwrap();
    assert_eq!(names(&files), ["windows.parquet", "report.html"]);
    let refused = report::compare(&[record], "made-up averaging 01", folder.path());
    assert!(matches!(refused, Err(ReportError::NoReference { .. })));
}

#[test]
fn figures_of_any_size_are_drawn() {
    for wild in [1e15, -1e15, 0.0, 1e-300] {
        let folder = tempfile::tempdir().unwrap();
        let mut records = formula::records(3, 2, 2, 5);
        for row in &mut records[2].rows {
            row.skill.values_mut().for_each(|skill| *skill = wild);
            row.bytes.up = wild.abs();
        }
        report::compare(&records, "made-up 00", folder.path()).unwrap();
        report::run(&records[2], folder.path()).unwrap();
        for name in ["report.html", "skill.svg", "bytes.svg", "methods.svg", "run.svg"] {
            let text = text(folder.path(), name);
            assert!(!text.contains("NaN") && !text.contains("inf,"), "{name} with {wild}");
        }
    }
}
