//! Frames of one byte a channel into float tensors.
