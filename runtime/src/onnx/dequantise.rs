//! What a weight stands for that is stored by a scale.

use super::proto::NodeProto;
use super::tensor::{Element, Tensor, TensorType};

/// The element of what a DequantizeLinear gives: the one it says, or that of its scale.
pub(crate) fn dequantised_to(node: &NodeProto, scale: &TensorType) -> Element {
    let said = i32::try_from(node.int("output_dtype", 0)).ok().and_then(Element::from_onnx);
    said.filter(|element| element.is_float()).unwrap_or(scale.element)
}

/// What a DequantizeLinear makes of a stored tensor: by one scale, by one for each index of an axis, or by blocks of it.
pub(crate) fn dequantised(
    node: &NodeProto,
    file: &Tensor,
    stored: impl Fn(&str) -> Option<Tensor>,
) -> Result<Tensor, &'static str> {
    let scales = node.input_name(1).and_then(&stored).ok_or("its scale is not stored")?;
    let zeros = match node.input_name(2) {
        Some(name) => stored(name).ok_or("its zero point is not stored")?.to_f64s(),
        None => vec![0.0; scales.data.len()],
    };
    let by = scales.to_f64s();
    if by.len() != zeros.len() {
        return Err("its scale and its zero point differ in shape");
    }
    let place = parameters(node, &file.dims, by.len());
    let values = file.to_f64s().into_iter().enumerate().map(|(at, q)| {
        let at = place(at);
        Some((q - zeros.get(at)?) * by.get(at)?)
    });
    let values = values.collect::<Option<Vec<f64>>>().ok_or("its scale does not fit it")?;
    Ok(Tensor::from_f64s(dequantised_to(node, &scales.ty()), &file.dims, &values))
}

/// Which of so many scales is that of a value, by its place in a tensor of these dimensions: one for all, one for each index of the
/// node's axis, or one a block of it.
pub(crate) fn parameters(
    node: &NodeProto,
    dims: &[usize],
    count: usize,
) -> impl Fn(usize) -> usize + use<> {
    let axis = super::infer::axis_of(node.int("axis", 1), dims.len()).unwrap_or(0);
    let length = dims.get(axis).copied().unwrap_or(1);
    let inner: usize = dims.iter().skip(axis + 1).product();
    let block = usize::try_from(node.int("block_size", 0)).ok().filter(|&b| b > 0);
    move |at: usize| match (count, block) {
        (1, _) => 0,
        (_, None) => at / inner.max(1) % length.max(1),
        (_, Some(block)) => {
            let (outer, along) =
                (at / inner.max(1) / length.max(1), at / inner.max(1) % length.max(1));
            (outer * length.div_ceil(block) + along / block) * inner + at % inner.max(1)
        }
    }
}
