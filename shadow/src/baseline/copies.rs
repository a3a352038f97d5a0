//! The code of the frame before at the same place, shown again: what codes are when nothing moves.

use crate::measure::tokens::Nats;
use crate::package::Codes;
use crate::tokens::{TokenLog, TokenRows};

/// How often the code of the frame before came again, as counted on some rows.
///
/// ```text
/// P(same)  = (same + ½) ÷ (n + 1)
/// P(other) = (1 − P(same)) ÷ (vocabulary − 1)      each other code
/// ```
///
/// n rows were counted; the half a count is Krichevsky and Trofimov's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenCopies {
    same: f64,
    other: f64,
    frame: usize,
}

impl TokenCopies {
    /// Counts the copies among `rows`.
    pub fn count(rows: &TokenRows<'_>, codes: &Codes) -> Self {
        let copied = rows.iter().filter(|(log, row)| is_copy(log, *row, codes.frame)).count();
        let same = (copied as f64 + 0.5) / (rows.count() as f64 + 1.0);
        TokenCopies {
            same,
            other: (1.0 - same) / (codes.vocabulary - 1) as f64,
            frame: codes.frame,
        }
    }

    /// The chance that a code comes again in the next frame.
    pub fn same(&self) -> f64 {
        self.same
    }

    /// Nats of every row.
    pub fn measure(&self, rows: &TokenRows<'_>) -> Nats {
        let chance = |copy| if copy { self.same } else { self.other };
        Nats::of(rows, |log, row| -libm::log(chance(is_copy(log, row, self.frame))))
    }
}

/// A row without a frame before it is none.
fn is_copy(log: &TokenLog, row: usize, frame: usize) -> bool {
    let before = row.checked_sub(frame).and_then(|row| log.tokens().get(row));
    before.is_some() && before == log.tokens().get(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Description;
    use crate::tokens::TokenForm;
    use shoal_hal::Part;

    #[test]
    fn chances_are_those_that_were_counted() {
        let toml = "rate_hz = 8.0\n[tokens]\ninput = 't'\nrows = 2\nvocabulary = 5\nframe = 2\n\
             [next_token]\noutput = 'logits'\n";
        let form = TokenForm::of(&Description::parse("model.toml", toml, "test").unwrap()).unwrap();
        // The first code of a frame never changes, the second always does.
        let codes = (0..40).map(|row| if row % 2 == 0 { 3 } else { row / 2 % 3 }).collect();
        let logs = [TokenLog::of_codes("codes", codes, &form).unwrap()];
        let rows = TokenRows::of_part(&logs, Part::Tuning, &form).unwrap();
        let codes = Codes { vocabulary: 5, frame: 2, place: None };
        let copies = TokenCopies::count(&rows, &codes);
        assert_eq!(rows.count(), 22);
        assert!((copies.same() - 11.5 / 23.0).abs() < 1e-12);
        let rows = TokenRows::of_part(&logs, Part::HeldOut, &form).unwrap();
        let want = -0.5 * (libm::log(0.5) + libm::log(0.5 / 4.0));
        assert!((copies.measure(&rows).mean() - want).abs() < 1e-12);
    }
}
