//! All weights of a model as inputs: which they are, in which element they are written back, and what is left as it is.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use shoal_runtime::compare::tolerance;
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::testing::{noise, ort_or_skip, plain_options};
use shoal_runtime::fit::{FitOptions, Subject, Trained, fit};
use shoal_runtime::graft::{
    AllWeights, GraftError, Left, LeftWhy, graft_all_weights, graft_stored_weights,
};
use shoal_runtime::onnx::{
    Attr, Builder, Data, Element, Model, PinOptions, Tensor, TensorType, Value, open,
};

fn values(seed: usize, count: usize) -> Vec<f64> {
    noise(seed, count).iter().map(|value| f64::from(value * 0.4)).collect()
}

fn stored(b: &mut Builder, name: &str, element: Element, dims: &[usize]) -> Value {
    let count = dims.iter().product();
    b.initializer(name, &Tensor::from_f64s(element, dims, &values(name.len(), count)))
}

fn weights(model: &Model) -> Result<AllWeights, GraftError> {
    let folded = open(model, &PinOptions::default()).unwrap().folded;
    graft_stored_weights(&folded, model, &[])
}

fn names(all: &AllWeights) -> Vec<&str> {
    all.weights.iter().map(|weight| weight.initializer.as_str()).collect()
}

fn left(left: &[Left]) -> Vec<(&str, LeftWhy)> {
    left.iter().map(|left| (left.initializer.as_str(), left.why)).collect()
}

/// Every output for the same inputs, with these weights where the graph takes any.
fn run(model: &Model, given: &BTreeMap<&str, &[f32]>) -> Vec<f64> {
    let mut session = ort_or_skip().unwrap().load(model, &plain_options()).unwrap();
    for (index, port) in session.inputs().to_vec().into_iter().enumerate() {
        match given.get(port.name.as_str()) {
            Some(values) => session.write_f32(index, values).unwrap(),
            None => {
                let drawn = values(index, port.ty.values());
                let tensor = Tensor::from_f64s(port.ty.element, &port.ty.dims, &drawn);
                session.write(index, &tensor).unwrap();
            }
        }
    }
    session.run().unwrap();
    let ty = session.outputs()[0].ty.clone();
    let bytes = session.output_bytes(0).unwrap();
    Tensor::from_le_bytes(ty.element, &ty.dims, bytes).unwrap().to_f64s()
}

/// Trains all weights of a model and writes them: the written model computes what the graph does with them. Every one of them is
/// another then.
#[track_caller]
fn trained(model: &Model) -> (AllWeights, Model) {
    let all = weights(model).unwrap();
    let options = FitOptions { learning_rate: 3e-3, ..FitOptions::default() };
    let fitted =
        fit(Subject::Weights(&all), &ort_or_skip().unwrap(), &options, None, |_| {}).unwrap();
    assert!(fitted.after < fitted.before, "{} to {}", fitted.before, fitted.after);
    let Trained::Weights(after) = &fitted.trained else { panic!("weights were trained") };
    for (weight, after) in all.weights.iter().zip(after) {
        assert_ne!(&weight.values, after, "{}", weight.initializer);
    }
    let after: Vec<&[f32]> = after.iter().map(Vec::as_slice).collect();
    let written = all.write_into(model, &after).unwrap();
    let inputs = all.weights.iter().map(|weight| weight.input.as_str());
    let want = run(&all.folded.model, &inputs.zip(after.iter().copied()).collect());
    let got = run(&written, &BTreeMap::new());
    let rounding = tolerance(all.weights[0].element);
    let scale = want.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    for (want, got) in want.iter().zip(&got) {
        assert!((want - got).abs() <= rounding * scale, "{got}, not {want}");
    }
    (all, written)
}

#[test]
fn weights_and_biases_of_recurrent_operators_are_trained() {
    if ort_or_skip().is_none() {
        return;
    }
    for (op, gates) in [("LSTM", 4), ("GRU", 3), ("RNN", 1)] {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[5, 2, 4]));
        let w = stored(&mut b, "w", Element::F32, &[1, gates * 6, 4]);
        let r = stored(&mut b, "r.", Element::F32, &[1, gates * 6, 6]);
        let bias = stored(&mut b, "bias", Element::F32, &[1, 2 * gates * 6]);
        let given = [Some(&x), Some(&w), Some(&r), Some(&bias)];
        let out = b.op_n(op, &given, &[("hidden_size", Attr::Int(6))], 1).unwrap();
        b.output("y", &out[0]);
        let (all, _) = trained(&b.into_model());
        assert_eq!(names(&all), ["w", "r.", "bias"], "{op}");
        assert!(all.left.is_empty(), "{:?}", all.left);
    }
}

#[test]
fn weights_of_half_and_double_precision_are_trained_and_written_in_their_own_element() {
    if ort_or_skip().is_none() {
        return;
    }
    for element in [Element::F16, Element::F64] {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::new(element, &[2, 6]));
        let first = stored(&mut b, "first", element, &[6, 8]);
        let second = stored(&mut b, "second", element, &[8, 3]);
        let h = b.op("MatMul", &[&x, &first], &[]).unwrap();
        let h = b.op("Tanh", &[&h], &[]).unwrap();
        let y = b.op("MatMul", &[&h, &second], &[]).unwrap();
        b.output("y", &y);
        let (all, written) = trained(&b.into_model());
        assert_eq!(names(&all), ["first", "second"], "{element}");
        for stored in &written.graph().initializer {
            assert_eq!(stored.data_type(), element.to_onnx(), "{}", stored.name());
        }
    }
}

#[test]
fn what_was_not_trained_keeps_what_float32_does_not_hold() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::new(Element::F64, &[2, 2]));
    let w = b.initializer("w", &Tensor::from_f64s(Element::F64, &[2, 1], &[0.1, 0.2]));
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    b.output("y", &y);
    let model = b.into_model();
    let all = weights(&model).unwrap();
    assert_eq!(all.write_into(&model, &[&all.weights[0].values]).unwrap(), model);
}

/// A product by integers that stand for floats, a product by floats, a normalisation, and a state that is stored.
fn mixed(with_floats: bool) -> Model {
    let mut b = Builder::new(17);
    let mut x = b.input("x", TensorType::f32(&[3, 8]));
    let integers = noise(1, 64).iter().map(|value| (value * 127.0) as i8).collect();
    let integers = b.initializer("integers", &Tensor::new(&[8, 8], Data::I8(integers)));
    let scales = b.initializer("scales", &Tensor::f32(&[8], &[0.004; 8]));
    let real = b.op("DequantizeLinear", &[&integers, &scales], &[("axis", Attr::Int(1))]).unwrap();
    x = b.op("MatMul", &[&x, &real], &[]).unwrap();
    if with_floats {
        let [scale, shift, mean] = ["scale", "shift", "mean"]
            .map(|name| b.initializer(name, &Tensor::f32(&[8], &[0.5; 8])));
        let variance = b.initializer("variance", &Tensor::f32(&[8], &[1.5; 8]));
        let all = [&x, &scale, &shift, &mean, &variance];
        x = b.op("BatchNormalization", &all, &[]).unwrap();
        let shape = b.i64s(&[3, 1, 8]);
        x = b.op("Reshape", &[&x, &shape], &[]).unwrap();
        let w = stored(&mut b, "w", Element::F32, &[1, 4, 8]);
        let r = stored(&mut b, "r.", Element::F32, &[1, 4, 4]);
        let state = stored(&mut b, "state", Element::F32, &[1, 1, 4]);
        let given = [Some(&x), Some(&w), Some(&r), None, None, Some(&state)];
        x = b.op_n("RNN", &given, &[("hidden_size", Attr::Int(4))], 1).unwrap().swap_remove(0);
    }
    b.output("y", &x);
    b.into_model()
}

#[test]
fn what_stays_as_it_is_has_a_name_and_settings_are_none_of_it() {
    let all = weights(&mixed(true)).unwrap();
    assert_eq!(names(&all), ["scale", "shift", "w", "r."]);
    assert_eq!(left(&all.left), ["integers", "state"].map(|name| (name, LeftWhy::NotLearnt)));
    let why = weights(&mixed(false)).unwrap_err();
    let GraftError::NoWeights { left: quantised } = &why else { panic!("{why}") };
    assert_eq!(left(quantised), [("integers", LeftWhy::NotLearnt)]);
    let said = why.to_string();
    assert!(said.contains("integers") && said.contains("adapter"), "{said}");
    assert!(!said.contains("MatMul"), "{said}");
}

/// A weight whose rows have a norm of their own, as PyTorch's `weight_norm` is exported.
fn normed() -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 6]));
    let direction = stored(&mut b, "direction", Element::F32, &[4, 6]);
    let length = b.initializer("length", &Tensor::f32(&[4, 1], &[0.5, 1.0, 1.5, 2.0]));
    let along = [("axes", Attr::Ints(vec![1])), ("keepdims", Attr::Int(1))];
    let norm = b.op("ReduceL2", &[&direction], &along).unwrap();
    let unit = b.op("Div", &[&direction, &norm], &[]).unwrap();
    let weight = b.op_named("weight", "Mul", &[&unit, &length], &[]).unwrap();
    let y = b.op("Gemm", &[&x, &weight], &[("transB", Attr::Int(1))]).unwrap();
    b.output("y", &y);
    b.into_model()
}

/// A kernel of three axes that is read as a matrix in another order, as Keras' dense layers of several axes are exported.
fn reordered() -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 6]));
    let kernel = stored(&mut b, "kernel", Element::F32, &[2, 2, 6]);
    let turned = b.op("Transpose", &[&kernel], &[("perm", Attr::Ints(vec![2, 0, 1]))]).unwrap();
    let shape = b.i64s(&[6, 4]);
    let weight = b.op_named("weight", "Reshape", &[&turned, &shape], &[]).unwrap();
    let y = b.op("MatMul", &[&x, &weight], &[]).unwrap();
    b.output("y", &y);
    b.into_model()
}

#[test]
fn a_weight_that_the_file_computes_is_trained_and_stored_in_the_place_of_its_node() {
    if ort_or_skip().is_none() {
        return;
    }
    for model in [normed(), reordered()] {
        let (all, written) = trained(&model);
        assert_eq!(names(&all), ["weight"]);
        let graph = written.graph();
        assert!(graph.initializer.iter().any(|stored| stored.name() == "weight"));
        assert_eq!(graph.node.len(), model.graph().node.len() - 1);
    }
}

/// Scores that are masked, by numbers that say what is not seen, of an input that is normalised.
fn masked(mask: &Tensor, op: &str) -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[4, 6]));
    let [mean, deviation] = ["mean", "deviation"]
        .map(|name| b.initializer(name, &Tensor::f32(&[6], &[0.4, 0.5, 0.4, 0.5, 0.4, 0.5])));
    let shape = b.i64s(&[1, 4, 6]);
    let x = b.op("Reshape", &[&x, &shape], &[]).unwrap();
    let x = b.op("Sub", &[&x, &mean], &[]).unwrap();
    let x = b.op("Div", &[&x, &deviation], &[]).unwrap();
    let w = stored(&mut b, "w", Element::F32, &[6, 4]);
    let scores = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let bias = stored(&mut b, "bias", Element::F32, &[4]);
    let scores = b.op("Add", &[&scores, &bias], &[]).unwrap();
    let mask = b.initializer("mask", mask);
    let scores = b.op(op, &[&scores, &mask], &[]).unwrap();
    let y = b.op("Softmax", &[&scores], &[]).unwrap();
    b.output("y", &y);
    b.into_model()
}

#[test]
fn masks_and_what_normalises_an_input_are_no_weights() {
    if ort_or_skip().is_none() {
        return;
    }
    let causal = |seen: f32, hidden: f32| {
        let values: Vec<f32> =
            (0..16).map(|at| if at % 4 > at / 4 { hidden } else { seen }).collect();
        Tensor::f32(&[4, 4], &values)
    };
    for (mask, op) in [
        (causal(0.0, f32::NEG_INFINITY), "Add"),
        (causal(0.0, f32::MIN), "Add"),
        (causal(0.0, -1e4), "Add"),
        (causal(0.0, 1e4), "Sub"),
        (causal(1.0, 0.0), "Mul"),
    ] {
        let (all, _) = trained(&masked(&mask, op));
        assert_eq!(names(&all), ["w", "bias"], "{op}");
        let said =
            [("mean", LeftWhy::OfInput), ("deviation", LeftWhy::OfInput), ("mask", LeftWhy::Mask)];
        assert_eq!(left(&all.left), said, "{op}");
    }
    // Numbers of any other size are learnt.
    let all = weights(&masked(&causal(0.0, -9.0), "Add")).unwrap();
    assert_eq!(names(&all), ["w", "bias", "mask"]);
}

/// A table of float16 whose rows indices of the run read.
#[test]
fn a_table_of_half_precision_is_trained() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut b = Builder::new(17);
    let tokens = b.input("tokens", TensorType::new(Element::I64, &[2, 5]));
    let table = stored(&mut b, "table", Element::F16, &[20, 8]);
    let w = stored(&mut b, "w", Element::F16, &[8, 6]);
    let h = b.op("Gather", &[&table, &tokens], &[]).unwrap();
    let y = b.op("MatMul", &[&h, &w], &[]).unwrap();
    b.output("y", &y);
    let (all, _) = trained(&b.into_model());
    assert_eq!(names(&all), ["table", "w"]);
}

/// What is drawn before every weight has no gradient to pass: only the values would be others at every run.
#[test]
fn a_model_that_draws_is_refused_wherever_it_does() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 6]));
    let noise = b.op("RandomNormalLike", &[&x], &[]).unwrap();
    let x = b.op("Add", &[&x, &noise], &[]).unwrap();
    let w = stored(&mut b, "w", Element::F32, &[6, 4]);
    let y = b.op("Gemm", &[&x, &w], &[]).unwrap();
    b.output("y", &y);
    let folded = b.finish();
    let refused = [
        graft_all_weights(&folded, &[]).unwrap_err(),
        graft_stored_weights(&folded, &folded.model, &[]).unwrap_err(),
    ];
    for why in refused {
        assert!(
            matches!(&why, GraftError::Random { nodes } if nodes[0].operator == "RandomNormalLike"),
            "{why}"
        );
    }
}
