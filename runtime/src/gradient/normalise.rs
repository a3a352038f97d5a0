//! Gradients of `Softmax` and `LogSoftmax`.
//!
//! ```text
//! y = softmax x        t = g·y          share = t − y·Σ t
//! y = log softmax x                     share = g − exp(y)·Σ g
//! ```
//! Sums run over the axis; before opset 13 over all axes from it on, which the operator flattened.
//! # Source
//! The Jacobian diag(y) − y·yᵀ, by hand.

use crate::onnx::Value;

use super::Reason;
use super::step::Step;

pub(super) fn softmax(step: &mut Step) -> Result<(), Reason> {
    let (dy, y) = (step.dy()?, step.y()?);
    let axes = axes(step, &y)?;
    let weighed = step.emit.mul(&dy, &y)?;
    let sum = step.emit.reduce_sum(&weighed, &axes, true)?;
    let mean = step.emit.mul(&y, &sum)?;
    let share = step.emit.sub(&weighed, &mean)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn log_softmax(step: &mut Step) -> Result<(), Reason> {
    let (dy, y) = (step.dy()?, step.y()?);
    let axes = axes(step, &y)?;
    let chance = step.emit.op("Exp", &[&y], &[])?;
    let sum = step.emit.reduce_sum(&dy, &axes, true)?;
    let mean = step.emit.mul(&chance, &sum)?;
    let share = step.emit.sub(&dy, &mean)?;
    step.give(0, share);
    Ok(())
}

fn axes(step: &Step, y: &Value) -> Result<Vec<usize>, Reason> {
    let rank = step.emit.dims(y).len();
    if step.emit.builder.opset() >= 13 {
        return Ok(vec![step.axis(step.node.int("axis", -1), rank)?]);
    }
    Ok((step.axis(step.node.int("axis", 1), rank)?..rank).collect())
}
