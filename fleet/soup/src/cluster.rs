//! k-means, by Lloyd's iterations from k-means++ seeds.

use crate::chance::Draws;
use crate::input::{InputError, Members, add, at_least, distance_squared, narrow, within};

/// Iterations after which a clustering is taken as it is.
const ITERATIONS_MAX: usize = 100;

/// Points in groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// The mean of each group, `[k][dim]`. That of a group without points is where it was last.
    pub centres: Vec<Vec<f32>>,
    /// The group of each point, `[count]`.
    pub of: Vec<usize>,
}

/// Groups points by their nearest centre.
///
/// The first centre is drawn from all points, each next one with probability in proportion to its squared distance to the
/// nearest centre so far. Then points go to the nearest centre (the first of equals) and centres to the mean of their
/// points, until no point changes its group or after 100 rounds.
///
/// # Errors
/// [`InputError`] if `k` is 0 or there are fewer points than `k`.
/// # Source
/// Arthur and Vassilvitskii, "k-means++", 2007; Lloyd, 1982.
pub fn k_means(points: &Members<'_>, k: usize, draws: &mut Draws) -> Result<Clusters, InputError> {
    within("k", k as f64, 1.0.., "at least 1")?;
    at_least(points.count(), k)?;
    let mut centres = vec![points.rows()[draws.index(points.count())].to_vec()];
    while centres.len() < k {
        let far: Vec<f64> = points.rows().iter().map(|point| nearest(point, &centres).1).collect();
        centres.push(points.rows()[draws.weighted(&far)].to_vec());
    }
    let mut of = Vec::new();
    for _round in 0..ITERATIONS_MAX {
        let next: Vec<usize> =
            points.rows().iter().map(|point| nearest(point, &centres).0).collect();
        if next == of {
            break;
        }
        of = next;
        for (group, centre) in centres.iter_mut().enumerate() {
            if let Some(mean) = mean_of(points, &of, group) {
                *centre = mean;
            }
        }
    }
    Ok(Clusters { centres, of })
}

/// The nearest centre, the first of equals, and its squared distance.
fn nearest(point: &[f32], centres: &[Vec<f32>]) -> (usize, f64) {
    let mut best = (0, f64::INFINITY);
    for (index, centre) in centres.iter().enumerate() {
        let distance = distance_squared(point, centre);
        if distance < best.1 {
            best = (index, distance);
        }
    }
    best
}

/// The mean of a group; `None` without points.
fn mean_of(points: &Members<'_>, of: &[usize], group: usize) -> Option<Vec<f32>> {
    let mut sum = vec![0.0; points.dim()];
    let mut count = 0_u32;
    for (point, _group) in points.rows().iter().zip(of).filter(|(_point, of)| **of == group) {
        add(&mut sum, point, 1.0);
        count += 1;
    }
    sum.iter_mut().for_each(|value| *value /= f64::from(count));
    (count > 0).then(|| narrow(&sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_are_apart_are_found() {
        let mut draws = Draws::new(1, 0);
        let near = [[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]];
        let points: Vec<Vec<f32>> = (0..30)
            .map(|index| near[index % 3].map(|at| at + draws.normal() as f32 * 0.1).to_vec())
            .collect();
        let clusters = k_means(&Members::new(&points).unwrap(), 3, &mut draws).unwrap();
        for index in 3..30 {
            assert_eq!(clusters.of[index], clusters.of[index - 3]);
        }
        assert_ne!(clusters.of[0], clusters.of[1]);
        let centre = &clusters.centres[clusters.of[1]];
        assert!((centre[0] - 10.0).abs() < 0.2 && centre[1].abs() < 0.2, "{centre:?}");
    }

    #[test]
    fn as_many_points_as_centres_are_needed() {
        let points = [vec![1.0], vec![2.0]];
        let members = Members::new(&points).unwrap();
        assert!(k_means(&members, 3, &mut Draws::new(1, 0)).is_err());
        assert!(k_means(&members, 0, &mut Draws::new(1, 0)).is_err());
    }
}
