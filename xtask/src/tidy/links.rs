//! Documents: links that lead somewhere, and a README that begins with what to type.

use std::path::{Component, Path, PathBuf};

use super::{File, Finding};

/// What README.md shows first.
const COMMANDS: [&str; 2] = ["cargo xtask demo", "cargo xtask test"];
const README_LINES: usize = 15;

/// Relative links of every Markdown file whose target is not there.
pub(super) fn check(files: &[File], is_there: impl Fn(&Path) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("md")) {
        for (index, line) in file.text.lines().enumerate() {
            for target in targets(line) {
                if !resolve(&file.path, target).is_some_and(|path| is_there(&path)) {
                    findings.push(Finding::new(
                        &file.path,
                        index + 1,
                        format!("dead link {target}"),
                    ));
                }
            }
        }
    }
    findings
}

/// Tests that a document names, as [`name`](file.rs), and that are not in that file.
pub(super) fn tests(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("md")) {
        for (index, line) in file.text.lines().enumerate() {
            for (name, target) in named_tests(line) {
                let path = resolve(&file.path, target);
                let there = files.iter().any(|other| {
                    Some(&other.path) == path.as_ref()
                        && other.text.contains(&format!("fn {name}("))
                });
                if !there {
                    let what = format!("no test {name} in {target}");
                    findings.push(Finding::new(&file.path, index + 1, what));
                }
            }
        }
    }
    findings
}

/// Name and file of each.
fn named_tests(line: &str) -> Vec<(&str, &str)> {
    let named = |(at, between): (usize, &str)| {
        let name = line.get(..at)?.rsplit("[`").next()?;
        let target = line.get(at + between.len()..)?.split(')').next()?;
        target.ends_with(".rs").then_some((name, target))
    };
    line.match_indices("`](").filter_map(named).collect()
}

/// Whether the README begins with the commands.
pub(super) fn readme(files: &[File]) -> Vec<Finding> {
    let Some(readme) = files.iter().find(|file| file.path == Path::new("README.md")) else {
        return vec![Finding::new("README.md", 0, "is missing")];
    };
    let first: Vec<&str> = readme.text.lines().take(README_LINES).collect();
    let missing =
        COMMANDS.iter().filter(|command| !first.iter().any(|line| line.contains(*command)));
    let what = |command| format!("`{command}` is not in the first {README_LINES} lines");
    missing.map(|command| Finding::new("README.md", 1, what(command))).collect()
}

/// `[text](target)` and `![text](target)`, without those of the web and of the same page.
fn targets(line: &str) -> Vec<&str> {
    let starts = line.match_indices("](");
    starts
        .filter_map(|(at, start)| {
            let after = line.get(at + start.len()..)?;
            let target = after.split([')', ' ', '#']).next()?;
            let elsewhere =
                target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            (!elsewhere).then_some(target)
        })
        .collect()
}

/// The target relative to the root; `None` outside of it.
fn resolve(from: &Path, target: &str) -> Option<PathBuf> {
    let mut path = from.parent()?.to_owned();
    for component in Path::new(target).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn dead_links_are_found_and_live_ones_not() {
        let text = "[a](b.md) [c](../d.md#e) ![f](https://g.example/h.png) [i](#j)\n[k](/l.md) [m](../../n.md)";
        let there = |path: &Path| path == Path::new("docs/b.md") || path == Path::new("d.md");
        let found: Vec<_> = check(&[file("docs/a.md", text)], there);
        let what: Vec<&str> = found.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(what, ["dead link /l.md", "dead link ../../n.md"]);
    }

    #[test]
    fn a_test_that_a_document_names_and_that_is_not_there_is_found() {
        let text = "shown by [`it_holds`](../src/a.rs), [`it_never_was`](../src/a.rs), [`b`](c.md)";
        let files = [file("docs/a.md", text), file("src/a.rs", "#[test]\nfn it_holds() {}")];
        let what: Vec<String> = tests(&files).into_iter().map(|one| one.what).collect();
        assert_eq!(what, ["no test it_never_was in ../src/a.rs"]);
    }

    #[test]
    fn a_readme_begins_with_the_commands() {
        assert_eq!(
            readme(&[file("README.md", "# A\n\n    cargo xtask demo\n    cargo xtask test\n")]),
            []
        );
        let late = format!("cargo xtask demo\n{}cargo xtask test\n", "\n".repeat(15));
        assert_eq!(readme(&[file("README.md", &late)]).len(), 1);
        assert_eq!(readme(&[]).len(), 1);
    }
}
