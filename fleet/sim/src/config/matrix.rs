//! Vehicles with different networks that share a matrix: `[drivers.matrix]`, in the place of `[model]`.

use std::path::PathBuf;

use shoal_shadow::document::{DocumentError, Table};
use shoal_shadow::grid::Pool;

/// What the fleet's policies are, and how their opinions are made one.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixConfig {
    /// Packages of policies on the grid, dealt to vehicles in turn.
    pub policies: Vec<PathBuf>,
    /// How opinions are made one.
    pub pool: Pool,
}

/// Policies of a fleet, at most.
const POLICIES_MAX: usize = 8;

impl MatrixConfig {
    pub(super) fn read(
        root: &Table<'_>,
        drivers: &Table<'_>,
    ) -> Result<Option<Self>, DocumentError> {
        let Some(table) = drivers.table("matrix", &["policies", "pool"])? else { return Ok(None) };
        for key in ["model", "hardware"] {
            if root.has(key) {
                let want = "none: a matrix is the same for every network";
                return Err(root.refuse(key, "beside `drivers.matrix`", want));
            }
        }
        for key in ["turn_rad", "rehearsal"] {
            if drivers.has(key) {
                let want = "none: a matrix counts what was held on the road, no lesson is drawn";
                return Err(drivers.refuse(key, "beside `drivers.matrix`", want));
            }
        }
        let policies: Vec<PathBuf> =
            table.texts("policies")?.into_iter().map(PathBuf::from).collect();
        if policies.is_empty() {
            return Err(table.missing("policies"));
        }
        if policies.len() > POLICIES_MAX {
            let want = format!("at most {POLICIES_MAX}");
            return Err(table.refuse("policies", policies.len(), &want));
        }
        let pools = [("linear", Pool::Linear), ("log", Pool::Log)];
        Ok(Some(MatrixConfig {
            policies,
            pool: table.choice("pool", &pools)?.unwrap_or(Pool::Linear),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SimConfig;

    const METHOD: &str = "[[methods]]\nname = \"a\"\nkind = \"paper\"\n";

    fn parsed(toml: &str) -> Result<SimConfig, String> {
        let toml = format!("{toml}\n{METHOD}");
        SimConfig::parse("fleet.toml", &toml).map_err(|error| error.to_string())
    }

    #[test]
    fn policies_and_their_pool_are_read() {
        let toml = "[drivers]\nregions = [\"snow\"]\n[drivers.matrix]\npolicies = [\"a\", \"b\"]";
        let matrix = |toml: &str| parsed(toml).unwrap().drivers.unwrap().matrix.unwrap();
        assert_eq!(matrix(toml).policies, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!(matrix(toml).pool, Pool::Linear);
        assert_eq!(matrix(&format!("{toml}\npool = \"log\"")).pool, Pool::Log);
    }

    #[test]
    fn what_is_wrong_with_matrices_is_named() {
        let matrix = "[drivers]\nregions = [\"snow\"]\n[drivers.matrix]\n";
        let two = format!("{matrix}policies = [\"a\", \"b\"]\n");
        for (toml, said) in [
            (matrix.to_owned(), "policies"),
            (format!("{two}pool = \"mean\""), "linear"),
            (format!("{two}polices = []"), "did you mean `policies`"),
            (format!("{two}[model]\npackage = \"m\""), "drivers.matrix"),
            (two.replace("[drivers.matrix]", "turn_rad = 0.1\n[drivers.matrix]"), "turn_rad"),
            (two.replace("[drivers.matrix]", "rehearsal = 0.5\n[drivers.matrix]"), "rehearsal"),
            (format!("{two}[[utility]]\nname = \"a\"\nmetric = \"comfort\""), "imitation"),
            (
                format!("{two}[[hardware]]\nname = \"a\"\nvehicles = 1\nrank = 1"),
                "the same for every network",
            ),
        ] {
            let error = parsed(&toml).unwrap_err();
            assert!(error.contains(said), "{toml}: {error}");
        }
    }
}
