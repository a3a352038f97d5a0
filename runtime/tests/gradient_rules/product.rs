//! Matrix products.

use shoal_runtime::onnx::Attr;

use crate::finite::Feed::{Frozen, Wanted};
use crate::finite::{Case, even};

#[test]
fn matrix_products_of_all_ranks() {
    let pairs: [(&[usize], &[usize]); 9] = [
        (&[2, 3], &[3, 4]),
        (&[2, 3, 4], &[4, 2]),
        (&[2, 2, 3, 4], &[4, 2]),
        (&[2, 3, 4], &[2, 4, 2]),
        (&[2, 3, 2, 4], &[2, 1, 4, 2]),
        (&[3, 4], &[2, 4, 2]),
        (&[3], &[3, 2]),
        (&[2, 3], &[3]),
        (&[3], &[2, 3, 2]),
    ];
    for (a, b) in pairs {
        Case::new(vec![Wanted(even(a, 1)), Wanted(even(b, 2))])
            .check(|b, x| b.op("MatMul", &[&x[0], &x[1]], &[]).unwrap());
        let weight = even(b, 2);
        Case::new(vec![Wanted(even(a, 1))]).check(move |b, x| {
            let weight = b.constant_of(&weight);
            b.op("MatMul", &[&x[0], &weight], &[]).unwrap()
        });
    }
}

#[test]
fn a_product_with_itself_gets_both_shares() {
    Case::new(vec![Wanted(even(&[3, 3], 3))])
        .check(|b, x| b.op("MatMul", &[&x[0], &x[0]], &[]).unwrap());
}

#[test]
fn gemm_in_all_its_forms() {
    for (turn_a, turn_b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        for bias in [&[][..], &[4], &[2, 1], &[2, 4]] {
            for opset in [9, 17] {
                let a = if turn_a == 1 { [3, 2] } else { [2, 3] };
                let b = if turn_b == 1 { [4, 3] } else { [3, 4] };
                let attrs = [
                    ("transA", Attr::Int(turn_a)),
                    ("transB", Attr::Int(turn_b)),
                    ("alpha", Attr::Float(0.7)),
                    ("beta", Attr::Float(1.3)),
                ];
                let feeds = vec![Wanted(even(&a, 4)), Wanted(even(&b, 5)), Wanted(even(bias, 6))];
                Case::new(feeds)
                    .opset(opset)
                    .check(move |b, x| b.op("Gemm", &[&x[0], &x[1], &x[2]], &attrs).unwrap());
            }
        }
    }
    Case::new(vec![Frozen(even(&[2, 3], 4)), Wanted(even(&[3, 4], 5))])
        .check(|b, x| b.op("Gemm", &[&x[0], &x[1]], &[]).unwrap());
}
