//! Functions of the model's own domains (ONNX IR, "Functions"), written out where they are called: their nodes in the place of
//! the call, attributes that refer to the call's replaced by those, names inside told apart by a number. What is known of a node
//! is said of its operator, and a function has none.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::{FoldWhy, Model, order};
use crate::onnx::model::is_standard;
use crate::onnx::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto};

/// Calls within calls.
const DEPTH_MAX: usize = 64;
/// Nodes that calls may become, and bytes of them beside tensors whose bytes are shared: a file of a few bytes must not ask for
/// gigabytes.
const NODES_MAX: usize = 1 << 18;
const BYTES_MAX: usize = 1 << 29;

/// Which function a node may call.
type Called<'m> = (&'m str, &'m str, &'m str);

/// The model without functions.
///
/// # Errors
/// [`FoldWhy::Function`] names the call.
pub(crate) fn inlined(model: &Model) -> Result<Cow<'_, Model>, FoldWhy> {
    let functions = &model.proto.functions;
    if functions.is_empty() {
        return Ok(Cow::Borrowed(model));
    }
    let of = |function| (named(function), function);
    let mut inliner = Inliner {
        functions: functions.iter().map(of).collect(),
        opset: model.opset(),
        calls: 0,
        nodes: 0,
        bytes: 0,
    };
    // Calls are numbered, and one that nothing needs is none: who looks for a node finds it under the number it was given.
    let mut written = order::needed(model).into_owned();
    inliner.graph(written.graph_mut(), 0)?;
    written.proto.functions.clear();
    Ok(Cow::Owned(written))
}

/// The bytes of a node that are copied with it: what is not stored as bytes.
fn copied(node: &NodeProto) -> usize {
    let stored = |one: &AttributeProto| -> usize {
        let tensors = one.t.as_deref().into_iter().chain(&one.tensors);
        tensors.filter_map(|tensor| tensor.raw_data.as_ref()).map(Bytes::len).sum()
    };
    let shared: usize = node.attribute.iter().map(stored).sum();
    prost::Message::encoded_len(node).saturating_sub(shared)
}

fn named(function: &FunctionProto) -> Called<'_> {
    (standard(function.domain()), function.name(), function.overload())
}

/// The standard domain has two names.
fn standard(domain: &str) -> &str {
    if is_standard(domain) { "" } else { domain }
}

struct Inliner<'m> {
    functions: BTreeMap<Called<'m>, &'m FunctionProto>,
    /// Of the model.
    opset: i64,
    /// Calls that were written out.
    calls: usize,
    /// Nodes that they became…
    nodes: usize,
    /// …and bytes that were copied for them.
    bytes: usize,
}

impl<'m> Inliner<'m> {
    fn graph(&mut self, graph: &mut GraphProto, depth: usize) -> Result<(), FoldWhy> {
        let mut nodes = Vec::with_capacity(graph.node.len());
        for node in std::mem::take(&mut graph.node) {
            self.node(node, depth, &mut nodes)?;
        }
        graph.node = nodes;
        Ok(())
    }

    /// A node, or what it calls.
    fn node(
        &mut self,
        mut node: NodeProto,
        depth: usize,
        into: &mut Vec<NodeProto>,
    ) -> Result<(), FoldWhy> {
        let called = (standard(node.domain()), node.op_type(), node.overload());
        let Some(function) = self.functions.get(&called).copied() else {
            for attribute in &mut node.attribute {
                let graphs = attribute.g.as_deref_mut().into_iter().chain(&mut attribute.graphs);
                for graph in graphs {
                    self.graph(graph, depth)?;
                }
            }
            into.push(node);
            return Ok(());
        };
        self.may_be_called(function, &node, depth)?;
        let call = Call::of(function, &node, self.calls)?;
        self.calls += 1;
        for inner in &function.node {
            let inner = call.node(inner);
            self.nodes += 1;
            self.bytes = self.bytes.saturating_add(copied(&inner));
            if self.nodes > NODES_MAX || self.bytes > BYTES_MAX {
                return Err(refused(&node, "calls of functions become too many nodes"));
            }
            self.node(inner, depth + 1, into)?;
        }
        into.extend(call.passed_on);
        Ok(())
    }

    fn may_be_called(
        &self,
        function: &FunctionProto,
        node: &NodeProto,
        depth: usize,
    ) -> Result<(), FoldWhy> {
        if depth == DEPTH_MAX {
            return Err(refused(node, "functions call each other too deep, or in a circle"));
        }
        let mut imports = function.opset_import.iter().filter(|set| is_standard(set.domain()));
        if imports.any(|set| set.version() != self.opset) {
            return Err(refused(
                node,
                "the function is written in another operator set than the model (onnx.inliner and onnx.version_converter make them one)",
            ));
        }
        if node.input.len() > function.input.len() || node.output.len() > function.output.len() {
            return Err(refused(node, "it has more inputs or outputs than the function"));
        }
        Ok(())
    }
}

/// What stands for what in one call.
struct Call<'c> {
    /// The call's own name stands before those of its nodes.
    name: &'c str,
    /// Before what is named inside.
    prefix: String,
    names: BTreeMap<&'c str, String>,
    attributes: BTreeMap<&'c str, &'c AttributeProto>,
    /// Nodes for outputs that are inputs, or each other.
    passed_on: Vec<NodeProto>,
}

impl<'c> Call<'c> {
    fn of(
        function: &'c FunctionProto,
        node: &'c NodeProto,
        number: usize,
    ) -> Result<Self, FoldWhy> {
        // Whatever is left out at the end is left out inside.
        let actual = node.input.iter().map(String::as_str).chain(std::iter::repeat(""));
        let inputs = function.input.iter().map(String::as_str).zip(actual);
        let mut names: BTreeMap<&str, String> =
            inputs.map(|(formal, actual)| (formal, actual.to_owned())).collect();
        if names.len() < function.input.len() {
            return Err(refused(node, "two inputs of the function have one name"));
        }
        let mut passed_on = Vec::new();
        for (formal, actual) in function.output.iter().zip(&node.output) {
            if actual.is_empty() {
                continue;
            }
            match names.get(formal.as_str()) {
                Some(known) if known.is_empty() => {
                    return Err(refused(node, "an output is an input that the call leaves out"));
                }
                Some(known) => passed_on.push(NodeProto {
                    op_type: Some("Identity".to_owned()),
                    input: vec![known.clone()],
                    output: vec![actual.clone()],
                    name: Some(format!("{}/{formal}", node.label())),
                    ..NodeProto::default()
                }),
                None => {
                    names.insert(formal, actual.clone());
                }
            }
        }
        let said = function.attribute_proto.iter().chain(&node.attribute);
        let attributes = said.map(|attribute| (attribute.name(), attribute)).collect();
        let prefix = format!("{}.call_{number}/", function.name());
        Ok(Call { name: node.name(), prefix, names, attributes, passed_on })
    }

    /// A node of the function, as this call has it.
    fn node(&self, inner: &NodeProto) -> NodeProto {
        let mut node = inner.clone();
        if !self.name.is_empty() {
            let own = if inner.name().is_empty() { inner.op_type() } else { inner.name() };
            node.name = Some(format!("{}/{own}", self.name));
        }
        node.input.iter_mut().chain(&mut node.output).for_each(|name| self.rename(name));
        node.attribute = inner.attribute.iter().filter_map(|own| self.attribute(own)).collect();
        node
    }

    /// An attribute; none, if it is the call's and the call does not have it.
    fn attribute(&self, own: &AttributeProto) -> Option<AttributeProto> {
        let mut attribute = match own.ref_attr_name() {
            "" => own.clone(),
            asked => {
                let given = *self.attributes.get(asked)?;
                AttributeProto { name: own.name.clone(), ..given.clone() }
            }
        };
        // What the call gives is the caller's: its names are names there.
        if own.ref_attr_name().is_empty() {
            let graphs = attribute.g.as_deref_mut().into_iter().chain(&mut attribute.graphs);
            graphs.for_each(|graph| self.graph(graph));
        }
        Some(attribute)
    }

    fn graph(&self, graph: &mut GraphProto) {
        let values = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
        let values = values.filter_map(|value| value.name.as_mut());
        let stored = graph.initializer.iter_mut().filter_map(|tensor| tensor.name.as_mut());
        values.chain(stored).for_each(|name| self.rename(name));
        for node in &mut graph.node {
            *node = self.node(node);
        }
    }

    fn rename(&self, name: &mut String) {
        if name.is_empty() {
            return;
        }
        *name = match self.names.get(name.as_str()) {
            Some(actual) => actual.clone(),
            None => format!("{}{name}", self.prefix),
        };
    }
}

fn refused(node: &NodeProto, reason: &'static str) -> FoldWhy {
    FoldWhy::Function { function: node.op_type().to_owned(), node: node.label().to_owned(), reason }
}
