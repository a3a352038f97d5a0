//! Roll-outs: a model that predicts what it reads next, with its own predictions fed back, as one graph.
//!
//! The forward graph is written `steps` times. Step 1 reads what the model reads; before each later step a [`Feed`] puts the
//! prediction into the input it belongs to. Weights and factors are there once and read by every step, so that a gradient is
//! that of all steps together, through the frames that were fed back. A model trained on the next frame alone has never seen
//! its own errors.
//!
//! ```text
//! frames [f₁ f₂ f₃ f₄] ─► step 1 ─► next.1 ─┐ target.next.1
//!        [f₂ f₃ f₄ next.1] ─► step 2 ─► next.2 ─┐ target.next.2
//!               [f₃ f₄ next.1 next.2] ─► step 3 ─► next.3   target.next.3
//! ```
//!
//! | tensor | called |
//! |---|---|
//! | input that is fed | as it is: what step 1 reads |
//! | input that is shared | as it is: every step reads it |
//! | other input `x` | `x.1` … `x.<steps>`: each step has its own |
//! | output `y` | `y.1` … `y.<steps>` |
//!
//! # Source
//! Training on one's own predictions over several steps: Venkatraman, Hebert & Bagnell, AAAI 2015, "Improving multi-step
//! prediction of learned time series models"; for video Villegas et al., arXiv 1905.13510, and many others.

use std::collections::{BTreeMap, BTreeSet};

use crate::gradient::{LossKind, LossSpec};
use crate::onnx::proto::NodeProto;
use crate::onnx::{Attr, Builder, Folded, InferError, Tensor, TensorType, Value};

/// The most steps of a roll-out: its graph is as many times as large.
pub const STEPS_MAX: usize = 64;

/// How often a model is written, and what each step reads of those before.
#[derive(Clone, Debug, PartialEq)]
pub struct RollOutOptions {
    /// Steps, 1 to [`STEPS_MAX`].
    pub steps: usize,
    /// What is fed back; at least one.
    pub feeds: Vec<Feed>,
    /// Inputs that every step reads as they are: factors, weights.
    pub shared: Vec<String>,
}

/// A prediction that becomes a part of an input.
///
/// Where both have the same dimensions the prediction takes the input's place. Where the input holds several of them, oldest
/// first, along one axis (`[B, 4·3, H, W]` or `[B, 4, 3, H, W]` for `[B, 3, H, W]`), all move by one: the oldest falls out, the
/// prediction is the newest.
#[derive(Clone, Debug, PartialEq)]
pub struct Feed {
    /// The output that predicts.
    pub output: String,
    /// The input that reads it in the next step.
    pub input: String,
    /// The axis of the input along which it holds several; `None`: the one that fits, never the first (the batch).
    pub axis: Option<usize>,
    /// Lowest and highest value that is fed back, if it is bounded as where it is measured.
    pub clamp: Option<[f32; 2]>,
}

/// A model written several times.
#[derive(Clone, Debug, PartialEq)]
pub struct RolledOut {
    /// The graph.
    pub folded: Folded,
    /// How each feed goes in, in the order of [`RollOutOptions::feeds`].
    pub fits: Vec<Fit>,
}

/// How a prediction goes into an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It is the whole input.
    Whole,
    /// It is the newest of `count` along `axis`.
    Newest {
        /// The axis of the input.
        axis: usize,
        /// How many the input holds.
        count: usize,
        /// Whether the input has that axis beyond those of the prediction.
        stacked: bool,
    },
}

impl std::fmt::Display for Fit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fit::Whole => f.write_str("all of it"),
            Fit::Newest { axis, count, .. } => {
                write!(f, "the newest of {count} along axis {axis}, oldest first")
            }
        }
    }
}

/// Why a model cannot be rolled out.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RollOutError {
    #[error("a roll-out of {steps} steps: 1 to {STEPS_MAX} are possible")]
    Steps { steps: usize },
    #[error("nothing is fed back: name an output and the input that reads it next")]
    NoFeed,
    #[error("the model has no {side} `{name}`; there are: {}", have.join(", "))]
    NoSuchTensor { side: &'static str, name: String, have: Vec<String> },
    #[error("two outputs are fed into `{input}`")]
    Twice { input: String },
    #[error(
        "`{output}` ({got}) is not the newest part of `{input}` ({want}){}: they must be equal, or differ in one axis \
         after the first, along which the input holds several",
        axis.map_or(String::new(), |axis| format!(" along axis {axis}"))
    )]
    Fit {
        output: String,
        got: Box<TensorType>,
        input: String,
        want: Box<TensorType>,
        axis: Option<usize>,
    },
    #[error("`{output}` fits `{input}` along any of the axes {axes:?}: name one")]
    Ambiguous { output: String, input: String, axes: Vec<usize> },
    #[error("{node} has a graph of its own, which is not written several times")]
    Subgraph { node: String },
    #[error("the name `{name}` is taken: rename that tensor of the model")]
    NameTaken { name: String },
    #[error("the roll-out does not fit the graph")]
    Infer(#[from] InferError),
}

/// Writes a folded graph `steps` times.
///
/// # Shapes and units
/// Every tensor has the type it has in `folded`.
/// # Errors
/// [`RollOutError`].
pub fn roll_out(folded: &Folded, options: &RollOutOptions) -> Result<RolledOut, RollOutError> {
    if !(1..=STEPS_MAX).contains(&options.steps) {
        return Err(RollOutError::Steps { steps: options.steps });
    }
    let fits = fits(folded, &options.feeds)?;
    let graph = folded.model.graph();
    if let Some(node) = graph.node.iter().find(|node| node.subgraphs().next().is_some()) {
        let node = format!("{} `{}`", node.op_type(), node.label());
        return Err(RollOutError::Subgraph { node });
    }
    let fed: BTreeSet<&str> = options.feeds.iter().map(|feed| feed.input.as_str()).collect();
    let shared: BTreeSet<&str> = options.shared.iter().map(String::as_str).collect();
    let stays = |name: &str| fed.contains(name) || shared.contains(name);

    let mut copy = Copies::new(folded, options.steps, &stays)?;
    let mut reads: BTreeMap<&str, Value> = fed.iter().map(|n| (*n, Value::named(n))).collect();
    for step in 1..=options.steps {
        let values = copy.write(folded, step, &reads)?;
        if step < options.steps {
            for (feed, fit) in options.feeds.iter().zip(&fits) {
                let Some(said) = values.get(feed.output.as_str()) else { continue };
                let Some(before) = reads.get(feed.input.as_str()) else { continue };
                let next = fed_back(&mut copy.builder, feed, *fit, said, before)?;
                reads.insert(feed.input.as_str(), next);
            }
        }
    }
    Ok(RolledOut { folded: copy.builder.finish(), fits })
}

/// The losses of all steps of a roll-out: each of `losses` on the outputs of every step, as a weighted mean over the steps.
/// Step s counts `discount`^(s − 1), over the sum of these.
pub fn losses(losses: &[LossSpec], steps: usize, discount: f64) -> Vec<LossSpec> {
    let counts: Vec<f64> =
        std::iter::successors(Some(1.0), |count| Some(count * discount)).take(steps).collect();
    let sum: f64 = counts.iter().sum();
    let mut all = Vec::with_capacity(losses.len() * steps);
    for (index, count) in counts.iter().enumerate() {
        let step = index + 1;
        for loss in losses {
            let kind = match &loss.kind {
                LossKind::GaussianNll { log_variance } => {
                    LossKind::GaussianNll { log_variance: of_step(log_variance, step) }
                }
                LossKind::Mse => LossKind::Mse,
                LossKind::Charbonnier => LossKind::Charbonnier,
                LossKind::CrossEntropy => LossKind::CrossEntropy,
            };
            let output = of_step(&loss.output, step);
            all.push(LossSpec::new(kind, &output).times(loss.factor).times(count / sum));
        }
    }
    all
}

/// What a tensor is called in a step, counted from 1.
pub fn of_step(name: &str, step: usize) -> String {
    format!("{name}.{step}")
}

/// The graph that is being written several times.
struct Copies {
    builder: Builder,
    /// Inputs that each step has its own of.
    own: BTreeSet<String>,
    /// Names that are inputs or constants of the whole graph.
    whole: BTreeSet<String>,
}

impl Copies {
    fn new(
        folded: &Folded,
        steps: usize,
        stays: &dyn Fn(&str) -> bool,
    ) -> Result<Copies, RollOutError> {
        let mut frame = folded.clone();
        let graph = frame.model.graph_mut();
        graph.value_info.clear();
        let initializers = graph.initializer.iter().map(|t| t.name().to_owned());
        let mut whole: BTreeSet<String> = initializers.collect();
        let (mut inputs, mut own) = (Vec::new(), BTreeSet::new());
        for input in std::mem::take(&mut graph.input) {
            let name = input.name().to_owned();
            if stays(&name) || whole.contains(&name) {
                whole.insert(name);
                inputs.push(input);
                continue;
            }
            let Some(ty) = frame.types.get(&name).cloned() else { continue };
            for step in 1..=steps {
                let name = of_step(&name, step);
                inputs.push(ty.to_value_info(&name));
                if frame.types.insert(name.clone(), ty.clone()).is_some() {
                    return Err(RollOutError::NameTaken { name });
                }
            }
            own.insert(name);
        }
        graph.input = inputs;
        let outputs = std::mem::take(&mut graph.output);
        let builder = Builder::before(&frame, "roll/");
        let names = outputs.iter().flat_map(|o| (1..=steps).map(|step| of_step(o.name(), step)));
        match names.into_iter().find(|name| builder.ty_of(name).is_some()) {
            Some(name) => Err(RollOutError::NameTaken { name }),
            None => Ok(Copies { builder, own, whole }),
        }
    }

    /// Appends the nodes of one step; returns what each of the graph's tensors is there.
    fn write<'a>(
        &mut self,
        folded: &'a Folded,
        step: usize,
        reads: &BTreeMap<&'a str, Value>,
    ) -> Result<BTreeMap<&'a str, Value>, RollOutError> {
        let graph = folded.model.graph();
        let mut values = reads.clone();
        for node in &graph.node {
            let mut copy = NodeProto {
                name: Some(of_step(node.label(), step)),
                input: node.input.iter().map(|name| self.read(name, step, &values)).collect(),
                ..node.clone()
            };
            for name in copy.output.iter_mut().filter(|name| !name.is_empty()) {
                let here = of_step(name, step);
                let taken = self.builder.ty_of(&here).is_some();
                let here = if taken { self.builder.fresh(name) } else { here };
                self.builder.declare(node, &here, folded.types.get(name));
                *name = here;
            }
            let written = copy.output.clone();
            self.builder.node(copy)?;
            let pairs = node.output.iter().zip(written).filter(|(name, _)| !name.is_empty());
            values.extend(pairs.map(|(name, here)| (name.as_str(), Value::named(&here))));
        }
        for output in &graph.output {
            let value = Value::named(&self.read(output.name(), step, &values));
            self.builder.output(&of_step(output.name(), step), &value);
            values.insert(output.name(), value);
        }
        Ok(values)
    }

    /// The name under which a step reads a tensor.
    fn read(&self, name: &str, step: usize, values: &BTreeMap<&str, Value>) -> String {
        match values.get(name) {
            Some(value) => value.name().to_owned(),
            None if self.own.contains(name) && !self.whole.contains(name) => of_step(name, step),
            None => name.to_owned(),
        }
    }
}

/// What an input holds in the next step.
fn fed_back(
    builder: &mut Builder,
    feed: &Feed,
    fit: Fit,
    said: &Value,
    before: &Value,
) -> Result<Value, InferError> {
    let said = match feed.clamp {
        None => said.clone(),
        Some([low, high]) => {
            let low = builder.scalar(low);
            let above = builder.op("Max", &[said, &low], &[])?;
            let high = builder.scalar(high);
            builder.op("Min", &[&above, &high], &[])?
        }
    };
    let Fit::Newest { axis, count, stacked } = fit else { return Ok(said) };
    let dims = builder.ty(before).dims.clone();
    let length = dims[axis] / count;
    let newest = if stacked {
        let mut one = dims.clone();
        one[axis] = 1;
        let shape: Vec<i64> = one.iter().map(|&d| d as i64).collect();
        let shape = builder.i64s(&shape);
        builder.op("Reshape", &[&said, &shape], &[])?
    } else {
        said
    };
    if count == 1 {
        return Ok(newest);
    }
    let (start, end, axis) = (length as i64, dims[axis] as i64, axis as i64);
    let others = if builder.opset() < 10 {
        let of = |value: i64| Attr::Ints(vec![value]);
        let attrs = [("starts", of(start)), ("ends", of(end)), ("axes", of(axis))];
        builder.op("Slice", &[before], &attrs)?
    } else {
        let [start, end, axis] =
            [start, end, axis].map(|v| builder.constant_of(&Tensor::i64s(&[v])));
        builder.op("Slice", &[before, &start, &end, &axis], &[])?
    };
    builder.op("Concat", &[&others, &newest], &[("axis", Attr::Int(axis))])
}

/// How each feed goes into its input.
fn fits(folded: &Folded, feeds: &[Feed]) -> Result<Vec<Fit>, RollOutError> {
    if feeds.is_empty() {
        return Err(RollOutError::NoFeed);
    }
    let graph = folded.model.graph();
    let inputs: Vec<&str> = graph.input.iter().map(|i| i.name()).collect();
    let outputs: Vec<&str> = graph.output.iter().map(|o| o.name()).collect();
    let known = |side, name: &String, have: &[&str]| {
        let ty = folded.types.get(name).filter(|_| have.contains(&name.as_str()));
        let have = || have.iter().map(|&name| name.to_owned()).collect();
        let unknown = || RollOutError::NoSuchTensor { side, name: name.clone(), have: have() };
        ty.ok_or_else(unknown)
    };
    let mut seen = BTreeSet::new();
    let mut fits = Vec::with_capacity(feeds.len());
    for feed in feeds {
        let got = known("output", &feed.output, &outputs)?;
        let want = known("input", &feed.input, &inputs)?;
        if !seen.insert(&feed.input) {
            return Err(RollOutError::Twice { input: feed.input.clone() });
        }
        fits.push(fit(feed, got, want)?);
    }
    Ok(fits)
}

fn fit(feed: &Feed, got: &TensorType, want: &TensorType) -> Result<Fit, RollOutError> {
    let (output, input) = (feed.output.clone(), feed.input.clone());
    if got == want && feed.axis.is_none() {
        return Ok(Fit::Whole);
    }
    let axes: Vec<(usize, Fit)> = match feed.axis {
        Some(axis) => {
            newest(&got.dims, &want.dims, axis).map(|fit| (axis, fit)).into_iter().collect()
        }
        // The first axis is the batch: what fits there fits by chance.
        None => (1..want.dims.len())
            .filter_map(|axis| Some((axis, newest(&got.dims, &want.dims, axis)?)))
            .collect(),
    };
    match axes[..] {
        [(_, fit)] if got.element == want.element => Ok(fit),
        [] | [_] => {
            let (got, want) = (Box::new(got.clone()), Box::new(want.clone()));
            let axis = feed.axis;
            Err(RollOutError::Fit { output, got, input, want, axis })
        }
        [..] => {
            let axes = axes.into_iter().map(|(axis, _)| axis).collect();
            Err(RollOutError::Ambiguous { output, input, axes })
        }
    }
}

/// Whether an input of dimensions `many` holds several tensors of dimensions `one` along an axis.
fn newest(one: &[usize], many: &[usize], axis: usize) -> Option<Fit> {
    let mut others = many.to_vec();
    let length = *many.get(axis)?;
    if one.len() + 1 == many.len() {
        others.remove(axis);
        let fit = Fit::Newest { axis, count: length, stacked: true };
        return (others == one).then_some(fit);
    }
    let each = *one.get(axis).filter(|&&each| each > 0 && each < length && length % each == 0)?;
    others[axis] = each;
    (others == one).then_some(Fit::Newest { axis, count: length / each, stacked: false })
}
