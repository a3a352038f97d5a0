//! What a fleet's run left in its folder: lines of `windows.jsonl` and adapters as PEFT directories.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shoal_vehicle::config::{Config, FleetConfig};
use shoal_vehicle::exchange::diary::KEPT;

use crate::output::Failure;

/// State of a vehicle that exchanges is where its configuration says; that of the same vehicle alone, beside it.
const ALONE: &str = "alone";

/// One line of `windows.jsonl`: a window, or a lone night. Fields that a report has no use for are not read.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Line {
    pub(super) window: u32,
    pub(super) took_part: bool,
    /// The particle that is best by the records, by its id; `None`: x_p.
    pub(super) best: Option<String>,
    #[serde(default)]
    pub(super) bytes_up: u64,
    #[serde(default)]
    pub(super) bytes_down: u64,
    /// What was refused, by code.
    #[serde(default)]
    pub(super) rejected: BTreeMap<String, u64>,
    /// How long each stage took.
    #[serde(default)]
    pub(super) seconds: BTreeMap<String, f64>,
    /// High water of the process, where the system says it.
    pub(super) memory_bytes: Option<u64>,
}

/// What one vehicle left of one run.
#[derive(Debug)]
pub(super) struct Run {
    folder: PathBuf,
    /// By window; a window that was written twice counts as it was written last.
    pub(super) lines: BTreeMap<u32, Line>,
}

/// One vehicle of the fleet.
#[derive(Debug)]
pub(super) struct Vehicle {
    pub(super) config: Config,
    pub(super) fleet: FleetConfig,
    /// With exchange.
    pub(super) swarm: Run,
    /// The same vehicle without; no line where it was not run so.
    pub(super) alone: Run,
}

impl Run {
    fn read(folder: PathBuf) -> Result<Self, Failure> {
        let path = folder.join("windows.jsonl");
        let lines = match std::fs::read_to_string(&path) {
            Ok(text) => parse(&text).map_err(|why| format!("{}:{why}", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display()).into()),
        };
        Ok(Run { folder, lines })
    }

    /// The adapter that the vehicle would drive with after this window: its own of the last one that left one by then.
    /// `None`: it drives with x_p.
    pub(super) fn own(&self, window: u32) -> Option<PathBuf> {
        (0..=window).rev().map(|w| self.adapter(w, "own")).find(|path| path.is_dir())
    }

    /// Whether the adapters of this window are removed, so that it is not known what the vehicle would have driven with.
    pub(super) fn has_removed(&self, window: u32) -> bool {
        let old = self.last().is_some_and(|last| window.saturating_add(KEPT) <= last);
        old && self.own(window).is_none()
    }

    /// The adapter that was best by the records when this window closed, where this vehicle kept it.
    fn best(&self, window: u32) -> Option<PathBuf> {
        Some(self.adapter(window, "best")).filter(|path| path.is_dir())
    }

    fn adapter(&self, window: u32, name: &str) -> PathBuf {
        self.folder.join("windows").join(window.to_string()).join(name)
    }

    pub(super) fn last(&self) -> Option<u32> {
        self.lines.keys().next_back().copied()
    }
}

/// Reads lines; one that was cut, the last without its end, is left out.
fn parse(text: &str) -> Result<BTreeMap<u32, Line>, String> {
    let mut lines = BTreeMap::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        match serde_json::from_str::<Line>(line) {
            Ok(line) => drop(lines.insert(line.window, line)),
            Err(_cut) if !line.ends_with('\n') => {}
            Err(error) => return Err(format!("{}: {error}", index + 1)),
        }
    }
    Ok(lines)
}

/// Reads the vehicles of a fleet, whose roads and model must be the same: they are measured on one set of drives.
pub(super) fn vehicles(fleet: &Path, count: u32) -> Result<Vec<Vehicle>, Failure> {
    let vehicles = (0..count)
        .map(|number| vehicle(&fleet.join(format!("vehicle-{number}"))))
        .collect::<Result<Vec<Vehicle>, Failure>>()?;
    let first = &vehicles[0].config;
    for Vehicle { config, .. } in &vehicles {
        let mut drives = config.drives.clone();
        (drives.vehicle, drives.vehicles) = (first.drives.vehicle, first.drives.vehicles);
        // Recorded drives do not depend on the seed.
        let roads = drives == first.drives
            && (drives.directory.is_some() || config.seed == first.seed)
            && config.model == first.model;
        if !roads {
            let (one, other) = (&first.name, &config.name);
            return Err(format!(
                "{one} and {other} have other roads or models: a report needs one set"
            )
            .into());
        }
    }
    if vehicles.iter().all(|vehicle| vehicle.swarm.lines.is_empty()) {
        return Err(format!("no vehicle of {} has been through a window", fleet.display()).into());
    }
    Ok(vehicles)
}

fn vehicle(folder: &Path) -> Result<Vehicle, Failure> {
    let file = folder.join("vehicle.toml");
    let config = Config::read(&file)?;
    let fleet = config.fleet.clone();
    let fleet = fleet.ok_or_else(|| format!("{}: the vehicle has no fleet", file.display()))?;
    let swarm = Run::read(config.state.clone())?;
    Ok(Vehicle { config, fleet, swarm, alone: Run::read(folder.join(ALONE))? })
}

/// The particle that is best by the records after a window, as most vehicles that were there have it (of equally many, as the
/// first of them has it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Best {
    /// Its adapter; `None`: x_p, or it is not known.
    pub(super) adapter: Option<PathBuf>,
    /// Whether it is known: somebody was there, and one of those who say so keeps it still.
    pub(super) is_known: bool,
    /// How many vehicles say so.
    pub(super) agreed: usize,
    /// How many were asked.
    pub(super) of: usize,
}

pub(super) fn best(vehicles: &[Vehicle], window: u32) -> Best {
    let said: Vec<(&Vehicle, Option<&str>)> = vehicles
        .iter()
        .filter_map(|vehicle| Some((vehicle, vehicle.swarm.lines.get(&window)?)))
        .filter(|(_vehicle, line)| line.took_part)
        .map(|(vehicle, line)| (vehicle, line.best.as_deref()))
        .collect();
    let ids: BTreeSet<Option<&str>> = said.iter().map(|(_vehicle, id)| *id).collect();
    let voices = |id: Option<&str>| said.iter().filter(|(_vehicle, said)| *said == id).count();
    let most = ids.iter().map(|id| voices(*id)).max().unwrap_or(0);
    let first = said.iter().map(|(_vehicle, id)| *id).find(|id| voices(*id) == most).flatten();
    let adapter = first.and_then(|id| {
        let mut says = said.iter().filter(|(_vehicle, said)| *said == Some(id));
        says.find_map(|(vehicle, _id)| vehicle.swarm.best(window))
    });
    let is_known = !said.is_empty() && first.is_some() == adapter.is_some();
    Best { adapter, is_known, agreed: most, of: said.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_is_left_out_and_one_that_is_broken_is_named() {
        let line = r#"{"window":3,"took_part":true,"best":null,"steps":20}"#;
        let cut = parse(&format!("{line}\n{{\"window\":4,\"to")).unwrap();
        assert_eq!(cut.keys().copied().collect::<Vec<_>>(), [3]);
        let broken = parse(&format!("{line}\nnoise\n")).unwrap_err();
        assert!(broken.starts_with("2: "), "{broken}");
    }
}
