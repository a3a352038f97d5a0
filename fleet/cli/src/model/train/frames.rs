//! `shoal model train` of a package of frames.

use std::path::Path;

use shoal_hal::{Drive, Part, Split};
use shoal_runtime::onnx::Model;
use shoal_shadow::batch::{MixedBatch, Road};
use shoal_shadow::clip::Clips;
use shoal_shadow::form::Form;
use shoal_shadow::package::Package;
use shoal_shadow::tune::{StepOptions, TuneOptions, Tuner};

use super::super::steps::{Steps, ended};
use super::{Opened, Train};
use crate::data;
use crate::output::{Failure, Outcome};

/// What frames are drawn from.
struct Roads<'a> {
    form: Form,
    own: Vec<Road<'a>>,
    replayed: Vec<Road<'a>>,
}

impl<'a> Roads<'a> {
    fn of(form: Form, (drives, splits): (&'a [Drive], &'a [Split]), footage: &'a [Drive]) -> Self {
        let tuning = |(drive, split): (&'a Drive, &'a Split)| {
            Road::new(&[Clips::of_part(drive, split, Part::Tuning, form.context, 1)], &form)
        };
        let whole = |drive: &'a Drive| Road::new(&[Clips::of_all(drive, form.context, 1)], &form);
        let own = drives.iter().zip(splits).filter_map(tuning).collect();
        let replayed = footage.iter().filter_map(whole).collect();
        Roads { form, own, replayed }
    }

    fn source(&self, options: &TuneOptions) -> Result<MixedBatch<'a>, Failure> {
        let (own, replayed) = (self.own.clone(), self.replayed.clone());
        Ok(MixedBatch::new(self.form.clone(), options.mix, own, replayed, options.steps.seed)
            .and_then(|source| source.with_ahead(options.ahead))
            .ok_or("no drive has a clip to train on")?)
    }
}

impl Train {
    pub(super) fn train_frames(&self, package: &Package, output: &Path) -> Outcome {
        let form = Form::of(package.description())?;
        let model = Model::read(&package.model_path())?;
        let engine = self.engine.open()?;
        let with = Opened { package, model: &model, engine: &*engine };
        let drives = data::recorded(self.data()?, form.shape, form.rate_hz, Some(form.context))?;
        let footage = match package.footage_path() {
            Some(path) => data::recorded(&path, form.shape, form.rate_hz, None)?,
            None => Vec::new(),
        };
        let splits: Vec<Split> = drives.iter().map(|drive| drive.split(form.context)).collect();
        let roads = Roads::of(form, (&drives, &splits), &footage);
        let options = TuneOptions {
            ahead: self.roll_out.into(),
            pull: self.keep.term(),
            steps: self.asked(StepOptions::default()),
            ..TuneOptions::default()
        };
        let options = TuneOptions { steps: self.plan(&with, &options)?, ..options };
        let hashes: Vec<&[u8]> = drives.iter().map(|drive| &drive.source_sha256[..]).collect();
        let steps = self.steps(&with, &options.steps, &hashes)?;
        if self.all_weights {
            let mut source = roads.source(&options)?;
            return self.train_whole(&with, &options, &mut source, &steps, output);
        }
        self.adapt(&with, (&roads, &options), &steps, output)
    }

    fn adapt(
        &self,
        with: &Opened<'_>,
        (roads, options): (&Roads<'_>, &TuneOptions),
        steps: &Steps<'_>,
        output: &Path,
    ) -> Outcome {
        let start = self.start(with)?;
        let (model, description, engine) = (with.model, with.package.description(), with.engine);
        let mut tuner = Tuner::new(model, description, engine, start.as_ref(), options)?;
        let with = (model, description, engine);
        self.keep.hold(&mut tuner, with, &roads.replayed, options)?;
        let mut source = roads.source(options)?;
        let stopped = if self.keep.distils() {
            let mut source = self.keep.distilled(source, with, options)?;
            steps.take(tuner.stepper(), &mut source)?
        } else {
            steps.take(tuner.stepper(), &mut source)?
        };
        tuner.adapter()?.write_trained(output, self.dropout as f32)?;
        ended(stopped, output)
    }
}
