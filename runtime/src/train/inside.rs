//! AdamW as the end of a training graph, so that what is trained and its moments can stay on a device.
//!
//! ```text
//! inputs    train.values, train.means, train.squares, train.gathered [, train.average]      [n] each
//!           train.step [6] = rate, root, keep, share, fade, take
//! outputs   train.norm [], train.gradient [n], and next.… of each input of n values
//! ```
//! n values: all parameters one behind the other, in the order of the graph's gradients, whose outputs are gone, as are the
//! inputs of the parameters. g = share · (gathered + gradient) is what the step is by; `next.` of the state is one step further
//! where take > 0 and loss and norm are finite, else the state as it was: it may be copied back, or read, after any run.
//! # Source
//! The formulas are those of [`super::adamw`]; clipping is that of `torch.nn.utils.clip_grad_norm_`.

use crate::onnx::{Attr, Builder, Folded, InferError, TensorType, Value};

use super::{GRADIENT, LOSS, TrainOptions};

/// What the names of all inputs begin with.
pub(crate) const KEPT: &str = "train.";
pub(super) const VALUES: &str = "train.values";
pub(super) const MEANS: &str = "train.means";
pub(super) const SQUARES: &str = "train.squares";
pub(super) const GATHERED: &str = "train.gathered";
pub(super) const AVERAGE: &str = "train.average";
pub(super) const STEP: &str = "train.step";
pub(super) const NORM: &str = "train.norm";
pub(super) const TOTAL: &str = "train.gradient";
/// What the name of an output begins with that is an input after the run.
pub(super) const NEXT: &str = "next.";
/// Numbers that a step is told.
pub(super) const TOLD: usize = 6;

/// A parameter of a training graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trained {
    pub(super) name: String,
    pub(super) dims: Vec<usize>,
}

/// The parameters of a training graph: every input `p` with an output `grad.p` of its type.
pub(super) fn trained(graph: &Folded) -> Vec<Trained> {
    let outputs = graph.model.graph().output.iter();
    let inputs = &graph.model.graph().input;
    outputs
        .filter_map(|output| {
            let name = output.name().strip_prefix(GRADIENT)?;
            inputs.iter().find(|input| input.name() == name)?;
            Some(Trained { name: name.to_owned(), dims: graph.types.get(name)?.dims.clone() })
        })
        .collect()
}

/// The training graph with the optimiser at its end.
///
/// # Errors
/// [`InferError`] where an operator does not take what it is given: a parameter that is not float32.
pub(super) fn with_optimiser(
    graph: &Folded,
    trained: &[Trained],
    options: &TrainOptions,
) -> Result<Folded, InferError> {
    let mut bare = graph.clone();
    bare.model.graph_mut().input.retain(|input| trained.iter().all(|p| p.name != input.name()));
    let mut b = Builder::before(&bare, "train/");
    let sizes: Vec<usize> = trained.iter().map(|p| p.dims.iter().product()).collect();
    let count = sizes.iter().sum();
    let flat = TensorType::f32(&[count]);
    let [values, means, squares, gathered] =
        [VALUES, MEANS, SQUARES, GATHERED].map(|name| b.input(name, flat.clone()));
    let average = options.average.map(|_decay| b.input(AVERAGE, flat.clone()));
    let step = b.input(STEP, TensorType::f32(&[TOLD]));

    let pieces = split(&mut b, &values, &sizes)?;
    for (piece, p) in pieces.iter().zip(trained) {
        let shape = b.i64s(&p.dims.iter().map(|&dim| dim as i64).collect::<Vec<i64>>());
        b.op_named(&p.name, "Reshape", &[piece, &shape], &[])?;
    }
    for node in &graph.model.graph().node {
        b.node(node.clone())?;
    }
    for output in &graph.model.graph().output {
        if !trained.iter().any(|p| output.name().strip_prefix(GRADIENT) == Some(&p.name)) {
            b.output(output.name(), &Value::named(output.name()));
        }
    }

    let told = split(&mut b, &step, &[1; TOLD])?;
    let [rate, root, keep, share, fade, take] = &told[..] else {
        unreachable!("split into as many as were asked for")
    };
    let gradient = gradient(&mut b, trained, &gathered, share)?;
    b.output(&format!("{NEXT}{GATHERED}"), &gradient.sum);
    b.output(TOTAL, &gradient.mean);
    let norm = norm(&mut b, &gradient.mean)?;
    b.output(NORM, &norm);
    let taken = taken(&mut b, &norm, take)?;
    let clipped = clipped(&mut b, &gradient.mean, &norm, options)?;

    let (mean, square) = moments(&mut b, (&means, &squares), &clipped, options)?;
    let kept = kept(&mut b, (&values, keep), trained, options)?;
    let moved = b.op("Mul", &[rate, &mean], &[])?;
    let size = b.op("Sqrt", &[&square], &[])?;
    let size = b.op("Mul", &[&size, root], &[])?;
    let epsilon = b.scalar(options.optimiser.epsilon);
    let size = b.op("Add", &[&size, &epsilon], &[])?;
    let moved = b.op("Div", &[&moved, &size], &[])?;
    let value = b.op("Sub", &[&kept, &moved], &[])?;

    let mut next = vec![(VALUES, value.clone(), values), (MEANS, mean, means)];
    next.push((SQUARES, square, squares));
    if let Some(average) = average {
        let one = b.scalar(1.0);
        let rest = b.op("Sub", &[&one, fade], &[])?;
        let (old, new) =
            (b.op("Mul", &[fade, &average], &[])?, b.op("Mul", &[&rest, &value], &[])?);
        next.push((AVERAGE, b.op("Add", &[&old, &new], &[])?, average));
    }
    for (name, after, before) in next {
        let next = b.op("Where", &[&taken, &after, &before], &[])?;
        b.output(&format!("{NEXT}{name}"), &next);
    }
    Ok(b.finish())
}

/// What one node joins or parts at most: ONNX Runtime's CUDA replays no `Concat` of more.
const JOINED_MAX: usize = 32;

/// A run of values in parts of these sizes.
fn split(b: &mut Builder, run: &Value, sizes: &[usize]) -> Result<Vec<Value>, InferError> {
    if let [_whole] = sizes {
        return Ok(vec![run.clone()]);
    }
    if sizes.len() > JOINED_MAX {
        let some: Vec<&[usize]> = sizes.chunks(sizes.len().div_ceil(JOINED_MAX)).collect();
        let long: Vec<usize> = some.iter().map(|sizes| sizes.iter().sum()).collect();
        let long = split(b, run, &long)?;
        let parts = long.iter().zip(some).map(|(run, sizes)| split(b, run, sizes));
        return Ok(parts.collect::<Result<Vec<_>, _>>()?.concat());
    }
    let parts = b.i64s(&sizes.iter().map(|&size| size as i64).collect::<Vec<i64>>());
    b.op_n("Split", &[Some(run), Some(&parts)], &[("axis", Attr::Int(0))], sizes.len())
}

/// Values one behind the other.
fn joined(b: &mut Builder, parts: &[Value]) -> Result<Value, InferError> {
    let mut parts = parts.to_vec();
    while parts.len() > JOINED_MAX {
        let some = parts.chunks(JOINED_MAX).map(|some| joined(b, some));
        parts = some.collect::<Result<_, _>>()?;
    }
    let parts: Vec<&Value> = parts.iter().collect();
    b.op("Concat", &parts, &[("axis", Attr::Int(0))])
}

struct Gradient {
    /// Of this part and those gathered before.
    sum: Value,
    /// What the step is by.
    mean: Value,
}

fn gradient(
    b: &mut Builder,
    trained: &[Trained],
    gathered: &Value,
    share: &Value,
) -> Result<Gradient, InferError> {
    let flat = b.i64s(&[-1]);
    let mut pieces = Vec::with_capacity(trained.len());
    for p in trained {
        pieces.push(b.op(
            "Reshape",
            &[&Value::named(&format!("{GRADIENT}{}", p.name)), &flat],
            &[],
        )?);
    }
    let part = joined(b, &pieces)?;
    let sum = b.op("Add", &[gathered, &part], &[])?;
    let mean = b.op("Mul", &[share, &sum], &[])?;
    Ok(Gradient { sum, mean })
}

fn norm(b: &mut Builder, gradient: &Value) -> Result<Value, InferError> {
    let squares = b.op("Mul", &[gradient, gradient], &[])?;
    let sum = b.reduce("ReduceSum", &squares, &[0], false)?;
    b.op("Sqrt", &[&sum], &[])
}

/// Whether the step is taken: it is asked for, and loss and norm are finite.
fn taken(b: &mut Builder, norm: &Value, take: &Value) -> Result<Value, InferError> {
    let (none, most) = (b.scalar(0.0), b.scalar(f32::MAX));
    let size = b.op("Abs", &[&Value::named(LOSS)], &[])?;
    // What is no number is not below anything.
    let loss = b.op("Less", &[&size, &most], &[])?;
    let norm = b.op("Less", &[norm, &most], &[])?;
    let finite = b.op("And", &[&loss, &norm], &[])?;
    let asked = b.op("Less", &[&none, take], &[])?;
    b.op("And", &[&finite, &asked], &[])
}

fn clipped(
    b: &mut Builder,
    gradient: &Value,
    norm: &Value,
    options: &TrainOptions,
) -> Result<Value, InferError> {
    let Some(most) = options.gradient_norm_max else { return Ok(gradient.clone()) };
    let (most, hair, one) = (b.scalar(most), b.scalar(1e-6), b.scalar(1.0));
    let above = b.op("Add", &[norm, &hair], &[])?;
    let clip = b.op("Div", &[&most, &above], &[])?;
    let clip = b.op("Min", &[&clip, &one], &[])?;
    b.op("Mul", &[&clip, gradient], &[])
}

/// The running mean of the gradient and of its square, one step further.
fn moments(
    b: &mut Builder,
    (means, squares): (&Value, &Value),
    gradient: &Value,
    options: &TrainOptions,
) -> Result<(Value, Value), InferError> {
    let mut moment = |old: &Value, beta: f32| {
        let (beta, rest) = (b.scalar(beta), b.scalar(1.0 - beta));
        let (old, new) = (b.op("Mul", &[&beta, old], &[])?, b.op("Mul", &[&rest, gradient], &[])?);
        Ok::<_, InferError>((old, new))
    };
    let (old_mean, mean) = moment(means, options.optimiser.beta_mean)?;
    let (old_square, square) = moment(squares, options.optimiser.beta_square)?;
    let mean = b.op("Add", &[&old_mean, &mean], &[])?;
    let square = b.op("Mul", &[&square, gradient], &[])?;
    Ok((mean, b.op("Add", &[&old_square, &square], &[])?))
}

/// What decay leaves of the values; tensors of rank 0 and 1 do not decay.
fn kept(
    b: &mut Builder,
    (values, keep): (&Value, &Value),
    trained: &[Trained],
    options: &TrainOptions,
) -> Result<Value, InferError> {
    if options.optimiser.weight_decay == 0.0 {
        return Ok(values.clone());
    }
    let decays = trained
        .iter()
        .flat_map(|p| std::iter::repeat_n(f32::from(p.dims.len() > 1), p.dims.iter().product()));
    let decays: Vec<f32> = decays.collect();
    let (decays, half, one) = (b.f32s(&[decays.len()], &decays), b.scalar(0.5), b.scalar(1.0));
    let decays = b.op("Less", &[&half, &decays], &[])?;
    let keep = b.op("Where", &[&decays, keep, &one], &[])?;
    b.op("Mul", &[&keep, values], &[])
}
