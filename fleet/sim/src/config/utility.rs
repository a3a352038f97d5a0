//! The Dynamic Utility Function of a simulation: terms, each the skill on the pack of some roads, weighted by knots over windows.

use shoal_shadow::document::{DocumentError, Table};
use shoal_vehicle::config::knots;
use shoal_vehicle::exchange::measured::{NAMES, driven_as};
use shoal_wire::v1::Metric;

/// Terms at most, as a utility document has them.
const TERMS_MAX: usize = 16;

/// One term.
#[derive(Clone, Debug, PartialEq)]
pub struct TermConfig {
    /// Its name.
    pub name: String,
    /// Roads of its pack: regions of generated ones, paths of recorded ones; empty: all that are in any pack.
    pub roads: Vec<String>,
    /// Windows and the weight there; in between it lies on the line.
    pub knots: Vec<(u32, f32)>,
    /// A particle below this skill is never best.
    pub gate: Option<f64>,
    /// What is measured; `None`: skill.
    pub metric: Option<Metric>,
}

impl TermConfig {
    /// The one term of a file that names none: all roads, always.
    fn plain() -> Self {
        TermConfig {
            name: "pack".into(),
            roads: Vec::new(),
            knots: vec![(0, 1.0)],
            gate: None,
            metric: None,
        }
    }

    fn read(table: &Table<'_>) -> Result<Self, DocumentError> {
        let name = table.text_required("name")?;
        if name.is_empty() || name.len() > 32 {
            return Err(table.refuse("name", format!("`{name}`"), "1 to 32 bytes"));
        }
        let metrics = NAMES.map(|(metric, name)| (name, metric));
        Ok(TermConfig {
            name: name.into(),
            roads: table.texts("roads")?.into_iter().map(String::from).collect(),
            knots: knots(table)?,
            gate: table.number("gate", -1.0..=1.0)?,
            metric: table.choice("metric", &metrics)?,
        })
    }
}

/// What terms may be measured of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// What a model foresees of frames.
    Frames,
    /// What a policy does.
    Drivers,
    /// Neither: by skill alone.
    Others,
}

impl Of {
    /// With drivers, or with neither frames nor drivers.
    pub(super) const fn what(drivers: bool, others: bool) -> Self {
        match (drivers, others) {
            (true, _) => Of::Drivers,
            (false, true) => Of::Others,
            (false, false) => Of::Frames,
        }
    }
}

/// The terms of a file: `[[utility]]`.
pub(super) fn read(root: &Table<'_>, of: Of) -> Result<Vec<TermConfig>, DocumentError> {
    let drivers = of == Of::Drivers;
    let tables =
        root.tables("utility", &["name", "roads", "windows", "weights", "gate", "metric"])?;
    let mut terms: Vec<TermConfig> = Vec::new();
    for table in &tables {
        let mut term = TermConfig::read(table)?;
        if terms.iter().any(|other| other.name == term.name) {
            return Err(table.refuse("name", &term.name, "a name that no other term has"));
        }
        match (of, term.metric) {
            (Of::Drivers, None) => term.metric = Some(Metric::Imitation),
            (Of::Drivers, Some(metric)) if driven_as(metric).is_none() => {
                return Err(table.refuse("metric", "beside `[drivers]`", "one of what is driven"));
            }
            (Of::Frames, Some(metric)) if driven_as(metric).is_some() => {
                return Err(table.refuse(
                    "metric",
                    "without `[drivers]`",
                    "skill, rollout, or a gain",
                ));
            }
            (Of::Others, Some(_)) => {
                return Err(table.refuse("metric", "without frames", "none: it is skill"));
            }
            (Of::Frames | Of::Drivers, Some(_)) | (Of::Frames | Of::Others, None) => {}
        }
        if drivers && !term.roads.is_empty() {
            return Err(table.refuse("roads", "beside `[drivers]`", "none: all have one pack"));
        }
        if terms.len() == TERMS_MAX {
            return Err(table.refuse("name", &term.name, &format!("at most {TERMS_MAX} terms")));
        }
        terms.push(term);
    }
    if terms.is_empty() {
        let metric = drivers.then_some(Metric::Imitation);
        terms.push(TermConfig { metric, ..TermConfig::plain() });
    } else if terms.iter().all(|term| term.knots.iter().all(|(_, weight)| *weight == 0.0)) {
        return Err(root.refuse("utility", "weights that are all 0", "one that is not"));
    }
    Ok(terms)
}
