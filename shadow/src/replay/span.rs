//! What is known about a span without reading it.

/// What opened a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What came was not what the model predicted.
    Surprise,
    /// The driver did not do what the policy would have done.
    Disagreement,
    /// Chance: ordinary driving.
    Ordinary,
}

/// What a span is evicted by, lowest first, and drawn by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u32);

impl Priority {
    /// A share in `[0, 1]` as a multiple of 2⁻³²; clamped, NaN is 0.
    #[must_use]
    pub fn from_share(share: f64) -> Self {
        Self((share * (1_u64 << 32) as f64) as u32)
    }
}
