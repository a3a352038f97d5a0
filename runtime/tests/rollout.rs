//! A roll-out against the same graph written by hand, and against finite differences of itself.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_runtime::gradient::{DifferentiateOptions, LossKind, LossSpec, differentiate};
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::{Attr, Builder, Folded, TensorType, Value};
use shoal_runtime::rollout::{Feed, Fit, RollOutError, RollOutOptions, losses, roll_out};

fn feed(output: &str, input: &str) -> Feed {
    Feed { output: output.into(), input: input.into(), axis: None, clamp: None }
}

fn options(steps: usize) -> RollOutOptions {
    RollOutOptions { steps, feeds: vec![feed("next", "past")], shared: vec!["w".into()] }
}

/// next = tanh(flat(past)·w + motion), past `[2, 3, 4]` of three rows of four.
fn step(b: &mut Builder, past: &Value, motion: &Value, w: &Value) -> Value {
    let shape = b.i64s(&[2, 12]);
    let flat = b.op("Reshape", &[past, &shape], &[]).unwrap();
    let y = b.op("MatMul", &[&flat, w], &[]).unwrap();
    let y = b.op("Add", &[&y, motion], &[]).unwrap();
    b.op("Tanh", &[&y], &[]).unwrap()
}

fn model() -> Folded {
    let mut b = Builder::new(17);
    let past = b.input("past", TensorType::f32(&[2, 3, 4]));
    let motion = b.input("motion", TensorType::f32(&[2, 4]));
    let w = b.input("w", TensorType::f32(&[12, 4]));
    let next = step(&mut b, &past, &motion, &w);
    b.output("next", &next);
    b.finish()
}

/// The roll-out of [`model`] as one would write it.
fn by_hand(steps: usize) -> Folded {
    let mut b = Builder::new(17);
    let mut past = b.input("past", TensorType::f32(&[2, 3, 4]));
    let motions: Vec<Value> =
        (1..=steps).map(|s| b.input(&format!("motion.{s}"), TensorType::f32(&[2, 4]))).collect();
    let w = b.input("w", TensorType::f32(&[12, 4]));
    for (index, motion) in motions.iter().enumerate() {
        let next = step(&mut b, &past, motion, &w);
        b.output(&format!("next.{}", index + 1), &next);
        let [one, end, axis] = [1, 3, 1].map(|v| b.i64s(&[v]));
        let old = b.op("Slice", &[&past, &one, &end, &axis], &[]).unwrap();
        let shape = b.i64s(&[2, 1, 4]);
        let new = b.op("Reshape", &[&next, &shape], &[]).unwrap();
        past = b.op("Concat", &[&old, &new], &[("axis", Attr::Int(1))]).unwrap();
    }
    b.finish()
}

fn names(folded: &Folded) -> (Vec<&str>, Vec<&str>) {
    let graph = folded.model.graph();
    let inputs = graph.input.iter().map(|i| i.name()).collect();
    (inputs, graph.output.iter().map(|o| o.name()).collect())
}

#[test]
fn the_fed_input_and_the_weights_are_there_once_and_all_else_for_each_step() {
    let rolled = roll_out(&model(), &options(3)).unwrap();
    let (inputs, outputs) = names(&rolled.folded);
    assert_eq!(inputs, ["past", "motion.1", "motion.2", "motion.3", "w"]);
    assert_eq!(outputs, ["next.1", "next.2", "next.3"]);
    assert_eq!(rolled.fits, [Fit::Newest { axis: 1, count: 3, stacked: true }]);
    // The model's nodes in each step; Reshape, Slice, Concat between two.
    let nodes = model().model.graph().node.len();
    assert_eq!(rolled.folded.model.graph().node.len(), 3 * nodes + 2 * 3);
}

#[test]
fn a_prediction_is_the_whole_input_or_the_newest_part_of_one_axis() {
    let fit = |out: &[usize], read: &[usize], axis: Option<usize>| {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(read));
        let y = b.input("y", TensorType::f32(out));
        let z = b.op("Neg", &[&y], &[]).unwrap();
        let w = b.op("Neg", &[&x], &[]).unwrap();
        b.output("z", &z);
        b.output("w", &w);
        let feeds = vec![Feed { axis, ..feed("z", "x") }];
        roll_out(&b.finish(), &RollOutOptions { steps: 2, feeds, shared: Vec::new() })
            .map(|rolled| rolled.fits[0])
    };
    let newest = |axis, count, stacked| Ok(Fit::Newest { axis, count, stacked });
    assert_eq!(fit(&[2, 3], &[2, 3], None), Ok(Fit::Whole));
    assert_eq!(fit(&[2, 3, 4, 4], &[2, 12, 4, 4], None), newest(1, 4, false));
    assert_eq!(fit(&[2, 4, 4, 3], &[2, 4, 4, 12], None), newest(3, 4, false));
    // As many past frames as samples: the first axis is the batch.
    assert_eq!(fit(&[4, 3, 5], &[4, 4, 3, 5], None), newest(1, 4, true));
    assert_eq!(fit(&[3, 5], &[4, 3, 5], Some(0)), newest(0, 4, true));
    assert!(matches!(fit(&[3, 5], &[4, 3, 5], None), Err(RollOutError::Fit { .. })));
    assert!(matches!(fit(&[2, 3], &[2, 7], None), Err(RollOutError::Fit { .. })));
    let axes = vec![1, 2];
    let twofold = fit(&[2, 3, 5], &[2, 3, 3, 5], None).unwrap_err();
    assert!(matches!(&twofold, RollOutError::Ambiguous { axes: got, .. } if *got == axes));
}

#[test]
fn what_cannot_be_rolled_out_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut RollOutOptions)| {
        let mut options = options(2);
        change(&mut options);
        roll_out(&model(), &options).unwrap_err()
    };
    assert_eq!(refused(&|o| o.steps = 0), RollOutError::Steps { steps: 0 });
    assert_eq!(refused(&|o| o.steps = 65), RollOutError::Steps { steps: 65 });
    assert_eq!(refused(&|o| o.feeds.clear()), RollOutError::NoFeed);
    let unknown = refused(&|o| o.feeds[0].output = "nxt".into());
    assert!(unknown.to_string().contains("no output `nxt`; there are: next"), "{unknown}");
    let twice = refused(&|o| o.feeds.push(feed("next", "past")));
    assert_eq!(twice, RollOutError::Twice { input: "past".into() });
}

#[test]
fn the_steps_are_a_weighted_mean() {
    let factors = |discount| {
        let all = losses(&[LossSpec::new(LossKind::Mse, "next").times(3.0)], 2, discount);
        assert_eq!(all[1].output, "next.2");
        [all[0].factor, all[1].factor]
    };
    assert_eq!(factors(1.0), [1.5, 1.5]);
    assert_eq!(factors(0.5), [2.0, 1.0]);
    let kind = LossKind::GaussianNll { log_variance: "s".into() };
    let all = losses(&[LossSpec::new(kind, "next")], 2, 1.0);
    assert_eq!(all[1].kind, LossKind::GaussianNll { log_variance: "s.2".into() });
}

fn training(folded: &Folded, steps: usize) -> Folded {
    let options = DifferentiateOptions {
        losses: losses(&[LossSpec::new(LossKind::Mse, "next")], steps, 0.8),
        wrt: vec!["w".into(), "past".into()],
        strict: true,
        profile: Profile::Cpu,
    };
    differentiate(folded, &options).unwrap().folded
}

#[cfg(feature = "ort")]
mod run {
    use shoal_runtime::engine::testing::{noise, ort_or_skip, plain_options};
    use shoal_runtime::engine::{Engine, Session};

    use super::*;

    fn fed(engine: &dyn Engine, folded: &Folded) -> Box<dyn Session> {
        let mut session = engine.load(&folded.model, &plain_options()).unwrap();
        for index in 0..session.inputs().len() {
            let port = session.inputs()[index].clone();
            let seed = port.name.bytes().map(usize::from).sum();
            let values: Vec<f32> =
                noise(seed, port.ty.values()).iter().map(|value| 0.6 * value).collect();
            session.write_f32(index, &values).unwrap();
        }
        session
    }

    fn output(session: &dyn Session, name: &str) -> Vec<f32> {
        session.output_f32(session.output_index(name).unwrap()).unwrap().to_vec()
    }

    #[test]
    fn loss_and_gradients_are_those_of_the_graph_unrolled_by_hand() {
        let Some(engine) = ort_or_skip() else { return };
        let rolled = roll_out(&model(), &options(3)).unwrap().folded;
        let [mut ours, mut hand] =
            [&rolled, &by_hand(3)].map(|folded| fed(&engine, &training(folded, 3)));
        for session in [&mut ours, &mut hand] {
            session.run().unwrap();
        }
        for name in ["loss", "loss.next.3", "grad.w", "grad.past"] {
            assert_eq!(output(&*ours, name), output(&*hand, name), "{name}");
        }
    }

    #[test]
    fn the_gradient_goes_through_what_was_fed_back() {
        let Some(engine) = ort_or_skip() else { return };
        let rolled = roll_out(&model(), &options(3)).unwrap().folded;
        let mut session = fed(&engine, &training(&rolled, 3));
        session.run().unwrap();
        let slopes = output(&*session, "grad.w");
        let w = session.input_index("w").unwrap();
        let start = session.input_f32(w).unwrap().to_vec();
        let (mut off, mut norm) = (0.0, 0.0);
        for (at, slope) in slopes.iter().enumerate() {
            let mut loss = |steps: f32| {
                let mut values = start.clone();
                values[at] += 0.02 * steps;
                session.write_f32(w, &values).unwrap();
                session.run().unwrap();
                f64::from(output(&*session, "loss")[0])
            };
            let (near, far) = (loss(1.0) - loss(-1.0), loss(2.0) - loss(-2.0));
            let numeric = (8.0 * near - far) / (12.0 * 0.02);
            off += (numeric - f64::from(*slope)).powi(2);
            norm += numeric * numeric;
        }
        assert!(norm > 1e-4 && off.sqrt() < 3e-4 * norm.sqrt(), "{off} of {norm}");
    }

    #[test]
    fn what_is_fed_back_is_clamped_and_what_is_told_is_not() {
        let Some(engine) = ort_or_skip() else { return };
        let mut clamped = options(2);
        clamped.feeds[0].clamp = Some([-0.01, 0.01]);
        let [mut free, mut bound] = [&options(2), &clamped]
            .map(|options| fed(&engine, &roll_out(&model(), options).unwrap().folded));
        for session in [&mut free, &mut bound] {
            session.run().unwrap();
        }
        assert_eq!(output(&*free, "next.1"), output(&*bound, "next.1"));
        assert_ne!(output(&*free, "next.2"), output(&*bound, "next.2"));
    }
}
