//! The Dynamic Utility Function of a simulation: terms, each the skill on the pack of some roads, weighted by knots over windows.

use shoal_shadow::document::{DocumentError, Table};
use shoal_shadow::measure::driving::DrivingMetric;

/// Knots of a term, and terms, at most: as a utility document has them.
const KNOTS_MAX: usize = 8;
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
    /// What is measured of a policy; `None`: skill, or of a policy imitation.
    pub metric: Option<DrivingMetric>,
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
        let windows = table.numbers("windows")?.unwrap_or_else(|| vec![0.0]);
        let weights = table.numbers("weights")?.unwrap_or_else(|| vec![1.0]);
        let growing = windows.windows(2).all(|pair| pair.first() < pair.last());
        let whole =
            windows.iter().all(|window| (0.0..=1e6).contains(window) && window.fract() == 0.0);
        if !growing || !whole || windows.len() > KNOTS_MAX {
            let want = format!("growing whole numbers, at most {KNOTS_MAX}");
            return Err(table.refuse("windows", format!("{windows:?}"), &want));
        }
        if weights.len() != windows.len()
            || weights.iter().any(|weight| !(0.0..=1e3).contains(weight))
        {
            let want = format!("{} numbers, 0 to 1000: one a window", windows.len());
            return Err(table.refuse("weights", format!("{weights:?}"), &want));
        }
        let name = table.text_required("name")?;
        if name.is_empty() || name.len() > 32 {
            return Err(table.refuse("name", format!("`{name}`"), "1 to 32 bytes"));
        }
        let metrics = DrivingMetric::ALL.map(|metric| (metric.name(), metric));
        Ok(TermConfig {
            name: name.into(),
            roads: table.texts("roads")?.into_iter().map(String::from).collect(),
            knots: windows.iter().zip(&weights).map(|(w, x)| (*w as u32, *x as f32)).collect(),
            gate: table.number("gate", -1.0..=1.0)?,
            metric: table.choice("metric", &metrics)?,
        })
    }
}

/// The terms of a file: `[[utility]]`.
pub(super) fn read(root: &Table<'_>, drivers: bool) -> Result<Vec<TermConfig>, DocumentError> {
    let tables =
        root.tables("utility", &["name", "roads", "windows", "weights", "gate", "metric"])?;
    let mut terms: Vec<TermConfig> = Vec::new();
    for table in &tables {
        let mut term = TermConfig::read(table)?;
        if terms.iter().any(|other| other.name == term.name) {
            return Err(table.refuse("name", &term.name, "a name that no other term has"));
        }
        if term.metric.is_some() && !drivers {
            return Err(table.refuse("metric", "without `[drivers]`", "none: it is skill"));
        }
        if drivers {
            term.metric.get_or_insert(DrivingMetric::Imitation);
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
        let metric = drivers.then_some(DrivingMetric::Imitation);
        terms.push(TermConfig { metric, ..TermConfig::plain() });
    } else if terms.iter().all(|term| term.knots.iter().all(|(_, weight)| *weight == 0.0)) {
        return Err(root.refuse("utility", "weights that are all 0", "one that is not"));
    }
    Ok(terms)
}
