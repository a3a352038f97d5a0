use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::Args;
use shoal_hal::{Drive, Part, Split};
use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::Engine;
use shoal_runtime::fit::FitOptions;
use shoal_runtime::onnx::Model;
use shoal_shadow::batch::{Batch, MixedBatch, Road};
use shoal_shadow::clip::Clips;
use shoal_shadow::fit::{Extent, Source, graft_package, profile_of};
use shoal_shadow::form::Form;
use shoal_shadow::package::Package;
use shoal_shadow::tune::{PolicyTuneOptions, TokenTuneOptions, TuneOptions, Tuner};

use super::bake::read_adapter;
use super::fit::{fit, planned};
use super::frozen::Frozen;
use super::graft::Sites;
use super::keep::Keep;
use super::open::result_path;
use super::saved::Saved;
use crate::output::{Failure, Outcome, Progress};
use crate::policy::{GeometryArgs, Policies, is_policy};
use crate::tokens::{Tokens, is_token_model};
use crate::{EngineArgs, PackageArgs, data};

/// Gradient steps of a package where nothing is said.
const STEPS: u32 = 100;

/// Train an adapter of a package on the tuning part of drives, with recipe R. A package of tokens on
/// logs: the adapter is measured on their pack part as it is trained, and the best one is kept. A policy: on what the
/// drivers did, each moment weighted by what came of it.
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
    /// Adapter to start from: a PEFT directory or an .onnx_adapter file
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<PathBuf>,
    /// AdamW's highest step size; by default 3e-3, for tokens 3e-4
    #[arg(long)]
    learning_rate: Option<f64>,
    /// For tokens: steps between two measurements of the adapter
    #[arg(long, default_value = "10", value_name = "STEPS")]
    every: NonZeroU32,
    /// Frames predicted in a row, each from those predicted before; 1 trains on the next frame alone
    #[arg(long, value_name = "STEPS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    roll_out: u8,
    /// Parts in which a batch goes through the training graph: less memory, more time, the same steps
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    parts: u8,
    /// Bytes that a step may take at once beyond what is there before it, by plan (about what is measured with ONNX
    /// Runtime, to a quarter): as many parts as that needs; where none are enough, segments of the forward pass are computed again
    #[arg(long, value_name = "BYTES")]
    memory_limit: Option<u64>,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    geometry: GeometryArgs,
    /// Goes on from this file if it is there; written at the end, and every 50 steps
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Seed of every batch, and of the factors' start values unless --freeze-a draws them
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where the adapter goes: a PEFT directory, or a file of ONNX Runtime if it ends in .onnx_adapter; by default the name
    /// of the package or file and .adapter, here
    #[arg(short, long, value_name = "ADAPTER")]
    output: Option<PathBuf>,
    #[command(flatten)]
    sites: Sites,
    #[command(flatten)]
    frozen: Frozen,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Steps from one checkpoint to the next.
const STEPS_A_CHECKPOINT: u32 = 50;

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
        let (tokens, policy) = (is_token_model(description), is_policy(description));
        if tokens || policy {
            let frames = self.memory_limit.is_some() || self.checkpoint.is_some();
            if self.roll_out > 1 || self.parts > 1 || frames {
                let only = "--roll-out, --parts, --memory-limit and --checkpoint are for packages of frames";
                return Err(only.into());
            }
            if let Some(flag) = self.keep.flags().first() {
                return Err(format!("{flag} is for a package of frames").into());
            }
        }
        if tokens {
            return self.train_tokens(&package, &output);
        }
        if policy {
            return self.train_policy(&package, &output);
        }
        self.train_package(&package, &output)
    }

    fn train_policy(&self, package: &Package, output: &Path) -> Outcome {
        let options = PolicyTuneOptions::default();
        let options = PolicyTuneOptions {
            learning_rate: self.learning_rate.unwrap_or(options.learning_rate),
            seed: self.seed,
            threads: self.engine.threads(),
            frozen_a: self.frozen.is_asked(),
            ..options
        };
        let policies = Policies {
            package,
            engine: self.engine.open()?,
            threads: options.threads,
            geometry: self.geometry.open()?,
        };
        let steps = self.steps.unwrap_or(STEPS);
        let model = Model::read(&package.model_path())?;
        let start = self.start(&model, package, &*policies.engine)?;
        let adapter = policies.train((&model, start.as_ref()), self.data()?, (&options, steps))?;
        adapter.write_peft(output)?;
        println!("{}", output.display());
        Ok(())
    }

    fn train_package(&self, package: &Package, output: &Path) -> Outcome {
        let description = package.description();
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
        let replayed: Vec<Road<'_>> = footage
            .iter()
            .filter_map(|drive| Road::new(&[Clips::of_all(drive, form.context, 1)], &form))
            .collect();
        let options = TuneOptions::default();
        let options = TuneOptions {
            learning_rate: self.learning_rate.unwrap_or(options.learning_rate),
            seed: self.seed,
            threads: self.engine.threads(),
            ahead: self.roll_out.into(),
            parts: self.parts.into(),
            pull: self.keep.term(),
            frozen_a: self.frozen.is_asked(),
            ..options
        };
        let limit = self.memory_limit.unwrap_or(u64::MAX);
        let plan = Tuner::within(&model, description, &*engine, &options, limit)?;
        let Extent { parts, segments, .. } = plan.extent;
        eprintln!("{}", planned(plan.bytes, parts, segments));
        let options = TuneOptions { parts, segments, ..options };
        let start = self.start(&model, package, &*engine)?;
        let mut tuner = Tuner::new(&model, description, &*engine, start.as_ref(), &options)?;
        let with = (&model, description, &*engine);
        self.keep.hold(&mut tuner, with, &replayed, &options)?;
        let mut source = MixedBatch::new(form, options.mix, own, replayed, self.seed)
            .and_then(|source| source.with_ahead(options.ahead))
            .ok_or("no drive has a clip to train on")?;
        let saved = match &self.checkpoint {
            Some(path) => Some(self.saved(path, &package.model_path(), &drives, parts)?),
            None => None,
        };
        let (saved, name) = (saved.as_ref(), engine.describe());
        if self.keep.distils() {
            let mut source = self.keep.distilled(source, with, &options)?;
            self.take_steps(&mut tuner, &mut source, steps, (saved, &name))?;
        } else {
            self.take_steps(&mut tuner, &mut source, steps, (saved, &name))?;
        }
        tuner.adapter()?.write(output)?;
        println!("{}", output.display());
        Ok(())
    }

    /// What a package's adapter is trained from; `None`: from what changes nothing.
    fn start(
        &self,
        model: &Model,
        package: &Package,
        engine: &dyn Engine,
    ) -> Result<Option<Adapter>, Failure> {
        let given = self.adapter.as_ref().map(|path| read_adapter(model, path)).transpose()?;
        let layout =
            || Ok(graft_package(model, package.description(), 1, profile_of(engine))?.layout);
        self.frozen.start(given, layout, &package.model_path())
    }

    /// A checkpoint of this training and no other.
    fn saved<'a>(
        &self,
        path: &'a Path,
        model: &Path,
        drives: &[Drive],
        parts: usize,
    ) -> Result<Saved<'a>, Failure> {
        let rate = self.learning_rate.unwrap_or(TuneOptions::default().learning_rate);
        let model = std::fs::read(model)?;
        let (seed, rate) = (self.seed.to_le_bytes(), rate.to_bits().to_le_bytes());
        let ways = [self.roll_out, u8::try_from(parts)?];
        let held = (self.keep.asked(), self.frozen.asked());
        let adapter = format!("{:?}{}{}", self.adapter, held.0, held.1);
        let mut asked: Vec<&[u8]> = vec![&seed, &ways, &rate, adapter.as_bytes(), &model];
        asked.extend(drives.iter().map(|drive| &drive.source_sha256[..]));
        Ok(Saved::new(path, &asked))
    }

    /// All steps that are left, with a checkpoint now and then.
    fn take_steps(
        &self,
        tuner: &mut Tuner,
        source: &mut impl Source<Batch>,
        steps: u32,
        (saved, engine): (Option<&Saved<'_>>, &str),
    ) -> Outcome {
        if let Some(saved) = saved {
            saved.resume(tuner)?;
        }
        let mut progress = Progress::new();
        while let left @ 1.. = u64::from(steps).saturating_sub(tuner.step_count()) {
            let count = u32::try_from(left).unwrap_or(u32::MAX).min(STEPS_A_CHECKPOINT);
            tuner.run(source, count, |report| {
                let text = format!("steps with {engine}, loss {:.4}", report.loss);
                progress.show(report.step.get(), u64::from(steps), text);
            })?;
            if let Some(saved) = saved {
                saved.write(tuner)?;
            }
        }
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
            ("--roll-out", self.roll_out > 1),
            ("--parts", self.parts > 1),
            ("--checkpoint", self.checkpoint.is_some()),
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
            memory_limit: self.memory_limit,
            hold: self.keep.held(),
            distil: self.keep.distilled_samples(),
            ..default
        };
        let how = (&self.sites, self.frozen);
        fit(&self.package.package, how, &*self.engine.open()?, &options, output)
    }

    fn train_tokens(&self, package: &Package, output: &Path) -> Outcome {
        let data = std::slice::from_ref(self.data()?);
        let tokens = Tokens::open(package, data, self.engine.open()?)?;
        let options = TokenTuneOptions::default();
        let options = TokenTuneOptions {
            learning_rate: self.learning_rate.unwrap_or(options.learning_rate),
            seed: self.seed,
            threads: self.engine.threads(),
            frozen_a: self.frozen.is_asked(),
            ..options
        };
        let start = self.start(&tokens.model, package, &*tokens.engine)?;
        let steps = self.steps.unwrap_or(STEPS);
        let chosen = tokens.train(start.as_ref(), &options, (steps, self.every))?;
        chosen.adapter.write(output)?;
        let (output, steps) = (output.display(), chosen.steps);
        println!(
            "{output}: the adapter after {steps} steps, {:.4} nats on the pack part",
            chosen.nats
        );
        Ok(())
    }
}
