//! What runs a model: one trait, and ONNX Runtime behind it.
