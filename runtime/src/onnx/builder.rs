//! Writes graphs: every value gets its type when its operator is added.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::fold::NOT_INFERRED;
use super::infer::{InferError, infer};
use super::model::{Folded, Model, is_standard};
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, attribute_type};
use super::tensor::{Data, Tensor, TensorType};

/// The name of a tensor in the graph being built.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Arc<str>);

impl Value {
    /// The value with this name; it must be in the graph of the builder it is given to.
    pub fn named(name: &str) -> Value {
        Value(Arc::from(name))
    }

    /// The name of the tensor.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A constant argument of a node.
#[expect(missing_docs, reason = "each is named as the type it is")]
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Floats(Vec<f32>),
    Str(String),
    Tensor(Tensor),
}

impl Attr {
    /// This argument as ONNX stores it.
    pub fn to_proto(&self, name: &str) -> AttributeProto {
        let mut proto = AttributeProto { name: Some(name.to_owned()), ..Default::default() };
        let kind = match self {
            Attr::Int(i) => {
                proto.i = Some(*i);
                attribute_type::INT
            }
            Attr::Ints(ints) => {
                proto.ints.clone_from(ints);
                attribute_type::INTS
            }
            Attr::Float(f) => {
                proto.f = Some(*f);
                attribute_type::FLOAT
            }
            Attr::Floats(floats) => {
                proto.floats.clone_from(floats);
                attribute_type::FLOATS
            }
            Attr::Str(s) => {
                proto.s = Some(Bytes::from(s.clone()));
                attribute_type::STRING
            }
            Attr::Tensor(t) => {
                proto.t = Some(Box::new(t.to_proto("")));
                attribute_type::TENSOR
            }
        };
        proto.r#type = Some(kind);
        proto
    }
}

/// A graph being built. Nodes are appended in topological order by construction.
///
/// Names: inputs, outputs and initializers that the caller names keep their names (a name that is taken
/// gets a number); results of operators are called `<prefix><Op>_<n>` and never collide.
#[derive(Clone, Debug)]
pub struct Builder {
    model: Model,
    opset: i64,
    prefix: String,
    next: usize,
    types: BTreeMap<String, TensorType>,
    /// Where each initializer that is a constant stands in the graph.
    initializers: BTreeMap<String, usize>,
    /// Constants made by this builder, by type and bytes.
    made: BTreeMap<(i32, Vec<usize>, Vec<u8>), Value>,
    /// Names of nodes, and tensors that the caller will make: not given to new operators.
    reserved: BTreeSet<String>,
    outputs: BTreeSet<String>,
    /// The types of what operators give that nothing can infer: those of other domains, and a few of the standard.
    declared: BTreeMap<String, TensorType>,
    /// As [`Folded::halves`].
    halves: BTreeSet<String>,
}

impl Builder {
    /// An empty graph in this version of the standard operators.
    pub fn new(opset: i64) -> Builder {
        let graph = GraphProto { name: Some("shoal".to_owned()), ..GraphProto::default() };
        Builder {
            model: Model::new(graph, opset),
            opset,
            prefix: String::new(),
            next: 0,
            types: BTreeMap::new(),
            initializers: BTreeMap::new(),
            made: BTreeMap::new(),
            reserved: BTreeSet::new(),
            outputs: BTreeSet::new(),
            declared: BTreeMap::new(),
            halves: BTreeSet::new(),
        }
    }

    /// Goes on where a folded graph ends; results of new operators are named with `prefix`.
    pub fn extend(folded: Folded, prefix: &str) -> Builder {
        let Folded { model, types, halves } = folded;
        let graph = model.graph();
        let inputs: BTreeSet<&str> = graph.input.iter().map(|i| i.name()).collect();
        let initializers = graph
            .initializer
            .iter()
            .enumerate()
            .filter(|(_, t)| !inputs.contains(t.name()))
            .map(|(index, t)| (t.name().to_owned(), index))
            .collect();
        let opset = model.opset();
        let reserved = graph.node.iter().map(|n| n.name().to_owned()).collect();
        let outputs = graph.output.iter().map(|o| o.name().to_owned()).collect();
        Builder {
            model,
            opset,
            prefix: prefix.to_owned(),
            next: 0,
            types,
            initializers,
            made: BTreeMap::new(),
            reserved,
            outputs,
            declared: BTreeMap::new(),
            halves,
        }
    }

    /// The inputs and initializers of a folded graph, but none of its nodes and outputs: for a caller that writes
    /// the nodes again, changed. Names of the graph are not given to new operators.
    pub fn before(folded: &Folded, prefix: &str) -> Builder {
        let mut model = folded.model.clone();
        let graph = model.graph_mut();
        let named = |name: &str| folded.types.get(name).map(|ty| (name.to_owned(), ty.clone()));
        let inputs = graph.input.iter().filter_map(|i| named(i.name()));
        let types =
            inputs.chain(graph.initializer.iter().filter_map(|t| named(t.name()))).collect();
        let nodes = std::mem::take(&mut graph.node);
        graph.output.clear();
        graph.value_info.clear();
        let mut builder =
            Builder::extend(Folded { model, types, halves: folded.halves.clone() }, prefix);
        let names = nodes.iter().flat_map(|n| n.output.iter().chain(&n.name));
        builder.reserved.extend(names.cloned());
        for node in &nodes {
            for name in &node.output {
                builder.declare(node, name, folded.types.get(name));
            }
        }
        builder
    }

    /// Says of what type `name` is, which a node like this one gives, if nothing can infer that: for a caller that writes the node
    /// under other names than the graph has.
    pub fn declare(&mut self, node: &NodeProto, name: &str, ty: Option<&TensorType>) {
        let is_inferred = is_standard(node.domain()) && !NOT_INFERRED.contains(&node.op_type());
        if let Some(ty) = ty.filter(|_| !is_inferred) {
            self.declared.insert(name.to_owned(), ty.clone());
        }
    }

    /// Declares the outputs that `folded` has; the nodes that make them must be there.
    ///
    /// # Panics
    /// If one is not in this graph.
    pub fn outputs_of(&mut self, folded: &Folded) {
        for output in &folded.model.graph().output {
            self.output(output.name(), &Value::named(output.name()));
        }
    }

    /// The version of the standard operators that nodes are written in.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// The graph as built so far.
    pub fn graph(&self) -> &GraphProto {
        self.model.graph()
    }

    /// Adds a graph input.
    pub fn input(&mut self, name: &str, ty: TensorType) -> Value {
        let name = self.free_name(name);
        self.model.graph_mut().input.push(ty.to_value_info(&name));
        self.define(name, ty)
    }

    /// Declares `value` as the graph output `name`; an `Identity` is added where the names differ.
    ///
    /// # Panics
    /// If `value` is not in this graph, or there is such an output already.
    pub fn output(&mut self, name: &str, value: &Value) {
        let ty = self.ty(value).clone();
        assert!(self.outputs.insert(name.to_owned()), "the graph has an output `{name}` already");
        if value.name() != name {
            assert!(!self.types.contains_key(name), "the name `{name}` of an output is taken");
            let node = NodeProto {
                input: vec![value.name().to_owned()],
                output: vec![name.to_owned()],
                name: Some(format!("{}output.{name}", self.prefix)),
                op_type: Some("Identity".to_owned()),
                ..NodeProto::default()
            };
            self.model.graph_mut().node.push(node);
            self.define(name.to_owned(), ty.clone());
        }
        self.model.graph_mut().output.push(ty.to_value_info(name));
    }

    /// Removes every graph output, so that others can be declared.
    pub fn clear_outputs(&mut self) {
        self.model.graph_mut().output.clear();
        self.outputs.clear();
    }

    /// Adds a named constant.
    pub fn initializer(&mut self, name: &str, tensor: &Tensor) -> Value {
        let name = self.free_name(name);
        self.push_initializer(tensor.to_proto(&name), tensor.ty())
    }

    /// A float32 constant; equal constants are one.
    ///
    /// # Panics
    /// If the product of `dims` is not the number of values.
    pub fn f32s(&mut self, dims: &[usize], values: &[f32]) -> Value {
        self.constant_of(&Tensor::f32(dims, values))
    }

    /// A float32 constant of rank 0.
    pub fn scalar(&mut self, value: f32) -> Value {
        self.constant_of(&Tensor::f32(&[], &[value]))
    }

    /// A one-dimensional int64 constant: shapes, axes, starts.
    pub fn i64s(&mut self, values: &[i64]) -> Value {
        self.constant_of(&Tensor::i64s(values))
    }

    /// An int64 constant of rank 0.
    pub fn i64_scalar(&mut self, value: i64) -> Value {
        self.constant_of(&Tensor::new(&[], Data::I64(vec![value])))
    }

    /// Any constant, unnamed; equal ones of up to 4 KiB are one.
    pub fn constant_of(&mut self, tensor: &Tensor) -> Value {
        let bytes = tensor.to_le_bytes();
        if bytes.len() > 4096 {
            let name = self.fresh("const");
            return self.push_initializer(tensor.to_proto(&name), tensor.ty());
        }
        let key = (tensor.data.element().to_onnx(), tensor.dims.clone(), bytes);
        if let Some(value) = self.made.get(&key) {
            return value.clone();
        }
        let name = self.fresh("const");
        let value = self.push_initializer(tensor.to_proto(&name), tensor.ty());
        self.made.insert(key, value.clone());
        value
    }

    /// Adds an operator with one output.
    ///
    /// # Errors
    /// [`InferError`] if the operator does not take these inputs; the graph is then unchanged.
    /// # Panics
    /// If an input is not in this graph.
    pub fn op(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attrs: &[(&str, Attr)],
    ) -> Result<Value, InferError> {
        let inputs: Vec<_> = inputs.iter().map(|v| Some(*v)).collect();
        let mut outputs = self.op_n(op, &inputs, attrs, 1)?;
        Ok(outputs.swap_remove(0))
    }

    /// Adds an operator with any number of outputs; inputs may be left out.
    ///
    /// # Errors
    /// As [`Builder::op`].
    /// # Panics
    /// If an input is not in this graph.
    pub fn op_n(
        &mut self,
        op: &str,
        inputs: &[Option<&Value>],
        attrs: &[(&str, Attr)],
        outputs: usize,
    ) -> Result<Vec<Value>, InferError> {
        let first = self.fresh(op);
        let mut names = vec![first.clone()];
        for index in 1..outputs {
            names.push(self.free_name(&format!("{first}.{index}")));
        }
        let node = NodeProto {
            input: inputs.iter().map(|v| v.map_or("", |v| v.name()).to_owned()).collect(),
            output: names.clone(),
            name: Some(first),
            op_type: Some(op.to_owned()),
            attribute: attrs.iter().map(|(name, attr)| attr.to_proto(name)).collect(),
            ..NodeProto::default()
        };
        let types = self.infer_node(&node)?;
        self.model.graph_mut().node.push(node);
        Ok(names.into_iter().zip(types).map(|(name, ty)| self.define(name, ty)).collect())
    }

    /// Adds an operator with one output, which gets this name.
    ///
    /// # Errors
    /// As [`Builder::op`].
    /// # Panics
    /// If an input is not in this graph, or the name is taken.
    pub fn op_named(
        &mut self,
        name: &str,
        op: &str,
        inputs: &[&Value],
        attrs: &[(&str, Attr)],
    ) -> Result<Value, InferError> {
        let node = NodeProto {
            input: inputs.iter().map(|v| v.name().to_owned()).collect(),
            output: vec![name.to_owned()],
            name: Some(self.fresh(op)),
            op_type: Some(op.to_owned()),
            attribute: attrs.iter().map(|(name, attr)| attr.to_proto(name)).collect(),
            ..NodeProto::default()
        };
        let mut outputs = self.node(node)?;
        Ok(outputs.swap_remove(0))
    }

    /// Folds axes by `op` (ReduceSum, ReduceMean, ReduceMax…), whose axes are an attribute or an input by the
    /// version of the operators.
    ///
    /// # Errors
    /// As [`Builder::op`].
    /// # Panics
    /// If `x` is not in this graph.
    pub fn reduce(
        &mut self,
        op: &str,
        x: &Value,
        axes: &[i64],
        keep: bool,
    ) -> Result<Value, InferError> {
        let keep = ("keepdims", Attr::Int(i64::from(keep)));
        let input_since = if op == "ReduceSum" { 13 } else { 18 };
        if self.opset >= input_since {
            let axes = self.i64s(axes);
            return self.op(op, &[x, &axes], &[keep]);
        }
        self.op(op, &[x], &[("axes", Attr::Ints(axes.to_vec())), keep])
    }

    /// Appends a node as it is, with its own output names.
    ///
    /// # Errors
    /// [`InferError`] if the operator does not take these inputs; the graph is then unchanged.
    /// # Panics
    /// If an input is not in this graph, or an output name is taken.
    pub fn node(&mut self, node: NodeProto) -> Result<Vec<Value>, InferError> {
        let (types, is_declared) = match self.infer_node(&node) {
            Ok(types) => (types, false),
            Err(why) => (self.declared_types(&node).ok_or(why)?, true),
        };
        let names = node.output.clone();
        for name in names.iter().filter(|n| !n.is_empty()) {
            assert!(!self.types.contains_key(name), "the name `{name}` is taken");
        }
        let graph = self.model.graph_mut();
        graph.node.push(node);
        if is_declared {
            // Who reads the graph again can infer it no more than we can.
            let typed = names.iter().zip(&types);
            graph.value_info.extend(typed.map(|(name, ty)| ty.to_value_info(name)));
        }
        Ok(names.into_iter().zip(types).map(|(name, ty)| self.define(name, ty)).collect())
    }

    /// The type of a value.
    ///
    /// # Panics
    /// If the value is not in this graph.
    pub fn ty(&self, value: &Value) -> &TensorType {
        match self.types.get(value.name()) {
            Some(ty) => ty,
            None => panic!("`{value}` is not in this graph"),
        }
    }

    /// The type of the tensor with this name, if there is one.
    pub fn ty_of(&self, name: &str) -> Option<&TensorType> {
        self.types.get(name)
    }

    /// The values of an initializer; `None` for everything that is computed or fed.
    pub fn constant(&self, value: &Value) -> Option<Tensor> {
        self.constant_named(value.name())
    }

    /// The graph, with the type of every tensor.
    pub fn finish(self) -> Folded {
        Folded { model: self.model, types: self.types, halves: self.halves }
    }

    /// The graph.
    pub fn into_model(self) -> Model {
        self.model
    }

    fn infer_node(&self, node: &NodeProto) -> Result<Vec<TensorType>, InferError> {
        let inputs: Vec<_> = node
            .input
            .iter()
            .map(|name| (!name.is_empty()).then(|| self.ty(&Value::named(name))))
            .collect();
        infer(node, &inputs, &|name| self.constant_named(name), self.opset)
    }

    fn declared_types(&self, node: &NodeProto) -> Option<Vec<TensorType>> {
        let types = node.output.iter().map(|name| self.declared.get(name).cloned());
        types.collect::<Option<Vec<_>>>().filter(|types| !types.is_empty())
    }

    fn constant_named(&self, name: &str) -> Option<Tensor> {
        let index = *self.initializers.get(name)?;
        Tensor::from_proto(self.model.graph().initializer.get(index)?).ok()
    }

    fn push_initializer(&mut self, proto: TensorProto, ty: TensorType) -> Value {
        let name = proto.name().to_owned();
        let initializers = &mut self.model.graph_mut().initializer;
        initializers.push(proto);
        self.initializers.insert(name.clone(), initializers.len() - 1);
        self.define(name, ty)
    }

    fn define(&mut self, name: String, ty: TensorType) -> Value {
        let value = Value::named(&name);
        if !name.is_empty() {
            self.types.insert(name, ty);
        }
        value
    }

    /// A name that no tensor has: the prefix, `what` and a number.
    pub fn fresh(&mut self, what: &str) -> String {
        loop {
            let name = format!("{}{what}_{}", self.prefix, self.next);
            self.next += 1;
            if !self.types.contains_key(&name) && !self.reserved.contains(&name) {
                return name;
            }
        }
    }

    fn free_name(&mut self, name: &str) -> String {
        if self.types.contains_key(name) {
            self.fresh(&format!("{name}."))
        } else {
            name.to_owned()
        }
    }
}
