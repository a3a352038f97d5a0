//! Recorded logs, cut into stretches.

use std::path::Path;

use sha2::{Digest, Sha256};
use shoal_hal::Motion;
use shoal_hal::backend::recorded::comma;
use shoal_shadow::tokens::{TokenForm, TokenLog};

use super::{LogsError, Raw};
use crate::config::LogsConfig;
use crate::record::RoadKind;

/// The stretches of the log at `path`, in order of time, named by it and their number; those that are driven are nobody's yet.
pub(super) fn stretches(
    path: &Path,
    logs: &LogsConfig,
    form: &TokenForm,
) -> Result<Vec<Raw>, LogsError> {
    if form.rate_hz != comma::LOG_RATE_HZ {
        return Err(LogsError::Rate { want: form.rate_hz, got: comma::LOG_RATE_HZ });
    }
    let log = if path.is_file() && path.extension().is_some_and(|ending| ending == "csv") {
        comma::Log::read_csv(path)?
    } else if path.join("processed_log").is_dir() {
        comma::Log::read_segment(path)?
    } else {
        return Err(LogsError::Kind { path: path.to_owned() });
    };
    let stretch = |number: usize| {
        let cut = |number: usize| log.len() * number / logs.stretches;
        let motion = (cut(number)..cut(number + 1)).map(|row| log.motion(row)).collect();
        of_motion(&name(path, number), motion, form, kind(logs, number))
    };
    (0..logs.stretches).map(stretch).collect()
}

/// A log of motion.
pub(super) fn of_motion(
    name: &str,
    motion: Vec<Motion>,
    form: &TokenForm,
    kind: RoadKind,
) -> Result<Raw, LogsError> {
    let mut hasher = Sha256::new();
    for motion in &motion {
        let Motion { speed_m_s, steering_rad, acceleration_m_s2, lateral_acceleration_m_s2 } =
            motion;
        for value in [speed_m_s, steering_rad, acceleration_m_s2, lateral_acceleration_m_s2] {
            // No vehicle measures NaN.
            hasher.update(value.unwrap_or(f32::NAN).to_le_bytes());
        }
    }
    let rows = TokenLog::new(name, motion, form)?;
    Ok(Raw { rows, kind, sha256: hasher.finalize().into() })
}

fn name(path: &Path, number: usize) -> String {
    let file = path.file_name().unwrap_or(path.as_os_str());
    format!("{}/{number}", file.to_string_lossy())
}

fn kind(logs: &LogsConfig, number: usize) -> RoadKind {
    if number + logs.unseen_stretches < logs.stretches {
        RoadKind::Listed
    } else {
        RoadKind::Unseen
    }
}
