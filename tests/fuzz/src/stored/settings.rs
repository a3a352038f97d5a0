//! What people write: a package's description, which comes with its model, and a vehicle's configuration.

use shoal_shadow::package::{CONTEXT_ROWS_MAX, Description};
use shoal_vehicle::config::Config;

/// A package's description.
pub(super) fn package(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let read = |text: &str| Description::parse("model.toml", text, "fuzz");
    let Ok(description) = read(text) else { return };
    let written = description.to_toml();
    let again = read(&written).unwrap_or_else(|why| panic!("{why}: {written}"));
    assert_eq!(again, description, "a description is what it is written as");
    assert!(description.context() <= CONTEXT_ROWS_MAX, "{}", description.context());
    assert!((0.1..=1000.0).contains(&description.rate_hz));
    assert!((0.0..=0.9).contains(&description.rehearsal(None)));
    assert!(description.adapter.alpha > 0.0 && description.adapter.alpha.is_finite());
    let ranges = description.frames.iter().map(|frames| frames.range);
    let ranges = ranges.chain(description.next_frame.iter().map(|next| next.range));
    assert!(
        ranges.into_iter().all(|[low, high]| low < high),
        "nothing is divided by their difference"
    );
    for path in [Some(&description.model), description.footage.as_ref()].into_iter().flatten() {
        assert!(path.is_relative() && !path.starts_with(".."), "inside the package: {path:?}");
    }
}

/// A vehicle's configuration.
pub(super) fn vehicle(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let read = |text| Config::parse("vehicle.toml", text).ok();
    let config = read(text);
    // Compared as it is shown: a number in it may be NaN no more than it may differ.
    assert_eq!(format!("{config:?}"), format!("{:?}", read(text)), "one text says one thing");
}
