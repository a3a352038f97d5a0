//! What is known about a span without reading it.

use shoal_hal::FrameShape;

use super::blob;

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

impl Reason {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Surprise => 0,
            Self::Disagreement => 1,
            Self::Ordinary => 2,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Surprise, Self::Disagreement, Self::Ordinary].get(usize::from(code)).copied()
    }
}

/// What a span is evicted by, lowest first, and read back by, highest first: a share of 1 in steps of 2⁻³².
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u32);

impl Priority {
    /// A share in `[0, 1]`, rounded down to a step; clamped, NaN is 0.
    #[must_use]
    pub fn from_share(share: f64) -> Self {
        Self((share * (1_u64 << 32) as f64) as u32)
    }

    /// The share.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) / (1_u64 << 32) as f64
    }

    pub(super) fn bits(self) -> u32 {
        self.0
    }
}

/// A span in the store. Its frames are encrypted; this is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoredSpan {
    /// Number of the span, never given twice by one store.
    pub id: u64,
    /// UTC second of its first frame.
    pub recorded_at_s: u64,
    /// Frames in a second.
    pub rate_hz: f64,
    /// Size of its frames.
    pub shape: FrameShape,
    /// How many frames it has.
    pub frames: u32,
    /// What opened it.
    pub reason: Reason,
    /// What it is evicted by, and read back before others.
    pub priority: Priority,
    /// SHA-256 of its file, which is named after it.
    pub sha256: [u8; 32],
}

impl StoredSpan {
    /// Bytes of its row in the index.
    pub(super) const ROW_BYTES: usize = 1 + 8 + 8 + 2 + 2 + 4 + 1 + 4 + 32;

    const ROW_VERSION: u8 = 1;

    /// Bytes of its file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        blob::bytes(self.shape, self.frames)
    }

    /// Name of its file in the store's folder.
    #[must_use]
    pub fn file_name(&self) -> String {
        blob::file_name(&self.sha256)
    }

    /// The last UTC second that any of its frames may have been seen in.
    #[must_use]
    pub fn ended_at_s(&self) -> u64 {
        let seconds = (f64::from(self.frames) / self.rate_hz).ceil() as u64;
        self.recorded_at_s.saturating_add(seconds)
    }

    pub(super) fn row(&self) -> [u8; Self::ROW_BYTES] {
        let mut row = [0; Self::ROW_BYTES];
        row[0] = Self::ROW_VERSION;
        row[1..9].copy_from_slice(&self.recorded_at_s.to_le_bytes());
        row[9..17].copy_from_slice(&self.rate_hz.to_bits().to_le_bytes());
        row[17..19].copy_from_slice(&self.shape.width.to_le_bytes());
        row[19..21].copy_from_slice(&self.shape.height.to_le_bytes());
        row[21..25].copy_from_slice(&self.frames.to_le_bytes());
        row[25] = self.reason.code();
        row[26..30].copy_from_slice(&self.priority.0.to_le_bytes());
        row[30..].copy_from_slice(&self.sha256);
        row
    }

    pub(super) fn from_row(id: u64, row: &[u8]) -> Option<Self> {
        let row: &[u8; Self::ROW_BYTES] = row.try_into().ok()?;
        let word = |at: usize| u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let side = |at: usize| u16::from_le_bytes([row[at], row[at + 1]]);
        let span = Self {
            id,
            recorded_at_s: long(1),
            rate_hz: f64::from_bits(long(9)),
            shape: FrameShape { width: side(17), height: side(19) },
            frames: word(21),
            reason: Reason::from_code(row[25])?,
            priority: Priority(word(26)),
            sha256: row[30..].try_into().ok()?,
        };
        // A number that has one after it: the next span's.
        let sound = id < u64::MAX
            && span.rate_hz.is_finite()
            && span.rate_hz > 0.0
            && span.shape.bytes() > 0
            && (1..=blob::FRAMES_MAX).contains(&span.frames);
        (row[0] == Self::ROW_VERSION && sound).then_some(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span() -> StoredSpan {
        StoredSpan {
            id: 3,
            recorded_at_s: 1_700_000_000,
            rate_hz: 10.0,
            shape: FrameShape { width: 128, height: 64 },
            frames: 61,
            reason: Reason::Ordinary,
            priority: Priority::from_share(0.75),
            sha256: std::array::from_fn(|index| index as u8),
        }
    }

    #[test]
    fn row_reads_as_the_span_it_was_made_of() {
        assert_eq!(StoredSpan::from_row(3, &span().row()), Some(span()));
    }

    #[test]
    fn row_with_a_value_that_cannot_be_is_no_span() {
        for (at, byte) in [(0, 2), (16, 0xff), (25, 3)] {
            let mut row = span().row();
            row[at] = byte;
            assert_eq!(StoredSpan::from_row(3, &row), None, "byte {at}");
        }
        for range in [17..19, 21..25] {
            let mut row = span().row();
            row[range.clone()].fill(0);
            assert_eq!(StoredSpan::from_row(3, &row), None, "bytes {range:?}");
        }
        assert_eq!(StoredSpan::from_row(3, &span().row()[1..]), None);
        assert_eq!(StoredSpan::from_row(u64::MAX, &span().row()), None, "the last number there is");
    }

    #[test]
    fn priority_is_ordered_as_its_share_and_clamped() {
        assert!(Priority::from_share(0.5) < Priority::from_share(0.500_001));
        assert_eq!(Priority::from_share(2.0), Priority(u32::MAX));
        assert_eq!(Priority::from_share(f64::NAN), Priority(0));
        assert_eq!(Priority::from_share(0.25).share(), 0.25);
    }

    #[test]
    fn span_ends_after_its_last_frame() {
        assert_eq!(span().ended_at_s(), 1_700_000_007); // 6.1 s
    }

    proptest! {
        #[test]
        fn no_row_panics(row in prop::collection::vec(any::<u8>(), StoredSpan::ROW_BYTES)) {
            for version in [row[0], StoredSpan::ROW_VERSION] {
                let mut row = row.clone();
                row[0] = version;
                row[23..26].fill(0); // Frames and reason that can be.
                if let Some(span) = StoredSpan::from_row(7, &row) {
                    prop_assert_eq!(&span.row()[..], &row[..]);
                    prop_assert!(span.ended_at_s() >= span.recorded_at_s && span.bytes() > 64);
                }
            }
        }
    }
}
