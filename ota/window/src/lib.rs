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

mod arrived;
mod budget;
mod calendar;
mod saved;
mod slot;
mod transfer;
mod trial;
mod window;

pub use arrived::{RejectSavedTransfer, SavedTransfer, TRANSFER_HEADER_KEY, TRANSFER_PROGRESS_KEY};
pub use budget::Bytes;
pub use calendar::{Span, jitter, number, open_span};
pub use saved::{LEDGER_BYTES, LEDGER_KEY, PLAN_KEY, Record, RejectSaved, Saved};
pub use slot::{NoSlot, RejectSlots, SLOTS_KEY, Slots};
pub use transfer::{
    ASKED_MAX, Ended, Keep, Pace, RejectTransfer, Transfer, TransferInput, TransferOutput,
};
pub use trial::{RejectTrial, TRIAL_KEY, Trial, TrialInput, TrialOutput, TrialPolicy, TrialState};
pub use window::{Because, Conditions, Input, Network, Output, Phase, Policy, Reject, Why, Window};
