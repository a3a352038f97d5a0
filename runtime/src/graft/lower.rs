//! The nodes that stand for one site: its base node and the branch of its factors.

use super::{SiteKind, WeightSite};
use crate::adapter::Site;
use crate::onnx::proto::NodeProto;
use crate::onnx::{Attr, Builder, Element, InferError, Value};

/// Appends the base node and its branch; the sum keeps the name of the node's output. `merges`: a convolution's factors are
/// added to its weight instead.
pub(super) fn lower(
    builder: &mut Builder,
    node: &NodeProto,
    site: &WeightSite,
    factors: &Site,
    scale: f32,
    merges: bool,
) -> Result<(), InferError> {
    let a = Value::named(&factors.a.input);
    let b = Value::named(&factors.b.input);
    let x = Value::named(&node.input[0]);
    // A Gemm's own factor applies to W + ΔW.
    let scale = if node.is("Gemm") { scale * node.float("alpha", 1.0) } else { scale };
    match site.kind {
        SiteKind::Conv { group } if group > 1 || merges => {
            return merged_conv(builder, node, site, (&a, &b), scale);
        }
        SiteKind::Conv { .. } => {
            let base = base(builder, node)?;
            let x = cast(builder, x, Element::F32)?;
            let b = scaled(builder, &b, scale)?;
            let hidden = conv_like(builder, node, &x, &a)?;
            let branch = builder.op("Conv", &[&hidden, &b], &[])?;
            let branch = cast(builder, branch, site.element)?;
            builder.op_named(node.output_name(0), "Add", &[&base, &branch], &[])?;
        }
        SiteKind::Linear { .. }
            if builder.ty(&x).rank() == 2
                && node.int("transA", 0) == 0
                && site.element == Element::F32 =>
        {
            let base = base(builder, node)?;
            let turned = ("transB", Attr::Int(1));
            let hidden = builder.op("Gemm", &[&x, &a], std::slice::from_ref(&turned))?;
            let attrs = [turned, ("alpha", Attr::Float(scale))];
            builder.op_named(node.output_name(0), "Gemm", &[&hidden, &b, &base], &attrs)?;
        }
        SiteKind::Linear { .. } => {
            let base = base(builder, node)?;
            let x = cast(builder, x, Element::F32)?;
            let turn = [("perm", Attr::Ints(vec![1, 0]))];
            let x = match node.int("transA", 0) {
                0 => x,
                _ => builder.op("Transpose", &[&x], &turn)?,
            };
            let a = builder.op("Transpose", &[&a], &turn)?;
            let b = builder.op("Transpose", &[&b], &turn)?;
            let b = scaled(builder, &b, scale)?;
            let hidden = builder.op("MatMul", &[&x, &a], &[])?;
            let branch = builder.op("MatMul", &[&hidden, &b], &[])?;
            let branch = cast(builder, branch, site.element)?;
            builder.op_named(node.output_name(0), "Add", &[&base, &branch], &[])?;
        }
    }
    Ok(())
}

/// The node as it is, under another output name.
fn base(builder: &mut Builder, node: &NodeProto) -> Result<Value, InferError> {
    let name = builder.fresh(node.op_type());
    let mut outputs = builder.node(NodeProto { output: vec![name], ..node.clone() })?;
    Ok(outputs.swap_remove(0))
}

/// The value in this element. Factors are float32, whatever the model computes in.
fn cast(builder: &mut Builder, value: Value, element: Element) -> Result<Value, InferError> {
    if builder.ty(&value).element == element {
        return Ok(value);
    }
    builder.op("Cast", &[&value], &[("to", Attr::Int(i64::from(element.to_onnx())))])
}

/// α/r times the small factor instead of times the large branch.
fn scaled(builder: &mut Builder, b: &Value, scale: f32) -> Result<Value, InferError> {
    let scale = builder.scalar(scale);
    builder.op("Mul", &[b, &scale], &[])
}

/// A convolution with the strides, pads and dilations of `node`, but another weight and no bias.
fn conv_like(
    builder: &mut Builder,
    node: &NodeProto,
    x: &Value,
    weight: &Value,
) -> Result<Value, InferError> {
    let name = builder.fresh("Conv");
    let like = NodeProto {
        input: vec![x.name().to_owned(), weight.name().to_owned()],
        output: vec![name.clone()],
        name: Some(name),
        doc_string: None,
        metadata_props: Vec::new(),
        ..node.clone()
    };
    let mut outputs = builder.node(like)?;
    Ok(outputs.swap_remove(0))
}

/// A convolution with `W + (α/r)·B·A` as its weight, all of `W`'s dimensions.
fn merged_conv(
    builder: &mut Builder,
    node: &NodeProto,
    site: &WeightSite,
    (a, b): (&Value, &Value),
    scale: f32,
) -> Result<(), InferError> {
    let (a_dims, b_dims) = (builder.ty(a).dims.clone(), builder.ty(b).dims.clone());
    let (rank, out) = (a_dims[0] as i64, b_dims[0] as i64);
    let inner = a_dims[1..].iter().product::<usize>() as i64;
    let a_shape = builder.i64s(&[rank, inner]);
    let b_shape = builder.i64s(&[out, rank]);
    let w_shape: Vec<i64> = site.weight_dims.iter().map(|&d| d as i64).collect();
    let w_shape = builder.i64s(&w_shape);
    let a = builder.op("Reshape", &[a, &a_shape], &[])?;
    let b = builder.op("Reshape", &[b, &b_shape], &[])?;
    let b = scaled(builder, &b, scale)?;
    let delta = builder.op("MatMul", &[&b, &a], &[])?;
    let delta = builder.op("Reshape", &[&delta, &w_shape], &[])?;
    let delta = cast(builder, delta, site.element)?;
    let weight = builder.op("Add", &[&Value::named(&node.input[1]), &delta], &[])?;
    let mut merged = node.clone();
    merged.input[1] = weight.name().to_owned();
    builder.node(merged)?;
    Ok(())
}
