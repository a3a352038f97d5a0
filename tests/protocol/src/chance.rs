//! What happens by chance, from one seed.

use shoal_shadow::chance::{Draws, Purpose};

/// The world's dice.
pub struct Dice(Draws);

impl Dice {
    /// Dice of a seed, for one use.
    #[must_use]
    pub fn new(seed: u64, of: u64) -> Self {
        Dice(Draws::new(Purpose::World, seed, of, 0))
    }

    /// Whether what has this chance happens.
    pub fn happens(&mut self, chance: f64) -> bool {
        self.0.happens(chance as f32)
    }

    /// From, and below to.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.0.index((to - from).max(1) as usize) as u64
    }

    /// Uniform in [−1, 1).
    pub fn signed(&mut self) -> f32 {
        self.0.between(-1.0, 1.0)
    }
}
