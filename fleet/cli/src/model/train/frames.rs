//! `shoal model train` of a package of frames.

use std::path::Path;

use shoal_hal::{Drive, Part, Split};
use shoal_runtime::engine::Engine;
use shoal_runtime::onnx::Model;
use shoal_shadow::batch::{MixedBatch, Road};
use shoal_shadow::clip::Clips;
use shoal_shadow::form::Form;
use shoal_shadow::package::Package;
use shoal_shadow::tune::{TuneOptions, Tuner};

use super::super::steps::{Steps, ended};
use super::Train;
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
        Ok(MixedBatch::new(self.form.clone(), options.mix, own, replayed, options.seed)
            .and_then(|source| source.with_ahead(options.ahead))
            .ok_or("no drive has a clip to train on")?)
    }
}

impl Train {
    pub(super) fn train_frames(&self, package: &Package, output: &Path) -> Outcome {
        let form = Form::of(package.description())?;
        let model = Model::read(&package.model_path())?;
        let engine = self.engine.open()?;
        let drives = data::recorded(self.data()?, form.shape, form.rate_hz, Some(form.context))?;
        let footage = match package.footage_path() {
            Some(path) => data::recorded(&path, form.shape, form.rate_hz, None)?,
            None => Vec::new(),
        };
        let splits: Vec<Split> = drives.iter().map(|drive| drive.split(form.context)).collect();
        let roads = Roads::of(form, (&drives, &splits), &footage);
        let options = self.options_of_frames(package, &model, &*engine)?;
        let hashes: Vec<&[u8]> = drives.iter().map(|drive| &drive.source_sha256[..]).collect();
        let how = (options.learning_rate, options.parts);
        let steps = self.steps(package, &*engine, how, &hashes)?;
        if !self.all_weights {
            return self.adapt(package, (&model, &*engine), (&roads, &options), &steps, output);
        }
        let mut whole = Tuner::whole(&model, package.description(), &*engine, &options)?;
        let stopped = steps.take(whole.stepper(), &mut roads.source(&options)?)?;
        self.write_whole(package, &whole.model(&model)?, output)?;
        ended(stopped, output)
    }

    fn options_of_frames(
        &self,
        package: &Package,
        model: &Model,
        engine: &dyn Engine,
    ) -> Result<TuneOptions, Failure> {
        let options = TuneOptions::default();
        let options = TuneOptions {
            learning_rate: self.rate(options.learning_rate),
            seed: self.seed,
            threads: self.engine.threads(),
            ahead: self.roll_out.into(),
            parts: self.parts.into(),
            pull: self.keep.term(),
            frozen_a: self.frozen.is_asked(),
            dropout: self.dropout,
            ..options
        };
        let (description, limit) = (package.description(), self.limit());
        let plan = match self.all_weights {
            true => Tuner::whole_within(model, description, engine, &options, limit)?,
            false => Tuner::within(model, description, engine, &options, limit)?,
        };
        let (parts, segments) = self.told(plan);
        Ok(TuneOptions { parts, segments, ..options })
    }

    fn adapt(
        &self,
        package: &Package,
        (model, engine): (&Model, &dyn Engine),
        (roads, options): (&Roads<'_>, &TuneOptions),
        steps: &Steps<'_>,
        output: &Path,
    ) -> Outcome {
        let description = package.description();
        let start = self.start(model, package, engine)?;
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
