//! `[engine]`: what runs models, on what, and how much of the computer it may take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use shoal_runtime::engine::{Provider, Providers};
use shoal_shadow::document::{DocumentError, Table};

use super::take;
use crate::budget::Cpus;

/// Which engine runs models.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineConfig {
    /// ONNX Runtime or tract.
    pub kind: EngineKind,
    /// Threads of one run, at least 1.
    pub threads: usize,
    /// ONNX Runtime's shared library; without it the usual places are searched.
    pub library: Option<PathBuf>,
    /// Most adapters that are measured in one run where several wait, 1 to [`TOGETHER_MAX`]; a measurement that has begun is
    /// finished, and memory is that of as many models.
    pub together: usize,
    /// What ONNX Runtime runs nodes on, in the order asked for. [`EngineConfig::kept_below`] says where built engines
    /// are kept.
    pub providers: Providers,
    /// The processors that the vehicle's program runs on; without it, all that it was given.
    pub cpus: Option<Cpus>,
    /// Time that looking at one frame may take, in the mean: what takes longer is done for fewer frames.
    pub frame_time_max: Option<Duration>,
}

/// The most adapters that are measured in one run.
pub const TOGETHER_MAX: u16 = 16;

/// The folder below a vehicle's state that keeps engines that were built.
const ENGINES: &str = "engines";

/// Keys of the table.
pub(super) const KEYS: [&str; 12] = [
    "kind",
    "threads",
    "library",
    "together",
    "providers",
    "device",
    "fp16",
    "cuda_graphs",
    "cache",
    "cores",
    "cpus",
    "milliseconds_a_frame",
];

/// An engine by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// ONNX Runtime, loaded at run time.
    Ort,
    /// tract, pure Rust, always there.
    Tract,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            kind: EngineKind::Ort,
            threads: 1,
            library: None,
            together: 4,
            providers: Providers::default(),
            cpus: None,
            frame_time_max: None,
        }
    }
}

/// Providers by name, in the order asked for.
///
/// # Errors
/// What would be right.
pub fn providers<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Providers, String> {
    let provider = |name: &str| {
        let known = Provider::ALL.iter().find(|(known, _)| *known == name);
        known.map(|(_, provider)| *provider).ok_or("some of tensorrt, cuda, cpu, in this order")
    };
    let order = names.into_iter().map(provider).collect::<Result<Vec<_>, _>>()?;
    Providers::in_order(order).map_err(|error| error.to_string())
}

impl EngineConfig {
    pub(super) fn fill(&mut self, table: &Table<'_>) -> Result<(), DocumentError> {
        let kinds = [("ort", EngineKind::Ort), ("tract", EngineKind::Tract)];
        take(&mut self.kind, table.choice("kind", &kinds)?);
        take(&mut self.threads, table.integer("threads", 1..=1024)?.map(|n| n as usize));
        let together = table.integer("together", 1..=TOGETHER_MAX.into())?;
        take(&mut self.together, together.map(|n| n as usize));
        self.library = table.text("library")?.map(PathBuf::from);
        self.fill_providers(table)?;
        self.fill_budget(table)
    }

    fn fill_providers(&mut self, table: &Table<'_>) -> Result<(), DocumentError> {
        if table.has("providers") {
            let names = table.texts("providers")?;
            let refuse = |want: &str| table.refuse("providers", names.join(", "), want);
            self.providers = providers(names.iter().copied()).map_err(|want| refuse(&want))?;
            if self.kind == EngineKind::Tract {
                return Err(refuse("none with kind = \"tract\": providers are ONNX Runtime's"));
            }
        }
        let device = table.integer("device", 0..=1023)?;
        take(&mut self.providers.device, device.map(|n| n as u32));
        take(&mut self.providers.fp16, table.boolean("fp16")?);
        if self.providers.fp16 && !self.providers.has(Provider::TensorRt) {
            return Err(table.refuse("fp16", true, "false without tensorrt among the providers"));
        }
        take(&mut self.providers.cuda_graphs, table.boolean("cuda_graphs")?);
        if self.providers.cuda_graphs && !self.providers.begins_with_cuda() {
            let want = "false unless cuda is the first of the providers";
            return Err(table.refuse("cuda_graphs", true, want));
        }
        self.providers.cache = table.text("cache")?.map(PathBuf::from);
        Ok(())
    }

    fn fill_budget(&mut self, table: &Table<'_>) -> Result<(), DocumentError> {
        let cores = table.integer("cores", 1..=1024)?;
        self.cpus = cores.map(|count| Cpus::Count(count as usize));
        if let Some(text) = table.text("cpus")? {
            if cores.is_some() {
                let both = format!("`{text}` beside cores");
                return Err(table.refuse("cpus", both, "one of the two"));
            }
            let want = "numbers and ranges of processors below 1024, such as 2-3 or 0,2";
            let cpus = Cpus::parse(text).ok_or_else(|| table.refuse("cpus", text, want))?;
            self.cpus = Some(cpus);
        }
        let time = table.integer("milliseconds_a_frame", 1..=60_000)?;
        self.frame_time_max = time.map(|ms| Duration::from_millis(ms as u64));
        Ok(())
    }

    /// Takes paths relative to a file's directory.
    pub(super) fn beside(&mut self, directory: &Path) {
        self.library = self.library.take().map(|library| directory.join(library));
        self.providers.cache = self.providers.cache.take().map(|cache| directory.join(cache));
    }

    /// The same, with a place to keep built engines: below `state`, unless it was said where.
    #[must_use]
    pub fn kept_below(&self, state: &Path) -> Self {
        let mut engine = self.clone();
        engine.providers.cache.get_or_insert_with(|| state.join(ENGINES));
        engine
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(toml: &str) -> Result<EngineConfig, String> {
        let toml = format!("[engine]\n{toml}\n");
        Config::parse("v.toml", &toml).map(|it| it.engine).map_err(|error| error.to_string())
    }

    #[test]
    fn providers_are_taken_in_the_order_asked_for() {
        let engine = parse(
            "providers = [\"tensorrt\", \"cuda\", \"cpu\"]\ndevice = 1\nfp16 = true\ncache = \"c\"",
        );
        let providers = engine.unwrap().providers;
        assert_eq!(providers.to_string(), "tensorrt:1/fp16+cuda:1+cpu");
        assert_eq!(providers.cache, Some("c".into()));
        assert_eq!(parse("").unwrap().providers, Providers::default());
        let replayed = parse("providers = [\"cuda\", \"cpu\"]\ncuda_graphs = true").unwrap();
        assert!(replayed.providers.cuda_graphs);
    }

    #[test]
    fn providers_that_cannot_be_had_so_are_refused_by_line() {
        for (toml, said) in [
            ("providers = []", "no provider is named"),
            ("providers = [\"cuda\", \"rocm\"]", "tensorrt, cuda, cpu"),
            ("providers = [\"cpu\", \"cuda\"]", "name cpu last"),
            ("providers = [\"cuda\", \"cuda\"]", "cuda is named twice"),
            ("providers = [\"cuda\"]\nkind = \"tract\"", "ONNX Runtime's"),
            ("fp16 = true", "without tensorrt"),
            ("cuda_graphs = true", "unless cuda is the first"),
        ] {
            let error = parse(toml).unwrap_err();
            assert!(error.contains("v.toml:2") && error.contains(said), "{error}");
        }
    }

    #[test]
    fn built_engines_are_kept_below_the_state_unless_a_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vehicle.toml");
        for (toml, at) in [("state = \"s\"\n", "s/engines"), ("[engine]\ncache = \"e\"\n", "e")] {
            std::fs::write(&file, toml).unwrap();
            let config = Config::read(&file).unwrap();
            let engine = config.engine.kept_below(&config.state);
            assert_eq!(engine.providers.cache, Some(folder.path().join(at)));
        }
    }

    #[test]
    fn a_budget_is_of_processors_and_of_time_a_frame() {
        let engine = parse("cores = 2\nmilliseconds_a_frame = 20").unwrap();
        assert_eq!(engine.cpus, Some(Cpus::Count(2)));
        assert_eq!(engine.frame_time_max, Some(Duration::from_millis(20)));
        let engine = parse("cpus = \"2-3\"").unwrap();
        assert_eq!(engine.cpus, Some(Cpus::These(vec![2, 3])));
        for (toml, said) in [
            ("cpus = \"3-2\"", "2-3 or 0,2"),
            ("cpus = \"0\"\ncores = 1", "beside cores"),
            ("milliseconds_a_frame = 0", "1 to 60000"),
        ] {
            let error = parse(toml).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
