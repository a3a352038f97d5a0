//! What an image is made of, in CycloneDX 1.6: the software bill of materials of the vehicle computer, without what the vehicle is told on
//! its data partition. `shoal evidence write --bill` puts it beside a campaign's record.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use toml::Table;

use super::debian::{ARCHITECTURE, Package, write};
use super::tree::Parts;
use super::vehicle::{AGENT, TARGET};
use crate::process::Run;
use crate::{Done, Failure, onnxruntime, root};

/// Writes the bill of an image of these parts.
pub(super) fn put(parts: &Parts<'_>, file: &Path) -> Done {
    let packages = parts.packages.iter().chain([parts.kernel]);
    let mut components: Vec<Value> = packages.map(of_debian).collect();
    components.push(library(parts.library)?);
    components.push(agent(parts.agent)?);
    components.extend(crates()?);
    components.push(model(&root().join("models/world"))?);
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "firmware",
                "name": "shoal vehicle computer",
                "version": env!("CARGO_PKG_VERSION"),
            },
        },
        "components": components,
    });
    write(file, format!("{bill:#}\n"))
}

fn of_debian(package: &Package) -> Value {
    let Package { name, version, .. } = package;
    json!({
        "type": "library",
        "name": name,
        "version": version,
        "purl": format!("pkg:deb/debian/{name}@{}?arch={ARCHITECTURE}", encoded(version)),
    })
}

/// A version in a package URL: what is not plain is written by its number.
fn encoded(version: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    version.bytes().map(one).collect()
}

fn library(file: &Path) -> Done<Value> {
    let version = onnxruntime::VERSION;
    Ok(json!({
        "type": "library",
        "name": "onnxruntime",
        "version": version,
        "purl": format!("pkg:pypi/onnxruntime@{version}"),
        "hashes": hashes(&sha256(file)?),
    }))
}

fn agent(file: &Path) -> Done<Value> {
    Ok(json!({
        "type": "application",
        "name": "shoal-vehicle",
        "version": env!("CARGO_PKG_VERSION"),
        "hashes": hashes(&sha256(file)?),
    }))
}

/// The crates that the agent is linked of, with the checksums of the registry.
fn crates() -> Done<Vec<Value>> {
    let file = root().join("Cargo.lock");
    let text = fs::read_to_string(&file)
        .map_err(|error| Failure(format!("cannot read {}: {error}", file.display())))?;
    let lock: Table =
        text.parse().map_err(|error| Failure(format!("{}: {error}", file.display())))?;
    let tree = Run::cargo()
        .args(["tree", "--locked", "--target", TARGET, "--edges", "normal,no-proc-macro"])
        .args(["--prefix", "none"])
        .args(["--format", "{p}"])
        .args(AGENT)
        .output()?;
    Ok(linked(&tree).iter().map(|(name, version)| of_crate(name, version, &lock)).collect())
}

/// Names and versions in what `cargo tree` says, each once, in order.
fn linked(tree: &str) -> Vec<(String, String)> {
    let of = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        Some((name.to_owned(), version.to_owned()))
    };
    let mut all: Vec<_> = tree.lines().filter_map(of).collect();
    all.sort();
    all.dedup();
    all
}

fn of_crate(name: &str, version: &str, lock: &Table) -> Value {
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let is = |package: &&toml::Value, key: &str, value: &str| {
        package.get(key).and_then(toml::Value::as_str) == Some(value)
    };
    let found = packages.into_iter().flatten();
    let found = found.filter(|one| is(one, "name", name)).find(|one| is(one, "version", version));
    let mut component = json!({
        "type": "library",
        "name": name,
        "version": version,
        "purl": format!("pkg:cargo/{name}@{}", encoded(version)),
    });
    if let Some(checksum) = found.and_then(|one| one.get("checksum")?.as_str()) {
        component["hashes"] = hashes(checksum);
    }
    component
}

fn model(folder: &Path) -> Done<Value> {
    Ok(json!({
        "type": "machine-learning-model",
        "name": "shoal world model",
        "version": env!("CARGO_PKG_VERSION"),
        "hashes": hashes(&sha256(&folder.join("model.onnx"))?),
    }))
}

fn hashes(sha256: &str) -> Value {
    json!([{ "alg": "SHA-256", "content": sha256 }])
}

fn sha256(file: &Path) -> Done<String> {
    let said = Run::new("sha256sum").arg(file).output()?;
    let digest = said.split_whitespace().next().map(str::to_owned);
    digest.ok_or_else(|| Failure(format!("what is the SHA-256 of {}?", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_encoded_as_package_urls_are() {
        assert_eq!(encoded("1:1.47.2-3+b10"), "1%3A1.47.2-3%2Bb10");
        assert_eq!(encoded("6.12~rc1"), "6.12~rc1");
    }

    #[test]
    fn each_crate_is_named_once_with_its_checksum() {
        let tree = "shoal-vehicle v0.1.0 (/here)\nsha2 v0.10.9\nserde v1.0.0\nsha2 v0.10.9 (*)\n\n";
        let linked = linked(tree);
        let names: Vec<&str> = linked.iter().map(|(name, _version)| name.as_str()).collect();
        assert_eq!(names, ["serde", "sha2", "shoal-vehicle"]);
        let lock = "[[package]]\nname = 'sha2'\nversion = '0.9.0'\nchecksum = 'other'\n\
                    [[package]]\nname = 'sha2'\nversion = '0.10.9'\nchecksum = 'that'\n";
        let lock: Table = lock.parse().unwrap();
        let component = of_crate("sha2", "0.10.9", &lock);
        assert_eq!(component["hashes"][0]["content"], "that");
        assert_eq!(component["purl"], "pkg:cargo/sha2@0.10.9");
        assert!(of_crate("serde", "1.0.0", &lock).get("hashes").is_none());
    }
}
