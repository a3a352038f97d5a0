//! Writes `LpPool` and `GlobalLpPool` as what they compute.
//!
//! ```text
//! y = (Σ |x|ᵖ)^(1/p)     the sum over a window, where pads count as 0, or over all places of a channel
//! ```
//! The sum over windows is a convolution with a kernel of ones, each channel a picture of its own. A sum of 0 has no slope
//! for p above 1: the root passes it by, and the gradient there is 0.
//! # Source
//! ONNX `LpPool`, `GlobalLpPool`; at 0 as PyTorch's `vector_norm`.

use crate::onnx::infer::Window;
use crate::onnx::proto::NodeProto;
use crate::onnx::{Attr, Builder, InferError, Tensor, TensorType, Value};

use super::expand::{Stop, name};
use super::recurrent::reshape;
use super::{Reason, stored};

pub(super) fn write(b: &mut Builder, node: &NodeProto) -> Result<(), Stop> {
    let x = node.input_name(0).map(Value::named).ok_or(Reason::Missing { index: 0 })?;
    let p = node.int("p", 2);
    if p < 1 {
        return Err(Reason::Attribute { name: "p", value: p.to_string() }.into());
    }
    let ty = b.ty(&x).clone();
    let powers = power(b, &x, p)?;
    let sums = if node.is("LpPool") {
        over_windows(b, node, &powers, &ty)?
    } else {
        let places: Vec<i64> = (2..ty.dims.len() as i64).collect();
        // Without axes an operator folds all of them.
        if places.is_empty() { powers } else { b.reduce("ReduceSum", &powers, &places, true)? }
    };
    let y = root(b, &sums, p)?;
    name(b, node, 0, &y)?;
    Ok(())
}

fn constant(b: &mut Builder, like: &Value, value: f64) -> Value {
    let element = b.ty(like).element;
    b.constant_of(&Tensor::from_f64s(element, &[], &[value]))
}

/// `|x|ᵖ`.
fn power(b: &mut Builder, x: &Value, p: i64) -> Result<Value, InferError> {
    if p == 2 {
        return b.op("Mul", &[x, x], &[]);
    }
    let size = b.op("Abs", &[x], &[])?;
    if p == 1 {
        return Ok(size);
    }
    let exponent = constant(b, x, p as f64);
    b.op("Pow", &[&size, &exponent], &[])
}

/// The sums of what each window reads.
fn over_windows(
    b: &mut Builder,
    node: &NodeProto,
    powers: &Value,
    ty: &TensorType,
) -> Result<Value, Stop> {
    let wrong = || Reason::Attribute { name: "kernel_shape", value: format!("of {ty}") };
    let [batch, channels, space @ ..] = ty.dims.as_slice() else { return Err(wrong().into()) };
    let kernel = node.ints("kernel_shape").unwrap_or_default().iter();
    let kernel: Vec<usize> =
        kernel.map(|&k| usize::try_from(k)).collect::<Result<_, _>>().map_err(|_| wrong())?;
    let window =
        Window::of(node, space, &kernel).map_err(|why| Reason::Infer { why: why.to_string() })?;
    let auto = node.text("auto_pad", "NOTSET");
    if auto.starts_with("SAME") && window.dilations.iter().any(|&dilation| dilation != 1) {
        // ONNX Runtime 1.31.1 pads as if the kernel had no gaps, and gives other dimensions than the standard says.
        let value = format!("{auto} with dilations of {:?}", window.dilations);
        return Err(Reason::Attribute { name: "auto_pad", value }.into());
    }
    // Where the number of windows was rounded up, the last one reads beyond the pads; rounded down, it need not reach them.
    let after = (0..space.len()).map(|axis| {
        let reach = (window.out[axis].max(1) - 1) * window.strides[axis]
            + (kernel[axis] - 1) * window.dilations[axis]
            + 1;
        reach.saturating_sub(window.begin[axis] + space[axis])
    });
    let pads: Vec<usize> = window.begin.iter().copied().chain(after).collect();
    let list = |sizes: &[usize]| Attr::Ints(sizes.iter().map(|&size| size as i64).collect());
    let attrs = [
        ("strides", list(&window.strides)),
        ("dilations", list(&window.dilations)),
        ("pads", list(&pads)),
    ];
    let pictures = reshape(b, powers, &[&[batch * channels, 1], space].concat())?;
    let ones = stored::filled(b, ty.element, &[&[1, 1], &kernel[..]].concat(), 1.0)?;
    let sums = b.op("Conv", &[&pictures, &ones], &attrs)?;
    Ok(reshape(b, &sums, &[&[*batch, *channels], &window.out[..]].concat())?)
}

/// The p-th root, 0 of 0.
fn root(b: &mut Builder, sums: &Value, p: i64) -> Result<Value, InferError> {
    if p == 1 {
        return Ok(sums.clone());
    }
    let (zero, one) = (constant(b, sums, 0.0), constant(b, sums, 1.0));
    let some = b.op("Greater", &[sums, &zero], &[])?;
    let safe = b.op("Where", &[&some, sums, &one], &[])?;
    let root = if p == 2 {
        b.op("Sqrt", &[&safe], &[])?
    } else {
        let exponent = constant(b, sums, 1.0 / p as f64);
        b.op("Pow", &[&safe, &exponent], &[])?
    };
    b.op("Where", &[&some, &root, &zero], &[])
}
