//! Cutting, joining, padding, and reading by index.

use shoal_runtime::onnx::{Attr, Builder, Data, Tensor, Value};

use crate::finite::Feed::{Wanted, Whole};
use crate::finite::{Case, even};

fn slice(b: &mut Builder, x: &Value, axis: i64, (start, end, step): (i64, i64, i64)) -> Value {
    let parts = [start, end, axis, step].map(|v| b.i64s(&[v]));
    b.op("Slice", &[x, &parts[0], &parts[1], &parts[2], &parts[3]], &[]).unwrap()
}

#[test]
fn slices_with_any_step() {
    let ranges = [(1, 4, 1), (0, i64::MAX, 2), (-1, i64::MIN, -1), (4, 0, -2), (-2, i64::MAX, 1)];
    for range in ranges {
        for axis in [0, -1] {
            Case::new(vec![Wanted(even(&[5, 2, 5], 1))])
                .check(move |b, x| slice(b, &x[0], axis, range));
        }
    }
    let attrs = [("starts", Attr::Ints(vec![1, 0])), ("ends", Attr::Ints(vec![3, 1]))];
    Case::new(vec![Wanted(even(&[3, 2, 2], 1))])
        .opset(9)
        .check(move |b, x| b.op("Slice", &[&x[0]], &attrs).unwrap());
}

#[test]
fn a_box_of_two_axes_and_a_strided_one() {
    Case::new(vec![Wanted(even(&[4, 5, 6], 2))]).check(|b, x| {
        let starts = b.i64s(&[1, 0, 2]);
        let ends = b.i64s(&[3, 5, 6]);
        let axes = b.i64s(&[0, 1, 2]);
        let steps = b.i64s(&[1, 2, 1]);
        b.op("Slice", &[&x[0], &starts, &ends, &axes, &steps], &[]).unwrap()
    });
}

/// Each slice is scaled by another number, so that no two can be exchanged unseen.
fn scaled_slices(ranges: &'static [(i64, i64)]) -> impl Fn(&mut Builder, &[Value]) -> Value {
    move |b, x| {
        let parts: Vec<Value> = ranges
            .iter()
            .enumerate()
            .map(|(at, &(start, end))| {
                let part = slice(b, &x[0], 1, (start, end, 1));
                let factor = b.scalar(at as f32 + 0.5);
                b.op("Mul", &[&part, &factor], &[]).unwrap()
            })
            .collect();
        let parts: Vec<&Value> = parts.iter().collect();
        b.op("Concat", &parts, &[("axis", Attr::Int(1))]).unwrap()
    }
}

#[test]
fn sibling_slices_that_tile_leave_gaps_or_overlap() {
    let x = || Case::new(vec![Wanted(even(&[2, 7, 2], 3))]);
    x().check(scaled_slices(&[(0, 2), (2, 3), (3, 7)]));
    x().check(scaled_slices(&[(4, 6), (1, 2)]));
    x().check(scaled_slices(&[(0, 4), (1, 5), (2, 6), (3, 7)]));
    x().check(scaled_slices(&[(0, 7), (2, 3), (2, 3)]));
}

#[test]
fn splits_with_used_and_unused_parts() {
    for used in [&[0, 1, 2][..], &[0, 2], &[1]] {
        Case::new(vec![Wanted(even(&[2, 6], 4))]).check(move |b, x| {
            let sizes = b.i64s(&[1, 2, 3]);
            let axis = [("axis", Attr::Int(1))];
            let parts = b.op_n("Split", &[Some(&x[0]), Some(&sizes)], &axis, 3).unwrap();
            let used: Vec<Value> = used
                .iter()
                .map(|&at| {
                    let factor = b.scalar(at as f32 + 0.5);
                    b.op("Mul", &[&parts[at], &factor], &[]).unwrap()
                })
                .collect();
            let used: Vec<&Value> = used.iter().collect();
            b.op("Concat", &used, &[("axis", Attr::Int(1))]).unwrap()
        });
    }
}

#[test]
fn concat_gives_each_input_its_part() {
    let feeds = vec![Wanted(even(&[2, 1, 2], 5)), Wanted(even(&[2, 3, 2], 6))];
    Case::new(feeds)
        .check(|b, x| b.op("Concat", &[&x[0], &x[1], &x[0]], &[("axis", Attr::Int(-2))]).unwrap());
}

#[test]
fn padding_in_all_modes() {
    for mode in ["constant", "edge", "reflect"] {
        for pads in [[0, 0, 1, 2, 0, 0, 2, 1], [1, 0, 0, 0, 0, 0, 0, 2], [0, 1, 0, 0, 0, 0, 0, 0]] {
            Case::new(vec![Wanted(even(&[2, 2, 3, 4], 7))]).check(move |b, x| {
                let pads = b.i64s(&pads);
                b.op("Pad", &[&x[0], &pads], &[("mode", Attr::Str(mode.into()))]).unwrap()
            });
        }
    }
    for (mode, pads) in [("wrap", [1, 3, 2, 4]), ("reflect", [1, 3, 2, 0])] {
        Case::new(vec![Wanted(even(&[3, 4], 7))]).opset(19).check(move |b, x| {
            let pads = b.i64s(&pads);
            b.op("Pad", &[&x[0], &pads], &[("mode", Attr::Str(mode.into()))]).unwrap()
        });
    }
    Case::new(vec![Wanted(even(&[2, 1], 7))]).check(|b, x| {
        let pads = b.i64s(&[0, 2, 0, 1]);
        b.op("Pad", &[&x[0], &pads], &[("mode", Attr::Str("edge".into()))]).unwrap()
    });
    Case::new(vec![Wanted(even(&[3, 4], 7))]).check(|b, x| {
        let pads = b.i64s(&[-1, 2, 0, -1]);
        b.op("Pad", &[&x[0], &pads], &[]).unwrap()
    });
    Case::new(vec![Wanted(even(&[3, 4], 7))])
        .opset(10)
        .check(|b, x| b.op("Pad", &[&x[0]], &[("pads", Attr::Ints(vec![1, 0, 0, 2]))]).unwrap());
}

/// From version 18 on pads may be of some axes alone, in any order.
#[test]
fn padding_of_some_axes() {
    let of: [(&[i64], &[i64]); 4] =
        [(&[1], &[2, 1]), (&[-1], &[0, 2]), (&[2, 0], &[1, 0, 2, 2]), (&[-3, 1], &[2, 0, 1, 1])];
    for mode in ["constant", "edge", "reflect"] {
        for (axes, pads) in of {
            Case::new(vec![Wanted(even(&[3, 4, 5], 7))]).opset(18).check(move |b, x| {
                let (pads, value, axes) = (b.i64s(pads), b.scalar(0.3), b.i64s(axes));
                let mode = [("mode", Attr::Str(mode.into()))];
                b.op("Pad", &[&x[0], &pads, &value, &axes], &mode).unwrap()
            });
        }
    }
}

#[test]
fn gathering_by_constant_indices() {
    let indices = [
        Tensor::new(&[], Data::I64(vec![1])),
        Tensor::new(&[], Data::I64(vec![-1])),
        Tensor::i64s(&[0, 1, 2]),
        Tensor::i64s(&[3, -4, 1]),
        Tensor::i64s(&[2, 2, 0, 2]),
        Tensor::new(&[2, 2], Data::I64(vec![0, 3, 3, 1])),
    ];
    for axis in [0, 1, -1] {
        for index in &indices {
            Case::new(vec![Wanted(even(&[4, 4, 4], 8))]).check(move |b, x| {
                let index = b.constant_of(index);
                b.op("Gather", &[&x[0], &index], &[("axis", Attr::Int(axis))]).unwrap()
            });
        }
    }
}

#[test]
fn an_embedding_collects_from_all_its_readers() {
    for opset in [13, 17] {
        for axis in [0, 1] {
            let read = Tensor::new(&[2, 3], Data::I64(vec![0, 3, 3, -1, 2, 0]));
            Case::new(vec![Wanted(even(&[5, 5], 9)), Whole(read)]).opset(opset).check(
                move |b, x| b.op("Gather", &[&x[0], &x[1]], &[("axis", Attr::Int(axis))]).unwrap(),
            );
        }
    }
    let narrow = Tensor::new(&[3], Data::I32(vec![1, 0, 1]));
    Case::new(vec![Wanted(even(&[3, 2], 9)), Whole(narrow)])
        .check(|b, x| b.op("Gather", &[&x[0], &x[1]], &[]).unwrap());
}
