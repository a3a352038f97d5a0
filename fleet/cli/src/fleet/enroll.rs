//! `shoal fleet enroll`: a fleet that grows.

use std::path::PathBuf;

use clap::Args;
use shoal_keys::KeyAt;
use shoal_vehicle::config::Config;
use shoal_wire::v1::Vehicle;
use shoal_wire::{PublicKey, Signer};

use super::description::Description;
use super::heard::heard;
use super::init::{CERTIFICATES, KEY, absolute};
use super::plan;
use super::repositories::trust_of;
use super::roster::{Roster, name};
use super::rotate::public_key;
use super::secret::{self, Source};
use super::toml::vehicle;
use super::utility::next_window;
use crate::clock::utc_ms;
use crate::output::{Failure, Outcome};

/// Take more vehicles into the fleet.
///
/// Each gets the next number, and a folder with its key and its vehicle.toml, which is that of a vehicle that is there but for what is its
/// own; a vehicle that made its key itself (`--public`) gets its place on the roster alone. The authority signs the roster: its key must be in the folder. They are
/// of the fleet from the window after the next on, when everybody has heard of them; what was claimed and elected before stands.
/// A command that was cut short is given again.
///
/// Example: shoal fleet enroll trial --vehicles 2
///
/// Example: shoal fleet enroll trial --public 5866666666666666666666666666666666666666666666666666666666666666
#[derive(Args)]
pub(crate) struct Enroll {
    /// The fleet's directory
    dir: PathBuf,
    /// How many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), required_unless_present = "public")]
    vehicles: Option<u32>,
    /// The public half of the key that a vehicle made: 64 hexadecimal digits; several times for several
    #[arg(long, value_name = "HEX", value_parser = public_key, conflicts_with_all = ["vehicles", "like"])]
    public: Vec<PublicKey>,
    /// The region of all of them [given to the regions in turn]
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// The vehicle.toml that theirs are like [DIR/vehicle-0/vehicle.toml]
    #[arg(long, value_name = "FILE")]
    like: Option<PathBuf>,
}

impl Enroll {
    pub(crate) fn run(self) -> Outcome {
        let (mut description, _held) = Description::hold(&self.dir)?;
        let mut roster = Roster::read(&self.dir, &description)?;
        let (before, known) = (roster.places()?, description.vehicles);
        if before > known {
            // The roster was signed, and then the command was cut short.
            name(&self.dir, &description)?;
            description.vehicles = before;
            description.write(&self.dir)?;
            println!("vehicles {known} to {} are of the fleet already", before - 1);
            println!("{}", heard(&self.dir));
            return Ok(());
        }
        let keys = self.keys(before, &description)?;
        let plan = plan::read(&self.dir.join("documents/plan.shl"), description.authority)?;
        let next = next_window(&plan, utc_ms()? / 1000);
        let window = roster.enroll(&keys, next)?;
        roster.sign(&self.dir, &description)?;
        description.vehicles = roster.places()?;
        description.write(&self.dir)?;
        for (number, row) in (before..).zip(&keys) {
            println!("vehicle {number} {}", row.id());
        }
        match window {
            Some(window) => println!("they are of the fleet from window {window} on"),
            None => println!("they are of the fleet from its first window on"),
        }
        if let Some(few) = plan::few_bytes(&self.dir, description.authority)? {
            eprintln!("warning: {few}");
        }
        println!("{}", heard(&self.dir));
        Ok(())
    }

    /// The rows of all of them, whose folders are made.
    fn keys(&self, before: u32, fleet: &Description) -> Result<Vec<Vehicle>, Failure> {
        let region = self.region.as_deref();
        let named = region.map(|region| fleet.clone().at(Some(region))).transpose()?;
        let region_of = |number| match &named {
            Some(named) => named.region_number(),
            None => fleet.region_of(number),
        };
        let keys: Vec<PublicKey> = if self.public.is_empty() {
            let count = self.vehicles.unwrap_or(0);
            let like = self.like.clone().unwrap_or_else(|| self.dir.join("vehicle-0/vehicle.toml"));
            let config = Config::read(&absolute(&like)?).map_err(|error| {
                format!(
                    "{error}\nname a vehicle.toml of the fleet that theirs are like: --like FILE"
                )
            })?;
            let make = |number| {
                let region = fleet.regions.get(usize::from(region_of(number)));
                let region = region.ok_or("a vehicle is in a region")?;
                self.folder((number, before + count), fleet, region, config.clone())
            };
            (before..before + count).map(make).collect::<Result<_, Failure>>()?
        } else {
            self.public.clone()
        };
        let row = |(number, key): (u32, PublicKey)| Vehicle {
            public_key: *key.bytes(),
            region: region_of(number),
        };
        Ok((before..).zip(keys).map(row).collect())
    }

    /// Makes a vehicle's folder. One of a command that was cut short keeps its key.
    fn folder(
        &self,
        (number, vehicles): (u32, u32),
        fleet: &Description,
        region: &str,
        like: Config,
    ) -> Result<PublicKey, Failure> {
        let name = format!("vehicle-{number}");
        let folder = self.dir.join(&name);
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(KEY);
        let key: Box<dyn Signer> = match secret::open_if_there(&path)? {
            Some(key) => key,
            None => Box::new(secret::create(&path, Source::Random, &name)?),
        };
        let mut config = Config { name, state: "state".into(), gateway: None, ..like };
        config.drives.vehicle = usize::try_from(number)?;
        config.drives.vehicles = usize::try_from(vehicles)?;
        let told =
            config.fleet.as_mut().ok_or("the vehicle.toml that theirs are like has no [fleet]")?;
        if (told.name.as_str(), told.authority) != (fleet.name.as_str(), fleet.authority) {
            return Err(format!(
                "the vehicle.toml that theirs are like is of the fleet {} and another authority",
                told.name
            )
            .into());
        }
        region.clone_into(&mut told.region);
        (told.key, told.next_key) = (KeyAt::File(KEY.into()), None);
        told.certificates = told.certificates.as_ref().map(|_theirs| CERTIFICATES.into());
        told.trust = Some(absolute(&trust_of(&self.dir, fleet, region))?);
        let toml = vehicle(&config, |path| Ok(path.to_path_buf()))?;
        let id = key.public().id();
        let head =
            format!("# Written by `shoal fleet enroll`. The id of the vehicle's key: {id}\n");
        std::fs::write(folder.join("vehicle.toml"), head + &toml)?;
        Ok(key.public())
    }
}
