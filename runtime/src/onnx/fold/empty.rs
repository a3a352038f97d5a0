//! Parts without values: a Concat is the same without them, and what a Split gives of them is a constant. Exporters and expanded
//! functions write them where a length happens to be 0 (the half of a head that is not turned), and no gradient passes them.

use super::{Folder, Known};
use crate::onnx::infer::axis_of;
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::Tensor;

/// The node, with no part that has no values.
pub(super) fn parts(folder: &mut Folder<'_>, node: NodeProto) -> NodeProto {
    match node.op_type() {
        "Concat" if node.is("Concat") => joined(folder, node),
        "Split" if node.is("Split") => split(folder, node),
        _ => node,
    }
}

/// Where all are empty, all stay.
fn joined(folder: &Folder<'_>, mut node: NodeProto) -> NodeProto {
    let axis = node.int("axis", 0);
    let is_empty = |name: &String| {
        let ty = folder.types.get(name);
        ty.is_some_and(|ty| axis_of(axis, ty.rank()).is_ok_and(|axis| ty.dims[axis] == 0))
    };
    if !node.input.iter().all(is_empty) {
        node.input.retain(|name| !is_empty(name));
    }
    node
}

fn split(folder: &mut Folder<'_>, mut node: NodeProto) -> NodeProto {
    let sizes = node.input_name(1).and_then(|name| folder.constant(name));
    let ty = node.input_name(0).and_then(|name| folder.types.get(name)).cloned();
    let (Some(sizes), Some(ty)) = (sizes.and_then(|sizes| sizes.to_i64s()), ty) else {
        return node;
    };
    let Ok(axis) = axis_of(node.int("axis", 0), ty.rank()) else { return node };
    let sum = sizes.iter().try_fold(0i64, |sum, &size| sum.checked_add(size));
    let fits = sum == Some(ty.dims[axis] as i64) && sizes.len() == node.output.len();
    if !fits || ty.dims[axis] == 0 || sizes.iter().all(|&size| size != 0) {
        return node;
    }
    let mut kept = Vec::new();
    let mut dims = ty.dims;
    dims[axis] = 0;
    for (name, &size) in node.output.iter().zip(&sizes) {
        if size != 0 {
            kept.push((name.clone(), size));
            continue;
        }
        let none = Tensor::from_f64s(ty.element, &dims, &[]);
        folder.know(name, none.ty(), Known::Made(none));
    }
    let (names, sizes): (Vec<String>, Vec<i64>) = kept.into_iter().unzip();
    let name = folder.fresh_name(node.input_name(1).unwrap_or_default());
    let value = Tensor::i64s(&sizes);
    folder.know(&name, value.ty(), Known::Made(value));
    node.input[1] = name;
    node.output = names;
    node
}
