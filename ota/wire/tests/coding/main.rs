//! The coding from outside: claims of SPEC.md §6, properties, golden bytes, and what it must reach.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chance;
mod claims;
mod common;
mod properties;
mod reach;
mod vectors;
