//! A training graph that recomputes against the one that holds everything.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_runtime::engine::testing::{noise, ort_or_skip};
use shoal_runtime::engine::{Engine, LoadOptions};
use shoal_runtime::gradient::{
    DifferentiateOptions, LossKind, LossSpec, differentiate, peak_bytes, recompute, within,
};
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::proto::NodeProto;
use shoal_runtime::onnx::{Attr, Builder, Folded, TensorType};

/// A chain of `layers` times x ← tanh(x·w), of 64 rows of 32 values.
fn chain(layers: usize) -> Folded {
    let mut b = Builder::new(17);
    let mut x = b.input("x", TensorType::f32(&[64, 32]));
    let w = b.input("w", TensorType::f32(&[32, 32]));
    for _ in 0..layers {
        let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
        x = b.op("Tanh", &[&y], &[]).unwrap();
    }
    b.output("y", &x);
    let options = DifferentiateOptions {
        losses: vec![LossSpec::new(LossKind::Mse, "y")],
        wrt: vec!["w".into()],
        strict: true,
        profile: Profile::Cpu,
    };
    differentiate(&b.finish(), &options).unwrap().folded
}

/// Bytes of a layer's result, with what a plan adds for the gaps between buffers.
const LAYER: u64 = 64 * 32 * 4 * 5 / 4;

#[test]
fn segments_lower_the_planned_peak_and_the_fewest_that_do_are_taken() {
    let whole = chain(24);
    // Every layer's result is read on the way back.
    assert!((24 * LAYER..28 * LAYER).contains(&peak_bytes(&whole)), "{}", peak_bytes(&whole));
    let four = recompute(&whole, 4).unwrap();
    assert!(peak_bytes(&four) < 17 * LAYER, "{} of {LAYER}", peak_bytes(&four));
    assert_eq!(within(&whole, u64::MAX).unwrap().segments, 1);
    assert_eq!(within(&whole, u64::MAX).unwrap().folded, whole);
    let half = within(&whole, 17 * LAYER).unwrap();
    assert!(half.peak_bytes <= 17 * LAYER && half.segments < 5, "{} segments", half.segments);
    let least = within(&whole, 0).unwrap();
    assert!(least.peak_bytes < half.peak_bytes && least.peak_bytes == peak_bytes(&least.folded));
}

#[test]
fn what_is_recomputed_gives_the_same_loss_and_gradient_to_the_bit() {
    let Some(engine) = ort_or_skip() else { return };
    let whole = chain(12);
    let run = |folded: &Folded| {
        let mut session = engine.load(&folded.model, &LoadOptions::default()).unwrap();
        for index in 0..session.inputs().len() {
            let values = session.inputs()[index].ty.values();
            let values: Vec<f32> = noise(index, values).iter().map(|v| 0.3 * v).collect();
            session.write_f32(index, &values).unwrap();
        }
        session.run().unwrap();
        let outputs = 0..session.outputs().len();
        let values: Vec<Vec<f32>> =
            outputs.map(|index| session.output_f32(index).unwrap().to_vec()).collect();
        // The engine runs all that was written: it merged nothing.
        let tanh = session.proven().nodes.iter().filter(|node| node.operator == "Tanh").count();
        (values, tanh)
    };
    let (held, once) = run(&whole);
    let (recomputed, twice) = run(&recompute(&whole, 3).unwrap());
    assert!(held[1].iter().any(|value| value.abs() > 1e-6), "a gradient of nothing");
    assert_eq!(held, recomputed);
    assert_eq!(once, 12);
    assert!(twice > 16, "{twice}");
}

/// An operator of which only the file says what it gives.
#[test]
fn what_is_declared_is_computed_again_like_the_rest() {
    let mut b = Builder::new(17);
    let mut x = b.input("x", TensorType::f32(&[64, 32]));
    b.input("square", TensorType::f32(&[64, 1, 3, 3]));
    let w = b.input("w", TensorType::f32(&[32, 32]));
    for layer in 0..12 {
        let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
        let y = b.op("Tanh", &[&y], &[]).unwrap();
        let name = format!("det.{layer}");
        let det = NodeProto {
            input: vec!["square".to_owned()],
            output: vec![name.clone()],
            op_type: Some("Det".to_owned()),
            ..NodeProto::default()
        };
        b.declare(&det, &name, Some(&TensorType::f32(&[64, 1])));
        let det = b.node(det).unwrap().swap_remove(0);
        x = b.op("Mul", &[&y, &det], &[]).unwrap();
    }
    b.output("y", &x);
    let options = DifferentiateOptions {
        losses: vec![LossSpec::new(LossKind::Mse, "y")],
        wrt: vec!["w".into()],
        strict: true,
        profile: Profile::Cpu,
    };
    let training = differentiate(&b.finish(), &options).unwrap().folded;
    let count = |folded: &Folded| {
        let nodes = &folded.model.graph().node;
        nodes.iter().filter(|node| node.op_type() == "Det").count()
    };
    assert_eq!(count(&training), 12);
    assert!(count(&recompute(&training, 4).unwrap()) > 12, "none is computed again");
}

#[test]
fn what_works_value_by_value_is_planned_over_what_nobody_reads_again() {
    let mut b = Builder::new(17);
    let mut x = b.input("x", TensorType::f32(&[64, 32]));
    for _ in 0..3 {
        x = b.op("Tanh", &[&x], &[]).unwrap();
    }
    let y = b.op("ReduceMax", &[&x], &[("keepdims", Attr::Int(1))]).unwrap();
    b.output("y", &y);
    // Beside it the greatest value.
    assert!((LAYER..LAYER + LAYER / 2).contains(&peak_bytes(&b.finish())));
}

/// A result of a layer's size, then one of twice the size, then one of a layer's size that is as wide or lies across.
fn between(across: bool) -> Folded {
    let mut b = Builder::new(17);
    let [x, row, other] =
        [[64, 32], [1, 64], if across { [32, 1] } else { [1, 32] }].map(|dims: [usize; 2]| {
            let name = format!("{dims:?}");
            b.input(&name, TensorType::f32(&dims))
        });
    let rows = [("axes", Attr::Ints(vec![1]))];
    let first = b.op("Tanh", &[&x], &[]).unwrap();
    let column = b.op("ReduceMax", &[&first], &rows).unwrap();
    let large = b.op("MatMul", &[&column, &row], &[]).unwrap();
    let column = b.op("ReduceMax", &[&large], &rows).unwrap();
    let last = if across {
        let line = b.op("Transpose", &[&column], &[("perm", Attr::Ints(vec![1, 0]))]).unwrap();
        b.op("MatMul", &[&other, &line], &[]).unwrap()
    } else {
        b.op("MatMul", &[&column, &other], &[]).unwrap()
    };
    let y = b.op("ReduceMax", &[&last], &[("keepdims", Attr::Int(1))]).unwrap();
    b.output("y", &y);
    b.finish()
}

#[test]
fn a_buffer_that_is_to_be_taken_again_is_planned_as_held_in_between() {
    let [wide, across] = [false, true].map(|across| peak_bytes(&between(across)));
    assert!((2 * LAYER..3 * LAYER).contains(&across), "{across} of {LAYER}");
    assert_eq!(wide - across, LAYER);
}
