//! Random draws that depend on nothing but their key: another vehicle, or another language, makes them again.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use shoal_wire::KeyId;

/// Last seven bytes of every key: streams of another purpose than the swarm's never meet these.
const TAG: [u8; 7] = *b"shl/swm";

/// What a stream of draws is for. The number is part of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Term {
    /// r_v of a step.
    Inertia = 0,
    /// r_p of a step.
    Cognitive = 1,
    /// r_g of a step.
    Social = 2,
    /// r_w of a step.
    Repel = 3,
    /// Parents, and how much of each, of a particle that is made by [`crate::populate`].
    Parents = 4,
    /// Towards which particle the first velocity points.
    Partner = 5,
    /// Which measurements of an iteration are left out.
    Dropout = 6,
    /// Weights of a merge that are tried.
    Weights = 7,
}

/// The key of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Of the swarm: signed, in its document.
    pub seed: u64,
    /// Whose draws; `None`: the same for all vehicles.
    pub vehicle: Option<KeyId>,
    /// The window; an iteration of a search without windows.
    pub window: u32,
    /// Which of several draws of one kind in a window.
    pub step: u32,
    /// What for.
    pub term: Term,
}

/// Where draws come from: [`Draws`], or a script in a test.
pub trait Chance {
    /// Uniform in `[0, 1)`.
    fn unit(&mut self) -> f64;

    /// Uniform in `0..count`.
    ///
    /// # Panics
    /// If `count` is 0.
    fn index(&mut self, count: usize) -> usize;
}

/// The stream of one key.
///
/// ChaCha8 (RFC 8439's block function with 8 rounds), nonce 0, block counter from 0. Its key is, little-endian:
/// `seed u64 ‖ vehicle [8] (zeros for all vehicles) ‖ window u32 ‖ step u32 ‖ term u8 ‖ "shl/swm"`. The keystream is read as
/// u64, little-endian, one a draw.
pub struct Draws(ChaCha8Rng);

impl Draws {
    /// The stream of this key, at its beginning.
    pub fn new(key: Key) -> Self {
        let vehicle = key.vehicle.map_or([0; 8], |vehicle| *vehicle.bytes());
        let fields: [&[u8]; 6] = [
            &key.seed.to_le_bytes(),
            &vehicle,
            &key.window.to_le_bytes(),
            &key.step.to_le_bytes(),
            &[key.term as u8],
            &TAG,
        ];
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        Self(ChaCha8Rng::from_seed(bytes))
    }

    /// Normal with mean 0 and deviation 1.
    pub fn normal(&mut self) -> f64 {
        normal(|| self.unit())
    }
}

/// A draw of 53 bits is a multiple of this.
pub(crate) const UNIT: f64 = 1.0 / (1_u64 << 53) as f64;

/// Normal with mean 0 and deviation 1, of two draws u₁ and u₂, uniform in `[0, 1)`: √(−2 ln(1 − u₁))·cos(2π u₂).
pub(crate) fn normal(mut unit: impl FnMut() -> f64) -> f64 {
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - unit()));
    radius * libm::cos(2.0 * core::f64::consts::PI * unit())
}

impl Chance for Draws {
    /// A multiple of 2⁻⁵³.
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * UNIT
    }

    /// The upper half of draw × count; the bias is below `count`·2⁻⁶⁴.
    fn index(&mut self, count: usize) -> usize {
        assert!(count > 0, "a draw needs something to draw from");
        let product = u128::from(self.0.next_u64()).saturating_mul(count as u128);
        (product >> 64) as usize
    }
}

/// The four draws r of one particle's step: inertia, cognitive, social, repel.
pub fn pull_draws(seed: u64, vehicle: Option<KeyId>, window: u32, step: u32) -> [f64; 4] {
    [Term::Inertia, Term::Cognitive, Term::Social, Term::Repel]
        .map(|term| Draws::new(Key { seed, vehicle, window, step, term }).unit())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

    use super::*;

    const KEY: Key =
        Key { seed: 1, vehicle: Some(KeyId::new([2; 8])), window: 3, step: 4, term: Term::Social };

    /// Golden, from an implementation in another language.
    #[test]
    fn draws_are_those_of_the_document() {
        let mut draws = Draws::new(KEY);
        let bits = [draws.unit(), draws.unit(), draws.unit()].map(f64::to_bits);
        assert_eq!(bits, GOLDEN, "{bits:#x?}");
        let mut draws = Draws::new(Key { vehicle: None, ..KEY });
        assert_eq!([draws.index(10), draws.index(1000)], GOLDEN_INDICES);
    }
    const GOLDEN: [u64; 3] = [0x3fea_0f80_8dad_047a, 0x3fe8_146e_3cfc_711d, 0x3fdf_c214_d8b8_9fba];
    const GOLDEN_INDICES: [usize; 2] = [2, 36];

    #[test]
    fn every_part_of_the_key_counts() {
        let first = |key| Draws::new(key).unit().to_bits();
        let others = [
            Key { seed: 0, ..KEY },
            Key { vehicle: None, ..KEY },
            Key { window: 0, ..KEY },
            Key { step: 0, ..KEY },
            Key { term: Term::Repel, ..KEY },
        ];
        for other in others {
            assert_ne!(first(KEY), first(other), "{other:?}");
        }
        assert_eq!(first(KEY), first(KEY));
    }

    #[test]
    fn uniform_draws_stay_in_their_range_and_reach_all_of_it() {
        let mut draws = Draws::new(KEY);
        let mut seen = [0_u32; 10];
        for _ in 0..2000 {
            let unit = draws.unit();
            assert!((0.0..1.0).contains(&unit));
            seen[(unit * 10.0) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (140..260).contains(count)), "{seen:?}");
    }

    #[test]
    fn normal_draws_have_mean_0_and_deviation_1() {
        let mut draws = Draws::new(KEY);
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..4000 {
            let draw = draws.normal();
            sum += draw;
            squares += draw * draw;
        }
        let (mean, variance) = (sum / 4000.0, squares / 4000.0);
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.07, "{mean} {variance}");
    }
}
