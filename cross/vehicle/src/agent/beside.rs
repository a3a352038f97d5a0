//! A second model beside the one that the vehicle learns: a policy beside a world model, or a world model beside a policy. It
//! looks at the same road; nothing of it is tuned or exchanged.

use std::num::NonZeroUsize;
use std::path::Path;

use shoal_hal::FrameShape;
use shoal_runtime::engine::Engine;
use shoal_runtime::onnx::Model;
use shoal_shadow::fit::{load_policy, load_predictor};
use shoal_shadow::form::Form;
use shoal_shadow::measure::SessionPredictor;
use shoal_shadow::measure::policy::PolicyPredictor;
use shoal_shadow::package::{Description, Package};

use super::AgentError;

/// Why a package cannot look at the road beside another.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BesideError {
    /// One foresees, or acts, as the other does.
    #[error(
        "model.beside adds nothing: one package foresees frames and the other says on the action grid what it would do, each what the \
         other does not"
    )]
    AddsNothing,
    /// The two see differently.
    #[error(
        "model.beside reads frames of {}×{} at {beside_hz} Hz, the package of {}×{} at {own_hz} Hz: a vehicle keeps frames of one size",
        beside.width, beside.height, own.width, own.height
    )]
    OtherFrames {
        /// Of the package that the vehicle learns.
        own: FrameShape,
        /// Of the one beside it.
        beside: FrameShape,
        /// Rate of the first.
        own_hz: f64,
        /// Rate of the second.
        beside_hz: f64,
    },
}

/// The package that is not tuned.
pub(super) struct Beside {
    package: Package,
    model: Model,
}

impl Beside {
    /// Opens the package beside the one that `own` describes, whose frames are as `form` says.
    pub(super) fn open(path: &Path, own: &Description, form: &Form) -> Result<Self, AgentError> {
        let package = Package::open(path)?;
        let description = package.description();
        if description.foresees() == own.foresees() || description.acts() == own.acts() {
            return Err(BesideError::AddsNothing.into());
        }
        let its = Form::carried(description)?;
        if its.shape != form.shape || (its.rate_hz / form.rate_hz - 1.0).abs() > 1e-6 {
            let (own, beside) = (form.shape, its.shape);
            let (own_hz, beside_hz) = (form.rate_hz, its.rate_hz);
            return Err(BesideError::OtherFrames { own, beside, own_hz, beside_hz }.into());
        }
        let model = Model::read(&package.model_path())?;
        Ok(Beside { package, model })
    }

    pub(super) fn description(&self) -> &Description {
        self.package.description()
    }

    /// What it foresees; `None` of a policy.
    pub(super) fn predictor(
        &self,
        engine: &dyn Engine,
        threads: NonZeroUsize,
    ) -> Result<Option<SessionPredictor>, AgentError> {
        let description = self.description();
        if !description.foresees() {
            return Ok(None);
        }
        Ok(Some(load_predictor(&self.model, description, engine, threads, None, 1)?))
    }

    /// What it would do; `None` of a world model.
    pub(super) fn policy(
        &self,
        engine: &dyn Engine,
        threads: NonZeroUsize,
    ) -> Result<Option<PolicyPredictor>, AgentError> {
        let description = self.description();
        if !description.acts() {
            return Ok(None);
        }
        Ok(Some(load_policy(&self.model, description, engine, threads, None)?))
    }
}
