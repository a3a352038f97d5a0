//! What folding writes otherwise than the file has it, since no engine runs that: both engines compute it, train it and agree.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::bake::bake;
use shoal_runtime::compare::compare;
use shoal_runtime::engine::testing::{noise, ort_or_skip, plain_options};
use shoal_runtime::engine::{Engine, Session};
use shoal_runtime::fit::{FitOptions, Subject, fit};
use shoal_runtime::gradient::{DifferentiateOptions, LossKind, LossSpec, differentiate};
use shoal_runtime::graft::{GraftOptions, Profile, graft, graft_all_weights, sites};
use shoal_runtime::onnx::proto::{GraphProto, NodeProto, TensorProto};
use shoal_runtime::onnx::{Attr, Builder, Element, Folded, Model, Tensor, TensorType, fold};
use shoal_tract::Tract;

const STEPS: usize = 3;
const BATCH: usize = 2;
const WIDE: usize = 5;
const HIDDEN: usize = 4;

fn node(op: &str, inputs: &[&str], outputs: &[&str], attrs: &[(&str, Attr)]) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    NodeProto {
        input: owned(inputs),
        output: owned(outputs),
        op_type: Some(op.to_owned()),
        attribute: attrs.iter().map(|(name, attr)| attr.to_proto(name)).collect(),
        ..NodeProto::default()
    }
}

/// A recurrent operator in both directions whose inputs and outputs have the batch first: by itself, or between Transposes.
fn recurrent(operator: &str, by_itself: bool) -> Model {
    let gates = match operator {
        "LSTM" => 4,
        "GRU" => 3,
        _ => 1,
    };
    let stored = |name: &str, dims: &[usize]| -> TensorProto {
        Tensor::f32(dims, &noise(name.len(), dims.iter().product())).to_proto(name)
    };
    let mut graph = GraphProto { name: Some("recurrent".to_owned()), ..GraphProto::default() };
    graph.initializer = vec![
        stored("of.inputs", &[2, gates * HIDDEN, WIDE]),
        stored("of.states.", &[2, gates * HIDDEN, HIDDEN]),
        stored("bias", &[2, 2 * gates * HIDDEN]),
        stored("cells", &[BATCH, 2, HIDDEN]),
    ];
    for (name, dims) in [("x", [BATCH, STEPS, WIDE]), ("state", [BATCH, 2, HIDDEN])] {
        graph.input.push(TensorType::f32(&dims).to_value_info(name));
    }
    let mut attrs = vec![
        ("hidden_size", Attr::Int(HIDDEN as i64)),
        ("direction", Attr::Str("bidirectional".to_owned())),
    ];
    let count = if operator == "LSTM" { 3 } else { 2 };
    let outputs = ["all", "last", "cell"];
    let weights = ["of.inputs", "of.states.", "bias", ""];
    let turn = |from: &str, to: &str, perm: &[i64]| {
        node("Transpose", &[from], &[to], &[("perm", Attr::Ints(perm.to_vec()))])
    };
    if by_itself {
        attrs.push(("layout", Attr::Int(1)));
        let read = [&["x"], &weights[..], &["state", "cells"][..count - 1]].concat();
        graph.node = vec![node(operator, &read, &outputs[..count], &attrs)];
    } else {
        let turned = ["x'", "state'", "cells'"];
        let read = [&["x'"], &weights[..], &turned[1..count]].concat();
        let before = ["x", "state", "cells"].into_iter().zip(turned).take(count);
        graph.node = before.map(|(from, to)| turn(from, to, &[1, 0, 2])).collect();
        graph.node.push(node(operator, &read, &["all'", "last'", "cell'"][..count], &attrs));
        graph.node.push(turn("all'", "all", &[2, 0, 1, 3]));
        let states = [("last'", "last"), ("cell'", "cell")].into_iter().take(count - 1);
        graph.node.extend(states.map(|(from, to)| turn(from, to, &[1, 0, 2])));
    }
    let given = [&[BATCH, STEPS, 2, HIDDEN][..], &[BATCH, 2, HIDDEN], &[BATCH, 2, HIDDEN]];
    let given = outputs.iter().zip(given).take(count);
    graph.output = given.map(|(name, dims)| TensorType::f32(dims).to_value_info(name)).collect();
    Model::new(graph, 17)
}

/// Small enough that no activation is flat.
fn small(seed: usize, count: usize) -> Vec<f32> {
    noise(seed, count).iter().map(|value| value * 0.3).collect()
}

fn run(model: &Model, engine: &dyn Engine) -> Vec<Vec<f32>> {
    given(&mut *engine.load(model, &plain_options()).unwrap())
}

/// What a session gives for the same inputs.
fn given(session: &mut dyn Session) -> Vec<Vec<f32>> {
    for input in 0..session.inputs().len() {
        let count = session.inputs()[input].ty.values();
        session.write_f32(input, &small(20 + input, count)).unwrap();
    }
    session.run().unwrap();
    let outputs = 0..session.outputs().len();
    outputs.map(|at| session.output_f32(at).unwrap().to_vec()).collect()
}

#[track_caller]
fn assert_near(got: &[Vec<f32>], want: &[Vec<f32>], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        assert_eq!(got.len(), want.len(), "{what}");
        let largest = want.iter().fold(f32::MIN_POSITIVE, |max, value| max.max(value.abs()));
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() <= 1e-4 * largest, "{what}: {got}, not {want}");
        }
    }
}

/// Both engines give the same, forward and back, an adapter is trained by either, and what is baked is what it computed.
#[track_caller]
fn works(model: &Model, folded: &Folded, what: &str) {
    let ort = ort_or_skip().unwrap();
    assert_near(&run(&folded.model, &Tract), &run(&folded.model, &ort), what);
    let options = GraftOptions { rank: 2, ..GraftOptions::default() };
    let grafted = graft(folded, &options).unwrap();
    let wrt = grafted.layout.factors().map(|factor| factor.input.clone()).collect();
    let profile = Profile::Cpu;
    let options = DifferentiateOptions { losses: Vec::new(), wrt, strict: true, profile };
    let training = differentiate(&grafted.folded, &options).unwrap().folded.model;
    assert_near(&run(&training, &Tract), &run(&training, &ort), what);
    for engine in [&ort as &dyn Engine, &Tract] {
        let start = Adapter::start(grafted.layout.clone(), 0);
        let subject = Subject::Adapter { grafted: &grafted, start: &start, frozen_a: false };
        let fitted = fit(subject, engine, &FitOptions::default(), None, |_told| {}).unwrap();
        assert!(fitted.after < fitted.before, "{what}");
        let adapter = fitted.trained.adapter().unwrap();
        let baked = fold(&bake(model, adapter).unwrap()).unwrap();
        let found = compare(&baked, &grafted, adapter, engine, (1, NonZeroUsize::MIN)).unwrap();
        assert!(found.agrees() && found.values > 0, "{what}: {found:?}");
    }
}

#[test]
fn recurrent_operators_with_the_batch_first_are_those_between_transposes() {
    let Some(ort) = ort_or_skip() else { return };
    for operator in ["LSTM", "GRU", "RNN"] {
        let model = recurrent(operator, true);
        let folded = fold(&model).unwrap();
        let same = fold(&recurrent(operator, false)).unwrap();
        assert_eq!(fold(&folded.model).unwrap().types, folded.types, "{operator}");
        assert_near(&run(&folded.model, &ort), &run(&same.model, &ort), operator);
        let names: Vec<String> = sites(&folded).into_iter().map(|site| site.name).collect();
        assert_eq!(names, ["of.inputs", "of.states."], "{operator}");
        let all = graft_all_weights(&folded, &[]).unwrap();
        let all: Vec<&str> = all.weights.iter().map(|weight| weight.initializer.as_str()).collect();
        assert_eq!(all, ["of.inputs", "of.states.", "bias"], "{operator}: no state is a weight");
        works(&model, &folded, operator);
    }
}

/// A run begins with the states that it is given, whatever was run before it.
#[test]
fn a_recurrent_operator_begins_anew_with_every_run() {
    let Some(ort) = ort_or_skip() else { return };
    for operator in ["LSTM", "GRU", "RNN"] {
        let model = fold(&recurrent(operator, true)).unwrap().model;
        let want = run(&model, &ort);
        let mut session = Tract.load(&model, &plain_options()).unwrap();
        for _run in 0..3 {
            assert_near(&given(&mut *session), &want, operator);
        }
    }
}

/// tract reads them as forward, with its own activations: it gave other values.
#[test]
fn recurrent_operators_that_tract_reads_otherwise_are_named_when_loading() {
    let with = |operator: &str, attrs: &[(&str, Attr)]| {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[STEPS, BATCH, WIDE]));
        let gates = if operator == "LSTM" { 4 } else { 1 };
        let [w, r] = [WIDE, HIDDEN].map(|wide| {
            let dims = [1, gates * HIDDEN, wide];
            b.f32s(&dims, &noise(wide, dims.iter().product()))
        });
        let attrs = [&[("hidden_size", Attr::Int(HIDDEN as i64))], attrs].concat();
        let y = b.op(operator, &[&x, &w, &r], &attrs).unwrap();
        b.output("y", &y);
        let loaded = Tract.load(&b.into_model(), &plain_options());
        loaded.map(drop).map_err(|why| why.to_string())
    };
    let text = |value: &str| Attr::Str(value.to_owned());
    assert_eq!(with("LSTM", &[("direction", text("forward"))]), Ok(()));
    assert_eq!(with("LSTM", &[("input_forget", Attr::Int(0))]), Ok(()));
    for (operator, attr) in [
        ("RNN", ("direction", text("reverse"))),
        ("LSTM", ("clip", Attr::Float(0.5))),
        ("LSTM", ("input_forget", Attr::Int(1))),
    ] {
        let why = with(operator, std::slice::from_ref(&attr)).unwrap_err();
        assert!(why.contains(&format!("{operator}_")) && why.contains("forward"), "{why}");
    }
}

/// tract looks at neither: it gave other values.
#[test]
fn attention_and_resizing_that_tract_reads_otherwise_are_named_when_loading() {
    let loaded = |b: &Builder| {
        let loaded = Tract.load(&b.clone().into_model(), &plain_options());
        loaded.map(drop).map_err(|why| why.to_string())
    };
    let attention = |past: bool, attrs: &[(&str, Attr)]| {
        let mut b = Builder::new(23);
        let names = ["q", "k", "v", "past_k", "past_v"];
        let x = names.map(|name| b.input(name, TensorType::f32(&[1, 2, 3, 4])));
        let [q, k, v, past_k, past_v] = x.each_ref().map(Some);
        let inputs = [q, k, v, None, past_k.filter(|_| past), past_v.filter(|_| past)];
        let kept = if past { &inputs[..] } else { &inputs[..3] };
        let y = b.op_n("Attention", kept, attrs, if past { 3 } else { 1 }).unwrap();
        b.output("y", &y[0]);
        loaded(&b)
    };
    let causal = [("is_causal", Attr::Int(1))];
    assert_eq!(attention(false, &causal), Ok(()));
    for why in [attention(true, &causal), attention(false, &[("left_window_size", Attr::Int(1))])] {
        let why = why.unwrap_err();
        assert!(why.contains("Attention") && why.contains("no places of the past"), "{why}");
    }
    let of = |op: &str, attrs: &[(&str, Attr)]| {
        let mut b = Builder::new(18);
        let x = b.input("x", TensorType::f32(&[1, 4, 4, 6]));
        let sizes = b.i64s(&[1, 4, 8, 12]);
        let inputs =
            if op == "Resize" { vec![Some(&x), None, None, Some(&sizes)] } else { vec![Some(&x)] };
        let y = b.op_n(op, &inputs, attrs, 1).unwrap();
        b.output("y", &y[0]);
        loaded(&b)
    };
    let text = |value: &str| Attr::Str(value.to_owned());
    let blocks = ("blocksize", Attr::Int(2));
    assert_eq!(of("SpaceToDepth", &[blocks.clone(), ("mode", text("DCR"))]), Ok(()));
    assert_eq!(of("Resize", &[("keep_aspect_ratio_policy", text("stretch"))]), Ok(()));
    for (op, attrs) in [
        ("SpaceToDepth", vec![blocks, ("mode", text("CRD"))]),
        ("Resize", vec![("keep_aspect_ratio_policy", text("not_larger"))]),
    ] {
        let why = of(op, &attrs).unwrap_err();
        assert!(why.contains(op) && why.contains("does not look at"), "{why}");
    }
}

/// The first output may be left out, and states may be made by nodes.
#[test]
fn a_recurrent_operator_with_the_batch_first_gives_its_last_state_alone() {
    let Some(ort) = ort_or_skip() else { return };
    let last = |by_itself| {
        let mut model = recurrent("GRU", by_itself);
        let graph = model.graph_mut();
        graph.output.remove(0);
        let gru = graph.node.iter_mut().find(|node| node.is("GRU")).unwrap();
        gru.output[0] = String::new();
        graph.node.retain(|node| node.output_name(0) != "all");
        model
    };
    let (folded, same) = (fold(&last(true)).unwrap(), fold(&last(false)).unwrap());
    assert_near(&run(&folded.model, &ort), &run(&same.model, &ort), "GRU");
    works(&last(true), &folded, "GRU");
}

/// tract knows no bfloat16 at all: between Casts there is none left.
#[test]
fn both_engines_train_what_computes_in_bfloat16_between_casts() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 6]));
    let stored = |b: &mut Builder, name: &str, dims: &[usize]| {
        let values = noise(name.len(), dims.iter().product());
        let values: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
        b.initializer(name, &Tensor::from_f64s(Element::Bf16, dims, &values))
    };
    let h = b.op("Cast", &[&x], &[("to", Attr::Int(16))]).unwrap();
    let first = stored(&mut b, "first", &[6, 8]);
    let h = b.op("MatMul", &[&h, &first], &[]).unwrap();
    let h = b.op("Tanh", &[&h], &[]).unwrap();
    let second = stored(&mut b, "second", &[8, 3]);
    let y = b.op("MatMul", &[&h, &second], &[]).unwrap();
    let y = b.op("Cast", &[&y], &[("to", Attr::Int(1))]).unwrap();
    b.output("y", &y);
    let model = b.into_model();
    let folded = fold(&model).unwrap();
    assert!(folded.types.values().all(|ty| ty.element != Element::Bf16));
    works(&model, &folded, "bfloat16");
}

/// Of a channel whose values are all alike the deviation is 0, and what divides by it is the 1e-9 of the operator's document. ONNX
/// Runtime divides by 0 there, so that such a model gives no number at all.
#[test]
fn a_channel_that_is_constant_has_the_slope_of_its_epsilon() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 2, 1, 2]));
    let y = b.op("MeanVarianceNormalization", &[&x], &[]).unwrap();
    let beside = b.f32s(&[1, 2, 1, 2], &[0.3, 0.6, 0.9, 1.2]);
    let y = b.op("Add", &[&y, &beside], &[]).unwrap();
    b.output("y", &y);
    let options = DifferentiateOptions {
        losses: vec![LossSpec::new(LossKind::Mse, "y")],
        wrt: vec!["x".to_owned()],
        strict: true,
        profile: Profile::Tract,
    };
    let training = differentiate(&b.finish(), &options).unwrap().folded;
    let mut session = Tract.load(&training.model, &plain_options()).unwrap();
    for (name, values) in
        [("x", &[0.5, 0.5, 0.25, -0.25][..]), ("target.y", &[0.0; 4]), ("weight.y", &[1.0])]
    {
        session.write_f32(session.input_index(name).unwrap(), values).unwrap();
    }
    session.run().unwrap();
    let got = session.output_f32(session.output_index("grad.x").unwrap()).unwrap();

    // y is what stands beside it there, g = 2y/4.
    let want = [-0.075e9, 0.075e9];
    assert!((0..2).all(|at| (got[at] / want[at] - 1.0).abs() < 1e-3), "{got:?}");
    assert!(got[2..].iter().all(|slope| slope.abs() < 1e-4), "{got:?}");
}
