//! The gateway: the MCU beside the vehicle computer that guards the OTA window.
//!
//! The agent on the vehicle computer asks, the gateway decides: by its own conditions, from a line of the vehicle that the
//! agent has no part in, by its own keys and its own clock. It holds [`shoal_window::Window`] and at most one
//! [`shoal_window::Transfer`], both as they are, verifies a signed particle as it streams by, and writes it to one of
//! two places of its flash.
//!
//! ```text
//!                 ┌──────────── Shell ─────────────────────────────┐
//!  agent's line ─▶│ frame ─▶ protocol ─▶ Gateway (a core, the five │─▶ answers
//!  vehicle's line▶│ frame ─▶ protocol ─▶   doors) ─▶ flash         │
//!                 └────────────────────────────────────────────────┘
//! ```
//!
//! [`Gateway`] is a core without I/O. [`Shell`] holds it with its two lines and its flash, and is the same on a host and
//! on the MCU; what is left to the firmware is bytes in, bytes out, the time and the flash's driver. No allocator, no panic on
//! any bytes.
#![no_std]
#![warn(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod clock;
mod crc;
mod flash;
mod frame;
mod gateway;
mod protocol;
mod provision;
mod shell;

pub use flash::{
    FLASH_BYTES, FlashError, Key, PIECE_ALIGN_BYTES, PROVISION_BYTES_MAX, Records, chunk_offset,
};
pub use frame::{Decoder, FRAME_BYTES_MAX, LINE_BYTES_MAX, encode_frame};
pub use gateway::{Gateway, Input, Kept, Output, Persist};
pub use protocol::{
    Answer, BytesBoth, PIECE_BYTES_MAX, Part, PhaseName, Receiving, Refusal, Reply, Request,
    SlotStatus, Stack, Status, TrialName, UtcSeconds, VehicleSays, Wants, decode_reply,
    encode_request, encode_vehicle,
};
pub use provision::{PUBLISHERS_MAX, Provision, RejectProvision};
pub use shell::{Agent, Shell};
