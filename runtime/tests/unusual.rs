//! Models that are unusual in their elements, names, axes and in what they hold beside what is needed: they work as others do, or
//! the error says what to do.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use bytes::Bytes;
use shoal_runtime::adapter::Adapter;
use shoal_runtime::bake::{BakeError, bake, bake_dequantised};
use shoal_runtime::compare::{Comparison, compare, tolerance};
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::testing::{noise, ort_or_skip, plain_options};
use shoal_runtime::fit::{FitError, FitOptions, Fitted, Subject, fit};
use shoal_runtime::gradient::{DifferentiateOptions, LossKind, LossSpec, Refusal, differentiate};
use shoal_runtime::graft::{GraftOptions, Grafted, Profile, graft};
use shoal_runtime::onnx::proto::{
    Dimension, GraphProto, NodeProto, OperatorSetIdProto, TensorProto, dimension, type_proto,
};
use shoal_runtime::onnx::{
    Attr, Builder, Data, Element, Folded, Model, OpenError, PinOptions, PinWhy, Tensor, TensorType,
    Value, open,
};

fn weight(b: &mut Builder, name: &str, element: Element, dims: &[usize]) -> Value {
    let count = dims.iter().product();
    let values: Vec<f64> = noise(name.len(), count).iter().map(|v| f64::from(v * 0.4)).collect();
    b.initializer(name, &Tensor::from_f64s(element, dims, &values))
}

fn node(domain: &str, op: &str, input: &[&str], output: &str, attrs: &[(&str, i64)]) -> NodeProto {
    NodeProto {
        input: input.iter().map(ToString::to_string).collect(),
        output: vec![output.to_owned()],
        name: Some(format!("the {op}")),
        op_type: Some(op.to_owned()),
        domain: Some(domain.to_owned()),
        attribute: attrs.iter().map(|(name, n)| Attr::Int(*n).to_proto(name)).collect(),
        ..NodeProto::default()
    }
}

fn foreign(model: &mut Model) {
    let domain = Some("com.microsoft".to_owned());
    model.proto.opset_import.push(OperatorSetIdProto { domain, version: Some(1) });
}

fn folded(model: &Model) -> Folded {
    open(model, &PinOptions::default()).unwrap().folded
}

fn fitted(grafted: &Grafted) -> Result<Fitted, FitError> {
    let start = Adapter::start(grafted.layout.clone(), 0);
    let subject = Subject::Adapter { grafted, start: &start, frozen_a: false };
    let fitted = fit(subject, &ort_or_skip().unwrap(), &FitOptions::default(), None, |_| {})?;
    assert!(fitted.after < fitted.before, "{} to {}", fitted.before, fitted.after);
    Ok(fitted)
}

/// Grafts a model, tunes it and bakes what came of it: how far that is from the model with the adapter beside it.
#[track_caller]
fn works(model: &Model) -> (Grafted, Comparison) {
    let grafted = graft(&folded(model), &GraftOptions::default()).unwrap();
    let fitted = fitted(&grafted).unwrap();
    let adapter = fitted.trained.adapter().unwrap();
    let baked = bake(model, adapter).or_else(|_| bake_dequantised(model, adapter)).unwrap();
    let how = (1, NonZeroUsize::MIN);
    let found = compare(&folded(&baked), &grafted, adapter, &ort_or_skip().unwrap(), how).unwrap();
    assert!(found.agrees() && found.values > 0, "{found:?}");
    (grafted, found)
}

/// A product by a weight of 4 bits whose scales are float16, in an operator set whose DequantizeLinear has none of them.
fn bits() -> Model {
    let mut b = Builder::new(17);
    b.input("x", TensorType::new(Element::F16, &[2, 30]));
    let packed = noise(1, 8 * 16).iter().map(|value| (value * 127.0) as i8 as u8).collect();
    b.initializer("packed", &Tensor::new(&[8, 1, 16], Data::U8(packed)));
    b.initializer("scales", &Tensor::from_f64s(Element::F16, &[8], &[0.05; 8]));
    let mut model = b.into_model();
    let attrs = [("K", 30), ("N", 8), ("bits", 4), ("block_size", 32)];
    let product = node("com.microsoft", "MatMulNBits", &["x", "packed", "scales"], "y", &attrs);
    model.graph_mut().node.push(product);
    model.graph_mut().output.push(TensorType::new(Element::F16, &[2, 8]).to_value_info("y"));
    foreign(&mut model);
    model
}

/// The same of 8 bits behind ONNX Runtime's own DequantizeLinear, with activations quantised as well.
fn eight_bits() -> Model {
    let mut b = Builder::new(17);
    b.input("x", TensorType::new(Element::F16, &[2, 8]));
    let integers = noise(1, 64).iter().map(|value| (value * 127.0) as i8).collect();
    b.initializer("integers", &Tensor::new(&[8, 8], Data::I8(integers)));
    b.initializer("scale", &Tensor::from_f64s(Element::F16, &[], &[0.01]));
    b.initializer("zero", &Tensor::new(&[], Data::I8(vec![0])));
    let mut model = b.into_model();
    let by = |op, input, output| node("com.microsoft", op, &[input, "scale", "zero"], output, &[]);
    model.graph_mut().node = vec![
        by("QuantizeLinear", "x", "levels"),
        by("DequantizeLinear", "levels", "real"),
        by("DequantizeLinear", "integers", "w"),
        node("", "MatMul", &["real", "w"], "y", &[]),
    ];
    model.graph_mut().output.push(TensorType::new(Element::F16, &[2, 8]).to_value_info("y"));
    foreign(&mut model);
    model
}

#[test]
fn scales_of_float16_are_those_of_float32_where_the_operator_set_has_no_others() {
    if ort_or_skip().is_none() {
        return;
    }
    for (name, model) in [("bits", bits()), ("eight bits", eight_bits())] {
        let (grafted, _) = works(&model);
        assert_eq!(grafted.layout.sites.len(), 1, "{name}");
        let graph = grafted.folded.model.graph();
        let quantises =
            |node: &&NodeProto| node.is("QuantizeLinear") || node.is("DequantizeLinear");
        for node in graph.node.iter().filter(quantises) {
            let scale = node.input_name(1).unwrap();
            assert_eq!(grafted.folded.types[scale].element, Element::F32, "{name}");
        }
    }
}

#[test]
fn a_baked_model_may_be_off_by_what_rounds_the_activations_it_has() {
    if ort_or_skip().is_none() {
        return;
    }
    assert_eq!(works(&bits()).1.tolerance, tolerance(Element::F16));
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 6]));
    let w = weight(&mut b, "w", Element::F32, &[6, 4]);
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    b.output("y", &y);
    assert_eq!(works(&b.clone().into_model()).1.tolerance, tolerance(Element::F32));
    let half = b.op("Cast", &[&y], &[("to", Attr::Int(10))]).unwrap();
    b.clear_outputs();
    b.output("half", &half);
    assert_eq!(works(&b.into_model()).1.tolerance, tolerance(Element::F16));
}

/// The loss of a graph whose every value is off by one.
#[test]
fn the_mean_over_a_large_output_of_float16_is_that_of_float32() {
    let Some(ort) = ort_or_skip() else { return };
    for wide in [1_000, 100_000] {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::new(Element::F16, &[2, 3]));
        let w = b.input("w", TensorType::new(Element::F16, &[3, wide]));
        let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
        b.output("y", &y);
        let options = DifferentiateOptions {
            losses: Vec::new(),
            wrt: vec!["w".to_owned()],
            strict: false,
            profile: Profile::Cpu,
        };
        let training = differentiate(&b.finish(), &options).unwrap();
        let mut session = ort.load(&training.folded.model, &plain_options()).unwrap();
        let target = session.input_index("target.y").unwrap();
        let ones = vec![1.0; 2 * wide];
        session.write(target, &Tensor::from_f64s(Element::F16, &[2, wide], &ones)).unwrap();
        let weight = session.input_index("weight.y").unwrap();
        session.write_f32(weight, &[1.0, 1.0]).unwrap();
        session.run().unwrap();
        let loss = session.output_index("loss").unwrap();
        let loss = session.output_f32(loss).unwrap()[0];
        assert!((loss - 1.0).abs() < 1e-5, "{wide}: {loss}");
    }
}

/// x·w, where both axes of x are open, the second under this name.
fn with_open_axes(name: Option<&str>) -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 11]));
    let w = weight(&mut b, "w", Element::F32, &[11, 2]);
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    b.output("y", &y);
    let mut model = b.into_model();
    let ty = model.graph_mut().input[0].r#type.as_mut().unwrap().value.as_mut().unwrap();
    let type_proto::Value::TensorType(tensor) = ty else { unreachable!() };
    let open = |name: Option<&str>| Dimension {
        value: name.map(|name| dimension::Value::DimParam(name.to_owned())),
        denotation: None,
    };
    tensor.shape.as_mut().unwrap().dim = vec![open(Some("n")), open(name)];
    model
}

#[test]
fn axes_that_do_not_fit_are_named_with_what_says_their_length_and_so_are_set() {
    for (name, meant) in [(Some("features"), "features"), (None, "x:1"), (Some("any"), "x:1")] {
        let model = with_open_axes(name);
        let why = open(&model, &PinOptions::default()).unwrap_err();
        let said = why.to_string();
        assert!(matches!(why, OpenError::Axes { .. }), "{said}");
        assert!(said.contains("MatMul") && said.contains("--dim NAME=LENGTH"), "{said}");
        assert!(said.contains("axis 1 of `x`") && said.contains(name.unwrap_or("`x:1`")), "{said}");
        let dims = BTreeMap::from([(meant.to_owned(), 11)]);
        let opened = open(&model, &PinOptions { dims, ..PinOptions::default() }).unwrap();
        assert_eq!(opened.folded.types["x"], TensorType::f32(&[1, 11]));
    }
}

/// Sound, and the state of what hears it: a window of 300 values, and a batch that the file calls by no name.
#[test]
fn open_axes_of_sound_and_of_states_get_lengths_that_fit() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 1, 400]));
    let state = b.input("state", TensorType::f32(&[1, 1, 3]));
    let kernel = weight(&mut b, "kernel", Element::F32, &[4, 1, 300]);
    let heard = b.op("Conv", &[&x, &kernel], &[("strides", Attr::Ints(vec![100]))]).unwrap();
    let turned = [("perm", Attr::Ints(vec![2, 0, 1]))];
    let heard = b.op("Transpose", &[&heard], &turned).unwrap();
    let [w, r] =
        [("w", 4), ("r", 3)].map(|(name, wide)| weight(&mut b, name, Element::F32, &[1, 9, wide]));
    let inputs = [Some(&heard), Some(&w), Some(&r), None, None, Some(&state)];
    let y = b.op_n("GRU", &inputs, &[("hidden_size", Attr::Int(3))], 2).unwrap();
    b.output("next", &y[1]);
    let mut model = b.into_model();
    for (input, axis) in [(0, 2), (1, 1)] {
        let ty = model.graph_mut().input[input].r#type.as_mut().unwrap().value.as_mut().unwrap();
        let type_proto::Value::TensorType(tensor) = ty else { unreachable!() };
        tensor.shape.as_mut().unwrap().dim[axis].value = None;
    }
    let opened = open(&model, &PinOptions::default()).unwrap();
    let lengths: Vec<usize> = opened.pinned.iter().map(|axis| axis.length).collect();
    assert_eq!(lengths, [512, 1]);
    assert_eq!(opened.folded.types["next"], TensorType::f32(&[1, 1, 3]));
}

#[test]
fn a_length_of_no_axis_is_refused_with_those_there_are() {
    for (model, said) in
        [(with_open_axes(Some("features")), "features, n, x:0, x:1"), (bits(), "leaves none open")]
    {
        let dims = BTreeMap::from([("height".to_owned(), 11)]);
        let why = open(&model, &PinOptions { dims, ..PinOptions::default() }).unwrap_err();
        let OpenError::Pin(pin) = &why else { panic!("{why}") };
        assert!(matches!(&pin.why, PinWhy::NoSuchAxis { name, .. } if name == "height"), "{why}");
        assert!(why.to_string().contains(said), "{why}");
    }
}

#[test]
fn a_tensor_called_loss_makes_room_for_the_loss() {
    if ort_or_skip().is_none() {
        return;
    }
    let named = |output: bool| {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[2, 6]));
        let w = weight(&mut b, "w", Element::F32, &[6, 4]);
        let mut y = b.op_named("loss", "MatMul", &[&x, &w], &[]).unwrap();
        if !output {
            y = b.op("Tanh", &[&y], &[]).unwrap();
        }
        b.output(if output { "loss" } else { "y" }, &y);
        b.into_model()
    };
    works(&named(false));
    let (grafted, _) = works(&named(true));
    let wrt = grafted.layout.factors().map(|factor| factor.input.clone()).collect();
    let losses = vec![LossSpec::new(LossKind::Mse, "loss")];
    let options = DifferentiateOptions { losses, wrt, strict: true, profile: Profile::Cpu };
    let training = differentiate(&grafted.folded, &options).unwrap();
    assert!(training.losses.iter().all(|loss| !loss.moved()));
    assert_eq!(training.folded.types["loss"], TensorType::f32(&[]));
    // By the name of an input it is fed.
    let mut b = Builder::new(17);
    let x = b.input("loss", TensorType::f32(&[2, 6]));
    let w = b.input("w", TensorType::f32(&[6, 4]));
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    b.output("y", &y);
    let options = DifferentiateOptions { losses: Vec::new(), wrt: vec!["w".into()], ..options };
    let refused = differentiate(&b.finish(), &options).unwrap_err();
    assert_eq!(refused, Refusal::NameTaken { name: "loss".to_owned() });
}

/// A product, and what no output needs.
fn with_loose(nodes: Vec<NodeProto>, stored: Vec<TensorProto>) -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 6]));
    let w = weight(&mut b, "w", Element::F32, &[6, 4]);
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    b.output("y", &y);
    let mut model = b.into_model();
    model.graph_mut().node.extend(nodes);
    model.graph_mut().initializer.extend(stored);
    model
}

#[test]
fn what_no_output_needs_may_be_anything() {
    if ort_or_skip().is_none() {
        return;
    }
    let words = TensorProto {
        name: Some("words".to_owned()),
        data_type: Some(8),
        dims: vec![1],
        string_data: vec![Bytes::from_static(b"left")],
        ..TensorProto::default()
    };
    works(&with_loose(Vec::new(), vec![words.clone()]));
    let unknown = node("", "StringNormalizer", &["words"], "normal", &[]);
    let sequence = node("", "SequenceConstruct", &["x"], "list", &[]);
    works(&with_loose(vec![unknown, sequence], vec![words]));
    // One that is listed as an input is none without its value.
    let mut listed = with_loose(Vec::new(), vec![Tensor::f32(&[1], &[1.0]).to_proto("loose")]);
    listed.graph_mut().input.push(TensorType::f32(&[1]).to_value_info("loose"));
    assert_eq!(works(&listed).0.folded.model.graph().input[0].name(), "x");
    assert!(!folded(&listed).types.contains_key("loose"));
}

#[test]
fn a_file_that_is_empty_or_a_pointer_says_so() {
    let said = |bytes: &'static [u8]| {
        Model::from_bytes(Bytes::from_static(bytes)).unwrap_err().to_string()
    };
    assert!(said(b"").contains("is empty"), "{}", said(b""));
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1234\n";
    assert!(said(pointer).contains("git lfs pull"), "{}", said(pointer));
}

#[test]
fn folded_extremes_keep_what_is_no_number() {
    for (op, at) in [("Max", 0), ("Min", 0), ("Max", 1), ("Min", 1)] {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[2]));
        let mut both = [[1.0, 2.0]; 2];
        both[at][1] = f32::NAN;
        let [first, second] = both.map(|values| b.f32s(&[2], &values));
        let bound = b.op_named("bound", op, &[&first, &second], &[]).unwrap();
        let y = b.op("Add", &[&x, &bound], &[]).unwrap();
        b.output("y", &y);
        let why = open(&b.into_model(), &PinOptions::default()).unwrap_err().to_string();
        assert!(why.contains("`bound` holds NaN at index 1"), "{op} {at}: {why}");
    }
}

#[test]
fn logarithms_of_inputs_stay_numbers_when_these_are_perturbed() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 3, 32, 32]));
    let log = b.op("Log", &[&x], &[]).unwrap();
    let w = weight(&mut b, "w", Element::F32, &[2, 3, 3, 3]);
    let y = b.op("Conv", &[&log, &w], &[]).unwrap();
    b.output("y", &y);
    works(&b.into_model());
}

/// A model that is finite for the inputs that are drawn, and for no others.
#[test]
fn a_loss_that_perturbed_inputs_make_infinite_is_explained() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 4]));
    let w = weight(&mut b, "w", Element::F32, &[4, 4]);
    let h = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let zeros = b.initializer("zeros", &Tensor::f32(&[1, 4], &[0.0; 4]));
    let clean = clean_inputs();
    let clean = b.initializer("clean", &Tensor::f32(&[clean.len(), 4], &clean.concat()));
    let same = b.op("Sub", &[&x, &clean], &[]).unwrap();
    let same = b.op("Abs", &[&same], &[]).unwrap();
    let axes = [("axes", Attr::Ints(vec![1])), ("keepdims", Attr::Int(0))];
    let away = b.op("ReduceMax", &[&same], &axes).unwrap();
    let nearest = b.op("ReduceMin", &[&away], &[("keepdims", Attr::Int(0))]).unwrap();
    // Nothing where the input is one of those, −∞ elsewhere.
    let limit = b.scalar(1e-6);
    let is_other = b.op("Greater", &[&nearest, &limit], &[]).unwrap();
    let low = b.initializer("low", &Tensor::f32(&[1], &[f32::NEG_INFINITY]));
    let shift = b.op("Where", &[&is_other, &low, &zeros], &[]).unwrap();
    let y = b.op("Add", &[&h, &shift], &[]).unwrap();
    b.output("y", &y);
    let grafted = graft(&b.finish(), &GraftOptions::default()).unwrap();
    let why = fitted(&grafted).unwrap_err();
    assert!(matches!(&why, FitError::Perturbed { tensor, .. } if tensor == "y"), "{why}");
    assert!(why.to_string().contains("--seed"), "{why}");
}

/// What is drawn for the input of four values.
fn clean_inputs() -> Vec<Vec<f32>> {
    use shoal_runtime::draw::{InputRange, Range, draw};
    let (input, ty) = ("x".to_owned(), TensorType::f32(&[1, 4]));
    let range = [InputRange { input, ty, range: Range::Real { low: 0.0, high: 1.0 } }];
    let batches = 0..FitOptions::default().batches;
    batches.map(|batch| draw(&range, 0, batch)[0].clean.as_f32().unwrap().to_vec()).collect()
}

#[test]
fn weights_that_are_computed_from_stored_ones_are_sites() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 6]));
    let kernel = weight(&mut b, "kernel", Element::F32, &[2, 2, 6]);
    let turned = b.op("Transpose", &[&kernel], &[("perm", Attr::Ints(vec![2, 0, 1]))]).unwrap();
    let shape = b.i64s(&[6, 4]);
    let matrix = b.op("Reshape", &[&turned, &shape], &[]).unwrap();
    let h = b.op("MatMul", &[&x, &matrix], &[]).unwrap();
    let direction = weight(&mut b, "direction", Element::F32, &[3, 4]);
    let along = [("axes", Attr::Ints(vec![1])), ("keepdims", Attr::Int(1))];
    let norm = b.op("ReduceL2", &[&direction], &along).unwrap();
    let unit = b.op("Div", &[&direction, &norm], &[]).unwrap();
    let y = b.op("Gemm", &[&h, &unit], &[("transB", Attr::Int(1))]).unwrap();
    b.output("y", &y);
    let (grafted, _) = works(&b.into_model());
    assert_eq!(grafted.layout.sites.len(), 2);
}

/// Three rounds `h ← tanh(h·w)`, each with the next row of one stored weight: of a Scan, or of a Loop that looks it up.
fn stacked(scan: bool) -> Model {
    let mut b = Builder::new(17);
    b.input("x", TensorType::f32(&[2, 4]));
    weight(&mut b, "rows", Element::F32, &[3, 4, 4]);
    b.initializer("count", &Tensor::new(&[], Data::I64(vec![3])));
    b.initializer("going", &Tensor::new(&[], Data::Bool(vec![true])));
    let mut model = b.into_model();
    let state = |name: &str| TensorType::f32(&[2, 4]).to_value_info(name);
    let mut body = GraphProto { name: Some("round".to_owned()), ..GraphProto::default() };
    body.node = vec![
        node("", "MatMul", &["h", "w"], "product", &[]),
        node("", "Tanh", &["product"], "next", &[]),
    ];
    let mut rounds = if scan {
        body.input = vec![state("h"), TensorType::f32(&[4, 4]).to_value_info("w")];
        body.output = vec![state("next")];
        node("", "Scan", &["x", "rows"], "y", &[("num_scan_inputs", 1)])
    } else {
        let of = |name: &str, element| TensorType::new(element, &[]).to_value_info(name);
        body.input = vec![of("i", Element::I64), of("go", Element::Bool), state("h")];
        body.node.insert(0, node("", "Gather", &["rows", "i"], "w", &[("axis", 0)]));
        body.node.push(node("", "Identity", &["go"], "go_on", &[]));
        body.output = vec![of("go_on", Element::Bool), state("next")];
        node("", "Loop", &["count", "going", "x"], "y", &[])
    };
    let mut attribute = Attr::Int(0).to_proto("body");
    (attribute.i, attribute.r#type, attribute.g) = (None, Some(5), Some(Box::new(body)));
    rounds.attribute.push(attribute);
    model.graph_mut().node = vec![rounds];
    model.graph_mut().output = vec![state("y")];
    model
}

#[test]
fn each_row_of_a_stacked_weight_is_a_site_and_is_baked_into_it() {
    if ort_or_skip().is_none() {
        return;
    }
    for scan in [true, false] {
        let (grafted, _) = works(&stacked(scan));
        assert_eq!(grafted.layout.sites.len(), 3, "scan: {scan}");
    }
}

#[test]
fn rows_that_cannot_be_told_apart_or_are_read_elsewhere_are_refused_by_name() {
    let said = |model: &Model| {
        let grafted = graft(&folded(model), &GraftOptions::default()).unwrap();
        let why = bake(model, &Adapter::start(grafted.layout, 0)).unwrap_err();
        assert!(matches!(&why, BakeError::Row { weight, .. } if weight == "rows"), "{why}");
        why.to_string()
    };
    let mut alike = stacked(true);
    let rows = Tensor::f32(&[3, 4, 4], &noise(1, 16).repeat(3));
    alike.graph_mut().initializer[0] = rows.to_proto("rows");
    assert!(said(&alike).contains("several rows are alike"), "{}", said(&alike));
    let mut shared = stacked(true);
    shared.graph_mut().node.push(node("", "Abs", &["rows"], "sizes", &[]));
    let sizes = TensorType::f32(&[3, 4, 4]).to_value_info("sizes");
    shared.graph_mut().output.push(sizes);
    assert!(said(&shared).contains("something else reads it"), "{}", said(&shared));
}

/// As Keras and JAX store it: read by a Transpose that does not say how, which is backwards.
#[test]
fn a_kernel_that_is_stored_backwards_is_tuned_and_baked() {
    if ort_or_skip().is_none() {
        return;
    }
    for wide in [3, 5] {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[1, 3, 8]));
        let kernel = weight(&mut b, "kernel", Element::F32, &[3, 3, wide]);
        let kernel = b.op("Transpose", &[&kernel], &[]).unwrap();
        let y = b.op("Conv", &[&x, &kernel], &[]).unwrap();
        b.output("y", &y);
        works(&b.into_model());
    }
}

/// In version 3 of the format every stored tensor is listed as an input, too; a copy of a weight is not.
#[test]
fn a_baked_model_of_the_oldest_format_is_one_that_may_store_tensors_alone() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut b = Builder::new(9);
    let x = b.input("x", TensorType::f32(&[2, 4]));
    let w = weight(&mut b, "w", Element::F32, &[4, 4]);
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    // Read by what is no site as well: the site gets a copy.
    let other = b.op("Relu", &[&w], &[]).unwrap();
    b.output("y", &y);
    b.output("other", &other);
    let mut model = b.into_model();
    model.proto.ir_version = Some(3);
    let stored = TensorType::f32(&[4, 4]).to_value_info("w");
    model.graph_mut().input.push(stored);
    let grafted = graft(&folded(&model), &GraftOptions::default()).unwrap();
    let values = noise(5, grafted.layout.values());
    let adapter = Adapter::from_values(grafted.layout.clone(), values).unwrap();
    let baked = bake(&model, &adapter).unwrap();
    let grew = baked.graph().initializer.len() > model.graph().initializer.len();
    assert!(grew && baked.proto.ir_version == Some(4), "{:?}", baked.proto.ir_version);
}
