//! Gradients of reading by index: what was read from an index goes back to it, summed where an index was
//! read more than once.
//!
//! | operator | share |
//! |---|---|
//! | `Gather`, constant indices | [`spread`] |
//! | `Gather`, indices of the run (an embedding), or too many of them | `ScatterND` that adds, or a product with a one-hot matrix |
//! | `Resize` nearest by whole factors | mean over the block, times its size |
//! | `Resize` nearest | along each axis, [`spread`] |
//! | `Resize` linear, cubic | along each axis, a product with the constant matrix of its weights |
//!
//! # Source
//! ONNX `Gather`, `Resize` (coordinate formulas of its document); adjoints of linear maps.

use crate::onnx::infer::one_scale;
use crate::onnx::{Attr, Element, Value};

use super::emit::Emit;
use super::step::Step;
use super::{Reason, scatter, stored};
use crate::graft::Profile;

type Done = Result<(), Reason>;

/// How a Resize says where its outputs lie.
const PLACES: &str = "coordinate_transformation_mode";

/// Zeros `[outputs, inputs]`.
fn matrix(outputs: usize, inputs: usize) -> Result<Vec<f64>, Reason> {
    Ok(vec![0.0; stored::fits(&[outputs, inputs])?])
}

pub(super) fn gather(step: &mut Step) -> Done {
    let (dy, x, indices) = (step.dy()?, step.x(0)?, step.x(1)?);
    let dims = step.emit.dims(&x);
    let axis = step.axis(step.node.int("axis", 0), dims.len())?;
    let known = step.emit.builder.constant(&indices).and_then(|t| t.to_i64s());
    let Some(known) = known else { return gather_of_run(step, &dy, &indices, axis) };

    let size = dims[axis] as i64;
    let known: Vec<i64> = known.iter().map(|&i| if i < 0 { i + size } else { i }).collect();
    if let Some(&index) = known.iter().find(|&&i| !(0..size).contains(&i)) {
        return Err(Reason::OutOfRange { index, dim: dims[axis] });
    }
    let mut read = dims.clone();
    read[axis] = known.len();
    let rows = step.emit.reshape(&dy, &read)?;
    if known.windows(2).all(|pair| pair[1] == pair[0] + 1) {
        let mut starts = vec![0; dims.len()];
        starts[axis] = known.first().map_or(0, |&first| first as usize);
        step.give_piece(0, starts, rows);
        return Ok(());
    }
    let share = spread(step.emit, &rows, axis, &known, dims[axis]);
    if matches!(share, Err(Reason::TooLarge { .. })) {
        return gather_of_run(step, &dy, &indices, axis);
    }
    step.give(0, share?);
    Ok(())
}

/// The adjoint of reading `source` along `axis` of a tensor that has `dim` values there.
pub(super) fn spread(
    emit: &mut Emit,
    dy: &Value,
    axis: usize,
    source: &[i64],
    dim: usize,
) -> Result<Value, Reason> {
    let mut back = vec![source.len() as i64; stored::fits(&[dim])?];
    let mut once = true;
    for (at, &index) in source.iter().enumerate() {
        let slot = &mut back[index as usize];
        once &= *slot == source.len() as i64;
        *slot = at as i64;
    }
    if once {
        // Values that were never read take the zero behind the last one.
        let rank = emit.dims(dy).len();
        let mut after = vec![0; rank];
        after[axis] = usize::from(back.contains(&(source.len() as i64)));
        let padded = emit.pad(dy, &vec![0; rank], &after)?;
        return emit.pick(&padded, axis, back.len(), |at| back[at]);
    }
    let mut matrix = matrix(source.len(), dim)?;
    for (at, &index) in source.iter().enumerate() {
        matrix[at * dim + index as usize] = 1.0;
    }
    weigh(emit, dy, axis, &matrix, dim)
}

/// `share[.., i, ..] = Σ_o matrix[o, i] · g[.., o, ..]` along one axis; `matrix` is `[outputs, dim]`.
fn weigh(
    emit: &mut Emit,
    dy: &Value,
    axis: usize,
    matrix: &[f64],
    dim: usize,
) -> Result<Value, Reason> {
    let dims = emit.dims(dy);
    let element = emit.element(dy);
    let read = dims[axis];
    let before: usize = dims[..axis].iter().product();
    let after: usize = dims[axis + 1..].iter().product();
    let product = if after == 1 {
        let matrix = emit.values(&[read, dim], element, |_| matrix.to_vec())?;
        let rows = emit.reshape(dy, &[before, read])?;
        emit.matmul(&rows, &matrix)?
    } else {
        let turned = |i| (0..read).map(move |o| matrix[o * dim + i]);
        let turned = emit.values(&[dim, read], element, |_| (0..dim).flat_map(turned).collect())?;
        let blocks = emit.reshape(dy, &[before, read, after])?;
        emit.matmul(&turned, &blocks)?
    };
    let mut out = dims;
    out[axis] = dim;
    Ok(emit.reshape(&product, &out)?)
}

/// An embedding: the rows that were read get the gradients of all their readers.
fn gather_of_run(step: &mut Step, dy: &Value, indices: &Value, axis: usize) -> Done {
    let emit = &mut *step.emit;
    let dims = emit.dims(step.inputs[0].as_ref().ok_or(Reason::Missing { index: 0 })?);
    let reads: usize = emit.dims(indices).iter().product();
    let rank_read = emit.dims(indices).len();
    let size = dims[axis];
    let row: usize = dims.iter().product::<usize>() / size.max(1);

    // The axes of the indices to the front: [reads, row].
    let rank = emit.dims(dy).len();
    let mut order: Vec<usize> = (axis..axis + rank_read).collect();
    order.extend((0..axis).chain(axis + rank_read..rank));
    let rows = emit.transpose(dy, &order)?;
    let rows = emit.reshape(&rows, &[reads, row])?;
    let column = emit.reshape(indices, &[reads, 1])?;
    let column = emit.cast(&column, Element::I64)?;
    let adds = emit.builder.opset() >= 16
        && match emit.profile {
            Profile::Cpu | Profile::Cuda => true,
            Profile::TensorRt | Profile::Tract => false,
        };
    let share = if adds {
        scatter::add(emit, "ScatterND", (&[size, row], &column, &rows), &[])?
    } else {
        let hot = one_hot(emit, &column, size, dy)?;
        emit.gemm((&hot, true), (&rows, false), 1.0)?
    };

    // [size, row] → the axis back in its place.
    let mut split = vec![size];
    split.extend(dims.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, d)| d));
    let share = emit.reshape(&share, &split)?;
    let mut order: Vec<usize> = (1..dims.len()).collect();
    order.insert(axis, 0);
    let share = emit.transpose(&share, &order)?;
    step.give(0, share);
    Ok(())
}

/// `[reads, size]` with a 1 where each index (negative: from the back) points.
fn one_hot(emit: &mut Emit, column: &Value, size: usize, like: &Value) -> Result<Value, Reason> {
    let zero = emit.builder.i64_scalar(0);
    let whole = emit.builder.i64_scalar(size as i64);
    let below = emit.op("Less", &[column, &zero], &[])?;
    let raised = emit.op("Add", &[column, &whole], &[])?;
    let column = emit.op("Where", &[&below, &raised, column], &[])?;
    let numbers = emit.indices(size, |at| at as i64)?;
    let hit = emit.op("Equal", &[&column, &numbers], &[])?;
    let to = emit.element(like);
    Ok(emit.cast(&hit, to)?)
}

pub(super) fn resize(step: &mut Step) -> Done {
    let (dy, x, y) = (step.dy()?, step.x(0)?, step.y()?);
    let (from, to) = (step.emit.dims(&x), step.emit.dims(&y));
    let scales = scales(step, &from, &to)?;
    let mode = step.node.text("mode", "nearest").to_owned();
    if step.node.int("antialias", 0) != 0 {
        return Err(Reason::Attribute { name: "antialias", value: "1".into() });
    }
    if step.node.text(PLACES, "half_pixel") == "tf_crop_and_resize" {
        // A region is cut out also where no length changes.
        return Err(Reason::Attribute { name: PLACES, value: "tf_crop_and_resize".into() });
    }
    let mut maps = Vec::new();
    for axis in (0..from.len()).filter(|&axis| from[axis] != to[axis] || scales[axis] != 1.0) {
        let places = places(step, from[axis], to[axis], scales[axis])?;
        let map = match mode.as_str() {
            "nearest" => Map::Reads(nearest(step, from[axis], &places, scales[axis])?),
            "linear" => Map::Weighs(linear(from[axis], &places)?),
            "cubic" => Map::Weighs(cubic(step, from[axis], &places)?),
            _ => return Err(Reason::Attribute { name: "mode", value: mode }),
        };
        maps.push((axis, map));
    }
    let blocks: Option<Vec<usize>> =
        maps.iter().map(|(axis, map)| map.block(from[*axis], to[*axis])).collect();
    let spatial = maps.iter().all(|(axis, _)| *axis >= 2) && matches!(from.len(), 3..=5);
    let mut share = dy;
    match blocks {
        Some(blocks) if spatial && !maps.is_empty() => {
            let mut kernel = vec![1; from.len() - 2];
            for ((axis, _), block) in maps.iter().zip(&blocks) {
                kernel[axis - 2] = *block as i64;
            }
            let size = Attr::Ints(kernel);
            let attrs = [("kernel_shape", size.clone()), ("strides", size)];
            share = step.emit.op("AveragePool", &[&share], &attrs)?;
            share = step.emit.scale(&share, blocks.iter().product::<usize>() as f64)?;
        }
        _ => {
            for (axis, map) in &maps {
                let (axis, dim) = (*axis, from[*axis]);
                share = match map {
                    Map::Reads(source) => spread(step.emit, &share, axis, source, dim)?,
                    Map::Weighs(matrix) => weigh(step.emit, &share, axis, matrix, dim)?,
                };
            }
        }
    }
    step.give(0, share);
    Ok(())
}

/// How the values of an axis are made of those of the input.
enum Map {
    /// Each is one of them, at this index.
    Reads(Vec<i64>),
    /// Each is a sum of them, by the weights `[outputs, inputs]`.
    Weighs(Vec<f64>),
}

impl Map {
    /// The factor by which every input is repeated, if that is all it does.
    fn block(&self, from: usize, to: usize) -> Option<usize> {
        let factor = to / from;
        if to != factor * from {
            return None;
        }
        let repeats = match self {
            Map::Reads(source) => {
                source.iter().enumerate().all(|(at, &index)| index == (at / factor) as i64)
            }
            Map::Weighs(matrix) => (0..to).all(|at| {
                let row = &matrix[at * from..][..from];
                (0..from).all(|i| row[i] == if i == at / factor { 1.0 } else { 0.0 })
            }),
        };
        repeats.then_some(factor)
    }
}

/// The factor of every axis, as the node gives it or as its sizes say: in float32, as ONNX Runtime computes it, since a place on
/// the edge of two values falls to one or the other by its last bit.
fn scales(step: &Step, from: &[usize], to: &[usize]) -> Result<Vec<f32>, Reason> {
    let mut scales: Vec<f32> = from.iter().zip(to).map(|(&f, &t)| t as f32 / f as f32).collect();
    let all: Vec<i64> = (0..from.len() as i64).collect();
    let axes = step.node.ints("axes").unwrap_or(&all).iter();
    let axes = axes.map(|&axis| step.axis(axis, from.len())).collect::<Result<Vec<usize>, _>>()?;
    let at = if step.emit.builder.opset() < 11 { 1 } else { 2 };
    let given = match step.opt(at) {
        Some(_) => step.constant(at, "scales")?.to_f64s(),
        None => Vec::new(),
    };
    if given.is_empty() {
        let Some(sizes) = step.opt(3).and_then(|sizes| step.emit.builder.constant(&sizes)) else {
            return Ok(scales);
        };
        let sizes = sizes.to_i64s().unwrap_or_default();
        let one = one_scale(step.node, from, (&axes, &sizes)).map_err(|_| {
            let name = "keep_aspect_ratio_policy";
            Reason::Attribute { name, value: step.node.text(name, "stretch").to_owned() }
        })?;
        axes.into_iter().for_each(|axis| scales[axis] = one.unwrap_or(scales[axis]));
        return Ok(scales);
    }
    for (axis, scale) in axes.into_iter().zip(given) {
        scales[axis] = scale as f32;
    }
    Ok(scales)
}

/// Where each output lies between the inputs, in the arithmetic of [`scales`].
fn places(step: &Step, from: usize, to: usize, scale: f32) -> Result<Vec<f32>, Reason> {
    let old = step.emit.builder.opset() < 11;
    let mode = step.node.text(PLACES, "half_pixel");
    let mode = if old { "asymmetric" } else { mode };
    let (size, outputs) = (from as f32, to as f32);
    (0..stored::fits(&[to])?)
        .map(|at| {
            let at = at as f32;
            Ok(match mode {
                "half_pixel" => (at + 0.5) / scale - 0.5,
                "pytorch_half_pixel" if to == 1 => 0.0,
                "pytorch_half_pixel" => (at + 0.5) / scale - 0.5,
                "half_pixel_symmetric" => {
                    // The one that it computes in float64, and rounds.
                    let offset = f64::from(size / 2.0 * (1.0 - outputs / (scale * size)));
                    (offset + (f64::from(at) + 0.5) / f64::from(scale) - 0.5) as f32
                }
                "tf_half_pixel_for_nn" => (at + 0.5) / scale,
                "asymmetric" => at / scale,
                "align_corners" if to == 1 => 0.0,
                "align_corners" => at * (size - 1.0) / (outputs - 1.0),
                other => return Err(Reason::Attribute { name: PLACES, value: other.to_owned() }),
            })
        })
        .collect()
}

/// The index that each output reads.
fn nearest(step: &Step, from: usize, places: &[f32], scale: f32) -> Result<Vec<i64>, Reason> {
    let old = step.emit.builder.opset() < 11;
    let mode = step.node.text("nearest_mode", "round_prefer_floor");
    let mode = match (old, scale < 1.0) {
        (false, _) => mode,
        (true, true) => "ceil",
        (true, false) => "floor",
    };
    let index = |&place: &f32| {
        let index = match mode {
            // Half of a place below 0 may be either: both are the first value.
            "round_prefer_floor" if place == place.trunc() + 0.5 => place.floor(),
            // Not by adding a half, which is rounded, too: of what lies just below one it makes one.
            "round_prefer_floor" | "round_prefer_ceil" => place.round(),
            "floor" => place.floor(),
            "ceil" => place.ceil(),
            other => {
                return Err(Reason::Attribute { name: "nearest_mode", value: other.to_owned() });
            }
        };
        Ok(index.clamp(0.0, (from - 1) as f32) as i64)
    };
    places.iter().map(index).collect()
}

/// The matrix `[outputs, inputs]` of linear interpolation, edges repeated.
fn linear(from: usize, places: &[f32]) -> Result<Vec<f64>, Reason> {
    let mut matrix = matrix(places.len(), from)?;
    let last = (from - 1) as f64;
    for (at, &place) in places.iter().enumerate() {
        let place = f64::from(place).clamp(0.0, last);
        let low = place.floor();
        let high = (low + 1.0).min(last);
        matrix[at * from + low as usize] += 1.0 - (place - low);
        matrix[at * from + high as usize] += place - low;
    }
    Ok(matrix)
}

/// The matrix `[outputs, inputs]` of cubic convolution (Keys 1981) over four inputs, edges repeated or left out.
fn cubic(step: &Step, from: usize, places: &[f32]) -> Result<Vec<f64>, Reason> {
    let a = f64::from(step.node.float("cubic_coeff_a", -0.75));
    let inside = step.node.int("exclude_outside", 0) != 0;
    let weight = |distance: f64| match distance.abs() {
        d if d <= 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
        d if d < 2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
        _ => 0.0,
    };
    let last = (from - 1) as f64;
    let mut matrix = matrix(places.len(), from)?;
    for (at, &place) in places.iter().enumerate() {
        let place = f64::from(place);
        let row = &mut matrix[at * from..][..from];
        for step in -1..=2 {
            let read = place.floor() + f64::from(step);
            if !inside || (0.0..=last).contains(&read) {
                row[read.clamp(0.0, last) as usize] += weight(place - read);
            }
        }
        if inside {
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|w| *w /= sum);
        }
    }
    Ok(matrix)
}
