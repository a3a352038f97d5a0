//! What a model of tokens stands beside, whatever its tokens are.

use super::{TokenCopies, TokenSteps};
use crate::measure::tokens::Nats;
use crate::package::TokenKind;
use crate::tokens::{TokenForm, TokenRows};

/// A prediction of tokens without a model, fitted on some rows.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenBaseline {
    /// Of a number of the motion: how far it steps.
    Steps(TokenSteps),
    /// Of codes: the code of the frame before, with the chance that it comes again.
    Copies(TokenCopies),
}

impl TokenBaseline {
    /// Fits it to `rows`.
    pub fn fit(rows: &TokenRows<'_>, form: &TokenForm) -> Self {
        match &form.kind {
            TokenKind::Motion { .. } => Self::Steps(TokenSteps::count(rows, form)),
            TokenKind::Codes(codes) => Self::Copies(TokenCopies::count(rows, codes)),
        }
    }

    /// Its name for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Steps(_) => "histogram of steps",
            Self::Copies(_) => "copy of the frame before",
        }
    }

    /// Nats of every row.
    pub fn measure(&self, rows: &TokenRows<'_>) -> Nats {
        match self {
            Self::Steps(steps) => steps.measure(rows),
            Self::Copies(copies) => copies.measure(rows),
        }
    }
}
