//! Gradients of the default world model, against PyTorch's (recorded by `cargo xtask oracle`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use safetensors::SafeTensors;
use shoal_runtime::engine::testing::{ort_or_skip, plain_options};
use shoal_runtime::engine::{Engine, LoadOptions};
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::{GraftOptions, Profile, graft, graft_all_weights};
use shoal_runtime::onnx::{Folded, Model, PinOptions, fold, pin};
use shoal_shadow::worldmodel::{Architecture, build};

/// What the design promises, by the norm of each gradient.
const TOLERANCE: f64 = 1e-4;
/// The seed of the recorded model.
const SEED: u64 = 1;
/// Samples in the record.
const BATCH: usize = 2;

fn world() -> Folded {
    let model: Model = build(&Architecture::default(), SEED).unwrap();
    let options = PinOptions { batch: Some(BATCH), ..PinOptions::default() };
    fold(&pin(&model, &options).unwrap()).unwrap()
}

fn squared_error(wrt: Vec<String>, profile: Profile) -> DifferentiateOptions {
    DifferentiateOptions { losses: Vec::new(), wrt, strict: true, profile }
}

/// Runs a training graph on the recorded inputs and compares every output; `loss` is recorded as `loss`.
fn agrees(training: &Folded, weights: &Folded, loss: &str) {
    let Some(engine) = ort_or_skip() else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/world.safetensors");
    let bytes = std::fs::read(file).unwrap();
    let recorded = SafeTensors::deserialize(&bytes).unwrap();
    for options in [plain_options(), LoadOptions::default()] {
        let mut session = engine.load(&training.model, &options).unwrap();
        for index in 0..session.inputs().len() {
            let port = session.inputs()[index].clone();
            let weight = port.name.strip_prefix("weight.").filter(|name| *name != "next");
            let values = match weight {
                Some(name) => initializer(weights, name),
                None => recorded.tensor(&port.name).unwrap().data().to_vec(),
            };
            session.write_bytes(index, port.ty.element, &values).unwrap();
        }
        session.run().unwrap();
        for index in 0..session.outputs().len() {
            let name = session.outputs()[index].name.clone();
            let record = if name == "loss" { loss } else { &name };
            let want = recorded.tensor(record).unwrap();
            compare(&name, session.output_f32(index).unwrap(), want.data());
        }
    }
}

fn initializer(folded: &Folded, name: &str) -> Vec<u8> {
    let graph = folded.model.graph();
    let tensor = graph.initializer.iter().find(|t| t.name() == name).unwrap();
    shoal_runtime::onnx::Tensor::from_proto(tensor).unwrap().to_le_bytes()
}

#[track_caller]
fn compare(name: &str, got: &[f32], want: &[u8]) {
    let want: Vec<f64> = want
        .chunks_exact(4)
        .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
        .collect();
    assert_eq!(got.len(), want.len(), "{name}");
    let norm = want.iter().map(|v| v * v).sum::<f64>().sqrt();
    let off = got.iter().zip(&want).map(|(&g, w)| (f64::from(g) - w).powi(2)).sum::<f64>().sqrt();
    assert!(norm > 0.0 && off <= TOLERANCE * norm, "{name}: off by {:.2e}", off / norm);
}

#[test]
fn factors_get_the_gradients_that_pytorch_computes() {
    let folded = world();
    for profile in [Profile::Cpu, Profile::Tract] {
        let targets = vec!["!motion.*".to_owned()];
        let options = GraftOptions { targets, profile, ..GraftOptions::default() };
        let grafted = graft(&folded, &options).unwrap();
        let wrt: Vec<String> = grafted.layout.factors().map(|f| f.input.clone()).collect();
        let training = differentiate(&grafted.folded, &squared_error(wrt, profile)).unwrap();
        agrees(&training.folded, &folded, "loss");
    }
}

#[test]
fn weights_get_the_gradients_that_pytorch_computes() {
    let folded = world();
    let all = graft_all_weights(&folded, &[]).unwrap();
    let wrt: Vec<String> = all.weights.iter().map(|w| w.input.clone()).collect();
    let training = differentiate(&all.folded, &squared_error(wrt, Profile::Cpu)).unwrap();
    agrees(&training.folded, &folded, "loss.weights");
}
