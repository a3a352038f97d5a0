//! Which weights of a graph can carry LoRA factors, and the graph that takes them as inputs.
//!
//! Every node of a site computes `y = f(x, W + ΔW)` with `ΔW = (α/r)·B·A`, where A and B are the graph inputs
//! `lora.<site>.A` and `lora.<site>.B`, in PEFT's orientation. The base weight stays a constant, so that
//! engines fuse and pack it as before; what is added are thin products beside it.
//!
//! | operator | A | B | lowered to |
//! |---|---|---|---|
//! | Gemm, MatMul of a matrix | `[r, in]` | `[out, r]` | two Gemms, the second adds the base |
//! | MatMul of more dimensions | `[r, in]` | `[out, r]` | two MatMuls by the turned factors, Add |
//! | Conv | `[r, in, k…]` | `[out, r, 1…]` | Conv like the base's to r channels, 1×1 Conv, Add |
//! | grouped Conv | `[r, in/g, k…]` | `[out, r, 1…]` | B·A added to the weight: r channels a group cost more |
//! | ConvTranspose | `[r, out/g, k…]` | `[in, r, 1…]` | B·A added to the weight |
//! | LSTM, GRU, RNN: W, R | `[r, in]` | `[directions·gates·hidden, r]` | B·A added to the weight |

mod dropout;
mod glob;
mod inputs;
mod left;
mod lower;
mod module;
mod sites;
mod weights;

use std::collections::{BTreeMap, BTreeSet};

use crate::adapter::{Adapter, Factor, Layout, Site};
use crate::onnx::proto::{NodeProto, TensorProto};
use crate::onnx::{
    Builder, Drawing, Folded, InferError, Model, Tensor, TensorError, TensorType, draws,
};

pub use dropout::{DropoutError, MASK, with_masks};
use glob::Selection;
pub use inputs::{
    SITE_INPUT, SiteInput, SiteInputsError, WithInputs, with_grafted_site_inputs, with_site_inputs,
};
pub use left::{Left, LeftWhy, MASKED};
use lower::Weight;
pub use sites::{SiteKind, SiteNode, WeightSite, sites};
pub use weights::{
    AllWeights, WeightInput, WriteWeightsError, graft_all_weights, graft_stored_weights,
};

/// The largest rank: thin factors are the point.
pub const RANK_MAX: usize = 1024;
/// What the names of factor inputs begin with.
pub const FACTOR: &str = "lora.";
/// What the names of weight inputs begin with (see [`graft_all_weights`]).
pub const WEIGHT: &str = "weight.";

/// How a graph is written for the engine that will run it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// ONNX Runtime on a processor.
    #[default]
    Cpu,
    /// ONNX Runtime's CUDA provider.
    Cuda,
    /// ONNX Runtime's TensorRT provider.
    TensorRt,
    /// tract.
    Tract,
}

/// Where factors go, and of what rank.
#[derive(Clone, Debug, PartialEq)]
pub struct GraftOptions {
    /// Globs (`*`, `?`) on names and modules of sites; a leading `!` takes sites out again. None of the first kind: all sites. A
    /// number behind `=` is the rank of what the glob selects, one behind `:` after it its α; the last ones count.
    pub targets: Vec<String>,
    /// The rank r of every factor pair that no target gives another, 1 to [`RANK_MAX`].
    pub rank: usize,
    /// The numerator α of the scale α/r, where no target gives another.
    pub alpha: f32,
    /// The engine the graph is written for.
    pub profile: Profile,
}

impl Default for GraftOptions {
    fn default() -> Self {
        GraftOptions { targets: Vec::new(), rank: 8, alpha: 16.0, profile: Profile::Cpu }
    }
}

/// A graph with factors as inputs, and what each of them is.
#[derive(Clone, Debug, PartialEq)]
pub struct Grafted {
    /// The graph.
    pub folded: Folded,
    /// Its factors.
    pub layout: Layout,
}

impl Grafted {
    /// The model with factors that a run may leave out: they are those of `default` then, or zero. ONNX Runtime asks that of a
    /// model that its adapter files are for.
    pub fn with_optional_factors(&self, default: Option<&Adapter>) -> Model {
        /// From here on an input may have a value of its own.
        const IR_VERSION: i64 = 4;
        let mut model = self.folded.model.clone();
        let version = model.proto.ir_version.unwrap_or_default().max(IR_VERSION);
        model.proto.ir_version = Some(version);
        let defaults = self.layout.factors().map(|factor| {
            let zeros = || vec![0.0; factor.range.len()];
            let values = default.map_or_else(zeros, |adapter| adapter.factor(factor).to_vec());
            Tensor::f32(&factor.dims, &values).to_proto(&factor.input)
        });
        model.graph_mut().initializer.extend(defaults);
        model
    }

    /// The graph with the A of an adapter of its layout stored in it: B alone are inputs.
    pub fn with_stored_a(&self, adapter: &Adapter) -> Folded {
        let mut folded = self.folded.clone();
        let stored: BTreeMap<&str, &Factor> =
            self.layout.sites.iter().map(|site| (site.a.input.as_str(), &site.a)).collect();
        let graph = folded.model.graph_mut();
        graph.input.retain(|input| !stored.contains_key(input.name()));
        let tensors = stored.values().map(|factor| {
            Tensor::f32(&factor.dims, adapter.factor(factor)).to_proto(&factor.input)
        });
        graph.initializer.extend(tensors);
        folded
    }
}

/// Why a graph cannot be grafted.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GraftError {
    #[error(
        "the graph has no MatMul, Gemm, Conv, ConvTranspose, LSTM, GRU or RNN with a stored weight of floats, plain or quantised"
    )]
    NoSites,
    #[error(
        "no weight of floats that the file stores by itself has a gradient{}: an adapter can be trained beside others",
        listed(left)
    )]
    NoWeights { left: Vec<Left> },
    #[error("no site is selected by {targets:?}")]
    NothingSelected { targets: Vec<String> },
    #[error("the target `{target}` is no site and matches none; the sites are: {}", sites.join(", "))]
    NoSuchSite { target: String, sites: Vec<String> },
    #[error("rank {rank} is not in 1 to {RANK_MAX}")]
    Rank { rank: usize },
    #[error("{}", at_random(nodes))]
    Random { nodes: Vec<Drawing> },
    #[error("alpha {alpha} is no positive finite number")]
    Alpha { alpha: f32 },
    #[error("the graph has an input `{input}` already: it is grafted")]
    Grafted { input: String },
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Infer(#[from] InferError),
}

/// Which nodes give other values at every run, and what to do about it.
fn at_random(nodes: &[Drawing]) -> String {
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let (give, they_draw) = match nodes {
        [_] => ("gives", "it draws an input"),
        _ => ("give", "they draw inputs"),
    };
    format!(
        "{} {give} other values at every run, so that nothing could be repeated: export the model for inference, or make what {they_draw}",
        names.join(", ")
    )
}

fn listed(left: &[Left]) -> String {
    let names: Vec<&str> = left.iter().map(|left| left.initializer.as_str()).collect();
    match left {
        [] => String::new(),
        _ => format!(" ({} stay as they are)", names.join(", ")),
    }
}

/// Makes the factors of the selected sites inputs of the graph.
///
/// With B = 0 the result computes what `folded` does. Nodes keep their order and their output names.
///
/// # Errors
/// [`GraftError`] if nothing is selected, a target matches no site, or the rank is out of bounds.
pub fn graft(folded: &Folded, options: &GraftOptions) -> Result<Grafted, GraftError> {
    grafted(folded, options, Branch::Beside)
}

/// As [`graft`], to be run and not to be differentiated: a convolution that lies behind another site and has many more places
/// than the rank gets `W + (α/r)·B·A` as its weight, so that one convolution is run and not two. Same layout.
///
/// # Errors
/// As [`graft`].
pub fn graft_to_run(folded: &Folded, options: &GraftOptions) -> Result<Grafted, GraftError> {
    grafted(folded, options, Branch::Merged)
}

/// Where the factors of a convolution are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Branch {
    /// Thin convolutions beside the base's.
    Beside,
    /// In the base's weight, where that costs less.
    Merged,
}

/// A convolution to fewer places than this often the rank is not worth a weight of its own: making that takes as many products
/// as rank places do.
const MERGED_PLACES: usize = 4;

fn grafted(folded: &Folded, options: &GraftOptions, branch: Branch) -> Result<Grafted, GraftError> {
    let selection = Selection::new(&options.targets);
    let rank_of = |site: &WeightSite| selection.rank(site.names()).unwrap_or(options.rank);
    let alpha_of = |site: &WeightSite| selection.alpha(site.names()).unwrap_or(options.alpha);
    check_repeats(folded)?;
    let selected = select(folded, &options.targets, &selection)?;
    let ranks = std::iter::once(options.rank).chain(selected.iter().map(rank_of));
    if let Some(rank) = ranks.into_iter().find(|rank| !(1..=RANK_MAX).contains(rank)) {
        return Err(GraftError::Rank { rank });
    }
    let mut alphas = std::iter::once(options.alpha).chain(selected.iter().map(alpha_of));
    if let Some(alpha) = alphas.find(|alpha| !(alpha.is_finite() && *alpha > 0.0)) {
        return Err(GraftError::Alpha { alpha });
    }
    let mut layout = Vec::with_capacity(selected.len());
    let stored = folded.model.graph().initializer.iter().map(|t| (t.name(), t));
    let stored: BTreeMap<&str, &TensorProto> = stored.collect();
    for site in &selected {
        let Some(weight) = stored.get(site.weight.as_str()) else {
            unreachable!("a site's weight is an initializer of its graph")
        };
        let weight = folded.as_stored(weight)?;
        layout.push(Site::of(site, &weight, rank_of(site), alpha_of(site))?);
    }
    let layout = Layout::new(layout, options.rank, options.alpha);
    let mut builder = Builder::before(folded, FACTOR);
    for factor in layout.factors() {
        if folded.types.contains_key(&factor.input) {
            return Err(GraftError::Grafted { input: factor.input.clone() });
        }
        builder.input(&factor.input, TensorType::f32(&factor.dims));
    }
    let mut by_node: BTreeMap<usize, Vec<Weight<'_>>> = BTreeMap::new();
    for (site, factors) in selected.iter().zip(&layout.sites) {
        for node in &site.nodes {
            let weight = Weight { site, factors, input: node.input };
            by_node.entry(node.index).or_default().push(weight);
        }
    }
    // What depends on a factor: a convolution of it is run for every adapter in any case.
    let mut behind: BTreeSet<&str> = BTreeSet::new();
    for (index, node) in folded.model.graph().node.iter().enumerate() {
        let is_behind = node.input.iter().any(|name| behind.contains(name.as_str()));
        match by_node.get(&index) {
            Some(weights) => {
                let rank = weights.iter().map(|weight| weight.factors.a.dims[0]).max();
                let places = folded.types.get(node.output_name(0)).map_or(0, places);
                let pays = places >= MERGED_PLACES * rank.unwrap_or(1);
                let merges = branch == Branch::Merged && is_behind && pays;
                lower::lower(&mut builder, node, weights, merges)?;
            }
            None => {
                builder.node(node.clone())?;
            }
        }
        if is_behind || by_node.contains_key(&index) {
            behind.extend(node.output.iter().map(String::as_str));
        }
    }
    builder.outputs_of(folded);
    Ok(Grafted { folded: builder.finish(), layout })
}

/// Refuses a graph that gives other values at every run.
fn check_repeats(folded: &Folded) -> Result<(), GraftError> {
    let nodes: Vec<Drawing> = random(folded).map(Drawing::of).collect();
    if nodes.is_empty() { Ok(()) } else { Err(GraftError::Random { nodes }) }
}

/// The nodes of a folded graph whose values differ from run to run.
pub fn random(folded: &Folded) -> impl Iterator<Item = &NodeProto> {
    let graph = folded.model.graph();
    let is_off = move |name: &str| {
        let stored = graph.initializer.iter().find(|t| t.name() == name);
        let value = stored.and_then(|t| Tensor::from_proto(t).ok()?.to_i64s());
        value.is_some_and(|v| v == [0])
    };
    graph.node.iter().filter(move |node| draws(node, is_off))
}

/// Places of what a convolution gives, of all samples.
fn places(ty: &TensorType) -> usize {
    let [samples, _channels, space @ ..] = ty.dims.as_slice() else { return 0 };
    samples * space.iter().product::<usize>()
}

/// The sites that `targets` select, in the order of the graph.
fn select(
    folded: &Folded,
    targets: &[String],
    selection: &Selection<'_>,
) -> Result<Vec<WeightSite>, GraftError> {
    let all = sites(folded);
    if all.is_empty() {
        return Err(GraftError::NoSites);
    }
    if let Some(target) = selection.unmatched(all.iter().flat_map(WeightSite::names)) {
        let sites = all.iter().map(|s| s.label().to_owned()).collect();
        return Err(GraftError::NoSuchSite { target: target.to_owned(), sites });
    }
    let selected: Vec<_> = all.into_iter().filter(|s| selection.has(s.names())).collect();
    if selected.is_empty() {
        return Err(GraftError::NothingSelected { targets: targets.to_vec() });
    }
    Ok(selected)
}
