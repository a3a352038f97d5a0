//! The weights themselves as inputs: for pretraining.

use std::collections::BTreeSet;

use super::glob::Selection;
use super::{GraftError, WEIGHT};
use crate::onnx::proto::NodeProto;
use crate::onnx::store::stored;
use crate::onnx::{Builder, Element, Folded, Model, StoreError, Tensor, TensorType, set_tensor};

/// A weight that is an input of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightInput {
    /// The name of the initializer it was.
    pub initializer: String,
    /// The name of the graph input: `weight.<initializer>`.
    pub input: String,
    /// The dimensions, as the file stores them.
    pub dims: Vec<usize>,
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
/// Weights are the float32 initializers of more than one value where an operator learns: weights and biases of
/// products, convolutions and normalisations, operands of Add, Sub, Mul, Div and PRelu, tables of Gather.
/// `targets` are globs on their names as in [`super::GraftOptions`].
///
/// # Errors
/// [`GraftError`] if there is no such weight or none is selected.
pub fn graft_all_weights(folded: &Folded, targets: &[String]) -> Result<AllWeights, GraftError> {
    graft_weights(folded, targets, |_| true)
}

/// As [`graft_all_weights`], of those alone that `model`, from which `folded` was made, stores as they are: what folding made of
/// others cannot be written back ([`AllWeights::write_into`]).
///
/// # Errors
/// As there.
pub fn graft_stored_weights(
    folded: &Folded,
    model: &Model,
    targets: &[String],
) -> Result<AllWeights, GraftError> {
    graft_weights(folded, targets, |name| {
        let found = stored(model, name).and_then(|tensor| Tensor::stored_type(tensor).ok());
        found.is_some() && found.as_ref() == folded.types.get(name)
    })
}

fn graft_weights(
    folded: &Folded,
    targets: &[String],
    is_stored: impl Fn(&str) -> bool,
) -> Result<AllWeights, GraftError> {
    let graph = folded.model.graph();
    let learnt: BTreeSet<&str> = graph.node.iter().flat_map(learnt_inputs).collect();
    // An initializer that is an output as well has to stay what it is.
    let outputs: BTreeSet<&str> = graph.output.iter().map(|o| o.name()).collect();
    let is_weight = |name: &str| {
        learnt.contains(name)
            && !outputs.contains(name)
            && folded.types.get(name).is_some_and(|t| t.element == Element::F32 && t.values() > 1)
    };
    let names: Vec<&str> = graph
        .initializer
        .iter()
        .map(|t| t.name())
        .filter(|n| is_weight(n) && is_stored(n))
        .collect();
    if names.is_empty() {
        return Err(GraftError::NoSites);
    }
    let selection = Selection::new(targets);
    if let Some(target) = selection.unmatched(names.iter().copied()) {
        let sites = names.into_iter().map(str::to_owned).collect();
        return Err(GraftError::NoSuchSite { target: target.to_owned(), sites });
    }
    let chosen: BTreeSet<&str> =
        names.into_iter().filter(|n| selection.has(std::iter::once(*n))).collect();
    if chosen.is_empty() {
        return Err(GraftError::NothingSelected { targets: targets.to_vec() });
    }
    let mut weights = Vec::with_capacity(chosen.len());
    let mut rest = folded.clone();
    rest.model.graph_mut().initializer.retain(|t| !chosen.contains(t.name()));
    rest.types.retain(|name, _| !chosen.contains(name.as_str()));
    let mut builder = Builder::before(&rest, WEIGHT);
    for stored in graph.initializer.iter().filter(|t| chosen.contains(t.name())) {
        let tensor = Tensor::from_proto(stored)?;
        let input = format!("{WEIGHT}{}", stored.name());
        if folded.types.contains_key(&input) {
            return Err(GraftError::Grafted { input });
        }
        builder.input(&input, TensorType::f32(&tensor.dims));
        let values = tensor.as_f32().unwrap_or(&[]).to_vec();
        let initializer = stored.name().to_owned();
        weights.push(WeightInput { initializer, input, dims: tensor.dims, values });
    }
    for node in &graph.node {
        let mut node = node.clone();
        for name in node.input.iter_mut().filter(|n| chosen.contains(n.as_str())) {
            *name = format!("{WEIGHT}{name}");
        }
        builder.node(node)?;
    }
    builder.outputs_of(folded);
    Ok(AllWeights { folded: builder.finish(), weights })
}

/// The inputs of a node at which a model learns.
fn learnt_inputs(node: &NodeProto) -> Vec<&str> {
    let places: &[usize] = match node.op_type() {
        "Conv" | "ConvTranspose" | "Gemm" | "MatMul" | "Add" | "Sub" | "Mul" | "Div" => &[0, 1, 2],
        "LayerNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "BatchNormalization" => &[1, 2],
        "RMSNormalization" | "PRelu" => &[1],
        // A transposed weight, a table of embeddings.
        "Transpose" | "Gather" => &[0],
        _ => &[],
    };
    places.iter().filter_map(|&index| node.input_name(index)).collect()
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
            let tensor = Tensor::f32(&weight.dims, values);
            if let Some(index) = tensor.first_not_finite() {
                return Err(WriteWeightsError::NotFinite { weight: name(), index });
            }
            set_tensor(&mut trained, &weight.initializer, &tensor)?;
        }
        Ok(trained)
    }
}
