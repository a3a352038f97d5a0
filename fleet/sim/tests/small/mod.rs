//! A model that is small enough to be tuned in a test, and files that name it.

use std::fs;
use std::path::Path;

use shoal_runtime::engine::testing::ort_or_skip;
use shoal_shadow::package::DESCRIPTION_FILE;
use shoal_shadow::worldmodel::{self, Architecture};
use shoal_sim::config::SimConfig;
use shoal_sim::record::Record;

pub(crate) const SMALL: Architecture = Architecture {
    width: 32,
    height: 16,
    channels: [8, 12, 16],
    pairs_half: 1,
    pairs_full: 0,
    differences: false,
};

pub(crate) fn read(folder: &Path, text: &str) -> SimConfig {
    let file = folder.join("fleet.toml");
    let tract = "kind = \"tract\"";
    let kind = if ort_or_skip().is_some() { "kind = \"ort\"" } else { tract };
    fs::write(&file, text.replace(tract, kind)).unwrap();
    SimConfig::read(&file).unwrap()
}

pub(crate) fn model(folder: &Path) {
    let model = worldmodel::build(&SMALL, 1).unwrap();
    let mut description = worldmodel::description(&SMALL);
    description.adapter.rank = 4;
    let package = folder.join("model");
    fs::create_dir(&package).unwrap();
    model.write(&package.join(&description.model)).unwrap();
    fs::write(package.join(DESCRIPTION_FILE), description.to_toml()).unwrap();
}

pub(crate) fn of<'a>(records: &'a [Record], name: &str) -> &'a Record {
    records.iter().find(|record| record.head.method == name).unwrap()
}

/// Names and kinds, and what else there is to a method.
pub(crate) fn methods(of: &[(&str, &str)]) -> String {
    let method = |(name, kind): &(&str, &str)| format!("[[methods]]\nname = \"{name}\"\n{kind}\n");
    of.iter().map(method).collect()
}
