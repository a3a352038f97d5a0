//! `shoal model train` of a policy.

use std::path::Path;

use shoal_runtime::onnx::Model;
use shoal_shadow::form::Form;
use shoal_shadow::package::Package;
use shoal_shadow::tune::{PolicyTuneOptions, PolicyTuner, StepOptions};

use super::super::steps::ended;
use super::{Opened, Train};
use crate::data;
use crate::output::Outcome;
use crate::policy::Policies;

impl Train {
    pub(super) fn train_policy(&self, package: &Package, output: &Path) -> Outcome {
        let options = PolicyTuneOptions::default();
        let options = PolicyTuneOptions { steps: self.asked(options.steps), ..options };
        let (threads, geometry) = (options.steps.threads, self.geometry.open()?);
        let policies = Policies { package, engine: self.engine.open()?, threads, geometry };
        let (form, model) =
            (Form::of_policy(package.description())?, Model::read(&package.model_path())?);
        let with = Opened { package, model: &model, engine: &*policies.engine };
        let drives = data::recorded(self.data()?, form.shape, form.rate_hz, Some(form.context))?;
        let mut lessons = policies.lessons(&drives, &form, self.seed)?;
        let planned = self.plan(&with, &options)?;
        let learning_rate = lessons.learning_rate(planned.learning_rate);
        let steps = StepOptions { learning_rate, ..planned };
        let options = PolicyTuneOptions { steps, ..options };
        let vehicle = format!("{:?}", policies.geometry);
        let mut told: Vec<&[u8]> = vec![vehicle.as_bytes()];
        told.extend(drives.iter().map(|drive| &drive.source_sha256[..]));
        let steps = self.steps(&with, &options.steps, &told)?;
        if self.all_weights {
            return self.train_whole(&with, &options, &mut lessons, &steps, output);
        }
        let (start, engine) = (self.start(&with)?, with.engine);
        let mut tuner =
            PolicyTuner::new(&model, package.description(), engine, start.as_ref(), &options)?;
        let stopped = steps.take(tuner.stepper(), &mut lessons)?;
        tuner.adapter()?.write_trained(output, self.dropout as f32)?;
        ended(stopped, output)
    }
}
