//! Terms of the loss that keep parameters, or what a graph gives, near a place.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_runtime::engine::testing::{noise, ort_or_skip, plain_options};
use shoal_runtime::engine::{Engine, LoadOptions};
use shoal_runtime::gradient::{
    DifferentiateOptions, Keep, LossKind, LossSpec, Pull, differentiate, differentiate_keeping,
    recompute,
};
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::proto::NodeProto;
use shoal_runtime::onnx::{Attr, Builder, Element, Folded, Tensor, TensorType, fold};
use shoal_runtime::train::{AdamW, Decay, Schedule, TrainError, TrainOptions, Trainer};

const OPTIONS: TrainOptions = TrainOptions {
    optimiser: AdamW { beta_mean: 0.9, beta_square: 0.99, epsilon: 1e-8, weight_decay: 0.0 },
    schedule: Schedule { peak: 0.05, warm_up_steps: 3, decay: Decay::Constant },
    gradient_norm_max: None,
    average: None,
};
const EVEN: Keep = Keep { pull: Some(Pull::Even), distil: false };
const WEIGHED: Keep = Keep { pull: Some(Pull::ByImportance), distil: false };
const DISTILLED: Keep = Keep { pull: None, distil: true };
const PLACE: [f32; 6] = [-1.0, 2.0, 0.0, 0.5, 1.0, -4.0];
const IMPORTANCE: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 0.5, 0.25];

/// tanh(x·w), x `[4, 3]`, w `[3, 2]`.
fn model() -> Folded {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[4, 3]));
    let w = b.input("w", TensorType::f32(&[3, 2]));
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let y = b.op("Tanh", &[&y], &[]).unwrap();
    b.output("y", &y);
    b.finish()
}

fn options() -> DifferentiateOptions {
    let wrt = vec!["w".to_owned()];
    DifferentiateOptions { losses: Vec::new(), wrt, strict: true, profile: Profile::Cpu }
}

fn training(keep: Keep) -> Folded {
    differentiate_keeping(&model(), &options(), keep).unwrap().folded
}

fn write(trainer: &mut Trainer, name: &str, values: &[f32]) {
    let input = trainer.session().input_index(name).unwrap();
    trainer.session().write_f32(input, values).unwrap();
}

fn feed(trainer: &mut Trainer, seed: usize) {
    write(trainer, "x", &noise(seed, 12));
    write(trainer, "target.y", &noise(seed + 5, 8));
    write(trainer, "weight.y", &[1.0, 0.5, 2.0, 1.0]);
}

fn trainer_at(folded: &Folded, w: &[f32]) -> Option<Trainer> {
    let engine = ort_or_skip()?;
    let session = engine.load(&folded.model, &plain_options()).unwrap();
    let mut trainer = Trainer::new(session, OPTIONS, |_| Some(w)).unwrap();
    feed(&mut trainer, 1);
    Some(trainer)
}

fn gradient(trainer: &mut Trainer) -> (f32, Vec<f32>) {
    let mut gradient = Vec::new();
    let loss = trainer.gradient(&mut gradient).unwrap();
    (loss, gradient)
}

/// The optimiser's own sum, in float64: gradient + k·f·(w − place).
#[test]
fn a_pull_of_the_graph_is_what_an_optimiser_would_add() {
    let w = noise(3, 6);
    let Some(mut free) = trainer_at(&training(Keep::default()), &w) else { return };
    let (loss, bare) = gradient(&mut free);
    for (keep, k) in [(EVEN, 0.3), (WEIGHED, 0.3), (WEIGHED, 25.0), (EVEN, 0.0)] {
        let mut held = trainer_at(&training(keep), &w).unwrap();
        let by_importance = keep == WEIGHED;
        if by_importance {
            held.hold(k, |_| Some(&PLACE), |_| Some(&IMPORTANCE)).unwrap();
        } else {
            held.pull(k, |_| Some(&PLACE)).unwrap();
        }
        let (sum, pulled) = gradient(&mut held);
        let mut term = 0.0;
        for (index, (bare, pulled)) in bare.iter().zip(&pulled).enumerate() {
            let weight = if by_importance { f64::from(IMPORTANCE[index]) } else { 1.0 };
            let away = f64::from(w[index]) - f64::from(PLACE[index]);
            let want = f64::from(*bare) + k * weight * away;
            let bound = 1e-6 * want.abs().max(1.0);
            assert!((f64::from(*pulled) - want).abs() <= bound, "{keep:?} {pulled} {want}");
            term += 0.5 * k * weight * away * away;
        }
        let want = f64::from(loss) + term;
        assert!((f64::from(sum) - want).abs() <= 1e-6 * want.max(1.0), "{sum} {want}");
    }
}

#[test]
fn every_term_has_the_slope_of_its_value() {
    const STEP: f32 = 0.02;
    let both = Keep { pull: Some(Pull::ByImportance), distil: true };
    for keep in [EVEN, WEIGHED, DISTILLED, both] {
        let folded = training(keep);
        let at = |w: &[f32]| {
            let mut trainer = trainer_at(&folded, w)?;
            match keep.pull {
                Some(Pull::Even) => trainer.pull(0.7, |_| Some(&PLACE)).unwrap(),
                Some(Pull::ByImportance) => {
                    trainer.hold(0.7, |_| Some(&PLACE), |_| Some(&IMPORTANCE)).unwrap();
                }
                None => trainer.set_place(|_| Some(&PLACE)).unwrap(),
            }
            if keep.distil {
                write(&mut trainer, "weight.distil.y", &[0.5, 3.0, 1.0, 0.0]);
            }
            Some(gradient(&mut trainer))
        };
        let w = noise(3, 6);
        let Some((_, derived)) = at(&w) else { return };
        let loss = |index: usize, steps: f32| {
            let mut moved = w.clone();
            moved[index] += steps * STEP;
            f64::from(at(&moved).unwrap().0)
        };
        for (index, derived) in derived.iter().enumerate() {
            // Five points: exact up to the fourth derivative.
            let near = 8.0 * (loss(index, 1.0) - loss(index, -1.0));
            let slope = (near - loss(index, 2.0) + loss(index, -2.0)) / (12.0 * f64::from(STEP));
            let off = (slope - f64::from(*derived)).abs();
            assert!(off <= 1e-4 * slope.abs().max(1.0), "{keep:?} {index}: {derived} {slope}");
        }
    }
}

/// A graph with the place's outputs as targets that are fed.
#[test]
fn distillation_is_the_loss_against_what_the_graph_gives_at_the_place() {
    let w = noise(3, 6);
    let Some(mut taught) = trainer_at(&training(DISTILLED), &w) else { return };
    taught.set_place(|_| Some(&PLACE)).unwrap();
    write(&mut taught, "weight.y", &[0.0; 4]);
    write(&mut taught, "weight.distil.y", &[1.0, 0.0, 2.0, 1.0]);

    let engine = ort_or_skip().unwrap();
    let mut forward = engine.load(&model().model, &plain_options()).unwrap();
    forward.write_f32(0, &noise(1, 12)).unwrap();
    forward.write_f32(1, &PLACE).unwrap();
    forward.run().unwrap();
    let there = forward.output_f32(0).unwrap().to_vec();
    let fed = differentiate(&model(), &options()).unwrap().folded;
    let mut fed = trainer_at(&fed, &w).unwrap();
    write(&mut fed, "target.y", &there);
    write(&mut fed, "weight.y", &[1.0, 0.0, 2.0, 1.0]);

    let ((loss, got), (want_loss, want)) = (gradient(&mut taught), gradient(&mut fed));
    assert!(want_loss > 1e-2 && (loss - want_loss).abs() <= 1e-6, "{loss} {want_loss}");
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= 1e-6, "{got} {want}");
    }
    // At the place itself nothing is left.
    let mut here = trainer_at(&training(DISTILLED), &PLACE).unwrap();
    here.set_place(|_| Some(&PLACE)).unwrap();
    write(&mut here, "weight.y", &[0.0; 4]);
    write(&mut here, "weight.distil.y", &[1.0; 4]);
    assert_eq!(gradient(&mut here), (0.0, vec![0.0; 6]));
}

/// h = x·w; z, the row of h that a recurrent node, whose first output is left out, points at; and determinants that no loss needs
/// and nothing here infers.
fn chosen() -> Folded {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[4, 3]));
    let w = b.input("w", TensorType::f32(&[3, 2]));
    let h = b.op_named("h", "MatMul", &[&x, &w], &[]).unwrap();
    b.output("h", &h);
    b.initializer("steps", &Tensor::i64s(&[4, 1, 2]));
    b.initializer("squares", &Tensor::i64s(&[2, 2, 2]));
    b.initializer("weight", &Tensor::f32(&[1, 2, 2], &[0.5, 1.0, 0.25, -0.5]));
    let mut model = b.into_model();
    let node = |op: &str, input: &[&str], output: &[&str], attrs: &[(&str, Attr)]| {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        NodeProto {
            input: owned(input),
            output: owned(output),
            op_type: Some(op.to_owned()),
            attribute: attrs.iter().map(|(name, attr)| attr.to_proto(name)).collect(),
            ..NodeProto::default()
        }
    };
    // No gradient is written for a clipped one, so that it stays as it is.
    let clipped = [("hidden_size", Attr::Int(2)), ("clip", Attr::Float(3.0))];
    let last = [("axis", Attr::Int(2)), ("keepdims", Attr::Int(0))];
    let graph = model.graph_mut();
    graph.node.extend([
        node("Reshape", &["h", "steps"], &["row by row"], &[]),
        node("RNN", &["row by row", "weight", "weight"], &["", "state"], &clipped),
        node("ArgMax", &["state"], &["index"], &last),
        node("Gather", &["h", "index"], &["z"], &[("axis", Attr::Int(0))]),
        node("Reshape", &["h", "squares"], &["square"], &[]),
        node("Det", &["square"], &["det"], &[]),
    ]);
    let outputs = [("z", &[1, 1, 2][..]), ("det", &[2][..])];
    graph.output =
        outputs.iter().map(|(name, dims)| TensorType::f32(dims).to_value_info(name)).collect();
    fold(&model).unwrap()
}

#[test]
fn what_is_distilled_is_what_a_loss_needs_each_output_by_its_own_place() {
    let losses = vec![LossSpec::new(LossKind::Mse, "z")];
    let options = DifferentiateOptions { losses, ..options() };
    let folded = differentiate_keeping(&chosen(), &options, DISTILLED).unwrap().folded;
    let picks = folded.model.graph().node.iter().filter(|node| node.is("ArgMax"));
    let dims: Vec<&[usize]> = picks.map(|node| &folded.types[&node.output[0]].dims[..]).collect();
    assert_eq!(dims, [[1, 1]; 2]);

    let Some(engine) = ort_or_skip() else { return };
    let at = |w: &[f32]| {
        let session = engine.load(&folded.model, &plain_options()).unwrap();
        let mut trainer = Trainer::new(session, OPTIONS, |_| Some(w)).unwrap();
        trainer.set_place(|_| Some(&PLACE)).unwrap();
        write(&mut trainer, "x", &noise(1, 12));
        write(&mut trainer, "weight.distil.z", &[1.0]);
        gradient(&mut trainer)
    };
    assert_eq!(at(&PLACE), (0.0, vec![0.0; 6]));
    assert!(at(&noise(3, 6)).0 > 1e-2);
}

/// Kirkpatrick et al., arXiv 1612.00796, equation 3.
#[test]
fn what_matters_stays_at_its_place_and_the_rest_moves() {
    let start = [0.0; 6];
    let Some(mut free) = trainer_at(&training(Keep::default()), &start) else { return };
    let mut held = trainer_at(&training(WEIGHED), &start).unwrap();
    let importance = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0];
    held.hold(1e6, |_| Some(&start), |_| Some(&importance)).unwrap();
    for step in 0..200 {
        for trainer in [&mut free, &mut held] {
            feed(trainer, step);
            trainer.step().unwrap();
        }
    }
    let (_, held) = held.parameters().unwrap().next().unwrap();
    let (_, moved) = free.parameters().unwrap().next().unwrap();
    let far = |values: &[f32], odd: usize| -> f32 {
        values.iter().skip(odd).step_by(2).map(|value| value.abs()).sum()
    };
    assert!(far(held, 0) < 0.01 && far(moved, 0) > 0.1, "{held:?} {moved:?}");
    assert!((far(held, 1) - far(moved, 1)).abs() < 0.3 * far(moved, 1), "{held:?} {moved:?}");
}

#[test]
fn a_term_that_is_no_number_is_named_and_a_graph_without_it_says_so() {
    let Some(mut trainer) = trainer_at(&training(EVEN), &[0.0; 6]) else { return };
    let error = trainer.pull(1.0, |_| Some(&PLACE[..5])).unwrap_err();
    assert!(matches!(error, TrainError::Start { want: 6, got: 5, .. }), "{error:?}");
    let error = trainer.hold(1.0, |_| Some(&PLACE), |_| Some(&IMPORTANCE)).unwrap_err();
    assert!(error.to_string().contains("`keep.importance.w`"), "{error}");
    trainer.pull(1.0, |_| Some(&[f32::MAX; 6])).unwrap();
    let error = trainer.step().unwrap_err();
    assert!(matches!(&error, TrainError::NotFinite { output, .. } if output == "loss.keep"));

    let mut weighed = trainer_at(&training(WEIGHED), &[0.0; 6]).unwrap();
    for bad in [-1.0, f32::NAN, f32::INFINITY] {
        let importance = [1.0, 1.0, bad, 1.0, 1.0, 1.0];
        let error = weighed.hold(1.0, |_| Some(&PLACE), |_| Some(&importance)).unwrap_err();
        assert!(matches!(error, TrainError::Importance { .. }), "{error:?}");
    }
    let mut free = trainer_at(&training(Keep::default()), &[0.0; 6]).unwrap();
    let error = free.pull(1.0, |_| Some(&PLACE)).unwrap_err();
    assert!(error.to_string().contains("`keep.strength`"), "{error}");
}

#[test]
fn a_graph_that_computes_again_has_the_same_terms() {
    let Some(engine) = ort_or_skip() else { return };
    let both = Keep { pull: Some(Pull::Even), distil: true };
    let whole = training(both);
    let again = recompute(&whole, 2).unwrap();
    let of = |folded: &Folded| {
        let session = engine.load(&folded.model, &LoadOptions::default()).unwrap();
        let mut trainer = Trainer::new(session, OPTIONS, |_| Some(&IMPORTANCE)).unwrap();
        feed(&mut trainer, 1);
        trainer.pull(0.5, |_| Some(&PLACE)).unwrap();
        write(&mut trainer, "weight.distil.y", &[1.0; 4]);
        gradient(&mut trainer)
    };
    assert_eq!(of(&whole), of(&again));
}

/// What only the file says of an operator is known of it at the place, too.
#[test]
fn what_is_declared_is_distilled_through() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 3]));
    let w = b.input("w", TensorType::f32(&[3, 4]));
    let h = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let shape = b.i64s(&[2, 1, 2, 2]);
    let square = b.op("Reshape", &[&h, &shape], &[]).unwrap();
    let det = NodeProto {
        input: vec![square.name().to_owned()],
        output: vec!["det".to_owned()],
        op_type: Some("Det".to_owned()),
        ..NodeProto::default()
    };
    b.declare(&det, "det", Some(&TensorType::f32(&[2, 1])));
    let det = b.node(det).unwrap().swap_remove(0);
    // No gradient goes through integers.
    let cast = |b: &mut Builder, value, to: Element| {
        b.op("Cast", &[value], &[("to", Attr::Int(i64::from(to.to_onnx())))]).unwrap()
    };
    let whole = cast(&mut b, &det, Element::I64);
    let whole = cast(&mut b, &whole, Element::F32);
    let y = b.op("Add", &[&h, &whole], &[]).unwrap();
    b.output("y", &y);
    let folded = b.finish();
    let distilled = differentiate_keeping(&folded, &options(), DISTILLED).unwrap().folded;
    let nodes = &distilled.model.graph().node;
    assert_eq!(nodes.iter().filter(|node| node.op_type() == "Det").count(), 2);
}
