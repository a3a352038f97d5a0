//! Pools whose windows lie apart and whose pads are left to the engine (`auto_pad` SAME): between windows lie values that nothing
//! reads, and by the formula the pads would be negative. ONNX Runtime 1.31.1 refuses to run them; with the pads written out, which
//! are none there, it runs them.
//! # Source
//! ONNX `MaxPool`, `AveragePool`: `pad = (positions − 1) · stride + reach − length`, none where that is negative.

use super::Folder;
use crate::onnx::builder::Attr;
use crate::onnx::infer::Window;
use crate::onnx::proto::NodeProto;

/// The node, with its pads written out if windows lie apart along an axis.
pub(super) fn pads(folder: &Folder<'_>, mut node: NodeProto) -> NodeProto {
    let pools = node.is("MaxPool") || node.is("AveragePool");
    if !pools || !node.text("auto_pad", "NOTSET").starts_with("SAME") {
        return node;
    }
    let ty = node.input_name(0).and_then(|name| folder.types.get(name));
    let Some([_, _, space @ ..]) = ty.map(|ty| ty.dims.as_slice()) else { return node };
    let kernel = node.ints("kernel_shape").unwrap_or_default();
    let kernel: Option<Vec<usize>> = kernel.iter().map(|&k| usize::try_from(k).ok()).collect();
    // What is wrong with it, inference says.
    let Some(Ok(window)) = kernel.map(|kernel| Window::of(&node, space, &kernel)) else {
        return node;
    };
    let apart = (0..space.len()).any(|axis| {
        let reach = window.dilations[axis] * (window.kernel[axis] - 1) + 1;
        (window.out[axis].max(1) - 1) * window.strides[axis] + reach < space[axis]
    });
    if apart {
        let pads = window.begin.iter().chain(&window.end).map(|&pad| pad as i64).collect();
        node.attribute.retain(|a| !["auto_pad", "ceil_mode", "pads"].contains(&a.name()));
        node.attribute.push(Attr::Ints(pads).to_proto("pads"));
    }
    node
}
