//! Records of several methods as one comparison: what may be compared, and every figure that is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use super::ReportError;
use super::special::{self, Special};
use crate::record::{Head, Record, RoadKind};
use crate::statistics::{
    Difference, Figure, Of, When, area, at_end, front, mean, paid_for, paired, spent,
};

/// A comparison of methods, best first.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    /// Best first by final skill on driven roads; those without any last.
    pub(super) methods: Vec<Method<'a>>,
    /// Place of the reference in `methods`.
    pub(super) reference: usize,
    /// A head that stands for all in what all share.
    pub(super) head: &'a Head,
    /// All engines.
    pub(super) engines: BTreeSet<&'a str>,
    /// All roads of all seeds.
    pub(super) roads: BTreeMap<&'a str, RoadKind>,
    /// Final figures are of so many last windows.
    pub(super) last: u32,
    /// Of these so many were looked at, in the run that was looked at most: final figures are the mean of them.
    pub(super) looked: u32,
    /// Skill on driven roads of the shipped model.
    pub(super) shipped: Option<f64>,
    /// By road.
    pub(super) shipped_by_road: BTreeMap<&'a str, f64>,
    /// What a reader must know: runs left out, seeds that are missing.
    pub(super) notes: Vec<String>,
    /// Figures that only some comparisons have.
    pub(super) special: Vec<Special>,
}

/// One method, over its seeds: plain means.
#[derive(Debug)]
pub(super) struct Method<'a> {
    pub(super) name: &'a str,
    /// By seed.
    pub(super) runs: Vec<&'a Record>,
    /// Final skill on driven roads.
    pub(super) driven: Option<f64>,
    /// To the reference; `None` for itself.
    pub(super) difference: Option<Difference>,
    pub(super) unseen: Option<f64>,
    pub(super) own: Option<f64>,
    /// Bytes that a vehicle sent in a window.
    pub(super) up: f64,
    /// Bytes that a vehicle received in a window.
    pub(super) down: f64,
    /// Bytes that a vehicle sent and received in all windows.
    pub(super) total: f64,
    /// Of the whole fleet in all windows.
    pub(super) evaluations: f64,
    /// Of the whole fleet in all windows.
    pub(super) steps: f64,
    /// Mean skill over bytes, up to the bytes of the method that spent most.
    pub(super) area: Option<f64>,
    /// No method that spent no more has more final skill.
    pub(super) front: bool,
    /// How it stood after every window, from window 0 on.
    pub(super) curve: Vec<Stood>,
    /// Final skill by road.
    pub(super) by_road: BTreeMap<&'a str, f64>,
}

/// How a method stood after a window: plain means over its runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stood {
    pub(super) window: f64,
    /// Bytes spent until then.
    pub(super) bytes: f64,
    /// Skill on driven roads.
    pub(super) skill: f64,
    /// The same of what it had for these bytes.
    pub(super) paid_for: f64,
}

/// Final figures of so many windows are the mean of a tenth of them, as far as they were looked at: one window is noisier.
pub(super) fn last_of(windows: u32) -> NonZeroU32 {
    NonZeroU32::new(windows.div_ceil(10)).unwrap_or(NonZeroU32::MIN)
}

pub(super) fn compare<'a>(
    records: &'a [Record],
    reference: &str,
) -> Result<Comparison<'a>, ReportError> {
    let head = comparable(records)?;
    let last = last_of(head.windows);
    let mut notes = Vec::new();
    let mut by_method: BTreeMap<&str, BTreeMap<u64, &Record>> = BTreeMap::new();
    for record in records {
        let Head { method, seed, windows, .. } = &record.head;
        let rows = record.rows.len();
        if rows <= *windows as usize {
            let gone = rows.saturating_sub(1);
            notes.push(format!(
                "{method}, seed {seed}: stopped after {gone} of {windows} windows; left out"
            ));
            continue;
        }
        by_method.entry(method).or_default().insert(*seed, record);
    }
    let runs = |name: &str| by_method.get(name).map(|runs| runs.values().copied().collect());
    let beside: Vec<&Record> = runs(reference).ok_or_else(|| {
        let have = by_method.keys().copied().collect::<Vec<_>>().join(", ");
        ReportError::NoReference { reference: reference.to_owned(), have }
    })?;
    let seeds: BTreeSet<u64> = beside.iter().map(|record| record.head.seed).collect();
    let mut methods: Vec<Method<'_>> = Vec::new();
    for (name, runs) in &by_method {
        let own: BTreeSet<u64> = runs.keys().copied().collect();
        if own != seeds {
            let both = own.intersection(&seeds).count();
            notes.push(format!(
                "{name} has {} seeds, {both} of the {} of {reference}: only those are paired, its own figures are over all \
                 that it has",
                own.len(),
                seeds.len()
            ));
        }
        let runs: Vec<&Record> = runs.values().copied().collect();
        let beside = (*name != reference).then_some(&*beside);
        methods.push(method(name, runs, beside, last));
    }
    finish(&mut methods);
    notes.extend(tokens(&methods, last));
    let place = methods.iter().position(|method| method.name == reference).unwrap_or(0);
    let shipped = Figure { of: Of::Driven, when: When::At(0) };
    Ok(Comparison {
        shipped: mean(beside.iter().filter_map(|record| shipped.mean(record))),
        shipped_by_road: mean_by_road(beside.iter().map(|record| all_at_start(record))),
        reference: place,
        head,
        engines: records.iter().map(|record| &*record.head.engine).collect(),
        roads: roads(records),
        last: last.get(),
        looked: methods.iter().map(|method| looked(method, last)).max().unwrap_or(1),
        notes,
        special: special::tables(&methods, place),
        methods,
    })
}

/// How many of so many last windows were looked at, in the run of a method that was looked at most.
fn looked(method: &Method<'_>, last: NonZeroU32) -> u32 {
    let of = |record: &&Record| {
        let rows = at_end(&record.rows, last).iter();
        rows.filter(|row| !row.skill.is_empty()).count() as u32
    };
    method.runs.iter().map(of).max().unwrap_or(1)
}

/// One head for all, if the runs may stand beside each other.
fn comparable(records: &[Record]) -> Result<&Head, ReportError> {
    let first = &records.first().ok_or(ReportError::NoRecord)?.head;
    let mut of_seed: BTreeMap<u64, &Head> = BTreeMap::new();
    let mut seen: BTreeSet<(&str, u64)> = BTreeSet::new();
    for Record { head, .. } in records {
        let same_seed = of_seed.entry(head.seed).or_insert(head);
        let differs = [
            ("windows", head.windows != first.windows),
            ("vehicles", head.vehicles != first.vehicles),
            ("values", head.values != first.values),
            ("roads", head.roads != same_seed.roads),
        ];
        if let Some((what, _)) = differs.into_iter().find(|(_what, differs)| *differs) {
            let other = if what == "roads" { same_seed } else { first };
            let name = |head: &Head| format!("{} (seed {})", head.method, head.seed);
            return Err(ReportError::NotComparable { what, one: name(head), other: name(other) });
        }
        if !seen.insert((&head.method, head.seed)) {
            return Err(ReportError::Twice { method: head.method.clone(), seed: head.seed });
        }
    }
    Ok(first)
}

fn roads(records: &[Record]) -> BTreeMap<&str, RoadKind> {
    let all = records.iter().flat_map(|record| &record.head.roads);
    all.map(|(road, kind)| (&**road, *kind)).collect()
}

/// Every road's skill with the shipped model.
fn all_at_start(record: &Record) -> BTreeMap<&str, f64> {
    let row = record.rows.first();
    row.into_iter().flat_map(|row| &row.skill).map(|(road, skill)| (&**road, *skill)).collect()
}

/// Every road's skill, the mean of the last windows that have it.
pub(super) fn all_at_end(record: &Record, last: NonZeroU32) -> BTreeMap<&str, f64> {
    let rows = at_end(&record.rows, last);
    mean_by_road(
        rows.iter().map(|row| row.skill.iter().map(|(road, skill)| (&**road, *skill)).collect()),
    )
}

fn mean_by_road<'a>(all: impl Iterator<Item = BTreeMap<&'a str, f64>>) -> BTreeMap<&'a str, f64> {
    let mut of_road: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (road, skill) in all.flatten() {
        of_road.entry(road).or_default().push(skill);
    }
    let means = of_road.into_iter().map(|(road, skills)| (road, mean(skills.into_iter())));
    means.filter_map(|(road, mean)| Some((road, mean?))).collect()
}

fn method<'a>(
    name: &'a str,
    runs: Vec<&'a Record>,
    reference: Option<&[&Record]>,
    last: NonZeroU32,
) -> Method<'a> {
    let figure = |of| Figure { of, when: When::Last(last) };
    let over = |of| mean(runs.iter().filter_map(|record| figure(of).mean(record)));
    let per_run = |of: &dyn Fn(&Record) -> f64| mean(runs.iter().map(|run| of(run))).unwrap_or(0.0);
    let windows = |record: &Record| f64::from(record.head.windows.max(1));
    let sum = |record: &Record, of: fn(&crate::record::Row) -> f64| {
        record.rows.iter().map(of).sum::<f64>()
    };
    Method {
        name,
        driven: over(Of::Driven),
        difference: reference.and_then(|beside| paired(&runs, beside, figure(Of::Driven))),
        unseen: over(Of::Unseen),
        own: over(Of::Own),
        up: per_run(&|record| sum(record, |row| row.bytes.up) / windows(record)),
        down: per_run(&|record| sum(record, |row| row.bytes.down) / windows(record)),
        total: per_run(&|record| sum(record, |row| row.bytes.up + row.bytes.down)),
        evaluations: per_run(&|record| sum(record, |row| row.evaluations as f64)),
        steps: per_run(&|record| sum(record, |row| row.steps as f64)),
        area: None,
        front: false,
        curve: curve(&runs),
        by_road: mean_by_road(runs.iter().map(|record| all_at_end(record, last))),
        runs,
    }
}

/// Of a model of tokens: nats (of codes bits) a token on driven logs, which skill is counted from, best method first.
fn tokens(methods: &[Method<'_>], last: NonZeroU32) -> Option<String> {
    let told = |record: &Record, name: &str| -> Vec<f64> {
        record.rows.iter().filter_map(|row| row.also.get(name).copied()).collect()
    };
    let runs = || methods.iter().flat_map(|method| &method.runs);
    let unit = ["nats", "bits"]
        .into_iter()
        .find(|unit| runs().any(|record| !told(record, &format!("{unit}_baseline")).is_empty()))?;
    let over = |runs: &[&Record], of: &dyn Fn(&Record) -> Option<f64>| {
        mean(runs.iter().filter_map(|record| of(record)))
            .map_or_else(|| "–".to_owned(), |figure| format!("{figure:.4}"))
    };
    let over_last = |record: &Record| {
        mean(at_end(&record.rows, last).iter().filter_map(|row| row.also.get(unit).copied()))
    };
    let each: Vec<String> = methods
        .iter()
        .map(|method| format!("{} {}", method.name, over(&method.runs, &over_last)))
        .collect();
    let all: Vec<&Record> = runs().copied().collect();
    let first = |name: String| over(&all, &|record| told(record, &name).first().copied());
    Some(format!(
        "{unit} a token on driven logs: {}; the shipped model {}, the baseline that skill is counted from {}",
        each.join(", "),
        first(unit.to_owned()),
        first(format!("{unit}_baseline"))
    ))
}

/// Means over the runs by window; a window is in it if any run measures it.
fn curve(runs: &[&Record]) -> Vec<Stood> {
    let mut by_window: BTreeMap<u32, Vec<Stood>> = BTreeMap::new();
    for run in runs {
        let mut bytes = 0.0;
        for row in &run.rows {
            bytes += row.bytes.up + row.bytes.down;
            let skills = row.driven(&run.head).zip(paid_for(row, &run.head));
            let window = f64::from(row.window);
            let stood = skills.map(|(skill, paid_for)| Stood { window, bytes, skill, paid_for });
            by_window.entry(row.window).or_default().extend(stood);
        }
    }
    let points = by_window.into_iter().filter_map(|(window, runs)| {
        let over = |of: fn(&Stood) -> f64| mean(runs.iter().map(of));
        Some(Stood {
            window: f64::from(window),
            bytes: over(|stood| stood.bytes)?,
            skill: over(|stood| stood.skill)?,
            paid_for: over(|stood| stood.paid_for)?,
        })
    });
    points.collect()
}

/// What needs all methods: their order, the front, the area over one span of bytes.
fn finish(methods: &mut [Method<'_>]) {
    let key = |method: &Method<'_>| method.driven.unwrap_or(f64::NEG_INFINITY);
    methods.sort_by(|a, b| key(b).total_cmp(&key(a)).then(a.name.cmp(b.name)));
    let budget = methods.iter().map(|method| method.total).fold(0.0, f64::max);
    for method in &mut *methods {
        let areas = method.runs.iter().filter_map(|record| area(&spent(record), budget));
        method.area = mean(areas);
    }
    let with_skill = methods.iter().enumerate().filter(|(_at, method)| method.driven.is_some());
    let (places, points): (Vec<usize>, Vec<(f64, f64)>) =
        with_skill.map(|(at, method)| (at, (method.total, key(method)))).unzip();
    for at in front(&points) {
        methods[places[at]].front = true;
    }
}

#[cfg(test)]
mod tests {
    use super::super::table as words;
    use super::*;
    use crate::record::{Changes, Row, SCHEMA, UpDown};
    use crate::statistics::NOT_YET;

    fn record(method: &str, seed: u64, skill: f64, bytes: f64) -> Record {
        let roads = [("a".to_owned(), RoadKind::Driven(0)), ("u".to_owned(), RoadKind::Unseen)];
        let head = Head {
            schema: SCHEMA,
            method: method.to_owned(),
            seed,
            vehicles: 1,
            windows: 1,
            engine: "none".to_owned(),
            config: "00".to_owned(),
            model: None,
            values: 1,
            roads: roads.into(),
            changes: Changes::default(),
        };
        let row = |window: u32, skill: f64, bytes: f64| Row {
            window,
            skill: [("a".to_owned(), skill), ("u".to_owned(), 0.1)].into(),
            bytes: UpDown { up: bytes, down: bytes },
            ..Row::default()
        };
        Record { head, rows: vec![row(0, 0.2, 0.0), row(1, skill, bytes)] }
    }

    #[test]
    fn methods_stand_best_first_with_their_difference_and_the_front() {
        let records = [
            record("dear", 1, 0.5, 90.0),
            record("cheap", 1, 0.5, 10.0),
            record("alone", 1, 0.3, 0.0),
            record("best", 1, 0.6, 50.0),
        ];
        let found = compare(&records, "alone").unwrap();
        let names: Vec<&str> = found.methods.iter().map(|method| method.name).collect();
        assert_eq!(names, ["best", "cheap", "dear", "alone"]);
        let front: Vec<bool> = found.methods.iter().map(|method| method.front).collect();
        assert_eq!(front, [true, true, false, true]);
        assert_eq!((found.reference, found.shipped), (3, Some(0.2)));
        assert!(found.methods[3].difference.is_none());
        let difference = found.methods[0].difference.unwrap();
        assert!((difference.mean - 0.3).abs() < 1e-12 && difference.interval.is_none());
        assert_eq!(found.methods[0].total, 100.0);
    }

    #[test]
    fn of_a_model_of_tokens_the_comparison_says_nats() {
        let mut records = [record("good", 1, 0.5, 1.0), record("bad", 1, 0.2, 1.0)];
        assert!(compare(&records, "bad").unwrap().notes.is_empty());
        for (record, nats) in records.iter_mut().zip([1.5, 1.75]) {
            for (row, nats) in record.rows.iter_mut().zip([2.0, nats]) {
                row.also.extend([("nats".to_owned(), nats), ("nats_baseline".to_owned(), 1.875)]);
            }
        }
        let found = compare(&records, "bad").unwrap();
        assert_eq!(
            found.notes,
            [
                "nats a token on driven logs: good 1.5000, bad 1.7500; the shipped model 2.0000, the baseline that skill is \
              counted from 1.8750"
            ]
        );
    }

    /// Until its adapter is made, a fleet's nats are means over vehicles that are each alone.
    #[test]
    fn nats_of_a_fleet_that_has_something_in_common_at_its_end_alone_are_those_of_its_end() {
        let mut late = record("late", 1, 0.5, 1.0);
        late.head.windows = 20;
        let shared = late.rows.pop().unwrap();
        late.rows.extend((1..=20).map(|window| Row { window, ..shared.clone() }));
        for row in &mut late.rows {
            row.also.extend([("nats".to_owned(), 2.0), ("nats_baseline".to_owned(), 1.875)]);
            if (1..20).contains(&row.window) {
                row.also.insert(NOT_YET.to_owned(), 1.0);
            }
        }
        late.rows[20].also.insert("nats".to_owned(), 1.5);
        let records = [late];
        let notes = compare(&records, "late").unwrap().notes;
        assert!(notes[0].contains("late 1.5000"), "{notes:?}");
    }

    #[test]
    fn final_figures_are_said_to_be_of_the_windows_that_were_looked_at() {
        let said = |every: u32| {
            let mut record = record("m", 1, 0.5, 1.0);
            record.head.windows = 25;
            let looked = record.rows.pop().unwrap();
            record.rows.extend((1..=25).map(|window| Row { window, ..looked.clone() }));
            let due = |window: u32| window.is_multiple_of(every) || window == 25;
            for row in record.rows.iter_mut().filter(|row| !due(row.window)) {
                row.skill.clear();
            }
            words::last(&compare(&[record], "m").unwrap())
        };
        assert_eq!(said(1), "the mean of the last 3 of 25 windows");
        assert_eq!(said(5), "in window 25");
        let two = "the mean of 2 that were looked at of the last 3 of 25 windows";
        assert_eq!([said(12), said(24)], [two, two]);
    }

    #[test]
    fn what_cannot_be_compared_is_refused_and_a_run_that_stopped_is_left_out() {
        let good = record("a", 1, 0.5, 1.0);
        assert!(matches!(compare(&[], "a"), Err(ReportError::NoRecord)));
        let twice = [good.clone(), good.clone()];
        assert!(matches!(compare(&twice, "a"), Err(ReportError::Twice { seed: 1, .. })));
        let mut elsewhere = record("b", 1, 0.5, 1.0);
        elsewhere.head.roads.insert("more".to_owned(), RoadKind::Listed);
        let error = compare(&[good.clone(), elsewhere], "a").unwrap_err();
        assert!(matches!(error, ReportError::NotComparable { what: "roads", .. }), "{error}");
        let mut stopped = record("b", 1, 0.5, 1.0);
        stopped.rows.pop();
        let records = [good, stopped];
        let found = compare(&records, "a").unwrap();
        assert_eq!((found.methods.len(), found.notes.len()), (1, 1));
        assert!(matches!(compare(&records, "b"), Err(ReportError::NoReference { .. })));
    }
}
