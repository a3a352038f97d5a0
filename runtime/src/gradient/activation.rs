//! Gradients of activations, from their own outputs where that is cheaper.
//!
//! | operator | share |
//! |---|---|
//! | `tanh x = y` | `g·(1 − y²)` |
//! | `σ(x) = y` | `g·y·(1 − y)` |
//! | `erf x` | `g · 2/√π · exp(−x²)` |
//! | `relu x` | `g` where `x > 0`, else 0 |
//! | `leaky x` | `g` where `x > 0`, else `α·g` |
//!
//! # Source
//! Elementary calculus; at 0, `Relu` and `LeakyRelu` take the side below, as PyTorch does.

use super::Reason;
use super::step::Step;

type Done = Result<(), Reason>;

pub(super) fn tanh(step: &mut Step) -> Done {
    let (dy, y) = (step.dy()?, step.y()?);
    let square = step.emit.mul(&y, &y)?;
    let one = step.emit.scalar(1.0, &y);
    let slope = step.emit.sub(&one, &square)?;
    let share = step.emit.mul(&dy, &slope)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn sigmoid(step: &mut Step) -> Done {
    let (dy, y) = (step.dy()?, step.y()?);
    let one = step.emit.scalar(1.0, &y);
    let rest = step.emit.sub(&one, &y)?;
    let slope = step.emit.mul(&y, &rest)?;
    let share = step.emit.mul(&dy, &slope)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn erf(step: &mut Step) -> Done {
    let (dy, x) = (step.dy()?, step.x(0)?);
    let square = step.emit.mul(&x, &x)?;
    let negative = step.emit.neg(&square)?;
    let bell = step.emit.op("Exp", &[&negative], &[])?;
    let slope = step.emit.scale(&bell, std::f64::consts::FRAC_2_SQRT_PI)?;
    let share = step.emit.mul(&dy, &slope)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn relu(step: &mut Step) -> Done {
    let (dy, y) = (step.dy()?, step.y()?);
    let zero = step.emit.scalar(0.0, &y);
    let above = step.emit.op("Greater", &[&y, &zero], &[])?;
    let share = step.emit.keep_where(&above, &dy)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn leaky_relu(step: &mut Step) -> Done {
    let (dy, x) = (step.dy()?, step.x(0)?);
    let alpha = f64::from(step.node.float("alpha", 0.01));
    let zero = step.emit.scalar(0.0, &x);
    let above = step.emit.op("Greater", &[&x, &zero], &[])?;
    let below = step.emit.scale(&dy, alpha)?;
    let share = step.emit.op("Where", &[&above, &dy, &below], &[])?;
    step.give(0, share);
    Ok(())
}
