//! How much memory a pass through a graph takes, from the lifetimes of its buffers.
//!
//! Nodes run in the order of [`super::order`]. Inputs, constants and outputs are there before and after: what an engine binds or
//! loads once is not counted. What only renames (`Reshape` and its like) takes nothing; what works value by value writes into an
//! argument that nobody reads again. Any other tensor takes a buffer that is free and of its dimensions, else a new one.
//!
//! ONNX Runtime decides that before the first run, and a buffer that is to be taken again is not given back in between: it is
//! held from the first tensor in it to the last use of the last one. Between buffers its arena leaves gaps. They are not followed
//! one by one: a quarter is added, as measured (docs/benchmarks.md).
//!
//! # Source
//! ONNX Runtime 1.31.1, `PlannerImpl::ComputeReusePlan`, `FindReusableInput`, `FindReusableTensor`.

use std::collections::{BTreeMap, BTreeSet};

use super::order::run_order;
use crate::onnx::Folded;
use crate::onnx::proto::NodeProto;

/// One part of so many is added for the gaps between buffers.
const GAPS: u64 = 4;

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

/// The most bytes that a pass through a graph takes at once, beyond its inputs, constants and outputs: what is to be
/// measured with ONNX Runtime, to about a quarter where that is more than a few megabytes.
pub fn peak_bytes(folded: &Folded) -> u64 {
    let lives = lives(folded);
    let steps = folded.model.graph().node.len();
    let (mut taken, mut given) = (vec![0_u64; steps], vec![0_u64; steps]);
    for (name, (first, last)) in lives {
        let bytes = bytes(folded, name);
        taken[first] += bytes;
        given[last] += bytes;
    }
    let (mut held, mut peak) = (0_u64, 0_u64);
    for (taken, given) in taken.into_iter().zip(given) {
        held += taken;
        peak = peak.max(held);
        held -= given;
    }
    peak + peak / GAPS
}

/// Each buffer, by the first tensor in it, and the first and the last step of the run that use it.
fn lives(folded: &Folded) -> BTreeMap<&str, (usize, usize)> {
    let graph = folded.model.graph();
    let mut bound: BTreeSet<&str> = graph.output.iter().map(|output| output.name()).collect();
    bound.extend(graph.input.iter().map(|input| input.name()));
    bound.extend(graph.initializer.iter().map(|tensor| tensor.name()));
    let mut uses: BTreeMap<&str, usize> = bound.iter().map(|&name| (name, 1)).collect();
    for name in graph.node.iter().flat_map(names) {
        *uses.entry(name).or_default() += 1;
    }
    let (of, free, lives) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    let mut buffers = Buffers { folded, bound, of, uses, free, lives };
    for (step, index) in run_order(graph).into_iter().enumerate() {
        let node = &graph.node[index];
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            buffers.make(node, name, step);
        }
        names(node).for_each(|name| buffers.used(name, step));
    }
    buffers.lives
}

/// Every tensor that a node reads or makes.
fn names(node: &NodeProto) -> impl Iterator<Item = &str> {
    let all = node.input.iter().chain(&node.output);
    all.map(String::as_str).filter(|name| !name.is_empty())
}

/// Which tensor is in which buffer, as the steps of a run are gone through.
struct Buffers<'a> {
    folded: &'a Folded,
    /// Inputs, constants and outputs of the graph.
    bound: BTreeSet<&'a str>,
    /// The buffer of a tensor that is in one made for another tensor, by that one's name.
    of: BTreeMap<&'a str, &'a str>,
    /// How often each buffer is still made or read.
    uses: BTreeMap<&'a str, usize>,
    /// Buffers that nobody uses any more, the last one the latest.
    free: Vec<&'a str>,
    lives: BTreeMap<&'a str, (usize, usize)>,
}

impl<'a> Buffers<'a> {
    fn buffer(&self, name: &'a str) -> &'a str {
        self.of.get(name).copied().unwrap_or(name)
    }

    /// Finds a place for a tensor.
    fn make(&mut self, node: &'a NodeProto, name: &'a str, step: usize) {
        if self.bound.contains(name) {
            return;
        }
        match self.in_place(node, name).or_else(|| self.freed(name)) {
            Some(buffer) => {
                let more = self.uses.get(name).copied().unwrap_or(0);
                *self.uses.entry(buffer).or_default() += more;
                self.of.insert(name, buffer);
            }
            None => {
                self.lives.insert(name, (step, step));
            }
        }
    }

    /// The buffer of an argument that the node writes into.
    fn in_place(&self, node: &'a NodeProto, name: &str) -> Option<&'a str> {
        if !matches!(node.domain(), "" | "ai.onnx") {
            return None;
        }
        if RENAMING.contains(&node.op_type()) {
            return node.input.first().map(|from| self.buffer(from));
        }
        let over = |from: &&'a String| {
            self.uses.get(self.buffer(from)) == Some(&1) && self.alike(from, name)
        };
        let arguments = VALUEWISE.contains(&node.op_type()).then_some(&node.input)?;
        arguments.iter().take(2).find(over).map(|from| self.buffer(from))
    }

    /// The free buffer of these dimensions that was freed last.
    fn freed(&mut self, name: &str) -> Option<&'a str> {
        if self.folded.types.get(name)?.dims.is_empty() {
            return None;
        }
        let place = self.free.iter().rposition(|free| self.alike(free, name))?;
        Some(self.free.remove(place))
    }

    /// Whether two tensors have the same dimensions and elements of one size.
    fn alike(&self, one: &str, other: &str) -> bool {
        let of = |name: &str| self.folded.types.get(name).map(|ty| (&ty.dims, ty.element.bytes()));
        of(one).is_some() && of(one) == of(other)
    }

    /// A tensor was made or read.
    fn used(&mut self, name: &'a str, step: usize) {
        let buffer = self.buffer(name);
        let Some((_, last)) = self.lives.get_mut(buffer) else { return };
        *last = step;
        let left = self.uses.entry(buffer).or_default();
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.free.push(buffer);
        }
    }
}

/// Bytes of a tensor.
pub(super) fn bytes(folded: &Folded, name: &str) -> u64 {
    folded.types.get(name).map_or(0, |ty| (ty.values() * ty.element.bytes()) as u64)
}
