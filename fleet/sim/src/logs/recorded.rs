//! Recorded logs, cut into stretches.

use std::path::Path;

use sha2::{Digest, Sha256};
use shoal_hal::Motion;
use shoal_hal::backend::recorded::codes::read_codes;
use shoal_hal::backend::recorded::comma;
use shoal_shadow::package::TokenKind;
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
    let all = Recording::read(path, form)?;
    let (count, whole) = (all.cuts(form), all.rows() / all.cuts(form).max(1));
    let skipped = (count as f64 * logs.from) as usize;
    let cut = |number: usize| whole * (skipped + (count - skipped) * number / logs.stretches);
    let stretch = |number: usize| {
        let rows = cut(number)..cut(number + 1);
        let (name, kind) = (name(path, number), kind(logs, number));
        match &all {
            Recording::Motion(log) => {
                of_motion(&name, rows.map(|row| log.motion(row)).collect(), form, kind)
            }
            Recording::Codes(codes) => {
                of_codes(&name, codes.get(rows).unwrap_or_default().to_vec(), form, kind)
            }
        }
    };
    (0..logs.stretches).map(stretch).collect()
}

/// What a recorded log holds.
enum Recording {
    Motion(comma::Log),
    Codes(Vec<i64>),
}

impl Recording {
    fn read(path: &Path, form: &TokenForm) -> Result<Self, LogsError> {
        if let TokenKind::Codes(codes) = &form.kind {
            return Ok(Recording::Codes(read_codes(path, codes.frame)?));
        }
        if form.rate_hz != comma::LOG_RATE_HZ {
            return Err(LogsError::Rate { want: form.rate_hz, got: comma::LOG_RATE_HZ });
        }
        if path.is_file() && path.extension().is_some_and(|ending| ending == "csv") {
            Ok(Recording::Motion(comma::Log::read_csv(path)?))
        } else if path.join("processed_log").is_dir() {
            Ok(Recording::Motion(comma::Log::read_segment(path)?))
        } else {
            Err(LogsError::Kind { path: path.to_owned() })
        }
    }

    fn rows(&self) -> usize {
        match self {
            Recording::Motion(log) => log.len(),
            Recording::Codes(codes) => codes.len(),
        }
    }

    /// Where it may be cut: at every row, of codes between frames.
    fn cuts(&self, form: &TokenForm) -> usize {
        match &form.kind {
            TokenKind::Motion { .. } => self.rows(),
            TokenKind::Codes(codes) => self.rows() / codes.frame,
        }
    }
}

/// A stream of codes.
fn of_codes(
    name: &str,
    codes: Vec<i64>,
    form: &TokenForm,
    kind: RoadKind,
) -> Result<Raw, LogsError> {
    let mut hasher = Sha256::new();
    codes.iter().for_each(|code| hasher.update(code.to_le_bytes()));
    let rows = TokenLog::of_codes(name, codes, form)?;
    Ok(Raw { rows, kind, sha256: hasher.finalize().into() })
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
