//! The whole system from outside: what only shows when the programs run together. Few, and only the wiring: what
//! a crate promises is tested in that crate.
//!
//! The library is what such tests share: a clock, a TCP relay that counts and cuts, brokers,
//! a fleet of programs, and who watches and who disturbs it.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

pub mod brokers;
pub mod browser;
mod carried;
pub mod certificates;
pub mod clock;
pub mod data;
pub mod emulator;
pub mod fleet;
pub mod gateway;
pub mod invariants;
pub mod manual;
pub mod nats;
pub mod nodes;
pub mod observer;
pub mod publisher;
pub mod relay;
pub mod rmqtt;
pub mod token;
