//! What folding makes of a graph, and what it refuses.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod graphs;

use std::collections::BTreeMap;

use bytes::Bytes;
use graphs::{folded, graph, input, node, operators};
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::testing::{ort_or_skip, plain_options};
use shoal_runtime::onnx::proto::{
    GraphProto, NodeProto, StringStringEntryProto, TensorProto, attribute_type,
};
use shoal_runtime::onnx::{
    Attr, Builder, Data, Element, FoldWhy, Folded, InferWhy, Model, PinOptions, PinWhy, Tensor,
    TensorError, TensorType, fold, pin,
};

/// As exporters write `x.reshape(x.shape[0], -1)`.
fn flattening() -> GraphProto {
    let nodes = vec![
        node("Shape", &["x"], &["shape"], &[]),
        node(
            "Constant",
            &[],
            &["zero"],
            &[("value", Attr::Tensor(Tensor::new(&[], Data::I64(vec![0]))))],
        ),
        node("Gather", &["shape", "zero"], &["batch"], &[]),
        node("Constant", &[], &["axes"], &[("value_ints", Attr::Ints(vec![0]))]),
        node("Unsqueeze", &["batch", "axes"], &["batch1"], &[]),
        node("Constant", &[], &["rest"], &[("value_ints", Attr::Ints(vec![-1]))]),
        node("Concat", &["batch1", "rest"], &["wanted"], &[("axis", Attr::Int(0))]),
        node("Identity", &["x"], &["same"], &[]),
        node("Reshape", &["same", "wanted"], &["y"], &[]),
        node("Relu", &["same"], &["nobody reads this"], &[]),
    ];
    graph(vec![input("x", &["b", "3", "4"])], nodes, "y")
}

#[test]
fn shape_subgraphs_constants_identities_and_dead_nodes_are_gone() {
    let folded = folded(flattening(), 17).unwrap();

    assert_eq!(operators(&folded), ["Reshape"]);
    assert_eq!(folded.model.graph().node[0].input[0], "x");
    assert_eq!(folded.types["y"], TensorType::f32(&[1, 12]));
    let names: Vec<&str> = folded.types.keys().map(String::as_str).collect();
    assert_eq!(names, ["wanted", "x", "y"]);
}

#[test]
fn the_place_of_a_node_does_not_depend_on_the_batch() {
    let model = Model::new(flattening(), 17);
    let at = |batch| {
        let options = PinOptions { batch: Some(batch), ..PinOptions::default() };
        fold(&pin(&model, &options).unwrap()).unwrap()
    };
    assert_eq!(at(1).model.graph().node, at(64).model.graph().node);
    assert_eq!(at(64).types["y"], TensorType::f32(&[64, 12]));
}

#[test]
fn a_named_axis_is_pinned_wherever_it_is_and_an_open_one_is_named() {
    let add = || vec![node("Add", &["x", "m"], &["y"], &[])];
    let inputs = || vec![input("x", &["b", "t"]), input("m", &["1", "t"])];
    let model = Model::new(graph(inputs(), add(), "y"), 17);

    let open = pin(&model, &PinOptions::default()).unwrap_err();
    assert_eq!(open.why, PinWhy::Open { input: "x".to_owned(), axis: 1, name: "t".to_owned() });

    let dims = BTreeMap::from([("t".to_owned(), 5)]);
    let pinned =
        pin(&model, &PinOptions { batch: Some(3), dims, ..PinOptions::default() }).unwrap();
    assert_eq!(fold(&pinned).unwrap().types["y"], TensorType::f32(&[3, 5]));
}

#[test]
fn nodes_in_another_order_are_sorted() {
    let mut shuffled = flattening();
    shuffled.node.reverse();

    let sorted = folded(shuffled, 17).unwrap();

    assert_eq!(sorted.model.graph().node, folded(flattening(), 17).unwrap().model.graph().node);
}

#[test]
fn a_circle_is_refused() {
    let nodes = vec![node("Add", &["x", "b"], &["a"], &[]), node("Relu", &["a"], &["b"], &[])];
    let refused = folded(graph(vec![input("x", &["1"])], nodes, "b"), 17);
    assert_eq!(refused, Err(FoldWhy::Cycle { tensor: "a".to_owned() }));
}

#[test]
fn a_name_for_two_tensors_is_refused() {
    let twice = FoldWhy::TwoTensors { name: "a".to_owned() };
    let nodes = vec![node("Relu", &["x"], &["a"], &[]), node("Exp", &["x"], &["a"], &[])];
    assert_eq!(folded(graph(vec![input("x", &["1"])], nodes, "a"), 17), Err(twice.clone()));

    let mut weights = graph(vec![input("x", &["1"])], vec![node("Relu", &["x"], &["y"], &[])], "y");
    weights.initializer = vec![Tensor::f32(&[1], &[0.0]).to_proto("a"); 2];
    assert_eq!(folded(weights, 17), Err(twice));
}

#[test]
fn a_tensor_that_nothing_makes_is_named() {
    let refused = folded(graph(vec![], vec![node("Relu", &["ghost"], &["y"], &[])], "y"), 17);
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains("Relu") && error.contains("`y`") && error.contains("`ghost`"),
        "{error}"
    );

    let refused = folded(graph(vec![input("x", &["1"])], vec![], "y"), 17);
    assert_eq!(refused, Err(FoldWhy::NoOutput { output: "y".to_owned() }));
}

#[test]
fn an_unknown_operator_is_named_with_its_node() {
    let mut custom = node("Frobnicate", &["x"], &["y"], &[]);
    custom.domain = Some("com.example".to_owned());
    custom.name = Some("the one".to_owned());
    let mut graph = graph(vec![input("x", &["1"])], vec![custom], "y");
    // Where the file says what it gives, that is believed, and said again.
    let once = folded(graph.clone(), 17).unwrap();
    assert_eq!(fold(&once.model).unwrap(), once);
    graph.output[0].r#type = None;
    let refused = folded(graph, 17).unwrap_err();
    let FoldWhy::Infer(why) = &refused else { panic!("{refused}") };
    assert_eq!((why.operator.as_str(), why.node.as_str()), ("com.example.Frobnicate", "the one"));
    assert_eq!(why.why, InferWhy::Unsupported);
}

/// Nodes that read nothing of one another, and one behind each.
#[test]
fn every_node_that_cannot_be_folded_is_named_at_once_and_none_that_reads_from_one() {
    let foreign = |name: &str, input: &str| {
        let mut node = node("Frobnicate", &[input], &[name], &[]);
        node.domain = Some("com.example".to_owned());
        node
    };
    let hidden = node("RandomNormalLike", &["x"], &["shaped"], &[]);
    let nodes = vec![
        node("NonZero", &["x"], &["first"], &[]),
        node("Tanh", &["x"], &["h"], &[]),
        node("NonZero", &["h"], &["second"], &[]),
        foreign("third", "h"),
        foreign("behind", "first"),
        node("RandomUniformLike", &["h"], &["drawn"], &[]),
        node("RandomNormalLike", &["third"], &["late"], &[]),
        hidden,
        node("Shape", &["shaped"], &["shape"], &[]),
        node("Reshape", &["late", "shape"], &["formed"], &[]),
        node("Sum", &["second", "behind", "drawn", "formed"], &["y"], &[]),
    ];
    let refused = folded(graph(vec![input("x", &["2", "3"])], nodes.clone(), "y"), 17).unwrap_err();
    let text = refused.to_string();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("5 nodes stand in the way:"), "{text}");
    for (operator, node) in [
        ("NonZero", "first"),
        ("NonZero", "second"),
        ("com.example.Frobnicate", "third"),
        ("RandomUniformLike", "drawn"),
        ("RandomNormalLike", "late"),
    ] {
        let line = lines.next().unwrap();
        assert!(line.starts_with(&format!("  {operator} node `{node}`")), "{text}");
        let why = match operator {
            "NonZero" => "must be a constant",
            "com.example.Frobnicate" => "not supported",
            _ => "other values at every run",
        };
        assert!(line.contains(why), "{text}");
    }
    assert_eq!(lines.next(), None, "{text}");
    // One alone is what it was; what an output does not need is no matter.
    let sole = graph(vec![input("x", &["2", "3"])], nodes, "second");
    let why = folded(sole, 17).unwrap_err();
    assert!(matches!(&why, FoldWhy::Infer(why) if why.node == "second"), "{why}");
}

#[test]
fn products_of_integers_whose_form_is_not_known_are_named_beside_others() {
    let mean = |name: &str| {
        let mut node = node("QLinearReduceMean", &["x", "s", "", "s", ""], &[name], &[]);
        node.domain = Some("com.microsoft".to_owned());
        node
    };
    let nodes = vec![
        mean("one"),
        mean("other"),
        node("NonZero", &["x"], &["places"], &[]),
        node("Sum", &["one", "other", "places"], &["y"], &[]),
    ];
    let mut graph = graph(vec![input("x", &["2", "3"])], nodes, "y");
    graph.initializer.push(Tensor::f32(&[], &[0.5]).to_proto("s"));
    let text = folded(graph, 17).unwrap_err().to_string();
    assert!(text.starts_with("3 nodes stand in the way:"), "{text}");
    assert_eq!(text.matches("QLinearReduceMean node `").count(), 2, "{text}");
    assert!(text.contains("NonZero node `places`"), "{text}");
}

fn with_weight(weight: TensorProto) -> Result<Folded, FoldWhy> {
    let add = vec![node("Add", &["x", "w"], &["y"], &[])];
    let mut graph = graph(vec![input("x", &["3"])], add, "y");
    graph.initializer = vec![weight];
    folded(graph, 17)
}

#[test]
fn a_weight_that_is_not_a_number_is_named() {
    let refused = with_weight(Tensor::f32(&[3], &[1.0, f32::NAN, 2.0]).to_proto("w"));
    assert_eq!(refused, Err(FoldWhy::NotANumber { tensor: "w".to_owned(), index: 1 }));
    // Attention masks are made of infinity.
    assert!(with_weight(Tensor::f32(&[3], &[1.0, f32::NEG_INFINITY, 2.0]).to_proto("w")).is_ok());
}

/// As JAX writes a variance: NaN if there was nothing to divide by, and there was.
#[test]
fn what_is_not_a_number_and_never_chosen_is_dropped() {
    let choose = |yes: bool, dims: &[usize]| {
        let chosen = node("Where", &["c", "x", "w"], &["y"], &[]);
        let mut graph = graph(vec![input("x", &["3"])], vec![chosen], "y");
        let condition = Tensor::new(dims, Data::Bool(vec![yes; dims.iter().product()]));
        let nan = Tensor::f32(&[], &[f32::NAN]);
        graph.initializer = vec![condition.to_proto("c"), nan.to_proto("w")];
        folded(graph, 17)
    };
    let kept = choose(true, &[]).unwrap();
    assert_eq!((operators(&kept), kept.model.graph().initializer.len()), (vec!["Identity"], 0));
    // The condition has an axis that x has not.
    let wide = choose(true, &[2, 1]).unwrap();
    assert_eq!((operators(&wide), wide.types["y"].dims.as_slice()), (vec!["Expand"], &[2, 3][..]));
    let refused = choose(false, &[]).unwrap_err();
    assert!(matches!(refused, FoldWhy::NotANumber { index: 0, .. }), "{refused}");
}

#[test]
fn a_weight_that_is_listed_as_an_input_and_given_as_an_output_is_no_input() {
    let mut graph = graph(vec![input("w", &["3"])], vec![], "w");
    graph.initializer = vec![Tensor::f32(&[3], &[1.0, 2.0, 3.0]).to_proto("w")];
    let once = folded(graph, 17).unwrap();
    assert_eq!(once.model.graph().input, vec![]);
    assert_eq!(fold(&once.model).unwrap().types, once.types);
}

#[test]
fn a_setting_that_is_not_a_number_is_named_with_its_node() {
    let clip = node("Clip", &["x"], &["y"], &[("min", Attr::Float(f32::NAN))]);
    let refused = folded(graph(vec![input("x", &["3"])], vec![clip], "y"), 9);
    assert_eq!(refused, Err(FoldWhy::NotANumber { tensor: "y.min".to_owned(), index: 0 }));
}

#[test]
fn a_weight_whose_values_do_not_fill_it_is_named() {
    let mut short = Tensor::f32(&[3], &[1.0; 3]).to_proto("w");
    short.raw_data = Some(Bytes::from_static(&[0; 8]));
    let refused = with_weight(short).unwrap_err();
    assert!(
        matches!(&refused, FoldWhy::Tensor(TensorError::Length { tensor, got: 8, want: 12, .. }) if tensor == "w"),
        "{refused}"
    );
}

#[test]
fn dimensions_that_no_memory_holds_are_refused_before_it_is_asked_for() {
    let mut huge = Tensor::f32(&[1], &[1.0]).to_proto("w");
    for dims in [vec![i64::MAX], vec![-1], vec![1 << 30, 1 << 30], vec![1; 1000]] {
        huge.dims = dims;
        let refused = with_weight(huge.clone()).unwrap_err();
        assert!(matches!(refused, FoldWhy::Tensor(_)), "{refused}");
    }
    let shape = Tensor::i64s(&[1 << 40]);
    let nodes = vec![
        node("Constant", &[], &["s"], &[("value", Attr::Tensor(shape))]),
        node("ConstantOfShape", &["s"], &["y"], &[]),
    ];
    let refused = folded(graph(vec![], nodes, "y"), 17).unwrap_err();
    assert!(matches!(&refused, FoldWhy::Infer(e) if e.why == InferWhy::TooLarge { index: 0 }));
}

#[test]
fn a_weight_in_another_file_is_refused_with_the_name_of_that_file() {
    let entry = |key: &str, value: &str| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    let external = TensorProto {
        raw_data: None,
        data_location: Some(1),
        external_data: vec![entry("location", "weights.bin")],
        ..Tensor::f32(&[3], &[1.0; 3]).to_proto("w")
    };
    let error = with_weight(external).unwrap_err().to_string();
    assert!(error.contains("`w`") && error.contains("weights.bin"), "{error}");
}

#[test]
fn a_weight_listed_as_an_input_is_a_constant() {
    let add = vec![node("Add", &["x", "w"], &["y"], &[])];
    let mut graph = graph(vec![input("x", &["3"]), input("w", &["3"])], add, "y");
    graph.initializer = vec![Tensor::f32(&[3], &[1.0; 3]).to_proto("w")];
    let folded = folded(graph, 17).unwrap();
    let names: Vec<&str> = folded.model.graph().input.iter().map(|i| i.name()).collect();
    assert_eq!(names, ["x"]);
}

#[test]
fn a_transposed_weight_stays_as_the_file_stores_it() {
    let nodes = vec![
        node("Transpose", &["w"], &["wt"], &[("perm", Attr::Ints(vec![1, 0]))]),
        node("MatMul", &["x", "wt"], &["y"], &[]),
    ];
    let mut graph = graph(vec![input("x", &["5", "3"])], nodes, "y");
    graph.initializer = vec![Tensor::f32(&[2, 3], &[1.0; 6]).to_proto("w")];
    assert_eq!(operators(&folded(graph, 17).unwrap()), ["Transpose", "MatMul"]);
}

#[test]
fn an_output_that_is_known_or_passed_on_keeps_its_name() {
    let nodes = vec![
        node("Identity", &["x"], &["y"], &[]),
        node("Constant", &[], &["c"], &[("value_float", Attr::Float(2.0))]),
    ];
    let mut graph = graph(vec![input("x", &["2"])], nodes, "y");
    graph.output.push(TensorType::f32(&[]).to_value_info("c"));

    let folded = folded(graph, 17).unwrap();

    assert_eq!(operators(&folded), ["Identity", "Identity"]);
    assert_eq!(folded.types["y"], TensorType::f32(&[2]));
    assert_eq!(folded.types["c"], TensorType::f32(&[]));
}

/// Graphs of older operator sets compute the same when they are raised.
#[test]
fn older_operators_are_raised_without_changing_what_they_compute() {
    let Some(ort) = ort_or_skip() else { return };
    let ints = |name, v: &[i64]| (name, Attr::Ints(v.to_vec()));
    let softmax_all = vec![node("Softmax", &["x"], &["y"], &[])];
    let softmax_last = vec![node("LogSoftmax", &["x"], &["y"], &[("axis", Attr::Int(3))])];
    let slice = [ints("axes", &[2, 3]), ints("starts", &[0, -3]), ints("ends", &[9, 4])];
    let pad = [ints("pads", &[0, 0, 1, 2, 0, 0, 0, 1]), ("value", Attr::Float(0.5))];
    let clip = [("min", Attr::Float(-0.5)), ("max", Attr::Float(0.5))];
    let chained = vec![
        node("Slice", &["x"], &["a"], &slice),
        node("Pad", &["a"], &["b"], &pad),
        node("Clip", &["b"], &["c"], &clip),
        node("Unsqueeze", &["c"], &["d"], &[ints("axes", &[0])]),
        node("Squeeze", &["d"], &["e"], &[ints("axes", &[0, 1])]),
        node("ReduceSum", &["e"], &["f"], &[ints("axes", &[1]), ("keepdims", Attr::Int(0))]),
        node("Dropout", &["f"], &["y"], &[("ratio", Attr::Float(0.5))]),
    ];
    let upsample = vec![node(
        "Upsample",
        &["x"],
        &["y"],
        &[
            ("scales", Attr::Floats(vec![1.0, 1.0, 2.0, 3.0])),
            ("mode", Attr::Str("nearest".to_owned())),
        ],
    )];
    let scales = Attr::Tensor(Tensor::f32(&[4], &[1.0, 1.0, 2.0, 1.5]));
    let resize = vec![
        node("Constant", &[], &["s"], &[("value", scales)]),
        node("Resize", &["x", "s"], &["y"], &[("mode", Attr::Str("linear".to_owned()))]),
    ];
    let split = vec![
        node("Split", &["x"], &["a", "b"], &[ints("split", &[1, 2]), ("axis", Attr::Int(1))]),
        node("Concat", &["b", "a"], &["y"], &[("axis", Attr::Int(1))]),
    ];
    let cases = [
        (7, upsample),
        (9, softmax_all),
        (9, softmax_last),
        (9, chained),
        (10, resize),
        (11, split),
    ];
    for (opset, nodes) in cases {
        let label = format!("{} of {opset}", nodes[0].op_type());
        let x: Vec<f32> = (0..48).map(|i| ((i * 37 % 97) as f32 / 48.0 - 1.0) * 2.0).collect();
        let graph = graph(vec![input("x", &["1", "3", "4", "4"])], nodes, "y");
        let raised = folded(graph.clone(), opset).unwrap();
        let mut original = Model::new(graph, opset);
        original.graph_mut().output = vec![raised.types["y"].to_value_info("y")];
        let run = |model: &Model| {
            let mut session = ort.load(model, &plain_options()).unwrap();
            session.write_f32(0, &x).unwrap();
            session.run().unwrap();
            session.output_f32(0).unwrap().to_vec()
        };
        assert_eq!(raised.model.opset(), 17, "{label}");
        assert_eq!(run(&original), run(&raised.model), "{label}");
    }
}

/// ONNX Runtime refuses the pads that the formula gives here: they are below 0, and mean none.
#[test]
fn a_pool_whose_windows_lie_apart_has_its_pads_written_out() {
    let attrs = [
        ("kernel_shape", Attr::Ints(vec![1, 2])),
        ("strides", Attr::Ints(vec![3, 1])),
        ("auto_pad", Attr::Str("SAME_LOWER".to_owned())),
    ];
    let pool = node("MaxPool", &["x"], &["y"], &attrs);
    let model =
        folded(graph(vec![input("x", &["1", "1", "5", "3"])], vec![pool], "y"), 17).unwrap();
    let written = &model.model.graph().node[0];
    assert_eq!(written.ints("pads"), Some(&[0, 1, 0, 0][..]));
    assert_eq!(model.types["y"].dims, [1, 1, 2, 3]);
    let Some(ort) = ort_or_skip() else { return };
    let mut session = ort.load(&model.model, &plain_options()).unwrap();
    let values: Vec<f32> = (0..15_u8).map(f32::from).collect();
    session.write_f32(0, &values).unwrap();
    session.run().unwrap();
    assert_eq!(session.output_f32(0).unwrap(), [0.0, 1.0, 2.0, 9.0, 10.0, 11.0]);
}

#[test]
fn errors_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broken.onnx");
    let nodes = vec![node("Frobnicate", &["x"], &["y"], &[])];
    Model::new(graph(vec![input("x", &["1", "t"])], nodes, "y"), 17).write(&path).unwrap();
    let model = Model::read(&path).unwrap();

    let open = pin(&model, &PinOptions::default()).unwrap_err().to_string();
    assert!(open.contains("broken.onnx: axis 1 of input `x`"), "{open}");
    let dims = BTreeMap::from([("t".to_owned(), 5)]);
    let pinned = pin(&model, &PinOptions { dims, ..PinOptions::default() }).unwrap();
    let refused = fold(&pinned).unwrap_err().to_string();
    assert!(refused.contains("broken.onnx: Frobnicate node `y`"), "{refused}");
}

/// x, then a Loop over `x ← x + x` with this number of rounds and this first condition.
fn doubling(rounds: TensorProto, condition: TensorProto, ends: bool) -> Result<Folded, FoldWhy> {
    let bool_info = |name: &str| TensorType::new(Element::Bool, &[]).to_value_info(name);
    let number = TensorType::new(Element::I64, &[]).to_value_info("round");
    let value = |name: &str| TensorType::f32(&[3]).to_value_info(name);
    let two = node("Constant", &[], &["two"], &[("value_int", Attr::Int(2))]);
    let next = match ends {
        true => node("Less", &["round", "two"], &["on"], &[]),
        false => node("Identity", &["going"], &["on"], &[]),
    };
    let body = GraphProto {
        input: vec![number, bool_info("going"), value("state")],
        node: vec![two, next, node("Add", &["state", "state"], &["twice"], &[])],
        output: vec![bool_info("on"), value("twice")],
        ..GraphProto::default()
    };
    let mut held = Attr::Int(0).to_proto("body");
    (held.i, held.r#type) = (None, Some(attribute_type::GRAPH));
    held.g = Some(Box::new(body));
    let mut control = node("Loop", &["m", "c", "x"], &["y"], &[]);
    control.name = Some("around".to_owned());
    control.attribute = vec![held];
    let mut graph = graph(vec![input("x", &["3"])], vec![control], "y");
    graph.initializer = vec![rounds, condition];
    folded(graph, 17)
}

#[test]
fn a_loop_is_written_out_as_often_as_its_rounds_and_its_condition_say() {
    let number = |n: i64| Tensor::new(&[], Data::I64(vec![n])).to_proto("m");
    let condition = |yes: bool| Tensor::new(&[], Data::Bool(vec![yes])).to_proto("c");
    let adds = |folded: Folded| operators(&folded).iter().filter(|op| **op == "Add").count();
    assert_eq!(doubling(number(5), condition(true), false).map(adds), Ok(5));
    assert_eq!(doubling(number(5), condition(true), true).map(adds), Ok(3));
    assert_eq!(doubling(number(5), condition(false), false).map(adds), Ok(0));
}

#[test]
fn a_loop_that_grows_without_end_is_refused_with_its_name() {
    let number = Tensor::new(&[], Data::I64(vec![i64::MAX])).to_proto("m");
    let condition = Tensor::new(&[], Data::Bool(vec![true])).to_proto("c");
    let refused = doubling(number, condition, false).unwrap_err();
    assert!(refused.to_string().starts_with("Loop node `around` cannot be unrolled"), "{refused}");
}

/// An optional input would not be missed otherwise.
#[test]
fn what_a_body_reads_or_gives_and_nothing_makes_is_named() {
    for (reads, gives) in [("state", "nowhere"), ("nowhere", "twice")] {
        let row = |name: &str| TensorType::f32(&[3]).to_value_info(name);
        let body = GraphProto {
            input: vec![row("state")],
            node: vec![node("Add", &["state", reads], &["twice"], &[])],
            output: vec![row(gives)],
            ..GraphProto::default()
        };
        let mut held = Attr::Int(1).to_proto("body");
        (held.i, held.r#type) = (None, Some(attribute_type::GRAPH));
        held.g = Some(Box::new(body));
        let mut control = node("Scan", &["x", "rows"], &["y"], &[]);
        control.attribute = vec![held, Attr::Int(1).to_proto("num_scan_inputs")];
        let given = vec![input("x", &["3"]), input("rows", &["2", "3"])];
        let refused = folded(graph(given, vec![control], "y"), 17).unwrap_err();
        let FoldWhy::Undefined { tensor, .. } = &refused else { panic!("{refused}") };
        assert_eq!(tensor, "nowhere");
    }
}

/// What nothing here infers is what the file declares, also of the standard's operators: engines may have them.
#[test]
fn an_operator_that_is_not_inferred_has_the_type_that_the_file_declares() {
    let model = |declared: bool| {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[2, 3, 3]));
        let y = b.op("Relu", &[&x], &[]).unwrap();
        b.output("y", &y);
        let mut model = b.into_model();
        let graph = model.graph_mut();
        let det = NodeProto {
            op_type: Some("Det".into()),
            input: vec![y.name().to_owned()],
            output: vec!["det".into()],
            ..NodeProto::default()
        };
        let root = NodeProto {
            op_type: Some("Sqrt".into()),
            input: vec!["det".into()],
            output: vec!["z".into()],
            ..det.clone()
        };
        graph.node.extend([det, root]);
        graph.output.push(TensorType::f32(&[2]).to_value_info("z"));
        if declared {
            graph.value_info.push(TensorType::f32(&[2]).to_value_info("det"));
        }
        model
    };
    let folded = fold(&model(true)).unwrap();
    assert_eq!(folded.types["z"], TensorType::f32(&[2]));
    assert_eq!(fold(&folded.model).unwrap().types["det"], TensorType::f32(&[2]));
    assert!(fold(&model(false)).unwrap_err().to_string().contains("not supported"));
}

/// Where proto3 writes a file, an attribute of 0 has its type and no value.
#[test]
fn an_attribute_of_0_that_has_its_type_alone_is_0() {
    let zero = |op: &str, inputs: &[&str], output: &str, name: &str| {
        let mut node = node(op, inputs, &[output], &[(name, Attr::Int(0))]);
        node.attribute[0].i = None;
        node
    };
    let nodes = vec![
        zero("Trilu", &["ones"], "lower", "upper"),
        zero("Concat", &["x", "lower"], "y", "axis"),
        zero("Constant", &[], "none", "value_int"),
        node("Gather", &["y", "none"], &["z"], &[("axis", Attr::Int(1))]),
    ];
    let mut graph = graph(vec![input("x", &["1", "2"])], nodes, "z");
    graph.initializer = vec![Tensor::f32(&[2, 2], &[1.0; 4]).to_proto("ones")];
    let done = folded(graph, 17).unwrap();
    assert_eq!(done.types["y"], TensorType::f32(&[3, 2]));
    let stored = &done.model.graph().initializer;
    let lower = stored.iter().find(|stored| stored.name() == "lower").unwrap();
    assert_eq!(Tensor::from_proto(lower), Ok(Tensor::f32(&[2, 2], &[1.0, 0.0, 1.0, 1.0])));
    // Over all of it, not over every row, as the default of old is.
    let softmax = zero("Softmax", &["x"], "y", "axis");
    let done = folded(self::graph(vec![input("x", &["2", "3"])], vec![softmax], "y"), 11).unwrap();
    assert_eq!(operators(&done), ["Flatten", "Softmax", "Reshape"]);
}

#[test]
fn pads_that_cut_off_more_than_there_is_on_one_side_are_refused_with_their_node() {
    let pads = [([0, -5, 0, 5], 4), ([i64::MIN, 0, i64::MAX, 0], 2), ([0, -3, 0, -2], 4)];
    for (pads, length) in pads {
        let pad = node("Pad", &["x", "pads"], &["y"], &[]);
        let mut graph = graph(vec![], vec![pad], "y");
        let x = Tensor::f32(&[length, length], &vec![1.0; length * length]);
        graph.initializer = vec![x.to_proto("x"), Tensor::i64s(&pads).to_proto("pads")];
        let refused = folded(graph, 17).unwrap_err().to_string();
        let parts = ["Pad node `y`", "more is cut off than there is", "at axis"];
        assert!(parts.iter().all(|part| refused.contains(part)), "{refused}");
    }
}

#[test]
fn a_name_that_folding_makes_is_none_that_a_branch_brought_in() {
    let parts: Vec<String> = (0..32).map(|at| format!("p.folded_{at}")).collect();
    let graphs = [("then_branch", "first"), ("else_branch", "second")].map(|(name, output)| {
        let mut branch = Attr::Int(0).to_proto(name);
        (branch.i, branch.r#type) = (None, Some(attribute_type::GRAPH));
        let read: Vec<&str> =
            std::iter::once("x").chain(parts.iter().map(String::as_str)).collect();
        let mut inner = graph(Vec::new(), vec![node("Sum", &read, &[output], &[])], output);
        inner.initializer =
            parts.iter().map(|name| Tensor::f32(&[1], &[1.0]).to_proto(name)).collect();
        branch.g = Some(Box::new(inner));
        branch
    });
    let mut choice = node("If", &["yes"], &["chosen"], &[]);
    choice.attribute = graphs.to_vec();
    let nodes = vec![choice, node("Softmax", &["chosen"], &["p"], &[("axis", Attr::Int(1))])];
    let mut graph = graph(vec![input("x", &["4", "2", "3"])], nodes, "p");
    graph.initializer = vec![Tensor::new(&[], Data::Bool(vec![true])).to_proto("yes")];
    let done = folded(graph, 11).unwrap();
    let done = done.model.graph();
    let stored = done.initializer.iter().map(|stored| stored.name());
    let mut names: Vec<&str> =
        done.node.iter().flat_map(|node| &node.output).map(String::as_str).chain(stored).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(parts.iter().all(|part| names.contains(&part.as_str())), "{names:?}");
}

/// Before version 14 a normalisation by the batch is told by its further outputs, and engines do it.
#[test]
fn a_normalisation_that_trains_is_refused_with_its_name() {
    let model = |outputs: &[&str]| {
        let mut b = Builder::new(9);
        let x = b.input("x", TensorType::f32(&[2, 3]));
        let of = |b: &mut Builder, name: &str| b.initializer(name, &Tensor::f32(&[3], &[0.5; 3]));
        let rest = ["scale", "bias", "mean", "variance"].map(|name| of(&mut b, name));
        let [scale, bias, mean, variance] = &rest;
        let y = b.op_named("norm", "BatchNormalization", &[&x, scale, bias, mean, variance], &[]);
        b.output("y", &y.unwrap());
        let mut model = b.into_model();
        let node = &mut model.graph_mut().node[0];
        node.output.extend(outputs.iter().map(|name| (*name).to_owned()));
        model
    };
    assert!(fold(&model(&[])).is_ok() && fold(&model(&["", ""])).is_ok());
    let refused = fold(&model(&["", "", "saved_mean", "saved_variance"])).unwrap_err().to_string();
    assert!(
        refused.contains("BatchNormalization node `") && refused.contains("outputs of training")
    );
}

#[test]
fn a_branch_by_a_value_of_the_run_is_refused_with_its_name() {
    let condition = node("Greater", &["x", "x"], &["c"], &[]);
    let mut control = node("If", &["c"], &["y"], &[]);
    control.name = Some("fork".to_owned());
    let refused =
        folded(graph(vec![input("x", &["1"])], vec![condition, control], "y"), 17).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("`fork`") && text.contains("depends on values of the run"), "{text}");
    assert!(text.contains("--value"), "{text}");
}
