use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use shoal_hal::{Part, Split};
use shoal_runtime::onnx::Model;
use shoal_shadow::batch::{MixedBatch, Road};
use shoal_shadow::clip::Clips;
use shoal_shadow::form::Form;
use shoal_shadow::package::Package;
use shoal_shadow::tune::{TokenTuneOptions, TuneOptions, Tuner};

use super::bake::read_adapter;
use crate::output::{Outcome, Progress};
use crate::tokens::{Tokens, is_token_model};
use crate::{EngineArgs, PackageArgs, data};

/// Train an adapter of a package on the tuning part of drives, with recipe R. A package of tokens on
/// logs: the adapter is measured on their pack part as it is trained, and the best one is kept.
///
/// Example: shoal model train models/world --data drives --steps 100 -o adapter
#[derive(Args)]
pub(crate) struct Train {
    #[command(flatten)]
    package: PackageArgs,
    /// Directory of drives; for tokens a log (comma2k19 segment or CSV) or a folder of logs
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Gradient steps
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
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
    /// Where the adapter goes: a PEFT directory
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    engine: EngineArgs,
}

impl Train {
    pub(crate) fn run(self) -> Outcome {
        let package = self.package.open()?;
        let description = package.description();
        if is_token_model(description) {
            return self.train_tokens(&package);
        }
        let form = Form::of(description)?;
        let model = Model::read(&package.model_path())?;
        let engine = self.engine.open()?;
        let drives = data::recorded(&self.data, form.shape, form.rate_hz, Some(form.context))?;
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
        tuner.run(&mut source, self.steps, |report| {
            let text = format!("steps with {}, loss {:.4}", engine.describe(), report.loss);
            progress.show(report.step.get(), u64::from(self.steps), text);
        })?;
        tuner.adapter().write_peft(&self.output)?;
        println!("{}", self.output.display());
        Ok(())
    }
    fn train_tokens(&self, package: &Package) -> Outcome {
        let data = std::slice::from_ref(&self.data);
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
        let chosen = tokens.train(start.as_ref(), &options, (self.steps, self.every))?;
        chosen.adapter.write_peft(&self.output)?;
        let (output, steps) = (self.output.display(), chosen.steps);
        println!(
            "{output}: the adapter after {steps} steps, {:.4} nats on the pack part",
            chosen.nats
        );
        Ok(())
    }
}
