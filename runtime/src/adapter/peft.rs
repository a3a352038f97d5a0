//! An adapter as a directory that Hugging Face's PEFT loads: `adapter_config.json` and
//! `adapter_model.safetensors`.
//!
//! A site is the module that owns its weight: `enc.patch.weight` is the module `enc.patch`, and its A is the
//! tensor `base_model.model.enc.patch.lora_A.weight`. A weight that is not called so is its own module, but where its name is one
//! that an exporter made up, and its nodes say of which module it is.
//!
//! PEFT runs what it loads for matrices and plain convolutions (checked with 0.21.2). Its grouped convolutions
//! are of another family (A sees all groups) and its dilated ones fail: such sites only come back here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::layout::{Factor, Layout, Site};
use super::{Adapter, WriteAdapterError};
use crate::graft::{GraftOptions, Profile, WeightSite};
use crate::onnx::write_whole;

/// The file of the tensors.
const TENSORS: &str = "adapter_model.safetensors";
/// The file of the settings.
const CONFIG: &str = "adapter_config.json";
/// The largest file of settings that is read.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// The largest header of a tensor file that is read.
const HEADER_BYTES_MAX: u64 = 16 << 20;
/// The largest file of tensors that is read.
const TENSORS_BYTES_MAX: u64 = 1 << 31;

/// The settings of a PEFT directory that matter here.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PeftConfig {
    /// `LORA`.
    pub peft_type: String,
    /// The rank.
    pub r: usize,
    /// The numerator α of the scale α/r, or of α/√r.
    pub lora_alpha: f32,
    /// The modules with factors: those of the tensor file. What `target_modules` says, names, ends of names, an expression or
    /// nothing, is how PEFT once found them.
    #[serde(skip)]
    pub modules: Vec<String>,
    /// The scale is α/√r (Kalajdzievski, *A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA*, 2023).
    #[serde(default)]
    pub use_rslora: bool,
    /// Another decomposition.
    #[serde(default)]
    pub use_dora: bool,
    /// Ranks that differ by module.
    #[serde(default, deserialize_with = "or_nothing")]
    pub rank_pattern: BTreeMap<String, usize>,
    /// Scales that differ by module.
    #[serde(default, deserialize_with = "or_nothing")]
    pub alpha_pattern: BTreeMap<String, f32>,
}

/// How A and B began.
const INITIAL: &str = "init_lora_weights";
/// Ways to begin, beside `true` and `false`, that leave the base model as it is.
const BASE_KEPT: [&str; 3] = ["gaussian", "eva", "orthogonal"];
/// Said of all others: A·B is of a base that is changed.
const BASE_KEPT_WANT: &str = "a start that leaves the base model as it is (true, false, gaussian, eva, orthogonal; \
     PEFT's `save_pretrained` with `path_initial_model_for_weight_conversion` writes plain LoRA of the others)";

/// Settings by which a module gives something else than its weight's product and α/r·B·A's, and what they must be.
const OTHERS: [(&str, &str); 12] = [
    ("alora_invocation_tokens", "null, an adapter of all tokens,"),
    ("arrow_config", "null"),
    ("bias", "\"none\""),
    ("kasa_config", "null"),
    ("layer_replication", "null"),
    ("lora_bias", "false"),
    ("modules_to_save", "null, nothing but A and B,"),
    ("monteclora_config", "null"),
    ("target_parameters", "null"),
    ("trainable_token_indices", "null"),
    ("use_bdlora", "null"),
    ("use_qalora", "false"),
];

/// Whether this is what PEFT writes for a setting that is not used.
fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(_) | Value::String(_) => false,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}

/// A pattern, which may be `null`.
fn or_nothing<'de, D, T>(from: D) -> Result<BTreeMap<String, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Why a PEFT directory is no adapter for a model. The files are untrusted: no variant is a bug of ours.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum PeftError {
    #[error("cannot read {}", file.display())]
    Io {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is no PEFT configuration", file.display())]
    Config {
        file: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{}: `{key}` is {got}, only {want} is supported", file.display())]
    Setting { file: PathBuf, key: &'static str, got: String, want: String },
    #[error("{} is no safetensors file", file.display())]
    Tensors {
        file: PathBuf,
        #[source]
        source: SafeTensorError,
    },
    #[error("{} says its header has {bytes} bytes, at most {HEADER_BYTES_MAX} are read", file.display())]
    Header { file: PathBuf, bytes: u64 },
    #[error("{} lacks tensor `{tensor}`", file.display())]
    Missing { file: PathBuf, tensor: String },
    #[error("{}: tensor `{tensor}` belongs to no site of the model", file.display())]
    Unknown { file: PathBuf, tensor: String },
    #[error("{}: tensor `{tensor}` has shape {got:?}, the model needs {want:?}", file.display())]
    Shape { file: PathBuf, tensor: String, got: Vec<usize>, want: Vec<usize> },
    #[error("{}: tensor `{tensor}` has type {got}; F32, F16 and BF16 are read", file.display())]
    Type { file: PathBuf, tensor: String, got: String },
    #[error("{}: tensor `{tensor}` is not finite at index {index}", file.display())]
    NotFinite { file: PathBuf, tensor: String, index: usize },
}

impl PeftConfig {
    /// Reads the settings of a PEFT directory, and of which modules its tensors are.
    ///
    /// # Errors
    /// [`PeftError`] if a file cannot be read, or asks for what is not supported.
    pub fn read(dir: &Path) -> Result<PeftConfig, PeftError> {
        let config = PeftConfig::settings(dir)?;
        let file = dir.join(TENSORS);
        let bytes = read(&file, TENSORS_BYTES_MAX)?;
        let tensors = tensors(&bytes, &file)?;
        let mut modules: Vec<String> =
            tensors.names().into_iter().filter_map(module_of).map(str::to_owned).collect();
        modules.sort_unstable();
        Ok(PeftConfig { modules, ..config })
    }

    fn settings(dir: &Path) -> Result<PeftConfig, PeftError> {
        let file = dir.join(CONFIG);
        let bytes = read(&file, CONFIG_BYTES_MAX)?;
        PeftConfig::parse(&bytes, &file)
    }

    fn parse(bytes: &[u8], file: &Path) -> Result<PeftConfig, PeftError> {
        let config: PeftConfig = serde_json::from_slice(bytes)
            .map_err(|source| PeftError::Config { file: file.to_owned(), source })?;
        let refuse = |key, got: String, want: &str| {
            Err(PeftError::Setting { file: file.to_owned(), key, got, want: want.to_owned() })
        };
        if config.peft_type != "LORA" {
            return refuse("peft_type", config.peft_type, "LORA");
        }
        if config.use_dora {
            return refuse("use_dora", "true".to_owned(), "false");
        }
        let all: BTreeMap<String, Value> = serde_json::from_slice(bytes)
            .map_err(|source| PeftError::Config { file: file.to_owned(), source })?;
        let is_set = |key: &str| all.get(key).filter(|value| !is_neutral(value));
        for (key, want) in OTHERS {
            if let Some(value) = is_set(key).filter(|value| *value != "none") {
                return refuse(key, value.to_string(), want);
            }
        }
        match is_set(INITIAL) {
            Some(value) if *value != true && !BASE_KEPT.iter().any(|kept| value == kept) => {
                refuse(INITIAL, value.to_string(), BASE_KEPT_WANT)
            }
            Some(_) | None => Ok(config),
        }
    }

    /// How to graft a model with these sites so that this adapter fits it.
    ///
    /// One that is no module of the model stays as it is, so that grafting names it in its error.
    pub fn graft_options(&self, sites: &[WeightSite]) -> GraftOptions {
        let modules = Modules::of(sites.iter().map(|s| (s.name.as_str(), s.module.as_deref())));
        let mut targets = Vec::with_capacity(self.modules.len());
        for target in &self.modules {
            let mut sites = sites.iter().map(|site| site.name.as_str());
            let site = sites.find(|s| s == target || modules.of_site(s).any(|m| m == target));
            let site = site.unwrap_or(target);
            let rank = modules.given(&self.rank_pattern, site);
            let alpha = modules.given(&self.alpha_pattern, site);
            targets.push(if rank.is_none() && alpha.is_none() {
                site.to_owned()
            } else {
                let rank = rank.unwrap_or(self.r);
                let alpha = self.over_rank(alpha.unwrap_or(self.lora_alpha), rank);
                format!("{site}={rank}:{alpha}")
            });
        }
        let alpha = self.over_rank(self.lora_alpha, self.r);
        GraftOptions { targets, rank: self.r, alpha, profile: Profile::default() }
    }

    /// The α whose scale at this rank, α/r, is that of the `alpha` that is said.
    fn over_rank(&self, alpha: f32, rank: usize) -> f32 {
        if self.use_rslora { (f64::from(alpha) * (rank as f64).sqrt()) as f32 } else { alpha }
    }
}

/// Whether a key of a pattern is of a module: its whole name, or, where no `^` stands before it, the end of it, behind a dot.
fn is_of(key: &str, module: &str) -> bool {
    let ends = |key: &str| module.strip_suffix(key).is_some_and(|head| head.ends_with('.'));
    match key.strip_prefix('^') {
        Some(whole) => whole == module,
        None => key == module || ends(key),
    }
}

impl PeftConfig {
    /// Every site has the α that is said, and every key of `alpha_pattern` says that of a site: one that is read otherwise
    /// elsewhere, as an expression or by its place, would go unnoticed.
    fn check_alphas(&self, layout: &Layout, file: &Path) -> Result<(), PeftError> {
        let modules = Modules::of_layout(layout);
        let refuse = |got: String, want: String| {
            Err(PeftError::Setting { file: file.to_owned(), key: "alpha_pattern", got, want })
        };
        for (key, alpha) in &self.alpha_pattern {
            let mut sites = layout.sites.iter();
            if !sites.any(|site| modules.of_site(&site.name).any(|module| is_of(key, module))) {
                return refuse(format!("`{key}`"), "a module with factors".to_owned());
            }
            if !(alpha.is_finite() && *alpha > 0.0) {
                return refuse(format!("{alpha} for `{key}`"), "a positive number".to_owned());
            }
        }
        for site in &layout.sites {
            let module = modules.module(&site.name);
            let is_said = |key: &str| modules.of_site(&site.name).any(|m| is_of(key, m));
            let said = self.alpha_pattern.iter().filter(|(key, _)| is_said(key));
            let said: Vec<f32> = said.map(|(_, alpha)| *alpha).collect();
            let said = if said.is_empty() { vec![self.lora_alpha] } else { said };
            let said: Vec<f32> =
                said.into_iter().map(|alpha| self.over_rank(alpha, site.a.dims[0])).collect();
            if said.iter().any(|alpha| *alpha != site.alpha) {
                return refuse(format!("{said:?} for `{module}`"), site.alpha.to_string());
            }
        }
        Ok(())
    }
}

/// Which module each site is.
struct Modules<'s>(BTreeMap<&'s str, Module<'s>>);

/// The module of a site.
struct Module<'s> {
    /// What it is called in what is written.
    name: &'s str,
    /// What it is called by the name of its weight alone, as adapters were written that are still read.
    by_weight: &'s str,
}

impl<'s> Modules<'s> {
    /// Of sites, each with its name and the module that its nodes say.
    fn of(sites: impl Iterator<Item = (&'s str, Option<&'s str>)> + Clone) -> Self {
        let whole: BTreeSet<&str> = sites.clone().map(|(site, _module)| site).collect();
        // One that is the name of another site means that.
        let short = |site: &'s str| {
            site.strip_suffix(".weight").filter(|m| !m.is_empty() && !whole.contains(m))
        };
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for (site, _module) in sites.clone() {
            *count.entry(short(site).unwrap_or(site)).or_default() += 1;
        }
        // A module that two sites would share is named in full by both.
        let by_weight =
            |site: &'s str| short(site).filter(|m| count.get(m) == Some(&1)).unwrap_or(site);
        let module = |(site, said): (&'s str, Option<&'s str>)| {
            let by_weight = by_weight(site);
            (site, Module { name: said.unwrap_or(by_weight), by_weight })
        };
        Modules(sites.map(module).collect())
    }

    fn of_layout(layout: &'s Layout) -> Self {
        Modules::of(layout.sites.iter().map(|s| (s.name.as_str(), s.module.as_deref())))
    }

    /// The key by which a pattern means this module and no other.
    fn key(&self, module: &str) -> String {
        let is_end_of = |other: &str| other != module && is_of(module, other);
        let mut names = self.0.values().flat_map(|of| [of.name, of.by_weight]);
        let hat = if names.any(is_end_of) { "^" } else { "" };
        format!("{hat}{module}")
    }

    fn module<'a>(&'a self, site: &'a str) -> &'a str {
        self.0.get(site).map_or(site, |module| module.name)
    }

    /// What the module of a site may be called in a file.
    fn of_site<'a>(&'a self, site: &'a str) -> impl Iterator<Item = &'a str> {
        let module = self.0.get(site);
        let by_weight = module.map(|module| module.by_weight).filter(|m| *m != self.module(site));
        std::iter::once(self.module(site)).chain(by_weight)
    }

    /// What a pattern gives a site.
    fn given<T: Copy>(&self, pattern: &BTreeMap<String, T>, site: &str) -> Option<T> {
        let mut modules = self.of_site(site);
        let of = |m: &str| pattern.iter().find(|(key, _)| is_of(key, m)).map(|(_, of)| *of);
        modules.find_map(of)
    }
}

/// The tensor names of a site's A and B.
fn keys(module: &str) -> [String; 2] {
    ["lora_A", "lora_B"].map(|letter| format!("base_model.model.{module}.{letter}.weight"))
}

/// The module whose A a tensor is.
fn module_of(tensor: &str) -> Option<&str> {
    tensor.strip_prefix("base_model.model.")?.strip_suffix(".lora_A.weight")
}

#[derive(Serialize)]
struct Config<'a> {
    alpha_pattern: BTreeMap<String, f32>,
    auto_mapping: Option<()>,
    base_model_name_or_path: Option<()>,
    bias: &'static str,
    fan_in_fan_out: bool,
    inference_mode: bool,
    init_lora_weights: bool,
    lora_alpha: f32,
    lora_dropout: f32,
    modules_to_save: Option<()>,
    peft_type: &'static str,
    r: usize,
    rank_pattern: BTreeMap<String, usize>,
    revision: Option<()>,
    target_modules: Vec<&'a str>,
    task_type: Option<()>,
    use_dora: bool,
    use_rslora: bool,
}

impl Adapter {
    /// Writes the adapter as a PEFT directory, which is made where there is none.
    ///
    /// # Errors
    /// [`WriteAdapterError`] if a file cannot be written, or a value is not finite.
    pub fn write_peft(&self, dir: &Path) -> Result<(), WriteAdapterError> {
        self.write_peft_of(dir, 0.0)
    }

    /// As [`Adapter::write_peft`], with the dropout that it was trained with in its settings.
    pub(super) fn write_peft_of(&self, dir: &Path, dropout: f32) -> Result<(), WriteAdapterError> {
        let bytes = self.to_safetensors()?;
        let io = |file: &Path| {
            let file = file.to_owned();
            move |source| WriteAdapterError::Io { file, source }
        };
        std::fs::create_dir_all(dir).map_err(io(dir))?;
        let file = dir.join(TENSORS);
        write_whole(&file, &bytes).map_err(io(&file))?;
        let file = dir.join(CONFIG);
        write_whole(&file, &self.config(dropout)).map_err(io(&file))
    }

    /// The adapter's tensors as one safetensors file.
    ///
    /// # Errors
    /// [`WriteAdapterError::Values`] if a value is not finite: nobody could read such a file again.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, WriteAdapterError> {
        Adapter::from_values(Arc::clone(self.layout()), self.values().to_vec())?;
        let layout = self.layout();
        let modules = Modules::of_layout(layout);
        let mut tensors = Vec::with_capacity(2 * layout.sites.len());
        for site in &layout.sites {
            let keys = keys(modules.module(&site.name));
            for (key, factor) in keys.into_iter().zip([&site.a, &site.b]) {
                let bytes: Vec<u8> =
                    self.factor(factor).iter().flat_map(|x| x.to_le_bytes()).collect();
                tensors.push((key, factor.dims.clone(), bytes));
            }
        }
        let views = tensors.iter().map(|(key, dims, bytes)| {
            TensorView::new(Dtype::F32, dims.clone(), bytes).map(|view| (key.as_str(), view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(WriteAdapterError::Tensors)?;
        // PEFT reads the framework out of this.
        let about = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
        safetensors::serialize(views, Some(about)).map_err(WriteAdapterError::Tensors)
    }

    fn config(&self, dropout: f32) -> Vec<u8> {
        let layout = self.layout();
        let modules = Modules::of_layout(layout);
        let key = |site: &Site| modules.key(modules.module(&site.name));
        let config = Config {
            alpha_pattern: layout
                .sites
                .iter()
                .filter(|site| site.alpha != layout.alpha)
                .map(|site| (key(site), site.alpha))
                .collect(),
            auto_mapping: None,
            base_model_name_or_path: None,
            bias: "none",
            fan_in_fan_out: false,
            inference_mode: true,
            init_lora_weights: true,
            lora_alpha: layout.alpha,
            lora_dropout: dropout,
            modules_to_save: None,
            peft_type: "LORA",
            r: layout.rank,
            rank_pattern: layout
                .sites
                .iter()
                .filter(|site| site.a.dims[0] != layout.rank)
                .map(|site| (key(site), site.a.dims[0]))
                .collect(),
            revision: None,
            target_modules: layout.sites.iter().map(|s| modules.module(&s.name)).collect(),
            task_type: None,
            use_dora: false,
            use_rslora: false,
        };
        serde_json::to_vec_pretty(&config).expect("plain data is JSON")
    }

    /// Reads a PEFT directory as an adapter of this layout: every factor must be there, and nothing else.
    ///
    /// # Errors
    /// [`PeftError`] names the file and the tensor that does not fit.
    pub fn read_peft(dir: &Path, layout: impl Into<Arc<Layout>>) -> Result<Adapter, PeftError> {
        let layout = layout.into();
        let config = PeftConfig::settings(dir)?;
        let file = dir.join(CONFIG);
        let refuse = |key, got: String, want: String| {
            Err(PeftError::Setting { file: file.clone(), key, got, want })
        };
        if config.r != layout.rank {
            return refuse("r", config.r.to_string(), layout.rank.to_string());
        }
        let alpha = config.over_rank(config.lora_alpha, config.r);
        if alpha != layout.alpha {
            return refuse("lora_alpha", alpha.to_string(), layout.alpha.to_string());
        }
        config.check_alphas(&layout, &file)?;
        let file = dir.join(TENSORS);
        let bytes = read(&file, TENSORS_BYTES_MAX)?;
        Adapter::from_safetensors(&bytes, layout, &file)
    }

    /// Reads the tensors of an adapter of this layout; errors call them `file`.
    ///
    /// # Errors
    /// As [`Adapter::read_peft`].
    pub fn from_safetensors(
        bytes: &[u8],
        layout: impl Into<Arc<Layout>>,
        file: &Path,
    ) -> Result<Adapter, PeftError> {
        let layout = layout.into();
        let tensors = tensors(bytes, file)?;
        let mut values = vec![0.0; layout.values()];
        let modules = Modules::of_layout(&layout);
        let mut known = BTreeSet::new();
        for site in &layout.sites {
            let found = find(&tensors, site, &modules);
            for (key, factor) in found.into_iter().zip([&site.a, &site.b]) {
                read_factor(&tensors, &key, factor, &mut values[factor.range.clone()], file)?;
                known.insert(key);
            }
        }
        let mut names: Vec<&str> = tensors.names().into_iter().collect();
        names.sort_unstable();
        if let Some(tensor) = names.into_iter().find(|n| !known.contains(*n)) {
            let (file, tensor) = (file.to_owned(), tensor.to_owned());
            return Err(PeftError::Unknown { file, tensor });
        }
        Ok(Adapter { layout, values })
    }
}

/// The tensors of a file's bytes.
fn tensors<'b>(bytes: &'b [u8], file: &Path) -> Result<SafeTensors<'b>, PeftError> {
    let header = bytes.first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
    if header > HEADER_BYTES_MAX {
        return Err(PeftError::Header { file: file.to_owned(), bytes: header });
    }
    let file = || file.to_owned();
    SafeTensors::deserialize(bytes).map_err(|source| PeftError::Tensors { file: file(), source })
}

/// The names of a site's tensors in this file: by its own name or what its weight says where these are there, or by its module.
fn find(tensors: &SafeTensors<'_>, site: &Site, modules: &Modules<'_>) -> [String; 2] {
    let names = std::iter::once(site.name.as_str()).chain(modules.of_site(&site.name));
    let mut found = names.map(keys).filter(|[a, _b]| tensors.tensor(a).is_ok());
    found.next().unwrap_or_else(|| keys(modules.module(&site.name)))
}

fn read_factor(
    tensors: &SafeTensors<'_>,
    key: &str,
    factor: &Factor,
    values: &mut [f32],
    file: &Path,
) -> Result<(), PeftError> {
    let (file, tensor) = (|| file.to_owned(), || key.to_owned());
    let view =
        tensors.tensor(key).map_err(|_| PeftError::Missing { file: file(), tensor: tensor() })?;
    if view.shape() != factor.dims {
        let (got, want) = (view.shape().to_vec(), factor.dims.clone());
        return Err(PeftError::Shape { file: file(), tensor: tensor(), got, want });
    }
    let (data, dtype) = (view.data(), view.dtype());
    if dtype == Dtype::F32 {
        let chunks = data.as_chunks::<4>().0;
        values.iter_mut().zip(chunks).for_each(|(v, c)| *v = f32::from_le_bytes(*c));
    } else if dtype == Dtype::F16 || dtype == Dtype::BF16 {
        let widen = |c: &[u8; 2]| match dtype == Dtype::F16 {
            true => half::f16::from_le_bytes(*c).to_f32(),
            false => half::bf16::from_le_bytes(*c).to_f32(),
        };
        let chunks = data.as_chunks::<2>().0;
        values.iter_mut().zip(chunks).for_each(|(v, c)| *v = widen(c));
    } else {
        let got = format!("{dtype:?}");
        return Err(PeftError::Type { file: file(), tensor: tensor(), got });
    }
    match values.iter().position(|x| !x.is_finite()) {
        Some(index) => Err(PeftError::NotFinite { file: file(), tensor: tensor(), index }),
        None => Ok(()),
    }
}

fn read(file: &Path, max: u64) -> Result<Vec<u8>, PeftError> {
    let io = |source| PeftError::Io { file: file.to_owned(), source };
    super::read_bounded(file, max).map_err(io)
}
