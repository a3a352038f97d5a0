//! `cargo xtask tidy`: what a reader would find, found without a compiler. Every check is a function of text
//! to findings, with a test that it finds one.

mod arrows;
mod bare;
mod defects;
mod lengths;
mod links;
mod manifests;
mod source;
mod words;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::flags::Flags;
use crate::process::Run;
use crate::steps::Outcome;
use crate::{Done, Failure, cargo, root};

/// One place to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// Relative to the root.
    path: PathBuf,
    /// From 1; 0: the whole file.
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: impl Into<PathBuf>, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.into(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what } = self;
        match line {
            0 => write!(f, "{}: {what}", path.display()),
            line => write!(f, "{}:{line}: {what}", path.display()),
        }
    }
}

/// A file of the repository that is text.
struct File {
    /// Relative to the root.
    path: PathBuf,
    text: String,
}

impl File {
    fn has_extension(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|of_file| of_file == extension)
    }
}

const HELP: &str = "\
cargo xtask tidy

Lengths of files and functions, forbidden arrows between crates, dead links, leftover markers: each finding with its place.";

pub(crate) fn run(args: &[String]) -> Done {
    if Flags::parse(args, &[], &["--help"])?.has("--help") {
        println!("{HELP}");
        return Ok(());
    }
    step().map(|_outcome| println!("tidy"))
}

pub(crate) fn step() -> Done<Outcome> {
    let files = files()?;
    let packages = cargo::packages()?;
    let mut findings = Vec::new();
    findings.extend(lengths::check(&files)?);
    findings.extend(arrows::check(&packages, &files));
    findings.extend(manifests::check(&files));
    findings.extend(words::check(&files));
    findings.extend(links::check(&files, |path| root().join(path).exists()));
    findings.extend(links::readme(&files));
    findings.extend(links::tests(&files));
    findings.extend(bare::check(&files));
    findings.extend(defects::check(&files)?);
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(Outcome::PassedWith(format!("{} files", files.len()))),
        count => Err(Failure(format!("not tidy: {count} findings, see above"))),
    }
}

/// Every text file that git holds or would hold; every file but target's where there is no git.
fn files() -> Done<Vec<File>> {
    let root = root();
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let mut paths: Vec<PathBuf> = match Run::new("git").args(list).output() {
        Ok(list) => list.lines().map(PathBuf::from).collect(),
        Err(_no_git) => {
            let mut paths = Vec::new();
            walk(&root, &root, &mut paths)?;
            paths
        }
    };
    paths.sort();
    paths.dedup();
    let text = |path: PathBuf| {
        let text = fs::read_to_string(root.join(&path)).ok()?;
        Some(File { path, text })
    };
    Ok(paths.into_iter().filter_map(text).collect())
}

fn walk(root: &Path, folder: &Path, paths: &mut Vec<PathBuf>) -> Done {
    let unreadable = |error| Failure(format!("cannot read {}: {error}", folder.display()));
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "target" && name != ".git" {
            walk(root, &path, paths)?;
        } else if path.is_file() {
            paths.extend(path.strip_prefix(root).map(Path::to_owned));
        }
    }
    Ok(())
}

#[cfg(test)]
fn file(path: &str, text: &str) -> File {
    File { path: path.into(), text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_flag_is_refused_before_anything_is_read() {
        for flag in ["--nonsense", "word"] {
            let Failure(why) = run(&[flag.to_owned()]).unwrap_err();
            assert!(why.contains(flag), "{why}");
        }
    }
}
