//! Losses: what training minimises, and its gradient at the tensor it sits on.
//!
//! ```text
//! mse             Σ_b w_b · mean_i (y_bi − t_bi)² / B            w [B]
//! cross-entropy   Σ_j w_j · −log softmax(y_j)[t_j] / J           w, t as y without its last axis; J = values of t
//! ```
//! `y` of a cross-entropy holds logits, classes on its last axis. A tensor of rank 0 is one sample.
//! Every axis after the first is one sample's for mse.
//! # Source
//! The gradients 2·w_b·(y − t)/(B·n) and w_j·(softmax(y_j) − one-hot(t_j))/J follow by hand; they are
//! checked against finite differences and against PyTorch.

use crate::onnx::{Attr, Element, InferError, TensorType, Value};

use super::emit::Emit;
use super::{LossKind, PlacedLoss};

/// Appends a loss; gives its value (rank 0) and its gradient at the tensor.
pub(super) fn append(emit: &mut Emit, loss: &PlacedLoss) -> Result<(Value, Value), InferError> {
    match loss.kind {
        LossKind::Mse => squared_error(emit, loss),
        LossKind::CrossEntropy => cross_entropy(emit, loss),
    }
}

fn squared_error(emit: &mut Emit, loss: &PlacedLoss) -> Result<(Value, Value), InferError> {
    let y = Value::named(&loss.tensor);
    let ty = emit.builder.ty(&y).clone();
    let samples = ty.dims.first().copied().unwrap_or(1);
    let each = ty.values() / samples.max(1);
    let target = emit.builder.input(&loss.target, ty.clone());
    let weight = emit.builder.input(&loss.weight, TensorType::new(ty.element, &[samples]));

    let error = emit.sub(&y, &target)?;
    let square = emit.mul(&error, &error)?;
    let flat = emit.reshape(&square, &[samples, each])?;
    let sums = emit.reduce_sum(&flat, &[1], false)?;
    let weighed = emit.mul(&sums, &weight)?;
    let total = emit.reduce_sum(&weighed, &[0], false)?;
    let count = (samples * each) as f64;
    let value = emit.scale(&total, 1.0 / count)?;

    let factor = emit.scale(&weight, 2.0 / count)?;
    let mut column = vec![1; ty.dims.len()];
    if let Some(first) = column.first_mut() {
        *first = samples;
    }
    let factor = emit.reshape(&factor, &column)?;
    let gradient = emit.mul(&error, &factor)?;
    Ok((value, gradient))
}

fn cross_entropy(emit: &mut Emit, loss: &PlacedLoss) -> Result<(Value, Value), InferError> {
    let y = Value::named(&loss.tensor);
    let ty = emit.builder.ty(&y).clone();
    let axis = ty.dims.len() - 1;
    let classes = ty.dims[axis];
    let dims = &ty.dims[..axis];
    let rows: usize = dims.iter().product();
    let target = emit.builder.input(&loss.target, TensorType::new(Element::I64, dims));
    let weight = emit.builder.input(&loss.weight, TensorType::new(ty.element, dims));

    let logits = emit.reshape(&y, &[rows, classes])?;
    let index = emit.reshape(&target, &[rows, 1])?;
    let weight = emit.reshape(&weight, &[rows, 1])?;
    let last = [("axis", Attr::Int(1))];
    let log = emit.op("LogSoftmax", &[&logits], &last)?;
    let picked = emit.op("GatherElements", &[&log, &index], &last)?;
    let weighed = emit.mul(&picked, &weight)?;
    let total = emit.reduce_sum(&weighed, &[0, 1], false)?;
    let value = emit.scale(&total, -1.0 / rows as f64)?;

    let chance = emit.op("Exp", &[&log], &[])?;
    let numbers: Vec<i64> = (0..classes as i64).collect();
    let numbers = emit.builder.i64s(&numbers);
    let hit = emit.op("Equal", &[&index, &numbers], &[])?;
    let hit = emit.op("Cast", &[&hit], &[("to", Attr::Int(i64::from(ty.element.to_onnx())))])?;
    let error = emit.sub(&chance, &hit)?;
    let factor = emit.scale(&weight, 1.0 / rows as f64)?;
    let gradient = emit.mul(&error, &factor)?;
    let gradient = emit.reshape(&gradient, &ty.dims)?;
    Ok((value, gradient))
}
