//! `shoal model train` of a package of frames.

use std::path::Path;

use shoal_hal::{Drive, Motion, Part, Split};
use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::Engine;
use shoal_runtime::onnx::Model;
use shoal_shadow::batch::{Mix, MixedBatch, Road};
use shoal_shadow::clip::Clips;
use shoal_shadow::fit::{Binding, Camera};
use shoal_shadow::form::Form;
use shoal_shadow::grid::Geometry;
use shoal_shadow::package::{Description, Package};
use shoal_shadow::tune::{StepOptions, TuneOptions, Tuner};

use super::super::keep::{FISHER_SAMPLES, of_one};
use super::super::steps::{Steps, ended};
use super::{Opened, Train};
use crate::data;
use crate::output::{Failure, Outcome};

/// What frames are drawn from.
struct Roads<'a> {
    form: Form,
    package: &'a Description,
    geometry: Geometry,
    own: Vec<Road<'a>>,
    replayed: Vec<Road<'a>>,
}

impl<'a> Roads<'a> {
    fn of(
        (form, package, geometry): (Form, &'a Description, Geometry),
        (drives, splits): (&'a [Drive], &'a [Split]),
        footage: &'a [Drive],
    ) -> Self {
        let tuning = |(drive, split): (&'a Drive, &'a Split)| {
            Road::new(&[Clips::of_part(drive, split, Part::Tuning, form.context, 1)], &form)
        };
        let whole = |drive: &'a Drive| Road::new(&[Clips::of_all(drive, form.context, 1)], &form);
        let own = drives.iter().zip(splits).filter_map(tuning).collect();
        let replayed = footage.iter().filter_map(whole).collect();
        Roads { form, package, geometry, own, replayed }
    }

    fn source(&self, options: &TuneOptions) -> Result<MixedBatch<'a>, Failure> {
        let (own, replayed) = (self.own.clone(), self.replayed.clone());
        Ok(MixedBatch::new(self.form.clone(), options.mix, own, replayed, options.steps.seed)
            .map(|source| source.imitating(self.package, &self.geometry).holding_speed())
            .and_then(|source| source.with_ahead(options.ahead))
            .ok_or("no drive has a clip to train on")?)
    }

    /// Mean of squared gradients over single clips of the footage that ships with the package.
    fn importance(
        &self,
        (model, engine): (&Model, &dyn Engine),
        place: &Adapter,
        options: &TuneOptions,
    ) -> Result<Vec<f32>, Failure> {
        let (form, seed) = (self.form.clone(), options.steps.seed);
        let source = MixedBatch::new(form, ONE, self.replayed.clone(), Vec::new(), seed)
            .ok_or("--ewc holds what matters for the footage of the package, which has none")?;
        let mut source = source.imitating(self.package, &self.geometry).holding_speed();
        let one = TuneOptions { mix: ONE, ahead: 1, pull: None, steps: of_one(options.steps) };
        let mut looking = Tuner::new(model, self.package, engine, Some(place), &one)?;
        Ok(looking.squared_gradients(&mut source, FISHER_SAMPLES)?)
    }
}

/// One own clip a batch: its squared gradient is a sample of the Fisher matrix's diagonal.
const ONE: Mix = Mix { own: 1, augmented: 0, replayed: 0 };

/// Whether it is known how a drive was steered, or what path it took.
fn is_steered(drive: &Drive, geometry: &Geometry) -> bool {
    let steered = |motion: Motion| geometry.curvature_of(&motion).is_some();
    (0..drive.len()).any(|at| drive.motion(at).is_some_and(steered))
}

impl Train {
    pub(super) fn train_frames(&self, package: &Package, output: &Path) -> Outcome {
        let description = package.description();
        let (form, geometry) = (Form::of(description)?, self.geometry.open()?);
        // What cannot be trained is said before drives are read.
        Camera::losses(description)?;
        let model = Model::read(&package.model_path())?;
        let engine = self.engine.open()?;
        let with = Opened { package, model: &model, engine: &*engine };
        let drives = data::recorded(self.data()?, form.shape, form.rate_hz, Some(form.context))?;
        if description.imitates() && !drives.iter().any(|drive| is_steered(drive, &geometry)) {
            return Err("no drive tells how it was steered: there is nothing to imitate".into());
        }
        let footage = match package.footage_path() {
            Some(path) => data::recorded(&path, form.shape, form.rate_hz, None)?,
            None => Vec::new(),
        };
        let splits: Vec<Split> = drives.iter().map(|drive| drive.split(form.context)).collect();
        let roads = Roads::of((form, description, geometry), (&drives, &splits), &footage);
        let options = TuneOptions {
            ahead: self.roll_out.into(),
            pull: self.keep.term(),
            steps: self.asked(StepOptions::default()),
            ..TuneOptions::default()
        };
        let options = TuneOptions { steps: self.plan(&with, &options)?, ..options };
        let vehicle = format!("{geometry:?}");
        let mut told: Vec<&[u8]> = drives.iter().map(|drive| &drive.source_sha256[..]).collect();
        told.extend(description.imitates().then_some(vehicle.as_bytes()));
        let steps = self.steps(&with, &options.steps, &told)?;
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
        self.keep.hold(&mut tuner, |place| roads.importance((model, engine), place, options))?;
        let with = (model, description, engine);
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
