//! Memory for time: what the backward pass reads of the forward pass is computed again instead of held.
//!
//! The forward nodes are cut into segments. What crosses a cut is kept; everything else of a segment is freed, and when the
//! gradient arrives at the segment's end its nodes run once more, from what was kept. The last segment is not written again:
//! its backward pass follows at once.
//!
//! An engine would see that the second writing computes what the first did, and merge them. So what a second writing reads
//! goes through a multiplication by one that is no constant: 1 = (g = g) or not (g = g), of a gradient g that there is only
//! once the backward pass has come as far. That also keeps an engine from running it earlier.
//!
//! # Source
//! Chen et al., arXiv 1604.06174, section 4: segments of a chain, recomputed on the way back.

use std::collections::{BTreeMap, BTreeSet};

use crate::onnx::proto::NodeProto;
use crate::onnx::{Attr, Builder, Folded, InferError, Value};

use super::memory::{bytes, peak_bytes};
use super::order;

/// The most segments that are tried.
const SEGMENTS_MAX: usize = 16;

/// A training graph that recomputes, and what it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Recomputed {
    /// The same graph, or the one that recomputes.
    pub folded: Folded,
    /// Segments of its forward pass; 1 recomputes nothing.
    pub segments: usize,
    /// [`peak_bytes`] of it.
    pub peak_bytes: u64,
}

/// The training graph that holds at most `limit` bytes with as few segments as possible; if none does, the one that holds least.
///
/// # Errors
/// [`InferError`] if the graph's types are not those of its nodes.
pub fn within(training: &Folded, limit: u64) -> Result<Recomputed, InferError> {
    let mut best =
        Recomputed { folded: training.clone(), segments: 1, peak_bytes: peak_bytes(training) };
    for segments in 2..=SEGMENTS_MAX {
        if best.peak_bytes <= limit {
            break;
        }
        let folded = recompute(training, segments)?;
        let peak_bytes = peak_bytes(&folded);
        if peak_bytes < best.peak_bytes {
            best = Recomputed { folded, segments, peak_bytes };
        }
    }
    Ok(best)
}

/// The training graph with its forward pass in so many segments, all but the last computed again on the way back.
///
/// Inputs, outputs and values are those of `training`.
///
/// # Errors
/// [`InferError`] if the graph's types are not those of its nodes.
pub fn recompute(training: &Folded, segments: usize) -> Result<Folded, InferError> {
    // A leaf at the end of the file is none that reads late: what it reads is computed again for where it is run.
    let training = &order::leaves_early(training.clone());
    let plan = Plan::new(training, segments);
    let mut again = Again {
        builder: Builder::before(training, "again/"),
        names: BTreeMap::new(),
        held: BTreeMap::new(),
        ones: BTreeMap::new(),
    };
    let nodes = &training.model.graph().node;
    for (index, node) in nodes.iter().enumerate() {
        let mut node = node.clone();
        if index >= plan.backward {
            for name in &mut node.input {
                if let Some(segment) = plan.again(name) {
                    *name = again.write(training, &plan, segment, name)?;
                }
            }
        }
        again.builder.node(node)?;
    }
    again.builder.outputs_of(training);
    Ok(order::leaves_last(again.builder.finish()))
}

/// Where the forward pass is cut.
struct Plan {
    /// The first node that depends on a target: those before it are the forward pass.
    backward: usize,
    /// The forward node that makes each tensor, and its segment.
    made: BTreeMap<String, (usize, usize)>,
    /// What crosses a cut, outputs of the graph, and what the backward pass reads before it could wait for anything.
    kept: BTreeSet<String>,
    /// Constants, and inputs with a gradient.
    given: BTreeSet<String>,
    /// The tensor of the backward pass that each segment waits for; none: it is not computed again.
    waits: Vec<Option<String>>,
}

impl Plan {
    fn new(training: &Folded, segments: usize) -> Plan {
        let graph = training.model.graph();
        let outputs: BTreeSet<&str> = graph.output.iter().map(|o| o.name()).collect();
        let mut late: BTreeSet<&str> =
            graph.input.iter().map(|i| i.name()).filter(|n| n.starts_with("target.")).collect();
        let mut backward = graph.node.len();
        for (index, node) in graph.node.iter().enumerate() {
            if node.input.iter().any(|name| late.contains(name.as_str())) {
                backward = backward.min(index);
                late.extend(node.output.iter().map(String::as_str));
            }
        }
        let cuts = cuts(training, backward, segments);
        let segment_of = |index: usize| cuts.iter().filter(|&&cut| cut <= index).count();
        let mut made = BTreeMap::new();
        let mut kept: BTreeSet<String> = BTreeSet::new();
        for (index, node) in graph.node[..backward].iter().enumerate() {
            for name in &node.input {
                let before = made.get(name).is_some_and(|&(_, s)| s != segment_of(index));
                if before {
                    kept.insert(name.clone());
                }
            }
            for name in &node.output {
                made.insert(name.clone(), (index, segment_of(index)));
                if outputs.contains(name.as_str()) {
                    kept.insert(name.clone());
                }
            }
        }
        let factor = |name: &str| outputs.contains(format!("grad.{name}").as_str());
        let mut given: BTreeSet<String> =
            graph.initializer.iter().map(|t| t.name().to_owned()).collect();
        given.extend(graph.input.iter().map(|i| i.name().to_owned()).filter(|n| factor(n)));
        let mut plan = Plan { backward, made, kept, given, waits: Vec::new() };
        // The last segment is at hand when its backward pass begins.
        for segment in 0..cuts.len() {
            let wait = plan.wait(training, &late, segment);
            plan.waits.push(wait);
        }
        plan
    }

    /// The segment in which a tensor is computed again for the backward pass.
    fn again(&self, name: &str) -> Option<usize> {
        let &(_, segment) = self.made.get(name)?;
        let waits = self.waits.get(segment).is_some_and(Option::is_some);
        (waits && !self.kept.contains(name)).then_some(segment)
    }

    /// The last tensor of the backward pass that is there before it first reads a segment, and is read after that. What it reads
    /// before there is one, as the losses of a roll-out's first predictions do, is at hand: it is kept.
    fn wait(&mut self, training: &Folded, late: &BTreeSet<&str>, segment: usize) -> Option<String> {
        let nodes = &training.model.graph().node;
        let float =
            |name: &String| training.types.get(name).is_some_and(|ty| ty.element.is_float());
        loop {
            let of_segment = |name: &String| {
                self.made.get(name).is_some_and(|&(_, s)| s == segment) && !self.kept.contains(name)
            };
            let first = (self.backward..nodes.len())
                .find(|&index| nodes[index].input.iter().any(of_segment))?;
            let after: BTreeSet<&String> =
                nodes[first..].iter().flat_map(|node| &node.input).collect();
            let mut before = nodes[self.backward..first].iter().rev().flat_map(|node| &node.output);
            let wait = before.find(|n| late.contains(n.as_str()) && after.contains(n) && float(n));
            if wait.is_some() {
                return wait.cloned();
            }
            let read: Vec<String> =
                nodes[first].input.iter().filter(|name| of_segment(name)).cloned().collect();
            self.kept.extend(read);
        }
    }
}

/// The nodes before which the forward pass is cut: equal shares of what the backward pass reads, each cut moved to where least
/// crosses it.
fn cuts(training: &Folded, backward: usize, segments: usize) -> Vec<usize> {
    let nodes = &training.model.graph().node;
    let read: BTreeSet<&String> = nodes[backward..].iter().flat_map(|node| &node.input).collect();
    let mut last: BTreeMap<&String, usize> = BTreeMap::new();
    for (index, node) in nodes[..backward].iter().enumerate() {
        last.extend(node.input.iter().map(|name| (name, index)));
    }
    let mut crossing = vec![0_i128; backward + 1];
    let (mut sums, mut sum) = (Vec::with_capacity(backward), 0_u64);
    for (index, node) in nodes[..backward].iter().enumerate() {
        for name in &node.output {
            let size = bytes(training, name);
            if read.contains(name) {
                sum += size;
            }
            if let Some(&end) = last.get(name) {
                crossing[index + 1] += i128::from(size);
                crossing[end + 1] -= i128::from(size);
            }
        }
        sums.push(sum);
    }
    for index in 1..crossing.len() {
        crossing[index] += crossing[index - 1];
    }
    let reach = backward / (4 * segments.max(1));
    let mut cuts = Vec::new();
    for number in 1..segments {
        let share = (u128::from(sum) * number as u128 / segments as u128) as u64;
        let near = sums.partition_point(|&sum| sum < share);
        let from = near.saturating_sub(reach).max(cuts.last().map_or(1, |cut| cut + 1));
        let to = (near + reach + 1).min(backward);
        if let Some(cut) = (from..to).min_by_key(|&cut| crossing[cut]) {
            cuts.push(cut);
        }
    }
    cuts
}

/// The graph that is written, and what of it was written again.
struct Again {
    builder: Builder,
    /// By the tensor that it is once more.
    names: BTreeMap<String, String>,
    /// By segment and tensor: what was kept, as a second writing reads it.
    held: BTreeMap<(usize, String), String>,
    /// By segment and type: one.
    ones: BTreeMap<(usize, i32), Value>,
}

impl Again {
    /// Writes what makes a tensor once more, and returns what it is called there.
    fn write(
        &mut self,
        training: &Folded,
        plan: &Plan,
        segment: usize,
        name: &str,
    ) -> Result<String, InferError> {
        let nodes = &training.model.graph().node;
        // Depth first without recursion: forward nodes stand in topological order, so a sorted set of them is enough.
        let (mut open, mut needed) = (vec![name.to_owned()], BTreeSet::new());
        while let Some(name) = open.pop() {
            if self.names.contains_key(&name) || plan.again(&name) != Some(segment) {
                continue;
            }
            let Some(&(index, _)) = plan.made.get(&name) else { continue };
            if needed.insert(index) {
                open.extend(nodes[index].input.iter().cloned());
            }
        }
        for index in needed {
            let node = &nodes[index];
            let mut inputs = Vec::with_capacity(node.input.len());
            for name in &node.input {
                inputs.push(match self.names.get(name) {
                    Some(here) if plan.again(name) == Some(segment) => here.clone(),
                    Some(_) | None => self.hold(plan, segment, name)?,
                });
            }
            let mut outputs = Vec::with_capacity(node.output.len());
            for name in &node.output {
                if name.is_empty() {
                    outputs.push(String::new());
                    continue;
                }
                let here = self.builder.fresh(name);
                self.builder.declare(node, &here, training.types.get(name));
                outputs.push(here);
            }
            let label = self.builder.fresh(node.label());
            let copy = NodeProto {
                name: Some(label),
                input: inputs,
                output: outputs.clone(),
                ..node.clone()
            };
            self.builder.node(copy)?;
            self.names.extend(node.output.iter().cloned().zip(outputs));
        }
        Ok(self.names.get(name).cloned().unwrap_or_else(|| name.to_owned()))
    }

    /// What was kept, times one.
    fn hold(&mut self, plan: &Plan, segment: usize, name: &str) -> Result<String, InferError> {
        let waits = plan.waits.get(segment).cloned().flatten();
        let (Some(wait), false) = (waits, name.is_empty() || plan.given.contains(name)) else {
            return Ok(name.to_owned());
        };
        let value = Value::named(name);
        let element = self.builder.ty(&value).element;
        if !element.is_float() {
            return Ok(name.to_owned());
        }
        let key = (segment, name.to_owned());
        if let Some(held) = self.held.get(&key) {
            return Ok(held.clone());
        }
        let one = match self.ones.get(&(segment, element.to_onnx())) {
            Some(one) => one.clone(),
            None => {
                let one = self.one(&Value::named(&wait), element.to_onnx())?;
                self.ones.insert((segment, element.to_onnx()), one.clone());
                one
            }
        };
        let held = self.builder.op("Mul", &[&value, &one], &[])?.name().to_owned();
        self.held.insert(key, held.clone());
        Ok(held)
    }

    /// One, of a type, once a gradient is there: also where that is not a number.
    fn one(&mut self, gradient: &Value, element: i32) -> Result<Value, InferError> {
        let rank = self.builder.ty(gradient).dims.len();
        let first = if rank == 0 {
            gradient.clone()
        } else {
            let shape = self.builder.i64s(&[-1]);
            let flat = self.builder.op("Reshape", &[gradient, &shape], &[])?;
            let zero = self.builder.i64s(&[0]);
            self.builder.op("Gather", &[&flat, &zero], &[("axis", Attr::Int(0))])?
        };
        let same = self.builder.op("Equal", &[&first, &first], &[])?;
        let other = self.builder.op("Not", &[&same], &[])?;
        let always = self.builder.op("Or", &[&same, &other], &[])?;
        let one = self.builder.op("Cast", &[&always], &[("to", Attr::Int(i64::from(element)))])?;
        let shape = self.builder.i64s(&[]);
        self.builder.op("Reshape", &[&one, &shape], &[])
    }
}
