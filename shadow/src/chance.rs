//! Random draws that depend on nothing but their key: any draw can be made again, in any order.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of draws is for; streams of different purposes never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Samples of a batch that tunes an adapter.
    Tuning,
    /// Samples of a batch that pretrains a model.
    Pretraining,
    /// Blocks of clips that a bootstrap draws.
    Bootstrap,
    /// Which moments a trigger keeps by chance.
    Trigger,
    /// What happens in a world that a fleet is tried in.
    World,
}

impl Purpose {
    /// First eight bytes of the key.
    fn tag(self) -> [u8; 8] {
        match self {
            Purpose::Tuning => *b"shl/tune",
            Purpose::Pretraining => *b"shl/pret",
            Purpose::Bootstrap => *b"shl/boot",
            Purpose::Trigger => *b"shl/trig",
            Purpose::World => *b"shl/repl",
        }
    }
}

/// The draws of one sample of one step.
///
/// ChaCha8 with key `purpose [8] ‖ seed u64 ‖ step u64 ‖ sample u64` (little-endian), nonce 0.
pub struct Draws(ChaCha8Rng);

impl Draws {
    /// The stream of `(purpose, seed, step, sample)`, at its beginning.
    pub fn new(purpose: Purpose, seed: u64, step: u64, sample: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&purpose.tag());
        key[8..16].copy_from_slice(&seed.to_le_bytes());
        key[16..24].copy_from_slice(&step.to_le_bytes());
        key[24..].copy_from_slice(&sample.to_le_bytes());
        Draws(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in `[0, 1)`, a multiple of 2⁻²⁴.
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// Uniform in `[from, to)`.
    pub fn between(&mut self, from: f32, to: f32) -> f32 {
        from + (to - from) * self.unit()
    }

    /// True with probability `chance`.
    pub fn happens(&mut self, chance: f32) -> bool {
        self.unit() < chance
    }

    /// Uniform in `0..count`; the bias is below `count`·2⁻⁶⁴.
    ///
    /// # Panics
    /// If `count` is 0.
    pub fn index(&mut self, count: usize) -> usize {
        assert!(count > 0, "a draw needs something to draw from");
        ((u128::from(self.0.next_u64()) * count as u128) >> 64) as usize
    }

    /// Uniform in `-most..=most`; draws nothing for 0.
    pub fn whole(&mut self, most: u16) -> i32 {
        match most {
            0 => 0,
            most => self.index(2 * usize::from(most) + 1) as i32 - i32::from(most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_gives_one_stream_and_every_part_of_the_key_counts() {
        let stream = |purpose, seed, step, sample| {
            let mut draws = Draws::new(purpose, seed, step, sample);
            [draws.unit(), draws.unit(), draws.unit()]
        };
        let first = stream(Purpose::Tuning, 1, 2, 3);

        assert_eq!(first, stream(Purpose::Tuning, 1, 2, 3));
        assert_ne!(first, stream(Purpose::Pretraining, 1, 2, 3));
        assert_ne!(first, stream(Purpose::Tuning, 0, 2, 3));
        assert_ne!(first, stream(Purpose::Tuning, 1, 0, 3));
        assert_ne!(first, stream(Purpose::Tuning, 1, 2, 0));
    }

    #[test]
    fn draws_stay_in_their_range_and_reach_all_of_it() {
        let mut draws = Draws::new(Purpose::Tuning, 7, 0, 0);
        let mut seen = [0_u32; 5];
        for _ in 0..1000 {
            seen[draws.index(5)] += 1;
            let value = draws.between(-2.0, 3.0);
            assert!((-2.0..3.0).contains(&value));
        }
        assert!(seen.iter().all(|&count| count > 150), "{seen:?}");
    }
}
