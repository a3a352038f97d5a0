//! Arithmetic in bfloat16 as arithmetic in float32, which has each of its values: no engine has it on a processor.
//!
//! Inputs and outputs of the graph stay bfloat16, with a Cast beside each, and so do nodes of other domains. Stored tensors are
//! read as float32. Results are those of bfloat16 but for its roundings, of which there is none any more but where an output is
//! cast; a Cast to bfloat16 and back changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::FOLDED;
use crate::onnx::model::{Folded, is_standard};
use crate::onnx::proto::{NodeProto, TensorProto, data_type};
use crate::onnx::{Attr, Builder, Element, InferError, Tensor, Value};

/// Attributes that say the element of what a node gives, or computes in.
const ELEMENTS: [&str; 7] = [
    "dtype",
    "output_datatype",
    "output_dtype",
    "precision",
    "softmax_precision",
    "stash_type",
    "to",
];

/// A folded graph that computes in float32 where it did in bfloat16.
///
/// # Errors
/// [`InferError`] if an operator does not take float32 in the place of bfloat16.
pub(super) fn in_float32(folded: Folded) -> Result<Folded, InferError> {
    if folded.types.values().all(|ty| ty.element != Element::Bf16) {
        return Ok(folded);
    }
    let graph = folded.model.graph();
    let outputs: BTreeSet<&str> = graph.output.iter().map(|output| output.name()).collect();
    let foreign = graph.node.iter().filter(|node| !is_standard(node.domain()));
    let foreign: BTreeSet<&str> = foreign.flat_map(NodeProto::names_read).collect();
    let builder = before(&folded, &foreign);
    let kept = foreign.union(&outputs).copied().collect();
    let mut writer = Writer { from: &folded, builder, outputs, kept, single: BTreeMap::new() };
    for node in &graph.node {
        writer.node(node)?;
    }
    for name in graph.output.iter().map(|output| output.name()) {
        if let Some(single) =
            writer.single.get(name).filter(|_| writer.builder.ty_of(name).is_none())
        {
            let to = [("to", Attr::Int(i64::from(data_type::BFLOAT16)))];
            writer.builder.op_named(name, "Cast", &[&single.clone()], &to)?;
        }
    }
    writer.builder.outputs_of(&folded);
    Ok(writer.builder.finish())
}

/// What the nodes are written behind: the inputs, and what is stored, in float32 unless a node of another domain reads it.
fn before(folded: &Folded, foreign: &BTreeSet<&str>) -> Builder {
    let mut bare = folded.clone();
    let stored = bare.model.graph_mut().initializer.iter_mut();
    for stored in stored.filter(|stored| !foreign.contains(stored.name())) {
        if let Some(wide) = wide(stored) {
            bare.halves.insert(stored.name().to_owned());
            *stored = wide;
        }
    }
    let nodes = folded.model.graph().node.iter().filter(|node| is_standard(node.domain()));
    for name in nodes.flat_map(|node| &node.output).chain(&bare.halves) {
        if let Some(ty) = bare.types.get_mut(name).filter(|ty| ty.element == Element::Bf16) {
            ty.element = Element::F32;
        }
    }
    Builder::before(&bare, "float32/")
}

/// A tensor of bfloat16 in float32; `None` of any other.
fn wide(stored: &TensorProto) -> Option<TensorProto> {
    if stored.data_type() != data_type::BFLOAT16 {
        return None;
    }
    let tensor = Tensor::from_proto(stored).ok()?;
    let wide = Tensor::from_f64s(Element::F32, &tensor.dims, &tensor.to_f64s());
    Some(wide.to_proto(stored.name()))
}

struct Writer<'f> {
    from: &'f Folded,
    builder: Builder,
    outputs: BTreeSet<&'f str>,
    /// What a Cast gives in bfloat16 still: outputs, and what nodes of other domains read.
    kept: BTreeSet<&'f str>,
    /// What was bfloat16 and is there in float32.
    single: BTreeMap<String, Value>,
}

impl Writer<'_> {
    fn is_half(&self, name: &str) -> bool {
        self.from.types.get(name).is_some_and(|ty| ty.element == Element::Bf16)
    }

    fn node(&mut self, node: &NodeProto) -> Result<(), InferError> {
        let names = node.input.iter().chain(&node.output);
        if !names.clone().any(|name| self.is_half(name)) {
            self.builder.node(node.clone())?;
            return Ok(());
        }
        let mut written = node.clone();
        if !is_standard(node.domain()) {
            return self.foreign(written);
        }
        // The Casts at the edges stay, so that what is folded folds to itself.
        let [from, to] = [node.input_name(0).unwrap_or(""), node.output_name(0)];
        let there = |name: &str| self.builder.ty_of(name).map(|ty| ty.element);
        if node.is("Cast") && there(from) == Some(Element::Bf16) && !self.is_half(to) {
            self.builder.node(written)?;
            return Ok(());
        }
        for name in written.input.iter_mut().filter(|name| !name.is_empty()) {
            if self.is_half(name) {
                *name = self.in_single(name)?.name().to_owned();
            }
        }
        if node.is("Cast") && self.is_half(to) && self.kept.contains(to) {
            self.builder.node(written)?;
            return Ok(());
        }
        for attribute in &mut written.attribute {
            if ELEMENTS.contains(&attribute.name())
                && attribute.i == Some(i64::from(data_type::BFLOAT16))
            {
                attribute.i = Some(i64::from(data_type::FLOAT));
            }
            if let Some(wide) = attribute.t.as_deref().and_then(wide) {
                attribute.t = Some(Box::new(wide));
            }
        }
        for name in written.output.iter_mut().filter(|name| !name.is_empty()) {
            if self.is_half(name) {
                let here = self.called(name);
                let mut ty = self.from.types.get(name).cloned();
                ty.iter_mut().for_each(|ty| ty.element = Element::F32);
                self.builder.declare(node, &here, ty.as_ref());
                self.single.insert(name.clone(), Value::named(&here));
                *name = here;
            }
        }
        self.builder.node(written)?;
        Ok(())
    }

    /// What a tensor is called in float32 that a node gives: an output of the graph is a Cast's.
    fn called(&self, name: &str) -> String {
        if !self.outputs.contains(name) {
            return name.to_owned();
        }
        let taken = |name: &String| self.from.types.contains_key(name);
        let mut numbers = (0_usize..).map(|number| format!("{name}{FOLDED}{number}"));
        numbers.find(|name| !taken(name)).unwrap_or_default()
    }

    /// A node that may mean anything reads and gives bfloat16.
    fn foreign(&mut self, mut node: NodeProto) -> Result<(), InferError> {
        for name in node.input.iter_mut().filter(|name| !name.is_empty()) {
            let is_single = self.builder.ty_of(name).is_none_or(|ty| ty.element != Element::Bf16);
            if self.is_half(name) && is_single {
                let single = self.in_single(name)?;
                *name = self.cast(&single, Element::Bf16)?.name().to_owned();
            }
        }
        self.builder.node(node)?;
        Ok(())
    }

    /// A tensor of bfloat16 in float32.
    fn in_single(&mut self, name: &str) -> Result<Value, InferError> {
        if let Some(value) = self.single.get(name) {
            return Ok(value.clone());
        }
        let there = Value::named(name);
        let value = if self.builder.ty(&there).element == Element::Bf16 {
            self.cast(&there, Element::F32)?
        } else {
            there
        };
        self.single.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    fn cast(&mut self, value: &Value, to: Element) -> Result<Value, InferError> {
        self.builder.op("Cast", &[value], &[("to", Attr::Int(i64::from(to.to_onnx())))])
    }
}
