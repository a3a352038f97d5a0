//! The swarm document: what the fleet adapts, from which start, and by which rule its particles move.

use serde::{Deserialize, Serialize};

use crate::canonical::{U16_WIRE_BYTES_MAX, U32_WIRE_BYTES_MAX, U64_WIRE_BYTES_MAX, body};
use crate::envelope::ENVELOPE_OVERHEAD_BYTES;
use crate::name::{LayoutHash, ModelHash};
use crate::v1::check::is_factor;

/// The longest envelope of a swarm document, in bytes.
pub const SWARM_DOCUMENT_BYTES_MAX: usize = 512;
/// The most bits a value of a displacement is coded with.
pub const BITS_MAX: u8 = 8;
/// The most bests whose mean is deployed.
pub const MEAN_LAST_MAX: u8 = 16;

const RULE_WIRE_BYTES_MAX: usize = 1 + 7 * 4 + 2 * U16_WIRE_BYTES_MAX;
const WIRE_BYTES_MAX: usize = 2 * U32_WIRE_BYTES_MAX
    + 2 * U64_WIRE_BYTES_MAX
    + 2 * 32
    + 1
    + U16_WIRE_BYTES_MAX
    + RULE_WIRE_BYTES_MAX;
const _: () = assert!(ENVELOPE_OVERHEAD_BYTES + WIRE_BYTES_MAX <= SWARM_DOCUMENT_BYTES_MAX);

/// How particles move.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Rule {
    /// Model Swarms, exactly.
    Paper(PaperRule),
    /// Best is a merge of contributions, with a velocity on it.
    Consensus(ConsensusRule),
    /// Vehicles hold a dictionary of experts, and exchange coefficients.
    Coefficients,
}

/// The numbers of Model Swarms (arXiv 2410.11163). The four weights are finite, not negative, and not all 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PaperRule {
    /// φ_v, the weight of the velocity.
    pub inertia: f32,
    /// φ_p, towards the particle's own best.
    pub cognitive: f32,
    /// φ_g, towards the global best.
    pub social: f32,
    /// φ_w, away from the global worst.
    pub repel: f32,
    /// λ at the start, in (0, 1].
    pub step_length: f32,
    /// What λ is multiplied with after each step, in (0, 1].
    pub step_length_decay: f32,
    /// λ falls no lower: 0 to `step_length`.
    pub step_length_min: f32,
    /// Steps without a better global best after which the swarm rests: at least 1.
    pub patience: u16,
    /// Steps without a better personal best after which a particle starts anew from it: at least 1.
    pub restart_patience: u16,
}

impl PaperRule {
    /// The middle of the grids that Model Swarms draws its numbers from.
    pub const USUAL: PaperRule = PaperRule {
        inertia: 0.2,
        cognitive: 0.3,
        social: 0.4,
        repel: 0.05,
        step_length: 0.8,
        step_length_decay: 0.95,
        step_length_min: 0.1,
        patience: 10,
        restart_patience: 7,
    };
}

/// The numbers of the consensus rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConsensusRule {
    /// β, the part of the last step that is taken again, in [0, 1).
    pub inertia: f32,
    /// Bits a value of a contribution: 1 to [`BITS_MAX`].
    pub up_bits: u8,
    /// Bits a value of a merge: 1 to [`BITS_MAX`].
    pub down_bits: u8,
    /// A step that loses more utility than this is halved and taken without inertia: finite, not negative.
    pub brake: f32,
    /// Whether a contribution much longer than the others is shortened.
    pub clip: bool,
    /// The mean of so many last bests is deployed: 1 to [`MEAN_LAST_MAX`].
    pub mean_last: u8,
    /// Whether a vehicle mixes what is deployed with its own adapter.
    pub mix: bool,
}

impl ConsensusRule {
    /// What a fleet has unless it is told otherwise (docs/decisions, 22).
    pub const USUAL: ConsensusRule = ConsensusRule {
        inertia: 0.0,
        up_bits: 2,
        down_bits: 6,
        brake: 0.01,
        clip: true,
        mean_last: 5,
        mix: true,
    };
}

/// The fields of a swarm document, in the order of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SwarmDocumentFields {
    /// Grows with every swarm document.
    pub version: u32,
    /// Keys every random draw of the swarm.
    pub seed: u64,
    /// The model that is adapted.
    pub base_model: ModelHash,
    /// The layout of its adapters.
    pub layout: LayoutHash,
    /// Values of their flat run, at least 1: who has no model can check a header, too.
    pub values: u32,
    /// Rank of the adapters: at least 1.
    pub rank: u8,
    /// Draws the start adapter: A from this seed, B zero, so that it changes nothing.
    pub start_seed: u64,
    /// How many vehicles a nonce asks for a contribution: at least 1.
    pub asked: u16,
    /// How particles move.
    pub rule: Rule,
}

/// A swarm document within its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SwarmDocument(SwarmDocumentFields);

/// No number of a rule within bounds is NaN.
impl Eq for SwarmDocument {}

/// Which bound of a swarm document is broken.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectSwarmDocument {
    #[error("adapters without values")]
    Values,
    #[error("rank 0")]
    Rank,
    #[error("no vehicle is asked")]
    Asked,
    #[error("a weight of the rule is negative or not finite, or all are 0")]
    Weights,
    #[error("step length, its decay or its least value out of range")]
    StepLength,
    #[error("a patience of 0 steps")]
    Patience,
    #[error("inertia not in [0, 1)")]
    Inertia,
    #[error("{bits} bits a value, 1 to {BITS_MAX} allowed")]
    Bits { bits: u8 },
    #[error("the brake is negative or not finite")]
    Brake,
    #[error("the mean of {count} bests, 1 to {MEAN_LAST_MAX} allowed")]
    MeanLast { count: u8 },
}

impl SwarmDocument {
    /// A swarm document with these fields.
    ///
    /// # Errors
    /// [`RejectSwarmDocument`] names the first bound that is broken.
    pub fn new(fields: SwarmDocumentFields) -> Result<Self, RejectSwarmDocument> {
        if fields.values == 0 {
            return Err(RejectSwarmDocument::Values);
        }
        if fields.rank == 0 {
            return Err(RejectSwarmDocument::Rank);
        }
        if fields.asked == 0 {
            return Err(RejectSwarmDocument::Asked);
        }
        match &fields.rule {
            Rule::Paper(rule) => check_paper(rule)?,
            Rule::Consensus(rule) => check_consensus(rule)?,
            Rule::Coefficients => {}
        }
        Ok(Self(fields))
    }
}

fn check_paper(rule: &PaperRule) -> Result<(), RejectSwarmDocument> {
    let weights = [rule.inertia, rule.cognitive, rule.social, rule.repel];
    let all_zero = weights.iter().all(|weight| *weight == 0.0);
    if all_zero || !weights.into_iter().all(is_factor) {
        return Err(RejectSwarmDocument::Weights);
    }
    let in_unit = |value: f32| value > 0.0 && value <= 1.0;
    let least = rule.step_length_min;
    if !in_unit(rule.step_length)
        || !in_unit(rule.step_length_decay)
        || !is_factor(least)
        || least > rule.step_length
    {
        return Err(RejectSwarmDocument::StepLength);
    }
    if rule.patience == 0 || rule.restart_patience == 0 {
        return Err(RejectSwarmDocument::Patience);
    }
    Ok(())
}

fn check_consensus(rule: &ConsensusRule) -> Result<(), RejectSwarmDocument> {
    if !is_factor(rule.inertia) || rule.inertia >= 1.0 {
        return Err(RejectSwarmDocument::Inertia);
    }
    if let Some(bits) =
        [rule.up_bits, rule.down_bits].into_iter().find(|bits| !(1..=BITS_MAX).contains(bits))
    {
        return Err(RejectSwarmDocument::Bits { bits });
    }
    if !is_factor(rule.brake) {
        return Err(RejectSwarmDocument::Brake);
    }
    if !(1..=MEAN_LAST_MAX).contains(&rule.mean_last) {
        return Err(RejectSwarmDocument::MeanLast { count: rule.mean_last });
    }
    Ok(())
}

body!(SwarmDocument, SwarmDocumentFields, 1);
