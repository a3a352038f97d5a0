//! The weights that can carry factors.

use std::collections::{BTreeMap, BTreeSet};

use super::module;
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
    /// A transposed convolution: ΔW has the channels that go in for its rows.
    ConvTranspose,
    /// The weights of inputs or of states of `LSTM`, `GRU` and `RNN`, `[directions, gates·hidden, in]`: the rows of all directions
    /// and gates have one A.
    Recurrent,
}

/// A node that reads the weight of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteNode {
    /// The place of the node in the folded graph.
    pub index: usize,
    /// Which of its inputs is the weight.
    pub input: usize,
    /// The name of the node's first output.
    pub output: String,
}

/// A weight that can carry factors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightSite {
    /// The name of the weight, made unique where nodes of several kinds use one.
    pub name: String,
    /// What people call it, where the weight has a name that an exporter made up and its nodes say of which module it is:
    /// `h.3.attn.c_attn` of `onnx::MatMul_540`. Unlike all names and modules of other sites.
    pub module: Option<String>,
    /// The name of the weight.
    pub weight: String,
    /// The nodes that read the weight, in the order of the folded graph; never none. A module that is called several times and
    /// the rounds of a loop have one weight, and so one pair of factors.
    pub nodes: Vec<SiteNode>,
    /// The operator of the nodes.
    pub operator: String,
    /// The dimensions of the weight: of a matrix as the file stores it, of a kernel as the convolution reads it.
    pub weight_dims: Vec<usize>,
    /// The element that the nodes compute in: that of the weight, or what a quantised one stands for.
    pub element: Element,
    /// How the weight is used.
    pub kind: SiteKind,
}

impl WeightSite {
    /// What it is called in messages: its module, or its name where it has none.
    pub fn label(&self) -> &str {
        self.module.as_deref().unwrap_or(&self.name)
    }

    /// The names by which targets may mean it.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        std::iter::once(self.name.as_str()).chain(self.module.as_deref())
    }

    /// Whether another node reads the same weight in the same way.
    fn is_shared_with(&self, other: &WeightSite) -> bool {
        self.weight == other.weight
            && self.operator == other.operator
            && self.kind == other.kind
            && self.element == other.element
            && self.weight_dims == other.weight_dims
    }

    /// The dimensions of the factors A and B of this rank, in PEFT's orientation.
    pub fn factor_dims(&self, rank: usize) -> (Vec<usize>, Vec<usize>) {
        let dims = &self.weight_dims;
        match self.kind {
            SiteKind::Linear { out_first: true } => (vec![rank, dims[1]], vec![dims[0], rank]),
            SiteKind::Linear { out_first: false } => (vec![rank, dims[0]], vec![dims[1], rank]),
            SiteKind::Recurrent => {
                let (inner, rows) = (dims[2], dims[0] * dims[1]);
                (vec![rank, inner], vec![rows, rank])
            }
            SiteKind::Conv { .. } | SiteKind::ConvTranspose => {
                let mut a = dims.clone();
                a[0] = rank;
                let mut b = vec![1; dims.len()];
                (b[0], b[1]) = (dims[0], rank);
                (a, b)
            }
        }
    }
}

/// Every site of a folded graph: weights of MatMul, Gemm, Conv, ConvTranspose, LSTM, GRU and RNN nodes that are a stored tensor
/// of floats or a quantised one behind its DequantizeLinear, plain or behind a Transpose. In the order of the first node of each.
pub fn sites(folded: &Folded) -> Vec<WeightSite> {
    let graph = folded.model.graph();
    let stored: BTreeSet<&str> = graph.initializer.iter().map(|t| t.name()).collect();
    let makers = graph.node.iter().map(|n| (n.output_name(0), n)).collect();
    let mut names = BTreeSet::new();
    let mut sites: Vec<WeightSite> = Vec::new();
    let mut of_weight: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for input in weight_inputs(node) {
            let Some(operand) = node.input_name(*input) else { continue };
            let Some(source) = Source::of(folded, &stored, &makers, operand) else { continue };
            let Some(read) = folded.types.get(operand).filter(|ty| ty.element.is_float()) else {
                continue;
            };
            let Some(kind) = kind(node, read.rank(), source.is_turned) else { continue };
            let site = WeightSite {
                name: source.weight.to_owned(),
                module: None,
                weight: source.weight.to_owned(),
                nodes: vec![SiteNode {
                    index,
                    input: *input,
                    output: node.first_output().to_owned(),
                }],
                operator: node.op_type().to_owned(),
                weight_dims: source.dims,
                element: read.element,
                kind,
            };
            let known = of_weight.entry(source.weight).or_default();
            let same = known.iter().find(|&&at| sites[at].is_shared_with(&site));
            if let Some(&at) = same {
                sites[at].nodes.extend(site.nodes);
                continue;
            }
            known.push(sites.len());
            sites.push(WeightSite { name: unique(source.weight, &mut names), ..site });
        }
    }
    module::name(&mut sites, &graph.node);
    sites
}

/// Where a node's weight comes from.
struct Source<'g> {
    weight: &'g str,
    /// Those of a matrix before it is turned, of a kernel as it is read.
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
        let read = folded.types.get(operand).filter(|ty| ty.values() > 0)?;
        let mut dims = read.dims.clone();
        while let Some(node) = makers.get(name).filter(|n| n.is("Transpose")) {
            // A kernel whose channels the file stores last is read as the convolution reads it.
            if read.rank() == 2 {
                dims.reverse();
                is_turned = !is_turned;
            }
            permutation(node, read.rank()).ok().filter(|p| read.rank() > 2 || p == &[1, 0])?;
            name = node.input_name(0)?;
        }
        // A weight of a few bits is dequantised by blocks, which are then its rows again; one of float16, where the operator set
        // needs it, by way of float32.
        let passes = |n: &&&NodeProto| ["Reshape", "Slice", "Cast"].iter().any(|op| n.is(op));
        while let Some(node) = makers.get(name).filter(passes) {
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

/// The inputs of a node that are weights.
pub(super) fn weight_inputs(node: &NodeProto) -> &'static [usize] {
    if ["MatMul", "Gemm", "Conv", "ConvTranspose"].iter().any(|op| node.is(op)) {
        return &[1];
    }
    // Of what comes in, and of the state before.
    if ["LSTM", "GRU", "RNN"].iter().any(|op| node.is(op)) {
        return &[1, 2];
    }
    &[]
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
    if node.is("ConvTranspose") && rank > 2 && !is_turned {
        return Some(SiteKind::ConvTranspose);
    }
    let is_recurrent = ["LSTM", "GRU", "RNN"].iter().any(|op| node.is(op));
    (is_recurrent && rank == 3 && !is_turned).then_some(SiteKind::Recurrent)
}

/// `weight`, or with `.2`, `.3`… behind it for the second and further kinds of nodes that use it.
fn unique(weight: &str, names: &mut BTreeSet<String>) -> String {
    let mut name = weight.to_owned();
    let mut number = 2;
    while !names.insert(name.clone()) {
        name = format!("{weight}.{number}");
        number += 1;
    }
    name
}
