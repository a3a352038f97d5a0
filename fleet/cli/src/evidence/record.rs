//! What the record of a campaign says. The parts are those of ISO 24089: what was to be deployed to whom, who approved it, what
//! was done, what came of it.

use serde::{Deserialize, Serialize};

/// The record.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) schema: u32,
    pub(super) keys: Keys,
    pub(super) campaign: Campaign,
    pub(super) compatibility: Compatibility,
    pub(super) approval: Approval,
    pub(super) orders: Vec<Order>,
    /// Whose word counts again by an operator's order, in the order in which that was signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) reinstated: Vec<Reinstated>,
    pub(super) stages: Vec<Stage>,
    pub(super) targets: Vec<Target>,
    pub(super) journal: Journal,
    /// The software bill of materials beside it…
    pub(super) bill_of_materials: String,
    /// …and its SHA-256, in hexadecimal; records of before have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bill_sha256: Option<String>,
    /// Bills of what else the vehicles run, such as their computers' image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) other_bills: Vec<Bill>,
}

/// A bill of materials beside the record.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bill {
    /// Its name in the record's folder.
    pub(super) file: String,
    /// In hexadecimal.
    pub(super) sha256: String,
}

/// Whose record it is, and who is believed. Keys in hexadecimal.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    pub(super) fleet: String,
    pub(super) region: String,
    /// The region's number, as the roster has it; records from before there were several have none.
    #[serde(default)]
    pub(super) region_number: u16,
    pub(super) authority: String,
    pub(super) timekeeper: String,
    pub(super) approver: String,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Campaign {
    pub(super) number: u32,
    pub(super) particle: String,
    /// What two people signed: SHA-256 of the plan.
    pub(super) digest: String,
    pub(super) moments_min: u32,
    /// Skill.
    pub(super) worse_max: f64,
    pub(super) apart_max: f64,
    /// Times.
    pub(super) latency_max: f64,
}

/// What the adapter is for, beside what the fleet carries.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Compatibility {
    pub(super) base_model: String,
    pub(super) layout: String,
    /// As the swarm document says; null: the journal has none.
    pub(super) fleet_base_model: Option<String>,
    pub(super) fleet_layout: Option<String>,
    pub(super) compatible: bool,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Approval {
    /// The id of the key.
    pub(super) key: String,
    /// SHA-256 of the record.
    pub(super) record: String,
    pub(super) signed_at_ms: u64,
    pub(super) until_s: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    pub(super) at_ms: u64,
    /// Of the authority's envelope.
    pub(super) counter: u64,
    pub(super) order: String,
}

/// A vehicle that stood aside and was put in good standing again: what elects a particle counts its votes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reinstated {
    pub(super) at_ms: u64,
    /// Of the authority's envelope.
    pub(super) counter: u64,
    /// The key's id.
    pub(super) id: String,
    /// What was found before this window is not held against it.
    pub(super) from_window: u32,
}

/// A stage: shares per mille, then vehicles.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stage {
    pub(super) share: u16,
    pub(super) kept_min: u16,
    pub(super) gone_back_max: u16,
    pub(super) vehicles: usize,
    pub(super) kept: usize,
    pub(super) gone_back: usize,
}

/// A vehicle of the roster.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    pub(super) number: u32,
    pub(super) id: String,
    /// None: it is in no stage.
    pub(super) stage: Option<usize>,
    /// What it said, in order.
    pub(super) said: Vec<Said>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    pub(super) at_ms: u64,
    /// `kept`; `went back`: it drives with something else again; or the code of a refusal.
    pub(super) what: String,
    /// As the vehicle names its software, where it does.
    pub(super) software: Option<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Journal {
    pub(super) lines: usize,
    pub(super) first_ms: u64,
    pub(super) last_ms: u64,
    /// SHA-256 of the last line: a later record's journal goes on from it.
    pub(super) head: String,
}
