//! The utility document of a simulation.

use shoal_swarm::utility::to_value;
use shoal_wire::PackHash;
use shoal_wire::v1::{Knot, Metric, Term, UtilityDocument, UtilityDocumentFields};

use crate::config::TermConfig;

/// Why there is no such document.
#[derive(Debug, thiserror::Error)]
#[error("the terms of utility are refused: {why}")]
pub struct UtilityError {
    why: String,
}

/// The document of these terms, each on the pack of this hash.
///
/// # Errors
/// [`UtilityError`].
pub fn document(terms: &[TermConfig], packs: &[[u8; 32]]) -> Result<UtilityDocument, UtilityError> {
    let refused = |why: String| UtilityError { why };
    let term = |(term, pack): (&TermConfig, &[u8; 32])| {
        let name = term.name.as_str().try_into();
        Ok(Term {
            name: name.map_err(|_long| refused(format!("`{}` is too long a name", term.name)))?,
            pack: PackHash::new(*pack),
            metric: term.metric.unwrap_or(Metric::Skill),
            knots: term.knots.iter().map(|&(window, weight)| Knot { window, weight }).collect(),
            gate: term.gate.map(to_value),
        })
    };
    let terms = terms.iter().zip(packs).map(term).collect::<Result<_, UtilityError>>()?;
    UtilityDocument::new(UtilityDocumentFields { version: 1, terms })
        .map_err(|why| refused(why.to_string()))
}
