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
//! | long kernels | nothing: a `Conv` of x with g as its weight | |
//!
//! With LoRA one side of every trained convolution has only `rank` channels, so little is moved. It is moved by a convolution of each
//! channel with kernels of a single 1: one node, and 1.2 to 3.4 times as quick on ONNX Runtime's CPU provider as k slices side by side.
//! Those kernels have k² values a channel: where they are more than a gradient stores, nothing is laid side by side.
//! # Source
//! ONNX `Conv`; the adjoint by hand. The choice between lowerings: measured on ONNX Runtime's CPU provider.

use std::ops::Range;

use crate::onnx::{Attr, Value};

use super::convolution::{self, Shape};
use super::emit::Emit;
use super::{Reason, stored};

type Emitted = Result<Value, Reason>;
/// Kernels of more places are read axis by axis: k rows and then k columns, and not k² pieces.
const PLACES_AT_ONCE: usize = 25;

/// `[Co, Ci/g, k..]` from x `[n, Ci, from..]` and g `[n, Co, to..]`.
pub(super) fn share(emit: &mut Emit, x: &Value, dy: &Value, shape: &Shape) -> Emitted {
    let window = &shape.window;
    let (inputs, outputs) = shape.channels;
    if window.is_pointwise() {
        return by_places(emit, x, dy, shape, 1);
    }
    if window.is_patches() && shape.groups == 1 {
        return by_patches(emit, x, dy, shape);
    }
    let shifts = window.is_dense() && window.pads_within() && shape.groups == 1;
    let shifts = shifts && outputs <= inputs;
    if !can_unfold(if shifts { outputs } else { inputs }, &window.kernel) {
        by_convolution(emit, x, dy, shape)
    } else if shifts {
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
    Ok(emit.reshape(&product, &dims)?)
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
        return Ok(emit.gemm((&a, false), (&b, true), 1.0)?);
    }
    let lead: &[usize] = if groups == 1 { &[batch] } else { &[batch, groups] };
    let a = emit.reshape(a, &[lead, &[rows, places]].concat())?;
    let b = emit.reshape(b, &[lead, &[columns, places]].concat())?;
    let turned = emit.swap_last(&b)?;
    let each = emit.matmul(&a, &turned)?;
    Ok(emit.reduce_sum(&each, &[0], false)?)
}

/// `[n, c, p..]` → `[c, n·p]`.
fn side_by_side(
    emit: &mut Emit,
    a: &Value,
    (batch, channels, places): (usize, usize, usize),
) -> Emitted {
    let a = emit.reshape(a, &[batch, channels, places])?;
    let a = emit.transpose(&a, &[1, 0, 2])?;
    Ok(emit.reshape(&a, &[channels, batch * places])?)
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
    Ok(emit.transpose(&split, &order)?)
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
    Ok(emit.reshape(&x, &dims)?)
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

/// Whether the kernels with which [`unfold`] reads so many channels are small enough to be stored.
fn can_unfold(channels: usize, kernel: &[usize]) -> bool {
    let places = kernel.iter().product::<usize>();
    if places <= PLACES_AT_ONCE {
        return stored::fits(&[channels, places, places]).is_ok();
    }
    let mut channels = channels;
    kernel.iter().all(|&size| {
        let fits = stored::fits(&[channels, size, size]).is_ok();
        channels = channels.saturating_mul(size);
        fits
    })
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
    let ones = |_| {
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
        ones.repeat(channels)
    };
    let dims = [&[channels * places, 1], &kernel[..]].concat();
    let element = emit.element(x);
    let ones = emit.values(&dims, element, ones)?;
    let pads = [of(0, &|axis| axis.pads[0]), of(0, &|axis| axis.pads[1])].concat();
    let attrs = [
        ("dilations", convolution::ints(&of(1, &|axis| axis.dilation))),
        ("group", Attr::Int(channels as i64)),
        ("pads", convolution::ints(&pads)),
        ("strides", convolution::ints(&of(1, &|axis| axis.stride))),
    ];
    Ok(emit.op("Conv", &[x, &ones], &attrs)?)
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

/// Long kernels: each channel of x is a picture of its own, g the weight, and what comes out the places of the kernel. The stride is
/// now how far values of the weight lie apart, and the other way round.
fn by_convolution(emit: &mut Emit, x: &Value, dy: &Value, shape: &Shape) -> Emitted {
    let window = &shape.window;
    let (batch, groups, outputs) = (shape.batch, shape.groups, shape.channels.1);
    let inputs = shape.channels.0 / groups;
    let rank = window.from.len();
    // [n, g·c, from..] → [c, g·n, from..]
    let x = emit.reshape(x, &[&[batch, groups, inputs], &window.from[..]].concat())?;
    let order: Vec<usize> = [2, 1, 0].into_iter().chain(3..3 + rank).collect();
    let x = emit.transpose(&x, &order)?;
    let x = emit.reshape(&x, &[&[inputs, groups * batch], &window.from[..]].concat())?;
    // [n, Co, to..] → [Co, n, to..]
    let order: Vec<usize> = [1, 0].into_iter().chain(2..2 + rank).collect();
    let dy = emit.transpose(dy, &order)?;
    let pads = [&window.before[..], &window.after[..]].concat();
    let attrs = [
        ("dilations", convolution::ints(&window.stride)),
        ("group", Attr::Int(groups as i64)),
        ("pads", convolution::ints(&pads)),
        ("strides", convolution::ints(&window.dilation)),
    ];
    let all = emit.op("Conv", &[&x, &dy], &attrs)?;
    // Where the last window ends before x does, there are more places than the kernel has.
    let ends = [&[inputs, outputs], &window.kernel[..]].concat();
    let places = emit.crop(&all, &vec![0; ends.len()], &ends)?;
    Ok(emit.transpose(&places, &order)?)
}
