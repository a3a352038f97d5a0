//! What stays as it is though all weights are trained, and why.

use std::collections::{BTreeMap, BTreeSet};

use crate::onnx::proto::{NodeProto, TensorProto};
use crate::onnx::{Element, Folded, Tensor};

/// An initializer that stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its name.
    pub initializer: String,
    /// Why.
    pub why: LeftWhy,
}

/// Why an initializer stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftWhy {
    /// Its values are quantised, no operator learns by it, or the file does not store it by itself.
    NotLearnt,
    /// It says what is seen and what not: it is infinite somewhere, holds [`MASKED`] or less where it is added (as much where it
    /// is subtracted), or zeros and ones alone where it is multiplied.
    Mask,
    /// It is subtracted from an input of the graph, or divides one, as mean and deviation of pixels do.
    OfInput,
}

/// What is added to the score of a place that must not be seen is this or less.
pub const MASKED: f64 = -1e4;

/// How the nodes of a graph read its initializers.
pub(super) struct Roles<'f> {
    stored: BTreeMap<&'f str, &'f TensorProto>,
    /// The operators that read it, and as which input.
    read: BTreeMap<&'f str, BTreeSet<(&'f str, usize)>>,
    of_input: BTreeSet<&'f str>,
}

impl<'f> Roles<'f> {
    pub(super) fn of(folded: &'f Folded) -> Roles<'f> {
        let graph = folded.model.graph();
        let stored: BTreeMap<&str, &TensorProto> =
            graph.initializer.iter().map(|t| (t.name(), t)).collect();
        let mut read: BTreeMap<&str, BTreeSet<(&str, usize)>> = BTreeMap::new();
        let mut of_input = BTreeSet::new();
        // Tensors that are an input, moved or put to another scale.
        let mut inputs: BTreeSet<&str> = graph.input.iter().map(|input| input.name()).collect();
        for node in &graph.node {
            for (at, name) in node.input.iter().enumerate() {
                if stored.contains_key(name.as_str()) {
                    read.entry(name).or_default().insert((node.op_type(), at));
                }
            }
            if !node.input_name(0).is_some_and(|name| inputs.contains(name)) {
                continue;
            }
            let by = node.input_name(1).filter(|name| stored.contains_key(name));
            let scales = ["Sub", "Div"].iter().any(|op| node.is(op)) && by.is_some();
            if scales {
                of_input.extend(by);
            }
            let one = by.and_then(|by| folded.types.get(by)).is_some_and(|ty| ty.values() == 1);
            let shifts = ["Add", "Mul"].iter().any(|op| node.is(op)) && one;
            if scales || shifts || moves(node) {
                inputs.insert(node.output_name(0));
            }
        }
        Roles { stored, read, of_input }
    }

    /// Why an initializer at which an operator learns is no weight all the same; `None` if it is one.
    pub(super) fn why_left(&self, name: &str) -> Option<LeftWhy> {
        let stored = self.stored.get(name)?;
        let is_read =
            |op: &str, at: usize| self.read.get(name).is_some_and(|read| read.contains(&(op, at)));
        if any(stored, |value| !value.is_finite()) {
            return Some(LeftWhy::Mask);
        }
        let added = is_read("Add", 0) || is_read("Add", 1);
        let multiplied = is_read("Mul", 0) || is_read("Mul", 1);
        let hides = (added && any(stored, |value| value <= MASKED))
            || (is_read("Sub", 1) && any(stored, |value| value >= -MASKED))
            || (multiplied
                && !any(stored, |value| value != 0.0 && value != 1.0)
                && any(stored, |value| value == 0.0)
                && any(stored, |value| value == 1.0));
        if hides {
            return Some(LeftWhy::Mask);
        }
        self.of_input.contains(name).then_some(LeftWhy::OfInput)
    }
}

/// Whether a node gives on the values of its first input as they are.
fn moves(node: &NodeProto) -> bool {
    let moving = ["Cast", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"];
    moving.iter().any(|op| node.is(op))
}

/// Whether any value of a stored tensor is so.
fn any(stored: &TensorProto, is: impl Fn(f64) -> bool) -> bool {
    match Tensor::stored_raw(stored) {
        // One tensor may be most of the model: it is looked at where it is.
        Ok((ty, Some(raw))) if ty.element == Element::F32 => {
            raw.as_chunks().0.iter().any(|value| is(f64::from(f32::from_le_bytes(*value))))
        }
        Ok(_) | Err(_) => {
            Tensor::from_proto(stored).is_ok_and(|tensor| tensor.to_f64s().into_iter().any(is))
        }
    }
}
