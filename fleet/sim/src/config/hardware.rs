//! Classes of hardware: vehicles of a smaller rank, that manage fewer steps in a night, or whose memory holds a smaller batch.

use shoal_shadow::document::{DocumentError, Table};

use super::drawn;

/// A class of vehicles.
#[derive(Clone, Debug, PartialEq)]
pub struct HardwareConfig {
    /// Its name.
    pub name: String,
    /// How many vehicles are of it.
    pub vehicles: u32,
    /// Rank of what they train; `None`: that of the model.
    pub rank: Option<u8>,
    /// Part of the night's steps that they manage.
    pub speed: f64,
    /// Samples of a batch that their memory holds; `None`: the night's.
    pub batch: Option<usize>,
}

/// The classes of a file: `[[hardware]]`.
pub(super) fn read(
    root: &Table<'_>,
    vehicles: u32,
    batch: usize,
) -> Result<Vec<HardwareConfig>, DocumentError> {
    let keys = ["name", "share", "vehicles", "rank", "speed", "batch"];
    let mut classes: Vec<HardwareConfig> = Vec::new();
    for table in root.tables("hardware", &keys)? {
        let class = HardwareConfig::read(&table, vehicles)?;
        if classes.iter().any(|other| other.name == class.name) {
            return Err(table.refuse("name", &class.name, "a name that no other class has"));
        }
        if let Some(more) = class.batch.filter(|of_class| *of_class > batch) {
            return Err(table.refuse("batch", more, &format!("at most the night's {batch}")));
        }
        classes.push(class);
        let sum: u32 = classes.iter().map(|class| class.vehicles).sum();
        if sum > vehicles {
            let key = if table.has("share") { "share" } else { "vehicles" };
            let want = format!("at most the {vehicles} vehicles there are, in all classes");
            return Err(table.refuse(key, format!("{sum} vehicles"), &want));
        }
    }
    Ok(classes)
}

impl HardwareConfig {
    fn read(table: &Table<'_>, vehicles: u32) -> Result<Self, DocumentError> {
        let name = table.text_required("name")?;
        if name.is_empty() || name.len() > 32 {
            return Err(table.refuse("name", format!("`{name}`"), "1 to 32 bytes"));
        }
        let count = table.integer("vehicles", 1..=64)?.map(|n| n as u32);
        let share = table.number("share", 0.0..=1.0)?;
        let vehicles = match (count, share) {
            (Some(_), Some(_)) => {
                return Err(table.refuse("share", "beside `vehicles`", "only one of the two"));
            }
            (Some(count), None) => count,
            (None, Some(share)) => (share * f64::from(vehicles)).round() as u32,
            (None, None) => return Err(table.missing("vehicles")),
        };
        Ok(HardwareConfig {
            name: name.into(),
            vehicles,
            rank: table.integer("rank", 1..=255)?.map(|rank| rank as u8),
            speed: table.number("speed", 0.01..=1.0)?.unwrap_or(1.0),
            batch: table.integer("batch", 4..=256)?.map(|batch| batch as usize),
        })
    }

    /// The class of each vehicle, drawn from the seed; `None`: of none.
    #[must_use]
    pub fn of(classes: &[Self], vehicles: u32, seed: u64) -> Vec<Option<&Self>> {
        let mut of = vec![None; vehicles as usize];
        let places = classes.iter().flat_map(|class| (0..class.vehicles).map(move |_one| class));
        let order = drawn(vehicles, seed, "shoal simulation hardware");
        for (vehicle, class) in order.into_iter().zip(places) {
            if let Some(of) = of.get_mut(vehicle) {
                *of = Some(class);
            }
        }
        of
    }

    /// How many of these steps it manages, at least one.
    #[must_use]
    pub fn steps(&self, steps: u32) -> u32 {
        ((f64::from(steps) * self.speed).round() as u32).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SimConfig;
    use crate::config::tests::{SMALL, refused};

    #[test]
    fn classes_take_as_many_vehicles_as_they_ask_for() {
        let classes = "[[hardware]]\nname = \"small\"\nshare = 0.25\nrank = 2\n\
                       [[hardware]]\nname = \"slow\"\nvehicles = 3\nspeed = 0.33\n";
        let config = SimConfig::parse("f.toml", &format!("{SMALL}{classes}")).unwrap();
        let of = HardwareConfig::of(&config.hardware, 8, 7);
        let named = |name: &str| of.iter().flatten().filter(|class| class.name == name).count();
        assert_eq!((named("small"), named("slow"), of.len()), (2, 3, 8));
        assert_eq!((config.hardware[1].steps(20), config.hardware[1].steps(1)), (7, 1));
    }

    #[test]
    fn classes_that_cannot_be_are_refused_by_line_and_key() {
        let class = |more: &str| format!("{SMALL}[[hardware]]\nname = \"a\"\n{more}");
        for (toml, said) in [
            (class(""), "f.toml:6: hardware[0].vehicles: is required"),
            (class("vehicles = 9\n"), "at most the 8 vehicles"),
            (class("share = 1.2\n"), "hardware[0].share"),
            (class("share = 0.5\nvehicles = 1\n"), "only one of the two"),
            (class("vehicles = 1\nrank = 0\n"), "1 to 255"),
            (class("vehicles = 1\nspeed = 2.0\n"), "speed"),
            (class("vehicles = 1\nbatch = 3\n"), "4 to 256"),
            (class("vehicles = 1\nbatch = 9\n"), "at most the night's 8"),
            (class("vehicles = 1\nspeeed = 1.0\n"), "did you mean `speed`"),
            (class("vehicles = 1\n[[hardware]]\nname = \"a\"\nvehicles = 1\n"), "no other class"),
        ] {
            let error = refused(&toml).replace("fleet.toml", "f.toml");
            assert!(error.contains(said), "{toml}: {error}");
        }
    }
}
