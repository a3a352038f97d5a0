//! The agent of one vehicle as a library: what it is told ([`config`]), what it drives ([`drives`]),
//! what runs its models ([`engine`]) and how much of the computer that takes ([`budget`]), how a night goes ([`night`]), the exchange with a fleet ([`exchange`]),
//! the gateway that guards its window ([`gateway`]), the shell that does it all ([`agent`]), and who gives that what it may not take itself (`attend`).

pub mod agent;
#[cfg(all(feature = "linux", target_os = "linux"))]
pub mod attend;
pub mod budget;
pub mod config;
pub mod drives;
pub mod engine;
pub mod exchange;
pub mod gateway;
pub mod night;
pub mod ready;

/// The program and its version, as a vehicle says it.
pub const SOFTWARE: &str = concat!("shoal-vehicle ", env!("CARGO_PKG_VERSION"));
