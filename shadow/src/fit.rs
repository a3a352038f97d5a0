//! A training graph of a package's model, loaded and fed: what tuning and pretraining share.
//!
//! The graph is made here, on the vehicle, from the model of the package: pinned to the batch, folded,
//! grafted, differentiated for the engine that will run it. What a batch is made of, and which tensors
//! it goes to, is the [`Binding`]'s: [`Camera`] for models of frames, [`Tokens`] for models of tokens, [`Policy`] for
//! policies.

mod camera;
mod inputs;
mod load;
mod losses;
mod policy;
mod tokens;

use std::num::NonZeroUsize;
use std::sync::Arc;

use shoal_runtime::adapter::Layout as AdapterLayout;
use shoal_runtime::bake::BakeError;
use shoal_runtime::engine::{Engine, EngineError, LoadOptions, Session};
use shoal_runtime::gradient::{
    self, DifferentiateOptions, Differentiated, Keep, LossSpec, PlacedLoss, Refusal,
};
use shoal_runtime::graft::{
    self, AllWeights, DropoutError, FACTOR, GraftError, GraftOptions, Profile, SiteInputsError,
    WriteWeightsError,
};
use shoal_runtime::many::ManyError;
use shoal_runtime::onnx::fold::{FoldError, fold};
use shoal_runtime::onnx::pin::{PinError, PinOptions, pin};
use shoal_runtime::onnx::{Folded, Model};
use shoal_runtime::rollout::{self, Feed, RollOutError, RollOutOptions};
use shoal_runtime::train::{CheckpointError, Masks, StepReport, TrainError, TrainOptions, Trainer};

use crate::form::FormError;
use crate::measure::SessionPredictorError;
use crate::measure::tokens::TokenPredictorError;
use crate::package::Description;
use crate::policymodel::DRIVEN_HZ;
use crate::tokens::TokenFormError;

pub use camera::Camera;
pub use inputs::SiteInputs;
pub use load::{
    load_grafted_token_predictor, load_policy, load_policy_of_many, load_predictor,
    load_predictor_of_many, load_token_predictor,
};
pub(crate) use losses::named;
pub use policy::Policy;
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
    #[error("model.toml asks for the loss {loss}, which cannot be trained: {why}")]
    Loss {
        /// Its kind and output.
        loss: String,
        /// What stands in the way, and what there is.
        why: String,
    },
    /// The package asks for no loss.
    #[error("model.toml asks for no loss: name one in [[loss]]")]
    NoLoss,
    /// The action is no logits of the grid, one row a sample: nothing says what the driver's bin costs.
    #[error(
        "the output `{output}` is no [batch, 1281] logits of action_grid/v1: only such a policy is tuned; others are served as \
         they are"
    )]
    NoLogits {
        /// The output.
        output: String,
    },
    /// The policy's moments are not those of generated roads.
    #[error(
        "generated roads in the closed loop have {DRIVEN_HZ} moments a second, and the policy reads {rate_hz}: it cannot drive or \
         be taught there, and a night of it rehearses nothing (`rehearsal = 0`)"
    )]
    OtherRate {
        /// Moments of the policy in a second.
        rate_hz: f64,
    },
    /// What there is teaches nothing.
    #[error("there is nothing to learn from: {why}")]
    NothingToLearn {
        /// Why not.
        why: String,
    },
    /// A prediction cannot be read again.
    #[error(
        "a prediction cannot be fed back: {why}. Train on the next frame alone, or change the model"
    )]
    NotFedBack {
        /// Why.
        why: &'static str,
    },
    /// The model cannot be rolled out.
    #[error("the model cannot be rolled out")]
    RollOut(#[from] RollOutError),
    /// A batch is not of so many equal parts.
    #[error("a batch of {samples} samples has no {parts} equal parts")]
    Parts {
        /// Samples of a batch.
        samples: usize,
        /// Parts asked for.
        parts: usize,
    },
    /// A step takes more than it may.
    #[error(
        "a step takes {least} bytes by plan, a sample at a time and with what can be computed again: more than the {limit} \
         allowed. Allow as much, or predict fewer frames in a row"
    )]
    Memory {
        /// The least that was found.
        least: u64,
        /// What was allowed.
        limit: u64,
    },
    /// An open axis got no number.
    #[error("the model's shapes cannot be fixed")]
    Pin(#[from] PinError),
    /// The graph cannot be folded.
    #[error("the model cannot be folded")]
    Fold(#[from] FoldError),
    /// Nothing can be dropped before a site's factors.
    #[error("the model cannot be trained with dropout")]
    Dropout(#[from] DropoutError),
    /// The adapter to start from, or to use, is of other sites, ranks or α.
    #[error(
        "the adapter is none of this package: {how}. Take one that was trained in it, or let [adapter] of model.toml say what the \
         adapter has"
    )]
    OtherLayout {
        /// What it has otherwise.
        how: String,
    },
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
    /// The graph cannot run several adapters at once.
    #[error("the model cannot run several adapters at once")]
    Many(#[from] ManyError),
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
    let described = engine.describe();
    // The provider that is asked first takes what it can: `ort-1.31.1/tensorrt:0+cuda:0+cpu`.
    let (name, providers) = described.split_once('/').unwrap_or((&described, ""));
    match providers {
        _ if name.starts_with("tract") => Profile::Tract,
        _ if providers.starts_with("tensorrt") => Profile::TensorRt,
        _ if providers.starts_with("cuda") => Profile::Cuda,
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

/// A grafted model, ready to be differentiated: what an adapter of this package is.
pub struct Grafted {
    /// The graph with factors as inputs.
    pub folded: Folded,
    /// Its factors.
    pub layout: Arc<AdapterLayout>,
}

impl Grafted {
    /// The same with a mask before every A, if there is to be one.
    pub(crate) fn masked(self, dropout: bool) -> Result<Self, FitError> {
        if !dropout {
            return Ok(self);
        }
        let Grafted { folded, layout } = self;
        let folded = graft::with_masks(&folded, &layout)?;
        Ok(Grafted { folded, layout })
    }
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
    let grafted = graft::graft(&prepare(model, batch)?, &graft_options(package, profile))?;
    Ok(Grafted { folded: grafted.folded, layout: Arc::new(grafted.layout) })
}

fn graft_options(package: &Description, profile: Profile) -> GraftOptions {
    GraftOptions {
        targets: package.adapter.targets.clone(),
        rank: package.adapter.rank,
        alpha: package.adapter.alpha,
        profile,
    }
}

/// How much of a batch a training graph takes, and how far it predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Samples of a batch.
    pub samples: usize,
    /// Predictions in a row, each fed back into the next: at least 1.
    pub ahead: usize,
    /// Parts in which a batch goes through the graph.
    pub parts: usize,
    /// Segments of the forward pass, all but the last computed again on the way back.
    pub segments: usize,
}

impl Extent {
    /// A batch at once, one prediction each.
    #[must_use]
    pub fn whole(samples: usize) -> Self {
        Extent { samples, ahead: 1, parts: 1, segments: 1 }
    }

    /// Samples that the graph takes at once.
    ///
    /// # Errors
    /// [`FitError::Parts`] if the parts are not equal.
    pub fn samples_at_once(&self) -> Result<usize, FitError> {
        let Extent { samples, parts, .. } = *self;
        match samples.checked_div(parts) {
            Some(once) if once > 0 && once * parts == samples => Ok(once),
            Some(_) | None => Err(FitError::Parts { samples, parts }),
        }
    }
}

/// What a batch of one kind of model is, and which tensors of a training graph it goes to.
pub trait Binding: Sized {
    /// The samples of one step.
    type Batch;

    /// The losses that the package asks for, whose weighted sum is minimised.
    ///
    /// # Errors
    /// [`FitError::Form`] or [`FitError::TokenForm`] if the package is of another kind, [`FitError::Loss`] if it asks for one
    /// that batches have no targets for.
    fn losses(package: &Description) -> Result<Vec<LossSpec>, FitError>;

    /// What is fed back where a graph predicts several times in a row.
    ///
    /// # Errors
    /// [`FitError::NotFedBack`] if a prediction is not what the model reads.
    fn feed(package: &Description) -> Result<Feed, FitError>;

    /// Finds the tensors in a session of the training graph, which has the losses of the package, in their order, for each
    /// prediction in a row.
    ///
    /// # Errors
    /// [`FitError`] if one is missing or has another shape than the package says.
    fn bind(
        package: &Description,
        session: &mut dyn Session,
        losses: &[PlacedLoss],
    ) -> Result<Self, FitError>;

    /// Writes the part of a batch into them that begins at sample `first`; as many samples as the graph takes at once.
    ///
    /// # Errors
    /// [`EngineError`] if the batch is of another form than the session's.
    fn write(
        &mut self,
        session: &mut dyn Session,
        batch: &Self::Batch,
        first: usize,
    ) -> Result<(), EngineError>;
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
    extent: Extent,
    /// Drawn for every part of a step; none without dropout.
    masks: Option<Masks>,
}

impl<B: Binding> Fit<B> {
    /// Rolls a graph out as far as it is to predict, differentiates it by `wrt`, loads it and binds the package's tensors.
    /// `start` gives the values that each of `wrt` begins with.
    ///
    /// # Errors
    /// [`FitError`].
    pub fn new<'a>(
        (folded, wrt, extent): (&Folded, Vec<String>, Extent),
        package: &Description,
        engine: &dyn Engine,
        threads: NonZeroUsize,
        options: TrainOptions,
        start: impl Fn(&str) -> Option<&'a [f32]>,
    ) -> Result<Self, FitError> {
        let graph = (folded, wrt, extent);
        Self::keeping(graph, Keep::default(), package, engine, (threads, options), start)
    }

    /// As [`Fit::new`], with terms of the loss that keep what is trained near a place, which the trainer is told.
    ///
    /// # Errors
    /// [`FitError`].
    pub fn keeping<'a>(
        graph: (&Folded, Vec<String>, Extent),
        keep: Keep,
        package: &Description,
        engine: &dyn Engine,
        (threads, options): (NonZeroUsize, TrainOptions),
        start: impl Fn(&str) -> Option<&'a [f32]>,
    ) -> Result<Self, FitError> {
        let extent = graph.2;
        let mut training = training_graph::<B>(graph, keep, package, profile_of(engine))?;
        if extent.segments > 1 {
            training.folded =
                gradient::recompute(&training.folded, extent.segments).map_err(Refusal::from)?;
        }
        let load = LoadOptions::training(threads);
        let mut trainer = Trainer::load(engine, &training.folded, &load, options, start)?;
        let binding = B::bind(package, trainer.session(), &training.losses)?;
        Ok(Fit { binding, trainer, extent, masks: None })
    }

    /// Draws the masks that the graph has as inputs for every step, at this rate.
    ///
    /// # Errors
    /// [`FitError::Engine`].
    pub fn with_masks(mut self, rate: f64, seed: u64) -> Result<Self, FitError> {
        self.masks = Some(Masks::of(self.trainer.session(), rate, seed)?);
        Ok(self)
    }

    /// Trains on one batch.
    ///
    /// # Errors
    /// [`FitError::Train`]: the parameters are then those of the last good step.
    pub fn step(&mut self, batch: &B::Batch) -> Result<StepReport, FitError> {
        self.gather(batch)?;
        Ok(self.trainer.step()?)
    }

    /// The gradient on one batch, without a step, in the order of the trainer's parameters; returns the loss.
    ///
    /// # Errors
    /// [`FitError::Train`].
    pub fn gradient(&mut self, batch: &B::Batch, into: &mut Vec<f32>) -> Result<f32, FitError> {
        self.gather(batch)?;
        Ok(self.trainer.gradient(into)?)
    }

    /// Runs all parts of a batch but the last one, which is written.
    fn gather(&mut self, batch: &B::Batch) -> Result<(), FitError> {
        let once = self.extent.samples_at_once()?;
        for part in 0..self.extent.parts {
            if part > 0 {
                self.trainer.gather()?;
            }
            if let Some(masks) = &mut self.masks {
                let step = self.trainer.step_count();
                masks.draw(self.trainer.session(), step, part as u32)?;
            }
            self.binding.write(self.trainer.session(), batch, part * once)?;
        }
        Ok(())
    }

    /// The trainer, for its parameters and checkpoints.
    pub fn trainer(&mut self) -> &mut Trainer {
        &mut self.trainer
    }
}

/// The graph of losses and gradients of a batch, or of one part of it.
fn training_graph<B: Binding>(
    (folded, wrt, extent): (&Folded, Vec<String>, Extent),
    keep: Keep,
    package: &Description,
    profile: Profile,
) -> Result<Differentiated, FitError> {
    let mut losses = B::losses(package)?;
    let rolled = if extent.ahead == 1 {
        None
    } else {
        let (steps, feeds) = (extent.ahead, vec![B::feed(package)?]);
        losses = rollout::losses(&losses, steps, 1.0);
        // A factor that is not trained is there once, too.
        let inputs = folded.model.graph().input.iter().map(|input| input.name().to_owned());
        let shared = inputs.filter(|name| name.starts_with(FACTOR) || wrt.contains(name)).collect();
        let options = RollOutOptions { steps, feeds, shared };
        Some(rollout::roll_out(folded, &options)?.folded)
    };
    let options = DifferentiateOptions { losses, wrt, strict: true, profile };
    Ok(gradient::differentiate_keeping(rolled.as_ref().unwrap_or(folded), &options, keep)?)
}

/// How a step is taken, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// With which parts and segments.
    pub extent: Extent,
    /// What a step then takes at once, by plan ([`gradient::peak_bytes`]).
    pub bytes: u64,
}

/// What is trained of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trained {
    /// A and B of its adapter, or B alone; with a mask before every A.
    Factors { frozen_a: bool, dropout: bool },
    /// Its own weights.
    Weights,
}

impl Trained {
    /// The graph that has it as inputs, and which these are.
    fn graph(
        self,
        model: &Model,
        package: &Description,
        samples: usize,
        profile: Profile,
    ) -> Result<(Folded, Vec<String>), FitError> {
        match self {
            Trained::Weights => {
                let all = weigh(model, samples)?;
                let wrt = all.weights.iter().map(|weight| weight.input.clone()).collect();
                Ok((all.folded, wrt))
            }
            Trained::Factors { frozen_a, dropout } => {
                let grafted = graft_package(model, package, samples, profile)?.masked(dropout)?;
                let trained = grafted.layout.trained(frozen_a);
                let wrt = trained.map(|factor| factor.input.clone()).collect();
                Ok((grafted.folded, wrt))
            }
        }
    }
}

/// A model whose weights are inputs, for so many samples at once.
pub(crate) fn weigh(model: &Model, samples: usize) -> Result<AllWeights, FitError> {
    Ok(graft::graft_stored_weights(&prepare(model, samples)?, model, &[])?)
}

/// The fewest parts, not below those of `extent`, with which a step stays below `limit` bytes; where none does, the fewest
/// segments of one sample at a time.
pub(crate) fn plan<B: Binding>(
    model: &Model,
    package: &Description,
    (profile, trained): (Profile, Trained),
    extent: Extent,
    limit: u64,
) -> Result<Planned, FitError> {
    let mut extent = Extent { segments: 1, ..extent };
    loop {
        let (folded, wrt) = trained.graph(model, package, extent.samples_at_once()?, profile)?;
        let graph = (&folded, wrt, extent);
        let training = training_graph::<B>(graph, Keep::default(), package, profile)?.folded;
        let more =
            (extent.parts + 1..=extent.samples).find(|parts| extent.samples.is_multiple_of(*parts));
        let bytes = gradient::peak_bytes(&training);
        match more {
            _ if bytes <= limit => return Ok(Planned { extent, bytes }),
            Some(parts) => extent.parts = parts,
            None => {
                let best = gradient::within(&training, limit).map_err(Refusal::from)?;
                if best.peak_bytes > limit {
                    return Err(FitError::Memory { least: best.peak_bytes, limit });
                }
                extent.segments = best.segments;
                return Ok(Planned { extent, bytes: best.peak_bytes });
            }
        }
    }
}
