//! Writes `Attention` as its products and its softmax.
//!
//! ```text
//! y = softmax(cap(s·q·kᵀ) + mask)·v     q [n, heads, L, e]   k, v [n, kv heads, S, e]   s = 1 / √e unless said
//! ```
//! Queries of rank 3 have their heads side by side. Where there are fewer heads of k and v, each serves as many
//! neighbouring heads of q. A query at place p (its number, after the keys of the past) sees keys p − left to p + right
//! where a window bounds them; one that sees no key gives 0. About ten nodes, before the gradient.
//! # Source
//! ONNX `Attention` (operator sets 23 to 25; windows are of set 25); Vaswani et al. (arXiv 1706.03762).

use crate::onnx::proto::NodeProto;
use crate::onnx::{Attr, Builder, Data, Element, InferError, Tensor, Value};

use super::expand::{Stop, name};
use super::recurrent::{concat, reshape};
use super::{Reason, stored};

type Made = Result<Value, InferError>;

/// Stands for −∞, with which a whole row of it would be no number.
const LEAST: f32 = -1e30;
/// How many keys before its own place a query sees, and how many behind it; −1 is all of them.
const WINDOW: [&str; 2] = ["left_window_size", "right_window_size"];

pub(super) fn write(b: &mut Builder, node: &NodeProto) -> Result<(), Stop> {
    check(b, node)?;
    let packed = b.ty(&input(node, 0)?).dims.len() == 3;
    let q = heads(b, node, 0, "q_num_heads")?;
    let (mut k, mut v) = (heads(b, node, 1, "kv_num_heads")?, heads(b, node, 2, "kv_num_heads")?);
    let mut past = 0;
    if let (Some(old_k), Some(old_v)) = (node.input_name(4), node.input_name(5)) {
        let (old_k, old_v) = (Value::named(old_k), Value::named(old_v));
        past = b.ty(&old_k).dims.get(2).copied().unwrap_or(0);
        k = concat(b, &[old_k, k], 2)?;
        v = concat(b, &[old_v, v], 2)?;
    }
    name(b, node, 1, &k)?;
    name(b, node, 2, &v)?;
    let count = b.ty(&q).dims[1];
    let (k, v) = (shared(b, &k, count)?, shared(b, &v, count)?);

    let wide = b.ty(&q).dims[3];
    let scale = f64::from(node.float("scale", (1.0 / (wide as f64).sqrt()) as f32)) as f32;
    let scale = scalar(b, &q, scale);
    let q = b.op("Mul", &[&q, &scale], &[])?;
    let turned = b.op("Transpose", &[&k], &[("perm", Attr::Ints(vec![0, 1, 3, 2]))])?;
    let scores = b.op("MatMul", &[&q, &turned], &[])?;
    let weights = weights(b, node, &scores, past)?;
    let mut y = b.op("MatMul", &[&weights, &v], &[])?;
    if packed {
        let dims = b.ty(&y).dims.clone();
        y = b.op("Transpose", &[&y], &[("perm", Attr::Ints(vec![0, 2, 1, 3]))])?;
        y = reshape(b, &y, &[dims[0], dims[2], dims[1] * dims[3]])?;
    }
    name(b, node, 0, &y)?;
    Ok(())
}

pub(super) fn input(node: &NodeProto, index: usize) -> Result<Value, Reason> {
    node.input_name(index).map(Value::named).ok_or(Reason::Missing { index })
}

fn check(b: &Builder, node: &NodeProto) -> Result<(), Reason> {
    if !node.output_name(3).is_empty() {
        return Err(Reason::Output);
    }
    if node.input_name(6).is_some() {
        return Err(Reason::Input { input: "nonpad_kv_seqlen" });
    }
    for name in WINDOW {
        let size = node.int(name, -1);
        if size < -1 {
            return Err(Reason::Attribute { name, value: size.to_string() });
        }
    }
    for index in 0..3 {
        let name = ["q_num_heads", "kv_num_heads", "kv_num_heads"][index];
        let (rank, heads) = (b.ty(&input(node, index)?).dims.len(), node.int(name, 0));
        if rank == 3 && heads <= 0 {
            return Err(Reason::Attribute { name, value: heads.to_string() });
        }
    }
    Ok(())
}

/// `[n, L, heads·e]` → `[n, heads, L, e]`; rank 4 is that already.
fn heads(b: &mut Builder, node: &NodeProto, index: usize, count: &str) -> Result<Value, Stop> {
    let x = input(node, index)?;
    let dims = b.ty(&x).dims.clone();
    let [batch, length, wide] = dims[..] else { return Ok(x) };
    let heads = usize::try_from(node.int(count, 1)).unwrap_or(1).max(1);
    let x = reshape(b, &x, &[batch, length, heads, wide / heads])?;
    Ok(b.op("Transpose", &[&x], &[("perm", Attr::Ints(vec![0, 2, 1, 3]))])?)
}

/// Every head as often as queries share it.
fn shared(b: &mut Builder, x: &Value, count: usize) -> Made {
    let [batch, heads, length, wide] = b.ty(x).dims[..] else { return Ok(x.clone()) };
    if heads == count {
        return Ok(x.clone());
    }
    let thin = reshape(b, x, &[batch, heads, 1, length, wide])?;
    let full = [batch, heads, count / heads, length, wide].map(|d| d as i64);
    let full = b.i64s(&full);
    let all = b.op("Expand", &[&thin, &full], &[])?;
    reshape(b, &all, &[batch, count, length, wide])
}

fn scalar(b: &mut Builder, like: &Value, value: f32) -> Value {
    let element = b.ty(like).element;
    b.constant_of(&Tensor::scalar(element, value))
}

/// What each query gives to each key: scores capped, then masked, then their softmax.
fn weights(b: &mut Builder, node: &NodeProto, scores: &Value, past: usize) -> Result<Value, Stop> {
    let mut scores = capped(b, node, scores)?;
    let least = scalar(b, &scores, LEAST);
    let mut seen = Vec::new();
    if let Some(mask) = node.input_name(3).map(Value::named) {
        if b.ty(&mask).element == Element::Bool {
            seen.push(mask);
        } else {
            scores = b.op("Add", &[&scores, &mask], &[])?;
        }
    }
    // Everything that came before is seen by a query that only looks back: its row is never empty.
    let rows_full = seen.is_empty() && WINDOW.iter().all(|name| node.int(name, -1) < 0);
    if let [.., rows, columns] = b.ty(&scores).dims[..] {
        seen.extend(places(b, node, [rows, columns], past)?);
    }
    for seen in &seen {
        scores = b.op("Where", &[seen, &scores, &least], &[])?;
    }
    let mut weights = b.op("Softmax", &[&scores], &[("axis", Attr::Int(-1))])?;
    if !rows_full {
        let nothing = scalar(b, &weights, 0.0);
        for seen in &seen {
            weights = b.op("Where", &[seen, &weights, &nothing], &[])?;
        }
    }
    Ok(weights)
}

fn capped(b: &mut Builder, node: &NodeProto, scores: &Value) -> Made {
    let cap = node.float("softcap", 0.0);
    if cap <= 0.0 {
        return Ok(scores.clone());
    }
    let cap = scalar(b, scores, cap);
    let ratio = b.op("Div", &[scores, &cap], &[])?;
    let bent = b.op("Tanh", &[&ratio], &[])?;
    b.op("Mul", &[&bent, &cap], &[])
}

/// Which keys `[rows, columns]` each query sees by its place; nothing where it sees all of them. What is too large to be stored is
/// computed in every run.
fn places(
    b: &mut Builder,
    node: &NodeProto,
    dims: [usize; 2],
    past: usize,
) -> Result<Vec<Value>, Stop> {
    let causal = node.int("is_causal", 0) != 0;
    let [left, right] = WINDOW.map(|name| usize::try_from(node.int(name, -1)).ok());
    if !causal && left.is_none() && right.is_none() {
        return Ok(Vec::new());
    }
    if stored::fits(&dims).is_err() {
        return computed(b, dims, past, (causal, [left, right]));
    }
    let sees = |row: usize, key: usize| {
        let place = row + past;
        (!causal || key <= place)
            && left.is_none_or(|left| place <= key.saturating_add(left))
            && right.is_none_or(|right| key <= place.saturating_add(right))
    };
    let [rows, columns] = dims;
    let seen = (0..rows).flat_map(|row| (0..columns).map(move |key| sees(row, key)));
    let seen = Tensor::new(&dims, Data::Bool(seen.collect()));
    Ok(vec![b.constant_of(&seen)])
}

/// [`places`] as comparisons of the number of a key with the first and the last that a query sees.
fn computed(
    b: &mut Builder,
    [rows, columns]: [usize; 2],
    past: usize,
    (causal, [left, right]): (bool, [Option<usize>; 2]),
) -> Result<Vec<Value>, Stop> {
    let mut list = |dims: &[usize], of: &dyn Fn(i64) -> i64| -> Result<Value, Reason> {
        let values = (0..stored::fits(dims)? as i64).map(of).collect();
        Ok(b.constant_of(&Tensor::new(dims, Data::I64(values))))
    };
    let key = list(&[1, columns], &|key| key)?;
    let [past, left, right] =
        [Some(past), left, right].map(|by| by.map(|by| by.min(1 << 40) as i64));
    let place = move |row: i64| row + past.unwrap_or(0);
    let last = match (causal, right) {
        (true, _) => Some(0),
        (false, right) => right,
    };
    let mut pairs = Vec::new();
    if let Some(left) = left {
        pairs.push((list(&[rows, 1], &|row| place(row) - left)?, key.clone()));
    }
    if let Some(last) = last {
        pairs.push((key, list(&[rows, 1], &|row| place(row) + last)?));
    }
    let compared = pairs.iter().map(|(less, more)| b.op("LessOrEqual", &[less, more], &[]));
    Ok(compared.collect::<Result<_, _>>()?)
}
