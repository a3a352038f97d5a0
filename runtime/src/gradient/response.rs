//! Writes `LRN` (local response normalisation) as what it computes.
//!
//! ```text
//! y = x / (bias + α/size · Σ x²)^β     the sum over ⌊(size − 1)/2⌋ channels before and ⌈(size − 1)/2⌉ after
//! ```
//! The sum is a convolution along the channels, laid out as rows of a picture.
//! # Source
//! ONNX `LRN`; Krizhevsky et al., ImageNet classification with deep convolutional neural networks (2012), section 3.3.

use crate::onnx::proto::NodeProto;
use crate::onnx::{Attr, Builder, Tensor, Value};

use super::expand::{Stop, name};
use super::recurrent::reshape;
use super::{Reason, stored};

pub(super) fn write(b: &mut Builder, node: &NodeProto) -> Result<(), Stop> {
    let x = node.input_name(0).map(Value::named).ok_or(Reason::Missing { index: 0 })?;
    let ty = b.ty(&x).clone();
    let [batch, channels, space @ ..] = ty.dims.as_slice() else {
        return Err(Reason::Attribute { name: "size", value: format!("of {ty}") }.into());
    };
    let size = usize::try_from(node.int("size", 1)).ok().filter(|size| *size > 0);
    let size = size.ok_or_else(|| {
        let value = node.int("size", 1).to_string();
        Stop::Refused(Reason::Attribute { name: "size", value })
    })?;
    let constant = |b: &mut Builder, value: f32| {
        let tensor = Tensor::from_f64s(ty.element, &[], &[f64::from(value)]);
        b.constant_of(&tensor)
    };
    let square = b.op("Mul", &[&x, &x], &[])?;
    let rows = [*batch, 1, *channels, space.iter().product()];
    let square = reshape(b, &square, &rows)?;
    // No further than there are channels.
    let before = ((size - 1) / 2).min(*channels);
    let after = (size / 2).min(*channels);
    let reach = before + 1 + after;
    let kernel = stored::filled(b, ty.element, &[1, 1, reach, 1], 1.0)?;
    let pads = vec![before as i64, 0, after as i64, 0];
    let sum = b.op("Conv", &[&square, &kernel], &[("pads", Attr::Ints(pads))])?;
    let sum = reshape(b, &sum, &ty.dims)?;
    let each = constant(b, node.float("alpha", 1e-4) / size as f32);
    let sum = b.op("Mul", &[&sum, &each], &[])?;
    let bias = constant(b, node.float("bias", 1.0));
    let base = b.op("Add", &[&sum, &bias], &[])?;
    let power = constant(b, -node.float("beta", 0.75));
    let factor = b.op("Pow", &[&base, &power], &[])?;
    let y = b.op("Mul", &[&x, &factor], &[])?;
    name(b, node, 0, &y)?;
    Ok(())
}
