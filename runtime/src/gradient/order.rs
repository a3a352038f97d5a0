//! The order of the nodes of a training graph, chosen so that gradients are done with early.
//!
//! ONNX Runtime runs a graph depth first: from its leaves, the nodes that nobody reads, last in the file first, and from every
//! node to those it reads, later ones first. In the order of the reverse walk the last leaf is the gradient of the first layer: everything
//! before it would run first, and the gradient and the input of every layer be held until the gradient of its weights follows.
//! So leaves stand at the end of the file, in reverse: the gradients of the last layer are run as soon as they can be.
//!
//! # Source
//! ONNX Runtime 1.31.1, `Graph::ReverseDFSFrom` and the constructor of `GraphViewer` (default order of execution).

use std::collections::{BTreeMap, BTreeSet};

use crate::onnx::Folded;
use crate::onnx::proto::GraphProto;

/// The same graph with its leaves at the end, the first of them last. Outputs that only rename a tensor take its name away.
pub(super) fn leaves_last(mut folded: Folded) -> Folded {
    take_names(&mut folded);
    let graph = folded.model.graph_mut();
    let read: BTreeSet<&String> = graph.node.iter().flat_map(|node| &node.input).collect();
    let leaf: Vec<bool> =
        graph.node.iter().map(|n| !n.output.iter().any(|name| read.contains(name))).collect();
    let (mut others, mut leaves) = (Vec::with_capacity(graph.node.len()), Vec::new());
    for (node, leaf) in std::mem::take(&mut graph.node).into_iter().zip(leaf) {
        if leaf { leaves.push(node) } else { others.push(node) }
    }
    others.extend(leaves.into_iter().rev());
    graph.node = others;
    folded
}

/// Gives tensors that are read by an `Identity` to an output, and by nothing else, the name of that output.
fn take_names(folded: &mut Folded) {
    let graph = folded.model.graph_mut();
    let outputs: BTreeSet<String> = graph.output.iter().map(|o| o.name().to_owned()).collect();
    let mut readers: BTreeMap<&str, usize> = BTreeMap::new();
    for name in graph.node.iter().flat_map(|node| &node.input) {
        *readers.entry(name).or_default() += 1;
    }
    let mut renamed: BTreeMap<String, String> = BTreeMap::new();
    for node in graph.node.iter().filter(|node| node.is("Identity")) {
        if let ([from], [to]) = (&node.input[..], &node.output[..])
            && outputs.contains(to)
            && !outputs.contains(from)
            && readers.get(from.as_str()) == Some(&1)
        {
            renamed.insert(from.clone(), to.clone());
        }
    }
    // Only what a node makes has a name to give away.
    let made: BTreeSet<&String> = graph.node.iter().flat_map(|node| &node.output).collect();
    renamed.retain(|from, _| made.contains(from));
    graph.node.retain(|node| {
        let from = node.input.first().filter(|_| node.is("Identity"));
        from.is_none_or(|from| renamed.get(from) != node.output.first())
    });
    for name in graph.node.iter_mut().flat_map(|node| &mut node.output) {
        if let Some(to) = renamed.get(name) {
            name.clone_from(to);
        }
    }
    for from in renamed.keys() {
        folded.types.remove(from);
    }
    graph.value_info.retain(|info| !renamed.contains_key(info.name()));
}

/// The nodes of a graph in the order in which ONNX Runtime runs them.
pub(super) fn run_order(graph: &GraphProto) -> Vec<usize> {
    let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        makers.extend(node.output.iter().map(|name| (name.as_str(), index)));
    }
    let of = |index: usize| -> BTreeSet<usize> {
        let names = graph.node[index].input.iter();
        names.filter_map(|name| makers.get(name.as_str()).copied()).collect()
    };
    let read: BTreeSet<usize> = (0..graph.node.len()).flat_map(of).collect();
    let mut open: Vec<(usize, bool)> =
        (0..graph.node.len()).filter(|index| !read.contains(index)).map(|i| (i, false)).collect();
    let mut seen = vec![false; graph.node.len()];
    let mut order = Vec::with_capacity(graph.node.len());
    while let Some((index, done)) = open.pop() {
        if done {
            order.push(index);
        } else if !std::mem::replace(&mut seen[index], true) {
            open.push((index, true));
            open.extend(of(index).into_iter().filter(|&i| !seen[i]).map(|i| (i, false)));
        }
    }
    order
}
