//! Products: MatMul, Gemm, Einsum, the recurrent operators, and the normalisations with several outputs.

use std::collections::BTreeMap;

use super::{Ctx, InferWhy, Types, broadcast, one, shape};
use crate::onnx::tensor::{Element, TensorType};

pub(super) fn infer(ctx: &Ctx<'_>, op: &str) -> Option<Types> {
    Some(match op {
        "MatMul" => matmul(ctx, None),
        "MatMulInteger" => matmul(ctx, Some(Element::I32)),
        "Gemm" => gemm(ctx),
        "Einsum" => einsum(ctx),
        "BatchNormalization" => batch_normalization(ctx),
        "InstanceNormalization" | "GroupNormalization" | "RMSNormalization" => {
            ctx.input(0).map(|x| vec![x.clone()])
        }
        "LayerNormalization" => layer_normalization(ctx),
        "QuantizeLinear" => quantize(ctx),
        "DequantizeLinear" => ctx.input(0).and_then(|x| one(ctx.input(1)?.element, x.dims.clone())),
        "LSTM" => recurrent(ctx, 3),
        "GRU" | "RNN" => recurrent(ctx, 2),
        _ => return None,
    })
}

fn matmul(ctx: &Ctx<'_>, element: Option<Element>) -> Types {
    let (a, b) = (ctx.input(0)?, ctx.input(1)?);
    if element.is_none() && a.element != b.element {
        return shape("operands have different types", format!("{a} and {b}"));
    }
    match matmul_dims(&a.dims, &b.dims) {
        Some(dims) => one(element.unwrap_or(a.element), dims),
        None => shape("operands cannot be multiplied", format!("{a} and {b}")),
    }
}

/// The dimensions of numpy's `matmul`: rank 1 is a row on the left, a column on the right.
pub(crate) fn matmul_dims(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let (a_batch, a_row, a_in) = match a {
        [] => return None,
        [k] => (&[][..], None, *k),
        [batch @ .., m, k] => (batch, Some(*m), *k),
    };
    let (b_batch, b_in, b_column) = match b {
        [] => return None,
        [k] => (&[][..], *k, None),
        [batch @ .., k, n] => (batch, *k, Some(*n)),
    };
    if a_in != b_in {
        return None;
    }
    let mut dims = broadcast(a_batch, b_batch)?;
    dims.extend(a_row);
    dims.extend(b_column);
    Some(dims)
}

fn gemm(ctx: &Ctx<'_>) -> Types {
    let (a, b) = (ctx.input(0)?, ctx.input(1)?);
    let ([a0, a1], [b0, b1]) = (a.dims.as_slice(), b.dims.as_slice()) else {
        return shape("operands must have two dimensions", format!("{a} and {b}"));
    };
    let turn = |yes: i64, x: usize, y: usize| if yes != 0 { (y, x) } else { (x, y) };
    let (m, k) = turn(ctx.node.int("transA", 0), *a0, *a1);
    let (b_in, n) = turn(ctx.node.int("transB", 0), *b0, *b1);
    if k != b_in || a.element != b.element {
        return shape("operands cannot be multiplied", format!("{a} and {b}"));
    }
    if let Some(c) = ctx.opt(2)
        && (c.element != a.element
            || broadcast(&c.dims, &[m, n]).as_deref() != Some([m, n].as_slice()))
    {
        return shape("the added matrix does not fit the product", format!("{c} to [{m}, {n}]"));
    }
    one(a.element, vec![m, n])
}

/// Einsum with letters; an ellipsis or a repeated letter inside one operand is not supported.
fn einsum(ctx: &Ctx<'_>) -> Types {
    let equation: String =
        ctx.node.text("equation", "").chars().filter(|c| !c.is_whitespace()).collect();
    if equation.contains('.') {
        return shape("an ellipsis is not supported", equation);
    }
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left.to_owned(), Some(right.to_owned())),
        None => (equation.clone(), None),
    };
    let mut sizes: BTreeMap<char, (usize, usize)> = BTreeMap::new();
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != ctx.inputs.len() {
        return shape("the equation has another number of operands", equation);
    }
    for (index, term) in terms.iter().enumerate() {
        let ty = ctx.input(index)?;
        if term.chars().count() != ty.rank() || !term.chars().all(|c| c.is_ascii_alphabetic()) {
            return shape(
                "the equation does not fit operand",
                format!("{index} ({ty}): {equation}"),
            );
        }
        for (letter, &dim) in term.chars().zip(&ty.dims) {
            let seen = sizes.entry(letter).or_insert((dim, 0));
            if seen.0 == 1 {
                seen.0 = dim;
            }
            if dim != 1 && seen.0 != dim {
                return shape("a letter has two sizes", format!("`{letter}` in {equation}"));
            }
            seen.1 += 1;
        }
    }
    // Without an arrow: the letters that occur once, in alphabetical order.
    let right = right.unwrap_or_else(|| {
        sizes.iter().filter(|(_, (_, times))| *times == 1).map(|(letter, _)| *letter).collect()
    });
    let mut dims = Vec::new();
    for letter in right.chars() {
        match sizes.get(&letter) {
            Some((dim, _)) => dims.push(*dim),
            None => return shape("the result has an unknown letter", equation),
        }
    }
    one(ctx.input(0)?.element, dims)
}

fn batch_normalization(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let channels = match x.dims.get(1) {
        Some(c) => *c,
        None => return shape("at least two dimensions are needed", x),
    };
    let statistic = TensorType::new(ctx.input(3)?.element, &[channels]);
    for index in 1..=4 {
        let parameter = ctx.input(index)?;
        if parameter.dims != [channels] {
            return shape("a parameter does not have one value a channel", parameter);
        }
    }
    let mut types = vec![x.clone()];
    types.resize(5, statistic);
    Ok(types)
}

fn layer_normalization(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let axis = ctx.axis(-1, x.rank())?;
    let mut dims = x.dims.clone();
    dims[axis..].fill(1);
    let statistic = TensorType { element: Element::F32, dims };
    Ok(vec![x.clone(), statistic.clone(), statistic])
}

fn quantize(ctx: &Ctx<'_>) -> Types {
    let asked = i32::try_from(ctx.node.int("output_dtype", 0)).unwrap_or(0);
    let element = match (ctx.opt(2), asked) {
        (Some(zero), _) => zero.element,
        (None, 0) => Element::U8,
        (None, number) => {
            Element::from_onnx(number).ok_or(InferWhy::Attribute { name: "output_dtype" })?
        }
    };
    one(element, ctx.input(0)?.dims.clone())
}

/// Y [T, directions, B, hidden] and the last states [directions, B, hidden], in the default layout.
fn recurrent(ctx: &Ctx<'_>, outputs: usize) -> Types {
    let (x, w) = (ctx.input(0)?, ctx.input(1)?);
    let (&[time, batch, _], Some(&directions)) = (x.dims.as_slice(), w.dims.first()) else {
        return shape("the sequence must have three dimensions", x);
    };
    if ctx.node.int("layout", 0) != 0 {
        return shape("batch-first layout is not supported", "layout = 1");
    }
    let hidden = usize::try_from(ctx.node.int("hidden_size", 0))
        .ok()
        .filter(|&h| h > 0)
        .ok_or(InferWhy::Attribute { name: "hidden_size" })?;
    let mut types = vec![TensorType::new(x.element, &[time, directions, batch, hidden])];
    types.resize(outputs, TensorType::new(x.element, &[directions, batch, hidden]));
    Ok(types)
}
