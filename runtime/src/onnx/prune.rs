//! Drops what no output needs.

use std::collections::BTreeSet;

use super::Folded;

/// The same graph without nodes, constants and types that no output depends on; inputs stay. An engine warns of each unused constant at
/// every load.
pub(crate) fn prune(mut folded: Folded) -> Folded {
    let graph = folded.model.graph_mut();
    let mut needed: BTreeSet<String> = graph.output.iter().map(|o| o.name().to_owned()).collect();
    let mut keep = vec![false; graph.node.len()];
    for (index, node) in graph.node.iter().enumerate().rev() {
        if node.output.iter().any(|name| needed.contains(name)) {
            keep[index] = true;
            needed.extend(node.names_read().map(str::to_owned));
        }
    }
    let mut kept = keep.iter();
    graph.node.retain(|_| kept.next().copied().unwrap_or(true));
    needed.extend(graph.input.iter().map(|i| i.name().to_owned()));
    graph.initializer.retain(|t| needed.contains(t.name()));
    needed.extend(graph.node.iter().flat_map(|n| n.output.iter().cloned()));
    graph.value_info.retain(|v| needed.contains(v.name()));
    folded.types.retain(|name, _| needed.contains(name));
    folded
}
