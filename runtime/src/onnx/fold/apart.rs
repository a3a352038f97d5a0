//! Windows whose positions engines and the standard's inference of shapes count differently: their pads are written out.
//!
//! Pools whose windows lie apart and whose pads are left to the engine (`auto_pad` SAME): between windows lie values that nothing
//! reads, and by the formula the pads would be negative. ONNX Runtime 1.31.1 refuses to run them; with the pads written out, which
//! are none there, it runs them.
//!
//! ConvTranspose whose pads follow from what it is to give (`auto_pad` SAME, `output_shape`): tract 0.23 cannot load the one and does
//! not look at the other, and where windows lie apart what it gives ends with its last window, shorter than length · stride, which is
//! what the standard says.
//!
//! Pools whose length is rounded up (`ceil_mode`), where the last window would start behind the input: kernels leave it out, the
//! inference of operator sets before 22 counts it, and a graph that names the shape does not load. Rounded down, with as much
//! padding behind as the last window that is left reads, they are the same.
//! # Source
//! ONNX `MaxPool`, `AveragePool`: `pad = (positions − 1) · stride + reach − length`, none where that is negative.
//! `ConvTranspose`: `pad = (length − 1) · stride + reach − asked`, where `asked` is length · stride unless `output_shape` says
//! otherwise; of an odd one `SAME_UPPER` has the greater half behind, all others before.

use super::Folder;
use crate::onnx::builder::Attr;
use crate::onnx::infer::Window;
use crate::onnx::proto::NodeProto;

/// The first operator set that infers shapes without windows that start behind the input.
const OPSET_LEFT_OUT: i64 = 22;

/// The node, with its pads written out where they are told otherwise elsewhere.
pub(super) fn pads(folder: &Folder<'_>, mut node: NodeProto) -> NodeProto {
    let pads = match node.op_type() {
        "MaxPool" | "AveragePool" => of_pool(folder, &node),
        "ConvTranspose" => of_transposed(folder, &node),
        _ => None,
    };
    if let Some(pads) = pads.filter(|_| node.is(node.op_type())) {
        node.attribute
            .retain(|a| !["auto_pad", "ceil_mode", "output_shape", "pads"].contains(&a.name()));
        node.attribute.push(Attr::Ints(pads).to_proto("pads"));
    }
    node
}

/// The lengths that the windows of a node lie along.
fn space<'f>(folder: &'f Folder<'_>, node: &NodeProto, input: usize) -> Option<&'f [usize]> {
    match folder.types.get(node.input_name(input)?)?.dims.as_slice() {
        [_, _, space @ ..] => Some(space),
        _ => None,
    }
}

fn of_pool(folder: &Folder<'_>, node: &NodeProto) -> Option<Vec<i64>> {
    let space = space(folder, node, 0)?;
    let kernel = node.ints("kernel_shape").unwrap_or_default();
    let kernel: Option<Vec<usize>> = kernel.iter().map(|&k| usize::try_from(k).ok()).collect();
    // What is wrong with it, inference says.
    let mut window = Window::of(node, space, &kernel?).ok()?;
    let reach = |axis: usize| window.dilations[axis] * (window.kernel[axis] - 1) + 1;
    // Behind the last value that its last position reads.
    let ends: Vec<usize> = (0..space.len())
        .map(|axis| (window.out[axis].max(1) - 1) * window.strides[axis] + reach(axis))
        .collect();
    if node.text("auto_pad", "NOTSET").starts_with("SAME") {
        let apart = ends.iter().zip(space).any(|(end, length)| end < length);
        return apart.then(|| both(&window.begin, &window.end));
    }
    let rounds_up = node.int("ceil_mode", 0) != 0 && folder.opset < OPSET_LEFT_OUT;
    let counts_pads = node.is("AveragePool") && node.int("count_include_pad", 0) != 0;
    let leaves_out = (0..space.len()).any(|axis| {
        let padded = window.begin[axis] + space[axis] + window.end[axis];
        let room = padded.saturating_sub(reach(axis));
        room.div_ceil(window.strides[axis]) + 1 > window.out[axis]
    });
    if !rounds_up || counts_pads || !leaves_out {
        return None;
    }
    window.end = (0..space.len())
        .map(|axis| ends[axis].saturating_sub(window.begin[axis] + space[axis]))
        .collect();
    // Engines refuse pads as long as the kernel, which one with gaps may need.
    let fits = window.end.iter().zip(&window.kernel).all(|(end, kernel)| end < kernel);
    fits.then(|| both(&window.begin, &window.end))
}

/// `None` also where more is asked for than there is: engines fill that up, each in its way.
fn of_transposed(folder: &Folder<'_>, node: &NodeProto) -> Option<Vec<i64>> {
    let auto = node.text("auto_pad", "NOTSET");
    let asked = node.ints("output_shape").filter(|shape| !shape.is_empty());
    if asked.is_none() && !auto.starts_with("SAME") {
        return None;
    }
    let (space, kernel) = (space(folder, node, 0)?, space(folder, node, 1)?);
    // It may name batch and channels as well.
    let asked = asked.map(|shape| &shape[shape.len().saturating_sub(space.len())..]);
    let step = |name: &str, axis: usize, default: usize| {
        let given = node.ints(name).and_then(|ints| ints.get(axis)).copied();
        given.map_or(Some(default), |given| usize::try_from(given).ok())
    };
    let (mut begin, mut end) = (Vec::new(), Vec::new());
    for (axis, (&kernel, &length)) in kernel.iter().zip(space).enumerate() {
        let (stride, dilation) = (step("strides", axis, 1)?, step("dilations", axis, 1)?);
        let reach = dilation.checked_mul(kernel.checked_sub(1)?)?.checked_add(1)?;
        let reach = reach.checked_add(step("output_padding", axis, 0)?)?;
        let full = length.checked_sub(1)?.checked_mul(stride)?.checked_add(reach)?;
        let pad = match asked {
            Some(asked) => full.checked_sub(usize::try_from(*asked.get(axis)?).ok()?)?,
            None => full.saturating_sub(length.checked_mul(stride)?),
        };
        let upper = auto == "SAME_UPPER";
        begin.push(if upper { pad / 2 } else { pad - pad / 2 });
        end.push(if upper { pad - pad / 2 } else { pad / 2 });
    }
    Some(both(&begin, &end))
}

fn both(begin: &[usize], end: &[usize]) -> Vec<i64> {
    begin.iter().chain(end).map(|&pad| pad as i64).collect()
}
