//! Weights of 4 bits and of floats of 8 bits: what is read of them computes what ONNX Runtime makes of the file, or, of elements
//! that it does not run, of the same values in float32; and is tuned and baked.
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
const F4: i32 = 23;
const POWER: i32 = 24;

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
    works_as(model, model)
}

/// As [`works`], of a file that computes what another does.
fn works_as(model: &Model, same: &Model) -> Model {
    let ort = ort_or_skip().unwrap();
    let folded = fold(model).unwrap();
    let (want, got) = (run(same, &ort), run(&folded.model, &ort));
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

/// The same bytes in `int32_data`, one a number.
fn in_numbers(mut tensor: TensorProto) -> TensorProto {
    let raw = tensor.raw_data.take().unwrap();
    tensor.int32_data = raw.iter().map(|&byte| i32::from(byte)).collect();
    tensor
}

/// What floats of 4 bits stand for, by the table of ONNX's document.
fn fours(raw: &[u8]) -> Vec<f32> {
    let above = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let value = |half: u8| above[usize::from(half & 7)] * if half & 8 == 0 { 1.0 } else { -1.0 };
    raw.iter().flat_map(|byte| [value(byte & 15), value(byte >> 4)]).take(WIDE * OUT).collect()
}

/// Floats of 4 bits by themselves, by a scale for each column, and in blocks of two rows by powers of two, behind a Cast or not.
#[test]
fn weights_of_floats_of_four_bits_are_tuned_beside_and_baked_into_floats() {
    if ort_or_skip().is_none() {
        return;
    }
    let raw = bytes(1, (WIDE * OUT).div_ceil(2));
    let cast = |from: &str, to: &str| node("Cast", &[from], to, &[("to", Attr::Int(1))]);
    let by = |scale: &str, attrs: &[_]| node("DequantizeLinear", &["w", scale], "real", attrs);
    let blocks = [("axis", Attr::Int(0)), ("block_size", Attr::Int(2))];
    let columns = Tensor::f32(&[OUT], &[0.5, 1.0, 0.25, 2.0, 0.125]).to_proto("scale");
    let exponents: Vec<u8> = (0..WIDE / 2 * OUT).map(|at| 124 + at as u8 % 5).collect();
    let powers: Vec<f32> = exponents.iter().map(|&e| 2.0_f32.powi(i32::from(e) - 127)).collect();
    let powers_of = |exponents| stored("scale", POWER, &[WIDE / 2, OUT], exponents);
    let wide = Tensor::f32(&[WIDE / 2, OUT], &powers).to_proto("scale");
    let values = Tensor::f32(&[WIDE, OUT], &fours(&raw)).to_proto("w");
    let same = [node("Identity", &["w"], "real", &[])];
    // What each computes, of floats: a row belongs to a block by its half.
    let scaled = |scale: &dyn Fn(usize) -> f32| {
        let real = fours(&raw).into_iter().enumerate().map(|(at, value)| value * scale(at));
        model(&same, vec![Tensor::f32(&[WIDE, OUT], &real.collect::<Vec<_>>()).to_proto("w")])
    };
    let by_column = scaled(&|at| [0.5, 1.0, 0.25, 2.0, 0.125][at % OUT]);
    let by_block = scaled(&|at| powers[at / OUT / 2 * OUT + at % OUT]);
    let plain = model(&same, vec![values]);
    for numbers in [false, true] {
        let held = |tensor| if numbers { in_numbers(tensor) } else { tensor };
        let weight = || held(stored("w", F4, &[WIDE, OUT], raw.clone()));
        let powers = || held(powers_of(exponents.clone()));
        let behind = [cast("scale", "wide"), by("wide", &blocks)];
        for (nodes, scale, want) in [
            (vec![cast("w", "real")], None, &plain),
            (vec![by("scale", &[("axis", Attr::Int(1))])], Some(columns.clone()), &by_column),
            (vec![by("scale", &blocks)], Some(wide.clone()), &by_block),
            (vec![by("scale", &blocks)], Some(powers()), &by_block),
            (behind.to_vec(), Some(powers()), &by_block),
        ] {
            let file = model(&nodes, std::iter::once(weight()).chain(scale).collect());
            let baked = works_as(&file, want);
            assert_eq!(baked.graph().initializer[0], file.graph().initializer[0]);
        }
    }
}

/// The scale of integers in blocks, as a power of two; and such powers as the weight itself.
#[test]
fn powers_of_two_are_scales_and_weights() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut integers = nibbles(I4);
    let mut same = integers.clone();
    let exponents: Vec<u8> = (0..WIDE / 2 * OUT).map(|at| 122 + at as u8 % 4).collect();
    let powers: Vec<f32> = exponents.iter().map(|&e| 2.0_f32.powi(i32::from(e) - 127)).collect();
    integers.graph_mut().initializer[1] = stored("scale", POWER, &[WIDE / 2, OUT], exponents);
    same.graph_mut().initializer[1] = Tensor::f32(&[WIDE / 2, OUT], &powers).to_proto("scale");
    works_as(&integers, &same);
    let exponents: Vec<u8> = (0..WIDE * OUT).map(|at| 122 + at as u8 % 6).collect();
    let powers: Vec<f32> = exponents.iter().map(|&e| 2.0_f32.powi(i32::from(e) - 127)).collect();
    let cast = [node("Cast", &["w"], "real", &[("to", Attr::Int(1))])];
    let weight = model(&cast, vec![stored("w", POWER, &[WIDE, OUT], exponents)]);
    let same = [node("Identity", &["w"], "real", &[])];
    let same = model(&same, vec![Tensor::f32(&[WIDE, OUT], &powers).to_proto("w")]);
    works_as(&weight, &same);
    // 255 is no number.
    let mut wrong = weight.clone();
    wrong.graph_mut().initializer[0] = stored("w", POWER, &[WIDE, OUT], vec![255; WIDE * OUT]);
    let refused = fold(&wrong).unwrap_err().to_string();
    assert!(refused.contains("NaN") && refused.contains('0'), "{refused}");
}

/// A scale may be of another element than what is dequantised by it.
#[test]
fn what_is_dequantised_is_of_the_element_that_the_node_says() {
    let say = ("output_dtype", Attr::Int(10));
    let attrs = [("axis", Attr::Int(0)), ("block_size", Attr::Int(2)), say];
    let powers = stored("scale", POWER, &[WIDE / 2, OUT], vec![127; WIDE / 2 * OUT]);
    for number in [F4, I4] {
        let weight = stored("w", number, &[WIDE, OUT], bytes(1, (WIDE * OUT).div_ceil(2)));
        let half = node("DequantizeLinear", &["w", "scale"], "half", &attrs);
        let cast = node("Cast", &["half"], "real", &[("to", Attr::Int(1))]);
        let mut file = model(&[half, cast], vec![weight, powers.clone()]);
        file.graph_mut().output.push(TensorType::f32(&[1]).to_value_info("half"));
        let folded = fold(&file).unwrap();
        assert_eq!(folded.types["half"], TensorType::new(Element::F16, &[WIDE, OUT]));
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
    for number in [I4, EIGHTS[0], F4] {
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
