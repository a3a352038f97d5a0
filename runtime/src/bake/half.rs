//! A model in float16: weights, and arithmetic where its range and its engines bear it.
//!
//! Operators of [`HALF`] compute in float16, all others in float32 between Casts: what sums, divides by sums or raises to a
//! power would lose its range. A node with one constant value beyond float16 (a mask of −3.4·10³⁸, an ε of 10⁻¹²) stays in
//! float32, too, and so does a Gemm that is no product with a stored matrix: tract has none in float16. Inputs and outputs of the graph
//! stay float32 unless asked otherwise. Of a float64 graph float64 is what stays.
//! # Source
//! IEEE 754-2019, binary16: 11 bits of significand, largest value 65,504, smallest normal one 6.1·10⁻⁵.

use std::collections::{BTreeMap, BTreeSet};

use crate::onnx::proto::NodeProto;
use crate::onnx::{Attr, Builder, Element, Folded, InferError, Tensor, Value};

/// The largest finite float16.
pub const HALF_MAX: f64 = 65_504.0;
/// The smallest normal float16.
const HALF_NORMAL_MIN: f64 = 6.103_515_625e-5;

/// Operators that compute in float16, in the order of the alphabet.
const HALF: [&str; 43] = [
    "Abs",
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "Div",
    "Elu",
    "Expand",
    "Flatten",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Slice",
    "Softplus",
    "Softsign",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Sub",
    "Tanh",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// Why a model is not written in float16.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HalfError {
    #[error(
        "`{tensor}` holds {value}: float16 ends at 65,504. Scale it down, or keep the model in float32"
    )]
    Range { tensor: String, value: f64 },
    #[error(transparent)]
    Infer(#[from] InferError),
}

/// A model in float16.
#[derive(Clone, Debug)]
pub struct Half {
    /// The graph: names of inputs and outputs as they were.
    pub folded: Folded,
    /// The tensors of the float32 graph that are float16 now, as far as nodes compute them: what their values are is not known
    /// before a run.
    pub computed: BTreeSet<String>,
}

/// Writes a folded graph of float32 or float64 in float16. `edges`: its inputs and outputs as well.
///
/// # Errors
/// [`HalfError::Range`] names a weight with a value beyond float16.
pub fn half(folded: &Folded, edges: bool) -> Result<Half, HalfError> {
    let mut bare = folded.clone();
    let graph = bare.model.graph_mut();
    let inputs: BTreeSet<String> = graph.input.iter().map(|i| i.name().to_owned()).collect();
    if edges {
        for input in &mut graph.input {
            let Some(ty) = bare.types.get_mut(input.name()) else { continue };
            if is_wide(ty.element) {
                ty.element = Element::F16;
                *input = ty.to_value_info(input.name());
            }
        }
    }
    let mut writer = Writer {
        from: folded,
        builder: Builder::before(&bare, "half/"),
        single: BTreeMap::new(),
        half: BTreeMap::new(),
        computed: BTreeSet::new(),
    };
    for name in inputs {
        if edges && writer.is_float(&name) {
            writer.half.insert(name.clone(), Value::named(&name));
        }
    }
    for node in &folded.model.graph().node {
        writer.node(node)?;
    }
    for output in &folded.model.graph().output {
        let name = output.name();
        let value = match edges && writer.is_float(name) {
            true => writer.in_half(name)?,
            false => writer.in_single(name)?,
        };
        writer.builder.output(name, &value);
    }
    let computed = writer.computed;
    Ok(Half { folded: without_unused(writer.builder.finish()), computed })
}

/// Whether float16 takes the place of an element.
fn is_wide(element: Element) -> bool {
    matches!(element, Element::F32 | Element::F64)
}

struct Writer<'f> {
    from: &'f Folded,
    builder: Builder,
    /// Float32 and float64 tensors that have another name there; the others keep theirs.
    single: BTreeMap<String, Value>,
    /// Tensors that are there in float16.
    half: BTreeMap<String, Value>,
    computed: BTreeSet<String>,
}

impl Writer<'_> {
    fn is_float(&self, name: &str) -> bool {
        self.from.types.get(name).is_some_and(|ty| is_wide(ty.element))
    }

    fn node(&mut self, node: &NodeProto) -> Result<(), HalfError> {
        let halves = self.bears_half(node);
        if halves && node.is("Gemm") {
            return self.product(node);
        }
        let mut written = node.clone();
        for name in written.input.iter_mut().filter(|name| !name.is_empty()) {
            let value = match halves && self.is_float(name) {
                true => self.in_half(name)?,
                false => self.in_single(name)?,
            };
            *name = value.name().to_owned();
        }
        let outputs = self.from.model.graph().output.iter();
        let outputs: BTreeSet<&str> = outputs.map(|output| output.name()).collect();
        for name in written.output.iter_mut().filter(|name| !name.is_empty()) {
            let float = halves && self.is_float(name);
            if !float && !outputs.contains(name.as_str()) {
                continue;
            }
            // Names of outputs are given at the end.
            let here = self.builder.fresh(name);
            self.builder.declare(node, &here, self.from.types.get(name));
            let places = if float { &mut self.half } else { &mut self.single };
            places.insert(name.clone(), Value::named(&here));
            if float {
                self.computed.insert(name.clone());
            }
            *name = here;
        }
        self.builder.node(written)?;
        Ok(())
    }

    /// Whether a Gemm is a product with a stored matrix and at most a sum, its factors those of stored tensors.
    fn is_plain_product(&self, node: &NodeProto) -> bool {
        let is_stored = |input| node.input_name(input).is_some_and(|n| self.stored(n).is_some());
        let adds_plainly = node.float("beta", 1.0) == 1.0 || is_stored(2);
        let sums = node.input_name(2).is_none() || adds_plainly;
        is_stored(1) && sums && node.int("transA", 0) == 0
    }

    /// A Gemm as MatMul and Add, its factors in what is stored: tract computes the first in float32 only.
    fn product(&mut self, node: &NodeProto) -> Result<(), HalfError> {
        let (Some(x), Some(weight)) = (node.input_name(0), node.input_name(1)) else {
            return Ok(());
        };
        let x = self.in_half(x)?;
        let alpha = node.float("alpha", 1.0);
        let mut matrix = self.times(weight, alpha)?;
        if node.int("transB", 0) != 0 {
            matrix = self.turned(&times(weight, alpha), &matrix)?;
        }
        let mut y = self.builder.op("MatMul", &[&x, &matrix], &[])?;
        if let Some(bias) = node.input_name(2) {
            let bias = self.times(bias, node.float("beta", 1.0))?;
            y = self.builder.op("Add", &[&y, &bias], &[])?;
        }
        self.half.insert(node.output_name(0).to_owned(), y);
        self.computed.insert(node.output_name(0).to_owned());
        Ok(())
    }

    /// A stored matrix with its axes exchanged, stored so.
    fn turned(&mut self, name: &str, matrix: &Value) -> Result<Value, HalfError> {
        let turned = format!("{name}.turned");
        if let Some(value) = self.half.get(&turned) {
            return Ok(value.clone());
        }
        let value = match self.builder.constant(matrix) {
            Some(tensor) => {
                let tensor = super::transposed(&tensor);
                self.builder.initializer(&format!("{turned}.float16"), &tensor)
            }
            None => {
                let turn = [("perm", Attr::Ints(vec![1, 0]))];
                self.builder.op("Transpose", &[matrix], &turn)?
            }
        };
        self.half.insert(turned, value.clone());
        Ok(value)
    }

    /// Whether a node computes in float16: an operator that does, of floats, no constant of which is one value
    /// beyond its range.
    fn bears_half(&self, node: &NodeProto) -> bool {
        let standard = matches!(node.domain(), "" | "ai.onnx");
        let names = node.input.iter().chain(&node.output);
        let any_float = names.into_iter().any(|name| self.is_float(name));
        let odd = |name: &String| {
            let ty = self.from.types.get(name);
            if !ty.is_some_and(|ty| is_wide(ty.element) && ty.values() == 1) {
                return false;
            }
            let stored = self.stored(name).map(|tensor| tensor.to_f64s());
            let value = stored.and_then(|values| values.first().map(|value| value.abs()));
            value.is_some_and(|v| {
                v != 0.0 && v.is_finite() && !(HALF_NORMAL_MIN..=HALF_MAX).contains(&v)
            })
        };
        standard
            && any_float
            && node.subgraphs().next().is_none()
            && HALF.contains(&node.op_type())
            && (!node.is("Gemm") || self.is_plain_product(node))
            && !node.input.iter().any(odd)
    }

    fn stored(&self, name: &str) -> Option<Tensor> {
        let stored = self.from.model.graph().initializer.iter().find(|t| t.name() == name)?;
        Tensor::from_proto(stored).ok()
    }

    /// A tensor in float16: a weight is stored so, anything else cast.
    fn in_half(&mut self, name: &str) -> Result<Value, HalfError> {
        if let Some(value) = self.half.get(name) {
            return Ok(value.clone());
        }
        let value = match self.stored(name) {
            Some(tensor) => self.store(name, &tensor, 1.0)?,
            None => {
                let single = self.in_single(name)?;
                self.computed.insert(name.to_owned());
                self.cast(&single, Element::F16)?
            }
        };
        self.half.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    /// A stored tensor in float16, times a factor; any other has the factor 1.
    fn times(&mut self, name: &str, factor: f32) -> Result<Value, HalfError> {
        let tensor = self.stored(name).filter(|_| factor != 1.0);
        let (called, Some(tensor)) = (times(name, factor), tensor) else {
            return self.in_half(name);
        };
        if let Some(value) = self.half.get(&called) {
            return Ok(value.clone());
        }
        let value = self.store(&called, &tensor, factor.into())?;
        self.half.insert(called, value.clone());
        Ok(value)
    }

    fn store(&mut self, name: &str, tensor: &Tensor, factor: f64) -> Result<Value, HalfError> {
        let values: Vec<f64> = tensor.to_f64s().into_iter().map(|value| value * factor).collect();
        let beyond = |value: &&f64| value.is_finite() && value.abs() > HALF_MAX;
        if let Some(value) = values.iter().find(beyond) {
            return Err(HalfError::Range { tensor: name.to_owned(), value: *value });
        }
        let tensor = Tensor::from_f64s(Element::F16, &tensor.dims, &values);
        Ok(self.builder.initializer(&format!("{name}.float16"), &tensor))
    }

    /// A tensor as the graph has it that this is made from.
    fn in_single(&mut self, name: &str) -> Result<Value, HalfError> {
        if let Some(value) = self.single.get(name) {
            return Ok(value.clone());
        }
        let value = match self.half.get(name).cloned() {
            // A weight that is in float16 elsewhere is here as it was.
            Some(half) if self.stored(name).is_none() => {
                let element = self.from.types.get(name).map_or(Element::F32, |ty| ty.element);
                self.cast(&half, element)?
            }
            Some(_) | None => Value::named(name),
        };
        self.single.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    fn cast(&mut self, value: &Value, to: Element) -> Result<Value, InferError> {
        self.builder.op("Cast", &[value], &[("to", Attr::Int(i64::from(to.to_onnx())))])
    }
}

/// What a stored tensor times a factor is called.
fn times(name: &str, factor: f32) -> String {
    if factor == 1.0 { name.to_owned() } else { format!("{name}*{factor}") }
}

/// The same graph without initializers that nothing reads.
fn without_unused(mut folded: Folded) -> Folded {
    let graph = folded.model.graph_mut();
    let mut read: BTreeSet<&str> = BTreeSet::new();
    for node in &graph.node {
        read.extend(node.input.iter().map(String::as_str));
    }
    let unused: BTreeSet<String> = graph
        .initializer
        .iter()
        .map(|tensor| tensor.name())
        .filter(|name| !read.contains(name))
        .map(str::to_owned)
        .collect();
    graph.initializer.retain(|tensor| !unused.contains(tensor.name()));
    folded.types.retain(|name, _| !unused.contains(name));
    folded
}
