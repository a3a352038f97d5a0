//! Operators that move, repeat or convert values.

use shoal_runtime::onnx::{Attr, Element};

use crate::finite::Feed::Wanted;
use crate::finite::{Case, even};

#[test]
fn reshaping_keeps_every_gradient_with_its_value() {
    let x = || Case::new(vec![Wanted(even(&[2, 3, 4], 1))]);
    x().check(|b, x| {
        let shape = b.i64s(&[4, -1]);
        b.op("Reshape", &[&x[0], &shape], &[]).unwrap()
    });
    x().check(|b, x| b.op("Flatten", &[&x[0]], &[("axis", Attr::Int(2))]).unwrap());
    x().check(|b, x| {
        let axes = b.i64s(&[0, 2]);
        let wide = b.op("Unsqueeze", &[&x[0], &axes], &[]).unwrap();
        let axes = b.i64s(&[0]);
        b.op("Squeeze", &[&wide, &axes], &[]).unwrap()
    });
    x().opset(11)
        .check(|b, x| b.op("Unsqueeze", &[&x[0]], &[("axes", Attr::Ints(vec![1]))]).unwrap());
}

#[test]
fn transposing_goes_back() {
    for perm in [None, Some(vec![1, 2, 0]), Some(vec![0, 2, 1])] {
        Case::new(vec![Wanted(even(&[2, 3, 4], 2))]).check(move |b, x| {
            let attrs: Vec<_> = perm.iter().map(|p| ("perm", Attr::Ints(p.clone()))).collect();
            b.op("Transpose", &[&x[0]], &attrs).unwrap()
        });
    }
}

#[test]
fn what_is_repeated_is_summed() {
    for (dims, to) in [(&[3, 1][..], &[2, 3, 4]), (&[1], &[2, 3, 4]), (&[2, 3, 4], &[1, 3, 1])] {
        Case::new(vec![Wanted(even(dims, 3))]).check(move |b, x| {
            let shape = b.i64s(to);
            b.op("Expand", &[&x[0], &shape], &[]).unwrap()
        });
    }
}

#[test]
fn identity_and_inference_dropout_pass_the_gradient() {
    for op in ["Identity", "Dropout"] {
        Case::new(vec![Wanted(even(&[2, 3], 4))])
            .check(move |b, x| b.op(op, &[&x[0]], &[]).unwrap());
    }
}

#[test]
fn casting_to_double_and_back_passes_the_gradient() {
    Case::new(vec![Wanted(even(&[2, 3], 5))]).check(|b, x| {
        let to = |e: Element| [("to", Attr::Int(i64::from(e.to_onnx())))];
        let wide = b.op("Cast", &[&x[0]], &to(Element::F64)).unwrap();
        let tanh = b.op("Tanh", &[&wide], &[]).unwrap();
        b.op("Cast", &[&tanh], &to(Element::F32)).unwrap()
    });
}

#[test]
fn depth_and_space_go_back_in_both_orders() {
    for mode in ["DCR", "CRD"] {
        let attrs = [("blocksize", Attr::Int(2)), ("mode", Attr::Str(mode.into()))];
        Case::new(vec![Wanted(even(&[2, 8, 1, 3], 6))])
            .check(move |b, x| b.op("DepthToSpace", &[&x[0]], &attrs).unwrap());
    }
    Case::new(vec![Wanted(even(&[2, 2, 2, 4], 6))])
        .check(|b, x| b.op("SpaceToDepth", &[&x[0]], &[("blocksize", Attr::Int(2))]).unwrap());
}
