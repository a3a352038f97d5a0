//! Models as ONNX Runtime's own tools leave them, fused and quantised: what is read of them computes what ONNX Runtime makes of the
//! file, has gradients, and is baked into the file again.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attention;
mod dynamic;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::bake::{BakeError, bake, bake_dequantised};
use shoal_runtime::compare::compare;
use shoal_runtime::engine::testing::{noise, ort_or_skip};
use shoal_runtime::engine::{Engine, LoadOptions, Optimise};
use shoal_runtime::fit::{FitOptions, Subject, fit};
use shoal_runtime::gradient::{DifferentiateOptions, Reason, Refusal, differentiate, unsupported};
use shoal_runtime::graft::{GraftOptions, Grafted, Profile, graft};
use shoal_runtime::inspect::inspect;
use shoal_runtime::onnx::proto::{GraphProto, NodeProto, OperatorSetIdProto};
use shoal_runtime::onnx::{Attr, Data, Element, Model, PinOptions, Tensor, TensorType, open};

const FOREIGN: &str = "com.microsoft";

/// Arguments of a node.
type Settings<'a> = Vec<(&'a str, Attr)>;

/// What is stored: names and dimensions.
type Stored<'a> = &'a [(&'a str, &'a [usize])];

/// An operator, its inputs, its arguments, and what is stored for it.
type Fused<'a> = (&'a str, &'a str, &'a [(&'a str, Attr)], Stored<'a>);

/// A graph that is written node by node, of operators that nothing here can infer.
struct Graph {
    model: Model,
}

impl Graph {
    fn new(opset: i64) -> Graph {
        let named = GraphProto { name: Some("foreign".to_owned()), ..GraphProto::default() };
        let mut model = Model::new(named, opset);
        for domain in [FOREIGN, "com.microsoft.nchwc"] {
            let domain = Some(domain.to_owned());
            model.proto.opset_import.push(OperatorSetIdProto { domain, version: Some(1) });
        }
        Graph { model }
    }

    fn input(&mut self, name: &str, dims: &[usize]) {
        self.model.graph_mut().input.push(TensorType::f32(dims).to_value_info(name));
    }

    fn output(&mut self, name: &str, dims: &[usize]) {
        self.model.graph_mut().output.push(TensorType::f32(dims).to_value_info(name));
    }

    fn store(&mut self, name: &str, tensor: &Tensor) {
        self.model.graph_mut().initializer.push(tensor.to_proto(name));
    }

    /// Floats that repeat.
    fn floats(&mut self, name: &str, dims: &[usize], scale: f32) {
        let values: Vec<f32> =
            noise(name.len(), dims.iter().product()).iter().map(|v| v * scale).collect();
        self.store(name, &Tensor::f32(dims, &values));
    }

    /// Integers of a weight within ±63, so that no processor's int8 sums overflow, and its scales: one, or one for each of `scales`.
    fn weight(&mut self, name: &str, dims: &[usize], scales: Option<usize>) {
        let integers: Vec<f64> = noise(name.len() + 1, dims.iter().product())
            .iter()
            .map(|v| f64::from((v * 63.0).round()))
            .collect();
        self.store(name, &Tensor::from_f64s(Element::I8, dims, &integers));
        let count = scales.unwrap_or(1);
        let by: Vec<f32> = noise(name.len() + 9, count).iter().map(|v| 0.004 + 0.001 * v).collect();
        let dims: &[usize] = if scales.is_none() { &[] } else { &[count] };
        self.store(&format!("{name}.s"), &Tensor::f32(dims, &by));
        self.store(&format!("{name}.z"), &Tensor::new(dims, Data::I8(vec![0; count])));
    }

    /// Scale and zero point `NAME.s`, `NAME.z` of an activation in uint8.
    fn scale(&mut self, name: &str, scale: f32, zero: u8) {
        self.store(&format!("{name}.s"), &Tensor::f32(&[], &[scale]));
        self.store(&format!("{name}.z"), &Tensor::new(&[], Data::U8(vec![zero])));
    }

    fn node(&mut self, op: &str, inputs: &str, output: &str, attrs: &[(&str, Attr)]) {
        let domain = match op.split_once(':') {
            Some(("", _)) => Some(FOREIGN.to_owned()),
            Some((domain, _)) => Some(domain.to_owned()),
            None => None,
        };
        self.model.graph_mut().node.push(NodeProto {
            input: words(inputs),
            output: words(output),
            name: Some(format!("the {output}")),
            op_type: Some(op.rsplit(':').next().unwrap().to_owned()),
            domain,
            attribute: attrs.iter().map(|(name, attr)| attr.to_proto(name)).collect(),
            ..NodeProto::default()
        });
    }
}

/// Names with spaces between; `-` is one that is left out.
fn words(names: &str) -> Vec<String> {
    names.split(' ').map(|name| if name == "-" { "" } else { name }.to_owned()).collect()
}

/// The same file with the lengths of what it gives, which the engine wants to know.
fn said(model: &Model) -> Model {
    let folded = open(model, &PinOptions::default()).unwrap().folded;
    let mut said = model.clone();
    said.graph_mut().output.clone_from(&folded.model.graph().output);
    said
}

fn run(model: &Model, options: &LoadOptions, x: &[f32]) -> Vec<f32> {
    let mut session = ort_or_skip().unwrap().load(model, options).unwrap();
    session.write_f32(0, x).unwrap();
    session.run().unwrap();
    session.output_f32(0).unwrap().to_vec()
}

/// What ONNX Runtime makes of the file as it is, and of what is read of it, value beside value.
fn both(model: &Model) -> Vec<(f32, f32)> {
    let folded = open(model, &PinOptions::default()).unwrap().folded;
    let left = folded.model.graph().node.iter().filter(|node| !node.domain().is_empty());
    assert_eq!(left.map(NodeProto::op_type).collect::<Vec<_>>(), Vec::<&str>::new());
    let dims = &folded.types[folded.model.graph().input[0].name()].dims;
    let x = noise(5, dims.iter().product());
    let plain =
        LoadOptions { optimise: Optimise::Basic, integers: false, ..LoadOptions::default() };
    let want = run(&said(model), &LoadOptions::default(), &x);
    let got = run(&folded.model, &plain, &x);
    assert_eq!(want.len(), got.len());
    want.into_iter().zip(got).collect()
}

#[track_caller]
fn same(model: &Model) {
    let both = both(model);
    let size = both.iter().fold(0.0_f32, |most, (want, _)| most.max(want.abs()));
    let off = both.iter().fold(0.0_f32, |most, (want, got)| most.max((want - got).abs()));
    assert!(size > 0.0 && off <= 1e-5 * size, "off by {off:.1e} of {size}");
}

/// The same but for values at a step of `scale`, which may fall to either side: one in twenty at most.
#[track_caller]
fn same_steps(op: &str, model: &Model, scale: f32) {
    let both = both(model);
    let steps: Vec<f32> = both.iter().map(|(want, got)| ((want - got) / scale).abs()).collect();
    let apart = steps.iter().filter(|&&step| step > 0.01).count();
    assert!(steps.iter().all(|&step| step < 1.01), "{op}: {both:?}");
    assert!(20 * apart <= steps.len(), "{op}: {apart} of {} apart", steps.len());
    assert!(both.iter().any(|(want, _)| *want != both[0].0), "{op}: all {}", both[0].0);
}

fn grafted(model: &Model, targets: &[&str]) -> Grafted {
    let folded = open(model, &PinOptions::default()).unwrap().folded;
    let targets = targets.iter().map(|&target| target.to_owned()).collect();
    graft(&folded, &GraftOptions { rank: 4, targets, ..GraftOptions::default() }).unwrap()
}

/// Grafts, trains by ten steps, bakes by `into`, and compares.
#[track_caller]
fn works(
    model: &Model,
    targets: &[&str],
    into: impl Fn(&Model, &Adapter) -> Result<Model, BakeError>,
) -> Model {
    let (ort, grafted) = (ort_or_skip().unwrap(), grafted(model, targets));
    let start = &Adapter::start(grafted.layout.clone(), 0);
    let subject = Subject::Adapter { grafted: &grafted, start, frozen_a: false };
    let fitted = fit(subject, &ort, &FitOptions::default(), None, |_| {}).unwrap();
    assert!(fitted.after < fitted.before, "{} to {}", fitted.before, fitted.after);
    let adapter = fitted.trained.adapter().unwrap();
    let baked = into(model, adapter).unwrap();
    let folded = open(&baked, &PinOptions::default()).unwrap().folded;
    let found = compare(&folded, &grafted, adapter, &ort, (1, NonZeroUsize::MIN)).unwrap();
    assert!(found.agrees() && found.values > 0, "{found:?}");
    // The file itself runs, and is the adapter's.
    let dims = &folded.types[folded.model.graph().input[0].name()].dims;
    let (x, plain) = (noise(5, dims.iter().product()), LoadOptions::default());
    assert_ne!(run(&said(&baked), &plain, &x), run(&said(model), &plain, &x));
    baked
}

fn operators(model: &Model) -> Vec<&str> {
    model.graph().node.iter().map(NodeProto::op_type).collect()
}

/// A site, one fused operator behind it, and what stores its other inputs.
fn behind_a_site(
    dims: &[usize],
    node: (&str, &str, &[(&str, Attr)]),
    store: &[(&str, &[usize])],
) -> Model {
    let mut g = Graph::new(17);
    let wide = *dims.last().unwrap();
    g.input("x", dims);
    g.floats("w", &[wide, wide], 0.5);
    g.node("MatMul", "x w", "h", &[]);
    store.iter().for_each(|(name, dims)| g.floats(name, dims, 0.5));
    g.node(node.0, node.1, "y", node.2);
    g.output("y", &[]);
    g.model
}

#[track_caller]
fn same_and_differentiable(model: &Model) {
    same(model);
    let folded = open(model, &PinOptions::default()).unwrap().folded;
    let grafted = graft(&folded, &GraftOptions::default()).unwrap();
    let wrt: Vec<String> = grafted.layout.factors().map(|factor| factor.input.clone()).collect();
    assert_eq!(unsupported(&grafted.folded, &wrt).unwrap(), Vec::new());
}

#[test]
fn fused_activations_and_norms_are_what_onnx_runtime_computes_and_have_gradients() {
    if ort_or_skip().is_none() {
        return;
    }
    let alpha = |value: f32| [("alpha", Attr::Float(value))];
    let axis = [("axis", Attr::Int(-1)), ("epsilon", Attr::Float(1e-5))];
    let vector: Stored<'_> = &[("a", &[8]), ("bb", &[8]), ("ccc", &[8])];
    let skip: Stored<'_> = &[("skip.", &[2, 3, 8]), ("a", &[8]), ("bb", &[8]), ("ccc", &[8])];
    let cases: [Fused<'_>; 11] = [
        (":Gelu", "h", &[], &[]),
        (":BiasGelu", "h a", &[], vector),
        (":FastGelu", "h", &[], &[]),
        (":FastGelu", "h a", &[], vector),
        (":QuickGelu", "h", &[], &[]),
        (":QuickGelu", "h", &alpha(1.0), &[]),
        (":SkipLayerNormalization", "h skip. a", &[], skip),
        (":SkipLayerNormalization", "h skip. a bb ccc", &[], skip),
        (":SkipSimplifiedLayerNormalization", "h skip. a", &[], skip),
        (":SkipSimplifiedLayerNormalization", "h skip. a bb", &[], skip),
        ("SimplifiedLayerNormalization", "h a", &axis, vector),
    ];
    for (op, inputs, attrs, store) in cases {
        same_and_differentiable(&behind_a_site(&[2, 3, 8], (op, inputs, attrs), store));
    }
    // The sum that was normalised is read as well.
    let mut model =
        behind_a_site(&[2, 3, 8], (":SkipLayerNormalization", "h skip. a bb ccc", &[]), skip);
    let graph = model.graph_mut();
    graph.node[1].output = words("n - - sum");
    let more = NodeProto {
        input: words("n sum"),
        output: words("y"),
        op_type: Some("Add".to_owned()),
        ..NodeProto::default()
    };
    graph.node.push(more);
    same_and_differentiable(&model);
}

#[test]
fn fused_products_are_what_onnx_runtime_computes_and_have_gradients() {
    if ort_or_skip().is_none() {
        return;
    }
    let activated = |name: &str| vec![("activation", Attr::Str(name.to_owned()))];
    let with = |name: &str, values: &[f32]| {
        let values = Attr::Floats(values.to_vec());
        activated(name).into_iter().chain([("activation_params", values)]).collect()
    };
    let pads = || ("pads", Attr::Ints(vec![1; 4]));
    let convolutions: [Vec<(&str, Attr)>; 7] = [
        vec![],
        activated("Relu"),
        activated("Tanh"),
        activated("Sigmoid"),
        with("LeakyRelu", &[0.2]),
        with("HardSigmoid", &[0.3, 0.4]),
        with("Clip", &[-0.1, 0.3]),
    ];
    for attrs in convolutions {
        for inputs in ["x kernel", "x kernel bias", "x kernel bias plus."] {
            let mut g = Graph::new(13);
            g.input("x", &[2, 3, 6, 6]);
            g.floats("kernel", &[4, 3, 3, 3], 0.3);
            g.floats("bias", &[4], 0.3);
            g.floats("plus.", &[2, 4, 6, 6], 0.3);
            let attrs: Vec<_> = attrs.iter().cloned().chain([pads()]).collect();
            g.node(":FusedConv", inputs, "y", &attrs);
            g.output("y", &[]);
            same_and_differentiable(&g.model);
        }
    }
    let turned = || ("transB", Attr::Int(1));
    let leaky = ("activation_alpha", Attr::Float(0.2));
    for (name, more) in [("Tanh", vec![turned()]), ("LeakyRelu", vec![turned(), leaky])] {
        let attrs: Vec<_> = activated(name).into_iter().chain(more).collect();
        let store: &[(&str, &[usize])] = &[("head", &[5, 8]), ("bias", &[5])];
        let node = (":FusedGemm", "h head bias", &attrs[..]);
        same_and_differentiable(&behind_a_site(&[4, 8], node, store));
    }
    let [a, b] = ["transA", "transB"].map(|name| (name, Attr::Int(1)));
    let half = ("alpha", Attr::Float(0.5));
    let cases: [(&str, &[usize], Settings<'_>); 4] = [
        ("h other", &[8, 5], vec![half.clone()]),
        ("h other", &[5, 8], vec![b.clone()]),
        ("h h", &[1], vec![half.clone(), b.clone()]),
        ("h h", &[1], vec![a, half]),
    ];
    for (inputs, dims, attrs) in cases {
        let node = (":FusedMatMul", inputs, &attrs[..]);
        same_and_differentiable(&behind_a_site(&[2, 4, 8], node, &[("other", dims)]));
    }
}

/// A network with every kind of fused product, as the optimiser saves it.
fn fused() -> Model {
    let mut g = Graph::new(11);
    g.input("x", &[2, 3, 6, 6]);
    g.floats("kernel", &[4, 3, 3, 3], 0.3);
    g.floats("bias", &[4], 0.3);
    g.floats("up", &[144, 16], 0.1);
    g.floats("head", &[5, 16], 0.4);
    let relu = ("activation", Attr::Str("Relu".to_owned()));
    g.node(":FusedConv", "x kernel bias", "c", &[relu.clone(), ("pads", Attr::Ints(vec![1; 4]))]);
    g.node("Flatten", "c", "f", &[]);
    g.node(":FusedGemm", "f up", "h", &[relu]);
    let attrs = [("transB", Attr::Int(1)), ("alpha", Attr::Float(0.5))];
    g.node(":FusedMatMul", "h head", "s", &attrs);
    g.node(":QuickGelu", "s", "y", &[]);
    g.output("y", &[2, 5]);
    g.model
}

#[test]
fn a_fused_network_is_tuned_and_stays_fused_when_it_is_baked() {
    if ort_or_skip().is_none() {
        return;
    }
    let model = fused();
    let sites: Vec<String> =
        grafted(&model, &[]).layout.sites.iter().map(|site| site.name.clone()).collect();
    assert_eq!(sites, ["kernel", "up", "head"]);
    let baked = works(&model, &[], bake);
    assert_eq!(baked.graph().node, model.graph().node, "weights alone are others");
    // A weight that is an output, too, is copied for its node.
    let mut tied = fused();
    tied.graph_mut().output.push(TensorType::f32(&[5, 16]).to_value_info("head"));
    let baked = works(&tied, &[], bake);
    assert_eq!(operators(&baked), operators(&tied));
    let copy = &baked.graph().node[3].input[1];
    assert!(copy.starts_with("head") && copy.ends_with(".baked"), "{copy}");
}

/// One operator between integers: quantised before, dequantised behind.
fn between(dims: &[usize], (op, inputs): (&str, &str), attrs: &[(&str, Attr)]) -> Model {
    let mut g = Graph::new(17);
    g.input("x", dims);
    g.scale("in", 2.0 / 255.0, 120);
    g.scale("other", 0.011, 100);
    g.scale("out", 0.02, 128);
    let values: Vec<u8> =
        noise(3, dims.iter().product()).iter().map(|v| (100.0 + 90.0 * v).round() as u8).collect();
    g.store("b", &Tensor::new(dims, Data::U8(values)));
    let which = noise(4, dims.iter().product()).iter().map(|v| *v > 0.0).collect();
    g.store("which", &Tensor::new(dims, Data::Bool(which)));
    g.weight("kernel", &[4, 3, 3, 3], None);
    g.weight("kernels", &[4, 3, 3, 3], Some(4));
    g.weight("matrix", &[6, 5], None);
    g.weight("columns", &[6, 5], Some(5));
    g.weight("rows", &[5, 6], Some(5));
    g.store("bias", &Tensor::new(&[4], Data::I32(vec![900, -800, 0, 4000])));
    g.store("add", &Tensor::new(&[5], Data::I32(vec![900, -800, 0, 4000, -3000])));
    g.node("QuantizeLinear", "x in.s in.z", "q", &[]);
    let inputs: Vec<String> = inputs.split(' ').map(quantised).collect();
    g.node(op, &inputs.join(" "), "r", attrs);
    g.node("DequantizeLinear", "r out.s out.z", "y", &[]);
    g.output("y", &[]);
    g.model
}

/// `NAME!` is a quantised tensor with its scale and zero point, `!NAME` those alone.
fn quantised(name: &str) -> String {
    match (name.strip_suffix('!'), name.strip_prefix('!')) {
        (Some("q"), _) => "q in.s in.z".to_owned(),
        (Some("b"), _) => "b other.s other.z".to_owned(),
        (Some(name), _) => format!("{name} {name}.s {name}.z"),
        (None, Some(name)) => format!("{name}.s {name}.z"),
        (None, None) => name.to_owned(),
    }
}

#[test]
fn operators_on_integers_are_what_onnx_runtime_computes_but_for_one_step() {
    if ort_or_skip().is_none() {
        return;
    }
    let image: &[usize] = &[2, 3, 6, 6];
    let pads = || ("pads", Attr::Ints(vec![1; 4]));
    let pool = || ("kernel_shape", Attr::Ints(vec![3, 3]));
    let axis = |axis| ("axis", Attr::Int(axis));
    let cases: [(&[usize], &str, &str, Settings<'_>); 15] = [
        (image, "QLinearConv", "q! kernel! !out", vec![]),
        (image, "QLinearConv", "q! kernels! !out bias", vec![pads()]),
        (&[4, 6], "QLinearMatMul", "q! matrix! !out", vec![]),
        (&[2, 4, 6], "QLinearMatMul", "q! columns! !out", vec![]),
        (&[4, 6], ":QGemm", "q! columns! add !out", vec![]),
        (&[4, 6], ":QGemm", "q! rows! - !out", vec![("transB", Attr::Int(1))]),
        (image, ":QLinearAdd", "q! b! !out", vec![]),
        (image, ":QLinearMul", "q! b! !out", vec![]),
        (image, ":QLinearConcat", "!out q! b!", vec![axis(1)]),
        (image, ":QLinearWhere", "which q! b! !out", vec![]),
        (image, ":QLinearLeakyRelu", "q! !out", vec![("alpha", Attr::Float(0.2))]),
        (image, ":QLinearSigmoid", "q! !out", vec![]),
        (image, ":QLinearAveragePool", "q! !out", vec![pool(), pads()]),
        (image, ":QLinearGlobalAveragePool", "q! !out", vec![]),
        (&[4, 6], ":QLinearSoftmax", "q! !out", vec![axis(-1), ("opset", Attr::Int(13))]),
    ];
    for (dims, op, inputs, attrs) in cases {
        let model = between(dims, (op, inputs), &attrs);
        same_steps(op, &model, 0.02);
    }
}

/// A network of integers from its first node to its last, with a scale for each channel or not.
fn integers(opset: i64, by_channel: bool) -> Model {
    let mut g = Graph::new(opset);
    let scales = |count: usize| by_channel.then_some(count);
    g.input("x", &[2, 3, 8, 8]);
    g.scale("in", 2.0 / 255.0, 128);
    g.scale("c", 0.02, 128);
    g.scale("d", 0.03, 120);
    g.scale("e", 0.04, 130);
    g.scale("a", 0.004, 120);
    g.scale("r", 0.002, 128);
    g.weight("kernel", &[6, 3, 3, 3], scales(6));
    g.weight("deeper", &[6, 6, 3, 3], scales(6));
    g.weight("head", &[6, 5], scales(5));
    g.store("bias", &Tensor::new(&[6], Data::I32(vec![900, -800, 0, 4000, 500, -4000])));
    let pads = [("pads", Attr::Ints(vec![1; 4]))];
    let pool = [("kernel_shape", Attr::Ints(vec![2; 2])), ("strides", Attr::Ints(vec![2; 2]))];
    g.node("QuantizeLinear", "x in.s in.z", "q", &[]);
    g.node("QLinearConv", "q in.s in.z kernel kernel.s kernel.z c.s c.z bias", "c", &pads);
    // Before that, it takes no integers.
    match opset >= 12 {
        true => g.node("MaxPool", "c", "p", &pool),
        false => g.node(":QLinearAveragePool", "c c.s c.z c.s c.z", "p", &pool),
    }
    g.node("QLinearConv", "p c.s c.z deeper deeper.s deeper.z d.s d.z", "d", &pads);
    g.node(":QLinearAdd", "p c.s c.z d d.s d.z e.s e.z", "e", &[]);
    g.node(":QLinearGlobalAveragePool", "e e.s e.z a.s a.z", "a", &[]);
    g.node("Flatten", "a", "f", &[]);
    g.node(":QGemm", "f a.s a.z head head.s head.z - r.s r.z", "r", &[]);
    g.node("DequantizeLinear", "r r.s r.z", "y", &[]);
    g.output("y", &[2, 5]);
    g.model
}

/// The same network as a quantiser writes it around operators on floats.
fn pairs() -> Model {
    let mut g = Graph { model: integers(13, true) };
    g.model.graph_mut().node.clear();
    let (pads, pool) = (
        [("pads", Attr::Ints(vec![1; 4]))],
        [("kernel_shape", Attr::Ints(vec![2; 2])), ("strides", Attr::Ints(vec![2; 2]))],
    );
    let by = |axis| [("axis", Attr::Int(axis))];
    let biases = Tensor::new(&[6], Data::I32(vec![900, -800, 0, 4000, 500, -4000]));
    let scales = g.model.graph().initializer.iter().find(|t| t.name() == "kernel.s").unwrap();
    let scales = Tensor::from_proto(scales).unwrap();
    let scales: Vec<f32> = scales.as_f32().unwrap().iter().map(|s| s * (2.0 / 255.0)).collect();
    let bias: Vec<f32> = biases.to_f64s().iter().zip(&scales).map(|(b, s)| *b as f32 * s).collect();
    g.store("floats", &Tensor::f32(&[6], &bias));
    let pair = |g: &mut Graph, x: &str, by: &str, to: &str| {
        g.node("QuantizeLinear", &format!("{x} {by}.s {by}.z"), &format!("{to}.q"), &[]);
        g.node("DequantizeLinear", &format!("{to}.q {by}.s {by}.z"), to, &[]);
    };
    for (weight, axis) in [("kernel", 0), ("deeper", 0), ("head", 1)] {
        let quantised = format!("{weight} {weight}.s {weight}.z");
        g.node("DequantizeLinear", &quantised, &format!("{weight}.w"), &by(axis));
    }
    pair(&mut g, "x", "in", "x1");
    g.node("Conv", "x1 kernel.w floats", "c1", &pads);
    pair(&mut g, "c1", "c", "c2");
    g.node("MaxPool", "c2", "p", &pool);
    g.node("Conv", "p deeper.w", "d1", &pads);
    pair(&mut g, "d1", "d", "d2");
    g.node("Add", "p d2", "e1", &[]);
    pair(&mut g, "e1", "e", "e2");
    g.node("GlobalAveragePool", "e2", "a1", &[]);
    pair(&mut g, "a1", "a", "a2");
    g.node("Flatten", "a2", "f", &[]);
    g.node("Gemm", "f head.w", "r1", &[]);
    pair(&mut g, "r1", "r", "y");
    g.model
}

/// The loss of a target of nothing, and every gradient.
fn gradients(model: &Model) -> BTreeMap<String, Vec<f32>> {
    let grafted = grafted(model, &[]);
    let wrt = grafted.layout.factors().map(|factor| factor.input.clone()).collect();
    let (losses, profile) = (Vec::new(), Profile::Cpu);
    let how = DifferentiateOptions { losses, wrt, strict: true, profile };
    let training = differentiate(&grafted.folded, &how).unwrap();
    let options = LoadOptions::training(NonZeroUsize::MIN);
    let mut session = ort_or_skip().unwrap().load(&training.folded.model, &options).unwrap();
    for index in 0..session.inputs().len() {
        let port = session.inputs()[index].clone();
        let scale = if port.name.starts_with("lora.") { 0.05 } else { 1.0 };
        let values = noise(port.name.len(), port.ty.values());
        let values: Vec<f32> = values.iter().map(|v| v * scale).collect();
        session.write_f32(index, &values).unwrap();
    }
    session.run().unwrap();
    let outputs = session.outputs().iter().enumerate();
    outputs.map(|(i, port)| (port.name.clone(), session.output_f32(i).unwrap().to_vec())).collect()
}

#[test]
fn a_network_of_integers_has_the_gradients_of_the_pairs_that_it_stands_for() {
    if ort_or_skip().is_none() {
        return;
    }
    let (want, got) = (gradients(&pairs()), gradients(&integers(13, true)));
    assert!(want.keys().eq(got.keys()) && want.len() == 7);
    for (name, want) in &want {
        let size = want.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        let off = want.iter().zip(&got[name]).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(size > 0.0 && off <= 1e-5 * size, "{name}: off by {off:.1e} of {size}");
    }
}

#[test]
fn a_network_of_integers_is_tuned_and_what_changes_of_it_is_baked_in_floats() {
    if ort_or_skip().is_none() {
        return;
    }
    for (opset, by_channel) in [(13, false), (13, true), (11, true)] {
        let model = integers(opset, by_channel);
        let report = inspect(&model, &PinOptions::default(), 2).unwrap();
        assert!(report.sites.iter().any(|site| site.weight == "deeper"), "{:?}", report.sites);
        let gradients = report.gradients;
        assert_eq!((gradients.refusal, gradients.obstacles), (None, Vec::new()));
        assert_eq!(gradients.losses.len(), 1);
        works(&model, &[], bake_dequantised);
        // One site: everything else stays as the file has it.
        let baked = works(&model, &["deeper"], bake_dequantised);
        let form = ["DequantizeLinear", "Conv", "QuantizeLinear"];
        let before = operators(&model);
        let want: Vec<&str> = [&before[..3], &form[..], &before[4..]].concat();
        assert_eq!(operators(&baked), want);
        let stored: Vec<&str> = baked.graph().initializer.iter().map(|t| t.name()).collect();
        assert!(stored.contains(&"deeper.baked") && !stored.contains(&"deeper"), "{stored:?}");
        assert!(stored.contains(&"kernel") && stored.contains(&"head"), "{stored:?}");
    }
    let model = integers(13, true);
    let grafted = grafted(&model, &[]);
    let values = noise(5, grafted.layout.values());
    let adapter = Adapter::from_values(grafted.layout.clone(), values).unwrap();
    let refused = bake(&model, &adapter).unwrap_err();
    let names = |parts: &[&str]| parts.iter().all(|part| refused.to_string().contains(part));
    assert!(matches!(refused, BakeError::Quantised { .. }));
    assert!(names(&["`kernel`", "`the c`", "--dequantize"]), "{refused}");
}

#[test]
fn what_has_no_standard_form_is_refused_by_its_node_and_says_why() {
    let refused = |model: &Model, parts: &[&str]| {
        let error = open(model, &PinOptions::default()).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let mut g = Graph::new(13);
    g.input("x", &[2, 16, 6, 6]);
    g.floats("kernel", &[16, 16, 3, 3], 0.3);
    g.node("com.microsoft.nchwc:Conv", "x kernel", "y", &[]);
    g.output("y", &[2, 16, 4, 4]);
    refused(&g.model, &["com.microsoft.nchwc.Conv", "`the y`", "EXTENDED"]);
    let last = [("channels_last", Attr::Int(1))];
    let model = between(&[2, 3, 6, 6], ("QLinearConv", "q! kernel! !out"), &last);
    refused(&model, &["QLinearConv", "`the r`", "channels come last"]);
    let model = between(&[4, 6], ("QLinearMatMul", "q! matrix! columns.s columns.z"), &[]);
    refused(&model, &["QLinearMatMul", "`the r`", "one for all"]);
    let mut model = fused();
    model.graph_mut().node[0].attribute[0] = Attr::Str("Softsign".into()).to_proto("activation");
    refused(&model, &["com.microsoft.FusedConv", "`the c`", "activation"]);
    let moved = [("transBatchA", Attr::Int(1))];
    let node = (":FusedMatMul", "h other", &moved[..]);
    let model = behind_a_site(&[2, 4, 8], node, &[("other", &[2, 8, 4])]);
    refused(&model, &["com.microsoft.FusedMatMul", "`the y`", "transBatchA"]);
}

#[test]
fn an_infinite_scale_is_refused_by_node_and_tensor() {
    let mut model = integers(13, true);
    let scale = model.graph_mut().initializer.iter_mut().find(|t| t.name() == "d.s").unwrap();
    *scale = Tensor::f32(&[], &[f32::INFINITY]).to_proto("d.s");
    let folded = open(&model, &PinOptions::default()).unwrap().folded;
    let grafted = graft(&folded, &GraftOptions::default()).unwrap();
    let wrt: Vec<String> = grafted.layout.factors().map(|factor| factor.input.clone()).collect();
    let losses = Vec::new();
    let how = DifferentiateOptions { losses, wrt, strict: true, profile: Profile::Cpu };
    let refused = differentiate(&grafted.folded, &how).unwrap_err();
    let Refusal::Unsupported { obstacles } = &refused else { panic!("{refused}") };
    let infinite = |reason: &Reason| matches!(reason, Reason::Infinite { tensor, index: 0, .. } if tensor == "d.s");
    assert!(obstacles.iter().all(|obstacle| infinite(&obstacle.reason)), "{refused}");
    let said = refused.to_string();
    assert!(said.contains("QuantizeLinear `d`") && said.contains("`d.s`"), "{said}");
}
