//! The vectors' file, and numbers out of it.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The two lists of cases.
pub(crate) const SWARM: &str = "cases";
pub(crate) const OTHERS: &str = "baselines_and_metrics";

/// The vectors: `swarm_vectors.json` beside the folder that `SHOAL_DATA` names, or in `../shared` beside the
/// workspace. `None`, said aloud, when it is absent; a failure with `SHOAL_REQUIRE_DATA=1`.
pub(crate) fn vectors() -> Option<Value> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let data = std::env::var_os("SHOAL_DATA").map_or(beside, PathBuf::from);
    let path = data.join("../swarm_vectors.json");
    let Ok(text) = std::fs::read(&path) else {
        let required = std::env::var_os("SHOAL_REQUIRE_DATA").is_some_and(|value| value == "1");
        assert!(!required, "no {}, and SHOAL_REQUIRE_DATA=1", path.display());
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let line = format!("SKIPPED {test}: no swarm_vectors.json beside SHOAL_DATA\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    };
    Some(serde_json::from_slice(&text).unwrap())
}

/// The case with this name.
pub(crate) fn case(vectors: &Value, list: &str, name: &str) -> Value {
    let named = |case: &&Value| case["name"] == name;
    let found = vectors[list].as_array().unwrap().iter().find(named);
    found.unwrap_or_else(|| panic!("no case {name}")).clone()
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

pub(crate) fn count(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))).unwrap()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(number).collect()
}

pub(crate) fn rows(value: &Value) -> Vec<Vec<f64>> {
    list(value).iter().map(numbers).collect()
}

pub(crate) fn flags(value: &Value) -> Vec<bool> {
    list(value).iter().map(|flag| flag.as_bool().unwrap()).collect()
}

/// Fails unless all are as near as `tolerance`.
#[track_caller]
pub(crate) fn near(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance, "{what}[{index}]: {got}, expected {want}");
    }
}
