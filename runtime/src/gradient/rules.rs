//! Which rule belongs to which operator.

use crate::onnx::Value;
use crate::onnx::proto::NodeProto;

use super::step::Step;
use super::{
    Reason, activation, arithmetic, convolution, index, layout, normalise, pool, product, reduce,
    select, slice,
};

/// Turns the gradients of a node's outputs into shares for its inputs.
type Rule = fn(&mut Step) -> Result<(), Reason>;

/// Runs the rule of a node.
pub(super) fn apply(step: &mut Step) -> Result<(), Reason> {
    let standard = matches!(step.node.domain(), "" | "ai.onnx");
    let Some(rule) = rule(step.node.op_type()).filter(|_| standard) else {
        return Err(Reason::NoRule);
    };
    let empty = |value: &Value| step.emit.builder.ty(value).values() == 0;
    if step.outputs.iter().chain([&step.opt(0)]).flatten().any(empty) {
        return Err(Reason::Empty);
    }
    rule(step)
}

/// The operator of a node, with its domain unless that is the standard one.
pub(super) fn operator(node: &NodeProto) -> String {
    match node.domain() {
        "" | "ai.onnx" => node.op_type().to_owned(),
        domain => format!("{domain}.{}", node.op_type()),
    }
}

fn rule(operator: &str) -> Option<Rule> {
    Some(match operator {
        "Add" => arithmetic::add,
        "Sub" => arithmetic::sub,
        "Mul" => arithmetic::mul,
        "Div" => arithmetic::div,
        "Neg" => arithmetic::neg,
        "Abs" => arithmetic::abs,
        "Reciprocal" => arithmetic::reciprocal,
        "Pow" => arithmetic::pow,
        "Sqrt" => arithmetic::sqrt,
        "Exp" => arithmetic::exp,
        "Log" => arithmetic::log,
        "Sum" => arithmetic::sum,
        "Erf" => activation::erf,
        "Tanh" => activation::tanh,
        "Sigmoid" => activation::sigmoid,
        "Relu" => activation::relu,
        "LeakyRelu" => activation::leaky_relu,
        "Softmax" => normalise::softmax,
        "LogSoftmax" => normalise::log_softmax,
        "ReduceSum" => reduce::sum,
        "ReduceMean" => reduce::mean,
        "MatMul" => product::matmul,
        "Gemm" => product::gemm,
        "Conv" => convolution::conv,
        "AveragePool" => pool::average,
        "GlobalAveragePool" => pool::global_average,
        "MaxPool" => pool::max,
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => layout::same_values,
        "Identity" | "Dropout" => layout::identity,
        "Transpose" => layout::transpose,
        "Expand" => layout::expand,
        "Cast" => layout::cast,
        "DepthToSpace" => layout::depth_to_space,
        "SpaceToDepth" => layout::space_to_depth,
        "Slice" => slice::slice,
        "Pad" => slice::pad,
        "Concat" => slice::concat,
        "Split" => slice::split,
        "Gather" => index::gather,
        "Resize" => index::resize,
        "Where" => select::choose,
        "Clip" => select::clip,
        "Min" | "Max" => select::extreme,
        _ => return None,
    })
}
