//! Writes operators that ONNX Runtime's CPU provider runs slowly in other standard ones that it runs fast.
//!
//! | operator | why slow | written as | measured |
//! |---|---|---|---|
//! | `Transpose` of several axes | value by value | swaps of two blocks, see [`super::permute`] | 1.5 → 0.2 ms |
//! | `DepthToSpace` | as such a transpose | `Reshape` and those swaps | 0.8 → 0.2 ms |
//! | `Softmax` not over the last axis | two transposes around it | max, subtract, exp, sum, divide | 2.1 → 0.2 ms |
//!
//! The measured sizes are those of the default world model with 8 samples. Values, names and types of all
//! tensors that were there stay as they are.

use crate::graft::Profile;
use crate::onnx::infer::layout::permutation;
use crate::onnx::proto::NodeProto;
use crate::onnx::{Attr, Builder, Folded, InferError, Value};

use super::permute::{self, Swap};

type Done = Result<(), InferError>;

/// The same graph for this profile.
pub(super) fn lower(folded: Folded, profile: Profile) -> Result<Folded, InferError> {
    match profile {
        Profile::Cpu => {}
        Profile::Cuda | Profile::TensorRt | Profile::Tract => return Ok(folded),
    }
    let mut builder = Builder::before(&folded, "cpu/");
    for node in &folded.model.graph().node {
        let standard = matches!(node.domain(), "" | "ai.onnx");
        match node.op_type() {
            "Transpose" if standard => transpose(&mut builder, node)?,
            "DepthToSpace" if standard => depth_to_space(&mut builder, node)?,
            "Softmax" if standard => softmax(&mut builder, node)?,
            _ => copy(&mut builder, node)?,
        }
    }
    builder.outputs_of(&folded);
    Ok(builder.finish())
}

fn copy(builder: &mut Builder, node: &NodeProto) -> Done {
    builder.node(node.clone()).map(|_| ())
}

fn transpose(builder: &mut Builder, node: &NodeProto) -> Done {
    let x = Value::named(&node.input[0]);
    let dims = builder.ty(&x).dims.clone();
    // Inference has taken it already.
    let Ok(perm) = permutation(node, dims.len()) else { return copy(builder, node) };
    match permute::swaps(&dims, &perm) {
        Some(swaps) => {
            let out: Vec<usize> = perm.iter().map(|&axis| dims[axis]).collect();
            write(builder, &x, &swaps, &out, node)
        }
        None => copy(builder, node),
    }
}

fn depth_to_space(builder: &mut Builder, node: &NodeProto) -> Done {
    let x = Value::named(&node.input[0]);
    let dims = builder.ty(&x).dims.clone();
    let block = node.int("blocksize", 1) as usize;
    let (n, c, h, w) = (dims[0], dims[1] / (block * block), dims[2], dims[3]);
    let (split, perm) = if node.text("mode", "DCR") == "CRD" {
        ([n, c, block, block, h, w], [0, 1, 4, 2, 5, 3])
    } else {
        ([n, block, block, c, h, w], [0, 3, 4, 1, 5, 2])
    };
    match permute::swaps(&split, &perm) {
        Some(swaps) => write(builder, &x, &swaps, &[n, c, h * block, w * block], node),
        None => copy(builder, node),
    }
}

/// Appends swaps of `x`; the last node gives the output of `node`.
fn write(
    builder: &mut Builder,
    x: &Value,
    swaps: &[Swap],
    out: &[usize],
    node: &NodeProto,
) -> Done {
    let mut value = x.clone();
    for swap in swaps {
        let all = [swap.before, swap.left, swap.right, swap.after];
        // Blocks of one value are left out, so that the engine sees the move of one axis.
        let (first, last) = (usize::from(swap.before == 1), if swap.after == 1 { 3 } else { 4 });
        let perm: Vec<i64> =
            [0, 2, 1, 3][first..last].iter().map(|&axis| axis - first as i64).collect();
        value = reshape(builder, &value, &all[first..last])?;
        value = builder.op("Transpose", &[&value], &[("perm", Attr::Ints(perm))])?;
    }
    let shape = builder.i64s(&out.iter().map(|&d| d as i64).collect::<Vec<_>>());
    builder.op_named(&node.output[0], "Reshape", &[&value, &shape], &[]).map(|_| ())
}

fn reshape(builder: &mut Builder, x: &Value, dims: &[usize]) -> Result<Value, InferError> {
    if builder.ty(x).dims == dims {
        return Ok(x.clone());
    }
    let shape = builder.i64s(&dims.iter().map(|&d| d as i64).collect::<Vec<_>>());
    builder.op("Reshape", &[x, &shape], &[])
}

fn softmax(builder: &mut Builder, node: &NodeProto) -> Done {
    let x = Value::named(&node.input[0]);
    let rank = builder.ty(&x).dims.len() as i64;
    let axis = node.int("axis", -1);
    let axis = if axis < 0 { axis + rank } else { axis };
    // Before opset 13 it ran over all axes from this one on: one run of values, which is fast.
    if builder.opset() < 13 || axis + 1 >= rank {
        return copy(builder, node);
    }
    let largest = builder.reduce("ReduceMax", &x, &[axis], true)?;
    let below = builder.op("Sub", &[&x, &largest], &[])?;
    let power = builder.op("Exp", &[&below], &[])?;
    let sum = builder.reduce("ReduceSum", &power, &[axis], true)?;
    builder.op_named(&node.output[0], "Div", &[&power, &sum], &[]).map(|_| ())
}
