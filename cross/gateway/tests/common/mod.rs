//! What drives a gateway from outside, on a host and in an emulator alike.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod client;
pub(crate) mod flash;
pub(crate) mod fleet;
pub(crate) mod scenarios;
