//! Writes operators that are programs of their own (recurrent ones, attention, turns by places, samples of a grid, norms of windows) as the operators
//! they stand for, where a gradient passes through them: each of those has a rule. Elsewhere they stay as they are.

use crate::onnx::proto::NodeProto;
use crate::onnx::{Builder, Folded, InferError, Value};

use super::plan::Reach;
use super::{Reason, attention, lp_pool, recurrent, response, rotary, sampling};

/// What writing one node can meet: the node has no such form, or the graph does not take it. It then stays, and the walk refuses it.
pub(super) enum Stop {
    Refused(Reason),
    Infer(InferError),
}

impl From<InferError> for Stop {
    fn from(error: InferError) -> Stop {
        Stop::Infer(error)
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Stop {
        Stop::Refused(reason)
    }
}

/// Writes one node; its outputs keep their names.
type Write = fn(&mut Builder, &NodeProto) -> Result<(), Stop>;

fn writer(node: &NodeProto) -> Option<Write> {
    if ["LSTM", "GRU", "RNN"].iter().any(|op| node.is(op)) {
        return Some(recurrent::write);
    }
    if node.is("LRN") {
        return Some(response::write);
    }
    if node.is("LpPool") || node.is("GlobalLpPool") {
        return Some(lp_pool::write);
    }
    if node.is("GridSample") {
        return Some(sampling::write);
    }
    if node.is("RotaryEmbedding") {
        return Some(rotary::write);
    }
    node.is("Attention").then_some(attention::write as Write)
}

/// The same graph, written out where `reach` says that gradients pass.
pub(super) fn expand(folded: &Folded, reach: &Reach) -> Result<Option<Folded>, InferError> {
    let passes = |node: &NodeProto| {
        writer(node).filter(|_| node.input.iter().any(|name| reach.differentiable.contains(name)))
    };
    if !folded.model.graph().node.iter().any(|node| passes(node).is_some()) {
        return Ok(None);
    }
    let mut builder = Builder::before(folded, recurrent::PREFIX);
    for node in &folded.model.graph().node {
        let Some(write) = passes(node) else {
            builder.node(node.clone())?;
            continue;
        };
        // A refused node must leave nothing behind.
        let before = builder.clone();
        match write(&mut builder, node) {
            Ok(()) => {}
            // The walk says why, with all others that stand in the way.
            Err(Stop::Infer(_) | Stop::Refused(_)) => {
                builder = before;
                builder.node(node.clone())?;
            }
        }
    }
    builder.outputs_of(folded);
    Ok(Some(builder.finish()))
}

/// Why a node that has such a form was not written.
pub(super) fn refusal(builder: &Builder, node: &NodeProto) -> Reason {
    let Some(write) = writer(node) else { return Reason::NoRule };
    let mut copy = builder.clone();
    let outputs = node.output.iter().map(|name| match name.as_str() {
        "" => String::new(),
        _ => copy.fresh(node.op_type()),
    });
    let renamed = NodeProto { output: outputs.collect(), ..node.clone() };
    match write(&mut copy, &renamed) {
        Err(Stop::Refused(reason)) => reason,
        Err(Stop::Infer(error)) => error.into(),
        Ok(()) => Reason::NoRule,
    }
}

/// Gives a value the name of an output of the node, if it has that output.
pub(super) fn name(
    builder: &mut Builder,
    node: &NodeProto,
    output: usize,
    value: &Value,
) -> Result<(), InferError> {
    match node.output_name(output) {
        "" => Ok(()),
        name => builder.op_named(name, "Identity", &[value], &[]).map(|_| ()),
    }
}
