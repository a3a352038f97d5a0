//! Models whose values no message of protobuf holds: ONNX Runtime has them by reference.
#![cfg(all(unix, feature = "ort"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::Path;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::bake::bake;
use shoal_runtime::compare::compare;
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::{ort_or_skip, plain_options, transformer};
use shoal_runtime::fit::{FitOptions, Fitted, Subject, fit};
use shoal_runtime::graft::{GraftOptions, Grafted, graft};
use shoal_runtime::inspect::inspect;
use shoal_runtime::onnx::model::MODEL_BYTES_MAX;
use shoal_runtime::onnx::proto::{StringStringEntryProto, TensorProto};
use shoal_runtime::onnx::{Builder, Element, Model, PinOptions, Tensor, TensorType, fold};

fn fitted(grafted: &Grafted, engine: &Ort, steps: u32) -> Fitted {
    let options = FitOptions { steps, ..FitOptions::default() };
    let start = Adapter::start(grafted.layout.clone(), 0);
    let subject = Subject::Adapter { grafted, start: &start, frozen_a: false };
    fit(subject, engine, &options, None, |_told| {}).unwrap()
}

fn run(model: &Model, engine: &Ort, inputs: &[(&str, Tensor)]) -> Vec<f32> {
    let mut session = engine.load(model, &plain_options()).unwrap();
    for (name, tensor) in inputs {
        let input = session.input_index(name).unwrap();
        session.write(input, tensor).unwrap();
    }
    session.run().unwrap();
    session.output_f32(0).unwrap().to_vec()
}

fn close(got: &[f32], want: &[f32]) {
    let most = want.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    assert!(most > 0.0 && got.len() == want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= 1e-5 * most, "{got}, not {want}");
    }
}

/// Every weight by reference: what comes out is what comes out of one message, run, trained and baked.
#[test]
fn by_reference_a_model_runs_trains_and_bakes_as_it_does_in_one_message() {
    let Some(ort) = ort_or_skip() else { return };
    let by_reference = ort.clone().by_reference_from(0);
    let folded = fold(&transformer(1, 128, 8).unwrap()).unwrap();
    let grafted = graft(&folded, &GraftOptions::default()).unwrap();
    let (want, got) = (fitted(&grafted, &ort, 10), fitted(&grafted, &by_reference, 10));
    assert!(got.after < got.before);
    assert!((got.after - want.after).abs() < 1e-3 * want.after, "{} {}", got.after, want.after);
    let baked = fold(&bake(&folded.model, got.trained.adapter().unwrap()).unwrap()).unwrap();
    let how = (7, NonZeroUsize::MIN);
    let found =
        compare(&baked, &grafted, got.trained.adapter().unwrap(), &by_reference, how).unwrap();
    assert!(found.agrees() && found.values > 0, "{found:?}");
    // Baked by one and run by the other it is the same model.
    let other = compare(&baked, &grafted, got.trained.adapter().unwrap(), &ort, how).unwrap();
    assert!(other.agrees(), "{other:?}");
    let start = Adapter::start(grafted.layout.clone(), 1);
    let moved = compare(&baked, &grafted, &start, &by_reference, how).unwrap();
    assert!(!moved.agrees(), "another adapter is seen: {moved:?}");
}

/// Writers pack values behind each other: they may begin at any byte of the file.
#[test]
fn values_at_an_address_that_no_float_has_are_read_all_the_same() {
    let Some(ort) = ort_or_skip() else { return };
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 128]));
    let values: Vec<f32> = (0..128 * 128).map(|at| (at % 13) as f32 - 6.0).collect();
    let w = b.initializer("w", &Tensor::f32(&[128, 128], &values));
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    b.output("y", &y);
    let model = b.into_model();
    let x = [("x", Tensor::f32(&[1, 128], &[0.5; 128]))];
    let want = run(&model, &ort, &x);
    let mut odd = 0;
    for pad in 0..4 {
        let mut padded = model.clone();
        padded.proto.producer_name = Some("p".repeat(pad + 1));
        let read = Model::from_bytes(padded.to_bytes().unwrap()).unwrap();
        let raw = read.graph().initializer[0].raw_data.as_ref().unwrap();
        odd += usize::from(!raw.as_ptr().addr().is_multiple_of(4));
        close(&run(&read, &ort.clone().by_reference_from(0), &x), &want);
    }
    assert_eq!(odd, 3, "of four places in a row three are at no multiple of four");
}

/// What the model of [`large`] looks up, its width, and how many matrices are behind.
const ENTRIES: usize = 270_000;
const WIDE: usize = 2048;
const LAYERS: usize = 8;

/// Writes a model of more than 2 GiB: a table of embeddings, [`LAYERS`] matrices with what they give added to what comes in. Its data
/// is a sparse file, all 0 but for some entries of the table and a band of each matrix.
fn large(path: &Path) -> u64 {
    let mut b = Builder::new(17);
    let tokens = b.input("tokens", TensorType::new(Element::I64, &[1, 8]));
    let table = b.initializer("table", &Tensor::f32(&[1, 1], &[0.0]));
    let motion = b.input("motion", TensorType::f32(&[1, 8, 1]));
    let embedded = b.op("Gather", &[&table, &tokens], &[]).unwrap();
    let mut x = b.op("Add", &[&embedded, &motion], &[]).unwrap();
    for layer in 0..LAYERS {
        let weight =
            b.initializer(&format!("layers.{layer}.weight"), &Tensor::f32(&[1, 1], &[0.0]));
        let moved = b.op("MatMul", &[&x, &weight], &[]).unwrap();
        let bent = b.op("Tanh", &[&moved], &[]).unwrap();
        x = b.op("Add", &[&x, &bent], &[]).unwrap();
    }
    b.output("y", &x);
    let mut model = b.into_model();
    // Built with matrices of one value, so that none of them is ever in memory.
    let wide = TensorType::f32(&[1, 8, WIDE]);
    model.graph_mut().input[1] = wide.to_value_info("motion");
    model.graph_mut().output = vec![wide.to_value_info("y")];
    let data = path.with_extension("data");
    let file = File::create(&data).unwrap();
    let mut end = 0_u64;
    for tensor in &mut model.graph_mut().initializer {
        let rows = if tensor.name() == "table" { ENTRIES } else { WIDE };
        let bytes = (rows * WIDE * 4) as u64;
        for row in (0..64).map(|row| row * (rows / 64)) {
            let value = |at: usize| ((row * 31 + at * 17) % 29) as f32 / 290.0 - 0.05;
            let values: Vec<u8> = (0..WIDE).flat_map(|at| value(at).to_le_bytes()).collect();
            file.write_all_at(&values, end + (row * WIDE * 4) as u64).unwrap();
        }
        let entry = |key: &str, value: String| StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value),
        };
        *tensor = TensorProto {
            dims: vec![rows as i64, WIDE as i64],
            data_type: tensor.data_type,
            name: tensor.name.clone(),
            data_location: Some(1),
            external_data: vec![
                entry("location", data.file_name().unwrap().to_str().unwrap().to_owned()),
                entry("offset", end.to_string()),
                entry("length", bytes.to_string()),
            ],
            ..TensorProto::default()
        };
        end += bytes;
    }
    file.set_len(end).unwrap();
    model.write(path).unwrap();
    end
}

/// The most that this process had in memory so far, bytes; none where the system does not say.
fn highest() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * kib.trim().trim_end_matches(" kB").parse::<u64>().ok()?)
}

#[test]
fn a_model_of_more_than_two_gibibytes_is_inspected_differentiated_trained_baked_and_compared() {
    let Some(ort) = ort_or_skip() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.onnx");
    let bytes = large(&path);
    assert!(bytes > MODEL_BYTES_MAX);
    let model = Model::read_with_data(&path).unwrap();
    let report = inspect(&model, &PinOptions::default(), 8).unwrap();
    assert_eq!(report.sites.len(), LAYERS);
    assert!(report.gradients.obstacles.is_empty() && report.gradients.refusal.is_none());
    let folded = fold(&model).unwrap();
    let grafted = graft(&folded, &GraftOptions { rank: 2, ..GraftOptions::default() }).unwrap();
    let fitted = fitted(&grafted, &ort, 3);
    assert!(fitted.after < fitted.before, "{} {}", fitted.before, fitted.after);
    let baked = bake(&model, fitted.trained.adapter().unwrap()).unwrap();
    let plain = fold(&baked).unwrap();
    let how = (3, NonZeroUsize::MIN);
    let found = compare(&plain, &grafted, fitted.trained.adapter().unwrap(), &ort, how).unwrap();
    assert!(found.agrees() && found.values > 0, "{found:?}");
    let start = Adapter::start(grafted.layout.clone(), 1);
    let moved = compare(&plain, &grafted, &start, &ort, how).unwrap();
    assert!(!moved.agrees(), "another adapter is seen: {moved:?}");
    // The model once, the baked matrices once, and what a step takes.
    if let Some(highest) = highest() {
        assert!(highest < bytes * 5 / 4, "{highest} of {bytes}");
    }
    let written = folder.path().join("baked.onnx");
    baked.write(&written).unwrap();
    let message = Model::read(&written).unwrap();
    assert_eq!(message.graph().initializer.len(), LAYERS + 1);
    let values = std::fs::metadata(folder.path().join("baked.onnx.data")).unwrap().len();
    assert!(values > MODEL_BYTES_MAX);
}
