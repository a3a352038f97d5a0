//! `shoal eval`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use shoal_hal::{Part, Split};
use shoal_runtime::onnx::Model;
use shoal_shadow::baseline::baselines;
use shoal_shadow::fit::load_predictor;
use shoal_shadow::form::Form;
use shoal_shadow::measure::{DriveClips, Horizon, Report, measure};
use shoal_shadow::package::Package;

use crate::model::bake::read_adapter;
use crate::output::{Outcome, json};
use crate::policy::{self, GeometryArgs, is_policy};
use crate::tokens::{self, Tokens, is_token_model};
use crate::{EngineArgs, PackageArgs, data};

/// Measure a model package on drives or logs: skill or nats, and the baselines beside it.
///
/// A package of frames is measured on drives: skill. A package of tokens on logs: nats of every part. A policy: how near it is to the drivers, beside two baselines that know the driver's habits; with
/// `--pack` its term value, as vehicles claim it.
///
/// Example: shoal eval models/world --data drives --part held-out
#[derive(Args)]
pub(crate) struct Eval {
    #[command(flatten)]
    package: PackageArgs,
    /// A PEFT directory or an .onnx_adapter file
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Directory of drives; for tokens a log (comma2k19 segment or CSV) or a folder of logs
    #[arg(long, value_name = "DIR", required_unless_present = "pack")]
    data: Option<PathBuf>,
    /// An evaluation pack of imitation, whole, instead of drives: what a vehicle would claim of a policy
    #[arg(long, value_name = "PACK", conflicts_with_all = ["data", "part", "wheelbase", "steering_ratio"])]
    pack: Option<PathBuf>,
    /// Which part of every drive; of logs all parts are measured
    #[arg(long, value_enum, default_value = "held-out")]
    part: PartName,
    /// Machine-readable
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    geometry: GeometryArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

mod on_pack;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PartName {
    Tuning,
    Pack,
    HeldOut,
}

impl From<PartName> for Part {
    fn from(name: PartName) -> Self {
        match name {
            PartName::Tuning => Part::Tuning,
            PartName::Pack => Part::Pack,
            PartName::HeldOut => Part::HeldOut,
        }
    }
}

impl Eval {
    /// Measures and prints.
    pub(crate) fn run(self) -> Outcome {
        let package = self.package.open()?;
        let description = package.description();
        if let Some(pack) = &self.pack {
            return self.eval_pack(&package, pack);
        }
        let data = self.data.as_deref().ok_or("no drives are named")?;
        let for_policies = !is_policy(description) || is_token_model(description);
        if let Some(flag) = self.geometry.given().filter(|_| for_policies) {
            return Err(format!("{flag} is for packages of a policy").into());
        }
        if is_token_model(description) {
            return self.eval_tokens(&package, data);
        }
        if is_policy(description) {
            return self.eval_policy(&package, data);
        }
        let form = Form::of(description)?;
        let model = Model::read(&package.model_path())?;
        let engine = self.engine.open()?;
        let adapter = match &self.adapter {
            Some(directory) => Some(read_adapter(&model, directory)?),
            None => None,
        };
        let drives = data::recorded(data, form.shape, form.rate_hz, Some(form.context))?;
        let splits: Vec<Split> = drives.iter().map(|drive| drive.split(form.context)).collect();
        let clips: Vec<DriveClips<'_>> = drives
            .iter()
            .zip(&splits)
            .map(|(drive, split)| DriveClips::of_part(drive, split, self.part.into(), &form))
            .collect();
        let threads = self.engine.threads();
        let mut predictor =
            load_predictor(&model, description, &*engine, threads, adapter.as_ref(), 8)?;
        let measured = measure(&mut predictor, &clips, Horizon::NextAndRollout)?;
        let beside = baselines(&form, &clips, Horizon::NextAndRollout)?;
        let report = Report::of(&measured, &beside);
        if self.json { json(&report) } else { table(&report) }
    }

    fn eval_pack(&self, package: &Package, pack: &Path) -> Outcome {
        let (engine, threads) = (self.engine.open()?, self.engine.threads());
        let report = on_pack::eval(package, &*engine, threads, self.adapter.as_deref(), pack)?;
        if self.json { json(&report) } else { on_pack::table(&report) }
    }

    fn eval_policy(&self, package: &Package, data: &Path) -> Outcome {
        let report = policy::Policies {
            package,
            engine: self.engine.open()?,
            threads: self.engine.threads(),
            geometry: self.geometry.open()?,
        };
        let report = report.eval(self.adapter.as_deref(), data, self.part.into())?;
        if self.json { json(&report) } else { policy::table(&report) }
    }

    fn eval_tokens(&self, package: &Package, data: &Path) -> Outcome {
        let tokens = Tokens::open(package, &[data.to_owned()], self.engine.open()?)?;
        let adapter = match &self.adapter {
            Some(directory) => Some(read_adapter(&tokens.model, directory)?),
            None => None,
        };
        let report = tokens.eval(adapter.as_ref(), self.engine.threads())?;
        if self.json { json(&report) } else { tokens::table(&report) }
    }
}

/// Prints a report as a table.
///
/// # Errors
/// None; the type is that of commands.
pub(crate) fn table(report: &Report) -> Outcome {
    let figure = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
    let mut head = format!("{:34} {:>5} {:>7} {:>7}", "drive", "clips", "copy dB", "skill");
    head += &format!(" {:>7}", "5 steps");
    for baseline in &report.baselines {
        head += &format!("  {:>22} {:>7}", baseline.predictor, "5 steps");
    }
    println!("{head}");
    for drive in &report.drives {
        let mut line = format!(
            "{:34} {:5} {:7.1} {:>7} {:>7}",
            drive.name,
            drive.clips,
            drive.copy_psnr_db_whole.unwrap_or(f64::INFINITY),
            figure(drive.skill),
            figure(drive.rollout.skill)
        );
        for baseline in &drive.baselines {
            let (skill, rollout) = (figure(baseline.skill), figure(baseline.rollout_skill));
            line += &format!("  {skill:>22} {rollout:>7}");
        }
        println!("{line}{}", if drive.counted { "" } else { "  (hardly moves: not counted)" });
    }
    let mut mean = format!(
        "{:34} {:>5} {:>7} {:>7} {:>7}",
        format!("mean of {} counted", report.counted),
        "",
        "",
        figure(report.skill),
        figure(report.rollout.skill)
    );
    for baseline in &report.baselines {
        let (skill, rollout) = (figure(baseline.skill), figure(baseline.rollout_skill));
        mean += &format!("  {skill:>22} {rollout:>7}");
    }
    println!("{mean}");
    Ok(())
}
