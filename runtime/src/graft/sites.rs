//! The weights that can carry factors.

use std::collections::{BTreeMap, BTreeSet};

use crate::onnx::infer::layout::permutation;
use crate::onnx::proto::{NodeProto, TensorProto};
use crate::onnx::{Element, Folded};

/// How a site's node uses its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteKind {
    /// A matrix product. `out_first` if the file stores the weight `[out, in]`.
    Linear {
        /// The order in which the file stores the weight's dimensions.
        out_first: bool,
    },
    /// A convolution.
    Conv {
        /// Groups of channels.
        group: usize,
    },
}

/// A node whose weight can carry factors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightSite {
    /// The name of the weight, made unique where several nodes use one.
    pub name: String,
    /// The name of the weight.
    pub weight: String,
    /// The place of the node in the folded graph.
    pub node_index: usize,
    /// The name of the node's output.
    pub output: String,
    /// The node's operator.
    pub operator: String,
    /// The dimensions of the weight as the file stores it.
    pub weight_dims: Vec<usize>,
    /// How the weight is used.
    pub kind: SiteKind,
}

impl WeightSite {
    /// The dimensions of the factors A and B of this rank, in PEFT's orientation.
    pub fn factor_dims(&self, rank: usize) -> (Vec<usize>, Vec<usize>) {
        let dims = &self.weight_dims;
        match self.kind {
            SiteKind::Linear { out_first: true } => (vec![rank, dims[1]], vec![dims[0], rank]),
            SiteKind::Linear { out_first: false } => (vec![rank, dims[0]], vec![dims[1], rank]),
            SiteKind::Conv { .. } => {
                let mut a = dims.clone();
                a[0] = rank;
                let mut b = vec![1; dims.len()];
                (b[0], b[1]) = (dims[0], rank);
                (a, b)
            }
        }
    }
}

/// Every site of a folded graph: MatMul, Gemm and Conv nodes whose weight is a constant float32 tensor, plain
/// or behind a Transpose. In the order of the nodes.
pub fn sites(folded: &Folded) -> Vec<WeightSite> {
    let graph = folded.model.graph();
    let stored: BTreeMap<&str, &TensorProto> =
        graph.initializer.iter().map(|t| (t.name(), t)).collect();
    let turned: BTreeMap<&str, &NodeProto> = graph
        .node
        .iter()
        .filter(|n| n.is("Transpose") && n.input_name(0).is_some())
        .filter(|n| permutation(n, 2).is_ok_and(|p| p == [1, 0]))
        .map(|n| (n.output_name(0), n))
        .collect();
    let mut names = BTreeSet::new();
    let mut sites = Vec::new();
    for (node_index, node) in graph.node.iter().enumerate() {
        let Some(operand) = node.input_name(1) else { continue };
        let (weight, is_turned) = match turned.get(operand) {
            Some(transpose) => (transpose.input[0].as_str(), true),
            None => (operand, false),
        };
        let Some(proto) = stored.get(weight) else { continue };
        let Some(ty) = folded.types.get(weight) else { continue };
        if proto.data_type() != Element::F32.to_onnx() || ty.values() == 0 {
            continue;
        }
        let Some(kind) = kind(node, ty.rank(), is_turned) else { continue };
        sites.push(WeightSite {
            name: unique(weight, &mut names),
            weight: weight.to_owned(),
            node_index,
            output: node.output_name(0).to_owned(),
            operator: node.op_type().to_owned(),
            weight_dims: ty.dims.clone(),
            kind,
        });
    }
    sites
}

fn kind(node: &NodeProto, rank: usize, is_turned: bool) -> Option<SiteKind> {
    if node.is("MatMul") && rank == 2 {
        return Some(SiteKind::Linear { out_first: is_turned });
    }
    if node.is("Gemm") && rank == 2 {
        return Some(SiteKind::Linear { out_first: (node.int("transB", 0) != 0) != is_turned });
    }
    if node.is("Conv") && rank > 2 && !is_turned {
        let group = usize::try_from(node.int("group", 1)).ok()?;
        return Some(SiteKind::Conv { group });
    }
    None
}

/// `weight`, or with `.2`, `.3`… behind it for the second and further nodes that use it.
fn unique(weight: &str, names: &mut BTreeSet<String>) -> String {
    let mut name = weight.to_owned();
    let mut number = 2;
    while !names.insert(name.clone()) {
        name = format!("{weight}.{number}");
        number += 1;
    }
    name
}
