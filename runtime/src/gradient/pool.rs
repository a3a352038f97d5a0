//! Gradients of pools.
//!
//! | operator | share |
//! |---|---|
//! | `AveragePool` | that of a `Conv` of each channel with a kernel of 1/places (after dividing by the true counts where pads are not counted) |
//! | `GlobalAveragePool` | `g / places`, repeated |
//! | `MaxPool`, kernel = stride, no pads | `g` to the values that equal their maximum, shared equally among ties |
//!
//! # Source
//! ONNX `AveragePool`, `MaxPool`. PyTorch gives a tie's gradient to the first value only.

use crate::onnx::{Attr, Value};

use super::Reason;
use super::convolution::{self, Shape, Window};
use super::step::Step;

type Done = Result<(), Reason>;

pub(super) fn average(step: &mut Step) -> Done {
    let (dy, x) = (step.dy()?, step.x(0)?);
    let dims = step.emit.dims(&x);
    let window = Window::read(step, None)?;
    check_ceil(step, &window)?;
    let share = if window.is_patches() {
        let share = step.emit.scale(&dy, 1.0 / window.places() as f64)?;
        repeat(step, &share, &dims, &window)?
    } else {
        let dy = if step.node.int("count_include_pad", 0) == 0 {
            by_true_counts(step, &dy, &window)?
        } else {
            dy
        };
        let kernel = [&[dims[1], 1], &window.kernel[..]].concat();
        let each = 1.0 / window.places() as f64;
        let element = step.emit.element(&dy);
        let values = vec![each; kernel.iter().product()];
        let kernel = step.emit.values(&kernel, &values, element);
        let channels = (dims[1], dims[1]);
        let shape = Shape { window, batch: dims[0], groups: dims[1], channels };
        convolution::share_x(step, &dy, &kernel, &shape)?
    };
    step.give(0, share);
    Ok(())
}

/// A rounded-up output reads past the end, which only some counts include: refused where it happens.
fn check_ceil(step: &Step, window: &Window) -> Done {
    let past = (0..window.from.len()).any(|axis| {
        let padded = window.from[axis] + window.before[axis] + window.after[axis];
        (window.to[axis] - 1) * window.stride[axis] + window.extent(axis) > padded
    });
    if step.node.int("ceil_mode", 0) != 0 && past {
        return Err(Reason::Attribute { name: "ceil_mode", value: "1".into() });
    }
    Ok(())
}

/// `g · places / count`: the kernel's 1/places then becomes 1/count.
fn by_true_counts(step: &mut Step, dy: &Value, window: &Window) -> Result<Value, Reason> {
    let rank = window.to.len();
    let mut counts = vec![1.0];
    for axis in 0..rank {
        let inside = |at: usize| {
            (0..window.kernel[axis])
                .map(|k| at * window.stride[axis] + k * window.dilation[axis])
                .filter(|&q| {
                    q >= window.before[axis] && q < window.before[axis] + window.from[axis]
                })
                .count() as f64
        };
        let along: Vec<f64> = (0..window.to[axis]).map(inside).collect();
        counts = counts.iter().flat_map(|c| along.iter().map(move |a| c * a)).collect();
    }
    let places = window.places() as f64;
    if counts.iter().all(|&c| c == places) {
        return Ok(dy.clone());
    }
    let factors: Vec<f64> = counts.iter().map(|c| places / c).collect();
    let element = step.emit.element(dy);
    let factors = step.emit.values(&[&[1, 1], &window.to[..]].concat(), &factors, element);
    Ok(step.emit.mul(dy, &factors)?)
}

/// Every value over its patch, zeros over what no patch covers.
fn repeat(step: &mut Step, a: &Value, dims: &[usize], window: &Window) -> Result<Value, Reason> {
    let (thin, full, covered) = blocks(dims, window);
    let a = step.emit.reshape(a, &thin)?;
    let a = step.emit.expand(&a, &full)?;
    let a = step.emit.reshape(&a, &covered)?;
    let rest: Vec<usize> = dims.iter().zip(&covered).map(|(d, c)| d - c).collect();
    Ok(step.emit.pad(&a, &vec![0; dims.len()], &rest)?)
}

/// `[n, c, p, 1, ..]`, `[n, c, p, k, ..]` and `[n, c, p·k, ..]` of windows that lie side by side.
fn blocks(dims: &[usize], window: &Window) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
    let (mut thin, mut full, mut covered) =
        (dims[..2].to_vec(), dims[..2].to_vec(), dims[..2].to_vec());
    for (to, kernel) in window.to.iter().zip(&window.kernel) {
        thin.extend([*to, 1]);
        full.extend([to, kernel]);
        covered.push(to * kernel);
    }
    (thin, full, covered)
}

pub(super) fn global_average(step: &mut Step) -> Done {
    let (dy, x) = (step.dy()?, step.x(0)?);
    let places: usize = step.emit.dims(&x)[2..].iter().product();
    let share = step.emit.scale(&dy, 1.0 / places as f64)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn max(step: &mut Step) -> Done {
    let (dy, x, y) = (step.dy()?, step.x(0)?, step.y()?);
    let dims = step.emit.dims(&x);
    let window = Window::read(step, None)?;
    if !window.is_patches() {
        let value = format!("{:?} with strides {:?}", window.kernel, window.stride);
        return Err(Reason::Attribute { name: "kernel_shape", value });
    }
    check_ceil(step, &window)?;
    let (thin, full, covered) = blocks(&dims, &window);
    let x = step.emit.crop(&x, &vec![0; dims.len()], &covered)?;
    let x = step.emit.reshape(&x, &full)?;
    let y = step.emit.reshape(&y, &thin)?;
    let dy = step.emit.reshape(&dy, &thin)?;
    let hit = step.emit.op("Equal", &[&x, &y], &[])?;
    let to = Attr::Int(i64::from(step.emit.element(&dy).to_onnx()));
    let hit = step.emit.op("Cast", &[&hit], &[("to", to)])?;
    let axes: Vec<usize> = (0..window.to.len()).map(|axis| 3 + 2 * axis).collect();
    let ties = step.emit.reduce_sum(&hit, &axes, true)?;
    let each = step.emit.div(&dy, &ties)?;
    let share = step.emit.mul(&hit, &each)?;
    let share = step.emit.reshape(&share, &covered)?;
    step.give_piece(0, vec![0; dims.len()], share);
    Ok(())
}
