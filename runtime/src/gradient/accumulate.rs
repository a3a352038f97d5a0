//! Sums what the consumers of a tensor gave to its gradient.
//!
//! Pieces (of `Slice`, `Split`, `Concat`'s sources) are not padded one by one: those that do not overlap
//! are laid side by side in one `Concat`, so 15 slices of one tensor cost one copy of it, not 15 padded
//! tensors and 14 sums.

use crate::onnx::{InferError, Value};

use super::emit::Emit;

/// A share of the gradient of one tensor.
#[derive(Clone, Debug)]
pub(super) struct Part {
    value: Value,
    negative: bool,
    /// Where it begins, if it is a piece; a whole share may still have to be repeated.
    starts: Option<Vec<usize>>,
}

impl Part {
    /// A share of the whole tensor, or of fewer values that are repeated.
    pub(super) fn whole(value: Value) -> Part {
        Part { value, negative: false, starts: None }
    }

    /// A share of the part of the tensor that begins at `starts`.
    pub(super) fn piece(value: Value, starts: Vec<usize>) -> Part {
        Part { value, negative: false, starts: Some(starts) }
    }

    /// The same share, subtracted.
    pub(super) fn negative(self) -> Part {
        Part { negative: !self.negative, ..self }
    }
}

/// The sum of all parts, with exactly the dimensions `dims`; `None` if there is none.
pub(super) fn sum(
    emit: &mut Emit,
    dims: &[usize],
    parts: &[Part],
) -> Result<Option<Value>, InferError> {
    let mut wholes = Vec::new();
    let mut pieces = Vec::new();
    for part in parts {
        match &part.starts {
            None => wholes.push((part.value.clone(), part.negative)),
            Some(starts) => pieces.push(Piece::new(emit, part, starts)?),
        }
    }
    for layer in layers(dims, pieces) {
        wholes.push((fill(emit, dims, &layer)?, false));
    }
    // Full shares first, so that the sum has its dimensions at once; a share added before subtracted ones.
    wholes.sort_by_key(|(value, negative)| (emit.builder.ty(value).dims != dims, *negative));
    let mut wholes = wholes.into_iter();
    let Some((first, negative)) = wholes.next() else { return Ok(None) };
    let mut total = if negative { emit.neg(&first)? } else { first };
    for (value, negative) in wholes {
        total = if negative { emit.sub(&total, &value)? } else { emit.add(&total, &value)? };
    }
    emit.expand(&total, dims).map(Some)
}

/// A box of a tensor, with its share.
#[derive(Clone, Debug)]
struct Piece {
    value: Value,
    starts: Vec<usize>,
    ends: Vec<usize>,
}

impl Piece {
    fn new(emit: &mut Emit, part: &Part, starts: &[usize]) -> Result<Piece, InferError> {
        let value = if part.negative { emit.neg(&part.value)? } else { part.value.clone() };
        let ends = starts.iter().zip(emit.dims(&value)).map(|(s, d)| s + d).collect();
        Ok(Piece { value, starts: starts.to_vec(), ends })
    }

    /// The one axis along which this piece is not the whole tensor; 0 if it is all of it.
    fn strip(&self, dims: &[usize]) -> Option<usize> {
        let mut partial =
            (0..dims.len()).filter(|&i| self.starts[i] != 0 || self.ends[i] != dims[i]);
        match (partial.next(), partial.next()) {
            (None, _) => Some(0),
            (Some(axis), None) => Some(axis),
            (Some(_), Some(_)) => None,
        }
    }
}

/// Groups pieces so that those of one group lie side by side along one axis; boxes stay alone.
///
/// Interval partitioning, earliest start first: no grouping along one axis has fewer groups.
fn layers(dims: &[usize], pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let mut layers: Vec<Vec<Piece>> = Vec::new();
    for axis in 0..dims.len() {
        let mut strips: Vec<&Piece> =
            pieces.iter().filter(|p| p.strip(dims) == Some(axis)).collect();
        strips.sort_by_key(|p| p.starts[axis]);
        let first = layers.len();
        for strip in strips {
            let end = |layer: &Vec<Piece>| layer.last().map_or(0, |p| p.ends[axis]);
            match layers[first..].iter_mut().find(|layer| end(layer) <= strip.starts[axis]) {
                Some(layer) => layer.push(strip.clone()),
                None => layers.push(vec![strip.clone()]),
            }
        }
    }
    layers.extend(pieces.into_iter().filter(|p| p.strip(dims).is_none()).map(|p| vec![p]));
    layers
}

/// One group as a full tensor: zeros where no piece lies.
fn fill(emit: &mut Emit, dims: &[usize], layer: &[Piece]) -> Result<Value, InferError> {
    if let [piece] = layer {
        let after: Vec<usize> = dims.iter().zip(&piece.ends).map(|(d, e)| d - e).collect();
        return emit.pad(&piece.value, &piece.starts, &after);
    }
    let axis = layer[0].strip(dims).unwrap_or(0);
    let mut row = Vec::new();
    let mut at = 0;
    for piece in layer {
        gap(emit, dims, (axis, at, piece.starts[axis]), &piece.value, &mut row)?;
        row.push(piece.value.clone());
        at = piece.ends[axis];
    }
    gap(emit, dims, (axis, at, dims[axis]), &layer[0].value, &mut row)?;
    emit.concat(&row, axis)
}

/// Appends zeros for the part of an axis from `at` to `next`.
fn gap(
    emit: &mut Emit,
    dims: &[usize],
    (axis, at, next): (usize, usize, usize),
    like: &Value,
    row: &mut Vec<Value>,
) -> Result<(), InferError> {
    if next > at {
        let mut hole = dims.to_vec();
        hole[axis] = next - at;
        row.push(emit.zeros(&hole, like)?);
    }
    Ok(())
}
