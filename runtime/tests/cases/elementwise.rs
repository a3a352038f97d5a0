//! Functions of values one by one, and what folds axes.

use shoal_runtime::onnx::{Attr, Value};

use super::{Entry, Gen, text};

/// Functions of one value, and where their values come from.
const UNARY: [(&str, i64, f32, f32); 37] = [
    ("Abs", 9, -1.0, 1.0),
    ("Acos", 9, -0.8, 0.8),
    ("Acosh", 9, 1.5, 3.0),
    ("Asin", 9, -0.8, 0.8),
    ("Asinh", 9, -2.0, 2.0),
    ("Atan", 9, -2.0, 2.0),
    ("Atanh", 9, -0.8, 0.8),
    ("Celu", 12, -2.0, 2.0),
    ("Cos", 9, -2.0, 2.0),
    ("Cosh", 9, -2.0, 2.0),
    ("Elu", 9, -2.0, 2.0),
    ("Erf", 9, -2.0, 2.0),
    ("Exp", 9, -2.0, 2.0),
    ("Gelu", 20, -3.0, 3.0),
    ("HardSigmoid", 9, -4.0, 4.0),
    ("HardSwish", 14, -5.0, 5.0),
    ("Identity", 9, -1.0, 1.0),
    ("LeakyRelu", 9, -1.0, 1.0),
    ("Log", 9, 0.3, 3.0),
    ("Mish", 18, -3.0, 3.0),
    ("Neg", 9, -1.0, 1.0),
    ("Reciprocal", 9, 0.5, 2.0),
    ("Relu", 9, -1.0, 1.0),
    ("Selu", 9, -2.0, 2.0),
    ("Shrink", 9, -2.0, 2.0),
    ("Sigmoid", 9, -3.0, 3.0),
    ("Sin", 9, -2.0, 2.0),
    ("Sinh", 9, -2.0, 2.0),
    ("Softplus", 9, -3.0, 3.0),
    ("Softsign", 9, -3.0, 3.0),
    ("Sqrt", 9, 0.3, 3.0),
    ("Swish", 24, -3.0, 3.0),
    ("Tan", 9, -1.0, 1.0),
    ("Tanh", 9, -2.0, 2.0),
    ("ThresholdedRelu", 10, -2.0, 2.0),
    ("LogSoftmax", 9, -2.0, 2.0),
    ("Softmax", 9, -2.0, 2.0),
];
const FLAT: [(&str, i64); 4] = [("Ceil", 9), ("Floor", 9), ("Round", 11), ("Sign", 9)];
const COMPARE: [(&str, i64); 9] = [
    ("And", 9),
    ("Equal", 9),
    ("Greater", 9),
    ("GreaterOrEqual", 12),
    ("Less", 9),
    ("LessOrEqual", 12),
    ("Not", 9),
    ("Or", 9),
    ("Xor", 9),
];
const REDUCE: [&str; 10] = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
];

pub(crate) fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    entries.extend(UNARY.map(|(op, since, ..)| (op, since, unary as fn(&mut Gen, &str))));
    entries.extend(FLAT.map(|(op, since)| (op, since, flat as fn(&mut Gen, &str))));
    entries.extend(COMPARE.map(|(op, since)| (op, since, compare as fn(&mut Gen, &str))));
    entries.extend(
        ["Add", "Sub", "Mul", "Div", "Pow"].map(|op| (op, 9, binary as fn(&mut Gen, &str))),
    );
    entries.extend(["Min", "Max", "Sum", "Mean"].map(|op| (op, 9, variadic as fn(&mut Gen, &str))));
    entries.extend(REDUCE.map(|op| (op, 9, reduce as fn(&mut Gen, &str))));
    entries.extend([
        ("Mod", 10, remainder as fn(&mut Gen, &str)),
        ("PRelu", 9, prelu),
        ("Clip", 9, clip),
        ("Where", 9, choose),
        ("Cast", 9, cast),
        ("CastLike", 15, cast),
        ("Dropout", 9, dropout),
    ]);
    entries
}

fn unary(g: &mut Gen, op: &str) {
    let (_, _, low, high) = *UNARY.iter().find(|(name, ..)| *name == op).unwrap();
    let dims = g.shape(if op.ends_with("Softmax") { 2 } else { 1 }, 4);
    let x = g.between(&dims, low, high);
    let mut attrs = Vec::new();
    if g.yes() {
        attrs = settings(g, op, dims.len());
    }
    let y = g.op(op, &[&x], &attrs);
    g.give(&y);
}

/// The attributes that a function has, drawn.
fn settings(g: &mut Gen, op: &str, rank: usize) -> Vec<(&'static str, Attr)> {
    let alpha = Attr::Float(g.pick(&[0.1, 0.3, 0.7, 1.3]));
    match op {
        "LeakyRelu" | "Elu" | "Celu" | "ThresholdedRelu" | "Swish" => vec![("alpha", alpha)],
        "Selu" => vec![("alpha", alpha), ("gamma", Attr::Float(1.2))],
        "HardSigmoid" => vec![("alpha", alpha), ("beta", Attr::Float(g.pick(&[0.3, 0.5])))],
        "Shrink" => vec![("lambd", Attr::Float(0.7)), ("bias", Attr::Float(g.pick(&[0.0, 0.2])))],
        "Gelu" => vec![("approximate", text(g.pick(&["none", "tanh"])))],
        "Softmax" | "LogSoftmax" => vec![("axis", Attr::Int(g.axis(rank)))],
        _ => Vec::new(),
    }
}

/// A step function times x: what is left is the step function.
fn flat(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let x = g.between(&dims, -3.0, 3.0);
    let steps = g.op(op, &[&x], &[]);
    let y = g.op("Mul", &[&steps, &x], &[]);
    g.give(&y);
}

/// A choice by what has no gradient itself.
fn compare(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let other = g.narrower(&dims);
    let (x, z) = (g.x(&dims), g.also(&other, -1.0, 1.0));
    let chosen = match op {
        "And" | "Or" | "Xor" | "Not" => {
            let (a, b) = (g.bools(&dims), g.bools(&dims));
            if op == "Not" { g.op(op, &[&a], &[]) } else { g.op(op, &[&a, &b], &[]) }
        }
        // Of floats from version 11 on.
        "Equal" if g.opset < 11 => {
            let (a, b) = (g.index(&dims, 2), g.index(&dims, 2));
            g.op(op, &[&a, &b], &[])
        }
        _ => g.op(op, &[&x, &z], &[]),
    };
    let y = g.op("Where", &[&chosen, &x, &z], &[]);
    g.give(&y);
}

fn binary(g: &mut Gen, op: &str) {
    let wide = g.shape(1, 4);
    let (one, other) = (wide.clone(), g.narrower(&wide));
    let (one, other) = if g.yes() { (one, other) } else { (other, one) };
    let positive = matches!(op, "Div" | "Pow");
    let low = if positive { 0.5 } else { -1.0 };
    let a = g.between(&one, low, 2.0);
    if op == "Pow" && g.yes() {
        let exponent = g.pick(&[2.0, 3.0, 0.5, -1.0]);
        let exponent = g.b.scalar(exponent);
        let y = g.op(op, &[&a, &exponent], &[]);
        return g.give(&y);
    }
    let b = g.also(&other, low, 2.0);
    let y = g.op(op, &[&a, &b], &[]);
    g.give(&y);
}

fn variadic(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let first = g.x(&dims);
    let mut all = vec![first];
    for _ in 0..g.size(1, 2) {
        let dims = g.narrower(&dims);
        all.push(g.also(&dims, -1.0, 1.0));
    }
    let all: Vec<&Value> = all.iter().collect();
    let y = g.op(op, &all, &[]);
    g.give(&y);
}

fn reduce(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 4);
    let low = if op == "ReduceLogSum" { 0.3 } else { -1.0 };
    let x = match op {
        // Now and then a zero, or several, by which nothing can be divided.
        "ReduceProd" => g.halves(&dims),
        _ => g.between(&dims, low, 1.5),
    };
    let keep = g.yes();
    if g.whole(0, 3) == 0 {
        let mut attrs = vec![("keepdims", Attr::Int(i64::from(keep)))];
        // Without axes: nothing is folded, where that is asked for.
        let can = g.opset >= if op == "ReduceSum" { 13 } else { 18 };
        if can && g.yes() {
            attrs.push(("noop_with_empty_axes", Attr::Int(1)));
        }
        let y = g.op(op, &[&x], &attrs);
        return g.give(&y);
    }
    let count = g.size(1, dims.len());
    let mut axes: Vec<i64> = g.order(dims.len())[..count].to_vec();
    if g.opset >= 11 && g.yes() {
        axes[0] -= dims.len() as i64;
    }
    let y = g.b.reduce(op, &x, &axes, keep).unwrap();
    g.give(&y);
}

fn remainder(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let x = g.between(&dims, -3.0, 3.0);
    let by = g.b.scalar(0.7);
    let y = g.op(op, &[&x, &by], &[("fmod", Attr::Int(1))]);
    g.give(&y);
}

fn prelu(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 4);
    let narrow = g.narrower(&dims);
    let (x, slope) = (g.x(&dims), g.also(&narrow, 0.1, 0.6));
    let y = g.op(op, &[&x, &slope], &[]);
    g.give(&y);
}

fn clip(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let x = g.between(&dims, -2.0, 2.0);
    let (low, high) = (g.pick(&[None, Some(-0.7)]), g.pick(&[None, Some(0.4), Some(1.1)]));
    if g.opset < 11 {
        let bounds = [("min", low), ("max", high)];
        let attrs: Vec<(&str, Attr)> =
            bounds.iter().filter_map(|(name, v)| v.map(|v| (*name, Attr::Float(v)))).collect();
        let y = g.op(op, &[&x], &attrs);
        return g.give(&y);
    }
    let mut bound = |v: Option<f32>| v.map(|v| g.between(&[], v, v));
    let (low, high) = (bound(low), bound(high));
    let y = g.op_n(op, &[Some(&x), low.as_ref(), high.as_ref()], &[], 1).remove(0);
    g.give(&y);
}

fn choose(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let (one, other) = (g.narrower(&dims), g.narrower(&dims));
    let condition = g.bools(&dims);
    let (a, b) = (g.x(&one), g.also(&other, -1.0, 1.0));
    let y = g.op(op, &[&condition, &a, &b], &[]);
    g.give(&y);
}

/// To float64, where it is squared, and back.
fn cast(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let x = g.x(&dims);
    let wide = g.op("Cast", &[&x], &[("to", Attr::Int(11))]);
    let square = g.op("Mul", &[&wide, &wide], &[]);
    let y = match op {
        "Cast" => g.op(op, &[&square], &[("to", Attr::Int(1))]),
        _ => g.op(op, &[&square, &x], &[]),
    };
    g.give(&y);
}

fn dropout(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let x = g.x(&dims);
    let y = g.op(op, &[&x], &[]);
    let y = g.op("Tanh", &[&y], &[]);
    g.give(&y);
}
