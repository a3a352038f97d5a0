//! What a fleet learns together.
//!
//! - [`swarm`]: one vehicle's part in it, a core with five doors.
//! - [`step`](mod@step), [`populate`](mod@populate), [`search`]: Model Swarms (arXiv 2410.11163), exactly.
//! - [`utility`]: what is maximised, by the signed document and the window.
//! - [`merge`], [`fold`](mod@fold): contributions into one particle, by the consensus rule.
//! - [`records`], [`roster`], [`quorum`]: a set of signed records, whom a nonce draws, and what the set means.
//! - [`keyring`], [`inbox`]: which key may sign what, and what stands at a topic as a checked record.
//! - [`beacon`]: a region's records, folded to those that matter and passed on.
//! - [`timekeeper`]: the nonces of windows and the documents of a fleet, kept on a broker.
//! - [`campaign`]: which vehicles may use what was learned, and when.
//! - [`reinstated`]: whom the authority put into good standing again.
//! - [`privacy`]: clip and noise of what a vehicle contributes, and what both have cost.
//! - [`draws`]: chance by key.
//!
//! A core: no clock, no randomness, no I/O; time, chance and bytes are arguments. It allocates. Arithmetic is + − × ÷ in
//! index order and `libm`, so that every machine computes the same bits. Nothing that comes from outside can panic it.
#![no_std]
#![warn(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

extern crate alloc;

mod ballot;
pub mod beacon;
pub mod campaign;
pub mod draws;
pub mod fold;
pub mod inbox;
pub mod keyring;
mod line;
pub mod merge;
pub mod populate;
pub mod privacy;
pub mod quorum;
mod real;
pub mod records;
pub mod reinstated;
pub mod roster;
pub mod search;
pub mod step;
pub mod swarm;
pub mod timekeeper;
pub mod utility;

pub use ballot::Ballot;
pub use real::Real;
