use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::Args;
use shoal_hal::{Part, Split};
use shoal_runtime::fit::FitOptions;
use shoal_runtime::onnx::Model;
use shoal_shadow::batch::{MixedBatch, Road};
use shoal_shadow::clip::Clips;
use shoal_shadow::form::Form;
use shoal_shadow::package::Package;
use shoal_shadow::tune::{TokenTuneOptions, TuneOptions, Tuner};

use super::bake::read_adapter;
use super::fit::fit;
use super::graft::Sites;
use super::open::result_path;
use crate::output::{Failure, Outcome, Progress};
use crate::tokens::{Tokens, is_token_model};
use crate::{EngineArgs, PackageArgs, data};

/// Gradient steps of a package where nothing is said.
const STEPS: u32 = 100;

/// Train an adapter of a package on the tuning part of drives, with recipe R. A package of tokens on
/// logs: the adapter is measured on their pack part as it is trained, and the best one is kept.
/// A bare ONNX file is fitted, without data, to its own outputs under perturbed inputs.
///
/// Example: shoal model train models/world --data drives --steps 100 -o adapter
///
/// Example: shoal model train model.onnx
#[derive(Args)]
pub(crate) struct Train {
    #[command(flatten)]
    package: PackageArgs,
    /// Directory of drives; for tokens a log (comma2k19 segment or CSV) or a folder of logs
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Gradient steps: 100 where nothing is said, 10 of a bare ONNX file
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Adapter to start from: a PEFT directory
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// AdamW's highest step size; by default 3e-3, for tokens 3e-4
    #[arg(long)]
    learning_rate: Option<f64>,
    /// For tokens: steps between two measurements of the adapter
    #[arg(long, default_value = "10", value_name = "STEPS")]
    every: NonZeroU32,
    /// Seed of the factors' start values and of every batch
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where the adapter goes: a PEFT directory; by default the name of the package or file and .adapter, here
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    sites: Sites,
    #[command(flatten)]
    engine: EngineArgs,
}

impl Train {
    pub(crate) fn run(self) -> Outcome {
        let output = result_path(&self.package.package, self.output.as_deref(), ".adapter")?;
        if self.package.package.is_file() {
            return self.fit(&output);
        }
        if self.sites.is_given() {
            return Err(
                "a package is grafted as its recipe says: --targets, --rank, --alpha, --batch and \
                        --dim are for a bare ONNX file"
                    .into(),
            );
        }
        let package = self.package.open()?;
        let description = package.description();
        if is_token_model(description) {
            return self.train_tokens(&package, &output);
        }
        let steps = self.steps.unwrap_or(STEPS);
        let form = Form::of(description)?;
        let model = Model::read(&package.model_path())?;
        let engine = self.engine.open()?;
        let drives = data::recorded(self.data()?, form.shape, form.rate_hz, Some(form.context))?;
        let splits: Vec<Split> = drives.iter().map(|drive| drive.split(form.context)).collect();
        let own: Vec<Road<'_>> = drives
            .iter()
            .zip(&splits)
            .filter_map(|(drive, split)| {
                Road::new(&[Clips::of_part(drive, split, Part::Tuning, form.context, 1)], &form)
            })
            .collect();
        let footage = match package.footage_path() {
            Some(path) => data::recorded(&path, form.shape, form.rate_hz, None)?,
            None => Vec::new(),
        };
        let replayed = footage
            .iter()
            .filter_map(|drive| Road::new(&[Clips::of_all(drive, form.context, 1)], &form))
            .collect();
        let options = TuneOptions::default();
        let options = TuneOptions {
            learning_rate: self.learning_rate.unwrap_or(options.learning_rate),
            seed: self.seed,
            threads: self.engine.threads(),
            ..options
        };
        let start = match &self.adapter {
            Some(directory) => Some(read_adapter(&model, directory)?),
            None => None,
        };
        let mut tuner = Tuner::new(&model, description, &*engine, start.as_ref(), &options)?;
        let mut source = MixedBatch::new(form, options.mix, own, replayed, self.seed)
            .ok_or("no drive has a clip to train on")?;
        let mut progress = Progress::new();
        tuner.run(&mut source, steps, |report| {
            let text = format!("steps with {}, loss {:.4}", engine.describe(), report.loss);
            progress.show(report.step.get(), u64::from(steps), text);
        })?;
        tuner.adapter().write_peft(&output)?;
        println!("{}", output.display());
        Ok(())
    }

    fn data(&self) -> Result<&PathBuf, Failure> {
        Ok(self.data.as_ref().ok_or("a package is trained on data: say where with --data DIR")?)
    }

    /// Fits a bare ONNX file to its own outputs.
    fn fit(&self, output: &Path) -> Outcome {
        for (flag, given) in [
            ("--data", self.data.is_some()),
            ("--adapter", self.adapter.is_some()),
            ("--model", self.package.model.is_some()),
        ] {
            if given {
                return Err(format!("{flag} is for a package, not for a bare ONNX file").into());
            }
        }
        let default = FitOptions::default();
        let options = FitOptions {
            steps: self.steps.unwrap_or(default.steps),
            learning_rate: self.learning_rate.unwrap_or(default.learning_rate),
            seed: self.seed,
            threads: self.engine.threads(),
            profile: self.engine.profile(),
            ..default
        };
        fit(&self.package.package, &self.sites, &*self.engine.open()?, &options, output)
    }

    fn train_tokens(&self, package: &Package, output: &Path) -> Outcome {
        let data = std::slice::from_ref(self.data()?);
        let tokens = Tokens::open(package, data, self.engine.open()?)?;
        let options = TokenTuneOptions::default();
        let options = TokenTuneOptions {
            learning_rate: self.learning_rate.unwrap_or(options.learning_rate),
            seed: self.seed,
            threads: self.engine.threads(),
            ..options
        };
        let start = match &self.adapter {
            Some(directory) => Some(read_adapter(&tokens.model, directory)?),
            None => None,
        };
        let steps = self.steps.unwrap_or(STEPS);
        let chosen = tokens.train(start.as_ref(), &options, (steps, self.every))?;
        chosen.adapter.write_peft(output)?;
        let (output, steps) = (output.display(), chosen.steps);
        println!(
            "{output}: the adapter after {steps} steps, {:.4} nats on the pack part",
            chosen.nats
        );
        Ok(())
    }
}
