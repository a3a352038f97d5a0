//! What a fleet that moves through regions keeps, loses and gains: the score on every phase of its journey after every phase.
//!
//! `R[t][j]` is the held-out skill of the fleet's adapter after phase t on the roads of phase j, their plain mean; of vehicles that
//! learn alone it is the mean over vehicles. What was not tuned for (b) is the shipped model; a model of one phase alone (ref)
//! is one adapter tuned from the shipped model in that phase's windows on everybody's roads in it, in as many steps as one
//! vehicle takes. The figures are those of shoal-soup's `metrics`.

use shoal_soup::metrics::Scores;

use crate::config::SimConfig;
use crate::lab::{Lab, LabError, On, Tune, Who, skills};
use crate::method::night_seed;
use crate::record::{Changes, Record, Row};
use crate::statistics::{is_of_nobody, mean};

/// What a row at a phase's end says besides: the skill of a model of that phase alone.
pub(crate) const ALONE: &str = "phase_alone";

/// Figures of a journey.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lifelong {
    /// AA: mean skill over all phases after the last.
    pub average_accuracy: f64,
    /// AIA: the mean of that over phases, each over the phases so far.
    pub average_incremental_accuracy: f64,
    /// FGT: the mean drop from the best so far; above 0 is bad.
    pub forgetting: Option<f64>,
    /// BWT: the mean change since a phase's own end.
    pub backward_transfer: Option<f64>,
    /// FWD, as zero-shot: what a phase's roads gained before they were driven.
    pub forward_zero_shot: Option<f64>,
    /// FWD, as plasticity: what a phase's roads have at its end, less a model of that phase alone.
    pub forward_plasticity: Option<f64>,
}

/// The figures of a run; `None` without a journey, or before its end, and of a merge that is made once: before, nobody has it, and they
/// would be differences between it and vehicles that are each alone.
#[must_use]
pub fn lifelong(record: &Record) -> Option<Lifelong> {
    let phases = &record.head.changes.phases;
    let row = |window: u32| record.rows.iter().find(|row| row.window == window);
    if phases.iter().filter_map(|phase| row(phase.ends)).any(is_of_nobody) {
        return None;
    }
    let of = |row: &Row| -> Option<Vec<f64>> {
        let skill = |road: &String| row.skill.get(road).copied();
        phases.iter().map(|phase| mean(phase.roads.iter().filter_map(skill))).collect()
    };
    let stages = phases.iter().map(|phase| of(row(phase.ends)?)).collect::<Option<Vec<_>>>()?;
    let scores = Scores::new(stages).ok()?;
    let base = of(row(0)?)?;
    let alone = phases.iter().map(|phase| row(phase.ends)?.also.get(ALONE).copied());
    let alone: Option<Vec<f64>> = alone.collect();
    Some(Lifelong {
        average_accuracy: scores.average_accuracy(),
        average_incremental_accuracy: scores.average_incremental_accuracy(),
        forgetting: scores.forgetting(),
        backward_transfer: scores.backward_transfer(),
        forward_zero_shot: scores.forward_zero_shot(&base).ok().flatten(),
        forward_plasticity: alone
            .and_then(|alone| scores.forward_plasticity(&alone).ok().flatten()),
    })
}

/// The skill of a model of this phase alone on its roads, the same for every method.
pub(crate) fn alone(
    lab: &mut Lab<'_>,
    config: &SimConfig,
    changes: &Changes,
    phase: usize,
) -> Result<Option<f64>, LabError> {
    let first = config.roads.journey.get(phase).map_or(1, |phase| phase.from_window);
    let Some(phase) = changes.phases.get(phase) else { return Ok(None) };
    let mut at = lab.base().start(config.seed);
    for window in first..=phase.ends {
        let seed = night_seed(config.seed, u32::MAX, window);
        let night =
            Tune { who: Who::All, window, from: at.clone(), seed, pull: None, teacher: None };
        at = lab.tune(&[night])?.pop().unwrap_or(at);
    }
    let found = lab.measure(&[(at, On::HeldOut)])?;
    let skills = found.first().map(skills).unwrap_or_default();
    Ok(mean(phase.roads.iter().filter_map(|road| skills.get(road).copied())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Head, Phase, RoadKind, SCHEMA};
    use crate::statistics::NOT_YET;

    #[test]
    fn figures_are_those_of_the_scores_after_each_phase() {
        let road = |(road, by): (&str, u32)| (road.to_owned(), RoadKind::Driven(by));
        let phase = |ends, roads: &[&str]| Phase {
            ends,
            roads: roads.iter().map(|road| (*road).to_owned()).collect(),
        };
        let phases = vec![phase(1, &["a", "b"]), phase(2, &["c"])];
        let head = Head {
            schema: SCHEMA,
            method: "m".into(),
            seed: 0,
            vehicles: 2,
            windows: 2,
            engine: "none".into(),
            config: "00".into(),
            model: None,
            values: 1,
            roads: [("a", 0), ("b", 1), ("c", 0)].map(road).into(),
            changes: Changes { weights: Vec::new(), phases },
        };
        let row = |window, [a, b, c]: [f64; 3]| Row {
            window,
            skill: [("a".into(), a), ("b".into(), b), ("c".into(), c)].into(),
            also: [(ALONE.to_owned(), 0.6)].into(),
            ..Row::default()
        };
        let rows = vec![row(0, [0.1, 0.3, 0.2]), row(1, [0.4, 0.6, 0.3]), row(2, [0.3, 0.5, 0.7])];
        let mut record = Record { head, rows };
        let found = lifelong(&record).unwrap();
        let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "{got} {want}");
        near(found.average_accuracy, (0.4 + 0.7) / 2.0);
        near(found.average_incremental_accuracy, (0.5 + 0.55) / 2.0);
        near(found.forgetting.unwrap(), 0.1);
        near(found.backward_transfer.unwrap(), -0.1);
        near(found.forward_zero_shot.unwrap(), 0.1);
        near(found.forward_plasticity.unwrap(), 0.1);
        let mut merge = record.clone();
        merge.rows[1].also.insert(NOT_YET.to_owned(), 1.0);
        assert_eq!(lifelong(&merge), None, "a merge that is made once has one phase's figures");
        record.rows.pop();
        assert_eq!(lifelong(&record), None);
    }
}
