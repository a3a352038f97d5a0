//! What is merged, checked once.

/// Why no merge can be made of what was given.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InputError {
    /// There is nothing to merge.
    #[error("{got} members, at least {want} needed")]
    TooFew { got: usize, want: usize },
    /// Two things that belong together differ in length.
    #[error("{got} {what}, expected {want}")]
    Count { what: &'static str, got: usize, want: usize },
    /// A member is of another layout.
    #[error("member {member} has {got} values, expected {want}")]
    Length { member: usize, got: usize, want: usize },
    /// A value is no number.
    #[error("value {index} of {what} {at} is not finite")]
    NotFinite { what: &'static str, at: usize, index: usize },
    /// A setting is out of its range.
    #[error("{setting} is {got}, expected {want}")]
    Setting { setting: &'static str, got: f64, want: &'static str },
    /// Nothing is left to divide by.
    #[error("the {what} sum to {sum}, expected a positive number")]
    NoMass { what: &'static str, sum: f64 },
    /// The sum of Gram matrices of a site cannot be inverted.
    #[error("the Gram matrices of site {site} are singular")]
    Singular { site: usize },
    /// Two reports of one seed.
    #[error("seed {seed} was reported twice")]
    Twice { seed: u64 },
    /// Sites do not fit each other.
    #[error("site {site} of member {member} has another shape than the merge")]
    Shape { member: usize, site: usize },
}

/// Flat runs of one length, at least one, all finite: positions or displacements of one layout.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    rows: Vec<&'a [f32]>,
    dim: usize,
}

impl<'a> Members<'a> {
    /// Members of these values.
    ///
    /// # Shapes and units
    /// Each row `[dim]`.
    /// # Errors
    /// [`InputError`] without rows, if two rows differ in length, or if a value is not finite.
    pub fn new<T: AsRef<[f32]>>(rows: &'a [T]) -> Result<Self, InputError> {
        let rows: Vec<&[f32]> = rows.iter().map(AsRef::as_ref).collect();
        let want = rows.first().ok_or(InputError::TooFew { got: 0, want: 1 })?.len();
        for (member, row) in rows.iter().enumerate() {
            if row.len() != want {
                return Err(InputError::Length { member, got: row.len(), want });
            }
            if let Some(index) = row.iter().position(|value| !value.is_finite()) {
                return Err(InputError::NotFinite { what: "member", at: member, index });
            }
        }
        Ok(Self { rows, dim: want })
    }

    /// How many members, at least 1.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// Values of each.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The members, each `[dim]`.
    pub fn rows(&self) -> &[&'a [f32]] {
        &self.rows
    }

    /// Σ weights\[i\]·member i, summed in `f64` in the members' order.
    ///
    /// # Errors
    /// [`InputError`] unless there is one finite weight a member.
    pub fn combine(&self, weights: &[f64]) -> Result<Vec<f32>, InputError> {
        self.check(weights)?;
        Ok(self.sum(weights).into_iter().map(|value| value as f32).collect())
    }

    /// As [`Members::combine`], in `f64`, of weights that were checked.
    pub(crate) fn sum(&self, weights: &[f64]) -> Vec<f64> {
        assert_eq!(weights.len(), self.count(), "one weight a member");
        let mut sum = vec![0.0; self.dim];
        for (row, weight) in self.rows.iter().zip(weights) {
            add(&mut sum, row, *weight);
        }
        sum
    }

    /// One finite weight a member.
    pub(crate) fn check(&self, weights: &[f64]) -> Result<(), InputError> {
        count("weights", weights.len(), self.count())?;
        all_finite("weight", weights)
    }
}

/// Adds `weight`·row.
pub(crate) fn add(sum: &mut [f64], row: &[f32], weight: f64) {
    for (sum, value) in sum.iter_mut().zip(row) {
        *sum += weight * f64::from(*value);
    }
}

/// Σ a·b, in order.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Σ (a − b)², in order.
pub(crate) fn distance_squared(a: &[f32], b: &[f32]) -> f64 {
    let apart = |(a, b): (&f32, &f32)| f64::from(*a) - f64::from(*b);
    a.iter().zip(b).map(apart).map(|apart| apart * apart).sum()
}

/// The nearest `f32` of each.
pub(crate) fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

pub(crate) fn count(what: &'static str, got: usize, want: usize) -> Result<(), InputError> {
    if got == want { Ok(()) } else { Err(InputError::Count { what, got, want }) }
}

pub(crate) fn all_finite(what: &'static str, values: &[f64]) -> Result<(), InputError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(InputError::NotFinite { what, at: index, index }),
        None => Ok(()),
    }
}

/// A flat run of this length, all finite.
pub(crate) fn run(what: &'static str, values: &[f32], want: usize) -> Result<(), InputError> {
    count(what, values.len(), want)?;
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(InputError::NotFinite { what, at: 0, index }),
        None => Ok(()),
    }
}

/// A setting within a range; NaN is in none.
pub(crate) fn within(
    setting: &'static str,
    got: f64,
    range: impl core::ops::RangeBounds<f64>,
    want: &'static str,
) -> Result<(), InputError> {
    if range.contains(&got) { Ok(()) } else { Err(InputError::Setting { setting, got, want }) }
}

/// A positive, finite setting.
pub(crate) fn positive(setting: &'static str, got: f64) -> Result<(), InputError> {
    within(setting, got, f64::MIN_POSITIVE..=f64::MAX, "a positive number")
}

/// At least so many members.
pub(crate) fn at_least(got: usize, want: usize) -> Result<(), InputError> {
    if got < want { Err(InputError::TooFew { got, want }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_of_one_length_and_finite() {
        let none: [Vec<f32>; 0] = [];
        assert_eq!(Members::new(&none).unwrap_err(), InputError::TooFew { got: 0, want: 1 });
        let rows = [vec![1.0, 2.0], vec![1.0]];
        let error = Members::new(&rows).unwrap_err();
        assert_eq!(error, InputError::Length { member: 1, got: 1, want: 2 });
        let rows = [vec![1.0, 2.0], vec![1.0, f32::NAN]];
        let error = Members::new(&rows).unwrap_err();
        assert_eq!(error, InputError::NotFinite { what: "member", at: 1, index: 1 });
    }

    #[test]
    fn a_combination_needs_one_finite_weight_a_member() {
        let rows = [vec![1.0, 2.0], vec![3.0, -1.0]];
        let members = Members::new(&rows).unwrap();
        assert_eq!(members.combine(&[2.0, -1.0]).unwrap(), [-1.0, 5.0]);
        assert!(members.combine(&[1.0]).is_err());
        assert!(members.combine(&[1.0, f64::INFINITY]).is_err());
    }
}
