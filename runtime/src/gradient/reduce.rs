//! Gradients of what folds axes into one value. `g` and y keep the folded axes with one value.
//!
//! | operator | share |
//! |---|---|
//! | `ReduceSum`, `ReduceMean` | `g`, `g / count` |
//! | `ReduceMax`, `ReduceMin`, `GlobalMaxPool` | `g` to what equals y, shared equally among ties |
//! | `ReduceL1`, `ReduceL2` | `g·sign x`, `g·x / y` (0 where y is 0) |
//! | `ReduceProd` | `g` times the product of the others: `y / x` where nothing is 0, and of the only 0 the rest |
//! | `ReduceSumSquare` | `2·g·x` |
//! | `ReduceLogSum`, `ReduceLogSumExp` | `g / exp y`, `g·exp(x − y)` |
//!
//! The repeating is left to the operators that read the gradient: they broadcast.
//! # Source
//! Elementary calculus; ties as PyTorch's `amax`.

use crate::onnx::Value;

use super::Reason;
use super::step::Step;

type Done = Result<(), Reason>;

/// What a node folds.
struct Folding {
    /// Dimensions with 1 for every folded axis.
    kept: Vec<usize>,
    axes: Vec<usize>,
    /// Values that are folded into one.
    count: usize,
}

impl Folding {
    fn read(step: &Step) -> Result<Folding, Reason> {
        let dims = step.emit.dims(&step.x(0)?);
        let named = step.attribute_or_input("axes", 1)?.unwrap_or_default();
        let none = named.is_empty() && step.node.int("noop_with_empty_axes", 0) != 0;
        let mut axes = Vec::new();
        for &axis in &named {
            axes.push(step.axis(axis, dims.len())?);
        }
        if named.is_empty() && !none {
            axes = (0..dims.len()).collect();
        }
        Ok(Folding::over(&dims, axes))
    }

    fn over(dims: &[usize], axes: Vec<usize>) -> Folding {
        let mut kept = dims.to_vec();
        axes.iter().for_each(|&axis| kept[axis] = 1);
        let count = axes.iter().map(|&axis| dims[axis]).product();
        Folding { kept, axes, count }
    }

    fn keep(&self, step: &mut Step, value: &Value) -> Result<Value, Reason> {
        Ok(step.emit.reshape(value, &self.kept)?)
    }
}

pub(super) fn sum(step: &mut Step) -> Done {
    share(step, |_| 1.0)
}

pub(super) fn mean(step: &mut Step) -> Done {
    share(step, |count| 1.0 / count as f64)
}

fn share(step: &mut Step, factor: impl Fn(usize) -> f64) -> Done {
    let (dy, folding) = (step.dy()?, Folding::read(step)?);
    let share = folding.keep(step, &dy)?;
    let share = step.emit.scale(&share, factor(folding.count))?;
    step.give(0, share);
    Ok(())
}

pub(super) fn extreme(step: &mut Step) -> Done {
    let folding = Folding::read(step)?;
    to_extreme(step, &folding)
}

pub(super) fn global_max_pool(step: &mut Step) -> Done {
    let dims = step.emit.dims(&step.x(0)?);
    to_extreme(step, &Folding::over(&dims, (2..dims.len()).collect()))
}

fn to_extreme(step: &mut Step, folding: &Folding) -> Done {
    let (dy, x, y) = (step.dy()?, step.x(0)?, step.y()?);
    let (dy, y) = (folding.keep(step, &dy)?, folding.keep(step, &y)?);
    let hit = step.emit.hit(&x, &y)?;
    let ties = step.emit.reduce_sum(&hit, &folding.axes, true)?;
    let each = step.emit.div(&dy, &ties)?;
    let share = step.emit.mul(&hit, &each)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn l1(step: &mut Step) -> Done {
    let (dy, x, folding) = (step.dy()?, step.x(0)?, Folding::read(step)?);
    let dy = folding.keep(step, &dy)?;
    let sign = step.emit.op("Sign", &[&x], &[])?;
    let share = step.emit.mul(&dy, &sign)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn l2(step: &mut Step) -> Done {
    let (dy, x, y, folding) = (step.dy()?, step.x(0)?, step.y()?, Folding::read(step)?);
    let (dy, y) = (folding.keep(step, &dy)?, folding.keep(step, &y)?);
    let zero = step.emit.scalar(0.0, &y);
    let some = step.emit.op("Greater", &[&y, &zero], &[])?;
    let each = step.emit.div(&dy, &y)?;
    let each = step.emit.keep_where(&some, &each)?;
    let share = step.emit.mul(&x, &each)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn product(step: &mut Step) -> Done {
    let (dy, x, folding) = (step.dy()?, step.x(0)?, Folding::read(step)?);
    let dy = folding.keep(step, &dy)?;
    let zero = step.emit.scalar(0.0, &x);
    let is_zero = step.emit.hit(&x, &zero)?;
    let zeros = step.emit.reduce_sum(&is_zero, &folding.axes, true)?;
    // 1 in the place of zeros: the product of the others, and what can be divided by.
    let some = step.emit.add(&x, &is_zero)?;
    let axes: Vec<i64> = folding.axes.iter().map(|&axis| axis as i64).collect();
    let rest = match axes.as_slice() {
        // Without axes an operator folds all of them.
        [] => some.clone(),
        axes => step.emit.builder.reduce("ReduceProd", &some, axes, true)?,
    };
    let others = step.emit.div(&rest, &some)?;
    let none = step.emit.scalar(0.0, &zeros);
    let none = step.emit.hit(&zeros, &none)?;
    let one = step.emit.scalar(1.0, &zeros);
    let only = step.emit.hit(&zeros, &one)?;
    // Of several zeros each hides the others.
    let of_zero = step.emit.mul(&is_zero, &only)?;
    let of_some = step.emit.one_less(&is_zero)?;
    let of_some = step.emit.mul(&of_some, &none)?;
    let counts = step.emit.add(&of_zero, &of_some)?;
    let slope = step.emit.mul(&others, &counts)?;
    let share = step.emit.mul(&dy, &slope)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn sum_square(step: &mut Step) -> Done {
    let (dy, x, folding) = (step.dy()?, step.x(0)?, Folding::read(step)?);
    let dy = folding.keep(step, &dy)?;
    let double = step.emit.scale(&dy, 2.0)?;
    let share = step.emit.mul(&x, &double)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn log_sum(step: &mut Step) -> Done {
    let (dy, y, folding) = (step.dy()?, step.y()?, Folding::read(step)?);
    let total = step.emit.op("Exp", &[&y], &[])?;
    let share = step.emit.div(&dy, &total)?;
    let share = folding.keep(step, &share)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn log_sum_exp(step: &mut Step) -> Done {
    let (dy, x, y, folding) = (step.dy()?, step.x(0)?, step.y()?, Folding::read(step)?);
    let (dy, y) = (folding.keep(step, &dy)?, folding.keep(step, &y)?);
    let below = step.emit.sub(&x, &y)?;
    let chance = step.emit.op("Exp", &[&below], &[])?;
    let share = step.emit.mul(&dy, &chance)?;
    step.give(0, share);
    Ok(())
}
