//! The map file: which repositories must agree on what a name stands for (TAP 4, "Multiple repository consensus on entrusted targets").

use globset::{Glob, GlobMatcher};
use serde::Deserialize;

use crate::repository::{Repository, Target};

/// Which repositories are asked for a name.
#[derive(Clone, Debug)]
pub struct Map {
    repositories: Vec<String>,
    mapping: Vec<Mapping>,
}

/// One line of it.
#[derive(Clone, Debug)]
struct Mapping {
    paths: Vec<GlobMatcher>,
    repositories: Vec<String>,
    threshold: usize,
    terminating: bool,
}

/// Why a file is no map.
#[derive(Debug, thiserror::Error)]
pub enum RejectMap {
    /// Not the JSON of TAP 4.
    #[error("no map file")]
    Malformed(#[from] serde_json::Error),
    /// A path that is no pattern.
    #[error("no pattern")]
    Pattern(#[from] globset::Error),
    /// A line names a repository that the file does not have.
    #[error("a mapping names the repository `{0}`, which is not among `repositories`")]
    Unknown(String),
    /// It would agree with itself.
    #[error("a mapping names the repository `{0}` twice")]
    Twice(String),
    /// Nothing would ever be found, or anything.
    #[error("a threshold of {threshold} among {repositories} repositories")]
    Threshold {
        /// How many must agree.
        threshold: usize,
        /// Of how many.
        repositories: usize,
    },
}

/// Why a file is not the one that counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectTarget {
    /// Not named by as many repositories as must name it.
    #[error(
        "`{name}` is named by {named} of the repositories that are asked for it, {threshold} must agree"
    )]
    NotNamed {
        /// What was asked for.
        name: String,
        /// How many know it.
        named: usize,
        /// How many must.
        threshold: usize,
    },
    /// As many name it, but not the same.
    #[error("repositories disagree on `{name}`")]
    Disagree {
        /// What was asked for.
        name: String,
    },
    /// No line of the map is for it.
    #[error("no line of the map is for `{name}`")]
    NotMapped {
        /// What was asked for.
        name: String,
    },
    /// The repositories name another file.
    #[error("`{name}` is another file than the one that counts")]
    Other {
        /// What was asked for.
        name: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Name, and where it is: here the broker has it, at the places of the region.
    repositories: std::collections::BTreeMap<String, Vec<String>>,
    mapping: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    paths: Vec<String>,
    repositories: Vec<String>,
    threshold: usize,
    terminating: bool,
}

impl Map {
    /// Reads a map file.
    ///
    /// # Errors
    /// [`RejectMap`].
    pub fn parse(json: &str) -> Result<Self, RejectMap> {
        let File { repositories, mapping } = serde_json::from_str(json)?;
        let repositories: Vec<String> = repositories.into_keys().collect();
        let mapping = mapping
            .into_iter()
            .map(|line| {
                let Line { paths, repositories: named, threshold, terminating } = line;
                if let Some(name) = named.iter().find(|name| !repositories.contains(name)) {
                    return Err(RejectMap::Unknown(name.clone()));
                }
                let twice = |(index, name): &(usize, &String)| {
                    named.iter().take(*index).any(|other| other == *name)
                };
                if let Some((_index, name)) = named.iter().enumerate().find(twice) {
                    return Err(RejectMap::Twice(name.clone()));
                }
                if threshold == 0 || threshold > named.len() {
                    return Err(RejectMap::Threshold { threshold, repositories: named.len() });
                }
                let pattern =
                    |path: &String| Ok::<_, RejectMap>(Glob::new(path)?.compile_matcher());
                let paths = paths.iter().map(pattern).collect::<Result<_, _>>()?;
                Ok(Mapping { paths, repositories: named, threshold, terminating })
            })
            .collect::<Result<_, _>>()?;
        Ok(Map { repositories, mapping })
    }

    /// The repositories, by name.
    pub fn repositories(&self) -> impl Iterator<Item = &str> {
        self.repositories.iter().map(String::as_str)
    }

    /// What a name stands for, as the first line that is for it and finds agreement says; no line after one that terminates is asked.
    ///
    /// # Errors
    /// [`RejectTarget`], of the last line that was asked.
    pub fn find<'a>(
        &self,
        name: &str,
        repository: impl Fn(&str) -> Option<&'a Repository>,
    ) -> Result<&'a Target, RejectTarget> {
        let mut why = RejectTarget::NotMapped { name: name.to_owned() };
        let lines = self.mapping.iter().filter(|line| line.paths.iter().any(|p| p.is_match(name)));
        for line in lines {
            let named: Vec<&Target> = line
                .repositories
                .iter()
                .filter_map(|of| repository(of).and_then(|of| of.target(name)))
                .collect();
            let agree = |target: &&&Target| {
                named.iter().filter(|other| other == target).count() >= line.threshold
            };
            if let Some(target) = named.iter().find(agree) {
                return Ok(target);
            }
            let name = name.to_owned();
            why = if named.len() >= line.threshold {
                RejectTarget::Disagree { name }
            } else {
                RejectTarget::NotNamed { name, named: named.len(), threshold: line.threshold }
            };
            if line.terminating {
                break;
            }
        }
        Err(why)
    }
}
