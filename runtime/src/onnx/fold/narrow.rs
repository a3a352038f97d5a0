//! Weights of 4 bits and of floats of 8: in the folded graph they are what they are read as.

use super::{FoldWhy, Folder, Known, first_nan};
use crate::onnx::narrow::Narrow;
use crate::onnx::proto::{NodeProto, TensorProto};
use crate::onnx::{Tensor, dequantised};

/// A stored tensor in the element that it is read as.
pub(super) fn wide(stored: &TensorProto) -> TensorProto {
    let narrow = Narrow::from_onnx(stored.data_type());
    let read = narrow.and_then(|_narrow| Tensor::from_proto(stored).ok());
    read.map_or_else(|| stored.clone(), |tensor| tensor.to_proto(stored.name()))
}

/// Takes the DequantizeLinear of a weight of floats, which engines take of integers alone: it becomes what it gives. Whether it
/// was one.
pub(super) fn weight(folder: &mut Folder<'_>, node: &NodeProto) -> Result<bool, FoldWhy> {
    let name = node.input_name(0).unwrap_or("");
    let is_float = folder.types.get(name).is_some_and(|ty| ty.element.is_float());
    if !node.is("DequantizeLinear") || !is_float {
        return Ok(false);
    }
    let refuse = |reason| FoldWhy::Upgrade {
        operator: node.op_type().to_owned(),
        node: node.label().to_owned(),
        reason,
    };
    let file =
        folder.constant(name).ok_or_else(|| refuse("it dequantises floats that are not stored"))?;
    let real = dequantised(node, &file, |name| folder.constant(name)).map_err(refuse)?;
    folder.spend(node, real.data.len())?;
    let output = node.output_name(0);
    folder.nan.extend(first_nan(&real).map(|index| (output.to_owned(), index)));
    folder.know(output, real.ty(), Known::Made(real));
    Ok(true)
}

/// Refuses to quantise what comes to elements that are read as wider ones: it would be cut off elsewhere.
///
/// # Errors
/// [`FoldWhy::Upgrade`] names the node.
pub(super) fn refuse_quantising(folder: &Folder<'_>, node: &NodeProto) -> Result<(), FoldWhy> {
    if !node.is("QuantizeLinear") {
        return Ok(());
    }
    let zero = node.input_name(2).and_then(|name| match folder.known.get(name)? {
        Known::Stored(index) => folder.graph.initializer.get(*index).map(TensorProto::data_type),
        Known::Made(_) => None,
    });
    let said = i32::try_from(node.int("output_dtype", 0)).ok();
    match zero.into_iter().chain(said).find_map(Narrow::from_onnx) {
        None => Ok(()),
        Some(_) => Err(FoldWhy::Upgrade {
            operator: node.op_type().to_owned(),
            node: node.label().to_owned(),
            reason: "it quantises to 4 bits, or to floats of 8, what comes; only stored weights may be of these",
        }),
    }
}
