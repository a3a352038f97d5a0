//! `shoal model train` of a policy.

use std::path::Path;

use shoal_hal::{Drive, Span};
use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::EngineError;
use shoal_runtime::onnx::Model;
use shoal_shadow::batch::{LessonBatch, Lessons};
use shoal_shadow::fit::Source;
use shoal_shadow::form::Form;
use shoal_shadow::package::Package;
use shoal_shadow::policymodel::{PolicyClip, PolicySource, lesson_form};
use shoal_shadow::tune::{PolicyTuneOptions, PolicyTuner, StepOptions};

use super::super::keep::{FISHER_SAMPLES, of_one};
use super::super::steps::ended;
use super::{Opened, Train};
use crate::data;
use crate::output::{Failure, Outcome};
use crate::policy::Policies;

/// Lessons on generated roads where a package ships no footage.
const LESSONS: u64 = 8;

/// Mean of squared gradients over single moments of the footage that ships with the package; without, of what it was taught on.
fn importance(
    policies: &Policies<'_>,
    (with, form): (&Opened<'_>, &Form),
    place: &Adapter,
    options: &PolicyTuneOptions,
) -> Result<Vec<f32>, Failure> {
    let Opened { package, model, engine } = *with;
    let (description, seed) = (package.description(), options.steps.seed);
    let one = PolicyTuneOptions { samples: 1, pull: None, steps: of_one(options.steps) };
    let mut looking = PolicyTuner::new(model, description, engine, Some(place), &one)?;
    if let Some(path) = package.footage_path() {
        let drives = data::recorded(&path, form.shape, form.rate_hz, None)?;
        let mut lessons = Lessons::new(form.clone(), seed).holding_speed();
        for drive in &drives {
            policies.learn_from(drive, &whole(drive), &mut lessons);
        }
        if lessons.is_empty() {
            return Err("--ewc: the footage of the package does not tell how it was steered".into());
        }
        return Ok(looking.squared_gradients(&mut lessons, FISHER_SAMPLES)?);
    }
    if description.rehearsal(None) == 0.0 {
        return Err("--ewc holds what matters for the footage of the package, which has none, or for generated roads where \
                    `rehearsal` of [action] says that it was taught on such"
            .into());
    }
    let lesson = lesson_form(form.shape);
    let clip = |number| PolicyClip::lesson((seed, number), lesson, None);
    let clips = (0..LESSONS).map(clip).collect::<Result<Vec<_>, _>>()?;
    let mut taught = Taught { source: PolicySource { seed }, clips };
    Ok(looking.squared_gradients(&mut taught, FISHER_SAMPLES)?)
}

/// All frames of a drive.
fn whole(drive: &Drive) -> Vec<Span> {
    drive.len().checked_sub(1).map(|last| Span { first: 0, last }).into_iter().collect()
}

/// Lessons on generated roads, as a policy is pretrained on.
struct Taught {
    source: PolicySource,
    clips: Vec<PolicyClip>,
}

impl Source<LessonBatch> for Taught {
    fn fill(&mut self, step: u64, batch: &mut LessonBatch) -> Result<(), EngineError> {
        self.source.fill(step, &self.clips, batch);
        Ok(())
    }
}

impl Train {
    pub(super) fn train_policy(&self, package: &Package, output: &Path) -> Outcome {
        let options = PolicyTuneOptions::default();
        let (pull, steps) = (self.keep.term(), self.asked(options.steps));
        let options = PolicyTuneOptions { pull, steps, ..options };
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
        self.keep
            .hold(&mut tuner, |place| importance(&policies, (&with, &form), place, &options))?;
        let stopped = steps.take(tuner.stepper(), &mut lessons)?;
        tuner.adapter()?.write_trained(output, self.dropout as f32)?;
        ended(stopped, output)
    }
}
