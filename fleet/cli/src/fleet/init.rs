//! `shoal fleet init`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use sha2::{Digest, Sha256};
use shoal_keys::KeyAt;
use shoal_link::Addresses;
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::Model;
use shoal_shadow::document::DocumentError;
use shoal_shadow::fit::graft_package;
use shoal_shadow::form::Form;
use shoal_shadow::pack::{self, Pack};
use shoal_shadow::package::Package;
use shoal_trust::Target;
use shoal_vehicle::config::{Config, ConfigError, DrivesConfig, FleetConfig, ModelConfig};
use shoal_wire::v1::{
    ConsensusRule, Metric, PaperRule, Rule, SwarmDocument, SwarmDocumentFields, UtilityDocument,
    VEHICLE_BYTES, Vehicle, WindowPlan,
};
use shoal_wire::{Label, LayoutHash, ModelHash, RejectLabel};

use super::description::{Description, check_regions};
use super::documents::{Desk, not_after_seconds, since_seconds};
use super::plan::{self, Calendar};
use super::repositories::{Repositories, trust_of};
use super::secret::{self, Source};
use super::toml::vehicle;
use super::utility::{self, Known};
use crate::clock::utc_ms;
use crate::output::{Failure, Outcome};

/// Make a fleet in one step.
///
/// DIR gets fleet.toml, the authority's, the timekeeper's, the approver's and the recovery key (keep them; they never go to a
/// vehicle, and authority's, approver's and recovery key are for three people), a folder of signed documents, and a folder for
/// each vehicle with its key and its vehicle.toml.
///
/// Example: shoal fleet init trial --vehicles 4 --pack pack --broker mqtt://127.0.0.1:1883
#[derive(Args)]
pub(crate) struct Init {
    /// The fleet's directory; it must not exist
    dir: PathBuf,
    /// Name of the fleet on the broker, where no other has it: 1 to 32 of a-z, 0-9 and - [the name of DIR]
    #[arg(long, value_parser = label)]
    name: Option<String>,
    /// Its region; several times for several, to which vehicles are given in turn
    #[arg(long, value_name = "NAME", default_value = "region-0")]
    region: Vec<String>,
    /// Vehicles of the roster
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    vehicles: u32,
    /// An evaluation pack that all measure on; several times for several
    #[arg(long, value_name = "PACK", required = true)]
    pack: Vec<PathBuf>,
    /// Package of the model that all carry
    #[arg(long, value_name = "PACKAGE", default_value = "models/world")]
    package: PathBuf,
    /// Broker that all connect to; of several nodes, with commas between them
    #[arg(long, value_name = "URL", default_value = "mqtt://127.0.0.1:1883")]
    broker: Addresses,
    /// How particles move
    #[arg(long, value_enum, default_value = "consensus")]
    rule: RuleName,
    /// A vehicle.toml whose tables engine, geometry, drives, replay, night, camera, conditions, can and privacy every vehicle gets, and
    /// model's `beside`
    #[arg(long, value_name = "FILE")]
    vehicle: Option<PathBuf>,
    /// A particle below this value is never best: a metric that the pack tells, and −1 to 1; several times for several. Of
    /// distance_gain and the like it is what a particle has more than the package's model: at −0.02 nobody falls behind that further
    #[arg(long, value_name = "METRIC=VALUE", value_parser = utility::gate)]
    gate: Vec<(Metric, f64)>,
    /// What counts, and how much in which window, as `shoal fleet utility` reads it [every pack as much, from the first window on]
    #[arg(long, value_name = "FILE", conflicts_with = "gate")]
    utility: Option<PathBuf>,
    #[command(flatten)]
    calendar: Calendar,
    /// Make keys and draws from this number, so that the same fleet can be made again (for trials: whoever
    /// knows the number has the keys)
    #[arg(long)]
    seed: Option<u64>,
}

/// The documents that do not grow with packs and vehicles: plan, utility, swarm, metadata, and heads.
const REST_BYTES: u64 = 16 << 10;

/// Beside a vehicle.toml: its key, and what it shows to a broker with TLS.
pub(super) const KEY: &str = "vehicle.key";
pub(super) const CERTIFICATES: &str = "certificates";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RuleName {
    /// Best is a merge of all contributions
    Consensus,
    /// Model Swarms, as published
    Paper,
}

impl RuleName {
    fn rule(self) -> Rule {
        match self {
            RuleName::Consensus => Rule::Consensus(ConsensusRule::USUAL),
            RuleName::Paper => Rule::Paper(PaperRule::USUAL),
        }
    }
}

impl Init {
    pub(crate) fn run(self) -> Outcome {
        let regions: Vec<&str> = self.region.iter().map(String::as_str).collect();
        check_regions(&regions).map_err(|why| format!("--region: {why}"))?;
        let name = self.name()?;
        let (packs, package, utility) = self.opened()?;
        let swarm = self.swarm(&package)?;
        let plan = plan::within_bounds(self.calendar.first(next_second)?)?;
        self.calendar.check_bytes(plan.fields(), self.documents_bytes(&packs))?;
        let told = self.vehicle.as_deref().map_or_else(|| Ok(Config::default()), told)?;
        std::fs::create_dir(&self.dir).map_err(|error| cannot_make(&self.dir, &error))?;
        let made = self.make(name, (&packs, &package), (&plan, &utility, &swarm), &told);
        if made.is_err() {
            // What is there now is ours, and a part of a fleet is of no use to anybody.
            let _removed = std::fs::remove_dir_all(&self.dir);
        }
        made
    }

    /// Fills the folder, which is new.
    fn make(
        &self,
        name: String,
        (packs, package): (&[Pack], &Package),
        (plan, utility, swarm): (&WindowPlan, &UtilityDocument, &SwarmDocument),
        told: &Config,
    ) -> Outcome {
        let source = self.seed.map_or(Source::Random, Source::Repeatable);
        let key = |name: &str| secret::create(&self.dir.join(name), source, name);
        let (authority, timekeeper) = (key("authority.key")?, key("timekeeper.key")?);
        let (approver, recovery) = (key("approver.key")?, key("recovery.key")?);
        let description = Description {
            name,
            region: self.region.first().cloned().ok_or("a fleet has a region")?,
            regions: self.region.clone(),
            broker: self.broker.to_string(),
            authority: authority.public(),
            timekeeper: timekeeper.public(),
            approver: approver.public(),
            recovery: Some(recovery.public()),
            vehicles: self.vehicles,
        };
        description.write(&self.dir)?;

        let vehicles = (0..self.vehicles)
            .map(|number| self.vehicle(number, source, &description, told.clone()))
            .collect::<Result<Vec<Vehicle>, Failure>>()?;
        let documents = self.dir.join("documents");
        std::fs::create_dir(&documents)?;
        let now_s = utc_ms()? / 1000;
        let until = not_after_seconds(plan.fields(), now_s);
        let mut desk = Desk::new(&documents, &authority, 0, until);
        desk.sign("plan", plan)?;
        desk.sign_roster(1, &vehicles, &[])?;
        desk.sign("utility", utility)?;
        desk.sign("swarm", swarm)?;
        let (first, more) = packs.split_first().ok_or("a fleet measures on a pack")?;
        utility::sign_pack(&mut desk, "pack", first)?;
        utility::sign_packs(&mut desk, more)?;
        // Since when the documents count: a fleet that is made again is the same.
        let repositories = Repositories::of(&self.dir, &description);
        let since_s = since_seconds(plan.fields(), now_s);
        repositories.create(&files(packs, package)?, since_s)?;
        println!("fleet of {} vehicles in {}", vehicles.len(), self.dir.display());
        println!("authority  {}", authority.public().id());
        println!("timekeeper {}", timekeeper.public().id());
        println!(
            "approver   {}: give approver.key to whoever is to approve campaigns",
            approver.public().id()
        );
        println!(
            "recovery   {}: lock recovery.key away; with one other person's it replaces a key that is lost",
            recovery.public().id()
        );
        Ok(())
    }

    /// Two fleets of one name on one broker would have every topic in common, under two authorities.
    fn name(&self) -> Result<String, Failure> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let folder = absolute(&self.dir)?;
        let last = folder.file_name().unwrap_or_default().to_string_lossy();
        label(&last).map_err(|why| {
            format!(
                "`{last}` cannot be the fleet's name on its broker ({why}): give it one with --name"
            )
            .into()
        })
    }

    /// About what the documents will have: manifests, a row for each vehicle, and the rest.
    fn documents_bytes(&self, packs: &[Pack]) -> u64 {
        let manifests: u64 = packs.iter().map(|pack| pack.manifest_bytes().len() as u64).sum();
        manifests + u64::from(self.vehicles) * VEHICLE_BYTES as u64 + REST_BYTES
    }

    /// What vehicles are to measure on and carry, and what counts of it; that all of it goes together.
    fn opened(&self) -> Result<(Vec<Pack>, Package, UtilityDocument), Failure> {
        let packs = self.pack.iter().map(|pack| Pack::open(pack)).collect::<Result<Vec<_>, _>>()?;
        for (number, pack) in packs.iter().enumerate() {
            let id = &pack.manifest().id;
            if packs.iter().take(number).any(|other| other.manifest().id == *id) {
                return Err(format!("two packs are called {id}").into());
            }
        }
        let known = packs.iter().map(|pack| Known::of(pack.manifest_bytes()));
        let known = known.collect::<Result<Vec<_>, _>>()?;
        let utility = match &self.utility {
            Some(file) => utility::read(file, &known, 1)?,
            None => utility::usual(&known, &self.gate)?,
        };
        let package = Package::open(&self.package)?;
        for pack in &packs {
            match pack.manifest().metric {
                pack::Metric::Skill => drop(Form::of(package.description())?),
                // Who says nothing on the grid cannot be measured there.
                pack::Metric::Imitation => drop(Form::of_policy(package.description())?),
            }
        }
        Ok((packs, package, utility))
    }

    /// A vehicle's folder: its key and what it is told.
    fn vehicle(
        &self,
        number: u32,
        source: Source,
        fleet: &Description,
        told: Config,
    ) -> Result<Vehicle, Failure> {
        let name = format!("vehicle-{number}");
        let folder = self.dir.join(&name);
        std::fs::create_dir(&folder)?;
        let key = secret::create(&folder.join(KEY), source, &name)?;
        let drives = DrivesConfig {
            vehicle: usize::try_from(number)?,
            vehicles: usize::try_from(fleet.vehicles)?,
            ..told.drives
        };
        let number_of_region = fleet.region_of(number);
        let region = fleet.regions.get(usize::from(number_of_region));
        let region = region.ok_or("a vehicle is in a region")?;
        let config = Config {
            name,
            seed: self.seed.unwrap_or(0),
            state: "state".into(),
            model: ModelConfig { package: absolute(&self.package)?, ..told.model },
            fleet: Some(FleetConfig {
                name: fleet.name.clone(),
                region: region.clone(),
                // Where there is one, nobody can be elsewhere.
                regions: if fleet.regions.len() > 1 { fleet.regions.clone() } else { Vec::new() },
                broker: fleet.broker.clone(),
                certificates: self.broker.tls().then(|| CERTIFICATES.into()),
                key: KeyAt::File(KEY.into()),
                next_key: None,
                packs: self.pack.iter().map(|pack| absolute(pack)).collect::<Result<_, _>>()?,
                authority: fleet.authority,
                timekeeper: fleet.timekeeper,
                approver: fleet.approver,
                trust: Some(absolute(&trust_of(&self.dir, fleet, region))?),
                exchange: true,
                beacons: false,
                metered: false,
                while_driving: false,
                battery_soc_min_percent: 30,
                temperature_max_c: 85,
            }),
            drives,
            ..told
        };
        // What `told` names lies beside its own file, where it was read; the rest beside this one.
        let toml = vehicle(&config, |path| Ok(path.to_path_buf()))?;
        let id = key.public().id();
        let head = format!("# Written by `shoal fleet init`. The id of the vehicle's key: {id}\n");
        std::fs::write(folder.join("vehicle.toml"), head + &toml)?;
        Ok(Vehicle { public_key: *key.public().bytes(), region: number_of_region })
    }

    fn swarm(&self, package: &Package) -> Result<SwarmDocument, Failure> {
        let description = package.description();
        // Only what a vehicle can carry is exchanged.
        Form::carried(description)?;
        let path = package.model_path();
        let bytes = std::fs::read(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let base_model = ModelHash::new(Sha256::digest(&bytes).into());
        let model = Model::read(&path)?;
        // A layout does not depend on how the graph is lowered.
        let layout = graft_package(&model, description, 1, Profile::Cpu)?.layout;
        let seed = self.seed.unwrap_or(0);
        Ok(SwarmDocument::new(SwarmDocumentFields {
            version: 1,
            seed,
            base_model,
            layout: LayoutHash::new(layout.hash()),
            values: u32::try_from(layout.values())?,
            rank: u8::try_from(description.adapter.rank)?,
            start_seed: seed,
            asked: 16,
            rule: self.rule.rule(),
        })?)
    }
}

/// What stands in no document, and yet counts by its bytes: the packs' manifests and the model.
fn files(packs: &[Pack], package: &Package) -> Result<BTreeMap<String, Target>, Failure> {
    let path = package.model_path();
    let model =
        std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let mut files = utility::files(packs);
    files.insert("models/model.onnx".to_owned(), Target::of(&model));
    Ok(files)
}

/// What every vehicle is told. Its paths are relative to the file; those of a vehicle's own are not.
fn told(file: &Path) -> Result<Config, Failure> {
    let told = Config::read(&absolute(file)?);
    let of_fleet = match &told {
        Ok(told) => told.fleet.is_some(),
        Err(ConfigError::Document(DocumentError::Missing { place })) => {
            place.key.starts_with("fleet.")
        }
        Err(ConfigError::Document(_) | ConfigError::Read { .. }) => false,
    };
    if of_fleet {
        return Err(format!(
            "{}: [fleet] is written here for each vehicle: leave it out, and add keys such as `beacons` to vehicle-N/vehicle.toml",
            file.display()
        )
        .into());
    }
    Ok(told?)
}

fn next_second() -> Result<u64, Failure> {
    Ok(utc_ms()? / 1000 + 1)
}

/// A part of a topic.
fn label(text: &str) -> Result<String, RejectLabel> {
    Label::new(text).map(|label| label.text().to_owned())
}

/// Why a folder that is to be new is not made.
pub(crate) fn cannot_make(folder: &Path, error: &std::io::Error) -> String {
    let folder = folder.display();
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        return format!("cannot make {folder}: it is there already; name a folder that is not");
    }
    format!("cannot make {folder}: {error}")
}

/// A path as a configuration can hold it.
pub(super) fn path(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| format!("{}: no UTF-8", path.display()).into())
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()).into())
}
