//! Models that compute in bfloat16, which no engine does on a processor: they are computed in float32, tuned and baked.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::bake::bake;
use shoal_runtime::compare::compare;
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::testing::{noise, ort_or_skip, plain_options};
use shoal_runtime::fit::{FitOptions, Subject, fit};
use shoal_runtime::graft::{GraftOptions, graft, graft_stored_weights};
use shoal_runtime::inspect::inspect;
use shoal_runtime::onnx::proto::{NodeProto, OperatorSetIdProto};
use shoal_runtime::onnx::{
    Attr, Builder, Data, Element, Folded, Model, PinOptions, Tensor, TensorType, fold,
};

const TO_HALF: i64 = 16;

/// Two layers and a normalisation that all compute in this element; `edges`: in and out, too.
fn layers(element: Element, edges: bool) -> Model {
    let mut b = Builder::new(17);
    let stored = |b: &mut Builder, name: &str, dims: &[usize]| {
        let values = noise(name.len(), dims.iter().product());
        // As bfloat16 has them, whatever they are stored in.
        let values: Vec<f64> = values.iter().map(|v| half(v * 0.4)).collect();
        b.initializer(name, &Tensor::from_f64s(element, dims, &values))
    };
    let outside = if edges { element } else { Element::F32 };
    let cast = |b: &mut Builder, value: &_, to: Element| {
        b.op("Cast", &[value], &[("to", Attr::Int(i64::from(to.to_onnx())))]).unwrap()
    };
    let mut x = b.input("x", TensorType::new(outside, &[2, 6]));
    if !edges {
        x = cast(&mut b, &x, element);
    }
    let first = stored(&mut b, "first", &[6, 8]);
    let h = b.op("MatMul", &[&x, &first], &[]).unwrap();
    let scale = stored(&mut b, "scale", &[8]);
    let h = b.op("LayerNormalization", &[&h, &scale], &[]).unwrap();
    let h = b.op("Tanh", &[&h], &[]).unwrap();
    // A bound that is a value of its own, as exporters write it.
    let constant = Tensor::from_f64s(element, &[], &[0.75]);
    let bound = b.op("Constant", &[], &[("value", Attr::Tensor(constant))]).unwrap();
    let h = b.op("Min", &[&h, &bound], &[]).unwrap();
    let second = stored(&mut b, "second", &[3, 8]);
    let bias = stored(&mut b, "bias", &[3]);
    let y = b.op("Gemm", &[&h, &second, &bias], &[("transB", Attr::Int(1))]).unwrap();
    if edges {
        b.output("y", &y);
        let also = cast(&mut b, &y, Element::F32);
        b.output("also", &also);
    } else {
        let y = cast(&mut b, &y, Element::F32);
        b.output("y", &y);
    }
    let mut model = b.into_model();
    if edges {
        name_first(&mut model, "Gemm", "y");
    }
    model
}

/// Has the node of this operator give an output itself, and not by an Identity.
fn name_first(model: &mut Model, op: &str, output: &str) {
    let graph = model.graph_mut();
    let at = graph.node.iter().position(|node| node.op_type() == op).unwrap();
    let before = std::mem::replace(&mut graph.node[at].output[0], output.to_owned());
    graph.node.retain(|node| node.op_type() != "Identity" || node.output_name(0) != output);
    for name in graph.node.iter_mut().flat_map(|node| &mut node.input) {
        if *name == before {
            *name = output.to_owned();
        }
    }
}

/// The nearest value of bfloat16.
fn half(value: f32) -> f64 {
    let Data::Bf16(rounded) = Tensor::scalar(Element::Bf16, value).data else { unreachable!() };
    rounded[0].to_f64()
}

/// The tensors of bfloat16 in a folded graph, but for those of Casts at its edges.
fn inside(folded: &Folded) -> Vec<&str> {
    let graph = folded.model.graph();
    let edges = graph.input.iter().chain(&graph.output).map(|edge| edge.name());
    let edges: Vec<&str> = edges.collect();
    let halves = folded.types.iter().filter(|(_, ty)| ty.element == Element::Bf16);
    halves.map(|(name, _)| name.as_str()).filter(|name| !edges.contains(name)).collect()
}

/// What the outputs of float32 are for the same input.
fn run(model: &Model, output: &str) -> Vec<f32> {
    let ort = ort_or_skip().unwrap();
    let mut session = ort.load(model, &plain_options()).unwrap();
    let values: Vec<f64> = noise(9, 12).iter().map(|&value| half(value)).collect();
    let ty = session.inputs()[0].ty.clone();
    session.write(0, &Tensor::from_f64s(ty.element, &ty.dims, &values)).unwrap();
    session.run().unwrap();
    let at = session.outputs().iter().position(|port| port.name == output).unwrap();
    session.output_f32(at).unwrap().to_vec()
}

#[test]
fn a_model_of_bfloat16_is_tuned_in_float32_and_baked_into_bfloat16() {
    let Some(ort) = ort_or_skip() else { return };
    for edges in [true, false] {
        let model = layers(Element::Bf16, edges);
        let folded = fold(&model).unwrap();
        assert_eq!(inside(&folded), [""; 0]);
        let outside = if edges { Element::Bf16 } else { Element::F32 };
        assert_eq!(["x", "y"].map(|name| folded.types[name].element), [outside; 2]);
        assert_eq!(fold(&folded.model).unwrap().types, folded.types);
        // Exact but for what comes out.
        let output = if edges { "also" } else { "y" };
        let (got, want) = (run(&folded.model, output), run(&layers(Element::F32, edges), output));
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() < 1e-5, "{got}, not {want}");
        }
        let report = inspect(&model, &PinOptions::default(), 2).unwrap();
        assert!(report.gradients.obstacles.is_empty() && report.sites.len() == 2);
        let grafted = graft(&folded, &GraftOptions { rank: 2, ..GraftOptions::default() }).unwrap();
        let start = Adapter::start(grafted.layout.clone(), 0);
        let subject = Subject::Adapter { grafted: &grafted, start: &start, frozen_a: false };
        let fitted = fit(subject, &ort, &FitOptions::default(), None, |_told| {}).unwrap();
        assert!(fitted.after < fitted.before);
        let baked = bake(&model, fitted.trained.adapter().unwrap()).unwrap();
        for (baked, was) in baked.graph().initializer.iter().zip(&model.graph().initializer) {
            assert_eq!((baked.name(), baked.data_type()), (was.name(), was.data_type()));
            let changes = ["first", "second"].contains(&was.name());
            assert_eq!(baked != was, changes, "{}", was.name());
        }
        let how = (1, NonZeroUsize::MIN);
        let plain = fold(&baked).unwrap();
        let adapter = fitted.trained.adapter().unwrap();
        let found = compare(&plain, &grafted, adapter, &ort, how).unwrap();
        assert!(found.agrees() && found.values > 0, "{found:?}");
    }
}

/// What is rounded to bfloat16 before it is multiplied is stored as that.
#[test]
fn a_weight_of_float32_that_is_cast_to_bfloat16_is_a_site() {
    let Some(ort) = ort_or_skip() else { return };
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 6]));
    let to_half = [("to", Attr::Int(TO_HALF))];
    let w = b.initializer("w", &Tensor::f32(&[6, 8], &noise(1, 48)));
    let [x, w] = [&x, &w].map(|value| b.op("Cast", &[value], &to_half).unwrap());
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let y = b.op("Cast", &[&y], &[("to", Attr::Int(1))]).unwrap();
    b.output("y", &y);
    let model = b.into_model();
    let folded = fold(&model).unwrap();
    let grafted = graft(&folded, &GraftOptions { rank: 2, ..GraftOptions::default() }).unwrap();
    let start = Adapter::start(grafted.layout.clone(), 0);
    let subject = Subject::Adapter { grafted: &grafted, start: &start, frozen_a: false };
    let fitted = fit(subject, &ort, &FitOptions::default(), None, |_told| {}).unwrap();
    let adapter = fitted.trained.adapter().unwrap();
    let baked = fold(&bake(&model, adapter).unwrap()).unwrap();
    let found = compare(&baked, &grafted, adapter, &ort, (1, NonZeroUsize::MIN)).unwrap();
    assert!(found.agrees() && found.values > 0, "{found:?}");
}

#[test]
fn all_weights_of_a_model_of_bfloat16_are_written_as_they_were_stored() {
    let model = layers(Element::Bf16, true);
    let folded = fold(&model).unwrap();
    let all = graft_stored_weights(&folded, &model, &[]).unwrap();
    let names: Vec<&str> = all.weights.iter().map(|weight| weight.initializer.as_str()).collect();
    assert_eq!(names, ["first", "scale", "second", "bias"]);
    let doubled: Vec<Vec<f32>> =
        all.weights.iter().map(|weight| weight.values.iter().map(|v| v * 2.0).collect()).collect();
    let doubled: Vec<&[f32]> = doubled.iter().map(Vec::as_slice).collect();
    let written = all.write_into(&model, &doubled).unwrap();
    for (weight, values) in all.weights.iter().zip(doubled) {
        let is_it = |t: &&shoal_runtime::onnx::proto::TensorProto| t.name() == weight.initializer;
        let stored = Tensor::from_proto(written.graph().initializer.iter().find(is_it).unwrap());
        let values: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        assert_eq!(stored.unwrap(), Tensor::from_f64s(Element::Bf16, &weight.dims, &values));
    }
}

/// Nobody knows what an operator of another domain makes of float32.
#[test]
fn an_operator_of_another_domain_reads_and_gives_bfloat16() {
    let mut model = layers(Element::Bf16, false);
    let domain = "com.example";
    model
        .proto
        .opset_import
        .push(OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(1) });
    let graph = model.graph_mut();
    let at = graph.node.iter().position(|node| node.op_type() == "Tanh").unwrap();
    graph.node[at].domain = Some(domain.to_owned());
    graph.node[at].input.push("scale".to_owned());
    let given = graph.node[at].output[0].clone();
    graph.value_info.push(TensorType::new(Element::Bf16, &[2, 8]).to_value_info(&given));
    let folded = fold(&model).unwrap();
    let is_foreign = |node: &&NodeProto| node.domain() == domain;
    let foreign = folded.model.graph().node.iter().find(is_foreign).unwrap();
    let ends = [&foreign.input[0], &foreign.input[1], &foreign.output[0]];
    assert_eq!(ends.map(|name| folded.types[name].element), [Element::Bf16; 3]);
    assert_eq!(inside(&folded).len(), 3);
    assert_eq!(fold(&folded.model).unwrap().types, folded.types);
}
