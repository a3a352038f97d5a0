//! Gradients of matrix products.
//!
//! ```text
//! y = a·b          a [.., M, K]   b [.., K, N]        share_a = g·bᵀ      share_b = aᵀ·g
//! y = α·a'·b' + β·c                                    (a', b': transposed or not)
//! ```
//! Where b is one matrix for a whole batch, the batch is flattened into rows: one product, not a batch
//! of them and a sum. Operands of rank 1 are a row and a column.
//! # Source
//! ONNX `MatMul` (numpy.matmul), `Gemm`; elementary matrix calculus.

use crate::onnx::Value;

use super::Reason;
use super::step::Step;

type Done = Result<(), Reason>;

pub(super) fn matmul(step: &mut Step) -> Done {
    let (dy, a, b) = (step.dy()?, step.x(0)?, step.x(1)?);
    let (dims_a, dims_b) = (step.emit.dims(&a), step.emit.dims(&b));
    let as_row = if let [k] = dims_a[..] { vec![1, k] } else { dims_a.clone() };
    let as_column = if let [k] = dims_b[..] { vec![k, 1] } else { dims_b.clone() };
    let a = step.emit.reshape(&a, &as_row)?;
    let b = step.emit.reshape(&b, &as_column)?;
    let inner = as_row[as_row.len() - 1];
    let columns = as_column[as_column.len() - 1];

    if as_column.len() == 2 {
        let all: usize = as_row[..as_row.len() - 1].iter().product();
        let dy = step.emit.reshape(&dy, &[all, columns])?;
        if step.wants(0) {
            let share = step.emit.gemm((&dy, false), (&b, true), 1.0)?;
            let share = step.emit.reshape(&share, &dims_a)?;
            step.give(0, share);
        }
        if step.wants(1) {
            let a = step.emit.reshape(&a, &[all, inner])?;
            let share = step.emit.gemm((&a, true), (&dy, false), 1.0)?;
            let share = step.emit.reshape(&share, &dims_b)?;
            step.give(1, share);
        }
        return Ok(());
    }

    let mut dims = step.emit.dims(&dy);
    if dims_a.len() == 1 {
        dims.insert(dims.len() - 1, 1);
    }
    let dy = step.emit.reshape(&dy, &dims)?;
    if step.wants(0) {
        let other = step.emit.swap_last(&b)?;
        let share = step.emit.matmul(&dy, &other)?;
        let share = step.emit.unbroadcast(&share, &as_row)?;
        let share = step.emit.reshape(&share, &dims_a)?;
        step.give(0, share);
    }
    if step.wants(1) {
        let other = step.emit.swap_last(&a)?;
        let share = step.emit.matmul(&other, &dy)?;
        let share = step.emit.unbroadcast(&share, &as_column)?;
        step.give(1, share);
    }
    Ok(())
}

pub(super) fn gemm(step: &mut Step) -> Done {
    let (dy, a, b) = (step.dy()?, step.x(0)?, step.x(1)?);
    let alpha = step.node.float("alpha", 1.0);
    let beta = f64::from(step.node.float("beta", 1.0));
    let turned = (step.node.int("transA", 0) != 0, step.node.int("transB", 0) != 0);
    if step.wants(0) {
        let share = gemm_share_a(step, &dy, &b, turned, alpha)?;
        step.give(0, share);
    }
    if step.wants(1) {
        let share = gemm_share_b(step, &dy, &a, turned, alpha)?;
        step.give(1, share);
    }
    if step.wants(2) {
        let share = step.emit.scale(&dy, beta)?;
        step.give_unbroadcast(2, &share)?;
    }
    Ok(())
}

fn gemm_share_a(
    step: &mut Step,
    dy: &Value,
    b: &Value,
    (a_turned, b_turned): (bool, bool),
    alpha: f32,
) -> Result<Value, Reason> {
    Ok(if a_turned {
        step.emit.gemm((b, b_turned), (dy, true), alpha)?
    } else {
        step.emit.gemm((dy, false), (b, !b_turned), alpha)?
    })
}

fn gemm_share_b(
    step: &mut Step,
    dy: &Value,
    a: &Value,
    (a_turned, b_turned): (bool, bool),
    alpha: f32,
) -> Result<Value, Reason> {
    Ok(if b_turned {
        step.emit.gemm((dy, true), (a, a_turned), alpha)?
    } else {
        step.emit.gemm((a, !a_turned), (dy, false), alpha)?
    })
}
