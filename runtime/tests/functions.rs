//! Functions of a model's own domain: written out where they are called, they are what ONNX Runtime makes of the file, and what is
//! tuned in them is baked.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;
use std::sync::Arc;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::bake::bake;
use shoal_runtime::compare::compare;
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::testing::{noise, ort_or_skip, plain_options};
use shoal_runtime::graft::{GraftOptions, graft, sites};
use shoal_runtime::onnx::proto::{
    AttributeProto, FunctionProto, NodeProto, OperatorSetIdProto, attribute_type,
};
use shoal_runtime::onnx::{Attr, Builder, Model, Tensor, TensorType, fold};

const DOMAIN: &str = "my.fn";

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let op_type = Some(op.to_owned());
    NodeProto { op_type, input: owned(inputs), output: owned(outputs), ..NodeProto::default() }
}

fn call(function: &str, inputs: &[&str], outputs: &[&str], slope: Option<f32>) -> NodeProto {
    let attribute = slope.map(|slope| Attr::Float(slope).to_proto("slope")).into_iter().collect();
    let domain = Some(DOMAIN.to_owned());
    NodeProto { domain, attribute, ..node(function, inputs, outputs) }
}

fn imports(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) }
}

fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    FunctionProto {
        name: Some(name.to_owned()),
        domain: Some(DOMAIN.to_owned()),
        input: owned(inputs),
        output: owned(outputs),
        node: nodes,
        opset_import: vec![imports("", 17), imports(DOMAIN, 1)],
        ..FunctionProto::default()
    }
}

/// `leaky(x·w + b)` by a function that calls another, whose slope is the caller's or a half; and what went in.
fn functions() -> Vec<FunctionProto> {
    let product = vec![node("MatMul", &["x", "w"], &["t"]), node("Add", &["t", "b"], &["y"])];
    let mut leaky = node("LeakyRelu", &["t"], &["y"]);
    leaky.attribute.push(AttributeProto {
        name: Some("alpha".into()),
        ref_attr_name: Some("slope".into()),
        r#type: Some(attribute_type::FLOAT),
        ..AttributeProto::default()
    });
    let mut block = function(
        "Block",
        &["x", "w", "b"],
        &["y", "kept"],
        vec![
            call("Product", &["x", "w", "b"], &["t"], None),
            leaky,
            node("Identity", &["x"], &["kept"]),
        ],
    );
    block.attribute_proto.push(Attr::Float(0.5).to_proto("slope"));
    vec![function("Product", &["x", "w", "b"], &["y"], product), block]
}

/// Two calls, of which the second has a slope of its own; inside and outside are tensors of one name.
fn model() -> Model {
    let mut b = Builder::new(17);
    b.input("x", TensorType::f32(&[2, 6]));
    for (name, dims) in [("w.one", [6, 5]), ("w.two", [5, 3])] {
        let values: Vec<f32> = noise(name.len() + dims[0], dims[0] * dims[1]);
        b.initializer(name, &Tensor::f32(&dims, &values));
    }
    b.initializer("bias", &Tensor::f32(&[1], &[0.25]));
    let mut model = b.into_model();
    let graph = model.graph_mut();
    graph.node = vec![
        NodeProto {
            name: Some("first".into()),
            ..call("Block", &["x", "w.one", "bias"], &["t", "again"], None)
        },
        call("Block", &["t", "w.two", "bias"], &["y", "rest"], Some(0.125)),
    ];
    graph.output = vec![
        TensorType::f32(&[2, 3]).to_value_info("y"),
        TensorType::f32(&[2, 6]).to_value_info("again"),
    ];
    model.proto.functions = functions();
    model.proto.opset_import.push(imports(DOMAIN, 1));
    model
}

fn outputs(model: &Model) -> Option<Vec<Vec<f32>>> {
    let mut session = ort_or_skip()?.load(model, &plain_options()).unwrap();
    session.write_f32(0, &noise(3, 12)).unwrap();
    session.run().unwrap();
    Some([0, 1].map(|output| session.output_f32(output).unwrap().to_vec()).into())
}

#[test]
fn a_model_of_functions_gives_what_its_file_gives() {
    let (model, folded) = (model(), fold(&model()).unwrap());
    assert!(folded.model.proto.functions.is_empty());
    let ops: Vec<&str> = folded.model.graph().node.iter().map(NodeProto::op_type).collect();
    assert!(ops.iter().all(|op| *op != "Block" && *op != "Product"), "{ops:?}");
    let Some(given) = outputs(&model) else { return };
    let found = outputs(&folded.model).unwrap();
    for (given, found) in given.iter().flatten().zip(found.iter().flatten()) {
        assert!((given - found).abs() < 1e-6, "{given} {found}");
    }
    assert!(given[0].iter().any(|value| *value < 0.0), "the slope shows");
}

#[test]
fn what_is_tuned_in_a_function_is_baked_into_the_file() {
    let model = model();
    let folded = fold(&model).unwrap();
    let names: Vec<String> = sites(&folded).into_iter().map(|site| site.name).collect();
    assert_eq!(names, ["w.one", "w.two"]);
    let grafted = graft(&folded, &GraftOptions::default()).unwrap();
    let values = noise(11, grafted.layout.values());
    let adapter = Adapter::from_values(Arc::new(grafted.layout.clone()), values).unwrap();
    let baked = fold(&bake(&model, &adapter).unwrap()).unwrap();
    let Some(engine) = ort_or_skip() else { return };
    let found = compare(&baked, &grafted, &adapter, &engine, (1, NonZeroUsize::MIN)).unwrap();
    assert!(found.agrees() && found.values > 0, "{found:?}");
}

/// What nothing reads is not folded, and has no number among the calls when its like is looked for in the file.
#[test]
fn a_call_that_nothing_reads_does_not_move_the_names_of_the_others() {
    let mut model = model();
    let unread = call("Block", &["x", "w.one", "bias"], &["unread", "too"], None);
    model.graph_mut().node.insert(0, unread);
    let folded = fold(&model).unwrap();
    let grafted = graft(&folded, &GraftOptions::default()).unwrap();
    let values = noise(11, grafted.layout.values());
    let adapter = Adapter::from_values(Arc::new(grafted.layout.clone()), values).unwrap();
    let baked = fold(&bake(&model, &adapter).unwrap()).unwrap();
    let Some(engine) = ort_or_skip() else { return };
    let found = compare(&baked, &grafted, &adapter, &engine, (1, NonZeroUsize::MIN)).unwrap();
    assert!(found.agrees() && found.values > 0, "{found:?}");
}

#[test]
fn functions_in_a_circle_of_another_version_or_without_end_are_refused_by_the_call() {
    let refused = |functions: Vec<FunctionProto>| {
        let mut model = model();
        model.proto.functions = functions;
        fold(&model).unwrap_err().to_string()
    };
    let circle = vec![call("Block", &["x", "w", "b"], &["y"], None)];
    let circle = refused(vec![function("Block", &["x", "w", "b"], &["y", "x"], circle)]);
    assert!(circle.contains("calls the model's function Block") && circle.contains("circle"));
    let mut older = functions();
    older[1].opset_import = vec![imports("", 15)];
    assert!(refused(older).contains("another operator set"));
    let mut narrow = functions();
    narrow[1].input.pop();
    assert!(refused(narrow).contains("more inputs or outputs"));
    // Each calls the one before twice.
    let mut doubled =
        vec![function("F0", &["x", "w", "b"], &["y"], vec![node("Relu", &["x"], &["y"])])];
    for depth in 1..40 {
        let before = format!("F{}", depth - 1);
        let twice = vec![
            call(&before, &["x", "w", "b"], &["t"], None),
            call(&before, &["t", "w", "b"], &["y"], None),
        ];
        let name = if depth == 39 { "Block".to_owned() } else { format!("F{depth}") };
        doubled.push(function(&name, &["x", "w", "b"], &["y", "x"], twice));
    }
    assert!(refused(doubled).contains("too many nodes"));
}
