//! Terms of the loss that keep what is trained near a place x_p: a pull of the values, and distillation of what they give.
//!
//! ```text
//! pull             (k/2)·Σ (x − x_p)²
//! by importance    (k/2)·Σ f·(x − x_p)²                               f as x
//! distil           Σ_b w_b · mean_i (y_bi(x) − y_bi(x_p))² / B        w [B]; on every tensor that a loss sits on
//! ```
//! x_p, k, f and w are inputs of the graph, so that they change without another graph; inputs that nobody writes are zeros,
//! and a term with them is none. y(x_p) is computed in the same graph: what depends on x is there once more.
//! # Source
//! The pull is that of `FedProx`, arXiv 1812.06127, equation 2; with the diagonal of the Fisher matrix at x_p as importance,
//! elastic weight consolidation, Kirkpatrick et al., arXiv 1612.00796, equation 3. Squared error of what a softmax reads is its
//! distillation at a high temperature: Hinton et al., arXiv 1503.02531, section 2.1.

use std::collections::{BTreeMap, BTreeSet};

use crate::onnx::proto::NodeProto;
use crate::onnx::{Element, InferError, TensorType, Value};

use super::emit::Emit;
use super::{LossKind, PlacedLoss};

/// What an input begins with that holds the place of a wanted input; the rest is the name of that input.
pub const PLACE: &str = "keep.place.";
/// What an input begins with that holds how much each value of a wanted input matters.
pub const IMPORTANCE: &str = "keep.importance.";
/// The input with the strength k of the pull, float32 of rank 0.
pub const STRENGTH: &str = "keep.strength";
/// The output that the pull is told by.
pub const PULL_TERM: &str = "loss.keep";
/// What stands before the name of a tensor where distillation's weight and term are named.
const DISTIL: &str = "distil.";

/// Terms beside the losses; the default has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Pull the wanted inputs towards their place.
    pub pull: Option<Pull>,
    /// Hold what the graph gives to what it gives at the place, on every tensor that a loss sits on.
    pub distil: bool,
}

/// How the values of the wanted inputs are pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// All alike.
    Even,
    /// Each as much as it matters.
    ByImportance,
}

impl Keep {
    /// Whether there is no term.
    pub fn is_nothing(self) -> bool {
        self == Keep::default()
    }

    /// The inputs and outputs that the terms add to a graph.
    pub(super) fn names(self, wanted: &[String], losses: &[PlacedLoss]) -> Vec<String> {
        let mut names = Vec::new();
        if !self.is_nothing() {
            names.extend(wanted.iter().map(|input| format!("{PLACE}{input}")));
        }
        if let Some(pull) = self.pull {
            names.extend([STRENGTH.to_owned(), PULL_TERM.to_owned()]);
            if pull == Pull::ByImportance {
                names.extend(wanted.iter().map(|input| format!("{IMPORTANCE}{input}")));
            }
        }
        if self.distil {
            let of = |tensor: &str| [distil_weight(tensor), distil_term(tensor)];
            names.extend(tensors(losses).into_iter().flat_map(of));
        }
        names
    }
}

fn distil_weight(tensor: &str) -> String {
    format!("weight.{DISTIL}{tensor}")
}

/// The tensors that losses sit on, each once, in their order.
fn tensors(losses: &[PlacedLoss]) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    let all = losses.iter().map(|loss| loss.tensor.as_str());
    all.filter(|tensor| seen.insert(*tensor)).collect()
}

/// The output that distillation on a tensor is told by.
fn distil_term(tensor: &str) -> String {
    format!("loss.{DISTIL}{tensor}")
}

/// The place of each wanted input, as an input of its type.
pub(super) fn places(emit: &mut Emit, wanted: &[String]) -> BTreeMap<String, Value> {
    let mut places = BTreeMap::new();
    for name in wanted {
        let ty = emit.builder.ty(&Value::named(name)).clone();
        places.insert(name.clone(), emit.builder.input(&format!("{PLACE}{name}"), ty));
    }
    places
}

/// Writes what a loss sits on, as far as it depends on the wanted inputs, once more, as it is at their place: losses of
/// distillation from there.
pub(super) fn distil(
    emit: &mut Emit,
    nodes: &[NodeProto],
    places: &BTreeMap<String, Value>,
    losses: &[PlacedLoss],
) -> Result<Vec<PlacedLoss>, InferError> {
    let mut needed: BTreeSet<&str> = losses.iter().map(|loss| loss.tensor.as_str()).collect();
    for node in nodes.iter().rev() {
        if node.output.iter().any(|name| needed.contains(name.as_str())) {
            needed.extend(node.names_read());
        }
    }
    let mut there = places.clone();
    for node in nodes {
        let is_needed = node.output.iter().any(|name| needed.contains(name.as_str()));
        if !is_needed || !node.input.iter().any(|name| there.contains_key(name)) {
            continue;
        }
        let reads: Vec<Value> = node
            .input
            .iter()
            .map(|name| there.get(name).cloned().unwrap_or_else(|| Value::named(name)))
            .collect();
        let reads: Vec<&Value> = reads.iter().collect();
        let values = emit.again(node, &reads, node.output.len())?;
        let pairs = node.output.iter().cloned().zip(values).filter(|(name, _)| !name.is_empty());
        there.extend(pairs);
    }
    let of = |tensor: &str| {
        let loss = losses.iter().find(|loss| loss.tensor == tensor)?;
        let target = there.get(tensor)?.name().to_owned();
        let (weight, term) = (distil_weight(tensor), distil_term(tensor));
        Some(PlacedLoss { kind: LossKind::Mse, factor: 1.0, target, weight, term, ..loss.clone() })
    };
    Ok(tensors(losses).into_iter().filter_map(of).collect())
}

/// Adds the pull to the gradients of the wanted inputs; returns its value, float32 of rank 0.
pub(super) fn pull(
    emit: &mut Emit,
    pull: Pull,
    places: &BTreeMap<String, Value>,
    gradients: &mut [(String, Value)],
) -> Result<Option<Value>, InferError> {
    let strength = emit.builder.input(STRENGTH, TensorType::f32(&[]));
    let mut sum: Option<Value> = None;
    for (name, gradient) in gradients {
        let Some(place) = places.get(name) else { continue };
        let x = Value::named(name);
        let away = emit.sub(&x, place)?;
        let weighed = match pull {
            Pull::Even => away.clone(),
            Pull::ByImportance => {
                let ty = emit.builder.ty(&x).clone();
                let importance = emit.builder.input(&format!("{IMPORTANCE}{name}"), ty);
                emit.mul(&away, &importance)?
            }
        };
        let element = emit.element(&x);
        let scale = emit.cast(&strength, element)?;
        let slope = emit.mul(&weighed, &scale)?;
        *gradient = emit.add(gradient, &slope)?;
        let cost = emit.mul(&slope, &away)?;
        let axes: Vec<usize> = (0..emit.dims(&cost).len()).collect();
        let cost = emit.reduce_sum(&cost, &axes, false)?;
        let cost = emit.cast(&cost, Element::F32)?;
        sum = Some(match sum {
            Some(sum) => emit.add(&sum, &cost)?,
            None => cost,
        });
    }
    sum.map(|sum| emit.scale(&sum, 0.5)).transpose()
}
