//! tract and ONNX Runtime compute the same.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;
use std::path::Path;

use shoal_runtime::engine::testing::{noise, ort_or_skip, regression, small_model};
use shoal_runtime::engine::{Engine, EngineError, LoadOptions, Optimise, Session};
use shoal_runtime::gradient::{DifferentiateOptions, LossKind, LossSpec, differentiate, recompute};
use shoal_runtime::graft::{GraftOptions, Profile, graft};
use shoal_runtime::many::many_adapters;
use shoal_runtime::onnx::proto::{NodeProto, OperatorSetIdProto};
use shoal_runtime::onnx::{
    Attr, Builder, Data, Element, Model, PinOptions, Tensor, TensorType, fold, pin,
};
use shoal_runtime::rollout::{Feed, RollOutOptions, losses, roll_out};
use shoal_runtime::train::{AdamW, Decay, Schedule, TrainOptions, Trainer};
use shoal_tract::Tract;

/// What every graph of this project is held to: the largest difference, relative to the largest
/// value of the output.
const TOLERANCE: f32 = 1e-4;

fn fill(session: &mut dyn Session) {
    for index in 0..session.inputs().len() {
        let count = session.inputs()[index].ty.values();
        session.write_f32(index, &noise(index, count)).unwrap();
    }
}

fn assert_agreement(a: &dyn Session, b: &dyn Session) {
    for (index, port) in a.outputs().iter().enumerate() {
        assert_eq!(*port, b.outputs()[index]);
        let (a, b) = (a.output_f32(index).unwrap(), b.output_f32(index).unwrap());
        let largest = a.iter().fold(f32::MIN_POSITIVE, |max, value| max.max(value.abs()));
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= TOLERANCE * largest, "{}: {a} and {b}", port.name);
        }
    }
}

/// A convolution, its norm, an activation, attention's operators, and a resize: what the default
/// world model is made of.
fn mixture() -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 3, 8, 8]));
    let w = b.input("w", TensorType::f32(&[4, 3, 3, 3]));
    let attrs = [
        ("strides", Attr::Ints(vec![2, 2])),
        ("pads", Attr::Ints(vec![1, 1, 1, 1])),
        ("kernel_shape", Attr::Ints(vec![3, 3])),
    ];
    let y = b.op("Conv", &[&x, &w], &attrs).unwrap();
    let gate = b.op("Sigmoid", &[&y], &[]).unwrap();
    let y = b.op("Mul", &[&y, &gate], &[]).unwrap();
    let shape = b.i64s(&[2, 4, 16]);
    let tokens = b.op("Reshape", &[&y, &shape], &[]).unwrap();
    let turned = b.op("Transpose", &[&tokens], &[("perm", Attr::Ints(vec![0, 2, 1]))]).unwrap();
    let scores = b.op("MatMul", &[&tokens, &turned], &[]).unwrap();
    let weights = b.op("Softmax", &[&scores], &[("axis", Attr::Int(-1))]).unwrap();
    let mixed = b.op("MatMul", &[&weights, &tokens], &[]).unwrap();
    b.output("mixed", &mixed);
    b.output("weights", &weights);
    b.into_model()
}

/// Three predictions in a row, losses of three kinds, a forward pass in two segments: what is new in a training graph.
#[test]
fn both_engines_train_on_a_roll_out_that_recomputes() {
    let Some(ort) = ort_or_skip() else { return };
    let mut b = Builder::new(17);
    let past = b.input("past", TensorType::f32(&[2, 12]));
    let w = b.input("w", TensorType::f32(&[12, 4]));
    let v = b.input("v", TensorType::f32(&[4, 4]));
    let hidden = b.op("MatMul", &[&past, &w], &[]).unwrap();
    let hidden = b.op("Tanh", &[&hidden], &[]).unwrap();
    let next = b.op("MatMul", &[&hidden, &v], &[]).unwrap();
    let doubt = b.op("Tanh", &[&next], &[]).unwrap();
    let other = b.op("Sigmoid", &[&hidden], &[]).unwrap();
    for (name, value) in [("next", &next), ("doubt", &doubt), ("other", &other)] {
        b.output(name, value);
    }
    let wrt = vec!["w".to_owned(), "v".to_owned()];
    let clamp = Some([-0.9, 0.9]);
    let feed = Feed { output: "next".into(), input: "past".into(), axis: None, clamp };
    let options = RollOutOptions { steps: 3, feeds: vec![feed], shared: wrt.clone() };
    let rolled = roll_out(&b.finish(), &options).unwrap().folded;
    let gaussian = LossKind::GaussianNll { log_variance: "doubt".into() };
    let each =
        [LossSpec::new(gaussian, "next").times(0.5), LossSpec::new(LossKind::Charbonnier, "other")];
    let losses = losses(&each, 3, 0.9);
    let options = DifferentiateOptions { losses, wrt, strict: true, profile: Profile::Tract };
    let training = differentiate(&rolled, &options).unwrap().folded;
    let model = recompute(&training, 2).unwrap().model;
    assert_ne!(model, training.model);
    let [mut a, mut b] = [&ort as &dyn Engine, &Tract]
        .map(|engine| engine.load(&model, &LoadOptions::default()).unwrap());
    for session in [&mut a, &mut b] {
        fill(&mut **session);
        session.run().unwrap();
    }
    assert_agreement(&*a, &*b);
}

/// Losses of all kinds on two outputs, three of them on one, each with its weight.
#[test]
fn both_engines_give_the_same_sum_of_losses_and_its_gradients() {
    let Some(ort) = ort_or_skip() else { return };
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[3, 5]));
    let w = b.input("w", TensorType::f32(&[5, 4]));
    let next = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let doubt = b.op("Tanh", &[&next], &[]).unwrap();
    let bins = b.op("Sigmoid", &[&next], &[]).unwrap();
    for (name, value) in [("next", &next), ("doubt", &doubt), ("bins", &bins)] {
        b.output(name, value);
    }
    let kinds = [
        (LossKind::Mse, "next", 0.5),
        (LossKind::Charbonnier, "next", 2.0),
        (LossKind::GaussianNll { log_variance: "doubt".into() }, "next", 0.25),
        (LossKind::CrossEntropy, "bins", 3.0),
    ];
    let losses = kinds.map(|(kind, output, times)| LossSpec::new(kind, output).times(times));
    let (losses, wrt) = (losses.to_vec(), vec!["w".to_owned()]);
    let options = DifferentiateOptions { losses, wrt, strict: true, profile: Profile::Tract };
    let model = differentiate(&b.finish(), &options).unwrap().folded.model;
    let [mut a, mut b] = [&ort as &dyn Engine, &Tract]
        .map(|engine| engine.load(&model, &LoadOptions::default()).unwrap());
    for session in [&mut a, &mut b] {
        for index in 0..session.inputs().len() {
            let port = session.inputs()[index].clone();
            if port.ty.element == Element::I64 {
                session.write_i64(index, &[3, -1, 0]).unwrap();
            } else {
                session.write_f32(index, &noise(index, port.ty.values())).unwrap();
            }
        }
        session.run().unwrap();
    }
    assert_eq!(a.outputs().len(), 6);
    assert_agreement(&*a, &*b);
}

#[test]
fn both_engines_compute_the_same_of_small_graphs() {
    let Some(ort) = ort_or_skip() else { return };
    for model in [regression(4, 3, 2).unwrap(), mixture()] {
        for optimise in [Optimise::No, Optimise::Basic, Optimise::All] {
            let options = LoadOptions { optimise, ..LoadOptions::default() };
            let mut reference = ort.load(&model, &options).unwrap();
            let mut tract = Tract.load(&model, &options).unwrap();
            fill(&mut *reference);
            fill(&mut *tract);
            reference.run().unwrap();
            tract.run().unwrap();
            assert_agreement(&*reference, &*tract);
        }
    }
}

#[test]
fn both_engines_compute_the_same_gradients_of_one_training_graph() {
    let Some(ort) = ort_or_skip() else { return };
    for profile in [Profile::Tract, Profile::Cpu] {
        let options = GraftOptions { rank: 2, profile, ..GraftOptions::default() };
        let grafted = graft(&small_model().unwrap(), &options).unwrap();
        let wrt = grafted.layout.factors().map(|factor| factor.input.clone()).collect();
        let options = DifferentiateOptions { losses: Vec::new(), wrt, strict: true, profile };
        let model = differentiate(&grafted.folded, &options).unwrap().folded.model;
        let mut reference = ort.load(&model, &LoadOptions::default()).unwrap();
        let mut tract = Tract.load(&model, &LoadOptions::default()).unwrap();
        fill(&mut *reference);
        fill(&mut *tract);
        reference.run().unwrap();
        tract.run().unwrap();
        assert_eq!(reference.outputs().len(), 1 + grafted.layout.sites.len() * 2);
        assert_agreement(&*reference, &*tract);
    }
}

#[test]
fn both_engines_train_to_the_same_parameters() {
    let Some(ort) = ort_or_skip() else { return };
    let model = regression(4, 3, 2).unwrap();
    let options = TrainOptions {
        optimiser: AdamW { weight_decay: 0.01, ..AdamW::default() },
        schedule: Schedule { peak: 0.02, warm_up_steps: 5, decay: Decay::Constant },
        gradient_norm_max: Some(1.0),
        average: None,
    };
    let train = |engine: &dyn Engine| {
        let session = engine.load(&model, &LoadOptions::default()).unwrap();
        let mut trainer = Trainer::new(session, options, |_| Some(&[0.0; 6])).unwrap();
        let losses: Vec<f32> = (0..50)
            .map(|step| {
                trainer.session().write_f32(0, &noise(2 * step, 12)).unwrap();
                trainer.session().write_f32(1, &noise(2 * step + 1, 8)).unwrap();
                trainer.step().unwrap().loss
            })
            .collect();
        (
            losses,
            trainer
                .parameters()
                .unwrap()
                .flat_map(|(_, values)| values.to_vec())
                .collect::<Vec<_>>(),
        )
    };
    let (a, b) = (train(&ort), train(&Tract));
    for (a, b) in a.0.iter().chain(&a.1).zip(b.0.iter().chain(&b.1)) {
        assert!((a - b).abs() <= TOLERANCE, "{a} and {b}");
    }
}

#[test]
fn inputs_are_filled_in_place_and_outputs_feed_inputs() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2]));
    let y = b.op("Add", &[&x, &x], &[]).unwrap();
    b.output("y", &y);
    b.output("same", &x);
    let mut session = Tract.load(&b.into_model(), &LoadOptions::default()).unwrap();
    session.input_f32(0).unwrap().copy_from_slice(&[1.0, 3.0]);
    for _ in 0..3 {
        session.run().unwrap();
        session.copy_output_to_input(0, 0).unwrap();
    }
    assert_eq!(session.output_f32(0).unwrap(), [8.0, 24.0]);
    assert_eq!(session.output_f32(1).unwrap(), [4.0, 12.0]);
    // A write after a copy reaches the input alone.
    session.write_f32(0, &[0.0, 0.0]).unwrap();
    assert_eq!(session.output_f32(0).unwrap(), [8.0, 24.0]);
    assert_eq!(session.input_f32(0).unwrap(), [0.0, 0.0]);
}

#[test]
fn integers_and_wrong_types_are_told_apart() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::new(Element::I64, &[2]));
    let y = b.op("Add", &[&x, &x], &[]).unwrap();
    b.output("y", &y);
    let mut session = Tract.load(&b.into_model(), &LoadOptions::default()).unwrap();
    session.write_i64(0, &[3, -4]).unwrap();
    session.run().unwrap();
    assert_eq!(session.output_i64(0).unwrap(), [6, -8]);
    assert_eq!(session.output_f32(0).unwrap_err().to_string(), "`y` is int64, not float32");
    let error = session.write_i64(0, &[1]).unwrap_err();
    assert_eq!(error.to_string(), "`x` has shape [2]: 2 values, not 1");
}

#[test]
fn every_node_that_tract_cannot_run_is_named_when_loading() {
    let mut model = mixture();
    for (index, operator) in [(0, "Frobnicate"), (3, "Transmogrify")] {
        model.graph_mut().node[index].op_type = Some(operator.to_owned());
        model.graph_mut().node[index].name = Some(format!("strange{index}"));
    }
    let error = Tract.load(&model, &LoadOptions::default()).err().unwrap();
    let EngineError::Nodes { nodes, .. } = &error else { panic!("{error:?}") };
    let names: Vec<_> = nodes.iter().map(|node| node.node.as_str()).collect();
    assert_eq!(names, ["strange0", "strange3"]);
    assert!(error.to_string().starts_with("tract-"), "{error}");
    assert!(error.to_string().contains("Transmogrify `strange3` (unknown to tract)"), "{error}");
}

#[test]
fn a_graph_that_makes_no_sense_is_an_error_not_a_panic() {
    let mut model = mixture();
    model.graph_mut().node.pop();
    let error = Tract.load(&model, &LoadOptions::default()).err().unwrap();
    assert!(error.to_string().contains("nothing makes the output `weights`"), "{error}");

    let mut model = mixture();
    model.graph_mut().node[0].input[1] = "nowhere".to_owned();
    assert!(Tract.load(&model, &LoadOptions::default()).is_err());
}

/// tract turns x·x into an operator that it has for floats alone.
#[test]
fn a_node_that_fails_only_when_evaluated_is_named_when_loading() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::new(Element::I64, &[2]));
    let y = b.op("Mul", &[&x, &x], &[]).unwrap();
    b.output("y", &y);
    let error = Tract.load(&b.into_model(), &LoadOptions::default()).err().unwrap();
    assert!(matches!(error, EngineError::Load { .. }), "{error:?}");
    assert!(error.to_string().contains("Mul_0"), "{error}");
}

#[test]
fn a_pad_that_cuts_is_named_when_loading() {
    let padded = |pads: &[i64]| {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[2, 3]));
        let pads = b.initializer("pads", &Tensor::i64s(pads));
        let y = b.op("Pad", &[&x, &pads], &[]).unwrap();
        b.output("y", &y);
        Tract.load(&b.into_model(), &LoadOptions::default())
    };
    assert!(padded(&[0, 1, 0, 1]).is_ok());
    let error = padded(&[0, 1, 0, -1]).err().unwrap();
    assert!(
        matches!(&error, EngineError::Nodes { nodes, .. } if nodes[0].node == "Pad_0"),
        "{error}"
    );
}

/// A Resize of `[1, 5, 4]` by factors.
fn resized(coordinates: &str, mode: &str, scales: &[f32; 3], antialias: i64) -> Model {
    let mut b = Builder::new(19);
    let x = b.input("x", TensorType::f32(&[1, 1, 5, 4]));
    let [one, high, wide] = *scales;
    let scales = b.initializer("scales", &Tensor::f32(&[4], &[1.0, one, high, wide]));
    let text = |value: &str| Attr::Str(value.to_owned());
    let attrs = [
        ("coordinate_transformation_mode", text(coordinates)),
        ("mode", text(mode)),
        ("antialias", Attr::Int(antialias)),
    ];
    let y = b.op_n("Resize", &[Some(&x), None, Some(&scales)], &attrs, 1).unwrap().remove(0);
    b.output("y", &y);
    b.into_model()
}

fn resize_by(engine: &dyn Engine, model: &Model) -> Result<Vec<f32>, EngineError> {
    let values: Vec<f32> = (0..20_i16).map(|k| f32::from(k * k % 17)).collect();
    let mut session = engine.load(model, &LoadOptions::default())?;
    session.write_f32(0, &values)?;
    session.run()?;
    Ok(session.output_f32(0)?.to_vec())
}

/// Where tract reads the standard in another way than ONNX Runtime, values are the same all the same, or there are none.
#[test]
fn a_resize_is_that_of_onnx_runtime_or_is_named() {
    let Some(ort) = ort_or_skip() else { return };
    let factors =
        [[1.0, 1.5, 0.7], [1.0, 0.3, 2.0], [1.0, 2.0, 3.0], [1.0, 0.2, 0.25], [1.0, 0.5, 0.5]];
    let (mut same, mut named) = (0, Vec::new());
    for coordinates in ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"] {
        for (mode, antialias) in
            [("nearest", 0), ("linear", 0), ("cubic", 0), ("linear", 1), ("cubic", 1)]
        {
            for scales in factors {
                let model = resized(coordinates, mode, &scales, antialias);
                let Ok(want) = resize_by(&ort, &model) else { continue };
                let case = format!("{coordinates} {mode} {antialias} {scales:?}");
                match resize_by(&Tract, &model) {
                    Ok(got) => {
                        assert_eq!(got.len(), want.len(), "{case}");
                        let apart = want.iter().zip(&got).map(|(want, got)| (want - got).abs());
                        assert!(apart.fold(0.0, f32::max) < 1e-3, "{case}: {got:?} {want:?}");
                        same += 1;
                    }
                    Err(EngineError::Nodes { nodes, .. }) if nodes[0].node == "Resize_0" => {
                        named.push(case);
                    }
                    Err(other) => panic!("{case}: {other}"),
                }
            }
        }
    }
    assert!(same > 50 && !named.is_empty() && named.len() < 20, "{same} {named:#?}");
}

#[test]
fn the_version_is_the_one_of_the_lock_file() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock"));
    let entry = format!("name = \"tract-onnx\"\nversion = \"{}\"", shoal_tract::TRACT_VERSION);
    assert!(lock.unwrap().contains(&entry), "{entry}");
}

#[test]
fn the_nodes_that_run_are_reported() {
    let session = Tract.load(&mixture(), &LoadOptions::default()).unwrap();
    assert_eq!(Tract.describe(), format!("tract-{}/cpu", shoal_tract::TRACT_VERSION));
    assert!(session.proven().count_by_provider()["tract"] > 3, "{:?}", session.proven());
}

#[test]
fn both_engines_compute_the_same_for_many_adapters_at_once() {
    let Some(ort) = ort_or_skip() else { return };
    let world = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/world/model.onnx");
    let world = pin(&Model::read(&world).unwrap(), &PinOptions::default()).unwrap();
    for folded in [small_model().unwrap(), fold(&world).unwrap()] {
        let grafted = graft(&folded, &GraftOptions::default()).unwrap();
        let many = many_adapters(&grafted, NonZeroUsize::new(3).unwrap()).unwrap();
        let options = LoadOptions::default();
        let mut a = ort.load(&many.folded.model, &options).unwrap();
        let mut b = Tract.load(&many.folded.model, &options).unwrap();
        for session in [&mut *a, &mut *b] {
            for index in 0..session.inputs().len() {
                let (count, is_factor) = (
                    session.inputs()[index].ty.values(),
                    session.inputs()[index].name.starts_with("lora."),
                );
                let scale = if is_factor { 0.1 } else { 1.0 };
                let values: Vec<f32> = noise(index, count).iter().map(|v| v * scale).collect();
                session.write_f32(index, &values).unwrap();
            }
            session.run().unwrap();
        }
        assert_agreement(&*a, &*b);
    }
}

/// What ONNX Runtime's tools fuse and quantise is read as standard operators, which tract runs, too.
#[test]
fn both_engines_compute_the_same_of_fused_and_quantised_forms() {
    let Some(ort) = ort_or_skip() else { return };
    let model = forms("y", 5 * 2 * 2);
    let folded = fold(&model).unwrap();
    assert!(folded.model.graph().node.iter().all(|node| node.domain().is_empty()));
    let options = LoadOptions { integers: false, ..LoadOptions::default() };
    let [mut a, mut b] =
        [&ort as &dyn Engine, &Tract].map(|engine| engine.load(&folded.model, &options).unwrap());
    for session in [&mut a, &mut b] {
        fill(&mut **session);
        session.run().unwrap();
    }
    assert_agreement(&*a, &*b);
    // The file itself is refused by its nodes, each by name.
    let refused = Tract.load(&model, &options).map(drop).unwrap_err().to_string();
    assert!(refused.contains("FusedConv") && refused.contains("`c`"), "{refused}");
    // Its DequantizeLinear wants a scale that is stored.
    let dynamic = fold(&forms("product", 6)).unwrap().model;
    let refused = Tract.load(&dynamic, &options).map(drop).unwrap_err().to_string();
    assert!(refused.contains("DequantizeLinear") && refused.contains("y.integers"), "{refused}");
}

/// A fused convolution, one of integers by channel, `y`, and a `product` of it that is quantised as it comes: one of both is given.
fn forms(output: &str, wide: usize) -> Model {
    let mut b = Builder::new(13);
    b.input("x", TensorType::f32(&[1, 3, 6, 6]));
    let floats = |b: &mut Builder, name: &str, dims: &[usize], scale: f32| {
        let values: Vec<f32> =
            noise(name.len(), dims.iter().product()).iter().map(|v| v * scale).collect();
        b.initializer(name, &Tensor::f32(dims, &values));
    };
    let integers = |b: &mut Builder, name: &str, dims: &[usize], scales: usize| {
        let values = noise(name.len(), dims.iter().product());
        let values: Vec<i8> = values.iter().map(|v| (v * 63.0).round() as i8).collect();
        b.initializer(name, &Tensor::new(dims, Data::I8(values)));
        let by: Vec<f32> = noise(scales, scales).iter().map(|v| 0.004 + 0.001 * v).collect();
        b.initializer(&format!("{name}.s"), &Tensor::f32(&[scales], &by));
        b.initializer(&format!("{name}.z"), &Tensor::new(&[scales], Data::I8(vec![0; scales])));
    };
    floats(&mut b, "kernel", &[4, 3, 3, 3], 0.3);
    integers(&mut b, "deeper", &[5, 4, 3, 3], 5);
    integers(&mut b, "head", &[20, 6], 6);
    for (name, scale, zero) in [("c", 0.01, 0), ("d", 0.02, 128)] {
        b.initializer(&format!("{name}.s"), &Tensor::f32(&[], &[scale]));
        b.initializer(&format!("{name}.z"), &Tensor::new(&[], Data::U8(vec![zero])));
    }
    let mut model = b.into_model();
    let domain = || Some("com.microsoft".to_owned());
    model.proto.opset_import.push(OperatorSetIdProto { domain: domain(), version: Some(1) });
    let mut add = |op: &str, inputs: &str, output: &str, attribute: Vec<_>| {
        let (domain, op) = match op.strip_prefix(':') {
            Some(op) => (domain(), op),
            None => (None, op),
        };
        model.graph_mut().node.push(NodeProto {
            input: inputs.split(' ').map(str::to_owned).collect(),
            output: vec![output.to_owned()],
            name: Some(output.to_owned()),
            op_type: Some(op.to_owned()),
            domain,
            attribute,
            ..NodeProto::default()
        });
    };
    let relu = Attr::Str("Relu".to_owned()).to_proto("activation");
    add(":FusedConv", "x kernel", "c", vec![relu]);
    add("QuantizeLinear", "c c.s c.z", "q", Vec::new());
    add("QLinearConv", "q c.s c.z deeper deeper.s deeper.z d.s d.z", "d", Vec::new());
    add("DequantizeLinear", "d d.s d.z", "r", Vec::new());
    add("Flatten", "r", "y", Vec::new());
    add(":DynamicQuantizeMatMul", "y head head.s head.z", "product", Vec::new());
    model.graph_mut().output.push(TensorType::f32(&[1, wide]).to_value_info(output));
    model
}

#[test]
fn both_engines_ignore_targets_that_are_no_class() {
    let Some(ort) = ort_or_skip() else { return };
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[4, 3]));
    let w = b.input("w", TensorType::f32(&[3, 5]));
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    b.output("y", &y);
    let losses = vec![LossSpec::new(LossKind::CrossEntropy, "y")];
    let wrt = vec!["w".to_owned()];
    let options = DifferentiateOptions { losses, wrt, strict: true, profile: Profile::Tract };
    let model = differentiate(&b.finish(), &options).unwrap().folded.model;
    for weight in [0.0, 1.0] {
        let [a, b] = [&ort as &dyn Engine, &Tract].map(|engine| {
            let mut session = engine.load(&model, &LoadOptions::default()).unwrap();
            for (name, seed) in [("x", 1), ("w", 2)] {
                let input = session.input_index(name).unwrap();
                let count = session.inputs()[input].ty.values();
                session.write_f32(input, &noise(seed, count)).unwrap();
            }
            let target = session.input_index("target.y").unwrap();
            session.write_i64(target, &[-1, 3, -100, 5]).unwrap();
            let weights = session.input_index("weight.y").unwrap();
            session.write_f32(weights, &[weight, 1.0, weight, weight]).unwrap();
            session.run().unwrap();
            session
        });
        assert!(a.output_f32(0).unwrap()[0].is_finite());
        assert_agreement(&*a, &*b);
    }
}

/// Four values, by a kernel of 3 and a stride of 2, are nine: less of them is cut, more is refused by name.
#[test]
fn a_transposed_convolution_gives_as_much_as_is_asked_for_or_is_refused() {
    let asked = |length: i64| {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[1, 2, 4]));
        let weight = b.f32s(&[2, 3, 3], &noise(1, 18));
        let attrs = [("strides", Attr::Ints(vec![2])), ("output_shape", Attr::Ints(vec![length]))];
        let y = b.op("ConvTranspose", &[&x, &weight], &attrs).unwrap();
        b.output("y", &y);
        fold(&pin(&b.into_model(), &PinOptions::default()).unwrap()).unwrap().model
    };
    let options = LoadOptions::default();
    if let Some(ort) = ort_or_skip() {
        let [mut one, mut other] =
            [&ort as &dyn Engine, &Tract].map(|engine| engine.load(&asked(8), &options).unwrap());
        for session in [&mut one, &mut other] {
            fill(&mut **session);
            session.run().unwrap();
        }
        assert_agreement(&*one, &*other);
    }
    let Err(EngineError::Nodes { nodes, .. }) = Tract.load(&asked(10), &options) else {
        panic!("more than there is")
    };
    assert!(nodes[0].operator == "ConvTranspose" && nodes[0].reason.contains("output_shape"));
}
