//! Fleets without a model: a night is a short way towards an optimum, measuring a distance to one. What is left is the work of
//! the methods and of the simulator itself.

use shoal_shadow::document::{DocumentError, Table};

use super::{MethodConfig, Rule, TermConfig};

/// Vehicles whose own roads are looked at, at most: as many as there may be of those that have a model.
pub const LOOKED_AT_MAX: u32 = 64;
/// Vehicles without one, at most: with a server or alone, and where everybody hears of everybody, so that the work grows
/// with the square of their number.
const TRIVIAL_MAX: i64 = 1_000_000;
const BOARD_MAX: u32 = 1_000;
/// Values of all vehicles together, at most: they are held some five times over, so this is 4 GB.
const VALUES_MAX: u64 = 200_000_000;

/// Clients that do next to nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrivialConfig {
    /// Values of an adapter, from 2 on.
    pub values: usize,
    /// The part of the way to its own optimum that a vehicle goes in a night.
    pub step: f64,
    /// How far vehicles' optima are from their middle, beside how far that is from where everybody begins.
    pub spread: f64,
}

impl Default for TrivialConfig {
    fn default() -> Self {
        TrivialConfig { values: 1000, step: 0.5, spread: 0.5 }
    }
}

impl TrivialConfig {
    /// What the file says of them, if they are trivial; nothing is said of a model then.
    pub(super) fn read(root: &Table<'_>) -> Result<Option<Self>, DocumentError> {
        let Some(table) = root.table("trivial", &["values", "step", "spread"])? else {
            return Ok(None);
        };
        for key in ["model", "roads", "logs", "night"] {
            if root.has(key) {
                let want = "one of the two: trivial clients have no model, no roads, no training";
                return Err(root.refuse(key, "beside `trivial`", want));
            }
        }
        let usual = TrivialConfig::default();
        let values = table.integer("values", 2..=1_000_000)?;
        Ok(Some(TrivialConfig {
            values: values.map_or(usual.values, |values| values as usize),
            step: table.number("step", 0.0..=1.0)?.unwrap_or(usual.step),
            spread: table.number("spread", 0.0..=10.0)?.unwrap_or(usual.spread),
        }))
    }

    /// How many vehicles there may be.
    pub(super) const fn vehicles_max(trivial: Option<&Self>) -> i64 {
        match trivial {
            Some(_) => TRIVIAL_MAX,
            None => LOOKED_AT_MAX as i64,
        }
    }

    /// Refuses what trivial clients cannot do, or not so many of them.
    pub(super) fn check(
        &self,
        root: &Table<'_>,
        vehicles: u32,
        utility: &[TermConfig],
        methods: &[MethodConfig],
    ) -> Result<(), DocumentError> {
        if self.values as u64 * u64::from(vehicles) > VALUES_MAX {
            let want = format!("at most {} with so many values", VALUES_MAX / self.values as u64);
            return Err(root.refuse("vehicles", vehicles, &want));
        }
        if root.has("hardware") {
            return Err(root.refuse("hardware", "beside [trivial]", "no classes: all are alike"));
        }
        if let Some(term) = utility.iter().find(|term| !term.roads.is_empty()) {
            let got = format!("roads of `{}`", term.name);
            return Err(root.refuse("utility", got, "terms without roads: there are none"));
        }
        let many = |method: &&MethodConfig| {
            !matches!(method.rule, Rule::Local | Rule::Pooled | Rule::Average(_))
        };
        match methods.iter().find(many) {
            Some(method) if vehicles > BOARD_MAX => {
                let want = format!(
                    "at most {BOARD_MAX} with `{}`: there everybody hears of everybody",
                    method.name
                );
                Err(root.refuse("vehicles", vehicles, &want))
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::SimConfig;

    const METHOD: &str = "[[methods]]\nname = \"a\"\nkind = \"average\"\n";

    fn parsed(toml: &str) -> Result<SimConfig, String> {
        SimConfig::parse("fleet.toml", toml).map_err(|error| error.to_string())
    }

    #[test]
    fn a_million_may_be_trivial_and_sixty_four_may_not() {
        let many = format!("vehicles = 1000000\n[trivial]\nvalues = 32\n{METHOD}");
        let config = parsed(&many).unwrap();
        assert_eq!((config.vehicles, config.trivial.unwrap().values), (1_000_000, 32));
        assert!(config.roads.regions.is_empty());
        let modelled = many.replace("[trivial]\nvalues = 32", "[roads]\nregions = [\"snow\"]");
        assert!(parsed(&modelled).unwrap_err().contains("1 to 64"));
    }

    #[test]
    fn what_trivial_clients_do_not_have_is_refused() {
        let beside = |more: &str| format!("{more}[trivial]\n{METHOD}");
        for (toml, said) in [
            (beside("[model]\npackage = \"p\"\n"), "no model"),
            (beside("[roads]\nregions = [\"snow\"]\n"), "no roads"),
            (beside("[night]\nsteps = 3\n"), "no training"),
            (beside("[engine]\nkind = \"ort\"\n"), "kind"),
            (beside("[[utility]]\nname = \"b\"\nroads = [\"snow\"]\n"), "terms without roads"),
            (beside("vehicles = 1000000\n"), "at most 200000"),
            (beside("").replace("[trivial]", "[trivial]\nvalues = 1"), "values"),
            (
                beside("vehicles = 5000\n").replace("average", "consensus"),
                "everybody hears of everybody",
            ),
        ] {
            let error = parsed(&toml).unwrap_err();
            assert!(error.contains(said), "{toml}: {error}");
        }
        assert_eq!(parsed(&beside("[engine]\njobs = 3\n")).unwrap().jobs, 3);
    }
}
