//! What a package is measured by: a world model by the frames it foresees, a policy by how near to drivers it is.

use std::num::NonZeroUsize;

use shoal_hal::{Drive, Part, Span, Split};
use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::Engine;
use shoal_runtime::onnx::Model;
use shoal_shadow::clip::Frames;
use shoal_shadow::fit::{load_policy, load_predictor};
use shoal_shadow::form::Form;
use shoal_shadow::grid::Geometry;
use shoal_shadow::measure::imitation::{ActedRun, DriveActs, Habits, imitation, judged};
use shoal_shadow::measure::{DriveClips, Horizon, Measurement, measure};
use shoal_shadow::pack::{Footages, Metric};
use shoal_shadow::package::Description;

use crate::output::Failure;

/// Clips of one run of a world model.
const BATCH: usize = 8;

/// The metric of a package that a vehicle carries.
pub(crate) fn metric_of(description: &Description) -> Metric {
    if description.foresees() { Metric::Skill } else { Metric::Imitation }
}

/// Refuses a pack of another metric.
pub(crate) fn check_pack(pack: Metric, package: Metric) -> Result<(), Failure> {
    if pack == package { Ok(()) } else { Err(refused(pack, package)) }
}

/// Refuses a pack on which no vehicle with this package can be measured: one that both foresees and acts is measured on either.
pub(crate) fn check_carried(pack: Metric, description: &Description) -> Result<(), Failure> {
    let measured = match pack {
        Metric::Skill => description.foresees(),
        Metric::Imitation => description.acts(),
    };
    if measured { Ok(()) } else { Err(refused(pack, metric_of(description))) }
}

fn refused(pack: Metric, package: Metric) -> Failure {
    let (pack, package) = (pack.name(), package.name());
    format!(
        "the evaluation pack is one of {pack}, and this package is measured by {package}: build one with `shoal pack build --metric {package}`"
    )
    .into()
}

/// Clips, or what drivers did.
pub(crate) enum Yardstick<'a> {
    /// For a world model.
    Clips(Vec<DriveClips<'a>>),
    /// For a policy that foresees nothing.
    Acts(Vec<DriveActs<'a>>),
}

impl<'a> Yardstick<'a> {
    /// All of a pack, or of several.
    pub(crate) fn of_packs(footages: &'a [Footages], metric: Metric, context: usize) -> Self {
        match metric {
            Metric::Skill => {
                Yardstick::Clips(footages.iter().flat_map(|of| of.clips(context)).collect())
            }
            Metric::Imitation => {
                Yardstick::Acts(footages.iter().flat_map(Footages::acts).collect())
            }
        }
    }

    /// Measures the model of a package.
    pub(crate) fn measure(
        &self,
        (model, description): (&Model, &Description),
        (engine, threads): (&dyn Engine, NonZeroUsize),
        adapter: Option<&Adapter>,
        horizon: Horizon,
    ) -> Result<Measurement, Failure> {
        Ok(match self {
            Yardstick::Clips(clips) => {
                let predictor = load_predictor(model, description, engine, threads, adapter, BATCH);
                measure(&mut predictor?, clips, horizon)?
            }
            Yardstick::Acts(acts) => {
                let policy = load_policy(model, description, engine, threads, adapter);
                imitation(&mut policy?, acts)?
            }
        })
    }
}

/// The held-out parts of drives.
pub(crate) struct HeldOut<'a> {
    drives: &'a [Drive],
    splits: &'a [Split],
    form: Form,
    /// Of a policy.
    moments: Option<Vec<Moments>>,
    geometry: Geometry,
}

/// What the driver of one drive did on its held-out frames.
struct Moments {
    spans: Vec<Frames>,
    habits: Habits,
    weights: Vec<Vec<f32>>,
}

impl<'a> HeldOut<'a> {
    /// Of vehicles of this geometry, for a package of this metric.
    pub(crate) fn of(
        drives: &'a [Drive],
        splits: &'a [Split],
        (form, metric): (&Form, Metric),
        geometry: Geometry,
    ) -> Self {
        let moments = match metric {
            Metric::Skill => None,
            Metric::Imitation => {
                let each = drives.iter().zip(splits);
                let of = |(drive, split): (&Drive, &Split)| {
                    Moments::of(drive, split.spans(Part::HeldOut), &geometry)
                };
                Some(each.map(of).collect())
            }
        };
        HeldOut { drives, splits, form: form.clone(), moments, geometry }
    }

    /// The clips, whatever the package is measured by.
    pub(crate) fn clips(&self) -> Vec<DriveClips<'_>> {
        let each = self.drives.iter().zip(self.splits);
        each.map(|(drive, split)| DriveClips::of_part(drive, split, Part::HeldOut, &self.form))
            .collect()
    }

    /// What is measured.
    pub(crate) fn yardstick(&self) -> Yardstick<'_> {
        let Some(moments) = &self.moments else { return Yardstick::Clips(self.clips()) };
        let acts = self.drives.iter().zip(moments).map(|(drive, moments)| {
            let runs = moments.spans.iter().zip(&moments.weights);
            DriveActs {
                name: drive.name.clone(),
                copy_psnr_db: 0.0,
                geometry: self.geometry,
                habits: &moments.habits,
                runs: runs
                    .map(|(footage, weights)| ActedRun { footage, weights, leaders: &[] })
                    .collect(),
            }
        });
        Yardstick::Acts(acts.collect())
    }
}

impl Moments {
    fn of(drive: &Drive, spans: &[Span], geometry: &Geometry) -> Self {
        let frames = |span: &Span| {
            let all = span.first..span.last + 1;
            let motion = all.clone().map(|index| drive.motion(index)).collect();
            Frames::new(drive.shape, drive.rate_hz, drive.frames(all).to_vec(), motion).ok()
        };
        let spans: Vec<Frames> = spans.iter().filter_map(frames).collect();
        let (habits, weights) = judged(&spans, geometry);
        Moments { spans, habits, weights }
    }
}
