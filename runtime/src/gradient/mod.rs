//! Reverse-mode differentiation of a folded graph into an ordinary ONNX graph.
//!
//! [`differentiate`] appends losses and the gradients of wanted inputs, in standard operators only.
//! Nodes are visited last to first; each node's rule turns the gradient of its output into shares for
//! its inputs. Only tensors that depend on a wanted input and reach a loss are visited, so a frozen
//! prefix costs nothing. What has no rule is refused, by a list of all nodes that stand in the way.
//!
//! One file per family of operators: the rule, its shapes, its source. Shapes are static, so every
//! choice of lowering is made here, per layer and per [`Profile`], never when the graph runs.

use std::collections::BTreeMap;

use crate::graft::Profile;
use crate::onnx::proto::NodeProto;
use crate::onnx::{Builder, Element, Folded, InferError, TensorType, Value, prune};
use crate::train::TERM;

use accumulate::Part;
use emit::Emit;
use step::Step;

mod accumulate;
mod activation;
mod arithmetic;
mod attention;
mod constant;
mod convolution;
mod convolution_weight;
mod curve;
mod einsum;
mod emit;
mod expand;
mod index;
mod keep;
mod layout;
mod loss;
mod lowering;
mod lp_pool;
mod memory;
mod normalise;
mod order;
mod permute;
mod plan;
mod pool;
mod product;
mod quantise;
mod recompute;
mod recurrent;
mod reduce;
mod rename;
mod response;
mod rotary;
mod rules;
mod sampling;
mod scatter;
mod select;
mod slice;
mod statistics;
mod step;
mod stored;
mod transposed;
mod turned;

pub use keep::{IMPORTANCE, Keep, PLACE, PULL_TERM, Pull, STRENGTH};
pub use memory::peak_bytes;
pub use recompute::{Recomputed, recompute, within};

/// What the names of the backward pass begin with.
const GRADIENTS: &str = "grad/";

/// What to minimise, what to differentiate by, and for which engine.
#[derive(Clone, Debug, PartialEq)]
pub struct DifferentiateOptions {
    /// Losses; their sum is minimised. Empty: squared error on every float output that depends on a
    /// wanted input.
    pub losses: Vec<LossSpec>,
    /// The inputs whose gradients are wanted, in the order of the outputs `grad.<input>`.
    pub wrt: Vec<String>,
    /// Refuse where a default loss cannot sit on the output itself.
    pub strict: bool,
    /// The engine that lowerings are chosen for.
    pub profile: Profile,
}

/// A loss asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct LossSpec {
    /// What is measured.
    pub kind: LossKind,
    /// The output it is measured on; any other tensor of the graph will do.
    pub output: String,
    /// What it counts in the sum, positive and finite.
    pub factor: f64,
}

impl LossSpec {
    /// A loss that counts once.
    pub fn new(kind: LossKind, output: &str) -> LossSpec {
        LossSpec { kind, output: output.to_owned(), factor: 1.0 }
    }

    /// The same loss, counting `factor` times.
    #[must_use]
    pub fn times(self, factor: f64) -> LossSpec {
        LossSpec { factor: self.factor * factor, ..self }
    }
}

/// What a loss measures.
///
/// `B` samples, on the first axis; weight `[B]`, one per sample, in float32 but for float64; target as the output, unless said
/// otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// `Σ_b w_b · mean_i (y_bi − t_bi)² / B`.
    Mse,
    /// `Σ_b w_b · mean_i √((y_bi − t_bi)² + ε²) / B`, ε = [`CHARBONNIER_EPSILON`]: as the absolute error, with a slope at 0.
    Charbonnier,
    /// `Σ_j w_j · −log softmax(y_j)[t_j] / J` over the last axis: int64 target, weight as the target. A row whose target is no class
    /// (−1, −100) counts nothing.
    CrossEntropy,
    /// `Σ_b w_b · mean_i ½(s_bi + (y_bi − t_bi)²·e^(−s_bi)) / B`: the output is the mean of a Gaussian, `s` the natural
    /// logarithm of its variance; without the constant ½·log 2π.
    GaussianNll {
        /// The tensor `s`, of the output's type and dimensions.
        log_variance: String,
    },
}

impl LossKind {
    /// What it is called where one of several losses is told.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            LossKind::Mse => "mse",
            LossKind::Charbonnier => "charbonnier",
            LossKind::CrossEntropy => "cross_entropy",
            LossKind::GaussianNll { .. } => "gaussian_nll",
        }
    }
}

/// ε of [`LossKind::Charbonnier`], in units of the output. Source: Lai et al., arXiv 1704.03915, section 3.2.
pub const CHARBONNIER_EPSILON: f64 = 1e-3;

/// A training graph.
#[derive(Clone, Debug)]
pub struct Differentiated {
    /// Inputs of the model, then `target.<tensor>` and `weight.<tensor>` of each loss, then those of [`Keep`]; outputs `loss`
    /// (rank 0), `loss.<tensor>` of each where there are several (rank 0; `loss` is their sum), and `grad.<input>` for each
    /// wanted input. Several losses on one tensor read one target and weight, but for those of a cross-entropy beside others:
    /// `target.<tensor>.cross_entropy`; each is told as `loss.<tensor>.<kind>`.
    pub folded: Folded,
    /// Where each loss sits, to be told to the user where [`PlacedLoss::moved`].
    pub losses: Vec<PlacedLoss>,
    /// Where the model is held to what it gave ([`Keep::distil`]): the target is a tensor of the graph, the weight an input.
    pub distilled: Vec<PlacedLoss>,
}

/// A loss and the tensor it sits on.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacedLoss {
    /// What is measured.
    pub kind: LossKind,
    /// What it counts in the sum.
    pub factor: f64,
    /// The output it was asked for, or is the default of.
    pub output: String,
    /// The tensor it is measured on: the output, or the last tensor before it that has a gradient.
    pub tensor: String,
    /// The graph input with the target.
    pub target: String,
    /// The graph input with the weights.
    pub weight: String,
    /// The output that it is told by where there are several losses.
    pub term: String,
}

impl PlacedLoss {
    fn new(kind: LossKind, factor: f64, output: &str, tensor: &str) -> PlacedLoss {
        PlacedLoss {
            kind,
            factor,
            output: output.to_owned(),
            tensor: tensor.to_owned(),
            target: format!("target.{tensor}"),
            weight: format!("weight.{tensor}"),
            term: format!("{TERM}{tensor}"),
        }
    }

    /// Whether the target are classes, not values as the tensor's.
    pub fn is_of_classes(&self) -> bool {
        match self.kind {
            LossKind::CrossEntropy => true,
            LossKind::Mse | LossKind::Charbonnier | LossKind::GaussianNll { .. } => false,
        }
    }

    /// Whether the output itself has no gradient, so that the loss sits on a tensor before it.
    pub fn moved(&self) -> bool {
        self.output != self.tensor
    }
}

/// A node that stands in the way of a gradient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Its name, or its first output where it has none.
    pub node: String,
    /// Its operator, with its domain unless that is the standard one.
    pub operator: String,
    /// Why it has no gradient.
    pub reason: Reason,
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}`: {}", self.operator, self.node, self.reason)
    }
}

/// Why a node has no gradient.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("no gradient is written for this operator")]
    NoRule,
    #[error("no gradient is written for its input `{input}`")]
    Input { input: &'static str },
    #[error(
        "its input `{input}`, `{tensor}`, is infinite at index {index}: quantise the model again, with values that are finite"
    )]
    Infinite { input: &'static str, tensor: String, index: usize },
    #[error("its input `{input}` must be a constant")]
    NotConstant { input: &'static str },
    #[error("no gradient is written for {name} = {value}")]
    Attribute { name: &'static str, value: String },
    #[error("its input {index} is missing")]
    Missing { index: usize },
    #[error("no gradient is written for this combination of outputs")]
    Output,
    #[error("it reads or gives a tensor without values")]
    Empty,
    #[error("its index {index} is outside an axis of {dim}")]
    OutOfRange { index: i64, dim: usize },
    #[error(
        "its gradient would store {} values, more than {max}: make its window or axes shorter, or choose sites behind it",
        times(dims)
    )]
    TooLarge { dims: Vec<usize>, max: usize },
    #[error(
        "its {steps} steps would become more than {max} nodes: pin its sequence to fewer steps, or choose sites behind it"
    )]
    Unrolled { steps: usize, max: usize },
    #[error(
        "its gradient cannot be written in opset {has}: convert the model to opset {needs} or later"
    )]
    Opset { has: i64, needs: i64 },
    #[error("its gradient does not fit: {why}")]
    Infer { why: String },
}

impl From<InferError> for Reason {
    fn from(error: InferError) -> Reason {
        Reason::Infer { why: error.to_string() }
    }
}

/// Why no training graph was made.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Some nodes have no gradient; all of them are listed.
    #[error("{} no gradient:{}", count(obstacles), lines(obstacles))]
    Unsupported { obstacles: Vec<Obstacle> },
    #[error("no input is wanted: name at least one to differentiate by")]
    NothingWanted,
    #[error("the graph has no input or weight `{input}` to differentiate by")]
    NoSuchInput { input: String },
    #[error("`{input}` is {element}: only floats can be differentiated by")]
    WantedNotFloat { input: String, element: Element },
    /// A gradient of zero that nobody asked for is a mistake in the choice of loss or of sites.
    #[error(
        "the loss does not depend on {}: leave them out, or choose another loss{}",
        inputs.join(", "),
        ended(ends)
    )]
    NotReached { inputs: Vec<String>, ends: Vec<String> },
    #[error("no output depends on a wanted input")]
    NoLoss,
    #[error("no loss on `{output}`: {why}")]
    Loss { output: String, why: WrongLoss },
    /// Strict: a default loss would sit on a tensor before the output (output, tensor); no gradient passes these nodes.
    #[error("the loss cannot sit on {}{}", before(moved), ended(ends))]
    Strict { moved: Vec<(String, String)>, ends: Vec<String> },
    #[error("the name `{name}` is taken: rename that tensor of the model")]
    NameTaken { name: String },
    #[error("opset {opset} is too old: convert the model to opset 9 or later")]
    Opset { opset: i64 },
    /// A sum of gradients, or a loss, does not fit the graph: its types are not those of its nodes.
    #[error("the gradient does not fit the graph")]
    Infer(#[from] InferError),
}

/// Why a loss cannot sit where it was asked for.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WrongLoss {
    #[error("there is no such tensor; outputs are {}", outputs.join(", "))]
    NoSuchTensor { outputs: Vec<String> },
    #[error("it is {element}, not float")]
    NotFloat { element: Element },
    #[error("it does not depend on a wanted input through operators with a slope{}", ended(ends))]
    Independent { ends: Vec<String> },
    #[error("cross-entropy needs an axis of classes, it is a scalar")]
    NoClasses,
    #[error("its logarithm of the variance, `{tensor}`, {}", match got {
        Some(got) => format!("is {got}, not {want}"),
        None => "is no tensor of the graph".to_owned(),
    })]
    LogVariance { tensor: String, got: Option<TensorType>, want: TensorType },
    #[error("it counts {factor} times: that must be a positive finite number")]
    Factor { factor: f64 },
    #[error("it has no values")]
    Empty,
    #[error("it has {kind} twice: ask for it once, with the weight of both")]
    Twice { kind: &'static str },
}

fn count(obstacles: &[Obstacle]) -> String {
    if obstacles.len() == 1 {
        "one node has".into()
    } else {
        format!("{} nodes have", obstacles.len())
    }
}

fn times(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ")
}

/// The nodes at which gradients end, as the end of a sentence.
fn before(moved: &[(String, String)]) -> String {
    let all = moved.iter().map(|(output, tensor)| {
        format!("`{output}`, which `{tensor}` stands for where that is allowed")
    });
    all.collect::<Vec<_>>().join("; ")
}

fn ended(ends: &[String]) -> String {
    if ends.is_empty() {
        String::new()
    } else {
        format!(" (no gradient passes {})", ends.join(", "))
    }
}

fn lines(obstacles: &[Obstacle]) -> String {
    obstacles.iter().map(|obstacle| format!("\n  {obstacle}")).collect()
}

/// Writes the training graph of a folded graph.
///
/// # Shapes and units
/// `loss` has rank 0; `grad.<input>` has the dimensions of its input; every input keeps its own.
/// # Errors
/// [`Refusal`]; above all [`Refusal::Unsupported`], which lists every node without a gradient.
/// # Source
/// Reverse accumulation; ONNX operators as in its operator documents. Prior art of the same idea:
/// onnxsim's `graph_grad.py`.
pub fn differentiate(
    folded: &Folded,
    options: &DifferentiateOptions,
) -> Result<Differentiated, Refusal> {
    differentiate_keeping(folded, options, Keep::default())
}

/// As [`differentiate`], with terms that keep the wanted inputs, or what the graph gives, near a place.
///
/// # Shapes and units
/// `keep.place.<input>` and `keep.importance.<input>` are as their input, `keep.strength` has rank 0, `weight.distil.<tensor>`
/// one value a sample. Each term is an output, too: `loss.keep` and `loss.distil.<tensor>`.
/// # Errors
/// As [`differentiate`]: a wanted input that no loss depends on is refused although it is pulled.
pub fn differentiate_keeping(
    folded: &Folded,
    options: &DifferentiateOptions,
    keep: Keep,
) -> Result<Differentiated, Refusal> {
    let opset = folded.model.opset();
    if opset < OPSET_MIN {
        return Err(Refusal::Opset { opset });
    }
    let (folded, options) = rename::apart(folded, options);
    let (folded, options) = (&*folded, &*options);
    plan::check_wanted(folded, &options.wrt)?;
    let reach = plan::reach(folded, &options.wrt);
    let written = expand::expand(folded, &reach)?;
    let (folded, reach) = match &written {
        Some(written) => (written, plan::reach(written, &options.wrt)),
        None => (folded, reach),
    };
    let losses = plan::place(folded, options, &reach)?;
    check_names(folded, options, &losses, keep)?;

    let mut builder = Builder::extend(folded.clone(), GRADIENTS);
    builder.clear_outputs();
    let mut walk = Walk {
        emit: Emit::new(builder, options.profile),
        parts: BTreeMap::new(),
        reach,
        obstacles: Vec::new(),
    };
    let nodes = &folded.model.graph().node;
    let (mut places, mut distilled) = (BTreeMap::new(), Vec::new());
    if !keep.is_nothing() {
        places = keep::places(&mut walk.emit, &options.wrt);
    }
    if keep.distil {
        distilled = keep::distil(&mut walk.emit, nodes, &places, &losses)?;
    }
    let mut terms = walk.start(&losses, true)?;
    terms.extend(walk.start(&distilled, false)?);
    let producers: Producers =
        nodes.iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n))).collect();
    for node in nodes.iter().rev() {
        walk.visit(node, &producers)?;
    }
    let mut gradients = walk.gradients(&options.wrt);
    if let Err(Refusal::NotReached { inputs, ends }) = &mut gradients {
        *ends = plan::reach(folded, inputs).ends;
    }
    let mut gradients: Vec<_> = options.wrt.iter().cloned().zip(gradients?).collect();
    if let Some(pull) = keep.pull {
        let term = keep::pull(&mut walk.emit, pull, &places, &mut gradients)?;
        terms.extend(term.map(|term| (PULL_TERM.to_owned(), term)));
    }
    let folded = walk.finish(&terms, &gradients)?;
    let folded = lowering::lower(prune(folded), options.profile)?;
    let folded = order::leaves_last(turned::products_turned(prune(folded)));
    Ok(Differentiated { folded, losses, distilled })
}

/// The nodes that stand in the way of the default losses' gradients by these tensors, in graph order.
///
/// # Errors
/// As [`differentiate`], but for [`Refusal::Unsupported`].
pub fn unsupported(folded: &Folded, wrt: &[String]) -> Result<Vec<Obstacle>, Refusal> {
    let options = DifferentiateOptions {
        losses: Vec::new(),
        wrt: wrt.to_vec(),
        strict: false,
        profile: Profile::Cpu,
    };
    match differentiate(folded, &options) {
        Ok(_) => Ok(Vec::new()),
        Err(Refusal::Unsupported { obstacles }) => Ok(obstacles),
        Err(other) => Err(other),
    }
}

/// `Where`, which gradients of clipped and rectified values need, came with this opset.
const OPSET_MIN: i64 = 9;

fn check_names(
    folded: &Folded,
    options: &DifferentiateOptions,
    losses: &[PlacedLoss],
    keep: Keep,
) -> Result<(), Refusal> {
    let mut names = vec!["loss".to_owned()];
    names.extend(options.wrt.iter().map(|input| format!("grad.{input}")));
    // Losses on one tensor share what they are fed.
    let fed = losses.iter().flat_map(|of| [(&of.tensor, &of.target), (&of.tensor, &of.weight)]);
    let fed: std::collections::BTreeSet<_> = fed.collect();
    names.extend(fed.into_iter().map(|(_, name)| name.clone()));
    if losses.len() > 1 || !keep.is_nothing() {
        names.extend(losses.iter().map(|loss| loss.term.clone()));
    }
    names.extend(keep.names(&options.wrt, losses));
    let mut seen = std::collections::BTreeSet::new();
    match names.into_iter().find(|n| folded.types.contains_key(n) || !seen.insert(n.clone())) {
        Some(name) => Err(Refusal::NameTaken { name }),
        None => Ok(()),
    }
}

/// The node that makes each tensor.
type Producers<'a> = BTreeMap<&'a str, &'a NodeProto>;

/// The reverse walk.
struct Walk {
    emit: Emit,
    /// What consumers gave to the gradient of each tensor so far.
    parts: BTreeMap<String, Vec<Part>>,
    reach: plan::Reach,
    obstacles: Vec<Obstacle>,
}

impl Walk {
    /// Appends losses and gives their tensors a gradient; returns their values, each with the output it is told by. Targets
    /// are inputs of the graph, or tensors that it has.
    fn start(&mut self, losses: &[PlacedLoss], fed: bool) -> Result<Vec<(String, Value)>, Refusal> {
        let mut terms = Vec::with_capacity(losses.len());
        for loss in losses {
            let (value, gradients) = loss::append(&mut self.emit, loss, fed)?;
            // The sum is float32, whatever the model computes in.
            let value = self.emit.cast(&value, Element::F32)?;
            for (tensor, gradient) in gradients {
                if self.reach.differentiable.contains(&tensor) {
                    self.parts.entry(tensor).or_default().push(Part::whole(gradient));
                }
            }
            terms.push((loss.term.clone(), value));
        }
        Ok(terms)
    }

    /// The graph with its outputs: the sum of the terms, each of several, and the gradients.
    fn finish(
        mut self,
        terms: &[(String, Value)],
        gradients: &[(String, Value)],
    ) -> Result<Folded, Refusal> {
        let Some(((_, first), others)) = terms.split_first() else { return Err(Refusal::NoLoss) };
        let mut total = first.clone();
        for (_, term) in others {
            total = self.emit.add(&total, term)?;
        }
        let mut builder = self.emit.builder;
        builder.output("loss", &total);
        if !others.is_empty() {
            terms.iter().for_each(|(name, term)| builder.output(name, term));
        }
        for (name, gradient) in gradients {
            builder.output(&format!("grad.{name}"), gradient);
        }
        Ok(builder.finish())
    }

    /// Hands the gradients of a node's outputs on to its inputs.
    fn visit(&mut self, node: &NodeProto, producers: &Producers) -> Result<(), Refusal> {
        let mut dys = Vec::new();
        for name in &node.output {
            dys.push(self.gradient(name)?);
        }
        let named = |names: &[String]| -> Vec<Option<Value>> {
            names.iter().map(|n| (!n.is_empty()).then(|| Value::named(n))).collect()
        };
        let wanted: Vec<bool> =
            node.input.iter().map(|name| self.reach.differentiable.contains(name)).collect();
        if dys.iter().all(Option::is_none) {
            return Ok(());
        }
        let mut step = Step {
            emit: &mut self.emit,
            node,
            inputs: named(&node.input),
            outputs: named(&node.output),
            dys,
            wanted,
            producers,
            given: Vec::new(),
        };
        let result = rules::apply(&mut step);
        let (wanted, mut given) = (step.wanted, step.given);
        if let Err(reason) = result {
            self.obstacles.push(Obstacle {
                node: node.label().to_owned(),
                operator: rules::operator(node),
                reason,
            });
            given = self.stand_in(node, &wanted);
        }
        for (index, part) in given.into_iter().filter(|(index, _)| wanted[*index]) {
            self.parts.entry(node.input[index].clone()).or_default().push(part);
        }
        Ok(())
    }

    /// Gradients that stand for those a refused node cannot give, so that the walk finds all others.
    fn stand_in(&mut self, node: &NodeProto, wanted: &[bool]) -> Vec<(usize, Part)> {
        let mut given = Vec::new();
        for (index, name) in node.input.iter().enumerate().filter(|(index, _)| wanted[*index]) {
            let mut ty = self.emit.builder.ty(&Value::named(name)).clone();
            if !ty.element.is_float() {
                // A quantised value: its gradient is that of the float it stands for.
                ty.element = Element::F32;
            }
            given.push((index, Part::whole(self.emit.builder.input("stand-in", ty))));
        }
        given
    }

    /// The gradient of a tensor all of whose consumers were visited.
    fn gradient(&mut self, name: &str) -> Result<Option<Value>, Refusal> {
        let Some(parts) = self.parts.remove(name) else { return Ok(None) };
        let dims = self.emit.dims(&Value::named(name));
        Ok(accumulate::sum(&mut self.emit, &dims, &parts)?)
    }

    /// The gradients of the wanted tensors, or why there are none.
    fn gradients(&mut self, wanted: &[String]) -> Result<Vec<Value>, Refusal> {
        if !self.obstacles.is_empty() {
            let mut obstacles = std::mem::take(&mut self.obstacles);
            obstacles.reverse();
            return Err(Refusal::Unsupported { obstacles });
        }
        let mut gradients = Vec::new();
        let mut missing = Vec::new();
        for name in wanted {
            match self.gradient(name)? {
                Some(gradient) => gradients.push(gradient),
                None => missing.push(name.clone()),
            }
        }
        if missing.is_empty() {
            Ok(gradients)
        } else {
            Err(Refusal::NotReached { inputs: missing, ends: Vec::new() })
        }
    }
}
