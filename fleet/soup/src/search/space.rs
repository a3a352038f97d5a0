//! Which coefficients of members a search may try.

/// A space of coefficients, one a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Any: n dimensions.
    Free,
    /// Those of sum 1, of any sign: n − 1 dimensions, the affine hull that Model Swarms stays in.
    Affine,
    /// Those of sum 1 that are not negative: n dimensions, of which one does nothing.
    Convex,
}

impl Space {
    /// Dimensions of a point.
    pub fn dim(self, members: usize) -> usize {
        match self {
            Space::Free | Space::Convex => members,
            Space::Affine => members.saturating_sub(1),
        }
    }

    /// The point of the plain mean, `[dim]`.
    pub fn start(self, members: usize) -> Vec<f64> {
        match self {
            Space::Free => vec![1.0 / members as f64; members],
            Space::Affine | Space::Convex => vec![0.0; self.dim(members)],
        }
    }

    /// The coefficients of a point, `[members]`.
    ///
    /// Affine: 1/n + Σ zₖ·hₖ with hₖ the orthonormal rows of Helmert's matrix, so that no member is favoured. Convex: the
    /// softmax.
    ///
    /// # Panics
    /// If the point has not the dimensions of this space.
    pub fn coefficients(self, members: usize, point: &[f64]) -> Vec<f64> {
        assert_eq!(point.len(), self.dim(members), "a point of this space");
        match self {
            Space::Free => point.to_vec(),
            Space::Affine => affine(members, point),
            Space::Convex => {
                let most = point.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let shares: Vec<f64> = point.iter().map(|z| libm::exp(z - most)).collect();
                let sum: f64 = shares.iter().sum();
                shares.into_iter().map(|share| share / sum).collect()
            }
        }
    }
}

fn affine(members: usize, point: &[f64]) -> Vec<f64> {
    let mut coefficients = vec![1.0 / members as f64; members];
    for (index, z) in point.iter().enumerate() {
        let before = (index + 1) as f64;
        let step = z / (before * (before + 1.0)).sqrt();
        coefficients[..=index].iter_mut().for_each(|coefficient| *coefficient += step);
        coefficients[index + 1] -= before * step;
    }
    coefficients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_space_starts_at_the_mean() {
        for space in [Space::Free, Space::Affine, Space::Convex] {
            for members in 1..5 {
                let start = space.start(members);
                let coefficients = space.coefficients(members, &start);
                assert_eq!(coefficients.len(), members);
                let share = 1.0 / members as f64;
                assert!(coefficients.iter().all(|c| (c - share).abs() < 1e-15), "{space:?}");
            }
        }
    }

    #[test]
    fn affine_points_keep_the_sum_and_their_length() {
        let point = [0.3, -1.2, 2.0];
        let coefficients = Space::Affine.coefficients(4, &point);
        assert!((coefficients.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let away: f64 = coefficients.iter().map(|c| (c - 0.25) * (c - 0.25)).sum();
        let length: f64 = point.iter().map(|z| z * z).sum();
        assert!((away - length).abs() < 1e-12, "the map turns, it does not stretch");
    }

    #[test]
    fn convex_coefficients_are_shares_however_far_the_point() {
        let coefficients = Space::Convex.coefficients(3, &[900.0, -900.0, 900.0]);
        assert_eq!(coefficients, [0.5, 0.0, 0.5]);
    }
}
