//! What bodies check alike: values of terms, texts, factors.

/// The most terms a utility has, and so the most values of a measurement.
pub const TERMS_MAX: usize = 16;
/// The largest value of a term, in units of 1e-4; the smallest is its negative.
pub const TERM_VALUE_MAX: i16 = 10_000;
/// Parts of a pack, numbered from 0: a nonce says which one is measured.
pub const PARTS: u8 = 4;

/// Why the values of a measurement were rejected.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectTerms {
    #[error("no terms")]
    NoTerms,
    #[error("value {value} of term {index}, at most {TERM_VALUE_MAX} either way")]
    Value { index: usize, value: i16 },
}

/// The values that stand for one term each, all in range, and at least one.
pub(crate) fn measured(
    terms: impl IntoIterator<Item = impl IntoIterator<Item = i16>>,
) -> Result<(), RejectTerms> {
    let mut count: usize = 0;
    for (index, values) in terms.into_iter().enumerate() {
        if let Some(value) = values.into_iter().find(|value| !is_term_value(*value)) {
            return Err(RejectTerms::Value { index, value });
        }
        count = count.saturating_add(1);
    }
    if count == 0 { Err(RejectTerms::NoTerms) } else { Ok(()) }
}

pub(crate) fn is_term_value(value: i16) -> bool {
    (-TERM_VALUE_MAX..=TERM_VALUE_MAX).contains(&value)
}

/// A text to be shown to people as it is: not empty, and without what a terminal would obey (control characters)
/// or what makes it read as another text (ends of line, marks that turn the direction of writing).
pub(crate) fn is_shown(text: &str) -> bool {
    let marks = [
        '\u{61c}'..='\u{61c}',
        '\u{200e}'..='\u{200f}',
        '\u{2028}'..='\u{202e}',
        '\u{2066}'..='\u{2069}',
    ];
    let is_mark = |c: char| marks.iter().any(|marks| marks.contains(&c));
    !text.is_empty() && !text.chars().any(|c| c.is_control() || is_mark(c))
}

/// A finite number that is not negative. `-0.0` is refused: it would be a second way to write 0.
pub(crate) const fn is_factor(value: f32) -> bool {
    value.to_bits() < f32::INFINITY.to_bits()
}
