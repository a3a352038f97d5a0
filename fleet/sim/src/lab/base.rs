//! What everyone in a fleet begins with: a model and what runs it, or the policies whose opinions a matrix is of, or nothing.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use shoal_hal::Drive;
use shoal_runtime::adapter::{Adapter, Layout};
use shoal_runtime::engine::Engine;
use shoal_runtime::onnx::Model;
use shoal_shadow::digits::hex;
use shoal_shadow::fit::{graft_package, profile_of};
use shoal_shadow::form::Form;
use shoal_shadow::grid::{self, ActionMatrix};
use shoal_shadow::package::{Description, Package};
use shoal_shadow::tokens::TokenForm;
use shoal_swarm::swarm::Flat;
use shoal_vehicle::drives::footage;
use shoal_vehicle::engine::OpenEngineError;

use super::home::Home;
use super::matrices::Policies;
use super::{LabError, trivial};
use crate::config::SimConfig;

/// What a model reads and predicts.
pub enum Task {
    /// Frames.
    Frames {
        /// What it reads.
        form: Form,
        /// What ships with the package, to be replayed while tuning.
        footage: Vec<Drive>,
    },
    /// Tokens of a log.
    Tokens(TokenForm),
    /// Frames, to act: a policy and its drivers.
    Actions(Form),
    /// What several policies hold: a matrix on the grid, and their drivers.
    Matrices(Policies),
    /// Nothing: clients are trivial.
    Trivial,
}

/// What everyone begins with.
pub struct Base {
    /// What the model reads and predicts.
    pub task: Task,
    /// SHA-256 of its file.
    pub hash: [u8; 32],
    /// SHA-256 over all that is read of models: files, descriptions, footage that ships with them.
    pub(super) contents: [u8; 32],
    /// How its adapters are laid out.
    pub layout: Arc<Layout>,
    /// `None`: clients are trivial.
    modelled: Option<Modelled>,
}

/// The model that everyone has, and what runs it.
pub(super) struct Modelled {
    pub(super) package: Package,
    pub(super) model: Model,
    pub(super) engine: Box<dyn Engine>,
}

/// The engine that a simulation asks for; trivial clients need none.
///
/// # Errors
/// [`OpenEngineError`].
pub fn engine(config: &SimConfig) -> Result<Box<dyn Engine>, OpenEngineError> {
    match config.trivial {
        Some(_) => Ok(Box::new(trivial::NoEngine)),
        None => shoal_vehicle::engine::open(&config.engine),
    }
}

impl Base {
    /// Opens the package, to be run by this engine; trivial clients have none.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn open(config: &SimConfig, engine: Box<dyn Engine>) -> Result<Self, LabError> {
        if let Some(trivial) = config.trivial {
            let layout = Arc::new(trivial::layout(trivial.values));
            let (task, hash) = (Task::Trivial, trivial::hash());
            return Ok(Base { task, hash, contents: hash, layout, modelled: None });
        }
        if let Some(does) = config.drivers.as_ref().and_then(|drivers| drivers.matrix.as_ref()) {
            let policies = Policies::open(does, engine)?;
            let values = ActionMatrix::values_count(does.policies.len());
            let layout = Arc::new(trivial::flat(values, "matrix", grid::SHA256));
            let contents = policies.contents();
            let task = Task::Matrices(policies);
            return Ok(Base { task, hash: grid::SHA256, contents, layout, modelled: None });
        }
        let package = Package::open_with(&config.package, config.model.as_deref())?;
        let description = package.description();
        let task = if config.drivers.is_some() {
            Task::Actions(Form::of_policy(description)?)
        } else if description.next_token.is_some() && description.next_frame.is_none() {
            Task::Tokens(TokenForm::of(description)?)
        } else {
            let form = Form::of(description)?;
            let footage = footage(&package, &form)?;
            Task::Frames { form, footage }
        };
        let path = package.model_path();
        let model = Model::read(&path)?;
        let bytes = std::fs::read(&path).unwrap_or_default();
        let layout = graft_package(&model, package.description(), 1, profile_of(&*engine))?.layout;
        let hash = Sha256::digest(&bytes).into();
        let mut contents = Sha256::new_with_prefix(read_of(&hash, package.description()));
        if let Task::Frames { footage, .. } = &task {
            footage.iter().for_each(|drive| contents.update(drive.source_sha256));
        }
        let contents = contents.finalize().into();
        for class in &config.hardware {
            let too_high = |rank: &u8| usize::from(*rank) > layout.rank;
            if let Some(rank) = class.rank.filter(too_high) {
                let (class, most) = (class.name.clone(), layout.rank);
                return Err(LabError::Rank { class, rank, most });
            }
        }
        for method in &config.methods {
            // Said before the methods before it have run.
            let _home = Home::new(config.under(method).night.home, &layout)?;
        }
        let modelled = Some(Modelled { package, model, engine });
        Ok(Base { task, hash, contents, layout, modelled })
    }

    pub(super) fn modelled(&self) -> Result<&Modelled, LabError> {
        self.modelled.as_ref().ok_or(LabError::NoModel)
    }

    /// The engine, by its own description.
    #[must_use]
    pub fn engine(&self) -> String {
        match (&self.task, &self.modelled) {
            (Task::Matrices(policies), _) => policies.engine.describe(),
            (_, Some(modelled)) => modelled.engine.describe(),
            (_, None) => trivial::ENGINE.into(),
        }
    }

    /// SHA-256 over all that is read of models, hexadecimal: files, descriptions, footage that ships with them.
    #[must_use]
    pub fn contents(&self) -> String {
        hex(&self.contents)
    }

    /// What everyone begins with; a matrix has learned nothing.
    #[must_use]
    pub fn start(&self, seed: u64) -> Flat {
        match &self.task {
            Task::Matrices(_) => vec![0.0; self.layout.values()].into(),
            Task::Frames { .. } | Task::Tokens(_) | Task::Actions(_) | Task::Trivial => {
                Adapter::start(Arc::clone(&self.layout), seed).values().into()
            }
        }
    }

    /// Lengths of the tensors of an adapter's flat run.
    #[must_use]
    pub fn tensors(&self) -> Vec<u32> {
        self.layout.factors().map(|factor| factor.range.len() as u32).collect()
    }

    /// Rank of its adapters.
    #[must_use]
    pub fn rank(&self) -> u8 {
        u8::try_from(self.layout.rank).unwrap_or(u8::MAX)
    }

    pub(super) fn adapter(&self, values: &[f32]) -> Result<Adapter, LabError> {
        Ok(Adapter::from_values(Arc::clone(&self.layout), values.to_vec())?)
    }
}

/// SHA-256 over what is read of a package beside its footage: its file, by the hash of it, and its description.
pub(super) fn read_of(file: &[u8; 32], description: &Description) -> [u8; 32] {
    Sha256::new_with_prefix(file).chain_update(description.to_toml()).finalize().into()
}
