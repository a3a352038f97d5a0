//! Several adapters in one run: what K runs give, of every operator's rule and of real models.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use shoal_runtime::adapter::{Adapter, Layout};
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::{noise, ort_or_skip, plain_options, small_model};
use shoal_runtime::engine::{EngineError, Session};
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::{GraftOptions, Grafted, Profile, graft, graft_to_run};
use shoal_runtime::many::{Many, ManyError, ManyFactors, many, many_adapters};
use shoal_runtime::onnx::{
    Attr, Builder, Element, Folded, Model, PinOptions, Tensor, TensorType, Value, fold, pin,
};

const K: usize = 3;

fn count(k: usize) -> NonZeroUsize {
    NonZeroUsize::new(k).unwrap()
}

/// Values for an input: tokens, or noise that repeats from `seed`.
fn fill(session: &mut dyn Session, index: usize, seed: usize) {
    let port = session.inputs()[index].clone();
    let values = port.ty.values();
    if port.ty.element == Element::I64 {
        let tokens: Vec<i64> = (0..values as i64).map(|i| i * 131 % 1024).collect();
        session.write_i64(index, &tokens).unwrap();
    } else {
        session.write_f32(index, &noise(seed, values)).unwrap();
    }
}

fn outputs(session: &dyn Session) -> Vec<Vec<f64>> {
    let ports = session.outputs().iter().enumerate();
    let read = ports.map(|(index, port)| {
        let bytes = session.output_bytes(index).unwrap();
        let tensor = Tensor::from_le_bytes(port.ty.element, &port.ty.dims, bytes).unwrap();
        match tensor.as_f32() {
            Some(values) => values.iter().map(|&v| f64::from(v)).collect(),
            None => tensor.to_i64s().unwrap_or_default().iter().map(|&v| v as f64).collect(),
        }
    });
    read.collect()
}

/// Largest difference between one run of K and K runs of one, relative to the largest value of the output; outputs that all
/// share are compared as well.
fn apart(one: &[Vec<Vec<f64>>], all: &[Vec<f64>], names: &[String], many: &Many) -> f64 {
    let mut worst = 0.0_f64;
    for (index, name) in names.iter().enumerate() {
        let each = one[0][index].len();
        let largest = one.iter().flat_map(|run| &run[index]).fold(1e-30_f64, |m, v| m.max(v.abs()));
        for (place, run) in one.iter().enumerate() {
            let at = if many.shared_outputs.contains(name) { 0 } else { place * each };
            let got = &all[index][at..at + each];
            for (a, b) in run[index].iter().zip(got) {
                assert!(a.is_finite() && b.is_finite(), "{name}: {a} and {b}");
                worst = worst.max((a - b).abs() / largest);
            }
        }
    }
    worst
}

/// Runs a graph K times for K values of the inputs that are stacked, and once for all; gives how far apart they are.
fn difference(engine: &dyn Engine, folded: &Folded, stacked: &[&str], many: &Many) -> f64 {
    let seed = |name: &str, place: usize| match stacked.contains(&name) {
        true => 17 + 5 * place,
        false => name.len(),
    };
    let mut session = engine.load(&folded.model, &plain_options()).unwrap();
    let names: Vec<String> = session.outputs().iter().map(|o| o.name.clone()).collect();
    let mut one = Vec::new();
    for place in 0..many.count.get() {
        for index in 0..session.inputs().len() {
            let seed = seed(&session.inputs()[index].name.clone(), place);
            fill(&mut *session, index, seed);
        }
        session.run().unwrap();
        one.push(outputs(&*session));
    }
    let mut session = engine.load(&many.folded.model, &plain_options()).unwrap();
    for index in 0..session.inputs().len() {
        let port = session.inputs()[index].clone();
        if stacked.contains(&port.name.as_str()) {
            let each = port.ty.values() / many.count.get();
            let values =
                (0..many.count.get()).flat_map(|place| noise(seed(&port.name, place), each));
            session.write_f32(index, &values.collect::<Vec<_>>()).unwrap();
        } else {
            fill(&mut *session, index, seed(&port.name, 0));
        }
    }
    session.run().unwrap();
    apart(&one, &outputs(&*session), &names, many)
}

/// A graph of the inputs `a` (stacked) and `x` (not), and what it is called in errors.
struct Case {
    name: &'static str,
    a: &'static [usize],
    x: &'static [usize],
    build: fn(&mut Builder, &Value, &Value) -> Value,
    /// Whether all K are computed by one node.
    at_once: bool,
}

fn ints(name: &'static str, values: &[i64]) -> (&'static str, Attr) {
    (name, Attr::Ints(values.to_vec()))
}

fn op(b: &mut Builder, op: &str, inputs: &[&Value], attrs: &[(&str, Attr)]) -> Value {
    b.op(op, inputs, attrs).unwrap_or_else(|why| panic!("{op}: {why}"))
}

macro_rules! case {
    ($name:literal, $a:expr, $x:expr, $at_once:literal, $build:expr) => {
        Case { name: $name, a: &$a, x: &$x, build: $build, at_once: $at_once }
    };
}

fn elementwise() -> Vec<Case> {
    vec![
        case!("both of samples", [2, 3], [2, 3], true, |b, a, x| op(b, "Mul", &[a, x], &[])),
        case!("a row against samples", [2, 3], [3], true, |b, a, x| op(b, "Add", &[x, a], &[])),
        case!("a factor of less rank", [3], [2, 3], true, |b, a, x| op(b, "Sub", &[x, a], &[])),
        case!("a factor of one sample", [1, 3], [4, 1], true, |b, a, x| op(b, "Max", &[a, x], &[])),
        case!("a number for each", [], [2, 3], true, |b, a, x| op(b, "Mul", &[a, x], &[])),
        case!("numbers alone", [], [], true, |b, a, x| op(b, "Add", &[a, x], &[])),
        case!("chosen", [2, 3], [2, 1], true, |b, a, x| {
            let zero = b.scalar(0.0);
            let above = op(b, "Greater", &[x, &zero], &[]);
            op(b, "Where", &[&above, a, &zero], &[])
        }),
        case!("clipped", [2, 3], [1], true, |b, a, _| {
            let (low, high) = (b.scalar(-0.2), b.scalar(0.3));
            op(b, "Clip", &[a, &low, &high], &[])
        }),
        case!("a slope of channels", [2, 3, 4], [3, 1], true, |b, a, x| op(
            b,
            "PRelu",
            &[a, x],
            &[]
        )),
        case!("clipped by a factor", [], [2, 3], false, |b, a, x| op(b, "Clip", &[x, a], &[])),
    ]
}

fn moved() -> Vec<Case> {
    vec![
        case!("reshaped to other samples", [2, 6], [1], true, |b, a, _| {
            let dims = b.i64s(&[3, 4]);
            op(b, "Reshape", &[a, &dims], &[])
        }),
        case!("reshaped to a number", [1, 1], [1], true, |b, a, _| {
            let dims = b.i64s(&[]);
            op(b, "Reshape", &[a, &dims], &[])
        }),
        case!("a first axis more and less", [2, 3], [1], true, |b, a, _| {
            let first = b.i64s(&[0]);
            let y = op(b, "Unsqueeze", &[a, &first], &[]);
            let y = op(b, "Relu", &[&y], &[]);
            let y = op(b, "Squeeze", &[&y, &first], &[]);
            op(b, "Flatten", &[&y], &[("axis", Attr::Int(0))])
        }),
        case!("turned within samples", [2, 3, 4], [1], true, |b, a, _| {
            op(b, "Transpose", &[a], &[ints("perm", &[0, 2, 1])])
        }),
        case!("samples turned away", [2, 3, 4], [1], true, |b, a, _| {
            op(b, "Transpose", &[a], &[ints("perm", &[2, 0, 1])])
        }),
        case!("spread to more samples", [1, 3], [1], true, |b, a, _| {
            let dims = b.i64s(&[2, 5, 3]);
            op(b, "Expand", &[a, &dims], &[])
        }),
        case!("repeated samples", [2, 3], [1], true, |b, a, _| {
            let repeats = b.i64s(&[2, 3]);
            op(b, "Tile", &[a, &repeats], &[])
        }),
    ]
}

fn cut() -> Vec<Case> {
    vec![
        case!("joined within samples", [2, 3], [2, 4], true, |b, a, x| {
            op(b, "Concat", &[x, a, a], &[("axis", Attr::Int(-1))])
        }),
        case!("joined samples", [2, 3], [1, 3], false, |b, a, x| {
            op(b, "Concat", &[x, a], &[("axis", Attr::Int(0))])
        }),
        case!("split within samples", [2, 6], [1], true, |b, a, _| {
            let sizes = b.i64s(&[2, 4]);
            let axis = [("axis", Attr::Int(1))];
            let parts = b.op_n("Split", &[Some(a), Some(&sizes)], &axis, 2).unwrap();
            parts[1].clone()
        }),
        case!("split samples", [3, 2], [1], false, |b, a, _| {
            let sizes = b.i64s(&[1, 2]);
            let axis = [("axis", Attr::Int(0))];
            b.op_n("Split", &[Some(a), Some(&sizes)], &axis, 2).unwrap()[1].clone()
        }),
        case!("cut within samples", [2, 5], [1], true, |b, a, _| {
            let [from, to, axes] = [[1], [4], [-1]].map(|v| b.i64s(&v));
            op(b, "Slice", &[a, &from, &to, &axes], &[])
        }),
        case!("cut samples", [3, 5], [1], false, |b, a, _| {
            let [from, to] = [[1], [3]].map(|v| b.i64s(&v));
            op(b, "Slice", &[a, &from, &to], &[])
        }),
        case!("padded within samples", [2, 3], [1], true, |b, a, _| {
            let pads = b.i64s(&[0, 1, 0, 2]);
            op(b, "Pad", &[a, &pads], &[])
        }),
        case!("padded by samples", [2, 3], [1], false, |b, a, _| {
            let pads = b.i64s(&[1, 1, 0, 2]);
            op(b, "Pad", &[a, &pads], &[])
        }),
        case!("gathered within samples", [2, 5, 2], [1], true, |b, a, _| {
            let at = b.i64s(&[4, 0, 0]);
            op(b, "Gather", &[a, &at], &[("axis", Attr::Int(1))])
        }),
        case!("gathered samples", [4, 2], [1], false, |b, a, _| {
            let at = b.i64s(&[3, 0, 0]);
            op(b, "Gather", &[a, &at], &[])
        }),
    ]
}

fn reduced() -> Vec<Case> {
    vec![
        case!("summed within samples", [2, 3, 4], [1], true, |b, a, _| {
            b.reduce("ReduceSum", a, &[-1, 1], false).unwrap()
        }),
        case!("averaged over samples", [2, 3], [1], false, |b, a, _| {
            b.reduce("ReduceMean", a, &[0], true).unwrap()
        }),
        case!("averaged over all", [2, 3], [1], false, |b, a, _| {
            op(b, "ReduceMean", &[a], &[("keepdims", Attr::Int(0))])
        }),
        case!("softmax within samples", [2, 5], [1], true, |b, a, _| op(b, "Softmax", &[a], &[])),
        case!("softmax over samples", [3, 5], [1], false, |b, a, _| {
            op(b, "Softmax", &[a], &[("axis", Attr::Int(0))])
        }),
        case!("the largest within samples", [2, 5], [1], true, |b, a, _| {
            op(b, "ArgMax", &[a], &[("axis", Attr::Int(1))])
        }),
        case!("the largest over samples", [4, 5], [1], false, |b, a, _| op(b, "ArgMax", &[a], &[])),
        case!("layer normalisation", [2, 3, 4], [4], true, |b, a, x| {
            op(b, "LayerNormalization", &[a, x], &[])
        }),
        case!("batch normalisation", [2, 3, 4], [3], true, |b, a, x| {
            let square = op(b, "Mul", &[x, x], &[]);
            op(b, "BatchNormalization", &[a, x, x, x, &square], &[])
        }),
        case!("einsum over samples", [2, 3], [2, 3], false, |b, a, x| {
            op(b, "Einsum", &[a, x], &[("equation", Attr::Str("ij,ij->j".to_owned()))])
        }),
    ]
}

fn windows() -> Vec<Case> {
    vec![
        case!("pooled", [2, 3, 6, 6], [1], true, |b, a, _| {
            op(b, "MaxPool", &[a], &[ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])])
        }),
        case!("resized by scales", [2, 3, 4, 4], [1], true, |b, a, _| {
            let scales = b.f32s(&[4], &[1.0, 1.0, 2.0, 1.5]);
            b.op_n("Resize", &[Some(a), None, Some(&scales)], &[], 1).unwrap()[0].clone()
        }),
        case!("resized to sizes", [2, 3, 4, 4], [1], true, |b, a, _| {
            let sizes = b.i64s(&[2, 3, 8, 6]);
            b.op_n("Resize", &[Some(a), None, None, Some(&sizes)], &[], 1).unwrap()[0].clone()
        }),
        case!("convolved by a weight", [2, 3, 5, 5], [4, 3, 3, 3], true, |b, a, x| {
            op(b, "Conv", &[a, x], &[ints("pads", &[1, 1, 1, 1])])
        }),
        case!("one image by factors", [4, 3, 3, 3], [1, 3, 6, 5], true, |b, a, x| {
            op(b, "Conv", &[x, a], &[ints("strides", &[2, 1])])
        }),
        case!("images by factors", [4, 3, 3, 3], [2, 3, 6, 5], true, |b, a, x| {
            op(b, "Conv", &[x, a], &[ints("pads", &[1, 1, 1, 1])])
        }),
        case!("images by groups of factors", [4, 2, 3, 3], [2, 4, 6, 5], false, |b, a, x| {
            op(b, "Conv", &[x, a], &[("group", Attr::Int(2))])
        }),
        case!("stacked images by factors", [4, 3, 3, 3], [2, 3, 6, 5], true, |b, a, x| {
            let y = op(b, "Conv", &[x, a], &[ints("pads", &[1, 1, 1, 1])]);
            let turned = op(b, "Transpose", &[a], &[ints("perm", &[1, 0, 2, 3])]);
            op(b, "Conv", &[&y, &turned], &[ints("strides", &[2, 2])])
        }),
        case!("one stacked image by groups", [4, 2, 3, 3], [1, 4, 6, 5], true, |b, a, x| {
            let two = b.i64s(&[1, 4, 6, 3]);
            let seen = op(b, "Reshape", &[a, &two], &[]);
            let _ = x;
            op(b, "Conv", &[&seen, a], &[("group", Attr::Int(2))])
        }),
        case!("places by factors, with a bias", [4, 3, 1, 1], [2, 4, 6, 5], true, |b, a, x| {
            let turned = op(b, "Transpose", &[a], &[ints("perm", &[1, 0, 2, 3])]);
            let bias = b.f32s(&[3], &[0.5, -0.25, 1.0]);
            let y = op(b, "Conv", &[x, &turned], &[]);
            let z = op(b, "Conv", &[&y, a], &[]);
            op(b, "Conv", &[&z, &turned, &bias], &[])
        }),
        case!("spread by factors", [3, 4, 2, 2], [2, 3, 4, 4], true, |b, a, x| {
            let bias = b.f32s(&[4], &[0.5, -0.25, 1.0, 0.125]);
            let y = op(b, "ConvTranspose", &[x, a, &bias], &[]);
            let turned = op(b, "Transpose", &[a], &[ints("perm", &[1, 0, 2, 3])]);
            op(b, "ConvTranspose", &[&y, &turned], &[ints("strides", &[2, 2])])
        }),
        case!("spread by groups of factors", [4, 2, 2, 2], [1, 4, 4, 2], true, |b, a, x| {
            let two = b.i64s(&[1, 4, 4, 2]);
            let seen = op(b, "Reshape", &[a, &two], &[]);
            let seen = op(b, "Mul", &[x, &seen], &[]);
            op(b, "ConvTranspose", &[&seen, a], &[("group", Attr::Int(2))])
        }),
    ]
}

fn products() -> Vec<Case> {
    vec![
        case!("rows by a weight", [2, 3], [3, 4], true, |b, a, x| op(b, "MatMul", &[a, x], &[])),
        case!("rows by factors", [3, 4], [2, 3], true, |b, a, x| op(b, "MatMul", &[x, a], &[])),
        case!("sequences by factors", [3, 4], [2, 5, 3], true, |b, a, x| op(
            b,
            "MatMul",
            &[x, a],
            &[]
        )),
        case!("factors by factors", [3, 3], [1], true, |b, a, _| op(b, "MatMul", &[a, a], &[])),
        case!("batched by one batch", [2, 3, 4], [2, 4, 3], true, |b, a, x| op(
            b,
            "MatMul",
            &[x, a],
            &[]
        )),
        case!("a vector", [3], [3, 4], false, |b, a, x| op(b, "MatMul", &[a, x], &[])),
        case!("gemm, all of it", [3, 3], [3, 3], true, |b, a, x| {
            let scale = [
                ("alpha", Attr::Float(0.5)),
                ("beta", Attr::Float(2.0)),
                ("transA", Attr::Int(1)),
                ("transB", Attr::Int(1)),
            ];
            let y = op(b, "Gemm", &[x, a, x], &scale);
            let y = op(b, "Gemm", &[&y, a, &y], &scale);
            let y = op(b, "Gemm", &[&y, x, a], &scale);
            op(b, "Gemm", &[x, x, &y], &scale)
        }),
        case!("gemm by a weight", [2, 3], [3, 3], true, |b, a, x| {
            let row = b.f32s(&[3], &[0.5, -0.25, 1.0]);
            op(b, "Gemm", &[a, x, &row], &[("alpha", Attr::Float(0.5))])
        }),
    ]
}

fn cases() -> Vec<Case> {
    [elementwise(), moved(), cut(), reduced(), windows(), products()]
        .into_iter()
        .flatten()
        .collect()
}

fn built(case: &Case) -> Folded {
    let mut b = Builder::new(17);
    let a = b.input("a", TensorType::f32(case.a));
    let x = b.input("x", TensorType::f32(case.x));
    let y = (case.build)(&mut b, &a, &x);
    let shared = op(&mut b, "Neg", &[&x], &[]);
    b.output("y", &y);
    b.output("shared", &shared);
    b.finish()
}

#[test]
fn every_rule_gives_what_separate_runs_give() {
    let Some(ort) = ort_or_skip() else { return };
    for case in cases() {
        let folded = built(&case);
        let all = many(&folded, &["a"], count(K)).unwrap();
        assert_eq!(all.shared_outputs, ["shared"], "{}", case.name);
        assert_eq!(all.single_nodes.is_empty(), case.at_once, "{}", case.name);
        let apart = difference(&ort, &folded, &["a"], &all);
        assert!(apart < 1e-5, "{}: {apart}", case.name);
    }
}

#[test]
fn one_adapter_is_as_good_as_many() {
    let Some(ort) = ort_or_skip() else { return };
    for case in cases() {
        let folded = built(&case);
        let all = many(&folded, &["a"], count(1)).unwrap();
        let apart = difference(&ort, &folded, &["a"], &all);
        assert!(apart < 1e-5, "{}: {apart}", case.name);
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let mut b = Builder::new(17);
    let a = b.input("a", TensorType::f32(&[2, 3]));
    let y = op(&mut b, "RandomNormalLike", &[&a], &[]);
    b.output("y", &y);
    let folded = b.finish();
    let random = many(&folded, &["a"], count(2)).unwrap_err();
    assert!(
        matches!(&random, ManyError::Random { operator, .. } if operator == "RandomNormalLike")
    );
    let absent = many(&folded, &["b"], count(2)).unwrap_err();
    assert_eq!(absent.to_string(), "the graph has no input `b`");
    assert_eq!(many(&folded, &["a"], count(257)), Err(ManyError::Count { count: 257 }));
}

fn adapter(layout: &Layout, seed: usize) -> Adapter {
    let values = noise(seed, layout.values()).iter().map(|v| v * 0.05).collect();
    Adapter::from_values(layout.clone(), values).unwrap()
}

/// K adapters by K runs of the grafted graph and by one run for all: how far apart, and how much of it an adapter changes.
fn adapters_apart(engine: &dyn Engine, grafted: &Grafted, all: &Many) -> Result<f64, EngineError> {
    let layout = &grafted.layout;
    let adapters: Vec<Adapter> = (0..all.count.get()).map(|k| adapter(layout, 3 + k)).collect();
    let mut session = engine.load(&grafted.folded.model, &plain_options())?;
    let names: Vec<String> = session.outputs().iter().map(|o| o.name.clone()).collect();
    for index in 0..session.inputs().len() {
        fill(&mut *session, index, index);
    }
    let mut one = Vec::new();
    for adapter in &adapters {
        for factor in layout.factors() {
            let port = session.input_index(&factor.input)?;
            session.write_f32(port, adapter.factor(factor))?;
        }
        session.run()?;
        one.push(outputs(&*session));
    }
    let own: Vec<(String, usize)> = session
        .inputs()
        .iter()
        .enumerate()
        .map(|(index, port)| (port.name.clone(), index))
        .collect();
    let mut session = engine.load(&all.folded.model, &plain_options())?;
    for (name, seed) in own.iter().filter(|(name, _)| !name.starts_with("lora.")) {
        let index = session.input_index(name)?;
        fill(&mut *session, index, *seed);
    }
    let mut factors = ManyFactors::new(&*session, layout, all.count)?;
    let values: Vec<&[f32]> = adapters.iter().map(Adapter::values).collect();
    factors.write(&mut *session, &values)?;
    session.run()?;
    // Adapters that all do the same would show nothing; one model gives the most likely bin, which need not move.
    let is_bin = one[0].iter().all(|output| output.len() < 4);
    assert!(is_bin || one[0] != one[1], "{:?}", one[0]);
    Ok(apart(&one, &outputs(&*session), &names, all))
}

fn data() -> PathBuf {
    let data = std::env::var_os("SHOAL_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    data.join("models")
}

/// The models at hand: those of the repository, and the reference models where they are.
fn models() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/world/model.onnx");
    let mut files = vec![own];
    let entries = std::fs::read_dir(data()).into_iter().flatten().flatten();
    files.extend(entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "onnx")));
    files.sort();
    files
}

#[test]
fn real_models_give_for_many_adapters_what_each_alone_gives() {
    let Some(ort) = ort_or_skip() else { return };
    for file in models() {
        let model = Model::read(&file).unwrap();
        // Models whose batch is a number keep it.
        let options = PinOptions { batch: Some(2), ..PinOptions::default() };
        let folded = fold(&pin(&model, &options).unwrap()).unwrap();
        let options = GraftOptions { rank: 4, ..GraftOptions::default() };
        let grafted = graft(&folded, &options).unwrap();
        let to_run = graft_to_run(&folded, &options).unwrap();
        assert_eq!(grafted.layout, to_run.layout);
        // The rounding of a hundred layers, in the deepest of them, where a weight is summed otherwise.
        for (lowered, bound) in [(&grafted, 1e-5), (&to_run, 1e-4)] {
            let all = many_adapters(lowered, count(K)).unwrap();
            let apart = adapters_apart(&ort, &grafted, &all).unwrap();
            assert!(apart < bound, "{}: {apart:e}", file.display());
            let single = all.single_nodes.len();
            assert!(single <= 1, "{}: {:?}", file.display(), all.single_nodes);
        }
    }
}

#[test]
fn gradients_of_many_adapters_come_from_one_run() {
    let Some(ort): Option<Ort> = ort_or_skip() else { return };
    let grafted = graft(&small_model().unwrap(), &GraftOptions::default()).unwrap();
    let factors: Vec<&str> = grafted.layout.factors().map(|f| f.input.as_str()).collect();
    let wrt = factors.iter().map(|&factor| factor.to_owned()).collect();
    let losses = Vec::new();
    let options = DifferentiateOptions { losses, wrt, strict: false, profile: Profile::Cpu };
    let training = differentiate(&grafted.folded, &options).unwrap();
    let all = many(&training.folded, &factors, count(K)).unwrap();
    let apart = difference(&ort, &training.folded, &factors, &all);
    assert!(apart < 1e-5, "{apart:e}; single: {:?}", all.single_nodes);
}
