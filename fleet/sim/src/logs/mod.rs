//! What a fleet of token models learns from: recorded logs cut into stretches, and generated ones; each cut in time into what is
//! tuned on, what the pack is made of, and what nobody sees before the end.

mod baseline;
mod car;
mod recorded;

use std::collections::BTreeMap;
use std::ops::Range;

use sha2::{Digest, Sha256};
use shoal_hal::Part;
use shoal_hal::backend::recorded::comma::LogError;
use shoal_hal::backend::recorded::npy::NpyError;
use shoal_hal::backend::synthetic::{Region, Road, SPLIT, Use};
use shoal_shadow::package::TokenKind;
use shoal_shadow::tokens::{TokenForm, TokenLog, TokenLogError};
use shoal_soup::chance::Draws;
use shoal_wire::v1::{PARTS, UtilityDocument};

use self::baseline::Baseline;
use self::car::Car;
use crate::config::{LogsConfig, SimConfig, TermConfig};
use crate::record::RoadKind;
use crate::utility::{self, UtilityError};

/// Seeds of one simulation's roads are so far from the next one's.
const SEEDS_APART: u64 = 1000;
/// Rows that are tuned on from the first night on.
const ROWS_MIN: usize = 20;
/// Streams of draws: a car, and its noise, by its number.
const CARS: u64 = 1 << 40;
const NOISES: u64 = 1 << 41;

/// Why there are no logs.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    #[error("logs.recorded")]
    Recorded(#[from] LogError),
    #[error("logs.recorded")]
    Codes(#[from] NpyError),
    #[error("logs.regions, logs.unseen: no generated car has a camera whose frames are codes")]
    NoCodes,
    #[error("logs.recorded: {}: a CSV or a segment of comma2k19 is read", path.display())]
    Kind { path: std::path::PathBuf },
    #[error("logs.recorded: the model runs at {want} Hz, logs are read at {got} Hz")]
    Rate { want: f64, got: f64 },
    #[error("a log has no tokens; ask for fewer stretches, or for more rows")]
    Tokens(#[from] TokenLogError),
    #[error(
        "{vehicles} vehicles and {stretches} stretches that are driven: every vehicle needs one; ask for fewer vehicles or \
         more stretches, or name `logs.regions`"
    )]
    TooFew { vehicles: u32, stretches: usize },
    #[error("two logs are named `{name}`")]
    Twice { name: String },
    #[error("utility.{term}: no log `{log}` is in a pack")]
    NoLog { term: String, log: String },
    #[error(transparent)]
    Utility(#[from] UtilityError),
}

/// One log.
pub struct Log {
    /// Its rows.
    pub rows: TokenLog,
    /// What it is to the fleet.
    pub kind: RoadKind,
    /// Nats of every row under the baseline that skill is counted from; 0 of those before the first that can be predicted.
    pub baseline: Vec<f64>,
    /// SHA-256 over its rows.
    pub sha256: [u8; 32],
}

/// All logs of a simulation.
pub struct Logs {
    /// The logs: stretches first, in the order of the configuration.
    pub all: Vec<Log>,
    /// What is maximised.
    pub utility: UtilityDocument,
    /// By term: which logs its pack has rows of, and the hash of them.
    packs: Vec<(Vec<usize>, [u8; 32])>,
    form: TokenForm,
    windows_to_drive: u32,
}

/// A log that is not counted from anything yet.
struct Raw {
    rows: TokenLog,
    kind: RoadKind,
    sha256: [u8; 32],
}

impl Logs {
    /// Opens and draws the logs.
    ///
    /// # Errors
    /// [`LogsError`].
    pub fn open(
        config: &SimConfig,
        logs: &LogsConfig,
        form: &TokenForm,
    ) -> Result<Self, LogsError> {
        let generates = !logs.regions.is_empty() || !logs.unseen.is_empty();
        if generates && matches!(form.kind, TokenKind::Codes(_)) {
            return Err(LogsError::NoCodes);
        }
        let mut raw = Vec::new();
        for path in &logs.recorded {
            raw.extend(recorded::stretches(path, logs, form)?);
        }
        let mut vehicles = (0..config.vehicles).cycle();
        let driven = raw.iter_mut().filter(|raw| raw.kind != RoadKind::Unseen);
        let stretches =
            driven.zip(&mut vehicles).map(|(raw, n)| raw.kind = RoadKind::Driven(n)).count();
        let without = stretches.min(config.vehicles as usize) as u32..config.vehicles;
        if !without.is_empty() && logs.regions.is_empty() {
            return Err(LogsError::TooFew { vehicles: config.vehicles, stretches });
        }
        let regions = logs.regions.iter().cycle();
        for (vehicle, region) in without.zip(regions) {
            let kind = RoadKind::Driven(vehicle);
            raw.push(generated(config, logs, form, *region, u64::from(vehicle), kind)?);
        }
        for (number, region) in (u64::from(config.vehicles)..).zip(&logs.unseen) {
            raw.push(generated(config, logs, form, *region, number, RoadKind::Unseen)?);
        }
        let mut names = std::collections::BTreeSet::new();
        if let Some(twice) = raw.iter().find(|raw| !names.insert(raw.rows.name())) {
            return Err(LogsError::Twice { name: twice.rows.name().to_owned() });
        }
        let baseline = Baseline::fitted(&raw, form);
        let all: Vec<Log> = raw
            .into_iter()
            .map(|Raw { rows, kind, sha256 }| {
                let baseline = baseline.nats(&rows, form);
                Log { rows, kind, baseline, sha256 }
            })
            .collect();
        let packs = config.utility.iter().map(|term| pack(&all, term));
        let packs = packs.collect::<Result<Vec<_>, _>>()?;
        let hashes: Vec<[u8; 32]> = packs.iter().map(|(_logs, hash)| *hash).collect();
        let utility = utility::document(&config.utility, &hashes)?;
        let windows_to_drive = logs.windows_to_drive;
        Ok(Logs { all, utility, packs, form: form.clone(), windows_to_drive })
    }

    /// Every log by name.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<String, RoadKind> {
        self.all.iter().map(|log| (log.rows.name().to_owned(), log.kind)).collect()
    }

    /// Logs of a vehicle.
    pub fn of(&self, vehicle: u32) -> impl Iterator<Item = &Log> {
        self.all.iter().filter(move |log| log.kind == RoadKind::Driven(vehicle))
    }

    /// The rows of a log that a vehicle has seen before this window (from 1 on): as much more before each, until it has
    /// driven the whole of its tuning part.
    #[must_use]
    pub fn seen(&self, log: &Log, window: u32) -> Range<usize> {
        let all = log.rows.part(Part::Tuning, &self.form);
        let part = window.min(self.windows_to_drive) as usize;
        let seen = all.len() * part / self.windows_to_drive as usize;
        all.start..all.start + seen.max(ROWS_MIN).min(all.len())
    }

    /// The rows of a term's pack, or of a part of it (0 to 3): of every log a quarter of its pack part, in time.
    #[must_use]
    pub fn pack(&self, term: u8, part: Option<u8>) -> Vec<(&Log, Range<usize>)> {
        let of = self.packs.get(usize::from(term)).map_or(&[][..], |(logs, _hash)| logs);
        let quarter = |rows: Range<usize>| {
            let Some(part) = part.map(usize::from) else { return rows };
            let (first, count) = (rows.start, rows.len());
            let cut = |part: usize| first + count * part / usize::from(PARTS);
            cut(part)..cut(part + 1)
        };
        let logs = of.iter().filter_map(|index| self.all.get(*index));
        logs.map(|log| (log, quarter(log.rows.part(Part::Pack, &self.form)))).collect()
    }

    /// What of the logs decides results: their rows, what they are for, how fast they are seen.
    pub fn digest(&self, hasher: &mut Sha256) {
        for log in &self.all {
            hasher.update(log.sha256);
            hasher.update(format!("{} {:?};", log.rows.name(), log.kind));
        }
        hasher.update(self.windows_to_drive.to_le_bytes());
        self.packs.iter().for_each(|(_logs, hash)| hasher.update(hash));
    }
}

/// A generated log: the simulation's seed and the car's number decide which.
fn generated(
    config: &SimConfig,
    logs: &LogsConfig,
    form: &TokenForm,
    region: Region,
    number: u64,
    kind: RoadKind,
) -> Result<Raw, LogsError> {
    // The table has a share for every use.
    let seeds = SPLIT.iter().find(|share| share.of == Use::Drives).map(|share| &share.seeds);
    let (first, room) = seeds.map_or((0, 1), |seeds| (*seeds.start(), seeds.end() - seeds.start()));
    let offset = config.seed.wrapping_mul(SEEDS_APART).wrapping_add(number) % room;
    let road = Road { region, seed: first + offset };
    let car = Car::draw(&mut Draws::new(config.seed, CARS + number), logs.differ);
    let noise = &mut Draws::new(config.seed, NOISES + number);
    let motion = car.drive(road, form.rate_hz, logs.rows, noise);
    // Each seed has cars of its own.
    let name = format!("generated/{}/{number}/{}", region.name(), config.seed);
    recorded::of_motion(&name, motion, form, kind)
}

/// The logs of a term's pack, and the hash of all their rows.
fn pack(all: &[Log], term: &TermConfig) -> Result<(Vec<usize>, [u8; 32]), LogsError> {
    let is = |log: &Log, named: &str| {
        let rest = log.rows.name().strip_prefix(named);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let listed = || all.iter().enumerate().filter(|(_, log)| log.kind != RoadKind::Unseen);
    for named in &term.roads {
        if !listed().any(|(_, log)| is(log, named)) {
            let (term, log) = (term.name.clone(), named.clone());
            return Err(LogsError::NoLog { term, log });
        }
    }
    let in_pack =
        |log: &Log| term.roads.is_empty() || term.roads.iter().any(|named| is(log, named));
    let mut hasher = Sha256::new_with_prefix(b"shoal simulation logs");
    hasher.update(&term.name);
    let logs: Vec<usize> = listed().filter(|(_, log)| in_pack(log)).map(|(n, _)| n).collect();
    for log in logs.iter().filter_map(|index| all.get(*index)) {
        hasher.update(log.sha256);
    }
    Ok((logs, hasher.finalize().into()))
}
