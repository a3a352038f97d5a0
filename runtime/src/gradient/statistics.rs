//! Gradients of normalisations by statistics of the values themselves.
//!
//! ```text
//! x̂ = (x − mean x)·r      r = 1 / √(mean (x − mean x)² + ε)        y = x̂·scale + bias
//! h = g·scale             share_x = r·(h − mean h − x̂·mean(h·x̂))
//! share_scale = Σ g·x̂     share_bias = Σ g                          (over what they were repeated along)
//! ```
//! Means run over: the axes from `axis` on (Layer), those of space (Instance), those of a group (Group),
//! the given ones (MeanVariance). RMS leaves out the mean of x and that of h. x̂ is computed again: not every
//! engine gives the statistics as outputs.
//!
//! ```text
//! y = x / n, n = ‖x‖      share = (g − n′·Σ g·y) / n,  n′ = y (p = 2), sign x (p = 1); 0 where n = 0 (LpNormalization)
//! y = (x − m)·k + b, k = s / √(v + ε)    share_x = g·k    share_m = −Σ g·k    share_b = Σ g   (BatchNormalization
//! share_s = Σ g·(x − m) / √(v + ε)       share_v = −½·s·Σ g·(x − m)·(v + ε)^(−3/2)             of inference)
//! ```
//! # Source
//! Ioffe and Szegedy (arXiv 1502.03167), Ba et al. (1607.06450), Wu and He (1803.08494), Zhang and Sennrich
//! (1910.07467); adjoints by hand.

use crate::onnx::{Element, Value};

use super::Reason;
use super::step::Step;

type Done = Result<(), Reason>;

/// How the values are laid out for their statistics.
struct Layout {
    /// Dimensions of the values.
    dims: Vec<usize>,
    /// The axes of one mean.
    axes: Vec<usize>,
    /// Dimensions of the scale.
    scale: Vec<usize>,
    /// Those of the bias.
    bias: Vec<usize>,
    /// Whether the mean is subtracted.
    centred: bool,
    epsilon: Epsilon,
}

/// What keeps the divisor from 0.
enum Epsilon {
    /// This much, added to the variance.
    Variance(f64),
    /// [`DEVIATION_EPSILON`], added to the deviation. That is a norm: at 0 its slope is 0.
    Deviation,
}

/// What the function in the document of MeanVarianceNormalization adds.
const DEVIATION_EPSILON: f64 = 1e-9;

pub(super) fn layer(step: &mut Step) -> Done {
    over_last(step, true)
}

pub(super) fn rms(step: &mut Step) -> Done {
    over_last(step, false)
}

fn over_last(step: &mut Step, centred: bool) -> Done {
    if step.dys.iter().skip(1).any(Option::is_some) {
        return Err(Reason::Output);
    }
    let dims = step.emit.dims(&step.x(0)?);
    let first = step.axis(step.node.int("axis", -1), dims.len())?;
    let scale = step.emit.dims(&step.x(1)?);
    if scale.len() > dims.len() {
        return Err(Reason::Input { input: "scale" });
    }
    let bias = step.opt(2).map_or_else(|| scale.clone(), |bias| step.emit.dims(&bias));
    if bias.len() > dims.len() {
        return Err(Reason::Input { input: "B" });
    }
    let axes = (first..dims.len()).collect();
    normalise(step, &Layout { dims, axes, scale, bias, centred, epsilon: variance(step) })
}

fn variance(step: &Step) -> Epsilon {
    Epsilon::Variance(epsilon(step))
}

fn epsilon(step: &Step) -> f64 {
    f64::from(step.node.float("epsilon", 1e-5))
}

/// Dimensions of an input that must have samples and channels.
fn image(step: &Step) -> Result<Vec<usize>, Reason> {
    let dims = step.emit.dims(&step.x(0)?);
    if dims.len() < 2 { Err(Reason::Input { input: "X" }) } else { Ok(dims) }
}

pub(super) fn instance(step: &mut Step) -> Done {
    let dims = image(step)?;
    let scale = [&[dims[1]], &vec![1; dims.len() - 2][..]].concat();
    let axes = (2..dims.len()).collect();
    let bias = scale.clone();
    normalise(step, &Layout { dims, axes, scale, bias, centred: true, epsilon: variance(step) })
}

pub(super) fn group(step: &mut Step) -> Done {
    let dims = image(step)?;
    let asked = step.node.int("num_groups", 0);
    let groups = usize::try_from(asked).ok().filter(|&g| g > 0 && dims[1].is_multiple_of(g));
    let groups =
        groups.ok_or(Reason::Attribute { name: "num_groups", value: asked.to_string() })?;
    let each = dims[1] / groups;
    // Before opset 21 a group had one scale; since then a channel has.
    let scales = if step.emit.dims(&step.x(1)?) == [groups] { 1 } else { each };
    let space = &dims[2..];
    let scale = [&[groups, scales], &vec![1; space.len()][..]].concat();
    let dims = [&[dims[0], groups, each], space].concat();
    let axes = (2..dims.len()).collect();
    let bias = scale.clone();
    normalise(step, &Layout { dims, axes, scale, bias, centred: true, epsilon: variance(step) })
}

pub(super) fn mean_variance(step: &mut Step) -> Done {
    let dims = step.emit.dims(&step.x(0)?);
    let mut axes = Vec::new();
    for &axis in step.node.ints("axes").unwrap_or(&[0, 2, 3]) {
        axes.push(step.axis(axis, dims.len())?);
    }
    let (scale, bias) = (vec![1], vec![1]);
    normalise(step, &Layout { dims, axes, scale, bias, centred: true, epsilon: Epsilon::Deviation })
}

fn normalise(step: &mut Step, layout: &Layout) -> Done {
    let (dy, x) = (step.dy()?, step.x(0)?);
    let own = step.emit.dims(&x);
    let (element, wide) = (step.emit.element(&x), wide(step, &x));
    let [dy, x] = [&dy, &x].map(|value| -> Result<Value, Reason> {
        let value = step.emit.reshape(value, &layout.dims)?;
        Ok(step.emit.cast(&value, wide)?)
    });
    let (dy, x) = (dy?, x?);
    let (normal, rate) = normal(step, &x, layout)?;
    if step.wants(0) {
        let inner = match step.opt(1) {
            Some(scale) => {
                let scale = step.emit.reshape(&scale, &layout.scale)?;
                let scale = step.emit.cast(&scale, wide)?;
                step.emit.mul(&dy, &scale)?
            }
            None => dy.clone(),
        };
        let product = step.emit.mul(&inner, &normal)?;
        let along = step.emit.mean(&product, &layout.axes)?;
        let along = step.emit.mul(&normal, &along)?;
        let mut share = step.emit.sub(&inner, &along)?;
        if layout.centred {
            let mean = step.emit.mean(&inner, &layout.axes)?;
            share = step.emit.sub(&share, &mean)?;
        }
        let share = step.emit.mul(&share, &rate)?;
        let share = step.emit.reshape(&share, &own)?;
        let share = step.emit.cast(&share, element)?;
        step.give(0, share);
    }
    if step.wants(1) {
        let product = step.emit.mul(&dy, &normal)?;
        give_parameter(step, 1, &product, &layout.scale)?;
    }
    if step.wants(2) {
        give_parameter(step, 2, &dy, &layout.bias)?;
    }
    Ok(())
}

/// What statistics are computed in, as engines do: the squares of halves of floats have no room in one.
fn wide(step: &Step, x: &Value) -> Element {
    let element = step.emit.element(x);
    if matches!(element, Element::F16 | Element::Bf16) { Element::F32 } else { element }
}

/// x̂ and r.
fn normal(step: &mut Step, x: &Value, layout: &Layout) -> Result<(Value, Value), Reason> {
    let emit = &mut *step.emit;
    let x = if layout.centred {
        let mean = emit.mean(x, &layout.axes)?;
        emit.sub(x, &mean)?
    } else {
        x.clone()
    };
    let square = emit.mul(&x, &x)?;
    let variance = emit.mean(&square, &layout.axes)?;
    let root = match layout.epsilon {
        Epsilon::Variance(epsilon) => {
            let variance = emit.shift(&variance, epsilon)?;
            emit.op("Sqrt", &[&variance], &[])?
        }
        Epsilon::Deviation => {
            let deviation = emit.op("Sqrt", &[&variance], &[])?;
            emit.shift(&deviation, DEVIATION_EPSILON)?
        }
    };
    let rate = emit.op("Reciprocal", &[&root], &[])?;
    Ok((emit.mul(&x, &rate)?, rate))
}

/// Sums over what a scale or bias was repeated along.
fn give_parameter(step: &mut Step, index: usize, value: &Value, dims: &[usize]) -> Done {
    let parameter = step.x(index)?;
    let (own, element) = (step.emit.dims(&parameter), step.emit.element(&parameter));
    let share = step.emit.unbroadcast(value, dims)?;
    let share = step.emit.reshape(&share, &own)?;
    let share = step.emit.cast(&share, element)?;
    step.give(index, share);
    Ok(())
}

pub(super) fn lp(step: &mut Step) -> Done {
    let (dy, x, y) = (step.dy()?, step.x(0)?, step.y()?);
    let rank = step.emit.dims(&x).len();
    let axis = step.axis(step.node.int("axis", -1), rank)?;
    let (size, slope) = match step.node.int("p", 2) {
        1 => (step.emit.op("Abs", &[&x], &[])?, step.emit.op("Sign", &[&x], &[])?),
        2 => (step.emit.mul(&x, &x)?, y.clone()),
        p => return Err(Reason::Attribute { name: "p", value: p.to_string() }),
    };
    let mut norm = step.emit.reduce_sum(&size, &[axis], true)?;
    if slope == y {
        norm = step.emit.op("Sqrt", &[&norm], &[])?;
    }
    let product = step.emit.mul(&dy, &y)?;
    let along = step.emit.reduce_sum(&product, &[axis], true)?;
    let along = step.emit.mul(&slope, &along)?;
    let rest = step.emit.sub(&dy, &along)?;
    // What is 0 all along the axis stays 0, as the operator gives it.
    let zero = step.emit.scalar(0.0, &norm);
    let some = step.emit.op("Greater", &[&norm, &zero], &[])?;
    let share = step.emit.div(&rest, &norm)?;
    let share = step.emit.keep_where(&some, &share)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn batch(step: &mut Step) -> Done {
    if step.node.int("training_mode", 0) != 0 {
        return Err(Reason::Attribute { name: "training_mode", value: "1".into() });
    }
    let (dy, x) = (step.dy()?, step.x(0)?);
    let dims = step.emit.dims(&x);
    let column = [&[dims[1]], &vec![1; dims.len() - 2][..]].concat();
    if !(1..5).any(|index| step.wants(index))
        && let Some(factor) = stored_factor(step, &column)
    {
        let factor = step.emit.cast(&factor, step.emit.element(&x))?;
        let share = step.emit.mul(&dy, &factor)?;
        step.give(0, share);
        return Ok(());
    }
    // Parameters may be of a wider element than the values.
    let (element, wide) = (step.emit.element(&x), wide(step, &x));
    let (dy, x) = (step.emit.cast(&dy, wide)?, step.emit.cast(&x, wide)?);
    let parameter = |step: &mut Step, index| -> Result<Value, Reason> {
        let value = step.x(index)?;
        let value = step.emit.reshape(&value, &column)?;
        Ok(step.emit.cast(&value, wide)?)
    };
    let (scale, variance) = (parameter(step, 1)?, parameter(step, 4)?);
    let epsilon = epsilon(step);
    let variance = step.emit.shift(&variance, epsilon)?;
    let root = step.emit.op("Sqrt", &[&variance], &[])?;
    let factor = step.emit.div(&scale, &root)?;
    if step.wants(0) {
        let share = step.emit.mul(&dy, &factor)?;
        let share = step.emit.cast(&share, element)?;
        step.give(0, share);
    }
    if step.wants(2) {
        give_parameter(step, 2, &dy, &column)?;
    }
    if step.wants(3) {
        let share = step.emit.mul(&dy, &factor)?;
        let share = step.emit.neg(&share)?;
        give_parameter(step, 3, &share, &column)?;
    }
    if step.wants(1) || step.wants(4) {
        let mean = parameter(step, 3)?;
        let centred = step.emit.sub(&x, &mean)?;
        let normal = step.emit.div(&centred, &root)?;
        let product = step.emit.mul(&dy, &normal)?;
        if step.wants(1) {
            give_parameter(step, 1, &product, &column)?;
        }
        if step.wants(4) {
            let each = step.emit.div(&scale, &variance)?;
            let each = step.emit.scale(&each, -0.5)?;
            let share = step.emit.mul(&product, &each)?;
            give_parameter(step, 4, &share, &column)?;
        }
    }
    Ok(())
}

/// s / √(v + ε) of parameters that the file stores: no run computes it again.
fn stored_factor(step: &mut Step, column: &[usize]) -> Option<Value> {
    let stored = |index| step.emit.builder.constant(&step.x(index).ok()?);
    let (scale, variance) = (stored(1)?, stored(4)?);
    let epsilon = epsilon(step);
    let values: Vec<f64> = scale
        .to_f64s()
        .iter()
        .zip(variance.to_f64s())
        .map(|(scale, variance)| scale / (variance + epsilon).sqrt())
        .collect();
    step.emit.values(column, scale.data.element(), |_| values).ok()
}
