//! What a plan says of a step's memory against what the system measures: alone in its process.
#![cfg(all(feature = "ort", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use shoal_runtime::engine::testing::{noise, ort_or_skip};
use shoal_runtime::engine::{Engine, LoadOptions};
use shoal_runtime::gradient::{DifferentiateOptions, differentiate, peak_bytes};
use shoal_runtime::graft::{GraftOptions, Profile, graft};
use shoal_runtime::onnx::{Element, Model, PinOptions, fold, pin};

/// A line of `/proc/self/status`, bytes.
fn resident(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kib = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    1024 * kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}

#[test]
fn a_step_of_the_shipped_model_takes_what_was_planned_within_a_quarter() {
    let Some(engine) = ort_or_skip() else { return };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/world/model.onnx");
    let batch = PinOptions { batch: Some(8), ..PinOptions::default() };
    let folded = fold(&pin(&Model::read(Path::new(path)).unwrap(), &batch).unwrap()).unwrap();
    let grafted = graft(&folded, &GraftOptions::default()).unwrap();
    let wrt = grafted.layout.factors().map(|factor| factor.input.clone()).collect();
    let options =
        DifferentiateOptions { losses: Vec::new(), wrt, strict: false, profile: Profile::Cpu };
    let training = differentiate(&grafted.folded, &options).unwrap().folded;

    let one = std::num::NonZeroUsize::MIN;
    let mut session = engine.load(&training.model, &LoadOptions::training(one)).unwrap();
    for index in 0..session.inputs().len() {
        let ty = session.inputs()[index].ty.clone();
        if ty.element == Element::F32 {
            session.write_f32(index, &noise(index, ty.values())).unwrap();
        }
    }
    // The high water mark begins anew: what loading took is not counted.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let loaded = resident("VmRSS:");
    for _ in 0..3 {
        session.run().unwrap();
    }
    let measured = resident("VmHWM:").saturating_sub(loaded) as f64;
    let ratio = peak_bytes(&training) as f64 / measured;
    assert!((0.75..1.25).contains(&ratio), "{ratio} of {measured} bytes");
}
