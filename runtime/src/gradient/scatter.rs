//! Gradients of reading and writing by indices of the run.
//!
//! | operator | share of the data | share of the updates |
//! |---|---|---|
//! | `GatherElements`, `GatherND`, `TopK` | `g` added where it was read | |
//! | `ScatterElements`, `ScatterND` | `g`, 0 where it was overwritten | `g` read where it was written |
//! | the same, adding | `g` | `g` read where it was written |
//!
//! Writing that multiplies or compares has no rule. Where one place is overwritten twice the operator itself
//! is undefined.
//! # Source
//! ONNX operator documents; adjoints of 0-1 matrices.

use crate::onnx::{Attr, Data, Element, Tensor, Value};

use super::emit::Emit;
use super::step::Step;
use super::{Reason, stored};

type Done = Result<(), Reason>;

/// The first operator set whose scatters add.
const ADDS_SINCE: i64 = 16;

/// Zeros of `dims` with `updates` added at `indices` along `axis`.
pub(super) fn add_elements(
    emit: &mut Emit,
    dims: &[usize],
    indices: &Value,
    updates: &Value,
    axis: usize,
) -> Result<Value, Reason> {
    add(emit, "ScatterElements", (dims, indices, updates), &[("axis", Attr::Int(axis as i64))])
}

/// As [`add_elements`], by this operator. Sums of 16-bit floats are made in float32: ONNX Runtime's processor has no others.
pub(super) fn add(
    emit: &mut Emit,
    op: &str,
    (dims, indices, updates): (&[usize], &Value, &Value),
    attrs: &[(&str, Attr)],
) -> Result<Value, Reason> {
    check_opset(emit)?;
    let element = emit.element(updates);
    let is_short = matches!(element, Element::F16 | Element::Bf16);
    let wide = if is_short { Element::F32 } else { element };
    let updates = emit.cast(updates, wide)?;
    let zeros = emit.zeros(dims, &updates)?;
    let reduction = ("reduction", Attr::Str("add".into()));
    let attrs: Vec<(&str, Attr)> = attrs.iter().cloned().chain([reduction]).collect();
    let sum = emit.op(op, &[&zeros, indices, &updates], &attrs)?;
    Ok(emit.cast(&sum, element)?)
}

fn check_opset(emit: &Emit) -> Done {
    match emit.builder.opset() {
        has if has < ADDS_SINCE => Err(Reason::Opset { has, needs: ADDS_SINCE }),
        _ => Ok(()),
    }
}

pub(super) fn gather_elements(step: &mut Step) -> Done {
    let (dy, x, indices) = (step.dy()?, step.x(0)?, step.x(1)?);
    let dims = step.emit.dims(&x);
    let axis = step.axis(step.node.int("axis", 0), dims.len())?;
    let share = add_elements(step.emit, &dims, &indices, &dy, axis)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn top_k(step: &mut Step) -> Done {
    let (dy, x) = (step.dy()?, step.x(0)?);
    let dims = step.emit.dims(&x);
    let axis = step.axis(step.node.int("axis", -1), dims.len())?;
    let indices = step.outputs.get(1).cloned().flatten().ok_or(Reason::Output)?;
    let share = add_elements(step.emit, &dims, &indices, &dy, axis)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn gather_nd(step: &mut Step) -> Done {
    let (dy, x, indices) = (step.dy()?, step.x(0)?, step.x(1)?);
    let dims = step.emit.dims(&x);
    let batch = usize::try_from(step.node.int("batch_dims", 0)).unwrap_or(0);
    let indices = with_batch(step.emit, &indices, batch)?;
    let share = add(step.emit, "ScatterND", (&dims, &indices, &dy), &[])?;
    step.give(0, share);
    Ok(())
}

/// Indices that name the first `batch` axes, too: `[b.., n.., k]` → `[b.., n.., batch + k]`.
fn with_batch(emit: &mut Emit, indices: &Value, batch: usize) -> Result<Value, Reason> {
    let mut dims = emit.dims(indices);
    let last = dims.len() - 1;
    let mut parts = Vec::new();
    for axis in 0..batch {
        dims[last] = 1;
        let inner: usize = dims[axis + 1..].iter().product();
        let count: usize = dims.iter().product();
        stored::fits(&dims)?;
        let along = (0..count).map(|i| (i / inner % dims[axis]) as i64).collect();
        parts.push(emit.builder.constant_of(&Tensor::new(&dims, Data::I64(along))));
    }
    parts.push(emit.cast(indices, Element::I64)?);
    Ok(emit.concat(&parts, last)?)
}

pub(super) fn scatter_elements(step: &mut Step) -> Done {
    let (dy, indices) = (step.dy()?, step.x(1)?);
    let axis = [("axis", Attr::Int(step.node.int("axis", 0)))];
    scatter(step, &dy, &indices, ("ScatterElements", "GatherElements"), &axis)
}

pub(super) fn scatter_nd(step: &mut Step) -> Done {
    let (dy, indices) = (step.dy()?, step.x(1)?);
    scatter(step, &dy, &indices, ("ScatterND", "GatherND"), &[])
}

fn scatter(
    step: &mut Step,
    dy: &Value,
    indices: &Value,
    (write, read): (&str, &str),
    attrs: &[(&str, Attr)],
) -> Done {
    let overwrites = match step.node.text("reduction", "none") {
        "none" => true,
        "add" => false,
        other => return Err(Reason::Attribute { name: "reduction", value: other.to_owned() }),
    };
    if step.wants(0) {
        let share = if overwrites {
            let updates = step.emit.dims(&step.x(2)?);
            let zeros = step.emit.zeros(&updates, dy)?;
            step.emit.op(write, &[dy, indices, &zeros], attrs)?
        } else {
            dy.clone()
        };
        step.give(0, share);
    }
    if step.wants(2) {
        let share = step.emit.op(read, &[dy, indices], attrs)?;
        step.give(2, share);
    }
    Ok(())
}

/// `OneHot` chooses between two values; what it chooses by has no gradient.
pub(super) fn one_hot(step: &mut Step) -> Done {
    step.refuse(2, "values")
}
