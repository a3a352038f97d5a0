//! The OTA window: when a vehicle may exchange, under which conditions, and how many bytes.
//!
//! [`Window`] is a core: it holds no clock, no socket and no file. What happened and when goes in by
//! `handle_*`; what to store, what to do and when to call again comes out by `poll_*`, in this order, until
//! each returns `None`. No allocator, no panic on any bytes.
#![no_std]
#![warn(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod budget;
mod calendar;
mod saved;
mod window;

pub use budget::Bytes;
pub use calendar::{Span, jitter, number, open_span};
pub use saved::{LEDGER_BYTES, LEDGER_KEY, PLAN_KEY, Record, RejectSaved, Saved};
pub use window::{Because, Conditions, Input, Network, Output, Phase, Policy, Reject, Why, Window};
