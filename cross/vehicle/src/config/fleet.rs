//! The fleet that a vehicle exchanges with, as `vehicle.toml` tells it.

use std::path::{Path, PathBuf};

use shoal_keys::KeyAt;
use shoal_shadow::digits;
use shoal_shadow::document::{DocumentError, Table};
use shoal_trust::SignedBy;
use shoal_wire::{Label, PublicKey};

/// The keys of the table.
pub(super) const KEYS: [&str; 18] = [
    "name",
    "region",
    "regions",
    "broker",
    "certificates",
    "key",
    "next_key",
    "pack",
    "authority",
    "timekeeper",
    "approver",
    "trust",
    "exchange",
    "beacons",
    "metered",
    "while_driving",
    "battery_soc_min_percent",
    "temperature_max_c",
];

/// The fleet and this vehicle's place in it. Keys without a default are required.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetConfig {
    /// Name of the fleet on the broker.
    pub name: String,
    /// The vehicle's region.
    pub region: String,
    /// All regions of the fleet, in the roster's order; none named: there is one, or it is not told.
    pub regions: Vec<String>,
    /// The broker, `mqtt://HOST:PORT` or `mqtts://HOST:PORT`; of several nodes, with commas between them.
    pub broker: String,
    /// Directory of the vehicle's `certificate.pem` and `key.pem`, and of the `authority.pem` that signs brokers: for a
    /// broker with TLS.
    pub certificates: Option<PathBuf>,
    /// Where the vehicle's secret key is: a file, or a token.
    pub key: KeyAt,
    /// Where the key is that is to take its place once the authority's roster names it; `None`: beside a key's file, with `.next` at its
    /// end.
    pub next_key: Option<KeyAt>,
    /// Directories of the evaluation packs that the fleet's utility names; the first is what is measured on where nothing is said.
    pub packs: Vec<PathBuf>,
    /// The key that signs documents.
    pub authority: PublicKey,
    /// The key that signs nonces, and nothing else.
    pub timekeeper: PublicKey,
    /// The second key: without its signature no campaign puts what was learned to use.
    pub approver: PublicKey,
    /// Directory of a map file and roots (TUF): then a document counts if its repositories name it, and the newest roots say who the
    /// three keys above are. Without it, what the authority signed counts.
    pub trust: Option<PathBuf>,
    /// Whether to exchange; a vehicle that does not learns alone, night after night.
    pub exchange: bool,
    /// Whether to listen to the region's beacons instead of to every vehicle, as long as there is one.
    pub beacons: bool,
    /// Whether to exchange over a network that is paid by the byte.
    pub metered: bool,
    /// Whether to exchange while driving.
    pub while_driving: bool,
    /// The lowest charge at which to exchange without external power, in percent.
    pub battery_soc_min_percent: u8,
    /// The highest temperature of the computer at which to exchange, °C.
    pub temperature_max_c: i16,
}

impl FleetConfig {
    /// Reads the table.
    ///
    /// # Errors
    /// [`DocumentError`], naming file, line and key.
    pub(super) fn read(table: &Table<'_>) -> Result<Self, DocumentError> {
        let packs: Vec<PathBuf> =
            table.one_or_more("pack")?.into_iter().map(PathBuf::from).collect();
        if packs.is_empty() {
            return Err(table.missing("pack"));
        }
        Ok(FleetConfig {
            name: label(table, "name")?,
            region: label(table, "region")?,
            regions: table.texts("regions")?.into_iter().map(String::from).collect(),
            broker: table.text_required("broker")?.to_owned(),
            certificates: table.text("certificates")?.map(PathBuf::from),
            key: key(table, "key")?.ok_or_else(|| table.missing("key"))?,
            next_key: key(table, "next_key")?,
            packs,
            authority: public_key(table, "authority")?,
            timekeeper: public_key(table, "timekeeper")?,
            approver: public_key(table, "approver")?,
            trust: table.text("trust")?.map(PathBuf::from),
            exchange: table.boolean("exchange")?.unwrap_or(true),
            beacons: table.boolean("beacons")?.unwrap_or(false),
            metered: table.boolean("metered")?.unwrap_or(false),
            while_driving: table.boolean("while_driving")?.unwrap_or(false),
            battery_soc_min_percent: table
                .integer("battery_soc_min_percent", 0..=101)?
                .map_or(30, |percent| percent as u8),
            temperature_max_c: table
                .integer("temperature_max_c", -40..=150)?
                .map_or(85, |celsius| celsius as i16),
        })
    }

    /// Whether the roster, which counts the vehicle to the region of this number, has it in another one than it is told to be in.
    #[must_use]
    pub fn is_elsewhere(&self, counted: u16) -> bool {
        let counted = self.regions.get(usize::from(counted));
        !self.regions.is_empty() && counted != Some(&self.region)
    }

    /// From now on these keys sign; whether they are others than before.
    pub fn sign(&mut self, by: SignedBy) -> bool {
        let SignedBy { authority, timekeeper, approver } = by;
        let before = (self.authority, self.timekeeper, self.approver);
        (self.authority, self.timekeeper, self.approver) = (authority, timekeeper, approver);
        before != (authority, timekeeper, approver)
    }

    /// Where the next key is, if there is one; `None`: the key is in a token, and nothing says where the next one will be.
    #[must_use]
    pub fn next_key(&self) -> Option<KeyAt> {
        self.next_key.clone().or_else(|| match &self.key {
            KeyAt::File(path) => {
                let mut next = path.clone().into_os_string();
                next.push(".next");
                Some(KeyAt::File(next.into()))
            }
            KeyAt::Token(_) => None,
        })
    }

    /// Takes paths relative to the file they stand in.
    pub(super) fn beside(&mut self, directory: &Path) {
        self.key.beside(directory);
        if let Some(key) = &mut self.next_key {
            key.beside(directory);
        }
        self.packs.iter_mut().for_each(|pack| *pack = directory.join(&*pack));
        for folder in [&mut self.certificates, &mut self.trust] {
            *folder = folder.take().map(|folder| directory.join(folder));
        }
    }
}

/// A fleet's or a region's name: part of a topic.
///
/// # Errors
/// [`DocumentError`]: there is none, or it is no part of a topic.
pub fn label(table: &Table<'_>, key: &str) -> Result<String, DocumentError> {
    let text = table.text_required(key)?;
    let label = Label::new(text).map_err(|why| table.refuse(key, text, &why.to_string()))?;
    Ok(label.text().to_owned())
}

/// Where a secret key is: a path, or a token's URI.
fn key(table: &Table<'_>, key: &str) -> Result<Option<KeyAt>, DocumentError> {
    let Some(text) = table.text(key)? else { return Ok(None) };
    let at = KeyAt::parse(text);
    at.map(Some).map_err(|why| table.refuse(key, why, "a file or a token's URI"))
}

/// A public key as 64 hexadecimal digits.
///
/// # Errors
/// [`DocumentError`]: there is none, or it cannot verify.
pub fn public_key(table: &Table<'_>, key: &str) -> Result<PublicKey, DocumentError> {
    let text = table.text_required(key)?;
    let bytes = digits::hash(text)
        .ok_or_else(|| table.refuse(key, text, "a public key: 64 hexadecimal digits"))?;
    PublicKey::decode(&bytes).map_err(|why| table.refuse(key, why, "a key that can verify"))
}
