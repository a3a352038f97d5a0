//! Logs of a model of tokens: `[logs]`, in the place of `[roads]`.

use std::path::PathBuf;

use shoal_hal::backend::synthetic::Region;
use shoal_shadow::document::{DocumentError, Table};

use super::regions;

const KEYS: [&str; 9] = [
    "recorded",
    "from",
    "stretches",
    "unseen_stretches",
    "regions",
    "unseen",
    "rows",
    "differ",
    "windows_to_drive",
];

/// Logs.
#[derive(Clone, Debug, PartialEq)]
pub struct LogsConfig {
    /// Recorded logs: CSV files or segments of comma2k19; of codes numpy arrays.
    pub recorded: Vec<PathBuf>,
    /// The share of each that is left out at its beginning: what the model was pretrained on.
    pub from: f64,
    /// Each of them is cut in time into so many stretches; stretch i of those that are driven is of vehicle i mod `vehicles`.
    pub stretches: usize,
    /// The last so many of each nobody drives, and nothing of them is in the pack.
    pub unseen_stretches: usize,
    /// Regions of the roads that generated cars drive on, in turn: one car for every vehicle that no stretch is left for.
    pub regions: Vec<Region>,
    /// Regions of generated cars that are no vehicle's, and nothing of them is in the pack.
    pub unseen: Vec<Region>,
    /// Rows of each generated log.
    pub rows: usize,
    /// How far generated cars are from each other: 0 for one car on many roads, 1 for the spread of cars on the market.
    pub differ: f64,
    /// Windows until a vehicle has driven all of its tuning part: it has seen as much more before each.
    pub windows_to_drive: u32,
}

impl LogsConfig {
    pub(super) fn read(root: &Table<'_>) -> Result<Option<Self>, DocumentError> {
        let Some(table) = root.table("logs", &KEYS)? else { return Ok(None) };
        let count =
            |key, range, usual| Ok(table.integer(key, range)?.map_or(usual, |n| n as usize));
        let logs = LogsConfig {
            recorded: table.texts("recorded")?.into_iter().map(PathBuf::from).collect(),
            from: table.number("from", 0.0..=0.99)?.unwrap_or(0.0),
            stretches: count("stretches", 1..=1000, 1)?,
            unseen_stretches: count("unseen_stretches", 0..=999, 0)?,
            regions: regions(&table, "regions")?,
            unseen: regions(&table, "unseen")?,
            rows: count("rows", 50..=1_000_000, 600)?,
            differ: table.number("differ", 0.0..=1.0)?.unwrap_or(1.0),
            windows_to_drive: count("windows_to_drive", 1..=1000, 5)? as u32,
        };
        if logs.recorded.is_empty() && logs.regions.is_empty() {
            return Err(table.missing("recorded"));
        }
        if logs.unseen_stretches >= logs.stretches {
            let want = format!("fewer than stretches ({})", logs.stretches);
            return Err(table.refuse("unseen_stretches", logs.unseen_stretches, &want));
        }
        let idle = ["from", "stretches", "unseen_stretches"].into_iter().find(|key| table.has(key));
        if let Some(idle) = idle.filter(|_| logs.recorded.is_empty()) {
            return Err(table.refuse(idle, "without `recorded`", "logs recorded there"));
        }
        Ok(Some(logs))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::SimConfig;

    const METHOD: &str = "[[methods]]\nname = \"a\"\nkind = \"local\"\n";

    fn refused(logs: &str) -> String {
        SimConfig::parse("fleet.toml", &format!("{logs}\n{METHOD}")).unwrap_err().to_string()
    }

    #[test]
    fn logs_stand_in_the_place_of_roads() {
        let toml = format!("[logs]\nrecorded = [\"a.csv\"]\nstretches = 4\n{METHOD}");
        let config = SimConfig::parse("fleet.toml", &toml).unwrap();
        let logs = config.logs.unwrap();
        assert_eq!((logs.stretches, logs.rows, logs.windows_to_drive), (4, 600, 5));
        assert!(config.roads.regions.is_empty() && config.roads.recorded.is_empty());
    }

    #[test]
    fn what_is_wrong_with_logs_is_named() {
        for (toml, said) in [
            (
                "[logs]\nstretchs = 2",
                "fleet.toml:2: logs.stretchs: unknown key; did you mean `stretches`?",
            ),
            ("[logs]", "recorded"),
            ("[logs]\nregions = [\"rurall\"]", "rural"),
            ("[logs]\nrecorded = [\"a\"]\nunseen_stretches = 1", "fewer than stretches (1)"),
            ("[logs]\nregions = [\"rural\"]\nstretches = 2", "without `recorded`"),
            ("[logs]\nregions = [\"rural\"]\ndiffer = 2.0", "differ"),
            ("[logs]\nregions = [\"rural\"]\n[roads]\nregions = [\"rural\"]", "one of the two"),
        ] {
            let error = refused(toml);
            assert!(error.contains(said), "{toml}: {error}");
        }
    }
}
