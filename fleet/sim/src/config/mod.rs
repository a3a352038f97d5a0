//! One TOML file: a fleet, its roads, its calendar and its network, and the ways of learning together that are compared on
//! it. An unknown key is an error that names the nearest one; what cannot be simulated is refused before anything runs.

mod calendar;
mod drivers;
mod hardware;
mod journey;
mod liars;
mod logs;
mod matrix;
mod method;
mod night;
mod trivial;
mod utility;

use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};
use shoal_hal::backend::synthetic::Region;
use shoal_shadow::digits::hex;
use shoal_shadow::document::{Document, DocumentError, Table};
use shoal_vehicle::config::{EngineConfig, EngineKind};
use shoal_wire::v1::Metric;

use crate::set::{self, Set, SetError};

pub use calendar::{CalendarConfig, HabitConfig, Habits};
pub use drivers::DriversConfig;
pub use hardware::HardwareConfig;
pub use journey::PhaseConfig;
pub use liars::{LiarsConfig, Lie};
pub use logs::LogsConfig;
pub use matrix::MatrixConfig;
pub use method::{
    Average, Cocktail, Coefficients, Consensus, Ensemble, EvoMerge, Evolution, Fisher, Gossip,
    Mean, MeasuredOn, Merge, MethodConfig, ModelSwarms, RegMean, Rule, Server, Soup,
};
pub(crate) use method::{METHOD_NAME_MAX, is_plain};
pub use night::{NightConfig, Teacher};
pub use trivial::{LOOKED_AT_MAX, TrivialConfig};
pub use utility::TermConfig;

const ROOT: [&str; 17] = [
    "vehicles",
    "windows",
    "seed",
    "measure_every",
    "model",
    "trivial",
    "engine",
    "roads",
    "logs",
    "drivers",
    "night",
    "calendar",
    "network",
    "liars",
    "utility",
    "methods",
    "hardware",
];

/// Last fields that came later, as they are shown where a file does not use them: without them a run has the name that it
/// had before there were such fields.
const LATER: [&str; 23] = [
    ", habits: [] }",
    ", opens_s: 0, night_s: 0 }",
    // Before what is before it in the same structure.
    ", away: false }",
    ", from_window: 1 }",
    ", home: 0 }",
    ", night: None }",
    ", rollouts: false }",
    ", ahead: 1, teacher: Shipped }",
    ", matrix: None }",
    ", gates: true }",
    ", metric: None }",
    // A simulation runs on processors, all that it has. What is later in a structure is cut off first.
    ", providers: Providers { order: [Cpu], device: 0, fp16: false, cuda_graphs: false, cache: None }, cpus: None, frame_time_max: None }",
    // A simulation measures one by one.
    ", together: 4 }",
    ", privacy: None }",
    ", journey: [] }",
    ", distilled: 0 }",
    ", ewc: 0.0 }",
    ", replay: true }",
    ", stale: 0.0 }",
    ", hardware: [] }",
    ", by_rank: false }",
    ", measure: true }",
    // A simulation looks at what is staged by itself.
    ", measures_staged: false }",
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
    /// The same of a policy.
    pub drivers: Option<DriversConfig>,
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
    /// Classes of vehicles that can less than the others.
    pub hardware: Vec<HardwareConfig>,
    /// When vehicles drive, where that keeps them from windows.
    pub habits: Vec<HabitConfig>,
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
    /// In place of `regions`: what is driven phase after phase.
    pub journey: Vec<PhaseConfig>,
    /// Whether roll-outs of what is held out are measured, at the beginning and at the end.
    pub rollouts: bool,
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

/// Why a simulation is refused.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Set(#[from] SetError),
}

impl SimConfig {
    /// Reads a file; paths in it are relative to it.
    ///
    /// # Errors
    /// [`ConfigError`], naming line and key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::read_with(path, &[])
    }

    /// Reads a file with keys that are set beside it.
    ///
    /// # Errors
    /// [`ConfigError`]: what is wrong in the file with its line, what is set wrong with its key.
    pub fn read_with(path: &Path, sets: &[Set]) -> Result<Self, ConfigError> {
        let source = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let file = path.display().to_string();
        let mut config = Self::parse(&file, &source)?;
        if !sets.is_empty() {
            let given: Vec<String> = sets.iter().map(Set::to_string).collect();
            let file = format!("{file} with {}", given.join(", "));
            config = Self::parse(&file, &set::with(&source, sets)?)?;
        }
        Ok(config.beside(path))
    }

    /// The same with paths that were relative to this file.
    #[must_use]
    pub fn beside(mut self, path: &Path) -> Self {
        // Paths are in the name of a run: `./fleet.toml` is `fleet.toml`.
        let above = path.parent().unwrap_or(Path::new("")).components();
        let directory: PathBuf = above.filter(|part| *part != Component::CurDir).collect();
        let place = |path: &mut PathBuf| *path = directory.join(&*path);
        place(&mut self.package);
        self.model.iter_mut().for_each(place);
        self.logs.iter_mut().flat_map(|logs| &mut logs.recorded).for_each(place);
        self.roads.recorded.iter_mut().for_each(place);
        let matrix = self.drivers.iter_mut().flat_map(|drivers| &mut drivers.matrix);
        matrix.flat_map(|matrix| &mut matrix.policies).for_each(place);
        self.engine.library.iter_mut().for_each(place);
        self
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
        let windows = number("windows", 1..=1000, 10)?;
        let logs = LogsConfig::read(&root)?;
        let most = TrivialConfig::vehicles_max(trivial.as_ref());
        let vehicles = number("vehicles", 1..=most, 8)?;
        let drivers = DriversConfig::read(&root, vehicles)?;
        let roads = match &logs {
            Some(_) if root.has("roads") => {
                return Err(root.refuse("logs", "beside [roads]", "one of the two"));
            }
            Some(_) => RoadsConfig::none(),
            None if trivial.is_some() || drivers.is_some() => RoadsConfig::none(),
            None => RoadsConfig::read(&root, windows)?,
        };
        let mut night = NightConfig::read(&root)?;
        if trivial.is_some() {
            night.steps = 1;
        }
        let (calendar, habits) = CalendarConfig::read(&root, (vehicles, windows))?;
        let terms_of = utility::Of::what(drivers.is_some(), logs.is_some() || trivial.is_some());
        let config = SimConfig {
            vehicles,
            windows,
            seed: root.integer("seed", 0..=i64::MAX)?.unwrap_or(0) as u64,
            measure_every: number("measure_every", 1..=1000, 1)?,
            package,
            model,
            trivial,
            engine,
            jobs,
            roads,
            logs,
            drivers,
            night,
            calendar,
            network: NetworkConfig::read(&root)?,
            liars: LiarsConfig::read(&root)?,
            utility: utility::read(&root, terms_of)?,
            methods: method::read(&root, (vehicles, windows), night)?,
            hardware: hardware::read(&root, vehicles, night.batch)?,
            habits,
        };
        config.check(&root)?;
        Ok(config)
    }

    /// Refuses what each table allows by itself and another one does not.
    fn check(&self, root: &Table<'_>) -> Result<(), DocumentError> {
        let trivial = self.trivial;
        let frames = self.logs.is_none() && self.drivers.is_none() && trivial.is_none();
        let cannot = |method: &&MethodConfig| method.cannot(frames, trivial.is_some());
        if let Some(method) = self.methods.iter().find(cannot) {
            return Err(root.refuse("methods", &method.name, "one that needs no frames"));
        }
        let matrix = self.drivers.as_ref().is_some_and(|drivers| drivers.matrix.is_some());
        let other = |term: &&TermConfig| term.metric != Some(Metric::Imitation);
        if let Some(term) = self.utility.iter().find(other).filter(|_| matrix) {
            let got = format!("the metric of `{}`", term.name);
            return Err(root.refuse("utility", got, "imitation: all that a matrix is measured by"));
        }
        self.night.check(root, frames, &self.methods)?;
        self.check_distilled(root)?;
        if trivial.is_some() && self.calendar.night_s > 0 {
            let want = "no night_s: a client's night is one step";
            return Err(root.refuse("calendar", "night_s beside [trivial]", want));
        }
        match trivial {
            Some(trivial) => trivial.check(root, self.vehicles, &self.utility, &self.methods),
            None => Ok(()),
        }
    }

    /// Refuses nights that would end in the middle of a run: more distilled samples than a batch has room for, whichever tables say so.
    fn check_distilled(&self, root: &Table<'_>) -> Result<(), DocumentError> {
        for method in self.methods.iter().filter(|method| method.night.is_some()) {
            let night = self.under(method).night;
            if let Some(want) = night.too_many_distilled(&self.hardware) {
                let got = format!("distilled = {} of `{}`", night.distilled, method.name);
                return Err(root.refuse("methods", got, &want));
            }
        }
        let nights = self.methods.iter().any(|method| method.night.is_none());
        match self.night.too_many_distilled(&self.hardware).filter(|_| nights) {
            Some(want) => {
                let got = format!("distilled = {}", self.night.distilled);
                Err(root.refuse("night", got, &want))
            }
            None => Ok(()),
        }
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
        let absent = [" model: None,", " logs: None,", " drivers: None,", " trivial: None,"];
        let text =
            absent.into_iter().fold(decides.shown(), |text, absent| text.replace(absent, ""));
        let digest = Sha256::digest(text);
        hex(&digest)
    }
}

impl SimConfig {
    /// The same with this method's night.
    #[must_use]
    pub fn under(&self, method: &MethodConfig) -> Self {
        SimConfig { night: method.night.unwrap_or(self.night), ..self.clone() }
    }

    /// All its fields, but for those that came later and are not used.
    fn shown(&self) -> String {
        LATER.iter().fold(format!("{self:?}"), |shown, field| shown.replace(field, " }"))
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

/// All vehicles, in an order drawn for this purpose.
fn drawn(vehicles: u32, seed: u64, purpose: &str) -> Vec<usize> {
    let mut order: Vec<(Vec<u8>, usize)> = (0..vehicles as usize)
        .map(|vehicle| {
            let drawn = Sha256::new_with_prefix(purpose)
                .chain_update(seed.to_le_bytes())
                .chain_update(vehicle.to_le_bytes());
            (drawn.finalize().to_vec(), vehicle)
        })
        .collect();
    order.sort();
    order.into_iter().map(|(_, vehicle)| vehicle).collect()
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
            journey: Vec::new(),
            rollouts: false,
        }
    }

    fn read(root: &Table<'_>, windows: u32) -> Result<Self, DocumentError> {
        let keys = [
            "recorded",
            "unseen_drives",
            "regions",
            "listed",
            "unseen",
            "frames",
            "windows_to_drive",
            "journey",
            "rollouts",
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
            journey: journey::read(&table, windows)?,
            rollouts: table.boolean("rollouts")?.unwrap_or(false),
        };
        let journeys = !roads.journey.is_empty();
        if roads.recorded.is_empty() && roads.regions.is_empty() && !journeys {
            return Err(table.missing("regions"));
        }
        if journeys && !(roads.recorded.is_empty() && roads.regions.is_empty()) {
            let beside = "beside `recorded` or `regions`";
            return Err(table.refuse("journey", beside, "only one of the two"));
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const SMALL: &str =
        "[roads]\nregions = [\"snow\"]\n[[methods]]\nname = \"a\"\nkind = \"local\"\n";

    pub(crate) fn refused(toml: &str) -> String {
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
            (
                method("kind = \"average\"\nserver = \"mean\"\nmomentum = 0.5\n"),
                "a key of another server",
            ),
            (method("kind = \"average\"\nserver = \"median\"\nrate = 0.5\n"), "server: none"),
            (method("kind = \"soup\"\nmerge = \"uniform\"\nbudget = 9\n"), "this merge: scale"),
            (method("kind = \"soup\"\nmerge = \"greedy\"\ndensity = 0.5\n"), "this merge: budget"),
            (SMALL.replace("\"a\"", "\"../a\""), "it names a folder"),
            (
                format!("{SMALL}[[utility]]\nname = \"a\"\nwindows = [5, 3]\nweights = [0, 1]\n"),
                "growing",
            ),
            (
                format!("{SMALL}[[utility]]\nname = \"a\"\nwindows = [5]\nweights = [0, 1]\n"),
                "one a window",
            ),
            (beside("[calendar]\nstale = 1.5\n"), "calendar.stale"),
            (beside("[night]\nreplai = true\n"), "did you mean `replay`"),
            (method("kind = \"consensus\"\nmeasure = 1\n"), "measure"),
            (method("kind = \"paper\"\nmeasure = false\n"), "a key of another kind"),
            (method("kind = \"average\"\nby_rank = true\n"), "without `[[hardware]]`"),
            (format!("{SMALL}[[utility]]\nname = \"a\"\nweights = [0]\n"), "one that is not"),
            (format!("{SMALL}[[methods]]\nname = \"a\"\nkind = \"pooled\"\n"), "no other method"),
        ] {
            let error = refused(&toml);
            assert!(error.contains(said), "{toml}: {error}");
        }
    }

    /// Results that are kept go on being found: these are the names that such runs have had since they last gave other results.
    #[test]
    fn a_run_that_uses_nothing_new_keeps_its_name() {
        let file = "vehicles = 1\nwindows = 1\n[engine]\nkind = \"tract\"\n[roads]\nregions = [\"snow\"]\nframes = 60\n\
                    [night]\nsteps = 1\n[[utility]]\nname = \"x\"\ngate = 0.1\n[[methods]]\nname = \"a\"\nkind = \"local\"\n\
                    [[methods]]\nname = \"c\"\nkind = \"consensus\"\n[[methods]]\nname = \"v\"\nkind = \"average\"\n";
        let config = SimConfig::parse("fleet.toml", file).unwrap();
        let names: Vec<String> = config.methods.iter().map(|method| config.hash(method)).collect();
        let had = [
            "4f1f5d3e0ab3ce3d8393eb5c5ba4bfa42656f7341d14ed7828196362b72a7236",
            "2d148cf0921c3141431f691698a9da7ebac36efb1e3d21cb248578b2474b6ed0",
            "727bd0fe8c5778cdd381142c993eff2d3703ea9ce83ab37b8e8b4aa9fa916f33",
        ];
        assert_eq!(names, had);
    }

    #[test]
    fn a_run_is_named_by_what_decides_it() {
        let config = SimConfig::parse("fleet.toml", SMALL).unwrap();
        let hash = |config: &SimConfig| config.hash(&config.methods[0]);
        let more = SimConfig { jobs: 7, ..config.clone() };
        assert_eq!(hash(&config), hash(&more));
        let other = SimConfig { windows: 11, ..config.clone() };
        assert_ne!(hash(&config), hash(&other));
        let stale = format!("[calendar]\nstale = 0.25\n{SMALL}");
        assert_ne!(hash(&config), hash(&SimConfig::parse("fleet.toml", &stale).unwrap()));
        let other = SimConfig { model: Some("other.onnx".into()), ..config.clone() };
        assert_ne!(hash(&config), hash(&other));
        let named = |file: &str| hash(&config.clone().beside(Path::new(file)));
        assert_eq!(named("./fleet.toml"), named("fleet.toml"));
        assert_eq!(named("a/./fleet.toml"), named("a/fleet.toml"));
        assert_ne!(named("a/fleet.toml"), named("fleet.toml"));
    }
}
