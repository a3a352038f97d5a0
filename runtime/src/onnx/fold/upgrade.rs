//! Raises one node from an older operator set to [`super::FOLD_OPSET`].
//!
//! Source: the changelog of the ONNX operators, versions 7 to 17. Operators not named here mean the same in
//! all of them.

use super::{FoldWhy, Folder, Known, infer_error};
use crate::onnx::builder::Attr;
use crate::onnx::infer::{InferWhy, axis_of};
use crate::onnx::proto::{AttributeProto, NodeProto};
use crate::onnx::tensor::{Element, Tensor};

/// The nodes that do at [`super::FOLD_OPSET`] what `node` does at the model's own.
pub(super) fn node(
    folder: &mut Folder<'_>,
    mut node: NodeProto,
) -> Result<Vec<NodeProto>, FoldWhy> {
    if !crate::onnx::model::is_standard(node.domain()) {
        return Ok(vec![node]);
    }
    let from = folder.from;
    match node.op_type() {
        "Softmax" | "LogSoftmax" | "Hardmax" if from < 13 => return softmax(folder, node),
        "Squeeze" | "Unsqueeze" | "ReduceSum" if from < 13 => {
            ints_to_input(folder, &mut node, "axes", 1);
        }
        "Split" if from < 13 => ints_to_input(folder, &mut node, "split", 1),
        "Slice" if from < 10 => {
            ints_to_input(folder, &mut node, "starts", 1);
            ints_to_input(folder, &mut node, "ends", 2);
            ints_to_input(folder, &mut node, "axes", 3);
        }
        "Pad" if from < 11 => {
            ints_to_input(folder, &mut node, "pads", 1);
            if node.text("mode", "constant") == "constant" {
                let value = Tensor::scalar(element(folder, &node), node.float("value", 0.0));
                to_input(folder, &mut node, "value", 2, value);
            }
            node.attribute.retain(|a| a.name() != "value");
        }
        "Clip" if from < 11 => {
            for (index, name) in [(1, "min"), (2, "max")] {
                if let Some(bound) = node.attr(name).and_then(AttributeProto::float) {
                    let bound = Tensor::scalar(element(folder, &node), bound);
                    to_input(folder, &mut node, name, index, bound);
                }
            }
        }
        "TopK" if from < 10 => {
            let k = node.int("k", 0);
            to_input(folder, &mut node, "k", 1, Tensor::i64s(&[k]));
        }
        "Dropout" if from < 12 => node.attribute.clear(),
        "Scatter" => node.op_type = Some("ScatterElements".to_owned()),
        "Upsample" => {
            upsample(folder, &mut node);
            resize_10(folder, &mut node, "floor")?;
        }
        "Resize" if from < 11 => return resize(folder, node),
        "RoiAlign" if from < 16 => {
            let whole = Attr::Str("output_half_pixel".to_owned());
            node.attribute.push(whole.to_proto("coordinate_transformation_mode"));
        }
        "BatchNormalization" if from < 14 => batch_normalization(&mut node)?,
        _ => {}
    }
    Ok(vec![node])
}

/// Before version 13: over everything from `axis` on (default 1), as if flattened.
fn softmax(folder: &mut Folder<'_>, mut node: NodeProto) -> Result<Vec<NodeProto>, FoldWhy> {
    let ty = node.input_name(0).and_then(|name| folder.types.get(name)).cloned();
    let Some(ty) = ty else {
        return Err(infer_error(&node, InferWhy::MissingInput { index: 0 }));
    };
    let axis = node.int("axis", 1);
    let axis = axis_of(axis, ty.rank()).map_err(|why| infer_error(&node, why))?;
    node.attribute.retain(|a| a.name() != "axis");
    node.attribute.push(Attr::Int(-1).to_proto("axis"));
    if axis + 1 == ty.rank() {
        return Ok(vec![node]);
    }
    let label = node.output_name(0).to_owned();
    let (flat, soft) = (folder.fresh_name(&label), folder.fresh_name(&label));
    let dims: Vec<i64> = ty.dims.iter().map(|&d| d as i64).collect();
    let shape = fresh_constant(folder, &label, Tensor::i64s(&dims));
    let flatten = NodeProto {
        input: vec![node.input[0].clone()],
        output: vec![flat.clone()],
        name: Some(flat.clone()),
        op_type: Some("Flatten".to_owned()),
        attribute: vec![Attr::Int(axis as i64).to_proto("axis")],
        ..NodeProto::default()
    };
    let reshape = NodeProto {
        input: vec![soft.clone(), shape],
        output: vec![label.clone()],
        name: Some(format!("{label}.shaped")),
        op_type: Some("Reshape".to_owned()),
        ..NodeProto::default()
    };
    node.input = vec![flat];
    node.output = vec![soft];
    Ok(vec![flatten, node, reshape])
}

/// Upsample became Resize with the rules that it always had: asymmetric coordinates, rounded down.
fn upsample(folder: &mut Folder<'_>, node: &mut NodeProto) {
    if let Some(scales) = node.floats("scales").map(<[f32]>::to_vec) {
        to_input(folder, node, "scales", 1, Tensor::f32(&[scales.len()], &scales));
    }
    node.op_type = Some("Resize".to_owned());
}

/// Resize of version 10 rounds places down where it makes an axis longer, as Upsample does, and ONNX Runtime rounds them up where
/// it makes one shorter. One that does both is two nodes: which value an axis takes does not depend on the others.
fn resize(folder: &mut Folder<'_>, mut node: NodeProto) -> Result<Vec<NodeProto>, FoldWhy> {
    let scales = node.input_name(1).and_then(|name| folder.constant(name));
    let scales = scales.and_then(|scales| scales.as_f32().map(<[f32]>::to_vec)).unwrap_or_default();
    let is_nearest = node.text("mode", "nearest") == "nearest";
    let (shorter, longer) =
        (scales.iter().any(|&scale| scale < 1.0), scales.iter().any(|&scale| scale > 1.0));
    if !(is_nearest && shorter) {
        resize_10(folder, &mut node, "floor")?;
        return Ok(vec![node]);
    }
    if !longer {
        resize_10(folder, &mut node, "ceil")?;
        return Ok(vec![node]);
    }
    let label = node.output_name(0).to_owned();
    let between = folder.fresh_name(&label);
    let mut first = node.clone();
    (first.name, first.output) = (Some(between.clone()), vec![between.clone()]);
    node.input[0] = between;
    let halves =
        [(&mut first, "ceil", f32::MIN_POSITIVE, 1.0), (&mut node, "floor", 1.0, f32::MAX)];
    for (half, rounded, least, most) in halves {
        let part: Vec<f32> = scales.iter().map(|scale| scale.clamp(least, most)).collect();
        half.input[1] = fresh_constant(folder, &label, Tensor::f32(&[part.len()], &part));
        resize_10(folder, half, rounded)?;
    }
    Ok(vec![first, node])
}

fn resize_10(folder: &mut Folder<'_>, node: &mut NodeProto, rounded: &str) -> Result<(), FoldWhy> {
    let Some(scales) = node.input_name(1).map(str::to_owned) else {
        return Err(infer_error(node, InferWhy::MissingInput { index: 1 }));
    };
    let label = node.output_name(0).to_owned();
    // An empty region of interest, which engines of every version accept.
    let region = fresh_constant(folder, &label, Tensor::f32(&[0], &[]));
    node.input = vec![node.input[0].clone(), region, scales];
    node.attribute
        .push(Attr::Str("asymmetric".to_owned()).to_proto("coordinate_transformation_mode"));
    node.attribute.push(Attr::Str(rounded.to_owned()).to_proto("nearest_mode"));
    Ok(())
}

fn batch_normalization(node: &mut NodeProto) -> Result<(), FoldWhy> {
    if node.int("spatial", 1) != 1 {
        return Err(FoldWhy::Upgrade {
            operator: node.op_type().to_owned(),
            node: node.label().to_owned(),
            reason: "statistics per pixel (spatial = 0) are not supported",
        });
    }
    // Further outputs are those of training, and asked for the statistics of the batch.
    if node.output.iter().skip(1).any(|output| !output.is_empty()) {
        return Err(FoldWhy::Upgrade {
            operator: node.op_type().to_owned(),
            node: node.label().to_owned(),
            reason: "it has the outputs of training, so that engines normalise by the batch: export the model for inference",
        });
    }
    node.attribute.retain(|a| a.name() != "spatial");
    node.output.truncate(1);
    Ok(())
}

fn ints_to_input(folder: &mut Folder<'_>, node: &mut NodeProto, name: &str, index: usize) {
    if let Some(ints) = node.ints(name).map(<[i64]>::to_vec) {
        to_input(folder, node, name, index, Tensor::i64s(&ints));
    }
}

/// Turns the attribute `name` into the constant input `index`.
fn to_input(
    folder: &mut Folder<'_>,
    node: &mut NodeProto,
    name: &str,
    index: usize,
    value: Tensor,
) {
    node.attribute.retain(|a| a.name() != name);
    let label = format!("{}.{name}", node.output_name(0));
    let constant = fresh_constant(folder, &label, value);
    if node.input.len() <= index {
        node.input.resize(index + 1, String::new());
    }
    node.input[index] = constant;
}

pub(super) fn fresh_constant(folder: &mut Folder<'_>, label: &str, value: Tensor) -> String {
    let name = folder.fresh_name(label);
    folder.know(&name, value.ty(), Known::Made(value));
    name
}

/// The element of a node's first input.
pub(super) fn element(folder: &Folder<'_>, node: &NodeProto) -> Element {
    let ty = node.input_name(0).and_then(|name| folder.types.get(name));
    ty.map_or(Element::F32, |t| t.element)
}
