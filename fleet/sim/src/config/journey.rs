//! Journeys: the regions that vehicles drive, phase after phase.

use shoal_hal::backend::synthetic::Region;
use shoal_shadow::document::{DocumentError, Table};

use super::regions;

/// Phases of a journey, at most.
const PHASES_MAX: usize = 8;

/// A phase of a journey.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseConfig {
    /// The window before which it begins; it ends where the next one begins.
    pub from_window: u32,
    /// What is driven, one road a vehicle, in turn.
    pub regions: Vec<Region>,
}

/// The phases of a file: `[[roads.journey]]`.
pub(super) fn read(roads: &Table<'_>, windows: u32) -> Result<Vec<PhaseConfig>, DocumentError> {
    let mut phases: Vec<PhaseConfig> = Vec::new();
    for table in roads.tables("journey", &["from_window", "regions"])? {
        let after = phases.last().map_or(1, |phase| phase.from_window + 1);
        let Some(from_window) = table.integer("from_window", 1..=1000)?.map(|n| n as u32) else {
            return Err(table.missing("from_window"));
        };
        let first = phases.is_empty();
        if from_window < after || from_window > windows || (first && from_window != 1) {
            let want = match first {
                true => "1: the first phase begins the journey".to_owned(),
                false => format!("{after} to {windows}: after the phase before, within the run"),
            };
            return Err(table.refuse("from_window", from_window, &want));
        }
        if phases.len() == PHASES_MAX {
            let want = format!("at most {PHASES_MAX} phases");
            return Err(table.refuse("from_window", "one more phase", &want));
        }
        let regions = regions(&table, "regions")?;
        if regions.is_empty() {
            return Err(table.missing("regions"));
        }
        phases.push(PhaseConfig { from_window, regions });
    }
    Ok(phases)
}

#[cfg(test)]
mod tests {
    use crate::config::SimConfig;
    use crate::config::tests::refused;

    const METHOD: &str = "[[methods]]\nname = \"a\"\nkind = \"local\"\n";

    fn file(journey: &str) -> String {
        format!("windows = 4\n[roads]\n{journey}{METHOD}")
    }

    #[test]
    fn phases_follow_each_other_within_the_run() {
        let phase = |from: u32| {
            format!("[[roads.journey]]\nfrom_window = {from}\nregions = [\"snow\", \"rain\"]\n")
        };
        let config = SimConfig::parse("f.toml", &file(&(phase(1) + &phase(3)))).unwrap();
        let from: Vec<u32> = config.roads.journey.iter().map(|phase| phase.from_window).collect();
        assert_eq!(from, [1, 3]);
        for (journey, said) in [
            (phase(2), "the first phase begins the journey"),
            (phase(1) + &phase(1), "2 to 4"),
            (phase(1) + &phase(5), "2 to 4"),
            ("[[roads.journey]]\nfrom_window = 1\n".to_owned(), "roads.journey[0].regions"),
            ("[[roads.journey]]\nregions = [\"snow\"]\n".to_owned(), "from_window"),
            (phase(1).replace("rain", "rian"), "one of"),
            (phase(1).replace("from_window", "from_windw"), "did you mean `from_window`"),
            (format!("regions = [\"snow\"]\n{}", phase(1)), "only one of the two"),
            (format!("recorded = [\"drives\"]\n{}", phase(1)), "only one of the two"),
        ] {
            let error = refused(&file(&journey));
            assert!(error.contains(said), "{journey}: {error}");
        }
    }
}
