//! Gradients of elementwise arithmetic. `g` is the gradient of the output; where an operand was repeated
//! (multidirectional broadcasting), its share is summed over the repeated axes.
//!
//! | operator | share |
//! |---|---|
//! | `a + b`, `a − b` | `g`, `±g` |
//! | `a · b` | `g·b`, `g·a` |
//! | `x · σ(x) = y`, s = σ(x) | `g·(s + y − y·s)` |
//! | `a / b = y` | `g / b`, `−g·y / b` |
//! | `xᶜ = y` | `g · c·xᶜ⁻¹` (0 where a constant c = 0), `g·y·log x` (0 where x ≤ 0) |
//! | mean of n | `g / n` |
//! | `fmod(x, b)` | `g` |
//! | `√x = y`, `exp x = y`, `log x` | `g / 2y`, `g·y`, `g / x` |
//! | `−x`, `\|x\|`, `1/x = y` | `−g`, `g·sign x`, `−g·y²` |
//!
//! # Source
//! Elementary calculus; PyTorch's choices at the kinks (`tools/autograd/derivatives.yaml`).

use crate::onnx::{Tensor, Value};

use super::Reason;
use super::step::Step;

type Done = Result<(), Reason>;

pub(super) fn add(step: &mut Step) -> Done {
    let dy = step.dy()?;
    for index in 0..2 {
        if step.wants(index) {
            step.give_unbroadcast(index, &dy)?;
        }
    }
    Ok(())
}

/// The variadic `Sum`.
pub(super) fn sum(step: &mut Step) -> Done {
    let dy = step.dy()?;
    to_all(step, &dy)
}

/// The variadic `Mean`.
pub(super) fn mean(step: &mut Step) -> Done {
    let dy = step.dy()?;
    let dy = step.emit.scale(&dy, 1.0 / step.inputs.len() as f64)?;
    to_all(step, &dy)
}

fn to_all(step: &mut Step, dy: &Value) -> Done {
    for index in 0..step.inputs.len() {
        if step.wants(index) {
            step.give_unbroadcast(index, dy)?;
        }
    }
    Ok(())
}

pub(super) fn sub(step: &mut Step) -> Done {
    let dy = step.dy()?;
    if step.wants(0) {
        step.give_unbroadcast(0, &dy)?;
    }
    if step.wants(1) {
        let dims = step.emit.dims(&step.x(1)?);
        let share = step.emit.unbroadcast(&dy, &dims)?;
        step.take(1, share);
    }
    Ok(())
}

pub(super) fn mul(step: &mut Step) -> Done {
    let (dy, a, b) = (step.dy()?, step.x(0)?, step.x(1)?);
    if a == b {
        let double = step.emit.scale(&a, 2.0)?;
        let share = step.emit.mul(&dy, &double)?;
        step.give(0, share);
        return Ok(());
    }
    if let Some(index) = silu_operand(step, &a, &b) {
        return silu(step, &dy, index);
    }
    for (index, other) in [(0, &b), (1, &a)] {
        if step.wants(index) {
            give_product(step, index, &dy, other)?;
        }
    }
    Ok(())
}

/// Which operand is x, if the product is x·σ(x).
fn silu_operand(step: &Step, a: &Value, b: &Value) -> Option<usize> {
    let gate_of = |gate: &Value, x: &Value| {
        let node = step.producer(gate)?;
        (node.is("Sigmoid") && node.input_name(0) == Some(x.name())).then_some(())
    };
    gate_of(b, a).map(|()| 0).or_else(|| gate_of(a, b).map(|()| 1))
}

/// y = x·s, s = σ(x): `g·(s + y − y·s)`, all of it to x. Two passes fewer than product and gate one by one.
fn silu(step: &mut Step, dy: &Value, index: usize) -> Done {
    let (y, gate) = (step.y()?, step.x(1 - index)?);
    let gated = step.emit.mul(&y, &gate)?;
    let rest = step.emit.sub(&y, &gated)?;
    let slope = step.emit.add(&gate, &rest)?;
    let share = step.emit.mul(dy, &slope)?;
    step.give(index, share);
    Ok(())
}

/// Gives `dy · other`. Where the other factor is repeated along axes that are summed anyway, the sum is
/// taken first: it is the smaller product.
fn give_product(step: &mut Step, index: usize, dy: &Value, other: &Value) -> Done {
    let to = step.emit.dims(&step.x(index)?);
    let with = step.emit.dims(other);
    let from = step.emit.dims(dy);
    let mut early: Vec<usize> = from.clone();
    for (axis, dim) in early.iter_mut().enumerate() {
        let at =
            |dims: &[usize]| (axis + dims.len()).checked_sub(from.len()).map_or(1, |i| dims[i]);
        if at(&to) == 1 && at(&with) == 1 {
            *dim = 1;
        }
    }
    let dy = step.emit.unbroadcast(dy, &early)?;
    let share = step.emit.mul(&dy, other)?;
    step.give_unbroadcast(index, &share)
}

pub(super) fn div(step: &mut Step) -> Done {
    let (dy, y, b) = (step.dy()?, step.y()?, step.x(1)?);
    let quotient = step.emit.div(&dy, &b)?;
    if step.wants(0) {
        step.give_unbroadcast(0, &quotient)?;
    }
    if step.wants(1) {
        let dims = step.emit.dims(&b);
        let share = step.emit.mul(&quotient, &y)?;
        let share = step.emit.unbroadcast(&share, &dims)?;
        step.take(1, share);
    }
    Ok(())
}

pub(super) fn neg(step: &mut Step) -> Done {
    let dy = step.dy()?;
    step.take(0, dy);
    Ok(())
}

pub(super) fn abs(step: &mut Step) -> Done {
    let (dy, x) = (step.dy()?, step.x(0)?);
    let sign = step.emit.op("Sign", &[&x], &[])?;
    let share = step.emit.mul(&dy, &sign)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn reciprocal(step: &mut Step) -> Done {
    let (dy, y) = (step.dy()?, step.y()?);
    let square = step.emit.mul(&y, &y)?;
    let share = step.emit.mul(&dy, &square)?;
    step.take(0, share);
    Ok(())
}

pub(super) fn fmod(step: &mut Step) -> Done {
    step.refuse(1, "B")?;
    let dy = step.dy()?;
    step.give_unbroadcast(0, &dy)
}

pub(super) fn pow(step: &mut Step) -> Done {
    let (dy, x, exponent) = (step.dy()?, step.x(0)?, step.x(1)?);
    if step.wants(0) {
        let slope = match step.emit.builder.constant(&exponent) {
            Some(exponent) => constant_power(step, &x, &exponent)?,
            None => {
                let exponent = step.emit.cast(&exponent, step.emit.element(&x))?;
                let less = step.emit.shift(&exponent, -1.0)?;
                let power = step.emit.op("Pow", &[&x, &less], &[])?;
                step.emit.mul(&power, &exponent)?
            }
        };
        let share = step.emit.mul(&dy, &slope)?;
        step.give_unbroadcast(0, &share)?;
    }
    if step.wants(1) {
        if !step.emit.element(&exponent).is_float() {
            return Err(Reason::Input { input: "Y" });
        }
        let y = step.y()?;
        let zero = step.emit.scalar(0.0, &x);
        let above = step.emit.op("Greater", &[&x, &zero], &[])?;
        let log = step.emit.op("Log", &[&x], &[])?;
        let slope = step.emit.mul(&y, &log)?;
        let share = step.emit.mul(&dy, &slope)?;
        let share = step.emit.keep_where(&above, &share)?;
        step.give_unbroadcast(1, &share)?;
    }
    Ok(())
}

/// `c·xᶜ⁻¹`.
fn constant_power(step: &mut Step, x: &Value, exponent: &Tensor) -> Result<Value, Reason> {
    let values = exponent.to_f64s();
    if values.iter().all(|&c| c == 2.0) {
        return Ok(step.emit.scale(x, 2.0)?);
    }
    let element = step.emit.element(x);
    let less: Vec<f64> = values.iter().map(|&c| if c == 0.0 { 0.0 } else { c - 1.0 }).collect();
    let less = step.emit.values(&exponent.dims, element, |_| less)?;
    let factor = step.emit.values(&exponent.dims, element, |_| values)?;
    let power = step.emit.op("Pow", &[x, &less], &[])?;
    Ok(step.emit.op("Mul", &[&power, &factor], &[])?)
}

pub(super) fn sqrt(step: &mut Step) -> Done {
    let (dy, y) = (step.dy()?, step.y()?);
    let half = step.emit.scale(&dy, 0.5)?;
    let share = step.emit.div(&half, &y)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn exp(step: &mut Step) -> Done {
    let (dy, y) = (step.dy()?, step.y()?);
    let share = step.emit.mul(&dy, &y)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn log(step: &mut Step) -> Done {
    let (dy, x) = (step.dy()?, step.x(0)?);
    let share = step.emit.div(&dy, &x)?;
    step.give(0, share);
    Ok(())
}
