//! Products and normalisations.

use shoal_runtime::onnx::{Attr, Value};

use super::{Entry, Gen, list, text};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        ("MatMul", 9, matmul),
        ("Gemm", 9, gemm),
        ("Einsum", 12, einsum),
        ("Conv", 9, conv),
        ("ConvTranspose", 9, conv_transpose),
        ("Attention", 23, attention),
        ("LayerNormalization", 17, layer),
        ("RMSNormalization", 23, layer),
        ("GroupNormalization", 18, group),
        ("InstanceNormalization", 9, instance),
        ("BatchNormalization", 9, batch),
        ("LpNormalization", 9, lp),
        ("MeanVarianceNormalization", 9, mean_variance),
    ]
}

fn matmul(g: &mut Gen, op: &str) {
    let (m, k, n) = (g.size(1, 4), g.size(1, 4), g.size(1, 4));
    let (p, q) = (g.size(2, 3), g.size(2, 3));
    let (a, b) = match g.whole(0, 5) {
        0 => (vec![k], vec![p, k, n]),
        1 => (vec![m, k], vec![k]),
        2 => (vec![m, k], vec![k, n]),
        3 => (vec![p, m, k], vec![k, n]),
        4 => (vec![p, m, k], vec![p, k, n]),
        _ => (vec![p, 1, m, k], vec![q, k, n]),
    };
    let (a, b) = (g.x(&a), g.also(&b, -1.0, 1.0));
    let y = g.op(op, &[&a, &b], &[]);
    g.give(&y);
}

fn gemm(g: &mut Gen, op: &str) {
    let (m, k, n) = (g.size(1, 4), g.size(1, 4), g.size(1, 4));
    let (turn_a, turn_b) = (g.yes(), g.yes());
    let a = g.x(&if turn_a { [k, m] } else { [m, k] });
    let b = g.also(&if turn_b { [n, k] } else { [k, n] }, -1.0, 1.0);
    let c = g.pick(&[vec![m, n], vec![n], vec![m, 1], vec![]]);
    let c = (g.opset < 11 || g.yes()).then(|| g.also(&c, -1.0, 1.0));
    let attrs = [
        ("transA", Attr::Int(i64::from(turn_a))),
        ("transB", Attr::Int(i64::from(turn_b))),
        ("alpha", Attr::Float(g.pick(&[1.0, 0.5]))),
        ("beta", Attr::Float(g.pick(&[1.0, -0.3]))),
    ];
    let inputs = [Some(&a), Some(&b), c.as_ref()];
    let used = if c.is_some() { 3 } else { 2 };
    let y = g.op_n(op, &inputs[..used], &attrs, 1).remove(0);
    g.give(&y);
}

/// Equations with the dimensions of their operands, one digit for each letter.
const EQUATIONS: [(&str, &[&[usize]]); 12] = [
    ("ij,jk->ik", &[&[2, 3], &[3, 4]]),
    ("bij,bjk->bik", &[&[2, 3, 2], &[2, 2, 4]]),
    ("ij,j", &[&[2, 3], &[3]]),
    ("bhid,bhjd->bhij", &[&[2, 2, 3, 2], &[2, 2, 4, 2]]),
    ("i,j->ij", &[&[3], &[4]]),
    ("ij->ji", &[&[2, 3]]),
    ("ij->i", &[&[2, 3]]),
    ("ij->", &[&[2, 3]]),
    ("ij,jk,kl->il", &[&[2, 3], &[3, 2], &[2, 4]]),
    ("...ij,...jk->...ik", &[&[2, 3, 2], &[2, 2, 4]]),
    ("b...d,de->b...e", &[&[2, 3, 2], &[2, 4]]),
    ("bij,ik->bk", &[&[2, 3, 2], &[3, 4]]),
];

fn einsum(g: &mut Gen, op: &str) {
    let (equation, dims) = g.pick(&EQUATIONS);
    let first = g.x(dims[0]);
    let mut all = vec![first];
    for dims in &dims[1..] {
        all.push(g.also(dims, -1.0, 1.0));
    }
    let all: Vec<&Value> = all.iter().collect();
    let y = g.op(op, &all, &[("equation", text(equation))]);
    g.give(&y);
}

/// Channels, groups and a window that fits 4 to 7 values an axis.
struct Drawn {
    space: Vec<usize>,
    kernel: Vec<usize>,
    groups: usize,
    /// Channels of a group, in and out.
    channels: (usize, usize),
    attrs: Vec<(&'static str, Attr)>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
}

fn window(g: &mut Gen, padded: bool) -> Drawn {
    let rank = g.pick(&[1, 2, 2, 2, 3]);
    let space: Vec<usize> = (0..rank).map(|_| g.size(4, if rank == 3 { 5 } else { 7 })).collect();
    let kernel: Vec<usize> = (0..rank).map(|_| g.size(1, 3)).collect();
    let strides: Vec<usize> = (0..rank).map(|_| g.pick(&[1, 1, 2, 3])).collect();
    let dilations: Vec<usize> = (0..rank).map(|_| g.pick(&[1, 1, 1, 2])).collect();
    let groups = g.pick(&[1, 1, 2, 3]);
    let channels = (g.pick(&[1, 1, 2]), g.pick(&[1, 2]));
    let mut attrs = vec![("group", Attr::Int(groups as i64)), ("strides", list(&strides))];
    match if padded {
        g.pick(&["", "", "pads", "pads", "SAME_UPPER", "SAME_LOWER", "VALID"])
    } else {
        ""
    } {
        "" => attrs.push(("dilations", list(&dilations))),
        "pads" => {
            attrs.push(("dilations", list(&dilations)));
            let pads: Vec<usize> =
                (0..2 * rank).map(|at| g.size(0, kernel[at % rank] - 1)).collect();
            attrs.push(("pads", list(&pads)));
        }
        auto => attrs.push(("auto_pad", text(auto))),
    }
    Drawn { space, kernel, groups, channels, attrs, strides, dilations }
}

fn conv(g: &mut Gen, op: &str) {
    let w = window(g, true);
    let batch = g.size(1, 2);
    let x = g.x(&[&[batch, w.groups * w.channels.0], &w.space[..]].concat());
    let weight = [&[w.groups * w.channels.1, w.channels.0], &w.kernel[..]].concat();
    let weight = g.also(&weight, -1.0, 1.0);
    let bias = g.yes().then(|| g.also(&[w.groups * w.channels.1], -1.0, 1.0));
    let y = g.op_n(op, &[Some(&x), Some(&weight), bias.as_ref()], &w.attrs, 1).remove(0);
    g.give(&y);
}

fn conv_transpose(g: &mut Gen, op: &str) {
    let padded = g.yes();
    let mut w = window(g, padded);
    w.space = w.space.iter().map(|&s| s.min(4)).collect();
    let batch = g.size(1, 2);
    let x = g.x(&[&[batch, w.groups * w.channels.0], &w.space[..]].concat());
    let weight = [&[w.groups * w.channels.0, w.channels.1], &w.kernel[..]].concat();
    let weight = g.also(&weight, -1.0, 1.0);
    let bias = g.yes().then(|| g.also(&[w.groups * w.channels.1], -1.0, 1.0));
    if !padded && g.yes() {
        let extra: Vec<usize> = w.strides.iter().map(|&s| s - 1).collect();
        w.attrs.push(("output_padding", list(&extra)));
    } else if !padded && g.yes() {
        // What is asked for is less than there would be: pads follow, and which side has the odd one.
        let full = (0..w.space.len()).map(|axis| {
            (w.space[axis] - 1) * w.strides[axis] + (w.kernel[axis] - 1) * w.dilations[axis] + 1
        });
        let asked: Vec<usize> =
            full.map(|full| g.size(full.saturating_sub(2).max(1), full)).collect();
        w.attrs.push(("output_shape", list(&asked)));
        if g.yes() {
            w.attrs.push(("auto_pad", text(g.pick(&["SAME_UPPER", "SAME_LOWER"]))));
        }
    }
    let y = g.op_n(op, &[Some(&x), Some(&weight), bias.as_ref()], &w.attrs, 1).remove(0);
    g.give(&y);
}

/// Heads of an attention: packed side by side, or each on its own.
struct Heads {
    packed: bool,
    batch: usize,
    /// Heads of queries, and of keys and values.
    counts: [usize; 2],
}

impl Heads {
    fn dims(&self, heads: usize, length: usize, wide: usize) -> Vec<usize> {
        match self.packed {
            true => vec![self.batch, length, heads * wide],
            false => vec![self.batch, heads, length, wide],
        }
    }
}

/// Most go on from keys and values of the past, and some give those back with the new ones behind them.
fn attention(g: &mut Gen, op: &str) {
    let (batch, shared, each) = (g.size(1, 2), g.size(1, 2), g.size(1, 2));
    let (queries, keys, wide) = (g.size(1, 3), g.size(2, 4), [g.size(2, 3), g.size(2, 3)]);
    let heads = Heads { packed: g.yes(), batch, counts: [shared * each, shared] };
    let mut attrs = Vec::new();
    if heads.packed {
        attrs.push(("q_num_heads", Attr::Int(heads.counts[0] as i64)));
        attrs.push(("kv_num_heads", Attr::Int(heads.counts[1] as i64)));
    }
    let q = g.x(&heads.dims(heads.counts[0], queries, wide[0]));
    let k = g.also(&heads.dims(shared, keys, wide[0]), -1.0, 1.0);
    let v = g.also(&heads.dims(shared, keys, wide[1]), -1.0, 1.0);
    let past = if g.whole(0, 2) > 0 { g.size(1, 3) } else { 0 };
    let columns = past + keys;
    let mask = match g.whole(0, 3) {
        0 => Some(g.also(&[queries, columns], -1.0, 1.0)),
        1 => {
            // Every query sees something.
            let seen = (0..queries * columns).map(|at| at % columns == 0 || g.yes()).collect();
            let data = shoal_runtime::onnx::Data::Bool(seen);
            Some(g.feed(shoal_runtime::onnx::Tensor::new(&[queries, columns], data), false))
        }
        _ => None,
    };
    let old = (past > 0)
        .then(|| wide.map(|wide| g.also(&[heads.batch, heads.counts[1], past, wide], -1.0, 1.0)));
    if mask.is_none() && g.yes() {
        attrs.push(("is_causal", Attr::Int(1)));
    }
    if g.yes() {
        attrs.push(("scale", Attr::Float(0.6)));
    }
    if mask.is_none() && g.whole(0, 3) == 0 {
        attrs.push(("softcap", Attr::Float(2.0)));
    }
    let [old_k, old_v] = old.as_ref().map_or([None, None], |[k, v]| [Some(k), Some(v)]);
    let inputs = [Some(&q), Some(&k), Some(&v), mask.as_ref(), old_k, old_v];
    let (used, outputs) = if past > 0 { (6, g.pick(&[1, 3])) } else { (4, 1) };
    for y in g.op_n(op, &inputs[..used], &attrs, outputs) {
        g.give(&y);
    }
}

fn layer(g: &mut Gen, op: &str) {
    let rank = g.size(2, 4);
    let dims: Vec<usize> = (0..rank).map(|_| g.size(2, 4)).collect();
    let axis = g.pick(&[-1, rank as i64 - 1, 1]);
    let from = if axis < 0 { rank - 1 } else { axis as usize };
    let (x, scale) = (g.x(&dims), g.also(&dims[from..], 0.5, 1.5));
    let attrs = [("axis", Attr::Int(axis)), ("epsilon", Attr::Float(1e-3))];
    let y = if op == "LayerNormalization" && g.yes() {
        let bias = g.also(&dims[from..], -1.0, 1.0);
        g.op(op, &[&x, &scale, &bias], &attrs)
    } else {
        g.op(op, &[&x, &scale], &attrs)
    };
    g.give(&y);
}

fn image(g: &mut Gen, channels: usize) -> Vec<usize> {
    let rank = g.pick(&[1, 2, 2]);
    let space = (0..rank).map(|_| g.size(2, 4));
    [2, channels].into_iter().chain(space.collect::<Vec<_>>()).collect()
}

fn group(g: &mut Gen, op: &str) {
    let (groups, each) = (g.size(1, 3), g.size(1, 2));
    let dims = image(g, groups * each);
    let scales = if g.opset < 21 { groups } else { groups * each };
    let (x, scale) = (g.x(&dims), g.also(&[scales], 0.5, 1.5));
    let bias = g.also(&[scales], -1.0, 1.0);
    let attrs = [("num_groups", Attr::Int(groups as i64)), ("epsilon", Attr::Float(1e-3))];
    let y = g.op(op, &[&x, &scale, &bias], &attrs);
    g.give(&y);
}

fn instance(g: &mut Gen, op: &str) {
    let dims = image(g, 3);
    let (x, scale, bias) = (g.x(&dims), g.also(&[3], 0.5, 1.5), g.also(&[3], -1.0, 1.0));
    let y = g.op(op, &[&x, &scale, &bias], &[("epsilon", Attr::Float(1e-3))]);
    g.give(&y);
}

/// Parameters that are differentiated by, or constants, as a frozen network has them.
fn batch(g: &mut Gen, op: &str) {
    let dims = image(g, 3);
    let x = g.x(&dims);
    let frozen = g.yes();
    let mut parameter = |low: f32| match frozen {
        true => g.constant(&[3], low, 1.5),
        false => g.also(&[3], low, 1.5),
    };
    let (scale, bias, mean, variance) =
        (parameter(0.5), parameter(-1.0), parameter(-1.0), parameter(0.5));
    let y = g.op(op, &[&x, &scale, &bias, &mean, &variance], &[("epsilon", Attr::Float(1e-3))]);
    g.give(&y);
}

fn lp(g: &mut Gen, op: &str) {
    let rank = g.size(1, 3);
    let dims: Vec<usize> = (0..rank).map(|_| g.size(2, 4)).collect();
    let x = g.between(&dims, 0.2, 1.0);
    let attrs = [("axis", Attr::Int(g.axis(rank))), ("p", Attr::Int(g.whole(1, 2)))];
    let y = g.op(op, &[&x], &attrs);
    g.give(&y);
}

fn mean_variance(g: &mut Gen, op: &str) {
    let (c, h) = (g.size(1, 3), g.size(2, 3));
    let x = g.x(&[2, c, h, 3]);
    let axes = g.pick(&[None, Some(vec![2, 3]), Some(vec![0, 1, 2, 3])]);
    let attrs: Vec<(&str, Attr)> =
        axes.into_iter().map(|axes| ("axes", Attr::Ints(axes))).collect();
    let y = g.op(op, &[&x], &attrs);
    g.give(&y);
}
