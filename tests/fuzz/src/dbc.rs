//! DBC files that nobody wrote, and frames that no bus carried.

use std::time::Duration;

use shoal_hal::backend::linux::dbc::{DATA_BYTES_MAX, Dbc};
use shoal_hal::backend::linux::signals::{Reading, Source};

/// Signals that are read of one file: more say nothing more.
const SIGNALS_MAX: usize = 64;

/// Reads what comes before the first zero byte as a DBC file, and what comes after it as a frame's data, by every
/// signal of the file.
///
/// # Panics
/// If a signal that is listed cannot be asked for, or a value is not finite.
pub fn dbc(bytes: &[u8]) {
    let cut = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, data) = bytes.split_at(cut);
    let data = data.get(1..).unwrap_or_default();
    let data = data.get(..usize::from(DATA_BYTES_MAX)).unwrap_or(data);
    let Ok(dbc) = Dbc::parse("<fuzz>", text) else { return };
    for name in dbc.names().take(SIGNALS_MAX) {
        // A name with a dot in it is cut at the first.
        let Ok((id, signal)) = dbc.signal(&name) else { continue };
        assert!(signal.decode(data).is_none_or(f64::is_finite));
        let source = Source { signal: name, scale: 1e300 };
        let Ok(mut reading) = Reading::new(&dbc, "fuzz", &source) else { continue };
        reading.hear(id, data, Duration::ZERO);
        assert!(reading.last().is_none_or(|(value, _)| value.is_finite()));
    }
}
