//! A whole fleet in virtual time. The vehicles are those that ship ([`shoal_vehicle::exchange::run::Exchange`]): their loop,
//! cores, vault and MQTT session. What is around them is not: the broker ([`cluster`] of [`board`]s), the disks, the
//! clocks and the engine ([`engine`]) are made of one seed, and so is what goes wrong ([`weather`]). After everything that happens
//! it is checked what must always hold ([`check`]).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "it is a test: it fails by panicking"
)]

pub mod board;
pub mod calendar;
pub mod chance;
pub mod check;
pub mod cluster;
mod conditions;
pub mod documents;
pub mod engine;
pub mod intruder;
pub mod keeper;
pub mod log;
mod metadata;
pub mod must;
mod promotion;
mod reinstatement;
mod roles;
#[path = "../../../shadow/tests/replay_faults/sim_disk.rs"]
#[allow(dead_code, reason = "other tests flip its bits")]
mod sim_disk;
mod speech;
pub mod station;
mod trouble;
pub mod vehicle;
pub mod weather;
pub mod world;
