//! The gradient graph of a small graph against finite differences of the graph itself.
//!
//! # Tolerance
//! The loss is summed in float64 from outputs that are float32, so its noise is about 10⁻⁷ of it; a step
//! of 0.04 makes that 3·10⁻⁶ in a slope. The five-point stencil is exact up to the fourth derivative; what
//! is left, h⁴/30 of the fifth, is below 5·10⁻⁵ for 1/x at 0.8. Operators with kinks
//! get inputs that stay clear of them by twice the step. So 10⁻⁴ of the gradient's norm, the promise of
//! the design, is a bound with room, and any wrong term of a rule is far above it.

use shoal_runtime::engine::testing::{ort_or_skip, plain_options};
use shoal_runtime::engine::{Engine, Session};
use shoal_runtime::gradient::{DifferentiateOptions, LossKind, LossSpec, differentiate};
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::{Builder, Data, Element, Folded, Tensor, TensorType, Value};

const STEP: f32 = 0.04;
const TOLERANCE: f64 = 1e-4;

/// Values for one input.
pub(crate) enum Feed {
    /// Floats; differentiated by.
    Wanted(Tensor),
    /// Floats that are only read.
    Frozen(Tensor),
    /// Integers.
    Whole(Tensor),
}

/// Values ±0.3, ±0.5 … ±1.3 in any order: clear of 0 and of ±0.6 and ±1, 0.2 apart or equal.
pub(crate) fn clear(dims: &[usize], seed: u64) -> Tensor {
    let count: usize = dims.iter().product();
    let mut random = Random(seed);
    let mut order: Vec<usize> = (0..count).collect();
    for i in (1..count).rev() {
        order.swap(i, (random.next() * (i + 1) as f64) as usize);
    }
    // Six values on each side; beyond that they repeat.
    let values: Vec<f32> = order
        .iter()
        .map(|&rank| {
            let side = if rank % 2 == 0 { 1.0 } else { -1.0 };
            side * (0.3 + 0.2 * ((rank / 2) % 6) as f32)
        })
        .collect();
    Tensor::f32(dims, &values)
}

/// Values in ±1.
pub(crate) fn even(dims: &[usize], seed: u64) -> Tensor {
    between(dims, seed, -1.0, 1.0)
}

/// Values in 0.8 … 2: for logarithms, roots and divisors.
pub(crate) fn positive(dims: &[usize], seed: u64) -> Tensor {
    between(dims, seed, 0.8, 2.0)
}

fn between(dims: &[usize], seed: u64, low: f64, high: f64) -> Tensor {
    let mut random = Random(seed);
    let count: usize = dims.iter().product();
    let values: Vec<f32> =
        (0..count).map(|_| (low + (high - low) * random.next()) as f32).collect();
    Tensor::f32(dims, &values)
}

/// splitmix64, as fractions of one.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A graph of inputs `x0`, `x1`, … and one output `y`.
pub(crate) struct Case {
    opset: i64,
    kind: LossKind,
    factor: f64,
    feeds: Vec<Feed>,
    /// Targets and weights of a cross-entropy; else they are drawn.
    labels: Option<(Vec<i64>, Vec<f32>)>,
}

impl Case {
    /// Squared error on the output, opset 17.
    pub(crate) fn new(feeds: Vec<Feed>) -> Case {
        Case { opset: 17, kind: LossKind::Mse, factor: 1.0, feeds, labels: None }
    }

    pub(crate) fn opset(self, opset: i64) -> Case {
        Case { opset, ..self }
    }

    pub(crate) fn cross_entropy(self) -> Case {
        self.loss(LossKind::CrossEntropy, 1.0)
    }

    /// Cross-entropy of these targets and weights.
    pub(crate) fn labelled(self, targets: &[i64], weights: &[f32]) -> Case {
        Case { labels: Some((targets.to_vec(), weights.to_vec())), ..self.cross_entropy() }
    }

    /// Another loss on the output, which counts `factor` times.
    pub(crate) fn loss(self, kind: LossKind, factor: f64) -> Case {
        Case { kind, factor, ..self }
    }

    /// Compares for every lowering profile.
    #[track_caller]
    pub(crate) fn check(&self, write: impl Fn(&mut Builder, &[Value]) -> Value) {
        let Some(engine) = ort_or_skip() else { return };
        let folded = self.graph(&write);
        let numeric = self.numeric(&engine, &folded);
        for profile in [Profile::Cpu, Profile::Cuda, Profile::TensorRt, Profile::Tract] {
            let (loss, gradients) = self.derived(&engine, &folded, profile);
            let close = (loss - numeric.0).abs() <= 1e-5 * numeric.0.abs().max(1e-3);
            assert!(close, "{profile:?}: loss {loss}, by hand {}", numeric.0);
            for ((name, derived), slopes) in gradients.iter().zip(&numeric.1) {
                compare(&format!("{profile:?}: {name}"), derived, slopes);
            }
        }
    }

    fn graph(&self, write: &impl Fn(&mut Builder, &[Value]) -> Value) -> Folded {
        let mut builder = Builder::new(self.opset);
        let inputs: Vec<Value> = self
            .feeds
            .iter()
            .enumerate()
            .map(|(index, feed)| builder.input(&format!("x{index}"), feed.tensor().ty()))
            .collect();
        let y = write(&mut builder, &inputs);
        builder.output("y", &y);
        builder.finish()
    }

    /// The loss and the slopes of every wanted value, by the graph itself.
    fn numeric(&self, engine: &dyn Engine, folded: &Folded) -> (f64, Vec<Vec<f64>>) {
        let ty = folded.types["y"].clone();
        let (target, weight) = self.labels(&ty);
        let mut session = engine.load(&folded.model, &plain_options()).unwrap();
        self.feed(&mut *session);
        let mut loss_at = |input: usize, values: &[f32]| {
            session.write_f32(input, values).unwrap();
            session.run().unwrap();
            let y = session.output_f32(session.output_index("y").unwrap()).unwrap();
            let variance = match session.output_index("s") {
                Ok(index) => session.output_f32(index).unwrap(),
                Err(_) => &[],
            };
            self.factor * loss(&self.kind, &ty, (y, variance), &target, &weight)
        };
        let mut slopes = Vec::new();
        let mut here = 0.0;
        for (input, feed) in self.feeds.iter().enumerate() {
            let Feed::Wanted(tensor) = feed else { continue };
            let mut values = tensor.as_f32().unwrap().to_vec();
            let mut slope = Vec::new();
            for at in 0..values.len() {
                let centre = values[at];
                let mut beside = |steps: f32| {
                    values[at] = centre + steps * STEP;
                    let loss = loss_at(input, &values);
                    values[at] = centre;
                    loss
                };
                let near = beside(1.0) - beside(-1.0);
                let far = beside(2.0) - beside(-2.0);
                slope.push((8.0 * near - far) / (12.0 * f64::from(STEP)));
            }
            here = loss_at(input, &values);
            slopes.push(slope);
        }
        (here, slopes)
    }

    /// The loss and the gradients that the derived graph gives.
    fn derived(
        &self,
        engine: &dyn Engine,
        folded: &Folded,
        profile: Profile,
    ) -> (f64, Vec<(String, Vec<f32>)>) {
        let wrt: Vec<String> = (0..self.feeds.len())
            .filter(|&index| matches!(self.feeds[index], Feed::Wanted(_)))
            .map(|index| format!("x{index}"))
            .collect();
        let losses = vec![LossSpec::new(self.kind.clone(), "y").times(self.factor)];
        let options = DifferentiateOptions { losses, wrt: wrt.clone(), strict: true, profile };
        let training = differentiate(folded, &options).unwrap();
        let mut session = engine.load(&training.folded.model, &plain_options()).unwrap();
        self.feed(&mut *session);
        let (target, weight) = self.labels(&folded.types["y"]);
        for (name, tensor) in [("target.y", &target), ("weight.y", &weight)] {
            let index = session.input_index(name).unwrap();
            session.write(index, tensor).unwrap();
        }
        session.run().unwrap();
        let index = session.output_index("loss").unwrap();
        let loss = f64::from(session.output_f32(index).unwrap()[0]);
        let gradients = wrt.into_iter().map(|name| {
            let index = session.output_index(&format!("grad.{name}")).unwrap();
            assert_eq!(session.outputs()[index].ty, folded.types[&name]);
            let values = session.output_f32(index).unwrap().to_vec();
            (name, values)
        });
        (loss, gradients.collect())
    }

    fn feed(&self, session: &mut dyn Session) {
        for (index, feed) in self.feeds.iter().enumerate() {
            let input = session.input_index(&format!("x{index}")).unwrap();
            session.write(input, feed.tensor()).unwrap();
        }
    }

    fn labels(&self, y: &TensorType) -> (Tensor, Tensor) {
        match self.kind {
            LossKind::Mse | LossKind::Charbonnier | LossKind::GaussianNll { .. } => {
                let samples = y.dims.first().copied().unwrap_or(1);
                (even(&y.dims, 71), positive(&[samples], 72))
            }
            LossKind::CrossEntropy => {
                let (classes, rows) = y.dims.split_last().unwrap();
                if let Some((target, weight)) = &self.labels {
                    return (
                        Tensor::new(rows, Data::I64(target.clone())),
                        Tensor::f32(rows, weight),
                    );
                }
                let count: usize = rows.iter().product();
                let mut random = Random(73);
                let target = (0..count).map(|_| (random.next() * *classes as f64) as i64).collect();
                (Tensor::new(rows, Data::I64(target)), positive(rows, 72))
            }
        }
    }
}

impl Feed {
    fn tensor(&self) -> &Tensor {
        match self {
            Feed::Wanted(t) | Feed::Frozen(t) | Feed::Whole(t) => t,
        }
    }
}

/// The losses as the design defines them, in float64.
fn loss(
    kind: &LossKind,
    ty: &TensorType,
    (y, variance): (&[f32], &[f32]),
    target: &Tensor,
    weight: &Tensor,
) -> f64 {
    assert_eq!(ty.element, Element::F32);
    let weight = weight.to_f64s();
    let y: Vec<f64> = y.iter().map(|&v| f64::from(v)).collect();
    let each = y.len() / weight.len();
    let rows = y.chunks(each).zip(weight).enumerate();
    let target_at = |row: usize, index: usize| target.to_f64s()[row * each + index];
    let regression = |cost: &dyn Fn(f64, usize) -> f64| -> f64 {
        rows.clone()
            .map(|(row, (values, weight))| {
                let costs = values.iter().enumerate();
                let costs = costs.map(|(i, y)| cost(y - target_at(row, i), row * each + i));
                weight * costs.sum::<f64>() / each as f64
            })
            .sum()
    };
    let sum: f64 = match kind {
        LossKind::Mse => regression(&|error, _| error * error),
        LossKind::Charbonnier => regression(&|error, _| (error * error + 1e-6).sqrt()),
        LossKind::GaussianNll { .. } => regression(&|error, at| {
            let s = f64::from(variance[at]);
            0.5 * (s + error * error * (-s).exp())
        }),
        LossKind::CrossEntropy => {
            let target = target.to_i64s().unwrap();
            rows.map(|(row, (values, weight))| {
                let total: f64 = values.iter().map(|v| v.exp()).sum();
                let class = usize::try_from(target[row]).ok().and_then(|class| values.get(class));
                class.map_or(0.0, |value| weight * (total.ln() - value))
            })
            .sum()
        }
    };
    sum / (y.len() / each) as f64
}

#[track_caller]
fn compare(what: &str, derived: &[f32], numeric: &[f64]) {
    let norm = numeric.iter().map(|v| v * v).sum::<f64>().sqrt();
    let off = derived.iter().zip(numeric).map(|(&d, n)| (f64::from(d) - n).powi(2)).sum::<f64>();
    assert!(norm > 1e-4, "{what}: a case whose gradient is nothing proves nothing ({norm})");
    let error = off.sqrt() / norm;
    assert!(
        error <= TOLERANCE,
        "{what}: off by {error:.2e}\n derived {derived:?}\n numeric {numeric:?}"
    );
}
