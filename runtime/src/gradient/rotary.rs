//! Writes `RotaryEmbedding` as the turns that it is.
//!
//! ```text
//! y₁ = c·x₁ − s·x₂     y₂ = s·x₁ + c·x₂     x [n, heads, L, e] in pairs (x₁, x₂), c and s of a place [n, L, e/2]
//! ```
//! A pair is two neighbours (`interleaved`), or one value of the first half and one of the second. What lies behind
//! `rotary_embedding_dim` stays as it is. Queries of rank 3 have their heads side by side.
//! # Source
//! ONNX `RotaryEmbedding` (operator set 23); Su et al. (arXiv 2104.09864).

use crate::onnx::proto::NodeProto;
use crate::onnx::{Attr, Builder, InferError, Value};

use super::Reason;
use super::attention::input;
use super::expand::{Stop, name};
use super::recurrent::{concat, reshape};

pub(super) fn write(b: &mut Builder, node: &NodeProto) -> Result<(), Stop> {
    let x = input(node, 0)?;
    let given = b.ty(&x).dims.clone();
    // [n, L, heads, e]: the place of a turn is the second axis, whichever the heads are.
    let x = match given[..] {
        [batch, length, wide] => {
            let heads = usize::try_from(node.int("num_heads", 0)).unwrap_or(0);
            if heads == 0 || wide % heads != 0 {
                return Err(wrong("num_heads", heads as i64));
            }
            reshape(b, &x, &[batch, length, heads, wide / heads])?
        }
        [..] => swapped(b, &x)?,
    };
    let wide = b.ty(&x).dims.last().copied().unwrap_or(0);
    let turned = match node.int("rotary_embedding_dim", 0) {
        0 => wide,
        some => {
            usize::try_from(some).ok().filter(|some| *some <= wide && some % 2 == 0).unwrap_or(0)
        }
    };
    if turned == 0 || turned % 2 != 0 {
        return Err(wrong("rotary_embedding_dim", node.int("rotary_embedding_dim", 0)));
    }
    let [cos, sin] = [angles(b, node, 1)?, angles(b, node, 2)?];
    let ahead = if turned < wide { cut(b, &x, [0, turned, 1])? } else { x.clone() };
    let neighbours = node.int("interleaved", 0) != 0;
    let half = turned / 2;
    let [first, second] = match neighbours {
        true => [[0, turned, 2], [1, turned, 2]],
        false => [[0, half, 1], [half, turned, 1]],
    }
    .map(|places| cut(b, &ahead, places));
    let (first, second) = (first?, second?);
    let mut by = |x: &Value, angle: &Value| b.op("Mul", &[x, angle], &[]);
    let parts = [by(&first, &cos)?, by(&second, &sin)?, by(&first, &sin)?, by(&second, &cos)?];
    let real = b.op("Sub", &[&parts[0], &parts[1]], &[])?;
    let other = b.op("Add", &[&parts[2], &parts[3]], &[])?;
    let mut y = match neighbours {
        true => side_by_side(b, [&real, &other])?,
        false => concat(b, &[real, other], -1)?,
    };
    if turned < wide {
        let rest = cut(b, &x, [turned, wide, 1])?;
        y = concat(b, &[y, rest], -1)?;
    }
    let y = match given.len() {
        3 => reshape(b, &y, &given)?,
        _ => swapped(b, &y)?,
    };
    name(b, node, 0, &y)?;
    Ok(())
}

fn wrong(name: &'static str, value: i64) -> Stop {
    Reason::Attribute { name, value: value.to_string() }.into()
}

/// Places and heads change places.
fn swapped(b: &mut Builder, x: &Value) -> Result<Value, InferError> {
    b.op("Transpose", &[x], &[("perm", Attr::Ints(vec![0, 2, 1, 3]))])
}

/// Cosines or sines `[n, L, 1, e/2]`: given for every place, or picked by its number.
fn angles(b: &mut Builder, node: &NodeProto, index: usize) -> Result<Value, Stop> {
    let mut angles = input(node, index)?;
    if let Some(places) = node.input_name(3).map(Value::named) {
        angles = b.op("Gather", &[&angles, &places], &[("axis", Attr::Int(0))])?;
    }
    let axis = b.i64s(&[2]);
    Ok(b.op("Unsqueeze", &[&angles, &axis], &[])?)
}

/// Values of the last axis, from the first to before the end by a step.
fn cut(b: &mut Builder, x: &Value, places: [usize; 3]) -> Result<Value, InferError> {
    let [first, end, step] = places.map(|place| b.i64s(&[place as i64]));
    let axis = b.i64s(&[-1]);
    b.op("Slice", &[x, &first, &end, &axis, &step], &[])
}

/// Values of two tensors in turn along the last axis.
fn side_by_side(b: &mut Builder, both: [&Value; 2]) -> Result<Value, InferError> {
    let mut dims = b.ty(both[0]).dims.clone();
    let axis = b.i64s(&[-1]);
    let [first, second] = both.map(|x| b.op("Unsqueeze", &[x, &axis], &[]));
    let pairs = concat(b, &[first?, second?], -1)?;
    if let Some(last) = dims.last_mut() {
        *last *= 2;
    }
    reshape(b, &pairs, &dims)
}
