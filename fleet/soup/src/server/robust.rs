//! Means that some liars cannot draw away.

use crate::input::{InputError, Members, at_least, distance_squared, dot, within};
use crate::merge::uniform;

/// Of each entry the median over the members; of an even count the mean of the two middle ones.
///
/// # Source
/// Yin et al., arXiv 1803.01498, definition 1.
pub fn coordinate_median(members: &Members<'_>) -> Vec<f32> {
    by_entry(members, |sorted| {
        let count = sorted.len();
        (f64::from(sorted[(count - 1) / 2]) + f64::from(sorted[count / 2])) / 2.0
    })
}

/// Of each entry the mean over the members without the `cut` lowest and the `cut` highest.
///
/// # Errors
/// [`InputError`] unless there are more than 2·cut members.
/// # Source
/// Yin et al., arXiv 1803.01498, definition 2.
pub fn trimmed_mean(members: &Members<'_>, cut: usize) -> Result<Vec<f32>, InputError> {
    at_least(members.count(), cut.saturating_mul(2).saturating_add(1))?;
    Ok(by_entry(members, |sorted| {
        let kept = &sorted[cut..sorted.len() - cut];
        kept.iter().map(|value| f64::from(*value)).sum::<f64>() / kept.len() as f64
    }))
}

/// The member whose n − f − 2 nearest others are nearest, by the sum of squared distances (the first of equals), when f of n
/// may lie.
///
/// # Errors
/// [`InputError`] unless there are at least 2f + 3 members.
/// # Source
/// Krum, arXiv 1703.02757, section 4.
pub fn krum(members: &Members<'_>, liars: usize) -> Result<usize, InputError> {
    Ok(by_krum(members, liars)?[0])
}

/// The mean of the `keep` best by Krum.
///
/// # Errors
/// [`InputError`] unless there are at least 2f + 3 members, and `keep` is 1 to n − f.
/// # Source
/// Multi-Krum, arXiv 1703.02757, section 5.
pub fn multi_krum(
    members: &Members<'_>,
    liars: usize,
    keep: usize,
) -> Result<Vec<f32>, InputError> {
    let order = by_krum(members, liars)?;
    let most = (members.count() - liars) as f64;
    within("number of members kept", keep as f64, 1.0..=most, "1 to n − f")?;
    let mut kept: Vec<usize> = order.into_iter().take(keep).collect();
    kept.sort_unstable();
    let rows: Vec<&[f32]> = kept.into_iter().map(|index| members.rows()[index]).collect();
    Ok(uniform(&Members::new(&rows)?))
}

/// Displacements, each shortened to the median length where it is longer: none draws the mean by its length alone.
///
/// # Source
/// As the swarm's own merge does; norm clipping in Sun et al., arXiv 1911.07963, section 4.
pub fn clip_to_median(displacements: &Members<'_>) -> Vec<Vec<f32>> {
    let lengths: Vec<f64> = displacements.rows().iter().map(|row| dot(row, row).sqrt()).collect();
    let mut sorted = lengths.clone();
    sorted.sort_by(f64::total_cmp);
    let limit = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
    let clip = |(row, length): (&&[f32], &f64)| {
        let factor = if *length > limit { limit / length } else { 1.0 };
        row.iter().map(|value| (f64::from(*value) * factor) as f32).collect()
    };
    displacements.rows().iter().zip(&lengths).map(clip).collect()
}

/// One number of each entry's values in rising order.
fn by_entry(members: &Members<'_>, of: impl Fn(&[f32]) -> f64) -> Vec<f32> {
    let mut sorted = Vec::with_capacity(members.count());
    let mut entry = |index: usize| {
        sorted.clear();
        sorted.extend(members.rows().iter().map(|row| row[index]));
        sorted.sort_by(f32::total_cmp);
        of(&sorted) as f32
    };
    (0..members.dim()).map(&mut entry).collect()
}

/// Indices in rising order of Krum's sum.
fn by_krum(members: &Members<'_>, liars: usize) -> Result<Vec<usize>, InputError> {
    let count = members.count();
    at_least(count, liars.saturating_mul(2).saturating_add(3))?;
    let rows = members.rows();
    let mut distances = vec![vec![0.0; count]; count];
    for first in 0..count {
        for second in first + 1..count {
            let distance = distance_squared(rows[first], rows[second]);
            distances[first][second] = distance;
            distances[second][first] = distance;
        }
    }
    let sum = |(index, distances): (usize, Vec<f64>)| {
        let mut others = distances;
        others.remove(index);
        others.sort_by(f64::total_cmp);
        others[..count - liars - 2].iter().sum::<f64>()
    };
    let sums: Vec<f64> = distances.into_iter().enumerate().map(sum).collect();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|a, b| sums[*a].total_cmp(&sums[*b]));
    Ok(order)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chance::Draws;

    /// Seven honest around (1, 1) and two liars who agree with each other.
    fn rows(liar: [f32; 2]) -> Vec<[f32; 2]> {
        let mut draws = Draws::new(1, 0);
        let mut honest = || [1.0 + 0.1 * draws.normal() as f32, 1.0 + 0.1 * draws.normal() as f32];
        let mut rows: Vec<[f32; 2]> = (0..7).map(|_index| honest()).collect();
        rows.insert(2, liar);
        rows.insert(5, liar);
        rows
    }

    fn is_honest(values: &[f32]) -> bool {
        values.iter().all(|value| (value - 1.0).abs() < 0.3)
    }

    #[test]
    fn as_many_liars_as_said_are_ignored_and_the_plain_mean_is_not_safe() {
        for liar in [[1000.0, -1000.0], [1.0, 50.0], [-3.0, -3.0]] {
            let rows = rows(liar);
            let members = Members::new(&rows).unwrap();
            let chosen = krum(&members, 2).unwrap();
            assert!(chosen != 2 && chosen != 5, "{liar:?}");
            assert!(is_honest(&multi_krum(&members, 2, 5).unwrap()), "{liar:?}");
            assert!(is_honest(&coordinate_median(&members)), "{liar:?}");
            assert!(is_honest(&trimmed_mean(&members, 2).unwrap()), "{liar:?}");
            assert!(!is_honest(&uniform(&members)), "{liar:?}");
        }
    }

    /// With the distances to all others the member nearest to the liars would win.
    #[test]
    fn krum_looks_at_the_nearest_alone() {
        let rows = [[0.0], [1.0], [1.9], [30.0], [31.0]];
        assert_eq!(krum(&Members::new(&rows).unwrap(), 1), Ok(1));
    }

    #[test]
    fn a_clipped_liar_is_no_longer_than_the_median() {
        let rows = rows([1e6, 0.0]);
        let members = Members::new(&rows).unwrap();
        let clipped = clip_to_median(&members);
        let lengths: Vec<f64> = clipped.iter().map(|row| dot(row, row).sqrt()).collect();
        let most = lengths.iter().copied().fold(0.0, f64::max);
        assert!(lengths[2] <= most * 1.000_001 && most < 2.0, "{lengths:?}");
        assert!(clipped.iter().zip(&rows).filter(|(a, b)| a.as_slice() == *b).count() >= 4);
    }

    #[test]
    fn too_few_members_for_so_many_liars_are_refused() {
        let rows = rows([0.0, 0.0]);
        let members = Members::new(&rows).unwrap();
        assert_eq!(krum(&members, 4), Err(InputError::TooFew { got: 9, want: 11 }));
        assert!(krum(&members, usize::MAX).is_err());
        assert!(trimmed_mean(&members, 5).is_err());
        assert!(multi_krum(&members, 2, 8).is_err());
        assert!(multi_krum(&members, 2, 0).is_err());
    }

    #[test]
    fn without_a_cut_the_trimmed_mean_is_the_mean_and_with_all_but_one_the_median() {
        let rows = [[1.0], [2.0], [9.0]];
        let members = Members::new(&rows).unwrap();
        assert_eq!(trimmed_mean(&members, 0).unwrap(), uniform(&members));
        assert_eq!(trimmed_mean(&members, 1).unwrap(), coordinate_median(&members));
        assert_eq!(coordinate_median(&Members::new(&rows[..2]).unwrap()), [1.5]);
    }

    proptest! {
        #[test]
        fn order_statistics_do_not_know_the_order(
            rows in prop::collection::vec(prop::array::uniform2(-9.0_f32..9.0), 5..9),
        ) {
            let mut turned = rows.clone();
            turned.rotate_left(2);
            let (one, other) = (Members::new(&rows).unwrap(), Members::new(&turned).unwrap());
            prop_assert_eq!(coordinate_median(&one), coordinate_median(&other));
            prop_assert_eq!(trimmed_mean(&one, 2).unwrap(), trimmed_mean(&other, 2).unwrap());
        }
    }
}
