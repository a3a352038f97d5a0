//! Operators that move values without computing, and those that make constants.

use super::{Ctx, InferWhy, Types, axis_of, broadcast, one, shape};
use crate::onnx::proto::{AttributeProto, NodeProto};
use crate::onnx::tensor::{Data, Element, Tensor};

pub(super) fn infer(ctx: &Ctx<'_>, op: &str) -> Option<Types> {
    Some(match op {
        "Reshape" => reshape(ctx),
        "Flatten" => flatten(ctx),
        "Squeeze" => squeeze(ctx),
        "Unsqueeze" => unsqueeze(ctx),
        "Transpose" => transpose(ctx),
        "Concat" => concat(ctx),
        "Split" => split(ctx),
        "Slice" => slice(ctx),
        "Pad" => pad(ctx),
        "Expand" => expand(ctx),
        "Tile" => tile(ctx),
        "DepthToSpace" => depth_to_space(ctx),
        "SpaceToDepth" => space_to_depth(ctx),
        "Shape" => ctx.input(0).and_then(|x| {
            let (first, last) = shape_range(ctx.node, x.rank());
            one(Element::I64, vec![last - first])
        }),
        "Size" => ctx.input(0).and_then(|_| one(Element::I64, Vec::new())),
        "Range" => range(ctx),
        "ConstantOfShape" => constant_of_shape(ctx),
        "Constant" => constant_value(ctx.node).map(|t| vec![t.ty()]),
        "EyeLike" => ctx.input(0).and_then(|x| {
            let to = i32::try_from(ctx.node.int("dtype", i64::from(x.element.to_onnx())));
            let element = to.ok().and_then(Element::from_onnx);
            one(element.ok_or(InferWhy::Attribute { name: "dtype" })?, x.dims.clone())
        }),
        _ => return None,
    })
}

/// The value of a Constant node.
///
/// # Errors
/// [`InferWhy::Attribute`] if it holds none that is supported.
pub(crate) fn constant_value(node: &NodeProto) -> Result<Tensor, InferWhy> {
    let wrong = |name| InferWhy::Attribute { name };
    if let Some(t) = node.attr("value").and_then(|a| a.t.as_deref()) {
        return Tensor::from_proto(t).map_err(|_| wrong("value"));
    }
    if let Some(i) = node.attr("value_int").and_then(AttributeProto::int) {
        return Ok(Tensor::new(&[], Data::I64(vec![i])));
    }
    if let Some(f) = node.attr("value_float").and_then(AttributeProto::float) {
        return Ok(Tensor::f32(&[], &[f]));
    }
    if let Some(ints) = node.ints("value_ints") {
        return Ok(Tensor::i64s(ints));
    }
    if let Some(floats) = node.floats("value_floats") {
        return Ok(Tensor::f32(&[floats.len()], floats));
    }
    Err(wrong("value"))
}

fn reshape(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let asked = ctx.ints_or_input("shape", 1)?.ok_or(InferWhy::MissingInput { index: 1 })?;
    let keep_zero = ctx.node.int("allowzero", 0) == 0;
    let wrong = || format!("{asked:?} for {x}");
    let mut dims = Vec::with_capacity(asked.len());
    let mut rest = None;
    for (i, &d) in asked.iter().enumerate() {
        match usize::try_from(d) {
            Ok(0) if keep_zero => match x.dims.get(i) {
                Some(&d) => dims.push(d),
                None => return shape("the new shape does not fit", wrong()),
            },
            Ok(d) => dims.push(d),
            Err(_) if d == -1 && rest.is_none() => {
                rest = Some(i);
                dims.push(1);
            }
            Err(_) => return shape("the new shape does not fit", wrong()),
        }
    }
    let known = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let known = known.ok_or(InferWhy::TooLarge { index: 0 })?;
    if let Some(i) = rest {
        if known == 0 || x.values() % known != 0 {
            return shape("the new shape does not fit", wrong());
        }
        dims[i] = x.values() / known;
    } else if known != x.values() {
        return shape("the new shape does not fit", wrong());
    }
    one(x.element, dims)
}

fn flatten(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let axis = ctx.node.int("axis", 1);
    // One past the last axis is allowed: everything is the first dimension then.
    let axis = if axis == x.rank() as i64 { x.rank() } else { axis_of(axis, x.rank())? };
    let (outer, inner) = x.dims.split_at(axis);
    one(x.element, vec![outer.iter().product(), inner.iter().product()])
}

fn squeeze(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let axes = match ctx.ints_or_input("axes", 1)? {
        Some(axes) => axes.iter().map(|&a| axis_of(a, x.rank())).collect::<Result<Vec<_>, _>>()?,
        None => (0..x.rank()).filter(|&i| x.dims[i] == 1).collect(),
    };
    if axes.iter().any(|&a| x.dims[a] != 1) {
        return shape("only axes of length 1 can be removed", format!("{axes:?} of {x}"));
    }
    let kept = x.dims.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, &d)| d);
    one(x.element, kept.collect())
}

fn unsqueeze(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let axes = ctx.ints_or_input("axes", 1)?.ok_or(InferWhy::MissingInput { index: 1 })?;
    let rank = x.rank() + axes.len();
    let axes = axes.iter().map(|&a| axis_of(a, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut old = x.dims.iter();
    let dims: Vec<usize> = (0..rank)
        .map(|i| if axes.contains(&i) { Some(1) } else { old.next().copied() })
        .collect::<Option<_>>()
        .ok_or(InferWhy::Attribute { name: "axes" })?;
    if old.next().is_some() {
        return Err(InferWhy::Attribute { name: "axes" });
    }
    one(x.element, dims)
}

/// The axes of a Transpose, or all of them in reverse; each occurs once.
pub(crate) fn permutation(node: &NodeProto, rank: usize) -> Result<Vec<usize>, InferWhy> {
    let Some(perm) = node.ints("perm") else { return Ok((0..rank).rev().collect()) };
    let axes = perm.iter().map(|&a| axis_of(a, rank)).collect::<Result<Vec<_>, _>>();
    let axes = axes.map_err(|_| InferWhy::Attribute { name: "perm" })?;
    if axes.len() != rank || (0..rank).any(|i| !axes.contains(&i)) {
        return Err(InferWhy::Attribute { name: "perm" });
    }
    Ok(axes)
}

fn transpose(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let perm = permutation(ctx.node, x.rank())?;
    one(x.element, perm.iter().map(|&a| x.dims[a]).collect())
}

fn concat(ctx: &Ctx<'_>) -> Types {
    let first = ctx.input(0)?;
    // Operator set 1 had a default axis.
    let axis = ctx.axis(1, first.rank())?;
    let mut dims = first.dims.clone();
    for index in 1..ctx.inputs.len() {
        let part = ctx.input(index)?;
        let fits = part.element == first.element
            && part.rank() == first.rank()
            && (0..part.rank()).all(|i| i == axis || part.dims[i] == first.dims[i]);
        if !fits {
            return shape("parts do not fit together", format!("{first} and {part}"));
        }
        dims[axis] = dims[axis].saturating_add(part.dims[axis]);
    }
    one(first.element, dims)
}

fn split(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let axis = ctx.axis(0, x.rank())?;
    let parts = match ctx.ints_or_input("split", 1)? {
        Some(parts) => parts
            .iter()
            .map(|&p| usize::try_from(p))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| InferWhy::Attribute { name: "split" })?,
        None => {
            let count = usize::try_from(ctx.node.int("num_outputs", ctx.node.output.len() as i64))
                .ok()
                .filter(|&c| c > 0 && c <= ctx.node.output.len())
                .ok_or(InferWhy::Attribute { name: "num_outputs" })?;
            let part = x.dims[axis].div_ceil(count);
            (0..count).map(|i| part.min(x.dims[axis].saturating_sub(i * part))).collect()
        }
    };
    if parts.iter().try_fold(0usize, |n, &p| n.checked_add(p)) != Some(x.dims[axis]) {
        return shape("parts do not fill the axis", format!("{parts:?} of {x}"));
    }
    Ok(parts
        .into_iter()
        .map(|part| {
            let mut ty = x.clone();
            ty.dims[axis] = part;
            ty
        })
        .collect())
}

/// Where a Slice reads along one axis: its first index, how many, and the step between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Index of the first value.
    pub first: usize,
    /// Number of values.
    pub count: usize,
    /// Step from one to the next, not 0; negative reads backwards.
    pub step: i64,
}

impl Cut {
    fn new(dim: usize, start: i64, end: i64, step: i64) -> Option<Cut> {
        let n = i64::try_from(dim).ok()?;
        let from_front = |i: i64| if i < 0 { i.saturating_add(n) } else { i };
        let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
        let start = from_front(start).clamp(low.max(0).min(high.max(0)), high.max(0));
        let end = from_front(end).clamp(low, high.max(low));
        let room = if step > 0 { end - start } else { start - end };
        let step_abs = i64::try_from(step.unsigned_abs()).ok().filter(|&s| s > 0)?;
        let count = if dim == 0 || room <= 0 { 0 } else { (room - 1) / step_abs + 1 };
        Some(Cut { first: start as usize, count: count as usize, step })
    }
}

/// The cut of a Slice along every axis of its input. `constant` reads an integer input by its index.
pub(crate) fn slice_cuts(
    node: &NodeProto,
    dims: &[usize],
    constant: &dyn Fn(usize) -> Result<Vec<i64>, InferWhy>,
) -> Result<Vec<Cut>, InferWhy> {
    let rank = dims.len();
    let (starts, ends, axes, steps) = match (node.ints("starts"), node.ints("ends")) {
        (Some(starts), Some(ends)) => {
            (starts.to_vec(), ends.to_vec(), node.ints("axes").map(<[i64]>::to_vec), None)
        }
        _ => {
            let given = |index| node.input_name(index).map(|_| constant(index)).transpose();
            (constant(1)?, constant(2)?, given(3)?, given(4)?)
        }
    };
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return shape("starts, ends, axes and steps differ in length", format!("{starts:?}"));
    }
    let mut cuts: Vec<Cut> = dims.iter().map(|&d| Cut { first: 0, count: d, step: 1 }).collect();
    for i in 0..starts.len() {
        let axis = axis_of(axes[i], rank)?;
        cuts[axis] = Cut::new(dims[axis], starts[i], ends[i], steps[i])
            .ok_or(InferWhy::Attribute { name: "steps" })?;
    }
    Ok(cuts)
}

fn slice(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let cuts = slice_cuts(ctx.node, &x.dims, &|index| ctx.i64s(index))?;
    one(x.element, cuts.iter().map(|c| c.count).collect())
}

/// How much a Pad adds before and after every axis; negative cuts off.
pub(crate) fn pad_amounts(
    node: &NodeProto,
    rank: usize,
    constant: &dyn Fn(usize) -> Result<Vec<i64>, InferWhy>,
) -> Result<Vec<(i64, i64)>, InferWhy> {
    // Operator set 1 called them `paddings`.
    let pads = match node.ints("pads").or_else(|| node.ints("paddings")) {
        Some(pads) => pads.to_vec(),
        None => constant(1)?,
    };
    let axes: Vec<usize> = if node.input_name(3).is_some() {
        constant(3)?.iter().map(|&a| axis_of(a, rank)).collect::<Result<_, _>>()?
    } else {
        (0..rank).collect()
    };
    if pads.len() != 2 * axes.len() {
        return Err(InferWhy::Attribute { name: "pads" });
    }
    let mut amounts = vec![(0, 0); rank];
    for (i, &axis) in axes.iter().enumerate() {
        amounts[axis] = (pads[i], pads[i + axes.len()]);
    }
    Ok(amounts)
}

fn pad(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let amounts = pad_amounts(ctx.node, x.rank(), &|index| ctx.i64s(index))?;
    let mut dims = Vec::with_capacity(x.rank());
    for (axis, (&d, &amount)) in x.dims.iter().zip(&amounts).enumerate() {
        match padded(d, amount) {
            Some(d) => dims.push(d),
            None => {
                let got = format!("{amount:?} at axis {axis} of {x}");
                return shape("more is cut off than there is", got);
            }
        }
    }
    one(x.element, dims)
}

/// The length of a padded axis. What is cut off must be there: pads of the other side do not make up for it.
fn padded(dim: usize, (before, after): (i64, i64)) -> Option<usize> {
    let dim = i64::try_from(dim).ok()?;
    let kept = dim.checked_add(before.min(0))?.checked_add(after.min(0))?;
    usize::try_from(kept).ok()?;
    usize::try_from(kept.checked_add(before.max(0))?.checked_add(after.max(0))?).ok()
}

fn expand(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let asked = ctx.i64s(1)?;
    let dims: Option<Vec<usize>> = asked.iter().map(|&d| usize::try_from(d).ok()).collect();
    match dims.and_then(|dims| broadcast(&x.dims, &dims)) {
        Some(dims) => one(x.element, dims),
        None => shape("shapes do not broadcast", format!("{x} and {asked:?}")),
    }
}

fn tile(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let repeats = ctx.i64s(1)?;
    if repeats.len() != x.rank() || repeats.iter().any(|&r| r < 0) {
        return shape("repeats do not fit the input", format!("{repeats:?} for {x}"));
    }
    one(
        x.element,
        x.dims.iter().zip(&repeats).map(|(&d, &r)| d.saturating_mul(r as usize)).collect(),
    )
}

fn block(ctx: &Ctx<'_>) -> Result<usize, InferWhy> {
    usize::try_from(ctx.node.int("blocksize", 0))
        .ok()
        .filter(|b| (1..1 << 16).contains(b))
        .ok_or(InferWhy::Attribute { name: "blocksize" })
}

fn depth_to_space(ctx: &Ctx<'_>) -> Types {
    let (x, b) = (ctx.input(0)?, block(ctx)?);
    match *x.dims.as_slice() {
        [n, c, h, w] if c % (b * b) == 0 => {
            one(x.element, vec![n, c / (b * b), h.saturating_mul(b), w.saturating_mul(b)])
        }
        _ => shape("channels do not fill the blocks", x),
    }
}

fn space_to_depth(ctx: &Ctx<'_>) -> Types {
    let (x, b) = (ctx.input(0)?, block(ctx)?);
    match *x.dims.as_slice() {
        [n, c, h, w] if h % b == 0 && w % b == 0 => {
            one(x.element, vec![n, c.saturating_mul(b * b), h / b, w / b])
        }
        _ => shape("blocks do not fill the image", x),
    }
}

/// Which dimensions a Shape node gives: from the first to before the last.
pub(crate) fn shape_range(node: &NodeProto, rank: usize) -> (usize, usize) {
    let n = rank as i64;
    let at = |i: i64| (if i < 0 { i.saturating_add(n) } else { i }).clamp(0, n) as usize;
    let (first, last) = (at(node.int("start", 0)), at(node.int("end", n)));
    (first, last.max(first))
}

fn range(ctx: &Ctx<'_>) -> Types {
    let (start, limit, delta) = (ctx.tensor(0)?, ctx.tensor(1)?, ctx.tensor(2)?);
    let element = start.data.element();
    let values = [&start, &limit, &delta].map(|t| t.to_f64s().first().copied());
    let [Some(start), Some(limit), Some(delta)] = values else {
        return shape("start, limit and delta must be scalars", "empty tensors");
    };
    if delta == 0.0 || !(start.is_finite() && limit.is_finite() && delta.is_finite()) {
        return shape("the range does not end", format!("{start} to {limit} by {delta}"));
    }
    // A float as large as the count casts to the largest usize; the bound on outputs refuses it.
    one(element, vec![((limit - start) / delta).ceil().max(0.0) as usize])
}

fn constant_of_shape(ctx: &Ctx<'_>) -> Types {
    let element = match ctx.node.attr("value").and_then(|a| a.t.as_deref()) {
        Some(t) => {
            Element::from_onnx(t.data_type()).ok_or(InferWhy::Attribute { name: "value" })?
        }
        None => Element::F32,
    };
    let asked = ctx.i64s(0)?;
    let dims: Option<Vec<usize>> = asked.iter().map(|&d| usize::try_from(d).ok()).collect();
    match dims {
        Some(dims) => one(element, dims),
        None => shape("negative dimensions", format!("{asked:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The indices that a slice of an axis of so many values reads.
    fn picked(dim: usize, start: i64, end: i64, step: i64) -> Vec<i64> {
        let cut = Cut::new(dim, start, end, step).unwrap();
        (0..cut.count as i64).map(|at| cut.first as i64 + at * cut.step).collect()
    }

    #[test]
    fn slices_read_what_onnx_says() {
        assert_eq!(picked(5, 1, 4, 1), [1, 2, 3]);
        assert_eq!(picked(5, -2, i64::MAX, 1), [3, 4]);
        assert_eq!(picked(5, 4, i64::MIN, -2), [4, 2, 0]);
        assert_eq!(picked(5, i64::MAX, -4, -1), [4, 3, 2]);
        assert_eq!(picked(5, 3, 1, 1), Vec::<i64>::new());
    }
}
