//! What is in a model, and what can be tuned.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::gradient::{DifferentiateOptions, Refusal, differentiate};
use crate::graft::{FACTOR, GraftOptions, Profile, WeightSite, graft, random, sites};
use crate::onnx::proto::{NodeProto, ValueInfoProto, dimension, type_proto};
use crate::onnx::{Element, FoldError, Folded, Model, PinError, PinOptions, fold, pin};

/// What a model is made of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The version of the file format.
    pub ir_version: i64,
    /// The version of the standard operators.
    pub opset: i64,
    /// Who wrote it.
    pub producer: String,
    /// A field that is not known here: the model can be run, but not written again.
    pub unknown_field: Option<String>,
    /// The graph inputs that are no weights.
    pub inputs: Vec<Port>,
    /// The graph outputs.
    pub outputs: Vec<Port>,
    /// How many nodes of each operator.
    pub operators: BTreeMap<String, usize>,
    /// How many nodes are left when constants are folded.
    pub nodes_folded: usize,
    /// The number of float values in the weights that are used.
    pub parameters: usize,
    /// Operators whose result differs from run to run: such a model cannot be rerun.
    pub random: Vec<String>,
    /// The weights that can carry factors.
    pub sites: Vec<SiteReport>,
    /// Whether those factors can be trained by the default losses, and what stands in the way.
    pub gradients: Gradients,
}

/// What can be differentiated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gradients {
    /// Where the default losses sit.
    pub losses: Vec<LossReport>,
    /// Every node without a gradient between the factors and a loss.
    pub obstacles: Vec<ObstacleReport>,
    /// Why there is no training graph, where that is no matter of single nodes.
    pub refusal: Option<String>,
}

/// Where a default loss sits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LossReport {
    /// The output of the model.
    pub output: String,
    /// The tensor it is measured on: the output, or the last one before it that has a gradient.
    pub tensor: String,
}

/// A node without a gradient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObstacleReport {
    /// Its name, or its first output.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// Why it has no gradient.
    pub reason: String,
}

/// A graph input or output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// The type of its values, or what ONNX calls it.
    pub element: String,
    /// Its axes: numbers, names, or `?`.
    pub dims: Vec<String>,
}

/// A weight that can carry factors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SiteReport {
    /// The name of the site.
    pub name: String,
    /// What people call it, where the weight has a name that an exporter made up.
    pub module: Option<String>,
    /// The name of the weight.
    pub weight: String,
    /// The operator that uses it.
    pub operator: String,
    /// The places of the nodes that use it in the folded graph: more than one where a module is called again.
    pub nodes: Vec<usize>,
    /// The dimensions of the weight, as the file stores it.
    pub weight_dims: Vec<usize>,
    /// The dimensions of A at the rank asked for.
    pub a_dims: Vec<usize>,
    /// The dimensions of B.
    pub b_dims: Vec<usize>,
    /// The number of values of A and B together.
    pub values: usize,
}

/// Why a model cannot be looked into.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// An axis has no number.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The graph cannot be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
}

/// Reports on a model; sites are given with factors of this rank.
///
/// # Errors
/// [`InspectError`] if the model cannot be pinned or folded: it then cannot be tuned either.
pub fn inspect(model: &Model, options: &PinOptions, rank: usize) -> Result<Report, InspectError> {
    let folded = fold(&pin(model, options)?)?;
    let graph = model.graph();
    let stored: BTreeSet<&str> = graph.initializer.iter().map(|t| t.name()).collect();
    let mut operators = BTreeMap::new();
    for node in &graph.node {
        *operators.entry(operator(node)).or_default() += 1;
    }
    let parameters = folded.model.graph().initializer.iter();
    let parameters = parameters.filter_map(|t| folded.types.get(t.name()));
    Ok(Report {
        ir_version: model.proto.ir_version(),
        opset: model.opset(),
        producer: model.proto.producer_name().to_owned(),
        unknown_field: model.unknown_field().map(str::to_owned),
        inputs: graph.input.iter().filter(|i| !stored.contains(i.name())).map(port).collect(),
        outputs: graph.output.iter().map(port).collect(),
        operators,
        nodes_folded: folded.model.graph().node.len(),
        parameters: parameters.filter(|t| t.element.is_float()).map(|t| t.values()).sum(),
        random: random(&folded).map(|n| n.label().to_owned()).collect(),
        sites: sites(&folded).iter().map(|s| site(s, rank)).collect(),
        gradients: gradients(&folded, rank),
    })
}

/// Whether the factors of all sites can be trained; those that a grafted graph has are taken as they are.
fn gradients(folded: &Folded, rank: usize) -> Gradients {
    let inputs = folded.model.graph().input.iter().map(|i| i.name().to_owned());
    let mut wrt: Vec<String> = inputs.filter(|name| name.starts_with(FACTOR)).collect();
    let mut graph = folded.clone();
    if wrt.is_empty() {
        match graft(folded, &GraftOptions { rank, ..GraftOptions::default() }) {
            Ok(grafted) => {
                wrt = grafted.layout.factors().map(|f| f.input.clone()).collect();
                graph = grafted.folded;
            }
            Err(why) => {
                return Gradients { refusal: Some(why.to_string()), ..Gradients::default() };
            }
        }
    }
    let options =
        DifferentiateOptions { losses: Vec::new(), wrt, strict: false, profile: Profile::Cpu };
    match differentiate(&graph, &options) {
        Ok(done) => {
            let losses = done.losses.into_iter();
            let losses = losses.map(|l| LossReport { output: l.output, tensor: l.tensor });
            Gradients { losses: losses.collect(), ..Gradients::default() }
        }
        Err(Refusal::Unsupported { obstacles }) => {
            let obstacles = obstacles.into_iter().map(|o| ObstacleReport {
                node: o.node,
                operator: o.operator,
                reason: o.reason.to_string(),
            });
            Gradients { obstacles: obstacles.collect(), ..Gradients::default() }
        }
        Err(other) => Gradients { refusal: Some(in_full(&other)), ..Gradients::default() },
    }
}

/// An error with what it comes of.
fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn operator(node: &NodeProto) -> String {
    match node.domain() {
        "" | "ai.onnx" => node.op_type().to_owned(),
        domain => format!("{domain}.{}", node.op_type()),
    }
}

fn site(site: &WeightSite, rank: usize) -> SiteReport {
    let (a_dims, b_dims) = site.factor_dims(rank);
    SiteReport {
        name: site.name.clone(),
        module: site.module.clone(),
        weight: site.weight.clone(),
        operator: site.operator.clone(),
        nodes: site.nodes.iter().map(|node| node.index).collect(),
        weight_dims: site.weight_dims.clone(),
        values: a_dims.iter().product::<usize>() + b_dims.iter().product::<usize>(),
        a_dims,
        b_dims,
    }
}

fn port(value: &ValueInfoProto) -> Port {
    let name = value.name().to_owned();
    let ty = value.r#type.as_ref().and_then(|t| t.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = ty else {
        return Port { name, element: "no tensor".to_owned(), dims: Vec::new() };
    };
    let number = tensor.elem_type();
    let element = Element::from_onnx(number);
    let element = element.map_or_else(|| format!("type {number}"), |e| e.to_string());
    let dims = tensor.shape.iter().flat_map(|s| &s.dim).map(|d| match &d.value {
        Some(dimension::Value::DimValue(length)) => length.to_string(),
        Some(dimension::Value::DimParam(name)) => name.clone(),
        None => "?".to_owned(),
    });
    Port { name, element, dims: dims.collect() }
}
