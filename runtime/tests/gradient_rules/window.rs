//! Pools and resizing.

use shoal_runtime::engine::Engine;
use shoal_runtime::engine::testing::{ort_or_skip, plain_options};
use shoal_runtime::gradient::{DifferentiateOptions, LossKind, LossSpec, differentiate};
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::{Attr, Builder, Model, TensorType, Value};

use crate::finite::Feed::Wanted;
use crate::finite::{Case, clear, even};

fn pool(
    op: &'static str,
    attrs: &[(&'static str, Attr)],
) -> impl Fn(&mut Builder, &[Value]) -> Value {
    let attrs = attrs.to_vec();
    move |b, x| b.op(op, &[&x[0]], &attrs).unwrap()
}

fn ints(v: &[i64]) -> Attr {
    Attr::Ints(v.to_vec())
}

/// What the mean of the squares of y is by x.
fn of_x_to_y() -> DifferentiateOptions {
    DifferentiateOptions {
        losses: vec![LossSpec::new(LossKind::Mse, "y")],
        wrt: vec!["x".to_owned()],
        strict: true,
        profile: Profile::Cpu,
    }
}

#[test]
fn average_pools_of_every_window() {
    let windows: [&[(&'static str, Attr)]; 7] = [
        &[("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))],
        &[("kernel_shape", ints(&[2, 3])), ("strides", ints(&[2, 3]))],
        &[("kernel_shape", ints(&[3, 3]))],
        &[
            ("kernel_shape", ints(&[3, 3])),
            ("strides", ints(&[2, 2])),
            ("pads", ints(&[1, 1, 1, 1])),
        ],
        &[
            ("kernel_shape", ints(&[3, 3])),
            ("pads", ints(&[1, 0, 1, 2])),
            ("count_include_pad", Attr::Int(1)),
        ],
        &[("kernel_shape", ints(&[3, 3])), ("auto_pad", Attr::Str("SAME_UPPER".into()))],
        // Rounded up beyond its pads, which the generated cases leave out.
        &[
            ("kernel_shape", ints(&[3, 2])),
            ("strides", ints(&[3, 2])),
            ("pads", ints(&[1, 0, 0, 0])),
            ("ceil_mode", Attr::Int(1)),
        ],
    ];
    for window in windows {
        Case::new(vec![Wanted(even(&[2, 2, 5, 7], 1))]).check(pool("AveragePool", window));
    }
    Case::new(vec![Wanted(even(&[2, 2, 6], 1))])
        .check(pool("AveragePool", &[("kernel_shape", ints(&[3])), ("strides", ints(&[2]))]));
}

#[test]
fn the_average_of_everything() {
    Case::new(vec![Wanted(even(&[2, 3, 2, 4], 2))]).check(pool("GlobalAveragePool", &[]));
}

#[test]
fn maximum_pools_of_windows_side_by_side() {
    let side_by_side = |k: &[i64]| [("kernel_shape", ints(k)), ("strides", ints(k))];
    let windows = [(&[1, 1, 5, 4][..], side_by_side(&[2, 2])), (&[1, 2, 6], side_by_side(&[3]))];
    for (dims, window) in windows {
        Case::new(vec![Wanted(clear(dims, 3))]).check(pool("MaxPool", &window));
    }
}

/// The norms of the graph itself are the engine's own.
#[test]
fn norms_of_every_window() {
    let windows: [&[(&'static str, Attr)]; 4] = [
        &[("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))],
        &[
            ("kernel_shape", ints(&[3, 2])),
            ("pads", ints(&[1, 0, 2, 1])),
            ("strides", ints(&[2, 1])),
        ],
        &[("kernel_shape", ints(&[3, 2])), ("auto_pad", Attr::Str("SAME_LOWER".into()))],
        &[
            ("kernel_shape", ints(&[2, 3])),
            ("dilations", ints(&[2, 1])),
            ("strides", ints(&[2, 2])),
            ("ceil_mode", Attr::Int(1)),
        ],
    ];
    for p in [1, 2, 3] {
        let p = ("p", Attr::Int(p));
        for window in windows {
            let attrs = [window, std::slice::from_ref(&p)].concat();
            Case::new(vec![Wanted(clear(&[1, 2, 5, 6], 1))])
                .opset(22)
                .check(pool("LpPool", &attrs));
        }
        Case::new(vec![Wanted(clear(&[2, 2, 3, 2], 2))]).check(pool("GlobalLpPool", &[p]));
    }
}

#[test]
fn a_norm_of_zeros_has_no_slope() {
    let Some(engine) = ort_or_skip() else { return };
    let pairs = [("kernel_shape", ints(&[2])), ("strides", ints(&[2]))];
    for p in [1, 2, 3] {
        let graph = |op, attrs: &[(&'static str, Attr)]| {
            let mut b = Builder::new(17);
            let x = b.input("x", TensorType::f32(&[1, 1, 4]));
            let y = b.op(op, &[&x], &[attrs, &[("p", Attr::Int(p))]].concat()).unwrap();
            b.output("y", &y);
            differentiate(&b.finish(), &of_x_to_y()).unwrap().folded.model
        };
        let slopes = |model: &Model, values: &[f32]| run(&engine, model, values, "grad.x");

        let windows = slopes(&graph("LpPool", &pairs), &[0.0, 0.0, 0.5, 0.0]);
        let all = slopes(&graph("GlobalLpPool", &[]), &[0.0; 4]);

        assert!((windows[2] - 0.5).abs() < 1e-6, "{p}: {windows:?}");
        assert_eq!([windows[0], windows[1], windows[3]], [0.0; 3], "{p}");
        assert_eq!(all, [0.0; 4], "{p}");
    }
}

/// A graph of x with something added to what the operator gives, so that its gradient is nowhere 0.
fn beside_a_constant(op: &str, dims: &[usize], attrs: &[(&'static str, Attr)]) -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(dims));
    let y = b.op(op, &[&x], attrs).unwrap();
    let count: usize = dims.iter().product();
    let beside: Vec<f32> = (0..count).map(|at| 0.3 * (at + 1) as f32).collect();
    let beside = b.f32s(dims, &beside);
    let y = b.op("Add", &[&y, &beside], &[]).unwrap();
    b.output("y", &y);
    differentiate(&b.finish(), &of_x_to_y()).unwrap().folded.model
}

/// Rows of zeros, as padded tokens are, are given as zeros.
#[test]
fn a_row_of_zeros_that_is_divided_by_its_norm_has_no_slope() {
    let Some(engine) = ort_or_skip() else { return };
    for p in [1, 2] {
        let model = beside_a_constant("LpNormalization", &[2, 2], &[("p", Attr::Int(p))]);
        let some = [0.6, -0.8];

        let got = run(&engine, &model, &[0.0, 0.0, some[0], some[1]], "grad.x");

        // y = x / n and its g = 2(y + c)/(2 · 2), of the second row.
        let norm = if p == 1 { 1.4 } else { 1.0 };
        let y = some.map(|x| x / norm);
        let g = [0.5 * (y[0] + 0.9), 0.5 * (y[1] + 1.2)];
        let along = g[0] * y[0] + g[1] * y[1];
        let slope = if p == 1 { [1.0, -1.0] } else { y };
        let want = [0, 1].map(|at| (g[at] - slope[at] * along) / norm);
        assert_eq!(got[..2], [0.0; 2], "{p}");
        assert!((got[2] - want[0]).abs() < 1e-6 && (got[3] - want[1]).abs() < 1e-6, "{p}: {got:?}");
    }
}

fn resize(
    to: &'static [f32],
    attrs: &[(&'static str, &'static str)],
) -> impl Fn(&mut Builder, &[Value]) -> Value {
    let attrs: Vec<_> = attrs.iter().map(|(name, v)| (*name, Attr::Str((*v).into()))).collect();
    move |b, x| {
        let scales = b.f32s(&[to.len()], to);
        b.op_n("Resize", &[Some(&x[0]), None, Some(&scales)], &attrs, 1).unwrap().remove(0)
    }
}

#[test]
fn resizing_by_whole_factors_and_by_any_other() {
    let x = || Case::new(vec![Wanted(even(&[2, 2, 3, 4], 4))]);
    let floor = [("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")];
    x().check(resize(&[1.0, 1.0, 2.0, 2.0], &floor));
    x().check(resize(&[1.0, 1.0, 3.0, 1.0], &floor));
    for mode in ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"] {
        for nearest in ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] {
            let attrs = [("coordinate_transformation_mode", mode), ("nearest_mode", nearest)];
            x().check(resize(&[1.0, 1.0, 1.7, 0.5], &attrs));
        }
        let attrs = [("coordinate_transformation_mode", mode), ("mode", "linear")];
        x().check(resize(&[1.0, 1.0, 2.0, 2.0], &attrs));
        x().check(resize(&[1.0, 1.0, 1.7, 0.5], &attrs));
    }
}

#[test]
fn resizing_to_given_sizes() {
    Case::new(vec![Wanted(even(&[2, 2, 3, 4], 5))]).check(|b, x| {
        let sizes = b.i64s(&[2, 2, 5, 7]);
        let inputs = [Some(&x[0]), None, None, Some(&sizes)];
        b.op_n("Resize", &inputs, &[("mode", Attr::Str("linear".into()))], 1).unwrap().remove(0)
    });
}

/// One scale for all axes: the largest that makes none longer than asked, or the smallest that makes none shorter.
#[test]
fn resizing_to_given_sizes_in_proportion() {
    for (policy, mode, want) in [
        ("not_larger", "linear", [2, 2, 5, 7]),
        ("not_larger", "nearest", [2, 2, 5, 7]),
        ("not_smaller", "linear", [2, 2, 7, 9]),
        ("not_smaller", "cubic", [2, 2, 7, 9]),
    ] {
        Case::new(vec![Wanted(even(&[2, 2, 3, 4], 5))]).opset(18).check(|b, x| {
            let sizes = b.i64s(&[7, 7]);
            let inputs = [Some(&x[0]), None, None, Some(&sizes)];
            let text = |value: &str| Attr::Str(value.into());
            let attrs = [
                ("mode", text(mode)),
                ("keep_aspect_ratio_policy", text(policy)),
                ("axes", ints(&[2, 3])),
            ];
            let y = b.op_n("Resize", &inputs, &attrs, 1).unwrap().remove(0);
            assert_eq!(b.ty(&y).dims, want, "{policy}");
            y
        });
    }
}

/// The gradient of each value counts the places that read it, as the engine does it: on the edge of two values a place falls to one
/// or the other by the last bit of its arithmetic.
#[test]
fn nearest_places_are_those_of_the_engine() {
    let Some(engine) = ort_or_skip() else { return };
    let modes =
        ["asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners", "half_pixel_symmetric"];
    let roundings = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"];
    let lengths = [(6, 2), (6, 4), (6, 8), (3, 11), (13, 7), (6, 11), (7, 28), (28, 5), (11, 40)];
    for (mode, rounding) in modes.iter().flat_map(|mode| roundings.map(|r| (*mode, r))) {
        for ((from, to), by_size) in lengths.iter().flat_map(|l| [(*l, false), (*l, true)]) {
            let scale = to as f32 / from as f32;
            if mode == "half_pixel_symmetric" && by_size {
                // The same as half_pixel.
                continue;
            }
            let mut b = Builder::new(19);
            let x = b.input("x", TensorType::f32(&[1, 1, 1, from]));
            let (scales, sizes) =
                (b.f32s(&[4], &[1.0, 1.0, 1.0, scale]), b.i64s(&[1, 1, 1, to as i64]));
            let (scales, sizes) =
                if by_size { (None, Some(&sizes)) } else { (Some(&scales), None) };
            let text = |value: &str| Attr::Str(value.into());
            let attrs =
                [("coordinate_transformation_mode", text(mode)), ("nearest_mode", text(rounding))];
            let y = b.op_n("Resize", &[Some(&x), None, scales, sizes], &attrs, 1).unwrap();
            b.output("y", &y[0]);
            let folded = b.finish();
            let reads = folded.types["y"].values();
            let values: Vec<f32> = (1..=from).map(|value| value as f32).collect();
            let mut want = vec![0.0; from];
            for value in run(&engine, &folded.model, &values, "y") {
                want[value as usize - 1] += 1.0;
            }
            let training = differentiate(&folded, &of_x_to_y()).unwrap().folded.model;
            // The loss is the mean of the squares: 2 · count · value / reads.
            let slopes = run(&engine, &training, &values, "grad.x");
            let counts =
                slopes.iter().zip(&values).map(|(slope, x)| slope * reads as f32 / 2.0 / x);
            let got: Vec<f32> = counts.map(f32::round).collect();
            assert_eq!(got, want, "{mode} {rounding} {from} to {to}, by size: {by_size}");
        }
    }
}

/// One output for these values; targets are nothing, weights one.
fn run(engine: &dyn Engine, model: &Model, values: &[f32], output: &str) -> Vec<f32> {
    let mut session = engine.load(model, &plain_options()).unwrap();
    for index in 0..session.inputs().len() {
        let port = session.inputs()[index].clone();
        let given = match port.name.as_str() {
            "x" => values.to_vec(),
            "weight.y" => vec![1.0; port.ty.values()],
            _ => vec![0.0; port.ty.values()],
        };
        session.write_f32(index, &given).unwrap();
    }
    session.run().unwrap();
    session.output_f32(session.output_index(output).unwrap()).unwrap().to_vec()
}
