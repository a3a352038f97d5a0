//! The entry of each target: bytes from outside, through everything that reads them.

use std::path::Path;
use std::sync::OnceLock;

use shoal_runtime::adapter::{Adapter, Layout, OnnxAdapter};
use shoal_runtime::bake::bake_dequantised;
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::{GraftOptions, Profile, graft, graft_all_weights};
use shoal_runtime::onnx::{Builder, Folded, Model, PinOptions, Tensor, TensorType, fold, pin};

/// The largest tensor of a graph that is differentiated, in values: a constant of its gradient is as large.
const VALUES_MAX: usize = 1 << 20;

/// Reads a model, writes it, pins, folds, grafts, differentiates and bakes it.
///
/// # Panics
/// If a model that is written again is not the one that was read, folding a folded graph changes it, or what was baked is no
/// model any more.
pub fn onnx(bytes: &[u8]) {
    let Ok(model) = Model::from_bytes(bytes.to_vec().into()) else { return };
    if let Ok(written) = model.to_bytes() {
        assert!(written == bytes, "an unchanged model keeps its bytes");
    }
    let Ok(pinned) = pin(&model, &PinOptions::default()) else { return };
    let Ok(folded) = fold(&pinned) else { return };
    check(&folded);
    if let Ok(grafted) = graft(&folded, &GraftOptions { rank: 2, ..GraftOptions::default() }) {
        let adapter = Adapter::zero(grafted.layout.clone());
        assert_eq!(adapter.values().len(), grafted.layout.values());
        check(&grafted.folded);
        if grafted.folded.types.values().all(|ty| ty.values() <= VALUES_MAX) {
            let options = DifferentiateOptions {
                losses: Vec::new(),
                wrt: grafted.layout.factors().map(|factor| factor.input.clone()).collect(),
                strict: false,
                profile: Profile::Cpu,
            };
            // What only the forward pass had for its outputs has a type there still.
            if let Ok(training) = differentiate(&grafted.folded, &options) {
                refolded(&training.folded);
            }
        }
        if let Ok(baked) = bake_dequantised(&pinned, &adapter) {
            assert!(fold(&baked).is_ok(), "what was baked does not fold");
        }
    }
    if let Ok(all) = graft_all_weights(&folded, &[]) {
        check(&all.folded);
    }
}

/// Every tensor of a folded graph has a type, and its graph folds to itself.
fn check(folded: &Folded) {
    assert_eq!(refolded(folded).types, folded.types, "folding twice changes a type");
}

/// Every tensor of a graph has a type, and it folds.
fn refolded(folded: &Folded) -> Folded {
    let graph = folded.model.graph();
    for name in graph.node.iter().flat_map(|n| n.input.iter().chain(&n.output)) {
        assert!(name.is_empty() || folded.types.contains_key(name), "`{name}` has no type");
    }
    match fold(&folded.model) {
        Ok(again) => again,
        Err(why) => panic!("what was folded does not fold: {why}"),
    }
}

/// Reads an adapter's tensors, and writes and reads what came of them.
///
/// # Panics
/// If an adapter that was read is not read again from what it is written to.
pub fn safetensors(bytes: &[u8]) {
    let layout = layout();
    let read = |bytes: &[u8]| Adapter::from_safetensors(bytes, layout.clone(), Path::new("<fuzz>"));
    let Ok(adapter) = read(bytes) else { return };
    let written = adapter.to_safetensors().expect("a read adapter is finite");
    assert_eq!(read(&written).ok(), Some(adapter), "an adapter is read as it was written");
}

/// Reads an adapter file of ONNX Runtime, and writes and reads what came of it.
///
/// # Panics
/// If an adapter that was read is not read again from what it is written to.
pub fn onnx_adapter(bytes: &[u8]) {
    let layout = layout();
    let file = Path::new("<fuzz>");
    let read = |bytes: &[u8]| {
        let read = OnnxAdapter::from_bytes(bytes.to_vec(), file)?;
        let sites: Vec<String> = layout.sites.iter().map(|site| site.name.clone()).collect();
        let _either = read.graft_options(&sites, Some(layout.alpha));
        read.adapter(layout.clone())
    };
    let Ok(adapter) = read(bytes) else { return };
    let written = adapter.to_onnx_adapter().expect("a read adapter is finite and small");
    assert_eq!(read(&written).ok(), Some(adapter), "an adapter is read as it was written");
}

/// A layout of a convolution and a matrix.
pub(crate) fn layout() -> &'static Layout {
    static LAYOUT: OnceLock<Layout> = OnceLock::new();
    LAYOUT.get_or_init(|| {
        let options = GraftOptions { rank: 1, ..GraftOptions::default() };
        graft(small(), &options).expect("it has two sites").layout
    })
}

/// The model that it is of.
pub(crate) fn small() -> &'static Folded {
    static SMALL: OnceLock<Folded> = OnceLock::new();
    SMALL.get_or_init(|| {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[1, 1, 2, 2]));
        let w = b.initializer("enc.weight", &Tensor::f32(&[2, 1, 1, 1], &[1.0; 2]));
        let h = b.op("Conv", &[&x, &w], &[]).expect("the weight fits");
        let h = b.op("Flatten", &[&h], &[]).expect("the input has axes");
        let w = b.initializer("head", &Tensor::f32(&[8, 3], &[1.0; 24]));
        let y = b.op("MatMul", &[&h, &w], &[]).expect("the weight fits");
        b.output("y", &y);
        b.finish()
    })
}
