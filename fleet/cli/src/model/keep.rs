//! What an adapter is not to forget while it is trained: flags of `shoal model train`.

use clap::Args;
use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::Engine;
use shoal_runtime::fit::Hold;
use shoal_runtime::gradient::Pull;
use shoal_runtime::onnx::Model;
use shoal_runtime::train::of_mean_one;
use shoal_shadow::batch::{Distilled, MixedBatch};
use shoal_shadow::fit::{Binding, load_predictor};
use shoal_shadow::measure::SessionPredictor;
use shoal_shadow::package::Description;
use shoal_shadow::tune::{StepOptions, TuneOptions, Tuning};

use super::train::positive;
use crate::output::{Failure, Outcome};

/// Samples over which the diagonal of the Fisher matrix is taken.
pub(super) const FISHER_SAMPLES: u32 = 64;

/// How the squared gradient of one sample at a time is taken.
pub(super) fn of_one(steps: StepOptions) -> StepOptions {
    StepOptions { parts: 1, dropout: 0.0, ..steps }
}

/// What holds an adapter back.
#[derive(Args)]
pub(super) struct Keep {
    /// Adds (MU/2)·|x − start|² to what is minimised: the adapter stays near where it started
    #[arg(long, value_name = "MU", value_parser = positive, conflicts_with = "ewc")]
    pull: Option<f64>,
    /// As --pull, each value as much as it matters for the footage that ships with the package (of a policy that was taught on
    /// generated roads and ships none, for such roads), or for the batches drawn for a bare ONNX file (elastic weight
    /// consolidation; importance of mean 1)
    #[arg(long, value_name = "LAMBDA", value_parser = positive)]
    ewc: Option<f64>,
    /// Samples of a batch whose target is what the shipped model predicts: of a package of frames, of the three that are
    /// augmented; of a bare ONNX file the last of --batch
    #[arg(long, value_name = "SAMPLES", default_value_t = 0)]
    distil: u8,
}

impl Keep {
    /// What was asked for, by its flags.
    pub(super) fn flags(&self) -> Vec<&'static str> {
        let asked = [
            ("--pull", self.pull.is_some()),
            ("--ewc", self.ewc.is_some()),
            ("--distil", self.distil > 0),
        ];
        asked.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect()
    }

    /// What holds an adapter where it starts.
    pub(super) fn held(&self) -> Option<Hold> {
        self.pull.map(Hold::Pull).or(self.ewc.map(Hold::Ewc))
    }

    /// The term of the loss by which it is held.
    pub(super) fn term(&self) -> Option<Pull> {
        self.held().map(|hold| match hold {
            Hold::Pull(_) => Pull::Even,
            Hold::Ewc(_) => Pull::ByImportance,
        })
    }

    /// Samples that are distilled.
    pub(super) fn distilled_samples(&self) -> usize {
        self.distil.into()
    }

    /// What tells this from other training.
    pub(super) fn asked(&self) -> String {
        format!("{:?} {:?} {}", self.pull, self.ewc, self.distil)
    }

    /// Pulls a tuner, which has taken no step, towards where it starts. `importance` gives the mean squared gradients there of
    /// what is not to be forgotten.
    pub(super) fn hold<B: Binding>(
        &self,
        tuner: &mut Tuning<B>,
        importance: impl FnOnce(&Adapter) -> Result<Vec<f32>, Failure>,
    ) -> Outcome {
        let place = tuner.adapter()?;
        if let Some(mu) = self.pull {
            tuner.pull(&place, mu)?;
        }
        let Some(lambda) = self.ewc else { return Ok(()) };
        let mut importance = importance(&place)?;
        if !of_mean_one(&mut importance) {
            return Err(
                "--ewc: no gradient of what is not to be forgotten moves the adapter".into()
            );
        }
        Ok(tuner.hold(&place, &importance, lambda)?)
    }

    /// Whether samples are distilled.
    pub(super) fn distils(&self) -> bool {
        self.distil > 0
    }

    /// The batches of `source`, as many samples as asked distilled from the model as it ships.
    pub(super) fn distilled<'a>(
        &self,
        source: MixedBatch<'a>,
        (model, package, engine): (&Model, &Description, &dyn Engine),
        options: &TuneOptions,
    ) -> Result<Distilled<'a, SessionPredictor>, Failure> {
        let (asked, most) = (usize::from(self.distil), source.augmented().len());
        let teacher = load_predictor(model, package, engine, options.steps.threads, None, asked)?;
        let too_many = || format!("--distil {asked}: {most} samples of a batch are augmented");
        Ok(Distilled::new(source, teacher).ok_or_else(too_many)?)
    }
}
