//! Arithmetic, comparisons and reductions on constants.

use half::{bf16, f16};

use super::{broadcast_strides, offsets, strides};
use crate::onnx::infer::reduce;
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::{Data, Element, Tensor, TensorType};

pub(super) const OPERATORS: &[&str] = &[
    "Abs",
    "Add",
    "And",
    "Cast",
    "Ceil",
    "Clip",
    "Cos",
    "Div",
    "Equal",
    "Exp",
    "Floor",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Log",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "Pow",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Round",
    "Sign",
    "Sin",
    "Sqrt",
    "Sub",
    "Xor",
];

pub(super) fn eval(
    node: &NodeProto,
    inputs: &[Option<Tensor>],
    types: &[TensorType],
) -> Option<Vec<Tensor>> {
    let ty = types.first()?;
    let op = node.op_type();
    let x = inputs.first()?.as_ref()?;
    let numbers = match op {
        "Cast" => cast(Numbers::of(&x.data)?, ty.element),
        "Abs" | "Ceil" | "Cos" | "Exp" | "Floor" | "Log" | "Neg" | "Not" | "Reciprocal"
        | "Relu" | "Round" | "Sign" | "Sin" | "Sqrt" => unary(op, Numbers::of(&x.data)?)?,
        "Clip" => {
            let mut clipped = Numbers::of(&x.data)?;
            for (bound, op) in ["Max", "Min"].into_iter().enumerate() {
                if let Some(bound) = bound_of(node, inputs, bound) {
                    clipped = binary(op, node, clipped, spread(&bound, &ty.dims)?)?;
                }
            }
            clipped
        }
        "Max" | "Min" => {
            let mut all = inputs.iter();
            let mut folded = spread(all.next()?.as_ref()?, &ty.dims)?;
            for other in all {
                folded = binary(op, node, folded, spread(other.as_ref()?, &ty.dims)?)?;
            }
            folded
        }
        "Add" | "And" | "Div" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual"
        | "Mod" | "Mul" | "Or" | "Pow" | "Sub" | "Xor" => {
            let (a, b) = (spread(x, &ty.dims)?, spread(inputs.get(1)?.as_ref()?, &ty.dims)?);
            binary(op, node, a, b)?
        }
        "ReduceL1" | "ReduceL2" | "ReduceMax" | "ReduceMean" | "ReduceMin" | "ReduceProd"
        | "ReduceSum" | "ReduceSumSquare" => fold_axes(op, node, inputs, ty)?,
        _ => return None,
    };
    let data = numbers.into_data(ty.element);
    (data.len() == ty.values()).then(|| vec![Tensor { dims: ty.dims.clone(), data }])
}

/// The lower or upper bound of a Clip: an attribute in older operator sets, an input in newer ones.
fn bound_of(node: &NodeProto, inputs: &[Option<Tensor>], which: usize) -> Option<Tensor> {
    let attribute = || {
        let bound = node.attr(["min", "max"][which])?.float()?;
        Some(Tensor::f32(&[], &[bound]))
    };
    let input = inputs.get(which + 1).cloned().flatten();
    // Some files give it an axis.
    let input = input.filter(|bound| bound.data.len() == 1);
    input.map(|bound| Tensor { dims: Vec::new(), ..bound }).or_else(attribute)
}

/// Values widened for computing: floats, or integers and bools.
enum Numbers {
    Floats(Vec<f64>),
    Ints(Vec<i64>),
}

impl Numbers {
    fn of(data: &Data) -> Option<Numbers> {
        let tensor = |data: &Data| Tensor { dims: vec![data.len()], data: data.clone() };
        if data.element().is_float() {
            return Some(Numbers::Floats(tensor(data).to_f64s()));
        }
        tensor(data).to_i64s().map(Numbers::Ints)
    }

    /// Rounds floats to `element`; integers keep their low bits.
    fn into_data(self, element: Element) -> Data {
        match self {
            Numbers::Floats(v) => match element {
                Element::F32 => Data::F32(v.into_iter().map(|x| x as f32).collect()),
                Element::F64 => Data::F64(v),
                Element::F16 => Data::F16(v.into_iter().map(f16::from_f64).collect()),
                Element::Bf16 => Data::Bf16(v.into_iter().map(bf16::from_f64).collect()),
                Element::I64
                | Element::I32
                | Element::I16
                | Element::I8
                | Element::U64
                | Element::U32
                | Element::U16
                | Element::U8
                | Element::Bool => {
                    Numbers::Ints(v.into_iter().map(|x| x as i64).collect()).into_data(element)
                }
            },
            Numbers::Ints(v) => match element {
                Element::I64 => Data::I64(v),
                Element::I32 => Data::I32(v.into_iter().map(|x| x as i32).collect()),
                Element::I16 => Data::I16(v.into_iter().map(|x| x as i16).collect()),
                Element::I8 => Data::I8(v.into_iter().map(|x| x as i8).collect()),
                Element::U64 => Data::U64(v.into_iter().map(|x| x as u64).collect()),
                Element::U32 => Data::U32(v.into_iter().map(|x| x as u32).collect()),
                Element::U16 => Data::U16(v.into_iter().map(|x| x as u16).collect()),
                Element::U8 => Data::U8(v.into_iter().map(|x| x as u8).collect()),
                Element::Bool => Data::Bool(v.into_iter().map(|x| x != 0).collect()),
                Element::F32 | Element::F64 | Element::F16 | Element::Bf16 => {
                    Numbers::Floats(v.into_iter().map(|x| x as f64).collect()).into_data(element)
                }
            },
        }
    }
}

fn cast(x: Numbers, to: Element) -> Numbers {
    match (x, to) {
        // A float is true when it is not zero, however small.
        (Numbers::Floats(v), Element::Bool) => {
            Numbers::Ints(v.into_iter().map(|x| i64::from(x != 0.0)).collect())
        }
        (x, _) => x,
    }
}

/// The values of `t`, repeated to `dims`.
fn spread(t: &Tensor, dims: &[usize]) -> Option<Numbers> {
    let places = offsets(dims, &broadcast_strides(&t.dims, dims), 0);
    Some(match Numbers::of(&t.data)? {
        Numbers::Floats(v) => Numbers::Floats(places.into_iter().map(|i| v[i]).collect()),
        Numbers::Ints(v) => Numbers::Ints(places.into_iter().map(|i| v[i]).collect()),
    })
}

fn unary(op: &str, x: Numbers) -> Option<Numbers> {
    match x {
        Numbers::Floats(v) => {
            let f: fn(f64) -> f64 = match op {
                "Abs" => f64::abs,
                "Ceil" => f64::ceil,
                "Cos" => libm::cos,
                "Exp" => libm::exp,
                "Floor" => f64::floor,
                "Log" => libm::log,
                "Neg" => |x| -x,
                "Reciprocal" => |x| 1.0 / x,
                "Relu" => |x| if x < 0.0 { 0.0 } else { x },
                "Round" => f64::round_ties_even,
                "Sign" => |x| if x == 0.0 || x.is_nan() { x } else { x.signum() },
                "Sin" => libm::sin,
                "Sqrt" => f64::sqrt,
                _ => return None,
            };
            Some(Numbers::Floats(v.into_iter().map(f).collect()))
        }
        Numbers::Ints(v) => {
            let f: fn(i64) -> i64 = match op {
                "Abs" => i64::wrapping_abs,
                "Neg" => i64::wrapping_neg,
                "Not" => |x| i64::from(x == 0),
                "Relu" => |x| x.max(0),
                "Sign" => i64::signum,
                _ => return None,
            };
            Some(Numbers::Ints(v.into_iter().map(f).collect()))
        }
    }
}

fn binary(op: &str, node: &NodeProto, a: Numbers, b: Numbers) -> Option<Numbers> {
    let fmod = node.int("fmod", 0) != 0;
    match (a, b) {
        (Numbers::Floats(a), Numbers::Floats(b)) => floats(op, fmod, &a, &b),
        (Numbers::Ints(a), Numbers::Ints(b)) => ints(op, fmod, &a, &b),
        // Only Pow takes two types.
        (Numbers::Floats(a), Numbers::Ints(b)) => {
            floats(op, fmod, &a, &b.iter().map(|&x| x as f64).collect::<Vec<_>>())
        }
        (Numbers::Ints(a), Numbers::Floats(b)) => {
            floats(op, fmod, &a.iter().map(|&x| x as f64).collect::<Vec<_>>(), &b)
        }
    }
}

fn floats(op: &str, fmod: bool, a: &[f64], b: &[f64]) -> Option<Numbers> {
    let pairs = || a.iter().copied().zip(b.iter().copied());
    let compare = |f: fn(f64, f64) -> bool| {
        Some(Numbers::Ints(pairs().map(|(x, y)| i64::from(f(x, y))).collect()))
    };
    let f: fn(f64, f64) -> f64 = match op {
        "Add" => |x, y| x + y,
        "Sub" => |x, y| x - y,
        "Mul" => |x, y| x * y,
        "Div" => |x, y| x / y,
        "Mod" if fmod => |x, y| x % y,
        "Mod" => |x, y| {
            // The sign of the divisor, as in Python.
            let r = x % y;
            if r != 0.0 && (r < 0.0) != (y < 0.0) { r + y } else { r }
        },
        "Pow" => libm::pow,
        // What is no number stays so, as in ONNX Runtime; `f64::max` would drop it.
        "Max" => |x, y| if x.is_nan() || x > y { x } else { y },
        "Min" => |x, y| if x.is_nan() || x < y { x } else { y },
        "Equal" => return compare(|x, y| x == y),
        "Greater" => return compare(|x, y| x > y),
        "GreaterOrEqual" => return compare(|x, y| x >= y),
        "Less" => return compare(|x, y| x < y),
        "LessOrEqual" => return compare(|x, y| x <= y),
        _ => return None,
    };
    Some(Numbers::Floats(pairs().map(|(x, y)| f(x, y)).collect()))
}

fn ints(op: &str, fmod: bool, a: &[i64], b: &[i64]) -> Option<Numbers> {
    let divides = matches!(op, "Div" | "Mod");
    if divides && b.contains(&0) {
        return None;
    }
    let f: fn(i64, i64) -> i64 = match op {
        "Add" => i64::wrapping_add,
        "Sub" => i64::wrapping_sub,
        "Mul" => i64::wrapping_mul,
        "Div" => i64::wrapping_div,
        "Mod" if fmod => i64::wrapping_rem,
        "Mod" => |x, y| {
            // The sign of the divisor, as in Python.
            let r = x.wrapping_rem(y);
            if r != 0 && (r < 0) != (y < 0) { r + y } else { r }
        },
        "Pow" => |x, y| libm::pow(x as f64, y as f64) as i64,
        "Max" => i64::max,
        "Min" => i64::min,
        "Equal" => |x, y| i64::from(x == y),
        "Greater" => |x, y| i64::from(x > y),
        "GreaterOrEqual" => |x, y| i64::from(x >= y),
        "Less" => |x, y| i64::from(x < y),
        "LessOrEqual" => |x, y| i64::from(x <= y),
        "And" => |x, y| i64::from(x != 0 && y != 0),
        "Or" => |x, y| i64::from(x != 0 || y != 0),
        "Xor" => |x, y| i64::from((x != 0) != (y != 0)),
        _ => return None,
    };
    Some(Numbers::Ints(a.iter().zip(b).map(|(&x, &y)| f(x, y)).collect()))
}

fn fold_axes(
    op: &str,
    node: &NodeProto,
    inputs: &[Option<Tensor>],
    ty: &TensorType,
) -> Option<Numbers> {
    let x = inputs.first()?.as_ref()?;
    let given = match node.ints("axes") {
        Some(axes) => Some(axes.to_vec()),
        None => match inputs.get(1).and_then(Option::as_ref) {
            Some(t) => Some(t.to_i64s()?),
            None => None,
        },
    };
    let axes = reduce::reduce_axes(node, x.dims.len(), given.as_deref()).ok()?;
    let kept = reduce::reduced(&x.dims, &axes, true);
    // For each value of x, which of the results it goes into.
    let mut into = strides(&kept);
    axes.iter().for_each(|&a| into[a] = 0);
    let places = offsets(&x.dims, &into, 0);
    let groups = ty.values();
    let size = x.data.len().checked_div(groups)?;
    if size == 0 {
        return None;
    }
    match Numbers::of(&x.data)? {
        Numbers::Floats(v) => {
            let (start, f): (f64, fn(f64, f64) -> f64) = match op {
                "ReduceMax" => (f64::NEG_INFINITY, f64::max),
                "ReduceMin" => (f64::INFINITY, f64::min),
                "ReduceProd" => (1.0, |x, y| x * y),
                "ReduceL1" => (0.0, |x, y| x + y.abs()),
                "ReduceL2" | "ReduceSumSquare" => (0.0, |x, y| x + y * y),
                _ => (0.0, |x, y| x + y),
            };
            let mut out = vec![start; groups];
            places.iter().zip(&v).for_each(|(&i, &x)| out[i] = f(out[i], x));
            match op {
                "ReduceMean" => out.iter_mut().for_each(|x| *x /= size as f64),
                "ReduceL2" => out.iter_mut().for_each(|x| *x = x.sqrt()),
                _ => {}
            }
            Some(Numbers::Floats(out))
        }
        Numbers::Ints(v) => {
            let (start, f): (i64, fn(i64, i64) -> i64) = match op {
                "ReduceMax" => (i64::MIN, i64::max),
                "ReduceMin" => (i64::MAX, i64::min),
                "ReduceProd" => (1, i64::wrapping_mul),
                "ReduceSum" => (0, i64::wrapping_add),
                _ => return None,
            };
            let mut out = vec![start; groups];
            places.iter().zip(&v).for_each(|(&i, &x)| out[i] = f(out[i], x));
            Some(Numbers::Ints(out))
        }
    }
}
