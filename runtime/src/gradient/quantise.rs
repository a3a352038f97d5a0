//! Gradients of quantising: straight through, so that a quantised network learns as if it were not one.
//!
//! | operator | share |
//! |---|---|
//! | `DequantizeLinear` | `g`, as the gradient of the real value that its input stands for |
//! | `QuantizeLinear` | `g` where x is within what the integers reach, else 0 |
//! | `DynamicQuantizeLinear` | `g`: its integers reach all that comes |
//!
//! Between the two, operators that only move values (Reshape, Transpose, Concat, …) hand it on. Scales and zero
//! points have no rule, those of `DynamicQuantizeLinear` no slope. A weight behind a `DequantizeLinear` is a constant.
//! # Source
//! Jacob et al. (arXiv 1712.05877); PyTorch's `fake_quantize`, whose gradient this is.

use crate::onnx::{Data, Tensor, Value};

use super::Reason;
use super::step::Step;

type Done = Result<(), Reason>;

pub(super) fn dequantise(step: &mut Step) -> Done {
    step.refuse(1, "x_scale")?;
    finite(step, "x_scale")?;
    let dy = step.dy()?;
    step.give(0, dy);
    Ok(())
}

pub(super) fn quantise(step: &mut Step) -> Done {
    step.refuse(1, "y_scale")?;
    finite(step, "y_scale")?;
    let (dy, x, q) = (step.dy()?, step.x(0)?, step.y()?);
    // What was dequantised may be of another element than what was quantised.
    let dy = step.emit.cast(&dy, step.emit.element(&x))?;
    if step.node.int("block_size", 0) != 0 {
        let value = step.node.int("block_size", 0).to_string();
        return Err(Reason::Attribute { name: "block_size", value });
    }
    let element = step.emit.element(&q);
    let other = || Reason::Attribute { name: "output_dtype", value: element.to_string() };
    let (low, high) = element.narrow_bounds().ok_or_else(other)?;
    let scale = along_axis(step, &x, &step.x(1)?)?;
    let zero = match step.opt(2) {
        Some(zero) => along_axis(step, &x, &zero)?,
        None => step.emit.builder.constant_of(&Tensor::new(&[], Data::I8(vec![0]))),
    };
    let zero = step.emit.cast(&zero, step.emit.element(&x))?;
    let ratio = step.emit.div(&x, &scale)?;
    let round = step.emit.op("Round", &[&ratio], &[])?;
    let place = step.emit.add(&round, &zero)?;
    let mut share = dy;
    for (bound, outside) in [(low, "Less"), (high, "Greater")] {
        let bound = step.emit.scalar(bound, &x);
        let outside = step.emit.op(outside, &[&place, &bound], &[])?;
        share = step.emit.drop_where(&outside, &share)?;
    }
    step.give(0, share);
    Ok(())
}

pub(super) fn by_own_range(step: &mut Step) -> Done {
    let dy = step.dy()?;
    step.give(0, dy);
    Ok(())
}

/// Refuses a stored scale that is infinite: 0 · ∞ is no number, and what is quantised by it is always the zero point.
fn finite(step: &Step, input: &'static str) -> Done {
    let Some(scale) = step.opt(1) else { return Ok(()) };
    let index = step.emit.builder.constant(&scale).and_then(|t| t.first_not_finite());
    match index {
        Some(index) => Err(Reason::Infinite { input, tensor: scale.name().to_owned(), index }),
        None => Ok(()),
    }
}

/// One parameter for all values, or one for each index of the node's axis.
fn along_axis(step: &mut Step, x: &Value, parameter: &Value) -> Result<Value, Reason> {
    let dims = step.emit.dims(x);
    let own = step.emit.dims(parameter);
    if own.iter().product::<usize>() == 1 {
        return Ok(step.emit.reshape(parameter, &[])?);
    }
    let mut column = vec![1; dims.len()];
    column[step.axis(step.node.int("axis", 1), dims.len())?] = own.iter().product();
    Ok(step.emit.reshape(parameter, &column)?)
}
