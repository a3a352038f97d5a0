//! Policies in the commands: how near to drivers they are.

use std::num::NonZeroUsize;
use std::path::Path;

use clap::Args;
use shoal_hal::{Drive, Part, Span};
use shoal_runtime::engine::Engine;
use shoal_runtime::onnx::Model;
use shoal_shadow::batch::Lessons;
use shoal_shadow::fit::load_policy;
use shoal_shadow::form::Form;
use shoal_shadow::grid::Geometry;
use shoal_shadow::hindsight::Known;
use shoal_shadow::measure::policy::{AgreementReport, agreement};
use shoal_shadow::package::{Description, Package};

use crate::data;
use crate::model::bake::read_adapter;
use crate::output::{Failure, Outcome};

/// Whether a package is one of a policy alone.
pub(crate) fn is_policy(package: &Description) -> bool {
    let speaks = package.action.as_ref().is_some_and(|action| action.reading.is_on_the_grid());
    speaks && package.next_frame.is_none() && package.next_token.is_none()
}

/// The vehicle that was driven: of packages that learn what drivers do.
#[derive(Args)]
pub(crate) struct GeometryArgs {
    /// For what drivers do: metres between the axles of the vehicle that was driven
    #[arg(long, value_name = "METRES")]
    wheelbase: Option<f64>,
    /// For what drivers do: angle of its steering wheel per angle of its road wheels; 1 where the steering is told as the latter, as
    /// in donkeycar tubs
    #[arg(long, value_name = "RATIO")]
    steering_ratio: Option<f64>,
}

impl GeometryArgs {
    /// The flag of it that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let ratio = self.steering_ratio.map(|_| "--steering-ratio");
        self.wheelbase.map(|_| "--wheelbase").or(ratio)
    }

    pub(crate) fn open(&self) -> Result<Geometry, Failure> {
        self.or(Geometry::default())
    }

    /// What is not said is as in `usual`.
    pub(crate) fn or(&self, usual: Geometry) -> Result<Geometry, Failure> {
        let wheelbase = self.wheelbase.unwrap_or(usual.wheelbase_m());
        let ratio = self.steering_ratio.unwrap_or(usual.steering_ratio());
        let refused = "--wheelbase and --steering-ratio are numbers above 0";
        Ok(Geometry::new(wheelbase, ratio).ok_or(refused)?)
    }
}

/// A policy, what runs it, and the vehicle that was driven.
pub(crate) struct Policies<'a> {
    pub(crate) package: &'a Package,
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) threads: NonZeroUsize,
    pub(crate) geometry: Geometry,
}

impl Policies<'_> {
    /// Compares the policy with the drivers of one part of the drives in a directory.
    pub(crate) fn eval(
        &self,
        adapter: Option<&Path>,
        directory: &Path,
        part: Part,
    ) -> Result<AgreementReport, Failure> {
        let description = self.package.description();
        let form = Form::of_policy(description)?;
        let model = Model::read(&self.package.model_path())?;
        let adapter = adapter.map(|adapter| read_adapter(&model, adapter)).transpose()?;
        let drives = data::recorded(directory, form.shape, form.rate_hz, Some(form.context))?;
        let mut policy =
            load_policy(&model, description, &*self.engine, self.threads, adapter.as_ref())?;
        Ok(agreement(&mut policy, &drives, part, &self.geometry)?)
    }
}

impl Policies<'_> {
    /// What drivers did in the tuning part of drives, weighted by hindsight.
    pub(crate) fn lessons<'a>(
        &self,
        drives: &'a [Drive],
        form: &Form,
        seed: u64,
    ) -> Result<Lessons<'a>, Failure> {
        let mut lessons = Lessons::new(form.clone(), seed).holding_speed();
        for drive in drives {
            let split = drive.split(form.context);
            self.learn_from(drive, split.spans(Part::Tuning), &mut lessons);
        }
        if lessons.is_empty() {
            return Err("no drive tells how it was steered: there is nothing to imitate".into());
        }
        let (count, left) = (lessons.len(), 100.0 * lessons.weight_mean());
        eprintln!(
            "{count} moments; hindsight leaves {left:.0} % of what they teach, and steps are as much shorter"
        );
        Ok(lessons)
    }

    /// Adds what a driver did in some spans of a drive.
    pub(crate) fn learn_from<'a>(
        &self,
        drive: &'a Drive,
        spans: &[Span],
        lessons: &mut Lessons<'a>,
    ) {
        let motion = |at| drive.motion(at).unwrap_or_default();
        let known: Vec<Known> =
            (0..drive.len()).map(|at| Known::of(&motion(at), &self.geometry)).collect();
        let added = lessons.add(drive, spans, &known, &self.geometry, &[]);
        let name = &drive.name;
        if added > 0 && known.iter().all(|known| known.acceleration_m_s2.is_none()) {
            eprintln!("{name} knows no acceleration: who drives there is taken to hold the speed");
        } else if added == 0 {
            eprintln!("{name} does not tell how it was steered: nothing is learnt from it");
        }
    }
}

/// Prints a report as a table.
///
/// # Errors
/// None; the type is that of commands.
pub(crate) fn table(report: &AgreementReport) -> Outcome {
    let skill = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
    println!(
        "{:34} {:>7}  {:22} {:>7} {:>8} {:>7}",
        "drive", "moments", "", "nats", "distance", "skill"
    );
    for drive in &report.drives {
        if drive.predictors.is_empty() {
            println!("{:34} {:7}  (the driver's action is not known)", drive.drive, drive.moments);
        }
        for (place, of) in drive.predictors.iter().enumerate() {
            let name = if place == 0 { drive.drive.as_str() } else { "" };
            let nats = of.nats.map_or("∞".into(), |nats| format!("{nats:.3}"));
            println!(
                "{name:34} {:7}  {:22} {nats:>7} {:8.4} {:>7}",
                drive.moments,
                of.predictor,
                of.distance,
                skill(of.skill)
            );
        }
        if drive.not_finite > 0 {
            println!("{:34} {:7}  (the output is not finite)", "", drive.not_finite);
        }
    }
    println!(
        "{:34} {:>7}  {:22} {:>7} {:>8} {:>7}",
        "mean",
        "",
        report.policy,
        "",
        "",
        skill(report.skill)
    );
    Ok(())
}
