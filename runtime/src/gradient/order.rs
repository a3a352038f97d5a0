//! The order of the nodes of a training graph, chosen so that gradients are done with early.
//!
//! ONNX Runtime runs a graph depth first: from its leaves, the nodes that nobody reads, last in the file first, and from every
//! node to those it reads, later ones first. In the order of the reverse walk the last leaf is the gradient of the first layer: everything
//! before it would run first, and the gradient and the input of every layer be held until the gradient of its weights follows.
//! So leaves stand at the end of the file, the one that is ready first last: the gradients of the last layer are run as soon as they
//! can be. When a leaf is ready, the ways to it say, not its place in the file: sums of shares and pulls are appended behind the walk.
//!
//! # Source
//! ONNX Runtime 1.31.1, `Graph::ReverseDFSFrom` and the constructor of `GraphViewer` (default order of execution).

use std::collections::{BTreeMap, BTreeSet};

use crate::onnx::Folded;
use crate::onnx::proto::{GraphProto, NodeProto};

/// The same graph with its leaves at the end, the first that is ready last; what comes of it comes of it again. Outputs that only
/// rename a tensor take its name away.
pub(super) fn leaves_last(mut folded: Folded) -> Folded {
    take_names(&mut folded);
    let graph = folded.model.graph_mut();
    let ready = ready(graph);
    let (mut others, mut leaves) = (Vec::with_capacity(graph.node.len()), Vec::new());
    for (node, ready) in std::mem::take(&mut graph.node).into_iter().zip(ready) {
        match ready {
            Some(ready) => leaves.push((ready, node)),
            None => others.push(node),
        }
    }
    leaves.sort_by(|(a, one), (b, other)| (b, &other.output).cmp(&(a, &one.output)));
    others.extend(leaves.into_iter().map(|(_ready, node)| node));
    graph.node = others;
    folded
}

/// The same graph with each leaf behind the last node that it reads; the others stand as they did.
pub(super) fn leaves_early(mut folded: Folded) -> Folded {
    let graph = folded.model.graph_mut();
    let leaf: Vec<bool> = ready(graph).iter().map(Option::is_some).collect();
    let last: Vec<Option<usize>> =
        sources(graph).iter().map(|sources| sources.last().copied()).collect();
    let nodes = std::mem::take(&mut graph.node).into_iter().enumerate();
    let mut placed: Vec<_> = nodes
        .zip(leaf)
        .zip(last)
        .map(|(((at, node), leaf), last)| ((last.filter(|_| leaf).unwrap_or(at), leaf), node))
        .collect();
    placed.sort_by_key(|(place, _node)| *place);
    graph.node = placed.into_iter().map(|(_place, node)| node).collect();
    folded
}

/// When each leaf is ready: the nodes on the longest way to the last node that another leaf needs, too, and to the leaf itself. What
/// a leaf alone needs counts less, or a gradient of few nodes would be run before one of many that a later layer has.
fn ready(graph: &GraphProto) -> Vec<Option<(usize, usize)>> {
    let sources = sources(graph);
    let mut needed: Vec<Needed> = vec![Needed::Nobody; sources.len()];
    let mut leaf = vec![false; sources.len()];
    for index in (0..sources.len()).rev() {
        if needed[index] == Needed::Nobody {
            leaf[index] = true;
            needed[index] = Needed::One(index);
        }
        for &source in &sources[index] {
            needed[source] = needed[source].and(needed[index]);
        }
    }
    // The longest way to a node, and to the last node of its past that several leaves need.
    let (mut ways, mut shared) = (vec![0; sources.len()], vec![0; sources.len()]);
    for index in 0..sources.len() {
        let longest = |of: &[usize]| sources[index].iter().map(|&s| of[s]).max().unwrap_or(0);
        ways[index] = longest(&ways) + 1;
        let by_several = needed[index] == Needed::Several;
        shared[index] = if by_several { ways[index] } else { longest(&shared) };
    }
    let each = leaf.into_iter().zip(shared.into_iter().zip(ways));
    each.map(|(leaf, ready)| leaf.then_some(ready)).collect()
}

/// Which leaves need a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    Nobody,
    One(usize),
    Several,
}

impl Needed {
    fn and(self, other: Needed) -> Needed {
        match (self, other) {
            (Needed::Nobody, needed) | (needed, Needed::Nobody) => needed,
            (one, other) if one == other => one,
            _ => Needed::Several,
        }
    }
}

/// Gives tensors that are read by an `Identity` to an output, and by nothing else, the name of that output.
fn take_names(folded: &mut Folded) {
    let graph = folded.model.graph_mut();
    let outputs: BTreeSet<String> = graph.output.iter().map(|o| o.name().to_owned()).collect();
    let mut readers: BTreeMap<&str, usize> = BTreeMap::new();
    for name in graph.node.iter().flat_map(NodeProto::names_read) {
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

/// The nodes that each node of a graph reads, by their places in the file.
fn sources(graph: &GraphProto) -> Vec<BTreeSet<usize>> {
    let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        makers.extend(node.output.iter().map(|name| (name.as_str(), index)));
    }
    let of = |name: &str| makers.get(name).copied();
    graph.node.iter().map(|node| node.names_read().filter_map(of).collect()).collect()
}

/// The nodes of a graph in the order in which ONNX Runtime runs them.
pub(super) fn run_order(graph: &GraphProto) -> Vec<usize> {
    let sources = sources(graph);
    let read: BTreeSet<usize> = sources.iter().flatten().copied().collect();
    let mut open: Vec<(usize, bool)> =
        (0..graph.node.len()).filter(|index| !read.contains(index)).map(|i| (i, false)).collect();
    let mut seen = vec![false; graph.node.len()];
    let mut order = Vec::with_capacity(graph.node.len());
    while let Some((index, done)) = open.pop() {
        if done {
            order.push(index);
        } else if !std::mem::replace(&mut seen[index], true) {
            open.push((index, true));
            open.extend(sources[index].iter().filter(|&&i| !seen[i]).map(|&i| (i, false)));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::memory::peak_bytes;
    use crate::gradient::{
        DifferentiateOptions, Keep, LossKind, LossSpec, Pull, differentiate_keeping, within,
    };
    use crate::graft::Profile;
    use crate::onnx::{Builder, TensorType};

    /// The training graph of so many layers tanh(x·w), each with a weight of its own, of 256 rows of 16 values.
    fn chain(layers: usize, keep: Keep) -> Folded {
        let mut b = Builder::new(17);
        let mut x = b.input("x", TensorType::f32(&[256, 16]));
        let wrt: Vec<String> = (0..layers).map(|layer| format!("w{layer}")).collect();
        for name in &wrt {
            let w = b.input(name, TensorType::f32(&[16, 16]));
            let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
            x = b.op("Tanh", &[&y], &[]).unwrap();
        }
        b.output("y", &x);
        let losses = vec![LossSpec::new(LossKind::Mse, "y")];
        let options = DifferentiateOptions { losses, wrt, strict: true, profile: Profile::Cpu };
        differentiate_keeping(&b.finish(), &options, keep).unwrap().folded
    }

    const PULLS: [Option<Pull>; 3] = [None, Some(Pull::Even), Some(Pull::ByImportance)];

    #[test]
    fn leaves_that_are_last_stay_where_they_are_and_come_there_from_anywhere() {
        for pull in PULLS {
            let folded = chain(8, Keep { pull, distil: false });
            assert!(leaves_last(folded.clone()) == folded, "{pull:?}");
            let mut turned = folded.clone();
            let nodes = &mut turned.model.graph_mut().node;
            let others = nodes.len() - 9;
            nodes[others..].reverse();
            assert!(leaves_last(turned) == folded, "{pull:?}");
        }
    }

    #[test]
    fn gradients_that_are_pulled_are_run_when_they_are_ready() {
        let [plain, even, weighed] =
            PULLS.map(|pull| peak_bytes(&chain(16, Keep { pull, distil: false })));
        for pulled in [even, weighed] {
            assert!(5 * pulled < 6 * plain, "{pulled} bytes with a pull, {plain} without");
        }
    }

    #[test]
    fn layers_with_weights_of_their_own_are_computed_again_where_memory_is_short() {
        for pull in PULLS {
            let whole = chain(16, Keep { pull, distil: false });
            let peak = peak_bytes(&whole);
            let found = within(&whole, peak / 2).unwrap();
            assert!(found.segments > 1 && 3 * found.peak_bytes < 2 * peak, "{pull:?}: {peak}");
        }
    }
}
