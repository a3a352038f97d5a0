//! `shoal study`

use clap::Args;
use serde::Serialize;
use shoal_shadow::form::Form;
use shoal_shadow::measure::{BaselineReport, DriveReport};
use shoal_shadow::package::Package;
use shoal_shadow::stats::{SeedsAndDrives, seeds_and_drives};
use shoal_vehicle::config::Config;
use shoal_vehicle::drives;

use crate::drive::VehicleArgs;
use crate::drive::run::{Extras, run};
use crate::output::{Failure, Outcome, json};

/// Repeat `shoal drive` over seeds, each drive as a vehicle of its own, and say how sure the gain is.
///
/// Every run begins with empty state, in directories below the configured one.
///
/// Example: shoal study vehicle.toml --drives drives --vehicles 4 --seeds 5
#[derive(Args)]
pub(crate) struct Study {
    #[command(flatten)]
    vehicle: VehicleArgs,
    /// Vehicles that share the drives, of which each has one at least
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    vehicles: u32,
    /// How many seeds, from the configured one on
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

/// What `--json` prints; docs/schemas/study.schema.json describes it.
#[derive(Serialize)]
struct StudyResult {
    schema: u32,
    engine: String,
    /// Mean skill over seeds and counted drives.
    before: f64,
    after: f64,
    /// Seeds whose mean is higher after than before.
    seeds_better: usize,
    /// Paired difference after − before.
    difference: SeedsAndDrives,
    /// Per seed with counted drives, those in order: recorded ones are the same for every seed, generated ones are not.
    seeds: Vec<Vec<Driven>>,
}

/// One drive of one seed, on its held-out part.
#[derive(Serialize)]
struct Driven {
    name: String,
    before: DriveReport,
    after: DriveReport,
}

impl Driven {
    fn skills(&self) -> (f64, f64) {
        (self.before.skill.unwrap_or(0.0), self.after.skill.unwrap_or(0.0))
    }
}

impl Study {
    pub(crate) fn run(self) -> Outcome {
        let result = self.repeat()?;
        if self.json {
            return json(&result);
        }
        print(&result);
        Ok(())
    }

    fn repeat(&self) -> Result<StudyResult, Failure> {
        let base = self.vehicle.config()?;
        let seeds_end = base.seed.checked_add(self.seeds).ok_or_else(|| {
            let (first, seeds) = (base.seed, self.seeds);
            format!("--seeds {seeds}: there are not so many from seed {first} on")
        })?;
        let vehicles = usize::try_from(self.vehicles)?;
        check_shared(&base, vehicles)?;
        let mut engine = String::new();
        let mut seeds = Vec::new();
        for seed in base.seed..seeds_end {
            let mut drives = Vec::new();
            for vehicle in 0..vehicles {
                let mut config = base.clone();
                config.seed = seed;
                config.name = format!("vehicle-{vehicle}");
                (config.drives.vehicle, config.drives.vehicles) = (vehicle, vehicles);
                config.state = base.state.join(format!("seed-{seed}")).join(&config.name);
                if config.state.exists() {
                    std::fs::remove_dir_all(&config.state)?;
                }
                let driven = run(&config, &Extras::default())?;
                engine = driven.engine;
                let pairs = driven.before.drives.into_iter().zip(driven.after.drives);
                drives.extend(
                    pairs
                        .filter(|(_, after)| after.counted && after.skill.is_some())
                        .map(|(before, after)| Driven { name: after.name.clone(), before, after }),
                );
                std::fs::remove_dir_all(&config.state)?;
            }
            if drives.is_empty() {
                eprintln!("seed {seed}: all drives hardly move: left out");
                continue;
            }
            let (before, after) = means(&drives);
            eprintln!("seed {seed}: {before:.4} before, {after:.4} after");
            seeds.push(drives);
        }
        if seeds.is_empty() {
            return Err("no drive is counted: all hardly move".into());
        }
        Ok(summary(engine, seeds))
    }
}

/// Fails where the last vehicle would have no drive, before any of them has worked for it.
fn check_shared(config: &Config, vehicles: usize) -> Outcome {
    let package = Package::open(&config.model.package)?;
    let form = Form::carried(package.description())?;
    let mut last = config.drives.clone();
    (last.vehicle, last.vehicles) = (vehicles.saturating_sub(1), vehicles);
    drives::open(&last, &config.geometry, &form, config.seed)
        .map_err(|why| format!("--vehicles {vehicles}: {}", Failure::from(why)))?;
    Ok(())
}

fn summary(engine: String, seeds: Vec<Vec<Driven>>) -> StudyResult {
    let gain = |drive: &Driven| drive.skills().1 - drive.skills().0;
    let differences: Vec<Vec<f64>> =
        seeds.iter().map(|drives| drives.iter().map(gain).collect()).collect();
    let (before, after): (Vec<f64>, Vec<f64>) = seeds.iter().map(|drives| means(drives)).unzip();
    StudyResult {
        schema: 1,
        engine,
        before: mean(before.iter().copied()),
        after: mean(after.iter().copied()),
        seeds_better: before.iter().zip(&after).filter(|(before, after)| after > before).count(),
        difference: seeds_and_drives(&differences, same_drives(&seeds)),
        seeds,
    }
}

/// Whether every seed has the same drives: generated roads are drawn from the seed.
fn same_drives(seeds: &[Vec<Driven>]) -> bool {
    let names = |drives: &[Driven]| drives.iter().map(|d| d.name.clone()).collect::<Vec<_>>();
    seeds.windows(2).all(|pair| names(&pair[0]) == names(&pair[1]))
}

/// Mean skill before and after.
fn means(drives: &[Driven]) -> (f64, f64) {
    let skills = || drives.iter().map(Driven::skills);
    (mean(skills().map(|pair| pair.0)), mean(skills().map(|pair| pair.1)))
}

/// Plain mean; not a number without values.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

fn print(result: &StudyResult) {
    println!("held-out skill with {}, mean and range over seeds", result.engine);
    println!(
        "{:34} {:>6} {:>22} {:>15}  baselines (skill, five steps)",
        "drive", "before", "after", "five steps"
    );
    if same_drives(&result.seeds) {
        for index in 0..result.seeds[0].len() {
            print_row(&result.seeds.iter().map(|drives| &drives[index]).collect::<Vec<_>>());
        }
    } else {
        result.seeds.iter().flatten().for_each(|drive| print_row(&[drive]));
    }
    println!("mean {:.4} before, {:.4} after", result.before, result.after);
    println!("better in {} of {} seeds", result.seeds_better, result.seeds.len());
    let lines = [
        ("seeds × drives", result.difference.pairs),
        ("drives", result.difference.drives),
        ("seeds", result.difference.seeds),
    ];
    for (over, interval) in lines {
        if let Some(i) = interval {
            println!(
                "paired difference over {over}: {:+.4}, 95 % interval {:+.4} … {:+.4}",
                i.mean, i.low, i.high
            );
        }
    }
}

/// One drive, over the seeds.
fn print_row(seeds: &[&Driven]) {
    let after = || seeds.iter().map(|drive| drive.skills().1);
    let (low, high) = after().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), skill| {
        (low.min(skill), high.max(skill))
    });
    let rollout = |report: fn(&Driven) -> &DriveReport| {
        let skills: Vec<f64> = seeds.iter().filter_map(|d| report(d).rollout.skill).collect();
        if skills.is_empty() { "-".into() } else { format!("{:.3}", mean(skills.into_iter())) }
    };
    let range = if seeds.len() > 1 { format!(" ({low:.3}…{high:.3})") } else { String::new() };
    println!(
        "{:34} {:>6.3} {:>22} {:>15}  {}",
        seeds[0].name,
        mean(seeds.iter().map(|drive| drive.skills().0)),
        format!("{:.3}{range}", mean(after())),
        format!("{} → {}", rollout(|d| &d.before), rollout(|d| &d.after)),
        beside(&seeds[0].after)
    );
}

fn beside(report: &DriveReport) -> String {
    let figure = |skill: Option<f64>| skill.map_or("-".into(), |skill| format!("{skill:.3}"));
    let one = |baseline: &BaselineReport| {
        let (skill, rollout) = (figure(baseline.skill), figure(baseline.rollout_skill));
        format!("{} {skill}, {rollout}", baseline.predictor)
    };
    report.baselines.iter().map(one).collect::<Vec<_>>().join("; ")
}
