//! Products of quantised tensors.
//!
//! | operator | form |
//! |---|---|
//! | QLinearConv, QLinearMatMul | DequantizeLinear of both, Conv or MatMul, QuantizeLinear |
//! | QGemm | the same around Gemm; no QuantizeLinear where it gives floats |
//!
//! A bias is stored as int32 by the product of both scales; it becomes floats.

use super::{Along, PRODUCT, Writer, attributes, channels_first};
use crate::onnx::builder::Attr;
use crate::onnx::proto::{AttributeProto, NodeProto};
use crate::onnx::tensor::{Element, Tensor};

/// Before that, a Gemm must have a bias.
const OPSET_NO_BIAS: i64 = 11;

/// Whether a form was written; a reason why it cannot be.
pub(super) type Done = Result<bool, &'static str>;

/// QLinearConv: x, its scale and zero point, w, its scale and zero point, those of y, and a bias.
pub(super) fn convolution(writer: &mut Writer<'_>, node: &NodeProto) -> Done {
    let Some(product) = product(writer, node) else { return Ok(false) };
    let attribute = channels_first(node)?;
    let (x, w) = (Writer::operand(node, [0, 1, 2])?, Writer::operand(node, [3, 4, 5])?);
    let mut input = vec![writer.real(&x, Along::Whole)?, writer.real(&w, Along::Axis(0))?];
    if let Some(bias) = node.input_name(8) {
        input.push(self::bias(writer, node, bias, [&x[1], &w[1]]));
    }
    named(writer, node, ("Conv", attribute), input, &product);
    writer.quantise(node, &product, [6, 7], &x[2])?;
    Ok(true)
}

/// QLinearMatMul: a and b as of a QLinearConv.
pub(super) fn matrices(writer: &mut Writer<'_>, node: &NodeProto) -> Done {
    let Some(product) = product(writer, node) else { return Ok(false) };
    let (a, b) = (Writer::operand(node, [0, 1, 2])?, Writer::operand(node, [3, 4, 5])?);
    let input = vec![writer.real(&a, Along::Whole)?, writer.real(&b, Along::Last)?];
    named(writer, node, ("MatMul", Vec::new()), input, &product);
    writer.quantise(node, &product, [6, 7], &a[2])?;
    Ok(true)
}

/// QGemm: a and b as of a QLinearConv, a bias by α and both scales, and the scale and zero point of what it gives, or floats.
pub(super) fn gemm(writer: &mut Writer<'_>, node: &NodeProto) -> Done {
    let gives_floats = node.input_name(7).is_none();
    let product = match gives_floats {
        true => Some(node.output_name(0).to_owned()).filter(|name| writer.wants(name)),
        false => product(writer, node),
    };
    let Some(product) = product else { return Ok(false) };
    let (a, b) = (Writer::operand(node, [0, 1, 2])?, Writer::operand(node, [3, 4, 5])?);
    let columns = if node.int("transB", 0) != 0 { 0 } else { 1 };
    let mut input = vec![writer.real(&a, Along::Whole)?, writer.real(&b, Along::Axis(columns))?];
    if let Some(bias) = node.input_name(6) {
        let mut bias = self::bias(writer, node, bias, [&a[1], &b[1]]);
        let alpha = node.float("alpha", 1.0);
        if alpha != 1.0 {
            let output = node.output_name(0);
            let alpha = writer.constant(output, ".alpha", &Tensor::scalar(Element::F32, alpha));
            let times = writer.name(output, ".bias_alpha");
            writer.op("Mul", vec![bias, alpha], &times, Vec::new());
            bias = times;
        }
        input.push(bias);
    } else if writer.shared.opset < OPSET_NO_BIAS {
        let none = Tensor::scalar(Element::F32, 0.0);
        input.push(writer.constant(node.output_name(0), ".bias", &none));
    }
    named(writer, node, ("Gemm", attributes(node, &[])), input, &product);
    if !gives_floats {
        writer.quantise(node, &product, [7, 8], &a[2])?;
    }
    Ok(true)
}

/// What the product of a node is called, if it is to be written.
fn product(writer: &mut Writer<'_>, node: &NodeProto) -> Option<String> {
    let name = writer.name(node.output_name(0), PRODUCT);
    writer.wants(&name).then_some(name)
}

/// Appends what computes in the place of a node, and has the node's name if nothing else will.
pub(super) fn named(
    writer: &mut Writer<'_>,
    node: &NodeProto,
    (op, attribute): (&str, Vec<AttributeProto>),
    input: Vec<String>,
    output: &str,
) {
    let made = NodeProto::operator(op, input, output, attribute);
    let is_free = !node.name().is_empty() && !node.output.iter().any(|name| name == node.name());
    let name = if is_free { node.name() } else { output };
    writer.nodes.push(NodeProto { name: Some(name.to_owned()), ..made });
}

/// A bias of int32 in floats: times both scales.
fn bias(writer: &mut Writer<'_>, node: &NodeProto, bias: &str, [a, b]: [&String; 2]) -> String {
    let output = node.output_name(0);
    let [floats, scale, real] = [".bias_whole", ".bias_scale", ".bias"];
    let [floats, scale, real] = [floats, scale, real].map(|what| writer.name(output, what));
    let to = Attr::Int(i64::from(Element::F32.to_onnx())).to_proto("to");
    writer.op("Cast", vec![bias.to_owned()], &floats, vec![to]);
    writer.op("Mul", vec![a.clone(), b.clone()], &scale, Vec::new());
    writer.op("Mul", vec![floats, scale], &real, Vec::new());
    real
}
