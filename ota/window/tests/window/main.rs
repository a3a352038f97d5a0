//! The five doors from outside: one claim a test, and what holds for every run.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod claims;
mod properties;
mod shell;
