//! Moving the values of constants at derive time, so that no run pays for it.

use crate::onnx::Tensor;
use crate::onnx::tensor::map_data;

/// The tensor with its axes in another order.
pub(super) fn transpose(tensor: &Tensor, perm: &[usize]) -> Tensor {
    let strides = strides(&tensor.dims);
    let dims: Vec<usize> = perm.iter().map(|&axis| tensor.dims[axis]).collect();
    let steps: Vec<usize> = perm.iter().map(|&axis| strides[axis]).collect();
    let order = walk(&dims, &steps);
    Tensor { data: map_data!(&tensor.data, v => order.iter().map(|&i| v[i]).collect()), dims }
}

/// The same values in other dimensions.
pub(super) fn reshape(tensor: Tensor, dims: &[usize]) -> Tensor {
    Tensor::new(dims, tensor.data)
}

/// The values along the last axis in reverse.
pub(super) fn reverse_last(tensor: &Tensor) -> Tensor {
    let last = tensor.dims.last().copied().unwrap_or(1).max(1);
    let data = map_data!(&tensor.data, v => {
        v.chunks(last).flat_map(|row| row.iter().rev().copied()).collect()
    });
    Tensor { dims: tensor.dims.clone(), data }
}

fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// Flat source indices of a row-major walk over `dims` with these steps.
fn walk(dims: &[usize], steps: &[usize]) -> Vec<usize> {
    let mut order = vec![0];
    for (&dim, &step) in dims.iter().zip(steps) {
        order = order.iter().flat_map(|&at| (0..dim).map(move |i| at + i * step)).collect();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_moves_every_value_to_its_place() {
        let values: Vec<f32> = (0..24).map(|v| v as f32).collect();
        let tensor = Tensor::f32(&[2, 3, 4], &values);
        let moved = transpose(&tensor, &[2, 0, 1]);
        assert_eq!(moved.dims, [4, 2, 3]);
        for (a, b, c) in
            (0..2).flat_map(|a| (0..3).flat_map(move |b| (0..4).map(move |c| (a, b, c))))
        {
            let at = moved.as_f32().unwrap()[(c * 2 + a) * 3 + b];
            assert_eq!(at, values[(a * 3 + b) * 4 + c]);
        }
    }

    #[test]
    fn reversing_the_last_axis_twice_changes_nothing() {
        let tensor = Tensor::f32(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let once = reverse_last(&tensor);
        assert_eq!(once.as_f32().unwrap(), [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
        assert_eq!(reverse_last(&once), tensor);
    }
}
