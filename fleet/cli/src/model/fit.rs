//! `shoal model train` of a bare ONNX file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::draw::{PERTURBATION, REDRAWN};
use shoal_runtime::engine::Engine;
use shoal_runtime::fit::{FitError, FitOptions, Fitted, Subject, Told, Trained, fit};
use shoal_runtime::graft::{AllWeights, Grafted, Left, LeftWhy, graft_stored_weights};
use shoal_runtime::onnx::{Folded, Model};

use super::bake::grafted_as;
use super::frozen::Frozen;
use super::graft::Sites;
use super::losses::Losses;
use super::saved::Saved;
use super::steps::{ended, stopped_with};
use crate::output::{Failure, Outcome, Progress};

/// A bare file, what of it is fitted, and from where.
pub(super) struct Bare<'a> {
    pub(super) path: &'a Path,
    pub(super) sites: &'a Sites,
    pub(super) frozen: Frozen,
    pub(super) adapter: Option<&'a PathBuf>,
    pub(super) all_weights: bool,
    pub(super) losses: &'a Losses,
    pub(super) saved: Option<Saved<'a>>,
}

/// What is fitted.
enum Fitting {
    Adapter(Box<Grafted>, Adapter),
    Weights(Box<AllWeights>),
}

impl Bare<'_> {
    /// Fits it to the model's own outputs under perturbed inputs, and writes it.
    pub(super) fn fit(&self, engine: &dyn Engine, options: &FitOptions, output: &Path) -> Outcome {
        let (model, opened) = self.sites.open(self.path)?;
        let fitting = self.fitting(&model, &opened.folded, options)?;
        let subject = match &fitting {
            Fitting::Adapter(grafted, start) => {
                Subject::Adapter { grafted, start, frozen_a: self.frozen.is_asked() }
            }
            Fitting::Weights(all) => Subject::Weights(all),
        };
        let write = |trained: &Trained| match (trained, &fitting) {
            (Trained::Adapter(adapter), _) => {
                Ok(adapter.write_trained(output, options.dropout as f32)?)
            }
            (Trained::Weights(weights), Fitting::Weights(all)) => {
                write_model(&model, all, weights, output)
            }
            (Trained::Weights(_), Fitting::Adapter(..)) => {
                unreachable!("what is fitted is what was asked for")
            }
        };
        let named = |why: FitError| -> Failure {
            let to_blame = if let FitError::Refusal(refusal) = &why {
                self.losses.to_blame(refusal)
            } else {
                String::new()
            };
            format!("{}: {to_blame}{}", self.path.display(), Failure::from(why)).into()
        };
        let (fitted, unwritten) = self.run(subject, engine, options)?;
        match fitted {
            Ok(fitted) => {
                say(&fitted, options);
                if let Fitting::Weights(all) = &fitting {
                    say_left(&all.left);
                }
                write(&fitted.trained)?;
                ended(unwritten, output)
            }
            Err(FitError::Stopped { rate, last, why }) => {
                write(&last)?;
                Err(stopped_with(&named(FitError::Stopped { rate, last, why }), output))
            }
            Err(why) => Err(named(why)),
        }
    }

    /// What came of it, and why a checkpoint was not written.
    fn run(
        &self,
        subject: Subject<'_>,
        engine: &dyn Engine,
        options: &FitOptions,
    ) -> Result<(Result<Fitted, FitError>, Option<Failure>), Failure> {
        let begun = match &self.saved {
            Some(saved) => saved.read()?,
            None => None,
        };
        let (mut progress, mut unwritten) = (Progress::new(), None);
        let fitted = fit(subject, engine, options, begun.as_deref(), |told| match told {
            Told::Planned { bytes, segments } => eprintln!("{}", planned(bytes, 1, segments)),
            Told::Step { step, loss } => {
                let text = format!("steps with {}, loss {loss:.4}", engine.describe());
                progress.show(u64::from(step), u64::from(options.steps), text);
            }
            Told::Reached { checkpoint } => {
                let written = self.saved.as_ref().map(|saved| saved.write(&[checkpoint]));
                unwritten = unwritten.take().or(written.and_then(Result::err));
            }
        });
        Ok((fitted, unwritten))
    }

    fn fitting(
        &self,
        model: &Model,
        folded: &Folded,
        options: &FitOptions,
    ) -> Result<Fitting, Failure> {
        if self.all_weights {
            let all = graft_stored_weights(folded, model, &self.sites.targets);
            let named = |why| format!("{}: {why}", self.path.display());
            return Ok(Fitting::Weights(Box::new(all.map_err(named)?)));
        }
        let given = self.adapter.map(|path| grafted_as(folded, path, None, options.profile));
        let (grafted, given) = match given.transpose()? {
            // Of a smaller rank than is asked for, it is widened.
            Some((_, adapter)) if self.sites.choose() => {
                (self.sites.graft(folded, options.profile)?, Some(adapter))
            }
            Some((grafted, adapter)) => (grafted, Some(adapter)),
            None => (self.sites.graft(folded, options.profile)?, None),
        };
        let layout = Arc::new(grafted.layout.clone());
        let start = self.frozen.start(given, || Ok(Arc::clone(&layout)), self.path)?;
        let start = start.unwrap_or_else(|| Adapter::start(layout, options.seed));
        Ok(Fitting::Adapter(Box::new(grafted), start))
    }
}

fn write_model(model: &Model, all: &AllWeights, weights: &[Vec<f32>], output: &Path) -> Outcome {
    let weights: Vec<&[f32]> = weights.iter().map(Vec::as_slice).collect();
    Ok(all.write_into(model, &weights)?.write(output)?)
}

fn say(fitted: &Fitted, options: &FitOptions) {
    for of in &fitted.inputs {
        println!("input {} {}: {}, seed {}", of.input, of.ty, of.range, options.seed);
    }
    let wanted = match fitted.by_drawn_adapter {
        false => "what the model gives unperturbed",
        true => {
            "what it gives with a drawn adapter, since none of its outputs changes when the inputs do"
        }
    };
    let asked = !options.losses.is_empty();
    println!(
        "perturbed: reals and pixels by at most {PERTURBATION} of their range, one index in {REDRAWN} drawn again; \
         wanted is {wanted}"
    );
    for loss in &fitted.losses {
        let place = if loss.moved() { format!(" (on `{}`)", loss.tensor) } else { String::new() };
        let how = match asked {
            false => "squared error over what it is untuned".to_owned(),
            true => format!("{}, counts {}", loss.kind.name(), loss.factor),
        };
        println!("output {}{place}: {how}", loss.output);
    }
    if !fitted.untrained.is_empty() {
        println!("no gradient reaches {}: they stay as they are", fitted.untrained.join(", "));
    }
    println!(
        "loss {:.4} before, {:.4} after {} steps at learning rate {:.0e}",
        fitted.before, fitted.after, options.steps, fitted.learning_rate
    );
}

/// Names what stays as it is though all weights are trained, and why.
pub(super) fn say_left(left: &[Left]) {
    /// How many are named.
    const NAMED: usize = 8;
    for (why, said) in [
        (
            LeftWhy::NotLearnt,
            "they are quantised, no operator learns by them, or the file does not store them by themselves",
        ),
        (LeftWhy::Mask, "they are masks"),
        (LeftWhy::OfInput, "an input is normalised by them"),
    ] {
        let names = left.iter().filter(|left| left.why == why);
        let names: Vec<&str> = names.map(|left| left.initializer.as_str()).collect();
        let more = match names.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        if !names.is_empty() {
            let named = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
            println!("not trained: {named}{more}: {said}");
        }
    }
}

/// What is said of the memory of a step, before the first one.
pub(super) fn planned(bytes: u64, parts: usize, segments: usize) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    let how = |count: usize, of: &str| match count {
        0 | 1 => String::new(),
        more => format!(", in {more} {of}"),
    };
    format!(
        "a step takes {mib:.1} MiB at its highest, by plan{}{}",
        how(parts, "parts"),
        how(segments, "segments")
    )
}
