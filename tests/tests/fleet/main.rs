//! The programs of a fleet as processes: what one vehicle promises, kept while others, brokers and lines fail.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod beacons;
mod campaign;
mod gateway;
mod growing;
mod hostile;
mod interrupted;
mod keys;
mod refused;
mod regions;
mod reinstated;
mod together;
mod token;
mod utility;
