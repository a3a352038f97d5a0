//! Receiving a particle, from outside: one claim a test, what holds for every run, and attacks by name.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attacks;
mod claims;
mod properties;
mod shell;
