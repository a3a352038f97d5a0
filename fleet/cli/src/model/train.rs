//! `shoal model train`: flags, what they may be together, and what all kinds of models share.

mod frames;
mod policy;
mod tokens;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::Args;
use shoal_runtime::adapter::{Adapter, OnnxAdapter};
use shoal_runtime::engine::Engine;
use shoal_runtime::fit::FitOptions;
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::Model;
use shoal_shadow::fit::{Binding, Extent, Source, graft_package, profile_of};
use shoal_shadow::package::{Package, hash_file};
use shoal_shadow::tune::{Options, StepOptions, Tuning, Whole};

use super::bake::grafted_as;
use super::fit::{Bare, planned, say_left};
use super::frozen::Frozen;
use super::graft::Sites;
use super::keep::Keep;
use super::losses::Losses;
use super::open::{beside_of, result_path};
use super::packaged::{can_take, copy_footage, is_free, write_package};
use super::saved::Saved;
use super::steps::{STEPS_A_CHECKPOINT, Steps, ended};
use crate::output::{Failure, Outcome};
use crate::policy::{GeometryArgs, is_policy};
use crate::tokens::is_token_model;
use crate::{EngineArgs, PackageArgs};

/// Gradient steps of a package where nothing is said.
const STEPS: u32 = 100;
/// How much smaller the highest step size is where all weights are trained.
const WHOLE_RATE: f64 = 0.1;

/// Train an adapter: of a package on drives, of a bare ONNX file on its own outputs.
///
/// A package is trained on the tuning part of drives, with recipe R. A package of tokens on logs: the adapter is measured on their pack part as it is trained, and the best one is kept. A policy: on what the
/// drivers did, each moment weighted by what came of it.
/// A bare ONNX file is fitted, without data, to its own outputs under perturbed inputs; --loss says by which losses.
///
/// A package is trained by the losses that its model.toml names: by their weighted sum.
///
/// A loss or gradient that is not finite ends it: what the last good step left is written, and step and output are said.
///
/// Example: shoal model train models/world --data drives --steps 100 -o adapter
///
/// Example: shoal model train model.onnx
///
/// Example: shoal model train model.onnx --loss charbonnier:next --loss 'cross_entropy:action*0.1'
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
    /// Trains all weights in the place of an adapter: what comes out is a package again, or of a bare ONNX file the same with
    /// other weights
    #[arg(long, conflicts_with_all = ["adapter", "freeze_a", "dropout"])]
    all_weights: bool,
    /// AdamW's highest step size; by default 3e-3, for tokens and bare files 3e-4; a tenth of it with --all-weights
    #[arg(long, value_parser = positive)]
    learning_rate: Option<f64>,
    /// For an adapter of tokens: steps between two measurements of it; 10 where nothing is said
    #[arg(long, value_name = "STEPS")]
    every: Option<NonZeroU32>,
    /// Frames predicted in a row, each from those predicted before; 1 trains on the next frame alone
    #[arg(long, value_name = "STEPS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    roll_out: u8,
    /// Parts in which a package's batch goes through the training graph: less memory, more time, the same steps
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    parts: u8,
    /// Bytes that a step may take at once beyond what is there before it, by plan (about what is measured with ONNX
    /// Runtime, to a quarter): as many parts as that needs; where none are enough, segments of the forward pass are computed again
    #[arg(long, value_name = "BYTES")]
    memory_limit: Option<u64>,
    /// Share of what goes into every A that a step drops, drawn anew for each; what is kept counts as much more (PEFT's
    /// lora_dropout). Of sites that are a branch beside their node
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    dropout: f64,
    #[command(flatten)]
    losses: Losses,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    geometry: GeometryArgs,
    /// Goes on from this file if it is there; written at the end, and every 50 steps (for an adapter of tokens whenever it is
    /// measured)
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Seed of every batch, and of the factors' start values unless --freeze-a draws them
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where the adapter goes: a PEFT directory, or a file of ONNX Runtime if it ends in .onnx_adapter; by default the name
    /// of the package or file and .adapter, here. With --all-weights a package that is not there yet (.tuned) or an ONNX file
    /// (.tuned.onnx)
    #[arg(short, long, value_name = "ADAPTER")]
    output: Option<PathBuf>,
    #[command(flatten)]
    sites: Sites,
    #[command(flatten)]
    frozen: Frozen,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What is trained.
struct Opened<'a> {
    package: &'a Package,
    model: &'a Model,
    engine: &'a dyn Engine,
}

impl Train {
    pub(crate) fn run(self) -> Outcome {
        let path = &self.package.package;
        let what = std::fs::metadata(path);
        let bare = what.map_err(|why| format!("cannot read {}: {why}", path.display()))?.is_file();
        let ending = match (self.all_weights, bare) {
            (false, _) => ".adapter",
            (true, true) => ".tuned.onnx",
            (true, false) => ".tuned",
        };
        let output = result_path(&self.package.package, self.output.as_deref(), ending)?;
        self.checkpoint.as_deref().map_or(Ok(()), Saved::check)?;
        match (self.all_weights, bare) {
            (true, false) => is_free(&output)?,
            (true, true) => can_take(&output, true)?,
            (false, _) => can_take(&output, OnnxAdapter::is_called_so(&output))?,
        }
        if bare {
            return self.fit(&output);
        }
        self.check_package()?;
        let package = self.package.open()?;
        let description = package.description();
        let (tokens, policy) = (is_token_model(description), is_policy(description));
        let drives = policy || description.imitates();
        if let Some(flag) = self.geometry.given().filter(|_| !drives || tokens) {
            return Err(format!("{flag} is for packages that learn what drivers do").into());
        }
        if self.every.is_some() && !tokens {
            return Err("--every is for packages of tokens".into());
        }
        let of_frames =
            [("--distil", self.keep.distils()), ("--roll-out", self.roll_out > 1)].into_iter();
        let flag = of_frames.filter(|(_, given)| *given).map(|(flag, _)| flag).next();
        match (tokens, policy, flag) {
            (true, _, Some(flag)) | (_, true, Some(flag)) => {
                Err(format!("{flag} is for packages of frames").into())
            }
            (true, _, None) => self.train_tokens(&package, &output),
            (false, true, None) => self.train_policy(&package, &output),
            (false, false, _) => self.train_frames(&package, &output),
        }
    }

    /// What no package can be asked.
    fn check_package(&self) -> Outcome {
        if self.sites.is_given() {
            return Err(
                "a package is grafted as its recipe says: --targets, --rank, --alpha, --batch and \
                        --dim are for a bare ONNX file"
                    .into(),
            );
        }
        if !self.losses.asked().is_empty() {
            return Err(
                "a package is trained by the [[loss]] of its model.toml: --loss is for a bare ONNX \
                 file"
                    .into(),
            );
        }
        match self.keep.flags().first() {
            Some(flag) if self.all_weights => {
                Err(format!("{flag} holds an adapter of a package: it is not for --all-weights")
                    .into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// AdamW's highest step size, where this is the one of an adapter.
    fn rate(&self, of_adapter: f64) -> f64 {
        let whole = if self.all_weights { WHOLE_RATE } else { 1.0 };
        self.learning_rate.unwrap_or(whole * of_adapter)
    }

    /// How steps are taken, of what a kind of package has where nothing is said.
    fn asked(&self, of_kind: StepOptions) -> StepOptions {
        StepOptions {
            learning_rate: self.rate(of_kind.learning_rate),
            seed: self.seed,
            threads: self.engine.threads(),
            parts: self.parts.into(),
            frozen_a: self.frozen.is_asked(),
            dropout: self.dropout,
            ..of_kind
        }
    }

    /// The steps of these options, in as many parts and segments as the limit of memory needs; the plan is told.
    fn plan<O: Options>(&self, with: &Opened<'_>, options: &O) -> Result<StepOptions, Failure> {
        let Opened { package, model, engine } = *with;
        let (package, limit) = (package.description(), self.memory_limit.unwrap_or(u64::MAX));
        let plan = match self.all_weights {
            true => Whole::<O::Kind>::within(model, package, engine, options, limit)?,
            false => Tuning::<O::Kind>::within(model, package, engine, options, limit)?,
        };
        let Extent { parts, segments, .. } = plan.extent;
        eprintln!("{}", planned(plan.bytes, parts, segments));
        Ok(StepOptions { parts, segments, ..*options.steps() })
    }

    /// The steps of a package; `more` tells its checkpoints from others of the same flags.
    fn steps(
        &self,
        Opened { package, model, engine }: &Opened<'_>,
        options: &StepOptions,
        more: &[&[u8]],
    ) -> Result<Steps<'_>, Failure> {
        let how = (options.learning_rate, options.parts);
        let saved = self.saved(&package.model_path(), || self.given(model), how, more)?;
        Ok(Steps { count: self.steps.unwrap_or(STEPS), saved, engine: engine.describe() })
    }

    /// The adapter that `--adapter` names.
    fn given(&self, model: &Model) -> Result<Option<Adapter>, Failure> {
        let Some(path) = &self.adapter else { return Ok(None) };
        let folded = self.sites.axes.fold(model)?.folded;
        Ok(Some(grafted_as(&folded, path, None, Profile::Cpu)?.1))
    }

    /// What a package's adapter is trained from; `None`: from what changes nothing.
    fn start(&self, with: &Opened<'_>) -> Result<Option<Adapter>, Failure> {
        let Opened { package, model, engine } = *with;
        let given = self.given(model)?;
        let layout =
            || Ok(graft_package(model, package.description(), 1, profile_of(engine))?.layout);
        self.frozen.start(given, layout, &package.model_path())
    }

    /// Trains all weights, and writes a package with them and the footage that it shipped with.
    fn train_whole<O: Options>(
        &self,
        with: &Opened<'_>,
        options: &O,
        source: &mut impl Source<<O::Kind as Binding>::Batch>,
        steps: &Steps<'_>,
        output: &Path,
    ) -> Outcome {
        let Opened { package, model, engine } = *with;
        let mut whole = Whole::new(model, package.description(), engine, options)?;
        say_left(whole.left());
        let stopped = steps.take(whole.stepper(), source)?;
        let footage = package.footage_path();
        let copy = footage.map(|from| move |to: &Path| copy_footage(&from, to));
        write_package(package, &whole.model(model)?, output, copy)?;
        ended(stopped, output)
    }

    /// A checkpoint of this training and no other, if one is asked for.
    fn saved(
        &self,
        model: &Path,
        adapter: impl FnOnce() -> Result<Option<Adapter>, Failure>,
        (rate, parts): (f64, usize),
        more: &[&[u8]],
    ) -> Result<Option<Saved<'_>>, Failure> {
        let Some(path) = &self.checkpoint else { return Ok(None) };
        let hashed = |file: &Path| {
            hash_file(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
        };
        let files = beside_of(model, &Model::read(model)?);
        let files = files.iter().map(|file| hashed(file)).collect::<Result<Vec<_>, _>>()?;
        let model = hashed(model)?;
        let (seed, rate) = (self.seed.to_le_bytes(), rate.to_bits().to_le_bytes());
        let ways = [self.roll_out, u8::try_from(parts)?];
        let whole = if self.all_weights { "all weights" } else { "" };
        let dropped = match self.dropout {
            0.0 => String::new(),
            share => format!(" dropout {share}"),
        };
        let (held, frozen) = (self.keep.asked(), self.frozen.asked());
        let asked = [held, frozen, whole.to_owned(), dropped, self.losses.told()].concat();
        // Its values and what they are for, wherever it lies.
        let adapter = adapter()?;
        let layout = adapter.as_ref().map(|adapter| adapter.layout().hash()).unwrap_or_default();
        let values = adapter.as_ref().map_or(&[][..], Adapter::values);
        let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut asked: Vec<&[u8]> =
            vec![&seed, &ways, &rate, asked.as_bytes(), &layout, &values, &model];
        asked.extend(more);
        asked.extend(files.iter().map(<[u8; 32]>::as_slice));
        Ok(Some(Saved::new(path, &asked)))
    }

    fn data(&self) -> Result<&PathBuf, Failure> {
        Ok(self.data.as_ref().ok_or("a package is trained on data: say where with --data DIR")?)
    }

    /// Fits a bare ONNX file to its own outputs.
    fn fit(&self, output: &Path) -> Outcome {
        for (flag, given) in [
            ("--data", self.data.is_some()),
            ("--model", self.package.model.is_some()),
            ("--roll-out", self.roll_out > 1),
            ("--parts", self.parts > 1),
            ("--every", self.every.is_some()),
        ] {
            if given {
                return Err(format!("{flag} is for a package, not for a bare ONNX file").into());
            }
        }
        if let Some(flag) = self.geometry.given() {
            return Err(
                format!("{flag} is for packages of a policy, not for a bare ONNX file").into()
            );
        }
        if self.all_weights && self.sites.has_factors() {
            return Err("--rank and --alpha are of factors: --all-weights has none".into());
        }
        if self.adapter.is_some() && self.sites.choose() && !self.frozen.is_asked() {
            let why = "an adapter has the sites, ranks and alpha that it says: --targets, --rank and --alpha are not for \
                       --adapter, unless --freeze-a widens it";
            return Err(why.into());
        }
        if self.dropout > 0.0 && self.keep.distils() {
            return Err("--distil holds a bare file to what its graph gives: --dropout would drop there, too".into());
        }
        let default = FitOptions::default();
        let options = FitOptions {
            losses: self.losses.asked().to_vec(),
            steps: self.steps.unwrap_or(default.steps),
            learning_rate: self.rate(default.learning_rate),
            overflow_ends: self.learning_rate.is_some(),
            seed: self.seed,
            threads: self.engine.threads(),
            profile: self.engine.profile(),
            memory_limit: self.memory_limit,
            hold: self.keep.held(),
            distil: self.keep.distilled_samples(),
            dropout: self.dropout,
            checkpoint_every: self.checkpoint.as_ref().and(NonZeroU32::new(STEPS_A_CHECKPOINT)),
            ..default
        };
        let path = &self.package.package;
        let sites = self.sites.asked();
        let adapter = || match self.adapter {
            Some(_) => self.given(&Model::read_with_data(path)?),
            None => Ok(None),
        };
        let bare = Bare {
            path,
            sites: &self.sites,
            frozen: self.frozen,
            adapter: self.adapter.as_ref(),
            all_weights: self.all_weights,
            losses: &self.losses,
            saved: self.saved(path, adapter, (options.learning_rate, 1), &[sites.as_bytes()])?,
        };
        bare.fit(&*self.engine.open()?, &options, output)
    }
}

/// A number that may be a learning rate.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && f64::is_finite(rate) => Ok(rate),
        Ok(_) | Err(_) => Err("expected a finite number above 0".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..1.0).contains(&share) => Ok(share),
        Ok(_) | Err(_) => Err("expected a share of at least 0, below 1".to_owned()),
    }
}
