//! What runs a model: read ONNX → pin and fold → graft LoRA factors → differentiate → run → train → bake.
//!
//! Training is an ordinary ONNX graph: [`graft`] turns a model's weights into sites with factors as graph
//! inputs, [`gradient`] appends a loss and its gradients by reverse-mode differentiation, an [`engine`] runs
//! the result, [`train`] optimises, and [`bake`] folds an adapter into a plain ONNX again.
//!
//! This crate knows nothing of cameras, vehicles and swarms.

pub mod adapter;
pub mod bake;
pub mod compare;
pub mod draw;
pub mod engine;
pub mod fit;
pub mod gradient;
pub mod graft;
pub mod inspect;
pub mod many;
pub mod onnx;
pub mod rollout;
pub mod train;
