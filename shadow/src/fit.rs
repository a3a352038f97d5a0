//! A training graph of a camera world model, loaded and fed: what tuning and pretraining share.
//!
//! The graph is made here, on the vehicle, from the model of the package: pinned to the batch, folded,
//! grafted, differentiated for the engine that will run it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use shoal_runtime::adapter::{Adapter, Layout as AdapterLayout};
use shoal_runtime::bake::{BakeError, bake};
use shoal_runtime::engine::{Engine, EngineError, LoadOptions, Session};
use shoal_runtime::gradient::{self, DifferentiateOptions, LossSpec, Refusal};
use shoal_runtime::graft::{self, GraftError, GraftOptions, Profile, WriteWeightsError};
use shoal_runtime::onnx::fold::{FoldError, fold};
use shoal_runtime::onnx::pin::{PinError, PinOptions, pin};
use shoal_runtime::onnx::{Folded, Model};
use shoal_runtime::train::{CheckpointError, StepReport, TrainError, TrainOptions, Trainer};

use crate::batch::Batch;
use crate::form::{Form, FormError, arrange};
use crate::measure::{SessionPredictor, SessionPredictorError};
use crate::package::{Description, Layout, LossKind};

/// Why a model cannot be trained.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The package is not one of a camera world model.
    #[error(transparent)]
    Form(#[from] FormError),
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
    /// The package does not fit the model.
    #[error(transparent)]
    Predictor(#[from] SessionPredictorError),
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
    let baked = adapter.map(|adapter| bake(model, adapter)).transpose()?;
    let folded = prepare(baked.as_ref().unwrap_or(model), batch)?;
    let options = LoadOptions { threads, ..LoadOptions::default() };
    Ok(SessionPredictor::new(engine.load(&folded.model, &options)?, package)?)
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

/// A trainer of a camera world model and where its batches go.
pub struct Fit {
    trainer: Trainer,
    frames: usize,
    motion: Option<usize>,
    target: usize,
    weight: usize,
    read: (Layout, [f32; 2]),
    written: (Layout, [f32; 2]),
    form: Form,
    arranged: Vec<f32>,
}

impl Fit {
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
        let form = Form::of(package)?;
        let seen = package.frames.as_ref().ok_or(FormError::NoFrames)?;
        let shown = package.next_frame.as_ref().ok_or(FormError::NoNextFrame)?;
        let training = gradient::differentiate(
            folded,
            &DifferentiateOptions {
                losses: losses(package),
                wrt,
                strict: true,
                profile: profile_of(engine),
            },
        )?;
        let loss = training.losses.first().expect("a training graph has a loss");
        let session = engine.load(&training.folded.model, &LoadOptions::training(threads))?;
        let index = |name: &str| (*session).input_index(name);
        let motion = package.signals.as_ref().filter(|_| !form.motion.is_empty());
        let (frames, target, weight) =
            (index(&seen.input)?, index(&loss.target)?, index(&loss.weight)?);
        let motion = motion.map(|signals| index(&signals.input)).transpose()?;
        Ok(Fit {
            frames,
            motion,
            target,
            weight,
            read: (seen.layout, seen.range),
            written: (shown.layout, shown.range),
            form,
            arranged: Vec::new(),
            trainer: Trainer::new(session, options, start)?,
        })
    }

    /// Trains on one batch.
    ///
    /// # Errors
    /// [`FitError::Train`]: the parameters are then those of the last good step.
    pub fn step(&mut self, batch: &Batch) -> Result<StepReport, FitError> {
        let shape = self.form.shape;
        let parts =
            [(batch.frames(), self.frames, self.read), (batch.target(), self.target, self.written)];
        let session: &mut dyn Session = self.trainer.session();
        for (planes, input, (layout, range)) in parts {
            if layout == Layout::Nchw && range == [0.0, 1.0] {
                session.write_f32(input, planes)?;
                continue;
            }
            self.arranged.resize(planes.len(), 0.0);
            let sample = planes.len() / batch.samples();
            for (from, to) in planes.chunks(sample).zip(self.arranged.chunks_mut(sample)) {
                arrange(from, shape, layout, range, to);
            }
            session.write_f32(input, &self.arranged)?;
        }
        if let Some(motion) = self.motion {
            session.write_f32(motion, batch.motion())?;
        }
        session.write_f32(self.weight, batch.weight())?;
        Ok(self.trainer.step()?)
    }

    /// The trainer, for its parameters and checkpoints.
    pub fn trainer(&mut self) -> &mut Trainer {
        &mut self.trainer
    }
}

fn losses(package: &Description) -> Vec<LossSpec> {
    package
        .loss
        .iter()
        .map(|loss| LossSpec {
            kind: match loss.kind {
                LossKind::Mse => gradient::LossKind::Mse,
                LossKind::CrossEntropy => gradient::LossKind::CrossEntropy,
            },
            output: loss.output.clone(),
        })
        .collect()
}
