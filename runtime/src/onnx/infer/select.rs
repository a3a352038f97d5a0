//! Operators that read or write by index, and random ones.

use super::{Ctx, InferWhy, Types, axis_of, one, shape};
use crate::onnx::tensor::{Element, TensorType};

pub(super) fn infer(ctx: &Ctx<'_>, op: &str) -> Option<Types> {
    Some(match op {
        "Gather" => gather(ctx),
        "GatherElements" => ctx.input(0).and_then(|x| one(x.element, ctx.input(1)?.dims.clone())),
        "GatherND" => gather_nd(ctx),
        "Scatter" | "ScatterElements" => scatter_elements(ctx),
        "ScatterND" => scatter_nd(ctx),
        "OneHot" => one_hot(ctx),
        "TopK" => top_k(ctx),
        "RandomNormalLike" | "RandomUniformLike" | "Bernoulli" => drawn_like(ctx),
        "RandomNormal" | "RandomUniform" => random(ctx),
        "NonZero" => non_zero(ctx),
        "ReverseSequence" => ctx.input(0).map(|x| vec![x.clone()]),
        _ => return None,
    })
}

/// Shaped as the input; of its element where none is asked for.
fn drawn_like(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let asked = ctx.node.attr("dtype").and_then(|asked| asked.i);
    let element = match asked {
        None => x.element,
        Some(number) => {
            let known = i32::try_from(number).ok().and_then(Element::from_onnx);
            known.ok_or(InferWhy::Attribute { name: "dtype" })?
        }
    };
    one(element, x.dims.clone())
}

/// How many there are is known of a constant alone.
fn non_zero(ctx: &Ctx<'_>) -> Types {
    let x = ctx.tensor(0)?;
    let count = x.to_f64s().into_iter().filter(|&value| value != 0.0).count();
    one(Element::I64, vec![x.dims.len(), count])
}

fn gather(ctx: &Ctx<'_>) -> Types {
    let (x, indices) = (ctx.input(0)?, ctx.input(1)?);
    let axis = ctx.axis(0, x.rank())?;
    let mut dims = x.dims[..axis].to_vec();
    dims.extend(&indices.dims);
    dims.extend(&x.dims[axis + 1..]);
    one(x.element, dims)
}

fn gather_nd(ctx: &Ctx<'_>) -> Types {
    let (x, indices) = (ctx.input(0)?, ctx.input(1)?);
    let batch = usize::try_from(ctx.node.int("batch_dims", 0))
        .map_err(|_| InferWhy::Attribute { name: "batch_dims" })?;
    match indices.dims.split_last() {
        Some((&depth, outer))
            if batch.saturating_add(depth) <= x.rank() && batch <= outer.len() =>
        {
            let mut dims = outer.to_vec();
            dims.extend(&x.dims[batch + depth..]);
            one(x.element, dims)
        }
        _ => shape("indices do not fit the input", format!("{indices} into {x}")),
    }
}

fn scatter_elements(ctx: &Ctx<'_>) -> Types {
    let (x, indices, updates) = (ctx.input(0)?, ctx.input(1)?, ctx.input(2)?);
    ctx.axis(0, x.rank())?;
    if indices.dims != updates.dims || indices.rank() != x.rank() {
        return shape("indices and updates do not fit", format!("{indices}, {updates} into {x}"));
    }
    Ok(vec![x.clone()])
}

fn scatter_nd(ctx: &Ctx<'_>) -> Types {
    let (x, indices, updates) = (ctx.input(0)?, ctx.input(1)?, ctx.input(2)?);
    let fits = indices.dims.split_last().is_some_and(|(&depth, outer)| {
        x.dims.get(depth..).is_some_and(|inner| {
            let want: Vec<usize> = outer.iter().chain(inner).copied().collect();
            updates.dims == want
        })
    });
    if !fits {
        return shape("indices and updates do not fit", format!("{indices}, {updates} into {x}"));
    }
    Ok(vec![x.clone()])
}

fn one_hot(ctx: &Ctx<'_>) -> Types {
    let (indices, values) = (ctx.input(0)?, ctx.input(2)?);
    let depth = ctx.tensor(1)?;
    let depth = depth.to_f64s().first().copied().filter(|d| *d >= 0.0);
    let depth = depth.ok_or(InferWhy::NotConstant { index: 1 })? as usize;
    let axis = axis_of(ctx.node.int("axis", -1), indices.rank() + 1)?;
    let mut dims = indices.dims.clone();
    dims.insert(axis, depth);
    one(values.element, dims)
}

fn top_k(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let axis = ctx.axis(-1, x.rank())?;
    let k = match ctx.node.attr("k") {
        Some(_) => Some(ctx.node.int("k", 0)),
        None => ctx.i64s(1)?.first().copied(),
    };
    let k = k.and_then(|k| usize::try_from(k).ok()).filter(|&k| k <= x.dims[axis]);
    let mut dims = x.dims.clone();
    dims[axis] = k.ok_or(InferWhy::Attribute { name: "k" })?;
    let indices = TensorType { element: Element::I64, dims: dims.clone() };
    Ok(vec![TensorType { element: x.element, dims }, indices])
}

fn random(ctx: &Ctx<'_>) -> Types {
    let asked = ctx.node.ints("shape").unwrap_or(&[]);
    let dims: Option<Vec<usize>> = asked.iter().map(|&d| usize::try_from(d).ok()).collect();
    let element = i32::try_from(ctx.node.int("dtype", 1)).ok().and_then(Element::from_onnx);
    one(
        element.ok_or(InferWhy::Attribute { name: "dtype" })?,
        dims.ok_or(InferWhy::Attribute { name: "shape" })?,
    )
}
