//! A second policy, of another architecture: a small transformer that reads what the [default one](super) reads and answers on the
//! same grid.
//!
//! Patches of the pictures are tokens. Each token gets its place and the speed, and looks at all others in a few layers; then every
//! token says little, and a hidden layer reads what all of them say.
//!
//! ```text
//! x        = the pictures of the default policy
//! t        = patches(x) · Wₑ + place + speed · wₛ        8 × 8 pixels each
//! t        ← t + softmax(q·kᵀ) · v · Wₒ                  q, k, v linear in norm(t), of each head
//! t        ← t + SiLU(norm(t) · W₁ + b₁) · W₂ + b₂
//! h        = SiLU([all of norm(t) · Wₙ, speed] · W + b)
//! logits   as of the default policy, from h
//! ```
//!
//! 1 ÷ √(values of a head) is in the start values of q.
//!
//! # Shapes and units
//! As of the [default policy](super); width a multiple of 8, height of 32.
//! # Source
//! Dosovitskiy et al., *An Image is Worth 16×16 Words*, 2021, section 3.1 (patches, norms before), without its class token.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use shoal_runtime::onnx::{Attr, Builder, InferError, Model, Tensor, TensorType, Value};

use super::{FRAMES, Net, OPSET};
use crate::package::Description;
use crate::worldmodel::free_batch;

/// Pixels of a patch, either way.
const PATCH: usize = 8;
/// Values of a pixel: its colours, and how they differ from each of the frames before.
const COLOURS: usize = 3 * FRAMES;

/// Size of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transformer {
    /// Width of a frame in pixels, a multiple of 8.
    pub width: usize,
    /// Height of a frame in pixels, a multiple of 32.
    pub height: usize,
    /// Values of a token, a multiple of `heads`.
    pub wide: usize,
    /// Heads of a layer.
    pub heads: usize,
    /// Layers of attention.
    pub layers: usize,
    /// Values that a token says in the end.
    pub said: usize,
    /// Values of the hidden layer.
    pub hidden: usize,
    /// Waves over the curvature's and over the acceleration's bins.
    pub waves: [usize; 2],
}

impl Default for Transformer {
    fn default() -> Self {
        Transformer {
            width: 128,
            height: 64,
            wide: 64,
            heads: 4,
            layers: 3,
            said: 8,
            hidden: 128,
            waves: [16, 8],
        }
    }
}

impl Transformer {
    /// Patches: rows, columns.
    const fn patches(&self) -> [usize; 2] {
        [self.height * 3 / 4 / PATCH, self.width / PATCH]
    }
}

/// Builds the untrained policy; weights are drawn from ChaCha8 with key `seed`, in graph order.
///
/// Learnt initializers are `<layer>.weight` and `<layer>.bias`; the batch axis is symbolic.
///
/// # Errors
/// [`InferError`] when sizes do not fit each other.
pub fn build(size: &Transformer, seed: u64) -> Result<Model, InferError> {
    let random = ChaCha8Rng::seed_from_u64(seed);
    let mut net = Net { builder: Builder::new(OPSET), random };
    let Transformer { width, height, wide, layers, said, hidden, waves, .. } = *size;
    let [rows, columns] = size.patches();
    let tokens = rows * columns;
    let frames = net.builder.input("frames", TensorType::f32(&[1, FRAMES, 3, height, width]));
    let motion = net.builder.input("motion", TensorType::f32(&[1, 1]));
    let x = net.pictures(&frames, width, height)?;
    let x = net.patched(&x, size)?;
    let x = net.linear("patch", &x, wide, 1.0)?;
    let drawn = net.normals(tokens * wide, 0.2);
    let place = net.builder.initializer("place.weight", &Tensor::f32(&[tokens, wide], &drawn));
    let mut x = net.builder.op("Add", &[&x, &place], &[])?;
    let speed = net.linear("speed", &motion, wide, 0.5)?;
    let speed = net.reshape(&speed, &[-1, 1, wide as i64])?;
    x = net.builder.op("Add", &[&x, &speed], &[])?;
    for layer in 0..layers {
        x = net.layer(layer, &x, size)?;
    }
    let x = net.norm("last", &x, wide)?;
    let x = net.linear("said", &x, said, 1.0)?;
    let x = net.reshape(&x, &[-1, (tokens * said) as i64])?;
    let x = net.builder.op("Concat", &[&x, &motion], &[("axis", Attr::Int(1))])?;
    let h = net.linear("hidden", &x, hidden, 1.4)?;
    let h = net.silu(&h)?;
    let logits = net.logits(&h, waves)?;
    net.builder.output("action", &logits);
    let mut model = net.builder.into_model();
    free_batch(&mut model);
    Ok(model)
}

/// The package's description of a policy that [`build`] made.
#[must_use]
pub fn description(size: &Transformer) -> Description {
    super::described("transformer", [size.width, size.height])
}

impl Net {
    /// Pictures `[b, 9, h, w]` as tokens `[b, patches, values of a patch]`.
    fn patched(&mut self, x: &Value, size: &Transformer) -> Result<Value, InferError> {
        let [rows, columns] = size.patches().map(|count| count as i64);
        let (colours, side) = (COLOURS as i64, PATCH as i64);
        let x = self.reshape(x, &[-1, colours, rows, side, columns, side])?;
        let turn = [("perm", Attr::Ints(vec![0, 2, 4, 1, 3, 5]))];
        let x = self.builder.op("Transpose", &[&x], &turn)?;
        self.reshape(&x, &[-1, rows * columns, colours * side * side])
    }

    /// Attention, then two products around a SiLU, each behind a norm and beside what was there.
    fn layer(&mut self, layer: usize, x: &Value, size: &Transformer) -> Result<Value, InferError> {
        let Transformer { wide, layers, .. } = *size;
        // So that many layers together start as loud as one.
        let quiet = 1.0 / (2.0 * layers as f32).sqrt();
        let seen = self.norm(&format!("{layer}.look"), x, wide)?;
        let seen = self.attention(layer, &seen, size)?;
        let seen = self.linear(&format!("{layer}.mix"), &seen, wide, quiet)?;
        let x = self.builder.op("Add", &[x, &seen], &[])?;
        let y = self.norm(&format!("{layer}.think"), &x, wide)?;
        let y = self.linear(&format!("{layer}.up"), &y, 2 * wide, 1.4)?;
        let y = self.silu(&y)?;
        let y = self.linear(&format!("{layer}.down"), &y, wide, quiet)?;
        self.builder.op("Add", &[&x, &y], &[])
    }

    /// What every token sees of all, of all heads side by side: `[b, tokens, wide]` to the same.
    fn attention(
        &mut self,
        layer: usize,
        x: &Value,
        size: &Transformer,
    ) -> Result<Value, InferError> {
        let [rows, columns] = size.patches();
        let (tokens, heads) = ((rows * columns) as i64, size.heads.max(1));
        let of_head = size.wide / heads;
        let split = [-1, tokens, heads as i64, of_head as i64];
        let mut part = |name: &str, scale: f32, perm: [i64; 4]| {
            let y = self.linear(&format!("{layer}.{name}"), x, size.wide, scale)?;
            let y = self.reshape(&y, &split)?;
            self.builder.op("Transpose", &[&y], &[("perm", Attr::Ints(perm.to_vec()))])
        };
        let query = part("query", 1.0 / (of_head.max(1) as f32).sqrt(), [0, 2, 1, 3])?;
        let key = part("key", 1.0, [0, 2, 3, 1])?;
        let value = part("value", 1.0, [0, 2, 1, 3])?;
        let scores = self.builder.op("MatMul", &[&query, &key], &[])?;
        let weights = self.builder.op("Softmax", &[&scores], &[("axis", Attr::Int(-1))])?;
        let seen = self.builder.op("MatMul", &[&weights, &value], &[])?;
        let turn = [("perm", Attr::Ints(vec![0, 2, 1, 3]))];
        let seen = self.builder.op("Transpose", &[&seen], &turn)?;
        self.reshape(&seen, &[-1, tokens, size.wide as i64])
    }

    /// A learnt norm over a token's values.
    fn norm(&mut self, name: &str, x: &Value, wide: usize) -> Result<Value, InferError> {
        let scale = Tensor::f32(&[wide], &vec![1.0; wide]);
        let scale = self.builder.initializer(&format!("{name}.weight"), &scale);
        let bias = Tensor::f32(&[wide], &vec![0.0; wide]);
        let bias = self.builder.initializer(&format!("{name}.bias"), &bias);
        self.builder.op("LayerNormalization", &[x, &scale, &bias], &[("axis", Attr::Int(-1))])
    }
}
