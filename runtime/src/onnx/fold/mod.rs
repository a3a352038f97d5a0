//! A model as every later step wants it: static shapes, constants as initializers, one operator set.
//!
//! Constant nodes and subgraphs of known values become initializers (a transposed weight stays a node: what is
//! trained is the weight as the file stores it); branches and loops whose condition and number of rounds are known
//! are written out; Identity, inference-time Dropout and nodes that nothing uses
//! are dropped; weights that are listed as graph inputs are constants. What ONNX Runtime's own tools quantise to products of
//! integers or fuse is written as the standard operators on floats that it stands for, and what engines do not run (the batch
//! before time, arithmetic in bfloat16) as what they do. What is folded never depends on the length of the batch, so that the
//! place of a node in the graph names it.

mod apart;
mod batch_first;
mod choice;
mod empty;
pub(crate) mod functions;
pub(crate) mod fused;
mod hoist;
mod narrow;
pub(crate) mod nbits;
mod order;
mod resize;
mod scales;
mod several;
mod single;
pub(crate) mod unroll;
mod upgrade;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::eval;
use super::infer::{InferError, InferWhy, infer};
use super::integers;
use super::model::{Folded, Model, is_standard, place};
use super::proto::{GraphProto, NodeProto, TensorProto, ValueInfoProto, dimension, type_proto};
use super::tensor::{Element, Tensor, TensorError, TensorType};
pub use several::Drawing;
use several::Refused;
pub(crate) use several::draws;

/// The oldest operator set that is folded: the first with numpy's broadcasting.
pub const FOLD_OPSET_MIN: i64 = 7;
/// Older operator sets are raised to this one; newer ones stay.
pub const FOLD_OPSET: i64 = 17;
/// The most values that folding makes: this, and four times what the file stores. A file of a few bytes must
/// not ask for gigabytes.
const FOLD_VALUES_MAX: usize = 1 << 24;
/// Operators of the standard whose types are those that the file declares.
pub(crate) const NOT_INFERRED: [&str; 15] = [
    "AffineGrid",
    "BlackmanWindow",
    "CenterCropPad",
    "Compress",
    "DFT",
    "DeformConv",
    "Det",
    "HammingWindow",
    "HannWindow",
    "MaxRoiPool",
    "MaxUnpool",
    "MelWeightMatrix",
    "NonMaxSuppression",
    "RoiAlign",
    "STFT",
];
/// What stands before the number in a name that folding makes.
pub(crate) const FOLDED: &str = ".folded_";

/// Why a graph cannot be folded, and of which file it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{why}", place(file.as_deref()))]
pub struct FoldError {
    /// The file of the model, where it was read from one.
    pub file: Option<PathBuf>,
    /// What is wrong with it.
    pub why: FoldWhy,
}

/// Why a graph cannot be folded.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldWhy {
    #[error(
        "the model uses operator set {got}: {FOLD_OPSET_MIN} or newer is needed (onnx.version_converter raises it)"
    )]
    Opset { got: i64 },
    #[error("the name `{name}` stands for two tensors")]
    TwoTensors { name: String },
    #[error("{operator} node `{node}` reads `{tensor}`, which nothing makes")]
    Undefined { operator: String, node: String, tensor: String },
    #[error("the graph has no output, or output `{output}` is made by nothing")]
    NoOutput { output: String },
    #[error("nodes feed each other in a circle through `{tensor}`")]
    Cycle { tensor: String },
    #[error("input `{input}` is no tensor of a supported type")]
    InputType { input: String },
    #[error("input `{input}` has an axis without a number: pin it first")]
    InputShape { input: String },
    #[error("the model keeps sparse weights (`{tensor}`), which are not supported")]
    Sparse { tensor: String },
    #[error("{operator} node `{node}`: constants would grow to more than {max} values")]
    TooLarge { operator: String, node: String, max: usize },
    #[error("`{tensor}` holds NaN at index {index}")]
    NotANumber { tensor: String, index: usize },
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Infer(#[from] InferError),
    #[error("{operator} node `{node}`: {reason}")]
    Upgrade { operator: String, node: String, reason: &'static str },
    #[error("node `{node}` calls the model's function {function}: {reason}")]
    Function { function: String, node: String, reason: &'static str },
    #[error("{operator} node `{node}` cannot be unrolled: {reason}")]
    Unroll { operator: String, node: String, reason: &'static str },
    /// Each of these nodes is refused whatever becomes of the others; those that draw are no matter of folding, but stand in the
    /// way of what comes after it.
    #[error("{} nodes stand in the way:{}", nodes.len() + drawing.len(), several::lines(nodes, drawing))]
    Several { nodes: Vec<FoldWhy>, drawing: Vec<Drawing> },
}

/// Folds a model whose inputs are pinned.
///
/// # Errors
/// [`FoldError`] names the node and tensor that cannot be handled: all such nodes that do not read from one another.
pub fn fold(model: &Model) -> Result<Folded, FoldError> {
    folded(model).map_err(|why| FoldError { file: model.origin().map(Path::to_owned), why })
}

fn folded(model: &Model) -> Result<Folded, FoldWhy> {
    let opset = model.opset();
    if opset < FOLD_OPSET_MIN {
        return Err(FoldWhy::Opset { got: opset });
    }
    // What no output needs is looked at no further than this.
    order::topological(model.graph())?;
    let model = order::needed(model);
    let model = functions::inlined(&model)?;
    let (model, not_in_floats) = integers::in_floats(&model)?;
    let graph = model.graph();
    let order = order::topological(graph)?;
    let mut folder = Folder::new(graph, opset)?;
    let mut refused = Refused::new(not_in_floats);
    for node in order.into_iter().filter_map(|index| graph.node.get(index)) {
        refused.take(&mut folder, node);
    }
    match refused.why(&mut folder) {
        Some(why) => Err(why),
        None => Ok(single::in_float32(folder.finish(&model)?)?),
    }
}

/// A known tensor: where it is stored in the source graph, or what folding made.
enum Known {
    Stored(usize),
    Made(Tensor),
}

struct Folder<'g> {
    graph: &'g GraphProto,
    /// The operator set of the source.
    from: i64,
    /// The operator set of the result.
    opset: i64,
    types: BTreeMap<String, TensorType>,
    known: BTreeMap<String, Known>,
    /// Which of them are NaN somewhere, and where first.
    nan: BTreeMap<String, usize>,
    /// Names in the order in which they became known: that of the initializers.
    known_order: Vec<String>,
    /// Transposes of stored weights, which stay nodes, by what they give.
    turned: BTreeMap<String, NodeProto>,
    /// What a dropped node's output is called now.
    alias: BTreeMap<String, String>,
    outputs: BTreeSet<&'g str>,
    /// Tensors whose types are those that the file declares.
    believed: BTreeSet<String>,
    nodes: Vec<NodeProto>,
    /// Every name of the source, so that new ones differ.
    names: BTreeSet<&'g str>,
    fresh: usize,
    /// Nodes that came out of loops and branches so far.
    unrolled: usize,
    /// How many values folding may still make.
    budget: usize,
    budget_max: usize,
}

impl<'g> Folder<'g> {
    fn new(graph: &'g GraphProto, from: i64) -> Result<Self, FoldWhy> {
        let mut folder = Folder {
            graph,
            from,
            opset: from.max(FOLD_OPSET),
            types: BTreeMap::new(),
            known: BTreeMap::new(),
            nan: BTreeMap::new(),
            known_order: Vec::new(),
            turned: BTreeMap::new(),
            alias: BTreeMap::new(),
            outputs: graph.output.iter().map(ValueInfoProto::name).collect(),
            believed: BTreeSet::new(),
            nodes: Vec::new(),
            names: order::names(graph),
            fresh: 0,
            unrolled: 0,
            budget: FOLD_VALUES_MAX,
            budget_max: FOLD_VALUES_MAX,
        };
        if let Some(sparse) = graph.sparse_initializer.first() {
            let tensor = sparse.values.as_ref().map_or("", |v| v.name()).to_owned();
            return Err(FoldWhy::Sparse { tensor });
        }
        for (index, stored) in graph.initializer.iter().enumerate() {
            let (ty, nan) = checked(stored)?;
            folder.nan.extend(nan.map(|index| (stored.name().to_owned(), index)));
            folder.budget_max = folder.budget_max.saturating_add(4 * ty.values());
            folder.know(stored.name(), ty, Known::Stored(index));
        }
        // What a Constant holds the file stores, too; the first time of its five it is spent by the node itself.
        for node in graph.node.iter().filter(|node| node.is("Constant")) {
            let stored = node.attr("value").and_then(|value| value.t.as_deref());
            let values = stored.and_then(|stored| Tensor::stored_type(stored).ok());
            let values = values.map_or(0, |ty| ty.values());
            folder.budget_max = folder.budget_max.saturating_add(values.saturating_mul(5));
        }
        folder.budget = folder.budget_max;
        for input in &graph.input {
            if !folder.known.contains_key(input.name()) {
                folder.types.insert(input.name().to_owned(), input_type(input)?);
            }
        }
        Ok(folder)
    }

    fn know(&mut self, name: &str, ty: TensorType, known: Known) {
        // An output that is left out has no name; nothing reads it.
        if name.is_empty() {
            return;
        }
        self.types.insert(name.to_owned(), ty);
        self.known.insert(name.to_owned(), known);
        self.known_order.push(name.to_owned());
    }

    /// Takes values that a node gives from those that folding may make.
    fn spend(&mut self, node: &NodeProto, values: usize) -> Result<(), FoldWhy> {
        let Some(left) = self.budget.checked_sub(values) else {
            return Err(FoldWhy::TooLarge {
                operator: node.op_type().to_owned(),
                node: node.label().to_owned(),
                max: self.budget_max,
            });
        };
        self.budget = left;
        Ok(())
    }

    /// A name that no tensor has, beginning with `base`.
    fn fresh_name(&mut self, base: &str) -> String {
        loop {
            let name = format!("{base}{FOLDED}{}", self.fresh);
            self.fresh += 1;
            if !self.is_taken(&name) {
                return name;
            }
        }
    }

    /// Makes of a tensor's name in the source what it is called in the folded graph.
    fn called_now(&self, name: &mut String) {
        if let Some(target) = self.alias.get(name) {
            name.clone_from(target);
        }
    }

    /// Whether a tensor has this name, or had it in the source.
    fn is_taken(&self, name: &str) -> bool {
        self.names.contains(name) || self.types.contains_key(name) || self.alias.contains_key(name)
    }

    fn constant(&self, name: &str) -> Option<Tensor> {
        match self.known.get(name)? {
            Known::Stored(index) => Tensor::from_proto(self.graph.initializer.get(*index)?).ok(),
            Known::Made(tensor) => Some(tensor.clone()),
        }
    }

    /// Takes one node of the source: raises it to the newer operator set, then folds what comes of it.
    fn node(&mut self, source: &NodeProto) -> Result<(), FoldWhy> {
        refuse_nan_settings(source)?;
        let mut node = source.clone();
        match unroll::is_control(&node) {
            // What it holds is renamed as it is written out.
            true => node.input.iter_mut().for_each(|name| self.called_now(name)),
            false => unroll::node_reads(&mut node, &self.alias),
        }
        narrow::refuse_quantising(self, &node)?;
        if narrow::weight(self, &node)? {
            return Ok(());
        }
        if unroll::is_control(&node) {
            return unroll::node(self, &node);
        }
        if nbits::is_product(&node) {
            return nbits::node(self, &node);
        }
        if let Some(nodes) = fused::node(self, &node)? {
            return nodes.into_iter().try_for_each(|node| self.place(node));
        }
        if self.from < self.opset {
            for node in upgrade::node(self, node)? {
                self.place(node)?;
            }
            return Ok(());
        }
        self.place(node)
    }

    fn place(&mut self, mut node: NodeProto) -> Result<(), FoldWhy> {
        // Inputs left out at the end: some engines count them.
        while is_standard(node.domain()) && node.input.last().is_some_and(String::is_empty) {
            node.input.pop();
        }
        let others = scales::in_float32(self, &node);
        if let Some(nodes) = others.or_else(|| batch_first::turned(self, &node)) {
            return nodes.into_iter().try_for_each(|node| self.place(node));
        }
        let node = empty::parts(self, node);
        let node = apart::pads(self, node);
        let node = resize::scales(self, node);
        let node = choice::settled(self, node);
        if self.is_passing(&node) {
            let (from, to) = (node.output_name(0).to_owned(), node.input[0].clone());
            self.alias.insert(from, to);
            return Ok(());
        }
        let types = {
            let inputs: Vec<Option<&TensorType>> =
                node.input.iter().map(|name| self.types.get(name)).collect();
            match infer(&node, &inputs, &|name| self.constant(name), self.opset) {
                Err(why) => {
                    let types = self.declared(&node, &why).ok_or(why)?;
                    self.believed.extend(node.output.iter().cloned());
                    types
                }
                Ok(types) => types,
            }
        };
        if let Some(values) = self.compute(&node, &types)? {
            for (name, value) in node.output.iter().zip(values) {
                self.nan.extend(first_nan(&value).map(|index| (name.clone(), index)));
                self.know(name, value.ty(), Known::Made(value));
            }
            return Ok(());
        }
        for (name, ty) in node.output.iter().zip(types) {
            if !name.is_empty() {
                self.types.insert(name.clone(), ty);
            }
        }
        if self.is_weight_transpose(&node) && self.known.contains_key(&node.input[0]) {
            self.turned.insert(node.output_name(0).to_owned(), node.clone());
        }
        self.nodes.push(node);
        Ok(())
    }

    /// The types that the file declares for the outputs of an operator that engines may know: of another domain, or of those of the
    /// standard whose types are not inferred.
    fn declared(&self, node: &NodeProto, why: &InferError) -> Option<Vec<TensorType>> {
        let is_known = NOT_INFERRED.contains(&node.op_type()) && why.why == InferWhy::Unsupported;
        if is_standard(node.domain()) && !is_known {
            return None;
        }
        let values = || self.graph.value_info.iter().chain(&self.graph.output);
        let of = |name: &String| input_type(values().find(|v| v.name() == name)?).ok();
        node.output.iter().map(of).collect()
    }

    /// Whether the node gives its input on as it is, under a name that no caller asks for.
    fn is_passing(&self, node: &NodeProto) -> bool {
        let passes = node.is("Identity") || (node.is("Dropout") && !self.is_training(node));
        let mask_used = node.output.len() > 1 && !node.output_name(1).is_empty();
        passes
            && !mask_used
            && !node.output_name(0).is_empty()
            && node.input_name(0).is_some()
            && !self.outputs.contains(node.output_name(0))
    }

    fn is_training(&self, dropout: &NodeProto) -> bool {
        dropout.input_name(2).is_some_and(|name| !self.is_false(name))
    }

    /// Whether a tensor is known to be the one value 0.
    fn is_false(&self, name: &str) -> bool {
        self.constant(name).and_then(|t| t.to_i64s()) == Some(vec![0])
    }

    /// The outputs of a node whose inputs are known (of a Shape or Size: whose input has a type).
    fn compute(
        &mut self,
        node: &NodeProto,
        types: &[TensorType],
    ) -> Result<Option<Vec<Tensor>>, FoldWhy> {
        if node.is("Shape") || node.is("Size") {
            return Ok(self.measure(node));
        }
        // An Identity that is left names an output.
        if !eval::is_known(node) || node.is("Identity") || self.is_weight_transpose(node) {
            return Ok(None);
        }
        let is_known =
            |n: &String| n.is_empty() || self.known.contains_key(n) || self.turned.contains_key(n);
        if !node.input.iter().all(is_known) {
            return Ok(None);
        }
        let values = types.iter().fold(0usize, |n, t| n.saturating_add(t.values()));
        self.spend(node, values)?;
        let inputs: Vec<Option<Tensor>> = node.input.iter().map(|n| self.value(n)).collect();
        Ok(eval::eval(node, &inputs, types))
    }

    /// The value of a constant, or of a weight that is read the other way round.
    fn value(&self, name: &str) -> Option<Tensor> {
        let Some(turned) = self.turned.get(name) else { return self.constant(name) };
        let stored = self.constant(turned.input_name(0)?);
        eval::eval(turned, &[stored], &[self.types.get(name)?.clone()])?.pop()
    }

    /// The shape or size of a tensor whose type is known.
    fn measure(&self, node: &NodeProto) -> Option<Vec<Tensor>> {
        let ty = self.types.get(node.input_name(0)?)?;
        if node.is("Size") {
            return Some(vec![Tensor::new(&[], super::Data::I64(vec![ty.values() as i64]))]);
        }
        let (first, last) = super::infer::layout::shape_range(node, ty.rank());
        let dims: Vec<i64> = ty.dims[first..last].iter().map(|&d| d as i64).collect();
        Some(vec![Tensor::i64s(&dims)])
    }

    /// What is trained is the weight as the file stores it. One that is made of another is a weight of its own, but for a
    /// matrix, which products read either way round.
    fn is_weight_transpose(&self, node: &NodeProto) -> bool {
        let Some(name) = node.input_name(0).filter(|_| node.is("Transpose")) else { return false };
        let is_made = matches!(self.known.get(name), Some(Known::Made(_)));
        let is_weight = |ty: &TensorType| {
            ty.element.is_float() && ty.rank() > 1 && (ty.rank() == 2 || !is_made)
        };
        self.types.get(name).is_some_and(is_weight)
    }

    /// Only what is used must be numbers: JAX writes NaN for what cannot happen, beside a condition that is known.
    fn refuse_nan(&self, used: &BTreeSet<String>) -> Result<(), FoldWhy> {
        match self.nan.iter().find(|(name, _index)| used.contains(*name)) {
            Some((name, &index)) => Err(FoldWhy::NotANumber { tensor: name.clone(), index }),
            None => Ok(()),
        }
    }

    /// Drops what nothing uses and writes the graph.
    fn finish(mut self, model: &Model) -> Result<Folded, FoldWhy> {
        let graph = self.graph;
        let inputs = graph.input.iter().filter(|i| !self.known.contains_key(i.name()));
        let inputs: Vec<&ValueInfoProto> = inputs.collect();
        self.name_known_outputs();
        let used = self.sweep();
        self.refuse_nan(&used)?;
        self.tell_apart();
        let mut types = std::mem::take(&mut self.types);
        let input =
            inputs.into_iter().map(|i| retyped(i, &types)).collect::<Result<Vec<_>, _>>()?;
        let output = graph.output.iter().map(|o| retyped(o, &types));
        let output = output.collect::<Result<Vec<_>, _>>()?;
        let initializer = self.initializers(&used);
        let fed: BTreeSet<&str> = input.iter().map(|i: &ValueInfoProto| i.name()).collect();
        types.retain(|name, _| used.contains(name) || fed.contains(name.as_str()));
        // What nothing can infer is declared again.
        let made = self.nodes.iter().flat_map(|node| &node.output);
        let made = made.filter(|name| self.believed.contains(*name));
        let declared = made.filter_map(|name| Some(types.get(name)?.to_value_info(name))).collect();
        let mut folded = model.clone();
        folded.proto.ir_version = Some(folded.proto.ir_version().max(8));
        folded.proto.functions.clear();
        folded.proto.training_info.clear();
        for set in &mut folded.proto.opset_import {
            if is_standard(set.domain()) {
                set.version = Some(self.opset);
            }
        }
        let graph = folded.graph_mut();
        graph.node = self.nodes;
        graph.initializer = initializer;
        (graph.input, graph.output) = (input, output);
        graph.value_info = declared;
        graph.quantization_annotation.clear();
        Ok(Folded { model: folded, types, halves: BTreeSet::new() })
    }

    /// An output that is known gets an Identity, since not every engine gives an initializer as an output.
    fn name_known_outputs(&mut self) {
        let mut renamed: BTreeMap<String, String> = BTreeMap::new();
        for output in self.outputs.clone() {
            let Some(known) = self.known.remove(output) else { continue };
            let inner = self.fresh_name(output);
            self.types.insert(inner.clone(), self.types[output].clone());
            self.known.insert(inner.clone(), known);
            if let Some(index) = self.nan.remove(output) {
                self.nan.insert(inner.clone(), index);
            }
            renamed.insert(output.to_owned(), inner);
        }
        self.nodes.iter_mut().for_each(|node| unroll::node_reads(node, &renamed));
        for name in &mut self.known_order {
            if let Some(inner) = renamed.get(name) {
                name.clone_from(inner);
            }
        }
        self.nodes.extend(renamed.into_iter().map(|(output, inner)| NodeProto {
            input: vec![inner],
            output: vec![output.clone()],
            name: Some(output),
            op_type: Some("Identity".to_owned()),
            ..NodeProto::default()
        }));
    }

    /// Removes nodes that no output needs; gives the names of all tensors that are left.
    fn sweep(&mut self) -> BTreeSet<String> {
        self.sweep_but(BTreeSet::new())
    }

    /// As [`Folder::sweep`]; what makes these tensors is needed, too.
    fn sweep_but(&mut self, mut used: BTreeSet<String>) -> BTreeSet<String> {
        used.extend(self.outputs.iter().map(|output| (*output).to_owned()));
        let mut kept = Vec::with_capacity(self.nodes.len());
        for node in std::mem::take(&mut self.nodes).into_iter().rev() {
            if node.output.iter().any(|o| used.contains(o)) {
                let made = node.output.iter().map(String::as_str).filter(|n| !n.is_empty());
                used.extend(node.names_read().chain(made).map(str::to_owned));
                kept.push(node);
            }
        }
        kept.reverse();
        self.nodes = kept;
        used
    }

    /// Engines want every name of a node once; not every writer does.
    fn tell_apart(&mut self) {
        let mut names: BTreeSet<String> =
            self.nodes.iter().map(|node| node.name().to_owned()).collect();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for node in self.nodes.iter_mut().filter(|node| !node.name().is_empty()) {
            let number = seen.entry(node.name().to_owned()).or_insert(0);
            *number += 1;
            while *number > 1 {
                let name = format!("{}.{number}", node.name());
                if names.insert(name.clone()) {
                    node.name = Some(name);
                    break;
                }
                *number += 1;
            }
        }
    }

    fn initializers(&self, used: &BTreeSet<String>) -> Vec<TensorProto> {
        let names = self.known_order.iter().filter(|n| used.contains(*n));
        names
            .filter_map(|name| {
                let mut proto = match self.known.get(name)? {
                    Known::Stored(index) => narrow::wide(self.graph.initializer.get(*index)?),
                    Known::Made(tensor) => tensor.to_proto(name),
                };
                proto.name = Some(name.clone());
                Some(proto)
            })
            .collect()
    }
}

/// A stored weight, whose values must be there and fill it: its type, and where it is NaN.
fn checked(stored: &TensorProto) -> Result<(TensorType, Option<usize>), FoldWhy> {
    // One tensor may be most of the model: what can be looked at where it is, is not copied.
    match Tensor::stored_raw(stored)? {
        (ty, Some(raw)) => {
            let nan = first_nan_of(ty.element, raw);
            Ok((ty, nan))
        }
        (ty, None) => Ok((ty, first_nan(&Tensor::from_proto(stored)?))),
    }
}

/// As [`first_nan`], of values as `raw_data` has them.
fn first_nan_of(element: Element, raw: &[u8]) -> Option<usize> {
    match element {
        Element::F32 => raw.as_chunks().0.iter().position(|x| f32::from_le_bytes(*x).is_nan()),
        Element::F64 => raw.as_chunks().0.iter().position(|x| f64::from_le_bytes(*x).is_nan()),
        Element::F16 => {
            raw.as_chunks().0.iter().position(|x| half::f16::from_le_bytes(*x).is_nan())
        }
        Element::Bf16 => {
            raw.as_chunks().0.iter().position(|x| half::bf16::from_le_bytes(*x).is_nan())
        }
        Element::I64
        | Element::I32
        | Element::I16
        | Element::I8
        | Element::U64
        | Element::U32
        | Element::U16
        | Element::U8
        | Element::Bool => None,
    }
}

/// Where a weight is NaN. Infinity is allowed: attention masks are made of it.
fn first_nan(tensor: &Tensor) -> Option<usize> {
    use super::Data;
    match &tensor.data {
        Data::F32(v) => v.iter().position(|x| x.is_nan()),
        Data::F64(v) => v.iter().position(|x| x.is_nan()),
        Data::F16(v) => v.iter().position(|x| x.is_nan()),
        Data::Bf16(v) => v.iter().position(|x| x.is_nan()),
        Data::I64(_)
        | Data::I32(_)
        | Data::I16(_)
        | Data::I8(_)
        | Data::U64(_)
        | Data::U32(_)
        | Data::U16(_)
        | Data::U8(_)
        | Data::Bool(_) => None,
    }
}

/// The attributes of a node are numbers, too: older operators keep bounds and scales in them.
fn refuse_nan_settings(node: &NodeProto) -> Result<(), FoldWhy> {
    for attribute in &node.attribute {
        let values = attribute.f.iter().chain(&attribute.floats);
        if let Some(index) = values.into_iter().position(|v| v.is_nan()) {
            let tensor = format!("{}.{}", node.label(), attribute.name());
            return Err(FoldWhy::NotANumber { tensor, index });
        }
    }
    Ok(())
}

pub(super) fn input_type(input: &ValueInfoProto) -> Result<TensorType, FoldWhy> {
    let name = || input.name().to_owned();
    let ty = input.r#type.as_ref().and_then(|t| t.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = ty else {
        return Err(FoldWhy::InputType { input: name() });
    };
    let element = Element::from_onnx(tensor.elem_type())
        .ok_or_else(|| FoldWhy::InputType { input: name() })?;
    let shape = tensor.shape.as_ref().ok_or_else(|| FoldWhy::InputShape { input: name() })?;
    let dims = shape.dim.iter().map(|d| match &d.value {
        Some(dimension::Value::DimValue(length)) if *length > 0 => Some(*length),
        Some(dimension::Value::DimValue(_) | dimension::Value::DimParam(_)) | None => None,
    });
    let dims = dims.collect::<Option<Vec<i64>>>();
    let dims = dims.ok_or_else(|| FoldWhy::InputShape { input: name() })?;
    let proto = TensorProto {
        dims,
        data_type: Some(element.to_onnx()),
        name: Some(name()),
        ..TensorProto::default()
    };
    Ok(Tensor::stored_type(&proto)?)
}

/// A graph input or output with the type that was inferred.
fn retyped(
    value: &ValueInfoProto,
    types: &BTreeMap<String, TensorType>,
) -> Result<ValueInfoProto, FoldWhy> {
    let name = value.name();
    let ty = types.get(name).ok_or_else(|| FoldWhy::NoOutput { output: name.to_owned() })?;
    Ok(ValueInfoProto { r#type: Some(ty.to_proto()), ..value.clone() })
}

/// An error about one node of the source.
fn infer_error(node: &NodeProto, why: InferWhy) -> FoldWhy {
    let (operator, label) = (node.op_type().to_owned(), node.label().to_owned());
    FoldWhy::Infer(InferError { operator, node: label, why })
}
