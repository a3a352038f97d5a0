//! `Where` by a condition that is known and the same everywhere: what it chooses. JAX writes it around divisions by a count, with
//! NaN as the other choice.

use super::{Folder, Known};
use crate::onnx::infer::infer;
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::{Tensor, TensorType};

/// The node, or an `Identity` or `Expand` of what it chooses.
pub(super) fn settled(folder: &mut Folder<'_>, node: NodeProto) -> NodeProto {
    let Some(chosen) = chosen(folder, &node) else { return node };
    let inputs: Vec<Option<&TensorType>> =
        node.input.iter().map(|name| folder.types.get(name)).collect();
    // What is wrong with it, inference says.
    let types = infer(&node, &inputs, &|name| folder.constant(name), folder.opset);
    let Some(to) = types.ok().and_then(|types| types.into_iter().next()) else { return node };
    let is_whole = folder.types.get(&chosen).is_some_and(|from| from.dims == to.dims);
    let (operator, input) = if is_whole {
        ("Identity", vec![chosen])
    } else {
        let dims: Vec<i64> = to.dims.iter().map(|&d| d as i64).collect();
        let shape = folder.fresh_name(node.output_name(0));
        let value = Tensor::i64s(&dims);
        folder.know(&shape, value.ty(), Known::Made(value));
        ("Expand", vec![chosen, shape])
    };
    let name = node.name.clone();
    NodeProto { name, ..NodeProto::operator(operator, input, node.output_name(0), Vec::new()) }
}

fn chosen(folder: &Folder<'_>, node: &NodeProto) -> Option<String> {
    let condition = node.input_name(0).filter(|_| node.is("Where"))?;
    let values = folder.constant(condition)?.to_i64s()?;
    let first = *values.first()?;
    let is_settled = values.iter().all(|&value| (value != 0) == (first != 0));
    is_settled.then(|| node.input_name(if first != 0 { 1 } else { 2 }))?.map(str::to_owned)
}
