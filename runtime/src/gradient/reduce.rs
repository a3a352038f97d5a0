//! Gradients of sums and means: `g`, or `g / count`, repeated over the reduced axes.
//!
//! The repeating is left to the operators that read the gradient: they broadcast.
//! # Source
//! Elementary calculus.

use super::Reason;
use super::step::Step;

pub(super) fn sum(step: &mut Step) -> Result<(), Reason> {
    share(step, |_| 1.0)
}

pub(super) fn mean(step: &mut Step) -> Result<(), Reason> {
    share(step, |count| 1.0 / count as f64)
}

fn share(step: &mut Step, factor: impl Fn(usize) -> f64) -> Result<(), Reason> {
    let (dy, x) = (step.dy()?, step.x(0)?);
    let dims = step.emit.dims(&x);
    let axes = step.attribute_or_input("axes", 1)?.unwrap_or_default();
    if axes.is_empty() && step.node.int("noop_with_empty_axes", 0) != 0 {
        step.give(0, dy);
        return Ok(());
    }
    let mut kept = dims.clone();
    let mut count = 1;
    for axis in 0..dims.len() {
        let named = axes.iter().try_fold(axes.is_empty(), |found, &named| {
            step.axis(named, dims.len()).map(|named| found || named == axis)
        })?;
        if named {
            count *= dims[axis];
            kept[axis] = 1;
        }
    }
    let share = step.emit.reshape(&dy, &kept)?;
    let share = step.emit.scale(&share, factor(count))?;
    step.give(0, share);
    Ok(())
}
