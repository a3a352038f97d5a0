//! Products: MatMul, Gemm, Einsum, the recurrent operators, and the normalisations with several outputs.

use std::collections::BTreeMap;

use super::{Ctx, InferWhy, Types, broadcast, one, shape};
use crate::onnx::dequantised_to;
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
        "Attention" => attention(ctx),
        "QuantizeLinear" => quantize(ctx),
        "DynamicQuantizeLinear" => ctx.input(0).map(|x| {
            let scale = TensorType::new(x.element, &[]);
            vec![TensorType::new(Element::U8, &x.dims), scale, TensorType::new(Element::U8, &[])]
        }),
        "DequantizeLinear" => ctx.input(0).and_then(|x| {
            let element = dequantised_to(ctx.node, ctx.input(1)?);
            one(element, x.dims.clone())
        }),
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

/// The letters of every operand and of the result. An ellipsis stands for the axes that have no letter, which
/// get letters of their own; without an arrow the result has the letters that occur once, in order. `None` if
/// the equation does not fit operands of these ranks.
pub(crate) fn einsum_terms(equation: &str, ranks: &[usize]) -> Option<(Vec<Vec<char>>, Vec<char>)> {
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation.as_str(), None),
    };
    let spare: Vec<char> =
        ('a'..='z').chain('A'..='Z').filter(|c| !equation.contains(*c)).collect();
    // The letters of the last axes of the longest ellipsis; shorter ones take from its end.
    let expand = |term: &str, hidden: usize| -> Option<Vec<char>> {
        let (before, after) = match term.split_once("...") {
            Some((before, after)) => (before, Some(after)),
            None => (term, None),
        };
        let mut letters: Vec<char> = before.chars().collect();
        if let Some(after) = after {
            letters.extend(spare.get(..hidden)?.iter().rev());
            letters.extend(after.chars());
        }
        letters.iter().all(char::is_ascii_alphabetic).then_some(letters)
    };
    let sources: Vec<&str> = left.split(',').collect();
    if sources.len() != ranks.len() {
        return None;
    }
    let mut terms = Vec::new();
    let mut longest = 0;
    for (source, &rank) in sources.iter().zip(ranks) {
        let hidden = match source.contains("...") {
            true => rank.checked_sub(source.chars().count().checked_sub(3)?)?,
            false => 0,
        };
        longest = longest.max(hidden);
        terms.push(expand(source, hidden).filter(|term| term.len() == rank)?);
    }
    let right = match right {
        Some(right) => expand(right, longest)?,
        None => {
            let all: Vec<char> = terms.concat();
            let hidden = spare.get(..longest)?;
            let once = |c: &char| all.iter().filter(|other| *other == c).count() == 1;
            let mut letters: Vec<char> =
                all.iter().copied().filter(|c| once(c) && !hidden.contains(c)).collect();
            letters.sort_unstable();
            hidden.iter().rev().copied().chain(letters).collect()
        }
    };
    Some((terms, right))
}

fn einsum(ctx: &Ctx<'_>) -> Types {
    let equation = ctx.node.text("equation", "");
    let ranks: Result<Vec<usize>, _> =
        (0..ctx.inputs.len()).map(|i| ctx.input(i).map(TensorType::rank)).collect();
    let Some((terms, right)) = einsum_terms(equation, &ranks?) else {
        return shape("the equation does not fit its operands", equation);
    };
    let mut sizes: BTreeMap<char, usize> = BTreeMap::new();
    for (index, term) in terms.iter().enumerate() {
        for (letter, &dim) in term.iter().zip(&ctx.input(index)?.dims) {
            let seen = sizes.entry(*letter).or_insert(dim);
            if *seen == 1 {
                *seen = dim;
            }
            if dim != 1 && *seen != dim {
                return shape("a letter has two sizes", format!("`{letter}` in {equation}"));
            }
        }
    }
    let mut dims = Vec::new();
    for letter in right {
        match sizes.get(&letter) {
            Some(dim) => dims.push(*dim),
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

/// Y, the keys and values with those of the past before them, and the scores.
fn attention(ctx: &Ctx<'_>) -> Types {
    let heads = |index: usize, name: &'static str| -> Result<[usize; 4], InferWhy> {
        let x = ctx.input(index)?;
        let count = usize::try_from(ctx.node.int(name, 0)).unwrap_or(0);
        match x.dims[..] {
            [batch, heads, length, wide] => Ok([batch, heads, length, wide]),
            [batch, length, wide] if count > 0 && wide % count == 0 => {
                Ok([batch, count, length, wide / count])
            }
            _ => shape("heads do not fit the input", format!("{x}, {name} = {count}")),
        }
    };
    let q = heads(0, "q_num_heads")?;
    let (mut k, mut v) = (heads(1, "kv_num_heads")?, heads(2, "kv_num_heads")?);
    for (index, now) in [(4, &mut k), (5, &mut v)] {
        if let Some(past) = ctx.opt(index) {
            now[2] = now[2].saturating_add(past.dims.get(2).copied().unwrap_or(0));
        }
    }
    let fits = q[3] == k[3] && k[2] == v[2] && k[1] > 0 && k[1] == v[1] && q[1] % k[1] == 0;
    if !fits {
        return shape("queries, keys and values do not fit", format!("{q:?}, {k:?}, {v:?}"));
    }
    let element = ctx.input(0)?.element;
    let y = match ctx.input(0)?.rank() {
        3 => vec![q[0], q[2], q[1].saturating_mul(v[3])],
        _ => vec![q[0], q[1], q[2], v[3]],
    };
    let outputs = [y, k.to_vec(), v.to_vec(), vec![q[0], q[1], q[2], k[2]]];
    Ok(outputs.iter().map(|dims| TensorType::new(element, dims)).collect())
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
    let state = [directions, batch, hidden];
    for index in [5, 6] {
        if let Some(given) = ctx.opt(index).filter(|_state| index < 6 || ctx.node.is("LSTM"))
            && given.dims != state
        {
            return shape("the state does not fit the sequence", format!("{given} for {x}"));
        }
    }
    let mut types = vec![TensorType::new(x.element, &[time, directions, batch, hidden])];
    types.resize(outputs, TensorType::new(x.element, &state));
    Ok(types)
}
