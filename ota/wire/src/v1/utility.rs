//! The utility document: what the swarm maximises, a weighted sum of terms that changes with the windows.

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::canonical::{U16_WIRE_BYTES_MAX, U32_WIRE_BYTES_MAX, body};
use crate::envelope::ENVELOPE_OVERHEAD_BYTES;
use crate::name::PackHash;
use crate::v1::check::{TERM_VALUE_MAX, TERMS_MAX, is_factor, is_shown, is_term_value};

/// The longest envelope of a utility document, in bytes.
pub const UTILITY_DOCUMENT_BYTES_MAX: usize = 4096;
/// The longest name of a term, in bytes.
pub const TERM_NAME_BYTES_MAX: usize = 32;
/// The most knots of a term.
pub const KNOTS_MAX: usize = 8;

const TERM_WIRE_BYTES_MAX: usize = (1 + TERM_NAME_BYTES_MAX)
    + 32
    + 1
    + (1 + KNOTS_MAX * (U32_WIRE_BYTES_MAX + 4))
    + (1 + U16_WIRE_BYTES_MAX);
const WIRE_BYTES_MAX: usize = U32_WIRE_BYTES_MAX + 1 + TERMS_MAX * TERM_WIRE_BYTES_MAX;
const _: () = assert!(ENVELOPE_OVERHEAD_BYTES + WIRE_BYTES_MAX <= UTILITY_DOCUMENT_BYTES_MAX);

/// How a term is measured on its pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Metric {
    /// 1 − error ÷ error of 'nothing moves'.
    Skill,
    /// 1 − distance to what drivers did ÷ that of 'as often as before', weighted by hindsight. The pack's manifest names the
    /// action grid on which both are told: who names the pack commits to it.
    Imitation,
    /// 1 − 2 · mean square of the discomfort of what a policy proposes, beside the bounds of comfort; on packs of imitation, as
    /// those below.
    Comfort,
    /// 1 − danger that proposals, followed for three seconds, lead to behind who was ahead ÷ that of who always accelerates. The
    /// pack's manifest says that its moments tell of these.
    Distance,
    /// 1 − what proposals, followed as long, fall short of the farthest that comfort allows ÷ what the driver fell short.
    Progress,
    /// 1 − error of the fifth frame of a roll-out, each from those foreseen before it ÷ error of 'nothing moves'.
    Rollout,
    /// What a particle has more than the fleet's model without an adapter, on the same clips: of skill; below, of the others. As a
    /// gate it says how far nobody may fall behind the model that all have.
    SkillGain,
    /// Of imitation.
    ImitationGain,
    /// Of comfort.
    ComfortGain,
    /// Of distance.
    DistanceGain,
    /// Of progress.
    ProgressGain,
    /// Of roll-outs.
    RolloutGain,
}

/// The weight of a term from one window on: between two knots it is on the line through them, before the
/// first it is the first's, after the last the last's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Knot {
    /// The window; later than that of the knot before.
    pub window: u32,
    /// The weight in that window: finite, not negative.
    pub weight: f32,
}

/// One term.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// As shown to people: 1 to [`TERM_NAME_BYTES_MAX`] bytes, no control characters, of no other term.
    pub name: String<TERM_NAME_BYTES_MAX>,
    /// The pack it is measured on.
    pub pack: PackHash,
    /// How it is measured.
    pub metric: Metric,
    /// Its weight over the windows: at least one knot.
    pub knots: Vec<Knot, KNOTS_MAX>,
    /// A particle below this value, in units of 1e-4, is never best; `None`: no gate.
    pub gate: Option<i16>,
}

/// The fields of a utility document, in the order of the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UtilityDocumentFields {
    /// Grows with every utility document; measurements name it.
    pub version: u32,
    /// At least one.
    pub terms: Vec<Term, TERMS_MAX>,
}

/// A utility document within its bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct UtilityDocument(UtilityDocumentFields);

/// No weight within bounds is NaN.
impl Eq for UtilityDocument {}

/// Which bound of a utility document is broken.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectUtilityDocument {
    #[error("no terms")]
    NoTerms,
    #[error("the name of term {index} is empty, or is not shown as it is")]
    Name { index: usize },
    #[error("term {index} has the name of an earlier one")]
    SameName { index: usize },
    #[error("term {index} has no knots")]
    NoKnots { index: usize },
    #[error("knot {knot} of term {index} is not after the one before")]
    KnotOrder { index: usize, knot: usize },
    #[error("the weight at knot {knot} of term {index} is negative or not finite")]
    Weight { index: usize, knot: usize },
    #[error("the gate of term {index} is at {gate}, at most {TERM_VALUE_MAX} either way")]
    Gate { index: usize, gate: i16 },
}

impl UtilityDocument {
    /// A utility document with these fields.
    ///
    /// # Errors
    /// [`RejectUtilityDocument`] names the first bound that is broken.
    pub fn new(fields: UtilityDocumentFields) -> Result<Self, RejectUtilityDocument> {
        if fields.terms.is_empty() {
            return Err(RejectUtilityDocument::NoTerms);
        }
        for (index, term) in fields.terms.iter().enumerate() {
            if !is_shown(&term.name) {
                return Err(RejectUtilityDocument::Name { index });
            }
            if fields.terms.iter().take(index).any(|before| before.name == term.name) {
                return Err(RejectUtilityDocument::SameName { index });
            }
            check_knots(index, &term.knots)?;
            if let Some(gate) = term.gate.filter(|gate| !is_term_value(*gate)) {
                return Err(RejectUtilityDocument::Gate { index, gate });
            }
        }
        Ok(Self(fields))
    }
}

fn check_knots(index: usize, knots: &[Knot]) -> Result<(), RejectUtilityDocument> {
    if knots.is_empty() {
        return Err(RejectUtilityDocument::NoKnots { index });
    }
    let mut before = None;
    for (knot, Knot { window, weight }) in knots.iter().enumerate() {
        if before.is_some_and(|before| before >= window) {
            return Err(RejectUtilityDocument::KnotOrder { index, knot });
        }
        if !is_factor(*weight) {
            return Err(RejectUtilityDocument::Weight { index, knot });
        }
        before = Some(window);
    }
    Ok(())
}

body!(UtilityDocument, UtilityDocumentFields, 1);
