//! What the graphs within a body store (a branch in a loop, a loop in a loop) is written once, before its first round: written
//! with each round it would be another weight every time.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::unroll::{own_name, read_as};
use super::{Folder, Known, checked};
use crate::onnx::proto::{GraphProto, NodeProto, TensorProto};
use crate::onnx::tensor::Tensor;

/// The body, whose inner graphs read what they stored from around them. What cannot be read stays where it is: a branch that
/// is never taken may hold it.
pub(super) fn hoisted<'g>(folder: &mut Folder<'_>, body: &'g GraphProto) -> Cow<'g, GraphProto> {
    if body.node.iter().all(|node| node.subgraphs().next().is_none()) {
        return Cow::Borrowed(body);
    }
    let mut body = body.clone();
    body.node.iter_mut().for_each(|node| within(folder, node));
    Cow::Owned(body)
}

fn within(folder: &mut Folder<'_>, node: &mut NodeProto) {
    for attribute in &mut node.attribute {
        for graph in attribute.g.as_deref_mut().into_iter().chain(&mut attribute.graphs) {
            // From the innermost outwards, since what is renamed out here is renamed in there.
            graph.node.iter_mut().for_each(|inner| within(folder, inner));
            let mut names = BTreeMap::new();
            graph.initializer.retain(|stored| match keep(folder, stored.name(), stored) {
                Some(name) => names.insert(stored.name().to_owned(), name).is_some(),
                None => true,
            });
            graph.node.retain(|node| {
                let value = node.attr("value").filter(|_| node.is("Constant"));
                let Some(stored) = value.and_then(|value| value.t.as_deref()) else { return true };
                match keep(folder, node.output_name(0), stored) {
                    Some(name) => names.insert(node.output_name(0).to_owned(), name).is_some(),
                    None => true,
                }
            });
            read_as(graph, &names);
        }
    }
}

/// Stores a tensor in the folded graph; gives its name there.
fn keep(folder: &mut Folder<'_>, name: &str, stored: &TensorProto) -> Option<String> {
    let ((ty, nan), value) = (checked(stored).ok()?, Tensor::from_proto(stored).ok()?);
    let name = own_name(folder, name);
    folder.nan.extend(nan.map(|index| (name.clone(), index)));
    folder.know(&name, ty, Known::Made(value));
    Some(name)
}
