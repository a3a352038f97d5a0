//! What a run writes down: a head, and a row for every window. One JSON object a line, so that a run that was cut has all
//! its windows until then.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub mod file;

/// The version of these lines.
pub const SCHEMA: u32 = 1;

/// What a run is: the first line of `windows.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The way of learning together, by its name in the configuration.
    pub method: String,
    /// Seed of the run: of data, draws and keys.
    pub seed: u64,
    /// How many vehicles.
    pub vehicles: u32,
    /// How many windows.
    pub windows: u32,
    /// Engine and its version.
    pub engine: String,
    /// SHA-256 of the configuration with every default filled in, hexadecimal.
    pub config: String,
    /// SHA-256 over all that was read of models, hexadecimal: files, descriptions, footage that ships with them. `None`: written
    /// before this was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Values of an adapter.
    pub values: u64,
    /// Every road that is measured, and what it is to the fleet.
    pub roads: BTreeMap<String, RoadKind>,
    /// What changes while it runs.
    #[serde(default, skip_serializing_if = "Changes::is_none")]
    pub changes: Changes,
}

/// What changes while a run goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// Windows in which the terms of utility weigh otherwise than in the window before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<u32>,
    /// Phases of the journey, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
}

/// A phase of a journey.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Its last window.
    pub ends: u32,
    /// What is driven in it.
    pub roads: Vec<String>,
}

impl Changes {
    fn is_none(&self) -> bool {
        *self == Changes::default()
    }
}

/// What a road is to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoadKind {
    /// A vehicle of this number drives it; its held-out part is measured.
    Driven(u32),
    /// Nobody drives it, the pack has another part of it.
    Listed,
    /// Nobody drives it, and nothing of it is in the pack.
    Unseen,
}

/// What came of one window; window 0 is the shipped model, before anything was learnt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its number, from 1 on.
    pub window: u32,
    /// Vehicles that took part.
    pub present: u32,
    /// Utility of the fleet's adapter: the pack, weighted as the utility document says in this window.
    pub utility: f64,
    /// Held-out skill of the fleet's adapter (what every vehicle would be given; where there is none, the mean over
    /// vehicles of their own), by road. A road that hardly moves is not in it.
    pub skill: BTreeMap<String, f64>,
    /// Held-out skill of each vehicle's personal adapter on the road it drives, by road.
    pub own: BTreeMap<String, f64>,
    /// Bytes at a vehicle's socket in this window, the mean over vehicles, sent and received.
    pub bytes: UpDown,
    /// Evaluations of the utility in this window, of the whole fleet.
    pub evaluations: u64,
    /// Training steps in this window, of the whole fleet.
    pub steps: u64,
    /// Everything else that a method tells, by name: a velocity's length, particles dropped, weights searched.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub also: BTreeMap<String, f64>,
}

/// Bytes both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpDown {
    /// Sent.
    pub up: f64,
    /// Received.
    pub down: f64,
}

/// A run as it was read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What it is.
    pub head: Head,
    /// Its windows, in order, from window 0.
    pub rows: Vec<Row>,
}

impl Row {
    /// Mean held-out skill over the roads that vehicles drive; `None` if none is counted.
    #[must_use]
    pub fn driven(&self, head: &Head) -> Option<f64> {
        self.mean(head, |kind| matches!(kind, RoadKind::Driven(_)))
    }

    /// Mean held-out skill over the roads that nobody drives and that are in no pack.
    #[must_use]
    pub fn unseen(&self, head: &Head) -> Option<f64> {
        self.mean(head, |kind| kind == RoadKind::Unseen)
    }

    /// Mean held-out skill of the personal adapters on their own roads.
    #[must_use]
    pub fn own_mean(&self) -> Option<f64> {
        mean(self.own.values().copied())
    }

    /// Mean held-out skill over the roads of these kinds; `None` if none is counted.
    pub(crate) fn mean(&self, head: &Head, of: impl Fn(RoadKind) -> bool) -> Option<f64> {
        let listed =
            self.skill.iter().filter(|(road, _)| head.roads.get(*road).copied().is_some_and(&of));
        mean(listed.map(|(_, skill)| *skill))
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0_u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}
