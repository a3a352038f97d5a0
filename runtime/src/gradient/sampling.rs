//! Writes `GridSample` as what it computes: places, the values beside them, and a weighted sum.
//!
//! ```text
//! place = ((g + 1)·length − 1)/2      or (g + 1)·(length − 1)/2 with align_corners
//! y     = Σ over corners  Π over axes (1 − |place − corner|) · x[corner]
//! ```
//! What is outside is zero, the border, or reflected at it. By the nearest value the grid has no gradient: it is 0 wherever it
//! is defined.
//! # Source
//! ONNX `GridSample`; Jaderberg et al., Spatial transformer networks (arXiv 1506.02025), equations 5 to 7. The last of a grid's
//! coordinates is that of the first axis of space.

use crate::onnx::proto::NodeProto;
use crate::onnx::{Attr, Builder, Element, InferError, Tensor, Value};

use super::Reason;
use super::expand::{Stop, name};
use super::recurrent::reshape;

type Made = Result<Value, InferError>;

/// What is read outside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outside {
    Zero,
    Border,
    Reflected,
}

/// The places along one axis.
struct Axis {
    length: usize,
    /// `[batch, places]`, from 0 to length − 1 inside.
    place: Value,
}

/// One of the values beside every place, along one axis.
#[derive(Clone)]
struct Beside {
    /// `[batch, places]`, int64.
    index: Value,
    /// `[batch, places]`; `None`: 1.
    weight: Option<Value>,
}

pub(super) fn write(b: &mut Builder, node: &NodeProto) -> Result<(), Stop> {
    let input = |index| node.input_name(index).map(Value::named).ok_or(Reason::Missing { index });
    let (x, grid) = (input(0)?, input(1)?);
    let other = |name: &'static str, value: &str| Reason::Attribute { name, value: value.into() };
    let is_linear = match node.text("mode", "linear") {
        "linear" | "bilinear" => true,
        "nearest" => false,
        mode => return Err(other("mode", mode).into()),
    };
    let outside = match node.text("padding_mode", "zeros") {
        "zeros" => Outside::Zero,
        "border" => Outside::Border,
        "reflection" => Outside::Reflected,
        mode => return Err(other("padding_mode", mode).into()),
    };
    let (dims, to) = (b.ty(&x).dims.clone(), b.ty(&grid).dims.clone());
    let ([batch, channels, space @ ..], [_, to @ .., _]) = (dims.as_slice(), to.as_slice()) else {
        return Err(other("mode", "of no space").into());
    };
    let places: usize = to.iter().product();
    let aligned = node.int("align_corners", 0) != 0;
    let mut corners: Vec<Vec<Beside>> = vec![Vec::new()];
    for (at, &length) in space.iter().enumerate() {
        let coordinate = b.i64_scalar((space.len() - 1 - at) as i64);
        let place = b.op("Gather", &[&grid, &coordinate], &[("axis", Attr::Int(-1))])?;
        let place = reshape(b, &place, &[*batch, places])?;
        let place = inside(b, &place, length, aligned, outside)?;
        let axis = Axis { length, place };
        let beside = beside(b, &axis, is_linear, outside)?;
        corners = corners
            .into_iter()
            .flat_map(|corner| beside.iter().map(move |last| (corner.clone(), last)))
            .map(|(mut corner, last)| {
                corner.push(last.clone());
                corner
            })
            .collect();
    }
    let flat = reshape(b, &x, &[*batch, *channels, space.iter().product()])?;
    let mut sum: Option<Value> = None;
    for corner in &corners {
        let value = read(b, &flat, space, corner, places)?;
        sum = Some(match sum {
            Some(sum) => b.op("Add", &[&sum, &value], &[])?,
            None => value,
        });
    }
    let sum = sum.ok_or_else(|| other("mode", "of no space"))?;
    let y = reshape(b, &sum, &[&[*batch, *channels], to].concat())?;
    name(b, node, 0, &y)?;
    Ok(())
}

fn scalar(b: &mut Builder, like: &Value, value: f64) -> Value {
    let element = b.ty(like).element;
    b.constant_of(&Tensor::from_f64s(element, &[], &[value]))
}

/// `factor·x + shift`.
fn line(b: &mut Builder, x: &Value, factor: f64, shift: f64) -> Made {
    let (factor, shift) = (scalar(b, x, factor), scalar(b, x, shift));
    let product = b.op("Mul", &[x, &factor], &[])?;
    b.op("Add", &[&product, &shift], &[])
}

/// Coordinates from −1 to 1 as places, brought inside where what is outside is not zero.
fn inside(
    b: &mut Builder,
    coordinate: &Value,
    length: usize,
    aligned: bool,
    outside: Outside,
) -> Made {
    let long = length as f64;
    let last = long - 1.0;
    let place = match aligned {
        true => line(b, coordinate, last / 2.0, last / 2.0)?,
        false => line(b, coordinate, long / 2.0, last / 2.0)?,
    };
    let place = match outside {
        Outside::Zero => return Ok(place),
        Outside::Border => place,
        Outside::Reflected if aligned => reflected(b, &place, 0.0, last)?,
        Outside::Reflected => reflected(b, &place, -0.5, long)?,
    };
    let (low, high) = (scalar(b, &place, 0.0), scalar(b, &place, last));
    b.op("Clip", &[&place, &low, &high], &[])
}

/// `low + |x − low|`, folded back and forth on a span.
fn reflected(b: &mut Builder, x: &Value, low: f64, span: f64) -> Made {
    if span == 0.0 {
        return line(b, x, 0.0, 0.0);
    }
    let from = line(b, x, 1.0, -low)?;
    let from = b.op("Abs", &[&from], &[])?;
    let spans = line(b, &from, 1.0 / span, 0.0)?;
    let turns = b.op("Floor", &[&spans], &[])?;
    let whole = line(b, &turns, span, 0.0)?;
    let rest = b.op("Sub", &[&from, &whole], &[])?;
    let pairs = line(b, &turns, 0.5, 0.0)?;
    let pairs = b.op("Floor", &[&pairs], &[])?;
    let pairs = line(b, &pairs, 2.0, 0.0)?;
    let odd = b.op("Sub", &[&turns, &pairs], &[])?;
    // rest after an even number of turns, span − rest after an odd one.
    let back = line(b, &rest, -2.0, span)?;
    let back = b.op("Mul", &[&odd, &back], &[])?;
    let place = b.op("Add", &[&rest, &back], &[])?;
    line(b, &place, 1.0, low)
}

/// The values beside every place: the nearest, or one below and one above.
fn beside(
    b: &mut Builder,
    axis: &Axis,
    is_linear: bool,
    outside: Outside,
) -> Result<Vec<Beside>, InferError> {
    if !is_linear {
        let nearest = b.op("Round", &[&axis.place], &[])?;
        return Ok(vec![one(b, axis, &nearest, None, outside)?]);
    }
    let below = b.op("Floor", &[&axis.place], &[])?;
    let above = line(b, &below, 1.0, 1.0)?;
    let of_above = b.op("Sub", &[&axis.place, &below], &[])?;
    let of_below = line(b, &of_above, -1.0, 1.0)?;
    Ok(vec![
        one(b, axis, &below, Some(of_below), outside)?,
        one(b, axis, &above, Some(of_above), outside)?,
    ])
}

fn one(
    b: &mut Builder,
    axis: &Axis,
    place: &Value,
    weight: Option<Value>,
    outside: Outside,
) -> Result<Beside, InferError> {
    let (low, high) = (scalar(b, place, 0.0), scalar(b, place, axis.length as f64 - 1.0));
    let held = b.op("Clip", &[place, &low, &high], &[])?;
    let index = b.op("Cast", &[&held], &[("to", Attr::Int(i64::from(Element::I64.to_onnx())))])?;
    if outside != Outside::Zero {
        return Ok(Beside { index, weight });
    }
    let is_inside = b.op("Equal", &[place, &held], &[])?;
    let to = i64::from(b.ty(place).element.to_onnx());
    let counts = b.op("Cast", &[&is_inside], &[("to", Attr::Int(to))])?;
    let weight = match weight {
        Some(weight) => b.op("Mul", &[&weight, &counts], &[])?,
        None => counts,
    };
    Ok(Beside { index, weight: Some(weight) })
}

/// The weighted values of one corner, `[batch, channels, places]`.
fn read(
    b: &mut Builder,
    flat: &Value,
    space: &[usize],
    corner: &[Beside],
    places: usize,
) -> Result<Value, InferError> {
    let [batch, channels, _] = b.ty(flat).dims[..] else { return Ok(flat.clone()) };
    let mut index: Option<Value> = None;
    let mut weight: Option<Value> = None;
    for (beside, &length) in corner.iter().zip(space) {
        index = Some(match index {
            Some(index) => {
                let length = b.i64_scalar(length as i64);
                let rows = b.op("Mul", &[&index, &length], &[])?;
                b.op("Add", &[&rows, &beside.index], &[])?
            }
            None => beside.index.clone(),
        });
        weight = match (weight, &beside.weight) {
            (Some(weight), Some(other)) => Some(b.op("Mul", &[&weight, other], &[])?),
            (weight, other) => weight.or_else(|| other.clone()),
        };
    }
    let Some(index) = index else { return Ok(flat.clone()) };
    let index = reshape(b, &index, &[batch, 1, places])?;
    let all = b.i64s(&[batch, channels, places].map(|length| length as i64));
    let index = b.op("Expand", &[&index, &all], &[])?;
    let value = b.op("GatherElements", &[flat, &index], &[("axis", Attr::Int(2))])?;
    match weight {
        Some(weight) => {
            let weight = reshape(b, &weight, &[batch, 1, places])?;
            b.op("Mul", &[&value, &weight], &[])
        }
        None => Ok(value),
    }
}
