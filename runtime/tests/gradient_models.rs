//! Gradients of a whole model that others trained, against PyTorch's (recorded by `cargo xtask oracle`).
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use shoal_runtime::engine::testing::{ort_or_skip, plain_options};
use shoal_runtime::engine::{Engine, LoadOptions};
use shoal_runtime::gradient::{
    DifferentiateOptions, LossKind, LossSpec, differentiate, unsupported,
};
use shoal_runtime::graft::{GraftOptions, Profile, graft, graft_all_weights};
use shoal_runtime::onnx::{Element, Folded, Model, PinOptions, fold, pin};
use shoal_runtime::rollout::{Feed, RollOutOptions, losses, roll_out};

/// What the design promises, by the norm of each gradient.
const TOLERANCE: f64 = 1e-4;
/// A training graph with every site grafted has at most so many times the nodes of the forward pass.
const NODES_MAX: usize = 5;

fn data() -> PathBuf {
    std::env::var_os("SHOAL_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    )
}

fn tinyphysics() -> Option<Folded> {
    let file = data().join("models/tinyphysics.onnx");
    if !file.exists() {
        eprintln!("SKIPPED: {} is not here", file.display());
        return None;
    }
    let options = PinOptions { batch: Some(2), ..PinOptions::default() };
    Some(fold(&pin(&Model::read(&file).unwrap(), &options).unwrap()).unwrap())
}

fn cross_entropy(wrt: Vec<String>, profile: Profile) -> DifferentiateOptions {
    let losses = vec![LossSpec::new(LossKind::CrossEntropy, "output")];
    DifferentiateOptions { losses, wrt, strict: true, profile }
}

#[test]
fn a_transformers_factors_get_the_gradients_that_pytorch_computes() {
    let (Some(engine), Some(folded)) = (ort_or_skip(), tinyphysics()) else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tinyphysics.safetensors");
    let bytes = std::fs::read(file).unwrap();
    let recorded = SafeTensors::deserialize(&bytes).unwrap();
    for profile in [Profile::Cpu, Profile::Tract] {
        let grafted = graft(&folded, &GraftOptions { profile, ..GraftOptions::default() }).unwrap();
        let wrt: Vec<String> = grafted.layout.factors().map(|f| f.input.clone()).collect();
        let options = cross_entropy(wrt, profile);
        let training = differentiate(&grafted.folded, &options).unwrap();
        for options in [plain_options(), LoadOptions::default()] {
            let mut session = engine.load(&training.folded.model, &options).unwrap();
            for index in 0..session.inputs().len() {
                let port = session.inputs()[index].clone();
                let values = recorded.tensor(&port.name).unwrap();
                assert_eq!(values.shape(), port.ty.dims, "{}", port.name);
                session.write_bytes(index, port.ty.element, values.data()).unwrap();
            }
            session.run().unwrap();
            for index in 0..session.outputs().len() {
                let name = session.outputs()[index].name.clone();
                let want = recorded.tensor(&name).unwrap();
                compare(&name, session.output_f32(index).unwrap(), want.data());
            }
        }
    }
}

#[test]
fn every_weight_and_both_embeddings_can_be_trained() {
    let Some(folded) = tinyphysics() else { return };
    let all = graft_all_weights(&folded, &[]).unwrap();
    let wrt: Vec<String> = all.weights.iter().map(|w| w.input.clone()).collect();
    let training = differentiate(&all.folded, &cross_entropy(wrt.clone(), Profile::Cpu)).unwrap();
    assert_eq!(training.folded.model.graph().output.len(), 1 + wrt.len());
}

/// What has no gradient yet is refused by name, and nothing panics; what is differentiated stays small.
#[test]
fn every_reference_model_is_differentiated_or_refused_by_a_list() {
    let Ok(entries) = std::fs::read_dir(data().join("models")) else { return };
    for file in entries.map(|e| e.unwrap().path()) {
        if file.extension().is_none_or(|e| e != "onnx") {
            continue;
        }
        let model = Model::read(&file).unwrap();
        let folded = fold(&pin(&model, &PinOptions::default()).unwrap()).unwrap();
        let grafted = graft(&folded, &GraftOptions::default()).unwrap();
        let wrt: Vec<String> = grafted.layout.factors().map(|f| f.input.clone()).collect();
        let known: BTreeSet<&str> =
            grafted.folded.model.graph().node.iter().map(|n| n.label()).collect();
        for obstacle in unsupported(&grafted.folded, &wrt).unwrap() {
            assert!(known.contains(obstacle.node.as_str()), "{obstacle}");
        }
        let name = file.display().to_string();
        stays_small(&name, nodes(&grafted.folded), &grafted.folded, Vec::new(), wrt);
    }
}

/// The two that are shipped, every site grafted, and three predictions in a row of the world model, which is three times as large.
#[test]
fn the_training_graphs_of_the_shipped_models_stay_small() {
    for name in ["world", "policy"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name);
        let model = Model::read(&file.join("model.onnx")).unwrap();
        let folded = fold(&pin(&model, &PinOptions::default()).unwrap()).unwrap();
        let grafted = graft(&folded, &GraftOptions::default()).unwrap();
        let wrt: Vec<String> = grafted.layout.factors().map(|f| f.input.clone()).collect();
        let forward = nodes(&grafted.folded);
        stays_small(name, forward, &grafted.folded, Vec::new(), wrt.clone());
        if name == "world" {
            let (output, input) = ("next".to_owned(), "frames".to_owned());
            let feeds = vec![Feed { output, input, axis: None, clamp: None }];
            let options = RollOutOptions { steps: 3, feeds, shared: wrt.clone() };
            let rolled = roll_out(&grafted.folded, &options).unwrap().folded;
            let of_each = losses(&[LossSpec::new(LossKind::Mse, "next")], 3, 1.0);
            stays_small("three predictions", 3 * forward, &rolled, of_each, wrt);
        }
    }
}

fn nodes(folded: &Folded) -> usize {
    folded.model.graph().node.len()
}

#[track_caller]
fn stays_small(
    name: &str,
    forward: usize,
    folded: &Folded,
    losses: Vec<LossSpec>,
    wrt: Vec<String>,
) {
    let options = DifferentiateOptions { losses, wrt, strict: false, profile: Profile::Cpu };
    let all = nodes(&differentiate(folded, &options).unwrap().folded);
    assert!(all > forward && all <= NODES_MAX * forward, "{name}: {forward} to {all}");
}

#[track_caller]
fn compare(name: &str, got: &[f32], want: &[u8]) {
    let want: Vec<f64> = want
        .chunks_exact(Element::F32.bytes())
        .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
        .collect();
    assert_eq!(got.len(), want.len(), "{name}");
    let norm = want.iter().map(|v| v * v).sum::<f64>().sqrt();
    let off = got.iter().zip(&want).map(|(&g, w)| (f64::from(g) - w).powi(2)).sum::<f64>().sqrt();
    assert!(norm > 0.0 && off <= TOLERANCE * norm, "{name}: off by {:.2e}", off / norm);
}
