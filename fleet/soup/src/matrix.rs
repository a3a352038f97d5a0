//! Small dense matrices in `f64`: products, QR, singular values, and systems that are symmetric and positive.
//!
//! Written here because the order of every sum is ours: a library that picks its kernels by the machine's instructions
//! gives other bits on another machine. What is decomposed has some hundred columns at most.

use std::ops::{Index, IndexMut};

/// A pair of columns of n values is orthogonal when its cosine is below this times √n: what rounding leaves of a sum.
const ORTHOGONAL: f64 = 2.0 * f64::EPSILON;
/// A sweep visits every pair of columns; it takes about ten.
const SWEEPS_MAX: usize = 60;

/// Row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

/// U·diag(singular)·Vᵀ, singular values in falling order. A column of U whose singular value is 0 is 0.
pub(crate) struct Svd {
    /// `[rows, k]`, k the lesser of rows and columns.
    pub(crate) u: Matrix,
    pub(crate) singular: Vec<f64>,
    /// `[columns, k]`.
    pub(crate) v: Matrix,
}

impl Index<(usize, usize)> for Matrix {
    type Output = f64;

    fn index(&self, (row, column): (usize, usize)) -> &f64 {
        &self.values[row * self.columns + column]
    }
}

impl IndexMut<(usize, usize)> for Matrix {
    fn index_mut(&mut self, (row, column): (usize, usize)) -> &mut f64 {
        &mut self.values[row * self.columns + column]
    }
}

impl Matrix {
    pub(crate) fn zero(rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: vec![0.0; rows * columns] }
    }

    /// Ones on the diagonal.
    pub(crate) fn identity(rows: usize, columns: usize) -> Self {
        let mut matrix = Self::zero(rows, columns);
        for index in 0..rows.min(columns) {
            matrix[(index, index)] = 1.0;
        }
        matrix
    }

    pub(crate) fn of(columns: usize, values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().collect();
        let rows = values.len().checked_div(columns).unwrap_or(0);
        assert_eq!(rows * columns, values.len(), "a matrix has whole rows");
        Self { rows, columns, values }
    }

    pub(crate) fn wide(columns: usize, values: &[f32]) -> Self {
        Self::of(columns, values.iter().map(|value| f64::from(*value)))
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    pub(crate) fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.values[row * self.columns..(row + 1) * self.columns]
    }

    pub(crate) fn transposed(&self) -> Self {
        let mut matrix = Self::zero(self.columns, self.rows);
        for row in 0..self.rows {
            for column in 0..self.columns {
                matrix[(column, row)] = self[(row, column)];
            }
        }
        matrix
    }

    /// The matrices beside each other.
    pub(crate) fn beside(parts: &[Self]) -> Self {
        let rows = parts.first().map_or(0, Self::rows);
        let columns = parts.iter().map(Self::columns).sum();
        let values = (0..rows).flat_map(|row| parts.iter().flat_map(move |part| part.row(row)));
        Self { rows, columns, values: values.copied().collect() }
    }

    /// The matrices below each other.
    pub(crate) fn below(parts: &[Self]) -> Self {
        let columns = parts.first().map_or(0, Self::columns);
        Self::of(columns, parts.iter().flat_map(|part| &part.values).copied())
    }

    pub(crate) fn scaled(mut self, factor: f64) -> Self {
        self.values.iter_mut().for_each(|value| *value *= factor);
        self
    }

    pub(crate) fn add(&mut self, other: &Self, factor: f64) {
        for (value, other) in self.values.iter_mut().zip(&other.values) {
            *value += factor * other;
        }
    }

    pub(crate) fn times(&self, other: &Self) -> Self {
        assert_eq!(self.columns, other.rows, "inner dimensions");
        let mut product = Self::zero(self.rows, other.columns);
        for row in 0..self.rows {
            for (inner, factor) in self.row(row).iter().enumerate() {
                let from = other.row(inner);
                let to = product.values[row * other.columns..].iter_mut();
                to.zip(from).for_each(|(sum, value)| *sum += factor * value);
            }
        }
        product
    }

    pub(crate) fn times_vector(&self, vector: &[f64]) -> Vec<f64> {
        (0..self.rows).map(|row| dot(self.row(row), vector)).collect()
    }

    /// Q `[rows, k]` with orthonormal columns and R `[k, columns]` upper triangular, by Householder's reflections.
    pub(crate) fn qr(&self) -> (Self, Self) {
        let k = self.rows.min(self.columns);
        let mut r = self.clone();
        let mut mirrors = Vec::with_capacity(k);
        for column in 0..k {
            let mirror = r.mirror(column);
            r.reflect(&mirror, column);
            mirrors.push(mirror);
        }
        let mut q = Self::identity(self.rows, k);
        for (column, mirror) in mirrors.iter().enumerate().rev() {
            q.reflect(mirror, column);
        }
        r.values.truncate(k * self.columns);
        r.rows = k;
        for row in 1..k {
            r.row_mut(row)[..row].fill(0.0);
        }
        (q, r)
    }

    /// The unit vector whose reflection puts what is below the diagonal of this column on the diagonal; empty for none.
    fn mirror(&self, column: usize) -> Vec<f64> {
        let mut vector: Vec<f64> = (column..self.rows).map(|row| self[(row, column)]).collect();
        let length = dot(&vector, &vector).sqrt();
        if length == 0.0 {
            return Vec::new();
        }
        vector[0] += if vector[0] < 0.0 { -length } else { length };
        let length = dot(&vector, &vector).sqrt();
        vector.iter_mut().for_each(|value| *value /= length);
        vector
    }

    /// Rows from this one on, reflected.
    fn reflect(&mut self, mirror: &[f64], from: usize) {
        let mut along = vec![0.0; self.columns];
        for (offset, part) in mirror.iter().enumerate() {
            let row = self.row(from + offset);
            along.iter_mut().zip(row).for_each(|(sum, value)| *sum += part * value);
        }
        for (offset, part) in mirror.iter().enumerate() {
            let row = self.row_mut(from + offset);
            row.iter_mut().zip(&along).for_each(|(value, sum)| *value -= 2.0 * part * sum);
        }
    }

    /// Singular values and vectors, by Jacobi rotations of pairs of columns (Hestenes, 1958): small singular values come out
    /// as exact as large ones, and columns that depend on each other do no harm.
    pub(crate) fn svd(&self) -> Svd {
        if self.rows < self.columns {
            let Svd { u, singular, v } = self.transposed().svd();
            return Svd { u: v, singular, v: u };
        }
        // Columns as rows: a rotation then touches two runs of memory.
        let mut left = self.transposed();
        let mut right = Self::identity(self.columns, self.columns);
        for _sweep in 0..SWEEPS_MAX {
            let mut turned = false;
            for first in 0..self.columns {
                for second in first + 1..self.columns {
                    turned |= rotate(&mut left, &mut right, first, second);
                }
            }
            if !turned {
                break;
            }
        }
        let lengths: Vec<f64> =
            (0..self.columns).map(|row| dot(left.row(row), left.row(row)).sqrt()).collect();
        let mut order: Vec<usize> = (0..self.columns).collect();
        order.sort_by(|a, b| lengths[*b].total_cmp(&lengths[*a]));
        for (row, length) in lengths.iter().enumerate().filter(|(_row, length)| **length > 0.0) {
            left.row_mut(row).iter_mut().for_each(|value| *value /= length);
        }
        let sorted = |matrix: &Self| {
            let rows = order.iter().flat_map(|row| matrix.row(*row)).copied();
            Self::of(matrix.columns, rows).transposed()
        };
        let singular = order.iter().map(|row| lengths[*row]).collect();
        Svd { u: sorted(&left), singular, v: sorted(&right) }
    }

    /// X with self·X = right, for a symmetric positive self, by Cholesky's factor. `None`: self is not positive.
    pub(crate) fn solve(&self, right: &Self) -> Option<Self> {
        let factor = self.cholesky()?;
        let mut x = right.clone();
        for row in 0..self.rows {
            for inner in 0..row {
                x.subtract_row(row, inner, factor[(row, inner)]);
            }
            x.row_mut(row).iter_mut().for_each(|value| *value /= factor[(row, row)]);
        }
        for row in (0..self.rows).rev() {
            for inner in row + 1..self.rows {
                x.subtract_row(row, inner, factor[(inner, row)]);
            }
            x.row_mut(row).iter_mut().for_each(|value| *value /= factor[(row, row)]);
        }
        Some(x)
    }

    fn subtract_row(&mut self, to: usize, from: usize, factor: f64) {
        for column in 0..self.columns {
            let value = self[(from, column)];
            self[(to, column)] -= factor * value;
        }
    }

    /// L with L·Lᵀ = self. `None` unless every pivot is positive, against the diagonal it came from.
    fn cholesky(&self) -> Option<Self> {
        let mut factor = Self::zero(self.rows, self.rows);
        for row in 0..self.rows {
            for column in 0..=row {
                let known = dot(&factor.row(row)[..column], &factor.row(column)[..column]);
                let left = self[(row, column)] - known;
                factor[(row, column)] = if row > column {
                    left / factor[(column, column)]
                } else if left > 1e-12 * self[(row, row)].abs() {
                    left.sqrt()
                } else {
                    return None;
                };
            }
        }
        Some(factor)
    }
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Makes two columns (rows of `left`) orthogonal. False if they were.
fn rotate(left: &mut Matrix, right: &mut Matrix, first: usize, second: usize) -> bool {
    let (a, b) = (left.row(first), left.row(second));
    let (aa, bb, ab) = (dot(a, a), dot(b, b), dot(a, b));
    let limit = ORTHOGONAL * (a.len() as f64).sqrt();
    if ab == 0.0 || ab.abs() <= limit * aa.sqrt() * bb.sqrt() {
        return false;
    }
    let slope = (bb - aa) / (2.0 * ab);
    let tangent = slope.signum() / (slope.abs() + (1.0 + slope * slope).sqrt());
    let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
    let sine = cosine * tangent;
    for matrix in [left, right] {
        let (head, tail) = matrix.values.split_at_mut(second * matrix.columns);
        let row = head[first * matrix.columns..].iter_mut();
        for (first, second) in row.zip(&mut tail[..matrix.columns]) {
            let (a, b) = (*first, *second);
            *first = cosine * a - sine * b;
            *second = sine * a + cosine * b;
        }
    }
    tangent != 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Draws;

    fn random(rows: usize, columns: usize, seed: u64) -> Matrix {
        let mut draws = Draws::new(seed, 0);
        Matrix::of(columns, (0..rows * columns).map(|_index| draws.normal()))
    }

    #[track_caller]
    fn near(a: &Matrix, b: &Matrix) {
        assert_eq!((a.rows, a.columns), (b.rows, b.columns));
        for (a, b) in a.values.iter().zip(&b.values) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
    }

    #[test]
    fn qr_is_the_matrix_and_q_is_orthonormal() {
        for (rows, columns) in [(7, 3), (3, 7), (4, 4), (5, 1), (1, 5)] {
            let matrix = random(rows, columns, 1);
            let (q, r) = matrix.qr();
            near(&q.times(&r), &matrix);
            let k = rows.min(columns);
            near(&q.transposed().times(&q), &Matrix::identity(k, k));
            assert!((1..k).all(|row| r.row(row)[..row].iter().all(|value| *value == 0.0)));
        }
    }

    #[test]
    fn qr_takes_columns_that_depend_on_each_other() {
        let matrix = random(6, 1, 2).times(&random(1, 4, 3));
        let (q, r) = matrix.qr();
        near(&q.times(&r), &matrix);
        near(&q.transposed().times(&q), &Matrix::identity(4, 4));
        let (q, r) = Matrix::zero(3, 2).qr();
        near(&q.times(&r), &Matrix::zero(3, 2));
    }

    #[test]
    fn svd_is_the_matrix_with_orthonormal_sides_and_falling_values() {
        for (rows, columns) in [(7, 3), (3, 7), (12, 12), (4, 1)] {
            let matrix = random(rows, columns, 4);
            let Svd { u, singular, v } = matrix.svd();
            let k = rows.min(columns);
            let mut scaled = u.clone();
            for (index, value) in scaled.values.iter_mut().enumerate() {
                *value *= singular[index % k];
            }
            near(&scaled.times(&v.transposed()), &matrix);
            near(&u.transposed().times(&u), &Matrix::identity(k, k));
            near(&v.transposed().times(&v), &Matrix::identity(k, k));
            assert!(singular.windows(2).all(|pair| pair[0] >= pair[1]), "{singular:?}");
        }
    }

    #[test]
    fn a_matrix_of_rank_2_has_2_singular_values() {
        let matrix = random(9, 2, 5).times(&random(2, 6, 6));
        let singular = matrix.svd().singular;
        assert!(singular[1] > 0.1 && singular[2] < 1e-13, "{singular:?}");
        assert_eq!(Matrix::zero(3, 3).svd().singular, [0.0; 3]);
    }

    /// Members that agree leave a core most of whose singular values are rounding: it must neither take for ever nor turn
    /// the others.
    #[test]
    fn a_large_matrix_of_low_rank_converges() {
        let matrix = random(120, 8, 5).times(&random(8, 120, 6));
        let Svd { mut u, singular, v } = matrix.svd();
        assert!(singular[7] > 1.0 && singular[8] < 1e-11, "{singular:?}");
        for (index, value) in u.values.iter_mut().enumerate() {
            *value *= singular[index % 120];
        }
        let right = v.transposed();
        let (mut back, mut square) = (u.times(&right), right.times(&v));
        back.add(&matrix, -1.0);
        square.add(&Matrix::identity(120, 120), -1.0);
        let worst = |matrix: &Matrix| matrix.values.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
        assert!(worst(&back) < 1e-11 && worst(&square) < 1e-12);
    }

    #[test]
    fn a_symmetric_positive_system_is_solved_and_a_singular_one_refused() {
        let root = random(6, 4, 7);
        let gram = root.transposed().times(&root);
        let right = random(4, 3, 8);
        near(&gram.times(&gram.solve(&right).unwrap()), &right);
        let flat = random(4, 2, 9);
        let flat = flat.times(&flat.transposed());
        assert!(flat.solve(&right).is_none());
        assert!(Matrix::zero(4, 4).solve(&right).is_none());
    }
}
