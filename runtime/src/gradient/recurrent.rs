//! Writes `LSTM`, `GRU` and `RNN` step by step. The length of the sequence is known, so it is a graph of matrix
//! products and gates.
//!
//! ```text
//! LSTM  i, o, f = σ(x W + h R + b + p∘c)   c̃ = tanh(x W + h R + b)   c ← f∘c + i∘c̃   h ← o∘tanh c
//! GRU   z, r = σ(x W + h R + b)            h̃ = tanh(x W + (r∘h) R + b), or r∘(h R + b)   h ← (1 − z)∘h̃ + z∘h
//! RNN   h ← tanh(x W + h R + b)
//! ```
//! x·W of all steps is one product; a step then costs one product with R (two for a GRU that resets before it)
//! and about ten small operators. 10·T nodes for an LSTM, 9·T for a GRU, 2·T for an RNN, before the gradient.
//! # Source
//! ONNX `LSTM`, `GRU`, `RNN`; Hochreiter and Schmidhuber (1997), Cho et al. (arXiv 1406.1078).

use crate::onnx::fold::unroll::UNROLLED_NODES_MAX;
use crate::onnx::proto::NodeProto;
use crate::onnx::{Attr, Builder, InferError, Value};

use super::expand::{Stop, name};
use super::{Reason, stored};

type Made = Result<Value, InferError>;

/// The sizes of one node.
struct Size {
    steps: usize,
    batch: usize,
    inputs: usize,
    hidden: usize,
    /// Gates side by side in the weights.
    gates: usize,
}

/// The parameters of one direction.
struct Cell {
    /// x·W + both biases of each step, `[batch, gates·hidden]`.
    steps: Vec<Value>,
    /// `[gates·hidden, hidden]`.
    r: Value,
    /// The bias beside R, `[gates·hidden]`, where it must stay there.
    r_bias: Option<Value>,
    peepholes: Option<Vec<Value>>,
    h: Value,
    c: Option<Value>,
}

pub(super) fn write(b: &mut Builder, node: &NodeProto) -> Result<(), Stop> {
    let (x, w) = (input(node, 0)?, input(node, 1)?);
    let gates = match node.op_type() {
        "LSTM" => 4,
        "GRU" => 3,
        _ => 1,
    };
    let (dims, w) = (b.ty(&x).dims.clone(), b.ty(&w).dims.clone());
    if dims.len() != 3 || w.len() != 3 {
        return Err(Reason::Input { input: "W" }.into());
    }
    let size =
        Size { steps: dims[0], batch: dims[1], inputs: dims[2], hidden: w[1] / gates, gates };
    let directions = directions(node, w[0])?;
    check(b, node, &size, directions.len())?;
    bound(b, node, size.steps, directions.len())?;
    let (mut rows, mut last_h, mut last_c) = (Vec::new(), Vec::new(), Vec::new());
    for (index, &backwards) in directions.iter().enumerate() {
        let cell = cell(b, node, &size, (index, backwards))?;
        let (mut hs, c) = run(b, node, &size, cell)?;
        last_h.extend(hs.last().cloned());
        last_c.extend(c);
        if backwards {
            hs.reverse();
        }
        let all = concat(b, &hs, 0)?;
        let lead = [size.steps, 1, size.batch, size.hidden];
        rows.push(reshape(b, &all, &lead)?);
    }
    let y = concat(b, &rows, 1)?;
    name(b, node, 0, &y)?;
    for (output, states) in [(1, last_h), (2, last_c)] {
        if node.output_name(output).is_empty() {
            continue;
        }
        let all = concat(b, &states, 0)?;
        let state = reshape(b, &all, &[states.len(), size.batch, size.hidden])?;
        name(b, node, output, &state)?;
    }
    Ok(())
}

fn input(node: &NodeProto, index: usize) -> Result<Value, Reason> {
    node.input_name(index).map(Value::named).ok_or(Reason::Missing { index })
}

/// For each direction, whether it runs backwards.
fn directions(node: &NodeProto, count: usize) -> Result<Vec<bool>, Reason> {
    let text = node.text("direction", "forward");
    let directions = match text {
        "forward" => vec![false],
        "reverse" => vec![true],
        "bidirectional" => vec![false, true],
        _ => Vec::new(),
    };
    if directions.len() == count && count > 0 {
        return Ok(directions);
    }
    Err(Reason::Attribute { name: "direction", value: text.to_owned() })
}

/// Refuses what the formulas above do not say.
fn check(b: &Builder, node: &NodeProto, size: &Size, directions: usize) -> Result<(), Reason> {
    let usual: &[&str] = match node.op_type() {
        "LSTM" => &["Sigmoid", "Tanh", "Tanh"],
        "GRU" => &["Sigmoid", "Tanh"],
        _ => &["Tanh"],
    };
    if let Some(asked) = node.attr("activations").filter(|a| !a.strings.is_empty()) {
        let asked: Vec<String> =
            asked.strings.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect();
        if asked != usual.repeat(directions) {
            return Err(Reason::Attribute { name: "activations", value: asked.join(", ") });
        }
    }
    for name in ["clip", "activation_alpha", "activation_beta"] {
        if let Some(attribute) = node.attr(name) {
            let value = attribute.float().map_or_else(|| "a list".to_owned(), |f| f.to_string());
            return Err(Reason::Attribute { name, value });
        }
    }
    if node.int("input_forget", 0) != 0 {
        return Err(Reason::Attribute { name: "input_forget", value: "1".into() });
    }
    if let Some(lengths) = node.input_name(4) {
        let input = "sequence_lens";
        let lengths = b.constant(&Value::named(lengths)).ok_or(Reason::NotConstant { input })?;
        if lengths.to_f64s().iter().any(|&length| length != size.steps as f64) {
            return Err(Reason::Input { input });
        }
    }
    Ok(())
}

/// What is written for recurrent nodes is named by this first.
pub(super) const PREFIX: &str = "unrolled/";

/// Refuses what would become, with what was written out already, more nodes than a model's loops may.
fn bound(b: &Builder, node: &NodeProto, steps: usize, directions: usize) -> Result<(), Reason> {
    let each = match node.op_type() {
        "LSTM" => 10,
        "GRU" => 9,
        _ => 2,
    };
    let written = b.graph().node.iter().filter(|node| node.name().starts_with(PREFIX)).count();
    let nodes = steps.saturating_mul(each * directions).saturating_add(written);
    match nodes > UNROLLED_NODES_MAX {
        true => Err(Reason::Unrolled { steps, max: UNROLLED_NODES_MAX }),
        false => Ok(()),
    }
}

fn cell(
    b: &mut Builder,
    node: &NodeProto,
    size: &Size,
    (index, backwards): (usize, bool),
) -> Result<Cell, Stop> {
    let wide = size.gates * size.hidden;
    let x = reshape(b, &input(node, 0)?, &[size.steps * size.batch, size.inputs])?;
    let w = direction(b, &input(node, 1)?, index, &[wide, size.inputs])?;
    let r = direction(b, &input(node, 2)?, index, &[wide, size.hidden])?;
    // The candidate of a GRU that resets after the product keeps its second bias with the product.
    let apart = node.is("GRU") && node.int("linear_before_reset", 0) != 0;
    let (mut bias, mut r_bias) = (None, None);
    if let Some(both) = node.input_name(3) {
        let both = direction(b, &Value::named(both), index, &[2, wide])?;
        if apart {
            let (first, second) = (row(b, &both, 0)?, row(b, &both, 1)?);
            (bias, r_bias) = (Some(first), Some(second));
        } else {
            bias = Some(b.reduce("ReduceSum", &both, &[0], false)?);
        }
    }
    let turned = [("transB", Attr::Int(1))];
    let all = match &bias {
        Some(bias) => b.op("Gemm", &[&x, &w, bias], &turned)?,
        None => b.op("Gemm", &[&x, &w], &turned)?,
    };
    let mut steps = split(b, &all, 0, &vec![size.batch; size.steps])?;
    if backwards {
        steps.reverse();
    }
    let state = |b: &mut Builder, at: usize| -> Result<Value, Stop> {
        let dims = [size.batch, size.hidden];
        match node.input_name(at) {
            Some(name) => Ok(direction(b, &Value::named(name), index, &dims)?),
            None => {
                let element = b.ty(&all).element;
                Ok(stored::filled(b, element, &dims, 0.0)?)
            }
        }
    };
    let lstm = node.is("LSTM");
    let peepholes = match node.input_name(7).filter(|_| lstm) {
        Some(name) => {
            let all = direction(b, &Value::named(name), index, &[3 * size.hidden])?;
            Some(split(b, &all, 0, &[size.hidden; 3])?)
        }
        None => None,
    };
    let h = state(b, 5)?;
    let c = if lstm { Some(state(b, 6)?) } else { None };
    Ok(Cell { steps, r, r_bias, peepholes, h, c })
}

/// All steps: the hidden state after each, and the last cell state of an LSTM.
fn run(
    b: &mut Builder,
    node: &NodeProto,
    size: &Size,
    cell: Cell,
) -> Result<(Vec<Value>, Option<Value>), InferError> {
    let (mut h, mut c) = (cell.h.clone(), cell.c.clone());
    let mut hs = Vec::new();
    for x in &cell.steps {
        h = match (node.op_type(), &c) {
            ("LSTM", Some(before)) => {
                let (next, state) = lstm(b, size, &cell, (x, &h, before))?;
                c = Some(state);
                next
            }
            ("GRU", _) if node.int("linear_before_reset", 0) != 0 => {
                gru_reset_after(b, size, &cell, (x, &h))?
            }
            ("GRU", _) => gru(b, size, &cell, (x, &h))?,
            _ => {
                let sum = b.op("Gemm", &[&h, &cell.r, x], &[("transB", Attr::Int(1))])?;
                b.op("Tanh", &[&sum], &[])?
            }
        };
        hs.push(h.clone());
    }
    Ok((hs, c))
}

/// Gates in the order i, o, f, c.
fn lstm(
    b: &mut Builder,
    size: &Size,
    cell: &Cell,
    (x, h, c): (&Value, &Value, &Value),
) -> Result<(Value, Value), InferError> {
    let sum = b.op("Gemm", &[h, &cell.r, x], &[("transB", Attr::Int(1))])?;
    let [i, o, f, new] = &split(b, &sum, 1, &[size.hidden; 4])?[..] else {
        return Ok((sum.clone(), sum));
    };
    let (mut i, mut o, mut f) = (i.clone(), o.clone(), f.clone());
    if let Some([p, _, q]) = cell.peepholes.as_deref() {
        i = peep(b, &i, p, c)?;
        f = peep(b, &f, q, c)?;
    }
    let (i, f) = (b.op("Sigmoid", &[&i], &[])?, b.op("Sigmoid", &[&f], &[])?);
    let new = b.op("Tanh", &[new], &[])?;
    let kept = b.op("Mul", &[&f, c], &[])?;
    let added = b.op("Mul", &[&i, &new], &[])?;
    let c = b.op("Add", &[&kept, &added], &[])?;
    if let Some([_, p, _]) = cell.peepholes.as_deref() {
        o = peep(b, &o, p, &c)?;
    }
    let o = b.op("Sigmoid", &[&o], &[])?;
    let shown = b.op("Tanh", &[&c], &[])?;
    Ok((b.op("Mul", &[&o, &shown], &[])?, c))
}

fn peep(b: &mut Builder, gate: &Value, weight: &Value, c: &Value) -> Made {
    let seen = b.op("Mul", &[weight, c], &[])?;
    b.op("Add", &[gate, &seen], &[])
}

/// Gates in the order z, r, h; the candidate sees the state after the reset.
fn gru(b: &mut Builder, size: &Size, cell: &Cell, (x, h): (&Value, &Value)) -> Made {
    let turned = [("transB", Attr::Int(1))];
    let (two, one) = (2 * size.hidden, size.hidden);
    let (x, r) = (split(b, x, 1, &[two, one])?, split(b, &cell.r, 0, &[two, one])?);
    let sum = b.op("Gemm", &[h, &r[0], &x[0]], &turned)?;
    let gates = b.op("Sigmoid", &[&sum], &[])?;
    let gates = split(b, &gates, 1, &[one, one])?;
    let reset = b.op("Mul", &[&gates[1], h], &[])?;
    let sum = b.op("Gemm", &[&reset, &r[1], &x[1]], &turned)?;
    mix(b, &gates[0], &sum, h)
}

/// The candidate resets what the product gives.
fn gru_reset_after(b: &mut Builder, size: &Size, cell: &Cell, (x, h): (&Value, &Value)) -> Made {
    let turned = [("transB", Attr::Int(1))];
    let parts = [2 * size.hidden, size.hidden];
    let all = match &cell.r_bias {
        Some(bias) => b.op("Gemm", &[h, &cell.r, bias], &turned)?,
        None => b.op("Gemm", &[h, &cell.r], &turned)?,
    };
    let (x, all) = (split(b, x, 1, &parts)?, split(b, &all, 1, &parts)?);
    let sum = b.op("Add", &[&x[0], &all[0]], &[])?;
    let gates = b.op("Sigmoid", &[&sum], &[])?;
    let gates = split(b, &gates, 1, &[size.hidden; 2])?;
    let reset = b.op("Mul", &[&gates[1], &all[1]], &[])?;
    let sum = b.op("Add", &[&x[1], &reset], &[])?;
    mix(b, &gates[0], &sum, h)
}

/// `h̃ + z∘(h − h̃)`, h̃ = tanh of the sum.
fn mix(b: &mut Builder, z: &Value, sum: &Value, h: &Value) -> Made {
    let new = b.op("Tanh", &[sum], &[])?;
    let apart = b.op("Sub", &[h, &new], &[])?;
    let kept = b.op("Mul", &[z, &apart], &[])?;
    b.op("Add", &[&new, &kept], &[])
}

/// What belongs to one direction, without the axis of directions.
fn direction(b: &mut Builder, value: &Value, index: usize, dims: &[usize]) -> Made {
    let row = row(b, value, index)?;
    reshape(b, &row, dims)
}

fn row(b: &mut Builder, value: &Value, index: usize) -> Made {
    if b.ty(value).dims.first() == Some(&1) {
        let dims = b.ty(value).dims[1..].to_vec();
        return reshape(b, value, &dims);
    }
    let index = b.i64_scalar(index as i64);
    b.op("Gather", &[value, &index], &[("axis", Attr::Int(0))])
}

pub(super) fn reshape(b: &mut Builder, value: &Value, dims: &[usize]) -> Made {
    if b.ty(value).dims == dims {
        return Ok(value.clone());
    }
    let shape = b.i64s(&dims.iter().map(|&d| d as i64).collect::<Vec<_>>());
    b.op("Reshape", &[value, &shape], &[])
}

fn split(
    b: &mut Builder,
    value: &Value,
    axis: i64,
    parts: &[usize],
) -> Result<Vec<Value>, InferError> {
    if parts.len() == 1 {
        return Ok(vec![value.clone()]);
    }
    let sizes = b.i64s(&parts.iter().map(|&p| p as i64).collect::<Vec<_>>());
    b.op_n("Split", &[Some(value), Some(&sizes)], &[("axis", Attr::Int(axis))], parts.len())
}

pub(super) fn concat(b: &mut Builder, values: &[Value], axis: i64) -> Made {
    if let [one] = values {
        return Ok(one.clone());
    }
    let all: Vec<&Value> = values.iter().collect();
    b.op("Concat", &all, &[("axis", Attr::Int(axis))])
}
