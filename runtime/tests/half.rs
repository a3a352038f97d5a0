//! Models in float16.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::bake::{HALF_MAX, HalfError, half};
use shoal_runtime::compare::{HALF_TOLERANCE, beyond, compare_within};
use shoal_runtime::engine::testing::{noise, ort_or_skip, plain_options, small_model};
use shoal_runtime::engine::{Engine, LoadOptions};
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::{GraftOptions, Profile, graft};
use shoal_runtime::onnx::{Attr, Builder, Data, Element, Folded, Tensor, TensorType, Value};

const HOW: (u64, NonZeroUsize) = (0, NonZeroUsize::MIN);

/// Of the same input the half gives nearly what the whole does, and not to the bit.
fn is_nearly(whole: &Folded, half: &Folded, engine: &dyn Engine) {
    let grafted = graft(whole, &GraftOptions::default()).unwrap();
    let adapter = Adapter::start(std::sync::Arc::new(grafted.layout.clone()), 0);
    let found = compare_within(HALF_TOLERANCE, half, (&grafted, &adapter), engine, HOW).unwrap();
    assert!(found.agrees() && found.difference > 1e-6, "{found:?}");
}

fn op_types(folded: &Folded) -> Vec<&str> {
    folded.model.graph().node.iter().map(|node| node.op_type()).collect()
}

#[test]
fn weights_and_arithmetic_are_float16_and_the_edges_as_they_were() {
    let folded = small_model().unwrap();
    let made = half(&folded, false).unwrap();
    let graph = made.folded.model.graph();
    // A Gemm is written as MatMul and Add, its matrix turned: tract has no other in float16.
    assert!(!op_types(&made.folded).contains(&"Gemm"));
    for weight in ["conv", "depth", "mix", "head.turned", "head.bias"] {
        let stored = graph.initializer.iter().find(|t| t.name() == format!("{weight}.float16"));
        assert_eq!(stored.unwrap().data_type(), Element::F16.to_onnx(), "{weight}");
        assert!(graph.initializer.iter().all(|t| t.name() != weight), "{weight} is there twice");
    }
    let edges = |folded: &Folded| ["image", "y"].map(|name| folded.types[name].element);
    assert_eq!(edges(&made.folded), [Element::F32; 2]);
    assert_eq!(edges(&half(&folded, true).unwrap().folded), [Element::F16; 2]);
    // The softmax alone computes in float32: a Cast on each side of it, and of the graph.
    let casts = op_types(&made.folded).into_iter().filter(|op| *op == "Cast").count();
    assert_eq!(casts, 4);

    let Some(engine) = ort_or_skip() else { return };
    is_nearly(&folded, &made.folded, &engine);
    let found = beyond(HALF_MAX, &folded, &made.computed, &engine, HOW).unwrap();
    assert_eq!(found, None);
}

/// x·w of values 0 to 1, and its half.
fn product(w: f32) -> Folded {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 8]));
    let w = b.initializer("w", &Tensor::f32(&[8, 3], &[w; 24]));
    let h = b.op_named("h", "MatMul", &[&x, &w], &[]).unwrap();
    let small = b.scalar(0.001);
    let y = b.op("Mul", &[&h, &small], &[]).unwrap();
    b.output("y", &y);
    b.finish()
}

#[test]
fn what_float16_cannot_hold_is_an_error_by_its_name() {
    let error = half(&product(70_000.0), false).unwrap_err();
    assert_eq!(error, HalfError::Range { tensor: "w".into(), value: 70_000.0 });
    assert!(error.to_string().contains("`w` holds 70000"), "{error}");

    // The weight fits, the sum of eight does not.
    let folded = product(60_000.0);
    let made = half(&folded, false).unwrap();
    let Some(engine) = ort_or_skip() else { return };
    let (tensor, value) = beyond(HALF_MAX, &folded, &made.computed, &engine, HOW).unwrap().unwrap();
    assert!(tensor == "h" && value > HALF_MAX, "{tensor} {value}");
    let folded = product(1000.0);
    let made = half(&folded, false).unwrap();
    assert_eq!(beyond(HALF_MAX, &folded, &made.computed, &engine, HOW).unwrap(), None);
}

#[test]
fn a_node_whose_constant_is_beyond_float16_stays_in_float32() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 4]));
    let mask = b.f32s(&[], &[-3.4e38]);
    let y = b.op("Max", &[&x, &mask], &[]).unwrap();
    let tiny = b.f32s(&[], &[1e-12]);
    let y = b.op("Add", &[&y, &tiny], &[]).unwrap();
    b.output("y", &y);
    let folded = b.finish();
    let made = half(&folded, false).unwrap();
    assert!(made.computed.is_empty() && !op_types(&made.folded).contains(&"Cast"));
    let Some(engine) = ort_or_skip() else { return };
    let mut session = engine.load(&made.folded.model, &plain_options()).unwrap();
    session.write_f32(0, &noise(1, 4)).unwrap();
    session.run().unwrap();
    assert_eq!(session.output_f32(0).unwrap(), noise(1, 4));
}

/// What a product goes through.
type Through = dyn Fn(&mut Builder, &Value, Element) -> Value;

/// A product with `w` in an element, and what it goes through.
fn product_through(element: Element, through: &Through) -> Folded {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::new(element, &[2, 6]));
    let w = b.initializer("w", &Tensor::from_f64s(element, &[6, 16], &rounded(5, 96, 1.0)));
    let h = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let y = through(&mut b, &h, element);
    b.output("y", &y);
    b.finish()
}

fn steps(count: usize) -> Vec<f64> {
    noise(5, count).into_iter().map(f64::from).collect()
}

/// Values that float16 has.
fn rounded(seed: usize, count: usize, most: f64) -> Vec<f64> {
    let values: Vec<f64> = noise(seed, count).iter().map(|&v| f64::from(v) * most).collect();
    Tensor::from_f64s(Element::F16, &[count], &values).to_f64s()
}

/// The gradient of every factor beside a model's weights, where target and inputs are noise.
fn gradients(folded: &Folded, engine: &dyn Engine) -> BTreeMap<String, Vec<f64>> {
    let grafted = graft(folded, &GraftOptions::default()).unwrap();
    let wrt = grafted.layout.factors().map(|factor| factor.input.clone()).collect();
    let options =
        DifferentiateOptions { losses: Vec::new(), wrt, strict: true, profile: Profile::Cpu };
    let training = differentiate(&grafted.folded, &options).unwrap();
    let mut session =
        engine.load(&training.folded.model, &LoadOptions::training(NonZeroUsize::MIN)).unwrap();
    for (index, port) in session.inputs().to_vec().iter().enumerate() {
        let most = if port.name.starts_with("lora.") { 0.25 } else { 1.0 };
        let values = rounded(port.name.len(), port.ty.values(), most);
        let values = Tensor::from_f64s(port.ty.element, &port.ty.dims, &values);
        session.write(index, &values).unwrap();
    }
    session.run().unwrap();
    let outputs = session.outputs().iter().enumerate();
    let outputs = outputs.filter(|(_, port)| port.name.starts_with("grad."));
    let value = |index: usize, ty: &TensorType| {
        let bytes = session.output_bytes(index).unwrap();
        Tensor::from_le_bytes(ty.element, &ty.dims, bytes).unwrap().to_f64s()
    };
    outputs.map(|(index, port)| (port.name.clone(), value(index, &port.ty))).collect()
}

/// Gradients of float16 are those of the same model in float32, as far as float16 goes: sums at indices, which engines have in
/// float32 alone; extremes, which engines take of values that they had not rounded yet; states that a recurrent node leaves out.
#[test]
fn gradients_of_float16_are_those_of_float32_where_engines_have_less_of_it() {
    let Some(engine) = ort_or_skip() else { return };
    let pooled = |b: &mut Builder, h: &Value, _element| {
        let shape = b.i64s(&[2, 1, 4, 4]);
        let h = b.op("Reshape", &[h, &shape], &[]).unwrap();
        let three = ("kernel_shape", Attr::Ints(vec![3, 3]));
        b.op("MaxPool", &[&h], &[three]).unwrap()
    };
    let gathered = |b: &mut Builder, h: &Value, _element| {
        let indices = b.constant_of(&Tensor::new(&[2, 1, 1], Data::I64(vec![1, 1])));
        b.op("GatherND", &[h, &indices], &[]).unwrap()
    };
    let extremes = |b: &mut Builder, h: &Value, element| {
        let low = b.constant_of(&Tensor::from_f64s(element, &[16], &rounded(5, 16, 1.0)));
        let high = b.op("Max", &[h, &low], &[]).unwrap();
        b.op("Min", &[&high, h, &low], &[]).unwrap()
    };
    let recurrent = |b: &mut Builder, h: &Value, element| {
        let shape = b.i64s(&[2, 1, 16]);
        let h = b.op("Reshape", &[h, &shape], &[]).unwrap();
        let weight = |b: &mut Builder, dims: &[usize]| {
            let values = rounded(5, dims.iter().product(), 1.0);
            b.constant_of(&Tensor::from_f64s(element, dims, &values))
        };
        let (w, r) = (weight(b, &[1, 12, 16]), weight(b, &[1, 12, 4]));
        b.op("GRU", &[&h, &w, &r], &[("hidden_size", Attr::Int(4))]).unwrap()
    };
    let through: [(&str, &Through); 4] = [
        ("MaxPool", &pooled),
        ("GatherND", &gathered),
        ("extremes", &extremes),
        ("GRU", &recurrent),
    ];
    for (name, through) in through {
        let want = gradients(&product_through(Element::F32, through), &engine);
        let got = gradients(&product_through(Element::F16, through), &engine);
        assert!(want.keys().eq(got.keys()) && !want.is_empty(), "{name}");
        for (tensor, want) in &want {
            let norm =
                |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
            let of = norm(&mut want.iter().copied());
            let apart = norm(&mut want.iter().zip(&got[tensor]).map(|(want, got)| want - got));
            assert!(of > 0.0 && apart <= HALF_TOLERANCE * of, "{name}, {tensor}: {apart} of {of}");
        }
    }
}

/// 0.5·x·wᵀ + 2·b in an element, behind a softmax, which sums.
fn scaled_product(element: Element) -> Folded {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::new(element, &[2, 6]));
    let w = b.initializer("w", &Tensor::from_f64s(element, &[4, 6], &steps(24)));
    let bias = b.initializer("bias", &Tensor::from_f64s(element, &[4], &steps(4)));
    let factors = [("alpha", Attr::Float(0.5)), ("beta", Attr::Float(2.0))];
    let turned = ("transB", Attr::Int(1));
    let y = b.op("Gemm", &[&x, &w, &bias], &[&factors[..], &[turned]].concat()).unwrap();
    let y = b.op("Softmax", &[&y], &[]).unwrap();
    b.output("y", &y);
    b.finish()
}

#[test]
fn a_model_of_float64_is_halved_too() {
    let folded = scaled_product(Element::F64);
    let made = half(&folded, false).unwrap();
    let stored = &made.folded.model.graph().initializer;
    let wide = stored.iter().filter(|t| t.data_type() == Element::F64.to_onnx()).count();
    assert!(!stored.is_empty() && wide == 0, "{wide} of {} are float64", stored.len());
    assert_eq!(made.folded.types["y"].element, Element::F64);
    assert_eq!(half(&folded, true).unwrap().folded.types["y"].element, Element::F16);
    let Some(engine) = ort_or_skip() else { return };
    is_nearly(&folded, &made.folded, &engine);
}

/// No Gemm is left in float16, whose factors or operands are what they may be: tract has none.
#[test]
fn a_gemm_with_factors_is_a_plain_product_in_float16() {
    let folded = scaled_product(Element::F32);
    let made = half(&folded, false).unwrap();
    assert!(!op_types(&made.folded).contains(&"Gemm") && made.computed.len() > 1);
    let Some(engine) = ort_or_skip() else { return };
    is_nearly(&folded, &made.folded, &engine);

    // Of two inputs it stays as it is.
    let mut b = Builder::new(17);
    let [x, w] = ["x", "w"].map(|name| b.input(name, TensorType::f32(&[4, 4])));
    let y = b.op("Gemm", &[&x, &w], &[]).unwrap();
    b.output("y", &y);
    let made = half(&b.finish(), false).unwrap();
    assert!(made.computed.is_empty() && op_types(&made.folded).contains(&"Gemm"));
}

/// 300² has no room in half a float, and beside float32 parameters values may be of one.
#[test]
fn statistics_of_halves_of_floats_are_those_of_floats() {
    for (op, inputs) in
        [("LayerNormalization", 2), ("InstanceNormalization", 2), ("BatchNormalization", 4)]
    {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::new(Element::F16, &[2, 3, 4]));
        let of_batch = op == "BatchNormalization";
        let element = if of_batch { Element::F32 } else { Element::F16 };
        let dims = if op == "LayerNormalization" { [4] } else { [3] };
        let rest: Vec<Value> = (0..inputs)
            .map(|number| b.input(&format!("p{number}"), TensorType::new(element, &dims)))
            .collect();
        let all: Vec<&Value> = [&x].into_iter().chain(&rest).collect();
        let y = b.op(op, &all, &[]).unwrap();
        b.output("y", &y);
        let folded = b.finish();
        let (losses, wrt) = (Vec::new(), ["x", "p0"].map(str::to_owned).to_vec());
        let options = DifferentiateOptions { losses, wrt, strict: false, profile: Profile::Cpu };
        let training = differentiate(&folded, &options).unwrap().folded;
        assert_eq!(training.types["grad.x"].element, Element::F16, "{op}");
        assert_eq!(training.types["grad.p0"].element, element, "{op}");
        let nodes = training.model.graph().node.iter();
        let halves =
            nodes.filter(|node| ["Sqrt", "ReduceMean", "Reciprocal"].contains(&node.op_type()));
        for node in halves {
            assert_ne!(training.types[&node.output[0]].element, Element::F16, "{op}: {node:?}");
        }
    }
}
