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
//! | stride 1 | the side with fewer channels, shifted k times | `[k·Co, p]·[p, Ci]` or `[Co, p]·[p, k·Ci]` |
//! | else | x: k strided slices | `[Co, p]·[p, k·Ci]` |
//!
//! With LoRA one side of every trained convolution has only `rank` channels, so little is moved.
//! # Source
//! ONNX `Conv`; the adjoint by hand. The choice between lowerings: measured on ONNX Runtime's CPU provider.

use crate::onnx::{Attr, InferError, Value};

use super::convolution::Shape;
use super::emit::{Emit, Stride};

type Emitted = Result<Value, InferError>;
/// Kernels of more places are taken axis by axis.
const PLACES_AT_ONCE: usize = 9;

/// `[Co, Ci/g, k..]` from x `[n, Ci, from..]` and g `[n, Co, to..]`.
pub(super) fn share(emit: &mut Emit, x: &Value, dy: &Value, shape: &Shape) -> Emitted {
    let window = &shape.window;
    let (inputs, outputs) = shape.channels;
    if window.is_pointwise() {
        by_places(emit, x, dy, shape, 1)
    } else if window.is_patches() && shape.groups == 1 {
        by_patches(emit, x, dy, shape)
    } else if window.is_dense() && shape.groups == 1 && outputs <= inputs {
        by_shifted_gradient(emit, x, dy, shape)
    } else {
        let x = strided(emit, x, shape)?;
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
    let split = emit.reshape(&product, &[outputs, window.places(), inputs])?;
    let moved = emit.transpose(&split, &[0, 2, 1])?;
    emit.reshape(&moved, &[&[outputs, inputs], &window.kernel[..]].concat())
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
fn strided(emit: &mut Emit, x: &Value, shape: &Shape) -> Emitted {
    let window = &shape.window;
    let around = |pads: &[usize]| [&[0, 0], pads].concat();
    let x = emit.pad(x, &around(&window.before), &around(&window.after))?;
    let padded = emit.dims(&x)[2..].to_vec();
    let x = emit.reshape(&x, &[&[shape.batch, shape.channels.0, 1], &padded[..]].concat())?;
    let all = by_axes(emit, x, 2, &window.kernel, |axis, place| Stride {
        axis: 3 + axis,
        start: place * window.dilation[axis],
        step: window.stride[axis],
        count: window.to[axis],
    })?;
    let dims = [&[shape.batch, shape.channels.0 * window.places()], &window.to[..]].concat();
    emit.reshape(&all, &dims)
}

/// What each place of a kernel takes of `x`, side by side along `along`, places row-major. Large kernels axis by axis, so that k rows
/// and then k columns are taken and not k² pieces; small ones at once, for what lies between takes memory.
fn by_axes(
    emit: &mut Emit,
    mut x: Value,
    along: usize,
    kernel: &[usize],
    taken: impl Fn(usize, usize) -> Stride,
) -> Emitted {
    let rank = kernel.len();
    let small = kernel.iter().product::<usize>() <= PLACES_AT_ONCE;
    let groups: Vec<Vec<usize>> = if small {
        vec![(0..rank).collect()]
    } else {
        // The last axis first: places are then row-major.
        (0..rank).rev().map(|axis| vec![axis]).collect()
    };
    for axes in groups {
        let sizes: Vec<usize> = axes.iter().map(|&axis| kernel[axis]).collect();
        let mut pieces = Vec::new();
        for place in places(&sizes) {
            let parts = axes.iter().zip(&place).map(|(&axis, &at)| taken(axis, at));
            pieces.push(emit.stride(&x, &parts.collect::<Vec<Stride>>())?);
        }
        x = emit.concat(&pieces, along)?;
    }
    Ok(x)
}

/// Stride 1: `g` shifted by each place of the kernel meets x where x is.
fn by_shifted_gradient(emit: &mut Emit, x: &Value, dy: &Value, shape: &Shape) -> Emitted {
    let window = &shape.window;
    let rank = window.from.len();
    let (inputs, outputs) = shape.channels;
    // g at x's place q, for kernel place k: g[q + pad − d·k], zero outside.
    let mut before = vec![0, 0];
    let mut after = vec![0, 0];
    for axis in 0..rank {
        let reach = window.extent(axis) - 1;
        before.push(reach.saturating_sub(window.before[axis]));
        after.push(reach.saturating_sub(window.after[axis]));
    }
    let dy = emit.pad(dy, &before, &after)?;
    let all = by_axes(emit, dy, 1, &window.kernel, |axis, place| Stride {
        axis: 2 + axis,
        start: before[2 + axis] + window.before[axis] - place * window.dilation[axis],
        step: 1,
        count: window.from[axis],
    })?;
    // [places·Co, Ci] → [Co, Ci, k..]
    let all_rows = window.places() * outputs;
    let product = product(emit, &all, x, (shape.batch, 1), (all_rows, inputs))?;
    let split = emit.reshape(&product, &[window.places(), outputs, inputs])?;
    let moved = emit.transpose(&split, &[1, 2, 0])?;
    emit.reshape(&moved, &[&[outputs, inputs], &window.kernel[..]].concat())
}

/// Every place of a kernel, row-major.
fn places(kernel: &[usize]) -> Vec<Vec<usize>> {
    kernel.iter().fold(vec![Vec::new()], |places, &size| {
        places
            .iter()
            .flat_map(|place| (0..size).map(move |at| [&place[..], &[at]].concat()))
            .collect()
    })
}
