//! Gradients of `Conv` by its input and its bias; by its weight in [`super::convolution_weight`].
//!
//! ```text
//! y[n, o, p] = b[o] + Σ_{c, k} w[o, c, k] · x[n, c, s·p + d·k − pad]
//! share_x[n, c, q] = Σ_{o, k} w[o, c, k] · g[n, o, (q + pad − d·k) / s]     (where that is a place of y)
//! share_b[o]       = Σ_{n, p} g[n, o, p]
//! ```
//! | layer | share of x |
//! |---|---|
//! | stride 1 | `Conv` of `g` with the kernel reversed and its channels exchanged |
//! | kernel = stride, no pads (patches) | 1×1 `Conv` to every place of a patch, then the patches laid out |
//! | else | `ConvTranspose` of `g` with the same weight |
//!
//! A reversed kernel of a constant weight is itself a constant.
//! # Source
//! ONNX `Conv`; the adjoint by hand. Stride 1 as `Conv` was faster than `ConvTranspose` on ONNX Runtime's
//! CPU provider (58.5 → 54.0 ms per step of a whole model).

use crate::onnx::{Attr, Tensor, Value};

use super::step::Step;
use super::{Reason, constant, convolution_weight};
use crate::graft::Profile;

/// The window of a convolution or a pool, one entry per spatial axis.
pub(super) struct Window {
    pub(super) kernel: Vec<usize>,
    pub(super) stride: Vec<usize>,
    pub(super) dilation: Vec<usize>,
    pub(super) before: Vec<usize>,
    pub(super) after: Vec<usize>,
    /// Spatial dimensions of the input and of the output.
    pub(super) from: Vec<usize>,
    pub(super) to: Vec<usize>,
}

impl Window {
    /// Reads the window of a node; `kernel` where the node does not say it.
    pub(super) fn read(step: &Step, kernel: Option<&[usize]>) -> Result<Window, Reason> {
        let from = step.emit.dims(&step.x(0)?)[2..].to_vec();
        let to = step.emit.dims(&step.y()?)[2..].to_vec();
        let rank = from.len();
        let list = |name: &'static str, default: usize, count: usize| match step.node.ints(name) {
            None => Ok(vec![default; count]),
            Some(ints) => {
                let sizes: Option<Vec<usize>> =
                    ints.iter().map(|&v| usize::try_from(v).ok()).collect();
                sizes
                    .filter(|sizes| sizes.len() == count)
                    .ok_or(Reason::Attribute { name, value: format!("{ints:?}") })
            }
        };
        let kernel = match kernel {
            Some(kernel) => kernel.to_vec(),
            None => list("kernel_shape", 1, rank)?,
        };
        let pads = list("pads", 0, 2 * rank)?;
        let mut window = Window {
            kernel,
            stride: list("strides", 1, rank)?,
            dilation: list("dilations", 1, rank)?,
            before: pads[..rank].to_vec(),
            after: pads[rank..].to_vec(),
            from,
            to,
        };
        match step.node.text("auto_pad", "NOTSET") {
            "NOTSET" | "" => {}
            "VALID" => {
                window.before = vec![0; rank];
                window.after = vec![0; rank];
            }
            same => window.pad_to_same(same == "SAME_LOWER"),
        }
        Ok(window)
    }

    /// The pads that `auto_pad` stands for; an odd one goes to the end, or to the start.
    fn pad_to_same(&mut self, lower: bool) {
        for axis in 0..self.from.len() {
            let reach = (self.to[axis] - 1) * self.stride[axis] + self.extent(axis);
            let total = reach.saturating_sub(self.from[axis]);
            let (less, more) = (total / 2, total - total / 2);
            (self.before[axis], self.after[axis]) = if lower { (more, less) } else { (less, more) };
        }
    }

    /// Values that the kernel spans along an axis.
    pub(super) fn extent(&self, axis: usize) -> usize {
        self.dilation[axis] * (self.kernel[axis] - 1) + 1
    }

    /// The number of places of the kernel.
    pub(super) fn places(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Whether every output reads one value.
    pub(super) fn is_pointwise(&self) -> bool {
        self.places() == 1 && self.is_dense() && self.is_unpadded()
    }

    /// Whether the stride is 1.
    pub(super) fn is_dense(&self) -> bool {
        self.stride.iter().all(|&s| s == 1)
    }

    /// Whether every window reads something beside pads.
    pub(super) fn pads_within(&self) -> bool {
        (0..self.from.len()).all(|axis| {
            self.before[axis] < self.extent(axis) && self.after[axis] < self.extent(axis)
        })
    }

    /// Whether windows lie side by side, so that every value is in one at most.
    pub(super) fn is_patches(&self) -> bool {
        self.kernel == self.stride && self.dilation.iter().all(|&d| d == 1) && self.is_unpadded()
    }

    fn is_unpadded(&self) -> bool {
        self.before.iter().chain(&self.after).all(|&p| p == 0)
    }
}

/// The sizes of a convolution.
pub(super) struct Shape {
    pub(super) window: Window,
    pub(super) batch: usize,
    pub(super) groups: usize,
    /// Channels of the input and of the output.
    pub(super) channels: (usize, usize),
}

pub(super) fn conv(step: &mut Step) -> Result<(), Reason> {
    let (dy, x, w) = (step.dy()?, step.x(0)?, step.x(1)?);
    let (dims_x, dims_w) = (step.emit.dims(&x), step.emit.dims(&w));
    let groups = usize::try_from(step.node.int("group", 1)).unwrap_or(1).max(1);
    let shape = Shape {
        window: Window::read(step, Some(&dims_w[2..]))?,
        batch: dims_x[0],
        groups,
        channels: (dims_x[1], dims_w[0]),
    };
    if step.wants(0) {
        let share = share_x(step, &dy, &w, &shape)?;
        step.give(0, share);
    }
    if step.wants(1) {
        let share = convolution_weight::share(step.emit, &x, &dy, &shape)?;
        step.give(1, share);
    }
    share_bias(step, &dy, dims_x.len())
}

/// Σ dy over all but the channels, for the bias.
pub(super) fn share_bias(step: &mut Step, dy: &Value, rank: usize) -> Result<(), Reason> {
    if step.wants(2) {
        let axes: Vec<usize> = (0..rank).filter(|&axis| axis != 1).collect();
        let share = step.emit.reduce_sum(dy, &axes, false)?;
        step.give(2, share);
    }
    Ok(())
}

pub(super) fn share_x(
    step: &mut Step,
    dy: &Value,
    w: &Value,
    shape: &Shape,
) -> Result<Value, Reason> {
    let window = &shape.window;
    if window.is_dense() && window.pads_within() {
        return by_reversed_kernel(step, dy, w, shape);
    }
    if window.is_patches() && shape.groups == 1 {
        return by_patches(step, dy, w, shape);
    }
    by_transposed(step, dy, w, shape)
}

fn by_reversed_kernel(
    step: &mut Step,
    dy: &Value,
    w: &Value,
    shape: &Shape,
) -> Result<Value, Reason> {
    let window = &shape.window;
    let kernel = reversed(step, w, shape)?;
    let rank = window.from.len();
    let pad = |pads: &[usize]| {
        (0..rank).map(|axis| (window.extent(axis) - 1 - pads[axis]) as i64).collect::<Vec<_>>()
    };
    let pads = [pad(&window.before), pad(&window.after)].concat();
    let mut attrs = Vec::new();
    if pads.iter().any(|&p| p != 0) {
        attrs.push(("pads", Attr::Ints(pads)));
    }
    if window.dilation.iter().any(|&d| d != 1) {
        attrs.push(("dilations", ints(&window.dilation)));
    }
    if shape.groups != 1 {
        attrs.push(("group", Attr::Int(shape.groups as i64)));
    }
    Ok(step.emit.op("Conv", &[dy, &kernel], &attrs)?)
}

/// The kernel from outputs to inputs: `[Co, Ci/g, k..]` → `[Ci, Co/g, k.. reversed]`.
fn reversed(step: &mut Step, w: &Value, shape: &Shape) -> Result<Value, Reason> {
    let (groups, places) = (shape.groups, shape.window.places());
    let (inputs, outputs) = (shape.channels.0 / groups, shape.channels.1 / groups);
    let split = [groups, outputs, inputs, places];
    let order = [0, 2, 1, 3];
    let dims = [&[groups * inputs, outputs], &shape.window.kernel[..]].concat();
    let turn = |tensor: Tensor| {
        let turned = constant::transpose(&constant::reshape(tensor, &split), &order);
        constant::reshape(constant::reverse_last(&turned), &dims)
    };
    if let Some(kernel) = step.emit.moved_constant(w, "reversed kernel", turn) {
        return Ok(kernel);
    }
    let w = step.emit.reshape(w, &split)?;
    let mut w = step.emit.transpose(&w, &order)?;
    if places > 1 {
        w = step.emit.pick(&w, 3, places, |at| (places - 1 - at) as i64)?;
    }
    Ok(step.emit.reshape(&w, &dims)?)
}

/// Patches do not overlap: every place of a patch is a 1×1 convolution of `g`.
fn by_patches(step: &mut Step, dy: &Value, w: &Value, shape: &Shape) -> Result<Value, Reason> {
    let window = &shape.window;
    let (inputs, outputs) = shape.channels;
    let rank = window.from.len();
    // [Co, Ci·places] → [Ci·places, Co, 1..]
    let dims = [&[inputs * window.places(), outputs], &vec![1; rank][..]].concat();
    let flat = [outputs, inputs * window.places()];
    let turn = |tensor: Tensor| {
        let turned = constant::transpose(&constant::reshape(tensor, &flat), &[1, 0]);
        constant::reshape(turned, &dims)
    };
    let kernel = match step.emit.moved_constant(w, "patch kernel", turn) {
        Some(kernel) => kernel,
        None => {
            let w = step.emit.reshape(w, &flat)?;
            let w = step.emit.transpose(&w, &[1, 0])?;
            step.emit.reshape(&w, &dims)?
        }
    };
    let spread = step.emit.op("Conv", &[dy, &kernel], &[])?;

    // [n, Ci, k.., p..] → [n, Ci, p, k, p, k..]: each patch in its place.
    let split = [&[shape.batch, inputs], &window.kernel[..], &window.to[..]].concat();
    let mut order = vec![0, 1];
    let mut covered = vec![shape.batch, inputs];
    for axis in 0..rank {
        order.extend([2 + rank + axis, 2 + axis]);
        covered.push(window.to[axis] * window.kernel[axis]);
    }
    let split = step.emit.reshape(&spread, &split)?;
    let laid = step.emit.transpose(&split, &order)?;
    let laid = step.emit.reshape(&laid, &covered)?;
    // What no patch covers, at the end of an axis, has no gradient.
    let mut rest = vec![0, 0];
    rest.extend((0..rank).map(|axis| window.from[axis] - covered[2 + axis]));
    Ok(step.emit.pad(&laid, &vec![0; rank + 2], &rest)?)
}

fn by_transposed(step: &mut Step, dy: &Value, w: &Value, shape: &Shape) -> Result<Value, Reason> {
    let window = &shape.window;
    let rank = window.from.len();
    let left: Vec<usize> = (0..rank)
        .map(|axis| {
            let padded = window.from[axis] + window.before[axis] + window.after[axis];
            (padded - window.extent(axis)) - (window.to[axis] - 1) * window.stride[axis]
        })
        .collect();
    // ONNX Runtime's CUDA has no kernel for pads that differ before and after: what is too much is cropped.
    let even = |axis: usize| window.before[axis].min(window.after[axis]);
    let (before, after): (Vec<usize>, Vec<usize>) = match step.emit.profile {
        Profile::Cuda => (0..rank).map(|axis| (even(axis), even(axis))).unzip(),
        Profile::Cpu | Profile::TensorRt | Profile::Tract => {
            (window.before.clone(), window.after.clone())
        }
    };
    let pads = [&before[..], &after[..]].concat();
    let attrs = [
        ("strides", ints(&window.stride)),
        ("dilations", ints(&window.dilation)),
        ("pads", ints(&pads)),
        ("output_padding", ints(&left)),
        ("group", Attr::Int(shape.groups as i64)),
    ];
    let whole = step.emit.op("ConvTranspose", &[dy, w], &attrs)?;
    let (mut starts, mut ends) = (vec![0, 0], vec![shape.batch, shape.channels.0]);
    for axis in 0..rank {
        starts.push(window.before[axis] - before[axis]);
        ends.push(starts[2 + axis] + window.from[axis]);
    }
    Ok(step.emit.crop(&whole, &starts, &ends)?)
}

pub(super) fn ints(values: &[usize]) -> Attr {
    Attr::Ints(values.iter().map(|&v| v as i64).collect())
}
