use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use shoal_hal::backend::synthetic::{SPLIT, Use, pretraining_clip};
use shoal_hal::{Drive, FrameShape};
use shoal_runtime::onnx::Model;
use shoal_shadow::clip::Frames;
use shoal_shadow::form::Form;
use shoal_shadow::package::Package;
use shoal_shadow::policymodel::{LESSON_FRAMES, Lessons, pretrain_policy};
use shoal_shadow::pretrain::{PoolOptions, PretrainOptions, Progress as Told, pretrain};
use shoal_shadow::tune::TokenTuneOptions;

use super::packaged::{is_free, write_package};
use super::train::positive;
use crate::output::{Failure, Outcome, Progress};
use crate::tokens::{Tokens, is_token_model};
use crate::{EngineArgs, PackageArgs, data};

/// Frames of one generated clip.
const CLIP_FRAMES: usize = 20;
/// Columns beside what a policy sees of it: 0.08 rad.
const LESSON_MARGIN: u16 = 8;
/// Steps of a policy after which the oldest lesson is replaced.
const STEPS_A_LESSON: u32 = 4;
/// Steps after which the policy takes the wheel as it then is.
const ROUND_STEPS: u32 = 500;

/// Train all weights of a package on generated roads, and on footage if given.
///
/// Those of a package of tokens are trained on the tuning part of logs; those of a policy on what an attentive driver does on generated roads.
///
/// Example: shoal model pretrain world --steps 5000 -o world-pretrained
#[derive(Args)]
pub(crate) struct Pretrain {
    #[command(flatten)]
    package: PackageArgs,
    /// Directory of footage that is mixed in: half of the samples; for tokens the logs
    #[arg(long, value_name = "DIR")]
    data: Vec<PathBuf>,
    /// Gradient steps
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Seed of clips and batches
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Samples of a step
    #[arg(long, default_value = "8")]
    batch: NonZeroUsize,
    /// AdamW's highest step size; by default 2e-3, for tokens 3e-4
    #[arg(long, value_parser = positive)]
    learning_rate: Option<f64>,
    /// Generated clips that are held at a time
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..))]
    pool: u32,
    /// Where the pretrained package goes; it must not exist
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Clips that are shipped with the package, to be replayed while tuning
    #[arg(long, default_value_t = 20)]
    footage_clips: u64,
    #[command(flatten)]
    engine: EngineArgs,
}

impl Pretrain {
    pub(crate) fn run(self) -> Outcome {
        is_free(&self.output)?;
        let package = self.package.open()?;
        let description = package.description();
        if is_token_model(description) {
            return self.pretrain_tokens(&package);
        }
        if description.action.is_some() && description.next_frame.is_none() {
            return self.pretrain_policy(&package);
        }
        let form = Form::of(description)?;
        let model = Model::read(&package.model_path())?;
        let engine = self.engine.open()?;
        // A quarter larger than the model's frames, so that windows of them are not enlarged.
        let shape =
            FrameShape { width: form.shape.width * 5 / 4, height: form.shape.height * 5 / 4 };
        let mut footage = Vec::new();
        for directory in &self.data {
            let drives = data::recorded(directory, shape, form.rate_hz, None)?;
            footage.extend(drives.iter().map(frames_of).collect::<Result<Vec<_>, _>>()?);
        }
        let options = self.options(PretrainOptions::default().learning_rate);
        let pool = PoolOptions { clips: self.pool as usize, ..PoolOptions::default() };
        let make = |number| generated(self.seed, number, shape);
        let mut progress = Progress::new();
        let mut loss = f32::NAN;
        let trained = pretrain(
            &model,
            description,
            &*engine,
            &[],
            (&make, pool, &footage),
            &options,
            |told| match told {
                Told::Pool { clips, wanted } => {
                    progress.show(clips as u64, wanted as u64, "generated clips");
                    if clips == wanted {
                        progress = Progress::new();
                    }
                }
                Told::Step(step) => {
                    loss = if loss.is_nan() { step.loss } else { 0.98 * loss + 0.02 * step.loss };
                    let text = format!("steps with {}, loss {loss:.4}", engine.describe());
                    progress.show(step.step.get(), u64::from(self.steps), text);
                }
            },
        )?;
        self.write(&package, &trained, Some(form.shape))
    }

    fn pretrain_tokens(&self, package: &Package) -> Outcome {
        let tokens = Tokens::open(package, &self.data, self.engine.open()?)?;
        let options = self.options(TokenTuneOptions::default().steps.learning_rate);
        let trained = tokens.pretrain(&options)?;
        self.write(package, &trained, None)
    }

    /// A policy learns from generated roads alone: from what an attentive driver would do there.
    fn pretrain_policy(&self, package: &Package) -> Outcome {
        let description = package.description();
        let model = Model::read(&package.model_path())?;
        let engine = self.engine.open()?;
        let lessons = Lessons {
            frames: LESSON_FRAMES,
            margin: LESSON_MARGIN,
            pool: PoolOptions { clips: self.pool as usize, steps_a_clip: STEPS_A_LESSON },
            round_steps: ROUND_STEPS,
        };
        let options = self.options(PretrainOptions::default().learning_rate);
        let mut progress = Progress::new();
        let mut loss = f32::NAN;
        let tell = |told| match told {
            Told::Pool { clips, wanted } => {
                progress.show(clips as u64, wanted as u64, "lessons");
                if clips == wanted {
                    progress = Progress::new();
                }
            }
            Told::Step(step) => {
                loss = if loss.is_nan() { step.loss } else { 0.98 * loss + 0.02 * step.loss };
                let text = format!("steps with {}, loss {loss:.4}", engine.describe());
                progress.show(step.step.get(), u64::from(self.steps), text);
            }
        };
        let trained = pretrain_policy(&model, description, &*engine, &lessons, &options, tell)?;
        self.write(package, &trained, None)
    }

    fn options(&self, learning_rate: f64) -> PretrainOptions {
        PretrainOptions {
            steps: self.steps,
            samples: self.batch.get(),
            learning_rate: self.learning_rate.unwrap_or(learning_rate),
            seed: self.seed,
            threads: self.engine.threads(),
            ..PretrainOptions::default()
        }
    }

    /// Footage is shipped in frames of `shape`, if there is one.
    fn write(&self, package: &Package, trained: &Model, shape: Option<FrameShape>) -> Outcome {
        let ship =
            |shape| move |folder: &Path| ship_footage(folder, self.seed, self.footage_clips, shape);
        let footage = shape.filter(|_| self.footage_clips > 0).map(ship);
        write_package(package, trained, &self.output, footage)?;
        println!("{}", self.output.display());
        Ok(())
    }
}

/// Clip `number` of the pretraining mixture.
fn generated(seed: u64, number: u64, shape: FrameShape) -> Frames {
    let seeds = &pretraining_seeds();
    let clip = pretraining_clip(seeds.start() + seed, number, shape, CLIP_FRAMES);
    let motion = clip.motion.into_iter().map(Some).collect();
    Frames::new(shape, 1.0 / clip.interval_s, clip.frames, motion)
        .expect("a generated clip is whole frames at a positive rate")
}

fn pretraining_seeds() -> std::ops::RangeInclusive<u64> {
    let share = SPLIT.iter().find(|share| share.of == Use::Pretraining);
    share.expect("the split has a share for pretraining").seeds.clone()
}

fn frames_of(drive: &Drive) -> Result<Frames, Failure> {
    let motion = (0..drive.len()).map(|index| drive.motion(index)).collect();
    let bytes = drive.frames(0..drive.len()).to_vec();
    Ok(Frames::new(drive.shape, drive.rate_hz, bytes, motion)?)
}

/// Writes clips of the mixture at the model's rate and size as folders of JPEG frames.
fn ship_footage(folder: &Path, seed: u64, clips: u64, shape: FrameShape) -> Outcome {
    let seeds = pretraining_seeds();
    // Far behind the clips that training begins with, so that they are not the best known ones.
    let mut numbers = 1_000_000..;
    for clip_number in 0..clips {
        let clip = loop {
            let number = numbers.next().expect("the mixture has no end");
            let clip = pretraining_clip(seeds.start() + seed, number, shape, CLIP_FRAMES);
            if clip.interval_s == 0.1 {
                break clip;
            }
        };
        let folder = folder.join(format!("{clip_number:03}"));
        std::fs::create_dir_all(&folder)?;
        for (index, frame) in clip.frames.chunks(shape.bytes()).enumerate() {
            let file = std::fs::File::create(folder.join(format!("{index:03}.jpg")))?;
            let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(file, 92);
            let (width, height) = (u32::from(shape.width), u32::from(shape.height));
            image::ImageEncoder::write_image(
                encoder,
                frame,
                width,
                height,
                image::ExtendedColorType::Rgb8,
            )?;
        }
    }
    Ok(())
}
