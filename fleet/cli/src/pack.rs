//! `shoal pack …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use shoal_hal::Drive;
use shoal_shadow::form::Form;
use shoal_shadow::grid::{self, Geometry};
use shoal_shadow::measure::driving::DrivingMetric;
use shoal_shadow::measure::imitation::DriveActs;
use shoal_shadow::pack::{self, Acted, Manifest, Metric, Pack, PackOptions};
use shoal_shadow::package::Package;
use shoal_vehicle::config::Config;
use shoal_vehicle::drives;

use crate::data;
use crate::drive::camera_drives_nothing;
use crate::output::{Failure, Outcome};
use crate::policy::GeometryArgs;

/// Of the page that lists these commands.
pub(crate) const EXAMPLES: &str = "\
Examples:
  shoal pack build drives -o pack --id roads
  shoal pack check pack";

/// Make and check evaluation packs.
#[derive(Subcommand)]
pub(crate) enum PackCommand {
    Build(Build),
    Check(Check),
}

impl PackCommand {
    pub(crate) fn run(self) -> Outcome {
        match self {
            PackCommand::Build(command) => command.run(),
            PackCommand::Check(command) => command.run(),
        }
    }
}

/// Build a pack of the pack parts of drives. It counts once an authority has signed it: `shoal fleet init`.
///
/// Example: shoal pack build drives -o pack
#[derive(Args)]
pub(crate) struct Build {
    /// Directory of drives that the authority owns
    #[arg(conflicts_with_all = ["vehicle", "attentive"])]
    drives: Option<PathBuf>,
    /// A vehicle's configuration: the drives of it and of all that share them with it, recorded or generated
    #[arg(long, value_name = "FILE", conflicts_with = "attentive")]
    vehicle: Option<PathBuf>,
    /// Attentive drivers in the closed loop on so many generated roads that no shipped model has seen
    #[arg(long, value_name = "ROADS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    attentive: Option<u32>,
    /// Beside them reckless drivers on so many roads with dense traffic: situations that safety is measured in; nobody imitates them
    #[arg(long, value_name = "ROADS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000))]
    reckless: u32,
    /// Seconds that each of them drives; 60 where nothing is said
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: Option<u32>,
    /// Which roads they drive; those of seed 0 where nothing is said
    #[arg(long)]
    seed: Option<u64>,
    /// What is measured on the pack
    #[arg(long, value_enum, default_value = "skill")]
    metric: MetricName,
    /// The pack's directory; it must not exist
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Package of the model that is measured on it, for imitation a policy: its frame size, rate and past frames
    #[arg(long, value_name = "PACKAGE", default_value = "models/world")]
    package: PathBuf,
    /// Name of the pack
    #[arg(long, default_value = "pack")]
    id: String,
    /// Version of the pack
    #[arg(long, default_value_t = 1)]
    version: u32,
    /// Licence of the footage
    #[arg(long, default_value = "unknown")]
    licence: String,
    #[command(flatten)]
    geometry: GeometryArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MetricName {
    /// How much better than 'nothing moves' the next frame is predicted
    Skill,
    /// How near a policy is to what the drivers did, weighted by what came of it
    Imitation,
}

/// What a pack can be built of.
const NOTHING: &str = "of what footage? DRIVES, a directory of drives; --vehicle FILE, those of a vehicle; or --attentive ROADS, generated ones";

/// Drives, and what is known of each beside its frames and motion.
type Known = (Vec<Drive>, Vec<Acted>);

impl Build {
    fn run(self) -> Outcome {
        self.check()?;
        let package = Package::open(&self.package)?;
        let form = match self.metric {
            MetricName::Skill => Form::of(package.description())?,
            MetricName::Imitation => Form::of_policy(package.description())?,
        };
        let (drives, acted) = self.drives(&form)?;
        let options = PackOptions {
            id: self.id,
            version: self.version,
            licence: self.licence,
            context: form.context,
        };
        let manifest = match self.metric {
            MetricName::Skill => pack::build(&drives, &options, &self.output)?,
            MetricName::Imitation => {
                pack::build_imitation(&drives, &acted, &options, &self.output)?
            }
        };
        for drive in &drives {
            if !manifest.drives.iter().any(|used| used.name == drive.name) {
                eprintln!("left out {}: nothing can be measured on its pack frames", drive.name);
            }
        }
        for (index, part) in manifest.parts.iter().enumerate() {
            println!("part {index}: {} runs, {} bytes", part.runs.len(), part.bytes);
        }
        println!("{}", self.output.display());
        Ok(())
    }

    /// Refuses flags without effect, and a pack of nothing.
    fn check(&self) -> Outcome {
        let of_roads = [
            ("--reckless", self.reckless > 0),
            ("--seconds", self.seconds.is_some()),
            ("--seed", self.seed.is_some()),
        ];
        let of_roads = of_roads.into_iter().find(|(_flag, given)| *given);
        if let Some((flag, _given)) = of_roads.filter(|_| self.attentive.is_none()) {
            return Err(format!("{flag} is of generated roads: --attentive ROADS").into());
        }
        if self.drives.is_none() && self.vehicle.is_none() && self.attentive.is_none() {
            return Err(NOTHING.into());
        }
        let Some(flag) = self.geometry.given() else { return Ok(()) };
        if self.attentive.is_some() {
            return Err(format!("{flag}: of the vehicles on --attentive roads it is known").into());
        }
        match self.metric {
            MetricName::Skill => Err(format!("{flag} is for packs of --metric imitation").into()),
            MetricName::Imitation => Ok(()),
        }
    }

    fn drives(&self, form: &Form) -> Result<Known, Failure> {
        if let Some(roads) = self.attentive {
            return self.attentive(roads, form);
        }
        if let Some(directory) = &self.drives {
            let context = Some(form.context);
            let drives = data::recorded(directory, form.shape, form.rate_hz, context)?;
            return Ok(known(drives, self.geometry.open()?));
        }
        let file = self.vehicle.as_deref().ok_or(NOTHING)?;
        let Config { mut drives, seed, geometry, camera, .. } = Config::read(file)?;
        if camera.is_some() {
            return Err(camera_drives_nothing(file, "DRIVES in place of --vehicle"));
        }
        (drives.vehicle, drives.vehicles) = (0, 1);
        let opened = drives::open(&drives, &geometry, form, seed)?;
        for skipped in &opened.skipped {
            eprintln!("skipped {skipped}");
        }
        Ok(known(opened.drives, self.geometry.or(geometry)?))
    }

    /// Their vehicles' geometry is known.
    fn attentive(&self, roads: u32, form: &Form) -> Result<Known, Failure> {
        let (seconds, seed) = (self.seconds.unwrap_or(60), self.seed.unwrap_or(0));
        let frames = (f64::from(seconds) * form.rate_hz).round() as usize;
        let roads = usize::try_from(roads)?;
        let mut driven = drives::attentive(roads, frames, form, seed);
        let examples = driven.len();
        let situations = (roads, usize::try_from(self.reckless)?);
        driven.extend(drives::reckless(situations, frames, form, seed));
        let acted = driven.iter().map(Acted::of_driven).collect::<Option<Vec<_>>>();
        let mut acted = acted.ok_or("a generated vehicle has no geometry")?;
        acted.iter_mut().skip(examples).for_each(|acted| acted.imitated = false);
        Ok((driven.into_iter().map(|driven| driven.drive).collect(), acted))
    }
}

/// What the drives themselves tell, of a vehicle of this geometry.
fn known(drives: Vec<Drive>, geometry: Geometry) -> Known {
    let acted = drives.iter().map(|drive| Acted::of(drive, geometry)).collect();
    (drives, acted)
}

/// Read a pack whole, check every hash, and say what is in it.
///
/// Example: shoal pack check pack
#[derive(Args)]
pub(crate) struct Check {
    /// The pack's directory
    pack: PathBuf,
}

impl Check {
    fn run(self) -> Outcome {
        let pack = Pack::open(&self.pack)?;
        let footages = pack.read(&pack.parts())?;
        let manifest = pack.manifest();
        println!(
            "{} version {}: {} drives in {} parts, every hash holds",
            manifest.id,
            manifest.version,
            footages.drives().len(),
            pack.parts().len()
        );
        contents(manifest, &footages.acts());
        Ok(())
    }
}

fn contents(manifest: &Manifest, acts: &[DriveActs<'_>]) {
    let Manifest { width, height, rate_hz, context, .. } = manifest;
    println!(
        "metric {}: {width}×{height} at {rate_hz} Hz, {context} past frames, licence {}",
        manifest.metric.name(),
        manifest.licence
    );
    match manifest.metric {
        Metric::Skill => {}
        Metric::Imitation => {
            println!(
                "actions on {}, SHA-256 {}",
                grid::NAME,
                shoal_shadow::digits::hex(&grid::SHA256)
            );
            let tells: Vec<&str> =
                manifest.driving().into_iter().map(DrivingMetric::name).collect();
            println!("tells {}", tells.join(", "));
        }
    }
    for drive in acts {
        let weights = || drive.runs.iter().flat_map(|run| run.weights.iter());
        let (count, sum) = (weights().count(), weights().map(|w| f64::from(*w)).sum::<f64>());
        println!(
            "{}: {count} frames of mean weight {:.3}, variety {:.4}, wheelbase {:.2} m, steering ratio {:.1}",
            drive.name,
            sum / count.max(1) as f64,
            drive.habits.variety(true),
            drive.geometry.wheelbase_m(),
            drive.geometry.steering_ratio()
        );
    }
}
