//! What has no gradient, and why: the rows of the page's table, each with graphs of every operator that it names.

use shoal_runtime::gradient::{DifferentiateOptions, LossKind, LossSpec, differentiate};
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::proto::{AttributeProto, GraphProto, NodeProto, attribute_type};
use shoal_runtime::onnx::{Attr, Builder, Data, Element, Model, Tensor, TensorType, fold};

/// The operators and which of their forms, why they are refused, and graphs of them.
type Row = (&'static str, &'static str, fn() -> Vec<Graph>);

pub(crate) const ROWS: [Row; 12] = [
    (
        "ArgMax, ArgMin, NonZero of values of the run, Hardmax, Unique, NonMaxSuppression",
        "they jump; behind them the loss is put before, or refused by name",
        jumping,
    ),
    (
        "RandomNormalLike, RandomUniformLike, Bernoulli, Multinomial, Dropout that trains",
        "another value in every run",
        random,
    ),
    (
        "BatchNormalization that trains",
        "its statistics are those of the batch; a vehicle tunes with fixed ones",
        training,
    ),
    ("If, Loop by values of the run", "no graph without them says what they compute", control),
    (
        "LSTM, GRU, RNN with other activations, clipping, coupled gates or sequences of several lengths",
        "no export of a driving model at hand has them",
        recurrent,
    ),
    ("Attention with lengths of its keys, or its scores as an output", "the same", attention),
    (
        "ConvInteger, MatMulInteger without the factors that a quantiser writes behind them, QLinearReduceMean, QAttention, \
         QuantizeLinear in blocks, to 4 bits or to floats of 8",
        "there is no real value in between to pass a gradient to: export with QuantizeLinear and DequantizeLinear",
        integers,
    ),
    (
        "LinearAttention and CausalConvWithState (version 27), SwiGLU (28); weights of two bits (25)",
        "not known: the file is refused, and they are named",
        unknown,
    ),
    (
        "GridSample with cubic weights, RoiAlign, DeformConv, Col2Im, STFT, DFT, Det, CumProd, BitCast, TensorScatter, \
         NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss",
        "not written yet",
        operators,
    ),
    (
        "ScatterElements, ScatterND with mul, max, min; Resize with antialias or a region; MaxPool in column order",
        "not written yet",
        forms,
    ),
    (
        "LpPool with dilations whose pads are left to the engine",
        "ONNX Runtime pads it as if it had none, and gives other dimensions than the standard says",
        padded,
    ),
    (
        "QuantizeLinear and DequantizeLinear by their scale, OneHot by its values, Pad by its value, Mod by its divisor; Einsum \
         with a letter twice in one operand",
        "not written yet",
        parameters,
    ),
];

/// One node of an operator, and what reads it.
pub(crate) struct Graph {
    /// With its domain, unless that is the standard one.
    operator: &'static str,
    model: Model,
    /// The input that is differentiated by.
    wanted: usize,
    /// What the refusal says beside the operator.
    says: &'static str,
}

/// An input of the node.
enum Given {
    /// Floats of these dimensions, not known before the run.
    Floats(&'static [usize]),
    Of(Element, &'static [usize]),
    Known(Tensor),
    Left,
}

use Given::{Floats, Known, Left, Of};

const MATRIX: Given = Floats(&[2, 3]);
const IMAGE: Given = Floats(&[1, 1, 4, 4]);

impl Graph {
    fn name(&self) -> &'static str {
        self.operator.rsplit('.').next().unwrap_or(self.operator)
    }

    fn wanting(self, wanted: usize) -> Graph {
        Graph { wanted, ..self }
    }

    fn saying(self, says: &'static str) -> Graph {
        Graph { says, ..self }
    }

    /// What is read is this output.
    fn giving(mut self, output: usize) -> Graph {
        let before = (0..output).map(|index| format!("before.{index}"));
        self.model.graph_mut().node[0].output.splice(0..0, before);
        self
    }

    /// What is read is dequantised, not cast: integers alone do not say what they stand for.
    fn dequantised(mut self) -> Graph {
        let graph = self.model.graph_mut();
        graph.node[1] = NodeProto {
            input: ["y", "z.scale"].map(str::to_owned).to_vec(),
            output: vec!["z".to_owned()],
            op_type: Some("DequantizeLinear".to_owned()),
            ..NodeProto::default()
        };
        graph.initializer.push(Tensor::scalar(Element::F32, 0.5).to_proto("z.scale"));
        self
    }

    /// The first input is quantised before.
    fn quantised(mut self) -> Graph {
        let graph = self.model.graph_mut();
        graph.node[0].input[0] = "q".to_owned();
        let quantise = NodeProto {
            input: ["x0", "q.scale", "q.zero"].map(str::to_owned).to_vec(),
            output: vec!["q".to_owned()],
            op_type: Some("QuantizeLinear".to_owned()),
            ..NodeProto::default()
        };
        graph.node.insert(0, quantise);
        graph.initializer.push(Tensor::scalar(Element::F32, 0.5).to_proto("q.scale"));
        graph.initializer.push(Tensor::new(&[], Data::U8(vec![128])).to_proto("q.zero"));
        self
    }
}

/// The node is differentiated by its first input, and its first output is read.
fn graph(operator: &'static str, opset: i64, inputs: Vec<Given>, attrs: &[(&str, Attr)]) -> Graph {
    let attributes = attrs.iter().map(|(name, attr)| attr.to_proto(name)).collect();
    node(operator, opset, inputs, attributes)
}

fn node(
    operator: &'static str,
    opset: i64,
    inputs: Vec<Given>,
    attribute: Vec<AttributeProto>,
) -> Graph {
    let mut graph = GraphProto { name: Some("refused".to_owned()), ..GraphProto::default() };
    let mut names = Vec::new();
    for (index, given) in inputs.into_iter().enumerate() {
        let name = format!("x{index}");
        match given {
            Floats(dims) => graph.input.push(TensorType::f32(dims).to_value_info(&name)),
            Of(element, dims) => {
                graph.input.push(TensorType::new(element, dims).to_value_info(&name));
            }
            Known(tensor) => graph.initializer.push(tensor.to_proto(&name)),
            Left => {
                names.push(String::new());
                continue;
            }
        }
        names.push(name);
    }
    let (domain, op_type) = operator.rsplit_once('.').unwrap_or(("", operator));
    let refused = NodeProto {
        input: names,
        output: vec!["y".to_owned()],
        name: Some("refused".to_owned()),
        op_type: Some(op_type.to_owned()),
        domain: Some(domain.to_owned()),
        attribute,
        ..NodeProto::default()
    };
    let cast = NodeProto {
        input: vec!["y".to_owned()],
        output: vec!["z".to_owned()],
        op_type: Some("Cast".to_owned()),
        attribute: vec![Attr::Int(1).to_proto("to")],
        ..NodeProto::default()
    };
    graph.node = vec![refused, cast];
    graph.output = vec![TensorType::f32(&[1]).to_value_info("z")];
    Graph { operator, model: Model::new(graph, opset), wanted: 0, says: "" }
}

fn text(value: &str) -> Attr {
    Attr::Str(value.to_owned())
}

fn floats(dims: &[usize], value: f32) -> Given {
    Known(Tensor::f32(dims, &vec![value; dims.iter().product()]))
}

fn truth(value: bool) -> Given {
    Known(Tensor::new(&[], Data::Bool(vec![value])))
}

fn training() -> Vec<Graph> {
    let (ones, zeros) = (|| floats(&[1], 1.0), || floats(&[1], 0.0));
    let inputs = vec![IMAGE, ones(), zeros(), zeros(), ones()];
    vec![graph("BatchNormalization", 17, inputs, &[("training_mode", Attr::Int(1))])]
}

fn jumping() -> Vec<Graph> {
    let boxes = vec![Floats(&[1, 2, 4]), Floats(&[1, 1, 2])];
    vec![
        graph("ArgMax", 17, vec![MATRIX], &[]),
        graph("ArgMin", 17, vec![MATRIX], &[]),
        graph("NonZero", 17, vec![MATRIX], &[]),
        graph("Hardmax", 17, vec![MATRIX], &[]),
        graph("Unique", 17, vec![MATRIX], &[]),
        graph("NonMaxSuppression", 17, boxes, &[]),
    ]
}

fn random() -> Vec<Graph> {
    vec![
        graph("RandomNormalLike", 17, vec![MATRIX], &[]),
        graph("RandomUniformLike", 17, vec![MATRIX], &[]),
        graph("Bernoulli", 17, vec![MATRIX], &[]),
        graph("Multinomial", 17, vec![MATRIX], &[]),
        graph("Dropout", 17, vec![MATRIX, floats(&[], 0.5), truth(true)], &[]),
    ]
}

fn control() -> Vec<Graph> {
    let branch = |op: &str| {
        let mut b = Builder::new(17);
        let x = b.input("x1", TensorType::f32(&[2, 3]));
        let y = b.op(op, &[&x], &[]).unwrap();
        b.output(&format!("{op}.y"), &y);
        let mut graph = b.into_model().graph().clone();
        // It is one of the graph around.
        graph.input.clear();
        graph
    };
    let mut b = Builder::new(17);
    b.input("round", TensorType::new(Element::I64, &[]));
    let going = b.input("going", TensorType::new(Element::Bool, &[]));
    let state = b.input("state", TensorType::f32(&[2, 3]));
    let next = b.op("Tanh", &[&state], &[]).unwrap();
    b.output("still.going", &going);
    b.output("next", &next);
    let body = b.into_model().graph().clone();
    let held = |name: &str, graph: GraphProto| AttributeProto {
        name: Some(name.to_owned()),
        g: Some(Box::new(graph)),
        r#type: Some(attribute_type::GRAPH),
        ..AttributeProto::default()
    };
    let branches = vec![held("then_branch", branch("Tanh")), held("else_branch", branch("Abs"))];
    let rounds = vec![Of(Element::I64, &[]), truth(true), MATRIX];
    vec![
        node("If", 17, vec![Of(Element::Bool, &[]), MATRIX], branches).wanting(1),
        node("Loop", 17, rounds, vec![held("body", body)]).wanting(2),
    ]
}

fn recurrent() -> Vec<Graph> {
    let mut graphs = Vec::new();
    for (operator, gates) in [("LSTM", 4), ("GRU", 3), ("RNN", 1)] {
        let inputs = || {
            let weight = || floats(&[1, gates * 2, 2], 0.1);
            vec![Floats(&[2, 1, 2]), weight(), weight()]
        };
        let hidden = ("hidden_size", Attr::Int(2));
        let made = |more| graph(operator, 17, inputs(), &[hidden.clone(), more]);
        graphs.push(made(("clip", Attr::Float(1.0))).saying("clip"));
        let activations = AttributeProto {
            name: Some("activations".to_owned()),
            strings: vec!["Relu".into(), "Relu".into(), "Relu".into()],
            r#type: Some(attribute_type::STRINGS),
            ..AttributeProto::default()
        };
        let attributes = vec![hidden.1.to_proto(hidden.0), activations];
        graphs.push(node(operator, 17, inputs(), attributes).saying("activations"));
        let lengths = Known(Tensor::new(&[1], Data::I32(vec![1])));
        let inputs = inputs().into_iter().chain([Left, lengths]).collect();
        graphs.push(
            graph(operator, 17, inputs, std::slice::from_ref(&hidden)).saying("sequence_lens"),
        );
        if operator == "LSTM" {
            graphs.push(made(("input_forget", Attr::Int(1))).saying("input_forget"));
        }
    }
    graphs
}

fn attention() -> Vec<Graph> {
    let heads = || vec![Floats(&[1, 2, 3, 4]), Floats(&[1, 2, 5, 4]), Floats(&[1, 2, 5, 4])];
    let lengths = Known(Tensor::i64s(&[3]));
    let with_lengths = heads().into_iter().chain([Left, Left, Left, lengths]).collect();
    vec![
        graph("Attention", 24, with_lengths, &[]).saying("nonpad_kv_seqlen"),
        graph("Attention", 23, heads(), &[]).giving(3).saying("combination of outputs"),
    ]
}

fn integers() -> Vec<Graph> {
    let bytes = |dims: &[usize]| Known(Tensor::new(dims, Data::U8(vec![3; dims.iter().product()])));
    let (scale, zero) = (|| floats(&[], 0.5), || bytes(&[]));
    let blocks = [("axis", Attr::Int(1)), ("block_size", Attr::Int(2))];
    let float8 = [("output_dtype", Attr::Int(17))];
    let wide = vec![Floats(&[2, 4]), floats(&[2, 2], 0.5), bytes(&[2, 2])];
    let mean = vec![MATRIX, scale(), zero(), scale(), zero()];
    let attention = vec![
        Floats(&[1, 2, 4]),
        bytes(&[4, 12]),
        floats(&[12], 0.1),
        scale(),
        scale(),
        Left,
        zero(),
        zero(),
    ];
    vec![
        graph("ConvInteger", 17, vec![IMAGE, bytes(&[1, 1, 2, 2])], &[]).quantised(),
        graph("MatMulInteger", 17, vec![MATRIX, bytes(&[3, 2])], &[]).quantised(),
        graph("com.microsoft.QLinearReduceMean", 17, mean, &[]).quantised(),
        graph("com.microsoft.QAttention", 17, attention, &[("num_heads", Attr::Int(2))])
            .quantised(),
        graph("QuantizeLinear", 21, wide, &blocks).dequantised().saying("block_size"),
        graph("QuantizeLinear", 21, vec![MATRIX, scale()], &float8).saying("floats of 8"),
    ]
}

fn unknown() -> Vec<Graph> {
    let one = |operator, opset| graph(operator, opset, vec![MATRIX], &[]);
    vec![one("LinearAttention", 27), one("CausalConvWithState", 27), one("SwiGLU", 28)]
}

fn operators() -> Vec<Graph> {
    let grid = || Floats(&[1, 2, 2, 2]);
    let regions = vec![IMAGE, floats(&[1, 4], 1.0), Known(Tensor::i64s(&[0]))];
    let offsets = vec![IMAGE, floats(&[1, 1, 2, 2], 0.1), Floats(&[1, 8, 3, 3])];
    let blocks =
        vec![Floats(&[1, 4, 9]), Known(Tensor::i64s(&[4, 4])), Known(Tensor::i64s(&[2, 2]))];
    let whole =
        |dims: &[usize], values: &[i64]| Known(Tensor::new(dims, Data::I64(values.to_vec())));
    let cache = || Floats(&[1, 2, 3, 4]);
    let signal =
        vec![Floats(&[1, 8, 1]), Known(Tensor::new(&[], Data::I64(vec![2]))), floats(&[4], 1.0)];
    vec![
        graph("GridSample", 20, vec![IMAGE, grid()], &[("mode", text("cubic"))]).saying("cubic"),
        graph("RoiAlign", 17, regions, &[]),
        graph("DeformConv", 19, offsets, &[]),
        graph("Col2Im", 18, blocks, &[]),
        graph("STFT", 17, signal, &[]),
        graph("DFT", 17, vec![Floats(&[1, 8, 1])], &[]),
        graph("Det", 17, vec![Floats(&[3, 3])], &[]),
        graph("CumProd", 26, vec![MATRIX, whole(&[], &[1])], &[]),
        graph("BitCast", 26, vec![MATRIX], &[("to", Attr::Int(i64::from(Element::I32.to_onnx())))]),
        graph("TensorScatter", 24, vec![cache(), cache(), whole(&[1], &[0])], &[]),
        graph("NegativeLogLikelihoodLoss", 22, vec![MATRIX, whole(&[2], &[0, 2])], &[]),
        graph("SoftmaxCrossEntropyLoss", 13, vec![MATRIX, whole(&[2], &[0, 2])], &[]),
    ]
}

fn forms() -> Vec<Graph> {
    let mut graphs = Vec::new();
    for how in ["mul", "max", "min"] {
        let reduction = [("reduction", text(how))];
        let (elements, rows) = (
            Known(Tensor::new(&[1, 3], Data::I64(vec![0, 1, 0]))),
            Known(Tensor::new(&[1, 1], Data::I64(vec![1]))),
        );
        let updates = || Floats(&[1, 3]);
        graphs.push(
            graph("ScatterElements", 18, vec![MATRIX, elements, updates()], &reduction).saying(how),
        );
        graphs.push(graph("ScatterND", 18, vec![MATRIX, rows, updates()], &reduction).saying(how));
    }
    let larger =
        |region: Given| vec![IMAGE, region, Known(Tensor::f32(&[4], &[1.0, 1.0, 0.5, 0.5]))];
    let antialias = [("mode", text("linear")), ("antialias", Attr::Int(1))];
    let cropped = [("coordinate_transformation_mode", text("tf_crop_and_resize"))];
    let windows = [("kernel_shape", Attr::Ints(vec![2, 2])), ("storage_order", Attr::Int(1))];
    graphs.extend([
        graph("Resize", 18, larger(Left), &antialias).saying("antialias"),
        graph("Resize", 18, larger(floats(&[8], 0.5)), &cropped).saying("tf_crop_and_resize"),
        graph("MaxPool", 17, vec![IMAGE], &windows).saying("storage_order"),
    ]);
    graphs
}

fn padded() -> Vec<Graph> {
    let pair = || Attr::Ints(vec![2, 2]);
    ["SAME_UPPER", "SAME_LOWER"]
        .map(|auto| {
            let attrs = [("kernel_shape", pair()), ("dilations", pair()), ("auto_pad", text(auto))];
            graph("LpPool", 18, vec![IMAGE], &attrs).saying(auto)
        })
        .into()
}

fn parameters() -> Vec<Graph> {
    let bytes = || Known(Tensor::new(&[2], Data::U8(vec![3, 4])));
    let hot =
        vec![Of(Element::I64, &[2]), Known(Tensor::new(&[], Data::I64(vec![3]))), Floats(&[2])];
    let padded = vec![MATRIX, Known(Tensor::i64s(&[1, 0, 0, 1])), Floats(&[])];
    let divided = [("fmod", Attr::Int(1))];
    vec![
        graph("QuantizeLinear", 17, vec![MATRIX, Floats(&[])], &[])
            .dequantised()
            .wanting(1)
            .saying("y_scale"),
        graph("DequantizeLinear", 17, vec![bytes(), Floats(&[])], &[]).wanting(1).saying("x_scale"),
        graph("OneHot", 17, hot, &[]).wanting(2).saying("values"),
        graph("Pad", 17, padded, &[]).wanting(2).saying("constant_value"),
        graph("Mod", 17, vec![MATRIX, MATRIX], &divided).wanting(1).saying("`B`"),
        graph("Einsum", 17, vec![Floats(&[3, 3])], &[("equation", text("ii->i"))]).saying("ii->i"),
    ]
}

/// Why a graph has no gradient.
fn refusal(graph: &Graph) -> Option<String> {
    let folded = match fold(&graph.model) {
        Ok(folded) => folded,
        Err(why) => return Some(why.to_string()),
    };
    let options = DifferentiateOptions {
        losses: vec![LossSpec::new(LossKind::Mse, "z")],
        wrt: vec![format!("x{}", graph.wanted)],
        strict: true,
        profile: Profile::Cpu,
    };
    differentiate(&folded, &options).err().map(|why| why.to_string())
}

/// What stands in the table is refused, by the name of the operator and by what of it is refused; and no operator stands there
/// that has no graph.
#[test]
fn what_has_no_gradient_is_refused_by_name() {
    let mut wrong = Vec::new();
    for (what, _why, graphs) in ROWS {
        let graphs = graphs();
        let named = |operator: &str| graphs.iter().any(|graph| graph.name() == operator);
        let words = what.split(|c: char| !c.is_ascii_alphanumeric());
        for word in words.filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase())) {
            if !named(word) {
                wrong.push(format!("{word}: no graph of it"));
            }
        }
        for graph in &graphs {
            if !what.contains(graph.name()) {
                wrong.push(format!("{}: not in its row", graph.name()));
            }
            match refusal(graph) {
                None => wrong.push(format!("{} {}: not refused", graph.name(), graph.says)),
                Some(why) if why.contains(graph.name()) && why.contains(graph.says) => {}
                Some(why) => wrong.push(format!("{} {}: {why}", graph.name(), graph.says)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
