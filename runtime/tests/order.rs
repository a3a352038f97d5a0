//! The order in which ONNX Runtime runs the gradients of a training graph, after it has optimised that graph.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use shoal_runtime::engine::testing::{noise, ort_or_skip};
use shoal_runtime::engine::{Engine, LoadOptions};
use shoal_runtime::gradient::{DifferentiateOptions, LossKind, LossSpec, differentiate};
use shoal_runtime::graft::{GraftOptions, Profile, graft};
use shoal_runtime::onnx::{Attr, Builder, Folded, Tensor, TensorType};

const LAYERS: usize = 8;

/// The training graph of the factors of a chain of layers: convolutions of 16 channels with kernels of this size, and tanh.
fn training(kernel: usize) -> Folded {
    let mut b = Builder::new(17);
    let mut x = b.input("x", TensorType::f32(&[1, 16, 32, 32]));
    let pad = (kernel / 2) as i64;
    for layer in 0..LAYERS {
        let values = noise(layer, 16 * 16 * kernel * kernel);
        let w = Tensor::f32(&[16, 16, kernel, kernel], &values);
        let w = b.initializer(&format!("w{layer}"), &w);
        let y = b.op("Conv", &[&x, &w], &[("pads", Attr::Ints(vec![pad; 4]))]).unwrap();
        x = b.op("Tanh", &[&y], &[]).unwrap();
    }
    b.output("y", &x);
    let grafted = graft(&b.finish(), &GraftOptions { rank: 4, ..GraftOptions::default() }).unwrap();
    let wrt = grafted.layout.factors().map(|factor| factor.input.clone()).collect();
    let losses = vec![LossSpec::new(LossKind::Mse, "y")];
    let options = DifferentiateOptions { losses, wrt, strict: true, profile: Profile::Cpu };
    differentiate(&grafted.folded, &options).unwrap().folded
}

/// The engine tells its nodes by their numbers, and of leaves runs the last one first. Whatever it writes anew gets a number behind all
/// that it left as it was.
#[test]
fn the_last_layer_of_a_chain_has_its_gradient_first_after_every_optimisation() {
    let Some(engine) = ort_or_skip() else { return };
    for kernel in [1, 3] {
        let folded = training(kernel);
        let session = engine.load(&folded.model, &LoadOptions::default()).unwrap();
        let nodes = session.proven().nodes.iter().enumerate();
        let numbers: BTreeMap<&str, usize> =
            nodes.map(|(at, node)| (node.node.as_str(), at)).collect();
        for letter in ["A", "B"] {
            let step = |layer: usize| {
                let gradient = format!("grad.lora.w{layer}.{letter}");
                let mut nodes = folded.model.graph().node.iter();
                let made = nodes.find(|node| node.output_name(0) == gradient).unwrap();
                let at = numbers.get(made.label()).copied();
                at.unwrap_or_else(|| panic!("{gradient} is made by another node of the engine"))
            };
            let steps: Vec<usize> = (0..LAYERS).map(step).collect();
            assert!(steps.is_sorted(), "kernel {kernel}, {letter}: {steps:?}");
        }
    }
}
