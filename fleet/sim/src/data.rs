//! What a fleet learns from: roads for a model of frames, logs for a model of tokens. To methods both are the same: something that
//! is tuned on, measured on, and named.

use std::collections::BTreeMap;
use std::path::Path;

use shoal_wire::v1::UtilityDocument;

use crate::config::SimConfig;
use crate::drivers::{Drivers, DriversError};
use crate::lab::Task;
use crate::logs::{Logs, LogsError};
use crate::record::RoadKind;
use crate::roads::{Roads, RoadsError};
use crate::trivial::Clients;
use crate::utility::UtilityError;

/// Why there is nothing to learn from.
#[expect(missing_docs, reason = "each says what its source says")]
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error(transparent)]
    Roads(#[from] RoadsError),
    #[error(transparent)]
    Logs(#[from] LogsError),
    #[error(transparent)]
    Drivers(#[from] DriversError),
    #[error(transparent)]
    Utility(#[from] UtilityError),
    #[error("a policy learns from [drivers]")]
    NoDrivers,
    #[error(
        "model.package describes a model of frames: it drives [roads], it has no use for [logs]"
    )]
    NotRoads,
    #[error(
        "model.package describes a model of tokens: it reads [logs], it has no use for [roads]"
    )]
    NotLogs,
}

/// Roads or logs, or what stands for them.
pub enum Data {
    /// Of a model of frames.
    Roads(Roads),
    /// Of a model of tokens.
    Logs(Logs),
    /// Of a policy.
    Drivers(Box<Drivers>),
    /// Of clients without a model.
    Trivial(Clients),
}

impl Data {
    /// Opens or draws what a model of this task learns from; packs of frames are built in `folder` unless they are there.
    ///
    /// # Errors
    /// [`DataError`].
    pub fn open(config: &SimConfig, task: &Task, folder: &Path) -> Result<Self, DataError> {
        let policies_read = match task {
            Task::Actions(form) => Some(form),
            Task::Matrices(policies) => Some(policies.form()),
            Task::Frames { .. } | Task::Tokens(_) | Task::Trivial => None,
        };
        if let Some(form) = policies_read {
            let does = config.drivers.as_ref().ok_or(DataError::NoDrivers)?;
            return Ok(Data::Drivers(Box::new(Drivers::open(config, does, form, folder)?)));
        }
        match (task, &config.logs) {
            (Task::Actions(_) | Task::Matrices(_), _) => Err(DataError::NoDrivers),
            (Task::Frames { form, .. }, None) => {
                Ok(Data::Roads(Roads::open(config, form, folder)?))
            }
            (Task::Tokens(form), Some(logs)) => Ok(Data::Logs(Logs::open(config, logs, form)?)),
            (Task::Trivial, None | Some(_)) => Ok(Data::Trivial(Clients::open(config)?)),
            (Task::Frames { .. }, Some(_)) => Err(DataError::NotRoads),
            (Task::Tokens(_), None) => Err(DataError::NotLogs),
        }
    }

    /// Every road or log by name.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<String, RoadKind> {
        match self {
            Data::Roads(roads) => roads.kinds(),
            Data::Logs(logs) => logs.kinds(),
            Data::Drivers(drivers) => drivers.kinds(),
            Data::Trivial(clients) => clients.kinds(),
        }
    }

    /// The phase of the journey before this window, from 0 on; logs have one.
    #[must_use]
    pub fn phase(&self, window: u32) -> usize {
        match self {
            Data::Roads(roads) => roads.phase(window),
            Data::Logs(_) | Data::Drivers(_) | Data::Trivial(_) => 0,
        }
    }

    /// Names of the roads that are driven in each phase of the journey; none without one.
    #[must_use]
    pub fn by_phase(&self) -> Vec<Vec<String>> {
        match self {
            Data::Roads(roads) => roads.by_phase(),
            Data::Logs(_) | Data::Drivers(_) | Data::Trivial(_) => Vec::new(),
        }
    }

    /// Names of the roads or logs of a vehicle before this window.
    #[must_use]
    pub fn names_of(&self, vehicle: u32, window: u32) -> Vec<&str> {
        match self {
            Data::Roads(roads) => {
                let of = roads.of(vehicle, roads.phase(window));
                of.map(|road| road.drive.name.as_str()).collect()
            }
            Data::Logs(logs) => logs.of(vehicle).map(|log| log.rows.name()).collect(),
            Data::Drivers(drivers) => {
                drivers.of(vehicle).map(|driver| driver.drive.name.as_str()).collect()
            }
            Data::Trivial(clients) => clients.name_of(vehicle).into_iter().collect(),
        }
    }

    /// What is maximised.
    #[must_use]
    pub fn utility(&self) -> &UtilityDocument {
        match self {
            Data::Roads(roads) => &roads.utility,
            Data::Logs(logs) => &logs.utility,
            Data::Drivers(drivers) => &drivers.utility,
            Data::Trivial(clients) => &clients.utility,
        }
    }

    /// What was recorded and cannot be used, and why.
    #[must_use]
    pub fn skipped(&self) -> Vec<String> {
        match self {
            Data::Roads(roads) => roads.skipped.iter().map(ToString::to_string).collect(),
            Data::Logs(_) | Data::Drivers(_) | Data::Trivial(_) => Vec::new(),
        }
    }
}
