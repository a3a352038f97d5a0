//! Whether a baked model computes what the grafted one does, on drawn inputs.

mod floats;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use crate::adapter::Adapter;
use crate::draw::{Range, draw, ranges};
use crate::engine::{Engine, EngineError, LoadOptions, Optimise, Place, Session, TensorPort};
use crate::graft::{FACTOR, Grafted};
use crate::onnx::proto::NodeProto;
use crate::onnx::{Element, Folded, Model, Tensor, TensorType};
use crate::train::KEPT;

/// Batches that are compared.
const BATCHES: u32 = 2;
/// How many times the grafted model's own rounding a baked one may be off.
pub const ROUNDINGS: f64 = 4.0;
/// By how much weights are moved to see what rounding may bring: baking rounds each once…
const NUDGE: f64 = f32::EPSILON as f64;
/// …and a few roundings on the way to a value that is quantised let it fall to the other side of a step.
const NUDGE_OVER_STEPS: f64 = 8.0 * NUDGE;

/// Values of a model whose weights are moved so: of a larger one another copy would have no room, and what a value is off by is lost
/// among the many that it is summed with.
const NUDGED_MAX: usize = 1 << 26;

/// How far apart two models are.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The output at which they differ most.
    pub output: String,
    /// The greatest difference there, over the greatest value of that output; NaN where every value of it is finite in one run of
    /// the grafted model alone and not in another, which shows nothing.
    pub difference: f64,
    /// What rounding may bring: [`tolerance`] of the coarsest element of a site's weight, of what its nodes give or of that output,
    /// or [`ROUNDINGS`] times by how much that output
    /// of the grafted model alone differs between two orders of arithmetic, or, up to 64 million values, with its weights a rounding
    /// aside (a few where activations are quantised in a way that cannot be left out), or a Sigmoid or a gate is rounded to, whichever is more.
    pub tolerance: f64,
    /// Values that were compared: without those that flip so.
    pub values: usize,
}

impl Comparison {
    /// Whether the difference is rounding.
    pub fn agrees(&self) -> bool {
        self.difference <= self.tolerance
    }

    /// How many times what it may be the difference is.
    fn excess(&self) -> f64 {
        self.difference / self.tolerance
    }
}

/// How far a model that computes in float16 may be off, relative to the greatest value of an output: 11 bits are 5e-4 for each
/// rounding, and there is one behind every node.
pub const HALF_TOLERANCE: f64 = 2e-2;

/// How far a baked model may be off, relative to the greatest value of an output: its weights are rounded to
/// their own element again.
pub fn tolerance(element: Element) -> f64 {
    match element {
        Element::F16 => 1e-2,
        Element::Bf16 => 8e-2,
        Element::F32
        | Element::F64
        | Element::I64
        | Element::I32
        | Element::I16
        | Element::I8
        | Element::U64
        | Element::U32
        | Element::U16
        | Element::U8
        | Element::Bool => 1e-5,
    }
}

/// Runs a baked model and the grafted one with the adapter on the same drawn inputs.
///
/// Both are folded with the same pins. Values that are not numbers on both sides are equal. What is finite in one run of the grafted
/// model and not in another, by the order of arithmetic alone, is not compared. Activations that both quantise are held within the
/// bounds of their integers in both, and not rounded: what a baked model is to have right is its weights.
///
/// # Errors
/// [`EngineError`] if one of the models cannot be loaded or run.
pub fn compare(
    baked: &Folded,
    grafted: &Grafted,
    adapter: &Adapter,
    engine: &dyn Engine,
    how: (u64, NonZeroUsize),
) -> Result<Comparison, EngineError> {
    compare_within(tolerance(Element::F32), baked, (grafted, adapter), engine, how)
}

/// As [`compare`], for a model that may be off by `least` in any case.
///
/// # Errors
/// As [`compare`].
pub fn compare_within(
    least: f64,
    baked: &Folded,
    (grafted, adapter): (&Grafted, &Adapter),
    engine: &dyn Engine,
    (seed, threads): (u64, NonZeroUsize),
) -> Result<Comparison, EngineError> {
    // As little as possible rearranged: what is compared is the weights.
    let plain = LoadOptions { threads, integers: false, ..LoadOptions::default() };
    let options = LoadOptions { optimise: Optimise::Basic, ..plain };
    let rearranged = LoadOptions { optimise: Optimise::All, ..options.clone() };
    // Where both can be without the steps of their activations, their weights are all that is left to differ in.
    let stepless = floats::in_floats(baked).zip(floats::in_floats(&grafted.folded));
    let (is_baked, is_grafted) = stepless
        .as_ref()
        .map_or((&baked.model, &grafted.folded.model), |(baked, grafted)| (baked, grafted));
    let mut plain = engine.load(is_baked, &options)?;
    let mut with_adapter = with_factors(is_grafted, adapter, engine, &options)?;
    let mut others = vec![with_factors(is_grafted, adapter, engine, &rearranged)?];
    let steps = stepless.is_none() && quantises(is_grafted);
    let nudge = if steps { NUDGE_OVER_STEPS } else { NUDGE };
    let ways: &[bool] = match steps || values_of(is_grafted) <= NUDGED_MAX {
        true => &[false, true],
        false => &[],
    };
    for &way in ways {
        let nudged = nudged(is_grafted, &grafted.folded.types, nudge, way);
        others.push(with_factors(&nudged, adapter, engine, &options)?);
    }
    let rounding = rounding(grafted, adapter).fold(least, f64::max);
    let ranges = ranges(baked);
    let mut found: Option<Comparison> = None;
    let mut values = 0;
    let mut unshown: BTreeMap<String, bool> = BTreeMap::new();
    for batch in 0..BATCHES {
        for session in [&mut with_adapter, &mut plain].into_iter().chain(&mut others) {
            for drawn in draw(&ranges, seed, batch) {
                let input = session.input_index(&drawn.input)?;
                session.write(input, &drawn.clean)?;
            }
            session.run()?;
        }
        let want = outputs(&*with_adapter)?;
        let others = others.iter().map(|session| outputs(&**session));
        let others = others.collect::<Result<Vec<_>, _>>()?;
        for (output, got) in outputs(&*plain)? {
            let Some(want) = want.get(&output) else { continue };
            let others: Vec<_> = others.iter().filter_map(|other| other.get(&output)).collect();
            let shown = Shown::of(want, &got, &others);
            values += shown.values;
            let nothing = shown.values == 0 && !want.is_empty();
            unshown.entry(output.clone()).and_modify(|still| *still &= nothing).or_insert(nothing);
            let element = baked.types.get(&output).map_or(0.0, |ty| tolerance(ty.element));
            let grain = grain(baked, &output) / shown.greatest;
            let tolerance = rounding.max(element).max(ROUNDINGS * shown.own.max(grain));
            let one = Comparison { output, difference: shown.difference, tolerance, values };
            // The one that is furthest beyond what it may be.
            if found.as_ref().is_none_or(|than| one.excess() > than.excess()) {
                found = Some(one);
            }
        }
    }
    let none = Comparison { output: String::new(), difference: 0.0, tolerance: rounding, values };
    let found = found.unwrap_or(none);
    let unshown = unshown.into_iter().find(|(_output, nothing)| *nothing);
    Ok(match unshown.filter(|_| found.agrees()) {
        Some((output, _)) => Comparison { output, difference: f64::NAN, values, ..found },
        None => Comparison { values, ..found },
    })
}

/// What one output of a batch shows.
struct Shown {
    /// Between the two models.
    difference: f64,
    /// Between runs of the one that is wanted.
    own: f64,
    /// The greatest value, 1 where all are 0.
    greatest: f64,
    /// At so many places.
    values: usize,
}

impl Shown {
    /// Compares where all runs of the model that is wanted agree on whether there is a finite value: what flips by rounding alone
    /// would make its own difference infinite, and whatever else is there rounding.
    fn of(want: &[f64], got: &[f64], others: &[&Vec<f64>]) -> Shown {
        let agrees = |a: f64, b: f64| {
            (a.is_finite() && b.is_finite()) || a == b || (a.is_nan() && b.is_nan())
        };
        let is_settled = |(at, value): (usize, &f64)| {
            others.iter().all(|other| other.get(at).is_some_and(|&other| agrees(*value, other)))
        };
        let settled: Vec<bool> = want.iter().enumerate().map(is_settled).collect();
        let only = |values: &[f64]| -> Vec<f64> {
            let places = values.iter().zip(&settled);
            places.filter(|(_, settled)| **settled).map(|(value, _)| *value).collect()
        };
        let want = only(want);
        let own = others.iter().map(|other| distance(&want, &only(other)));
        Shown {
            difference: distance(&want, &only(got)),
            own: own.fold(0.0, f64::max),
            greatest: greatest(&want),
            values: want.len(),
        }
    }
}

/// By how much each site may be off: its weight is rounded to the element that it is stored in, and what its nodes give to that which
/// they compute in.
fn rounding(grafted: &Grafted, adapter: &Adapter) -> impl Iterator<Item = f64> {
    let sites = adapter.layout().sites.iter();
    let tensors = sites.flat_map(|site| {
        let outputs = site.nodes.iter().map(|node| node.output.as_str());
        outputs.chain([site.weight.as_str()])
    });
    let Folded { types, halves, .. } = &grafted.folded;
    let element = |name: &str| match halves.contains(name) {
        true => Some(Element::Bf16),
        false => types.get(name).map(|ty| ty.element),
    };
    tensors.filter_map(element).map(tolerance)
}

/// What factors and what training keeps are drawn up to, in [`apart`]: a network whose factors are as large as its frames gives no
/// numbers.
const TUNED_MAX: f32 = 0.05;

/// Runs two sessions of one graph on the same drawn inputs: the greatest difference of each output of both, over the greatest
/// value of it in the second; NaN where that has no finite value, which shows nothing. Outputs of float32 that stay on a device
/// are fetched.
///
/// # Errors
/// [`EngineError`] if a session cannot be fed or run.
pub fn apart(
    folded: &Folded,
    session: &mut dyn Session,
    other: &mut dyn Session,
    seed: u64,
) -> Result<BTreeMap<String, f64>, EngineError> {
    let mut ranges = ranges(folded);
    let tuned = |name: &str| name.starts_with(FACTOR) || name.starts_with(KEPT);
    for input in ranges.iter_mut().filter(|input| tuned(&input.input)) {
        input.range = Range::Real { low: 0.0, high: TUNED_MAX };
    }
    for drawn in draw(&ranges, seed, 0) {
        let (input, same) = (session.input_index(&drawn.input)?, other.input_index(&drawn.input)?);
        session.write(input, &drawn.clean)?;
        other.write(same, &drawn.clean)?;
    }
    session.run()?;
    other.run()?;
    let want = outputs(other)?;
    let mut got = outputs(session)?;
    for (index, port) in session.outputs().to_vec().iter().enumerate() {
        if port.place == Place::Device && port.ty.element == Element::F32 {
            let mut values = vec![0.0; port.ty.values()];
            session.fetch_f32(index, &mut values)?;
            got.insert(port.name.clone(), values.iter().map(|value| f64::from(*value)).collect());
        }
    }
    let got = got.into_iter();
    let apart = got.filter_map(|(name, got)| {
        let want = want.get(&name)?;
        let shows = want.is_empty() || want.iter().any(|value| value.is_finite());
        Some((name, if shows { distance(want, &got) } else { f64::NAN }))
    });
    Ok(apart.collect())
}

/// The tensor of a graph, of those named, that goes furthest beyond `most` on the inputs that models are compared on, and its value.
///
/// # Errors
/// As [`compare`].
pub fn beyond(
    most: f64,
    folded: &Folded,
    tensors: &BTreeSet<String>,
    engine: &dyn Engine,
    (seed, threads): (u64, NonZeroUsize),
) -> Result<Option<(String, f64)>, EngineError> {
    let mut model = folded.model.clone();
    let given: BTreeSet<String> =
        model.graph().output.iter().map(|output| output.name().to_owned()).collect();
    let makes: BTreeSet<&String> =
        folded.model.graph().node.iter().flat_map(|node| &node.output).collect();
    for name in tensors.iter().filter(|name| makes.contains(name) && !given.contains(*name)) {
        if let Some(ty) = folded.types.get(name) {
            model.graph_mut().output.push(ty.to_value_info(name));
        }
    }
    let options = LoadOptions {
        threads,
        integers: false,
        optimise: Optimise::Basic,
        ..LoadOptions::default()
    };
    let mut session = engine.load(&model, &options)?;
    let ranges = ranges(folded);
    let mut furthest: Option<(String, f64)> = None;
    for batch in 0..BATCHES {
        for drawn in draw(&ranges, seed, batch) {
            let input = session.input_index(&drawn.input)?;
            session.write(input, &drawn.clean)?;
        }
        session.run()?;
        for (name, values) in outputs(&*session)?.into_iter().filter(|(n, _)| tensors.contains(n)) {
            for value in values.into_iter().filter(|value| value.is_finite()) {
                let most = furthest.as_ref().map_or(most, |(_, value)| value.abs());
                if value.abs() > most {
                    furthest = Some((name.clone(), value));
                }
            }
        }
    }
    Ok(furthest)
}

/// The same model with every stored matrix and kernel of floats, and what every stored weight of integers stands for, a few roundings
/// aside: each value up or down as its place says, or the other way.
fn nudged(
    model: &Model,
    types: &BTreeMap<String, TensorType>,
    nudge: f64,
    other_way: bool,
) -> Model {
    let mut nudged = model.clone();
    let graph = nudged.graph_mut();
    let mut weights: BTreeMap<String, usize> = BTreeMap::new();
    for (number, stored) in graph.initializer.iter_mut().enumerate() {
        let Some(ty) = types.get(stored.name()) else { continue };
        if !ty.element.is_float() {
            weights.insert(stored.name().to_owned(), number);
        } else if ty.rank() > 1
            && let Ok(tensor) = Tensor::from_proto(stored)
        {
            let factors = factors(number, ty.values(), (nudge, other_way));
            let values: Vec<f64> = tensor
                .to_f64s()
                .iter()
                .zip(factors)
                .map(|(value, factor)| value * factor)
                .collect();
            let moved = Tensor::from_f64s(ty.element, &ty.dims, &values);
            *stored = moved.to_proto(stored.name());
        }
    }
    let mut nodes = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        let output = node.output_name(0).to_owned();
        let number = node.input_name(0).and_then(|name| weights.get(name));
        let (Some(&number), Some(ty)) = (number, types.get(&output)) else {
            nodes.push(node);
            continue;
        };
        if !node.is("DequantizeLinear") {
            nodes.push(node);
            continue;
        }
        let [exact, by] = [".exact", ".nudge"].map(|what| free(types, &output, what));
        let factors: Vec<f64> = factors(number, ty.values(), (nudge, other_way)).collect();
        graph.initializer.push(Tensor::from_f64s(ty.element, &ty.dims, &factors).to_proto(&by));
        node.output = vec![exact.clone()];
        nodes.push(node);
        let name = Some(by.clone());
        let nudge = NodeProto::operator("Mul", vec![exact, by], &output, Vec::new());
        nodes.push(NodeProto { name, ..nudge });
    }
    graph.node = nodes;
    nudged
}

/// Values that a model stores.
fn values_of(model: &Model) -> usize {
    let stored = model.graph().initializer.iter();
    stored.filter_map(|stored| Some(Tensor::stored_type(stored).ok()?.values())).sum()
}

/// Whether a model quantises while it runs.
fn quantises(model: &Model) -> bool {
    let at_run = |node: &NodeProto| node.is("QuantizeLinear") || node.is("DynamicQuantizeLinear");
    model.graph().node.iter().any(at_run)
}

/// For each value of a tensor a factor beside 1, on this side of it or that.
fn factors(
    number: usize,
    count: usize,
    (nudge, other_way): (f64, bool),
) -> impl Iterator<Item = f64> {
    (0..count as u64).map(move |index| {
        let mixed = (index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (number as u64) << 32;
        let up = mixed.wrapping_mul(0xD1B5_4A32_D192_ED03) >> 63 == 1;
        if up == other_way { 1.0 - nudge } else { 1.0 + nudge }
    })
}

/// A name that the graph does not have.
fn free(types: &BTreeMap<String, TensorType>, like: &str, what: &str) -> String {
    let mut name = format!("{like}{what}");
    while types.contains_key(&name) {
        name.push('_');
    }
    name
}

/// A session of the grafted model that holds the adapter.
fn with_factors(
    model: &Model,
    adapter: &Adapter,
    engine: &dyn Engine,
    options: &LoadOptions,
) -> Result<Box<dyn Session>, EngineError> {
    let mut session = engine.load(model, options)?;
    for factor in adapter.layout().factors() {
        let input = session.input_index(&factor.input)?;
        session.write_f32(input, adapter.factor(factor))?;
    }
    Ok(session)
}

fn outputs(session: &dyn Session) -> Result<BTreeMap<String, Vec<f64>>, EngineError> {
    let mut all = BTreeMap::new();
    let here = |port: &&TensorPort| port.place == Place::Host;
    for (index, port) in session.outputs().iter().enumerate().filter(|(_, port)| here(port)) {
        let bytes = session.output_bytes(index)?;
        let tensor = Tensor::from_le_bytes(port.ty.element, &port.ty.dims, bytes);
        all.insert(port.name.clone(), tensor.map_or_else(Vec::new, |t| t.to_f64s()));
    }
    Ok(all)
}

/// The greatest finite value by its size, 1 where all are 0.
fn greatest(values: &[f64]) -> f64 {
    let most = values.iter().filter(|x| x.is_finite()).fold(0.0_f64, |m, x| m.max(x.abs()));
    if most > 0.0 { most } else { 1.0 }
}

/// What an output is rounded to however small it is: engines compute Sigmoid as a part of 1, and so the gates of an LSTM or a GRU.
fn grain(folded: &Folded, output: &str) -> f64 {
    const GATING: [&str; 3] = ["GRU", "LSTM", "Sigmoid"];
    const MOVING: [&str; 11] = [
        "Flatten",
        "Identity",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ];
    let mut name = output;
    for node in folded.model.graph().node.iter().rev() {
        if !node.output.iter().any(|made| made == name) {
            continue;
        }
        if GATING.iter().any(|op| node.is(op)) {
            return f64::from(f32::EPSILON) / 2.0;
        }
        match node.input_name(0).filter(|_| MOVING.iter().any(|op| node.is(op))) {
            Some(from) => name = from,
            None => break,
        }
    }
    0.0
}

fn distance(want: &[f64], got: &[f64]) -> f64 {
    let scale = greatest(want);
    let off = want.iter().zip(got).map(|(a, b)| match (a - b).abs() {
        _ if a == b || (a.is_nan() && b.is_nan()) => 0.0,
        off if off.is_nan() => f64::INFINITY,
        off => off,
    });
    off.fold(0.0, f64::max) / scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{Attr, Builder};

    #[test]
    fn a_distance_is_relative_to_the_greatest_value_and_infinite_beside_what_is_no_number() {
        assert_eq!(distance(&[2.0, -4.0], &[2.0, -3.0]), 0.25);
        assert_eq!(distance(&[0.0, f64::NAN], &[0.0, f64::NAN]), 0.0);
        assert_eq!(distance(&[f64::INFINITY, 1.0], &[f64::INFINITY, 1.0]), 0.0);
        assert!(distance(&[1.0], &[f64::NAN]).is_infinite());
    }

    #[test]
    fn a_value_that_flips_says_nothing_of_the_others_beside_it() {
        let infinite = f64::INFINITY;
        let shown = |want: &[f64], got: &[f64], other: &[f64]| {
            let Shown { difference, own, values, .. } = Shown::of(want, got, &[&other.to_vec()]);
            (difference, own, values)
        };
        // Left out on both sides, and of no weight for the scale.
        assert_eq!(shown(&[2.0, 9.0], &[1.0, 7.0], &[2.5, infinite]), (0.5, 0.25, 1));
        assert_eq!(shown(&[2.0, infinite], &[1.0, 7.0], &[2.0, f64::NAN]), (0.5, 0.0, 1));
        // What does not flip is held to it.
        let (difference, own, _) = shown(&[1.0, 2.0], &[1.0, f64::NAN], &[1.0, 2.0]);
        assert!(difference.is_infinite() && own == 0.0);
        let (difference, own, _) = shown(&[1.0, infinite], &[1.0, 2.0], &[1.0, infinite]);
        assert!(difference.is_infinite() && own == 0.0);
        assert_eq!(shown(&[1.0, infinite], &[1.0, infinite], &[1.0, infinite]), (0.0, 0.0, 2));
        assert_eq!(shown(&[1.0], &[5.0], &[infinite]), (0.0, 0.0, 0), "no place is left");
    }

    #[test]
    fn what_comes_of_a_sigmoid_is_a_part_of_one() {
        let of = |op: &str| {
            let mut b = Builder::new(17);
            let x = b.input("x", TensorType::f32(&[2, 3]));
            let y = b.op(op, &[&x], &[]).unwrap();
            let y = b.op("ReduceMean", &[&y], &[("axes", Attr::Ints(vec![1]))]).unwrap();
            let y = b.op("Transpose", &[&y], &[]).unwrap();
            b.output("y", &y);
            grain(&b.finish(), "y")
        };
        assert_eq!((of("Sigmoid"), of("Tanh")), (2.0_f64.powi(-24), 0.0));
    }

    #[test]
    fn what_shows_nothing_does_not_agree() {
        let shown = |difference| Comparison {
            output: "y".to_owned(),
            difference,
            tolerance: 1e-5,
            values: 0,
        };
        assert!(shown(0.0).agrees() && !shown(f64::NAN).agrees());
    }
}
