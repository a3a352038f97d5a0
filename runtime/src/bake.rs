//! Folding an adapter into a plain ONNX of the same topology.
