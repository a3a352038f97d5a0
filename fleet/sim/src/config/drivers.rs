//! Vehicles that learn from their drivers: `[drivers]`, in the place of `[roads]`.

use shoal_hal::backend::synthetic::Region;
use shoal_shadow::batch::TURN_RAD;
use shoal_shadow::document::{DocumentError, Table};

use super::{MatrixConfig, regions};

const KEYS: [&str; 13] = [
    "regions",
    "reckless",
    "particular",
    "perturbed",
    "frames",
    "hindsight",
    "turn_rad",
    "rehearsal",
    "attentive_roads",
    "reckless_roads",
    "closed_roads",
    "closed_seconds",
    "matrix",
];

/// Drivers of generated roads in the closed loop.
#[derive(Clone, Debug, PartialEq)]
pub struct DriversConfig {
    /// Regions that are driven, one road a vehicle, in turn.
    pub regions: Vec<Region>,
    /// The last so many vehicles have reckless drivers, the others attentive ones.
    pub reckless: u32,
    /// Whether attentive drivers have habits of their own.
    pub particular: bool,
    /// Share of the moments of a reckless driver's log that tell what he did at another moment.
    pub perturbed: f64,
    /// Frames of each drive.
    pub frames: usize,
    /// Whether lessons are weighted by what came of them.
    pub hindsight: bool,
    /// How far the camera is turned in lessons at most, rad; 0: as it was.
    pub turn_rad: f32,
    /// Share of a night's samples that are rehearsed on generated roads; `None`: what the policy's package says.
    pub rehearsal: Option<f32>,
    /// Roads of attentive drivers in the pack: what is imitated.
    pub attentive_roads: usize,
    /// Roads of reckless drivers in it: situations, imitated by nobody.
    pub reckless_roads: usize,
    /// Roads that are driven in the closed loop at the beginning and at the end, in regions and with seeds of nobody's drive; 0: none.
    pub closed_roads: u32,
    /// Seconds on each of them.
    pub closed_seconds: u32,
    /// Vehicles of several networks that share a matrix; `None`: all have `[model]`.
    pub matrix: Option<MatrixConfig>,
}

impl DriversConfig {
    pub(super) fn read(root: &Table<'_>, vehicles: u32) -> Result<Option<Self>, DocumentError> {
        let Some(table) = root.table("drivers", &KEYS)? else { return Ok(None) };
        for key in ["roads", "logs", "trivial"] {
            if root.has(key) {
                return Err(root.refuse("drivers", format!("beside `{key}`"), "one of the two"));
            }
        }
        let count = |key, range, usual: i64| Ok(table.integer(key, range)?.unwrap_or(usual));
        let drivers = DriversConfig {
            regions: regions(&table, "regions")?,
            reckless: count("reckless", 0..=vehicles.into(), 0)? as u32,
            particular: table.boolean("particular")?.unwrap_or(false),
            perturbed: table.number("perturbed", 0.0..=1.0)?.unwrap_or(0.0),
            frames: count("frames", 100..=100_000, 600)? as usize,
            hindsight: table.boolean("hindsight")?.unwrap_or(true),
            turn_rad: table.number("turn_rad", 0.0..=0.5)?.map_or(TURN_RAD, |rad| rad as f32),
            rehearsal: table.number("rehearsal", 0.0..=0.9)?.map(|share| share as f32),
            attentive_roads: count("attentive_roads", 1..=1000, 5)? as usize,
            reckless_roads: count("reckless_roads", 0..=1000, 5)? as usize,
            closed_roads: count("closed_roads", 0..=1000, 10)? as u32,
            closed_seconds: count("closed_seconds", 1..=3600, 20)? as u32,
            matrix: MatrixConfig::read(root, &table)?,
        };
        if drivers.regions.is_empty() {
            return Err(table.missing("regions"));
        }
        if let Some(track) = drivers.regions.iter().find(|region| **region == Region::RcTrack) {
            return Err(table.refuse("regions", track.name(), "roads: nobody drives there"));
        }
        Ok(Some(drivers))
    }

    /// Whether a vehicle's driver is reckless.
    #[must_use]
    pub const fn is_reckless(&self, vehicle: u32, vehicles: u32) -> bool {
        vehicle >= vehicles.saturating_sub(self.reckless)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::SimConfig;

    const METHOD: &str = "[[methods]]\nname = \"a\"\nkind = \"paper\"\n";

    fn parsed(toml: &str) -> Result<SimConfig, String> {
        let toml = format!("{toml}\n{METHOD}");
        SimConfig::parse("fleet.toml", &toml).map_err(|error| error.to_string())
    }

    #[test]
    fn the_last_vehicles_have_reckless_drivers() {
        let config = parsed("[drivers]\nregions = [\"snow\"]\nreckless = 2").unwrap();
        let drivers = config.drivers.unwrap();
        let reckless = (0..8).filter(|vehicle| drivers.is_reckless(*vehicle, 8));
        assert!(reckless.eq([6, 7]) && config.roads.regions.is_empty());
    }

    #[test]
    fn what_is_wrong_with_drivers_is_named() {
        let drivers = "[drivers]\nregions = [\"snow\"]\n";
        for (toml, said) in [
            ("[drivers]\nregions = [\"snow\"]\nreckles = 1".into(), "did you mean `reckless`"),
            (format!("{drivers}turn_rad = 1.5"), "turn_rad"),
            ("[drivers]".into(), "regions"),
            ("[drivers]\nregions = [\"rc_track\"]".into(), "rc_track"),
            (format!("{drivers}reckless = 9"), "reckless"),
            (format!("{drivers}[roads]\nregions = [\"snow\"]"), "one of the two"),
            (format!("{drivers}[[utility]]\nname = \"a\"\nmetric = \"speed\""), "progress"),
            (format!("{drivers}[[utility]]\nname = \"a\"\nroads = [\"snow\"]"), "one pack"),
            (
                "[roads]\nregions = [\"snow\"]\n[[utility]]\nname = \"a\"\nmetric = \"comfort\""
                    .into(),
                "without `[drivers]`",
            ),
        ] {
            let error = parsed(&toml).unwrap_err();
            assert!(error.contains(said), "{toml}: {error}");
        }
    }
}
