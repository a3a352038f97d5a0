//! How much a gradient stores. What a rule makes is as large as an attribute or a dimension says, not as the file is: every constant of
//! more than a few values is asked for here before it is made.

use crate::onnx::{Builder, Element, Tensor, Value};

use super::Reason;

/// The most values of one constant that a rule makes. A file of a kilobyte must not ask for terabytes.
const VALUES_MAX: usize = 1 << 24;

/// The values of a constant, if a graph may store that many.
pub(super) fn fits(dims: &[usize]) -> Result<usize, Reason> {
    let values = dims.iter().try_fold(1_usize, |values, &dim| values.checked_mul(dim));
    let values = values.filter(|&values| values <= VALUES_MAX);
    values.ok_or_else(|| Reason::TooLarge { dims: dims.to_vec(), max: VALUES_MAX })
}

/// A constant of one value throughout.
pub(super) fn filled(
    b: &mut Builder,
    element: Element,
    dims: &[usize],
    value: f64,
) -> Result<Value, Reason> {
    let values = vec![value; fits(dims)?];
    Ok(b.constant_of(&Tensor::from_f64s(element, dims, &values)))
}
