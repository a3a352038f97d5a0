//! Operators that ONNX Runtime's optimiser fuses, written as the standard ones that they were.
//!
//! | operator of `com.microsoft` | written as |
//! |---|---|
//! | FusedConv, FusedGemm, FusedMatMul, TransposeMatMul | Transpose; Conv, Gemm or MatMul; Add, Mul; the activation |
//! | Gelu, BiasGelu, FastGelu, QuickGelu | Erf, Tanh or Sigmoid, and what is around them |
//! | SkipLayerNormalization | Add, LayerNormalization |
//! | Swish of a standard set that ONNX Runtime has no kernel for | Sigmoid, Mul |
//! | Attention, MultiHeadAttention | products, sums and a Softmax ([`attention`]) |
//! | SimplifiedLayerNormalization, SkipSimplifiedLayerNormalization | Add, RMSNormalization or what that is |
//!
//! A product keeps the name of what its node gives, with `.product` behind where something follows it. Blocked layouts
//! (`com.microsoft.nchwc`) are refused: their weights are laid out for one processor.
//! # Source
//! ONNX Runtime `ContribOperators.md`, and its kernels of FusedConv and FusedGemm for their activations.

mod attention;

use super::upgrade::{element, fresh_constant};
use super::{FoldWhy, Folder};
use crate::onnx::builder::Attr;
use crate::onnx::integers::{FOREIGN, PRODUCT};
use crate::onnx::proto::{AttributeProto, NodeProto};
use crate::onnx::tensor::{Element, Tensor};

/// From here on there is RMSNormalization.
const OPSET_RMS: i64 = 23;
/// From here on ReduceMean takes its axes as an input.
const OPSET_AXES: i64 = 18;
/// The only set in which ONNX Runtime 1.31.1 runs Swish.
const OPSET_SWISH: i64 = 24;
/// √(2/π), of Gelu by tanh.
const TANH_GELU: f32 = std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;

/// The standard operator that a fused product is.
pub(crate) fn product(node: &NodeProto) -> Option<&'static str> {
    match node.op_type() {
        _ if node.domain() != FOREIGN => None,
        "FusedConv" => Some("Conv"),
        "FusedGemm" => Some("Gemm"),
        "FusedMatMul" | "TransposeMatMul" | "Attention" => Some("MatMul"),
        _ => None,
    }
}

/// The nodes that do what a fused one does, in the operator set of the folded graph; `None` of all others.
pub(super) fn node(
    folder: &mut Folder<'_>,
    node: &NodeProto,
) -> Result<Option<Vec<NodeProto>>, FoldWhy> {
    let refuse = |reason| FoldWhy::Upgrade {
        operator: format!("{}.{}", node.domain(), node.op_type()),
        node: node.label().to_owned(),
        reason,
    };
    if node.domain() == "com.microsoft.nchwc" {
        return Err(refuse(
            "its channels are laid out for one processor: save the optimised model at level EXTENDED or below",
        ));
    }
    let simplified = node.is("SimplifiedLayerNormalization");
    let swish = node.is("Swish") && folder.from > OPSET_SWISH;
    if node.domain() != FOREIGN && !simplified && !swish {
        return Ok(None);
    }
    let mut written = Written { folder, node, nodes: Vec::new() };
    let done = match node.op_type() {
        "FusedConv" => convolution(&mut written),
        "FusedGemm" => gemm(&mut written),
        "FusedMatMul" | "TransposeMatMul" => matrices(&mut written),
        "Gelu" => given(node, 0).map(|x| gelu(&mut written, x)),
        "BiasGelu" => biased(&mut written).map(|x| gelu(&mut written, &x)),
        "FastGelu" => biased(&mut written).map(|x| tanh_gelu(&mut written, &x)),
        "QuickGelu" => given(node, 0).map(|x| swish_by(&mut written, x, 1.702)),
        "Swish" => given(node, 0).map(|x| swish_by(&mut written, x, 1.0)),
        "Attention" => attention::from_product(&mut written),
        "MultiHeadAttention" => attention::of_three(&mut written),
        "SkipLayerNormalization" => skip_layer(&mut written),
        "SimplifiedLayerNormalization" => simple_layer(&mut written),
        "SkipSimplifiedLayerNormalization" => skip_simple_layer(&mut written),
        _ => return Ok(None),
    };
    done.map_err(refuse)?;
    Ok(Some(written.nodes))
}

type Done = Result<(), &'static str>;

/// Writes one node as others.
struct Written<'f, 'g> {
    folder: &'f mut Folder<'g>,
    node: &'f NodeProto,
    nodes: Vec<NodeProto>,
}

impl Written<'_, '_> {
    /// Appends an operator whose result is called as the node's is, with a number behind.
    fn op(&mut self, op: &str, input: &[&str], attribute: Vec<AttributeProto>) -> String {
        let output = self.folder.fresh_name(self.node.output_name(0));
        self.to(op, input, attribute, &output);
        output
    }

    /// Appends an operator whose result is what the node gives.
    fn last(&mut self, op: &str, input: &[&str], attribute: Vec<AttributeProto>) {
        let output = self.node.output_name(0).to_owned();
        self.to(op, input, attribute, &output);
    }

    fn to(&mut self, op: &str, input: &[&str], attribute: Vec<AttributeProto>, output: &str) {
        let input = input.iter().map(|&name| name.to_owned()).collect();
        self.nodes.push(NodeProto::operator(op, input, output, attribute));
    }

    /// Appends the product, which has the node's name; `last` if nothing follows it.
    fn product(
        &mut self,
        op: &str,
        input: &[&str],
        attribute: Vec<AttributeProto>,
        last: bool,
    ) -> String {
        let output = self.node.output_name(0);
        let mut name = if last { output.to_owned() } else { format!("{output}{PRODUCT}") };
        if !last && self.folder.is_taken(&name) {
            name = self.folder.fresh_name(&name);
        }
        self.to(op, input, attribute, &name);
        if let Some(product) = self.nodes.last_mut() {
            product.name = Some(self.node.label().to_owned());
        }
        name
    }

    /// A constant of the element that the node computes in.
    fn scalar(&mut self, value: f32) -> String {
        let value = Tensor::scalar(element(self.folder, self.node), value);
        fresh_constant(self.folder, self.node.output_name(0), value)
    }

    fn rank(&self, name: &str) -> usize {
        self.folder.types.get(name).map_or(0, crate::onnx::TensorType::rank)
    }
}

fn given(node: &NodeProto, index: usize) -> Result<&str, &'static str> {
    node.input_name(index).ok_or("an input that it needs is left out")
}

/// The attributes of a node but these.
fn attributes(node: &NodeProto, is_own: impl Fn(&str) -> bool) -> Vec<AttributeProto> {
    node.attribute.iter().filter(|a| !is_own(a.name())).cloned().collect()
}

/// The inputs from the first on; the last of them are left out if they have no name.
fn inputs(node: &NodeProto, count: usize) -> Result<Vec<&str>, &'static str> {
    let mut input = vec![given(node, 0)?, given(node, 1)?];
    input.extend((2..count).map(|at| node.input_name(at).unwrap_or("")));
    while input.last().is_some_and(|name| name.is_empty()) {
        input.pop();
    }
    Ok(input)
}

/// Conv of x, w and a bias; z is added; then the activation.
fn convolution(written: &mut Written<'_, '_>) -> Done {
    let node = written.node;
    let activation = node.text("activation", "").to_owned();
    let own = attributes(node, |name| name.starts_with("activation"));
    let sum = node.input_name(3);
    let input = inputs(node, 3)?;
    let ends = activation.is_empty() && sum.is_none();
    let mut y = written.product("Conv", &input, own, ends);
    match sum {
        Some(z) if activation.is_empty() => {
            written.last("Add", &[&y, z], Vec::new());
            return Ok(());
        }
        Some(z) => y = written.op("Add", &[&y, z], Vec::new()),
        None if ends => return Ok(()),
        None => {}
    }
    let parameters = node.floats("activation_params").unwrap_or_default();
    let names: &[&str] = match activation.as_str() {
        "Relu" | "Tanh" | "Sigmoid" | "Silu" => &[],
        "LeakyRelu" => &["alpha"],
        "HardSigmoid" => &["alpha", "beta"],
        "Clip" => &["min", "max"],
        _ => return Err("its activation is not known"),
    };
    if parameters.len() < names.len() {
        return Err("its activation has fewer parameters than it needs");
    }
    match (activation.as_str(), parameters) {
        ("Silu", _) => {
            let gate = written.op("Sigmoid", &[&y], Vec::new());
            written.last("Mul", &[&y, &gate], Vec::new());
        }
        ("Clip", &[low, high, ..]) => {
            let (low, high) = (written.scalar(low), written.scalar(high));
            written.last("Clip", &[&y, &low, &high], Vec::new());
        }
        (op, _) => {
            let pairs = names.iter().zip(parameters);
            let attribute = pairs.map(|(name, &value)| Attr::Float(value).to_proto(name)).collect();
            written.last(op, &[&y], attribute);
        }
    }
    Ok(())
}

/// Gemm, then an activation whose attributes have `activation_` before their names.
fn gemm(written: &mut Written<'_, '_>) -> Done {
    const ACTIVATIONS: [&str; 10] = [
        "Elu",
        "HardSigmoid",
        "LeakyRelu",
        "Relu",
        "Selu",
        "Sigmoid",
        "Softplus",
        "Softsign",
        "Tanh",
        "ThresholdedRelu",
    ];
    let node = written.node;
    let activation = node.text("activation", "").to_owned();
    let own = attributes(node, |name| name.starts_with("activation"));
    let input = inputs(node, 3)?;
    let product = written.product("Gemm", &input, own, activation.is_empty());
    if activation.is_empty() {
        return Ok(());
    }
    if !ACTIVATIONS.contains(&activation.as_str()) {
        return Err("its activation is not known");
    }
    let settings = node.attribute.iter().filter_map(|attribute| {
        let name = attribute.name().strip_prefix("activation_")?.to_owned();
        Some(AttributeProto { name: Some(name), ..attribute.clone() })
    });
    let settings = settings.collect();
    written.last(&activation, &[&product], settings);
    Ok(())
}

/// α times a MatMul, whose operands may be read with their last two axes swapped.
fn matrices(written: &mut Written<'_, '_>) -> Done {
    let node = written.node;
    if ["transBatchA", "transBatchB"].iter().any(|name| node.int(name, 0) != 0) {
        return Err(
            "axes of its batch are moved (transBatchA, transBatchB), which is not supported",
        );
    }
    let mut operands = [given(node, 0)?.to_owned(), given(node, 1)?.to_owned()];
    for (operand, turned) in operands.iter_mut().zip(["transA", "transB"]) {
        let rank = written.rank(operand);
        if node.int(turned, 0) != 0 && rank > 1 {
            let mut order: Vec<i64> = (0..rank as i64).collect();
            order.swap(rank - 2, rank - 1);
            let perm = vec![Attr::Ints(order).to_proto("perm")];
            *operand = written.op("Transpose", &[operand], perm);
        }
    }
    let [a, b] = &operands;
    let alpha = node.float("alpha", 1.0);
    let product = written.product("MatMul", &[a, b], Vec::new(), alpha == 1.0);
    if alpha != 1.0 {
        let alpha = written.scalar(alpha);
        written.last("Mul", &[&product, &alpha], Vec::new());
    }
    Ok(())
}

/// The first input, and the bias in the second place added where there is one.
fn biased(written: &mut Written<'_, '_>) -> Result<String, &'static str> {
    let x = given(written.node, 0)?;
    Ok(match written.node.input_name(1) {
        Some(bias) => written.op("Add", &[x, bias], Vec::new()),
        None => x.to_owned(),
    })
}

/// `x/2 · (1 + erf(x/√2))`
fn gelu(written: &mut Written<'_, '_>, x: &str) {
    let root = written.scalar(std::f32::consts::FRAC_1_SQRT_2);
    let scaled = written.op("Mul", &[x, &root], Vec::new());
    let bent = written.op("Erf", &[&scaled], Vec::new());
    halved(written, x, &bent);
}

/// `x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³)))`
fn tanh_gelu(written: &mut Written<'_, '_>, x: &str) {
    let (one, three) = (written.scalar(TANH_GELU), written.scalar(TANH_GELU * 0.044_715));
    let square = written.op("Mul", &[x, x], Vec::new());
    let square = written.op("Mul", &[&square, &three], Vec::new());
    let factor = written.op("Add", &[&square, &one], Vec::new());
    let inner = written.op("Mul", &[x, &factor], Vec::new());
    let bent = written.op("Tanh", &[&inner], Vec::new());
    halved(written, x, &bent);
}

/// `x/2 · (1 + bent)`
fn halved(written: &mut Written<'_, '_>, x: &str, bent: &str) {
    let (half, one) = (written.scalar(0.5), written.scalar(1.0));
    let above = written.op("Add", &[bent, &one], Vec::new());
    let part = written.op("Mul", &[x, &half], Vec::new());
    written.last("Mul", &[&part, &above], Vec::new());
}

/// `x · sigmoid(α·x)`
/// `x·σ(αx)`, with this α where the node has none.
fn swish_by(written: &mut Written<'_, '_>, x: &str, alpha: f32) {
    let alpha = written.node.float("alpha", alpha);
    let inner = match alpha == 1.0 {
        true => x.to_owned(),
        false => {
            let alpha = written.scalar(alpha);
            written.op("Mul", &[x, &alpha], Vec::new())
        }
    };
    let gate = written.op("Sigmoid", &[&inner], Vec::new());
    written.last("Mul", &[x, &gate], Vec::new());
}

/// LayerNormalization of the sum of input, skip and bias, by γ and β.
fn skip_layer(written: &mut Written<'_, '_>) -> Done {
    let node = written.node;
    let sum = skipped(written, 4)?;
    let mut input = vec![sum.as_str(), given(node, 2)?];
    input.extend(node.input_name(3));
    let epsilon = Attr::Float(node.float("epsilon", 1e-12)).to_proto("epsilon");
    let axis = Attr::Int(-1).to_proto("axis");
    written.last("LayerNormalization", &input, vec![axis, epsilon]);
    Ok(())
}

/// RMS normalisation of the sum of input, skip and bias, by γ.
fn skip_simple_layer(written: &mut Written<'_, '_>) -> Done {
    let sum = skipped(written, 3)?;
    let scale = given(written.node, 2)?.to_owned();
    root_mean_square(written, &sum, &scale, (-1, 1e-12))
}

/// RMS normalisation of x by a scale, from an axis on.
fn simple_layer(written: &mut Written<'_, '_>) -> Done {
    let node = written.node;
    let (x, scale) = (given(node, 0)?.to_owned(), given(node, 1)?.to_owned());
    root_mean_square(written, &x, &scale, (node.int("axis", -1), 1e-5))
}

/// The sum of input, skip and bias, which is the fourth output, too.
fn skipped(written: &mut Written<'_, '_>, bias: usize) -> Result<String, &'static str> {
    let node = written.node;
    if [1, 2].iter().any(|&at| !node.output_name(at).is_empty()) {
        return Err("its statistics are read, which is done in training alone");
    }
    let (x, skip) = (given(node, 0)?, given(node, 1)?);
    let named = node.output_name(3);
    let bias = node.input_name(bias);
    let mut sum = match (bias, named) {
        (None, named) if !named.is_empty() => named.to_owned(),
        _ => written.folder.fresh_name(node.output_name(0)),
    };
    written.to("Add", &[x, skip], Vec::new(), &sum);
    if let Some(bias) = bias {
        let whole = match named {
            "" => written.folder.fresh_name(node.output_name(0)),
            named => named.to_owned(),
        };
        written.to("Add", &[&sum, bias], Vec::new(), &whole);
        sum = whole;
    }
    Ok(sum)
}

/// `x / √(mean(x²) + ε) · scale`, the mean over the axes from `axis` on, in float32 at least.
fn root_mean_square(
    written: &mut Written<'_, '_>,
    x: &str,
    scale: &str,
    (axis, epsilon): (i64, f32),
) -> Done {
    let node = written.node;
    let epsilon = node.float("epsilon", epsilon);
    let is_read = (1..3).any(|at| !node.output_name(at).is_empty());
    if is_read {
        return Err("its statistics are read, which is done in training alone");
    }
    if written.folder.opset >= OPSET_RMS {
        let settings =
            vec![Attr::Int(axis).to_proto("axis"), Attr::Float(epsilon).to_proto("epsilon")];
        written.last("RMSNormalization", &[x, scale], settings);
        return Ok(());
    }
    let own = element(written.folder, node);
    let to = |element: Element| vec![Attr::Int(i64::from(element.to_onnx())).to_proto("to")];
    let is_narrow = matches!(own, Element::F16 | Element::Bf16);
    let rank = written.rank(node.input_name(0).unwrap_or(""));
    let from =
        crate::onnx::infer::axis_of(axis, rank).map_err(|_| "its axis is none of its input")?;
    let axes: Vec<i64> = (from..rank).map(|axis| axis as i64).collect();
    let output = node.output_name(0);
    let wide = match is_narrow {
        true => written.op("Cast", &[x], to(Element::F32)),
        false => x.to_owned(),
    };
    let square = written.op("Mul", &[&wide, &wide], Vec::new());
    let mean = if written.folder.opset >= OPSET_AXES {
        let axes = fresh_constant(written.folder, output, Tensor::i64s(&axes));
        written.op("ReduceMean", &[&square, &axes], Vec::new())
    } else {
        written.op("ReduceMean", &[&square], vec![Attr::Ints(axes).to_proto("axes")])
    };
    let epsilon = Tensor::scalar(if is_narrow { Element::F32 } else { own }, epsilon);
    let epsilon = fresh_constant(written.folder, output, epsilon);
    let mean = written.op("Add", &[&mean, &epsilon], Vec::new());
    let root = written.op("Sqrt", &[&mean], Vec::new());
    let mut normal = written.op("Div", &[&wide, &root], Vec::new());
    if is_narrow {
        normal = written.op("Cast", &[&normal], to(own));
    }
    written.last("Mul", &[&normal, scale], Vec::new());
    Ok(())
}
