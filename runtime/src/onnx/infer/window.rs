//! Operators that slide a window over space: convolution, pooling, and resizing.

use super::{Ctx, InferWhy, Types, one, shape};
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::{Element, TensorType};

pub(super) fn infer(ctx: &Ctx<'_>, op: &str) -> Option<Types> {
    Some(match op {
        "Conv" => conv(ctx),
        "ConvTranspose" => conv_transpose(ctx),
        "MaxPool" | "AveragePool" | "LpPool" => pool(ctx),
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => global_pool(ctx),
        "Resize" => resize(ctx),
        "Upsample" => upsample(ctx),
        "GridSample" => grid_sample(ctx),
        "Col2Im" => image_of_columns(ctx),
        _ => return None,
    })
}

/// A window over the spatial axes, as one node applies it: `auto_pad` is resolved into `begin` and `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Values the kernel has along each spatial axis.
    pub kernel: Vec<usize>,
    /// Step between two positions of the window.
    pub strides: Vec<usize>,
    /// Step between two values of the kernel.
    pub dilations: Vec<usize>,
    /// Values padded before each axis.
    pub begin: Vec<usize>,
    /// Values padded after each axis.
    pub end: Vec<usize>,
    /// Positions of the window along each axis.
    pub out: Vec<usize>,
}

impl Window {
    /// The window of a Conv or pooling node over an input with these spatial dimensions.
    ///
    /// # Errors
    /// [`InferWhy`] if an attribute does not fit the number of axes, or the window the input.
    pub fn of(node: &NodeProto, space: &[usize], kernel: &[usize]) -> Result<Window, InferWhy> {
        let axes = space.len();
        if kernel.len() != axes || kernel.contains(&0) {
            return Err(InferWhy::Attribute { name: "kernel_shape" });
        }
        let strides = positive(node, "strides", axes)?;
        let dilations = positive(node, "dilations", axes)?;
        let (mut begin, mut end) = pads(node, axes)?;
        let auto = node.text("auto_pad", "NOTSET");
        let ceil = node.int("ceil_mode", 0) != 0;
        let mut out = Vec::with_capacity(axes);
        for i in 0..axes {
            let reach = reach(kernel[i], dilations[i])?;
            if auto.starts_with("SAME") {
                let positions = space[i].div_ceil(strides[i]);
                let pad =
                    (positions.saturating_sub(1) * strides[i] + reach).saturating_sub(space[i]);
                begin[i] = if auto == "SAME_UPPER" { pad / 2 } else { pad - pad / 2 };
                end[i] = pad - begin[i];
                out.push(positions);
                continue;
            }
            if auto == "VALID" {
                (begin[i], end[i]) = (0, 0);
            }
            let Some(room) = (space[i] + begin[i] + end[i]).checked_sub(reach) else {
                return shape(
                    "the window is larger than the input",
                    format!("{kernel:?} on {space:?}"),
                );
            };
            let mut positions =
                if ceil { room.div_ceil(strides[i]) } else { room / strides[i] } + 1;
            // A last window that would start in the padding behind the input is left out.
            if ceil && (positions - 1) * strides[i] >= space[i] + begin[i] {
                positions -= 1;
            }
            out.push(positions);
        }
        Ok(Window { kernel: kernel.to_vec(), strides, dilations, begin, end, out })
    }
}

/// Values of the input that a dilated kernel spans along one axis.
fn reach(kernel: usize, dilation: usize) -> Result<usize, InferWhy> {
    (kernel - 1)
        .checked_mul(dilation)
        .and_then(|n| n.checked_add(1))
        .ok_or(InferWhy::Attribute { name: "dilations" })
}

/// The most that a stride, dilation, pad or kernel dimension may be: products of two stay in `usize`.
const STEP_MAX: i64 = 1 << 24;

fn positive(node: &NodeProto, name: &'static str, axes: usize) -> Result<Vec<usize>, InferWhy> {
    let Some(ints) = node.ints(name).filter(|v| !v.is_empty()) else { return Ok(vec![1; axes]) };
    if ints.len() != axes || ints.iter().any(|&i| !(1..=STEP_MAX).contains(&i)) {
        return Err(InferWhy::Attribute { name });
    }
    Ok(ints.iter().map(|&i| i as usize).collect())
}

fn pads(node: &NodeProto, axes: usize) -> Result<(Vec<usize>, Vec<usize>), InferWhy> {
    let Some(ints) = node.ints("pads").filter(|v| !v.is_empty()) else {
        return Ok((vec![0; axes], vec![0; axes]));
    };
    if ints.len() != 2 * axes || ints.iter().any(|&i| !(0..=STEP_MAX).contains(&i)) {
        return Err(InferWhy::Attribute { name: "pads" });
    }
    let all: Vec<usize> = ints.iter().map(|&i| i as usize).collect();
    Ok((all[..axes].to_vec(), all[axes..].to_vec()))
}

fn conv(ctx: &Ctx<'_>) -> Types {
    let (x, w) = (ctx.input(0)?, ctx.input(1)?);
    let ([batch, channels, space @ ..], [out, per_group, kernel @ ..]) =
        (x.dims.as_slice(), w.dims.as_slice())
    else {
        return shape("at least two dimensions are needed", format!("{x} and {w}"));
    };
    let group = group(ctx)?;
    if x.element != w.element || *channels != group * per_group || out % group != 0 {
        return shape("weights do not fit the input", format!("{x}, {w}, {group} groups"));
    }
    if let Some(bias) = ctx.opt(2)
        && bias.dims != [*out]
    {
        return shape("the bias does not have one value a channel", bias);
    }
    let mut dims = vec![*batch, *out];
    dims.extend(Window::of(ctx.node, space, kernel)?.out);
    one(x.element, dims)
}

fn group(ctx: &Ctx<'_>) -> Result<usize, InferWhy> {
    usize::try_from(ctx.node.int("group", 1))
        .ok()
        .filter(|&g| g > 0 && g <= STEP_MAX as usize)
        .ok_or(InferWhy::Attribute { name: "group" })
}

fn conv_transpose(ctx: &Ctx<'_>) -> Types {
    let (x, w) = (ctx.input(0)?, ctx.input(1)?);
    let ([batch, channels, space @ ..], [w_in, per_group, kernel @ ..]) =
        (x.dims.as_slice(), w.dims.as_slice())
    else {
        return shape("at least two dimensions are needed", format!("{x} and {w}"));
    };
    let group = group(ctx)?;
    let axes = space.len();
    let fits = kernel.len() == axes && !kernel.contains(&0);
    if x.element != w.element || channels != w_in || !fits {
        return shape("weights do not fit the input", format!("{x} and {w}"));
    }
    let mut dims = vec![*batch, per_group * group];
    if let Some(bias) = ctx.opt(2)
        && bias.dims != [per_group * group]
    {
        return shape("the bias does not have one value a channel", bias);
    }
    if let Some(asked) = ctx.node.ints("output_shape").filter(|v| !v.is_empty()) {
        let asked: Result<Vec<usize>, _> = asked.iter().map(|&d| usize::try_from(d)).collect();
        // Batch and channels may be named as well.
        let asked = asked.ok().filter(|asked| asked.len() == axes || asked.len() == axes + 2);
        let asked = asked.ok_or(InferWhy::Attribute { name: "output_shape" })?;
        dims.extend(&asked[asked.len() - axes..]);
        return one(x.element, dims);
    }
    let strides = positive(ctx.node, "strides", axes)?;
    let dilations = positive(ctx.node, "dilations", axes)?;
    let (begin, end) = pads(ctx.node, axes)?;
    let extra = ctx.node.ints("output_padding").filter(|v| !v.is_empty());
    if extra.is_some_and(|e| e.len() != axes || e.iter().any(|i| !(0..=STEP_MAX).contains(i))) {
        return Err(InferWhy::Attribute { name: "output_padding" });
    }
    for i in 0..axes {
        let extra = extra.map_or(0, |e| e[i] as usize);
        let reach = reach(kernel[i], dilations[i])?;
        let full =
            space[i].saturating_sub(1).saturating_mul(strides[i]).saturating_add(reach + extra);
        if ctx.node.text("auto_pad", "NOTSET").starts_with("SAME") {
            // Pads take away; where the kernel leaves gaps, there is nothing to take.
            dims.push(full.min(space[i].saturating_mul(strides[i])));
            continue;
        }
        let Some(dim) = full.checked_sub(begin[i] + end[i]) else {
            return Err(InferWhy::Attribute { name: "pads" });
        };
        dims.push(dim);
    }
    one(x.element, dims)
}

fn pool(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let [batch, channels, space @ ..] = x.dims.as_slice() else {
        return shape("at least two dimensions are needed", x);
    };
    let kernel = positive(ctx.node, "kernel_shape", space.len())?;
    let mut dims = vec![*batch, *channels];
    dims.extend(Window::of(ctx.node, space, &kernel)?.out);
    let indices = TensorType { element: Element::I64, dims: dims.clone() };
    let y = TensorType { element: x.element, dims };
    Ok(if ctx.node.is("MaxPool") { vec![y, indices] } else { vec![y] })
}

fn global_pool(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let [batch, channels, space @ ..] = x.dims.as_slice() else {
        return shape("at least two dimensions are needed", x);
    };
    one(x.element, [&[*batch, *channels], &vec![1; space.len()][..]].concat())
}

fn resize(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let (scales_at, sizes_at) = if ctx.opset < 11 { (1, usize::MAX) } else { (2, 3) };
    let axes: Vec<usize> = match ctx.node.ints("axes") {
        Some(axes) => {
            axes.iter().map(|&a| super::axis_of(a, x.rank())).collect::<Result<_, _>>()?
        }
        None => (0..x.rank()).collect(),
    };
    let mut dims = x.dims.clone();
    if sizes_at != usize::MAX && ctx.node.input_name(sizes_at).is_some() {
        let sizes = ctx.i64s(sizes_at)?;
        if sizes.len() != axes.len() || sizes.iter().any(|s| *s < 0) {
            return shape("sizes do not fit the input", format!("{sizes:?} for {x}"));
        }
        let scale = one_scale(ctx.node, &x.dims, (&axes, &sizes))?;
        for (&axis, &size) in axes.iter().zip(&sizes) {
            dims[axis] = match scale {
                None => size as usize,
                Some(scale) => (dims[axis] as f32 * scale).round() as usize,
            };
        }
        return one(x.element, dims);
    }
    let scales = ctx.tensor(scales_at)?;
    scale(&mut dims, &axes, scales.as_f32().unwrap_or(&[]))?;
    one(x.element, dims)
}

/// The scale of all axes where a Resize keeps the picture's proportions, none where each axis has its own: the largest that
/// makes none of them longer than its size, or the smallest that makes none shorter, in float32 as in ONNX Runtime.
pub(crate) fn one_scale(
    node: &NodeProto,
    dims: &[usize],
    (axes, sizes): (&[usize], &[i64]),
) -> Result<Option<f32>, InferWhy> {
    let scales = axes.iter().zip(sizes).map(|(&axis, &size)| size as f32 / dims[axis] as f32);
    match node.text("keep_aspect_ratio_policy", "stretch") {
        "stretch" => Ok(None),
        "not_larger" => Ok(scales.reduce(f32::min)),
        "not_smaller" => Ok(scales.reduce(f32::max)),
        _ => Err(InferWhy::Attribute { name: "keep_aspect_ratio_policy" }),
    }
}

/// The columns `[batch, channels · block, places]` of blocks of an image `[batch, channels, …]`.
fn image_of_columns(ctx: &Ctx<'_>) -> Types {
    let (x, image, block) = (ctx.input(0)?, ctx.i64s(1)?, ctx.i64s(2)?);
    let block: Option<usize> =
        block.iter().map(|&d| usize::try_from(d).ok()).try_fold(1, |n: usize, d| n.checked_mul(d?));
    let image: Option<Vec<usize>> = image.iter().map(|&d| usize::try_from(d).ok()).collect();
    match (x.dims.as_slice(), block.filter(|&block| block > 0), image) {
        ([batch, rows, _places], Some(block), Some(image)) if rows % block == 0 => {
            one(x.element, [&[*batch, rows / block], &image[..]].concat())
        }
        _ => shape("the blocks do not fit the columns", x),
    }
}

fn upsample(ctx: &Ctx<'_>) -> Types {
    let x = ctx.input(0)?;
    let axes: Vec<usize> = (0..x.rank()).collect();
    let mut dims = x.dims.clone();
    match ctx.node.floats("scales") {
        Some(scales) => scale(&mut dims, &axes, scales)?,
        None => scale(&mut dims, &axes, ctx.tensor(1)?.as_f32().unwrap_or(&[]))?,
    }
    one(x.element, dims)
}

fn scale(dims: &mut [usize], axes: &[usize], scales: &[f32]) -> Result<(), InferWhy> {
    if scales.len() != axes.len() || scales.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
        return shape("scales do not fit the input", format!("{scales:?} for {dims:?}"));
    }
    for (&axis, &scale) in axes.iter().zip(scales) {
        // As ONNX Runtime: the product in float32, cut off.
        dims[axis] = (dims[axis] as f32 * scale).floor() as usize;
    }
    Ok(())
}

fn grid_sample(ctx: &Ctx<'_>) -> Types {
    let (x, grid) = (ctx.input(0)?, ctx.input(1)?);
    let ([batch, channels, ..], [_, space @ .., _]) = (x.dims.as_slice(), grid.dims.as_slice())
    else {
        return shape("the grid does not fit the input", format!("{x} and {grid}"));
    };
    let mut dims = vec![*batch, *channels];
    dims.extend(space);
    one(x.element, dims)
}
