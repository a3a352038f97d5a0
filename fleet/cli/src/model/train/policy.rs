//! `shoal model train` of a policy.

use std::path::Path;

use shoal_runtime::onnx::Model;
use shoal_shadow::form::Form;
use shoal_shadow::package::Package;
use shoal_shadow::tune::{PolicyTuneOptions, PolicyTuner};

use super::super::steps::ended;
use super::Train;
use crate::data;
use crate::output::Outcome;
use crate::policy::Policies;

impl Train {
    pub(super) fn train_policy(&self, package: &Package, output: &Path) -> Outcome {
        let options = PolicyTuneOptions::default();
        let options = PolicyTuneOptions {
            learning_rate: self.rate(options.learning_rate),
            seed: self.seed,
            threads: self.engine.threads(),
            parts: self.parts.into(),
            frozen_a: self.frozen.is_asked(),
            dropout: self.dropout,
            ..options
        };
        let (threads, geometry) = (options.threads, self.geometry.open()?);
        let policies = Policies { package, engine: self.engine.open()?, threads, geometry };
        let (description, engine) = (package.description(), &*policies.engine);
        let (form, model) = (Form::of_policy(description)?, Model::read(&package.model_path())?);
        let drives = data::recorded(self.data()?, form.shape, form.rate_hz, Some(form.context))?;
        let mut lessons = policies.lessons(&drives, &form, self.seed)?;
        let plan = match self.all_weights {
            true => PolicyTuner::whole_within(&model, description, engine, &options, self.limit())?,
            false => PolicyTuner::within(&model, description, engine, &options, self.limit())?,
        };
        let (parts, segments) = self.told(plan);
        let options = PolicyTuneOptions { parts, segments, ..options };
        let vehicle = format!("{:?}", policies.geometry);
        let mut told: Vec<&[u8]> = vec![vehicle.as_bytes()];
        told.extend(drives.iter().map(|drive| &drive.source_sha256[..]));
        let steps = self.steps(package, engine, (options.learning_rate, parts), &told)?;
        if self.all_weights {
            let mut whole = PolicyTuner::whole(&model, description, engine, &options)?;
            let stopped = steps.take(whole.stepper(), &mut lessons)?;
            self.write_whole(package, &whole.model(&model)?, output)?;
            return ended(stopped, output);
        }
        let start = self.start(&model, package, engine)?;
        let mut tuner = PolicyTuner::new(&model, description, engine, start.as_ref(), &options)?;
        let stopped = steps.take(tuner.stepper(), &mut lessons)?;
        tuner.adapter()?.write_trained(output, self.dropout as f32)?;
        ended(stopped, output)
    }
}
