//! Computes nodes whose inputs are all known, for constant folding. Slow and plain: it runs once.
//!
//! Arithmetic on floats is done in f64 and rounded once, so that + − × ÷ √ are those of IEEE 754; the rest is
//! `libm`'s: the constants of a folded graph are the same on every computer.

mod arithmetic;
mod movement;
mod quantise;

use super::model::is_standard;
use super::proto::NodeProto;
use super::tensor::{Tensor, TensorType};

/// The outputs of `node`, which have the types `types` (as inferred). `None` if the operator is not
/// computed here, or the inputs make no sense.
pub(crate) fn eval(
    node: &NodeProto,
    inputs: &[Option<Tensor>],
    types: &[TensorType],
) -> Option<Vec<Tensor>> {
    if !is_known(node) {
        return None;
    }
    movement::eval(node, inputs, types)
        .or_else(|| arithmetic::eval(node, inputs, types))
        .or_else(|| quantise::eval(node, inputs, types))
}

/// Whether [`eval`] knows the operator at all; one of another domain means another thing by the same name.
pub(crate) fn is_known(node: &NodeProto) -> bool {
    let op = node.op_type();
    let known = [movement::OPERATORS, arithmetic::OPERATORS, quantise::OPERATORS];
    is_standard(node.domain()) && known.iter().any(|operators| operators.contains(&op))
}

/// Row-major strides.
fn strides(dims: &[usize]) -> Vec<isize> {
    let mut strides = vec![0; dims.len()];
    let mut stride = 1isize;
    for (i, &d) in dims.iter().enumerate().rev() {
        strides[i] = stride;
        stride *= d as isize;
    }
    strides
}

/// Strides that read a tensor of dimensions `from` as if it were broadcast to `to`.
fn broadcast_strides(from: &[usize], to: &[usize]) -> Vec<isize> {
    let own = strides(from);
    let lead = to.len() - from.len();
    (0..to.len())
        .map(|i| match i.checked_sub(lead) {
            Some(j) if from[j] != 1 => own[j],
            _ => 0,
        })
        .collect()
}

/// Where each value of a tensor of dimensions `dims` is read from, in row-major order.
fn offsets(dims: &[usize], strides: &[isize], first: isize) -> Vec<usize> {
    let count = dims.iter().product();
    let mut out = Vec::with_capacity(count);
    let mut at = vec![0usize; dims.len()];
    let mut offset = first;
    for _ in 0..count {
        out.push(offset as usize);
        for axis in (0..dims.len()).rev() {
            at[axis] += 1;
            offset += strides[axis];
            if at[axis] < dims[axis] {
                break;
            }
            offset -= strides[axis] * dims[axis] as isize;
            at[axis] = 0;
        }
    }
    out
}
