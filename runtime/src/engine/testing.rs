//! What tests of this and of other crates share: the engines of this machine.

use super::LoadOptions;
use crate::onnx::{Attr, Builder, Folded, InferError, Model, Tensor, TensorType, Value};

/// The variable that makes a missing library a failure: set in CI.
pub const REQUIRE_VARIABLE: &str = "SHOAL_REQUIRE_ORT";

/// ONNX Runtime, if this machine has it; otherwise says on standard error that the test is skipped.
///
/// # Panics
/// If there is none and `SHOAL_REQUIRE_ORT` is 1: a skipped test must not look like a passed one.
#[cfg(feature = "ort")]
#[track_caller]
pub fn ort_or_skip() -> Option<super::ort::Ort> {
    use std::io::Write;

    match super::ort::Ort::load_library(None) {
        Ok(ort) => Some(ort),
        Err(error) => {
            let required = std::env::var_os(REQUIRE_VARIABLE).is_some_and(|value| value == "1");
            assert!(!required, "{REQUIRE_VARIABLE}=1 and {error}");
            // Past the capture of the test harness: a skipped test must be seen.
            let place = std::panic::Location::caller();
            let _ = writeln!(std::io::stderr(), "SKIPPED {place}: {error}");
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

/// A model with a site of every lowering: Conv with stride, grouped Conv, MatMul of three
/// dimensions, Gemm, and between them activations, a normalisation and a softmax.
///
/// Input `image` `[2, 3, 8, 8]`, output `y` `[2, 5]`; weights `conv`, `depth`, `mix`, `head`,
/// biases `head.bias`, deterministic.
///
/// # Errors
/// None in practice: the operators are known.
pub fn small_model() -> Result<Folded, InferError> {
    let mut b = Builder::new(17);
    let weight = |b: &mut Builder, name: &str, dims: &[usize], scale: f32| {
        let count: usize = dims.iter().product();
        let values: Vec<f32> = noise(name.len(), count).iter().map(|v| v * scale).collect();
        b.initializer(name, &Tensor::f32(dims, &values))
    };
    let image = b.input("image", TensorType::f32(&[2, 3, 8, 8]));
    let conv = weight(&mut b, "conv", &[8, 3, 3, 3], 0.3);
    let kernel = |stride: i64| {
        [
            ("kernel_shape", Attr::Ints(vec![3, 3])),
            ("strides", Attr::Ints(vec![stride; 2])),
            ("pads", Attr::Ints(vec![1; 4])),
        ]
    };
    let h = b.op("Conv", &[&image, &conv], &kernel(2))?;
    let gate = b.op("Sigmoid", &[&h], &[])?;
    let h = b.op("Mul", &[&h, &gate], &[])?;
    let depth = weight(&mut b, "depth", &[8, 1, 3, 3], 0.5);
    let mut attrs = kernel(1).to_vec();
    attrs.push(("group", Attr::Int(8)));
    let h = b.op("Conv", &[&h, &depth], &attrs)?;
    let shape = b.i64s(&[2, 8, 16]);
    let tokens = b.op("Reshape", &[&h, &shape], &[])?;
    let mix = weight(&mut b, "mix", &[16, 16], 0.4);
    let query = b.op("MatMul", &[&tokens, &mix], &[])?;
    let turned = b.op("Transpose", &[&query], &[("perm", Attr::Ints(vec![0, 2, 1]))])?;
    let scores = b.op("MatMul", &[&query, &turned], &[])?;
    let weights = b.op("Softmax", &[&scores], &[("axis", Attr::Int(-1))])?;
    let mixed = b.op("MatMul", &[&weights, &tokens], &[])?;
    let flat = b.i64s(&[2, 128]);
    let h = b.op("Reshape", &[&mixed, &flat], &[])?;
    let head = weight(&mut b, "head", &[5, 128], 0.1);
    let bias = weight(&mut b, "head.bias", &[5], 0.1);
    let y = b.op("Gemm", &[&h, &head, &bias], &[("transB", Attr::Int(1))])?;
    b.output("y", &y);
    Ok(b.finish())
}

/// A transformer of 12·`wide`²·`layers` float32 parameters: attention of one head and two products around a
/// SiLU, each behind a norm.
///
/// Input and output `tokens`, `y` `[1, tokens, wide]`; weights `N.query`, `N.key`, `N.value`, `N.mix` `[wide, wide]`, `N.up`
/// `[wide, 4·wide]`, `N.down` `[4·wide, wide]` of layer N, deterministic.
///
/// # Errors
/// None in practice: the operators are known.
pub fn transformer(layers: usize, wide: usize, tokens: usize) -> Result<Model, InferError> {
    let mut b = Builder::new(17);
    let ones = b.f32s(&[wide], &vec![1.0; wide]);
    let scale = b.scalar(1.0 / (wide as f32).sqrt());
    let mut h = b.input("tokens", TensorType::f32(&[1, tokens, wide]));
    for layer in 0..layers {
        let product = |b: &mut Builder, x: &Value, name: &str, dims: [usize; 2]| {
            let spread = 1.0 / (dims[0] as f32).sqrt();
            let values: Vec<f32> =
                noise(layer, dims[0] * dims[1]).iter().map(|v| v * spread).collect();
            let w = b.initializer(&format!("{layer}.{name}"), &Tensor::f32(&dims, &values));
            b.op("MatMul", &[x, &w], &[])
        };
        let norm = |b: &mut Builder, x: &Value| b.op("LayerNormalization", &[x, &ones], &[]);
        let square = [wide, wide];
        let x = norm(&mut b, &h)?;
        let query = product(&mut b, &x, "query", square)?;
        let key = product(&mut b, &x, "key", square)?;
        let value = product(&mut b, &x, "value", square)?;
        let turned = b.op("Transpose", &[&key], &[("perm", Attr::Ints(vec![0, 2, 1]))])?;
        let scores = b.op("MatMul", &[&query, &turned], &[])?;
        let scores = b.op("Mul", &[&scores, &scale], &[])?;
        let weights = b.op("Softmax", &[&scores], &[("axis", Attr::Int(-1))])?;
        let seen = b.op("MatMul", &[&weights, &value], &[])?;
        let seen = product(&mut b, &seen, "mix", square)?;
        h = b.op("Add", &[&h, &seen], &[])?;
        let x = norm(&mut b, &h)?;
        let x = product(&mut b, &x, "up", [wide, 4 * wide])?;
        let gate = b.op("Sigmoid", &[&x], &[])?;
        let x = b.op("Mul", &[&x, &gate], &[])?;
        let x = product(&mut b, &x, "down", [4 * wide, wide])?;
        h = b.op("Add", &[&h, &x], &[])?;
    }
    b.output("y", &h);
    Ok(b.into_model())
}

/// Values in [−1, 1] that repeat from `seed`.
pub fn noise(seed: usize, count: usize) -> Vec<f32> {
    (0..count).map(|i| (((i + 1) * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
}
