//! Adapters as ONNX Runtime's adapter files.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use shoal_runtime::adapter::{Adapter, Layout, OnnxAdapter, OnnxAdapterError};
use shoal_runtime::engine::{Engine, LoadOptions};
use shoal_runtime::graft::{GraftOptions, graft, sites};
use shoal_runtime::onnx::{Attr, Builder, Folded, Model, Tensor, TensorType};

/// A convolution `enc.weight` and a matrix `head`, as in tests/peft.rs; the convolution of rank 3.
fn model(weight: f32) -> Folded {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 2, 4, 4]));
    let w = b.initializer("enc.weight", &Tensor::f32(&[3, 2, 2, 2], &[weight; 24]));
    let h = b.op("Conv", &[&x, &w], &[]).unwrap();
    let h = b.op("Flatten", &[&h], &[("axis", Attr::Int(1))]).unwrap();
    let w = b.initializer("head", &Tensor::f32(&[27, 5], &[0.5; 135]));
    let y = b.op("MatMul", &[&h, &w], &[]).unwrap();
    b.output("y", &y);
    b.finish()
}

fn adapter() -> Adapter {
    let targets = vec!["*".to_owned(), "enc.*=3".to_owned()];
    let options = GraftOptions { rank: 4, targets, ..GraftOptions::default() };
    let layout = graft(&model(0.5), &options).unwrap().layout;
    let values = (0..layout.values()).map(|i| i as f32 / 64.0 - 1.0).collect();
    Adapter::from_values(layout, values).unwrap()
}

fn layout() -> Arc<Layout> {
    Arc::clone(adapter().layout())
}

fn file(bytes: &[u8]) -> Result<OnnxAdapter, OnnxAdapterError> {
    OnnxAdapter::from_bytes(bytes.to_vec(), Path::new("a.onnx_adapter"))
}

fn read(bytes: &[u8]) -> Result<Adapter, OnnxAdapterError> {
    file(bytes)?.adapter(layout())
}

fn ours() -> Vec<u8> {
    adapter().to_onnx_adapter().unwrap()
}

/// `ours` with other bytes in the place of these, which stand there once.
fn with(from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = ours();
    let mut places = (0..bytes.len() - from.len()).filter(|&at| bytes[at..].starts_with(from));
    let at = places.next().unwrap();
    assert_eq!(places.next(), None);
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

/// Recorded by xtask/oracle/onnx_adapter.py: what onnxruntime.AdapterFormat writes, float32 and float16.
fn recorded(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx_adapter");
    std::fs::read(folder.join(name)).unwrap()
}

fn names() -> Vec<String> {
    sites(&model(0.5)).into_iter().map(|site| site.name).collect()
}

#[test]
fn an_adapter_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.onnx_adapter");
    adapter().write(&path).unwrap();
    let file = OnnxAdapter::read(&path).unwrap();
    assert_eq!(file.alpha(), Some(16.0));
    assert_eq!(file.adapter(layout()).unwrap(), adapter());
}

#[test]
fn the_file_says_how_to_graft_the_model() {
    let options = file(&ours()).unwrap().graft_options(&names(), None).unwrap();
    let grafted = graft(&model(0.5), &options).unwrap();
    assert_eq!(grafted.layout.hash(), layout().hash());
    assert_eq!(
        file(&ours()).unwrap().adapter(grafted.layout).unwrap().values(),
        adapter().values()
    );
}

#[test]
fn what_onnx_runtime_writes_is_read_once_its_alpha_is_told() {
    for name in ["float32.onnx_adapter", "float16.onnx_adapter"] {
        let theirs = file(&recorded(name)).unwrap();
        assert_eq!(theirs.alpha(), None);
        let refused = theirs.graft_options(&names(), None).unwrap_err();
        assert!(matches!(refused, OnnxAdapterError::NoAlpha { .. }), "{refused}");
        let options = theirs.graft_options(&names(), Some(16.0)).unwrap();
        let layout = graft(&model(0.5), &options).unwrap().layout;
        assert_eq!(theirs.adapter(layout).unwrap().values(), adapter().values(), "{name}");
    }
}

#[test]
fn another_alpha_and_other_weights_are_refused() {
    let refused = file(&ours()).unwrap().graft_options(&names(), Some(8.0)).unwrap_err();
    assert!(
        matches!(refused, OnnxAdapterError::OtherAlpha { says: 16.0, asked: 8.0, .. }),
        "{refused}"
    );
    let options = file(&ours()).unwrap().graft_options(&names(), None).unwrap();
    let other = graft(&model(0.25), &options).unwrap().layout;
    let refused = file(&ours()).unwrap().adapter(other).unwrap_err();
    assert!(matches!(refused, OnnxAdapterError::OtherModel { .. }), "{refused}");
}

#[test]
fn factors_that_are_left_out_are_nothing() {
    let Some(ort) = shoal_runtime::engine::testing::ort_or_skip() else { return };
    let grafted = graft(&model(0.5), &GraftOptions::default()).unwrap();
    let run = |model: &Model| {
        let mut session = ort.load(model, &LoadOptions::default()).unwrap();
        assert_eq!(session.inputs().len(), 1);
        session.write_f32(0, &[0.25; 32]).unwrap();
        session.run().unwrap();
        session.output_f32(0).unwrap().to_vec()
    };
    assert_eq!(run(&grafted.with_optional_factors(None)), run(&model(0.5).model));
}

#[test]
fn what_does_not_fit_the_model_is_named() {
    let unknown = with(b"lora.head.B", b"lora.tail.B");
    let refused = read(&unknown).unwrap_err();
    let is_it = |name: &str| name == "lora.tail.B";
    assert!(
        matches!(&refused, OnnxAdapterError::Unknown { parameter, .. } if is_it(parameter)),
        "{refused}"
    );
    let refused = file(&unknown).unwrap().graft_options(&names(), None).unwrap_err();
    assert!(matches!(refused, OnnxAdapterError::Unknown { .. }), "{refused}");
    let dims = |dims: [u64; 2]| dims.map(u64::to_le_bytes).concat();
    let refused = read(&with(&dims([4, 27]), &dims([27, 4]))).unwrap_err();
    assert!(
        matches!(&refused, OnnxAdapterError::Shape { got, want, .. } if *got == [27, 4] && *want == [4, 27]),
        "{refused}"
    );
    let refused = read(&with(&(-0.984375f32).to_le_bytes(), &f32::NAN.to_le_bytes())).unwrap_err();
    assert!(
        refused.to_string().contains("`lora.enc.weight.A` is not finite at index 1"),
        "{refused}"
    );
    let head = with(b"lora.head.B", b"lora.head.A");
    let refused = read(&head).unwrap_err();
    assert!(refused.to_string().contains("a name stands there twice"), "{refused}");
}

#[test]
fn every_truncation_is_refused() {
    for whole in [ours(), recorded("float16.onnx_adapter")] {
        for length in 0..whole.len() - 8 {
            let read = file(&whole[..length]).and_then(|file| file.adapter(layout()));
            assert!(read.is_err(), "{length} of {}", whole.len());
        }
    }
}

#[test]
fn no_changed_byte_panics_and_no_offset_leads_outside() {
    let whole = ours();
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let _either = read(&bytes);
        }
    }
    let mut bytes = whole.clone();
    bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(read(&bytes).unwrap_err().to_string().contains("leads nowhere"));
    bytes[..4].copy_from_slice(&21u32.to_le_bytes());
    assert!(read(&bytes).unwrap_err().to_string().contains("not aligned"));
    bytes = whole;
    bytes[4] = b'X';
    assert!(read(&bytes).unwrap_err().to_string().contains("identifier"));
}
