//! Losses: what training minimises, and its gradient at the tensors it sits on.
//!
//! ```text
//! mse             Σ_b w_b · mean_i (y_bi − t_bi)² / B                       w [B]
//! charbonnier     Σ_b w_b · mean_i √((y_bi − t_bi)² + ε²) / B               w [B]
//! gaussian nll    Σ_b w_b · mean_i ½(s_bi + (y_bi − t_bi)²·e^(−s_bi)) / B   w [B]; s = log σ²
//! cross-entropy   Σ_j w_j · −log softmax(y_j)[t_j] / J                      w, t as y without its last axis; J = values of t
//! ```
//! `y` of a cross-entropy holds logits, classes on its last axis. A target below 0 or beyond the classes (PyTorch's `ignore_index` is
//! −100) is ignored: its row counts as one of weight 0, so J is what it was. A tensor of rank 0 is one sample.
//! Every axis after the first is one sample's for the others. Each counts [`PlacedLoss::factor`] times. Losses on one tensor share
//! target and weight as far as these are alike.
//! Of float16 and bfloat16 a loss computes in float32, as w is: 1/B of a large output is nothing in float16.
//! # Source
//! Charbonnier: Lai et al., arXiv 1704.03915, equation 1. Gaussian: Nix & Weigend 1994, with the logarithm of the variance as
//! Kendall & Gal, arXiv 1703.04977, equation 8. The gradients follow by hand; they are checked against finite differences.

use crate::onnx::{Attr, Element, InferError, TensorType, Value};

use super::emit::Emit;
use super::{CHARBONNIER_EPSILON, LossKind, PlacedLoss};

/// The value of a loss (rank 0), and its gradient at each tensor that it reads.
type Appended = Result<(Value, Vec<(String, Value)>), InferError>;

/// Appends a loss; its target is an input that is `fed`, or a tensor of the graph.
pub(super) fn append(emit: &mut Emit, loss: &PlacedLoss, fed: bool) -> Appended {
    match loss.kind {
        LossKind::Mse | LossKind::Charbonnier | LossKind::GaussianNll { .. } => {
            regression(emit, loss, fed)
        }
        LossKind::CrossEntropy => cross_entropy(emit, loss),
    }
}

/// What each value of an output costs, and the slope of that; both times a factor.
struct Cost {
    each: (Value, f64),
    slopes: Vec<(String, Value, f64)>,
}

/// The element that a loss of this one computes in.
fn computing(element: Element) -> Element {
    let is_half = matches!(element, Element::F16 | Element::Bf16);
    if is_half { Element::F32 } else { element }
}

/// The cost of every value, before weights and means.
fn cost(emit: &mut Emit, loss: &PlacedLoss, error: &Value) -> Result<Cost, InferError> {
    let square = emit.mul(error, error)?;
    let at = |value: Value, factor: f64| vec![(loss.tensor.clone(), value, factor)];
    Ok(match &loss.kind {
        // The classes of a cross-entropy are no values that err.
        LossKind::Mse | LossKind::CrossEntropy => {
            Cost { each: (square, 1.0), slopes: at(error.clone(), 2.0) }
        }
        LossKind::Charbonnier => {
            let sum = emit.shift(&square, CHARBONNIER_EPSILON * CHARBONNIER_EPSILON)?;
            let root = emit.op("Sqrt", &[&sum], &[])?;
            let slope = emit.div(error, &root)?;
            Cost { each: (root, 1.0), slopes: at(slope, 1.0) }
        }
        LossKind::GaussianNll { log_variance } => {
            let element = emit.element(error);
            let s = emit.cast(&Value::named(log_variance), element)?;
            let negative = emit.neg(&s)?;
            let precision = emit.op("Exp", &[&negative], &[])?;
            let slope = emit.mul(error, &precision)?;
            let distance = emit.mul(&square, &precision)?;
            let each = emit.add(&s, &distance)?;
            let mut slopes = at(slope, 1.0);
            slopes.push((log_variance.clone(), emit.one_less(&distance)?, 0.5));
            Cost { each: (each, 0.5), slopes }
        }
    })
}

fn regression(emit: &mut Emit, loss: &PlacedLoss, fed: bool) -> Appended {
    let y = Value::named(&loss.tensor);
    let ty = emit.builder.ty(&y).clone();
    let samples = ty.dims.first().copied().unwrap_or(1);
    let each = ty.values() / samples.max(1);
    let target =
        if fed { input(emit, &loss.target, ty.clone()) } else { Value::named(&loss.target) };
    let element = computing(ty.element);
    let weight = input(emit, &loss.weight, TensorType::new(element, &[samples]));

    let (y, target) = (emit.cast(&y, element)?, emit.cast(&target, element)?);
    let error = emit.sub(&y, &target)?;
    let Cost { each: (costs, factor), slopes } = cost(emit, loss, &error)?;
    let flat = emit.reshape(&costs, &[samples, each])?;
    let sums = emit.reduce_sum(&flat, &[1], false)?;
    let weighed = emit.mul(&sums, &weight)?;
    let total = emit.reduce_sum(&weighed, &[0], false)?;
    let share = loss.factor / (samples * each) as f64;
    let value = emit.scale(&total, factor * share)?;

    let mut column = vec![1; ty.dims.len()];
    if let Some(first) = column.first_mut() {
        *first = samples;
    }
    let mut gradients = Vec::with_capacity(slopes.len());
    for (tensor, slope, factor) in slopes {
        let scaled = emit.scale(&weight, factor * share)?;
        let scaled = emit.reshape(&scaled, &column)?;
        let gradient = emit.mul(&slope, &scaled)?;
        gradients.push((tensor, emit.cast(&gradient, ty.element)?));
    }
    Ok((value, gradients))
}

fn cross_entropy(emit: &mut Emit, loss: &PlacedLoss) -> Appended {
    let y = Value::named(&loss.tensor);
    let ty = emit.builder.ty(&y).clone();
    let axis = ty.dims.len() - 1;
    let classes = ty.dims[axis];
    let dims = &ty.dims[..axis];
    let rows: usize = dims.iter().product();
    let target = input(emit, &loss.target, TensorType::new(Element::I64, dims));
    let element = computing(ty.element);
    let weight = input(emit, &loss.weight, TensorType::new(element, dims));

    let logits = emit.cast(&y, element)?;
    let logits = emit.reshape(&logits, &[rows, classes])?;
    let index = emit.reshape(&target, &[rows, 1])?;
    let weight = emit.reshape(&weight, &[rows, 1])?;
    let (index, weight) = without_ignored(emit, &index, &weight, classes)?;
    let last = [("axis", Attr::Int(1))];
    let log = emit.op("LogSoftmax", &[&logits], &last)?;
    let picked = emit.op("GatherElements", &[&log, &index], &last)?;
    let weighed = emit.mul(&picked, &weight)?;
    let total = emit.reduce_sum(&weighed, &[0, 1], false)?;
    let share = loss.factor / rows as f64;
    let value = emit.scale(&total, -share)?;

    let chance = emit.op("Exp", &[&log], &[])?;
    let numbers: Vec<i64> = (0..classes as i64).collect();
    let numbers = emit.builder.i64s(&numbers);
    let hit = emit.op("Equal", &[&index, &numbers], &[])?;
    let hit = emit.cast(&hit, element)?;
    let error = emit.sub(&chance, &hit)?;
    let factor = emit.scale(&weight, share)?;
    let gradient = emit.mul(&error, &factor)?;
    let gradient = emit.reshape(&gradient, &ty.dims)?;
    let gradient = emit.cast(&gradient, ty.element)?;
    Ok((value, vec![(loss.tensor.clone(), gradient)]))
}

/// An input of the graph that a loss before this one may have made.
fn input(emit: &mut Emit, name: &str, ty: TensorType) -> Value {
    if emit.builder.ty_of(name).is_some() {
        return Value::named(name);
    }
    emit.builder.input(name, ty)
}

/// Targets and weights of rows of which those whose target is no class count nothing: class 0, weight 0.
fn without_ignored(
    emit: &mut Emit,
    target: &Value,
    weight: &Value,
    classes: usize,
) -> Result<(Value, Value), InferError> {
    let [before, zero, end] = [-1, 0, classes as i64].map(|bound| emit.builder.i64s(&[bound]));
    let above = emit.op("Less", &[&before, target], &[])?;
    let below = emit.op("Less", &[target, &end], &[])?;
    let is_class = emit.op("And", &[&above, &below], &[])?;
    let target = emit.op("Where", &[&is_class, target, &zero], &[])?;
    let counts = emit.element(weight);
    let counts = emit.cast(&is_class, counts)?;
    Ok((target, emit.mul(weight, &counts)?))
}
