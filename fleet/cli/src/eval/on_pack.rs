//! A policy on an evaluation pack.

use std::num::NonZeroUsize;
use std::path::Path;

use serde::Serialize;
use shoal_runtime::engine::Engine;
use shoal_runtime::onnx::Model;
use shoal_shadow::digits::hex;
use shoal_shadow::fit::load_policy;
use shoal_shadow::grid;
use shoal_shadow::measure::Measurement;
use shoal_shadow::measure::driving::{DrivingMetric, driving};
use shoal_shadow::measure::term_value;
use shoal_shadow::pack::{Metric, Pack};
use shoal_shadow::package::Package;
use shoal_shadow::stats::BOOTSTRAP_DRAWS;

use crate::model::bake::read_adapter;
use crate::output::{Failure, Outcome};

/// Draws as vehicles do.
const SEED: u64 = 0;

/// What `--json` prints; docs/schemas/eval-pack.schema.json describes it.
#[derive(Serialize)]
pub(super) struct Report {
    schema: u32,
    policy: String,
    metric: &'static str,
    pack: String,
    pack_sha256: String,
    grid: String,
    /// Mean of the counted drives' values; null if nothing could be compared.
    value: Option<f64>,
    /// Of the term value.
    standard_error: Option<f64>,
    /// In units of 1e-4, clamped.
    term_value: Option<i16>,
    drives: Vec<Drive>,
    /// All that the pack tells of a policy.
    terms: Vec<Term>,
}

/// A value that a utility document can ask for.
#[derive(Serialize)]
struct Term {
    metric: &'static str,
    value: Option<f64>,
    standard_error: Option<f64>,
    term_value: Option<i16>,
}

impl Term {
    fn of(metric: DrivingMetric, measured: &Measurement) -> Self {
        let interval = measured.interval(BOOTSTRAP_DRAWS, SEED);
        Term {
            metric: metric.name(),
            value: measured.skill(),
            standard_error: interval.map(|interval| interval.standard_error),
            term_value: measured.term_value(),
        }
    }

    /// What is to be said where the value is at an end of a term's: there no policy is told from another.
    fn ended(&self) -> Option<String> {
        let (metric, value) = (self.metric, self.term_value?);
        match value {
            ..=-10_000 => Some(format!(
                "{metric} is at its end, -1: a fleet whose term it is elects nobody; let the term be {metric}_gain"
            )),
            10_000.. => Some(format!("{metric} is at its end, 1: there is nothing to gain")),
            _between => None,
        }
    }
}

#[derive(Serialize)]
struct Drive {
    drive: String,
    /// Whether its driver does enough that is not always the same.
    counted: bool,
    moments: usize,
    value: Option<f64>,
}

/// Measures a policy on all parts of a pack.
pub(super) fn eval(
    package: &Package,
    engine: &dyn Engine,
    threads: NonZeroUsize,
    adapter: Option<&Path>,
    pack: &Path,
) -> Result<Report, Failure> {
    let pack = Pack::open(pack)?;
    let manifest = pack.manifest();
    match manifest.metric {
        Metric::Imitation => {}
        Metric::Skill => {
            let id = &manifest.id;
            return Err(format!("{id} is a pack of skill: --pack takes one of imitation").into());
        }
    }
    let model = Model::read(&package.model_path())?;
    let adapter = adapter.map(|adapter| read_adapter(&model, adapter)).transpose()?;
    let description = package.description();
    let mut policy = load_policy(&model, description, engine, threads, adapter.as_ref())?;
    let footages = pack.read(&pack.parts())?;
    let metrics = manifest.driving();
    let all = driving(&mut policy, &footages.acts(), &metrics)?;
    let terms = metrics.iter().zip(&all).map(|(metric, of)| Term::of(*metric, of)).collect();
    // Imitation is the first.
    let measured = all.into_iter().next().ok_or("the pack tells nothing")?;
    let interval = measured.interval(BOOTSTRAP_DRAWS, SEED);
    let drives = measured.drives.iter().map(|drive| Drive {
        drive: drive.name.clone(),
        counted: drive.counted,
        moments: drive.next.clips(),
        value: drive.next.skill(),
    });
    Ok(Report {
        schema: 1,
        policy: description.name.clone(),
        metric: manifest.metric.name(),
        pack: manifest.id.clone(),
        pack_sha256: hex(&pack.sha256()),
        grid: hex(&grid::SHA256),
        value: measured.skill(),
        standard_error: interval.map(|interval| interval.standard_error),
        term_value: measured.skill().map(term_value),
        drives: drives.collect(),
        terms,
    })
}

/// Prints a report as a table.
///
/// # Errors
/// None; the type is that of commands.
pub(super) fn table(report: &Report) -> Outcome {
    let figure = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
    println!("{:34} {:>7} {:>8}", "drive", "moments", "value");
    for drive in &report.drives {
        let not = if drive.counted { "" } else { "  (always the same: not counted)" };
        println!("{:34} {:7} {:>8}{not}", drive.drive, drive.moments, figure(drive.value));
    }
    println!(
        "{} of {} on {}: {}; as a term value {} ± {}",
        report.metric,
        report.policy,
        report.pack,
        figure(report.value),
        figure(report.term_value.map(|value| f64::from(value) * 1e-4)),
        figure(report.standard_error)
    );
    for term in report.terms.iter().skip(1) {
        println!("{}: {} ± {}", term.metric, figure(term.value), figure(term.standard_error));
    }
    report.terms.iter().filter_map(Term::ended).for_each(|said| println!("{said}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_at_its_end_is_told_with_what_to_do() {
        let of = |value| {
            let term_value = Some(value);
            let (metric, value, standard_error) = ("imitation", None, None);
            Term { metric, value, standard_error, term_value }.ended()
        };
        assert!(of(-10_000).unwrap().contains("imitation_gain"));
        assert!(of(10_000).unwrap().contains("nothing to gain"));
        assert_eq!((of(-9_999), of(0)), (None, None));
    }
}
