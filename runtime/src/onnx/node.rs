//! Reading the attributes of a node.

use super::model::is_standard;
use super::proto::{AttributeProto, GraphProto, NodeProto, attribute_type};

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
        self.attr(name).and_then(AttributeProto::int).unwrap_or(default)
    }

    /// A float attribute, or `default` where the node does not have it.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.attr(name).and_then(AttributeProto::float).unwrap_or(default)
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
        let bytes = self.attr(name).and_then(AttributeProto::bytes);
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

    /// The tensors that the node reads itself.
    pub(crate) fn reads(&self) -> impl Iterator<Item = &str> {
        self.input.iter().map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The tensors that the graphs inside the node read or give on, their own ones included.
    pub(crate) fn captured(&self) -> Vec<&str> {
        let mut names = Vec::new();
        let mut open: Vec<&GraphProto> = self.subgraphs().collect();
        while let Some(graph) = open.pop() {
            names.extend(graph.output.iter().map(|output| output.name()));
            for inner in &graph.node {
                names.extend(inner.reads());
                open.extend(inner.subgraphs());
            }
        }
        names
    }

    /// Every tensor that the node or a graph inside it reads.
    pub(crate) fn names_read(&self) -> impl Iterator<Item = &str> {
        self.reads().chain(self.captured())
    }
}

/// A value that is 0 is no field of the file where proto3 wrote it: the type says that it is there.
impl AttributeProto {
    /// The integer that it holds.
    pub(crate) fn int(&self) -> Option<i64> {
        self.i.or_else(|| self.is_left_out(attribute_type::INT).then_some(0))
    }

    /// The float that it holds.
    pub(crate) fn float(&self) -> Option<f32> {
        self.f.or_else(|| self.is_left_out(attribute_type::FLOAT).then_some(0.0))
    }

    /// The text that it holds, in bytes.
    fn bytes(&self) -> Option<&[u8]> {
        let empty = || self.is_left_out(attribute_type::STRING).then_some(b"".as_slice());
        self.s.as_deref().or_else(empty)
    }

    /// Whether the type is this one, and the value is none that a function takes from its call.
    fn is_left_out(&self, kind: i32) -> bool {
        self.r#type == Some(kind) && self.ref_attr_name().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Attr;
    use super::*;

    /// A node with an attribute whose value is no field of the file.
    fn with(attr: &Attr) -> NodeProto {
        let mut attribute = attr.to_proto("a");
        (attribute.i, attribute.f, attribute.s) = (None, None, None);
        NodeProto { attribute: vec![attribute], ..NodeProto::default() }
    }

    #[test]
    fn a_value_that_is_left_out_is_0_where_the_type_says_that_there_is_one() {
        let int = with(&Attr::Int(0));
        assert_eq!((int.int("a", 1), int.int("b", 1)), (0, 1));
        assert_eq!((int.float("a", 1.0), int.text("a", "default")), (1.0, "default"));
        assert_eq!(with(&Attr::Float(0.0)).float("a", 1.0), 0.0);
        assert_eq!(with(&Attr::Str(String::new())).text("a", "default"), "");
        let mut taken = int.clone();
        taken.attribute[0].ref_attr_name = Some("of_the_call".to_owned());
        assert_eq!(taken.int("a", 1), 1);
    }
}
