//! Recorded drives for commands.

use std::path::Path;

use shoal_hal::backend::recorded::{Drives, RecordedOptions};
use shoal_hal::{Drive, FrameShape};

use crate::output::Failure;

/// Opens the drives in a directory; skipped ones are named on standard error. `context` is the number
/// of past frames a part must have room for; without one drives of any length are kept.
///
/// # Errors
/// When the directory cannot be read or no drive is left.
pub(crate) fn recorded(
    directory: &Path,
    shape: FrameShape,
    rate_hz: f64,
    context: Option<usize>,
) -> Result<Vec<Drive>, Failure> {
    let options = RecordedOptions { context, ..RecordedOptions::default() };
    let opened = Drives::open(directory, shape, rate_hz, &options)?;
    for skipped in &opened.skipped {
        eprintln!("skipped {skipped}");
    }
    Ok(opened.drives)
}
