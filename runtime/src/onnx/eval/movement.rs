//! Operators that move values: any element type, no arithmetic.

use super::{broadcast_strides, offsets, strides};
use crate::onnx::infer::layout;
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::{Data, Element, Tensor, TensorType, map_data};

pub(super) const OPERATORS: &[&str] = &[
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "NonZero",
    "Pad",
    "Range",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
];

pub(super) fn eval(
    node: &NodeProto,
    inputs: &[Option<Tensor>],
    types: &[TensorType],
) -> Option<Vec<Tensor>> {
    let input = |i: usize| inputs.get(i)?.as_ref();
    let dims = &types.first()?.dims;
    let data = match node.op_type() {
        "Constant" => layout::constant_value(node).ok()?.data,
        "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => input(0)?.data.clone(),
        "Transpose" => transpose(node, input(0)?, dims)?,
        "Expand" => {
            let x = input(0)?;
            pick(&x.data, &offsets(dims, &broadcast_strides(&x.dims, dims), 0))?
        }
        "Slice" => slice(node, inputs, dims)?,
        "Tile" => tile(input(0)?, dims)?,
        "NonZero" => non_zero(input(0)?),
        "Gather" => gather(node, input(0)?, input(1)?)?,
        "Concat" => concat(node, inputs, dims)?,
        "Split" => return split(node, input(0)?, types),
        "Where" => choose(input(0)?, input(1)?, input(2)?, dims)?,
        "Range" => range(input(0)?, input(2)?, dims)?,
        "ConstantOfShape" => constant_of_shape(node, dims)?,
        "Pad" => pad(node, inputs, dims)?,
        "Trilu" => trilu(node, inputs, dims)?,
        _ => return None,
    };
    let values: usize = dims.iter().product();
    (data.len() == values).then(|| vec![Tensor { dims: dims.clone(), data }])
}

/// The values at these places, or `None` if one is past the end.
fn pick(data: &Data, places: &[usize]) -> Option<Data> {
    Some(map_data!(data, v => {
        places.iter().map(|&i| v.get(i).copied()).collect::<Option<Vec<_>>>()?
    }))
}

fn transpose(node: &NodeProto, x: &Tensor, dims: &[usize]) -> Option<Data> {
    let perm = layout::permutation(node, x.dims.len()).ok()?;
    let own = strides(&x.dims);
    let turned: Vec<isize> = perm.iter().map(|&a| own[a]).collect();
    pick(&x.data, &offsets(dims, &turned, 0))
}

fn slice(node: &NodeProto, inputs: &[Option<Tensor>], dims: &[usize]) -> Option<Data> {
    let x = inputs.first()?.as_ref()?;
    let constant = |index: usize| {
        let missing = crate::onnx::InferWhy::NotConstant { index };
        inputs.get(index).and_then(|t| t.as_ref()?.to_i64s()).ok_or(missing)
    };
    let cuts = layout::slice_cuts(node, &x.dims, &constant).ok()?;
    let own = strides(&x.dims);
    let first: isize = cuts.iter().zip(&own).map(|(c, s)| c.first as isize * s).sum();
    let steps: Vec<isize> = cuts
        .iter()
        .zip(&own)
        // The step between values that are not read never matters, however large.
        .map(|(c, s)| if c.count > 1 { c.step as isize * s } else { 0 })
        .collect();
    pick(&x.data, &offsets(dims, &steps, first))
}

/// The values at the places that `place` gives for every coordinate of a tensor of dimensions `dims`.
fn by_coordinate(data: &Data, dims: &[usize], place: impl Fn(&[usize]) -> usize) -> Option<Data> {
    let count: usize = dims.iter().product();
    let mut places = Vec::with_capacity(count);
    let mut at = vec![0; dims.len()];
    for _ in 0..count {
        places.push(place(&at));
        for axis in (0..dims.len()).rev() {
            at[axis] += 1;
            if at[axis] < dims[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    pick(data, &places)
}

/// By axis: where the values are that are not zero.
fn non_zero(x: &Tensor) -> Data {
    let places = x.to_f64s().into_iter().enumerate().filter(|(_at, value)| *value != 0.0);
    let places: Vec<usize> = places.map(|(at, _value)| at).collect();
    let strides = strides(&x.dims);
    let along = |axis: usize| {
        let (stride, length) = (strides[axis] as usize, x.dims[axis]);
        places.iter().map(move |at| (at / stride % length) as i64)
    };
    Data::I64((0..x.dims.len()).flat_map(along).collect())
}

fn tile(x: &Tensor, dims: &[usize]) -> Option<Data> {
    let own = strides(&x.dims);
    by_coordinate(&x.data, dims, |at| {
        at.iter().zip(&x.dims).zip(&own).map(|((&i, &d), &s)| i % d * s as usize).sum()
    })
}

fn gather(node: &NodeProto, x: &Tensor, indices: &Tensor) -> Option<Data> {
    let rank = x.dims.len() as i64;
    let axis = node.int("axis", 0);
    let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()?;
    let length = *x.dims.get(axis)?;
    let inner: usize = x.dims[axis + 1..].iter().product();
    let outer: usize = x.dims[..axis].iter().product();
    let rows: Vec<usize> = indices
        .to_i64s()?
        .into_iter()
        .map(|i| {
            let i = if i < 0 { i.checked_add(length as i64)? } else { i };
            usize::try_from(i).ok().filter(|&i| i < length)
        })
        .collect::<Option<_>>()?;
    let mut places = Vec::with_capacity(outer * rows.len() * inner);
    for o in 0..outer {
        for &row in &rows {
            let first = (o * length + row) * inner;
            places.extend(first..first + inner);
        }
    }
    pick(&x.data, &places)
}

fn concat(node: &NodeProto, inputs: &[Option<Tensor>], dims: &[usize]) -> Option<Data> {
    let parts: Vec<&Tensor> = inputs.iter().map(Option::as_ref).collect::<Option<_>>()?;
    let axis = node.int("axis", 1);
    let axis = usize::try_from(if axis < 0 { axis + dims.len() as i64 } else { axis }).ok()?;
    let outer: usize = dims.get(..axis)?.iter().product();
    let mut bytes = Vec::new();
    for o in 0..outer {
        for part in &parts {
            let run = part.data.len() / outer.max(1);
            let places: Vec<usize> = (o * run..(o + 1) * run).collect();
            bytes.push(pick(&part.data, &places)?);
        }
    }
    join(&bytes, parts.first()?.data.element())
}

/// One run of values out of several of the same element.
fn join(parts: &[Data], element: Element) -> Option<Data> {
    let mut bytes = Vec::new();
    let mut count = 0;
    for part in parts {
        if part.element() != element {
            return None;
        }
        count += part.len();
        bytes.extend(Tensor { dims: vec![part.len()], data: part.clone() }.to_le_bytes());
    }
    Tensor::from_le_bytes(element, &[count], &bytes).map(|t| t.data)
}

fn split(node: &NodeProto, x: &Tensor, types: &[TensorType]) -> Option<Vec<Tensor>> {
    let axis = node.int("axis", 0);
    let axis = usize::try_from(if axis < 0 { axis + x.dims.len() as i64 } else { axis }).ok()?;
    let own = strides(&x.dims);
    let mut first = 0;
    types
        .iter()
        .map(|ty| {
            let data = pick(&x.data, &offsets(&ty.dims, &own, first as isize))?;
            first += ty.dims[axis] * own[axis] as usize;
            Some(Tensor { dims: ty.dims.clone(), data })
        })
        .collect()
}

fn choose(condition: &Tensor, x: &Tensor, y: &Tensor, dims: &[usize]) -> Option<Data> {
    let Data::Bool(condition_values) = &condition.data else { return None };
    let at = |t: &Tensor| offsets(dims, &broadcast_strides(&t.dims, dims), 0);
    let (c, xs, ys) = (at(condition), at(x), at(y));
    let both = join(&[x.data.clone(), y.data.clone()], x.data.element())?;
    let places: Vec<usize> = (0..c.len())
        .map(|i| if condition_values[c[i]] { xs[i] } else { x.data.len() + ys[i] })
        .collect();
    pick(&both, &places)
}

fn range(start: &Tensor, delta: &Tensor, dims: &[usize]) -> Option<Data> {
    let count = *dims.first()?;
    match (&start.data, &delta.data) {
        (Data::F32(s), Data::F32(d)) => {
            let (s, d) = (*s.first()?, *d.first()?);
            Some(Data::F32((0..count).map(|i| s + i as f32 * d).collect()))
        }
        (Data::I64(s), Data::I64(d)) => {
            let (s, d) = (*s.first()?, *d.first()?);
            let at = |i: usize| s.wrapping_add((i as i64).wrapping_mul(d));
            Some(Data::I64((0..count).map(at).collect()))
        }
        (Data::I32(s), Data::I32(d)) => {
            let (s, d) = (*s.first()?, *d.first()?);
            let at = |i: usize| s.wrapping_add((i as i32).wrapping_mul(d));
            Some(Data::I32((0..count).map(at).collect()))
        }
        _ => None,
    }
}

fn constant_of_shape(node: &NodeProto, dims: &[usize]) -> Option<Data> {
    let value = match node.attr("value").and_then(|a| a.t.as_deref()) {
        Some(t) => Tensor::from_proto(t).ok()?.data,
        None => Data::F32(vec![0.0]),
    };
    pick(&value, &vec![0; dims.iter().product()])
}

fn pad(node: &NodeProto, inputs: &[Option<Tensor>], dims: &[usize]) -> Option<Data> {
    if node.text("mode", "constant") != "constant" {
        return None;
    }
    let x = inputs.first()?.as_ref()?;
    let constant = |index: usize| {
        let missing = crate::onnx::InferWhy::NotConstant { index };
        inputs.get(index).and_then(|t| t.as_ref()?.to_i64s()).ok_or(missing)
    };
    let amounts = layout::pad_amounts(node, x.dims.len(), &constant).ok()?;
    let element = x.data.element();
    let fill = match inputs.get(2).and_then(Option::as_ref) {
        Some(t) => t.data.clone(),
        None => Tensor::from_le_bytes(element, &[1], &vec![0; element.bytes()]).map(|t| t.data)?,
    };
    // The fill value stands behind the values.
    let both = join(&[x.data.clone(), fill], element)?;
    let own = strides(&x.dims);
    by_coordinate(&both, dims, |at| {
        let mut place = 0;
        for axis in 0..dims.len() {
            let i = at[axis] as i64 - amounts[axis].0;
            match usize::try_from(i).ok().filter(|&i| i < x.dims[axis]) {
                Some(i) => place += i * own[axis] as usize,
                None => return x.data.len(),
            }
        }
        place
    })
}

fn trilu(node: &NodeProto, inputs: &[Option<Tensor>], dims: &[usize]) -> Option<Data> {
    let x = inputs.first()?.as_ref()?;
    let shift = match inputs.get(1).and_then(Option::as_ref) {
        Some(k) => *k.to_i64s()?.first()?,
        None => 0,
    };
    let upper = node.int("upper", 1) != 0;
    let element = x.data.element();
    let zero = Tensor::from_le_bytes(element, &[1], &vec![0; element.bytes()])?.data;
    let both = join(&[x.data.clone(), zero], element)?;
    let (&columns, &rows) = (dims.last()?, dims.get(dims.len().checked_sub(2)?)?);
    let places: Vec<usize> = (0..x.data.len())
        .map(|flat| {
            let (row, column) = ((flat / columns % rows) as i64, (flat % columns) as i64);
            let diagonal = row.saturating_add(shift);
            let kept = if upper { column >= diagonal } else { column <= diagonal };
            if kept { flat } else { x.data.len() }
        })
        .collect();
    pick(&both, &places)
}
