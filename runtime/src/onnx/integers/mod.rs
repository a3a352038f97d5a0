//! Operators on integers as the operators on floats that they stand for: DequantizeLinear, the operator, QuantizeLinear.
//!
//! ONNX Runtime's quantiser writes them (its format QOperator, and dynamic quantisation), and so does its optimiser. Between
//! integers there is no real value that a gradient could be passed to, and no weight that factors could stand beside; in this form
//! there is. What is computed stays the same but for the rounding of the sums, which were whole numbers.
//!
//! | file | operators |
//! |---|---|
//! | `products` | QLinearConv, QLinearMatMul, QGemm |
//! | `steps` | QLinearAdd, Mul, Concat, Where, LeakyRelu, Sigmoid, Softmax, AveragePool, GlobalAveragePool; pools and Resize between them |
//! | `dynamic` | MatMulInteger and ConvInteger behind DynamicQuantizeLinear, DynamicQuantizeMatMul, MatMulIntegerToFloat |
//! | `recurrent` | DynamicQuantizeLSTM |
//! # Source
//! ONNX `Operators.md`; ONNX Runtime `ContribOperators.md` and `onnxruntime.quantization`.

mod dynamic;
mod products;
mod recurrent;
mod steps;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::builder::Attr;
use super::fold::FoldWhy;
use super::model::{Model, is_standard};
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use super::store::stored_in;
use super::tensor::{Data, Element, Tensor};

/// The domain of ONNX Runtime's own operators.
pub(crate) const FOREIGN: &str = "com.microsoft";
/// What the product of a quantised or fused node is called: as what the node gives, with this behind.
pub(crate) const PRODUCT: &str = ".product";
/// From here on there are QuantizeLinear and DequantizeLinear.
const OPSET_QUANTISED: i64 = 10;
/// From here on there is DynamicQuantizeLinear.
const OPSET_DYNAMIC: i64 = 11;
/// From here on QuantizeLinear and DequantizeLinear take 16 bits.
const OPSET_WIDE: i64 = 21;

/// A model some of whose nodes are written as others.
pub(crate) struct Written {
    /// The model.
    pub(crate) model: Model,
    /// What was written for their sake alone, and is needed as long as something reads it: names of tensors.
    pub(crate) loose: BTreeSet<String>,
    /// The operator set that the new nodes need.
    pub(crate) opset_min: i64,
    /// Why nodes of the outermost graph stay as they are, by the first thing that each gives.
    refused: BTreeMap<String, FoldWhy>,
}

/// The same model with every such operator written in floats, as it is where there is none; and why nodes of the outermost graph
/// whose form is not known stay as they are ([`FoldWhy::Upgrade`]), by the first thing that each gives.
///
/// # Errors
/// [`FoldWhy::Upgrade`] names the node inside another one whose form is not known.
pub(crate) fn in_floats(
    model: &Model,
) -> Result<(Cow<'_, Model>, BTreeMap<String, FoldWhy>), FoldWhy> {
    Ok(match write(model, Which::All)? {
        Some(Written { model, refused, .. }) => (Cow::Owned(model), refused),
        None => (Cow::Borrowed(model), BTreeMap::new()),
    })
}

/// As [`in_floats`], of the products alone that make one of these tensors: all others stay as they are. Where one is made in a
/// body of a loop, all of the bodies are written, since folding gives each round a name of its own.
///
/// # Errors
/// As [`in_floats`].
pub(crate) fn products_in_floats(
    model: &Model,
    making: &BTreeSet<&str>,
) -> Result<Option<Written>, FoldWhy> {
    let outermost = model.graph().node.iter().flat_map(|node| &node.output);
    let outermost: BTreeSet<&str> = outermost.map(String::as_str).collect();
    let is_outermost = |name: &&str| {
        outermost.contains(name)
            || name.strip_suffix(PRODUCT).is_some_and(|name| outermost.contains(name))
    };
    let bodies = !making.iter().all(is_outermost);
    write(model, Which::Making { products: making, bodies })
}

/// Which nodes are written.
#[derive(Clone, Copy)]
enum Which<'w> {
    All,
    /// Products that make one of these tensors, and perhaps all in bodies of loops.
    Making {
        products: &'w BTreeSet<&'w str>,
        bodies: bool,
    },
}

fn write(model: &Model, which: Which<'_>) -> Result<Option<Written>, FoldWhy> {
    let mut graphs: Vec<&GraphProto> = vec![model.graph()];
    let (mut names, mut concerned) = (BTreeSet::new(), false);
    while let Some(graph) = graphs.pop() {
        names.extend(graph.input.iter().map(|input| input.name()));
        names.extend(graph.initializer.iter().map(TensorProto::name));
        for node in &graph.node {
            names.extend(node.output.iter().map(String::as_str));
            graphs.extend(node.subgraphs());
            concerned |= is_concerned(node);
        }
    }
    if !concerned {
        return Ok(None);
    }
    let shared = Shared { names, opset: model.opset() };
    let mut also = Also::default();
    let graph = graph(model.graph(), &[], &shared, which, &mut also)?;
    let mut model = model.clone();
    *model.graph_mut() = graph;
    let Also { loose, opset_min, refused } = also;
    Ok(Some(Written { model, loose, opset_min, refused }))
}

/// Whether a node is, or may be, one that is written as others.
fn is_concerned(node: &NodeProto) -> bool {
    let standard = ["QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger"];
    let foreign = ["QGemm", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat"];
    let either = ["QuantizeLinear", "DequantizeLinear"];
    let op = node.op_type();
    standard.iter().any(|standard| node.is(standard))
        || (node.domain() == FOREIGN
            && (op.starts_with("QLinear") || foreign.contains(&op) || either.contains(&op)))
}

/// What all graphs of a model have in common.
struct Shared<'m> {
    /// Every name of the source.
    names: BTreeSet<&'m str>,
    opset: i64,
}

/// What is known of graphs once they are written.
#[derive(Default)]
struct Also {
    loose: BTreeSet<String>,
    opset_min: i64,
    refused: BTreeMap<String, FoldWhy>,
}

/// One graph, and those inside it.
fn graph(
    source: &GraphProto,
    around: &[&GraphProto],
    shared: &Shared<'_>,
    which: Which<'_>,
    also: &mut Also,
) -> Result<GraphProto, FoldWhy> {
    let scopes: Vec<&GraphProto> = around.iter().copied().chain([source]).collect();
    let mut writer = Writer::new(&scopes, shared, which);
    for node in &source.node {
        let mut node = node.clone();
        for attribute in &mut node.attribute {
            let one = attribute.g.iter_mut().map(|inner| &mut **inner);
            let inner = one.chain(&mut attribute.graphs);
            for inner in inner.filter(|_| !matches!(which, Which::Making { bodies: false, .. })) {
                *inner = graph(inner, &scopes, shared, Which::All, also)?;
            }
        }
        writer.node(node)?;
    }
    let mut written = GraphProto { node: writer.nodes, ..source.clone() };
    written.initializer.extend(writer.stored);
    also.opset_min = also.opset_min.max(writer.opset_min);
    sweep(&mut written, &writer.loose);
    let read = reads(&written);
    let given: BTreeSet<&str> = written.input.iter().map(|input| input.name()).collect();
    let is_left = |name: &str| writer.left.contains(name) && !read.contains_key(name);
    written.initializer.retain(|t| !is_left(t.name()) || given.contains(t.name()));
    also.loose.extend(writer.loose);
    also.refused.extend(writer.refused);
    Ok(written)
}

/// Takes out the nodes that give nothing but these tensors, where nothing reads them any more, and the initializers that they
/// alone read.
pub(crate) fn sweep(graph: &mut GraphProto, loose: &BTreeSet<String>) {
    let mut read = reads(graph);
    let mut dropped: BTreeSet<String> = BTreeSet::new();
    // The last readers first; a file's nodes stand in the order in which they run.
    for index in (0..graph.node.len()).rev() {
        let node = &graph.node[index];
        let unread = |name: &String| {
            name.is_empty() || (loose.contains(name) && !read.contains_key(name.as_str()))
        };
        if !node.output.iter().all(unread) || node.subgraphs().next().is_some() {
            continue;
        }
        let node = graph.node.remove(index);
        for name in node.input {
            if let Some(count) = read.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    read.remove(&name);
                    dropped.insert(name);
                }
            }
        }
    }
    let given: BTreeSet<&str> = graph.input.iter().map(|input| input.name()).collect();
    graph.initializer.retain(|t| !dropped.contains(t.name()) || given.contains(t.name()));
}

/// How often a tensor is read, in the graphs inside too.
fn reads(graph: &GraphProto) -> BTreeMap<String, usize> {
    let mut read: BTreeMap<String, usize> = BTreeMap::new();
    let mut graphs = vec![graph];
    while let Some(graph) = graphs.pop() {
        let names = graph.node.iter().flat_map(|node| node.input.iter().map(String::as_str));
        for name in names.chain(graph.output.iter().map(|output| output.name())) {
            *read.entry(name.to_owned()).or_default() += 1;
        }
        graphs.extend(graph.node.iter().flat_map(NodeProto::subgraphs));
    }
    read
}

/// A quantised tensor: its integers, its scale and its zero point, which may have no name.
type Quantised = [String; 3];

/// Along what a tensor has scales.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Along {
    /// One scale for all of it.
    Whole,
    /// Perhaps one for each index of this axis.
    Axis(i64),
    /// Perhaps one for each index of the last axis.
    Last,
}

/// Writes one graph.
struct Writer<'g> {
    scopes: &'g [&'g GraphProto],
    shared: &'g Shared<'g>,
    which: Which<'g>,
    /// Which node of the source makes a tensor.
    makers: BTreeMap<&'g str, &'g NodeProto>,
    /// How often a tensor is read.
    read: BTreeMap<String, usize>,
    nodes: Vec<NodeProto>,
    stored: Vec<TensorProto>,
    /// New names.
    given: BTreeSet<String>,
    /// The floats that integers stand for.
    reals: BTreeMap<Quantised, String>,
    /// What floats were quantised to as they came.
    quantised: BTreeMap<String, Quantised>,
    /// The one scale and zero point of tensors of integers.
    parameters: BTreeMap<String, (String, String)>,
    loose: BTreeSet<String>,
    /// Stored tensors that a node which is no more has read.
    left: BTreeSet<String>,
    opset_min: i64,
    refused: BTreeMap<String, FoldWhy>,
}

impl<'g> Writer<'g> {
    fn new(scopes: &'g [&'g GraphProto], shared: &'g Shared<'g>, which: Which<'g>) -> Self {
        let mut writer = Writer {
            scopes,
            shared,
            which,
            makers: BTreeMap::new(),
            read: BTreeMap::new(),
            nodes: Vec::new(),
            stored: Vec::new(),
            given: BTreeSet::new(),
            reals: BTreeMap::new(),
            quantised: BTreeMap::new(),
            parameters: BTreeMap::new(),
            loose: BTreeSet::new(),
            left: BTreeSet::new(),
            opset_min: 0,
            refused: BTreeMap::new(),
        };
        if let Some(graph) = scopes.last() {
            let made = graph.node.iter();
            let made = made.flat_map(|node| node.output.iter().map(move |o| (o.as_str(), node)));
            writer.makers = made.collect();
            writer.read = reads(graph);
        }
        writer
    }

    /// Takes one node of the source.
    fn node(&mut self, node: NodeProto) -> Result<(), FoldWhy> {
        match self.written(&node) {
            Ok(true) => return Ok(()),
            Ok(false) => self.note(&node),
            Err(reason) => {
                let operator = match node.domain() {
                    "" => node.op_type().to_owned(),
                    domain => format!("{domain}.{}", node.op_type()),
                };
                let why = FoldWhy::Upgrade { operator, node: node.label().to_owned(), reason };
                let is_outermost = self.scopes.len() == 1 && matches!(self.which, Which::All);
                if !is_outermost {
                    return Err(why);
                }
                // Folding says it, beside what else stands in the way.
                self.refused.insert(node.first_output().to_owned(), why);
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Writes a node as others, if it has such a form.
    fn written(&mut self, node: &NodeProto) -> Result<bool, &'static str> {
        let op = node.op_type();
        if node.is("Mul") {
            return dynamic::scaled(self, node);
        }
        let foreign = node.domain() == FOREIGN;
        if !foreign && !is_standard(node.domain()) {
            return Ok(false);
        }
        match op {
            "QLinearConv" => products::convolution(self, node),
            "QLinearMatMul" => products::matrices(self, node),
            "QGemm" if foreign => products::gemm(self, node),
            "DynamicQuantizeMatMul" if foreign => dynamic::quantised_here(self, node),
            "MatMulIntegerToFloat" if foreign => dynamic::to_float(self, node),
            "DynamicQuantizeLSTM" if foreign => recurrent::lstm(self, node),
            _ if matches!(self.which, Which::Making { .. }) => Ok(false),
            "QuantizeLinear" | "DequantizeLinear" if foreign => Ok(self.standard(node)),
            _ if foreign => steps::step(self, node),
            _ => steps::between(self, node),
        }
    }

    /// ONNX Runtime's own QuantizeLinear and DequantizeLinear, of the bits that the standard ones take.
    fn standard(&mut self, node: &NodeProto) -> bool {
        let zero = node.input_name(2).and_then(|name| self.stored(name));
        let element = zero.map_or(Element::U8, |zero| zero.data.element());
        let fits = matches!(element, Element::I8 | Element::U8 | Element::I32);
        let fits = fits || self.shared.opset >= OPSET_WIDE;
        if fits {
            let node = NodeProto { domain: None, ..node.clone() };
            self.note(&node);
            self.nodes.push(node);
        }
        fits
    }

    /// Remembers by which scale a node that stays gives integers.
    fn note(&mut self, node: &NodeProto) {
        const MOVING: [&str; 10] = [
            "Identity",
            "Reshape",
            "Transpose",
            "Flatten",
            "Squeeze",
            "Unsqueeze",
            "Slice",
            "Gather",
            "Split",
            "Expand",
        ];
        let parameters = if node.is("DynamicQuantizeLinear") {
            Some((node.output_name(1).to_owned(), node.output_name(2).to_owned()))
        } else if node.is("QuantizeLinear") {
            let [scale, zero] = [1, 2].map(|at| node.input_name(at).unwrap_or("").to_owned());
            (self.count(&scale) == Some(1)).then_some((scale, zero))
        } else if MOVING.iter().any(|op| node.is(op)) {
            node.input_name(0).and_then(|name| self.parameters.get(name)).cloned()
        } else {
            None
        };
        for output in node.output.iter().filter(|_| parameters.is_some()) {
            self.parameters.extend(parameters.clone().map(|p| (output.clone(), p)));
        }
        if node.is("DynamicQuantizeLinear") {
            // The scale is no such tensor, nor is the zero point.
            node.output.iter().skip(1).for_each(|name| drop(self.parameters.remove(name)));
            let made = [0, 1, 2].map(|at| node.output_name(at).to_owned());
            self.quantised.insert(node.input_name(0).unwrap_or("").to_owned(), made);
        }
    }

    /// Whether the product with this name is to be written.
    fn wants(&self, product: &str) -> bool {
        match self.which {
            Which::All => true,
            Which::Making { products, .. } => products.contains(product),
        }
    }

    /// A tensor as the file stores it, in this graph or one around it.
    fn proto(&self, name: &str) -> Option<&TensorProto> {
        let own = self.stored.iter().find(|tensor| tensor.name() == name);
        let mut scopes = self.scopes.iter().rev();
        own.or_else(|| scopes.find_map(|graph| stored_in(graph, name)))
    }

    /// The values of such a tensor.
    fn stored(&self, name: &str) -> Option<Tensor> {
        Tensor::from_proto(self.proto(name)?).ok()
    }

    /// How many values a stored tensor has.
    fn count(&self, name: &str) -> Option<usize> {
        self.stored(name).map(|tensor| tensor.data.len())
    }

    /// A name that nothing has, nor will have: what the node gives, and `what` behind it.
    fn name(&mut self, output: &str, what: &str) -> String {
        let mut name = format!("{output}{what}");
        while self.shared.names.contains(name.as_str()) || self.given.contains(&name) {
            name.push('_');
        }
        self.given.insert(name.clone());
        name
    }

    /// Appends an operator of one output.
    fn op(&mut self, op: &str, input: Vec<String>, output: &str, attribute: Vec<AttributeProto>) {
        self.loose.insert(output.to_owned());
        self.nodes.push(NodeProto::operator(op, input, output, attribute));
    }

    /// Stores a constant.
    fn constant(&mut self, like: &str, what: &str, value: &Tensor) -> String {
        let name = self.name(like, what);
        self.stored.push(value.to_proto(&name));
        name
    }

    /// The inputs of a node that are a quantised tensor: where its integers, its scale and its zero point stand.
    fn operand(node: &NodeProto, at: [usize; 3]) -> Result<Quantised, &'static str> {
        let [integers, scale, zero] = at.map(|at| node.input_name(at).unwrap_or("").to_owned());
        match integers.is_empty() || scale.is_empty() {
            true => Err("an operand or its scale is left out"),
            false => Ok([integers, scale, zero]),
        }
    }

    /// The floats that integers stand for.
    fn real(&mut self, quantised: &Quantised, along: Along) -> Result<String, &'static str> {
        if let Some(real) = self.reals.get(quantised) {
            return Ok(real.clone());
        }
        self.opset_min = self.opset_min.max(OPSET_QUANTISED);
        let [integers, ..] = quantised;
        let ([scale, zero], axis) = self.scales(quantised, along)?;
        let real = self.name(integers, ".real");
        let mut input = vec![integers.clone(), scale, zero];
        input.truncate(if input.last().is_some_and(String::is_empty) { 2 } else { 3 });
        let axis = axis.map(|axis| Attr::Int(axis).to_proto("axis"));
        self.op("DequantizeLinear", input, &real, axis.into_iter().collect());
        self.reals.insert(quantised.clone(), real.clone());
        Ok(real)
    }

    /// Scale and zero point of equal length, and the axis of several.
    fn scales(
        &mut self,
        [integers, scale, zero]: &Quantised,
        along: Along,
    ) -> Result<([String; 2], Option<i64>), &'static str> {
        let scales = self.stored(scale);
        let zeros = Some(zero).filter(|zero| !zero.is_empty()).and_then(|zero| self.stored(zero));
        let length = |tensor: &Option<Tensor>| tensor.as_ref().map_or(1, |t| t.data.len());
        let count = length(&scales).max(length(&zeros));
        if count <= 1 {
            return Ok(([scale.clone(), zero.clone()], None));
        }
        let of_rank = |tensor: &Option<Tensor>| tensor.as_ref().map_or(0, |t| t.dims.len());
        let axis = match along {
            Along::Whole => {
                return Err("its scale is one for each row or channel, not one for all");
            }
            _ if of_rank(&scales).max(of_rank(&zeros)) > 1 => {
                return Err("its scales are a matrix, not one for each column");
            }
            Along::Axis(axis) => axis,
            Along::Last => {
                let rank = self.proto(integers).map(|tensor| tensor.dims.len() as i64);
                rank.map_or(-1, |rank| rank - 1)
            }
        };
        let mut names = [scale.clone(), zero.clone()];
        for (name, tensor) in names.iter_mut().zip([&scales, &zeros]) {
            let Some(tensor) = tensor.as_ref().filter(|tensor| tensor.data.len() == 1) else {
                continue;
            };
            // One for all, beside several of the other.
            let value = vec![tensor.to_f64s().first().copied().unwrap_or(0.0); count];
            let value = Tensor::from_f64s(tensor.data.element(), &[count], &value);
            let like = name.clone();
            *name = self.constant(&like, ".each", &value);
        }
        Ok((names, Some(axis)))
    }

    /// Quantises floats to what the node gives, by the scale and zero point at these places of its inputs; `like` is a zero
    /// point of the same integers.
    fn quantise(
        &mut self,
        node: &NodeProto,
        real: &str,
        [scale, zero]: [usize; 2],
        like: &str,
    ) -> Result<(), &'static str> {
        self.opset_min = self.opset_min.max(OPSET_QUANTISED);
        let scale = node.input_name(scale).ok_or("the scale of what it gives is left out")?;
        if self.count(scale).is_some_and(|count| count != 1) {
            return Err("what it gives has a scale for each row or channel, not one for all");
        }
        let output = node.output_name(0).to_owned();
        let signed = || self.stored(like).is_some_and(|zero| zero.data.element() == Element::I8);
        let zero = match node.input_name(zero) {
            Some(zero) => zero.to_owned(),
            // Without one, uint8 would be meant.
            None if signed() => {
                self.constant(&output, ".zero", &Tensor::new(&[], Data::I8(vec![0])))
            }
            None => String::new(),
        };
        self.parameters.insert(output.clone(), (scale.to_owned(), zero.clone()));
        let mut input = vec![real.to_owned(), scale.to_owned(), zero];
        input.truncate(if input.last().is_some_and(String::is_empty) { 2 } else { 3 });
        self.nodes.push(NodeProto::operator("QuantizeLinear", input, &output, Vec::new()));
        Ok(())
    }
}

/// The attributes of a node but these.
fn attributes(node: &NodeProto, without: &[&str]) -> Vec<AttributeProto> {
    node.attribute.iter().filter(|a| !without.contains(&a.name())).cloned().collect()
}

/// Its attributes, if they are not those that ONNX Runtime writes for one processor alone.
fn channels_first(node: &NodeProto) -> Result<Vec<AttributeProto>, &'static str> {
    match node.int("channels_last", 0) {
        0 => Ok(attributes(node, &["channels_last"])),
        _ => Err(
            "its channels come last, which ONNX Runtime writes for one processor: save the optimised model at level EXTENDED or below",
        ),
    }
}
