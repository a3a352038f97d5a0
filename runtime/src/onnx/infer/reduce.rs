//! Operators that fold axes into one value.

use super::{Ctx, InferWhy, Types, axis_of, one};
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::Element;

pub(super) fn infer(ctx: &Ctx<'_>, op: &str) -> Option<Types> {
    Some(match op {
        "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMax"
        | "ReduceMean" | "ReduceMin" | "ReduceProd" | "ReduceSum" | "ReduceSumSquare" => {
            reduce(ctx)
        }
        "ArgMax" | "ArgMin" => argument(ctx),
        "NegativeLogLikelihoodLoss" | "SoftmaxCrossEntropyLoss" => loss(ctx),
        _ => return None,
    })
}

/// The axes a Reduce folds, in order; `None` from `given` means all, or none with
/// `noop_with_empty_axes`.
pub(crate) fn reduce_axes(
    node: &NodeProto,
    rank: usize,
    given: Option<&[i64]>,
) -> Result<Vec<usize>, InferWhy> {
    let given = given.unwrap_or(&[]);
    if given.is_empty() {
        let none = node.int("noop_with_empty_axes", 0) != 0;
        return Ok(if none { Vec::new() } else { (0..rank).collect() });
    }
    let mut axes = given.iter().map(|&a| axis_of(a, rank)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    axes.dedup();
    Ok(axes)
}

fn reduce(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let given = ctx.ints_or_input("axes", 1)?;
    let axes = reduce_axes(ctx.node, x.rank(), given.as_deref())?;
    one(x.element, reduced(&x.dims, &axes, ctx.node.int("keepdims", 1) != 0))
}

/// The dimensions that are left when `axes` are folded.
pub(crate) fn reduced(dims: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let kept = dims.iter().enumerate().filter_map(|(i, &d)| match (axes.contains(&i), keep) {
        (false, _) => Some(d),
        (true, true) => Some(1),
        (true, false) => None,
    });
    kept.collect()
}

fn argument(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let axis = ctx.axis(0, x.rank())?;
    one(Element::I64, reduced(&x.dims, &[axis], ctx.node.int("keepdims", 1) != 0))
}

/// One value, or with `reduction` none that of every target; behind that of a SoftmaxCrossEntropyLoss, logarithms as the scores.
fn loss(ctx: &Ctx<'_>) -> Types {
    let (scores, target) = (ctx.input(0)?, ctx.input(1)?);
    let dims = match ctx.node.text("reduction", "mean") {
        "none" => target.dims.clone(),
        "mean" | "sum" => Vec::new(),
        _ => return Err(InferWhy::Attribute { name: "reduction" }),
    };
    let mut types = one(scores.element, dims)?;
    if ctx.node.is("SoftmaxCrossEntropyLoss") {
        types.push(scores.clone());
    }
    Ok(types)
}
