//! Gradients of operators that choose between values: the chosen one gets `g`, the others nothing.
//!
//! | operator | share |
//! |---|---|
//! | `Where(c, a, b)` | `g` where c, `g` where not c |
//! | `Clip(x, low, high)` | `g` where `low ≤ x ≤ high`, both included; to a bound where x is beyond it |
//! | `Min`, `Max` | `g` shared equally among those that equal the output |
//!
//! Of quantised values, between a `QuantizeLinear` and its `DequantizeLinear`, they are compared as the floats that `g` is of.
//!
//! # Source
//! PyTorch's `where`, `clamp` and `maximum` (bounds included, ties shared).

use crate::onnx::proto::AttributeProto;
use crate::onnx::{Element, Value};

use super::Reason;
use super::step::Step;

type Done = Result<(), Reason>;

pub(super) fn choose(step: &mut Step) -> Done {
    let (dy, condition) = (step.dy()?, step.x(0)?);
    if step.wants(1) {
        let share = step.emit.keep_where(&condition, &dy)?;
        step.give_unbroadcast(1, &share)?;
    }
    if step.wants(2) {
        let share = step.emit.drop_where(&condition, &dy)?;
        step.give_unbroadcast(2, &share)?;
    }
    Ok(())
}

pub(super) fn clip(step: &mut Step) -> Done {
    let mut share = step.dy()?;
    let x = comparable(step, step.x(0)?, &share)?;
    let [least, most] = [("min", 1), ("max", 2)].map(|(name, index)| -> Result<_, Reason> {
        let attribute = step.node.attr(name).and_then(AttributeProto::float).map(f64::from);
        Ok(match (step.opt(index), attribute) {
            (Some(bound), _) => Some(comparable(step, bound, &share)?),
            (None, Some(bound)) => Some(step.emit.scalar(bound, &x)),
            (None, None) => None,
        })
    });
    let (least, most) = (least?, most?);
    // The upper bound holds last: where the lower one is above it, everything is the upper one.
    let raised = match (&least, &most) {
        (Some(least), Some(most)) if !are_in_order(step, least, most) => {
            step.emit.op("Max", &[&x, least], &[])?
        }
        _ => x.clone(),
    };
    for (index, bound, outside, x) in [(2, most, "Greater", &raised), (1, least, "Less", &x)] {
        let Some(bound) = bound else { continue };
        let outside = step.emit.op(outside, &[x, &bound], &[])?;
        if step.wants(index) {
            let beyond = step.emit.keep_where(&outside, &share)?;
            step.give_unbroadcast(index, &beyond)?;
        }
        share = step.emit.drop_where(&outside, &share)?;
    }
    step.give(0, share);
    Ok(())
}

/// Whether two bounds are known, and the lower one is not above the other.
fn are_in_order(step: &Step, least: &Value, most: &Value) -> bool {
    let of = |bound: &Value| step.emit.builder.constant(bound).map(|bound| bound.to_f64s());
    matches!((of(least).as_deref(), of(most).as_deref()), (Some([least]), Some([most])) if least <= most)
}

/// The value itself, or, of an integer that stands for a float, the same in the element of its gradient.
fn comparable(step: &mut Step, x: Value, dy: &Value) -> Result<Value, Reason> {
    if step.emit.element(&x).is_float() {
        return Ok(x);
    }
    let float = step.emit.element(dy);
    Ok(step.emit.cast(&x, float)?)
}

pub(super) fn extreme(step: &mut Step) -> Done {
    let mut dy = step.dy()?;
    let element = step.emit.element(&dy);
    let mut y = comparable(step, step.y()?, &dy)?;
    let mut inputs = Vec::new();
    for index in 0..step.inputs.len() {
        inputs.push(comparable(step, step.x(index)?, &dy)?);
    }
    if matches!(element, Element::F16 | Element::Bf16) {
        // An engine may have taken the extreme of values that it had not rounded yet: then none of them equals it. In float32 it
        // is taken again, of what is compared with it.
        for x in &mut inputs {
            *x = step.emit.cast(x, Element::F32)?;
        }
        let all: Vec<&Value> = inputs.iter().collect();
        y = step.emit.op(step.node.op_type(), &all, &[])?;
        dy = step.emit.cast(&dy, Element::F32)?;
    }
    let mut hits: Vec<Value> = Vec::new();
    for x in &inputs {
        hits.push(step.emit.hit(x, &y)?);
    }
    let mut count = hits.first().cloned().ok_or(Reason::Missing { index: 0 })?;
    for hit in &hits[1..] {
        count = step.emit.add(&count, hit)?;
    }
    let each = step.emit.div(&dy, &count)?;
    for (index, hit) in hits.iter().enumerate() {
        if step.wants(index) {
            let share = step.emit.mul(&each, hit)?;
            let share = step.emit.cast(&share, element)?;
            step.give_unbroadcast(index, &share)?;
        }
    }
    Ok(())
}
