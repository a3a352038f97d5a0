//! What a rule sees: one node, the gradients of its outputs, and which inputs want one.

use std::collections::BTreeMap;

use crate::onnx::proto::NodeProto;
use crate::onnx::{Tensor, Value};

use super::Reason;
use super::accumulate::Part;
use super::emit::Emit;

/// One node of the reverse walk.
///
/// A rule reads the gradient of the output ([`Step::dy`]) and gives every wanted input its share.
pub(super) struct Step<'a> {
    pub(super) emit: &'a mut Emit,
    pub(super) node: &'a NodeProto,
    pub(super) inputs: Vec<Option<Value>>,
    pub(super) outputs: Vec<Option<Value>>,
    /// The gradient of each output; `None` where it reaches no loss.
    pub(super) dys: Vec<Option<Value>>,
    /// Whether each input wants a gradient.
    pub(super) wanted: Vec<bool>,
    /// The node that makes each tensor.
    pub(super) producers: &'a BTreeMap<&'a str, &'a NodeProto>,
    /// What the rule gave, by index of the input.
    pub(super) given: Vec<(usize, Part)>,
}

impl Step<'_> {
    /// Input `index`.
    pub(super) fn x(&self, index: usize) -> Result<Value, Reason> {
        self.opt(index).ok_or(Reason::Missing { index })
    }

    /// Input `index`, if it is not left out.
    pub(super) fn opt(&self, index: usize) -> Option<Value> {
        self.inputs.get(index).cloned().flatten()
    }

    /// The node that computes a value; `None` for inputs and constants.
    pub(super) fn producer(&self, value: &Value) -> Option<&NodeProto> {
        self.producers.get(value.name()).copied()
    }

    /// The first output.
    pub(super) fn y(&self) -> Result<Value, Reason> {
        self.outputs.first().cloned().flatten().ok_or(Reason::Output)
    }

    /// The gradient of the first output; rules of operators with one output can rely on it.
    pub(super) fn dy(&self) -> Result<Value, Reason> {
        self.dys.first().cloned().flatten().ok_or(Reason::Output)
    }

    /// Whether input `index` wants a gradient.
    pub(super) fn wants(&self, index: usize) -> bool {
        self.wanted.get(index).copied().unwrap_or(false)
    }

    /// Refuses if input `index`, called `input` in the operator's document, wants a gradient.
    pub(super) fn refuse(&self, index: usize, input: &'static str) -> Result<(), Reason> {
        if self.wants(index) { Err(Reason::Input { input }) } else { Ok(()) }
    }

    /// The values of input `index`, which must be known.
    pub(super) fn constant(&self, index: usize, input: &'static str) -> Result<Tensor, Reason> {
        let value = self.x(index)?;
        self.emit.builder.constant(&value).ok_or(Reason::NotConstant { input })
    }

    /// The integers of an input that must be known; `None` where it is left out.
    pub(super) fn integers(
        &self,
        index: usize,
        input: &'static str,
    ) -> Result<Option<Vec<i64>>, Reason> {
        if self.opt(index).is_none() {
            return Ok(None);
        }
        self.constant(index, input)?.to_i64s().map(Some).ok_or(Reason::NotConstant { input })
    }

    /// Integers that older opsets keep in an attribute and newer ones in a constant input.
    pub(super) fn attribute_or_input(
        &self,
        name: &'static str,
        index: usize,
    ) -> Result<Option<Vec<i64>>, Reason> {
        match self.node.ints(name) {
            Some(ints) => Ok(Some(ints.to_vec())),
            None => self.integers(index, name),
        }
    }

    /// An axis of a tensor of this rank, from its number in the node (negative: from the back).
    pub(super) fn axis(&self, axis: i64, rank: usize) -> Result<usize, Reason> {
        let from_front = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(from_front)
            .ok()
            .filter(|&axis| axis < rank)
            .ok_or(Reason::Attribute { name: "axis", value: axis.to_string() })
    }

    /// Adds `value` to the gradient of input `index`.
    ///
    /// It may have fewer dimensions or dimensions of 1 where the input has more: it is then repeated.
    pub(super) fn give(&mut self, index: usize, value: Value) {
        self.given.push((index, Part::whole(value)));
    }

    /// Subtracts `value` from the gradient of input `index`; otherwise as [`Step::give`].
    pub(super) fn take(&mut self, index: usize, value: Value) {
        self.given.push((index, Part::whole(value).negative()));
    }

    /// Adds `value`, summed over the axes that the operator repeated, to the gradient of an input.
    pub(super) fn give_unbroadcast(&mut self, index: usize, value: &Value) -> Result<(), Reason> {
        let dims = self.emit.dims(&self.x(index)?);
        let value = self.emit.unbroadcast(value, &dims)?;
        self.give(index, value);
        Ok(())
    }

    /// Adds `value` to the part of the gradient of input `index` that begins at `starts`.
    pub(super) fn give_piece(&mut self, index: usize, starts: Vec<usize>, value: Value) {
        self.given.push((index, Part::piece(value, starts)));
    }
}
