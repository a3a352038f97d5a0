//! Every tensor has one maker, and every node comes after those it reads from.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::FoldWhy;
use crate::onnx::Model;
use crate::onnx::proto::{GraphProto, SparseTensorProto, TensorProto};

/// The indexes of the nodes in an order in which each comes after what it reads; of several such orders
/// the one nearest to the file's.
pub(super) fn topological(graph: &GraphProto) -> Result<Vec<usize>, FoldWhy> {
    let makers = makers(graph)?;
    let mut waiting = vec![0usize; graph.node.len()];
    let mut readers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for name in node.captured() {
            // A tensor of the inner graph itself has no maker out here.
            if let Some(Maker::Node(maker)) = makers.get(name) {
                waiting[index] += 1;
                readers.entry(*maker).or_default().push(index);
            }
        }
        for name in node.reads() {
            match makers.get(name) {
                Some(Maker::Node(maker)) => {
                    waiting[index] += 1;
                    readers.entry(*maker).or_default().push(index);
                }
                Some(Maker::Given) => {}
                None => {
                    return Err(FoldWhy::Undefined {
                        operator: node.op_type().to_owned(),
                        node: node.label().to_owned(),
                        tensor: name.to_owned(),
                    });
                }
            }
        }
    }
    if let Some(output) = graph.output.iter().find(|o| !makers.contains_key(o.name())) {
        return Err(FoldWhy::NoOutput { output: output.name().to_owned() });
    }
    let mut outputs = BTreeSet::new();
    if let Some(twice) = graph.output.iter().find(|o| !outputs.insert(o.name())) {
        return Err(FoldWhy::TwoTensors { name: twice.name().to_owned() });
    }
    if graph.output.is_empty() {
        return Err(FoldWhy::NoOutput { output: String::new() });
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..waiting.len()).filter(|&i| waiting[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(waiting.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &reader in readers.get(&index).map_or(&[][..], Vec::as_slice) {
            waiting[reader] -= 1;
            if waiting[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    if let Some(index) = (0..waiting.len()).find(|&i| waiting[i] > 0) {
        return Err(FoldWhy::Cycle { tensor: graph.node[index].output_name(0).to_owned() });
    }
    Ok(order)
}

/// The model without the nodes and stored tensors that no output needs, whatever they are; inputs stay.
pub(super) fn needed(model: &Model) -> Cow<'_, Model> {
    let graph = model.graph();
    let mut makers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        node.output.iter().for_each(|name| makers.entry(name).or_default().push(index));
    }
    let mut names: BTreeSet<&str> = graph.output.iter().map(|output| output.name()).collect();
    let mut open: Vec<&str> = names.iter().copied().collect();
    let mut nodes = BTreeSet::new();
    while let Some(name) = open.pop() {
        for &index in makers.get(name).into_iter().flatten() {
            let Some(node) = graph.node.get(index).filter(|_| nodes.insert(index)) else {
                continue;
            };
            open.extend(node.names_read().filter(|name| names.insert(name)));
        }
    }
    let is_loose = |stored: &TensorProto| !names.contains(stored.name());
    let sparse = |stored: &SparseTensorProto| stored.values.as_ref().is_some_and(is_loose);
    let loose: BTreeSet<&str> =
        graph.initializer.iter().filter(|t| is_loose(t)).map(|t| t.name()).collect();
    if nodes.len() == graph.node.len()
        && loose.is_empty()
        && !graph.sparse_initializer.iter().any(sparse)
    {
        return Cow::Borrowed(model);
    }
    let mut needed = model.clone();
    let kept = needed.graph_mut();
    let mut index = 0..;
    kept.node.retain(|_| index.next().is_some_and(|index| nodes.contains(&index)));
    kept.initializer.retain(|stored| !is_loose(stored));
    kept.sparse_initializer.retain(|stored| !sparse(stored));
    // One that is listed as an input is none without its value.
    kept.input.retain(|input| !loose.contains(input.name()));
    Cow::Owned(needed)
}

/// The name of every tensor.
pub(super) fn names(graph: &GraphProto) -> BTreeSet<&str> {
    let given = graph.input.iter().map(|i| i.name());
    let stored = graph.initializer.iter().map(|t| t.name());
    let made = graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str));
    given.chain(stored).chain(made).collect()
}

enum Maker {
    /// A graph input or an initializer.
    Given,
    Node(usize),
}

fn makers(graph: &GraphProto) -> Result<BTreeMap<&str, Maker>, FoldWhy> {
    let twice = |name: &str| FoldWhy::TwoTensors { name: name.to_owned() };
    let mut makers = BTreeMap::new();
    // A weight may be listed as an input too; two weights or two inputs of one name may not be. No name at all
    // is the name of an input that is left out.
    let mut inputs = BTreeSet::new();
    for name in graph.input.iter().map(|i| i.name()) {
        if !inputs.insert(name) || name.is_empty() {
            return Err(twice(name));
        }
    }
    for name in graph.initializer.iter().map(|t| t.name()) {
        if makers.insert(name, Maker::Given).is_some() || name.is_empty() {
            return Err(twice(name));
        }
    }
    makers.extend(inputs.into_iter().map(|name| (name, Maker::Given)));
    for (index, node) in graph.node.iter().enumerate() {
        for name in node.output.iter().filter(|n| !n.is_empty()) {
            if makers.insert(name, Maker::Node(index)).is_some() {
                return Err(twice(name));
            }
        }
    }
    Ok(makers)
}
