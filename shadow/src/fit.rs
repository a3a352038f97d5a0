//! A training graph of a package's model, loaded and fed: what tuning and pretraining share.
//!
//! The graph is made here, on the vehicle, from the model of the package: pinned to the batch, folded,
//! grafted, differentiated for the engine that will run it. What a batch is made of, and which tensors
//! it goes to, is the [`Binding`]'s: [`Camera`] for models of frames, [`Tokens`] for models of tokens.

mod camera;
mod inputs;
mod tokens;

use std::num::NonZeroUsize;
use std::sync::Arc;

use shoal_runtime::adapter::{Adapter, Layout as AdapterLayout};
use shoal_runtime::bake::{BakeError, bake};
use shoal_runtime::engine::{Engine, EngineError, LoadOptions, Session};
use shoal_runtime::gradient::{self, DifferentiateOptions, LossSpec, PlacedLoss, Refusal};
use shoal_runtime::graft::{
    self, GraftError, GraftOptions, Profile, SiteInputsError, WriteWeightsError,
};
use shoal_runtime::onnx::fold::{FoldError, fold};
use shoal_runtime::onnx::pin::{PinError, PinOptions, pin};
use shoal_runtime::onnx::{Folded, Model};
use shoal_runtime::train::{CheckpointError, StepReport, TrainError, TrainOptions, Trainer};

use crate::form::FormError;
use crate::measure::tokens::{TokenPredictor, TokenPredictorError};
use crate::measure::{SessionPredictor, SessionPredictorError};
use crate::package::{Description, LossKind};
use crate::tokens::TokenFormError;

pub use camera::Camera;
pub use inputs::SiteInputs;
pub use tokens::Tokens;

/// Why a model cannot be trained.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The package is not one of a camera world model.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The package is not one of a token model.
    #[error(transparent)]
    TokenForm(#[from] TokenFormError),
    /// The package asks for a loss that no batch has targets for.
    #[error(
        "model.toml asks for the losses {got:?}: training feeds {want}: name only that in [[loss]]"
    )]
    Losses {
        /// The losses asked for.
        got: Vec<String>,
        /// The one there are targets for.
        want: String,
    },
    /// An open axis got no number.
    #[error("the model's shapes cannot be fixed")]
    Pin(#[from] PinError),
    /// The graph cannot be folded.
    #[error("the model cannot be folded")]
    Fold(#[from] FoldError),
    /// Factors cannot be grafted.
    #[error("the model cannot be grafted")]
    Graft(#[from] GraftError),
    /// The graph has nodes without a gradient.
    #[error("the model cannot be differentiated")]
    Differentiate(#[from] Refusal),
    /// The engine failed.
    #[error("the training graph cannot be run")]
    Engine(#[from] EngineError),
    /// The adapter cannot be folded in.
    #[error("the adapter cannot be baked into the model")]
    Bake(#[from] BakeError),
    /// What goes into a site of the adapter cannot be had.
    #[error("the inputs of the adapter's sites cannot be had")]
    SiteInputs(#[from] SiteInputsError),
    /// The package does not fit the model.
    #[error(transparent)]
    Predictor(#[from] SessionPredictorError),
    /// The package does not fit the token model.
    #[error(transparent)]
    TokenPredictor(#[from] TokenPredictorError),
    /// Trained weights cannot be written back.
    #[error("the trained weights cannot be written into the model")]
    Weights(#[from] WriteWeightsError),
    /// A checkpoint is not one of this training graph.
    #[error("training cannot go on from this checkpoint")]
    Checkpoint(#[from] CheckpointError),
    /// Training stopped.
    #[error("training stopped")]
    Train(#[from] TrainError),
}

/// The profile in which graphs are written for an engine, by its description.
#[must_use]
pub fn profile_of(engine: &dyn Engine) -> Profile {
    let name = engine.describe();
    match name {
        _ if name.starts_with("tract") => Profile::Tract,
        _ if name.ends_with("tensorrt") => Profile::TensorRt,
        _ if name.ends_with("cuda") => Profile::Cuda,
        _ => Profile::Cpu,
    }
}

/// Pins a model to a batch and folds it.
///
/// # Errors
/// [`FitError::Pin`], [`FitError::Fold`].
pub fn prepare(model: &Model, batch: usize) -> Result<Folded, FitError> {
    let options = PinOptions { batch: Some(batch), ..PinOptions::default() };
    Ok(fold(&pin(model, &options)?)?)
}

/// Loads the model of a package, with an adapter baked in if there is one, for batches of `batch` clips.
///
/// # Errors
/// [`FitError`] but for those of grafting and training.
pub fn load_predictor(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    threads: NonZeroUsize,
    adapter: Option<&Adapter>,
    batch: usize,
) -> Result<SessionPredictor, FitError> {
    let session = load_baked(model, engine, threads, adapter, batch)?;
    Ok(SessionPredictor::new(session, package)?)
}

/// As [`load_predictor`], of a token model, for batches of `batch` rows.
///
/// # Errors
/// As for [`load_predictor`].
pub fn load_token_predictor(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    threads: NonZeroUsize,
    adapter: Option<&Adapter>,
    batch: usize,
) -> Result<TokenPredictor, FitError> {
    let session = load_baked(model, engine, threads, adapter, batch)?;
    Ok(TokenPredictor::new(session, package)?)
}

/// Loads a token model whose adapter is an input: [`TokenPredictor::write_adapter`] changes it.
///
/// # Errors
/// As for [`graft_package`], and those of engines.
pub fn load_grafted_token_predictor(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    threads: NonZeroUsize,
    batch: usize,
) -> Result<TokenPredictor, FitError> {
    let grafted = graft_package(model, package, batch, profile_of(engine))?;
    let options = LoadOptions { threads, ..LoadOptions::default() };
    Ok(TokenPredictor::new(engine.load(&grafted.folded.model, &options)?, package)?)
}

fn load_baked(
    model: &Model,
    engine: &dyn Engine,
    threads: NonZeroUsize,
    adapter: Option<&Adapter>,
    batch: usize,
) -> Result<Box<dyn Session>, FitError> {
    let baked = adapter.map(|adapter| bake(model, adapter)).transpose()?;
    let folded = prepare(baked.as_ref().unwrap_or(model), batch)?;
    let options = LoadOptions { threads, ..LoadOptions::default() };
    Ok(engine.load(&folded.model, &options)?)
}

/// A grafted model, ready to be differentiated: what an adapter of this package is.
pub struct Grafted {
    /// The graph with factors as inputs.
    pub folded: Folded,
    /// Its factors.
    pub layout: Arc<AdapterLayout>,
}

/// Grafts the sites that the package names onto its model.
///
/// # Errors
/// [`FitError`] but for those of engines and training.
pub fn graft_package(
    model: &Model,
    package: &Description,
    batch: usize,
    profile: Profile,
) -> Result<Grafted, FitError> {
    let options = GraftOptions {
        targets: package.adapter.targets.clone(),
        rank: package.adapter.rank,
        alpha: package.adapter.alpha,
        profile,
    };
    let grafted = graft::graft(&prepare(model, batch)?, &options)?;
    Ok(Grafted { folded: grafted.folded, layout: Arc::new(grafted.layout) })
}

/// What a batch of one kind of model is, and which tensors of a training graph it goes to.
pub trait Binding: Sized {
    /// The samples of one step.
    type Batch;

    /// The output that the loss sits on, by the package, and its kind.
    ///
    /// # Errors
    /// [`FitError::Form`] or [`FitError::TokenForm`] if the package is of another kind.
    fn loss(package: &Description) -> Result<LossSpec, FitError>;

    /// Finds the tensors in a session of the training graph.
    ///
    /// # Errors
    /// [`FitError`] if one is missing or has another shape than the package says.
    fn bind(
        package: &Description,
        session: &mut dyn Session,
        loss: &PlacedLoss,
    ) -> Result<Self, FitError>;

    /// Writes a batch into them.
    ///
    /// # Errors
    /// [`EngineError`] if the batch is of another form than the session's.
    fn write(&mut self, session: &mut dyn Session, batch: &Self::Batch) -> Result<(), EngineError>;
}

/// Where a trainer's batches come from.
pub trait Source<Batch> {
    /// Makes the batch of step `step`: the same for the same step.
    ///
    /// # Errors
    /// [`EngineError`] where a model makes a part of it and cannot be run.
    fn fill(&mut self, step: u64, batch: &mut Batch) -> Result<(), EngineError>;
}

/// A trainer of a model and where its batches go.
pub struct Fit<B> {
    trainer: Trainer,
    binding: B,
}

impl<B: Binding> Fit<B> {
    /// Differentiates a graph by `wrt`, loads it and binds the package's tensors. `start` gives the
    /// values that each of `wrt` begins with.
    ///
    /// # Errors
    /// [`FitError`].
    pub fn new<'a>(
        folded: &Folded,
        wrt: Vec<String>,
        package: &Description,
        engine: &dyn Engine,
        threads: NonZeroUsize,
        options: TrainOptions,
        start: impl Fn(&str) -> Option<&'a [f32]>,
    ) -> Result<Self, FitError> {
        let loss = B::loss(package)?;
        check_losses(package, &loss)?;
        let training = gradient::differentiate(
            folded,
            &DifferentiateOptions {
                losses: vec![loss],
                wrt,
                strict: true,
                profile: profile_of(engine),
            },
        )?;
        let loss = training.losses.first().expect("a training graph has a loss");
        let mut session = engine.load(&training.folded.model, &LoadOptions::training(threads))?;
        let binding = B::bind(package, &mut *session, loss)?;
        Ok(Fit { binding, trainer: Trainer::new(session, options, start)? })
    }

    /// Trains on one batch.
    ///
    /// # Errors
    /// [`FitError::Train`]: the parameters are then those of the last good step.
    pub fn step(&mut self, batch: &B::Batch) -> Result<StepReport, FitError> {
        self.binding.write(self.trainer.session(), batch)?;
        Ok(self.trainer.step()?)
    }

    /// The gradient on one batch, without a step, in the order of the trainer's parameters; returns the loss.
    ///
    /// # Errors
    /// [`FitError::Train`].
    pub fn gradient(&mut self, batch: &B::Batch, into: &mut Vec<f32>) -> Result<f32, FitError> {
        self.binding.write(self.trainer.session(), batch)?;
        Ok(self.trainer.gradient(into)?)
    }

    /// The trainer, for its parameters and checkpoints.
    pub fn trainer(&mut self) -> &mut Trainer {
        &mut self.trainer
    }
}

/// Checks that the package asks for no loss but the one that batches have targets for.
fn check_losses(package: &Description, fed: &LossSpec) -> Result<(), FitError> {
    let kind = match fed.kind {
        gradient::LossKind::Mse => LossKind::Mse,
        gradient::LossKind::CrossEntropy => LossKind::CrossEntropy,
    };
    let text = |kind: LossKind, output: &str| match kind {
        LossKind::Mse => format!("mse on `{output}`"),
        LossKind::CrossEntropy => format!("cross-entropy on `{output}`"),
    };
    match &package.loss[..] {
        [only] if only.kind == kind && only.output == fed.output => Ok(()),
        asked => Err(FitError::Losses {
            got: asked.iter().map(|loss| text(loss.kind, &loss.output)).collect(),
            want: text(kind, &fed.output),
        }),
    }
}
