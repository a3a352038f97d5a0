//! The weights that can carry factors.

use std::collections::{BTreeMap, BTreeSet};

use crate::onnx::infer::layout::permutation;
use crate::onnx::proto::NodeProto;
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
    /// The element that the node computes in: that of the weight, or what a quantised one stands for.
    pub element: Element,
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

/// Every site of a folded graph: MatMul, Gemm and Conv nodes whose weight is a stored tensor of floats or a
/// quantised one behind its DequantizeLinear, plain or behind a Transpose. In the order of the nodes.
pub fn sites(folded: &Folded) -> Vec<WeightSite> {
    let graph = folded.model.graph();
    let stored: BTreeSet<&str> = graph.initializer.iter().map(|t| t.name()).collect();
    let makers = graph.node.iter().map(|n| (n.output_name(0), n)).collect();
    let mut names = BTreeSet::new();
    let mut sites = Vec::new();
    for (node_index, node) in graph.node.iter().enumerate() {
        let Some(operand) = node.input_name(1) else { continue };
        let Some(source) = Source::of(folded, &stored, &makers, operand) else { continue };
        let Some(read) = folded.types.get(operand).filter(|ty| ty.element.is_float()) else {
            continue;
        };
        let Some(kind) = kind(node, read.rank(), source.is_turned) else { continue };
        sites.push(WeightSite {
            name: unique(source.weight, &mut names),
            weight: source.weight.to_owned(),
            node_index,
            output: node.output_name(0).to_owned(),
            operator: node.op_type().to_owned(),
            weight_dims: source.dims,
            element: read.element,
            kind,
        });
    }
    sites
}

/// Where a node's weight comes from.
struct Source<'g> {
    weight: &'g str,
    /// The dimensions before it is turned.
    dims: Vec<usize>,
    is_turned: bool,
}

impl<'g> Source<'g> {
    fn of(
        folded: &'g Folded,
        stored: &BTreeSet<&'g str>,
        makers: &BTreeMap<&'g str, &'g NodeProto>,
        operand: &'g str,
    ) -> Option<Source<'g>> {
        let (mut name, mut is_turned) = (operand, false);
        while let Some(node) = makers.get(name).filter(|n| n.is("Transpose")) {
            if !permutation(node, 2).is_ok_and(|p| p == [1, 0]) {
                return None;
            }
            (name, is_turned) = (node.input_name(0)?, !is_turned);
        }
        let dims = folded.types.get(name).filter(|ty| ty.values() > 0)?.dims.clone();
        // A weight of a few bits is dequantised by blocks, which are then its rows again.
        while let Some(node) = makers.get(name).filter(|n| n.is("Reshape") || n.is("Slice")) {
            name = node.input_name(0)?;
        }
        let mut is_quantised = false;
        if let Some(node) = makers.get(name).filter(|n| n.is("DequantizeLinear")) {
            let parameters = [1, 2].into_iter().filter_map(|index| node.input_name(index));
            is_quantised = parameters.into_iter().all(|p| stored.contains(p));
            name = node.input_name(0)?;
        }
        let is_float = folded.types.get(name)?.element.is_float();
        let fits = stored.contains(name) && is_float != is_quantised;
        fits.then_some(Source { weight: name, dims, is_turned })
    }
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
