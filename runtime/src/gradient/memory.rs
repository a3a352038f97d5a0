//! How much memory a pass through a graph takes, from the lifetimes of its tensors.
//!
//! Nodes run in the order of [`super::order`]. A tensor is held from the node that makes it to the last one that reads it. Inputs,
//! constants and outputs are there before and after: what an engine binds or loads once is not counted. What only renames
//! (`Reshape` and its like) takes nothing; what works value by value writes into an argument that nobody reads again. Scratch
//! memory of operators and what an engine's allocator wastes are not counted either.

use std::collections::{BTreeMap, BTreeSet};

use super::order::run_order;
use crate::onnx::Folded;
use crate::onnx::proto::{GraphProto, NodeProto};

/// Operators whose output is the memory of their first input.
const RENAMING: [&str; 6] = ["Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Dropout"];
/// Operators that work value by value.
const VALUEWISE: [&str; 30] = [
    "Abs",
    "Add",
    "Ceil",
    "Clip",
    "Cos",
    "Div",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Log",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "Pow",
    "Reciprocal",
    "Relu",
    "Round",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softplus",
    "Sqrt",
    "Sub",
    "Tanh",
];

/// The most bytes that the tensors of a graph hold at once while it runs, beyond its inputs, constants and outputs.
pub fn peak_bytes(folded: &Folded) -> u64 {
    let graph = folded.model.graph();
    let roots = roots(graph);
    let root = |name: &str| roots.get(name).map_or_else(|| name.to_owned(), String::clone);
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    let order = run_order(graph);
    let nodes = || order.iter().filter_map(|&index| graph.node.get(index)).enumerate();
    for (index, node) in nodes() {
        for name in node.input.iter().chain(&node.output) {
            last.insert(root(name), index);
        }
    }
    let mut bound: BTreeSet<String> = graph.output.iter().map(|o| root(o.name())).collect();
    bound.extend(graph.input.iter().map(|i| i.name().to_owned()));
    bound.extend(graph.initializer.iter().map(|t| t.name().to_owned()));
    let counts = |name: &str| !name.is_empty() && !bound.contains(name);

    let (mut held, mut peak) = (0_u64, 0_u64);
    for (index, node) in nodes() {
        let ends = |name: &String| counts(name) && last.get(name) == Some(&index);
        let mut read: Vec<String> = node.input.iter().map(|name| root(name)).collect();
        read.sort();
        read.dedup();
        read.retain(&ends);
        let made: Vec<&String> =
            node.output.iter().filter(|name| counts(name) && !roots.contains_key(*name)).collect();
        let new: u64 = made.iter().map(|name| bytes(folded, name)).sum();
        let in_place = VALUEWISE.contains(&node.op_type())
            && read.iter().any(|name| bytes(folded, name) == new && new > 0);
        peak = peak.max(if in_place { held } else { held + new });
        held += new;
        let over = made.into_iter().filter(|name| ends(name)).cloned();
        held -= read.into_iter().chain(over).map(|name| bytes(folded, &name)).sum::<u64>();
    }
    peak
}

/// Bytes of a tensor.
pub(super) fn bytes(folded: &Folded, name: &str) -> u64 {
    folded.types.get(name).map_or(0, |ty| (ty.values() * ty.element.bytes()) as u64)
}

/// The tensor whose memory each renamed one is.
fn roots(graph: &GraphProto) -> BTreeMap<String, String> {
    let mut roots: BTreeMap<String, String> = BTreeMap::new();
    let renames = |node: &&NodeProto| {
        RENAMING.contains(&node.op_type()) && matches!(node.domain(), "" | "ai.onnx")
    };
    for node in graph.node.iter().filter(renames) {
        if let (Some(from), [to]) = (node.input.first(), &node.output[..]) {
            let from = roots.get(from).unwrap_or(from).clone();
            roots.insert(to.clone(), from);
        }
    }
    roots
}
