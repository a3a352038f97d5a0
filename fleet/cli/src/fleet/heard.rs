//! Who hears of what a command signed.

use std::path::Path;

use shoal_hal::backend::hold::Hold;

/// What is said after something was signed: a timekeeper that runs on this folder publishes it, and nobody else does.
pub(crate) fn heard(fleet: &Path) -> &'static str {
    match Hold::is_held(&fleet.join("timekeeper")) {
        true => {
            "a running `shoal fleet serve` publishes it; vehicles hear of it in their next window"
        }
        false => {
            "signed; no `shoal fleet serve` runs on this folder: nobody hears of it until one does"
        }
    }
}
