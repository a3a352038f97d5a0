//! `shoal model train` of a bare ONNX file.

use std::path::Path;
use std::sync::Arc;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::draw::{PERTURBATION, REDRAWN};
use shoal_runtime::engine::Engine;
use shoal_runtime::fit::{FitOptions, Subject, Told, fit as fit_adapter};

use super::frozen::Frozen;
use super::graft::Sites;
use crate::output::{Outcome, Progress};

/// Fits an adapter to the model's own outputs under perturbed inputs, and writes it.
pub(super) fn fit(
    path: &Path,
    (sites, frozen): (&Sites, Frozen),
    engine: &dyn Engine,
    options: &FitOptions,
    output: &Path,
) -> Outcome {
    let (_, opened) = sites.open(path)?;
    let grafted = sites.graft(&opened.folded, options.profile)?;
    let layout = Arc::new(grafted.layout.clone());
    let start = match frozen.drawn(&layout, path)? {
        Some(drawn) => drawn,
        None => Adapter::start(layout, options.seed),
    };
    let subject = Subject { grafted: &grafted, start: &start, frozen_a: frozen.is_asked() };
    let mut progress = Progress::new();
    let fitted = fit_adapter(&subject, engine, options, |told| match told {
        Told::Planned { bytes, segments } => eprintln!("{}", planned(bytes, 1, segments)),
        Told::Step { step, loss } => {
            let text = format!("steps with {}, loss {loss:.4}", engine.describe());
            progress.show(u64::from(step), u64::from(options.steps), text);
        }
    })
    .map_err(|why| format!("{}: {why}", path.display()))?;
    for of in &fitted.inputs {
        println!("input {} {}: {}, seed {}", of.input, of.ty, of.range, options.seed);
    }
    let wanted = match fitted.by_drawn_adapter {
        false => "what the model gives unperturbed",
        true => {
            "what it gives with a drawn adapter, since none of its outputs changes when the inputs do"
        }
    };
    println!(
        "perturbed: reals and pixels by at most {PERTURBATION} of their range, one index in {REDRAWN} drawn again; \
         wanted is {wanted}"
    );
    for loss in &fitted.losses {
        let place = if loss.moved() { format!(" (on `{}`)", loss.tensor) } else { String::new() };
        println!("output {}{place}: squared error over what it is untuned", loss.output);
    }
    if !fitted.untrained.is_empty() {
        println!("no output depends on {}: they stay as they are", fitted.untrained.join(", "));
    }
    println!(
        "loss {:.4} before, {:.4} after {} steps at learning rate {:.0e}",
        fitted.before, fitted.after, options.steps, fitted.learning_rate
    );
    fitted.adapter.write(output)?;
    println!("{}", output.display());
    Ok(())
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
