//! What moves values: by shape, by constant places, by indices of the run.

use shoal_runtime::onnx::{Attr, Data, Tensor, Value};

use super::{Entry, Gen, list, text};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        ("Reshape", 9, reshape),
        ("Flatten", 9, flatten),
        ("Transpose", 9, transpose),
        ("Squeeze", 9, squeeze),
        ("Unsqueeze", 9, unsqueeze),
        ("Concat", 9, concat),
        ("Split", 9, split),
        ("Slice", 9, slice),
        ("Expand", 9, expand),
        ("Tile", 9, tile),
        ("Trilu", 14, triangle),
        ("CumSum", 11, cumulative),
        ("ReverseSequence", 10, reverse_sequence),
        ("Gather", 9, gather),
        ("GatherElements", 11, gather_elements),
        ("GatherND", 11, gather_nd),
        ("ScatterElements", 11, scatter_elements),
        ("ScatterND", 11, scatter_nd),
        ("Scatter", 9, scatter_elements),
        ("TopK", 9, top_k),
        ("OneHot", 9, one_hot),
        ("Shape", 9, shape),
        ("Range", 11, range),
        ("ConstantOfShape", 9, constant_of_shape),
    ]
}

fn reshape(g: &mut Gen, op: &str) {
    let dims = g.dims(3);
    let x = g.x(&dims);
    let (a, b, c) = (dims[0] as i64, dims[1] as i64, dims[2] as i64);
    let to = g.pick(&[vec![a * b, c], vec![-1], vec![0, -1], vec![c, b, a], vec![0, 0, -1, 1]]);
    // Of what no dimension is 0, the same with and without.
    let all = g.opset >= 14 && !to.contains(&0) && g.yes();
    let attrs = if all { vec![("allowzero", Attr::Int(1))] } else { Vec::new() };
    let to = g.ints(&to);
    let y = g.op(op, &[&x, &to], &attrs);
    g.give(&y);
}

fn flatten(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 4);
    let x = g.x(&dims);
    let axis = g.whole(0, dims.len() as i64);
    let y = g.op(op, &[&x], &[("axis", Attr::Int(axis))]);
    g.give(&y);
}

fn transpose(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 4);
    let x = g.x(&dims);
    let perm = Attr::Ints(g.order(dims.len()));
    let attrs = if g.yes() { vec![("perm", perm)] } else { Vec::new() };
    let y = g.op(op, &[&x], &attrs);
    g.give(&y);
}

/// Axes as an attribute or as an input, by the version.
fn with_axes(g: &mut Gen, op: &str, x: &Value, axes: &[i64]) -> Value {
    if g.opset < 13 {
        return g.op(op, &[x], &[("axes", Attr::Ints(axes.to_vec()))]);
    }
    let axes = g.ints(axes);
    g.op(op, &[x, &axes], &[])
}

fn squeeze(g: &mut Gen, op: &str) {
    let mut dims = g.dims(4);
    (dims[1], dims[2]) = (1, 1);
    let x = g.x(&dims);
    let axes = g.pick(&[vec![1], vec![2], vec![1, 2]]);
    let y = with_axes(g, op, &x, &axes);
    g.give(&y);
}

fn unsqueeze(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let x = g.x(&dims);
    let axes = g.pick(&[vec![0], vec![1], vec![0, 2]]);
    let y = with_axes(g, op, &x, &axes);
    g.give(&y);
}

fn concat(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let axis = g.axis(dims.len());
    let at = axis.rem_euclid(dims.len() as i64) as usize;
    let first = g.x(&dims);
    let mut all = vec![first];
    for _ in 0..g.size(1, 3) {
        let mut dims = dims.clone();
        dims[at] = g.size(1, 3);
        all.push(g.also(&dims, -1.0, 1.0));
    }
    let all: Vec<&Value> = all.iter().collect();
    let y = g.op(op, &all, &[("axis", Attr::Int(axis))]);
    g.give(&y);
}

fn split(g: &mut Gen, op: &str) {
    let (rank, outputs) = (g.size(1, 3), g.size(2, 3));
    let mut dims = g.dims(rank);
    let axis = g.size(0, rank - 1);
    let parts: Vec<usize> = (0..outputs).map(|_| g.size(1, 3)).collect();
    let even = g.yes();
    dims[axis] = if even { 2 * outputs } else { parts.iter().sum() };
    let x = g.x(&dims);
    let mut attrs = vec![("axis", Attr::Int(axis as i64))];
    let sizes = g.ints(&parts.iter().map(|&p| p as i64).collect::<Vec<_>>());
    let mut inputs = vec![Some(&x)];
    if even && g.opset >= 18 {
        attrs.push(("num_outputs", Attr::Int(outputs as i64)));
    } else if !even && g.opset < 13 {
        attrs.push(("split", list(&parts)));
    } else if !even {
        inputs.push(Some(&sizes));
    }
    let all = g.op_n(op, &inputs, &attrs, outputs);
    let used = g.size(1, outputs);
    for y in &all[..used] {
        g.give(y);
    }
}

/// Cuts of any axes; bounds are counted from the front, from the back, or lie beyond the ends.
fn slice(g: &mut Gen, op: &str) {
    let rank = g.size(1, 3);
    let dims: Vec<usize> = (0..rank).map(|_| g.size(3, 5)).collect();
    let x = g.x(&dims);
    let count = g.size(1, rank);
    let mut axes = g.order(rank)[..count].to_vec();
    let (mut starts, mut ends, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    for &axis in &axes {
        let (start, end, step) = cut(g, dims[axis as usize] as i64);
        starts.push(start);
        ends.push(end);
        steps.push(step);
    }
    if g.opset < 10 {
        let attrs = [
            ("axes", Attr::Ints(axes)),
            ("starts", Attr::Ints(starts)),
            ("ends", Attr::Ints(ends)),
        ];
        let y = g.op(op, &[&x], &attrs);
        return g.give(&y);
    }
    let in_order = axes.iter().enumerate().all(|(at, &axis)| at as i64 == axis);
    let told = !in_order || g.yes();
    if g.opset >= 11 && g.yes() {
        axes[0] -= rank as i64;
    }
    let (starts, ends) = (g.ints(&starts), g.ints(&ends));
    let (axes, steps) = (told.then(|| g.ints(&axes)), g.ints(&steps));
    let inputs = [Some(&x), Some(&starts), Some(&ends), axes.as_ref(), Some(&steps)];
    let y = g.op_n(op, &inputs, &[], 1).remove(0);
    g.give(&y);
}

/// Start, end and step that read something of an axis of `dim` values.
fn cut(g: &mut Gen, dim: i64) -> (i64, i64, i64) {
    let step = if g.opset < 10 { 1 } else { g.pick(&[1, 1, 2, 3, -1, -2]) };
    let low = g.whole(0, dim - 1);
    let high = g.whole(low, dim - 1);
    let from_back = |g: &mut Gen, index: i64| if g.yes() { index } else { index - dim };
    let (far, least) = (g.pick(&[dim + 2, i64::from(i32::MAX)]), -dim - g.whole(1, 3));
    if step > 0 {
        let start = if low == 0 && g.yes() { least } else { from_back(g, low) };
        let end = if high == dim - 1 { g.pick(&[dim, far]) } else { from_back(g, high + 1) };
        return (start, end, step);
    }
    let start = if high == dim - 1 && g.yes() { far } else { from_back(g, high) };
    let end = if low == 0 { g.pick(&[least, i64::from(i32::MIN)]) } else { from_back(g, low - 1) };
    (start, end, step)
}

fn expand(g: &mut Gen, op: &str) {
    let to = g.shape(1, 4);
    let dims = g.narrower(&to);
    let x = g.x(&dims);
    let to = g.ints(&to.iter().map(|&d| d as i64).collect::<Vec<_>>());
    let y = g.op(op, &[&x, &to], &[]);
    g.give(&y);
}

fn tile(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let x = g.x(&dims);
    let repeats: Vec<i64> = dims.iter().map(|_| g.whole(1, 3)).collect();
    let repeats = g.ints(&repeats);
    let y = g.op(op, &[&x, &repeats], &[]);
    g.give(&y);
}

fn triangle(g: &mut Gen, op: &str) {
    let dims = g.shape(2, 3);
    let x = g.x(&dims);
    let upper = [("upper", Attr::Int(g.whole(0, 1)))];
    let y = if g.yes() {
        let shift = g.whole(-1, 1);
        let shift = g.b.i64_scalar(shift);
        g.op(op, &[&x, &shift], &upper)
    } else {
        g.op(op, &[&x], &upper)
    };
    g.give(&y);
}

fn cumulative(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let x = g.x(&dims);
    let axis = g.axis(dims.len());
    let axis = g.b.i64_scalar(axis);
    let attrs = [("exclusive", Attr::Int(g.whole(0, 1))), ("reverse", Attr::Int(g.whole(0, 1)))];
    let y = g.op(op, &[&x, &axis], &attrs);
    g.give(&y);
}

fn reverse_sequence(g: &mut Gen, op: &str) {
    let (steps, batch, wide) = (g.size(1, 4), g.size(1, 3), g.size(1, 2));
    let turned = g.yes();
    let x = g.x(&if turned { [batch, steps, wide] } else { [steps, batch, wide] });
    let lengths: Vec<i64> = (0..batch).map(|_| g.whole(1, steps as i64)).collect();
    let lengths = g.ints(&lengths);
    let (time, of) = if turned { (1, 0) } else { (0, 1) };
    let attrs = [("time_axis", Attr::Int(time)), ("batch_axis", Attr::Int(of))];
    let y = g.op(op, &[&x, &lengths], &attrs);
    g.give(&y);
}

/// By indices that are known, or of the run.
fn gather(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let x = g.x(&dims);
    let axis = g.size(0, dims.len() - 1);
    let shape = g.shape(0, 2);
    let indices = if g.yes() {
        g.index(&shape, dims[axis])
    } else {
        let count: usize = shape.iter().product();
        let known = (0..count).map(|_| g.whole(0, dims[axis] as i64 - 1)).collect();
        g.b.constant_of(&Tensor::new(&shape, Data::I64(known)))
    };
    let y = g.op(op, &[&x, &indices], &[("axis", Attr::Int(axis as i64))]);
    g.give(&y);
}

fn gather_elements(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let x = g.x(&dims);
    let axis = g.size(0, dims.len() - 1);
    let mut read = dims.clone();
    read[axis] = g.size(1, 4);
    let indices = g.index(&read, dims[axis]);
    let y = g.op(op, &[&x, &indices], &[("axis", Attr::Int(axis as i64))]);
    g.give(&y);
}

fn gather_nd(g: &mut Gen, op: &str) {
    let dims = g.dims(3);
    let x = g.x(&dims);
    let batch = if g.opset >= 12 { g.size(0, 1) } else { 0 };
    let depth = g.size(1, 3 - batch);
    let reads = g.size(1, 3);
    let shape = [&dims[..batch], &[reads, depth]].concat();
    let count: usize = shape.iter().product();
    let values = (0..count).map(|at| g.whole(0, dims[batch + at % depth] as i64 - 1)).collect();
    let indices = g.feed(Tensor::new(&shape, Data::I64(values)), false);
    let attrs = [("batch_dims", Attr::Int(batch as i64))];
    let y = g.op(op, &[&x, &indices], if g.opset >= 12 { &attrs } else { &[] });
    g.give(&y);
}

fn reduction(g: &mut Gen) -> Vec<(&'static str, Attr)> {
    if g.opset >= 16 && g.yes() { vec![("reduction", text("add"))] } else { Vec::new() }
}

fn scatter_elements(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let x = g.x(&dims);
    let axis = g.size(0, dims.len() - 1);
    let mut written = dims.clone();
    written[axis] = g.size(1, dims[axis]);
    // Each place once: in any order, the same for every row.
    let order = g.order(dims[axis]);
    let inner: usize = written[axis + 1..].iter().product();
    let count: usize = written.iter().product();
    let values = (0..count).map(|at| order[at / inner % written[axis]]).collect();
    let indices = g.feed(Tensor::new(&written, Data::I64(values)), false);
    let updates = g.also(&written, -1.0, 1.0);
    let mut attrs = reduction(g);
    attrs.push(("axis", Attr::Int(axis as i64)));
    let y = g.op(op, &[&x, &indices, &updates], &attrs);
    g.give(&y);
}

fn scatter_nd(g: &mut Gen, op: &str) {
    let dims = g.dims(3);
    let x = g.x(&dims);
    let writes = g.size(1, dims[0]);
    let rows = g.order(dims[0])[..writes].to_vec();
    let depth = g.size(1, 2);
    let column = g.whole(0, dims[1] as i64 - 1);
    let values = rows.iter().flat_map(|&row| [row, column].into_iter().take(depth)).collect();
    let indices = g.feed(Tensor::new(&[writes, depth], Data::I64(values)), false);
    let updates = g.also(&[&[writes], &dims[depth..]].concat(), -1.0, 1.0);
    let attrs = reduction(g);
    let y = g.op(op, &[&x, &indices, &updates], &attrs);
    g.give(&y);
}

fn top_k(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let x = g.x(&dims);
    let axis = g.size(0, dims.len() - 1);
    let k = g.whole(1, dims[axis] as i64);
    let mut attrs = vec![("axis", Attr::Int(axis as i64))];
    if g.opset < 10 {
        attrs.push(("k", Attr::Int(k)));
        let y = g.op_n(op, &[Some(&x)], &attrs, 2);
        return g.give(&y[0]);
    }
    let k = g.ints(&[k]);
    if g.opset >= 11 {
        attrs.push(("largest", Attr::Int(g.whole(0, 1))));
    }
    let y = g.op_n(op, &[Some(&x), Some(&k)], &attrs, 2);
    g.give(&y[0]);
}

fn one_hot(g: &mut Gen, op: &str) {
    let (count, depth) = (g.size(1, 4), g.size(2, 4));
    let indices = g.index(&[count], depth);
    let size = g.ints(&[depth as i64]);
    let values = g.b.f32s(&[2], &[0.2, 1.5]);
    let hot = g.op(op, &[&indices, &size, &values], &[]);
    let x = g.x(&[count, depth]);
    let y = g.op("Mul", &[&hot, &x], &[]);
    g.give(&y);
}

/// What only says how large something is.
fn shape(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let (x, like) = (g.between(&[1], 0.1, 0.3), g.still(&dims));
    let sizes = g.op(op, &[&like], &[]);
    let sizes = g.op("Cast", &[&sizes], &[("to", Attr::Int(1))]);
    let y = g.op("Mul", &[&x, &sizes], &[]);
    let y = g.op("Tanh", &[&y], &[]);
    g.give(&y);
}

fn range(g: &mut Gen, op: &str) {
    let count = g.size(1, 5);
    let (start, end, step) =
        (g.b.scalar(0.5), g.b.scalar(0.5 + 0.25 * count as f32), g.b.scalar(0.25));
    let numbers = g.op(op, &[&start, &end, &step], &[]);
    let x = g.x(&[2, count]);
    let y = g.op("Mul", &[&x, &numbers], &[]);
    g.give(&y);
}

fn constant_of_shape(g: &mut Gen, op: &str) {
    let dims = g.shape(1, 3);
    let x = g.x(&dims);
    let to = g.ints(&dims.iter().map(|&d| d as i64).collect::<Vec<_>>());
    let half = g.op(op, &[&to], &[("value", Attr::Tensor(Tensor::f32(&[1], &[0.5])))]);
    let y = g.op("Mul", &[&x, &half], &[]);
    g.give(&y);
}
