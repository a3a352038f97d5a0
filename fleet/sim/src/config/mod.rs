//! One TOML file: a fleet, its roads, its calendar and its network, and the ways of learning together that are compared on
//! it. An unknown key is an error that names the nearest one; what cannot be simulated is refused before anything runs.

mod logs;
mod method;
mod trivial;
mod utility;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use shoal_hal::backend::synthetic::Region;
use shoal_shadow::document::{Document, DocumentError, Table};
use shoal_vehicle::config::{EngineConfig, EngineKind};

pub use logs::LogsConfig;
pub use method::{Average, Consensus, Merge, MethodConfig, Rule, Server, Soup};
pub use trivial::{LOOKED_AT_MAX, TrivialConfig};
pub use utility::TermConfig;

const ROOT: [&str; 15] = [
    "vehicles",
    "windows",
    "seed",
    "measure_every",
    "model",
    "trivial",
    "engine",
    "roads",
    "logs",
    "night",
    "calendar",
    "network",
    "liars",
    "utility",
    "methods",
];

/// A simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct SimConfig {
    /// Vehicles, 1 to 64; more where they are trivial.
    pub vehicles: u32,
    /// Windows, 1 to 1000.
    pub windows: u32,
    /// Seed of data, draws and keys.
    pub seed: u64,
    /// Windows from one look at held-out parts to the next; the last is always looked at.
    pub measure_every: u32,
    /// The model package's directory; not used by trivial clients.
    pub package: PathBuf,
    /// The model's file, where the package does not have it.
    pub model: Option<PathBuf>,
    /// Clients without a model.
    pub trivial: Option<TrivialConfig>,
    /// What runs it.
    pub engine: EngineConfig,
    /// Vehicles that are tuned or measured at a time.
    pub jobs: usize,
    /// What is driven, and what is measured besides; nothing where there are logs.
    pub roads: RoadsConfig,
    /// The same of a model of tokens.
    pub logs: Option<LogsConfig>,
    /// What a vehicle tunes between two windows.
    pub night: NightConfig,
    /// Who is there.
    pub calendar: CalendarConfig,
    /// What messages go over.
    pub network: NetworkConfig,
    /// Who does not do as it should.
    pub liars: LiarsConfig,
    /// What is maximised.
    pub utility: Vec<TermConfig>,
    /// What is compared; each has a name of its own.
    pub methods: Vec<MethodConfig>,
}

/// Roads.
#[derive(Clone, Debug, PartialEq)]
pub struct RoadsConfig {
    /// Folders of recorded drives, in this order: drive i of those that are driven is of vehicle i mod `vehicles`.
    pub recorded: Vec<PathBuf>,
    /// Recorded drives that nobody drives, and nothing of them is in the pack: by their paths within their folders.
    pub unseen_drives: Vec<String>,
    /// Regions of generated roads that are driven, one road a vehicle, in turn; used without `recorded`.
    pub regions: Vec<Region>,
    /// Regions that nobody drives and of which the pack has a part.
    pub listed: Vec<Region>,
    /// Regions that nobody drives, and nothing of them is in the pack.
    pub unseen: Vec<Region>,
    /// Frames of each generated road.
    pub frames: usize,
    /// Windows until a vehicle has driven all of its tuning part: it has seen as much more before each.
    pub windows_to_drive: u32,
}

/// A night.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NightConfig {
    /// Training steps before each window.
    pub steps: u32,
    /// Samples a step.
    pub batch: usize,
    /// AdamW's highest step size.
    pub learning_rate: f64,
}

/// A calendar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalendarConfig {
    /// From one window to the next, in seconds.
    pub period_s: u32,
    /// How long a window is open, in seconds.
    pub open_s: u32,
    /// Share of vehicles that miss a window, drawn anew for each.
    pub absent: f64,
}

/// A network, the same for every vehicle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkConfig {
    /// Bits a second from a vehicle to the broker.
    pub up_bits_s: f64,
    /// Bits a second from the broker to a vehicle.
    pub down_bits_s: f64,
    /// From one end to the other, in milliseconds.
    pub delay_ms: u64,
    /// Share of live messages that a vehicle does not get while it is there; what is retained comes with the next
    /// window.
    pub loss: f64,
}

/// Vehicles that lie: always the same ones, drawn from the seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiarsConfig {
    /// Their share of all vehicles.
    pub share: f64,
    /// What they do.
    pub lie: Lie,
}

/// A lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// What they send is noise, ten times as long as what they tuned; they claim that it is perfect, and vote the opposite
    /// of what they measure.
    Random,
    /// What they send is what they tuned; they claim that it is perfect.
    Inflated,
}

/// Why a simulation is refused.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Document(#[from] DocumentError),
}

impl SimConfig {
    /// Reads a file; paths in it are relative to it.
    ///
    /// # Errors
    /// [`ConfigError`], naming line and key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let source = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let mut config = Self::parse(&path.display().to_string(), &source)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        config.package = directory.join(&config.package);
        config.model = config.model.map(|model| directory.join(model));
        for recorded in config.logs.iter_mut().flat_map(|logs| &mut logs.recorded) {
            *recorded = directory.join(&*recorded);
        }
        config.roads.recorded.iter_mut().for_each(|recorded| *recorded = directory.join(&recorded));
        config.engine.library = config.engine.library.map(|library| directory.join(library));
        Ok(config)
    }

    /// Reads a text; `file` names it in errors.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn parse(file: &str, source: &str) -> Result<Self, DocumentError> {
        let document = Document::parse(file, source)?;
        let root = document.root(&ROOT)?;
        let number = |key, range, usual| Ok(root.integer(key, range)?.map_or(usual, |n| n as u32));
        let trivial = TrivialConfig::read(&root)?;
        let (engine, jobs) = engine(&root, trivial.is_some())?;
        let (package, model) = match root.table("model", &["package", "file"])? {
            Some(model) => {
                let file = model.text("file")?.map(PathBuf::from);
                (model.text_required("package")?.into(), file)
            }
            None => ("models/world".into(), None),
        };
        let logs = LogsConfig::read(&root)?;
        let roads = match &logs {
            Some(_) if root.has("roads") => {
                return Err(root.refuse("logs", "beside [roads]", "one of the two"));
            }
            Some(_) => RoadsConfig::none(),
            None if trivial.is_some() => RoadsConfig::none(),
            None => RoadsConfig::read(&root)?,
        };
        let mut night = NightConfig::read(&root)?;
        if trivial.is_some() {
            night.steps = 1;
        }
        let most = TrivialConfig::vehicles_max(trivial.as_ref());
        let vehicles = number("vehicles", 1..=most, 8)?;
        let config = SimConfig {
            vehicles,
            windows: number("windows", 1..=1000, 10)?,
            seed: root.integer("seed", 0..=i64::MAX)?.unwrap_or(0) as u64,
            measure_every: number("measure_every", 1..=1000, 1)?,
            package,
            model,
            trivial,
            engine,
            jobs,
            roads,
            logs,
            night,
            calendar: CalendarConfig::read(&root)?,
            network: NetworkConfig::read(&root)?,
            liars: LiarsConfig::read(&root)?,
            utility: utility::read(&root)?,
            methods: method::read(&root, vehicles)?,
        };
        if let Some(trivial) = trivial {
            trivial.check(&root, vehicles, &config.utility, &config.methods)?;
        }
        Ok(config)
    }
}

impl SimConfig {
    /// Vehicles whose own roads are looked at, the first ones: all that have a model.
    #[must_use]
    pub fn looked_at(&self) -> u32 {
        self.vehicles.min(LOOKED_AT_MAX)
    }

    /// SHA-256 over all that decides a run of this method, hexadecimal; how many work at a time does not.
    #[must_use]
    pub fn hash(&self, method: &MethodConfig) -> String {
        let decides = SimConfig { jobs: 1, methods: vec![method.clone()], ..self.clone() };
        // What is not there decides nothing.
        let absent = [" model: None,", " logs: None,", " trivial: None,"];
        let text = format!("{decides:?}");
        let text = absent.into_iter().fold(text, |text, absent| text.replace(absent, ""));
        let digest = Sha256::digest(text);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn engine(root: &Table<'_>, trivial: bool) -> Result<(EngineConfig, usize), DocumentError> {
    let mut engine = EngineConfig::default();
    let mut jobs = 2;
    // Nothing is run where no client has a model.
    let known = if trivial { &["jobs"][..] } else { &["kind", "library", "jobs"] };
    if let Some(table) = root.table("engine", known)? {
        let kinds = [("ort", EngineKind::Ort), ("tract", EngineKind::Tract)];
        engine.kind = table.choice("kind", &kinds)?.unwrap_or(EngineKind::Ort);
        engine.library = table.text("library")?.map(PathBuf::from);
        jobs = table.integer("jobs", 1..=64)?.map_or(jobs, |jobs| jobs as usize);
    }
    Ok((engine, jobs))
}

/// Regions by name.
fn regions(table: &Table<'_>, key: &str) -> Result<Vec<Region>, DocumentError> {
    let region = |name: &str| {
        Region::from_name(name).ok_or_else(|| {
            let known: Vec<&str> = Region::ALL.iter().map(|region| region.name()).collect();
            table.refuse(key, name, &format!("one of {}", known.join(", ")))
        })
    };
    table.texts(key)?.into_iter().map(region).collect()
}

impl RoadsConfig {
    /// No road at all.
    const fn none() -> Self {
        RoadsConfig {
            recorded: Vec::new(),
            unseen_drives: Vec::new(),
            regions: Vec::new(),
            listed: Vec::new(),
            unseen: Vec::new(),
            frames: 0,
            windows_to_drive: 1,
        }
    }

    fn read(root: &Table<'_>) -> Result<Self, DocumentError> {
        let keys = [
            "recorded",
            "unseen_drives",
            "regions",
            "listed",
            "unseen",
            "frames",
            "windows_to_drive",
        ];
        let Some(table) = root.table("roads", &keys)? else { return Err(root.missing("roads")) };
        let roads = RoadsConfig {
            recorded: table.texts("recorded")?.into_iter().map(PathBuf::from).collect(),
            unseen_drives: table.texts("unseen_drives")?.into_iter().map(String::from).collect(),
            regions: regions(&table, "regions")?,
            listed: regions(&table, "listed")?,
            unseen: regions(&table, "unseen")?,
            frames: table.integer("frames", 60..=100_000)?.unwrap_or(240) as usize,
            windows_to_drive: table.integer("windows_to_drive", 1..=1000)?.unwrap_or(5) as u32,
        };
        if roads.recorded.is_empty() && roads.regions.is_empty() {
            return Err(table.missing("regions"));
        }
        if !roads.recorded.is_empty() && !roads.regions.is_empty() {
            return Err(table.refuse("regions", "beside `recorded`", "only one of the two"));
        }
        if roads.recorded.is_empty() && !roads.unseen_drives.is_empty() {
            return Err(table.refuse(
                "unseen_drives",
                "without `recorded`",
                "drives recorded there",
            ));
        }
        Ok(roads)
    }
}

impl NightConfig {
    fn read(root: &Table<'_>) -> Result<Self, DocumentError> {
        let mut night = NightConfig { steps: 20, batch: 8, learning_rate: 3e-3 };
        if let Some(table) = root.table("night", &["steps", "batch", "learning_rate"])? {
            night.steps = table.integer("steps", 1..=10_000)?.map_or(night.steps, |n| n as u32);
            night.batch = table.integer("batch", 4..=256)?.map_or(night.batch, |n| n as usize);
            let rate = table.number("learning_rate", 1e-6..=1.0)?;
            night.learning_rate = rate.unwrap_or(night.learning_rate);
        }
        Ok(night)
    }
}

impl CalendarConfig {
    fn read(root: &Table<'_>) -> Result<Self, DocumentError> {
        let mut calendar = CalendarConfig { period_s: 86_400, open_s: 3600, absent: 0.0 };
        if let Some(table) = root.table("calendar", &["period_s", "open_s", "absent"])? {
            let seconds = |key| Ok(table.integer(key, 60..=2_592_000)?.map(|n| n as u32));
            calendar.period_s = seconds("period_s")?.unwrap_or(calendar.period_s);
            calendar.open_s = seconds("open_s")?.unwrap_or(calendar.open_s.min(calendar.period_s));
            calendar.absent = table.number("absent", 0.0..=0.99)?.unwrap_or(0.0);
            if calendar.open_s > calendar.period_s {
                let want = format!("at most period_s ({})", calendar.period_s);
                return Err(table.refuse("open_s", calendar.open_s, &want));
            }
        }
        Ok(calendar)
    }
}

impl NetworkConfig {
    fn read(root: &Table<'_>) -> Result<Self, DocumentError> {
        let mut network =
            NetworkConfig { up_bits_s: 1e6, down_bits_s: 1e7, delay_ms: 40, loss: 0.0 };
        let keys = ["up_bits_s", "down_bits_s", "delay_ms", "loss"];
        if let Some(table) = root.table("network", &keys)? {
            let rate = |key| table.number(key, 1e3..=1e12);
            network.up_bits_s = rate("up_bits_s")?.unwrap_or(network.up_bits_s);
            network.down_bits_s = rate("down_bits_s")?.unwrap_or(network.down_bits_s);
            let delay = table.integer("delay_ms", 0..=60_000)?;
            network.delay_ms = delay.map_or(network.delay_ms, |n| n as u64);
            network.loss = table.number("loss", 0.0..=0.99)?.unwrap_or(0.0);
        }
        Ok(network)
    }
}

impl LiarsConfig {
    fn read(root: &Table<'_>) -> Result<Self, DocumentError> {
        let mut liars = LiarsConfig { share: 0.0, lie: Lie::Random };
        if let Some(table) = root.table("liars", &["share", "lie"])? {
            liars.share = table.number("share", 0.0..=0.9)?.unwrap_or(0.0);
            let lies = [("random", Lie::Random), ("inflated", Lie::Inflated)];
            liars.lie = table.choice("lie", &lies)?.unwrap_or(Lie::Random);
        }
        Ok(liars)
    }

    /// Who lies, by vehicle: the same with every method.
    #[must_use]
    pub fn of(&self, vehicles: u32, seed: u64) -> Vec<bool> {
        let count = (self.share * f64::from(vehicles)).round() as usize;
        let mut order: Vec<(Vec<u8>, usize)> = (0..vehicles as usize)
            .map(|vehicle| {
                let drawn = Sha256::new_with_prefix(b"shoal simulation liars")
                    .chain_update(seed.to_le_bytes())
                    .chain_update(vehicle.to_le_bytes());
                (drawn.finalize().to_vec(), vehicle)
            })
            .collect();
        order.sort();
        let mut lying = vec![false; vehicles as usize];
        for (_, vehicle) in order.into_iter().take(count) {
            lying.iter_mut().skip(vehicle).take(1).for_each(|lies| *lies = true);
        }
        lying
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str =
        "[roads]\nregions = [\"snow\"]\n[[methods]]\nname = \"a\"\nkind = \"local\"\n";

    fn refused(toml: &str) -> String {
        SimConfig::parse("fleet.toml", toml).unwrap_err().to_string()
    }

    #[test]
    fn every_key_has_a_default_but_roads_and_methods() {
        let config = SimConfig::parse("fleet.toml", SMALL).unwrap();
        assert_eq!((config.vehicles, config.windows, config.night.steps), (8, 10, 20));
        assert!(refused("vehicles = 2\n").contains("roads"));
        assert!(refused("[roads]\nregions = [\"snow\"]\n").contains("methods"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_the_nearest() {
        let beside = |more: &str| format!("{more}{SMALL}");
        let method = |more: &str| format!("{SMALL}[[methods]]\nname = \"b\"\n{more}");
        for (toml, said) in [
            (
                beside("vehicels = 3\n"),
                "fleet.toml:1: vehicels: unknown key; did you mean `vehicles`?",
            ),
            (beside("vehicles = 65\n"), "1 to 64"),
            (beside("[calendar]\nperiod_s = 60\nopen_s = 61\n"), "at most period_s"),
            (beside("[network]\nloss = 1.0\n"), "loss"),
            ("[roads]\nregions = [\"snwo\"]\n".into(), "snow"),
            (method("kind = \"averge\"\n"), "`average`"),
            (method("kind = \"local\"\nup_bits = 2\n"), "a key of another kind"),
            (method("kind = \"average\"\nup_bits = 12\n"), "1 to 8, or 32"),
            (method("kind = \"consensus\"\nup_bits = 32\n"), "1 to 8"),
            (method("kind = \"average\"\nserver = \"krum\"\nliars = 4\n"), "2 f + 3"),
            (method("kind = \"soup\"\n"), "merge"),
            (SMALL.replace("\"a\"", "\"../a\""), "it names a folder"),
            (
                format!("{SMALL}[[utility]]\nname = \"a\"\nwindows = [5, 3]\nweights = [0, 1]\n"),
                "growing",
            ),
            (
                format!("{SMALL}[[utility]]\nname = \"a\"\nwindows = [5]\nweights = [0, 1]\n"),
                "one a window",
            ),
            (format!("{SMALL}[[utility]]\nname = \"a\"\nweights = [0]\n"), "one that is not"),
            (format!("{SMALL}[[methods]]\nname = \"a\"\nkind = \"pooled\"\n"), "no other method"),
        ] {
            let error = refused(&toml);
            assert!(error.contains(said), "{toml}: {error}");
        }
    }

    #[test]
    fn so_many_lie_as_are_asked_for_and_always_the_same() {
        let liars = LiarsConfig { share: 0.25, lie: Lie::Random };
        for seed in 0..20 {
            let who = liars.of(8, seed);
            assert_eq!(who.iter().filter(|lies| **lies).count(), 2);
            assert_eq!(who, liars.of(8, seed));
        }
        assert!((0..20).any(|seed| liars.of(8, seed) != liars.of(8, 0)));
        assert!(refused(&format!("[liars]\nlie = \"randon\"\n{SMALL}")).contains("`random`"));
    }

    #[test]
    fn a_run_is_named_by_what_decides_it() {
        let config = SimConfig::parse("fleet.toml", SMALL).unwrap();
        let hash = |config: &SimConfig| config.hash(&config.methods[0]);
        let more = SimConfig { jobs: 7, ..config.clone() };
        assert_eq!(hash(&config), hash(&more));
        let other = SimConfig { windows: 11, ..config.clone() };
        assert_ne!(hash(&config), hash(&other));
        let other = SimConfig { model: Some("other.onnx".into()), ..config.clone() };
        assert_ne!(hash(&config), hash(&other));
    }
}
