//! What an adapter is not to forget while it is trained: flags of `shoal model train`.

use clap::Args;
use shoal_runtime::engine::Engine;
use shoal_runtime::fit::Hold;
use shoal_runtime::gradient::Pull;
use shoal_runtime::onnx::Model;
use shoal_runtime::train::of_mean_one;
use shoal_shadow::batch::{Distilled, Mix, MixedBatch, Road};
use shoal_shadow::fit::load_predictor;
use shoal_shadow::form::Form;
use shoal_shadow::measure::SessionPredictor;
use shoal_shadow::package::Description;
use shoal_shadow::tune::{StepOptions, TuneOptions, Tuner};

use super::train::positive;
use crate::output::{Failure, Outcome};

/// One own clip a batch: its squared gradient is a sample of the Fisher matrix's diagonal.
const ONE: Mix = Mix { own: 1, augmented: 0, replayed: 0 };
/// Samples over which that diagonal is taken.
const FISHER_SAMPLES: u32 = 64;

/// What holds an adapter back.
#[derive(Args)]
pub(super) struct Keep {
    /// Adds (MU/2)·|x − start|² to what is minimised: the adapter stays near where it started
    #[arg(long, value_name = "MU", value_parser = positive, conflicts_with = "ewc")]
    pull: Option<f64>,
    /// As --pull, each value as much as it matters for the footage that ships with the package, or for the batches drawn for a
    /// bare ONNX file (elastic weight consolidation; importance of mean 1)
    #[arg(long, value_name = "LAMBDA", value_parser = positive)]
    ewc: Option<f64>,
    /// Samples of a batch whose target is what the shipped model predicts: of a package, of the three that are augmented; of a
    /// bare ONNX file the last of --batch
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

    /// Pulls a tuner, which has taken no step, towards where it starts.
    pub(super) fn hold(
        &self,
        tuner: &mut Tuner,
        (model, package, engine): (&Model, &Description, &dyn Engine),
        shipped: &[Road<'_>],
        options: &TuneOptions,
    ) -> Outcome {
        let place = tuner.adapter()?;
        if let Some(mu) = self.pull {
            tuner.pull(&place, mu)?;
        }
        let Some(lambda) = self.ewc else { return Ok(()) };
        let form = Form::of(package)?;
        let mut source =
            MixedBatch::new(form, ONE, shipped.to_vec(), Vec::new(), options.steps.seed)
                .ok_or("--ewc holds what matters for the footage of the package, which has none")?;
        let steps = StepOptions { parts: 1, dropout: 0.0, ..options.steps };
        let one = TuneOptions { mix: ONE, ahead: 1, pull: None, steps };
        let mut looking = Tuner::new(model, package, engine, Some(&place), &one)?;
        let mut importance = looking.squared_gradients(&mut source, FISHER_SAMPLES)?;
        if !of_mean_one(&mut importance) {
            return Err("--ewc: no gradient of the package's footage moves the adapter".into());
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
