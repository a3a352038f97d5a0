//! Gradients of smooth functions of one value: `g` times the slope.
//!
//! | function | slope | function | slope |
//! |---|---|---|---|
//! | `sin x` | `cos x` | `asin x`, `acos x` | `±1 / √(1 − x²)` |
//! | `cos x` | `−sin x` | `atan x` | `1 / (1 + x²)` |
//! | `tan x = y` | `1 + y²` | `sinh x`, `cosh x` | `cosh x`, `sinh x` |
//! | `asinh x` | `1 / √(x² + 1)` | `acosh x` | `1 / √(x² − 1)` |
//! | `atanh x` | `1 / (1 − x²)` | `softplus x` | `σ(x)` |
//! | `softsign x` | `1 / (1 + \|x\|)²` | `gelu x` | `Φ(x) + x·φ(x)`, or that of its tanh form |
//! | `mish x = x·t` | `t + x·σ(x)·(1 − t²)`, t = tanh softplus x | `x·σ(αx) = y` (Swish) | `s + α·y·(1 − s)`, s = σ(αx) |
//!
//! Floor, Ceil, Round and Sign have slope 0 wherever they have one: see [`super::plan`].
//! # Source
//! Elementary calculus; Hendrycks and Gimpel (Gelu, arXiv 1606.08415), Misra (Mish, arXiv 1908.08681).

use crate::onnx::Value;

use super::Reason;
use super::step::Step;

type Done = Result<(), Reason>;

/// Gives `g · slope`.
pub(super) fn give_slope(step: &mut Step, slope: &Value) -> Done {
    let dy = step.dy()?;
    let share = step.emit.mul(&dy, slope)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn sin(step: &mut Step) -> Done {
    let x = step.x(0)?;
    let slope = step.emit.op("Cos", &[&x], &[])?;
    give_slope(step, &slope)
}

pub(super) fn cos(step: &mut Step) -> Done {
    let x = step.x(0)?;
    let sin = step.emit.op("Sin", &[&x], &[])?;
    let slope = step.emit.neg(&sin)?;
    give_slope(step, &slope)
}

pub(super) fn tan(step: &mut Step) -> Done {
    let y = step.y()?;
    let square = step.emit.mul(&y, &y)?;
    let slope = step.emit.shift(&square, 1.0)?;
    give_slope(step, &slope)
}

pub(super) fn sinh(step: &mut Step) -> Done {
    let x = step.x(0)?;
    let slope = step.emit.op("Cosh", &[&x], &[])?;
    give_slope(step, &slope)
}

pub(super) fn cosh(step: &mut Step) -> Done {
    let x = step.x(0)?;
    let slope = step.emit.op("Sinh", &[&x], &[])?;
    give_slope(step, &slope)
}

pub(super) fn asin(step: &mut Step) -> Done {
    let root = root(step, -1.0, 1.0)?;
    quotient(step, &root, false)
}

pub(super) fn acos(step: &mut Step) -> Done {
    let root = root(step, -1.0, 1.0)?;
    quotient(step, &root, true)
}

pub(super) fn asinh(step: &mut Step) -> Done {
    let root = root(step, 1.0, 1.0)?;
    quotient(step, &root, false)
}

pub(super) fn acosh(step: &mut Step) -> Done {
    let root = root(step, 1.0, -1.0)?;
    quotient(step, &root, false)
}

pub(super) fn atan(step: &mut Step) -> Done {
    let below = parabola(step, 1.0, 1.0)?;
    quotient(step, &below, false)
}

pub(super) fn atanh(step: &mut Step) -> Done {
    let below = parabola(step, -1.0, 1.0)?;
    quotient(step, &below, false)
}

/// `factor · x² + constant`.
fn parabola(step: &mut Step, factor: f64, constant: f64) -> Result<Value, Reason> {
    let x = step.x(0)?;
    let square = step.emit.mul(&x, &x)?;
    let scaled = step.emit.scale(&square, factor)?;
    Ok(step.emit.shift(&scaled, constant)?)
}

fn root(step: &mut Step, factor: f64, constant: f64) -> Result<Value, Reason> {
    let square = parabola(step, factor, constant)?;
    Ok(step.emit.op("Sqrt", &[&square], &[])?)
}

/// Gives `±g / below`.
fn quotient(step: &mut Step, below: &Value, negative: bool) -> Done {
    let dy = step.dy()?;
    let share = step.emit.div(&dy, below)?;
    if negative {
        step.take(0, share)
    } else {
        step.give(0, share)
    }
    Ok(())
}

pub(super) fn softplus(step: &mut Step) -> Done {
    let x = step.x(0)?;
    let slope = step.emit.op("Sigmoid", &[&x], &[])?;
    give_slope(step, &slope)
}

pub(super) fn softsign(step: &mut Step) -> Done {
    let x = step.x(0)?;
    let size = step.emit.op("Abs", &[&x], &[])?;
    let root = step.emit.shift(&size, 1.0)?;
    let below = step.emit.mul(&root, &root)?;
    quotient(step, &below, false)
}

pub(super) fn mish(step: &mut Step) -> Done {
    let x = step.x(0)?;
    let soft = step.emit.op("Softplus", &[&x], &[])?;
    let t = step.emit.op("Tanh", &[&soft], &[])?;
    let gate = step.emit.op("Sigmoid", &[&x], &[])?;
    let square = step.emit.mul(&t, &t)?;
    let rest = step.emit.one_less(&square)?;
    let turned = step.emit.mul(&gate, &rest)?;
    let turned = step.emit.mul(&x, &turned)?;
    let slope = step.emit.add(&t, &turned)?;
    give_slope(step, &slope)
}

pub(super) fn swish(step: &mut Step) -> Done {
    let (x, y) = (step.x(0)?, step.y()?);
    let alpha = f64::from(step.node.float("alpha", 1.0));
    let scaled = step.emit.scale(&x, alpha)?;
    let gate = step.emit.op("Sigmoid", &[&scaled], &[])?;
    let rest = step.emit.one_less(&gate)?;
    let turned = step.emit.mul(&y, &rest)?;
    let turned = step.emit.scale(&turned, alpha)?;
    let slope = step.emit.add(&gate, &turned)?;
    give_slope(step, &slope)
}

pub(super) fn gelu(step: &mut Step) -> Done {
    let x = step.x(0)?;
    let slope = match step.node.text("approximate", "none") {
        "none" => gelu_exact(step, &x)?,
        "tanh" => gelu_tanh(step, &x)?,
        other => return Err(Reason::Attribute { name: "approximate", value: other.to_owned() }),
    };
    give_slope(step, &slope)
}

/// `½·(1 + erf(x/√2)) + x·exp(−x²/2)/√(2π)`.
fn gelu_exact(step: &mut Step, x: &Value) -> Result<Value, Reason> {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
    let emit = &mut *step.emit;
    let scaled = emit.scale(x, FRAC_1_SQRT_2)?;
    let erf = emit.op("Erf", &[&scaled], &[])?;
    let half = emit.scale(&erf, 0.5)?;
    let area = emit.shift(&half, 0.5)?;
    let square = emit.mul(&scaled, &scaled)?;
    let negative = emit.neg(&square)?;
    let bell = emit.op("Exp", &[&negative], &[])?;
    let density = emit.scale(&bell, FRAC_2_SQRT_PI * FRAC_1_SQRT_2 / 2.0)?;
    let turned = emit.mul(x, &density)?;
    Ok(emit.add(&area, &turned)?)
}

/// y = ½·x·(1 + t), t = tanh u, u = √(2/π)·(x + 0.044715·x³): `½·(1 + t) + ½·x·(1 − t²)·u′`.
fn gelu_tanh(step: &mut Step, x: &Value) -> Result<Value, Reason> {
    let (root, cubic) = ((2.0 / std::f64::consts::PI).sqrt(), 0.044715);
    let emit = &mut *step.emit;
    let square = emit.mul(x, x)?;
    let inner = emit.scale(&square, root * cubic)?;
    let inner = emit.shift(&inner, root)?;
    let u = emit.mul(x, &inner)?;
    let t = emit.op("Tanh", &[&u], &[])?;
    let half = emit.scale(&t, 0.5)?;
    let gate = emit.shift(&half, 0.5)?;
    let bent = emit.scale(&square, 1.5 * root * cubic)?;
    let bent = emit.shift(&bent, 0.5 * root)?;
    let slope = emit.mul(x, &bent)?;
    let tt = emit.mul(&t, &t)?;
    let rest = emit.one_less(&tt)?;
    let turned = emit.mul(&slope, &rest)?;
    Ok(emit.add(&gate, &turned)?)
}
