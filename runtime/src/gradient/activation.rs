//! Gradients of activations, from their own outputs where that is cheaper.
//!
//! | operator | share |
//! |---|---|
//! | `tanh x = y` | `g·(1 − y²)` |
//! | `σ(x) = y` | `g·y·(1 − y)` |
//! | `erf x` | `g · 2/√π · exp(−x²)` |
//! | `relu x` | `g` where `x > 0`, else 0 |
//! | `leaky x`, `prelu(x, α)` | `g` where `x > 0`, else `α·g`; to α: `g·x` where `x ≤ 0` |
//! | `elu x`, `celu x`, `selu x` = y | `g`, or `γ·g`, where `x > 0`, else `g·(y + α)`, `g·(y/α + 1)`, `g·(y + γα)` |
//! | `hard sigmoid x = y` | `α·g` where `0 < y < 1` |
//! | `hard swish x` | `g·(x/3 + ½)` where `−3 ≤ x ≤ 3`, `g` above |
//! | `thresholded relu x`, `shrink x` | `g` where `x > α`, where `\|x\| > λ` |
//!
//! # Source
//! Elementary calculus; at 0, `Relu` and its kin take the side below, as PyTorch does.

use crate::onnx::Value;

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
    let dy = step.dy()?;
    let alpha = f64::from(step.node.float("alpha", 0.01));
    let below = step.emit.scale(&dy, alpha)?;
    give_sides(step, &dy, &below)
}

pub(super) fn prelu(step: &mut Step) -> Done {
    let (dy, x, slope) = (step.dy()?, step.x(0)?, step.x(1)?);
    if step.wants(0) {
        let below = step.emit.mul(&dy, &slope)?;
        give_sides(step, &dy, &below)?;
    }
    if step.wants(1) {
        let above = is_above(step, &x, 0.0)?;
        let product = step.emit.mul(&dy, &x)?;
        let share = step.emit.drop_where(&above, &product)?;
        step.give_unbroadcast(1, &share)?;
    }
    Ok(())
}

pub(super) fn elu(step: &mut Step) -> Done {
    let alpha = f64::from(step.node.float("alpha", 1.0));
    exponential(step, 1.0, 1.0, alpha)
}

pub(super) fn celu(step: &mut Step) -> Done {
    let alpha = f64::from(step.node.float("alpha", 1.0));
    exponential(step, 1.0, 1.0 / alpha, 1.0)
}

pub(super) fn selu(step: &mut Step) -> Done {
    // The defaults of the operator's document.
    let alpha = f64::from(step.node.float("alpha", 1.673_263_2));
    let gamma = f64::from(step.node.float("gamma", 1.050_701));
    exponential(step, gamma, 1.0, gamma * alpha)
}

/// `above·g` where x > 0, else `g·(factor·y + constant)`.
fn exponential(step: &mut Step, above: f64, factor: f64, constant: f64) -> Done {
    let (dy, y) = (step.dy()?, step.y()?);
    let slope = step.emit.scale(&y, factor)?;
    let slope = step.emit.shift(&slope, constant)?;
    let below = step.emit.mul(&dy, &slope)?;
    let above = step.emit.scale(&dy, above)?;
    give_sides(step, &above, &below)
}

/// Gives `above` where x > 0, `below` elsewhere.
fn give_sides(step: &mut Step, above: &Value, below: &Value) -> Done {
    let x = step.x(0)?;
    let condition = is_above(step, &x, 0.0)?;
    let share = step.emit.op("Where", &[&condition, above, below], &[])?;
    step.give(0, share);
    Ok(())
}

fn is_above(step: &mut Step, x: &Value, bound: f64) -> Result<Value, Reason> {
    let bound = step.emit.scalar(bound, x);
    Ok(step.emit.op("Greater", &[x, &bound], &[])?)
}

pub(super) fn hard_sigmoid(step: &mut Step) -> Done {
    let (dy, y) = (step.dy()?, step.y()?);
    let share = step.emit.scale(&dy, f64::from(step.node.float("alpha", 0.2)))?;
    let above = is_above(step, &y, 0.0)?;
    let share = step.emit.keep_where(&above, &share)?;
    let one = step.emit.scalar(1.0, &y);
    let inside = step.emit.op("Less", &[&y, &one], &[])?;
    let share = step.emit.keep_where(&inside, &share)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn hard_swish(step: &mut Step) -> Done {
    let (dy, x) = (step.dy()?, step.x(0)?);
    let slope = step.emit.scale(&x, 1.0 / 3.0)?;
    let slope = step.emit.shift(&slope, 0.5)?;
    let share = step.emit.mul(&dy, &slope)?;
    let low = step.emit.scalar(-3.0, &x);
    let below = step.emit.op("Less", &[&x, &low], &[])?;
    let share = step.emit.drop_where(&below, &share)?;
    let above = is_above(step, &x, 3.0)?;
    let share = step.emit.op("Where", &[&above, &dy, &share], &[])?;
    step.give(0, share);
    Ok(())
}

pub(super) fn thresholded_relu(step: &mut Step) -> Done {
    let x = step.x(0)?;
    let bound = f64::from(step.node.float("alpha", 1.0));
    keep_above(step, &x, bound)
}

pub(super) fn shrink(step: &mut Step) -> Done {
    let x = step.x(0)?;
    let size = step.emit.op("Abs", &[&x], &[])?;
    let bound = f64::from(step.node.float("lambd", 0.5));
    keep_above(step, &size, bound)
}

fn keep_above(step: &mut Step, value: &Value, bound: f64) -> Done {
    let dy = step.dy()?;
    let above = is_above(step, value, bound)?;
    let share = step.emit.keep_where(&above, &dy)?;
    step.give(0, share);
    Ok(())
}
