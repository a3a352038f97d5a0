//! Elementwise operators, reductions, softmax, choices and losses.

use shoal_runtime::onnx::{Attr, Builder, Data, Tensor, Value};

use crate::finite::Feed::{Frozen, Wanted};
use crate::finite::{Case, clear, even, positive};

fn unary(op: &'static str) -> impl Fn(&mut Builder, &[Value]) -> Value {
    move |b, x| b.op(op, &[&x[0]], &[]).unwrap()
}

fn binary(op: &'static str) -> impl Fn(&mut Builder, &[Value]) -> Value {
    move |b, x| b.op(op, &[&x[0], &x[1]], &[]).unwrap()
}

/// Every way two operands broadcast: equal, a row, a column, a channel, both repeated, a scalar.
const PAIRS: [(&[usize], &[usize]); 6] = [
    (&[2, 3], &[2, 3]),
    (&[2, 3], &[3]),
    (&[2, 1], &[2, 3]),
    (&[2, 1, 2, 2], &[2, 3, 2, 2]),
    (&[2, 1, 3], &[4, 1]),
    (&[2, 3], &[]),
];

#[test]
fn addition_subtraction_and_multiplication_broadcast() {
    for op in ["Add", "Sub", "Mul"] {
        for (a, b) in PAIRS {
            Case::new(vec![Wanted(even(a, 1)), Wanted(even(b, 2))]).check(binary(op));
            Case::new(vec![Frozen(even(a, 1)), Wanted(even(b, 2))]).check(binary(op));
            Case::new(vec![Wanted(even(a, 1)), Frozen(even(b, 2))]).check(binary(op));
        }
    }
}

#[test]
fn division_broadcasts() {
    for (a, b) in PAIRS {
        Case::new(vec![Wanted(even(a, 1)), Wanted(positive(b, 2))]).check(binary("Div"));
    }
}

#[test]
fn an_operand_used_twice_gets_both_shares() {
    for op in ["Add", "Mul"] {
        Case::new(vec![Wanted(even(&[2, 3], 1))])
            .check(move |b, x| b.op(op, &[&x[0], &x[0]], &[]).unwrap());
    }
    Case::new(vec![Wanted(even(&[2, 3], 1))]).check(|b, x| {
        let tanh = b.op("Tanh", &[&x[0]], &[]).unwrap();
        let less = b.op("Sub", &[&tanh, &x[0]], &[]).unwrap();
        b.op("Sub", &[&less, &tanh], &[]).unwrap()
    });
}

#[test]
fn sums_of_any_number_broadcast() {
    let feeds = vec![Wanted(even(&[2, 3], 1)), Wanted(even(&[3], 2)), Wanted(even(&[2, 1], 3))];
    Case::new(feeds).check(|b, x| b.op("Sum", &[&x[0], &x[1], &x[2]], &[]).unwrap());
}

#[test]
fn smooth_functions_of_any_value() {
    for op in ["Neg", "Exp", "Tanh", "Sigmoid", "Erf"] {
        Case::new(vec![Wanted(even(&[2, 5], 3))]).check(unary(op));
    }
}

#[test]
fn smooth_functions_of_positive_values() {
    for op in ["Sqrt", "Log", "Reciprocal"] {
        Case::new(vec![Wanted(positive(&[2, 5], 4))]).check(unary(op));
    }
}

#[test]
fn functions_with_a_kink() {
    for op in ["Abs", "Relu", "LeakyRelu"] {
        Case::new(vec![Wanted(clear(&[2, 6], 5))]).check(unary(op));
    }
    let slope = [("alpha", Attr::Float(0.3))];
    Case::new(vec![Wanted(clear(&[2, 6], 5))])
        .check(move |b, x| b.op("LeakyRelu", &[&x[0]], &slope).unwrap());
}

#[test]
fn powers_with_constant_exponents() {
    for exponent in [2.0, 3.0, 0.5, -0.5, 1.0] {
        Case::new(vec![Wanted(positive(&[2, 3], 6))]).check(move |b, x| {
            let exponent = b.scalar(exponent);
            b.op("Pow", &[&x[0], &exponent], &[]).unwrap()
        });
    }
    Case::new(vec![Wanted(positive(&[2, 1], 6))]).check(|b, x| {
        let exponents = b.f32s(&[4], &[2.0, 0.0, 1.0, 3.0]);
        b.op("Pow", &[&x[0], &exponents], &[]).unwrap()
    });
    Case::new(vec![Wanted(even(&[2, 3], 6))]).check(|b, x| {
        let two = b.constant_of(&Tensor::new(&[], Data::I64(vec![2])));
        b.op("Pow", &[&x[0], &two], &[]).unwrap()
    });
}

#[test]
fn softmax_along_any_axis_in_both_definitions() {
    for op in ["Softmax", "LogSoftmax"] {
        for axis in [-1, 0, 1] {
            for opset in [11, 17] {
                let along = [("axis", Attr::Int(axis))];
                Case::new(vec![Wanted(even(&[2, 3, 4], 7))])
                    .opset(opset)
                    .check(move |b, x| b.op(op, &[&x[0]], &along).unwrap());
            }
        }
    }
}

#[test]
fn sums_and_means_over_any_axes() {
    for op in ["ReduceSum", "ReduceMean"] {
        for axes in [vec![0], vec![-1], vec![1, 2], vec![0, 1, 2]] {
            for keep in [0, 1] {
                for opset in [11, 13, 18] {
                    let axes = axes.clone();
                    Case::new(vec![Wanted(even(&[2, 3, 4], 8))])
                        .opset(opset)
                        .check(move |b, x| reduce(b, &x[0], op, &axes, keep));
                }
            }
        }
    }
    Case::new(vec![Wanted(even(&[2, 3], 8))])
        .check(|b, x| b.op("ReduceSum", &[&x[0]], &[("keepdims", Attr::Int(0))]).unwrap());
}

fn reduce(b: &mut Builder, x: &Value, op: &str, axes: &[i64], keep: i64) -> Value {
    let by_input = b.opset() >= if op == "ReduceSum" { 13 } else { 18 };
    let keep = ("keepdims", Attr::Int(keep));
    if by_input {
        let axes = b.i64s(axes);
        b.op(op, &[x, &axes], &[keep]).unwrap()
    } else {
        b.op(op, &[x], &[("axes", Attr::Ints(axes.to_vec())), keep]).unwrap()
    }
}

#[test]
fn a_mean_read_beside_its_source_is_repeated_once() {
    Case::new(vec![Wanted(even(&[2, 3, 4], 9))]).check(|b, x| {
        let mean = reduce(b, &x[0], "ReduceMean", &[2], 1);
        let centred = b.op("Sub", &[&x[0], &mean], &[]).unwrap();
        let square = b.op("Mul", &[&centred, &centred], &[]).unwrap();
        let variance = reduce(b, &square, "ReduceMean", &[2], 1);
        let small = b.scalar(1e-3);
        let variance = b.op("Add", &[&variance, &small], &[]).unwrap();
        let deviation = b.op("Sqrt", &[&variance], &[]).unwrap();
        b.op("Div", &[&centred, &deviation], &[]).unwrap()
    });
}

#[test]
fn where_gives_each_side_its_part() {
    let mask = Tensor::new(&[1, 3], Data::Bool(vec![true, false, true]));
    Case::new(vec![Wanted(even(&[2, 3], 10)), Wanted(even(&[3], 11))]).check(move |b, x| {
        let mask = b.constant_of(&mask);
        b.op("Where", &[&mask, &x[0], &x[1]], &[]).unwrap()
    });
}

#[test]
fn clipping_stops_the_gradient_outside_its_bounds() {
    for bounds in [(Some(-0.6), Some(1.0)), (None, Some(0.6)), (Some(-0.6), None)] {
        Case::new(vec![Wanted(clear(&[2, 6], 12))]).check(move |b, x| {
            let low = bounds.0.map(|v| b.scalar(v));
            let high = bounds.1.map(|v| b.scalar(v));
            let inputs = [Some(&x[0]), low.as_ref(), high.as_ref()];
            b.op_n("Clip", &inputs, &[], 1).unwrap().remove(0)
        });
    }
    let bounds = [("min", Attr::Float(-0.6)), ("max", Attr::Float(0.6))];
    Case::new(vec![Wanted(clear(&[2, 6], 12))])
        .opset(10)
        .check(move |b, x| b.op("Clip", &[&x[0]], &bounds).unwrap());
    // Bounds of the run; where the lower one is above the other, everything is the upper one.
    let bound = |value| Tensor::f32(&[], &[value]);
    let x = || clear(&[2, 6], 12);
    for feeds in [
        vec![Wanted(x()), Wanted(bound(-0.6)), Wanted(bound(0.6))],
        vec![Frozen(x()), Frozen(bound(0.6)), Wanted(bound(-0.6))],
    ] {
        Case::new(feeds).check(|b, x| b.op("Clip", &[&x[0], &x[1], &x[2]], &[]).unwrap());
    }
}

#[test]
fn minimum_and_maximum_go_to_the_one_chosen() {
    for op in ["Min", "Max"] {
        let feeds = vec![Wanted(clear(&[2, 6], 13)), Wanted(clear(&[6], 14))];
        Case::new(feeds).check(move |b, x| {
            let apart = b.scalar(0.1);
            let other = b.op("Add", &[&x[1], &apart], &[]).unwrap();
            b.op(op, &[&x[0], &other], &[]).unwrap()
        });
    }
}

#[test]
fn cross_entropy_takes_logits_of_any_rank() {
    for dims in [&[4, 5][..], &[2, 3, 5], &[5]] {
        Case::new(vec![Wanted(even(dims, 15))]).cross_entropy().check(|b, x| {
            let three = b.scalar(3.0);
            b.op("Mul", &[&x[0], &three], &[]).unwrap()
        });
    }
}

#[test]
fn squared_error_takes_outputs_of_any_rank() {
    for dims in [&[][..], &[3], &[2, 3], &[2, 1, 2, 3]] {
        Case::new(vec![Wanted(even(dims, 16))]).check(unary("Tanh"));
    }
}

#[test]
fn a_value_times_its_own_sigmoid_in_either_order_and_with_other_readers() {
    for order in [[0, 1], [1, 0]] {
        Case::new(vec![Wanted(even(&[2, 3], 17))]).check(move |b, x| {
            let gate = b.op("Sigmoid", &[&x[0]], &[]).unwrap();
            let pair = [&x[0], &gate];
            let silu = b.op("Mul", &[pair[order[0]], pair[order[1]]], &[]).unwrap();
            b.op("Add", &[&silu, &gate], &[]).unwrap()
        });
    }
    Case::new(vec![Wanted(even(&[2, 3], 17)), Wanted(even(&[2, 3], 18))]).check(|b, x| {
        let gate = b.op("Sigmoid", &[&x[0]], &[]).unwrap();
        b.op("Mul", &[&x[1], &gate], &[]).unwrap()
    });
}

#[test]
fn a_product_over_no_axis_is_what_comes() {
    let keeps = [("noop_with_empty_axes", Attr::Int(1))];
    Case::new(vec![Wanted(clear(&[2, 3], 6))]).opset(18).check(move |b, x| {
        let y = b.op("ReduceProd", &[&x[0]], &keeps).unwrap();
        b.op("Tanh", &[&y], &[]).unwrap()
    });
}

#[test]
fn a_normalisation_has_a_scale_and_a_bias_of_unlike_shapes() {
    for (scale, bias) in [(&[1, 4][..], &[3, 1][..]), (&[4], &[3, 4]), (&[3, 1], &[4])] {
        let feeds =
            vec![Wanted(clear(&[2, 3, 4], 7)), Wanted(even(scale, 8)), Wanted(even(bias, 9))];
        Case::new(feeds)
            .check(|b, x| b.op("LayerNormalization", &[&x[0], &x[1], &x[2]], &[]).unwrap());
    }
}
