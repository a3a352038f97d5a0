//! Products whose first operand is quantised as it comes, by its own range.
//!
//! | found | form |
//! |---|---|
//! | MatMulInteger or ConvInteger of integers whose scales are known, Cast, Mul by both scales | DequantizeLinear of both, MatMul or Conv |
//! | the same, Mul by the scale of the first alone: that of the second is 1, and the optimiser took it out | the same |
//! | the same, and before the Cast Add of a bias in whole steps of both scales, as quantisers up to 2021 wrote it | the same, and Add of the bias times both scales |
//! | `com.microsoft.MatMulIntegerToFloat` | the same, and Add of its bias |
//! | `com.microsoft.DynamicQuantizeMatMul` | DynamicQuantizeLinear before that |

use super::products::{Done, named};
use super::{Along, OPSET_DYNAMIC, PRODUCT, Quantised, Writer};
use crate::onnx::builder::Attr;
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::{Element, Tensor};

/// The Mul by scales behind a product of integers.
pub(super) fn scaled(writer: &mut Writer<'_>, node: &NodeProto) -> Done {
    let chains = [(0, 1), (1, 0)].map(|(product, scales)| chain(writer, node, product, scales));
    let Some(chain) = chains.into_iter().flatten().next() else { return Ok(false) };
    let output = node.output_name(0).to_owned();
    let product = match chain.bias {
        Some(_) => writer.name(&output, PRODUCT),
        None => output.clone(),
    };
    if !writer.wants(&product) {
        return Ok(false);
    }
    let op = if chain.product.is("ConvInteger") { "Conv" } else { "MatMul" };
    let along = if op == "Conv" { Along::Whole } else { Along::Last };
    let [b, scale, zero] = chain.b;
    let scale = match scale.is_empty() {
        true => writer.constant(&b, ".one", &Tensor::scalar(Element::F32, 1.0)),
        false => scale,
    };
    let b = [b, scale, zero];
    let input = vec![writer.real(&chain.a, Along::Whole)?, writer.real(&b, along)?];
    let attribute = chain.product.attribute.clone();
    match &chain.bias {
        None => named(writer, &chain.product, (op, attribute), input, &output),
        Some(bias) => {
            let [floats, real] = [".bias_whole", ".bias"].map(|what| writer.name(&output, what));
            let to = Attr::Int(i64::from(Element::F32.to_onnx())).to_proto("to");
            writer.op("Cast", vec![bias.clone()], &floats, vec![to]);
            writer.op("Mul", vec![floats, chain.scales.clone()], &real, Vec::new());
            named(writer, &chain.product, (op, attribute), input, &product);
            writer.nodes.push(NodeProto::operator("Add", vec![product, real], &output, Vec::new()));
        }
    }
    writer.loose.extend(chain.loose);
    Ok(true)
}

/// A product of integers that a Mul brings back to floats.
struct Chain {
    product: NodeProto,
    a: Quantised,
    /// Its scale has no name where it is 1.
    b: Quantised,
    /// What is added to the whole numbers.
    bias: Option<String>,
    /// The product of both scales.
    scales: String,
    /// What the form does without.
    loose: Vec<String>,
}

/// What is found behind a Mul, if its inputs at these places are such a product and the product of both scales.
fn chain(writer: &Writer<'_>, node: &NodeProto, product: usize, scales: usize) -> Option<Chain> {
    let made = |name: &str| writer.makers.get(name).copied();
    let alone = |name: &str| writer.read.get(name) == Some(&1);
    let [cast, scales] = [product, scales].map(|at| node.input_name(at));
    let (cast, scales) = (cast?, scales?);
    let to_float = |node: &&NodeProto| node.int("to", 0) == i64::from(Element::F32.to_onnx());
    let whole = made(cast).filter(|n| n.is("Cast") && alone(cast)).filter(to_float)?;
    let sum = whole.input_name(0)?;
    let is_product = |n: &&NodeProto| n.is("MatMulInteger") || n.is("ConvInteger");
    let product = |name: &str| made(name).filter(is_product).filter(|_| alone(name));
    let biased = made(sum).filter(|n| n.is("Add") && alone(sum)).and_then(|add| {
        let [first, second] = [add.input_name(0)?, add.input_name(1)?];
        product(first).map(|_| (first, second)).or(product(second).map(|_| (second, first)))
    });
    let (whole, bias) = biased.map_or((sum, None), |(whole, bias)| (whole, Some(bias)));
    let product = product(whole)?;
    let (a, b) = (product.input_name(0)?, product.input_name(1)?);
    let (scale, zero) = writer.parameters.get(a)?;
    let [a_zero, b_zero] = [2, 3].map(|at| product.input_name(at).unwrap_or(""));
    if a_zero != zero {
        return None;
    }
    let other = if scales == scale {
        ""
    } else {
        let both = made(scales).filter(|n| n.is("Mul"))?;
        match (both.input_name(0)?, both.input_name(1)?) {
            (first, other) if first == scale => other,
            (other, second) if second == scale => other,
            _ => return None,
        }
    };
    let fits = match writer.parameters.get(b) {
        Some((scale, zero)) => other == scale && b_zero == zero,
        None if other.is_empty() => writer.stored(b).is_some(),
        None => {
            let count = writer.count(other)?;
            writer.stored(b).is_some() && (count == 1 || product.is("MatMulInteger"))
        }
    };
    let quantised = |name: &str, scale: &str, zero: &str| [name, scale, zero].map(str::to_owned);
    let both = Some(scales).filter(|_| !other.is_empty());
    fits.then(|| Chain {
        product: product.clone(),
        a: quantised(a, scale, zero),
        b: quantised(b, other, b_zero),
        bias: bias.map(str::to_owned),
        scales: scales.to_owned(),
        loose: [whole, sum, cast].into_iter().chain(both).map(str::to_owned).collect(),
    })
}

/// MatMulIntegerToFloat: a, b, their scales, their zero points, and a bias.
pub(super) fn to_float(writer: &mut Writer<'_>, node: &NodeProto) -> Done {
    let (a, b) = (Writer::operand(node, [0, 2, 4])?, Writer::operand(node, [1, 3, 5])?);
    product(writer, node, |_| a, &b, 6)
}

/// DynamicQuantizeMatMul: floats, b, its scale, its zero point, and a bias.
pub(super) fn quantised_here(writer: &mut Writer<'_>, node: &NodeProto) -> Done {
    let b = Writer::operand(node, [1, 2, 3])?;
    let x = node.input_name(0).ok_or("an operand is left out")?.to_owned();
    product(writer, node, |writer| quantised(writer, &x), &b, 4)
}

/// A MatMul, and an Add behind it where there is a bias.
fn product(
    writer: &mut Writer<'_>,
    node: &NodeProto,
    a: impl FnOnce(&mut Writer<'_>) -> Quantised,
    b: &Quantised,
    bias: usize,
) -> Done {
    let output = node.output_name(0).to_owned();
    let bias = node.input_name(bias).map(str::to_owned);
    let product = match bias {
        Some(_) => writer.name(&output, PRODUCT),
        None => output.clone(),
    };
    if !writer.wants(&product) {
        return Ok(false);
    }
    let a = a(writer);
    let input = vec![writer.real(&a, Along::Whole)?, writer.real(b, Along::Last)?];
    named(writer, node, ("MatMul", Vec::new()), input, &product);
    if let Some(bias) = bias {
        writer.nodes.push(NodeProto::operator("Add", vec![product, bias], &output, Vec::new()));
    }
    Ok(true)
}

/// Floats quantised by their own range, once for all who read them.
pub(super) fn quantised(writer: &mut Writer<'_>, floats: &str) -> Quantised {
    if let Some(quantised) = writer.quantised.get(floats) {
        return quantised.clone();
    }
    writer.opset_min = writer.opset_min.max(OPSET_DYNAMIC);
    let made = [".integers", ".scale", ".zero"].map(|what| writer.name(floats, what));
    let [integers, ..] = &made;
    let node =
        NodeProto::operator("DynamicQuantizeLinear", vec![floats.to_owned()], integers, Vec::new());
    writer.loose.extend(made.iter().cloned());
    writer.nodes.push(NodeProto { output: made.to_vec(), ..node });
    writer.quantised.insert(floats.to_owned(), made.clone());
    made
}
