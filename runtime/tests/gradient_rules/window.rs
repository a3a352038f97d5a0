//! Pools and resizing.

use shoal_runtime::onnx::{Attr, Builder, Value};

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

#[test]
fn average_pools_of_every_window() {
    let windows: [&[(&'static str, Attr)]; 6] = [
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
