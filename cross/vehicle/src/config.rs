//! `vehicle.toml`: everything one vehicle is told, read once into a complete structure.
//!
//! Every key has a default; an unknown key is an error that names the nearest one. Paths are taken
//! relative to the file.

mod devices;
mod engine;
mod fleet;
mod gateway;
mod geometry;
mod privacy;
mod utility;

use std::path::{Path, PathBuf};

use embassy_time::Duration;
use shoal_hal::backend::synthetic::Style;
use shoal_shadow::batch::TURN_RAD;
use shoal_shadow::document::{Document, DocumentError, Table};
use shoal_shadow::grid::Geometry;
use shoal_swarm::privacy::Privacy;

use crate::night::Plan;

pub use devices::{CameraConfig, CanConfig, ConditionsConfig, PixelLayout, SignalConfig};
pub use engine::{EngineConfig, EngineKind, TOGETHER_MAX, providers};
pub use fleet::{FleetConfig, label, public_key};
pub use gateway::GatewayConfig;
pub use utility::knots;

/// One vehicle, as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Name shown in reports.
    pub name: String,
    /// Seed of every draw of this vehicle.
    pub seed: u64,
    /// The model it carries.
    pub model: ModelConfig,
    /// What runs the model.
    pub engine: EngineConfig,
    /// How its steering wheel bends its path: what a policy is compared with the driver by.
    pub geometry: Geometry,
    /// What it drives.
    pub drives: DrivesConfig,
    /// Its camera; with one it drives what happens, and no drives.
    pub camera: Option<CameraConfig>,
    /// Its CAN bus: what the camera's moments are joined with, and how it knows that it is parked.
    pub can: Option<CanConfig>,
    /// How its conditions are told; asked for with a camera alone.
    pub conditions: ConditionsConfig,
    /// What it remembers.
    pub replay: ReplayConfig,
    /// When and how it tunes.
    pub night: NightConfig,
    /// Directory of all state: replay, slots, records.
    pub state: PathBuf,
    /// The fleet it belongs to; without one it learns alone.
    pub fleet: Option<FleetConfig>,
    /// How what it contributes there is made private; without it, it is not.
    pub privacy: Option<Privacy>,
    /// The gateway that guards the window beside it; without one it guards its own.
    pub gateway: Option<GatewayConfig>,
}

/// The model package.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Directory that holds `model.toml`; its adapter is what the vehicle tunes and exchanges.
    pub package: PathBuf,
    /// That of a second model, which looks at the same road and stays as it is: a policy beside a world model, or a world model
    /// beside a policy.
    pub beside: Option<PathBuf>,
}

/// Drivers by name.
pub const DRIVERS: [(&str, Style); 3] = [
    ("attentive", Style::Attentive),
    ("reckless", Style::Reckless),
    ("particular", Style::Particular),
];

/// Where the drives come from.
#[derive(Clone, Debug, PartialEq)]
pub struct DrivesConfig {
    /// Directory of recorded drives; without it roads are generated.
    pub directory: Option<PathBuf>,
    /// Generated regions, one drive each; none named means every region kept for demonstrations.
    pub regions: Vec<String>,
    /// Who drives generated roads in the closed loop; without one a camera is led along them.
    pub driver: Option<Style>,
    /// Frames of each generated drive, at the model's rate.
    pub frames: usize,
    /// This vehicle's number: it has the drives i with i mod `vehicles` = `vehicle`.
    pub vehicle: usize,
    /// Vehicles that share the drives.
    pub vehicles: usize,
    /// Rate of folders of frames, in Hz.
    pub folder_rate_hz: f64,
}

/// Bounds of the replay store.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayConfig {
    /// Bytes of frames kept on disk.
    pub bytes_max: u64,
    /// Days after which a span is forgotten.
    pub retention_days: u32,
    /// Share of ordinary moments kept beside the surprising ones, 0 to 1.
    pub ordinary_share: f32,
    /// Calibrated surprise (quantile, 0 to 1) above which a span is kept.
    pub surprise_quantile: f32,
    /// Seconds kept before and after a surprising moment.
    pub seconds_around: f32,
}

/// The night: how much is trained and under which conditions.
#[derive(Clone, Debug, PartialEq)]
pub struct NightConfig {
    /// Gradient steps.
    pub steps: u32,
    /// Steps between two measurements on the evaluation pack.
    pub slice: u32,
    /// Samples of one step.
    pub batch: usize,
    /// AdamW's step size.
    pub learning_rate: f32,
    /// Frames that a world model predicts in a row, each from those predicted before, 1 to 8: its nights train all of them alike.
    pub ahead: usize,
    /// How far a policy's camera is turned in its lessons at most, rad; 0: as it was.
    pub turn_rad: f32,
    /// Share of a policy's samples that are lessons on generated roads, 0 to 0.9; `None`: what its package says.
    pub rehearsal: Option<f32>,
    /// Clips that replay must hold before tuning is worth it.
    pub clips_min: usize,
    /// Skill by which a candidate must beat the active adapter on the pack.
    pub margin: f32,
    /// Warmest computer at which tuning runs, °C.
    pub temperature_max_c: i16,
    /// Lowest charge at which tuning runs without external power, percent.
    pub battery_soc_min_percent: u8,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            name: "vehicle-0".into(),
            seed: 0,
            model: ModelConfig::default(),
            engine: EngineConfig::default(),
            geometry: Geometry::default(),
            drives: DrivesConfig::default(),
            camera: None,
            can: None,
            conditions: ConditionsConfig::default(),
            replay: ReplayConfig::default(),
            night: NightConfig::default(),
            state: "vehicle-0.state".into(),
            fleet: None,
            privacy: None,
            gateway: None,
        }
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        ModelConfig { package: "models/world".into(), beside: None }
    }
}

impl Default for DrivesConfig {
    fn default() -> Self {
        DrivesConfig {
            directory: None,
            regions: Vec::new(),
            driver: None,
            frames: 360,
            vehicle: 0,
            vehicles: 1,
            folder_rate_hz: 10.0,
        }
    }
}

impl Default for ReplayConfig {
    fn default() -> Self {
        ReplayConfig {
            bytes_max: 256 << 20,
            retention_days: 30,
            ordinary_share: 0.3,
            surprise_quantile: 0.7,
            seconds_around: 1.5,
        }
    }
}

/// Between two looks at the conditions, of who keeps a night waiting.
const NIGHT_RETRY: Duration = Duration::from_secs(60);

const NIGHT_KEYS: [&str; 11] = [
    "steps",
    "slice",
    "batch",
    "learning_rate",
    "ahead",
    "turn_rad",
    "rehearsal",
    "clips_min",
    "margin",
    "temperature_max_c",
    "battery_soc_min_percent",
];

impl Default for NightConfig {
    fn default() -> Self {
        NightConfig {
            steps: 240,
            slice: 40,
            batch: 8,
            learning_rate: 3e-3,
            ahead: 1,
            turn_rad: TURN_RAD,
            rehearsal: None,
            clips_min: 8,
            margin: 0.0,
            temperature_max_c: 70,
            battery_soc_min_percent: 60,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No TOML, an unknown key, or a value that is not allowed.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

impl Config {
    /// Reads and checks a file; relative paths in it become relative to its directory.
    ///
    /// # Errors
    /// [`ConfigError`], naming file, line and key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let source = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
        let mut config = Config::parse(&path.to_string_lossy(), &source)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        config.state = directory.join(&config.state);
        config.model.package = directory.join(&config.model.package);
        config.model.beside = config.model.beside.map(|beside| directory.join(beside));
        config.drives.directory = config.drives.directory.map(|drives| directory.join(drives));
        if let Some(fleet) = &mut config.fleet {
            fleet.beside(directory);
        }
        if let Some(can) = &mut config.can {
            can.beside(directory);
        }
        if let Some(gateway) = &mut config.gateway {
            gateway.line = directory.join(&gateway.line);
        }
        config.engine.beside(directory);
        Ok(config)
    }

    /// Parses a document; `file` only names it in errors.
    ///
    /// # Errors
    /// [`DocumentError`], naming file, line and key.
    pub fn parse(file: &str, source: &str) -> Result<Self, DocumentError> {
        let document = Document::parse(file, source)?;
        let root = document.root(&[
            "name",
            "seed",
            "state",
            "model",
            "engine",
            "geometry",
            "drives",
            "camera",
            "can",
            "conditions",
            "replay",
            "night",
            "fleet",
            "privacy",
            "gateway",
        ])?;
        let mut config = Config::default();
        take(&mut config.name, root.text("name")?.map(String::from));
        take(&mut config.seed, root.integer("seed", 0..=i64::MAX)?.map(|seed| seed as u64));
        take(&mut config.state, root.text("state")?.map(PathBuf::from));
        if let Some(model) = root.table("model", &["package", "beside"])? {
            take(&mut config.model.package, model.text("package")?.map(PathBuf::from));
            config.model.beside = model.text("beside")?.map(PathBuf::from);
        }
        if let Some(table) = root.table("engine", &engine::KEYS)? {
            config.engine.fill(&table)?;
        }
        if let Some(table) = root.table("geometry", &geometry::KEYS)? {
            config.geometry = geometry::read(&table)?;
        }
        let keys =
            ["directory", "regions", "driver", "frames", "vehicle", "vehicles", "folder_rate_hz"];
        if let Some(table) = root.table("drives", &keys)? {
            config.drives.fill(&table)?;
        }
        let keys = [
            "bytes_max",
            "retention_days",
            "ordinary_share",
            "surprise_quantile",
            "seconds_around",
        ];
        if let Some(table) = root.table("replay", &keys)? {
            config.replay.fill(&table)?;
        }
        if let Some(table) = root.table("night", &NIGHT_KEYS)? {
            config.night.fill(&table)?;
        }
        config.devices(&root)?;
        config.fleet = root
            .table("fleet", &fleet::KEYS)?
            .map(|table| FleetConfig::read(&table))
            .transpose()?;
        let privacy = root.table("privacy", &privacy::KEYS)?;
        config.privacy = privacy.map(|table| privacy::read(&table)).transpose()?;
        let gateway = root.table("gateway", &gateway::KEYS)?;
        config.gateway = gateway.map(|table| gateway::read(&table)).transpose()?;
        if config.gateway.is_some() && config.fleet.is_none() {
            return Err(root.missing("fleet"));
        }
        Ok(config)
    }

    fn devices(&mut self, root: &Table<'_>) -> Result<(), DocumentError> {
        let camera = root.table("camera", &devices::CAMERA_KEYS)?;
        self.camera = camera.map(|table| CameraConfig::read(&table)).transpose()?;
        let can = root.table("can", &devices::CAN_KEYS)?;
        self.can = can.map(|table| CanConfig::read(&table)).transpose()?;
        match root.table("conditions", &devices::CONDITIONS_KEYS)? {
            Some(table) => self.conditions.fill(&table),
            None => Ok(()),
        }
    }

    /// The night's plan in the core's terms.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan {
            steps: self.night.steps,
            slice: self.night.slice,
            clips_min: self.night.clips_min,
            margin: self.night.margin,
            temperature_max_c: self.night.temperature_max_c,
            battery_soc_min_percent: self.night.battery_soc_min_percent,
            retry: NIGHT_RETRY,
        }
    }
}

impl DrivesConfig {
    fn fill(&mut self, table: &Table<'_>) -> Result<(), DocumentError> {
        self.directory = table.text("directory")?.map(PathBuf::from);
        self.regions = table.texts("regions")?.into_iter().map(String::from).collect();
        self.driver = table.choice("driver", &DRIVERS)?;
        take(&mut self.frames, table.integer("frames", 60..=100_000)?.map(|n| n as usize));
        take(&mut self.vehicles, table.integer("vehicles", 1..=1 << 20)?.map(|n| n as usize));
        let last = self.vehicles as i64 - 1;
        take(&mut self.vehicle, table.integer("vehicle", 0..=last)?.map(|n| n as usize));
        take(&mut self.folder_rate_hz, table.number("folder_rate_hz", 0.01..=1000.0)?);
        Ok(())
    }
}

impl ReplayConfig {
    fn fill(&mut self, table: &Table<'_>) -> Result<(), DocumentError> {
        let bytes = table.integer("bytes_max", 1 << 20..=1 << 50)?;
        take(&mut self.bytes_max, bytes.map(|n| n as u64));
        let days = table.integer("retention_days", 1..=3650)?;
        take(&mut self.retention_days, days.map(|n| n as u32));
        take(
            &mut self.ordinary_share,
            table.number("ordinary_share", 0.0..=1.0)?.map(|x| x as f32),
        );
        let quantile = table.number("surprise_quantile", 0.0..=1.0)?;
        take(&mut self.surprise_quantile, quantile.map(|x| x as f32));
        let seconds = table.number("seconds_around", 0.0..=60.0)?;
        take(&mut self.seconds_around, seconds.map(|x| x as f32));
        Ok(())
    }
}

impl NightConfig {
    fn fill(&mut self, table: &Table<'_>) -> Result<(), DocumentError> {
        take(&mut self.steps, table.integer("steps", 0..=1_000_000)?.map(|n| n as u32));
        take(&mut self.slice, table.integer("slice", 1..=1_000_000)?.map(|n| n as u32));
        take(&mut self.batch, table.integer("batch", 1..=1024)?.map(|n| n as usize));
        let rate = table.number("learning_rate", 1e-8..=1.0)?;
        take(&mut self.learning_rate, rate.map(|x| x as f32));
        take(&mut self.ahead, table.integer("ahead", 1..=8)?.map(|n| n as usize));
        take(&mut self.turn_rad, table.number("turn_rad", 0.0..=0.5)?.map(|x| x as f32));
        let rehearsal = table.number("rehearsal", 0.0..=0.9)?;
        take(&mut self.rehearsal, rehearsal.map(|x| Some(x as f32)));
        take(&mut self.clips_min, table.integer("clips_min", 1..=1 << 30)?.map(|n| n as usize));
        take(&mut self.margin, table.number("margin", 0.0..=2.0)?.map(|x| x as f32));
        let warmest = table.integer("temperature_max_c", -40..=150)?;
        take(&mut self.temperature_max_c, warmest.map(|n| n as i16));
        let charge = table.integer("battery_soc_min_percent", 0..=101)?;
        take(&mut self.battery_soc_min_percent, charge.map(|n| n as u8));
        Ok(())
    }
}

fn take<T>(place: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page of all keys: what it says of defaults is so, and no key is missing.
    #[test]
    fn the_page_of_keys_names_every_key_and_its_default() {
        let page = include_str!("../../../docs/vehicle.md");
        let blocks: Vec<&str> =
            page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        let [usual, devices, fleet, privacy, gateway] = blocks[..] else {
            panic!("{} blocks", blocks.len())
        };
        assert_eq!(Config::parse("docs/vehicle.md", usual).unwrap(), Config::default());
        let told = Config::parse("docs/vehicle.md", devices).unwrap();
        let plain = Config::parse("x", "[camera]\n[can]\ndbc = \"car.dbc\"\n").unwrap();
        assert_eq!((told.camera, told.can), (plain.camera, plain.can));

        let drives =
            ["directory", "regions", "driver", "frames", "vehicle", "vehicles", "folder_rate_hz"];
        let replay = [
            "bytes_max",
            "retention_days",
            "ordinary_share",
            "surprise_quantile",
            "seconds_around",
        ];
        let root = ["name", "seed", "state", "package", "beside"];
        let tables: [(&str, &[&str]); 10] = [
            (usual, &root),
            (usual, &engine::KEYS),
            (usual, &geometry::KEYS),
            (usual, &drives),
            (usual, &replay),
            (usual, &NIGHT_KEYS),
            (usual, &devices::CONDITIONS_KEYS),
            (devices, &devices::CAMERA_KEYS),
            (devices, &devices::CAN_KEYS),
            (fleet, &fleet::KEYS),
        ];
        let tables = tables
            .into_iter()
            .chain([(privacy, &privacy::KEYS[..]), (gateway, &gateway::KEYS[..])]);
        for (block, key) in
            tables.flat_map(|(block, keys)| keys.iter().map(move |key| (block, key)))
        {
            let starts = [format!("{key} ="), format!("# {key} =")];
            let named =
                block.lines().any(|line| starts.iter().any(|start| line.starts_with(start)));
            assert!(named, "docs/vehicle.md does not name {key}");
        }
        // What is commented out is read, too, once it is there.
        let keys = "name = \"f\"\nregion = \"r\"\nbroker = \"b\"\nkey = \"k\"\npack = \"p\"\n";
        let signs = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let signs =
            ["authority", "timekeeper", "approver"].map(|who| format!("{who} = \"{signs}\"\n"));
        let least = format!("[fleet]\n{keys}{}", signs.concat());
        let [whole, least] = [format!("{fleet}{}", &least["[fleet]\n".len()..]), least]
            .map(|toml| Config::parse("docs/vehicle.md", &toml).unwrap().fleet.unwrap());
        assert_eq!(whole, least);
        let [whole, least] = [gateway, "[gateway]\nline = \"/dev/ttyS1\"\n"].map(|table| {
            let toml = format!("{fleet}{keys}{}{table}", signs.concat());
            Config::parse("docs/vehicle.md", &toml).unwrap().gateway.unwrap()
        });
        assert_eq!(whole, least);
    }

    #[test]
    fn an_empty_file_is_a_complete_configuration() {
        assert_eq!(Config::parse("vehicle.toml", "").unwrap(), Config::default());
    }

    #[test]
    fn a_fleet_is_whole_or_an_error_that_names_the_key() {
        let toml = "[fleet]\nname = \"demo\"\nregion = \"r\"\nbroker = \"mqtt://x\"\nkey = \"k\"\npack = \"p\"\n";
        let missing = Config::parse("v.toml", toml).unwrap_err().to_string();
        assert!(missing.contains("authority"), "{missing}");
        // The base point's neighbour is a key; 64 zeros are a point of small order.
        let zeros = "00".repeat(32);
        let weak = format!("{toml}authority = \"{zeros}\"\ntimekeeper = \"{zeros}\"\n");
        let refused = Config::parse("v.toml", &weak).unwrap_err().to_string();
        assert!(refused.contains("v.toml:7") && refused.contains("small order"), "{refused}");
    }

    #[test]
    fn nights_turn_the_camera_unless_they_are_told_not_to() {
        let turned = |toml| Config::parse("v.toml", toml).map(|config| config.night.turn_rad);
        assert_eq!(turned("").unwrap(), TURN_RAD);
        assert_eq!(turned("[night]\nturn_rad = 0\n").unwrap(), 0.0);
        assert!(turned("[night]\nturn_rad = 1.0\n").unwrap_err().to_string().contains("v.toml:2"));
    }

    #[test]
    fn an_unknown_key_names_the_nearest_and_its_place() {
        let error = Config::parse("vehicle.toml", "[night]\nstep = 5\n").unwrap_err().to_string();
        assert!(error.contains("vehicle.toml:2") && error.contains("`steps`"), "{error}");
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_the_range() {
        let error = Config::parse("vehicle.toml", "[engine]\nthreads = 0\n").unwrap_err();
        assert!(error.to_string().contains("1 to 1024"), "{error}");
        let error = Config::parse("vehicle.toml", "[drives]\nvehicle = 4\nvehicles = 4\n");
        assert!(error.unwrap_err().to_string().contains("0 to 3"));
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("vehicle.toml");
        std::fs::write(&file, "state = \"here\"\n[drives]\ndirectory = \"roads\"\n").unwrap();
        let config = Config::read(&file).unwrap();
        assert_eq!(config.state, directory.path().join("here"));
        assert_eq!(config.drives.directory, Some(directory.path().join("roads")));
    }
}
