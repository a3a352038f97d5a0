//! What a vehicle offers: frames and motion as [`Moments`], [`Conditions`], adapter slots, a store
//! of small records.
//!
//! The traits are `no_std` and know no vendor; everything that opens a file, a program or a device
//! is a backend behind a feature:
//!
//! | feature | gives |
//! |---|---|
//! | `std` | [`Drive`] (a drive held in memory), [`backend::files`] (store and slots in a directory), [`conformance`] |
//! | `recorded` | `backend::recorded`: MP4, folders of frames, donkeycar tubs, comma2k19 logs |
//! | `synthetic` | [`backend::synthetic`]: generated roads |
//! | `linux` | `backend::linux`: cameras (V4L2), CAN by DBC files, the computer's conditions; on Linux alone |
//!
//! No type of this crate can be sent: frames and motion stay in the vehicle.
#![cfg_attr(not(feature = "std"), no_std)]

mod conditions;
mod moment;
mod slots;
mod store;

#[cfg(feature = "std")]
mod drive;

#[cfg(feature = "std")]
pub mod backend;
#[cfg(feature = "std")]
pub mod conformance;

pub use conditions::{Conditions, Network, Vehicle};
#[cfg(feature = "std")]
pub use drive::{CONTEXT_FRAMES_MAX, Clips, Drive, DriveMoments, Part, Span, Split, TooShort};
pub use moment::{FrameShape, Moment, Moments, Motion};
pub use slots::{AdapterSlots, Slot, SlotState};
pub use store::{KEY_BYTES_MAX, RECORD_BYTES_MAX, Store, is_key};
