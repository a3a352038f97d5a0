//! Reading the attributes of a node.

use super::model::is_standard;
use super::proto::{AttributeProto, GraphProto, NodeProto};

impl NodeProto {
    /// A standard operator with one output, after which it is named.
    pub(crate) fn operator(
        op: &str,
        input: Vec<String>,
        output: &str,
        attribute: Vec<AttributeProto>,
    ) -> NodeProto {
        NodeProto {
            input,
            output: vec![output.to_owned()],
            name: Some(output.to_owned()),
            op_type: Some(op.to_owned()),
            attribute,
            ..NodeProto::default()
        }
    }

    /// Whether this is the standard operator `op`.
    pub fn is(&self, op: &str) -> bool {
        self.op_type() == op && is_standard(self.domain())
    }

    /// The attribute with this name.
    pub fn attr(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|a| a.name() == name)
    }

    /// An integer attribute, or `default` where the node does not have it.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attr(name).and_then(|a| a.i).unwrap_or(default)
    }

    /// A float attribute, or `default` where the node does not have it.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.attr(name).and_then(|a| a.f).unwrap_or(default)
    }

    /// A list of integers; `None` where the node does not have it.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attr(name).map(|a| a.ints.as_slice())
    }

    /// A list of floats; `None` where the node does not have it.
    pub fn floats(&self, name: &str) -> Option<&[f32]> {
        self.attr(name).map(|a| a.floats.as_slice())
    }

    /// A text attribute, or `default` where the node does not have it or it is not UTF-8.
    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        let bytes = self.attr(name).and_then(|a| a.s.as_deref());
        bytes.and_then(|b| std::str::from_utf8(b).ok()).unwrap_or(default)
    }

    /// The name of input `index`; `None` where it is left out.
    pub fn input_name(&self, index: usize) -> Option<&str> {
        self.input.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The name of output `index`; empty where it is left out.
    pub fn output_name(&self, index: usize) -> &str {
        self.output.get(index).map_or("", String::as_str)
    }

    /// The first output that has a name; those before it are left out.
    pub(crate) fn first_output(&self) -> &str {
        self.output.iter().map(String::as_str).find(|name| !name.is_empty()).unwrap_or("")
    }

    /// What messages call this node: its name, or its first output where it has none.
    pub fn label(&self) -> &str {
        match self.name() {
            "" => self.output_name(0),
            name => name,
        }
    }

    /// The graphs inside this node's attributes (branches and bodies).
    pub fn subgraphs(&self) -> impl Iterator<Item = &GraphProto> {
        self.attribute.iter().flat_map(|a| a.g.as_deref().into_iter().chain(&a.graphs))
    }
}
