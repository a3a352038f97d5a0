//! Dropout before the factors: masks that are inputs of the training graph, drawn outside.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::testing::{noise, ort_or_skip, small_model};
use shoal_runtime::engine::{Engine, LoadOptions, Session};
use shoal_runtime::fit::{FitError, FitOptions, Fitted, Subject, fit};
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::{DropoutError, GraftOptions, Grafted, Profile, graft, with_masks};
use shoal_runtime::onnx::{Builder, Folded, Tensor, TensorType};
use shoal_runtime::train::Masks;

fn grafted(targets: &[&str]) -> Grafted {
    let targets = targets.iter().map(|&target| target.to_owned()).collect();
    let options = GraftOptions { targets, rank: 2, ..GraftOptions::default() };
    graft(&small_model().unwrap(), &options).unwrap()
}

/// An adapter whose factors are all noise.
fn noisy(grafted: &Grafted) -> Adapter {
    let values = noise(11, grafted.layout.values()).iter().map(|value| 0.3 * value).collect();
    Adapter::from_values(grafted.layout.clone(), values).unwrap()
}

/// A session of a graph with the factors of an adapter and noise in what begins with none of `but`.
fn session(folded: &Folded, adapter: &Adapter, but: &[&str]) -> Option<Box<dyn Session>> {
    let load = LoadOptions::training(NonZeroUsize::MIN);
    let mut session = ort_or_skip()?.load(&folded.model, &load).unwrap();
    let ports: Vec<(String, usize)> =
        session.inputs().iter().map(|port| (port.name.clone(), port.ty.values())).collect();
    for (index, (name, count)) in ports.into_iter().enumerate() {
        let factor = adapter.layout().factors().find(|factor| factor.input == name);
        match factor {
            Some(factor) => session.write_f32(index, adapter.factor(factor)).unwrap(),
            None if but.iter().any(|start| name.starts_with(start)) => {}
            None => session.write_f32(index, &noise(name.len(), count)).unwrap(),
        }
    }
    Some(session)
}

#[test]
fn masks_of_ones_change_nothing() {
    let grafted = grafted(&["conv", "mix"]);
    let masked = with_masks(&grafted.folded, &grafted.layout).unwrap();
    let inputs: Vec<&str> = masked.model.graph().input.iter().map(|input| input.name()).collect();
    assert!(["dropout.conv", "dropout.mix"].iter().all(|mask| inputs.contains(mask)), "{inputs:?}");
    let adapter = noisy(&grafted);
    let Some(mut plain) = session(&grafted.folded, &adapter, &[]) else { return };
    let mut with = session(&masked, &adapter, &["dropout."]).unwrap();
    Masks::of(&mut *with, 0.5, 3).unwrap();
    plain.run().unwrap();
    with.run().unwrap();
    let (want, got) = (plain.output_f32(0).unwrap(), with.output_f32(0).unwrap());
    assert!(want.iter().zip(got).all(|(a, b)| (a - b).abs() < 1e-5), "{want:?} {got:?}");
}

/// `y = x·w` of two samples.
fn linear() -> Folded {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 3]));
    let w = b.initializer("w", &Tensor::f32(&[3, 4], &noise(5, 12)));
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    b.output("y", &y);
    b.finish()
}

/// Written out: y = x·W + s·(m ⊙ x)·Aᵀ·Bᵀ, and dB = s·dyᵀ·(m ⊙ x)·Aᵀ.
#[test]
fn what_a_mask_drops_is_missing_before_a_and_nowhere_else() {
    let options = GraftOptions { rank: 2, alpha: 4.0, ..GraftOptions::default() };
    let grafted = graft(&linear(), &options).unwrap();
    let adapter = noisy(&grafted);
    let masked = with_masks(&grafted.folded, &grafted.layout).unwrap();
    let wrt: Vec<String> = grafted.layout.factors().map(|f| f.input.clone()).collect();
    let options =
        DifferentiateOptions { losses: Vec::new(), wrt, strict: true, profile: Profile::Cpu };
    let mut training = differentiate(&masked, &options).unwrap().folded;
    let y = training.types["y"].to_value_info("y");
    training.model.graph_mut().output.push(y);
    let Some(mut session) = session(&training, &adapter, &[]) else { return };
    let x = [0.5, -1.0, 2.0, 1.5, 0.25, -0.75];
    let mask = [2.0, 0.0, 2.0, 0.0, 2.0, 2.0];
    for (name, values) in [
        ("x", &x[..]),
        ("dropout.w", &mask[..]),
        ("target.y", &[0.0; 8][..]),
        ("weight.y", &[1.0; 2][..]),
    ] {
        let input = session.input_index(name).unwrap();
        session.write_f32(input, values).unwrap();
    }
    session.run().unwrap();
    let site = &grafted.layout.sites[0];
    let (a, b, w) = (adapter.factor(&site.a), adapter.factor(&site.b), noise(5, 12));
    let hidden = |n: usize, r: usize| -> f32 {
        (0..3).map(|i| mask[n * 3 + i] * x[n * 3 + i] * a[r * 3 + i]).sum()
    };
    let output = session.output_index("y").unwrap();
    let got = session.output_f32(output).unwrap().to_vec();
    for n in 0..2 {
        for o in 0..4 {
            let base: f32 = (0..3).map(|i| x[n * 3 + i] * w[i * 4 + o]).sum();
            let branch: f32 = (0..2).map(|r| 2.0 * b[o * 2 + r] * hidden(n, r)).sum();
            let found = got[n * 4 + o];
            assert!((found - base - branch).abs() < 1e-5, "{found} {base} {branch}");
        }
    }
    // The loss is the mean over samples of the mean of y²: dy = 2·y ÷ 8.
    let gradient = session.output_index("grad.lora.w.B").unwrap();
    for (at, found) in session.output_f32(gradient).unwrap().iter().enumerate() {
        let (o, r) = (at / 2, at % 2);
        let want: f32 = (0..2).map(|n| 2.0 * got[n * 4 + o] / 8.0 * 2.0 * hidden(n, r)).sum();
        assert!((found - want).abs() < 1e-5, "{found} {want}");
    }
}

#[test]
fn a_mask_drops_its_share_and_is_the_same_for_the_same_step_alone() {
    let grafted = grafted(&["conv", "mix"]);
    let masked = with_masks(&grafted.folded, &grafted.layout).unwrap();
    let Some(mut session) = session(&masked, &noisy(&grafted), &[]) else { return };
    let mut masks = Masks::of(&mut *session, 0.3, 3).unwrap();
    let mut outputs = Vec::new();
    for (step, part) in [(0, 0), (1, 0), (0, 1), (0, 0)] {
        masks.draw(&mut *session, step, part).unwrap();
        session.run().unwrap();
        outputs.push(session.output_f32(0).unwrap().to_vec());
    }
    let drawn = masks.values();
    let dropped = drawn.iter().filter(|value| **value == 0.0).count() as f64 / drawn.len() as f64;
    assert!((dropped - 0.3).abs() < 0.1, "{dropped}");
    let kept = drawn.iter().find(|value| **value > 0.0).unwrap();
    assert!((kept - 1.0 / 0.7).abs() < 1e-6, "{kept}");
    assert!(outputs[0] == outputs[3] && outputs[0] != outputs[1] && outputs[0] != outputs[2]);
}

fn fitted(dropout: f64, targets: &[&str]) -> Option<Result<Fitted, FitError>> {
    let grafted = grafted(targets);
    let start = Adapter::start(grafted.layout.clone(), 0);
    let options = FitOptions { steps: 30, learning_rate: 3e-3, dropout, ..FitOptions::default() };
    let subject = Subject::Adapter { grafted: &grafted, start: &start, frozen_a: false };
    Some(fit(subject, &ort_or_skip()?, &options, None, |_| {}))
}

#[test]
fn training_with_dropout_lowers_the_loss_and_repeats() {
    let Some(plain) = fitted(0.0, &["conv", "mix"]) else { return };
    let [first, second] = [(); 2].map(|()| fitted(0.3, &["conv", "mix"]).unwrap().unwrap());
    assert!(first.after < 0.95 * first.before, "{} to {}", first.before, first.after);
    assert_eq!(first.trained, second.trained);
    let plain = plain.unwrap();
    // Losses are measured with everything let through.
    assert!((plain.before - first.before).abs() < 1e-4 && plain.trained != first.trained);
}

#[test]
fn a_site_whose_factors_are_in_its_weight_is_refused_by_name() {
    let grafted = grafted(&["*"]);
    let why = with_masks(&grafted.folded, &grafted.layout).unwrap_err();
    assert!(matches!(&why, DropoutError::Merged { site, .. } if site == "depth"), "{why}");
    let Some(refused) = fitted(0.3, &["*"]) else { return };
    assert!(refused.unwrap_err().to_string().contains("--targets '!depth'"));
}
