//! Runs one training graph on both engines and prints, as one line of JSON, how far they differ and
//! how long a step takes.
//!
//! ```text
//! cargo run -p shoal-tract --example agree -- MODEL.onnx [BATCH]
//! ```
//!
//! The model is pinned, folded, grafted at all sites (rank 8, α 16) and differentiated with its
//! default losses; frames, targets and weights hold noise in [0, 1], factors in ±0.05, integers are
//! zero. The difference is the largest of an output relative to the largest value of that output.
#![expect(clippy::print_stdout, reason = "the result is a line on standard output")]
#![expect(clippy::disallowed_methods, reason = "an example measures time itself")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::noise;
use shoal_runtime::engine::{Engine, LoadOptions, Session};
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::{FACTOR, GraftOptions, Profile, graft};
use shoal_runtime::onnx::{Element, Model, PinOptions, fold, pin};
use shoal_tract::Tract;

const RUNS: u32 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name a model")?;
    let batch = arguments.next().map(|text| text.parse()).transpose()?;
    let options = PinOptions { batch, ..PinOptions::default() };
    let folded = fold(&pin(&Model::read(Path::new(&path))?, &options)?)?;
    let profile = Profile::Tract;
    let grafted = graft(&folded, &GraftOptions { profile, ..GraftOptions::default() })?;
    let wrt = grafted.layout.factors().map(|factor| factor.input.clone()).collect();
    let options = DifferentiateOptions { losses: Vec::new(), wrt, strict: false, profile };
    let model = differentiate(&grafted.folded, &options)?.folded.model;

    let ort = Ort::load_library(None)?;
    let mut sessions: Vec<(String, Box<dyn Session>, f64)> = Vec::new();
    for engine in [&ort as &dyn Engine, &Tract] {
        let mut session = engine.load(&model, &LoadOptions::default())?;
        let seconds = run(&mut *session)?;
        sessions.push((engine.describe(), session, seconds));
    }
    let (reference, other) = (&sessions[0].1, &sessions[1].1);
    let (mut worst, mut output) = (0.0, "");
    for (index, port) in reference.outputs().iter().enumerate() {
        if port.ty.element != Element::F32 {
            continue;
        }
        let (a, b) = (reference.output_f32(index)?, other.output_f32(index)?);
        let largest = a.iter().fold(f32::MIN_POSITIVE, |max, value| max.max(value.abs()));
        // NaN anywhere is as far apart as can be; `max` would drop it.
        let apart = |a: &f32, b: &f32| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
        let difference = a.iter().zip(b).fold(0.0_f32, |max, (a, b)| max.max(apart(a, b)));
        if difference / largest > worst {
            (worst, output) = (difference / largest, &port.name);
        }
    }
    println!(
        "{{\"model\":{path:?},\"outputs\":{},\"difference_max\":{worst:e},\"at\":{output:?},\
         \"step_s\":{{{:?}:{:.5},{:?}:{:.5}}}}}",
        reference.outputs().len(),
        sessions[0].0,
        sessions[0].2,
        sessions[1].0,
        sessions[1].2
    );
    Ok(())
}

/// Fills the inputs and runs; the fastest of a few runs, seconds.
fn run(session: &mut dyn Session) -> Result<f64, Box<dyn Error>> {
    for index in 0..session.inputs().len() {
        let ty = session.inputs()[index].ty.clone();
        if ty.element == Element::F32 {
            let factor = session.inputs()[index].name.starts_with(FACTOR);
            let (middle, size) = if factor { (0.0, 0.05) } else { (0.5, 0.5) };
            let values: Vec<f32> =
                noise(index, ty.values()).iter().map(|value| middle + size * value).collect();
            session.write_f32(index, &values)?;
        }
    }
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        session.run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}
