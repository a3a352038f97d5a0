//! Cases of every operator that has a gradient, each from a seed: operator, attributes, shapes, values.
//!
//! What PyTorch's autograd gives for them is recorded (`cargo xtask oracle operators`), so nothing here may draw
//! otherwise without recording anew. A case is a graph of one operator (what is needed to see it, beside) with
//! inputs `x0`, `x1`, … and outputs `y0`, …; its loss is the sum of the squared errors of all outputs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod elementwise;
mod linear;
mod movement;
mod sequence;
mod window;

use std::ops::RangeInclusive;

use shoal_runtime::onnx::{Attr, Builder, Data, Model, Tensor, Value};

/// The oldest version of the standard operators that cases are written in.
const OPSET_MIN: i64 = 9;
/// The newest version that cases are drawn in, and that PyTorch's gradients are recorded for. A case of a newer one is the
/// same graph, declared as newer.
pub(crate) const OPSET_RECORDED: i64 = 24;
/// The newest version that ONNX Runtime runs.
pub(crate) const OPSET_MAX: i64 = 26;
/// The versions of the standard operators that cases are written in.
pub(crate) const OPSETS: RangeInclusive<i64> = OPSET_MIN..=OPSET_MAX;
/// Versions with many cases of each operator.
const WIDE: [i64; 8] = [9, 11, 13, 17, 21, 24, 25, 26];

/// Cases of an operator in a version. Older models are raised to 17 when they are folded: one case shows that they are. Attention
/// has many forms, and few versions.
fn count(operator: &str, opset: i64) -> u64 {
    match opset {
        _ if operator == "Attention" => 10,
        _ if WIDE.contains(&opset) => 5,
        ..17 => 1,
        _ => 2,
    }
}

/// One graph with its values.
pub(crate) struct Case {
    pub(crate) operator: &'static str,
    pub(crate) opset: i64,
    pub(crate) name: String,
    /// The name of the case whose draws and recorded gradients are its own: itself, up to [`OPSET_RECORDED`].
    pub(crate) drawn_as: String,
    pub(crate) model: Model,
    pub(crate) feeds: Vec<Feed>,
}

/// Values of one input.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Feed {
    pub(crate) name: String,
    pub(crate) tensor: Tensor,
    /// Whether it is differentiated by.
    pub(crate) wanted: bool,
}

/// An operator, the first version that cases are written in, and how.
type Entry = (&'static str, i64, fn(&mut Gen, &str));

/// Every case, in one order.
pub(crate) fn all() -> Vec<Case> {
    let families = [
        elementwise::entries(),
        linear::entries(),
        window::entries(),
        movement::entries(),
        sequence::entries(),
    ];
    let mut cases = Vec::new();
    for (operator, since, write) in families.into_iter().flatten() {
        // Upsample was taken out in version 10, Scatter in 11.
        let until = match operator {
            "Upsample" => 9,
            "Scatter" => 10,
            _ => i64::MAX,
        };
        for opset in OPSETS.filter(|opset| (since..=until).contains(opset)) {
            for number in 0..count(operator, opset) {
                let name = format!("{operator}.{opset}.{number}");
                let drawn_as = format!("{operator}.{}.{number}", opset.min(OPSET_RECORDED));
                let mut g = Gen::new(&drawn_as, opset);
                write(&mut g, operator);
                let (model, feeds) = g.finish();
                cases.push(Case { operator, opset, name, drawn_as, model, feeds });
            }
        }
    }
    cases
}

/// splitmix64, from the bytes of a name.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn of(name: &str) -> Random {
        let start = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Random(start)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Values of float32 that float64 and every engine read alike.
    pub(crate) fn floats(&mut self, dims: &[usize], low: f32, high: f32) -> Tensor {
        let count: usize = dims.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|_| low + (high - low) * ((self.next() >> 40) as f32 / (1u64 << 24) as f32))
            .collect();
        Tensor::f32(dims, &values)
    }
}

/// A case being drawn.
pub(crate) struct Gen {
    random: Random,
    pub(crate) b: Builder,
    pub(crate) opset: i64,
    feeds: Vec<Feed>,
    outputs: usize,
    /// A graph written by hand, in place of the builder's.
    whole: Option<Model>,
}

impl Gen {
    fn new(name: &str, opset: i64) -> Gen {
        let b = Builder::new(opset);
        Gen { random: Random::of(name), b, opset, feeds: Vec::new(), outputs: 0, whole: None }
    }

    fn finish(self) -> (Model, Vec<Feed>) {
        (self.whole.unwrap_or_else(|| self.b.into_model()), self.feeds)
    }

    /// A whole number from `low` to `high`, both included.
    pub(crate) fn whole(&mut self, low: i64, high: i64) -> i64 {
        low + (self.random.next() % (high - low + 1) as u64) as i64
    }

    pub(crate) fn size(&mut self, low: usize, high: usize) -> usize {
        self.whole(low as i64, high as i64) as usize
    }

    pub(crate) fn yes(&mut self) -> bool {
        self.random.next().is_multiple_of(2)
    }

    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.size(0, of.len() - 1)].clone()
    }

    pub(crate) fn dims(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).map(|_| self.size(1, 4)).collect()
    }

    /// Dimensions of any rank from `low` to `high`.
    pub(crate) fn shape(&mut self, low: usize, high: usize) -> Vec<usize> {
        let rank = self.size(low, high);
        self.dims(rank)
    }

    /// An axis of a tensor of this rank; sometimes counted from the back.
    pub(crate) fn axis(&mut self, rank: usize) -> i64 {
        let rank = rank as i64;
        if self.opset < 11 { self.whole(0, rank - 1) } else { self.whole(-rank, rank - 1) }
    }

    /// Dimensions that broadcast with these: leading ones gone, others 1.
    pub(crate) fn narrower(&mut self, dims: &[usize]) -> Vec<usize> {
        let lead = self.size(0, dims.len());
        dims[lead..].iter().map(|&d| if self.whole(0, 2) == 0 { 1 } else { d }).collect()
    }

    pub(crate) fn feed(&mut self, tensor: Tensor, wanted: bool) -> Value {
        let name = format!("x{}", self.feeds.len());
        let value = match self.whole {
            Some(_) => Value::named(&name),
            None => self.b.input(&name, tensor.ty()),
        };
        self.feeds.push(Feed { name, tensor, wanted });
        value
    }

    /// An input that is differentiated by.
    pub(crate) fn x(&mut self, dims: &[usize]) -> Value {
        self.between(dims, -1.0, 1.0)
    }

    pub(crate) fn between(&mut self, dims: &[usize], low: f32, high: f32) -> Value {
        let tensor = self.random.floats(dims, low, high);
        self.feed(tensor, true)
    }

    /// An input of −1, −½, 0, ½ and 1.
    pub(crate) fn halves(&mut self, dims: &[usize]) -> Value {
        let values: Vec<f32> =
            (0..dims.iter().product::<usize>()).map(|_| self.whole(-2, 2) as f32 / 2.0).collect();
        self.feed(Tensor::f32(dims, &values), true)
    }

    /// Another input, differentiated by or not.
    pub(crate) fn also(&mut self, dims: &[usize], low: f32, high: f32) -> Value {
        let tensor = self.random.floats(dims, low, high);
        let wanted = self.whole(0, 3) != 0;
        self.feed(tensor, wanted)
    }

    pub(crate) fn constant(&mut self, dims: &[usize], low: f32, high: f32) -> Value {
        let tensor = self.random.floats(dims, low, high);
        self.b.constant_of(&tensor)
    }

    /// An input that is only read.
    pub(crate) fn still(&mut self, dims: &[usize]) -> Value {
        let tensor = self.random.floats(dims, -1.0, 1.0);
        self.feed(tensor, false)
    }

    /// Indices into an axis of `size` values.
    pub(crate) fn index(&mut self, dims: &[usize], size: usize) -> Value {
        let low = if self.opset < 11 { 0 } else { -(size as i64) };
        let count: usize = dims.iter().product();
        let values = (0..count).map(|_| self.whole(low, size as i64 - 1)).collect();
        self.feed(Tensor::new(dims, Data::I64(values)), false)
    }

    pub(crate) fn bools(&mut self, dims: &[usize]) -> Value {
        let values = (0..dims.iter().product()).map(|_| self.yes()).collect();
        self.feed(Tensor::new(dims, Data::Bool(values)), false)
    }

    pub(crate) fn ints(&mut self, values: &[i64]) -> Value {
        self.b.i64s(values)
    }

    /// Numbers in any order, each once.
    pub(crate) fn order(&mut self, count: usize) -> Vec<i64> {
        let mut order: Vec<i64> = (0..count as i64).collect();
        for at in (1..count).rev() {
            let other = self.size(0, at);
            order.swap(at, other);
        }
        order
    }

    pub(crate) fn op(&mut self, op: &str, inputs: &[&Value], attrs: &[(&str, Attr)]) -> Value {
        self.b.op(op, inputs, attrs).unwrap_or_else(|why| panic!("{op}: {why}"))
    }

    pub(crate) fn op_n(
        &mut self,
        op: &str,
        inputs: &[Option<&Value>],
        attrs: &[(&str, Attr)],
        outputs: usize,
    ) -> Vec<Value> {
        self.b.op_n(op, inputs, attrs, outputs).unwrap_or_else(|why| panic!("{op}: {why}"))
    }

    /// Makes a value an output.
    pub(crate) fn give(&mut self, y: &Value) {
        let name = format!("y{}", self.outputs);
        self.outputs += 1;
        self.b.output(&name, y);
    }
}

pub(crate) fn text(value: &str) -> Attr {
    Attr::Str(value.to_owned())
}

pub(crate) fn list(values: &[usize]) -> Attr {
    Attr::Ints(values.iter().map(|&v| v as i64).collect())
}
