//! Gradients of pools.
//!
//! | operator | share |
//! |---|---|
//! | `AveragePool` | that of a `Conv` of each channel with a kernel of 1/places (after dividing by the true counts where pads are not counted) |
//! | `GlobalAveragePool` | `g / places`, repeated |
//! | `MaxPool`, kernel = stride, no pads | `g` to the values that equal their maximum, shared equally among ties |
//! | `MaxPool`, others | `g` added to the place of each maximum, the first of ties |
//!
//! A rounded-up output may read past the end of the pads: that part counts as pads that are never counted.
//!
//! # Source
//! ONNX `AveragePool`, `MaxPool`. PyTorch gives a tie's gradient to the first value only.

use crate::onnx::Value;

use super::convolution::{self, Shape, Window};
use super::step::Step;
use super::{Reason, scatter, stored};

type Done = Result<(), Reason>;

pub(super) fn average(step: &mut Step) -> Done {
    let (dy, x) = (step.dy()?, step.x(0)?);
    let dims = step.emit.dims(&x);
    let mut window = Window::read(step, None)?;
    let pads = window.after.clone();
    reach_past(&mut window);
    let share = if window.is_patches() {
        let share = step.emit.scale(&dy, 1.0 / window.places() as f64)?;
        repeat(step, &share, &dims, &window)?
    } else {
        let kernel = [&[dims[1], 1], &window.kernel[..]].concat();
        let element = step.emit.element(&dy);
        let each = |count| vec![dims[1] as f64 / count as f64; count];
        let kernel = step.emit.values(&kernel, element, each)?;
        let counted: Vec<(usize, usize)> = (0..window.from.len())
            .map(|axis| {
                let (before, end) = (window.before[axis], window.before[axis] + window.from[axis]);
                if step.node.int("count_include_pad", 0) == 0 {
                    (before, end)
                } else {
                    (0, end + pads[axis])
                }
            })
            .collect();
        let dy = by_true_counts(step, &dy, &window, &counted)?;
        let channels = (dims[1], dims[1]);
        let shape = Shape { window, batch: dims[0], groups: dims[1], channels };
        convolution::share_x(step, &dy, &kernel, &shape)?
    };
    step.give(0, share);
    Ok(())
}

/// Extends the pads by what the last windows of a rounded-up output read past the end.
fn reach_past(window: &mut Window) {
    for axis in 0..window.from.len() {
        let reach = (window.to[axis] - 1) * window.stride[axis] + window.extent(axis);
        let inside = window.from[axis] + window.before[axis];
        window.after[axis] = window.after[axis].max(reach.saturating_sub(inside));
    }
}

/// `g · places / count`: the kernel's 1/places then becomes 1/count.
///
/// Of the padded values of each axis, those from the first to before the second of `counted` count.
fn by_true_counts(
    step: &mut Step,
    dy: &Value,
    window: &Window,
    counted: &[(usize, usize)],
) -> Result<Value, Reason> {
    let mut axes = Vec::new();
    for (axis, &(first, end)) in counted.iter().enumerate() {
        let (kernel, dilation) = (window.kernel[axis], window.dilation[axis]);
        // Places of the kernel that lie before `bound`, if its first lies at `start`.
        let before =
            |bound: usize, start: usize| bound.saturating_sub(start).div_ceil(dilation).min(kernel);
        let inside = |at: usize| {
            let start = at * window.stride[axis];
            (before(end, start) - before(first, start)) as f64
        };
        axes.push((0..stored::fits(&[window.to[axis]])?).map(inside).collect::<Vec<f64>>());
    }
    let whole = |(along, &kernel): (&Vec<f64>, &usize)| along.iter().all(|&c| c == kernel as f64);
    if axes.iter().zip(&window.kernel).all(whole) {
        return Ok(dy.clone());
    }
    let places = window.places() as f64;
    let factors = |_| {
        let each = |counts: Vec<f64>, along: &Vec<f64>| {
            counts.iter().flat_map(|c| along.iter().map(move |a| c * a)).collect()
        };
        let counts: Vec<f64> = axes.iter().fold(vec![1.0], each);
        counts.iter().map(|c| places / c).collect()
    };
    let element = step.emit.element(dy);
    let factors = step.emit.values(&[&[1, 1], &window.to[..]].concat(), element, factors)?;
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
    let past = (0..window.from.len())
        .any(|axis| window.to[axis] * window.kernel[axis] > window.from[axis]);
    if !window.is_patches() || past {
        return max_by_place(step, &dy, &x, &dims);
    }
    let (thin, full, covered) = blocks(&dims, &window);
    let x = step.emit.crop(&x, &vec![0; dims.len()], &covered)?;
    let x = step.emit.reshape(&x, &full)?;
    let y = step.emit.reshape(&y, &thin)?;
    let dy = step.emit.reshape(&dy, &thin)?;
    let hit = step.emit.hit(&x, &y)?;
    let axes: Vec<usize> = (0..window.to.len()).map(|axis| 3 + 2 * axis).collect();
    let ties = step.emit.reduce_sum(&hit, &axes, true)?;
    let each = step.emit.div(&dy, &ties)?;
    let share = step.emit.mul(&hit, &each)?;
    let share = step.emit.reshape(&share, &covered)?;
    step.give_piece(0, vec![0; dims.len()], share);
    Ok(())
}

/// The operator's second output tells where each maximum was.
fn max_by_place(step: &mut Step, dy: &Value, x: &Value, dims: &[usize]) -> Done {
    if step.node.int("storage_order", 0) != 0 {
        return Err(Reason::Attribute { name: "storage_order", value: "1".into() });
    }
    let places = match step.outputs.get(1).cloned().flatten() {
        Some(places) => places,
        None => {
            let pool = step.emit.again(step.node, &[x], 2)?;
            pool.into_iter().nth(1).ok_or(Reason::Output)?
        }
    };
    let (reads, values) = (step.emit.dims(dy).iter().product(), dims.iter().product());
    let dy = step.emit.reshape(dy, &[reads])?;
    let places = step.emit.reshape(&places, &[reads])?;
    let share = scatter::add_elements(step.emit, &[values], &places, &dy, 0)?;
    let share = step.emit.reshape(&share, dims)?;
    step.give(0, share);
    Ok(())
}
