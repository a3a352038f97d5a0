//! Figures that only some comparisons have: what a moving utility cost, and what was kept of a journey.

use std::collections::BTreeMap;

use shoal_shadow::stats::{Interval, student_t};

use super::comparison::Method;
use super::escape::markdown as escaped;
use super::{figures, table};
use crate::lifelong::lifelong;
use crate::moving::{cost, highest};
use crate::record::Record;
use crate::statistics::mean;

/// A table of such figures: one line a method, one column a figure.
#[derive(Debug)]
pub(super) struct Special {
    pub(super) title: &'static str,
    /// What a reader must know of the figures.
    pub(super) note: &'static str,
    pub(super) columns: &'static [Column],
    pub(super) lines: Vec<Vec<Cell>>,
}

/// A figure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Its kind in columns of figures.
    kind: &'static str,
    digits: usize,
}

/// A figure of a method over its seeds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell {
    pub(super) mean: Option<f64>,
    /// Less the reference's, paired by seed, with Student's t interval over seeds.
    pub(super) difference: Option<(f64, Option<Interval>)>,
}

const MOVING: [Column; 2] = [
    Column { name: "regret", kind: "regret", digits: 4 },
    Column { name: "windows to recover", kind: "windows_to_recover", digits: 2 },
];
const MOVING_NOTE: &str = "Regret is the utility missed, summed over the windows from the first change on: the highest of any \
    method with the same seed in that window less this one's, each weighed as in that window. Windows to recover are counted \
    from where the weights begin to move until, once they stand, utility is within 0.002 of the most that the method itself \
    comes to before the next change; the mean over changes. Less is better. In brackets: less the reference, paired by seed, \
    with its 95 % interval over seeds (Student's t)";

const LIFELONG: [Column; 6] = [
    Column { name: "AA", kind: "lifelong.AA", digits: 4 },
    Column { name: "AIA", kind: "lifelong.AIA", digits: 4 },
    Column { name: "FGT", kind: "lifelong.FGT", digits: 4 },
    Column { name: "BWT", kind: "lifelong.BWT", digits: 4 },
    Column { name: "FWD, zero-shot", kind: "lifelong.FWD_zero_shot", digits: 4 },
    Column { name: "FWD, plasticity", kind: "lifelong.FWD_plasticity", digits: 4 },
];
const LIFELONG_NOTE: &str = "Held-out skill of the fleet's adapter on the roads of every phase, after every phase. AA: mean over all \
    phases after the last; AIA: the mean of that after each phase, over the phases so far; FGT: mean drop from the best so far \
    (less is better); BWT: mean change since a phase's own end; FWD: of the later phases, before they are driven, less the \
    shipped model (zero-shot), and at their own end, less one adapter tuned from the shipped model on that phase alone \
    (plasticity). In brackets: less the reference, paired by seed, with its 95 % interval over seeds (Student's t)";

const CLOSED: [Column; 6] = [
    Column { name: "interventions a km", kind: "closed.interventions_per_km", digits: 2 },
    Column { name: "less x_p's", kind: "closed.less_x_p", digits: 2 },
    Column { name: "of the best vehicle alone", kind: "closed.best_alone", digits: 2 },
    Column { name: "TTC < 4 s", kind: "closed.conflict", digits: 3 },
    Column { name: "comfort", kind: "closed.comfort", digits: 3 },
    Column { name: "windows with a reckless best", kind: "closed.reckless_best", digits: 2 },
];
const CLOSED_NOTE: &str = "What the fleet has in the end (without an exchange the mean over vehicles), driven in the closed loop on roads that \
    nobody drove and that are in no pack: interventions a kilometre, share of the time with less than 4 s to a collision, the \
    term comfort; x_p is the policy before anything was learnt. Windows in which best was the particle of a vehicle with a \
    reckless driver, as a share. In brackets: less the reference, paired by seed, with its 95 % interval over seeds (Student's t)";

const POOL: [Column; 4] = [
    Column { name: "first network alone", kind: "pool.first_alone", digits: 4 },
    Column { name: "second network alone", kind: "pool.second_alone", digits: 4 },
    Column { name: "uniform pool", kind: "pool.uniform", digits: 4 },
    Column { name: "with what was learnt", kind: "pool.learnt", digits: 4 },
];
const POOL_NOTE: &str = "Utility on the whole pack of the first two networks, each by itself and without a matrix; of all of them with a \
    matrix that has learnt nothing; and with the fleet's matrix in the end (without an exchange the mean over vehicles). In \
    brackets: less the reference, paired by seed, with its 95 % interval over seeds (Student's t)";

const ROLLOUT: [Column; 4] = [
    Column { name: "driven roads", kind: "rollout.driven", digits: 4 },
    Column { name: "less x_p's", kind: "rollout.driven_less_x_p", digits: 4 },
    Column { name: "other roads", kind: "rollout.others", digits: 4 },
    Column { name: "less x_p's", kind: "rollout.others_less_x_p", digits: 4 },
];
const ROLLOUT_NOTE: &str = "Held-out skill of the fifth frame of roll-outs against the last true frame shown again, of what the fleet has in the \
    end (without an exchange the mean over vehicles); x_p is the shipped model. In brackets: less the reference, paired by \
    seed, with its 95 % interval over seeds (Student's t)";

/// Figures of one run, in the order of their columns.
type Of<'f> = Box<dyn Fn(&Record) -> Option<Vec<Option<f64>>> + 'f>;

/// The tables of these methods; those of which there is nothing are left out.
pub(super) fn tables(methods: &[Method<'_>], reference: usize) -> Vec<Special> {
    let highest = highest(methods.iter().flat_map(|method| method.runs.iter().copied()));
    let moving: Of<'_> = Box::new(|record| of_moving(record, &highest));
    let kinds: [(&str, &str, &[Column], Of<'_>); 5] = [
        ("Moving utility", MOVING_NOTE, &MOVING, moving),
        ("Journey", LIFELONG_NOTE, &LIFELONG, Box::new(of_lifelong)),
        ("Closed loop", CLOSED_NOTE, &CLOSED, Box::new(of_closed)),
        ("Several networks", POOL_NOTE, &POOL, Box::new(of_pool)),
        ("Roll-outs", ROLLOUT_NOTE, &ROLLOUT, Box::new(of_rollouts)),
    ];
    let table = |(title, note, columns, of): (_, _, &'static [Column], Of<'_>)| {
        let by_method: Vec<Vec<BTreeMap<u64, f64>>> =
            methods.iter().map(|method| by_seed(method, columns.len(), &of)).collect();
        if by_method.iter().flatten().all(BTreeMap::is_empty) {
            return None;
        }
        let beside = by_method.get(reference)?;
        let lines = by_method.iter().enumerate().map(|(at, of)| {
            let cells = of.iter().zip(beside);
            cells.map(|(own, beside)| cell(own, beside, at == reference)).collect()
        });
        Some(Special { title, note, columns, lines: lines.collect() })
    };
    kinds.into_iter().filter_map(table).collect()
}

/// Every such figure of every run, in the order of the runs: kinds and values. What takes others to compare with is only said
/// of several.
pub(super) fn by_record(records: &[Record]) -> Vec<Vec<(&'static str, f64)>> {
    let whole = |record: &&Record| record.rows.len() > record.head.windows as usize;
    let highest = highest(records.iter().filter(whole));
    let of = |record: &Record| {
        let several = records.len() > 1 && whole(&record);
        let moving = several.then(|| of_moving(record, &highest)).flatten().unwrap_or_default();
        let lifelong = of_lifelong(record).unwrap_or_default();
        let named = MOVING.iter().zip(moving).chain(LIFELONG.iter().zip(lifelong));
        named.filter_map(|(column, value)| Some((column.kind, value?))).collect()
    };
    records.iter().map(of).collect()
}

fn of_moving(record: &Record, highest: &BTreeMap<(u64, u32), f64>) -> Option<Vec<Option<f64>>> {
    let cost = cost(record, highest)?;
    Some(vec![Some(cost.regret), cost.recovery])
}

fn of_lifelong(record: &Record) -> Option<Vec<Option<f64>>> {
    let found = lifelong(record)?;
    Some(vec![
        Some(found.average_accuracy),
        Some(found.average_incremental_accuracy),
        found.forgetting,
        found.backward_transfer,
        found.forward_zero_shot,
        found.forward_plasticity,
    ])
}

fn of_closed(record: &Record) -> Option<Vec<Option<f64>>> {
    const INTERVENTIONS: &str = "closed.interventions_per_km";
    let (first, last) = (record.rows.first()?, record.rows.last()?);
    let of = |name: &str| last.also.get(name).copied();
    let own = of(INTERVENTIONS)?;
    let each = last.also.iter().filter(|(name, _value)| {
        name.strip_prefix(INTERVENTIONS).is_some_and(|rest| rest.starts_with('.'))
    });
    let learnt = record.rows.iter().filter(|row| row.window > 0);
    let reckless: Vec<f64> =
        learnt.filter_map(|row| row.also.get("best_is_reckless").copied()).collect();
    Some(vec![
        Some(own),
        first.also.get(INTERVENTIONS).map(|x_p| own - x_p),
        each.map(|(_name, value)| *value).reduce(f64::min),
        of("closed.conflict"),
        of("closed.comfort"),
        mean(reckless.into_iter()),
    ])
}

fn of_pool(record: &Record) -> Option<Vec<Option<f64>>> {
    let (first, last) = (record.rows.first()?, record.rows.last()?);
    let named = first.also.iter().filter_map(|(name, skill)| {
        let (_name, number) = name.strip_prefix("policy.")?.rsplit_once('.')?;
        Some((number.parse::<usize>().ok()?, *skill))
    });
    let alone: BTreeMap<usize, f64> = named.collect();
    let of = |number: usize| alone.get(&number).copied();
    let values = vec![of(0), of(1), Some(first.utility), Some(last.utility)];
    (!alone.is_empty()).then_some(values)
}

fn of_rollouts(record: &Record) -> Option<Vec<Option<f64>>> {
    let (first, last) = (record.rows.first()?, record.rows.last()?);
    let both = |name: &str| {
        let at_end = last.also.get(name).copied();
        let less = at_end.and_then(|at_end| Some(at_end - first.also.get(name)?));
        [at_end, less]
    };
    let values = ["rollout.driven", "rollout.others"].map(both).concat();
    (last.window > 0 && values.iter().any(Option::is_some)).then_some(values)
}

/// By figure and seed.
fn by_seed(method: &Method<'_>, columns: usize, of: &Of<'_>) -> Vec<BTreeMap<u64, f64>> {
    let mut found = vec![BTreeMap::new(); columns];
    for run in &method.runs {
        let values = of(run).unwrap_or_default();
        for (found, value) in found.iter_mut().zip(values) {
            found.extend(value.map(|value| (run.head.seed, value)));
        }
    }
    found
}

fn cell(own: &BTreeMap<u64, f64>, beside: &BTreeMap<u64, f64>, reference: bool) -> Cell {
    let both = own.iter().filter_map(|(seed, value)| Some(value - beside.get(seed)?));
    let differences: Vec<f64> = both.filter(|_| !reference).collect();
    let difference = mean(differences.iter().copied());
    Cell {
        mean: mean(own.values().copied()),
        difference: difference.map(|mean| (mean, student_t(&differences))),
    }
}

impl Cell {
    /// The figure as text: `.5523 (+.0181, +.0084 … +.0277)`.
    pub(super) fn text(&self, column: &Column) -> String {
        let mean = figures::or_dash(self.mean, |mean| figures::skill(mean, column.digits));
        let Some((difference, interval)) = self.difference else { return mean };
        let difference = figures::signed(difference, column.digits);
        match interval {
            Some(interval) => format!("{mean} ({difference}, {})", table::ends(interval)),
            None => format!("{mean} ({difference})"),
        }
    }
}

/// The table as Markdown.
pub(super) fn markdown(special: &Special, methods: &[Method<'_>]) -> String {
    let heads: Vec<&str> = special.columns.iter().map(|column| column.name).collect();
    let mut out = format!("\n{}:\n\n| method | {} |\n", special.title, heads.join(" | "));
    out.push_str(&format!("|---|{}\n", "---|".repeat(heads.len())));
    for (method, cells) in methods.iter().zip(&special.lines) {
        let cells: Vec<String> =
            cells.iter().zip(special.columns).map(|(cell, column)| cell.text(column)).collect();
        out.push_str(&format!("| {} | {} |\n", escaped(method.name), cells.join(" | ")));
    }
    out.push_str(&format!("\n{}.\n", special.note));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_stands_beside_its_paired_difference() {
        let own = BTreeMap::from([(1, 0.5), (2, 0.7), (3, 0.9)]);
        let beside = BTreeMap::from([(1, 0.4), (2, 0.5), (4, 0.0)]);
        let found = cell(&own, &beside, false);
        let (difference, interval) = found.difference.unwrap();
        assert!((found.mean.unwrap() - 0.7).abs() < 1e-12 && (difference - 0.15).abs() < 1e-12);
        assert!(interval.is_some_and(|of| of.low < 0.1 && of.high > 0.2));
        assert!(found.text(&MOVING[0]).starts_with(".7000 (+.1500, "));
        let reference = cell(&own, &own, true);
        assert_eq!(reference.text(&MOVING[1]), ".70");
        assert_eq!(Cell::default().text(&MOVING[1]), "–");
    }
}
