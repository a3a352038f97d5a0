//! The agent of one vehicle as a library: what it is told ([`config`]) and how a night goes ([`night`]).

pub mod config;
pub mod night;
