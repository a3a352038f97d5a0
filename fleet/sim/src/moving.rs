//! What a moving utility costs a method: regret after the first change, and windows to recover from every change.
//!
//! Let `u[t]` be the utility of the fleet's adapter after window t, weighed as in t, and a change a run of windows one after
//! the other in which the weights are others than in the window before: from a to b, until the window e before the next one (or
//! the last window).
//!
//! ```text
//! regret  = Σ_{t ≥ a₁} (the highest u[t] of any method with this seed − u[t])          a₁: where the first change begins
//! recover = the fewest t − a with t ≥ b and u[t] ≥ max_{b ≤ s ≤ e} u[s] − 0.002        the mean over changes
//! ```
//!
//! Regret says how much of what could be had was missed, and depends on which methods are compared; recovery says how long a
//! method needs to come to the most that it comes to itself before the next change. Both are over the windows that were looked
//! at: `measure_every = 1` looks at all.

use std::collections::BTreeMap;

use crate::record::{Changes, Record};
use crate::statistics::is_of_nobody;

/// Nearer than this a utility is back.
pub const NEAR: f64 = 0.002;

/// What a moving utility cost one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Utility missed, summed over windows.
    pub regret: f64,
    /// Windows until it had recovered, the mean over changes.
    pub recovery: Option<f64>,
}

/// Utility by window; windows that were not looked at, and those before a merge that is made once, are not in it.
fn utilities(record: &Record) -> impl Iterator<Item = (u32, f64)> {
    let rows = record.rows.iter().filter(|row| !row.skill.is_empty() && !is_of_nobody(row));
    rows.map(|row| (row.window, row.utility))
}

/// The highest utility of any run of each seed, by seed and window.
#[must_use]
pub fn highest<'a>(records: impl Iterator<Item = &'a Record>) -> BTreeMap<(u64, u32), f64> {
    let mut highest: BTreeMap<(u64, u32), f64> = BTreeMap::new();
    for record in records {
        for (window, utility) in utilities(record) {
            let most = highest.entry((record.head.seed, window)).or_insert(utility);
            *most = most.max(utility);
        }
    }
    highest
}

/// What a moving utility cost this run, beside those of `highest`; `None` where no weight moves, and of merges that are made once: before
/// the last window nobody has them.
#[must_use]
pub fn cost(record: &Record, highest: &BTreeMap<(u64, u32), f64>) -> Option<Cost> {
    let changes = changes(&record.head.changes, record.head.windows);
    let (first, ..) = *changes.first()?;
    if record.rows.iter().any(is_of_nobody) {
        return None;
    }
    let after = utilities(record).filter(|(window, _)| *window >= first);
    let missed = after
        .filter_map(|(window, utility)| Some(highest.get(&(record.head.seed, window))? - utility));
    let recovery: Vec<f64> =
        changes.iter().filter_map(|change| recovery(record, *change)).collect();
    Some(Cost { regret: missed.sum(), recovery: crate::statistics::mean(recovery.into_iter()) })
}

/// Of every change: where it begins, where the weights stand again, and the last window before the next one.
fn changes(changes: &Changes, windows: u32) -> Vec<(u32, u32, u32)> {
    let mut found: Vec<(u32, u32, u32)> = Vec::new();
    for window in &changes.weights {
        match found.last_mut() {
            Some((_begins, stands, _ends)) if *stands + 1 == *window => *stands = *window,
            Some((_begins, _stands, ends)) => {
                *ends = window - 1;
                found.push((*window, *window, windows));
            }
            None => found.push((*window, *window, windows)),
        }
    }
    found
}

fn recovery(record: &Record, (begins, stands, ends): (u32, u32, u32)) -> Option<f64> {
    let after: Vec<(u32, f64)> =
        utilities(record).filter(|(window, _)| (stands..=ends).contains(window)).collect();
    let most = after.iter().map(|(_window, utility)| *utility).reduce(f64::max)?;
    let back = after.iter().find(|(_window, utility)| *utility >= most - NEAR)?;
    Some(f64::from(back.0 - begins))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Head, Row, SCHEMA};
    use crate::statistics::{NOT_YET, WITHOUT_MERGE};

    fn record(utilities: &[f64]) -> Record {
        let head = Head {
            schema: SCHEMA,
            method: "m".into(),
            seed: 4,
            vehicles: 1,
            windows: utilities.len() as u32 - 1,
            engine: "none".into(),
            config: "00".into(),
            model: None,
            values: 1,
            roads: BTreeMap::new(),
            changes: Changes { weights: vec![2, 3, 7], phases: Vec::new() },
        };
        let row = |(window, utility): (u32, &f64)| Row {
            window,
            utility: *utility,
            skill: [("a".to_owned(), 0.0)].into(),
            ..Row::default()
        };
        Record { head, rows: (0..).zip(utilities).map(row).collect() }
    }

    #[test]
    fn changes_are_runs_of_windows() {
        let of = |weights: &[u32]| {
            changes(&Changes { weights: weights.to_vec(), phases: Vec::new() }, 9)
        };
        assert_eq!(of(&[2, 3, 7]), [(2, 3, 6), (7, 7, 9)]);
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn regret_is_what_the_best_had_more_and_recovery_ends_at_the_own_peak() {
        let slow = record(&[0.5, 0.6, 0.2, 0.3, 0.399, 0.4, 0.4, 0.1, 0.2]);
        let quick = record(&[0.5, 0.5, 0.3, 0.4, 0.4, 0.4, 0.4, 0.3, 0.3]);
        let highest = highest([&slow, &quick].into_iter());
        let (slow, quick) = (cost(&slow, &highest).unwrap(), cost(&quick, &highest).unwrap());
        assert!((slow.regret - (0.1 + 0.1 + 0.001 + 0.2 + 0.1)).abs() < 1e-12, "{slow:?}");
        assert_eq!(slow.recovery, Some((2.0 + 1.0) / 2.0));
        assert_eq!((quick.regret, quick.recovery), (0.0, Some((1.0 + 0.0) / 2.0)));
        for mark in [NOT_YET, WITHOUT_MERGE] {
            let mut merge = record(&[0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.3]);
            for row in &mut merge.rows[1..8] {
                row.also.insert(mark.to_owned(), 0.1);
            }
            assert_eq!(cost(&merge, &highest), None, "{mark}");
            assert_eq!(super::highest([&merge].into_iter()).len(), 2, "{mark}: nobody had it");
        }
        let mut still = record(&[0.5; 9]);
        still.head.changes = Changes::default();
        assert_eq!(cost(&still, &highest), None);
    }
}
