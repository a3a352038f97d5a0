//! TOML whose unknown keys are errors that name the nearest key.
