//! Pools, resizing, and blocks of space.

use shoal_runtime::onnx::Attr;

use super::{Entry, Gen, list, text};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        ("MaxPool", 9, pool),
        ("AveragePool", 9, pool),
        ("LpPool", 9, lp_pool),
        ("GlobalAveragePool", 9, global),
        ("GlobalMaxPool", 9, global),
        ("GlobalLpPool", 9, global_lp),
        ("Upsample", 9, upsample),
        ("Resize", 10, resize),
        ("DepthToSpace", 9, depth),
        ("SpaceToDepth", 9, depth),
        ("Pad", 9, pad),
        ("LRN", 9, response),
        ("GridSample", 16, sample),
    ]
}

fn pool(g: &mut Gen, op: &str) {
    let rank = g.pick(&[1, 2, 2, 3]);
    let space: Vec<usize> = (0..rank).map(|_| g.size(4, if rank == 3 { 5 } else { 7 })).collect();
    let kernel: Vec<usize> = (0..rank).map(|_| g.size(1, 3)).collect();
    let mut strides: Vec<usize> = (0..rank).map(|_| g.size(1, 3)).collect();
    if op == "AveragePool" {
        // ONNX Runtime's own AveragePool contradicts itself where windows lie apart.
        strides = strides.iter().zip(&kernel).map(|(&s, &k)| s.min(k)).collect();
    }
    let mut attrs = vec![("kernel_shape", list(&kernel))];
    attrs.push(("strides", if g.whole(0, 3) == 0 { list(&kernel) } else { list(&strides) }));
    match g.pick(&["", "pads", "pads", "SAME_UPPER", "SAME_LOWER", "VALID"]) {
        "" => {}
        "pads" => {
            let pads: Vec<usize> =
                (0..2 * rank).map(|at| g.size(0, kernel[at % rank] - 1)).collect();
            attrs.push(("pads", list(&pads)));
        }
        auto => attrs.push(("auto_pad", text(auto))),
    }
    let auto = attrs.iter().any(|(name, _)| *name == "auto_pad");
    let padded = attrs.iter().any(|(name, _)| *name == "pads");
    let rounds = !(auto || padded && op == "AveragePool");
    if g.opset >= 10 && rounds && g.yes() {
        attrs.push(("ceil_mode", Attr::Int(1)));
    }
    let dilates = if op == "MaxPool" { 10 } else { 19 };
    if g.opset >= dilates && !auto && g.whole(0, 2) == 0 {
        let dilations: Vec<usize> = (0..rank).map(|_| g.size(1, 2)).collect();
        attrs.push(("dilations", list(&dilations)));
    }
    if op == "AveragePool" && g.yes() {
        attrs.push(("count_include_pad", Attr::Int(1)));
    }
    let x = g.x(&[&[2, 2], &space[..]].concat());
    let y = g.op(op, &[&x], &attrs);
    g.give(&y);
}

/// Norms of windows, some of zeros alone. Versions 18 and later have gaps and round the number of windows up.
fn lp_pool(g: &mut Gen, op: &str) {
    let rank = g.pick(&[1, 2, 2, 3]);
    let space: Vec<usize> = (0..rank).map(|_| g.size(3, 5)).collect();
    let kernel: Vec<usize> = (0..rank).map(|_| g.size(1, 3)).collect();
    let strides: Vec<usize> = (0..rank).map(|_| g.size(1, 3)).collect();
    let mut attrs = vec![("kernel_shape", list(&kernel)), ("strides", list(&strides))];
    attrs.extend(power(g));
    let padding = g.pick(&["", "pads", "pads", "SAME_UPPER", "SAME_LOWER", "VALID"]);
    match padding {
        "" => {}
        "pads" => {
            let pads: Vec<usize> =
                (0..2 * rank).map(|at| g.size(0, kernel[at % rank] - 1)).collect();
            attrs.push(("pads", list(&pads)));
        }
        auto => attrs.push(("auto_pad", text(auto))),
    }
    if g.opset >= 18 {
        attrs.push(("ceil_mode", Attr::Int(g.whole(0, 1))));
        let dilations = kernel.iter().zip(&space).map(|(&kernel, &length)| {
            let fits = !padding.starts_with("SAME") && 2 * (kernel - 1) < length;
            if fits { g.size(1, 2) } else { 1 }
        });
        let dilations: Vec<usize> = dilations.collect();
        attrs.push(("dilations", list(&dilations)));
    }
    let dims = [&[1, 2], &space[..]].concat();
    let x = if g.yes() { g.x(&dims) } else { g.halves(&dims) };
    let y = g.op(op, &[&x], &attrs);
    g.give(&y);
}

/// The p of a norm; 2 where it is not said.
fn power(g: &mut Gen) -> Option<(&'static str, Attr)> {
    g.pick(&[None, Some(1), Some(2), Some(3), Some(4)]).map(|p| ("p", Attr::Int(p)))
}

fn global_lp(g: &mut Gen, op: &str) {
    let rank = g.size(1, 3);
    let dims = [&[2, 2], &g.dims(rank)[..]].concat();
    let x = if g.yes() { g.x(&dims) } else { g.halves(&dims) };
    let attrs: Vec<(&str, Attr)> = power(g).into_iter().collect();
    let y = g.op(op, &[&x], &attrs);
    g.give(&y);
}

fn global(g: &mut Gen, op: &str) {
    let rank = g.size(1, 2);
    let space: Vec<usize> = (0..rank).map(|_| g.size(1, 4)).collect();
    let x = g.x(&[&[2, 3], &space[..]].concat());
    let y = g.op(op, &[&x], &[]);
    g.give(&y);
}

fn upsample(g: &mut Gen, op: &str) {
    let mode = g.pick(&["nearest", "linear"]);
    let (h, w) = (g.size(2, 4), g.size(2, 4));
    let x = g.x(&[1, 2, h, w]);
    let scale = [1.0, 1.0, g.pick(&[2.0, 3.0]), g.pick(&[1.0, 2.0])];
    let scales = g.b.f32s(&[4], &scale);
    let y = g.op(op, &[&x, &scales], &[("mode", text(mode))]);
    g.give(&y);
}

/// Factors that float32 and float64 place alike.
const SCALES: [f32; 5] = [1.0, 1.5, 2.0, 0.75, 0.5];

/// Resizes rows, images and volumes; by cubic weights images alone, which is what ONNX Runtime runs.
fn resize(g: &mut Gen, op: &str) {
    if g.opset < 11 {
        return resize_10(g, op);
    }
    let mode = g.pick(&["nearest", "linear", "cubic"]);
    let rank = if mode == "cubic" { 2 } else { g.size(1, 3) };
    let mut dims = vec![1, 2];
    dims.extend((0..rank).map(|_| g.size(3, 5)));
    let x = g.x(&dims);
    let mut coordinates = vec!["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"];
    if mode == "nearest" && g.opset < 13 {
        coordinates.push("tf_half_pixel_for_nn");
    }
    let mut attrs =
        vec![("mode", text(mode)), ("coordinate_transformation_mode", text(g.pick(&coordinates)))];
    if mode == "nearest" {
        let nearest = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"];
        attrs.push(("nearest_mode", text(g.pick(&nearest))));
    }
    if mode == "cubic" {
        attrs.push(("cubic_coeff_a", Attr::Float(g.pick(&[-0.75, -0.5]))));
        attrs.push(("exclude_outside", Attr::Int(g.whole(0, 1))));
    }
    // Which axes the factors or sizes are of, some in any order; all of them where that is not said.
    let mut axes: Vec<i64> = (0..dims.len() as i64).collect();
    if g.opset >= 18 && g.yes() {
        let count = g.size(1, rank);
        axes = g.order(rank)[..count].iter().map(|axis| axis + 2).collect();
        attrs.push(("axes", Attr::Ints(axes.clone())));
    }
    let (by_scale, mut scales, mut sizes) = (g.yes(), Vec::new(), Vec::new());
    for &axis in &axes {
        let (scale, size) = (g.pick(&SCALES), g.whole(2, 8));
        scales.push(if axis < 2 { 1.0 } else { scale });
        sizes.push(if axis < 2 { dims[axis as usize] as i64 } else { size });
    }
    let (scales, sizes) = (g.b.f32s(&[scales.len()], &scales), g.ints(&sizes));
    let (region, none) = (g.b.f32s(&[0], &[]), g.b.f32s(&[0], &[]));
    let by_size = [&x, &region, &none, &sizes];
    let y = if by_scale {
        g.op(op, &[&x, &region, &scales], &attrs)
    } else {
        g.op(op, &by_size, &attrs)
    };
    g.give(&y);
}

/// Version 10, whose document does not say where a nearest place lies: at these factors all roundings agree.
fn resize_10(g: &mut Gen, op: &str) {
    let mode = g.pick(&["nearest", "linear"]);
    let (h, w) = (g.size(2, 4), g.size(2, 4));
    let x = g.x(&[1, 2, h, w]);
    let scales = [1.0, 1.0, g.pick(&[0.5, 1.0, 2.0]), g.pick(&[0.5, 2.0, 3.0])];
    let scales = g.b.f32s(&[4], &scales);
    let y = g.op(op, &[&x, &scales], &[("mode", text(mode))]);
    g.give(&y);
}

fn response(g: &mut Gen, op: &str) {
    let (channels, height, width) = (g.size(1, 5), g.size(1, 3), g.size(1, 3));
    let x = g.between(&[2, channels, height, width], -2.0, 2.0);
    let attrs = [
        // ONNX Runtime takes odd ones alone.
        ("size", Attr::Int(g.pick(&[1, 3, 5, 7]))),
        ("alpha", Attr::Float(g.pick(&[1e-2, 0.5, 2.0]))),
        ("beta", Attr::Float(g.pick(&[0.5, 0.75]))),
        ("bias", Attr::Float(g.pick(&[1.0, 2.0]))),
    ];
    let y = g.op(op, &[&x], &attrs);
    g.give(&y);
}

fn sample(g: &mut Gen, op: &str) {
    let (height, width) = (g.size(1, 4), g.size(2, 4));
    let x = g.x(&[2, 2, height, width]);
    let to = [2, g.size(1, 3), g.size(1, 3), 2];
    let linear = if g.opset < 20 { "bilinear" } else { "linear" };
    let mode = g.pick(&[linear, linear, "nearest"]);
    // The nearest value stays the same when the grid is moved a little.
    let grid = if mode == linear { g.between(&to, -1.6, 1.6) } else { g.still(&to) };
    let attrs = [
        ("mode", text(mode)),
        ("padding_mode", text(g.pick(&["zeros", "border", "reflection"]))),
        ("align_corners", Attr::Int(g.whole(0, 1))),
    ];
    let y = g.op(op, &[&x, &grid], &attrs);
    g.give(&y);
}

fn depth(g: &mut Gen, op: &str) {
    let (block, c, h, w) = (g.size(2, 3), g.size(1, 2), g.size(1, 3), g.size(1, 3));
    let mut attrs = vec![("blocksize", Attr::Int(block as i64))];
    let x = if op == "DepthToSpace" {
        if g.opset >= 11 {
            attrs.push(("mode", text(g.pick(&["DCR", "CRD"]))));
        }
        g.x(&[2, c * block * block, h, w])
    } else {
        g.x(&[2, c, h * block, w * block])
    };
    let y = g.op(op, &[&x], &attrs);
    g.give(&y);
}

fn pad(g: &mut Gen, op: &str) {
    let rank = g.size(1, 3);
    let dims: Vec<usize> = (0..rank).map(|_| g.size(3, 5)).collect();
    let x = g.x(&dims);
    let mut modes = vec!["constant", "constant", "edge", "reflect"];
    if g.opset >= 19 {
        modes.push("wrap");
    }
    let mode = g.pick(&modes);
    let low = if mode == "constant" { -1 } else { 0 };
    let pads: Vec<i64> = (0..2 * rank).map(|_| g.whole(low, 2)).collect();
    let attrs = [("mode", text(mode))];
    if g.opset < 11 {
        let attrs = [attrs[0].clone(), ("pads", Attr::Ints(pads)), ("value", Attr::Float(0.3))];
        let y = g.op(op, &[&x], &attrs);
        return g.give(&y);
    }
    let pads = g.ints(&pads);
    let y = if mode == "constant" {
        let value = g.b.scalar(0.3);
        g.op(op, &[&x, &pads, &value], &attrs)
    } else {
        g.op(op, &[&x, &pads], &attrs)
    };
    g.give(&y);
}
