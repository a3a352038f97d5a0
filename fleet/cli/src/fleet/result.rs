//! `result.json`: docs/schemas/result.schema.json describes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shoal_shadow::stats::Interval;

/// What a fleet learnt, on frames that no vehicle saw. A skill is null where no drive is counted, or nobody ran so.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct FleetResult {
    pub(super) schema: u32,
    /// What every skill is of: `skill` of a world model, `imitation` of a policy.
    pub(super) metric: String,
    pub(super) skill: Skill,
    /// The swarm's best beside what it is to beat.
    pub(super) difference: Differences,
    pub(super) drives: Vec<DriveRow>,
    pub(super) by_vehicle: Vec<VehicleRow>,
    pub(super) bytes: Bytes,
    pub(super) engine: String,
    pub(super) broker: String,
    pub(super) rule: String,
    /// Of stages: of the whole, as whoever ran it says; of a vehicle's window (`window_…`) and lone night (`night_…`),
    /// means.
    pub(super) seconds: BTreeMap<String, f64>,
    /// High water of the largest agent.
    pub(super) memory_bytes: u64,
    pub(super) vehicles: usize,
    pub(super) windows: u32,
    /// Windows in which a vehicle of the roster took no part.
    pub(super) missed: usize,
    pub(super) seed: u64,
    /// Records and particles that were refused, by code.
    pub(super) rejected: BTreeMap<String, u64>,
    /// Drives that no vehicle can use, and why.
    pub(super) skipped: Vec<String>,
}

/// Held-out skills; those of adapters are those after the last window.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Skill {
    pub(super) pretrained: Option<f64>,
    /// `_own`: mean over vehicles on their own drives.
    pub(super) pretrained_own: Option<f64>,
    /// The lone vehicle that the pack chooses.
    pub(super) alone_best: Option<f64>,
    pub(super) alone_mean: Option<f64>,
    pub(super) alone_own: Option<f64>,
    /// The particle that is best by the records, after the last window in which anybody took part.
    pub(super) swarm_best: Option<f64>,
    /// Each vehicle's personal adapter.
    pub(super) swarm_own: Option<f64>,
    pub(super) by_window: Vec<WindowRow>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct WindowRow {
    pub(super) window: u32,
    /// Null where nobody took part, or nobody keeps what was best any more.
    pub(super) swarm_best: Option<f64>,
    pub(super) alone_best: Option<f64>,
    pub(super) alone_mean: Option<f64>,
    /// Of every vehicle alone; null also after a night of which it keeps nothing any more.
    pub(super) alone: Vec<Option<f64>>,
    /// Whether best is x_p; not where it is not known.
    pub(super) best_is_pretrained: bool,
    /// Vehicles that hold this particle for best, of those that took part.
    pub(super) agreed: usize,
    pub(super) took_part: usize,
    pub(super) by_drive: BTreeMap<String, Skills>,
}

/// One drive's skills.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Skills {
    pub(super) swarm_best: Option<f64>,
    pub(super) alone_best: Option<f64>,
    pub(super) alone_mean: Option<f64>,
}

/// Paired differences of held-out skill: drives fixed, clips resampled in blocks of a second.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Differences {
    pub(super) swarm_best_pretrained: Option<Interval>,
    pub(super) swarm_best_alone_best: Option<Interval>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct DriveRow {
    pub(super) name: String,
    /// Whose it is.
    pub(super) vehicle: usize,
    /// Whether it moves enough to be counted.
    pub(super) counted: bool,
    /// Held-out clips.
    pub(super) clips: usize,
    /// Null for a still drive.
    pub(super) copy_psnr_db: Option<f64>,
    pub(super) pretrained: Option<f64>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct VehicleRow {
    pub(super) name: String,
    pub(super) pretrained_own: Option<f64>,
    pub(super) alone_own: Option<f64>,
    pub(super) swarm_own: Option<f64>,
    /// On all drives.
    pub(super) alone: Option<f64>,
    /// What it measures alone on the whole pack: by this `alone_best` is chosen.
    pub(super) alone_pack: Option<f64>,
    pub(super) missed: usize,
    /// Of every window.
    pub(super) bytes_up: Vec<u64>,
    pub(super) bytes_down: Vec<u64>,
}

/// MQTT packets counted at the socket.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Bytes {
    pub(super) up_per_vehicle_window: f64,
    pub(super) down_per_vehicle_window: f64,
    /// The evaluation pack, which every vehicle is given once.
    pub(super) pack_down_per_vehicle: u64,
    /// An adapter as plain numbers: what FedAvg sends, and receives, per vehicle and window.
    pub(super) float32_adapter: u64,
}
