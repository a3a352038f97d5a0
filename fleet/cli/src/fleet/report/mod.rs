//! `shoal fleet report`

mod bench;
mod folder;
mod plot;
mod sum;
mod table;

use std::path::{Path, PathBuf};

use clap::Args;
use shoal_console::names;
use shoal_hal::Split;
use shoal_hal::backend::files::write_whole;
use shoal_hal::backend::recorded::write_split_json;
use shoal_shadow::form::Form;
use shoal_shadow::pack::Pack;
use shoal_shadow::package::Package;
use shoal_vehicle::{drives, engine};
use shoal_wire::PublicKey;

use super::description::Description;
use super::documents::swarm_document;
use super::result::FleetResult;
use crate::clock::utc_ms;
use crate::output::{Failure, Outcome, json};
use crate::yardstick::{HeldOut, Yardstick, check_carried};
use bench::{Bench, Set};
use sum::{Asked, Own};

/// Measure what a fleet learnt, from outside: held-out frames of all drives, on the adapters that its vehicles kept.
///
/// OUT gets result.json, split.json (which frames of which drive were held out) and skill.svg.
///
/// Example: shoal fleet report trial -o report
#[derive(Args)]
pub(crate) struct Report {
    /// The fleet's directory, after a run
    dir: PathBuf,
    /// Where the report goes; made when it is not there
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// What the broker was, in words; without it, its address
    #[arg(long, value_name = "TEXT")]
    broker: Option<String>,
    /// How long a stage of the whole took, for the report to hold it
    #[arg(long, value_name = "STAGE=SECONDS", value_parser = stage)]
    seconds: Vec<(String, f64)>,
    /// Print result.json instead of a table
    #[arg(long)]
    json: bool,
}

impl Report {
    pub(crate) fn run(self) -> Outcome {
        let began_ms = utc_ms()?;
        let mut result = self.measure()?;
        let report = utc_ms()?.saturating_sub(began_ms);
        result.seconds.insert("report".to_owned(), report as f64 / 1e3);
        write_whole(&self.output.join("result.json"), &serde_json::to_vec_pretty(&result)?)?;
        write_whole(&self.output.join("skill.svg"), plot::draw(&result)?.as_bytes())?;
        if self.json {
            return json(&result);
        }
        table::print(&result);
        Ok(())
    }

    fn measure(&self) -> Result<FleetResult, Failure> {
        let fleet = Description::read(&self.dir)?;
        let vehicles = folder::vehicles(&self.dir, fleet.vehicles)?;
        let first = &vehicles[0];
        let package = Package::open(&first.config.model.package)?;
        let form = Form::carried(package.description())?;
        let engine = engine::open(&first.config.engine.kept_below(&first.config.state))?;
        let mut bench = Bench::new(&package, &*engine, first.config.engine.threads)?;
        let asked = Asked::of(&vehicles, &mut bench)?;

        let mut all = first.config.drives.clone();
        (all.vehicle, all.vehicles) = (0, 1);
        let drives = drives::open(&all, &first.config.geometry, &form, first.config.seed)?;
        std::fs::create_dir_all(&self.output)
            .map_err(|error| format!("cannot make {}: {error}", self.output.display()))?;
        let split = self.output.join("split.json");
        write_split_json(&split, &drives.drives, &drives.skipped, form.context)?;
        let splits: Vec<Split> =
            drives.drives.iter().map(|drive| drive.split(form.context)).collect();
        let packs = first.fleet.packs.iter().map(|pack| Pack::open(pack));
        let packs = packs.collect::<Result<Vec<_>, _>>()?;
        // As its vehicles measured: by what the first pack is of.
        let of_first = packs.first().map(|pack| pack.manifest().metric);
        let metric = of_first.ok_or("the fleet has no pack")?;
        let alike = packs.iter().filter(|pack| pack.manifest().metric == metric);
        let footages = alike.map(|pack| pack.read(&pack.parts())).collect::<Result<Vec<_>, _>>()?;
        check_carried(metric, package.description())?;
        let geometry = first.config.geometry;
        let held_out = HeldOut::of(&drives.drives, &splits, (&form, metric), geometry);
        let clips = |set| match set {
            Set::HeldOut => held_out.yardstick(),
            Set::Pack => Yardstick::of_packs(&footages, metric, form.context),
        };
        eprintln!("measuring {} adapters on {} drives", bench.len(), drives.drives.len());
        let measured = bench.run(&clips)?;

        let own = Own(&vehicles);
        let by_vehicle = asked.vehicles(&vehicles, &measured, &own);
        let mut seconds = sum::stages(&vehicles);
        seconds.extend(self.seconds.iter().cloned());
        let pack_bytes = packs.iter().map(pack_bytes).sum();
        let lines = vehicles.iter().flat_map(|vehicle| vehicle.swarm.lines.values());
        Ok(FleetResult {
            schema: 1,
            metric: metric.name().to_owned(),
            skill: asked.skill(&measured, &own),
            difference: asked.differences(&measured, first.config.seed),
            drives: asked.drives(&measured, &own),
            bytes: sum::bytes(&by_vehicle, asked.windows, pack_bytes, bench.float32_bytes()),
            engine: engine.describe(),
            broker: self.broker.clone().unwrap_or(fleet.broker),
            rule: rule(&self.dir, fleet.authority)?,
            seconds,
            memory_bytes: lines.filter_map(|line| line.memory_bytes).max().unwrap_or(0),
            vehicles: vehicles.len(),
            windows: asked.windows,
            missed: by_vehicle.iter().map(|row| row.missed).sum(),
            seed: first.config.seed,
            rejected: sum::rejected(&vehicles),
            skipped: drives.skipped.iter().map(ToString::to_string).collect(),
            by_vehicle,
        })
    }
}

/// The name of the rule that the swarm document asks for.
fn rule(fleet: &Path, authority: PublicKey) -> Result<String, Failure> {
    Ok(names::rule(&swarm_document(fleet, authority)?.rule).to_owned())
}

/// What a vehicle is given of a pack: the manifest and the parts.
fn pack_bytes(pack: &Pack) -> u64 {
    let parts = pack.manifest().parts.iter().map(|part| part.bytes).sum::<u64>();
    parts + pack.manifest_bytes().len() as u64
}

fn stage(text: &str) -> Result<(String, f64), String> {
    let (name, seconds) = text.split_once('=').ok_or("a name, = and a number of seconds")?;
    let seconds: f64 = seconds.parse().map_err(|error| format!("{seconds}: {error}"))?;
    if !seconds.is_finite() {
        return Err(format!("{seconds} is no time"));
    }
    Ok((name.to_owned(), seconds))
}
