//! The weights themselves as inputs: for pretraining.

use std::collections::{BTreeMap, BTreeSet};

use super::glob::Selection;
use super::left::{Left, LeftWhy, Roles};
use super::sites::weight_inputs;
use super::{GraftError, WEIGHT, check_repeats};
use crate::onnx::proto::NodeProto;
use crate::onnx::store::{set_made, stored};
use crate::onnx::{
    Attr, Builder, Element, Folded, Model, StoreError, Tensor, TensorType, set_tensor,
};

/// A weight that is an input of the graph: in float32, cast behind it where the model computes in another element.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightInput {
    /// The name of the initializer it was.
    pub initializer: String,
    /// The name of the graph input: `weight.<initializer>`.
    pub input: String,
    /// The dimensions, as the file stores them.
    pub dims: Vec<usize>,
    /// The element that the file stores it in.
    pub element: Element,
    /// Whether the file computes it from others: it is then stored in the place of the node that does.
    pub is_made: bool,
    /// The values of the file.
    pub values: Vec<f32>,
}

/// A graph whose weights are inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct AllWeights {
    /// The graph.
    pub folded: Folded,
    /// Its weights, in the order of the initializers.
    pub weights: Vec<WeightInput>,
    /// Initializers that stay as they are although no target takes them out.
    pub left: Vec<Left>,
}

/// How a file has a weight.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Stored,
    /// As what a node makes of stored ones.
    Made,
}

/// Why trained weights cannot be written into a model.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteWeightsError {
    #[error("weight `{weight}` was given {got} values, it has {want}")]
    Length { weight: String, got: usize, want: usize },
    #[error("weight `{weight}` is not finite at index {index}: training diverged")]
    NotFinite { weight: String, index: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes the weights of the selected names inputs `weight.<initializer>`.
///
/// Weights are the initializers of more than one float where an operator learns: weights and biases of products, convolutions,
/// recurrent operators and normalisations, operands of Add, Sub, Mul, Div, Einsum and PRelu, tables of Gather; but for masks and
/// what normalises an input ([`LeftWhy`]).
/// `targets` are globs on their names as in [`super::GraftOptions`].
///
/// # Errors
/// [`GraftError`] if there is no such weight, none is selected, or the graph draws.
pub fn graft_all_weights(folded: &Folded, targets: &[String]) -> Result<AllWeights, GraftError> {
    graft_weights(folded, targets, |_| Some(Kept::Stored))
}

/// As [`graft_all_weights`], of those alone that can be written back ([`AllWeights::write_into`]) into `model`, from which
/// `folded` was made: that it stores as they are, or, of products, that a node of it makes of others.
///
/// # Errors
/// As there.
pub fn graft_stored_weights(
    folded: &Folded,
    model: &Model,
    targets: &[String],
) -> Result<AllWeights, GraftError> {
    let nodes = folded.model.graph().node.iter();
    let of_products: BTreeSet<&str> = nodes
        .flat_map(|node| weight_inputs(node).iter().filter_map(|&input| node.input_name(input)))
        .collect();
    let sole = |node: &NodeProto| node.output.len() == 1;
    let makers: BTreeSet<&str> =
        model.graph().node.iter().filter(|n| sole(n)).map(|n| n.output_name(0)).collect();
    graft_weights(folded, targets, |name| match stored(model, name) {
        Some(tensor) => {
            let ty = Tensor::stored_type(tensor).ok()?;
            // One of fewer bits is read as another.
            let is_read_so = tensor.data_type() == ty.element.to_onnx();
            let is_half = ty.element == Element::Bf16 && folded.halves.contains(name);
            let read = if is_half { TensorType::f32(&ty.dims) } else { ty };
            (is_read_so && folded.types.get(name) == Some(&read)).then_some(Kept::Stored)
        }
        None => (of_products.contains(name) && makers.contains(name)).then_some(Kept::Made),
    })
}

fn graft_weights(
    folded: &Folded,
    targets: &[String],
    kept: impl Fn(&str) -> Option<Kept>,
) -> Result<AllWeights, GraftError> {
    check_repeats(folded)?;
    let graph = folded.model.graph();
    let Chosen { chosen, left } = choose(folded, targets, &kept)?;
    let mut weights = Vec::with_capacity(chosen.len());
    let mut rest = folded.clone();
    rest.model.graph_mut().initializer.retain(|t| !chosen.contains(t.name()));
    rest.types.retain(|name, _| !chosen.contains(name.as_str()));
    let mut builder = Builder::before(&rest, WEIGHT);
    let mut reads = BTreeMap::new();
    for stored in graph.initializer.iter().filter(|t| chosen.contains(t.name())) {
        let tensor = Tensor::from_proto(stored)?;
        let input = format!("{WEIGHT}{}", stored.name());
        if folded.types.contains_key(&input) {
            return Err(GraftError::Grafted { input });
        }
        let mut read = builder.input(&input, TensorType::f32(&tensor.dims));
        let element = tensor.data.element();
        if element != Element::F32 {
            let to = Attr::Int(i64::from(element.to_onnx()));
            read = builder.op("Cast", &[&read], &[("to", to)])?;
        }
        reads.insert(stored.name(), read);
        let values = tensor.to_f64s().into_iter().map(|value| value as f32).collect();
        let is_made = kept(stored.name()) == Some(Kept::Made);
        let is_half = folded.halves.contains(stored.name());
        let element = if is_half { Element::Bf16 } else { element };
        let (initializer, dims) = (stored.name().to_owned(), tensor.dims);
        weights.push(WeightInput { initializer, input, dims, element, is_made, values });
    }
    for node in &graph.node {
        let mut node = node.clone();
        for name in &mut node.input {
            if let Some(read) = reads.get(name.as_str()) {
                *name = read.name().to_owned();
            }
        }
        builder.node(node)?;
    }
    builder.outputs_of(folded);
    Ok(AllWeights { folded: builder.finish(), weights, left })
}

/// The initializers that become inputs, and those that do not though no target takes them out.
struct Chosen<'f> {
    chosen: BTreeSet<&'f str>,
    left: Vec<Left>,
}

fn choose<'f>(
    folded: &'f Folded,
    targets: &[String],
    kept: impl Fn(&str) -> Option<Kept>,
) -> Result<Chosen<'f>, GraftError> {
    let graph = folded.model.graph();
    let learnt: BTreeSet<&str> = graph.node.iter().flat_map(learnt_inputs).collect();
    // An initializer that is an output as well has to stay what it is.
    let outputs: BTreeSet<&str> = graph.output.iter().map(|o| o.name()).collect();
    let is_learnt = |name: &str| {
        learnt.contains(name)
            && !outputs.contains(name)
            && folded.types.get(name).is_some_and(|t| t.element.is_float() && t.values() > 1)
            && kept(name).is_some()
    };
    let roles = Roles::of(folded);
    let (mut names, mut others) = (Vec::new(), Vec::new());
    for name in graph.initializer.iter().map(|t| t.name()) {
        let why = if is_learnt(name) { roles.why_left(name) } else { Some(LeftWhy::NotLearnt) };
        match why {
            None => names.push(name),
            Some(why) => others.push((name, why)),
        }
    }
    let selection = Selection::new(targets);
    let computed_with = computed_with(folded);
    let is_left = |(name, _why): &(&str, LeftWhy)| {
        computed_with.contains(name)
            && selection.has(std::iter::once(*name))
            && (learnt.contains(name) || kept(name).is_some())
    };
    let left = others.into_iter().filter(is_left);
    let left: Vec<Left> =
        left.map(|(name, why)| Left { initializer: name.to_owned(), why }).collect();
    if names.is_empty() {
        return Err(GraftError::NoWeights { left });
    }
    if let Some(target) = selection.unmatched(names.iter().copied()) {
        let sites = names.into_iter().map(str::to_owned).collect();
        return Err(GraftError::NoSuchSite { target: target.to_owned(), sites });
    }
    let chosen: BTreeSet<&str> =
        names.into_iter().filter(|n| selection.has(std::iter::once(*n))).collect();
    match chosen.is_empty() {
        true => Err(GraftError::NothingSelected { targets: targets.to_vec() }),
        false => Ok(Chosen { chosen, left }),
    }
}

/// The inputs of a node at which a model learns.
fn learnt_inputs(node: &NodeProto) -> Vec<&str> {
    if !node.is(node.op_type()) {
        return Vec::new();
    }
    let places: &[usize] = match node.op_type() {
        "Conv" | "ConvTranspose" | "Gemm" | "MatMul" | "Add" | "Sub" | "Mul" | "Div" => &[0, 1, 2],
        "LayerNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "BatchNormalization" => &[1, 2],
        "RMSNormalization" | "PRelu" => &[1],
        // Of inputs, of states, biases, and what an LSTM's gates see of its cell.
        "LSTM" | "GRU" | "RNN" => &[1, 2, 3, 7],
        "Einsum" => return node.input.iter().map(String::as_str).collect(),
        // A transposed weight, a table of embeddings.
        "Transpose" | "Gather" => &[0],
        _ => &[],
    };
    places.iter().filter_map(|&index| node.input_name(index)).collect()
}

/// The tensors that the nodes of a graph compute with: floats of more than one value that are no settings of theirs, and integers
/// that stand for floats.
fn computed_with(folded: &Folded) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for node in &folded.model.graph().node {
        let settings: &[usize] = match node.op_type() {
            "BatchNormalization" => &[3, 4],
            "QuantizeLinear" | "DequantizeLinear" => &[1, 2],
            "Resize" => &[1, 2, 3],
            _ => &[],
        };
        for (at, name) in node.input.iter().enumerate().filter(|(at, _)| !settings.contains(at)) {
            let ty = folded.types.get(name).filter(|ty| ty.values() > 1);
            if ty
                .is_some_and(|ty| ty.element.is_float() || (node.is("DequantizeLinear") && at == 0))
            {
                names.insert(name.as_str());
            }
        }
    }
    names
}

impl AllWeights {
    /// Writes trained values into the model the graph was folded from.
    ///
    /// `values` holds one run of values per weight, in the order of `self.weights`.
    ///
    /// # Errors
    /// [`WriteWeightsError`] if a run has another length than its weight or is not finite, or the model does not
    /// store that weight.
    pub fn write_into(&self, model: &Model, values: &[&[f32]]) -> Result<Model, WriteWeightsError> {
        assert_eq!(values.len(), self.weights.len(), "one run of values per weight");
        let mut trained = model.clone();
        for (weight, values) in self.weights.iter().zip(values) {
            let name = || weight.initializer.clone();
            let want = weight.values.len();
            if values.len() != want {
                let got = values.len();
                return Err(WriteWeightsError::Length { weight: name(), got, want });
            }
            if weight.element == Element::F64 && *values == weight.values {
                // It was not trained, and float32 does not hold all of it.
                continue;
            }
            let values: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
            let tensor = Tensor::from_f64s(weight.element, &weight.dims, &values);
            if let Some(index) = tensor.first_not_finite() {
                return Err(WriteWeightsError::NotFinite { weight: name(), index });
            }
            match weight.is_made {
                true => set_made(&mut trained, &weight.initializer, &tensor)?,
                false => set_tensor(&mut trained, &weight.initializer, &tensor)?,
            }
        }
        Ok(trained)
    }
}
