//! Random draws that depend on nothing but their key.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// First eight bytes of every key: these streams never meet those of another crate.
const TAG: [u8; 8] = *b"shl/soup";

/// One stream of draws: ChaCha8 with key `"shl/soup" ‖ seed u64 ‖ stream u64 ‖ 0 u64` (little-endian), nonce 0.
pub struct Draws(ChaCha8Rng);

impl Draws {
    /// The stream of this number under this seed, at its beginning.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&TAG);
        key[8..16].copy_from_slice(&seed.to_le_bytes());
        key[16..24].copy_from_slice(&stream.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        const UNIT: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.0.next_u64() >> 11) as f64 * UNIT
    }

    /// 32 bits, all alike.
    pub fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// True with probability `chance`.
    pub fn happens(&mut self, chance: f64) -> bool {
        self.unit() < chance
    }

    /// Normal with mean 0 and deviation 1, of two uniform draws u₁ and u₂: √(−2 ln(1 − u₁))·cos(2π u₂).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(1.0 - self.unit())).sqrt();
        radius * libm::cos(2.0 * core::f64::consts::PI * self.unit())
    }

    /// Uniform in `0..count`; the bias is below `count`·2⁻⁶⁴.
    ///
    /// # Panics
    /// If `count` is 0.
    pub fn index(&mut self, count: usize) -> usize {
        assert!(count > 0, "a draw needs something to draw from");
        ((u128::from(self.0.next_u64()) * count as u128) >> 64) as usize
    }

    /// An index with probability in proportion to its weight, all alike when no weight is positive.
    ///
    /// # Panics
    /// If there are no weights.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let positive = |weight: &f64| weight.is_finite() && *weight > 0.0;
        let total: f64 = weights.iter().filter(|weight| positive(weight)).sum();
        if !positive(&total) {
            return self.index(weights.len());
        }
        let mut left = self.unit() * total;
        let mut last = 0;
        for (index, weight) in weights.iter().enumerate().filter(|(_at, weight)| positive(weight)) {
            last = index;
            if left < *weight {
                break;
            }
            left -= weight;
        }
        last
    }

    /// The indices `0..count` in an order drawn from all, by Fisher and Yates.
    pub fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for end in (1..count).rev() {
            let other = self.index(end + 1);
            order.swap(end, other);
        }
        order
    }

    /// `count` different indices of `0..from`, fewer when there are no more.
    pub fn some_of(&mut self, from: usize, count: usize) -> Vec<usize> {
        let mut order = self.shuffled(from);
        order.truncate(count);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_key_counts() {
        let first = |seed, stream| Draws::new(seed, stream).unit().to_bits();
        assert_eq!(first(1, 2), first(1, 2));
        assert_ne!(first(1, 2), first(0, 2));
        assert_ne!(first(1, 2), first(1, 0));
    }

    #[test]
    fn normal_draws_have_mean_0_and_deviation_1() {
        let mut draws = Draws::new(1, 0);
        let all: Vec<f64> = (0..4000).map(|_index| draws.normal()).collect();
        let mean = all.iter().sum::<f64>() / 4000.0;
        let variance = all.iter().map(|draw| draw * draw).sum::<f64>() / 4000.0 - mean * mean;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.08, "{mean} {variance}");
    }

    #[test]
    fn weighted_draws_follow_their_weights() {
        let mut draws = Draws::new(3, 0);
        let mut seen = [0_u32; 4];
        for _ in 0..4000 {
            seen[draws.weighted(&[1.0, 0.0, 3.0, -5.0])] += 1;
        }
        assert_eq!((seen[1], seen[3]), (0, 0));
        assert!((850..1150).contains(&seen[0]), "{seen:?}");
    }

    #[test]
    fn without_a_positive_weight_all_are_alike() {
        let mut draws = Draws::new(3, 0);
        let mut seen = [0_u32; 2];
        for _ in 0..1000 {
            seen[draws.weighted(&[0.0, f64::NAN])] += 1;
        }
        assert!(seen.iter().all(|count| *count > 400), "{seen:?}");
    }

    #[test]
    fn a_shuffle_is_a_permutation_and_reaches_every_place() {
        let mut draws = Draws::new(5, 0);
        let mut first = [0_u32; 5];
        for _ in 0..1000 {
            let order = draws.shuffled(5);
            first[order[0]] += 1;
            let mut sorted = order;
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
        }
        assert!(first.iter().all(|count| *count > 140), "{first:?}");
    }
}
