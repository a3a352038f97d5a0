//! Graphs as exporters write them, node by node.

use shoal_runtime::onnx::proto::{
    Dimension, GraphProto, NodeProto, ValueInfoProto, dimension, type_proto,
};
use shoal_runtime::onnx::{Attr, FoldWhy, Folded, Model, PinOptions, TensorType, fold, pin};

pub(crate) fn node(
    op: &str,
    inputs: &[&str],
    outputs: &[&str],
    attrs: &[(&str, Attr)],
) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
    NodeProto {
        input: owned(inputs),
        output: owned(outputs),
        op_type: Some(op.to_owned()),
        attribute: attrs.iter().map(|(name, attr)| attr.to_proto(name)).collect(),
        ..NodeProto::default()
    }
}

/// A float32 input whose axes are numbers or names.
pub(crate) fn input(name: &str, axes: &[&str]) -> ValueInfoProto {
    let mut info = TensorType::f32(&vec![1; axes.len()]).to_value_info(name);
    let ty = info.r#type.as_mut().unwrap().value.as_mut().unwrap();
    let type_proto::Value::TensorType(tensor) = ty else { unreachable!() };
    tensor.shape.as_mut().unwrap().dim = axes
        .iter()
        .map(|axis| Dimension {
            value: Some(match axis.parse() {
                Ok(number) => dimension::Value::DimValue(number),
                Err(_) => dimension::Value::DimParam((*axis).to_owned()),
            }),
            denotation: None,
        })
        .collect();
    info
}

pub(crate) fn graph(
    inputs: Vec<ValueInfoProto>,
    nodes: Vec<NodeProto>,
    output: &str,
) -> GraphProto {
    GraphProto {
        input: inputs,
        node: nodes,
        output: vec![TensorType::f32(&[]).to_value_info(output)],
        ..GraphProto::default()
    }
}

pub(crate) fn folded(graph: GraphProto, opset: i64) -> Result<Folded, FoldWhy> {
    fold(&pin(&Model::new(graph, opset), &PinOptions::default()).unwrap()).map_err(|e| e.why)
}

pub(crate) fn operators(folded: &Folded) -> Vec<&str> {
    folded.model.graph().node.iter().map(NodeProto::op_type).collect()
}
