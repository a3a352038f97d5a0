//! Which rule belongs to which operator.

use crate::onnx::Value;
use crate::onnx::proto::NodeProto;

use super::step::Step;
use super::{
    Reason, activation, arithmetic, convolution, curve, einsum, expand, index, layout, normalise,
    pool, product, quantise, reduce, scatter, select, slice, statistics, transposed,
};

/// Turns the gradients of a node's outputs into shares for its inputs.
type Rule = fn(&mut Step) -> Result<(), Reason>;

/// Runs the rule of a node.
pub(super) fn apply(step: &mut Step) -> Result<(), Reason> {
    let standard = matches!(step.node.domain(), "" | "ai.onnx");
    let Some(rule) = rule(step.node.op_type()).filter(|_| standard) else {
        return Err(expand::refusal(&step.emit.builder, step.node));
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
        "Mod" => arithmetic::fmod,
        "Neg" => arithmetic::neg,
        "Abs" => arithmetic::abs,
        "Reciprocal" => arithmetic::reciprocal,
        "Pow" => arithmetic::pow,
        "Sqrt" => arithmetic::sqrt,
        "Exp" => arithmetic::exp,
        "Log" => arithmetic::log,
        "Sum" => arithmetic::sum,
        "Mean" => arithmetic::mean,
        "Softmax" => normalise::softmax,
        "LogSoftmax" => normalise::log_softmax,
        "LayerNormalization" => statistics::layer,
        "RMSNormalization" => statistics::rms,
        "InstanceNormalization" => statistics::instance,
        "GroupNormalization" => statistics::group,
        "BatchNormalization" => statistics::batch,
        "LpNormalization" => statistics::lp,
        "MeanVarianceNormalization" => statistics::mean_variance,
        "MatMul" => product::matmul,
        "Gemm" => product::gemm,
        "Einsum" => einsum::einsum,
        "Conv" => convolution::conv,
        "ConvTranspose" => transposed::conv_transpose,
        "AveragePool" => pool::average,
        "GlobalAveragePool" => pool::global_average,
        "MaxPool" => pool::max,
        "GlobalMaxPool" => reduce::global_max_pool,
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => layout::same_values,
        "Identity" | "Dropout" => layout::identity,
        "Transpose" => layout::transpose,
        "Expand" => layout::expand,
        "Tile" => layout::tile,
        "Trilu" => layout::triangle,
        "CumSum" => layout::cumulative,
        "ReverseSequence" => layout::reverse_sequence,
        "Cast" | "CastLike" => layout::cast,
        "DepthToSpace" => layout::depth_to_space,
        "SpaceToDepth" => layout::space_to_depth,
        "Slice" => slice::slice,
        "Pad" => slice::pad,
        "Concat" => slice::concat,
        "Split" => slice::split,
        "Gather" => index::gather,
        "GatherElements" => scatter::gather_elements,
        "GatherND" => scatter::gather_nd,
        "ScatterElements" => scatter::scatter_elements,
        "ScatterND" => scatter::scatter_nd,
        "TopK" => scatter::top_k,
        "OneHot" => scatter::one_hot,
        "Resize" => index::resize,
        "Where" => select::choose,
        "Clip" => select::clip,
        "Min" | "Max" => select::extreme,
        "QuantizeLinear" => quantise::quantise,
        "DynamicQuantizeLinear" => quantise::by_own_range,
        "DequantizeLinear" => quantise::dequantise,
        _ => return activation(operator).or_else(|| reduction(operator)),
    })
}

fn activation(operator: &str) -> Option<Rule> {
    Some(match operator {
        "Erf" => activation::erf,
        "Tanh" => activation::tanh,
        "Sigmoid" => activation::sigmoid,
        "Relu" => activation::relu,
        "LeakyRelu" => activation::leaky_relu,
        "PRelu" => activation::prelu,
        "Elu" => activation::elu,
        "Celu" => activation::celu,
        "Selu" => activation::selu,
        "HardSigmoid" => activation::hard_sigmoid,
        "HardSwish" => activation::hard_swish,
        "ThresholdedRelu" => activation::thresholded_relu,
        "Shrink" => activation::shrink,
        "Softplus" => curve::softplus,
        "Softsign" => curve::softsign,
        "Gelu" => curve::gelu,
        "Mish" => curve::mish,
        "Swish" => curve::swish,
        "Sin" => curve::sin,
        "Cos" => curve::cos,
        "Tan" => curve::tan,
        "Asin" => curve::asin,
        "Acos" => curve::acos,
        "Atan" => curve::atan,
        "Sinh" => curve::sinh,
        "Cosh" => curve::cosh,
        "Asinh" => curve::asinh,
        "Acosh" => curve::acosh,
        "Atanh" => curve::atanh,
        _ => return None,
    })
}

fn reduction(operator: &str) -> Option<Rule> {
    Some(match operator {
        "ReduceSum" => reduce::sum,
        "ReduceMean" => reduce::mean,
        "ReduceMax" | "ReduceMin" => reduce::extreme,
        "ReduceL1" => reduce::l1,
        "ReduceL2" => reduce::l2,
        "ReduceProd" => reduce::product,
        "ReduceSumSquare" => reduce::sum_square,
        "ReduceLogSum" => reduce::log_sum,
        "ReduceLogSumExp" => reduce::log_sum_exp,
        _ => return None,
    })
}
