//! The gradient of `Conv` by its weight.
//!
//! ```text
//! share_w[o, c, k] = Σ_{n, p} g[n, o, p] · x[n, c, s·p + d·k − pad]
//! ```
//! It is one matrix product over all places p once the values that meet lie side by side. What is moved:
//!
//! | layer | moved | matrices |
//! |---|---|---|
//! | 1×1, stride 1 | nothing | `[Co, p]·[p, Ci]` |
//! | kernel = stride, no pads | x, patch by patch | `[Co, p]·[p, Ci·k]` |
//! | stride 1 | the side with fewer channels, shifted k times | `[Co·k, p]·[p, Ci]` or `[Co, p]·[p, Ci·k]` |
//! | else | x, as each place of the kernel reads it | `[Co, p]·[p, Ci·k]` |
//!
//! With LoRA one side of every trained convolution has only `rank` channels, so little is moved. It is moved by a convolution of each
//! channel with kernels of a single 1: one node, and 1.2 to 3.4 times as quick on ONNX Runtime's CPU provider as k slices side by side.
//! # Source
//! ONNX `Conv`; the adjoint by hand. The choice between lowerings: measured on ONNX Runtime's CPU provider.

use std::ops::Range;

use crate::onnx::{Attr, InferError, Value};

use super::convolution::{self, Shape};
use super::emit::Emit;

type Emitted = Result<Value, InferError>;
/// Kernels of more places are read axis by axis: k rows and then k columns, and not k² pieces.
const PLACES_AT_ONCE: usize = 25;

/// `[Co, Ci/g, k..]` from x `[n, Ci, from..]` and g `[n, Co, to..]`.
pub(super) fn share(emit: &mut Emit, x: &Value, dy: &Value, shape: &Shape) -> Emitted {
    let window = &shape.window;
    let (inputs, outputs) = shape.channels;
    if window.is_pointwise() {
        by_places(emit, x, dy, shape, 1)
    } else if window.is_patches() && shape.groups == 1 {
        by_patches(emit, x, dy, shape)
    } else if window.is_dense() && window.pads_within() && shape.groups == 1 && outputs <= inputs {
        by_shifted_gradient(emit, x, dy, shape)
    } else {
        let x = read_by_places(emit, x, shape)?;
        by_places(emit, &x, dy, shape, window.places())
    }
}

/// The product over places, x `[n, Ci·places, to..]` with the places of a channel side by side.
fn by_places(emit: &mut Emit, x: &Value, dy: &Value, shape: &Shape, places: usize) -> Emitted {
    let groups = shape.groups;
    let (inputs, outputs) = (shape.channels.0 / groups * places, shape.channels.1 / groups);
    let product = product(emit, dy, x, (shape.batch, groups), (outputs, inputs))?;
    let dims = [&[shape.channels.1, shape.channels.0 / groups], &shape.window.kernel[..]].concat();
    emit.reshape(&product, &dims)
}

/// `[g, rows, columns]`: Σ over the batch and all places of a `[n, g·rows, p..]` and b `[n, g·columns, p..]`.
///
/// Either a product for each sample and a sum of products, or all samples side by side first: whichever
/// moves fewer values.
fn product(
    emit: &mut Emit,
    a: &Value,
    b: &Value,
    (batch, groups): (usize, usize),
    (rows, columns): (usize, usize),
) -> Emitted {
    let places: usize = emit.dims(a)[2..].iter().product();
    if groups == 1 && batch > 1 && rows * columns > places * (rows + columns) {
        let a = side_by_side(emit, a, (batch, rows, places))?;
        let b = side_by_side(emit, b, (batch, columns, places))?;
        return emit.gemm((&a, false), (&b, true), 1.0);
    }
    let lead: &[usize] = if groups == 1 { &[batch] } else { &[batch, groups] };
    let a = emit.reshape(a, &[lead, &[rows, places]].concat())?;
    let b = emit.reshape(b, &[lead, &[columns, places]].concat())?;
    let turned = emit.swap_last(&b)?;
    let each = emit.matmul(&a, &turned)?;
    emit.reduce_sum(&each, &[0], false)
}

/// `[n, c, p..]` → `[c, n·p]`.
fn side_by_side(
    emit: &mut Emit,
    a: &Value,
    (batch, channels, places): (usize, usize, usize),
) -> Emitted {
    let a = emit.reshape(a, &[batch, channels, places])?;
    let a = emit.transpose(&a, &[1, 0, 2])?;
    emit.reshape(&a, &[channels, batch * places])
}

/// Windows side by side: x folded patch by patch, once.
fn by_patches(emit: &mut Emit, x: &Value, dy: &Value, shape: &Shape) -> Emitted {
    let window = &shape.window;
    let (inputs, outputs) = shape.channels;
    let mut ends = vec![shape.batch, inputs];
    ends.extend(window.to.iter().zip(&window.kernel).map(|(to, kernel)| to * kernel));
    let x = emit.crop(x, &vec![0; ends.len()], &ends)?;
    let square = matches!(window.kernel[..], [rows, columns] if rows == columns);
    if !square {
        let x = patches(emit, &x, shape)?;
        return by_places(emit, &x, dy, shape, window.places());
    }
    // Channels come as (place, channel); putting that right is cheaper in the small product.
    let block = Attr::Int(window.kernel[0] as i64);
    let x = emit.op("SpaceToDepth", &[&x], &[("blocksize", block)])?;
    let columns = inputs * window.places();
    let product = product(emit, dy, &x, (shape.batch, 1), (outputs, columns))?;
    channels_first(emit, &product, shape)
}

/// A product of `Co` rows of places, each of Ci channels, as `[Co, Ci, k..]`. The move of an axis is the last node: a Reshape behind it
/// ONNX Runtime would exchange with it, for nodes of its own, and would run the leaves of a graph in another order than they stand.
fn channels_first(emit: &mut Emit, product: &Value, shape: &Shape) -> Emitted {
    let (inputs, outputs) = shape.channels;
    let kernel = &shape.window.kernel[..];
    let split = emit.reshape(product, &[&[outputs], kernel, &[inputs]].concat())?;
    let order: Vec<usize> = [0, 1 + kernel.len()].into_iter().chain(1..=kernel.len()).collect();
    emit.transpose(&split, &order)
}

/// `[n, Ci, to·k ..]` → `[n, Ci·places, to..]`, for windows that lie side by side.
fn patches(emit: &mut Emit, x: &Value, shape: &Shape) -> Emitted {
    let window = &shape.window;
    let rank = window.from.len();
    let mut split = vec![shape.batch, shape.channels.0];
    let mut order = vec![0, 1];
    for axis in 0..rank {
        split.extend([window.to[axis], window.kernel[axis]]);
        order.push(3 + 2 * axis);
    }
    order.extend((0..rank).map(|axis| 2 + 2 * axis));
    let x = emit.reshape(x, &split)?;
    let x = emit.transpose(&x, &order)?;
    let dims = [&[shape.batch, shape.channels.0 * window.places()], &window.to[..]].concat();
    emit.reshape(&x, &dims)
}

/// The values that each place of the kernel reads: `[n, Ci·places, to..]`.
fn read_by_places(emit: &mut Emit, x: &Value, shape: &Shape) -> Emitted {
    let window = &shape.window;
    let axis = |axis: usize| Along {
        kernel: window.kernel[axis],
        stride: window.stride[axis],
        dilation: window.dilation[axis],
        pads: [window.before[axis], window.after[axis]],
        reversed: false,
    };
    unfold(emit, x, &(0..window.from.len()).map(axis).collect::<Vec<_>>())
}

/// How a kernel reads along an axis.
struct Along {
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// Zeros before and after.
    pads: [usize; 2],
    /// The last place first.
    reversed: bool,
}

/// What each place of a kernel reads of `x` `[n, C, from..]`, as `[n, C·places, to..]`: the places of a channel side by side,
/// row-major. Each is a convolution of the channel with a single 1, all of them one node.
fn unfold(emit: &mut Emit, x: &Value, along: &[Along]) -> Emitted {
    if along.iter().map(|axis| axis.kernel).product::<usize>() <= PLACES_AT_ONCE {
        return unfold_axes(emit, x, along, 0..along.len());
    }
    (0..along.len()).try_fold(x.clone(), |x, axis| unfold_axes(emit, &x, along, axis..axis + 1))
}

/// [`unfold`] along some axes; the others stay as they are.
fn unfold_axes(emit: &mut Emit, x: &Value, along: &[Along], axes: Range<usize>) -> Emitted {
    let of = |usual: usize, value: &dyn Fn(&Along) -> usize| {
        let each = along.iter().enumerate();
        let each = each.map(|(at, axis)| if axes.contains(&at) { value(axis) } else { usual });
        each.collect::<Vec<usize>>()
    };
    let kernel = of(1, &|axis| axis.kernel);
    let channels = emit.dims(x)[1];
    let places = kernel.iter().product::<usize>();
    let mut ones = vec![0.0; places * places];
    for place in 0..places {
        let (mut left, mut weight, mut at) = (place, 1, 0);
        for (axis, &size) in along.iter().zip(&kernel).rev() {
            let here = left % size;
            at += weight * if axis.reversed { size - 1 - here } else { here };
            (left, weight) = (left / size, weight * size);
        }
        ones[place * places + at] = 1.0;
    }
    let dims = [&[channels * places, 1], &kernel[..]].concat();
    let element = emit.element(x);
    let ones = emit.values(&dims, &ones.repeat(channels), element);
    let pads = [of(0, &|axis| axis.pads[0]), of(0, &|axis| axis.pads[1])].concat();
    let attrs = [
        ("dilations", convolution::ints(&of(1, &|axis| axis.dilation))),
        ("group", Attr::Int(channels as i64)),
        ("pads", convolution::ints(&pads)),
        ("strides", convolution::ints(&of(1, &|axis| axis.stride))),
    ];
    emit.op("Conv", &[x, &ones], &attrs)
}

/// Stride 1: `g` shifted by each place of the kernel meets x where x is: at its place q, g[q + pad − d·k], zero outside.
fn by_shifted_gradient(emit: &mut Emit, x: &Value, dy: &Value, shape: &Shape) -> Emitted {
    let window = &shape.window;
    let (inputs, outputs) = shape.channels;
    let axis = |axis: usize| {
        let reach = window.extent(axis) - 1;
        Along {
            kernel: window.kernel[axis],
            stride: 1,
            dilation: window.dilation[axis],
            pads: [reach - window.before[axis], reach - window.after[axis]],
            reversed: true,
        }
    };
    let all = unfold(emit, dy, &(0..window.from.len()).map(axis).collect::<Vec<_>>())?;
    // [Co·places, Ci] → [Co, Ci, k..]
    let all_rows = outputs * window.places();
    let product = product(emit, &all, x, (shape.batch, 1), (all_rows, inputs))?;
    channels_first(emit, &product, shape)
}
