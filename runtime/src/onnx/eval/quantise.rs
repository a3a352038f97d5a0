//! Quantising of stored values: weights that a file keeps as floats, behind the nodes that quantise them (training aware of it).
//!
//! Divided in float32, as engines do: a value on the edge of two steps falls to the same one.
//! # Source
//! ONNX `QuantizeLinear`: `y = saturate(round(x / scale) + zero point)`, halves to the even.

use crate::onnx::dequantise::parameters;
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::{Tensor, TensorType};

pub(super) const OPERATORS: &[&str] = &["QuantizeLinear"];

pub(super) fn eval(
    node: &NodeProto,
    inputs: &[Option<Tensor>],
    types: &[TensorType],
) -> Option<Vec<Tensor>> {
    if node.op_type() != "QuantizeLinear" {
        return None;
    }
    let ty = types.first()?;
    let (low, high) = ty.element.narrow_bounds()?;
    let x = inputs.first()?.as_ref()?;
    let scales = inputs.get(1)?.as_ref()?.to_f64s();
    let zeros = match inputs.get(2).and_then(Option::as_ref) {
        Some(zeros) => zeros.to_f64s(),
        None => vec![0.0; scales.len()],
    };
    // What ONNX does not say is left to the engine.
    if scales.iter().any(|scale| !scale.is_finite() || *scale == 0.0) {
        return None;
    }
    let place = parameters(node, &x.dims, scales.len());
    let values = x.to_f64s().into_iter().enumerate().map(|(at, x)| {
        let at = place(at);
        let step = (x as f32 / *scales.get(at)? as f32).round_ties_even();
        let value = f64::from(step) + zeros.get(at)?;
        (!value.is_nan()).then(|| value.clamp(low, high))
    });
    let values = values.collect::<Option<Vec<f64>>>()?;
    (values.len() == ty.values()).then(|| vec![Tensor::from_f64s(ty.element, &ty.dims, &values)])
}
