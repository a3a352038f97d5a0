//! Networks that were trained aware of their quantising: weights of floats behind the nodes that quantise them, and bounds between
//! QuantizeLinear and DequantizeLinear.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::bake::bake_dequantised;
use shoal_runtime::compare::compare;
use shoal_runtime::engine::testing::{noise, ort_or_skip};
use shoal_runtime::engine::{Engine, LoadOptions};
use shoal_runtime::fit::{FitOptions, Subject, fit};
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::{GraftOptions, Grafted, Profile, graft};
use shoal_runtime::onnx::{
    Attr, Builder, Data, Element, Folded, Model, PinOptions, Tensor, TensorType, Value, open,
};

/// How values are held between their bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bounds {
    /// By the integers themselves.
    None,
    /// By a Clip of the integers.
    Clip,
    /// By a Max and a Min of them.
    Extremes,
    /// By a Clip of the floats before.
    Floats,
}

const STEP: f32 = 0.02;

/// Activations in steps of [`STEP`], from 0 to 40 of them.
fn activation(b: &mut Builder, x: &Value, bounds: Bounds) -> Value {
    let mut x = x.clone();
    let byte = |b: &mut Builder, value| b.constant_of(&Tensor::new(&[], Data::U8(vec![value])));
    let (low, high, scale) = (byte(b, 0), byte(b, 40), b.scalar(STEP));
    if bounds == Bounds::Floats {
        // Half a step wider: what is rounded to the last step is in.
        let (low, high) = (b.scalar(-0.5 * STEP), b.scalar(40.5 * STEP));
        x = b.op("Clip", &[&x, &low, &high], &[]).unwrap();
    }
    let mut q = b.op("QuantizeLinear", &[&x, &scale, &low], &[]).unwrap();
    match bounds {
        Bounds::None | Bounds::Floats => {}
        Bounds::Clip => q = b.op("Clip", &[&q, &low, &high], &[]).unwrap(),
        Bounds::Extremes => {
            q = b.op("Max", &[&q, &low], &[]).unwrap();
            q = b.op("Min", &[&q, &high], &[]).unwrap();
        }
    }
    b.op("DequantizeLinear", &[&q, &scale, &low], &[]).unwrap()
}

/// How a weight is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stored {
    Floats,
    /// Floats behind QuantizeLinear and DequantizeLinear.
    Pair,
    /// With a Clip between them.
    Clipped,
    /// As integers from this one on, behind DequantizeLinear.
    Integers(i8),
}

fn weight(b: &mut Builder, name: &str, dims: &[usize], stored: Stored) -> Value {
    let count: usize = dims.iter().product();
    let each = count / dims[0];
    let values: Vec<f32> = noise(name.len(), count).iter().map(|v| v * 0.4).collect();
    let scales: Vec<f32> = (0..dims[0]).map(|row| 0.003 + 0.0002 * row as f32).collect();
    let quantised = |least: i8| {
        let steps =
            values.iter().enumerate().map(|(at, v)| (v / scales[at / each]).round_ties_even());
        steps.map(|step| step.clamp(f32::from(least), 127.0) as i8).collect()
    };
    if stored == Stored::Floats {
        return b.initializer(name, &Tensor::f32(dims, &values));
    }
    let scale = b.initializer(&format!("{name}.scale"), &Tensor::f32(&[dims[0]], &scales));
    let zeros = Tensor::new(&[dims[0]], Data::I8(vec![0; dims[0]]));
    let zero = b.initializer(&format!("{name}.zero"), &zeros);
    let axis = [("axis", Attr::Int(0))];
    let mut q = match stored {
        Stored::Integers(least) => {
            b.initializer(name, &Tensor::new(dims, Data::I8(quantised(least))))
        }
        Stored::Floats | Stored::Pair | Stored::Clipped => {
            let w = b.initializer(name, &Tensor::f32(dims, &values));
            b.op("QuantizeLinear", &[&w, &scale, &zero], &axis).unwrap()
        }
    };
    if stored == Stored::Clipped {
        let bound =
            |b: &mut Builder, value| b.constant_of(&Tensor::new(&[], Data::I8(vec![value])));
        let (low, high) = (bound(b, -127), bound(b, 127));
        q = b.op("Clip", &[&q, &low, &high], &[]).unwrap();
    }
    b.op("DequantizeLinear", &[&q, &scale, &zero], &axis).unwrap()
}

/// Two convolutions, the second behind activations that are held in bounds.
fn network(bounds: Bounds, stored: Stored) -> Model {
    let mut b = Builder::new(13);
    let x = b.input("x", TensorType::f32(&[1, 3, 6, 6]));
    let first = weight(&mut b, "first", &[4, 3, 3, 3], stored);
    let h = b.op("Conv", &[&x, &first], &[]).unwrap();
    let h = activation(&mut b, &h, bounds);
    let second = weight(&mut b, "the second", &[2, 4, 3, 3], stored);
    let y = b.op("Conv", &[&h, &second], &[]).unwrap();
    b.output("y", &y);
    b.into_model()
}

fn folded(model: &Model) -> Folded {
    open(model, &PinOptions::default()).unwrap().folded
}

fn grafted(model: &Model) -> Grafted {
    graft(&folded(model), &GraftOptions::default()).unwrap()
}

/// The gradient of every factor of the first convolution, where the target is noise.
fn gradients(model: &Model) -> Vec<Vec<f32>> {
    let grafted = grafted(model);
    let site = &grafted.layout.sites[0];
    let wrt = vec![site.a.input.clone(), site.b.input.clone()];
    let how = DifferentiateOptions {
        losses: Vec::new(),
        wrt: wrt.clone(),
        strict: true,
        profile: Profile::Cpu,
    };
    let training = differentiate(&grafted.folded, &how).unwrap();
    let options = LoadOptions::training(NonZeroUsize::MIN);
    let mut session = ort_or_skip().unwrap().load(&training.folded.model, &options).unwrap();
    for index in 0..session.inputs().len() {
        let port = session.inputs()[index].clone();
        let scale = if port.name.starts_with("lora.") { 0.05 } else { 1.0 };
        let values: Vec<f32> =
            noise(port.name.len(), port.ty.values()).iter().map(|v| v * scale).collect();
        session.write_f32(index, &values).unwrap();
    }
    session.run().unwrap();
    wrt.iter()
        .map(|name| {
            let index = session.output_index(&format!("grad.{name}")).unwrap();
            session.output_f32(index).unwrap().to_vec()
        })
        .collect()
}

#[test]
fn bounds_of_integers_pass_the_gradient_that_bounds_of_floats_do() {
    if ort_or_skip().is_none() {
        return;
    }
    let want = gradients(&network(Bounds::Floats, Stored::Floats));
    let free = gradients(&network(Bounds::None, Stored::Floats));
    assert_ne!(want, free, "some activations are beyond the bounds");
    assert!(want.iter().flatten().any(|&value| value != 0.0));
    for bounds in [Bounds::Clip, Bounds::Extremes] {
        let got = gradients(&network(bounds, Stored::Floats));
        if bounds == Bounds::Clip {
            assert_eq!(got, want);
        }
        assert!(got.iter().flatten().all(|value| value.is_finite()));
        assert!(got.iter().flatten().any(|&value| value != 0.0), "{bounds:?}");
    }
}

#[test]
fn weights_of_floats_that_nodes_quantise_are_the_integers_they_become() {
    let Some(ort) = ort_or_skip() else { return };
    let bytes = |folded: &Folded| -> Vec<Tensor> {
        let stored = &folded.model.graph().initializer;
        let stored = stored.iter().filter(|t| t.data_type() == Element::I8.to_onnx());
        let all = stored.map(|t| Tensor::from_proto(t).unwrap());
        all.filter(|tensor| tensor.dims.len() == 4).collect()
    };
    for (stored, least) in [(Stored::Pair, -128), (Stored::Clipped, -127)] {
        let integers = folded(&network(Bounds::None, Stored::Integers(least)));
        let model = network(Bounds::Clip, stored);
        let grafted = grafted(&model);
        assert_eq!(grafted.layout.sites.len(), 2, "{stored:?}");
        assert_eq!(bytes(&integers).len(), 2);
        assert_eq!(bytes(&grafted.folded), bytes(&integers), "{stored:?}");
        let start = Adapter::start(grafted.layout.clone(), 0);
        let subject = Subject::Adapter { grafted: &grafted, start: &start, frozen_a: false };
        let fitted = fit(subject, &ort, &FitOptions::default(), None, |_| {}).unwrap();
        assert!(fitted.after < fitted.before, "{} to {}", fitted.before, fitted.after);
        let adapter = fitted.trained.adapter().unwrap();
        let baked = folded(&bake_dequantised(&model, adapter).unwrap());
        let found = compare(&baked, &grafted, adapter, &ort, (1, NonZeroUsize::MIN)).unwrap();
        assert!(found.agrees() && found.values > 0, "{stored:?}: {found:?}");
    }
}

/// A thousandth of what was tuned is less than one step of an activation moves what is behind it.
#[test]
fn a_baked_model_is_compared_without_the_steps_of_its_activations() {
    let Some(ort) = ort_or_skip() else { return };
    let model = network(Bounds::None, Stored::Integers(-128));
    let grafted = grafted(&model);
    let tuned = |by: f32| {
        let values = noise(5, grafted.layout.values()).iter().map(|v| v * by).collect();
        Adapter::from_values(grafted.layout.clone(), values).unwrap()
    };
    let baked = folded(&bake_dequantised(&model, &tuned(0.1)).unwrap());
    let apart =
        |by: f32| compare(&baked, &grafted, &tuned(by), &ort, (1, NonZeroUsize::MIN)).unwrap();
    let same = apart(0.1);
    assert!(same.agrees() && same.tolerance < 1e-4 && same.values > 0, "{same:?}");
    let other = apart(0.1005);
    assert!(!other.agrees(), "{other:?}");
}

/// Every value is the one that ONNX Runtime gives, halves and ends of the range included.
#[test]
fn what_is_quantised_here_is_what_the_engine_quantises() {
    let Some(ort) = ort_or_skip() else { return };
    let mut values: Vec<f32> = noise(1, 3000).iter().map(|v| v * 3.0).collect();
    values.extend((-600..600).map(|half| 0.5 * half as f32 * 0.007));
    let count = values.len();
    for (element, zero) in [(Element::I8, -3), (Element::U8, 100), (Element::I8, 0)] {
        let quantised = |stored: bool| {
            let mut b = Builder::new(17);
            let x = match stored {
                true => b.initializer("x", &Tensor::f32(&[count], &values)),
                false => b.input("x", TensorType::f32(&[count])),
            };
            let scale = b.scalar(0.007);
            let zero = b.constant_of(&Tensor::from_f64s(element, &[], &[f64::from(zero)]));
            let q = b.op("QuantizeLinear", &[&x, &scale, &zero], &[]).unwrap();
            let real = b.op("DequantizeLinear", &[&q, &scale, &zero], &[]).unwrap();
            b.output("y", &real);
            folded(&b.into_model())
        };
        let (known, fed) = (quantised(true), quantised(false));
        assert!(known.model.graph().node.iter().all(|node| !node.is("QuantizeLinear")));
        let run = |folded: &Folded| {
            let options = LoadOptions::training(NonZeroUsize::MIN);
            let mut session = ort.load(&folded.model, &options).unwrap();
            if !session.inputs().is_empty() {
                session.write_f32(0, &values).unwrap();
            }
            session.run().unwrap();
            session.output_f32(0).unwrap().to_vec()
        };
        assert_eq!(run(&known), run(&fed), "{element} {zero}");
    }
}
