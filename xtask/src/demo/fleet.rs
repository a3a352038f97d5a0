//! What vehicles are told.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::asked::Engine;
use crate::{Done, Failure};

/// What vehicles carry, and where they drive.
pub(super) struct Told<'a> {
    pub(super) package: &'a Path,
    /// A world model that looks on beside a policy, which learns from an attentive driver.
    pub(super) beside: Option<&'a Path>,
    /// Recorded drives; generated roads without.
    pub(super) drives: Option<&'a Path>,
    pub(super) engine: Engine,
    /// What the engine runs models on; as it does without where there are none.
    pub(super) providers: Option<&'a [String]>,
    pub(super) seed: u64,
}

/// What every vehicle is told of engine, drives, replay and night: `shoal fleet init` takes it over.
pub(super) fn vehicle_toml(told: &Told<'_>) -> String {
    let Told { package, beside, drives, engine, providers, seed } = *told;
    let engine = engine.name();
    let list = |all: &[String]| toml::Value::from(all.to_vec());
    let providers =
        providers.map_or_else(String::new, |all| format!("providers = {}\n", list(all)));
    let place = |path: &Path| toml::Value::from(path.to_string_lossy().into_owned());
    let beside = beside.map_or_else(String::new, |path| format!("beside = {}\n", place(path)));
    let mut text = format!(
        "# Written by `cargo xtask demo`. It can be driven by itself, too: shoal drive.\n\
         name = \"demo\"\nseed = {seed}\nstate = \"state\"\n\n\
         [model]\npackage = {}\n{beside}\n[engine]\nkind = \"{engine}\"\n{providers}\n\
         # The drives are short: everything is kept.\n[replay]\nordinary_share = 1.0\n\n\
         [night]\nsteps = 20\nlearning_rate = 1e-3\n",
        place(package)
    );
    if let Some(drives) = drives {
        let _infallible = write!(text, "\n[drives]\ndirectory = {}\n", place(drives));
    }
    if !beside.is_empty() {
        text.push_str("\n[drives]\ndriver = \"attentive\"\n");
    }
    text
}

/// The same vehicle without exchange, with a state of its own.
fn alone_toml(vehicle: &str) -> Done<String> {
    let unfit = |why: String| Failure(format!("vehicle.toml: {why}"));
    let mut told: toml::Table = vehicle.parse().map_err(|error| unfit(format!("{error}")))?;
    let state = told.insert("state".into(), "alone".into());
    if state.as_ref().and_then(toml::Value::as_str) != Some("state") {
        return Err(unfit(format!("state is {state:?}, not \"state\"")));
    }
    let fleet = told.get_mut("fleet").and_then(toml::Value::as_table_mut);
    let fleet = fleet.ok_or_else(|| unfit("no table [fleet]".to_owned()))?;
    fleet.insert("exchange".into(), false.into());
    toml::to_string(&told).map_err(|error| unfit(error.to_string()))
}

/// Writes `alone.toml` beside `vehicle.toml`.
pub(super) fn write_alone(folder: &Path) -> Done {
    let vehicle = folder.join("vehicle.toml");
    let text = fs::read_to_string(&vehicle)
        .map_err(|error| Failure(format!("cannot read {}: {error}", vehicle.display())))?;
    write(&folder.join("alone.toml"), &alone_toml(&text)?)
}

pub(super) fn write(file: &Path, text: &str) -> Done {
    fs::write(file, text)
        .map_err(|error| Failure(format!("cannot write {}: {error}", file.display())))
}

pub(super) fn copy(from: &Path, to: &Path) -> Done {
    fs::copy(from, to).map(|_bytes| ()).map_err(|error| {
        Failure(format!("cannot copy {} to {}: {error}", from.display(), to.display()))
    })
}

/// Makes a folder, empty: what an earlier demo left is removed.
pub(super) fn fresh(folder: &Path) -> Done {
    remove(folder)?;
    fs::create_dir_all(folder)
        .map_err(|error| Failure(format!("cannot make {}: {error}", folder.display())))
}

pub(super) fn remove(folder: &Path) -> Done {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder)
        .map_err(|error| Failure(format!("cannot remove {}: {error}", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vehicle_is_valid_toml_with_what_was_asked_for() {
        let (package, engine, seed) = (Path::new("a \"b\""), Engine::Tract, 7);
        let drives = Some(Path::new("c"));
        let told = Told { package, beside: None, drives, engine, providers: None, seed };
        let table: toml::Table = vehicle_toml(&told).parse().unwrap();
        assert_eq!(table["seed"].as_integer(), Some(7));
        assert_eq!(table["model"]["package"].as_str(), Some("a \"b\""));
        assert_eq!(table["engine"]["kind"].as_str(), Some("tract"));
        assert_eq!(table["drives"]["directory"].as_str(), Some("c"));
        assert!(!table["engine"].as_table().unwrap().contains_key("providers"));
        // What Rust escapes in its own way: combining and invisible characters.
        for name in ["rene\u{301}\u{200b}", "it's \"a\"\n\\b\u{7f}"] {
            let path = Path::new(name);
            let odd = Told { package: path, beside: Some(path), drives: Some(path), ..told };
            let table: toml::Table = vehicle_toml(&Told { beside: None, ..odd }).parse().unwrap();
            assert_eq!(table["model"]["package"].as_str(), Some(name));
            assert_eq!(table["drives"]["directory"].as_str(), Some(name));
            let table: toml::Table = vehicle_toml(&Told { drives: None, ..odd }).parse().unwrap();
            assert_eq!(table["model"]["beside"].as_str(), Some(name));
        }
        let providers = ["cuda".to_owned(), "cpu".to_owned()];
        let beside = Some(Path::new("w"));
        let policy = Told { drives: None, beside, providers: Some(&providers), ..told };
        let table: toml::Table = vehicle_toml(&policy).parse().unwrap();
        assert_eq!(table["model"]["beside"].as_str(), Some("w"));
        assert_eq!(table["drives"]["driver"].as_str(), Some("attentive"));
        let providers = table["engine"]["providers"].as_array().unwrap();
        assert_eq!(
            providers.iter().filter_map(|one| one.as_str()).collect::<Vec<_>>(),
            ["cuda", "cpu"]
        );
    }

    #[test]
    fn a_lone_vehicle_differs_in_its_state_and_exchange_alone() {
        let vehicle = "name = \"a\"\nstate = \"state\"\n\n[fleet]\nname = \"b\"\nexchange = true\n";
        let alone: toml::Table = alone_toml(vehicle).unwrap().parse().unwrap();
        assert_eq!(alone["state"].as_str(), Some("alone"));
        assert_eq!(alone["fleet"]["exchange"].as_bool(), Some(false));
        assert_eq!(alone["fleet"]["name"].as_str(), Some("b"));
        assert!(alone_toml("state = \"elsewhere\"\n[fleet]\n").is_err());
    }
}
