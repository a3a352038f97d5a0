//! Types and constants of single operators, against ONNX Runtime: it refuses an output of another shape than
//! the one inferred here, and computes what constant folding computes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_runtime::engine::Engine;
use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::{ort_or_skip, plain_options};
use shoal_runtime::onnx::{
    Attr, Builder, Data, Element, InferWhy, Tensor, TensorType, Value, fold,
};

/// One operator with its inputs. Those named in `known` stay constants, since they decide shapes.
struct Case {
    op: &'static str,
    inputs: Vec<Tensor>,
    known: Vec<usize>,
    attrs: Vec<(&'static str, Attr)>,
    outputs: usize,
}

fn case(op: &'static str, inputs: Vec<Tensor>) -> Case {
    Case { op, inputs, known: Vec::new(), attrs: Vec::new(), outputs: 1 }
}

impl Case {
    fn known(mut self, known: &[usize]) -> Self {
        self.known = known.to_vec();
        self
    }

    fn int(mut self, name: &'static str, value: i64) -> Self {
        self.attrs.push((name, Attr::Int(value)));
        self
    }

    fn ints(mut self, name: &'static str, values: &[i64]) -> Self {
        self.attrs.push((name, Attr::Ints(values.to_vec())));
        self
    }

    fn text(mut self, name: &'static str, value: &str) -> Self {
        self.attrs.push((name, Attr::Str(value.to_owned())));
        self
    }

    fn outputs(mut self, outputs: usize) -> Self {
        self.outputs = outputs;
        self
    }

    fn label(&self) -> String {
        let types: Vec<String> = self.inputs.iter().map(|t| t.ty().to_string()).collect();
        format!("{}({}) {:?}", self.op, types.join(", "), self.attrs)
    }

    /// The operator in a graph of its own; inputs that are not `constant` are fed.
    fn graph(&self, constant: impl Fn(usize) -> bool) -> Builder {
        let mut b = Builder::new(17);
        let inputs: Vec<Value> = (0..self.inputs.len())
            .map(|i| match constant(i) {
                true => b.initializer(&format!("c{i}"), &self.inputs[i]),
                false => b.input(&format!("x{i}"), self.inputs[i].ty()),
            })
            .collect();
        let inputs: Vec<Option<&Value>> = inputs.iter().map(Some).collect();
        let made = b.op_n(self.op, &inputs, &self.attrs, self.outputs);
        let made = made.unwrap_or_else(|why| panic!("{}: {why}", self.label()));
        for (i, value) in made.iter().enumerate() {
            b.output(&format!("y{i}"), value);
        }
        b
    }

    /// What the engine computes, as bytes; it also checks the shapes.
    fn run(&self, ort: &Ort) -> Vec<Vec<u8>> {
        let model = self.graph(|i| self.known.contains(&i)).into_model();
        let mut session = ort
            .load(&model, &plain_options())
            .unwrap_or_else(|why| panic!("{}: {why}", self.label()));
        for (i, tensor) in self.inputs.iter().enumerate().filter(|(i, _)| !self.known.contains(i)) {
            let port = session.input_index(&format!("x{i}")).unwrap();
            session.write_bytes(port, tensor.data.element(), &tensor.to_le_bytes()).unwrap();
        }
        session.run().unwrap_or_else(|why| panic!("{}: {why}", self.label()));
        (0..self.outputs)
            .map(|i| {
                let port = session.output_index(&format!("y{i}")).unwrap();
                session.output_bytes(port).unwrap().to_vec()
            })
            .collect()
    }

    /// What constant folding computes; `None` if it leaves the operator alone.
    fn folded(&self) -> Option<Vec<Vec<u8>>> {
        let folded = fold(&self.graph(|_| true).into_model()).unwrap();
        let graph = folded.model.graph();
        if graph.node.iter().any(|n| n.op_type() != "Identity") {
            return None;
        }
        let bytes = graph.output.iter().map(|o| {
            let node = graph.node.iter().find(|n| n.output[0] == o.name()).unwrap();
            let stored = graph.initializer.iter().find(|t| t.name() == node.input[0]).unwrap();
            Tensor::from_proto(stored).unwrap().to_le_bytes()
        });
        Some(bytes.collect())
    }
}

/// Distinct values between −2 and 2, none of them 0.
fn floats(dims: &[usize]) -> Tensor {
    let count: usize = dims.iter().product();
    let values: Vec<f32> =
        (0..count).map(|i| ((i * 37 + 11) % 101) as f32 / 25.25 - 1.99).collect();
    Tensor::f32(dims, &values)
}

fn positive(dims: &[usize]) -> Tensor {
    let t = floats(dims);
    let values: Vec<f32> = t.as_f32().unwrap().iter().map(|x| x.abs() + 0.01).collect();
    Tensor::f32(dims, &values)
}

fn ints(dims: &[usize], values: &[i64]) -> Tensor {
    Tensor::new(dims, Data::I64(values.to_vec()))
}

fn bools(dims: &[usize]) -> Tensor {
    let count: usize = dims.iter().product();
    Tensor::new(dims, Data::Bool((0..count).map(|i| i % 3 == 0).collect()))
}

fn list(values: &[i64]) -> Tensor {
    Tensor::i64s(values)
}

fn one(value: f32) -> Tensor {
    Tensor::f32(&[], &[value])
}

/// Operators that constant folding computes.
fn folding() -> Vec<Case> {
    let x = || floats(&[2, 3, 4]);
    let whole = || ints(&[2, 3], &[7, -7, 3, -4, 0, 5]);
    let mut cases = vec![
        case("Concat", vec![x(), floats(&[2, 1, 4])]).int("axis", 1),
        case("Concat", vec![whole(), whole()]).int("axis", -2),
        case("ConstantOfShape", vec![list(&[2, 3])]).known(&[0]),
        case("Expand", vec![floats(&[3, 1]), list(&[2, 1, 4])]).known(&[1]),
        case("Flatten", vec![x()]).int("axis", 2),
        case("Flatten", vec![x()]).int("axis", 0),
        case("Gather", vec![x(), ints(&[2, 2], &[0, -1, 2, 1])]).int("axis", 1),
        case("Gather", vec![x(), ints(&[], &[1])]).int("axis", -1),
        case("Pad", vec![x(), list(&[0, 1, 2, 1, 0, 0]), one(0.5)]).known(&[1]),
        case("Pad", vec![x(), list(&[0, -1, 2, 1, 0, -1])]).known(&[1]),
        case("Range", vec![ints(&[], &[10]), ints(&[], &[-3]), ints(&[], &[-4])]).known(&[0, 1, 2]),
        case("Range", vec![one(0.5), one(3.0), one(0.7)]).known(&[0, 1, 2]),
        case("Reshape", vec![x(), list(&[0, -1])]).known(&[1]),
        case(
            "Slice",
            vec![x(), list(&[-1, 3]), list(&[i64::MIN, 0]), list(&[0, 2]), list(&[-1, -2])],
        )
        .known(&[1, 2, 3, 4]),
        case("Slice", vec![x(), list(&[1]), list(&[i64::MAX]), list(&[1])]).known(&[1, 2, 3]),
        case("Split", vec![x(), list(&[1, 3])]).known(&[1]).int("axis", 2).outputs(2),
        case("Split", vec![x()]).int("axis", 0).outputs(2),
        case("Squeeze", vec![floats(&[1, 3, 1])]),
        case("Squeeze", vec![floats(&[1, 3, 1]), list(&[-1])]).known(&[1]),
        case("Tile", vec![floats(&[2, 3]), list(&[2, 2])]).known(&[1]),
        case("Transpose", vec![whole()]),
        case("Trilu", vec![floats(&[3, 4]), ints(&[], &[1])]).int("upper", 0),
        case("Trilu", vec![floats(&[2, 4, 3])]),
        case("Unsqueeze", vec![x(), list(&[0, -1])]).known(&[1]),
        case("Where", vec![bools(&[3, 1]), x(), floats(&[4])]),
        case("Mod", vec![whole(), ints(&[], &[3])]),
        case("Mod", vec![x(), one(0.7)]).int("fmod", 1),
        case("Div", vec![whole(), ints(&[], &[2])]),
        case("Pow", vec![positive(&[2, 3]), one(2.5)]),
        case("Pow", vec![x(), ints(&[], &[3])]),
        case("Max", vec![x(), one(0.1), floats(&[3, 1])]),
        case("Min", vec![whole(), ints(&[], &[2])]),
        case("Equal", vec![whole(), ints(&[], &[3])]),
        case("Not", vec![bools(&[4])]),
        case("Xor", vec![bools(&[4]), bools(&[2, 1])]),
        case("Cast", vec![x()]).int("to", 7),
        case("Cast", vec![x()]).int("to", 9),
        case("Cast", vec![x()]).int("to", 10),
        case("Cast", vec![whole()]).int("to", 1),
        case("Log", vec![positive(&[5])]),
        case("Sqrt", vec![positive(&[50])]),
        case("Shape", vec![x()]).int("start", 1),
        case("Size", vec![x()]),
    ];
    for op in ["Abs", "Ceil", "Cos", "Exp", "Floor", "Neg", "Reciprocal", "Sign", "Sin"] {
        cases.push(case(op, vec![x()]));
    }
    for op in ["Add", "Sub", "Mul", "Div"] {
        cases.push(case(op, vec![x(), floats(&[3, 1])]));
        cases.push(case(op, vec![floats(&[]), floats(&[1, 2])]));
    }
    for op in ["Greater", "GreaterOrEqual", "Less", "LessOrEqual"] {
        cases.push(case(op, vec![x(), one(0.3)]));
    }
    for op in ["ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"] {
        cases.push(case(op, vec![x()]).ints("axes", &[0, -1]));
        cases.push(case(op, vec![x()]).int("keepdims", 0));
    }
    cases.push(case("ReduceSum", vec![x(), list(&[1])]).known(&[1]).int("keepdims", 0));
    cases.push(case("ReduceProd", vec![whole()]).ints("axes", &[1]));
    cases
}

/// Operators of which only the type is known here.
fn typed() -> Vec<Case> {
    let image = || floats(&[2, 4, 7, 9]);
    let empty = || Tensor::f32(&[0], &[]);
    let mut cases = vec![
        case("MatMul", vec![floats(&[5, 1, 2, 3]), floats(&[4, 3, 6])]),
        case("MatMul", vec![floats(&[3]), floats(&[4, 3, 6])]),
        case("MatMul", vec![floats(&[2, 3]), floats(&[3])]),
        case("Gemm", vec![floats(&[3, 2]), floats(&[5, 3]), floats(&[5])])
            .int("transA", 1)
            .int("transB", 1),
        case("Einsum", vec![floats(&[2, 3, 4]), floats(&[2, 4, 5])])
            .text("equation", "bij, bjk -> bik"),
        case("Einsum", vec![floats(&[2, 3]), floats(&[3])]).text("equation", "ij,j"),
        case("Conv", vec![image(), floats(&[6, 4, 3, 3]), floats(&[6])])
            .ints("strides", &[2, 1])
            .ints("pads", &[1, 0, 2, 1])
            .ints("dilations", &[1, 2]),
        case("Conv", vec![image(), floats(&[8, 1, 3, 3])])
            .int("group", 4)
            .text("auto_pad", "SAME_UPPER"),
        case("Conv", vec![image(), floats(&[8, 4, 3, 2])])
            .text("auto_pad", "SAME_LOWER")
            .ints("strides", &[2, 2]),
        case("Conv", vec![floats(&[1, 2, 9]), floats(&[3, 2, 4])]).text("auto_pad", "VALID"),
        case("ConvTranspose", vec![image(), floats(&[4, 3, 3, 3])])
            .ints("strides", &[2, 3])
            .ints("pads", &[1, 0, 1, 2])
            .ints("output_padding", &[1, 0]),
        case("ConvTranspose", vec![image(), floats(&[4, 3, 2, 2])]).int("group", 2),
        case("MaxPool", vec![image()])
            .ints("kernel_shape", &[3, 2])
            .ints("strides", &[2, 2])
            .outputs(2),
        case("MaxPool", vec![image()])
            .ints("kernel_shape", &[3, 3])
            .ints("strides", &[2, 2])
            .int("ceil_mode", 1),
        case("AveragePool", vec![image()])
            .ints("kernel_shape", &[2, 2])
            .ints("pads", &[1, 1, 0, 1]),
        case("AveragePool", vec![image()])
            .ints("kernel_shape", &[2, 2])
            .ints("strides", &[2, 2])
            .int("ceil_mode", 1),
        case("GlobalAveragePool", vec![image()]),
        case("Resize", vec![image(), empty(), Tensor::f32(&[4], &[1.0, 1.0, 2.0, 1.7])])
            .known(&[1, 2])
            .text("mode", "nearest"),
        case("Resize", vec![image(), empty(), empty(), list(&[2, 4, 5, 20])])
            .known(&[1, 2, 3])
            .text("mode", "linear"),
        case("DepthToSpace", vec![image()]).int("blocksize", 2).text("mode", "CRD"),
        case("SpaceToDepth", vec![floats(&[1, 2, 4, 6])]).int("blocksize", 2),
        case("Pad", vec![image(), list(&[0, 0, 1, 2, 0, 0, 2, 1])])
            .known(&[1])
            .text("mode", "edge"),
        case("Softmax", vec![image()]).int("axis", 1),
        case("LogSoftmax", vec![image()]),
        case("LayerNormalization", vec![image(), floats(&[9])]),
        case("LayerNormalization", vec![image(), floats(&[7, 9]), floats(&[7, 9])])
            .int("axis", 2)
            .outputs(3),
        case("InstanceNormalization", vec![image(), floats(&[4]), floats(&[4])]),
        case(
            "BatchNormalization",
            vec![image(), floats(&[4]), floats(&[4]), floats(&[4]), positive(&[4])],
        ),
        case("GatherElements", vec![floats(&[2, 3]), ints(&[2, 2], &[0, 1, 1, 0])]).int("axis", 1),
        case("GatherND", vec![floats(&[2, 3, 4]), ints(&[5, 2], &[0, 1, 1, 2, 0, 0, 1, 1, 0, 2])]),
        case("ScatterND", vec![floats(&[4, 3]), ints(&[2, 1], &[0, 2]), floats(&[2, 3])])
            .text("reduction", "add"),
        case("ScatterElements", vec![floats(&[2, 3]), ints(&[1, 2], &[1, 0]), floats(&[1, 2])])
            .int("axis", 1),
        case(
            "OneHot",
            vec![ints(&[2, 2], &[0, 2, 1, 0]), ints(&[], &[3]), Tensor::f32(&[2], &[0.0, 1.0])],
        )
        .known(&[1])
        .int("axis", 1),
        case("TopK", vec![floats(&[2, 5]), list(&[3])]).known(&[1]).outputs(2),
        case("ArgMax", vec![image()]).int("axis", 1).int("keepdims", 0),
        case("ReduceL2", vec![image()]).ints("axes", &[2, 3]),
        case("CumSum", vec![floats(&[2, 3]), ints(&[], &[1])]).known(&[1]),
        case("PRelu", vec![image(), floats(&[4, 1, 1])]),
        case("Clip", vec![image(), one(-1.0), one(1.0)]),
        case("EyeLike", vec![floats(&[3, 4])]),
        case("Dropout", vec![image()]).outputs(2),
        case("QuantizeLinear", vec![image(), one(0.1), Tensor::new(&[], Data::I8(vec![0]))]),
        case("DequantizeLinear", vec![Tensor::new(&[3], Data::I8(vec![1, -2, 3])), one(0.1)]),
        case("GridSample", vec![image(), floats(&[2, 3, 5, 2])]),
        case("GRU", vec![floats(&[5, 2, 3]), floats(&[1, 12, 3]), floats(&[1, 12, 4])])
            .int("hidden_size", 4)
            .outputs(2),
        case("LSTM", vec![floats(&[5, 2, 3]), floats(&[1, 16, 3]), floats(&[1, 16, 4])])
            .int("hidden_size", 4)
            .outputs(3),
    ];
    for op in [
        "Acos",
        "Asinh",
        "Atan",
        "Celu",
        "Cosh",
        "Elu",
        "Erf",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Softplus",
        "Softsign",
        "Tan",
        "Tanh",
        "ThresholdedRelu",
    ] {
        cases.push(case(op, vec![floats(&[2, 3])]));
    }
    cases
}

#[test]
fn folding_computes_what_the_engine_computes() {
    let Some(ort) = ort_or_skip() else { return };
    for case in folding() {
        let (want, got) = (case.run(&ort), case.folded());
        let got = got.unwrap_or_else(|| panic!("{} is not folded", case.label()));
        assert_eq!(got.len(), want.len(), "{}", case.label());
        let exact = !matches!(
            case.op,
            "Cos"
                | "Exp"
                | "Log"
                | "Pow"
                | "ReduceMean"
                | "ReduceProd"
                | "ReduceSum"
                | "Sin"
                | "Range"
        );
        for (got, want) in got.iter().zip(&want) {
            if exact || got == want {
                assert!(got == want, "{}: {got:?} is not {want:?}", case.label());
                continue;
            }
            let values = |bytes: &[u8]| -> Vec<f32> {
                bytes.as_chunks::<4>().0.iter().map(|c| f32::from_le_bytes(*c)).collect()
            };
            assert_eq!(got.len(), want.len(), "{}", case.label());
            for (got, want) in values(got).into_iter().zip(values(want)) {
                let bound = 2e-6 * want.abs().max(1e-3);
                assert!((got - want).abs() <= bound, "{}: {got} is not {want}", case.label());
            }
        }
    }
}

#[test]
fn types_are_those_of_the_engine() {
    let Some(ort) = ort_or_skip() else { return };
    for case in typed() {
        let types: Vec<TensorType> = {
            let b = case.graph(|i| case.known.contains(&i));
            (0..case.outputs).map(|i| b.ty_of(&format!("y{i}")).unwrap().clone()).collect()
        };
        let bytes: Vec<usize> = case.run(&ort).iter().map(Vec::len).collect();
        let want: Vec<usize> = types.iter().map(|t| t.values() * t.element.bytes()).collect();
        assert_eq!(bytes, want, "{}", case.label());
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused_with_the_reason() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 3]));
    let y = b.input("y", TensorType::f32(&[4, 5]));
    let whole = b.input("i", TensorType::new(Element::I64, &[2, 3]));
    let open = b.input("open", TensorType::new(Element::I64, &[2]));

    let refused = b.op("MatMul", &[&x, &y], &[]).unwrap_err();
    assert_eq!(refused.operator, "MatMul");
    assert!(refused.to_string().contains("float32[2, 3] and float32[4, 5]"), "{refused}");
    assert!(b.op("Add", &[&x, &y], &[]).is_err() && b.op("Add", &[&x, &whole], &[]).is_err());
    let refused = b.op("Reshape", &[&x, &open], &[]).unwrap_err();
    assert_eq!(refused.why, InferWhy::NotConstant { index: 1 });
    let refused = b.op("Gemm", &[&x], &[]).unwrap_err();
    assert_eq!(refused.why, InferWhy::MissingInput { index: 1 });
    let refused = b.op("NonMaxSuppression", &[&x], &[]).unwrap_err();
    assert_eq!(refused.why, InferWhy::Unsupported);
    assert_eq!(b.graph().node.len(), 0, "what is refused leaves no trace");
}
