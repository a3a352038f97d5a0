//! The letters: DejaVu Sans, which is wider than what browsers show, so that what fits here fits there.

use std::sync::LazyLock;

use ttf_parser::{Face, GlyphId};

/// Regular and bold.
static FACES: LazyLock<[Face<'static>; 2]> = LazyLock::new(|| {
    let of = |bytes| Face::parse(bytes, 0).expect("the embedded font is one");
    [of(dejavu::sans::regular()), of(dejavu::sans::bold())]
});

/// One letter of a text: which, and its left edge in pixels from the text's start.
pub(super) struct Letter {
    pub(super) glyph: GlyphId,
    pub(super) left: f64,
}

pub(super) fn face(bold: bool) -> &'static Face<'static> {
    &FACES[usize::from(bold)]
}

/// Pixels of one unit of the font at this size.
pub(super) fn scale(bold: bool, size: f64) -> f64 {
    size / f64::from(face(bold).units_per_em())
}

/// Letters of a text, and its width in pixels. No kerning, no shaping: a letter, an advance.
pub(super) fn letters(text: &str, size: f64, bold: bool) -> (Vec<Letter>, f64) {
    let (face, scale) = (face(bold), scale(bold, size));
    let mut left = 0.0;
    let letters = text.chars().map(|letter| {
        let glyph = face.glyph_index(letter).unwrap_or_default();
        let placed = Letter { glyph, left };
        left += f64::from(face.glyph_hor_advance(glyph).unwrap_or_default()) * scale;
        placed
    });
    let letters = letters.collect();
    (letters, left)
}

/// Width of a text, pixels.
pub(in crate::report) fn width(text: &str, size: f64, bold: bool) -> f64 {
    letters(text, size, bold).1
}

/// The text, or its beginning and its end with an ellipsis between them: names often differ in their last letters.
pub(in crate::report) fn fit(text: &str, size: f64, bold: bool, width_max: f64) -> String {
    if width(text, size, bold) <= width_max {
        return text.to_owned();
    }
    let letters: Vec<char> = text.chars().collect();
    for kept in (1..letters.len()).rev() {
        let begin = kept - kept / 3;
        let end = letters.len() - kept / 3;
        let short: String = letters[..begin].iter().chain(&['…']).chain(&letters[end..]).collect();
        if width(&short, size, bold) <= width_max {
            return short;
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_wide_is_cut_to_fit() {
        let long = "a method with a long name";
        let cut = fit(long, 12.0, false, 110.0);
        assert!(
            cut.starts_with("a met") && cut.ends_with("me") && width(&cut, 12.0, false) <= 110.0,
            "{cut}"
        );
        assert_eq!(fit(long, 12.0, false, 500.0), long);
        assert_eq!(fit(long, 12.0, false, 0.0), "");
    }

    #[test]
    fn signs_of_our_figures_are_in_the_font() {
        for sign in "…−±·×–’‘÷↓◂".chars() {
            assert!(face(false).glyph_index(sign).is_some(), "{sign}");
        }
    }
}
