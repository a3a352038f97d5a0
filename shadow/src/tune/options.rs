//! How models are tuned: what is asked of the steps of every kind of package, and what each kind has besides.

use std::num::NonZeroUsize;

use shoal_runtime::gradient::Pull;

use crate::batch::{Batch, LessonBatch, Mix};
use crate::fit::{Binding, Camera, Extent, FitError, Policy, Tokens};
use crate::form::Form;
use crate::package::Description;
use crate::tokens::{TokenBatch, TokenForm};

/// How steps are taken, whatever they train; the defaults are recipe R's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOptions {
    /// AdamW's highest step size.
    pub learning_rate: f64,
    /// Steps until it is reached.
    pub warm_up_steps: u64,
    /// Seed of the factors' start values and of every batch.
    pub seed: u64,
    /// Threads of the engine.
    pub threads: NonZeroUsize,
    /// Parts in which a batch goes through the graph, one after another: less memory, more time, the same step. The samples
    /// of a batch are a multiple of it.
    pub parts: usize,
    /// Segments of the forward pass, all but the last computed again on the way back: less memory, more time; 1 computes
    /// nothing again. [`Tuning::within`](super::Tuning::within) chooses parts and segments.
    pub segments: usize,
    /// Whether A stays where it starts ([`Adapter::start_frozen`](shoal_runtime::adapter::Adapter::start_frozen)): B alone has
    /// gradients and moments.
    pub frozen_a: bool,
    /// Share of what goes into A that a step drops, in `[0, 1)`; 0: nothing.
    pub dropout: f64,
}

impl Default for StepOptions {
    fn default() -> Self {
        StepOptions {
            learning_rate: 3e-3,
            warm_up_steps: 5,
            seed: 0,
            threads: NonZeroUsize::MIN,
            parts: 1,
            segments: 1,
            frozen_a: false,
            dropout: 0.0,
        }
    }
}

impl StepOptions {
    fn extent(&self, samples: usize, ahead: usize) -> Extent {
        let StepOptions { parts, segments, .. } = *self;
        Extent { samples, ahead, parts, segments }
    }
}

/// How a package of one kind is tuned.
pub trait Options {
    /// The kind.
    type Kind: Binding;

    /// How steps are taken.
    fn steps(&self) -> &StepOptions;

    /// How much a batch is.
    fn extent(&self) -> Extent;

    /// The term of the loss that holds the factors somewhere.
    fn pull(&self) -> Option<Pull> {
        None
    }

    /// Room for a batch of a package.
    ///
    /// # Errors
    /// [`FitError::Form`] or [`FitError::TokenForm`] if it is of another kind.
    fn room(&self, package: &Description) -> Result<<Self::Kind as Binding>::Batch, FitError>;
}

/// How an adapter of a camera world model is tuned; the defaults are recipe R.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TuneOptions {
    /// Samples of a batch by kind.
    pub mix: Mix,
    /// Frames that are predicted in a row, each from those predicted before: 1 trains on the next one alone. Batches then have
    /// as many true next frames ([`Batch::with_ahead`]).
    pub ahead: usize,
    /// The term of the loss that [`Tuning::pull`](super::Tuning::pull) or [`Tuning::hold`](super::Tuning::hold) gives its place
    /// and strength.
    pub pull: Option<Pull>,
    /// How steps are taken.
    pub steps: StepOptions,
}

impl Default for TuneOptions {
    fn default() -> Self {
        TuneOptions { mix: Mix::RECIPE_R, ahead: 1, pull: None, steps: StepOptions::default() }
    }
}

impl Options for TuneOptions {
    type Kind = Camera;

    fn steps(&self) -> &StepOptions {
        &self.steps
    }

    fn extent(&self) -> Extent {
        self.steps.extent(self.mix.samples(), self.ahead)
    }

    fn pull(&self) -> Option<Pull> {
        self.pull
    }

    fn room(&self, package: &Description) -> Result<Batch, FitError> {
        Ok(Batch::with_ahead(Form::of(package)?, self.mix.samples(), self.ahead))
    }
}

/// How an adapter of a policy is tuned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolicyTuneOptions {
    /// Samples of a batch.
    pub samples: usize,
    /// As [`TuneOptions::pull`].
    pub pull: Option<Pull>,
    /// How steps are taken.
    pub steps: StepOptions,
}

impl Default for PolicyTuneOptions {
    /// Twice recipe R's samples, because a label is one number where a frame is thousands.
    fn default() -> Self {
        PolicyTuneOptions { samples: 16, pull: None, steps: StepOptions::default() }
    }
}

impl Options for PolicyTuneOptions {
    type Kind = Policy;

    fn steps(&self) -> &StepOptions {
        &self.steps
    }

    fn extent(&self) -> Extent {
        self.steps.extent(self.samples, 1)
    }

    fn pull(&self) -> Option<Pull> {
        self.pull
    }

    fn room(&self, package: &Description) -> Result<LessonBatch, FitError> {
        Ok(LessonBatch::new(Form::of_policy(package)?, self.samples))
    }
}

/// How an adapter of a token model is tuned.
///
/// The defaults were measured on tinyphysics and a minute of comma2k19: the step size of recipe R is
/// ten times too large there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenTuneOptions {
    /// Samples of a batch.
    pub samples: usize,
    /// As [`TuneOptions::pull`].
    pub pull: Option<Pull>,
    /// How steps are taken.
    pub steps: StepOptions,
}

impl Default for TokenTuneOptions {
    fn default() -> Self {
        let steps = StepOptions { learning_rate: 3e-4, ..StepOptions::default() };
        TokenTuneOptions { samples: 32, pull: None, steps }
    }
}

impl Options for TokenTuneOptions {
    type Kind = Tokens;

    fn steps(&self) -> &StepOptions {
        &self.steps
    }

    fn extent(&self) -> Extent {
        self.steps.extent(self.samples, 1)
    }

    fn pull(&self) -> Option<Pull> {
        self.pull
    }

    fn room(&self, package: &Description) -> Result<TokenBatch, FitError> {
        Ok(TokenBatch::new(TokenForm::of(package)?, self.samples))
    }
}
