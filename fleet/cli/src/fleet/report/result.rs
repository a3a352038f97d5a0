//! `result.json`: docs/schemas/result.schema.json describes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shoal_shadow::stats::Interval;

/// What a fleet learnt, on frames that no vehicle saw. A skill is null where no drive is counted, or nobody ran so.
#[derive(Debug, Deserialize, Serialize)]
pub(in crate::fleet) struct FleetResult {
    pub(in crate::fleet) schema: u32,
    pub(in crate::fleet) skill: Skill,
    /// The swarm's best beside what it is to beat.
    pub(in crate::fleet) difference: Differences,
    pub(in crate::fleet) drives: Vec<DriveRow>,
    pub(in crate::fleet) by_vehicle: Vec<VehicleRow>,
    pub(in crate::fleet) bytes: Bytes,
    pub(in crate::fleet) engine: String,
    pub(in crate::fleet) broker: String,
    pub(in crate::fleet) rule: String,
    /// Of stages: of the whole, as whoever ran it says; of a vehicle's window (`window_…`) and lone night (`night_…`),
    /// means.
    pub(in crate::fleet) seconds: BTreeMap<String, f64>,
    /// High water of the largest agent.
    pub(in crate::fleet) memory_bytes: u64,
    pub(in crate::fleet) vehicles: usize,
    pub(in crate::fleet) windows: u32,
    /// Windows in which a vehicle of the roster took no part.
    pub(in crate::fleet) missed: usize,
    pub(in crate::fleet) seed: u64,
    /// Records and particles that were refused, by code.
    pub(in crate::fleet) rejected: BTreeMap<String, u64>,
    /// Drives that no vehicle can use, and why.
    pub(in crate::fleet) skipped: Vec<String>,
}

/// Held-out skills; those of adapters are those after the last window.
#[derive(Debug, Deserialize, Serialize)]
pub(in crate::fleet) struct Skill {
    pub(in crate::fleet) pretrained: Option<f64>,
    /// `_own`: mean over vehicles on their own drives.
    pub(in crate::fleet) pretrained_own: Option<f64>,
    /// The lone vehicle that the pack chooses.
    pub(in crate::fleet) alone_best: Option<f64>,
    pub(in crate::fleet) alone_mean: Option<f64>,
    pub(in crate::fleet) alone_own: Option<f64>,
    /// The particle that is best by the records.
    pub(in crate::fleet) swarm_best: Option<f64>,
    /// Each vehicle's personal adapter.
    pub(in crate::fleet) swarm_own: Option<f64>,
    pub(in crate::fleet) by_window: Vec<WindowRow>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(in crate::fleet) struct WindowRow {
    pub(in crate::fleet) window: u32,
    pub(in crate::fleet) swarm_best: Option<f64>,
    pub(in crate::fleet) alone_best: Option<f64>,
    pub(in crate::fleet) alone_mean: Option<f64>,
    /// Of every vehicle alone.
    pub(in crate::fleet) alone: Vec<Option<f64>>,
    /// Whether best is x_p.
    pub(in crate::fleet) best_is_pretrained: bool,
    /// Vehicles that hold this particle for best, of those that took part.
    pub(in crate::fleet) agreed: usize,
    pub(in crate::fleet) took_part: usize,
    pub(in crate::fleet) by_drive: BTreeMap<String, Skills>,
}

/// One drive's skills.
#[derive(Debug, Deserialize, Serialize)]
pub(in crate::fleet) struct Skills {
    pub(in crate::fleet) swarm_best: Option<f64>,
    pub(in crate::fleet) alone_best: Option<f64>,
    pub(in crate::fleet) alone_mean: Option<f64>,
}

/// Paired differences of held-out skill: drives fixed, clips resampled in blocks of a second.
#[derive(Debug, Deserialize, Serialize)]
pub(in crate::fleet) struct Differences {
    pub(in crate::fleet) swarm_best_pretrained: Option<Interval>,
    pub(in crate::fleet) swarm_best_alone_best: Option<Interval>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(in crate::fleet) struct DriveRow {
    pub(in crate::fleet) name: String,
    /// Whose it is.
    pub(in crate::fleet) vehicle: usize,
    /// Whether it moves enough to be counted.
    pub(in crate::fleet) counted: bool,
    /// Held-out clips.
    pub(in crate::fleet) clips: usize,
    /// Null for a still drive.
    pub(in crate::fleet) copy_psnr_db: Option<f64>,
    pub(in crate::fleet) pretrained: Option<f64>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(in crate::fleet) struct VehicleRow {
    pub(in crate::fleet) name: String,
    pub(in crate::fleet) pretrained_own: Option<f64>,
    pub(in crate::fleet) alone_own: Option<f64>,
    pub(in crate::fleet) swarm_own: Option<f64>,
    /// On all drives.
    pub(in crate::fleet) alone: Option<f64>,
    /// What it measures alone on the whole pack: by this `alone_best` is chosen.
    pub(in crate::fleet) alone_pack: Option<f64>,
    pub(in crate::fleet) missed: usize,
    /// Of every window.
    pub(in crate::fleet) bytes_up: Vec<u64>,
    pub(in crate::fleet) bytes_down: Vec<u64>,
}

/// MQTT packets counted at the socket.
#[derive(Debug, Deserialize, Serialize)]
pub(in crate::fleet) struct Bytes {
    pub(in crate::fleet) up_per_vehicle_window: f64,
    pub(in crate::fleet) down_per_vehicle_window: f64,
    /// The evaluation pack, which every vehicle is given once.
    pub(in crate::fleet) pack_down_per_vehicle: u64,
    /// An adapter as plain numbers: what FedAvg sends, and receives, per vehicle and window.
    pub(in crate::fleet) float32_adapter: u64,
}
