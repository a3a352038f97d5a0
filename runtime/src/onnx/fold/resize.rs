//! Scales of `Resize` whose product with a length is whole in float32 and less than that in float64 (1.1666666 · 6): ONNX
//! Runtime's kernel has the one, its inference of shapes the other, and a graph that names the shape does not load. The lengths
//! that come of it, in the place of scales that are made of them, say the same to both, and every place stays where it was; of
//! other scales the next float32 above.
//! # Source
//! ONNX `Resize`: `output = floor(input · scale)`. tf2onnx writes such scales of sizes.

use super::{Folder, Known};
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::Tensor;

/// The node, with scales that are no whole number's from below.
pub(super) fn scales(folder: &mut Folder<'_>, mut node: NodeProto) -> NodeProto {
    let Some(name) = node.input_name(2).filter(|_| node.is("Resize")) else { return node };
    let Some(scales) = folder.constant(name) else { return node };
    let ty = node.input_name(0).and_then(|name| folder.types.get(name));
    let (Some(given), Some(ty)) = (scales.as_f32(), ty) else { return node };
    let axes = node.ints("axes").map(<[i64]>::to_vec);
    let axes = axes.unwrap_or_else(|| (0..ty.rank() as i64).collect());
    let length = |place: usize| {
        let axis = crate::onnx::infer::axis_of(*axes.get(place)?, ty.rank()).ok()?;
        ty.dims.get(axis).copied()
    };
    let above = given.iter().enumerate().map(|(place, &scale)| match length(place) {
        Some(length) => from_above(scale, length),
        None => scale,
    });
    let above: Vec<f32> = above.collect();
    if above == given {
        return node;
    }
    let size = |(place, &scale): (usize, &f32)| {
        let length = length(place)?;
        let whole = (length as f32 * scale).floor();
        (whole / length as f32 == scale).then_some(whole as i64)
    };
    let sizes: Option<Vec<i64>> = given.iter().enumerate().map(size).collect();
    let value = match &sizes {
        Some(sizes) => Tensor::i64s(sizes),
        None => Tensor::f32(&scales.dims, &above),
    };
    let name = folder.fresh_name(name);
    folder.know(&name, value.ty(), Known::Made(value));
    node.input.truncate(2);
    if sizes.is_some() {
        node.input.push(String::new());
    }
    node.input.push(name);
    node
}

fn from_above(scale: f32, length: usize) -> f32 {
    let whole = (length as f32 * scale).floor();
    let exact = |scale: f32| (length as f64 * f64::from(scale)).floor();
    let above = scale.next_up();
    let differs = exact(scale) < f64::from(whole);
    let helps = exact(above) == f64::from(whole) && (length as f32 * above).floor() == whole;
    if differs && helps { above } else { scale }
}
