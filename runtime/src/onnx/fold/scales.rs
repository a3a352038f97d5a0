//! QuantizeLinear and DequantizeLinear by scales of float16 or bfloat16: before operator set 19 there are none in the standard,
//! though ONNX Runtime's own operators have them. They are written by the same scales in float32, between Casts.

use super::Folder;
use crate::onnx::builder::Attr;
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::Element;

/// From here on scales may be of float16 and bfloat16.
const OPSET_HALF: i64 = 19;

/// The nodes that do the same by scales of float32; `None` if the node is one of this operator set.
pub(super) fn in_float32(folder: &mut Folder<'_>, node: &NodeProto) -> Option<Vec<NodeProto>> {
    let dequantises = node.is("DequantizeLinear");
    if folder.opset >= OPSET_HALF || !(dequantises || node.is("QuantizeLinear")) {
        return None;
    }
    let scale = node.input_name(1)?.to_owned();
    let element = folder.types.get(&scale)?.element;
    if !matches!(element, Element::F16 | Element::Bf16) {
        return None;
    }
    let cast = |from: &str, output: &str, to: Element| {
        let to = Attr::Int(i64::from(to.to_onnx())).to_proto("to");
        NodeProto::operator("Cast", vec![from.to_owned()], output, vec![to])
    };
    let mut wide = node.clone();
    let mut nodes = vec![cast(&scale, &folder.fresh_name(&scale), Element::F32)];
    if !dequantises {
        let x = node.input_name(0)?;
        nodes.push(cast(x, &folder.fresh_name(x), Element::F32));
    }
    for (input, before) in [1, 0].into_iter().zip(&nodes) {
        wide.input[input] = before.output_name(0).to_owned();
    }
    if !dequantises {
        nodes.push(wide);
        return Some(nodes);
    }
    let output = node.output_name(0);
    let real = folder.fresh_name(output);
    wide.output = vec![real.clone()];
    nodes.extend([wide, cast(&real, output, element)]);
    Some(nodes)
}
