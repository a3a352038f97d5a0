//! What [`differentiate`] writes, and what it refuses.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use shoal_runtime::gradient::{
    DifferentiateOptions, LossKind, LossSpec, PlacedLoss, Reason, Refusal, WrongLoss,
    differentiate, unsupported,
};
use shoal_runtime::graft::Profile;
use shoal_runtime::inspect::inspect;
use shoal_runtime::onnx::{
    Attr, Builder, Data, Element, Folded, InferError, PinOptions, Tensor, TensorType, Value,
};

fn options(wrt: &[&str]) -> DifferentiateOptions {
    DifferentiateOptions {
        losses: Vec::new(),
        wrt: wrt.iter().map(|&name| name.to_owned()).collect(),
        strict: false,
        profile: Profile::Cpu,
    }
}

fn graph(write: impl FnOnce(&mut Builder, &Value, &Value)) -> Folded {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 3]));
    let w = b.input("w", TensorType::f32(&[3, 3]));
    write(&mut b, &x, &w);
    b.finish()
}

fn op(b: &mut Builder, op: &str, inputs: &[&Value]) -> Value {
    b.op(op, inputs, &[]).unwrap()
}

/// x → MatMul w → tanh.
fn plain() -> Folded {
    graph(|b, x, w| {
        let y = op(b, "MatMul", &[x, w]);
        let y = op(b, "Tanh", &[&y]);
        b.output("y", &y);
    })
}

fn names(folded: &Folded) -> (Vec<&str>, Vec<&str>) {
    let graph = folded.model.graph();
    let inputs = graph.input.iter().map(|i| i.name()).collect();
    (inputs, graph.output.iter().map(|o| o.name()).collect())
}

#[test]
fn the_training_graph_takes_targets_and_weights_and_gives_loss_and_gradients() {
    let training = differentiate(&plain(), &options(&["w", "x"])).unwrap();
    let (inputs, outputs) = names(&training.folded);
    assert_eq!(inputs, ["x", "w", "target.y", "weight.y"]);
    assert_eq!(outputs, ["loss", "grad.w", "grad.x"]);
    assert_eq!(training.folded.types["weight.y"], TensorType::f32(&[2]));
    assert_eq!(training.folded.types["loss"], TensorType::f32(&[]));
    assert_eq!(training.folded.types["grad.w"], TensorType::f32(&[3, 3]));
    assert!(!training.losses[0].moved());
}

#[test]
fn cross_entropy_takes_whole_numbers_and_a_weight_for_each() {
    let mut options = options(&["w"]);
    options.losses = vec![LossSpec::new(LossKind::CrossEntropy, "y")];
    let training = differentiate(&plain(), &options).unwrap();
    let types = &training.folded.types;
    assert_eq!(types["target.y"], TensorType::new(Element::I64, &[2]));
    assert_eq!(types["weight.y"], TensorType::f32(&[2]));
}

/// Three nodes have no rule, and one of them hides behind another.
fn with_obstacles() -> Folded {
    graph(|b, x, w| {
        let y = op(b, "MatMul", &[x, w]);
        let y = op(b, "Hardmax", &[&y]);
        let y = op(b, "Tanh", &[&y]);
        let divisor = op(b, "Abs", &[&y]);
        let y = b.op("Mod", &[&y, &divisor], &[("fmod", Attr::Int(1))]).unwrap();
        let y = op(b, "RandomNormalLike", &[&y]);
        b.output("y", &y);
    })
}

#[test]
fn every_node_in_the_way_is_named_with_its_operator_and_why() {
    let refusal = differentiate(&with_obstacles(), &options(&["w"])).unwrap_err();
    let Refusal::Unsupported { obstacles } = &refusal else { panic!("{refusal}") };
    let found: Vec<_> = obstacles.iter().map(|o| (o.operator.as_str(), &o.reason)).collect();
    let divisor = Reason::Input { input: "B" };
    let want =
        [("Hardmax", &Reason::NoRule), ("Mod", &divisor), ("RandomNormalLike", &Reason::NoRule)];
    assert_eq!(found, want);
    let text = refusal.to_string();
    for obstacle in obstacles {
        assert!(text.contains(&obstacle.node) && text.contains(&obstacle.operator), "{text}");
    }
    assert_eq!(unsupported(&with_obstacles(), &["w".into()]).unwrap(), *obstacles);
    assert_eq!(unsupported(&plain(), &["w".into()]).unwrap(), []);
}

#[test]
fn an_operator_without_rule_on_the_frozen_side_stands_in_nobodys_way() {
    let folded = graph(|b, x, w| {
        let x = op(b, "Hardmax", &[x]);
        let y = op(b, "MatMul", &[&x, w]);
        b.output("y", &y);
    });
    assert!(differentiate(&folded, &options(&["w"])).is_ok());
    assert!(differentiate(&folded, &options(&["x"])).is_err());
}

#[test]
fn an_operator_of_another_domain_is_no_standard_one() {
    let mut folded = plain();
    folded.model.graph_mut().node[1].domain = Some("example".into());
    let obstacles = unsupported(&folded, &["w".into()]);
    assert!(matches!(obstacles, Ok(list) if list.len() == 1 && list[0].operator == "example.Tanh"));
}

#[test]
fn an_input_that_does_not_reach_the_loss_is_an_error() {
    let folded = graph(|b, x, w| {
        let y = op(b, "Tanh", &[x]);
        let z = op(b, "Tanh", &[w]);
        b.output("y", &y);
        b.output("z", &z);
    });
    let mut options = options(&["x", "w"]);
    assert!(differentiate(&folded, &options).is_ok());
    options.losses = vec![LossSpec::new(LossKind::Mse, "y")];
    let refusal = differentiate(&folded, &options).unwrap_err();
    assert_eq!(refusal, Refusal::NotReached { inputs: vec!["w".into()], ends: Vec::new() });
}

#[test]
fn a_gradient_stops_at_whole_numbers_and_is_refused_not_zero() {
    let folded = graph(|b, x, w| {
        let whole = b.op("Cast", &[w], &[("to", Attr::Int(7))]).unwrap();
        let back = b.op("Cast", &[&whole], &[("to", Attr::Int(1))]).unwrap();
        let y = op(b, "MatMul", &[x, &back]);
        b.output("y", &y);
    });
    let mut options = options(&["w"]);
    options.losses = vec![LossSpec::new(LossKind::Mse, "y")];
    let refusal = differentiate(&folded, &options).unwrap_err();
    let why = WrongLoss::Independent { ends: vec!["Cast `Cast_0`".into()] };
    assert_eq!(refusal, Refusal::Loss { output: "y".into(), why });
}

/// They count steps of a scale: a gradient cast to their type would be nothing but zeros.
#[test]
fn a_cast_of_quantised_values_ends_the_gradient() {
    for op in ["Cast", "CastLike"] {
        let folded = graph(|b, x, w| {
            let h = b.op_named("h", "MatMul", &[x, w], &[]).unwrap();
            let (scale, zero) =
                (b.scalar(0.02), b.constant_of(&Tensor::new(&[], Data::I8(vec![0]))));
            let steps = b.op("QuantizeLinear", &[&h, &scale, &zero], &[]).unwrap();
            let real = match op {
                "Cast" => b.op(op, &[&steps], &[("to", Attr::Int(1))]).unwrap(),
                _ => b.op(op, &[&steps, &h], &[]).unwrap(),
            };
            let y = b.op("Mul", &[&real, &scale], &[]).unwrap();
            b.output("y", &y);
        });
        let mut asked = options(&["w"]);
        let training = differentiate(&folded, &asked).unwrap();
        assert_eq!((training.losses.len(), training.losses[0].tensor.as_str()), (1, "h"), "{op}");
        asked.losses = vec![LossSpec::new(LossKind::Mse, "y")];
        let Err(Refusal::Loss { why: WrongLoss::Independent { ends }, .. }) =
            differentiate(&folded, &asked)
        else {
            panic!("{op} has a gradient")
        };
        assert!(ends.len() == 1 && ends[0].starts_with(&format!("{op} `")), "{ends:?}");
    }
}

#[test]
fn the_nodes_at_which_a_gradient_ends_are_named() {
    let folded = graph(|b, x, w| {
        let steps = op(b, "Round", &[w]);
        let hot = op(b, "Greater", &[w, &steps]);
        let hot = b.op("Cast", &[&hot], &[("to", Attr::Int(1))]).unwrap();
        let y = op(b, "MatMul", &[x, &hot]);
        b.output("y", &y);
    });
    let mut options = options(&["w", "x"]);
    options.losses = vec![LossSpec::new(LossKind::Mse, "y")];
    let refusal = differentiate(&folded, &options).unwrap_err();
    let ends = vec!["Round `Round_0`".to_owned(), "Greater `Greater_1`".to_owned()];
    assert_eq!(refusal, Refusal::NotReached { inputs: vec!["w".into()], ends });
    let text = refusal.to_string();
    assert!(text.contains("no gradient passes Round `Round_0`, Greater `Greater_1`"), "{text}");
}

#[test]
fn a_recurrent_node_that_is_not_written_out_is_refused_with_its_reason() {
    let folded = graph(|b, x, w| {
        let y = op(b, "MatMul", &[x, w]);
        let sequence = b.i64s(&[2, 1, 3]);
        let sequence = op(b, "Reshape", &[&y, &sequence]);
        let (wide, state) = (b.f32s(&[1, 8, 3], &[0.1; 24]), b.f32s(&[1, 8, 2], &[0.1; 16]));
        let attrs = [("hidden_size", Attr::Int(2)), ("clip", Attr::Float(3.0))];
        let y = b.op("LSTM", &[&sequence, &wide, &state], &attrs).unwrap();
        b.output("y", &y);
    });
    let obstacles = unsupported(&folded, &["w".into()]).unwrap();
    let clip = Reason::Attribute { name: "clip", value: "3".into() };
    assert_eq!((obstacles.len(), obstacles[0].operator.as_str()), (1, "LSTM"));
    assert_eq!(obstacles[0].reason, clip);
}

/// logits → ArgMax → a table of angles.
fn classifier() -> Folded {
    graph(|b, x, w| {
        let logits = op(b, "MatMul", &[x, w]);
        let best = b.op("ArgMax", &[&logits], &[("axis", Attr::Int(1))]).unwrap();
        let table = b.f32s(&[3], &[-1.0, 0.0, 1.0]);
        let angle = op(b, "Gather", &[&table, &best]);
        b.output("angle", &angle);
    })
}

#[test]
fn a_loss_moves_before_an_output_without_gradient_and_says_so() {
    let folded = classifier();
    let training = differentiate(&folded, &options(&["w"])).unwrap();
    let loss = &training.losses[0];
    assert!(loss.moved());
    assert_eq!(
        (loss.output.as_str(), folded.model.graph().node[0].output[0].as_str()),
        ("angle", loss.tensor.as_str())
    );
    assert_eq!(training.folded.types[&loss.target], TensorType::f32(&[2, 3]));
    let operators: Vec<_> =
        training.folded.model.graph().node.iter().map(|n| n.op_type()).collect();
    assert!(!operators.contains(&"ArgMax"), "{operators:?}");
}

#[test]
fn wanted_tensors_behind_a_choice_have_a_loss_beside_that_of_the_table_it_picks_from() {
    let folded = graph(|b, x, w| {
        let logits = op(b, "MatMul", &[x, w]);
        let best = b.op("ArgMax", &[&logits], &[("axis", Attr::Int(1))]).unwrap();
        let table = b.input("table", TensorType::f32(&[3]));
        let angle = op(b, "Gather", &[&table, &best]);
        let turned = op(b, "Neg", &[&angle]);
        b.output("angle", &turned);
    });
    let training = differentiate(&folded, &options(&["w", "table"])).unwrap();
    let moved: Vec<bool> = training.losses.iter().map(PlacedLoss::moved).collect();
    assert_eq!(moved, [false, true]);
    assert!(training.losses.iter().all(|loss| loss.output == "angle"));
    // Who wants the table alone gets what it had.
    assert_eq!(differentiate(&folded, &options(&["table"])).unwrap().losses.len(), 1);
}

#[test]
fn strict_refuses_to_move_a_loss() {
    let mut options = options(&["w"]);
    options.strict = true;
    let refusal = differentiate(&classifier(), &options).unwrap_err();
    assert!(
        matches!(&refusal, Refusal::Strict { moved, .. } if moved[0].0 == "angle"),
        "{refusal}"
    );
    assert!(differentiate(&plain(), &options).is_ok());
}

#[test]
fn what_cannot_be_asked_is_an_error_of_its_own() {
    let folded = plain();
    let refusal = |wrt: &[&str], losses: &[&str]| {
        let mut options = options(wrt);
        let spec = |output: &&str| LossSpec::new(LossKind::Mse, output);
        options.losses = losses.iter().map(spec).collect();
        differentiate(&folded, &options).unwrap_err()
    };
    assert_eq!(refusal(&[], &[]), Refusal::NothingWanted);
    assert_eq!(refusal(&["v"], &[]), Refusal::NoSuchInput { input: "v".into() });
    assert_eq!(refusal(&["y"], &[]), Refusal::NoSuchInput { input: "y".into() });
    assert!(matches!(
        refusal(&["w"], &["z"]),
        Refusal::Loss { why: WrongLoss::NoSuchTensor { .. }, .. }
    ));
    let (output, why) = ("y".to_owned(), WrongLoss::Twice { kind: "mse" });
    assert_eq!(refusal(&["w"], &["y", "y"]), Refusal::Loss { output, why });
}

#[test]
fn a_tensor_that_is_called_as_a_target_is_refused_by_its_name() {
    for taken in ["target.y", "weight.y"] {
        let folded = graph(|b, x, w| {
            let y = op(b, "MatMul", &[x, w]);
            let other = b.input(taken, TensorType::f32(&[2, 3]));
            let sum = op(b, "Add", &[&y, &other]);
            b.output("y", &y);
            b.output("z", &sum);
        });
        let refused = differentiate(&folded, &options(&["w"])).unwrap_err();
        assert_eq!(refused, Refusal::NameTaken { name: taken.to_owned() });
    }
}

#[test]
fn a_loss_that_counts_nothing_or_lacks_its_variance_is_refused() {
    let folded = plain();
    let why = |loss: LossSpec| {
        let mut options = options(&["w"]);
        options.losses = vec![loss];
        let refusal = differentiate(&folded, &options).unwrap_err();
        let Refusal::Loss { why, .. } = refusal else { panic!("{refusal}") };
        why
    };
    for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let why = why(LossSpec::new(LossKind::Mse, "y").times(factor));
        assert!(matches!(why, WrongLoss::Factor { .. }), "{why}");
    }
    let variance = |name: &str| LossKind::GaussianNll { log_variance: name.to_owned() };
    let missing = why(LossSpec::new(variance("s"), "y"));
    assert!(matches!(&missing, WrongLoss::LogVariance { got: None, .. }), "{missing}");
    let other = why(LossSpec::new(variance("w"), "y"));
    assert!(matches!(&other, WrongLoss::LogVariance { got: Some(_), .. }), "{other}");
    assert!(other.to_string().contains("`w`"), "{other}");
}

#[test]
fn each_of_several_losses_is_an_output_beside_their_sum() {
    let folded = graph(|b, x, w| {
        let y = op(b, "MatMul", &[x, w]);
        let z = op(b, "Tanh", &[&y]);
        b.output("y", &y);
        b.output("z", &z);
    });
    let training = differentiate(&folded, &options(&["w"])).unwrap();
    assert_eq!(names(&training.folded).1, ["loss", "loss.y", "loss.z", "grad.w"]);
    assert_eq!(training.folded.types["loss.z"], TensorType::f32(&[]));
}

#[test]
fn only_standard_operators_are_written_each_node_once_and_none_for_nothing() {
    let folded = graph(|b, x, w| {
        let a = op(b, "MatMul", &[x, w]);
        let s = op(b, "Sigmoid", &[&a]);
        let a = op(b, "Mul", &[&a, &s]);
        let c = op(b, "Mul", &[&a, &a]);
        let y = op(b, "Div", &[&c, &s]);
        b.output("y", &y);
    });
    let training = differentiate(&folded, &options(&["w"])).unwrap();
    let graph = training.folded.model.graph();
    let mut seen = BTreeSet::new();
    let mut read: BTreeSet<&str> = graph.output.iter().map(|o| o.name()).collect();
    read.extend(graph.node.iter().flat_map(|n| n.input.iter().map(String::as_str)));
    for node in &graph.node {
        assert_eq!(node.domain(), "");
        let key = format!("{} {:?} {:?}", node.op_type(), node.input, node.attribute);
        assert!(seen.insert(key.clone()), "twice: {key}");
        assert!(node.output.iter().any(|o| read.contains(o.as_str())), "for nothing: {key}");
    }
    let kept = graph.initializer.iter().all(|t| read.contains(t.name()));
    assert!(kept, "an initializer nobody reads");
}

#[test]
fn a_frozen_prefix_costs_nothing() {
    let deep = |layers: usize| {
        let folded = graph(|b, x, w| {
            let mut x = x.clone();
            for _ in 0..layers {
                x = op(b, "Tanh", &[&x]);
            }
            let y = op(b, "MatMul", &[&x, w]);
            b.output("y", &y);
        });
        let training = differentiate(&folded, &options(&["w"])).unwrap();
        training.folded.model.graph().node.len() - layers
    };
    assert_eq!(deep(1), deep(9));
}

#[test]
fn pieces_side_by_side_become_one_concat() {
    let folded = graph(|b, x, w| {
        let a = op(b, "MatMul", &[x, w]);
        let mut sum: Option<Value> = None;
        for at in 0..3 {
            let [start, end, axis] = [at, at + 1, 1].map(|v| b.i64s(&[v]));
            let part = op(b, "Slice", &[&a, &start, &end, &axis]);
            let part = op(b, if at == 1 { "Tanh" } else { "Sigmoid" }, &[&part]);
            sum = Some(sum.map_or(part.clone(), |s| op(b, "Mul", &[&s, &part])));
        }
        b.output("y", &sum.unwrap());
    });
    let training = differentiate(&folded, &options(&["w"])).unwrap();
    let count = |name: &str| {
        training.folded.model.graph().node.iter().filter(|n| n.op_type() == name).count()
    };
    assert_eq!((count("Concat"), count("Pad")), (1, 0));
}

#[test]
fn an_index_outside_its_axis_is_refused() {
    let folded = graph(|b, x, w| {
        let y = op(b, "MatMul", &[x, w]);
        let index = b.i64s(&[0, 3]);
        let y = b.op("Gather", &[&y, &index], &[("axis", Attr::Int(1))]).unwrap();
        b.output("y", &y);
    });
    let obstacles = unsupported(&folded, &["w".into()]).unwrap();
    assert_eq!(obstacles[0].reason, Reason::OutOfRange { index: 3, dim: 3 });
}

#[test]
fn tensors_without_values_are_refused() {
    let folded = graph(|b, x, w| {
        let y = op(b, "MatMul", &[x, w]);
        let bounds = [0, 0, 1].map(|v| b.i64s(&[v]));
        let y = op(b, "Slice", &[&y, &bounds[0], &bounds[1], &bounds[2]]);
        b.output("y", &y);
    });
    let why = WrongLoss::Empty;
    let refusal = differentiate(&folded, &options(&["w"])).unwrap_err();
    assert_eq!(refusal, Refusal::Loss { output: "y".into(), why });
}

/// A convolution along a long axis, by a weight `w`, and what is done with what it gives.
fn along(length: usize, write: impl FnOnce(&mut Builder, &Value) -> Value) -> Folded {
    let mut b = Builder::new(19);
    let x = b.input("x", TensorType::f32(&[1, 2, length]));
    let w = b.initializer("w", &Tensor::f32(&[2, 2, 1], &[0.5; 4]));
    let y = b.op("Conv", &[&x, &w], &[]).unwrap();
    let y = write(&mut b, &y);
    b.output("y", &y);
    b.finish()
}

/// The most values that the training graph stores in one tensor.
fn stored_max(folded: &Folded) -> usize {
    let training = differentiate(folded, &options(&["w"])).unwrap().folded;
    let stored = training.model.graph().initializer.iter();
    let count = stored.map(|stored| stored.dims.iter().product::<i64>() as usize);
    count.max().unwrap()
}

fn resized(b: &mut Builder, x: &Value, scale: f32, mode: &str) -> Value {
    let scales = b.f32s(&[3], &[1.0, 1.0, scale]);
    let text = |value: &str| Attr::Str(value.to_owned());
    let attrs = [
        ("mode", text(mode)),
        ("coordinate_transformation_mode", text("asymmetric")),
        ("nearest_mode", text("floor")),
    ];
    b.op_n("Resize", &[Some(x), None, Some(&scales)], &attrs, 1).unwrap().remove(0)
}

#[test]
fn a_long_axis_is_padded_and_resized_without_a_matrix() {
    for (mode, pad) in [("reflect", 3), ("wrap", 3), ("reflect", 1000), ("edge", 3)] {
        let folded = along(1 << 20, |b, x| {
            let pads = b.i64s(&[0, 0, pad, 0, 0, pad]);
            b.op("Pad", &[x, &pads], &[("mode", Attr::Str(mode.to_owned()))]).unwrap()
        });
        assert!(stored_max(&folded) <= 1024, "{mode} {pad}");
    }
    assert!(stored_max(&along(1 << 20, |b, x| resized(b, x, 2.0, "nearest"))) < 100);
    // Half of them is read, each once.
    let halved = along(1 << 16, |b, x| resized(b, x, 0.5, "nearest"));
    assert!(stored_max(&halved) <= 1 << 16);
}

/// The longest windows there are, nearly all of which are pads.
fn widely_pooled(op: &str, axes: usize) -> Folded {
    let mut b = Builder::new(19);
    let space = vec![4; axes];
    let x = b.input("x", TensorType::f32(&[&[1, 2], &space[..]].concat()));
    let w = b.input("w", TensorType::f32(&[&[2, 2], &vec![1; axes][..]].concat()));
    let h = b.op("Conv", &[&x, &w], &[]).unwrap();
    let each = |value: i64, count| Attr::Ints(vec![value; count]);
    let attrs = [
        ("kernel_shape", each(1 << 24, axes)),
        ("strides", each(1 << 24, axes)),
        ("pads", each((1 << 24) - 1, 2 * axes)),
    ];
    let y = b.op(op, &[&h], &attrs).unwrap();
    b.output("y", &y);
    b.finish()
}

/// How much of each window lies inside is counted without looking at every place of it.
#[test]
fn a_long_window_at_many_places_is_counted_at_once() {
    let folded = along(4, |b, x| {
        let attrs = [
            ("kernel_shape", Attr::Ints(vec![1 << 20])),
            ("pads", Attr::Ints(vec![(1 << 20) - 1; 2])),
        ];
        b.op("AveragePool", &[x], &attrs).unwrap()
    });
    assert!(stored_max(&folded) <= 1 << 21);
}

/// Kernels of a single 1 for each place would have the square of them.
#[test]
fn a_long_kernel_has_a_gradient_that_stores_nothing() {
    for (stride, groups, channels) in [(1, 1, 1), (2, 1, 1), (1, 8, 8)] {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[1, channels, 1 << 17]));
        let w = b.input("w", TensorType::f32(&[channels, channels / groups, 100_000]));
        let attrs = [("strides", Attr::Ints(vec![stride])), ("group", Attr::Int(groups as i64))];
        let y = b.op("Conv", &[&x, &w], &attrs).unwrap();
        b.output("y", &y);
        assert!(stored_max(&b.finish()) <= 16, "{stride} {groups}");
    }
}

#[test]
fn a_recurrent_node_of_too_many_steps_is_refused_as_a_loop_is() {
    for (op, gates, steps) in [("LSTM", 4, 1 << 26), ("LSTM", 4, 16_000), ("RNN", 1, (1 << 16) + 1)]
    {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[steps, 1, 1]));
        let w = b.input("w", TensorType::f32(&[1, gates, 1]));
        let r = b.f32s(&[1, gates, 1], &vec![0.5; gates]);
        let y = b.op_n(op, &[Some(&x), Some(&w), Some(&r)], &[("hidden_size", Attr::Int(1))], 1);
        b.output("y", &y.unwrap()[0]);
        let obstacles = unsupported(&b.finish(), &["w".to_owned()]).unwrap();
        let [obstacle] = &obstacles[..] else { panic!("{obstacles:?}") };
        assert_eq!(obstacle.operator, op);
        assert_eq!(obstacle.reason, Reason::Unrolled { steps, max: 131_072 });
    }
}

#[test]
fn a_matrix_that_is_too_large_to_store_is_refused_before_it_is_made() {
    let repeated = along(2, |b, x| {
        let pads = b.i64s(&[0, 0, 1 << 24, 0, 0, 0]);
        b.op("Pad", &[x, &pads], &[("mode", Attr::Str("wrap".to_owned()))]).unwrap()
    });
    let resized = along(1 << 16, |b, x| resized(b, x, 2.0, "linear"));
    for folded in [repeated, resized] {
        let obstacles = unsupported(&folded, &["w".to_owned()]).unwrap();
        let [obstacle] = &obstacles[..] else { panic!("{obstacles:?}") };
        assert!(matches!(obstacle.reason, Reason::TooLarge { .. }), "{obstacle}");
    }
    for (op, axes) in
        [("AveragePool", 1), ("AveragePool", 2), ("AveragePool", 3), ("LpPool", 2), ("LpPool", 3)]
    {
        let folded = widely_pooled(op, axes);
        let obstacles = unsupported(&folded, &["w".to_owned()]).unwrap();
        let [obstacle] = &obstacles[..] else { panic!("{obstacles:?}") };
        assert!(matches!(obstacle.reason, Reason::TooLarge { .. }), "{obstacle}");
        assert!(obstacle.to_string().contains("16777216"), "{obstacle}");
    }
    // A table has another way.
    let folded = graph(|b, x, _w| {
        let w = b.initializer("table", &Tensor::f32(&[1 << 13, 3], &[0.5; 3 << 13]));
        let read: Vec<i64> = (0..1 << 12).map(|at| at % 4000).collect();
        let read = b.i64s(&read);
        let rows = op(b, "Gather", &[&w, &read]);
        let mean = op(b, "ReduceMean", &[&rows]);
        let y = op(b, "Mul", &[x, &mean]);
        b.output("y", &y);
    });
    let training = differentiate(&folded, &options(&["table"])).unwrap();
    assert_eq!(training.folded.types["grad.table"], TensorType::f32(&[1 << 13, 3]));
}

/// A sum of nothing but a product with w, of rank 0.
fn of_a_scalar(write: impl FnOnce(&mut Builder, &Value) -> Value) -> Folded {
    graph(|b, x, w| {
        let h = op(b, "MatMul", &[x, w]);
        let sum = b.op("ReduceSum", &[&h], &[("keepdims", Attr::Int(0))]).unwrap();
        let y = write(b, &sum);
        b.output("y", &y);
    })
}

#[test]
fn an_axis_of_a_scalar_is_refused_by_name() {
    let axis = |b: &mut Builder, op: &str, x: &[&Value]| b.op(op, x, &[("axis", Attr::Int(0))]);
    let mut graphs: Vec<Folded> = ["Softmax", "LogSoftmax", "LpNormalization"]
        .iter()
        .map(|op| of_a_scalar(|b, sum| axis(b, op, &[sum]).unwrap()))
        .collect();
    graphs.push(of_a_scalar(|b, sum| {
        let scales = b.f32s(&[2], &[0.1, 0.2]);
        let zeros = b.constant_of(&Tensor::new(&[2], Data::U8(vec![3, 4])));
        let q = axis(b, "QuantizeLinear", &[sum, &scales, &zeros]).unwrap();
        axis(b, "DequantizeLinear", &[&q, &scales, &zeros]).unwrap()
    }));
    for folded in graphs {
        let obstacles = unsupported(&folded, &["w".to_owned()]).unwrap();
        let [obstacle] = &obstacles[..] else { panic!("{obstacles:?}") };
        assert_eq!(obstacle.reason, Reason::Attribute { name: "axis", value: "0".into() });
    }
}

/// What inference takes, a gradient is not surprised by.
#[test]
fn windows_that_do_not_fit_are_refused_where_shapes_are_inferred() {
    let mut b = Builder::new(17);
    let row = b.input("row", TensorType::f32(&[4]));
    let x = b.input("x", TensorType::f32(&[1, 2, 4, 4]));
    let [w, empty] = [[2, 2, 3, 3], [2, 2, 0, 3]].map(|dims| b.input("w", TensorType::f32(&dims)));
    let asked = [("output_shape", Attr::Ints(vec![9]))];
    let mut refused = |op: &str, inputs: &[&Value], attrs: &[(&str, Attr)]| {
        let refused: Result<Value, InferError> = b.op(op, inputs, attrs);
        assert_eq!(refused.unwrap_err().operator, op);
    };
    for op in ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"] {
        refused(op, &[&row], &[]);
    }
    refused("ConvTranspose", &[&x, &w], &asked);
    refused("ConvTranspose", &[&x, &empty], &[]);
}

#[test]
fn axes_of_a_transpose_may_count_from_the_back() {
    let turned = |perm: [i64; 2]| {
        graph(|b, x, w| {
            let h = op(b, "MatMul", &[x, w]);
            let t = b.op("Transpose", &[&h], &[("perm", Attr::Ints(perm.to_vec()))]).unwrap();
            let y = op(b, "Relu", &[&t]);
            b.output("y", &y);
        })
    };
    let [front, back] = [[1, 0], [-1, -2]]
        .map(|perm| differentiate(&turned(perm), &options(&["w"])).unwrap().folded);
    assert_eq!(front.types, back.types);
}

#[test]
fn a_region_is_refused_by_name_also_where_no_length_changes() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 2, 4, 4]));
    let w = b.input("w", TensorType::f32(&[2, 2, 1, 1]));
    let h = b.op("Conv", &[&x, &w], &[]).unwrap();
    let region = b.f32s(&[8], &[0.0, 0.0, 0.25, 0.25, 1.0, 1.0, 0.75, 0.75]);
    let sizes = b.i64s(&[1, 2, 4, 4]);
    let text = |value: &str| Attr::Str(value.to_owned());
    let mode = ("coordinate_transformation_mode", text("tf_crop_and_resize"));
    let inputs = [Some(&h), Some(&region), None, Some(&sizes)];
    let y = b.op_n("Resize", &inputs, &[("mode", text("linear")), mode], 1).unwrap();
    b.output("y", &y[0]);
    let obstacles = unsupported(&b.finish(), &["w".to_owned()]).unwrap();
    let [obstacle] = &obstacles[..] else { panic!("{obstacles:?}") };
    let text = obstacle.to_string();
    assert!(text.contains("Resize") && text.contains("tf_crop_and_resize"), "{text}");
}

/// A mask of fewer keys than there are: the other obstacle is named as well.
#[test]
fn what_cannot_be_written_out_is_named_with_all_that_stands_in_the_way() {
    let mut b = Builder::new(23);
    let x = b.input("x", TensorType::f32(&[1, 1, 3, 2]));
    let w = b.input("w", TensorType::f32(&[2, 2]));
    let q = op(&mut b, "MatMul", &[&x, &w]);
    let mask = b.f32s(&[3, 2], &[0.0; 6]);
    let seen = b.op_n("Attention", &[Some(&q), Some(&q), Some(&q), Some(&mask)], &[], 1).unwrap();
    let region = b.f32s(&[8], &[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    let sizes = b.i64s(&[1, 1, 3, 2]);
    let mode = ("coordinate_transformation_mode", Attr::Str("tf_crop_and_resize".into()));
    let inputs = [Some(&seen[0]), Some(&region), None, Some(&sizes)];
    let y = b.op_n("Resize", &inputs, &[mode], 1).unwrap();
    b.output("y", &y[0]);
    let obstacles = unsupported(&b.finish(), &["w".to_owned()]).unwrap();
    let operators: Vec<&str> = obstacles.iter().map(|o| o.operator.as_str()).collect();
    assert_eq!(operators, ["Attention", "Resize"]);
    assert!(obstacles[0].to_string().contains("do not broadcast"), "{}", obstacles[0]);
}

/// A node that no gradient passes is written in another form for this engine, and does not take it.
#[test]
fn what_does_not_fit_is_told_by_inspection_with_its_cause() {
    let folded = graph(|b, x, _w| {
        let stored = b.initializer("stored", &Tensor::f32(&[3, 3], &[0.5; 9]));
        let h = op(b, "MatMul", &[x, &stored]);
        let share = b.op("Softmax", &[x], &[("axis", Attr::Int(-7))]).unwrap();
        let y = op(b, "Mul", &[&h, &share]);
        b.output("y", &y);
    });
    let report = inspect(&folded.model, &PinOptions::default(), 2).unwrap();
    let why = report.gradients.refusal.unwrap();
    assert!(why.contains("does not fit") && why.contains("ReduceMax node"), "{why}");
}
