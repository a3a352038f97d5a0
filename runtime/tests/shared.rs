//! Weights that several nodes read: a module that is called again, the rounds of a loop. One pair of factors is theirs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::bake::{BakeError, bake};
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::{ort_or_skip, plain_options};
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::{GraftOptions, Grafted, Profile, graft, sites, with_site_inputs};
use shoal_runtime::onnx::proto::{AttributeProto, GraphProto, NodeProto, attribute_type};
use shoal_runtime::onnx::{Attr, Builder, Data, Element, Model, Tensor, TensorType, fold};

const ROUNDS: usize = 3;
const WIDE: usize = 4;

fn values(count: usize, salt: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + salt * 104_729) % 1009) as f32 / 1009.0 - 0.5).collect()
}

fn square(salt: usize) -> Tensor {
    Tensor::f32(&[WIDE, WIDE], &values(WIDE * WIDE, salt))
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_owned()),
        input: inputs.iter().map(|&i| i.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn held(body: GraphProto) -> AttributeProto {
    let name = Some("body".to_owned());
    let r#type = Some(attribute_type::GRAPH);
    AttributeProto { name, r#type, g: Some(Box::new(body)), ..AttributeProto::default() }
}

/// `h ← tanh(h·W)`, three times, where this says from where the body has W.
fn looping(from: From) -> Model {
    let row = |name: &str| TensorType::f32(&[2, WIDE]).to_value_info(name);
    let matrix = |name: &str| TensorType::f32(&[WIDE, WIDE]).to_value_info(name);
    let going = |name: &str| TensorType::new(Element::Bool, &[]).to_value_info(name);
    let round = TensorType::new(Element::I64, &[]).to_value_info("round");
    let mut body = GraphProto {
        input: vec![round, going("going"), row("h")],
        node: vec![
            node("Identity", &["going"], "on"),
            node("MatMul", &["h", "w"], "product"),
            node("Tanh", &["product"], "next"),
        ],
        output: vec![going("on"), row("next")],
        name: Some("body".to_owned()),
        ..GraphProto::default()
    };
    let mut b = Builder::new(17);
    b.input("x", TensorType::f32(&[2, WIDE]));
    let rounds = Tensor::new(&[], Data::I64(vec![ROUNDS as i64]));
    b.initializer("rounds", &rounds);
    let mut given = vec!["rounds".to_owned(), String::new(), "x".to_owned()];
    let mut made = vec!["y".to_owned()];
    let turned = Attr::Ints(vec![1, 0]).to_proto("perm");
    match from {
        From::Around => _ = b.initializer("w", &square(1)),
        From::Body => body.initializer.push(square(1).to_proto("w")),
        From::Constant => {
            let mut constant = node("Constant", &[], "w");
            constant.attribute = vec![Attr::Tensor(square(1)).to_proto("value")];
            body.node.insert(0, constant);
        }
        From::Carried => {
            b.initializer("weight", &square(1));
            body.input.push(matrix("w"));
            body.node.push(node("Identity", &["w"], "w.next"));
            body.output.push(matrix("w.next"));
            given.push("weight".to_owned());
            made.push("w.last".to_owned());
        }
        From::Turned => {
            b.initializer("weight", &square(1));
            body.node.insert(
                0,
                NodeProto { attribute: vec![turned], ..node("Transpose", &["weight"], "w") },
            );
        }
        From::Half => {
            let half = Tensor::from_f64s(Element::F16, &[WIDE, WIDE], &square(1).to_f64s());
            b.initializer("weight", &half);
            let to = Attr::Int(i64::from(Element::F32.to_onnx())).to_proto("to");
            body.node
                .insert(0, NodeProto { attribute: vec![to], ..node("Cast", &["weight"], "w") });
        }
    }
    let mut around = node("Loop", &[], "y");
    (around.input, around.output, around.attribute) = (given, made, vec![held(body)]);
    around.name = Some("steps".to_owned());
    with_node(b, around)
}

/// The model with a node that its builder does not know, which makes `y`.
fn with_node(b: Builder, node: NodeProto) -> Model {
    let mut model = b.into_model();
    let graph = model.graph_mut();
    graph.node.push(node);
    graph.output.push(TensorType::f32(&[2, WIDE]).to_value_info("y"));
    model
}

/// From where a body has its weight.
#[derive(Clone, Copy, Debug, PartialEq)]
enum From {
    Around,
    Body,
    Constant,
    Carried,
    Turned,
    Half,
}

/// `y = tanh(tanh(x·W)·W) + gathered rows of W`, if asked for.
fn called_twice(tied: bool) -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, WIDE]));
    let w = b.initializer("encoder.weight", &square(1));
    let mut h = x;
    for _ in 0..2 {
        let product = b.op("MatMul", &[&h, &w], &[]).unwrap();
        h = b.op("Tanh", &[&product], &[]).unwrap();
    }
    if tied {
        let rows = b.i64s(&[3, 1]);
        let rows = b.op("Gather", &[&w, &rows], &[]).unwrap();
        h = b.op("Add", &[&h, &rows], &[]).unwrap();
    }
    b.output("y", &h);
    b.into_model()
}

fn run(ort: &Ort, model: &Model, adapter: Option<&Adapter>) -> Vec<f32> {
    let mut session = ort.load(model, &plain_options()).unwrap();
    let port = session.input_index("x").unwrap();
    session.write_f32(port, &values(2 * WIDE, 3)).unwrap();
    for factor in adapter.iter().flat_map(|a| a.layout().factors()) {
        let port = session.input_index(&factor.input).unwrap();
        session.write_f32(port, adapter.unwrap().factor(factor)).unwrap();
    }
    session.run().unwrap();
    session.output_f32(session.output_index("y").unwrap()).unwrap().to_vec()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0f32, |m, (x, y)| m.max((x - y).abs()))
}

fn grafted(model: &Model) -> Grafted {
    graft(&fold(model).unwrap(), &GraftOptions { rank: 2, ..GraftOptions::default() }).unwrap()
}

fn tuned(grafted: &Grafted) -> Adapter {
    let layout = Arc::new(grafted.layout.clone());
    let count = layout.values();
    Adapter::from_values(layout, values(count, 9)).unwrap()
}

fn stored(model: &Model) -> Vec<String> {
    model.graph().initializer.iter().map(|t| t.name().to_owned()).collect()
}

/// The model computes with its adapter what the baked one does, and something else than without.
fn check(ort: &Ort, model: &Model) -> Model {
    let grafted = grafted(model);
    let adapter = tuned(&grafted);
    let plain = run(ort, model, None);
    assert!(worst(&plain, &run(ort, &fold(model).unwrap().model, None)) < 1e-6);
    let with_adapter = run(ort, &grafted.folded.model, Some(&adapter));
    let baked = bake(model, &adapter).unwrap();
    let error = worst(&with_adapter, &run(ort, &baked, None));
    assert!(error < 1e-6, "{error}");
    assert!(worst(&with_adapter, &plain) > 1e-2);
    baked
}

#[test]
fn a_module_that_is_called_again_has_one_pair_of_factors_and_is_baked_where_it_is() {
    let Some(ort) = ort_or_skip() else { return };
    let model = called_twice(false);
    let found = sites(&fold(&model).unwrap());
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].name.as_str(), found[0].nodes.len()), ("encoder.weight", 2));

    let baked = check(&ort, &model);

    assert_eq!(stored(&baked), stored(&model));
}

#[test]
fn a_weight_that_others_read_too_stays_as_it_is_for_them() {
    let Some(ort) = ort_or_skip() else { return };
    let model = called_twice(true);

    let baked = check(&ort, &model);

    let new: BTreeSet<String> = stored(&baked).into_iter().collect();
    let old: BTreeSet<String> = stored(&model).into_iter().collect();
    let new: Vec<&String> = new.difference(&old).collect();
    assert_eq!(new, ["encoder.weight.baked"], "one copy for both nodes");
}

#[test]
fn the_rounds_of_a_loop_have_one_weight_wherever_the_body_has_it_from() {
    let Some(ort) = ort_or_skip() else { return };
    let all = [From::Around, From::Body, From::Constant, From::Carried, From::Turned, From::Half];
    for from in all {
        let model = looping(from);
        let found = sites(&fold(&model).unwrap());
        let names: Vec<(&str, usize)> =
            found.iter().map(|site| (site.name.as_str(), site.nodes.len())).collect();
        assert_eq!(names.len(), 1, "{from:?}: {names:?}");
        assert_eq!(names[0].1, ROUNDS, "{from:?}");

        let baked = check(&ort, &model);

        let kept: Vec<&str> = baked.graph().node.iter().map(NodeProto::op_type).collect();
        assert_eq!(kept, ["Loop"], "{from:?}: the loop is a loop still");
        // What is carried is given on as well, and half floats are no place for what float32 computes.
        let copies = matches!(from, From::Carried | From::Half);
        let added = stored(&baked).len() - stored(&model).len();
        assert_eq!(added, usize::from(copies), "{from:?}");
    }
}

#[test]
fn a_loop_inside_a_branch_is_baked() {
    let Some(ort) = ort_or_skip() else { return };
    let mut b = Builder::new(17);
    b.input("x", TensorType::f32(&[2, WIDE]));
    b.initializer("yes", &Tensor::new(&[], Data::Bool(vec![true])));
    let inner = looping(From::Body);
    let graph = inner.graph();
    let branch = |suffix: &str| {
        let mut around = graph.node[0].clone();
        around.output = vec![format!("y.{suffix}")];
        around.name = Some(format!("steps.{suffix}"));
        GraphProto {
            node: vec![around],
            initializer: graph.initializer.clone(),
            output: vec![TensorType::f32(&[2, WIDE]).to_value_info(&format!("y.{suffix}"))],
            name: Some(suffix.to_owned()),
            ..GraphProto::default()
        }
    };
    let mut choice = node("If", &["yes"], "y");
    for (name, suffix) in [("then_branch", "a"), ("else_branch", "b")] {
        let name = Some(name.to_owned());
        choice.attribute.push(AttributeProto { name, ..held(branch(suffix)) });
    }
    choice.name = Some("choice".to_owned());

    check(&ort, &with_node(b, choice));
}

/// `h ← tanh(h·W)` in a branch of a loop, and in a loop of two rounds within each of its rounds: what holds W is written out
/// with every round, and W once.
#[test]
fn a_weight_deep_in_a_loop_is_one_weight() {
    let Some(ort) = ort_or_skip() else { return };
    for from in [From::Body, From::Constant] {
        for inner in ["If", "Loop"] {
            let mut model = looping(from);
            let body = model.graph_mut().node[0].attribute[0].g.as_deref_mut().unwrap();
            let row = |name: &str| TensorType::f32(&[2, WIDE]).to_value_info(name);
            let mut within = GraphProto {
                initializer: std::mem::take(&mut body.initializer),
                node: std::mem::take(&mut body.node),
                name: Some("within".to_owned()),
                ..GraphProto::default()
            };
            within.node.retain(|node| !node.is("Identity"));
            let yes = Tensor::new(&[], Data::Bool(vec![true])).to_proto("yes");
            body.node.push(node("Identity", &["going"], "on"));
            let (mut around, rounds) = match inner {
                "If" => {
                    within.output = vec![row("next")];
                    body.initializer.push(yes);
                    let mut choice = node("If", &["yes"], "chosen");
                    let mut other = GraphProto {
                        node: vec![node("Identity", &["h"], "same")],
                        output: vec![row("same")],
                        name: Some("other".to_owned()),
                        ..GraphProto::default()
                    };
                    // A branch that is not taken may hold what could not be read.
                    other.initializer.push(Tensor::f32(&[1], &[f32::NAN]).to_proto("none"));
                    for (name, graph) in [("then_branch", &within), ("else_branch", &other)] {
                        let name = Some(name.to_owned());
                        choice.attribute.push(AttributeProto { name, ..held(graph.clone()) });
                    }
                    (choice, ROUNDS)
                }
                _ => {
                    let going = |n: &str| TensorType::new(Element::Bool, &[]).to_value_info(n);
                    let round = TensorType::new(Element::I64, &[]).to_value_info("round.2");
                    within.input = vec![round, going("going.2"), row("h.2")];
                    within.node.insert(0, node("Identity", &["going.2"], "on.2"));
                    for node in within.node.iter_mut().filter(|node| node.is("MatMul")) {
                        node.input[0] = "h.2".to_owned();
                    }
                    within.output = vec![going("on.2"), row("next")];
                    let twice = Tensor::new(&[], Data::I64(vec![2])).to_proto("twice");
                    body.initializer.push(twice);
                    let mut rounds = node("Loop", &["twice", "", "h"], "chosen");
                    rounds.attribute.push(held(within));
                    (rounds, 2 * ROUNDS)
                }
            };
            around.name = Some("inner".to_owned());
            body.node.push(around);
            body.output[1] = row("chosen");

            let found = sites(&fold(&model).unwrap());

            let names: Vec<(&str, usize)> =
                found.iter().map(|site| (site.name.as_str(), site.nodes.len())).collect();
            assert_eq!(names, [("w", rounds)], "{from:?} in {inner}");
            check(&ort, &model);
        }
    }
}

/// By the definition: half the change of the loss by a step there and back.
#[test]
fn the_gradient_of_a_shared_factor_is_the_sum_over_its_nodes() {
    let Some(ort) = ort_or_skip() else { return };
    for model in [called_twice(false), looping(From::Around)] {
        let grafted = grafted(&model);
        let adapter = tuned(&grafted);
        let wrt: Vec<String> = grafted.layout.factors().map(|f| f.input.clone()).collect();
        let options = DifferentiateOptions {
            losses: Vec::new(),
            wrt: wrt.clone(),
            strict: false,
            profile: Profile::Cpu,
        };
        let training = differentiate(&grafted.folded, &options).unwrap();
        let mut session = ort.load(&training.folded.model, &plain_options()).unwrap();
        let mut at = |adapter: &Adapter| -> Vec<Vec<f32>> {
            for (index, port) in session.inputs().to_vec().into_iter().enumerate() {
                let factor = adapter.layout().factors().find(|f| f.input == port.name);
                let given = match (factor, port.name.as_str()) {
                    (Some(factor), _) => adapter.factor(factor).to_vec(),
                    (None, "x") => values(2 * WIDE, 3),
                    (None, name) if name.starts_with("weight") => vec![1.0; port.ty.values()],
                    (None, _) => vec![0.25; port.ty.values()],
                };
                session.write_f32(index, &given).unwrap();
            }
            session.run().unwrap();
            let names = std::iter::once("loss".to_owned());
            let names = names.chain(wrt.iter().map(|name| format!("grad.{name}")));
            let ports = names.map(|name| session.output_index(&name).unwrap());
            let ports: Vec<usize> = ports.collect();
            ports.into_iter().map(|port| session.output_f32(port).unwrap().to_vec()).collect()
        };
        let gradients = at(&adapter)[1..].concat();
        for (index, gradient) in gradients.iter().enumerate() {
            let mut moved = |by: f32| {
                let mut moved = adapter.clone();
                moved.values_mut()[index] += by;
                f64::from(at(&moved)[0][0])
            };
            // By steps of two lengths, so that what is cubic in them goes.
            let slope = |by: f64, change: f64| change / (2.0 * by);
            let long = slope(2e-2, moved(2e-2) - moved(-2e-2));
            let short = slope(1e-2, moved(1e-2) - moved(-1e-2));
            let numeric = ((4.0 * short - long) / 3.0) as f32;
            assert!((numeric - gradient).abs() < 2e-4, "{index}: {numeric} for {gradient}");
        }
    }
}

#[test]
fn every_node_of_a_site_tells_what_goes_into_it() {
    let Some(ort) = ort_or_skip() else { return };
    let folded = fold(&called_twice(false)).unwrap();
    let layout = grafted(&called_twice(false)).layout;
    let with = with_site_inputs(folded, &layout).unwrap();
    let named: Vec<(usize, &str)> =
        with.sites.iter().map(|site| (site.site, site.output.as_str())).collect();
    assert_eq!(named, [(0, "input.encoder.weight"), (0, "input.encoder.weight#2")]);
    let mut session = ort.load(&with.folded.model, &plain_options()).unwrap();
    session.write_f32(0, &values(2 * WIDE, 3)).unwrap();
    session.run().unwrap();
    let first = session.output_f32(session.output_index(named[0].1).unwrap()).unwrap();
    assert_eq!(first, values(2 * WIDE, 3));
}

#[test]
fn a_loop_of_another_model_is_refused_by_name() {
    let adapter = tuned(&grafted(&looping(From::Body)));
    let mut other = looping(From::Body);
    other.graph_mut().node[0].name = Some("others".to_owned());
    let refused = bake(&other, &adapter).unwrap_err();
    assert!(matches!(&refused, BakeError::NoNode { site, .. } if site == "w"), "{refused}");
}

/// A kernel `[height, width, in, out]` in the file, as TensorFlow has it, behind a Transpose.
#[test]
fn a_kernel_with_its_channels_last_is_a_site_and_is_baked() {
    let Some(ort) = ort_or_skip() else { return };
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, WIDE]));
    let shape = b.i64s(&[2, 1, 2, 2]);
    let h = b.op("Reshape", &[&x, &shape], &[]).unwrap();
    let kernel = b.initializer("kernel", &Tensor::f32(&[2, 1, 1, 3], &values(6, 4)));
    let order = [("perm", Attr::Ints(vec![3, 2, 0, 1]))];
    let kernel = b.op("Transpose", &[&kernel], &order).unwrap();
    let y = b.op("Conv", &[&h, &kernel], &[]).unwrap();
    b.output("y", &y);
    let model = b.into_model();
    let found = sites(&fold(&model).unwrap());
    let found: Vec<(&str, &[usize])> =
        found.iter().map(|site| (site.name.as_str(), site.weight_dims.as_slice())).collect();
    assert_eq!(found, [("kernel", &[3, 1, 2, 1][..])]);

    check(&ort, &model);
}

/// Recurrent operators in both directions, whose first output is left out: their weights of inputs and of states.
#[test]
fn the_weights_of_recurrent_operators_are_sites_and_are_baked() {
    let Some(ort) = ort_or_skip() else { return };
    for (operator, gates) in [("LSTM", 4), ("GRU", 3), ("RNN", 1)] {
        let mut b = Builder::new(17);
        b.input("x", TensorType::f32(&[2, WIDE]));
        let hidden = WIDE / 2;
        let matrix = |inner: usize, salt| {
            let dims = [2, gates * hidden, inner];
            Tensor::f32(&dims, &values(dims.iter().product(), salt))
        };
        b.initializer("of.inputs", &matrix(WIDE, 5));
        b.initializer("of.states", &matrix(hidden, 6));
        b.initializer("steps", &Tensor::i64s(&[2, 1, WIDE as i64]));
        b.initializer("rows", &Tensor::i64s(&[1, WIDE as i64]));
        let mut model = b.into_model();
        let graph = model.graph_mut();
        let attribute = vec![
            Attr::Int(hidden as i64).to_proto("hidden_size"),
            Attr::Str("bidirectional".to_owned()).to_proto("direction"),
        ];
        graph.node.push(node("Reshape", &["x", "steps"], "sequence"));
        graph.node.push(NodeProto {
            output: vec![String::new(), "last".to_owned()],
            attribute,
            ..node(operator, &["sequence", "of.inputs", "of.states"], "")
        });
        graph.node.push(node("Reshape", &["last", "rows"], "y"));
        graph.output.push(TensorType::f32(&[1, WIDE]).to_value_info("y"));
        let found = sites(&fold(&model).unwrap());
        let found: Vec<(&str, _)> =
            found.iter().map(|site| (site.name.as_str(), site.factor_dims(3))).collect();
        let of = |inner| (vec![3, inner], vec![2 * gates * hidden, 3]);
        assert_eq!(found, [("of.inputs", of(WIDE)), ("of.states", of(hidden))], "{operator}");

        let baked = check(&ort, &model);

        assert_eq!(stored(&baked), stored(&model), "{operator}: where they are");
    }
}

/// What decoders of world models grow pictures with.
#[test]
fn the_kernel_of_a_transposed_convolution_is_a_site_and_is_baked() {
    let Some(ort) = ort_or_skip() else { return };
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, WIDE]));
    let shape = b.i64s(&[1, 4, 1, 2]);
    let h = b.op("Reshape", &[&x, &shape], &[]).unwrap();
    let kernel = b.initializer("kernel", &Tensor::f32(&[4, 3, 2, 2], &values(48, 4)));
    let attrs = [("strides", Attr::Ints(vec![2, 2])), ("group", Attr::Int(2))];
    let y = b.op("ConvTranspose", &[&h, &kernel], &attrs).unwrap();
    b.output("y", &y);
    let model = b.into_model();
    let found = sites(&fold(&model).unwrap());
    assert_eq!(found[0].factor_dims(3), (vec![3, 3, 2, 2], vec![4, 3, 1, 1]));

    check(&ort, &model);
}
