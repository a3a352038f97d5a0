//! The nodes that stand for one with sites: its base node and the branch of its factors, or it with other weights.

use super::{SiteKind, WeightSite};
use crate::adapter::Site;
use crate::onnx::proto::NodeProto;
use crate::onnx::{Attr, Builder, Element, InferError, Value};

/// A weight of a node, and its factors.
#[derive(Clone, Copy)]
pub(super) struct Weight<'s> {
    pub(super) site: &'s WeightSite,
    pub(super) factors: &'s Site,
    /// Which input of the node it is.
    pub(super) input: usize,
}

impl Weight<'_> {
    fn scale(&self) -> f32 {
        self.factors.alpha / self.factors.a.dims[0] as f32
    }

    fn values(&self) -> (Value, Value) {
        (Value::named(&self.factors.a.input), Value::named(&self.factors.b.input))
    }
}

/// Appends the node with the factors of its weights: as a branch beside it, whose sum keeps the name of the node's output, or
/// added to its weights. `merges`: a convolution's are.
pub(super) fn lower(
    builder: &mut Builder,
    node: &NodeProto,
    weights: &[Weight<'_>],
    merges: bool,
) -> Result<(), InferError> {
    let beside = match weights {
        [weight] => match weight.site.kind {
            SiteKind::Linear { .. } => Some(weight),
            SiteKind::Conv { group } => Some(weight).filter(|_| group == 1 && !merges),
            SiteKind::ConvTranspose | SiteKind::Recurrent => None,
        },
        _ => None,
    };
    if let Some(weight) = beside {
        return branch(builder, node, weight);
    }
    let mut merged = node.clone();
    for weight in weights {
        let sum = merged_weight(builder, node, weight)?;
        merged.input[weight.input] = sum.name().to_owned();
    }
    builder.node(merged)?;
    Ok(())
}

/// Thin products beside the base node.
fn branch(builder: &mut Builder, node: &NodeProto, weight: &Weight<'_>) -> Result<(), InferError> {
    let site = weight.site;
    let (a, b) = weight.values();
    let x = Value::named(&node.input[0]);
    // A Gemm's own factor applies to W + ΔW.
    let own = if node.is("Gemm") { node.float("alpha", 1.0) } else { 1.0 };
    let scale = weight.scale() * own;
    match site.kind {
        SiteKind::Conv { .. } | SiteKind::ConvTranspose | SiteKind::Recurrent => {
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

/// `W + (α/r)·B·A`, all of `W`'s dimensions.
fn merged_weight(
    builder: &mut Builder,
    node: &NodeProto,
    weight: &Weight<'_>,
) -> Result<Value, InferError> {
    let site = weight.site;
    let (a, b) = weight.values();
    let (a_dims, b_dims) = (builder.ty(&a).dims.clone(), builder.ty(&b).dims.clone());
    let (rank, out) = (a_dims[0] as i64, b_dims[0] as i64);
    let inner = a_dims[1..].iter().product::<usize>() as i64;
    let a_shape = builder.i64s(&[rank, inner]);
    let b_shape = builder.i64s(&[out, rank]);
    let w_shape: Vec<i64> = site.weight_dims.iter().map(|&d| d as i64).collect();
    let w_shape = builder.i64s(&w_shape);
    let a = builder.op("Reshape", &[&a, &a_shape], &[])?;
    let b = builder.op("Reshape", &[&b, &b_shape], &[])?;
    let b = scaled(builder, &b, weight.scale())?;
    let delta = builder.op("MatMul", &[&b, &a], &[])?;
    let delta = builder.op("Reshape", &[&delta, &w_shape], &[])?;
    let delta = cast(builder, delta, site.element)?;
    builder.op("Add", &[&Value::named(&node.input[weight.input]), &delta], &[])
}
