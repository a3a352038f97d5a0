//! Gradients of `ConvTranspose`: it is the adjoint of a `Conv`, so its share of x is that `Conv` of `g`, and its
//! share of the weight that `Conv`'s, with `g` as the input and x as the gradient.
//!
//! ```text
//! y[n, o, s·p + d·k − pad] += w[c, o, k] · x[n, c, p]
//! share_x[n, c, p] = Σ_{o, k} w[c, o, k] · g[n, o, s·p + d·k − pad]     share_b[o] = Σ_{n, q} g[n, o, q]
//! ```
//! # Source
//! ONNX `ConvTranspose`, its rule for `auto_pad` and `output_shape` included.

use crate::onnx::Attr;

use super::convolution::{Shape, Window, ints, share_bias};
use super::step::Step;
use super::{Reason, convolution_weight};

pub(super) fn conv_transpose(step: &mut Step) -> Result<(), Reason> {
    let (dy, x, w) = (step.dy()?, step.x(0)?, step.x(1)?);
    let (dims_x, dims_w) = (step.emit.dims(&x), step.emit.dims(&w));
    let groups = usize::try_from(step.node.int("group", 1)).unwrap_or(1).max(1);
    let window = window(step, &dims_w[2..])?;
    if step.wants(0) {
        let pads = [&window.before[..], &window.after[..]].concat();
        let attrs = [
            ("strides", ints(&window.stride)),
            ("dilations", ints(&window.dilation)),
            ("pads", ints(&pads)),
            ("group", Attr::Int(groups as i64)),
        ];
        let share = step.emit.op("Conv", &[&dy, &w], &attrs)?;
        step.give(0, share);
    }
    if step.wants(1) {
        let channels = (dims_w[1] * groups, dims_x[1]);
        let shape = Shape { window, batch: dims_x[0], groups, channels };
        let share = convolution_weight::share(step.emit, &dy, &x, &shape)?;
        step.give(1, share);
    }
    share_bias(step, &dy, dims_x.len())
}

/// The window of the `Conv` from y to x.
fn window(step: &Step, kernel: &[usize]) -> Result<Window, Reason> {
    let mut window = Window::read(step, Some(kernel))?;
    std::mem::swap(&mut window.from, &mut window.to);
    let auto = step.node.text("auto_pad", "NOTSET").to_owned();
    let asked = step.node.ints("output_shape").is_some_and(|shape| !shape.is_empty());
    for axis in 0..kernel.len() {
        let extra = step.node.ints("output_padding").and_then(|e| e.get(axis)).copied();
        let extra = usize::try_from(extra.unwrap_or(0)).unwrap_or(0);
        let full = (window.to[axis] - 1) * window.stride[axis] + window.extent(axis) + extra;
        if asked || auto.starts_with("SAME") {
            let total = full.saturating_sub(window.from[axis]);
            let (less, more) = (total / 2, total - total / 2);
            let upper = auto == "SAME_UPPER";
            (window.before[axis], window.after[axis]) =
                if upper { (less, more) } else { (more, less) };
        }
        let padded = window.from[axis] + window.before[axis] + window.after[axis];
        let reads =
            padded.checked_sub(window.extent(axis)).map(|room| room / window.stride[axis] + 1);
        if reads != Some(window.to[axis]) {
            let value = format!("{:?}", step.node.ints("output_padding").unwrap_or(&[]));
            return Err(Reason::Attribute { name: "output_padding", value });
        }
    }
    Ok(window)
}
