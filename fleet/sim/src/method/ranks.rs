//! Displacements of vehicles of different ranks: rows that a vehicle does not have.

/// Where a vehicle has no such value, the mean of those that have it stands for it (0 where nobody has it): then a mean over
/// all is one over those that have the row. `has` says of each displacement which values it has; `None`: all.
pub(super) fn fill(displacements: &mut [Vec<f32>], has: &[Option<&[bool]>]) {
    let values = displacements.first().map_or(0, Vec::len);
    let (mut sums, mut counts) = (vec![0.0_f64; values], vec![0_u32; values]);
    let of = |has: &Option<&[bool]>, at: usize| {
        has.is_none_or(|has| has.get(at).copied().unwrap_or(true))
    };
    for (displacement, has) in displacements.iter().zip(has) {
        let each = displacement.iter().zip(sums.iter_mut().zip(&mut counts)).enumerate();
        for (at, (value, (sum, count))) in each {
            if of(has, at) {
                *sum += f64::from(*value);
                *count += 1;
            }
        }
    }
    for (displacement, has) in displacements.iter_mut().zip(has) {
        for (at, (value, (sum, count))) in
            displacement.iter_mut().zip(sums.iter().zip(&counts)).enumerate()
        {
            if !of(has, at) {
                *value = if *count > 0 { (sum / f64::from(*count)) as f32 } else { 0.0 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_mean_of_those_that_have_it() {
        let mut of = vec![vec![1.0, 0.0, 0.5], vec![3.0, 4.0, 0.5], vec![5.0, 8.0, 0.5]];
        let (first, none) = ([true, false, false], [true, true, false]);
        fill(&mut of, &[Some(&first), None, None]);
        assert_eq!(of, [[1.0, 6.0, 0.5], [3.0, 4.0, 0.5], [5.0, 8.0, 0.5]]);
        fill(&mut of, &[Some(&first), Some(&none), Some(&none)]);
        assert_eq!(of, [[1.0, 6.0, 0.0], [3.0, 4.0, 0.0], [5.0, 8.0, 0.0]]);
    }
}
