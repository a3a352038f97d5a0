//! Recurrent operators, branches and loops, and quantised values.

use shoal_runtime::onnx::proto::{AttributeProto, GraphProto, NodeProto, attribute_type};
use shoal_runtime::onnx::{Attr, Builder, Data, Model, Tensor, TensorType, Value};

use super::{Entry, Gen, text};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        ("LSTM", 9, recurrent),
        ("GRU", 9, recurrent),
        ("RNN", 9, recurrent),
        ("If", 9, branch),
        ("Loop", 9, rounds),
        ("Scan", 9, scan),
        ("QuantizeLinear", 10, quantise),
    ]
}

fn recurrent(g: &mut Gen, op: &str) {
    let (steps, batch, inputs, hidden) = (g.size(1, 4), g.size(1, 2), g.size(1, 3), g.size(1, 3));
    let gates = match op {
        "LSTM" => 4,
        "GRU" => 3,
        _ => 1,
    };
    let direction = g.pick(&["forward", "reverse", "bidirectional"]);
    let d = if direction == "bidirectional" { 2 } else { 1 };
    let x = g.x(&[steps, batch, inputs]);
    let w = g.also(&[d, gates * hidden, inputs], -1.0, 1.0);
    let r = g.also(&[d, gates * hidden, hidden], -1.0, 1.0);
    let bias = g.yes().then(|| g.also(&[d, 2 * gates * hidden], -1.0, 1.0));
    let h = g.yes().then(|| g.also(&[d, batch, hidden], -1.0, 1.0));
    let lstm = op == "LSTM";
    let c = (lstm && g.yes()).then(|| g.also(&[d, batch, hidden], -1.0, 1.0));
    let p = (lstm && g.whole(0, 2) == 0).then(|| g.also(&[d, 3 * hidden], -1.0, 1.0));
    let mut attrs = vec![("hidden_size", Attr::Int(hidden as i64)), ("direction", text(direction))];
    if op == "GRU" {
        attrs.push(("linear_before_reset", Attr::Int(g.whole(0, 1))));
    }
    let inputs =
        [Some(&x), Some(&w), Some(&r), bias.as_ref(), None, h.as_ref(), c.as_ref(), p.as_ref()];
    let used = if lstm { 8 } else { 6 };
    let outputs = if lstm { 3 } else { 2 };
    let y = g.op_n(op, &inputs[..used], &attrs, outputs);
    let first = g.size(0, outputs - 1);
    for value in &y[first..] {
        g.give(value);
    }
}

/// A graph inside a node, from a builder whose inputs and outputs are its own; `outer` are tensors that it
/// takes from around it, which it must not list.
fn inner(b: Builder, outer: &[&str]) -> GraphProto {
    let mut graph = b.into_model().graph().clone();
    graph.input.retain(|input| !outer.contains(&input.name()));
    graph
}

fn held(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        g: Some(Box::new(graph)),
        r#type: Some(attribute_type::GRAPH),
        ..AttributeProto::default()
    }
}

/// A whole model around one node.
fn around(
    g: &mut Gen,
    op: &str,
    (inputs, attribute): (&[&str], Vec<AttributeProto>),
    constants: Vec<(&str, Tensor)>,
    outputs: &[(&str, TensorType)],
) {
    let node = NodeProto {
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: outputs.iter().map(|(name, _)| (*name).to_owned()).collect(),
        name: Some("control".to_owned()),
        op_type: Some(op.to_owned()),
        attribute,
        ..NodeProto::default()
    };
    let graph = GraphProto {
        name: Some("case".to_owned()),
        node: vec![node],
        input: g.feeds.iter().map(|feed| feed.tensor.ty().to_value_info(&feed.name)).collect(),
        initializer: constants.iter().map(|(name, tensor)| tensor.to_proto(name)).collect(),
        output: outputs.iter().map(|(name, ty)| ty.to_value_info(name)).collect(),
        ..GraphProto::default()
    };
    g.whole = Some(Model::new(graph, g.opset));
}

fn branch(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    g.x(&dims);
    g.also(&dims, -1.0, 1.0);
    let ty = TensorType::f32(&dims);
    let make = |op: &str, opset: i64| {
        let mut b = Builder::new(opset);
        let (x, z) = (b.input("x0", ty.clone()), b.input("x1", ty.clone()));
        let product = b.op(op, &[&x, &z], &[]).unwrap();
        let bent = b.op("Tanh", &[&product], &[]).unwrap();
        let y = b.op("Add", &[&bent, &x], &[]).unwrap();
        b.output(&format!("{op}.y"), &y);
        inner(b, &["x0", "x1"])
    };
    let branches =
        vec![held("then_branch", make("Mul", g.opset)), held("else_branch", make("Add", g.opset))];
    let condition = Tensor::new(&[], Data::Bool(vec![g.yes()]));
    around(g, op, (&["c"], branches), vec![("c", condition)], &[("y0", ty)]);
}

/// State and a row for each round; the body reads a tensor from around it.
fn rounds(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 2);
    let count = g.size(1, 4);
    g.x(&dims);
    g.also(&dims, -1.0, 1.0);
    let ty = TensorType::f32(&dims);
    let mut b = Builder::new(g.opset);
    b.input("round", TensorType::new(shoal_runtime::onnx::Element::I64, &[]));
    let going = b.input("going", TensorType::new(shoal_runtime::onnx::Element::Bool, &[]));
    let (state, z) = (b.input("state", ty.clone()), b.input("x1", ty.clone()));
    let product = b.op("Mul", &[&state, &z], &[]).unwrap();
    let next = b.op("Sin", &[&product], &[]).unwrap();
    let next = b.op("Add", &[&next, &state], &[]).unwrap();
    b.output("still.going", &going);
    b.output("next", &next);
    b.output("row", &product);
    let body = vec![held("body", inner(b, &["x1"]))];
    let rounds = Tensor::new(&[], Data::I64(vec![count as i64]));
    let condition = Tensor::new(&[], Data::Bool(vec![true]));
    let rows = TensorType::f32(&[&[count], &dims[..]].concat());
    let constants = vec![("m", rounds), ("c", condition)];
    around(g, op, (&["m", "c", "x0"], body), constants, &[("y0", ty), ("y1", rows)]);
}

fn scan(g: &mut Gen, op: &str) {
    let (steps, wide) = (g.size(1, 4), g.size(1, 3));
    let last = g.yes();
    g.x(&[wide]);
    g.also(&if last { [wide, steps] } else { [steps, wide] }, -1.0, 1.0);
    let ty = TensorType::f32(&[wide]);
    let mut b = Builder::new(g.opset);
    let (state, x): (Value, Value) = (b.input("state", ty.clone()), b.input("row", ty.clone()));
    let sum = b.op("Add", &[&state, &x], &[]).unwrap();
    let next = b.op("Tanh", &[&sum], &[]).unwrap();
    let product = b.op("Mul", &[&next, &x], &[]).unwrap();
    b.output("next", &next);
    b.output("product", &product);
    let mut body = vec![held("body", inner(b, &[]))];
    body.push(Attr::Int(1).to_proto("num_scan_inputs"));
    body.push(Attr::Ints(vec![i64::from(last)]).to_proto("scan_input_axes"));
    body.push(Attr::Ints(vec![g.whole(0, 1)]).to_proto("scan_input_directions"));
    body.push(Attr::Ints(vec![g.whole(0, 1)]).to_proto("scan_output_directions"));
    let rows = TensorType::f32(&[steps, wide]);
    around(g, op, (&["x0", "x1"], body), Vec::new(), &[("y0", ty), ("y1", rows)]);
}

/// Quantised, moved and back; some values are beyond what the integers reach. Scales are powers of two, so that
/// every engine rounds alike.
fn quantise(g: &mut Gen, op: &str) {
    let (rows, wide) = (g.size(1, 3), g.size(1, 4));
    let x = g.between(&[rows, wide], -3.0, 3.0);
    let each = g.opset >= 13 && g.yes();
    let (scales, zeros) = if each { (rows, rows) } else { (1, 1) };
    let scale: Vec<f32> = (0..scales).map(|_| g.pick(&[1.0 / 64.0, 1.0 / 32.0])).collect();
    let dims: &[usize] = if each { &[rows] } else { &[] };
    let scale = g.b.constant_of(&Tensor::f32(dims, &scale));
    let zero = if g.yes() {
        Data::U8((0..zeros).map(|_| g.whole(100, 140) as u8).collect())
    } else {
        Data::I8((0..zeros).map(|_| g.whole(-9, 9) as i8).collect())
    };
    let zero = g.b.constant_of(&Tensor::new(dims, zero));
    let attrs = [("axis", Attr::Int(0))];
    let attrs: &[(&str, Attr)] = if each { &attrs } else { &[] };
    let bent = g.op("Sin", &[&x], &[]);
    let wide_again = g.op("Add", &[&bent, &x], &[]);
    let q = g.op(op, &[&wide_again, &scale, &zero], attrs);
    let y = g.op("DequantizeLinear", &[&q, &scale, &zero], attrs);
    g.give(&y);
}
