//! The crate from outside: one claim of SPEC.md a test, properties, golden bytes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod asyncapi;
mod body_vectors;
mod catalogue;
mod common;
mod envelope;
mod generate;
mod properties;
mod refusals;
mod roster;
mod samples;
mod topics;
mod vectors;
