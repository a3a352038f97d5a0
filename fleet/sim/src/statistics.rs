//! How far apart two methods are, and how sure that is: paired differences over seeds and roads; and what a method gives
//! for its bytes.
//!
//! # The interval
//! A difference is taken cell by cell, `d[seed][road] = figure of the method − figure of the reference`, on the same seed and the
//! same road, and averaged plainly over all cells. Seeds and roads are both drawn from more of their kind, so the cells
//! share what their seed and what their road brings:
//!
//! ```text
//! d[s][r] = μ + a[s] + b[r] + e[s][r]        S seeds, R roads
//! MS_s = R·Σ_s (d̄[s] − d̄)² / (S − 1)         MS_r = S·Σ_r (d̄[r] − d̄)² / (R − 1)
//! MS_e = Σ (d[s][r] − d̄[s] − d̄[r] + d̄)² / ((S − 1)(R − 1))
//! se²  = (max(MS_s, MS_e) + max(MS_r, MS_e) − MS_e) / (S·R)
//! d̄ ± t₀.₉₇₅(ν)·se
//! ```
//!
//! with Satterthwaite's degrees of freedom ν of the mean squares in `se²`, rounded down. The two one-way intervals stand
//! beside it (shoal-shadow's): over seeds, for another seed on these roads; over roads, for another road.
//!
//! # Source
//! The two-way random model without replication: Searle, Casella, McCulloch, *Variance Components*, 1992, chapter 4;
//! Satterthwaite, *Biometrics Bulletin* 2(6), 1946.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use shoal_shadow::stats::{Interval, average, seeds_and_drives, student_t, t_quantile_975};

use crate::record::{Head, Record, RoadKind, Row};

/// Which skill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Of the fleet's adapter on the roads that vehicles drive.
    Driven,
    /// Of the fleet's adapter on the roads that nobody drives and that are in no pack.
    Unseen,
    /// Of each vehicle's personal adapter on its own road: of the last window alone, in which it is looked at.
    Own,
}

/// Of which windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The mean of the last so many (of fewer, all): one window is noisier.
    Last(NonZeroU32),
    /// One, by its number.
    At(u32),
}

/// A figure by which methods are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Which skill.
    pub of: Of,
    /// Of which windows.
    pub when: When,
}

impl Figure {
    /// The figure of one run by road: the mean over the windows that have the road. Roads without any are not in it.
    #[must_use]
    pub fn by_road<'a>(&self, record: &'a Record) -> BTreeMap<&'a str, f64> {
        let mut sums: BTreeMap<&str, (f64, u32)> = BTreeMap::new();
        for row in self.rows(&record.rows) {
            let skill = match self.of {
                Of::Driven | Of::Unseen => &row.skill,
                Of::Own => &row.own,
            };
            let counted = skill.iter().filter(|(road, _skill)| self.counts(record, road));
            for (road, skill) in counted {
                let (sum, count) = sums.entry(road).or_default();
                *sum += skill;
                *count += 1;
            }
        }
        sums.into_iter().map(|(road, (sum, count))| (road, sum / f64::from(count))).collect()
    }

    /// The figure of one run: the plain mean over roads. `None` without any.
    #[must_use]
    pub fn mean(&self, record: &Record) -> Option<f64> {
        mean(self.by_road(record).into_values())
    }

    fn rows<'a>(&self, rows: &'a [Row]) -> &'a [Row] {
        match self.when {
            When::Last(count) => {
                let count = if self.of == Of::Own { NonZeroU32::MIN } else { count };
                at_end(rows, count)
            }
            When::At(window) => {
                rows.iter().position(|row| row.window == window).map_or(&[], |at| &rows[at..=at])
            }
        }
    }

    fn counts(&self, record: &Record, road: &str) -> bool {
        match self.of {
            Of::Driven => matches!(record.head.roads.get(road), Some(RoadKind::Driven(_))),
            Of::Unseen => matches!(record.head.roads.get(road), Some(RoadKind::Unseen)),
            Of::Own => true,
        }
    }
}

/// What an interval is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Seeds and roads, crossed.
    SeedsAndRoads,
    /// Seeds alone: there is one road, or each seed has roads of its own.
    Seeds,
    /// Roads alone: there is one seed.
    Roads,
}

/// A method less the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Mean over all cells.
    pub mean: f64,
    /// 95 % interval; `None` for a single cell.
    pub interval: Option<Interval>,
    /// What `interval` is over.
    pub basis: Basis,
    /// 95 % interval over the seeds' means: another seed, these roads.
    pub seeds: Option<Interval>,
    /// 95 % interval over the roads' means: another road. `None` where each seed has roads of its own.
    pub roads: Option<Interval>,
    /// How many seeds both have.
    pub seed_count: usize,
    /// How many roads a seed has, on the average of seeds.
    pub road_count: f64,
}

/// The paired difference of a method's runs and the reference's, over the seeds and roads that both have. A road's name stands
/// for one road in every seed. `None` if they share nothing.
#[must_use]
pub fn paired(method: &[&Record], reference: &[&Record], figure: Figure) -> Option<Difference> {
    let mut cells: Vec<BTreeMap<&str, f64>> = Vec::new();
    for run in method {
        let Some(beside) = reference.iter().find(|beside| beside.head.seed == run.head.seed) else {
            continue;
        };
        let (run, beside) = (figure.by_road(run), figure.by_road(beside));
        let both =
            run.into_iter().filter_map(|(road, skill)| Some((road, skill - beside.get(road)?)));
        let seed: BTreeMap<&str, f64> = both.collect();
        if !seed.is_empty() {
            cells.push(seed);
        }
    }
    let names: BTreeSet<Vec<&str>> =
        cells.iter().map(|seed| seed.keys().copied().collect()).collect();
    let same = names.len() == 1;
    let cells: Vec<Vec<f64>> = cells.into_iter().map(|seed| seed.into_values().collect()).collect();
    let all = cells.concat();
    let mean = mean(all.iter().copied())?;
    let seen = seeds_and_drives(&cells, same);
    let (interval, basis) = if same {
        crossed(&cells)
    } else {
        // Over the seeds' means, and about the mean of all cells, which the reader is shown.
        let about = |seeds: Interval| {
            let reach = seeds.high - seeds.mean;
            Interval { mean, low: mean - reach, high: mean + reach, ..seeds }
        };
        (seen.seeds.map(about), Basis::Seeds)
    };
    let road_count = all.len() as f64 / cells.len() as f64;
    let (seeds, roads, seed_count) = (seen.seeds, seen.drives, cells.len());
    Some(Difference { mean, interval, basis, seeds, roads, seed_count, road_count })
}

/// The interval of the mean of `cells[seed][road]` as the module describes it.
fn crossed(cells: &[Vec<f64>]) -> (Option<Interval>, Basis) {
    let (seeds, roads) = (cells.len(), cells.first().map_or(0, Vec::len));
    if seeds < 2 {
        return (student_t(&cells.concat()), Basis::Roads);
    }
    if roads < 2 {
        return (student_t(&cells.concat()), Basis::Seeds);
    }
    let mean = average(&cells.concat());
    let by_seed: Vec<f64> = cells.iter().map(|seed| average(seed)).collect();
    let by_road: Vec<f64> = (0..roads)
        .map(|road| average(&cells.iter().map(|seed| seed[road]).collect::<Vec<f64>>()))
        .collect();
    let squares =
        |means: &[f64]| means.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>();
    let mut rest = 0.0;
    for (seed, of_seed) in cells.iter().zip(&by_seed) {
        for (cell, of_road) in seed.iter().zip(&by_road) {
            let left = cell - of_seed - of_road + mean;
            rest += left * left;
        }
    }
    let (s, r) = (seeds as f64, roads as f64);
    let rest = Square { mean: rest / ((s - 1.0) * (r - 1.0)), freedom: (s - 1.0) * (r - 1.0) };
    let seed = Square { mean: r * squares(&by_seed) / (s - 1.0), freedom: s - 1.0 };
    let road = Square { mean: s * squares(&by_road) / (r - 1.0), freedom: r - 1.0 };
    let (square, freedom) = combined(seed, road, rest);
    let standard_error = (square / (s * r)).sqrt();
    let reach = t_quantile_975(freedom) * standard_error;
    let interval = Interval { mean, standard_error, low: mean - reach, high: mean + reach };
    (Some(interval), Basis::SeedsAndRoads)
}

/// A mean square and its degrees of freedom.
#[derive(Clone, Copy)]
struct Square {
    mean: f64,
    freedom: f64,
}

/// `max(seed, rest) + max(road, rest) − rest`, and Satterthwaite's degrees of freedom of those that are left in it.
fn combined(seed: Square, road: Square, rest: Square) -> (f64, usize) {
    let mut left: Vec<Square> = [seed, road].into_iter().filter(|of| of.mean > rest.mean).collect();
    // One of both above it: its square stands alone, and that of the rest cancels.
    if left.len() != 1 {
        left.push(rest);
    }
    let square = seed.mean.max(rest.mean) + road.mean.max(rest.mean) - rest.mean;
    let spread: f64 = left.iter().map(|of| of.mean * of.mean / of.freedom).sum();
    let freedom = if spread > 0.0 { square * square / spread } else { rest.freedom };
    (square, (freedom.floor() as usize).max(1))
}

/// The last so many windows; of a fleet whose adapter is made in the last one, that alone: before, its rows are of vehicles that are
/// each alone.
pub(crate) fn at_end(rows: &[Row], last: NonZeroU32) -> &[Row] {
    let rows = &rows[rows.len().saturating_sub(last.get() as usize)..];
    let is_alone = |row: &Row| row.also.contains_key(NOT_YET);
    match rows.iter().rposition(is_alone) {
        Some(alone) if alone + 1 < rows.len() => &rows[alone + 1..],
        Some(_) | None => rows,
    }
}

/// What a row has (`also`) of a fleet that will have something in common and has nothing yet: its figures are means over vehicles.
pub(crate) const NOT_YET: &str = "nothing_in_common_yet";

/// What a row has beside the skill of a merge that was only looked at (`also`): held-out skill on driven roads of what vehicles tuned by
/// themselves, the mean over them.
pub(crate) const WITHOUT_MERGE: &str = "driven_without_merge";

/// Whether a row is not of what the fleet was given: of vehicles that are each alone, or of a merge that was only looked at.
pub(crate) fn is_of_nobody(row: &Row) -> bool {
    row.also.contains_key(NOT_YET) || row.also.contains_key(WITHOUT_MERGE)
}

/// Held-out skill on driven roads of what a fleet had after a window for the bytes that it had spent until then: a merge that nobody was
/// given it did not have.
pub(crate) fn paid_for(row: &Row, head: &Head) -> Option<f64> {
    row.also.get(WITHOUT_MERGE).copied().or_else(|| row.driven(head))
}

/// What a run had spent and what it could after every window: (bytes of a vehicle, sent and received, since the start; held-out
/// skill on driven roads of what it had for them: of a merge that was only looked at, of what vehicles tuned by themselves). Windows
/// that measure nothing are left out.
#[must_use]
pub fn spent(record: &Record) -> Vec<(f64, f64)> {
    let mut bytes = 0.0;
    let mut points = Vec::new();
    for row in &record.rows {
        bytes += row.bytes.up + row.bytes.down;
        points.extend(paid_for(row, &record.head).map(|skill| (bytes, skill)));
    }
    points
}

/// Mean skill over the bytes from 0 to `budget`, where a skill holds until the bytes at which the next one was measured:
/// `∫ skill d(bytes) / budget`. With `budget` 0 the last skill. `None` without a point.
///
/// `points` are as [`spent`] gives them, in order.
#[must_use]
pub fn area(points: &[(f64, f64)], budget: f64) -> Option<f64> {
    let (_bytes, last) = *points.last()?;
    if budget <= 0.0 {
        return Some(last);
    }
    let ends = points.iter().skip(1).map(|(bytes, _skill)| *bytes).chain([budget]);
    let steps = points.iter().zip(ends);
    let sum: f64 =
        steps.map(|((from, skill), to)| (to.min(budget) - from.min(budget)).max(0.0) * skill).sum();
    // Nothing is known before the first point: its skill holds from 0 on.
    let before = points.first().map_or(0.0, |(from, skill)| from.min(budget) * skill);
    Some((sum + before) / budget)
}

/// Which of the points (cost, gain) no other betters: places in order of cost, where each gains more than all that cost no
/// more. Of equal points the first.
#[must_use]
pub fn front(points: &[(f64, f64)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    let key = |at: usize| points[at];
    order.sort_by(|a, b| {
        let ((cost_a, gain_a), (cost_b, gain_b)) = (key(*a), key(*b));
        cost_a.total_cmp(&cost_b).then(gain_b.total_cmp(&gain_a))
    });
    let mut most = f64::NEG_INFINITY;
    order.retain(|at| {
        let better = key(*at).1 > most;
        most = most.max(key(*at).1);
        better
    });
    order
}

/// Plain mean; `None` without values.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| average(&values))
}

#[cfg(test)]
mod tests {
    use shoal_shadow::chance::{Draws, Purpose};

    use super::*;
    use crate::record::{Changes, SCHEMA, UpDown};

    const LAST: Figure = Figure { of: Of::Driven, when: When::Last(NonZeroU32::MIN) };

    fn record(seed: u64, skills: &[(&str, f64)]) -> Record {
        let roads = skills.iter().zip(0..);
        let roads = roads.map(|((road, _), at)| ((*road).to_owned(), RoadKind::Driven(at)));
        let head = Head {
            schema: SCHEMA,
            method: "a".to_owned(),
            seed,
            vehicles: 2,
            windows: 1,
            engine: "none".to_owned(),
            config: "00".to_owned(),
            model: None,
            values: 1,
            roads: roads.collect(),
            changes: Changes::default(),
        };
        let skill = skills.iter().map(|(road, skill)| ((*road).to_owned(), *skill)).collect();
        let bytes = UpDown { up: 100.0, down: 300.0 };
        let rows = vec![Row::default(), Row { window: 1, skill, bytes, ..Row::default() }];
        Record { head, rows }
    }

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-9, "{got}, expected {want}");
    }

    /// By hand: cells [[1, 3], [2, 8]]: means 2 and 5 by seed, 1.5 and 5.5 by road, 3.5 over all.
    #[test]
    fn the_crossed_interval_of_four_cells_is_the_one_computed_by_hand() {
        let (interval, basis) = crossed(&[vec![1.0, 3.0], vec![2.0, 8.0]]);
        let interval = interval.unwrap();
        // MS_s = 2·(2.25 + 2.25) = 9, MS_r = 2·(4 + 4) = 16, MS_e = 4·1 = 4; se² = (9 + 16 − 4)/4; ν = 21²/(81 + 256 + 16) = 1.2.
        near(interval.mean, 3.5);
        near(interval.standard_error, (21.0_f64 / 4.0).sqrt());
        near(interval.high - 3.5, t_quantile_975(1) * interval.standard_error);
        assert_eq!(basis, Basis::SeedsAndRoads);
    }

    /// The claim of a 95 % interval, on cells that were drawn as the model says.
    #[test]
    fn the_crossed_interval_covers_the_truth_about_as_often_as_it_says() {
        for (case, (of_seed, of_road)) in
            [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.4, 2.0)].into_iter().enumerate()
        {
            let mut covered = 0;
            let tries: u32 = 2000;
            for attempt in 0..tries {
                let mut draws = Draws::new(Purpose::Bootstrap, 7, case as u64, u64::from(attempt));
                // Near enough to normal: the sum of twelve.
                let mut normal = || {
                    let uniform =
                        |draws: &mut Draws| draws.index(1 << 20) as f64 / f64::from(1 << 20);
                    (0..12).map(|_| uniform(&mut draws)).sum::<f64>() - 6.0
                };
                let seeds: [f64; 4] = std::array::from_fn(|_| of_seed * normal());
                let roads: [f64; 6] = std::array::from_fn(|_| of_road * normal());
                let cells = seeds.map(|seed| roads.map(|road| seed + road + normal()).to_vec());
                let interval = crossed(&cells).0.unwrap();
                covered += u32::from(interval.low <= 0.0 && interval.high >= 0.0);
            }
            let share = f64::from(covered) / f64::from(tries);
            assert!((0.92..=0.995).contains(&share), "{of_seed} {of_road}: {share}");
        }
    }

    #[test]
    fn differences_are_paired_by_seed_and_road() {
        let (one, two) =
            (record(1, &[("a", 0.5), ("b", 0.1)]), record(2, &[("a", 0.6), ("b", 0.2)]));
        let (more, lone) = (record(1, &[("a", 0.6), ("b", 0.2)]), record(3, &[("a", 0.9)]));
        let difference = paired(&[&more, &lone], &[&one, &two], LAST).unwrap();
        near(difference.mean, 0.1);
        assert_eq!((difference.seed_count, difference.basis), (1, Basis::Roads));
        let difference = paired(&[&two, &more], &[&one, &two], LAST).unwrap();
        near(difference.mean, 0.05);
        assert_eq!((difference.seed_count, difference.basis), (2, Basis::SeedsAndRoads));
        assert_eq!(paired(&[&lone], &[&one, &two], LAST), None);
    }

    #[test]
    fn seeds_with_roads_of_their_own_give_an_interval_over_seeds() {
        let first = [record(1, &[("a", 0.5)]), record(2, &[("b", 0.5), ("c", 0.5)])];
        let second = [record(1, &[("a", 0.6)]), record(2, &[("b", 0.8), ("c", 0.8)])];
        let difference = paired(&second.each_ref(), &first.each_ref(), LAST).unwrap();
        assert_eq!((difference.basis, difference.roads), (Basis::Seeds, None));
        near(difference.mean, 0.7 / 3.0);
        let interval = difference.interval.unwrap();
        near(0.5 * (interval.low + interval.high), difference.mean);
    }

    #[test]
    fn the_front_is_what_nothing_cheaper_equals() {
        let points = [(2.0, 0.5), (1.0, 0.4), (3.0, 0.5), (0.0, 0.1), (2.0, 0.6), (9.0, 0.9)];
        assert_eq!(front(&points), [3, 1, 4, 5]);
        assert_eq!(front(&[]), [0_usize; 0]);
    }

    #[test]
    fn area_holds_each_skill_until_the_next() {
        let points = [(0.0, 0.0), (10.0, 1.0)];
        near(area(&points, 20.0).unwrap(), 0.5);
        near(area(&points, 10.0).unwrap(), 0.0);
        near(area(&points, 0.0).unwrap(), 1.0);
        near(area(&[(5.0, 0.4)], 10.0).unwrap(), 0.4);
        assert_eq!(area(&[], 1.0), None);
    }

    #[test]
    fn bytes_add_up_and_a_window_without_a_measurement_is_left_out() {
        assert_eq!(spent(&record(1, &[("a", 0.5)])), [(400.0, 0.5)]);
    }

    /// However good a merge would be that is looked at in every window: for no bytes there is what a merge that is only made at the end
    /// stands on, too.
    #[test]
    fn a_merge_that_was_only_looked_at_is_not_had_for_nothing() {
        let mut cheap = record(1, &[("a", 0.5)]);
        let looked_at = Row { bytes: UpDown::default(), ..cheap.rows[1].clone() };
        let alone = [(WITHOUT_MERGE.to_owned(), 0.2)].into();
        cheap.rows.insert(1, Row { also: alone, ..looked_at.clone() });
        let mut costly = record(1, &[("a", 0.5)]);
        costly.rows.insert(1, Row { skill: [("a".to_owned(), 0.2)].into(), ..looked_at });
        assert_eq!(spent(&cheap), [(0.0, 0.2), (400.0, 0.5)]);
        assert_eq!(area(&spent(&cheap), 800.0), area(&spent(&costly), 800.0));
        near(area(&spent(&cheap), 800.0).unwrap(), 0.35);
    }
}
