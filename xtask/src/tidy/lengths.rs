//! Files and functions that are too long to be read at one go.

use std::fs;
use std::path::Path;

use toml::{Table, Value};

use super::source::{code, functions};
use super::{File, Finding};
use crate::{Done, Failure, root};

const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;
const LIST: &str = "xtask/tidy.toml";

/// One exception.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tolerated {
    path: String,
    /// Without it: the file.
    function: Option<String>,
}

pub(super) fn check(files: &[File]) -> Done<Vec<Finding>> {
    let text = fs::read_to_string(root().join(LIST))
        .map_err(|error| Failure(format!("cannot read {LIST}: {error}")))?;
    let tolerated = tolerated(&text).map_err(|why| Failure(format!("{LIST}: {why}")))?;
    Ok(findings(files, &tolerated))
}

fn findings(files: &[File], tolerated: &[Tolerated]) -> Vec<Finding> {
    let rust = files.iter().filter(|file| file.has_extension("rs"));
    let (excess, mut findings): (Vec<_>, Vec<_>) = (rust.flat_map(too_long).collect(), Vec::new());
    for (finding, function) in &excess {
        if !tolerated.iter().any(|one| one.is(&finding.path, function.as_deref())) {
            findings.push(finding.clone());
        }
    }
    let used = |one: &Tolerated| {
        excess.iter().any(|(finding, function)| one.is(&finding.path, function.as_deref()))
    };
    for one in tolerated.iter().filter(|one| !used(one)) {
        let Tolerated { path, function } = one;
        let what = format!("tolerates nothing: {path} {}", function.as_deref().unwrap_or_default());
        findings.push(Finding::new(LIST, 0, what));
    }
    findings
}

/// What is too long, with the function's name.
fn too_long(file: &File) -> Vec<(Finding, Option<String>)> {
    let mut excess = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        let what = format!("{lines} lines, at most {FILE_LINES_MAX}: split it");
        excess.push((Finding::new(&file.path, 0, what), None));
    }
    for function in functions(&code(&file.text)) {
        let (lines, name) = (function.lines, function.name);
        if lines > FUNCTION_LINES_MAX {
            let what = format!("fn {name} has {lines} lines of code, at most {FUNCTION_LINES_MAX}");
            excess.push((Finding::new(&file.path, function.line, what), Some(name)));
        }
    }
    excess
}

impl Tolerated {
    fn is(&self, path: &Path, function: Option<&str>) -> bool {
        Path::new(&self.path) == path && self.function.as_deref() == function
    }
}

fn tolerated(text: &str) -> Result<Vec<Tolerated>, String> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let list = table.get("tolerated").and_then(Value::as_array).ok_or("no list `tolerated`")?;
    list.iter()
        .map(|entry| {
            let text = |key| entry.get(key).and_then(Value::as_str).map(str::to_owned);
            let path = text("path").ok_or("an entry without a path")?;
            if text("reason").is_none_or(|reason| reason.trim().is_empty()) {
                return Err(format!("{path}: no reason"));
            }
            Ok(Tolerated { path, function: text("function") })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    fn long_function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    a();\n".repeat(lines - 2))
    }

    #[test]
    fn one_line_past_a_bound_is_found() {
        let at = [file("a.rs", &long_function(70)), file("b.rs", &"//\n".repeat(700))];
        assert_eq!(findings(&at, &[]), []);
        let past = [file("a.rs", &long_function(71)), file("b.rs", &"//\n".repeat(701))];
        let found: Vec<_> = findings(&past, &[]).into_iter().map(|one| one.line).collect();
        assert_eq!(found, [1, 0]);
    }

    #[test]
    fn what_is_listed_is_tolerated_and_the_list_stays_honest() {
        let listed = "[[tolerated]]\npath = \"a.rs\"\nfunction = \"long\"\nreason = \"a table\"";
        let listed = tolerated(listed).unwrap();
        assert_eq!(findings(&[file("a.rs", &long_function(71))], &listed), []);
        let found = findings(&[file("a.rs", &long_function(70))], &listed);
        assert!(found.iter().any(|one| one.what.starts_with("tolerates nothing")), "{found:?}");
    }

    #[test]
    fn an_exception_needs_a_reason() {
        assert!(tolerated("[[tolerated]]\npath = \"a.rs\"\nreason = \" \"").is_err());
    }
}
