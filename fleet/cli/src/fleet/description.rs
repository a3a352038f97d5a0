//! `fleet.toml`: what whoever looks after a fleet knows of it. Written by `shoal fleet init`, read by `serve`, `console`
//! and `report`.

use std::path::Path;

use shoal_console::reader::Reading;
use shoal_console::state::Trust;
use shoal_hal::backend::files::write_whole;
use shoal_hal::backend::hold::Hold;
use shoal_link::Addresses;
use shoal_shadow::digits::hex;
use shoal_shadow::document::{Document, DocumentError, Table};
use shoal_vehicle::config::{label, public_key};
use shoal_wire::{KeyId, Label, PublicKey};

use super::repositories::RESERVED;
use super::toml::text;
use crate::output::Failure;

/// The file's name in the fleet's folder.
const FILE: &str = "fleet.toml";
/// Its keys, all required but the last two; several regions stand in the place of the one.
const KEYS: [&str; 9] = [
    "name",
    REGION,
    "broker",
    "authority",
    "timekeeper",
    "approver",
    "vehicles",
    RECOVERY,
    REGIONS,
];
const REGION: &str = "region";
const REGIONS: &str = "regions";
const RECOVERY: &str = "recovery";
/// The most regions of a fleet: documents that tell vehicles of new roots have room for so many.
const REGIONS_MAX: usize = 16;

/// A fleet, as its folder describes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Description {
    /// Its name on the broker.
    pub(crate) name: String,
    /// The region that is looked at, or of which something is made: the first one, unless another was chosen.
    pub(crate) region: String,
    /// All of them. Vehicles are given to them in turn, and the roster has the number of each vehicle's.
    pub(crate) regions: Vec<String>,
    /// The broker, `mqtt://HOST:PORT` or `mqtts://HOST:PORT`; of several nodes, with commas between them.
    pub(crate) broker: String,
    /// The key that signs documents.
    pub(crate) authority: PublicKey,
    /// The key that signs nonces.
    pub(crate) timekeeper: PublicKey,
    /// The second key, which approves campaigns.
    pub(crate) approver: PublicKey,
    /// The third, which signs roots alone, so that one that is lost can be replaced; a fleet from before there were any has none.
    pub(crate) recovery: Option<PublicKey>,
    /// Vehicles of the roster, from number 0 on; each has a folder `vehicle-NUMBER`.
    pub(crate) vehicles: u32,
}

impl Description {
    /// Reads the description of the fleet in this folder.
    ///
    /// # Errors
    /// When it cannot be read or a key is missing, unknown or of no use; file, line and key are named.
    pub(crate) fn read(fleet: &Path) -> Result<Self, Failure> {
        let path = fleet.join(FILE);
        let source = std::fs::read_to_string(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Ok(Self::parse(&path.to_string_lossy(), &source)?)
    }

    /// The same for a command that writes to the folder: no other does while it is held.
    ///
    /// # Errors
    /// Likewise, and when another command holds it, which is named.
    pub(crate) fn hold(fleet: &Path) -> Result<(Self, Hold), Failure> {
        Self::read(fleet)?;
        let held = Hold::take(fleet, &command())?;
        // What there was before may be another command's.
        Ok((Self::read(fleet)?, held))
    }

    fn parse(file: &str, source: &str) -> Result<Self, DocumentError> {
        let document = Document::parse(file, source)?;
        let root = document.root(&KEYS)?;
        let vehicles = root.integer("vehicles", 1..=1_000_000)?;
        let regions = match root.has(REGIONS) {
            true => several(&root)?,
            false => vec![label(&root, REGION)?],
        };
        Ok(Description {
            name: label(&root, "name")?,
            region: regions.first().cloned().ok_or_else(|| root.missing(REGIONS))?,
            regions,
            broker: root.text_required("broker")?.to_owned(),
            authority: public_key(&root, "authority")?,
            timekeeper: public_key(&root, "timekeeper")?,
            approver: public_key(&root, "approver")?,
            recovery: root.has(RECOVERY).then(|| public_key(&root, RECOVERY)).transpose()?,
            vehicles: vehicles.ok_or_else(|| root.missing("vehicles"))? as u32,
        })
    }

    /// The same of this region; `None`: of the first.
    ///
    /// # Errors
    /// When there is no such region.
    pub(crate) fn at(mut self, region: Option<&str>) -> Result<Self, Failure> {
        let Some(region) = region else { return Ok(self) };
        if !self.regions.iter().any(|one| one == region) {
            let (name, there) = (&self.name, self.regions.join(", "));
            return Err(format!("fleet {name} has no region {region}; there are: {there}").into());
        }
        region.clone_into(&mut self.region);
        Ok(self)
    }

    /// The same for a command that is for one region, which must be named where there are several.
    ///
    /// # Errors
    /// Likewise, and when none is named.
    pub(crate) fn at_one(self, region: Option<&str>) -> Result<Self, Failure> {
        if region.is_none() && self.regions.len() > 1 {
            let (name, there) = (&self.name, self.regions.join(", "));
            return Err(format!(
                "fleet {name} has several regions: name one with --region; there are: {there}"
            )
            .into());
        }
        self.at(region)
    }

    /// The number that the roster has for the region that is looked at.
    pub(crate) fn region_number(&self) -> u16 {
        let number = self.regions.iter().position(|one| *one == self.region);
        number.and_then(|number| u16::try_from(number).ok()).unwrap_or_default()
    }

    /// The number of the region in which the vehicle with this number is.
    pub(crate) fn region_of(&self, vehicle: u32) -> u16 {
        (vehicle as usize % self.regions.len().max(1)) as u16
    }

    /// Reads the fleet on a broker, as a console does.
    ///
    /// # Errors
    /// When the system has no random bytes for a name.
    pub(crate) fn reading(
        &self,
        broker: Addresses,
        certificates: Option<&Path>,
    ) -> Result<Reading, Failure> {
        let mut id = [0; 8];
        getrandom::fill(&mut id)
            .map_err(|error| format!("the system gives no random bytes: {error}"))?;
        Ok(Reading {
            fleet: self.name.clone(),
            region: self.region.clone(),
            region_number: self.region_number(),
            trust: Trust {
                authority: self.authority,
                timekeeper: self.timekeeper,
                approver: self.approver,
            },
            broker,
            certificates: certificates.map(Path::to_path_buf),
            id: KeyId::new(id),
        })
    }

    /// Writes it into the fleet's folder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, fleet: &Path) -> Result<(), Failure> {
        Ok(write_whole(&fleet.join(FILE), self.toml().as_bytes())?)
    }

    fn toml(&self) -> String {
        let Description { name, regions, broker, authority, timekeeper, approver, .. } = self;
        let (name, broker) = (text(name), text(broker));
        let named: Vec<String> = regions.iter().map(|region| text(region)).collect();
        let regions = match named.as_slice() {
            [one] => format!("{REGION} = {one}"),
            all => format!("{REGIONS} = [{}]", all.join(", ")),
        };
        let [authority, timekeeper, approver] =
            [authority, timekeeper, approver].map(|key| hex(key.bytes()));
        let vehicles = self.vehicles;
        let recovery = self.recovery.map(|key| format!("{RECOVERY} = \"{}\"\n", hex(key.bytes())));
        format!(
            "# Written by `shoal fleet init`.\nname = {name}\n{regions}\nbroker = {broker}\n\
             authority = \"{authority}\"\ntimekeeper = \"{timekeeper}\"\napprover = \"{approver}\"\nvehicles = {vehicles}\n{}",
            recovery.unwrap_or_default()
        )
    }
}

/// The regions of a fleet that has several, each once.
fn several(root: &Table<'_>) -> Result<Vec<String>, DocumentError> {
    let names = root.texts(REGIONS)?;
    if root.has(REGION) {
        return Err(root.refuse(REGION, "both", "`regions` alone, of which it is one"));
    }
    check_regions(&names).map_err(|why| root.refuse(REGIONS, names.join(", "), &why))?;
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Why these are no regions of a fleet.
pub(super) fn check_regions(names: &[&str]) -> Result<(), String> {
    if names.is_empty() || names.len() > REGIONS_MAX {
        return Err(format!("a fleet has 1 to {REGIONS_MAX} regions, not {}", names.len()));
    }
    for (number, name) in names.iter().enumerate() {
        if let Err(why) = Label::new(name) {
            return Err(format!("`{name}` is no region: {why}"));
        }
        if RESERVED.contains(name) {
            return Err(format!(
                "`{name}` is the name of other metadata: call the region otherwise"
            ));
        }
        if names.iter().take(number).any(|other| other == name) {
            return Err(format!("two regions are called {name}"));
        }
    }
    Ok(())
}

/// What this program was called to do, as others are told.
pub(super) fn command() -> String {
    let words = std::env::args().skip(1).take_while(|word| !word.starts_with('-')).take(2);
    format!("`shoal {}`", words.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use shoal_wire::SecretKey;

    use super::*;

    fn description() -> Description {
        Description {
            name: "trial".to_owned(),
            region: "region-0".to_owned(),
            regions: vec!["region-0".to_owned()],
            broker: "mqtt://127.0.0.1:1883".to_owned(),
            authority: SecretKey::from_seed(&[1; 32]).public(),
            timekeeper: SecretKey::from_seed(&[2; 32]).public(),
            approver: SecretKey::from_seed(&[3; 32]).public(),
            recovery: Some(SecretKey::from_seed(&[4; 32]).public()),
            vehicles: 4,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        description().write(folder.path()).unwrap();
        assert_eq!(Description::read(folder.path()).unwrap(), description());
        let regions = ["eu", "us"].map(str::to_owned).to_vec();
        let several = Description { region: "eu".to_owned(), regions, ..description() };
        several.write(folder.path()).unwrap();
        assert_eq!(Description::read(folder.path()).unwrap(), several);
        let chosen = several.clone().at(Some("us")).unwrap();
        assert_eq!((chosen.region.as_str(), chosen.region_number()), ("us", 1));
        assert_eq!((chosen.region_of(4), chosen.region_of(5)), (0, 1));
        let unknown = several.clone().at_one(Some("asia")).unwrap_err().to_string();
        assert!(unknown.contains("eu, us"), "{unknown}");
        let unnamed = several.at_one(None).unwrap_err().to_string();
        assert!(unnamed.contains("--region") && unnamed.contains("eu, us"), "{unnamed}");
        assert_eq!(description().at_one(None).unwrap(), description());
        let before_there_were_any = Description { recovery: None, ..description() };
        before_there_were_any.write(folder.path()).unwrap();
        assert_eq!(Description::read(folder.path()).unwrap(), before_there_were_any);
    }

    #[test]
    fn every_key_but_the_last_two_is_required_and_no_other_is_known() {
        let toml = description().toml();
        for key in KEYS.iter().filter(|key| ![RECOVERY, REGIONS].contains(key)) {
            let without: String = toml
                .lines()
                .filter(|line| !line.starts_with(*key))
                .map(|l| format!("{l}\n"))
                .collect();
            let missing = Description::parse("fleet.toml", &without).unwrap_err().to_string();
            assert!(missing.contains(key), "{missing}");
        }
        let more = Description::parse("fleet.toml", &format!("{toml}vehicle = 1\n")).unwrap_err();
        assert!(
            more.to_string().contains("fleet.toml:10") && more.to_string().contains("`vehicles`")
        );
    }
}
