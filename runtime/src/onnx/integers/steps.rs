//! Operators between quantised tensors that are no products: each dequantises what it reads, computes, and quantises again.

use super::{Along, Quantised, Writer, attributes, channels_first};
use crate::onnx::builder::Attr;
use crate::onnx::proto::{AttributeProto, NodeProto};

use super::products::{Done, named};

/// An operator of ONNX Runtime's own on quantised tensors.
pub(super) fn step(writer: &mut Writer<'_>, node: &NodeProto) -> Done {
    let all = || attributes(node, &[]);
    match node.op_type() {
        "QLinearAdd" => two(writer, node, "Add"),
        "QLinearMul" => two(writer, node, "Mul"),
        "QLinearLeakyRelu" => one(writer, node, "LeakyRelu", all()),
        "QLinearSigmoid" => one(writer, node, "Sigmoid", all()),
        "QLinearAveragePool" => one(writer, node, "AveragePool", channels_first(node)?),
        "QLinearGlobalAveragePool" => one(writer, node, "GlobalAveragePool", channels_first(node)?),
        "QLinearSoftmax" => softmax(writer, node),
        "QLinearConcat" => concat(writer, node),
        "QLinearWhere" => choose(writer, node),
        _ => Ok(false),
    }
}

/// One operand: x, its scale and zero point, those of what comes out.
fn one(
    writer: &mut Writer<'_>,
    node: &NodeProto,
    op: &str,
    attribute: Vec<AttributeProto>,
) -> Done {
    let x = Writer::operand(node, [0, 1, 2])?;
    apply(writer, node, (op, attribute), (&[x], &[]), [3, 4])
}

fn two(writer: &mut Writer<'_>, node: &NodeProto, op: &str) -> Done {
    let (a, b) = (Writer::operand(node, [0, 1, 2])?, Writer::operand(node, [3, 4, 5])?);
    apply(writer, node, (op, Vec::new()), (&[a, b], &[]), [6, 7])
}

/// Softmax of the operator set that the node names, which must mean the same in that of the model.
fn softmax(writer: &mut Writer<'_>, node: &NodeProto) -> Done {
    /// From here on Softmax is along one axis; before, over all from it on.
    const ONE_AXIS: i64 = 13;
    let (axis, opset) = (node.int("axis", -1), node.int("opset", writer.shared.opset));
    if axis != -1 && (opset < ONE_AXIS) != (writer.shared.opset < ONE_AXIS) {
        return Err("its Softmax is that of an operator set in which axes mean something else");
    }
    one(writer, node, "Softmax", vec![Attr::Int(axis).to_proto("axis")])
}

/// The scale and zero point of what comes out, then each operand with its own.
fn concat(writer: &mut Writer<'_>, node: &NodeProto) -> Done {
    let count = node.input.len().saturating_sub(2) / 3;
    let operands = (0..count).map(|at| Writer::operand(node, [0, 1, 2].map(|i| 2 + 3 * at + i)));
    let operands = operands.collect::<Result<Vec<Quantised>, _>>()?;
    apply(writer, node, ("Concat", attributes(node, &[])), (&operands, &[]), [0, 1])
}

/// A condition, then both choices, then the scale and zero point of what comes out.
fn choose(writer: &mut Writer<'_>, node: &NodeProto) -> Done {
    let condition = node.input_name(0).ok_or("its condition is left out")?.to_owned();
    let (x, y) = (Writer::operand(node, [1, 2, 3])?, Writer::operand(node, [4, 5, 6])?);
    apply(writer, node, ("Where", Vec::new()), (&[x, y], &[condition]), [7, 8])
}

/// Dequantises the operands, applies an operator to them, behind what it reads before them, and quantises what comes out.
fn apply(
    writer: &mut Writer<'_>,
    node: &NodeProto,
    (op, attribute): (&str, Vec<AttributeProto>),
    (operands, before): (&[Quantised], &[String]),
    to: [usize; 2],
) -> Done {
    let mut input = before.to_vec();
    for operand in operands {
        input.push(writer.real(operand, Along::Whole)?);
    }
    let floats = writer.name(node.output_name(0), ".floats");
    named(writer, node, (op, attribute), input, &floats);
    let like = operands.first().map_or("", |[_, _, zero]| zero.as_str());
    writer.quantise(node, &floats, to, like)?;
    Ok(true)
}

/// A standard operator that computes with integers, or places them, between quantised tensors: by the one scale on floats.
pub(super) fn between(writer: &mut Writer<'_>, node: &NodeProto) -> Done {
    const ON_INTEGERS: [&str; 7] =
        ["MaxPool", "GlobalMaxPool", "Resize", "Upsample", "Pad", "DepthToSpace", "Tile"];
    if !ON_INTEGERS.contains(&node.op_type()) || node.output.len() != 1 {
        return Ok(false);
    }
    let Some(integers) = node.input_name(0) else { return Ok(false) };
    let Some((scale, zero)) = writer.parameters.get(integers).cloned() else { return Ok(false) };
    let mut input = node.input.clone();
    if node.is("Pad") && node.text("mode", "constant") == "constant" {
        // What is put there are integers, too; none means 0, which is no zero of the floats.
        let Some(value) = node.input_name(2) else { return Ok(false) };
        let value = [value.to_owned(), scale.clone(), zero.clone()];
        input[2] = writer.real(&value, Along::Whole)?;
    }
    let x = [integers.to_owned(), scale.clone(), zero.clone()];
    input[0] = writer.real(&x, Along::Whole)?;
    let floats = writer.name(node.output_name(0), ".floats");
    named(writer, node, (node.op_type(), node.attribute.clone()), input, &floats);
    let by = NodeProto { input: vec![scale, zero], ..node.clone() };
    writer.quantise(&by, &floats, [0, 1], &x[2])?;
    Ok(true)
}
