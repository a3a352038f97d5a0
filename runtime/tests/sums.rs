//! Weighted sums of losses: on several outputs, several on one, and what a bare model is fitted to by them.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::testing::{noise, ort_or_skip, plain_options};
use shoal_runtime::fit::{FitError, FitOptions, Fitted, Subject, fit};
use shoal_runtime::gradient::{
    DifferentiateOptions, Differentiated, Keep, LossKind, LossSpec, Refusal, WrongLoss,
    differentiate, differentiate_keeping,
};
use shoal_runtime::graft::{GraftOptions, Grafted, Profile, graft};
use shoal_runtime::onnx::{Builder, Element, Folded, Tensor, TensorType, Value, fold};

/// `next` and `doubt` `[4, 6]`, `bins` `[4, 5]` of one hidden layer of `past` `[4, 6]`. Weights are inputs, or stored.
fn world(stored: bool) -> Builder {
    let mut b = Builder::new(17);
    let x = b.input("past", TensorType::f32(&[4, 6]));
    let weight = |b: &mut Builder, name: &str, dims: [usize; 2]| -> Value {
        let values: Vec<f32> =
            noise(name.len(), dims[0] * dims[1]).iter().map(|v| v * 0.3).collect();
        match stored {
            true => b.initializer(name, &Tensor::f32(&dims, &values)),
            false => b.input(name, TensorType::f32(&dims)),
        }
    };
    let h = weight(&mut b, "w", [6, 8]);
    let h = b.op("MatMul", &[&x, &h], &[]).unwrap();
    let h = b.op("Tanh", &[&h], &[]).unwrap();
    for (output, name, wide) in
        [("next", "of_next", 6), ("doubt", "of_doubts", 6), ("bins", "of_the_bins", 5)]
    {
        let w = weight(&mut b, name, [8, wide]);
        let y = b.op("MatMul", &[&h, &w], &[]).unwrap();
        b.output(output, &y);
    }
    b
}

const WEIGHTS: [&str; 3] = ["w", "of_next", "of_the_bins"];

fn of(kind: LossKind, output: &str) -> LossSpec {
    LossSpec::new(kind, output)
}

fn gaussian() -> LossKind {
    LossKind::GaussianNll { log_variance: "doubt".to_owned() }
}

fn differentiated(losses: &[LossSpec], wrt: &[&str]) -> Result<Differentiated, Refusal> {
    let wrt = wrt.iter().map(|name| (*name).to_owned()).collect();
    let options =
        DifferentiateOptions { losses: losses.to_vec(), wrt, strict: true, profile: Profile::Cpu };
    differentiate(&world(false).finish(), &options)
}

/// Every output of a training graph, fed the same by the names of its inputs but for what kind a target is of.
fn outputs(training: &Folded) -> BTreeMap<String, Vec<f32>> {
    let mut session = ort_or_skip().unwrap().load(&training.model, &plain_options()).unwrap();
    for (index, port) in session.inputs().to_vec().into_iter().enumerate() {
        let (count, name) = (port.ty.values(), port.name.trim_end_matches(".cross_entropy"));
        if port.ty.element == Element::I64 {
            session.write_i64(index, &[2, 0, 4, 1]).unwrap();
        } else if name.starts_with("weight.") {
            session.write_f32(index, &[1.0, 0.5, 2.0, 0.0]).unwrap();
        } else {
            let seed = name.bytes().map(usize::from).sum::<usize>();
            session.write_f32(index, &noise(seed, count)).unwrap();
        }
    }
    session.run().unwrap();
    let mut read = BTreeMap::new();
    for (index, port) in session.outputs().iter().enumerate() {
        read.insert(port.name.clone(), session.output_f32(index).unwrap().to_vec());
    }
    read
}

/// The loss is Σ wᵢ·lossᵢ and every gradient Σ wᵢ·gradientᵢ, with each loss as it is by itself.
#[track_caller]
fn is_the_sum(losses: &[LossSpec], wrt: &[&str]) {
    let sum = differentiated(losses, wrt).unwrap();
    let got = outputs(&sum.folded);
    let mut want: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (loss, placed) in losses.iter().zip(&sum.losses) {
        let factor = loss.factor;
        let alone = LossSpec { factor: 1.0, ..loss.clone() };
        let reached: Vec<&str> = wrt
            .iter()
            .copied()
            .filter(|name| differentiated(std::slice::from_ref(&alone), &[*name]).is_ok())
            .collect();
        let by_itself = outputs(&differentiated(&[alone], &reached).unwrap().folded);
        for (name, values) in by_itself {
            if name == "loss" {
                assert!(
                    (f64::from(got[&placed.term][0]) - factor * f64::from(values[0])).abs() < 1e-5
                );
            }
            let into = want.entry(name).or_insert_with(|| vec![0.0; values.len()]);
            into.iter_mut()
                .zip(&values)
                .for_each(|(sum, value)| *sum += factor * f64::from(*value));
        }
    }
    let terms = got.keys().filter(|name| name.starts_with("loss.")).count();
    assert_eq!(terms, losses.len(), "{:?}", got.keys());
    assert_eq!(want.len(), 1 + wrt.len());
    for (name, want) in &want {
        let largest = want.iter().fold(1e-6_f64, |most, value| most.max(value.abs()));
        for (got, want) in got[name].iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-5 * largest, "{name}: {got}, not {want}");
        }
    }
}

#[test]
fn a_weighted_sum_over_several_outputs_is_the_sum_of_losses_and_of_gradients() {
    if ort_or_skip().is_none() {
        return;
    }
    is_the_sum(
        &[
            of(LossKind::Mse, "next").times(0.25),
            of(LossKind::Charbonnier, "doubt").times(3.0),
            of(LossKind::CrossEntropy, "bins").times(0.5),
        ],
        &WEIGHTS,
    );
}

#[test]
fn losses_on_one_output_share_its_target_and_each_is_told_by_its_kind() {
    if ort_or_skip().is_none() {
        return;
    }
    let losses = [
        of(LossKind::Mse, "next").times(0.75),
        of(LossKind::Charbonnier, "next").times(0.5),
        of(gaussian(), "next").times(2.0),
    ];
    is_the_sum(&losses, &["w", "of_next"]);
    let made = differentiated(&losses, &["w"]).unwrap();
    let graph = made.folded.model.graph();
    let inputs: Vec<&str> = graph.input.iter().map(|input| input.name()).collect();
    assert_eq!(inputs.iter().filter(|name| name.contains("next")).count(), 3, "{inputs:?}");
    let outputs: Vec<&str> = graph.output.iter().map(|output| output.name()).collect();
    let told = ["loss", "loss.next.mse", "loss.next.charbonnier", "loss.next.gaussian_nll"];
    assert_eq!(outputs[..4], told);
}

#[test]
fn classes_beside_values_on_one_output_have_a_target_of_their_own() {
    if ort_or_skip().is_none() {
        return;
    }
    let losses = [of(LossKind::Mse, "bins"), of(LossKind::CrossEntropy, "bins").times(0.5)];
    is_the_sum(&losses, &["w", "of_the_bins"]);
    let made = differentiated(&losses, &["w"]).unwrap();
    assert_eq!(made.losses[0].target, "target.bins");
    assert_eq!(made.losses[1].target, "target.bins.cross_entropy");
    assert_eq!(made.losses[1].weight, "weight.bins.cross_entropy");
}

#[test]
fn one_kind_twice_on_one_output_is_refused() {
    let twice = [of(LossKind::Mse, "next"), of(LossKind::Mse, "next").times(2.0)];
    let Err(Refusal::Loss { output, why }) = differentiated(&twice, &["w"]) else {
        panic!("it was taken")
    };
    assert_eq!((output.as_str(), &why), ("next", &WrongLoss::Twice { kind: "mse" }));
    assert!(why.to_string().contains("with the weight of both"), "{why}");
}

/// What holds a tensor to what it was is there once, however many losses sit on it.
#[test]
fn distillation_of_an_output_with_several_losses_is_one_term() {
    let losses = vec![of(LossKind::Mse, "next"), of(LossKind::Charbonnier, "next")];
    let wrt = vec!["w".to_owned()];
    let options = DifferentiateOptions { losses, wrt, strict: true, profile: Profile::Cpu };
    let keep = Keep { pull: None, distil: true };
    let made = differentiate_keeping(&world(false).finish(), &options, keep).unwrap();
    assert_eq!(made.distilled.len(), 1);
    assert_eq!(made.distilled[0].weight, "weight.distil.next");
    assert_eq!(made.distilled[0].term, "loss.distil.next");
}

fn grafted() -> Grafted {
    let options = GraftOptions { rank: 2, ..GraftOptions::default() };
    graft(&fold(&world(true).into_model()).unwrap(), &options).unwrap()
}

fn fitted(losses: Vec<LossSpec>, distil: usize) -> Result<Fitted, FitError> {
    let grafted = grafted();
    let start = Adapter::start(Arc::new(grafted.layout.clone()), 0);
    let subject = Subject::Adapter { grafted: &grafted, start: &start, frozen_a: false };
    let options =
        FitOptions { losses, distil, steps: 20, learning_rate: 3e-3, ..FitOptions::default() };
    fit(subject, &ort_or_skip().unwrap(), &options, None, |_| {})
}

/// A bare model is fitted by the losses that are asked for, in their own unit: twice the weights are twice the loss.
#[test]
fn a_bare_model_is_fitted_by_the_sum_that_is_asked_for() {
    if ort_or_skip().is_none() {
        return;
    }
    let losses = |times: f64| {
        vec![
            of(LossKind::Charbonnier, "next").times(0.5 * times),
            of(gaussian(), "next").times(0.125 * times),
            of(LossKind::CrossEntropy, "bins").times(times),
        ]
    };
    let (once, twice) = (fitted(losses(1.0), 0).unwrap(), fitted(losses(2.0), 0).unwrap());
    assert!(once.after < once.before, "{} to {}", once.before, once.after);
    assert!((twice.before / once.before - 2.0).abs() < 1e-5, "{} {}", once.before, twice.before);
    let factors: Vec<f64> = once.losses.iter().map(|loss| loss.factor).collect();
    assert_eq!(factors, [0.5, 0.125, 1.0]);
    let held = fitted(losses(1.0), 2).unwrap();
    assert_ne!(held.before, once.before);
    assert!(matches!(fitted(losses(1.0), 4), Err(FitError::Distilled { samples: 4, .. })));
    let missing = fitted(vec![of(LossKind::Mse, "nxt")], 0).unwrap_err().to_string();
    assert!(missing.contains("`nxt`") && missing.contains("next, doubt, bins"), "{missing}");
}

/// The likeliest of five classes for clean inputs is at least as likely as a guess for those that are a little aside.
#[test]
fn what_is_wanted_of_classes_is_the_likeliest_one() {
    if ort_or_skip().is_none() {
        return;
    }
    let made = fitted(vec![of(LossKind::CrossEntropy, "bins")], 0).unwrap();
    let guess = 5_f32.ln();
    assert!(made.after < made.before && made.before < guess, "{} {guess}", made.before);
}
