//! Gradients of a whole model that others trained, against PyTorch's (recorded by `cargo xtask oracle`).
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use sha2::{Digest, Sha256};
use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::{ort_or_skip, plain_options};
use shoal_runtime::engine::{Engine, LoadOptions, Session};
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

/// A model that PyTorch's gradients were recorded of, by its name there.
struct Real {
    name: &'static str,
    /// Below the folder of outside data, or this repository's models.
    file: PathBuf,
    batch: usize,
    losses: Vec<LossSpec>,
    /// How far off a gradient may be, by its norm.
    tolerance: f64,
}

/// What float32 leaves of the eight that it is enough for.
const REAL: f64 = 1e-5;
/// ONNX Runtime's Sigmoid is off by 10⁻⁷ wherever it is, which is a hundredth of what it gives at −11: a detector that sees nothing
/// is there in most places. PyTorch's own float32 is off by 8·10⁻⁵.
const SATURATED: f64 = 3e-3;

/// As in xtask/oracle/models.py.
fn real_models() -> Vec<Real> {
    let of = |name, file: &str, batch, losses: &[(LossKind, &str)]| Real {
        name,
        file: data().join("models").join(file),
        batch,
        losses: losses.iter().map(|(kind, output)| LossSpec::new(kind.clone(), output)).collect(),
        tolerance: if name == "yolox_nano" { SATURATED } else { REAL },
    };
    let shipped = |name, output, kind| Real {
        name,
        file: Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name).join("model.onnx"),
        batch: 2,
        losses: vec![LossSpec::new(kind, output)],
        tolerance: REAL,
    };
    let (mse, charbonnier, classes) =
        (LossKind::Mse, LossKind::Charbonnier, LossKind::CrossEntropy);
    let nll = LossKind::GaussianNll { log_variance: "ll".to_owned() };
    vec![
        of("dave_small", "dave_small.onnx", 1, &[(mse.clone(), "20")]),
        of(
            "pilotnet_classifier512",
            "e2e_pilotnet_classifier512.onnx",
            1,
            &[(classes.clone(), "onnx::ArgMax_78")],
        ),
        of("pilotnet_mae", "e2e_pilotnet_mae.onnx", 1, &[(mse.clone(), "78")]),
        of(
            "pilotnet_vanilla",
            "e2e_pilotnet_vanilla_dynbatch.onnx",
            2,
            &[(charbonnier.clone(), "78")],
        ),
        of("pilotnet_gray", "pilotnet_gray_66x200.onnx", 2, &[(mse.clone(), "output")]),
        of("twinlitenet", "twinlitenet_360x640.onnx", 1, &[(nll, "da"), (mse.clone(), "ll")]),
        of("yolox_nano", "yolox_nano_416.onnx", 1, &[(mse, "output")]),
        shipped("world", "next", charbonnier),
        shipped("policy", "action", classes),
    ]
}

/// Numbers between 0 and 1 that xtask/oracle/models.py makes, too.
fn numbers(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let salt: usize = name.bytes().map(usize::from).sum();
    (0..count).map(move |place| ((place * 7919 + salt * 104_729) % 1009) as f64 / 1009.0)
}

/// Classes that targets are of.
const CLASSES: f64 = 500.0;

/// What an input of the training graph is given.
fn given(name: &str, dims: &[usize]) -> Vec<f32> {
    let numbers = numbers(name, dims.iter().product());
    let fan: usize = dims.iter().skip(1).product();
    let wide = 2.0 * (3.0 / fan as f64).sqrt();
    let of: &dyn Fn(f64) -> f64 = match name {
        _ if name.starts_with("lora.") && name.ends_with(".A") => &|v| (v - 0.5) * wide,
        _ if name.starts_with("lora.") => &|v| (v - 0.5) * 0.04,
        _ if name.starts_with("weight.") => &|v| v + 0.5,
        _ => &|v| v,
    };
    numbers.map(|v| of(v) as f32).collect()
}

/// Every model at hand, as others trained it, with two factors at every layer: gradients are those of PyTorch's autograd in float64.
#[test]
fn real_models_get_the_gradients_that_pytorch_computes() {
    let Some(engine) = ort_or_skip() else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models.safetensors");
    let bytes = std::fs::read(file).unwrap();
    let recorded = SafeTensors::deserialize(&bytes).unwrap();
    let (_, about) = SafeTensors::read_metadata(&bytes).unwrap();
    let about = about.metadata().clone().unwrap();
    for Real { name, file, batch, losses, tolerance } in real_models() {
        if !file.exists() {
            eprintln!("SKIPPED: {} is not here", file.display());
            continue;
        }
        let sha: [u8; 32] = Sha256::digest(std::fs::read(&file).unwrap()).into();
        let sha: String = sha.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(about[&format!("sha256.{name}")], sha, "{name} is not what was recorded");
        let pinned = pin(
            &Model::read(&file).unwrap(),
            &PinOptions { batch: Some(batch), ..PinOptions::default() },
        );
        let folded = fold(&pinned.unwrap()).unwrap();
        let prefix = format!("{name}/");
        let want: BTreeSet<&str> =
            recorded.names().into_iter().filter_map(|key| key.strip_prefix(&prefix)).collect();
        for profile in [Profile::Cpu, Profile::Tract] {
            let session = one_step(&engine, &folded, &losses, profile);
            let ports = session.outputs().iter().map(|port| port.name.as_str());
            let got = ports.clone().filter(|output| !output.starts_with("loss."));
            assert_eq!(got.collect::<BTreeSet<_>>(), want, "{name}");
            for (index, output) in ports.enumerate().filter(|(_, output)| want.contains(output)) {
                let want = recorded.tensor(&format!("{prefix}{output}")).unwrap();
                let (off, norm) = distance(session.output_f32(index).unwrap(), want.data());
                let off = off / norm;
                assert!(off <= tolerance, "{name} {profile:?}, {output}: off by {off:.1e}");
            }
        }
    }
}

/// A step of training of two factors at every layer, on numbers that PyTorch was given, too.
fn one_step(
    engine: &Ort,
    folded: &Folded,
    losses: &[LossSpec],
    profile: Profile,
) -> Box<dyn Session> {
    let options = GraftOptions { rank: 2, alpha: 4.0, profile, ..GraftOptions::default() };
    let grafted = graft(folded, &options).unwrap();
    let wrt: Vec<String> = grafted.layout.factors().map(|f| f.input.clone()).collect();
    let options = DifferentiateOptions { losses: losses.to_vec(), wrt, strict: true, profile };
    let training = differentiate(&grafted.folded, &options).unwrap();
    let mut session = engine.load(&training.folded.model, &LoadOptions::default()).unwrap();
    for (index, port) in session.inputs().to_vec().into_iter().enumerate() {
        if port.ty.element == Element::I64 {
            let targets = numbers(&port.name, port.ty.values());
            let targets: Vec<i64> = targets.map(|v| (v * CLASSES) as i64).collect();
            session.write_i64(index, &targets).unwrap();
        } else {
            session.write_f32(index, &given(&port.name, &port.ty.dims)).unwrap();
        }
    }
    session.run().unwrap();
    session
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
    let (off, norm) = distance(got, want);
    assert!(norm > 0.0 && off <= TOLERANCE * norm, "{name}: off by {:.2e}", off / norm);
}

/// How far off something is, and the norm of what it should be.
#[track_caller]
fn distance(got: &[f32], want: &[u8]) -> (f64, f64) {
    let want: Vec<f64> = want
        .chunks_exact(Element::F32.bytes())
        .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
        .collect();
    assert_eq!(got.len(), want.len());
    let norm = want.iter().map(|v| v * v).sum::<f64>().sqrt();
    let off = got.iter().zip(&want).map(|(&g, w)| (f64::from(g) - w).powi(2)).sum::<f64>().sqrt();
    (off, norm)
}
