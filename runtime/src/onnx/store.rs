//! Changing the values of a stored weight, and nothing else.

use super::model::Model;
use super::proto::{GraphProto, NodeProto, TensorProto};
use super::tensor::{Data, Tensor, TensorType};

/// Why a weight cannot be changed.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the model stores no weight `{name}`")]
    NoSuchWeight { name: String },
    #[error("weight `{name}` is stored with another type than {want}")]
    Type { name: String, want: TensorType },
}

/// Replaces the values of the initializer (or of the Constant node) with this name, which must have the same
/// type; everything else of the model stays as it is.
///
/// # Errors
/// [`StoreError`] if there is no such weight, or it has another type.
pub fn set_tensor(model: &mut Model, name: &str, tensor: &Tensor) -> Result<(), StoreError> {
    set_in(model.graph_mut(), name, tensor)
}

/// As [`set_tensor`], of a graph, which may be one inside another.
pub(crate) fn set_in(
    graph: &mut GraphProto,
    name: &str,
    tensor: &Tensor,
) -> Result<(), StoreError> {
    let stored = stored_mut(graph, name)
        .ok_or_else(|| StoreError::NoSuchWeight { name: name.to_owned() })?;
    let want = tensor.ty();
    let is_read_so = stored.data_type() == want.element.to_onnx();
    if !is_read_so || Tensor::stored_type(stored) != Ok(want.clone()) {
        return Err(StoreError::Type { name: name.to_owned(), want });
    }
    match (&tensor.data, stored.raw_data.is_some()) {
        (Data::F32(values), false) => stored.float_data.clone_from(values),
        _ => {
            let bytes = tensor.to_proto(name).raw_data;
            let emptied = TensorProto {
                dims: std::mem::take(&mut stored.dims),
                name: stored.name.take(),
                doc_string: stored.doc_string.take(),
                metadata_props: std::mem::take(&mut stored.metadata_props),
                data_type: stored.data_type,
                raw_data: bytes,
                ..TensorProto::default()
            };
            *stored = emptied;
        }
    }
    Ok(())
}

/// Stores a tensor in the place of the node that makes it, and nothing else.
pub(crate) fn set_made(model: &mut Model, name: &str, tensor: &Tensor) -> Result<(), StoreError> {
    let graph = model.graph_mut();
    let makes = |node: &NodeProto| node.output.len() == 1 && node.output_name(0) == name;
    let at = graph.node.iter().position(makes);
    let at = at.ok_or_else(|| StoreError::NoSuchWeight { name: name.to_owned() })?;
    graph.node.remove(at);
    graph.initializer.push(tensor.to_proto(name));
    Ok(())
}

/// The tensor that is stored as an initializer or in a Constant node of this name.
pub(crate) fn stored<'m>(model: &'m Model, name: &str) -> Option<&'m TensorProto> {
    stored_in(model.graph(), name)
}

/// As [`stored`], of a graph, which may be one inside another.
pub(crate) fn stored_in<'g>(graph: &'g GraphProto, name: &str) -> Option<&'g TensorProto> {
    let initializer = graph.initializer.iter().find(|t| t.name() == name);
    initializer.or_else(|| {
        let node = graph.node.iter().find(|n| n.is("Constant") && n.output_name(0) == name)?;
        node.attr("value")?.t.as_deref()
    })
}

fn stored_mut<'g>(graph: &'g mut GraphProto, name: &str) -> Option<&'g mut TensorProto> {
    if let Some(index) = graph.initializer.iter().position(|t| t.name() == name) {
        return graph.initializer.get_mut(index);
    }
    let mut nodes = graph.node.iter_mut();
    let node = nodes.find(|n| n.is("Constant") && n.output_name(0) == name)?;
    let mut attributes = node.attribute.iter_mut();
    attributes.find(|a| a.name() == "value")?.t.as_deref_mut()
}
