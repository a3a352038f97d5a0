//! Corners of the standard in which engines, the standard's inference of shapes and what is written here could differ.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::bake::{bake, half};
use shoal_runtime::compare::compare;
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::testing::{noise, ort_or_skip, plain_options};
use shoal_runtime::fit::{FitOptions, Subject, fit};
use shoal_runtime::graft::{GraftOptions, Grafted, graft};
use shoal_runtime::many::many_adapters;
use shoal_runtime::onnx::proto::{
    AttributeProto, GraphProto, NodeProto, OperatorSetIdProto, attribute_type,
};
use shoal_runtime::onnx::{
    Attr, Builder, Data, Element, Folded, Model, PinOptions, Tensor, TensorType, Value, open,
};
use shoal_runtime::rollout::{Feed, RollOutOptions, roll_out};

fn weight(b: &mut Builder, name: &str, element: Element, dims: &[usize]) -> Value {
    let count = dims.iter().product();
    let values: Vec<f64> = noise(name.len(), count).iter().map(|v| f64::from(v * 0.4)).collect();
    b.initializer(name, &Tensor::from_f64s(element, dims, &values))
}

fn node(domain: &str, op: &str, input: &[&str], output: &str, attrs: &[(&str, Attr)]) -> NodeProto {
    NodeProto {
        input: input.iter().map(ToString::to_string).collect(),
        output: vec![output.to_owned()],
        name: Some(format!("the {op}")),
        op_type: Some(op.to_owned()),
        domain: Some(domain.to_owned()),
        attribute: attrs.iter().map(|(name, value)| value.to_proto(name)).collect(),
        ..NodeProto::default()
    }
}

fn folded(model: &Model) -> Folded {
    open(model, &PinOptions::default()).unwrap().folded
}

/// Grafts a model, tunes it and bakes what came of it: that is the model with the adapter beside it.
#[track_caller]
fn works(model: &Model) -> Grafted {
    let grafted = graft(&folded(model), &GraftOptions::default()).unwrap();
    let start = Adapter::start(grafted.layout.clone(), 0);
    let subject = Subject::Adapter { grafted: &grafted, start: &start, frozen_a: false };
    let engine = ort_or_skip().unwrap();
    let fitted = fit(subject, &engine, &FitOptions::default(), None, |_| {}).unwrap();
    assert!(fitted.after < fitted.before, "{} to {}", fitted.before, fitted.after);
    let adapter = fitted.trained.adapter().unwrap();
    let baked = folded(&bake(model, adapter).unwrap());
    let found = compare(&baked, &grafted, adapter, &engine, (1, NonZeroUsize::MIN)).unwrap();
    assert!(found.agrees() && found.values > 0, "{found:?}");
    grafted
}

/// What a model gives for `noise`.
fn run(model: &Model) -> Vec<f32> {
    let mut session = ort_or_skip().unwrap().load(model, &plain_options()).unwrap();
    for index in 0..session.inputs().len() {
        let values = session.inputs()[index].ty.values();
        session.write_f32(index, &noise(index, values)).unwrap();
    }
    session.run().unwrap();
    session.output_f32(0).unwrap().to_vec()
}

/// What a model gives whose output has no shape in the file, with the shape that folding gives it.
fn run_as_it_is(model: &Model) -> Vec<f32> {
    let mut declared = model.clone();
    declared.graph_mut().output = vec![folded(model).types["y"].to_value_info("y")];
    run(&declared)
}

/// A convolution with this operator behind it, whose output has no shape in the file.
fn behind_a_convolution(
    (opset, length, channels): (i64, usize, usize),
    op: &str,
    more: &[&Tensor],
    attrs: &[(&str, Attr)],
) -> Model {
    let mut b = Builder::new(opset);
    let x = b.input("x", TensorType::f32(&[1, 3, length]));
    let w = weight(&mut b, "w", Element::F32, &[channels, 3, 1]);
    let h = b.op("Conv", &[&x, &w], &[]).unwrap();
    let mut input = vec![h.name().to_owned()];
    for (at, tensor) in more.iter().enumerate() {
        input.push(b.initializer(&format!("more.{at}"), tensor).name().to_owned());
    }
    let input: Vec<&str> = input.iter().map(String::as_str).collect();
    let mut model = b.into_model();
    model.graph_mut().node.push(node("", op, &input, "y", attrs));
    let mut output = TensorType::f32(&[]).to_value_info("y");
    output.r#type = None;
    model.graph_mut().output = vec![output];
    model
}

/// The last window would start behind the input: kernels leave it out, the older inference of shapes counts it.
#[test]
fn a_rounded_up_pool_without_its_last_window_is_trained() {
    if ort_or_skip().is_none() {
        return;
    }
    let ints = |name: &'static str, of: &[i64]| (name, Attr::Ints(of.to_vec()));
    // Length, kernel, stride, pads, dilation, and the positions there are.
    let windows = [
        (6, 1, 4, [0, 0], 1, 2),
        (7, 2, 2, [1, 1], 1, 4),
        (5, 3, 3, [1, 2], 1, 2),
        (6, 2, 3, [1, 1], 2, 3),
        (7, 2, 2, [0, 1], 1, 4),
    ];
    let mut written_out = 0;
    for (op, opset) in [("MaxPool", 12), ("MaxPool", 17), ("MaxPool", 22), ("AveragePool", 21)] {
        for (length, kernel, stride, pads, dilation, positions) in windows {
            let attrs = [
                ints("kernel_shape", &[kernel]),
                ints("strides", &[stride]),
                ints("pads", &pads),
                ints("dilations", &[dilation]),
                ("ceil_mode", Attr::Int(1)),
            ];
            let model = behind_a_convolution((opset, length, 4), op, &[], &attrs);
            let grafted = works(&model);
            // From version 22 on it is what it is.
            let newest = behind_a_convolution((22, length, 4), op, &[], &attrs);
            let (want, got) = (run_as_it_is(&newest), run(&folded(&model).model));
            assert_eq!(want, got, "{op} of {opset}: {length} {kernel} {stride} {pads:?}");
            assert_eq!(got.len(), 4 * positions, "{op} of {opset}: {length} {kernel} {stride}");
            let pool = grafted.folded.model.graph().node.iter().find(|node| node.is(op));
            written_out += usize::from(pool.unwrap().int("ceil_mode", 0) == 0);
        }
    }
    assert!(written_out >= 9, "{written_out}");
}

/// Where the kernel leaves gaps, what is padded away is nothing: length · stride is more than there is.
#[test]
fn a_transposed_convolution_with_gaps_ends_with_its_last_window() {
    if ort_or_skip().is_none() {
        return;
    }
    for auto in ["SAME_UPPER", "SAME_LOWER"] {
        for (kernel, stride, length) in [(2, 3, 11), (1, 3, 10), (3, 3, 12), (4, 3, 12)] {
            let attrs =
                [("auto_pad", Attr::Str(auto.into())), ("strides", Attr::Ints(vec![stride]))];
            let w = Tensor::f32(&[4, 2, kernel], &noise(3, 8 * kernel));
            let model = behind_a_convolution((17, 4, 4), "ConvTranspose", &[&w], &attrs);
            let folded = folded(&model);
            assert_eq!(folded.types["y"].dims, [1, 2, length], "{auto} {kernel}");
            assert_eq!(run_as_it_is(&model), run(&folded.model), "{auto} {kernel}");
            works(&model);
        }
    }
}

/// ONNX Runtime rounds places up where version 10 makes an axis shorter, and down where it makes one longer.
#[test]
fn the_resize_of_version_10_takes_the_values_that_it_always_took() {
    if ort_or_skip().is_none() {
        return;
    }
    for op in ["Resize", "Upsample"] {
        for scales in [[1.0, 1.0, 0.7], [1.0, 1.0, 1.7], [1.0, 1.6, 0.7], [1.0, 0.6, 1.7]] {
            let opset = if op == "Resize" { 10 } else { 9 };
            if opset == 9 && scales.iter().any(|&scale| scale < 1.0) {
                continue;
            }
            let given = Tensor::f32(&[3], &scales);
            let mode = [("mode", Attr::Str("nearest".into()))];
            let model = behind_a_convolution((opset, 7, 5), op, &[&given], &mode);
            assert_eq!(run_as_it_is(&model), run(&folded(&model).model), "{op} {scales:?}");
            works(&model);
        }
    }
}

/// Scales that are made of lengths and lie below them (12 · 1.1666666 is 13.9999993) read the values that they read in the file.
#[test]
fn a_scale_from_below_reads_the_same_values() {
    if ort_or_skip().is_none() {
        return;
    }
    for (from, to) in [(12, 14), (24, 28), (36, 42), (12, 26)] {
        let scales = Tensor::f32(&[3], &[1.0, 1.0, to as f32 / from as f32]);
        let text = |value: &str| Attr::Str(value.into());
        let attrs = [
            ("coordinate_transformation_mode", text("asymmetric")),
            ("nearest_mode", text("floor")),
        ];
        let region = Tensor::f32(&[0], &[]);
        let model = behind_a_convolution((13, from, 4), "Resize", &[&region, &scales], &attrs);
        let folded = folded(&model);
        assert_eq!(folded.types["y"].dims, [1, 4, to]);
        let plain = behind_a_convolution((13, from, 4), "Identity", &[], &[]);
        let (h, scale) = (run_as_it_is(&plain), to as f32 / from as f32);
        let read = |at: usize| h[at / to * from + ((at % to) as f32 / scale).floor() as usize];
        let want: Vec<f32> = (0..4 * to).map(read).collect();
        assert_eq!(run(&folded.model), want, "{from} to {to}");
        works(&model);
    }
}

fn with_foreign(model: &mut Model, domain: &str) {
    let domain = Some(domain.to_owned());
    model.proto.opset_import.push(OperatorSetIdProto { domain, version: Some(1) });
}

/// An operator of another domain may be called as one of the standard is, and mean another thing.
#[test]
fn an_operator_of_another_domain_is_not_computed_as_its_namesake() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 4]));
    let w = weight(&mut b, "w", Element::F32, &[4, 6]);
    weight(&mut b, "c", Element::F32, &[6]);
    let h = b.op_named("h", "MatMul", &[&x, &w], &[]).unwrap();
    b.output("y", &h);
    let mut model = b.into_model();
    let graph = model.graph_mut();
    graph.node.truncate(1);
    graph.node.push(node("my.dom", "Exp", &["c"], "e", &[]));
    graph.node.push(node("", "Add", &["h", "e"], "y", &[]));
    graph.value_info.push(TensorType::f32(&[6]).to_value_info("e"));
    graph.output = vec![TensorType::f32(&[2, 6]).to_value_info("y")];
    with_foreign(&mut model, "my.dom");
    let nodes = folded(&model).model.graph().node.clone();
    assert!(nodes.iter().any(|node| node.domain() == "my.dom" && node.op_type() == "Exp"));
}

/// A search of another domain holds the graph that it searches with, which reads tensors from around it.
#[test]
fn what_the_graph_inside_an_operator_of_another_domain_reads_stays_there() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 4]));
    let w = weight(&mut b, "w", Element::F32, &[4, 6]);
    weight(&mut b, "inner.weight", Element::F32, &[6]);
    let h = b.op_named("h", "MatMul", &[&x, &w], &[]).unwrap();
    b.op_named("only.inside", "Relu", &[&h], &[]).unwrap();
    b.op_named("other.name", "Identity", &[&h], &[]).unwrap();
    b.output("y", &h);
    let mut model = b.into_model();
    let graph = model.graph_mut();
    let mut search = node("my.dom", "Search", &["x"], "y", &[]);
    let inner = GraphProto {
        node: vec![
            node("", "Add", &["only.inside", "inner.weight"], "sum", &[]),
            node("", "Add", &["sum", "other.name"], "last", &[]),
        ],
        output: vec![TensorType::f32(&[2, 6]).to_value_info("last")],
        ..GraphProto::default()
    };
    let r#type = Some(attribute_type::GRAPH);
    let (name, g) = (Some("decoder".to_owned()), Some(Box::new(inner)));
    search.attribute.push(AttributeProto { name, r#type, g, ..AttributeProto::default() });
    graph.node.retain(|node| node.output[0] != "y");
    graph.node.push(search);
    graph.output = vec![TensorType::f32(&[2, 6]).to_value_info("y")];
    with_foreign(&mut model, "my.dom");

    let folded = folded(&model);

    let graph = folded.model.graph();
    let made: Vec<&str> = graph.node.iter().map(|node| node.output[0].as_str()).collect();
    assert_eq!(made, ["h", "only.inside", "y"]);
    let stored: Vec<&str> = graph.initializer.iter().map(|stored| stored.name()).collect();
    assert_eq!(stored, ["w", "inner.weight"]);
    let inner = graph.node[2].subgraphs().next().unwrap();
    assert_eq!(inner.node[1].input, ["sum", "h"], "a name that is gone is read as what it named");
}

#[test]
fn what_has_no_values_adds_none_where_it_comes_first() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[3, 4]));
    let w = weight(&mut b, "w", Element::F32, &[4, 6]);
    let h = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let past = b.initializer("past", &Tensor::f32(&[0, 6], &[]));
    let y = b.op("Concat", &[&past, &h], &[("axis", Attr::Int(-2))]).unwrap();
    b.output("y", &y);
    works(&b.into_model());
}

/// It reads the shape of what comes, not its values.
#[test]
fn a_diagonal_like_an_activation_has_no_slope() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[3, 4]));
    let w = weight(&mut b, "w", Element::F32, &[4, 3]);
    let h = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let diagonal = b.op("EyeLike", &[&h], &[]).unwrap();
    let y = b.op("Add", &[&h, &diagonal], &[]).unwrap();
    b.output("y", &y);
    works(&b.into_model());
}

/// Weights beside operators of the standard that are run by what the file declares of them.
#[test]
fn a_site_beside_an_operator_that_is_not_inferred_is_trained() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 4]));
    b.input("square", TensorType::f32(&[2, 3, 3]));
    let w = weight(&mut b, "w", Element::F32, &[4, 6]);
    let h = b.op_named("h", "MatMul", &[&x, &w], &[]).unwrap();
    b.output("y", &h);
    let mut model = b.into_model();
    let graph = model.graph_mut();
    graph.node.truncate(1);
    graph.node.push(node("", "Det", &["square"], "det", &[]));
    graph.node.push(node("", "ReduceSum", &["det"], "sum", &[("keepdims", Attr::Int(0))]));
    graph.node.push(node("", "Add", &["h", "sum"], "y", &[]));
    graph.value_info.push(TensorType::f32(&[2]).to_value_info("det"));
    graph.output = vec![TensorType::f32(&[2, 6]).to_value_info("y")];
    works(&model);
}

/// Before version 16 regions had no half of a pixel taken away.
#[test]
fn regions_of_older_operator_sets_stay_where_they_were() {
    if ort_or_skip().is_none() {
        return;
    }
    for opset in [11, 15, 16, 17] {
        let mut b = Builder::new(opset);
        b.input("x", TensorType::f32(&[1, 1, 8, 8]));
        b.initializer("regions", &Tensor::f32(&[1, 4], &[1.0, 1.0, 5.0, 6.0]));
        b.initializer("samples", &Tensor::new(&[1], Data::I64(vec![0])));
        let mut model = b.into_model();
        let two = Attr::Int(2);
        let attrs = [
            ("output_height", two.clone()),
            ("output_width", two.clone()),
            ("sampling_ratio", two),
        ];
        let align = node("", "RoiAlign", &["x", "regions", "samples"], "y", &attrs);
        model.graph_mut().node.push(align);
        model.graph_mut().output.push(TensorType::f32(&[1, 1, 2, 2]).to_value_info("y"));
        assert_eq!(run(&model), run(&folded(&model).model), "{opset}");
    }
}

/// The end of a detector: an operator of which the file says what it gives cuts a region out of what a product gives.
fn cut_out(domain: &str, operator: &str) -> Folded {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 64]));
    let w = weight(&mut b, "w", Element::F32, &[64, 64]);
    let h = b.op_named("h", "MatMul", &[&x, &w], &[]).unwrap();
    let shape = b.i64s(&[1, 1, 8, 8]);
    b.op_named("map", "Reshape", &[&h, &shape], &[]).unwrap();
    b.initializer("regions", &Tensor::f32(&[1, 4], &[1.0, 1.0, 5.0, 6.0]));
    b.initializer("samples", &Tensor::new(&[1], Data::I64(vec![0])));
    let mut model = b.into_model();
    let size = [("output_height", Attr::Int(2)), ("output_width", Attr::Int(2))];
    let attrs: &[_] = if domain.is_empty() { &size } else { &[] };
    let cut = node(domain, operator, &["map", "regions", "samples"], "y", attrs);
    let graph = model.graph_mut();
    graph.node.push(cut);
    let (y, h) = (TensorType::f32(&[1, 1, 2, 2]), TensorType::f32(&[1, 64]));
    graph.output = vec![y.to_value_info("y"), h.to_value_info("h")];
    with_foreign(&mut model, "my.dom");
    folded(&model)
}

/// Whatever writes a node under another name says of it what the file said.
#[test]
fn what_is_declared_is_known_by_every_name_it_gets() {
    let ort = ort_or_skip();
    for (domain, operator) in [("", "RoiAlign"), ("my.dom", "Add")] {
        let whole = cut_out(domain, operator);
        let halved = half(&whole, false).unwrap().folded;
        let grafted = graft(&whole, &GraftOptions::default()).unwrap();
        let two = many_adapters(&grafted, NonZeroUsize::new(2).unwrap()).unwrap().folded;
        let feeds = vec![Feed { output: "h".into(), input: "x".into(), axis: None, clamp: None }];
        let options = RollOutOptions { steps: 2, feeds, shared: Vec::new() };
        let rolled = roll_out(&whole, &options).unwrap().folded;
        for (written, name, first) in [(&halved, "y", 1), (&two, "y", 2), (&rolled, "y.2", 1)] {
            assert_eq!(written.types[name], TensorType::f32(&[first, 1, 2, 2]), "{operator}");
            // As a file it is read again.
            assert_eq!(folded(&written.model).types[name], written.types[name]);
            if let Some(ort) = ort.as_ref().filter(|_| domain.is_empty()) {
                drop(ort.load(&written.model, &plain_options()).unwrap());
            }
        }
    }
}

/// Rows of float16 that indices of the run read are added up in float32: ONNX Runtime adds no others.
#[test]
fn a_lookup_of_float16_by_indices_of_the_run_is_trained() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::new(Element::F16, &[2, 4]));
    let tokens = b.input("tokens", TensorType::new(Element::I64, &[3]));
    let w = weight(&mut b, "w", Element::F16, &[4, 6]);
    let h = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let y = b.op("Gather", &[&h, &tokens], &[("axis", Attr::Int(1))]).unwrap();
    b.output("y", &y);
    works(&b.into_model());
}
