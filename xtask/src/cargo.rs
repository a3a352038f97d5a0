//! What cargo knows of the workspace.

use std::path::PathBuf;

use serde_json::Value;

use crate::process::Run;
use crate::{Done, Failure, root};

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// One package of the workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Its `Cargo.toml`.
    pub(crate) manifest: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

/// One thing that is built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// `lib`, `bin`, `bench`, …
    pub(crate) kind: String,
    pub(crate) name: String,
    /// Without these features of its package it is not built.
    pub(crate) features: Vec<String>,
}

/// One declared dependency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Only for tests and benches.
    pub(crate) dev: bool,
    pub(crate) features: Vec<String>,
}

impl Package {
    pub(crate) fn is_library(&self) -> bool {
        self.targets_of("lib").next().is_some()
    }

    pub(crate) fn targets_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Target> {
        self.targets.iter().filter(move |target| target.kind == kind)
    }
}

/// The packages of the workspace, from `cargo metadata`.
pub(crate) fn packages() -> Done<Vec<Package>> {
    let args = ["metadata", "--no-deps", "--format-version", "1"];
    let text = Run::cargo().args(args).output()?;
    let metadata: Value = serde_json::from_str(&text)
        .map_err(|error| Failure(format!("cargo metadata is no JSON: {error}")))?;
    Ok(list(&metadata, "packages").iter().map(package).collect())
}

fn package(value: &Value) -> Package {
    let target = |target: &Value| Target {
        kind: list(target, "kind").first().and_then(Value::as_str).unwrap_or_default().to_owned(),
        name: text(target, "name"),
        features: texts(target, "required-features"),
    };
    Package {
        name: text(value, "name"),
        manifest: text(value, "manifest_path").into(),
        dependencies: list(value, "dependencies").iter().map(dependency).collect(),
        targets: list(value, "targets").iter().map(target).collect(),
    }
}

fn dependency(value: &Value) -> Dependency {
    Dependency {
        name: text(value, "name"),
        dev: value["kind"] == "dev",
        features: texts(value, "features"),
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    list(value, field).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
