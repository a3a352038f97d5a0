//! An opinion as it travels: a byte for each bin.

use super::{BINS, Distribution};

/// Steps of a byte for each nat.
const STEPS: f64 = 16.0;

/// How much less probable than the most probable bin each bin is held, in sixteenths of a nat; 255: at least as much less.
///
/// Whoever reads it has the same [`Distribution`], to the bit: nobody needs the network that had the opinion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantised(Box<[u8]>);

impl Quantised {
    /// The nearest to an opinion: no probability above e⁻¹⁵ of the largest is wrong by more than about 7 %.
    #[must_use]
    pub fn of(opinion: &Distribution) -> Self {
        let largest = opinion.joint().iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let byte = |p: &f64| {
            let less = libm::log(largest) - libm::log(p.max(f64::MIN_POSITIVE));
            libm::round(STEPS * less).clamp(0.0, 255.0) as u8
        };
        Self(opinion.joint().iter().map(byte).collect())
    }

    /// The opinion.
    #[must_use]
    pub fn distribution(&self) -> Distribution {
        let weights: [f64; 256] = std::array::from_fn(|byte| libm::exp(-(byte as f64) / STEPS));
        let mut joint = [0.0; BINS];
        for (p, byte) in joint.iter_mut().zip(&self.0) {
            *p = weights[usize::from(*byte)];
        }
        Distribution::normalised(joint)
    }

    /// [`BINS`] bytes, in the order of the flat index.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::{Action, ActionGrid, bin_spread};

    #[test]
    fn what_travels_is_nearly_what_was_said_and_is_the_same_when_it_travels_on() {
        let grid = ActionGrid::v1();
        let said = Distribution::from_axes(
            &bin_spread(grid.curvature_edges(), 0.01, 0.004),
            &bin_spread(grid.acceleration_edges(), -1.0, 0.6),
        );
        let heard = Quantised::of(&said).distribution();
        let bin = grid.bin(Action { curvature_per_m: 0.01, acceleration_m_s2: -1.0 });
        assert!((heard.nats(bin) - said.nats(bin)).abs() < 0.07);
        let apart: f64 = said.joint().iter().zip(heard.joint()).map(|(a, b)| (a - b).abs()).sum();
        assert!(apart > 0.0 && apart < 0.05, "{apart}");
        assert_eq!(Quantised::of(&heard), Quantised::of(&said));
        assert_eq!(Quantised::of(&said).bytes().len(), BINS);
    }
}
