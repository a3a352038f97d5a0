//! The eight reference models, where they are at hand (`../shared/data`, or `SHOAL_DATA`): real exports of four
//! operator sets, from PyTorch and others.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::bake::bake;
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::{ort_or_skip, plain_options};
use shoal_runtime::gradient::unsupported;
use shoal_runtime::graft::{GraftOptions, graft, graft_all_weights};
use shoal_runtime::inspect::inspect;
use shoal_runtime::onnx::{Element, Folded, Model, PinOptions, fold, pin};

fn folder() -> PathBuf {
    let data = std::env::var_os("SHOAL_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    data.join("models")
}

/// Every model, or none (said on standard error) where the material is not at hand.
fn models() -> Vec<(String, Model)> {
    let Ok(entries) = std::fs::read_dir(folder()) else {
        eprintln!("SKIPPED: no models in {}", folder().display());
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    files.sort();
    files.into_iter().map(|f| (f.display().to_string(), Model::read(&f).unwrap())).collect()
}

fn pinned(model: &Model) -> Model {
    pin(model, &PinOptions::default()).unwrap()
}

fn folded(file: &str, model: &Model) -> Folded {
    fold(&pinned(model)).unwrap_or_else(|why| panic!("{file}: {why}"))
}

/// All outputs for the same made-up inputs, and for these factors or weights.
fn run(ort: &Ort, model: &Model, named: &[(&str, &[f32])]) -> Vec<Vec<f32>> {
    let mut session = ort.load(model, &plain_options()).unwrap();
    for (index, port) in session.inputs().to_vec().into_iter().enumerate() {
        let count = port.ty.values();
        let given = named.iter().find(|(name, _)| *name == port.name);
        if port.ty.element == Element::I64 {
            let tokens: Vec<i64> = (0..count as i64).map(|i| i * 131 % 1024).collect();
            session.write_i64(index, &tokens).unwrap();
        } else if let Some((_, values)) = given {
            session.write_f32(index, values).unwrap();
        } else {
            let values: Vec<f32> = (0..count).map(|i| (i * 7919 % 1009) as f32 / 1009.0).collect();
            session.write_f32(index, &values).unwrap();
        }
    }
    session.run().unwrap();
    let outputs = session.outputs().to_vec();
    let floats = outputs.iter().enumerate().filter(|(_, o)| o.ty.element == Element::F32);
    floats.map(|(index, _)| session.output_f32(index).unwrap().to_vec()).collect()
}

/// The largest difference, relative to the largest value.
fn worst(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let all = || a.iter().flatten().zip(b.iter().flatten());
    let scale = all().fold(0.0f32, |m, (x, _)| m.max(x.abs()));
    all().fold(0.0f32, |m, (x, y)| m.max((x - y).abs())) / scale
}

#[test]
fn every_model_is_written_as_it_was_read() {
    for (file, model) in models() {
        assert_eq!(model.unknown_field(), None, "{file}");
        assert!(model.to_bytes().unwrap() == std::fs::read(&file).unwrap(), "{file}");
    }
}

#[test]
fn every_model_folds_without_changing_what_it_computes() {
    let Some(ort) = ort_or_skip() else { return };
    for (file, model) in models() {
        let folded = folded(&file, &model);
        let kept = folded.model.graph();
        assert!(kept.node.iter().all(|n| !["Constant", "Shape"].contains(&n.op_type())), "{file}");
        let (want, got) = (run(&ort, &pinned(&model), &[]), run(&ort, &folded.model, &[]));
        assert!(worst(&want, &got) < 1e-6, "{file}: {}", worst(&want, &got));
    }
}

#[test]
fn a_grafted_and_a_baked_model_agree_on_every_model() {
    let Some(ort) = ort_or_skip() else { return };
    for (file, model) in models() {
        let folded = folded(&file, &model);
        let grafted = graft(&folded, &GraftOptions::default()).unwrap();
        let layout = Arc::new(grafted.layout);
        let mut adapter = Adapter::start(Arc::clone(&layout), 7);
        for site in &layout.sites {
            for (i, b) in adapter.values_mut()[site.b.range.clone()].iter_mut().enumerate() {
                *b = ((i * 7919 % 101) as f32 / 101.0 - 0.5) * 0.01;
            }
        }
        let factors: Vec<(&str, &[f32])> =
            layout.factors().map(|f| (f.input.as_str(), adapter.factor(f))).collect();
        let with_adapter = run(&ort, &grafted.folded.model, &factors);

        let baked = run(&ort, &pinned(&bake(&model, &adapter).unwrap()), &[]);

        // The rounding of a hundred layers, in the deepest of them.
        let bound = if layout.sites.len() > 100 { 1e-4 } else { 1e-5 };
        assert!(worst(&with_adapter, &baked) < bound, "{file}: {}", worst(&with_adapter, &baked));
        // One model gives the most likely bin, which a small adapter need not change.
        let effect = worst(&with_adapter, &run(&ort, &folded.model, &[]));
        assert!(effect > 10.0 * bound || file.contains("classifier"), "{file}: {effect}");
    }
}

#[test]
fn weights_as_inputs_compute_what_every_model_computes() {
    let Some(ort) = ort_or_skip() else { return };
    for (file, model) in models() {
        let folded = folded(&file, &model);
        let all = graft_all_weights(&folded, &[]).unwrap();
        let weights: Vec<(&str, &[f32])> =
            all.weights.iter().map(|w| (w.input.as_str(), w.values.as_slice())).collect();
        let (want, got) = (run(&ort, &folded.model, &[]), run(&ort, &all.folded.model, &weights));
        assert!(worst(&want, &got) < 1e-5, "{file}: {}", worst(&want, &got));
    }
}

#[test]
fn a_report_counts_what_is_in_a_model() {
    for (file, model) in models().iter().filter(|(file, _)| file.ends_with("tinyphysics.onnx")) {
        let report = inspect(model, &PinOptions::default(), 8).unwrap();
        assert_eq!((report.opset, report.operators["MatMul"], report.sites.len()), (14, 26, 18));
        assert_eq!(report.inputs[1].dims, ["b", "20"], "{file}");
        assert!((950_000..1_050_000).contains(&report.parameters), "{}", report.parameters);
        assert_eq!((report.gradients.obstacles, report.gradients.refusal), (Vec::new(), None));
    }
}

#[test]
fn no_operator_of_any_model_stands_in_the_way_of_a_gradient() {
    for (file, model) in models() {
        let report = inspect(&model, &PinOptions::default(), 8).unwrap();
        let found = (report.gradients.obstacles, report.gradients.refusal);
        assert_eq!(found, (Vec::new(), None), "{file}");
        let all = graft_all_weights(&folded(&file, &model), &[]).unwrap();
        let wrt: Vec<String> = all.weights.iter().map(|w| w.input.clone()).collect();
        match unsupported(&all.folded, &wrt) {
            Ok(obstacles) => assert_eq!(obstacles, Vec::new(), "{file}: every weight"),
            // A table of angles behind the most likely bin is a weight, and the only one with a gradient.
            Err(why) => {
                assert!(why.to_string().contains("no gradient passes ArgMax"), "{file}: {why}")
            }
        }
    }
}

/// The values of a little-endian array that numpy wrote.
fn numpy<const N: usize>(file: &Path) -> Vec<[u8; N]> {
    let bytes = std::fs::read(file).unwrap();
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[10 + header..].as_chunks::<N>().0.to_vec()
}

/// A real moment of driving, and what ONNX Runtime gave for it without optimisations.
#[test]
fn folded_tinyphysics_gives_its_golden_output() {
    let Some(ort) = ort_or_skip() else { return };
    let golden = folder().join("tinyphysics.golden");
    for (file, model) in models().iter().filter(|(file, _)| file.ends_with("tinyphysics.onnx")) {
        let mut session = ort.load(&folded(file, model).model, &plain_options()).unwrap();
        let states: Vec<f32> =
            numpy(&golden.join("in_states.npy")).into_iter().map(f32::from_le_bytes).collect();
        let tokens: Vec<i64> =
            numpy(&golden.join("in_tokens.npy")).into_iter().map(i64::from_le_bytes).collect();
        let want: Vec<f32> =
            numpy(&golden.join("out_output.npy")).into_iter().map(f32::from_le_bytes).collect();
        let states_at = session.input_index("states").unwrap();
        session.write_f32(states_at, &states).unwrap();
        let tokens_at = session.input_index("tokens").unwrap();
        session.write_i64(tokens_at, &tokens).unwrap();

        session.run().unwrap();

        let got = vec![session.output_f32(0).unwrap().to_vec()];
        assert!(worst(&[want], &got) < 1e-6);
    }
}
