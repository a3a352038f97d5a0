//! Weights of 4 bits and of floats of 8 bits: what is read of them computes what ONNX Runtime makes of the file, and is tuned and
//! baked.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;

use bytes::Bytes;
use shoal_runtime::adapter::Adapter;
use shoal_runtime::bake::{BakeError, bake, bake_dequantised};
use shoal_runtime::compare::compare;
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::testing::{noise, ort_or_skip, plain_options};
use shoal_runtime::fit::{FitOptions, Subject, fit};
use shoal_runtime::graft::{GraftOptions, graft};
use shoal_runtime::onnx::proto::{GraphProto, NodeProto, TensorProto};
use shoal_runtime::onnx::{Attr, Element, Model, Tensor, TensorType, fold};

/// Numbers of `TensorProto.data_type`.
const U4: i32 = 21;
const I4: i32 = 22;
const EIGHTS: [i32; 4] = [17, 18, 19, 20];

const WIDE: usize = 6;
const OUT: usize = 5;

fn stored(name: &str, number: i32, dims: &[usize], raw: Vec<u8>) -> TensorProto {
    TensorProto {
        dims: dims.iter().map(|&dim| dim as i64).collect(),
        data_type: Some(number),
        name: Some(name.to_owned()),
        raw_data: Some(Bytes::from(raw)),
        ..TensorProto::default()
    }
}

fn node(op: &str, input: &[&str], output: &str, attrs: &[(&str, Attr)]) -> NodeProto {
    NodeProto {
        input: input.iter().map(ToString::to_string).collect(),
        output: vec![output.to_owned()],
        name: Some(format!("the {output}")),
        op_type: Some(op.to_owned()),
        attribute: attrs.iter().map(|(name, attr)| attr.to_proto(name)).collect(),
        ..NodeProto::default()
    }
}

/// y = tanh(x·w), w made by `made` of what is stored.
fn model(made: &[NodeProto], kept: Vec<TensorProto>) -> Model {
    let mut graph = GraphProto { name: Some("narrow".to_owned()), ..GraphProto::default() };
    graph.initializer = kept;
    graph.node = made.to_vec();
    graph.node.push(node("MatMul", &["x", "real"], "product", &[]));
    graph.node.push(node("Tanh", &["product"], "y", &[]));
    graph.input.push(TensorType::f32(&[3, WIDE]).to_value_info("x"));
    graph.output.push(TensorType::f32(&[3, OUT]).to_value_info("y"));
    let mut model = Model::new(graph, 21);
    model.proto.ir_version = Some(10);
    model
}

/// Bytes that repeat.
fn bytes(seed: usize, count: usize) -> Vec<u8> {
    noise(seed, count).iter().map(|value| (value * 127.0) as i8 as u8).collect()
}

/// Integers of 4 bits in blocks of two rows, with zero points of 4 bits.
fn nibbles(number: i32) -> Model {
    let blocks = WIDE / 2;
    let scales: Vec<f32> = (0..blocks * OUT).map(|at| 0.05 + 0.01 * at as f32).collect();
    let kept = vec![
        stored("w", number, &[WIDE, OUT], bytes(1, (WIDE * OUT).div_ceil(2))),
        Tensor::f32(&[blocks, OUT], &scales).to_proto("scale"),
        stored("zero", number, &[blocks, OUT], bytes(2, (blocks * OUT).div_ceil(2))),
    ];
    let attrs = [("axis", Attr::Int(0)), ("block_size", Attr::Int(2))];
    model(&[node("DequantizeLinear", &["w", "scale", "zero"], "real", &attrs)], kept)
}

/// Floats of 8 bits with a scale for each column, or behind a Cast.
fn eights(number: i32, scaled: bool) -> Model {
    // No exponent so high that it may be no number.
    let raw = bytes(3, WIDE * OUT)
        .into_iter()
        .map(|byte| byte & 0xbf)
        .map(|b| if b == 0x80 { 0 } else { b });
    let mut kept = vec![stored("w", number, &[WIDE, OUT], raw.collect())];
    if scaled {
        kept.push(Tensor::f32(&[OUT], &[0.5, 1.0, 0.25, 2.0, 0.125]).to_proto("scale"));
        let axis = [("axis", Attr::Int(1))];
        return model(&[node("DequantizeLinear", &["w", "scale"], "real", &axis)], kept);
    }
    model(&[node("Cast", &["w"], "real", &[("to", Attr::Int(1))])], kept)
}

fn run(model: &Model, engine: &dyn Engine) -> Vec<f32> {
    let mut session = engine.load(model, &plain_options()).unwrap();
    session.write_f32(0, &noise(4, 3 * WIDE)).unwrap();
    session.run().unwrap();
    session.output_f32(0).unwrap().to_vec()
}

/// The file runs as it is read, and a tuned adapter is baked into it; what the file has then.
fn works(model: &Model) -> Model {
    let ort = ort_or_skip().unwrap();
    let folded = fold(model).unwrap();
    let (want, got) = (run(model, &ort), run(&folded.model, &ort));
    for (want, got) in want.iter().zip(&got) {
        assert!((want - got).abs() <= 1e-6, "{got}, not {want}");
    }
    assert!(want.iter().any(|value| value.abs() > 1e-3), "{want:?}");
    let grafted = graft(&folded, &GraftOptions { rank: 2, ..GraftOptions::default() }).unwrap();
    let start = Adapter::start(grafted.layout.clone(), 0);
    let subject = Subject::Adapter { grafted: &grafted, start: &start, frozen_a: false };
    let fitted = fit(subject, &ort, &FitOptions::default(), None, |_told| {}).unwrap();
    assert!(fitted.after < fitted.before);
    let adapter = fitted.trained.adapter().unwrap();
    let baked = bake_dequantised(model, adapter).unwrap();
    let how = (5, NonZeroUsize::MIN);
    let plain = fold(&baked).unwrap();
    let found = compare(&plain, &grafted, adapter, &ort, how).unwrap();
    assert!(found.agrees() && found.values > 0, "{found:?}");
    baked
}

#[test]
fn weights_of_four_bits_in_blocks_are_tuned_beside_and_baked_into_floats() {
    if ort_or_skip().is_none() {
        return;
    }
    for number in [U4, I4] {
        let model = nibbles(number);
        let baked = works(&model);
        assert!(baked.graph().initializer.iter().any(|t| t.name() == "w.baked"));
        let folded = fold(&model).unwrap();
        let element = if number == U4 { Element::U8 } else { Element::I8 };
        assert_eq!(folded.types["w"], TensorType::new(element, &[WIDE, OUT]));
        let grafted = graft(&folded, &GraftOptions::default()).unwrap();
        let start = shoal_runtime::adapter::Adapter::start(grafted.layout.clone(), 1);
        assert!(matches!(bake(&model, &start), Err(BakeError::Quantised { .. })));
    }
}

#[test]
fn weights_of_floats_of_eight_bits_are_tuned_beside_and_baked_into_floats() {
    if ort_or_skip().is_none() {
        return;
    }
    for number in EIGHTS {
        for scaled in [true, false] {
            let baked = works(&eights(number, scaled));
            let of_eight = |t: &&TensorProto| t.data_type() == number;
            let left = baked.graph().initializer.iter().filter(of_eight).count();
            assert_eq!(left, 1, "the weight of the file stays beside the baked one");
        }
    }
}

/// Two in a byte, of which the file has one too few.
#[test]
fn what_does_not_fill_its_type_is_refused_by_the_name_of_the_tensor() {
    let mut short = nibbles(I4);
    let raw = bytes(1, (WIDE * OUT).div_ceil(2) - 1);
    short.graph_mut().initializer[0].raw_data = Some(Bytes::from(raw));
    let refused = fold(&short).unwrap_err().to_string();
    assert!(refused.contains("`w` holds 14 bytes"), "{refused}");
}

/// What comes is not read as wider, for it would be cut off elsewhere.
#[test]
fn what_quantises_to_four_or_eight_bits_as_it_runs_is_refused_by_its_node() {
    for number in [I4, EIGHTS[0]] {
        let zero = stored("zero", number, &[], vec![0]);
        let scale = Tensor::f32(&[], &[0.5]).to_proto("scale");
        let mut model = model(
            &[
                node("QuantizeLinear", &["x", "scale", "zero"], "q", &[]),
                node("DequantizeLinear", &["q", "scale", "zero"], "back", &[]),
            ],
            vec![zero, scale, Tensor::f32(&[WIDE, OUT], &[0.1; WIDE * OUT]).to_proto("real")],
        );
        model.graph_mut().node[2].input[0] = "back".to_owned();
        let refused = fold(&model).unwrap_err().to_string();
        assert!(refused.contains("QuantizeLinear node `the q`"), "{refused}");
    }
}
