//! What tests of this and of other crates share: the engines of this machine.

use super::LoadOptions;
use crate::onnx::{Attr, Builder, InferError, Model, TensorType};

/// The variable that makes a missing library a failure: set in CI.
pub const REQUIRE_VARIABLE: &str = "SHOAL_REQUIRE_ORT";

/// ONNX Runtime, if this machine has it; otherwise says on standard error that the test is skipped.
///
/// # Panics
/// If there is none and `SHOAL_REQUIRE_ORT` is 1: a skipped test must not look like a passed one.
#[cfg(feature = "ort")]
#[track_caller]
pub fn ort_or_skip() -> Option<super::ort::Ort> {
    match super::ort::Ort::load_library(None) {
        Ok(ort) => Some(ort),
        Err(error) => {
            let required = std::env::var_os(REQUIRE_VARIABLE).is_some_and(|value| value == "1");
            assert!(!required, "{REQUIRE_VARIABLE}=1 and {error}");
            eprintln!("SKIPPED {}: {error}", std::panic::Location::caller());
            None
        }
    }
}

/// Options under which every engine computes what the graph says, with as little as possible
/// rearranged.
pub fn plain_options() -> LoadOptions {
    LoadOptions { optimise: super::Optimise::Basic, ..LoadOptions::default() }
}

/// The smallest training graph: `loss` = mean (x·w − t)², by hand.
///
/// Inputs `x` `[batch, wide]`, `target.y` `[batch, out]`, `w` `[wide, out]`; outputs `y`, `loss`,
/// `grad.w` = 2 ÷ (batch · out) · xᵀ·(x·w − t).
///
/// # Errors
/// None in practice: the operators are known.
pub fn regression(batch: usize, wide: usize, out: usize) -> Result<Model, InferError> {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[batch, wide]));
    let target = b.input("target.y", TensorType::f32(&[batch, out]));
    let w = b.input("w", TensorType::f32(&[wide, out]));
    let y = b.op("MatMul", &[&x, &w], &[])?;
    let difference = b.op("Sub", &[&y, &target], &[])?;
    let square = b.op("Mul", &[&difference, &difference], &[])?;
    let loss = b.op("ReduceMean", &[&square], &[("keepdims", Attr::Int(0))])?;
    let transposed = b.op("Transpose", &[&x], &[("perm", Attr::Ints(vec![1, 0]))])?;
    let sum = b.op("MatMul", &[&transposed, &difference], &[])?;
    let scale = b.scalar(2.0 / (batch * out) as f32);
    let gradient = b.op("Mul", &[&sum, &scale], &[])?;
    b.output("y", &y);
    b.output("loss", &loss);
    b.output("grad.w", &gradient);
    Ok(b.into_model())
}
