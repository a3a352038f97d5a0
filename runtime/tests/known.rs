//! What is known before a run: inputs that get a value, what folding computes of values, and how much of them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod graphs;

use std::collections::BTreeMap;

use bytes::Bytes;
use graphs::{folded, graph, input, node, operators};
use shoal_runtime::onnx::proto::{GraphProto, NodeProto, attribute_type};
use shoal_runtime::onnx::{
    Attr, Data, Element, FoldWhy, InferWhy, Model, PinOptions, PinWhy, Tensor, TensorType, fold,
    open, pin,
};

/// y is x twice, or x and 1, as the input `rate` says.
fn by_rate() -> Model {
    let branch = |op: &str, other: &str| {
        let mut inner = graph(Vec::new(), vec![node(op, &["x", other], &["z"], &[])], "z");
        inner.output[0] = TensorType::f32(&[2]).to_value_info("z");
        inner
    };
    let held = |name: &str, inner: GraphProto| {
        let mut attribute = Attr::Int(0).to_proto(name);
        attribute.i = None;
        attribute.r#type = Some(attribute_type::GRAPH);
        attribute.g = Some(Box::new(inner));
        attribute
    };
    let mut fork = node("If", &["is_fast"], &["y"], &[]);
    fork.attribute =
        vec![held("then_branch", branch("Add", "x")), held("else_branch", branch("Mul", "x"))];
    let nodes = vec![node("Equal", &["rate", "fast"], &["is_fast"], &[]), fork];
    let rate = TensorType::new(Element::I64, &[1]).to_value_info("rate");
    let mut graph = graph(vec![input("x", &["2"]), rate], nodes, "y");
    graph.output[0] = TensorType::f32(&[2]).to_value_info("y");
    graph.initializer = vec![Tensor::new(&[1], Data::I64(vec![16_000])).to_proto("fast")];
    Model::new(graph, 17)
}

#[test]
fn an_input_that_gets_a_value_is_a_constant_and_decides() {
    let model = by_rate();
    let with = |name: &str, value: f64| {
        let values = BTreeMap::from([(name.to_owned(), value)]);
        pin(&model, &PinOptions { values, ..PinOptions::default() })
    };
    for (value, want) in [(16_000.0, "Add"), (8_000.0, "Mul")] {
        let folded = fold(&with("rate", value).unwrap()).unwrap();
        assert_eq!(operators(&folded).first(), Some(&want));
        let inputs: Vec<&str> = folded.model.graph().input.iter().map(|i| i.name()).collect();
        assert_eq!(inputs, ["x"]);
    }
    // Axes that are open are those of what is still given.
    let mut open_axes = model.clone();
    let axes = &mut open_axes.graph_mut().input;
    axes[0] = input("x", &["n"]);
    axes.swap(0, 1);
    let values = BTreeMap::from([("rate".to_owned(), 8_000.0)]);
    let options = PinOptions { batch: Some(2), values, ..PinOptions::default() };
    let opened = open(&open_axes, &options).unwrap();
    let told: Vec<String> = opened.pinned.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["axis 0 of `x` (`n`) = 2"]);
    let why = |name: &str, value: f64| with(name, value).unwrap_err().why;
    let has = ["x", "rate"].map(str::to_owned).to_vec();
    assert_eq!(why("rat", 1.0), PinWhy::NoSuchInput { name: "rat".into(), inputs: has.clone() });
    assert_eq!(why("fast", 1.0), PinWhy::NoSuchInput { name: "fast".into(), inputs: has });
    let (input, element) = ("rate".to_owned(), Element::I64);
    assert_eq!(why("rate", 0.5), PinWhy::NoValue { input, element, value: "0.5".into() });
    let mut large = model.clone();
    large.graph_mut().input[1] = TensorType::new(Element::I64, &[1 << 20]).to_value_info("rate");
    let values = BTreeMap::from([("rate".to_owned(), 1.0)]);
    let why = pin(&large, &PinOptions { values, ..PinOptions::default() }).unwrap_err().why;
    assert!(matches!(why, PinWhy::Places { places: 1_048_576, .. }), "{why}");
}

/// What a chain of nodes that computes a length or a number of rounds is made of.
#[test]
fn remainders_and_cut_off_values_are_those_of_the_standard() {
    let one = |op: &str, attrs: &[(&str, Attr)], values: [&[f32]; 2]| {
        let stored = |(at, values): (usize, &[f32])| {
            Tensor::f32(&[values.len()], values).to_proto(["a", "b"][at])
        };
        let names: &[&str] = if values[1].is_empty() { &["a"] } else { &["a", "b"] };
        let mut graph = graph(Vec::new(), vec![node(op, names, &["y"], attrs)], "y");
        graph.initializer =
            values.into_iter().filter(|v| !v.is_empty()).enumerate().map(stored).collect();
        let folded = folded(graph, 26).unwrap();
        let stored = folded.model.graph().initializer.iter().find(|t| t.name() != "a");
        Tensor::from_proto(stored.unwrap()).unwrap().as_f32().unwrap().to_vec()
    };
    // Of the divisor's sign, as in Python; with fmod of the dividend's, as in C.
    let both: [&[f32]; 2] = [&[-4.5, 7.5, 5.0], &[2.0, -3.0, 8.0]];
    assert_eq!(one("Mod", &[], both), [1.5, -1.5, 5.0]);
    assert_eq!(one("Mod", &[("fmod", Attr::Int(1))], both), [-0.5, 1.5, 5.0]);
    assert_eq!(one("Relu", &[], [&[-2.0, 0.5], &[]]), [0.0, 0.5]);
    assert_eq!(one("Round", &[], [&[0.5, 1.5, -2.5], &[]]), [0.0, 2.0, -2.0]);
}

#[test]
fn a_part_without_values_is_no_part_of_a_split() {
    let with = |sizes: &[i64], outputs: &[&str], more: NodeProto| {
        let split = node("Split", &["x", "sizes"], outputs, &[("axis", Attr::Int(1))]);
        let mut graph = graph(vec![input("x", &["2", "4"])], vec![split, more], "y");
        graph.initializer = vec![Tensor::i64s(sizes).to_proto("sizes")];
        folded(graph, 23)
    };
    let join = || node("Concat", &["a", "b"], &["y"], &[("axis", Attr::Int(1))]);
    let whole = with(&[4, 0], &["a", "b"], join()).unwrap();
    assert_eq!(whole.types["y"], TensorType::f32(&[2, 4]));
    assert_eq!(whole.model.graph().node[0].output, ["a"]);
    let parts = with(&[1, 0, 3], &["a", "none", "b"], join()).unwrap();
    assert_eq!(parts.model.graph().node[0].output, ["a", "b"]);
    assert_eq!(parts.types["b"], TensorType::f32(&[2, 3]));
    for sizes in [[5, 0], [i64::MAX, 1], [4, -1]] {
        assert!(with(&sizes, &["a", "b"], join()).is_err(), "{sizes:?}");
    }
}

#[test]
fn types_of_what_has_no_gradient_are_inferred() {
    let ty = |op: &str, opset: i64, inputs: &[(&str, Tensor)], attrs: &[(&str, Attr)]| {
        let names: Vec<&str> = ["x"].into_iter().chain(inputs.iter().map(|(n, _)| *n)).collect();
        let axes = if op == "Col2Im" { &["2", "12", "4"][..] } else { &["2", "3"] };
        let mut graph = graph(vec![input("x", axes)], vec![node(op, &names, &["y"], attrs)], "y");
        graph.initializer = inputs.iter().map(|(name, tensor)| tensor.to_proto(name)).collect();
        folded(graph, opset).map(|folded| folded.types["y"].clone())
    };
    let i64s = |dims: &[usize], values: &[i64]| Tensor::new(dims, Data::I64(values.to_vec()));
    let image = [("image", Tensor::i64s(&[4, 5])), ("block", Tensor::i64s(&[2, 2]))];
    assert_eq!(ty("Col2Im", 18, &image, &[]), Ok(TensorType::f32(&[2, 3, 4, 5])));
    let wrong = [("image", Tensor::i64s(&[4, 5])), ("block", Tensor::i64s(&[5, 1]))];
    assert!(ty("Col2Im", 18, &wrong, &[]).is_err());
    let target = [("target", i64s(&[2], &[0, 1]))];
    let none = [("reduction", Attr::Str("none".into()))];
    for op in ["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"] {
        assert_eq!(ty(op, 13, &target, &[]), Ok(TensorType::f32(&[])));
        assert_eq!(ty(op, 13, &target, &none), Ok(TensorType::f32(&[2])));
    }
    let bits = |to: Element| ty("BitCast", 26, &[], &[("to", Attr::Int(i64::from(to.to_onnx())))]);
    assert_eq!(bits(Element::I32), Ok(TensorType::new(Element::I32, &[2, 3])));
    assert!(bits(Element::I64).is_err());
    let double = [("dtype", Attr::Int(i64::from(Element::F64.to_onnx())))];
    assert_eq!(ty("Bernoulli", 15, &[], &double), Ok(TensorType::new(Element::F64, &[2, 3])));
    assert_eq!(ty("RandomNormalLike", 17, &[], &[]), Ok(TensorType::f32(&[2, 3])));
}

/// A length of 0 makes no values, and still has parts that are counted.
#[test]
fn of_what_has_no_values_the_other_lengths_are_bounded() {
    let dims = [0, 1 << 30, 1 << 30, 4];
    let nodes = vec![
        node("Constant", &[], &["s"], &[("value", Attr::Tensor(Tensor::i64s(&dims)))]),
        node("ConstantOfShape", &["s"], &["empty"], &[]),
        node("Flatten", &["empty"], &["y"], &[("axis", Attr::Int(1))]),
    ];
    let refused = folded(graph(vec![], nodes, "y"), 17).unwrap_err();
    assert!(matches!(&refused, FoldWhy::Infer(e) if e.why == InferWhy::TooLarge { index: 0 }));
    let mut stored = Tensor::f32(&[1], &[1.0]).to_proto("w");
    (stored.dims, stored.raw_data) = (dims.to_vec(), Some(Bytes::new()));
    let mut holding = graph(vec![], vec![node("Relu", &["w"], &["y"], &[])], "y");
    holding.initializer = vec![stored];
    assert!(matches!(folded(holding, 17).unwrap_err(), FoldWhy::Tensor(_)));
}

/// Some exporters store every weight in a Constant.
#[test]
fn what_constants_hold_is_stored_and_nothing_that_folding_makes() {
    let large = Tensor::new(&[1 << 12, 4200], Data::I8(vec![1; 4200 << 12]));
    let nodes = vec![
        node("Constant", &[], &["w"], &[("value", Attr::Tensor(large))]),
        node("Cast", &["w"], &["real"], &[("to", Attr::Int(1))]),
        node("Gather", &["real", "x"], &["y"], &[]),
    ];
    let x = TensorType::new(Element::I64, &[1]).to_value_info("x");
    let folded = folded(graph(vec![x], nodes, "y"), 17).unwrap();
    assert_eq!(folded.types["y"], TensorType::f32(&[1, 4200]));
}

#[test]
fn bounds_of_known_values_are_one_value_each() {
    let clip = |bound: &Tensor| {
        let nodes = vec![
            node("Shape", &["x"], &["s"], &[]),
            node("Constant", &[], &["first"], &[("value_int", Attr::Int(0))]),
            node("Gather", &["s", "first"], &["n"], &[]),
            node("Clip", &["n", "bound"], &["y"], &[]),
        ];
        let mut graph = graph(vec![input("x", &["3"])], nodes, "y");
        graph.initializer = vec![bound.to_proto("bound")];
        folded(graph, 17)
    };
    for dims in [&[][..], &[1]] {
        let folded = clip(&Tensor::new(dims, Data::I64(vec![5]))).unwrap();
        let stored =
            folded.model.graph().initializer.iter().map(|t| Tensor::from_proto(t).unwrap());
        assert!(stored.into_iter().any(|t| t.to_i64s() == Some(vec![5])), "{dims:?}");
    }
    for count in [0, 2] {
        let refused = clip(&Tensor::new(&[count], Data::I64(vec![5; count]))).unwrap_err();
        assert!(refused.to_string().contains("a bound must be one value"), "{refused}");
    }
}
