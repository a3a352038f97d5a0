//! Operators that work value by value, with broadcasting.

use super::{Ctx, InferWhy, Types, broadcast_all, one, shape};
use crate::onnx::tensor::Element;

pub(super) fn infer(ctx: &Ctx<'_>, op: &str) -> Option<Types> {
    Some(match op {
        "Abs"
        | "Acos"
        | "Acosh"
        | "Asin"
        | "Asinh"
        | "Atan"
        | "Atanh"
        | "BitwiseNot"
        | "Ceil"
        | "Celu"
        | "Cos"
        | "Cosh"
        | "Elu"
        | "Erf"
        | "Exp"
        | "Floor"
        | "Gelu"
        | "HardSigmoid"
        | "HardSwish"
        | "Identity"
        | "LeakyRelu"
        | "Log"
        | "LogSoftmax"
        | "Hardmax"
        | "LRN"
        | "LpNormalization"
        | "MeanVarianceNormalization"
        | "Mish"
        | "Neg"
        | "Not"
        | "Reciprocal"
        | "Relu"
        | "Round"
        | "Selu"
        | "Shrink"
        | "Sigmoid"
        | "Sign"
        | "Sin"
        | "Sinh"
        | "Softmax"
        | "Softplus"
        | "Softsign"
        | "Sqrt"
        | "Swish"
        | "Tan"
        | "Tanh"
        | "ThresholdedRelu"
        | "CumProd"
        | "CumSum"
        | "RotaryEmbedding"
        | "TensorScatter"
        | "Trilu" => ctx.input(0).map(|t| vec![t.clone()]),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "PRelu" | "BitwiseAnd" | "BitwiseOr"
        | "BitwiseXor" | "BitShift" => binary(ctx, None),
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" => {
            binary(ctx, Some(Element::Bool))
        }
        "Min" | "Max" | "Sum" | "Mean" => variadic(ctx),
        "Clip" => clip(ctx),
        "Where" => choose(ctx),
        "IsNaN" | "IsInf" => ctx.input(0).and_then(|t| one(Element::Bool, t.dims.clone())),
        "Cast" => cast(ctx),
        "BitCast" => bit_cast(ctx),
        "CastLike" => ctx
            .input(0)
            .and_then(|x| Ok((x, ctx.input(1)?)))
            .and_then(|(x, like)| one(like.element, x.dims.clone())),
        "Dropout" => ctx.input(0).map(|t| {
            let mask = crate::onnx::TensorType::new(Element::Bool, &t.dims);
            vec![t.clone(), mask]
        }),
        _ => return None,
    })
}

fn binary(ctx: &Ctx<'_>, element: Option<Element>) -> Types {
    let (a, b) = (ctx.input(0)?, ctx.input(1)?);
    let same = a.element == b.element || ctx.node.op_type() == "Pow";
    if !same {
        return shape("operands have different types", format!("{a} and {b}"));
    }
    one(element.unwrap_or(a.element), broadcast_all([a, b].into_iter())?)
}

fn clip(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    match [1, 2].into_iter().filter_map(|bound| ctx.opt(bound)).find(|bound| bound.values() != 1) {
        None => Ok(vec![x.clone()]),
        Some(bound) => shape("a bound must be one value", bound),
    }
}

fn variadic(ctx: &Ctx<'_>) -> Types {
    let first = ctx.input(0)?;
    let all: Result<Vec<_>, _> = (0..ctx.inputs.len()).map(|i| ctx.input(i)).collect();
    let all = all?;
    if let Some(other) = all.iter().find(|t| t.element != first.element) {
        return shape("operands have different types", format!("{first} and {other}"));
    }
    one(first.element, broadcast_all(all.into_iter())?)
}

fn choose(ctx: &Ctx<'_>) -> Types {
    let (condition, x, y) = (ctx.input(0)?, ctx.input(1)?, ctx.input(2)?);
    if condition.element != Element::Bool || x.element != y.element {
        return shape(
            "condition must be bool, choices of one type",
            format!("{condition}, {x}, {y}"),
        );
    }
    one(x.element, broadcast_all([condition, x, y].into_iter())?)
}

fn cast(ctx: &Ctx<'_>) -> Types {
    let to = i32::try_from(ctx.node.int("to", 0)).unwrap_or(0);
    let element = Element::from_onnx(to).ok_or(InferWhy::Attribute { name: "to" })?;
    one(element, ctx.input(0)?.dims.clone())
}

/// The same bits in another element of as many bytes.
fn bit_cast(ctx: &Ctx<'_>) -> Types {
    let types = cast(ctx)?;
    let (from, to) = (ctx.input(0)?, types.first().map(|to| to.element));
    match to.is_some_and(|to| to.bytes() == from.element.bytes()) {
        true => Ok(types),
        false => Err(InferWhy::Attribute { name: "to" }),
    }
}
