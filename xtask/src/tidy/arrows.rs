//! Who may use whom: every arrow that is not drawn is forbidden.

use std::path::Path;

use super::source::code;
use super::{File, Finding};
use crate::cargo::Package;
use crate::root;

/// One crate: the crates of ours it may use, directly. `*`: all.
const MAY_USE: [(&str, &[&str]); 22] = [
    ("shoal-wire", &[]),
    ("shoal-window", &["shoal-wire"]),
    ("shoal-swarm", &["shoal-wire"]),
    ("shoal-trust", &["shoal-wire"]),
    ("shoal-keys", &["shoal-wire"]),
    ("shoal-link", &["shoal-window", "shoal-wire"]),
    ("shoal-hal", &[]),
    ("shoal-runtime", &[]),
    ("shoal-tract", &["shoal-runtime"]),
    ("shoal-shadow", &["shoal-hal", "shoal-runtime"]),
    (
        "shoal-vehicle",
        &[
            "shoal-hal",
            "shoal-runtime",
            "shoal-tract",
            "shoal-shadow",
            "shoal-gateway",
            "shoal-keys",
            "shoal-link",
            "shoal-swarm",
            "shoal-trust",
            "shoal-window",
            "shoal-wire",
        ],
    ),
    ("shoal-gateway", &["shoal-hal", "shoal-window", "shoal-wire"]),
    ("shoal-broker", &[]),
    (
        "shoal",
        &[
            "shoal-hal",
            "shoal-runtime",
            "shoal-tract",
            "shoal-shadow",
            "shoal-vehicle",
            "shoal-broker",
            "shoal-console",
            "shoal-gateway",
            "shoal-keys",
            "shoal-link",
            "shoal-sim",
            "shoal-swarm",
            "shoal-trust",
            "shoal-window",
            "shoal-wire",
        ],
    ),
    ("shoal-console", &["shoal-wire", "shoal-window", "shoal-swarm", "shoal-link"]),
    (
        "shoal-sim",
        &[
            "shoal-hal",
            "shoal-runtime",
            "shoal-shadow",
            "shoal-soup",
            "shoal-swarm",
            "shoal-vehicle",
            "shoal-window",
            "shoal-wire",
        ],
    ),
    ("shoal-soup", &[]),
    ("shoal-bare", &["shoal-window", "shoal-wire"]),
    ("shoal-protocol", &["*"]),
    ("shoal-tests", &["*"]),
    ("shoal-fuzz", &["*"]),
    ("xtask", &[]),
];

/// Crates of others that belong behind one wall each: by the start of their name, who may use them.
const WALLS: [(&str, &[&str]); 20] = [
    ("tough", &["shoal-trust"]),
    ("cryptoki", &["shoal-keys"]),
    ("ort", &["shoal-runtime"]),
    ("tract-", &["shoal-tract"]),
    ("prost", &["shoal-runtime"]),
    ("ed25519-", &["shoal-wire"]),
    ("socketcan", &["shoal-hal"]),
    ("redb", &["shoal-shadow", "shoal-vehicle"]),
    ("parquet", &["shoal-sim"]),
    ("tiny-skia", &["shoal-sim"]),
    ("clap", &["shoal"]),
    ("rumqtt", &["shoal-link"]),
    ("mqtt", &["shoal-broker"]),
    ("cortex-m", &["shoal-gateway"]),
    ("embassy-executor", &["shoal-gateway"]),
    (
        "tokio",
        &["shoal-broker", "shoal-console", "shoal-link", "shoal-trust", "shoal-vehicle", "shoal"],
    ),
    ("tokio-stream", &["shoal-console", "shoal-trust"]),
    ("axum", &["shoal-console"]),
    ("hyper", &["shoal-console"]),
    ("hyper-", &["shoal-console"]),
];

/// Cores: what a machine without a system has; one has an allocator, in one lies the program around it.
const CORES: [&str; 4] = ["ota/wire/src", "ota/window/src", "ota/swarm/src", "cross/gateway/src"];
const ALLOCATES: &str = "ota/swarm/src";
const FIRMWARE: &str = "cross/gateway/src/firmware";

/// Within a crate: files under the first path, except under the second, do not name the third.
const WITHIN: [(&str, &str, &str); 5] = [
    ("hal/src", "hal/src/backend", "crate::backend"),
    ("runtime/src/onnx", "-", "crate::engine"),
    ("runtime/src/onnx", "-", "crate::gradient"),
    ("runtime/src/onnx", "-", "crate::train"),
    ("ota/wire/src/v1", "-", "crate::stream"),
];

pub(super) fn check(packages: &[Package], files: &[File]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = packages.iter().flat_map(crates).collect();
    for file in files.iter().filter(|file| file.has_extension("rs")) {
        findings.extend(within(file));
        findings.extend(core(file));
    }
    findings
}

/// What a manifest declares.
fn crates(package: &Package) -> Vec<Finding> {
    let manifest = package.manifest.strip_prefix(root()).unwrap_or(&package.manifest);
    let found = |what: String| Finding::new(manifest, 0, what);
    let name = package.name.as_str();
    let Some((_name, may)) = MAY_USE.iter().find(|(of, _may)| *of == name) else {
        let what = format!("{name} is in no list of arrows (xtask/src/tidy/arrows.rs)");
        return vec![found(what)];
    };
    let mut findings = Vec::new();
    for dependency in &package.dependencies {
        let other = dependency.name.as_str();
        let ours = MAY_USE.iter().any(|(of, _may)| *of == other);
        let itself = other == name && dependency.dev;
        if ours && !itself && !may.contains(&other) && !may.contains(&"*") {
            findings.push(found(format!("{name} may not use {other}")));
        }
        for (start, users) in WALLS {
            let behind = other == start
                || start.ends_with('-') && other.starts_with(start)
                || ["mqtt", "rumqtt"].contains(&start) && other.starts_with(start);
            let from_outside = dependency.dev || may.contains(&"*");
            if behind && !users.contains(&name) && !from_outside {
                findings.push(found(format!("{name} may not use {other}: only {users:?} does")));
            }
        }
        let driver = |feature: &&String| {
            ["std", "mock-driver", "wasm"].contains(&feature.as_str())
                || feature.starts_with("generic-queue")
        };
        let drives = dependency.features.iter().find(driver);
        if let Some(feature) =
            drives.filter(|_feature| other == "embassy-time" && package.is_library())
        {
            let what =
                format!("{name} is a library and chooses a time driver: embassy-time/{feature}");
            findings.push(found(what));
        }
    }
    findings
}

/// Names within a crate.
fn within(file: &File) -> Vec<Finding> {
    let rules = WITHIN.iter().filter(|(under, except, _name)| {
        file.path.starts_with(under) && !file.path.starts_with(except)
    });
    let code = code(&file.text);
    rules.flat_map(|(under, _except, name)| found_in(file, &code, name, under)).collect()
}

/// Names that need a system, in a core: the bare-metal link finds them too, later and less clearly.
fn core(file: &File) -> Vec<Finding> {
    if !CORES.iter().any(|core| file.path.starts_with(core)) || file.path.starts_with(FIRMWARE) {
        return Vec::new();
    }
    let code = code(&file.text);
    let allocates = file.path.starts_with(ALLOCATES);
    let mut findings: Vec<Finding> = ["std::", "alloc::", "Instant::now", "HashMap"]
        .iter()
        .filter(|name| !(allocates && **name == "alloc::"))
        .flat_map(|name| found_in(file, &code, name, "a core"))
        .collect();
    if file.path.ends_with("src/lib.rs") && !code.contains("#![no_std]") {
        findings.push(Finding::new(&file.path, 0, "a core without #![no_std]"));
    }
    findings
}

fn found_in(file: &File, code: &str, name: &str, place: &str) -> Vec<Finding> {
    let found = code.lines().enumerate().filter(|(_index, line)| names(line, name));
    let what = format!("{place} does not know {name}");
    found.map(|(index, _line)| Finding::new(&file.path as &Path, index + 1, what.clone())).collect()
}

fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _name)| {
        let before = line.get(..at).and_then(|before| before.chars().last());
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    })
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;
    use crate::cargo::{Dependency, Target};

    fn package(name: &str, dependency: Dependency) -> Package {
        let manifest = root().join("some/Cargo.toml");
        let targets = vec![Target { kind: "lib".to_owned(), ..Target::default() }];
        Package { name: name.to_owned(), manifest, dependencies: vec![dependency], targets }
    }

    fn on(name: &str) -> Dependency {
        Dependency { name: name.to_owned(), ..Dependency::default() }
    }

    #[test]
    fn an_arrow_that_is_not_drawn_is_found() {
        for (name, other, count) in [
            ("shoal-shadow", "shoal-hal", 0),
            ("shoal-shadow", "shoal-wire", 1),
            ("shoal-runtime", "shoal-wire", 1),
            ("shoal-wire", "shoal-window", 1),
            ("shoal-vehicle", "shoal-window", 0),
            ("shoal-tests", "shoal-runtime", 0),
            ("shoal-hal", "ort", 1),
            ("shoal-runtime", "ort", 0),
            ("shoal-runtime", "tract-onnx", 1),
            ("shoal-shadow", "rumqttc", 1),
            ("shoal-vehicle", "axum", 1),
            ("shoal", "hyper-util", 1),
            ("shoal-gateway", "shoal-swarm", 1),
            ("shoal-window", "embassy-executor", 1),
        ] {
            assert_eq!(crates(&package(name, on(other))).len(), count, "{name} → {other}");
        }
    }

    #[test]
    fn a_crate_that_stands_nowhere_is_found() {
        assert_eq!(crates(&package("shoal-new", on("serde"))).len(), 1);
    }

    #[test]
    fn a_library_with_a_time_driver_is_found() {
        let mut dependency = on("embassy-time");
        dependency.features = vec!["std".to_owned()];
        assert_eq!(crates(&package("shoal-window", dependency)).len(), 1);
    }

    #[test]
    fn names_within_a_crate_are_found_in_code_alone() {
        let text = "// crate::backend\nuse crate::backend::files;\nlet a = \"crate::backend\";\n";
        let lines =
            |path| within(&file(path, text)).into_iter().map(|one| one.line).collect::<Vec<_>>();
        assert_eq!(lines("hal/src/store.rs"), [2]);
        assert!(lines("hal/src/backend/files.rs").is_empty());
    }

    #[test]
    fn a_core_that_names_a_system_is_found() {
        let text = "#![no_std]\nuse std::fs;\nlet a = Instant::now();\nmy_std::b();\n";
        let found = core(&file("ota/window/src/lib.rs", text));
        assert_eq!(found.into_iter().map(|one| one.line).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(core(&file("ota/wire/src/lib.rs", "fn a() {}")).len(), 1);
        let firmware = "cross/gateway/src/firmware/a.rs";
        for (path, count) in [("ota/wire/src/a.rs", 1), ("ota/swarm/src/a.rs", 0), (firmware, 0)] {
            assert_eq!(core(&file(path, "use alloc::vec::Vec;")).len(), count, "{path}");
        }
    }
}
