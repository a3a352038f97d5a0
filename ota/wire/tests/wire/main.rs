//! The crate from outside: one claim of SPEC.md a test, properties, golden bytes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod body_vectors;
mod common;
mod envelope;
mod properties;
mod refusals;
mod samples;
mod vectors;
