//! A small model of tokens: of a camera's frames as codes, or of a number of the motion.
//!
//! It looks up some of the tokens before the predicted one (of codes the neighbours in the frames before and in its own), its
//! place in the frame and the motion beside it, and gives logits by two hidden layers. One token is copied: it has a logit of
//! its own, which the model learns to raise or to lower.
//!
//! ```text
//! x      = [E[token_k] for every pick k, place, signals]
//! h      = SiLU(x · W₁ + b₁),   h ← h + SiLU(h · W₂ + b₂)
//! logits = h · W₃ + b₃ + (h · w₄ + b₄) · one-hot(token of the first pick)
//! ```
//!
//! # Shapes and units
//! `tokens` `[batch, rows]` int64, oldest first; `place` `[batch]` int64 (of codes); `signals` `[batch, rows, columns]` (of motion);
//! `logits` `[batch, tokens]`.

use crate::package::Description;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use shoal_runtime::onnx::{Attr, Builder, Element, InferError, Model, Tensor, TensorType, Value};

use crate::worldmodel::free_batch;

/// Opset of the graph: as of the default world model.
const OPSET: i64 = 17;
/// Codes of a row of commaVQ's frames, 8 rows of 16.
const ROW: usize = 16;
/// Codes of one of commaVQ's frames.
const FRAME: usize = 128;
/// What the copied token's logit begins with: against a thousand others about as likely as all of them.
const COPY: f32 = 6.0;

/// Size of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Tokens there are.
    pub tokens: usize,
    /// Rows of tokens that a sample has.
    pub rows: usize,
    /// How many rows before the predicted one the tokens stand that are read, 1 for the newest; the first is copied.
    pub picks: Vec<usize>,
    /// Places in a frame; 0 if the model is not told of them.
    pub places: usize,
    /// Rows and columns of signals; 0 without.
    pub signals: [usize; 2],
    /// Values that stand for a token, and for a place.
    pub embedding: usize,
    /// Values of a hidden layer.
    pub hidden: usize,
}

impl Architecture {
    /// For the codes of commaVQ: 1,024 codes, 128 a frame. Read are the code of the frame before at the same place, its
    /// neighbours, that of two frames before, and the neighbours in the own frame that come before.
    #[must_use]
    pub fn codes() -> Self {
        let same = FRAME;
        let before = [same, same - 1, same + 1, same - ROW, same + ROW, 2 * same];
        let own = [1, 2, ROW - 1, ROW, ROW + 1];
        Architecture {
            tokens: 1024,
            rows: 2 * FRAME,
            picks: before.into_iter().chain(own).collect(),
            places: FRAME,
            signals: [0, 0],
            embedding: 32,
            hidden: 192,
        }
    }
}

/// Builds the untrained model; weights are drawn from ChaCha8 with key `seed`, in graph order.
///
/// Learnt initializers are `<layer>.weight` and `<layer>.bias`; the batch axis is symbolic.
///
/// # Errors
/// [`InferError`] when a size is 0.
/// # Panics
/// If a pick is not one of the rows.
pub fn build(architecture: &Architecture, seed: u64) -> Result<Model, InferError> {
    let rows = 1..=architecture.rows;
    assert!(architecture.picks.iter().all(|back| rows.contains(back)), "a pick is one of the rows");
    let random = ChaCha8Rng::seed_from_u64(seed);
    let mut net = Net { builder: Builder::new(OPSET), random, size: architecture.clone() };
    let rows = TensorType::new(Element::I64, &[1, architecture.rows]);
    let tokens = net.builder.input("tokens", rows);
    let x = net.read(&tokens)?;
    let h = net.hidden(&x)?;
    let logits = net.linear("head", &h, architecture.tokens, 1.0, 0.0)?;
    let raised = net.copy(&tokens, &h)?;
    let logits = net.builder.op("Add", &[&logits, &raised], &[])?;
    net.builder.output("logits", &logits);
    let mut model = net.builder.into_model();
    free_batch(&mut model);
    Ok(model)
}

/// The package's description of the model of commaVQ's codes, at 20 frames a second.
#[must_use]
pub fn description() -> Description {
    let Architecture { tokens, rows, places, .. } = Architecture::codes();
    let toml = format!(
        "name = \"codes\"\nrate_hz = 20.0\n\n\
         [tokens]\ninput = \"tokens\"\nrows = {rows}\nvocabulary = {tokens}\nframe = {places}\nplace = \"place\"\n\n\
         [next_token]\noutput = \"logits\"\n\n\
         [adapter]\ntargets = [\"!copy.*\"]\n"
    );
    Description::parse("model.toml", &toml, "codes").expect("the text above is a description")
}

/// The graph while it is written, and where its start values come from.
struct Net {
    builder: Builder,
    random: ChaCha8Rng,
    size: Architecture,
}

impl Net {
    /// All that is read, `[b, values]`.
    fn read(&mut self, tokens: &Value) -> Result<Value, InferError> {
        let Architecture { embedding, places, signals, .. } = self.size;
        let picks = self.size.picks.clone();
        let picked = self.pick(tokens, &picks)?;
        let table = self.table("token", self.size.tokens, embedding);
        let x = self.builder.op("Gather", &[&table, &picked], &[("axis", Attr::Int(0))])?;
        let mut parts = vec![self.flat(&x, picks.len() * embedding)?];
        if places > 0 {
            let place = self.builder.input("place", TensorType::new(Element::I64, &[1]));
            let table = self.table("place", places, embedding);
            parts.push(self.builder.op("Gather", &[&table, &place], &[("axis", Attr::Int(0))])?);
        }
        let [rows, columns] = signals;
        if rows * columns > 0 {
            let signals = self.builder.input("signals", TensorType::f32(&[1, rows, columns]));
            parts.push(self.flat(&signals, rows * columns)?);
        }
        let parts: Vec<&Value> = parts.iter().collect();
        self.builder.op("Concat", &parts, &[("axis", Attr::Int(1))])
    }

    fn hidden(&mut self, x: &Value) -> Result<Value, InferError> {
        let hidden = self.size.hidden;
        let h = self.linear("first", x, hidden, 1.4, 0.0)?;
        let h = self.silu(&h)?;
        let y = self.linear("second", &h, hidden, 1.4, 0.0)?;
        let y = self.silu(&y)?;
        self.builder.op("Add", &[&h, &y], &[])
    }

    /// The logit of the token of the first pick, 0 of every other.
    fn copy(&mut self, tokens: &Value, h: &Value) -> Result<Value, InferError> {
        let gate = self.linear("copy", h, 1, 0.0, COPY)?;
        let first = self.size.picks.first().copied().unwrap_or(1);
        let copied = self.pick(tokens, &[first])?;
        let numbers: Vec<i64> = (0..self.size.tokens as i64).collect();
        let numbers = self.builder.i64s(&numbers);
        let hit = self.builder.op("Equal", &[&copied, &numbers], &[])?;
        let to = [("to", Attr::Int(i64::from(Element::F32.to_onnx())))];
        let hit = self.builder.op("Cast", &[&hit], &to)?;
        self.builder.op("Mul", &[&gate, &hit], &[])
    }

    /// The tokens so many rows before the predicted one, `[b, picks]`.
    fn pick(&mut self, tokens: &Value, picks: &[usize]) -> Result<Value, InferError> {
        let rows = self.size.rows as i64;
        let places: Vec<i64> = picks.iter().map(|back| rows - *back as i64).collect();
        let places = self.builder.i64s(&places);
        self.builder.op("Gather", &[tokens, &places], &[("axis", Attr::Int(1))])
    }

    fn table(&mut self, name: &str, rows: usize, values: usize) -> Value {
        let drawn = self.normals(rows * values, 0.5);
        self.builder.initializer(&format!("{name}.weight"), &Tensor::f32(&[rows, values], &drawn))
    }

    /// `x · W + b`; W is normal with deviation `scale` ÷ √(values of x), b starts with `bias`.
    fn linear(
        &mut self,
        name: &str,
        x: &Value,
        values: usize,
        scale: f32,
        bias: f32,
    ) -> Result<Value, InferError> {
        let inputs = self.builder.ty(x).dims[1];
        let drawn = self.normals(inputs * values, scale / (inputs as f32).sqrt());
        let weight = Tensor::f32(&[inputs, values], &drawn);
        let weight = self.builder.initializer(&format!("{name}.weight"), &weight);
        let bias = Tensor::f32(&[values], &vec![bias; values]);
        let bias = self.builder.initializer(&format!("{name}.bias"), &bias);
        let y = self.builder.op("MatMul", &[x, &weight], &[])?;
        self.builder.op("Add", &[&y, &bias], &[])
    }

    fn silu(&mut self, x: &Value) -> Result<Value, InferError> {
        let gate = self.builder.op("Sigmoid", &[x], &[])?;
        self.builder.op("Mul", &[x, &gate], &[])
    }

    fn flat(&mut self, x: &Value, values: usize) -> Result<Value, InferError> {
        let dims = self.builder.i64s(&[-1, values as i64]);
        self.builder.op("Reshape", &[x, &dims], &[])
    }

    /// Standard normals times `deviation`: sums of twelve uniforms, exact on every machine.
    fn normals(&mut self, count: usize, deviation: f32) -> Vec<f32> {
        let mut uniform = || (self.random.next_u32() >> 8) as f32 / (1 << 24) as f32 - 0.5;
        (0..count).map(|_| deviation * (0..12).map(|_| uniform()).sum::<f32>()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::TokenForm;

    #[test]
    fn the_package_of_codes_describes_a_token_model_of_two_frames() {
        let description = description();
        let form = TokenForm::of(&description).unwrap();
        assert_eq!((form.context, form.kind.count()), (2 * FRAME, 1024));
        let again = Description::parse("model.toml", &description.to_toml(), "codes").unwrap();
        assert_eq!(again, description);
    }

    #[test]
    fn the_model_has_its_size_and_repeats_from_its_seed() {
        let architecture = Architecture::codes();
        let model = build(&architecture, 1).unwrap();
        let values: usize = model
            .graph()
            .initializer
            .iter()
            .filter(|tensor| tensor.name().ends_with("weight"))
            .map(|tensor| tensor.dims.iter().product::<i64>() as usize)
            .sum();
        assert_eq!(values, 1024 * 32 + 128 * 32 + 384 * 192 + 192 * 192 + 192 * 1024 + 192);
        assert_eq!(build(&architecture, 1).unwrap().graph(), model.graph());
    }
}
