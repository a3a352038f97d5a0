//! `shoal terms`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use shoal_hal::FrameShape;
use shoal_hal::backend::synthetic::{SimulatedDriver, Style};
use shoal_runtime::onnx::Model;
use shoal_shadow::policymodel::{PolicySession, Reflex};
use shoal_shadow::term::roads::{Report, Roads};

use crate::output::{Outcome, Progress, json};
use crate::{EngineArgs, PackageArgs};

mod physics;

/// Frames of those who see none.
const SMALL: FrameShape = FrameShape { width: 8, height: 4 };

/// Let a policy drive generated roads, and print the terms of driving.
///
/// The roads are such as no shipped model has seen; the terms stand beside those of drivers who know the truth and of who does nothing.
///
/// Example: shoal terms models/policy --roads 20
#[derive(Args)]
pub(crate) struct Terms {
    #[command(flatten)]
    package: PackageArgs,
    /// Roads that are driven
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    roads: u32,
    /// Seconds on each
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// tinyphysics.onnx: controllers steer it along `--log`, and along what the policy asks for
    #[arg(long, value_name = "FILE", requires = "log")]
    physics: Option<PathBuf>,
    /// A log at 10 Hz (CSV as of comma2k19) of at least 500 rows
    #[arg(long, value_name = "FILE", requires = "physics")]
    log: Option<PathBuf>,
    /// Machine-readable
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What is printed.
#[derive(Serialize)]
struct Printed {
    schema: u32,
    policy: String,
    roads: u32,
    seconds: u32,
    roads_sha256: String,
    drivers: Vec<Driver>,
    controls: Vec<physics::Controlled>,
}

/// One who drove all the roads.
#[derive(Serialize)]
struct Driver {
    driver: &'static str,
    km: f64,
    departures: usize,
    off_road: usize,
    crashes: usize,
    interventions_per_km: f64,
    offset_m: f64,
    speed_error: f64,
    conflict_share: f64,
    jerk_m_s3: Option<f64>,
    lateral_jerk_m_s3: Option<f64>,
    terms: Values,
}

/// Values of the terms; null where the roads are too short to know.
#[derive(Serialize)]
struct Values {
    comfort: Option<f64>,
    distance: f64,
    lane_keeping: f64,
}

impl Driver {
    fn of(driver: &'static str, report: &Report) -> Self {
        let Report { comfort, distance, lane_keeping, .. } = *report;
        Driver {
            driver,
            km: report.km,
            departures: report.departures,
            off_road: report.off_road,
            crashes: report.crashes,
            interventions_per_km: report.interventions() as f64 / report.km.max(1e-3),
            offset_m: report.offset_m,
            speed_error: report.speed_error,
            conflict_share: report.conflict,
            jerk_m_s3: report.jerk_m_s3[0],
            lateral_jerk_m_s3: report.jerk_m_s3[1],
            terms: Values { comfort, distance, lane_keeping },
        }
    }
}

impl Terms {
    /// Drives and prints.
    pub(crate) fn run(self) -> Outcome {
        let package = self.package.open()?;
        let description = package.description();
        let model = Model::read(&package.model_path())?;
        let engine = self.engine.open()?;
        let threads = self.engine.threads();
        let mut policy = PolicySession::load(&model, description, &*engine, threads, None)?;
        let steered = match (&self.physics, &self.log) {
            (Some(physics), Some(log)) => {
                Some(physics::Steered::open((physics, log), &*engine, threads)?)
            }
            (_, _) => None,
        };
        let roads = Roads::unseen(self.roads, self.seconds);
        let shape = policy.shape();
        let knowing = |style| Reflex::Driver(Box::new(SimulatedDriver::new(style, 1)));
        let all = [
            ("policy", shape, Reflex::Policy(&mut policy)),
            ("attentive", SMALL, knowing(Style::Attentive)),
            ("reckless", SMALL, knowing(Style::Reckless)),
            ("straight", SMALL, Reflex::Straight),
            ("hold", SMALL, Reflex::Hold(None)),
        ];
        let mut drivers = Vec::new();
        for (name, shape, mut reflex) in all {
            let mut progress = Progress::new();
            let tell = |done| progress.show(done as u64, u64::from(self.roads), name);
            drivers.push(Driver::of(name, &roads.drive(shape, &mut reflex, tell)?));
        }
        let controls = steered.map(|steered| steered.controlled(&roads, &mut policy));
        let controls = controls.transpose()?.unwrap_or_default();
        let printed = Printed {
            schema: 1,
            policy: description.name.clone(),
            roads: self.roads,
            seconds: self.seconds,
            roads_sha256: shoal_shadow::digits::hex(&roads.sha256()),
            drivers,
            controls,
        };
        if self.json { json(&printed) } else { table(&printed) }
    }
}

fn table(printed: &Printed) -> Outcome {
    println!("{} roads of {} s, set {}", printed.roads, printed.seconds, printed.roads_sha256);
    let [comfort, distance, keeping, controls] =
        ["comfort", "distance", "lane-keeping", "controls"];
    println!(
        "{:10} {:>6} {:>7} {:>4} {:>7} {:>6} {:>8} {:>7} {:>9} {:>6} {:>7}  {comfort:>8} {distance:>8} {keeping:>12}",
        "driver",
        "km",
        "left",
        "off",
        "crashes",
        "per km",
        "offset m",
        "speed",
        "TTC < 4 s",
        "jerk",
        "lateral"
    );
    let figure =
        |value: Option<f64>, digits| value.map_or("-".into(), |value| format!("{value:.digits$}"));
    for driver in &printed.drivers {
        println!(
            "{:10} {:6.1} {:7} {:4} {:7} {:6.2} {:8.2} {:7.2} {:9.3} {:>6} {:>7}  {:>8} {:8.3} {:12.3}",
            driver.driver,
            driver.km,
            driver.departures,
            driver.off_road,
            driver.crashes,
            driver.interventions_per_km,
            driver.offset_m,
            driver.speed_error,
            driver.conflict_share,
            figure(driver.jerk_m_s3, 2),
            figure(driver.lateral_jerk_m_s3, 2),
            figure(driver.terms.comfort, 3),
            driver.terms.distance,
            driver.terms.lane_keeping
        );
    }
    if !printed.controls.is_empty() {
        println!(
            "{:32} {:>9} {:>9} {:>9}  {controls:>8}",
            "controller", "lataccel", "jerk", "total"
        );
    }
    for row in &printed.controls {
        println!(
            "{:32} {:9.3} {:9.2} {:9.2}  {:8.3}",
            row.controller, row.lataccel_cost, row.jerk_cost, row.total_cost, row.value
        );
    }
    Ok(())
}
