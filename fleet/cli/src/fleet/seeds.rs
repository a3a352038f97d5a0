//! `shoal fleet seeds`

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use shoal_hal::backend::files::write_whole;
use shoal_shadow::stats::{SeedsAndDrives, average, deviation, seeds_and_drives};

use super::result::{FleetResult, Skills};
use crate::output::{Failure, Outcome, json};

/// Say how sure it is that a fleet learns more than its vehicles alone, from the reports of several seeds.
///
/// Example: shoal fleet seeds seed-1/result.json seed-2/result.json
#[derive(Args)]
pub(crate) struct Seeds {
    /// result.json of `shoal fleet report`, one a seed
    #[arg(required = true, value_name = "RESULT")]
    results: Vec<PathBuf>,
    /// Write it as JSON, too
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What `--json` prints; docs/schemas/seeds.schema.json describes it.
#[derive(Debug, Serialize)]
struct SeedsResult {
    schema: u32,
    engine: String,
    rule: String,
    vehicles: usize,
    windows: u32,
    seeds: Vec<SeedRow>,
    /// Over seeds.
    mean: Skill,
    /// Over seeds: sample standard deviation.
    spread: Skill,
    /// Seeds in which the swarm's best is above the better of x_p and the chosen lone vehicle.
    better: usize,
    /// Seeds in which a lone vehicle is above x_p on its own roads.
    alone_own_better: usize,
    /// The swarm's best less the better of the two in each seed, paired by counted drive.
    swarm_best_less_better: SeedsAndDrives,
    /// The swarm's best less x_p.
    swarm_best_less_pretrained: SeedsAndDrives,
}

#[derive(Debug, Serialize)]
struct SeedRow {
    seed: u64,
    #[serde(flatten)]
    skill: Skill,
    up_per_vehicle_window: f64,
    down_per_vehicle_window: f64,
    /// From the first program's start to the report's end.
    seconds: f64,
}

/// Held-out skills after the last window.
#[derive(Clone, Copy, Debug, Serialize)]
struct Skill {
    pretrained: f64,
    alone_best: f64,
    alone_mean: f64,
    swarm_best: f64,
    pretrained_own: f64,
    alone_own: f64,
    swarm_own: f64,
}

/// Stages of the whole, in a report's seconds.
const STAGES: [&str; 5] = ["prepare", "init", "alone", "windows", "report"];

impl Seeds {
    pub(crate) fn run(self) -> Outcome {
        let reports: Vec<FleetResult> =
            self.results.iter().map(|path| read(path)).collect::<Result<_, Failure>>()?;
        let result = summary(&reports)?;
        if let Some(path) = &self.output {
            write_whole(path, &serde_json::to_vec_pretty(&result)?)?;
        }
        if self.json {
            return json(&result);
        }
        print(&result);
        Ok(())
    }
}

fn read(path: &Path) -> Result<FleetResult, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::from(format!("{} is no result of shoal fleet report: {error}", path.display()))
    };
    let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| failed(&error))
}

fn summary(reports: &[FleetResult]) -> Result<SeedsResult, Failure> {
    let Some(first) = reports.first() else { return Err("no results".into()) };
    let alike = |one: &FleetResult| {
        (&one.metric, &one.engine, &one.rule, one.vehicles, one.windows)
            == (&first.metric, &first.engine, &first.rule, first.vehicles, first.windows)
    };
    if let Some(other) = reports.iter().find(|one| !alike(one)) {
        let what = |one: &FleetResult| {
            let FleetResult { seed, metric, rule, engine, vehicles, windows, .. } = one;
            format!(
                "seed {seed}: {metric}, {rule}, {engine}, {vehicles} vehicles, {windows} windows"
            )
        };
        return Err(format!("not of one study: {}; {}", what(first), what(other)).into());
    }
    for (index, report) in reports.iter().enumerate() {
        if reports.iter().skip(index + 1).any(|other| other.seed == report.seed) {
            return Err(format!("seed {} is there twice", report.seed).into());
        }
    }
    let seeds = reports.iter().map(SeedRow::of).collect::<Result<Vec<SeedRow>, Failure>>()?;
    let less = |reference: fn(&Skill, Drive) -> f64| -> Vec<Vec<f64>> {
        let of_seed = |(report, row): (&FleetResult, &SeedRow)| {
            let drives = counted(report).into_iter();
            drives.map(|drive| drive.swarm_best - reference(&row.skill, drive)).collect()
        };
        reports.iter().zip(&seeds).map(of_seed).collect()
    };
    let names = |report: &FleetResult| {
        report.drives.iter().map(|d| (d.name.clone(), d.counted)).collect::<Vec<_>>()
    };
    let same_drives = reports.iter().all(|report| names(report) == names(first));
    let better =
        less(
            |seed, drive| {
                if seed.alone_best > seed.pretrained { drive.alone_best } else { drive.pretrained }
            },
        );
    let pretrained = less(|_seed, drive| drive.pretrained);
    let skills: Vec<Skill> = seeds.iter().map(|seed| seed.skill).collect();
    Ok(SeedsResult {
        schema: 1,
        engine: first.engine.clone(),
        rule: first.rule.clone(),
        vehicles: first.vehicles,
        windows: first.windows,
        mean: Skill::over(&skills, average),
        spread: Skill::over(&skills, deviation),
        better: skills.iter().filter(|s| s.swarm_best > s.alone_best.max(s.pretrained)).count(),
        alone_own_better: skills.iter().filter(|s| s.alone_own > s.pretrained_own).count(),
        swarm_best_less_better: seeds_and_drives(&better, same_drives),
        swarm_best_less_pretrained: seeds_and_drives(&pretrained, same_drives),
        seeds,
    })
}

/// Skills of one counted drive after the last window.
#[derive(Clone, Copy)]
struct Drive {
    pretrained: f64,
    alone_best: f64,
    swarm_best: f64,
}

/// Those of every counted drive, in the report's order.
fn counted(report: &FleetResult) -> Vec<Drive> {
    let last = report.skill.by_window.iter().rfind(|row| row.took_part > 0);
    let drives = report.drives.iter().filter(|drive| drive.counted);
    drives
        .filter_map(|drive| {
            let Skills { swarm_best, alone_best, .. } = last?.by_drive.get(&drive.name)?;
            let (pretrained, alone_best) = (drive.pretrained?, (*alone_best)?);
            Some(Drive { pretrained, alone_best, swarm_best: (*swarm_best)? })
        })
        .collect()
}

impl SeedRow {
    fn of(report: &FleetResult) -> Result<Self, Failure> {
        let skill = &report.skill;
        let figure = |name: &str, value: Option<f64>| {
            value.ok_or_else(|| {
                Failure::from(format!(
                    "no {name} in the result of seed {}: in its fleet no vehicle learnt alone (`[fleet] exchange = false`), as in that of `cargo xtask demo`",
                    report.seed
                ))
            })
        };
        Ok(Self {
            seed: report.seed,
            skill: Skill {
                pretrained: figure("pretrained", skill.pretrained)?,
                alone_best: figure("alone_best", skill.alone_best)?,
                alone_mean: figure("alone_mean", skill.alone_mean)?,
                swarm_best: figure("swarm_best", skill.swarm_best)?,
                pretrained_own: figure("pretrained_own", skill.pretrained_own)?,
                alone_own: figure("alone_own", skill.alone_own)?,
                swarm_own: figure("swarm_own", skill.swarm_own)?,
            },
            up_per_vehicle_window: report.bytes.up_per_vehicle_window,
            down_per_vehicle_window: report.bytes.down_per_vehicle_window,
            seconds: STAGES.iter().filter_map(|stage| report.seconds.get(*stage)).sum(),
        })
    }
}

impl Skill {
    fn over(all: &[Self], figure: fn(&[f64]) -> f64) -> Self {
        let of = |value: fn(&Self) -> f64| figure(&all.iter().map(value).collect::<Vec<f64>>());
        Self {
            pretrained: of(|skill| skill.pretrained),
            alone_best: of(|skill| skill.alone_best),
            alone_mean: of(|skill| skill.alone_mean),
            swarm_best: of(|skill| skill.swarm_best),
            pretrained_own: of(|skill| skill.pretrained_own),
            alone_own: of(|skill| skill.alone_own),
            swarm_own: of(|skill| skill.swarm_own),
        }
    }
}

fn print(result: &SeedsResult) {
    let SeedsResult { engine, rule, vehicles, windows, .. } = result;
    println!("held-out skill after {windows} windows of {vehicles} vehicles ({rule}, {engine})");
    println!(
        "{:>8} {:>8} {:>10} {:>10} {:>8}   own roads: {:>6} {:>8} {:>8}",
        "seed", "x_p", "alone mean", "alone best", "swarm", "x_p", "alone", "swarm"
    );
    let row = |name: &str, skill: &Skill| {
        println!(
            "{name:>8} {:>8.4} {:>10.4} {:>10.4} {:>8.4}   {:>17.4} {:>8.4} {:>8.4}",
            skill.pretrained,
            skill.alone_mean,
            skill.alone_best,
            skill.swarm_best,
            skill.pretrained_own,
            skill.alone_own,
            skill.swarm_own
        );
    };
    result.seeds.iter().for_each(|seed| row(&seed.seed.to_string(), &seed.skill));
    row("mean", &result.mean);
    row("spread", &result.spread);
    let seeds = result.seeds.len();
    println!("the swarm's best is above both in {} of {seeds} seeds", result.better);
    println!("alone on own roads above x_p in {} of {seeds} seeds", result.alone_own_better);
    for (than, difference) in [
        ("the better of both", &result.swarm_best_less_better),
        ("x_p", &result.swarm_best_less_pretrained),
    ] {
        let lines = [
            ("seeds × drives", difference.pairs),
            ("drives", difference.drives),
            ("seeds", difference.seeds),
        ];
        for (over, interval) in lines {
            if let Some(i) = interval {
                println!(
                    "the swarm's best less {than}, paired over {over}: {:+.4}, 95 % interval {:+.4} … {:+.4}",
                    i.mean, i.low, i.high
                );
            }
        }
    }
}
