//! A vehicle's computer under Linux: its camera, its CAN bus, and what it knows of its own state.
//!
//! Everything is opened for reading: a camera's node with `O_RDONLY`, the bus through a type that has
//! nothing to send with, files of `/sys` as files. A bus that is brought up here is brought up so that its
//! controller only listens, unless that is asked for otherwise.
//!
//! - [`v4l2`]: pictures of `/dev/video0`, as frames of the model's shape;
//! - [`socketcan`], [`dbc`], [`signals`]: frames of `can0`, and what they say by a DBC file;
//! - [`bus_speed`]: that interface brought up;
//! - [`live`]: both together, as [`Moments`](crate::Moments);
//! - [`vehicle`]: the [`Conditions`](crate::Conditions) of the vehicle.

pub mod bus_speed;
pub mod dbc;
pub mod live;
mod network;
pub mod signals;
pub mod socketcan;
pub mod v4l2;
pub mod vehicle;

use std::time::Duration;

/// Time since the computer started, not counting sleep: the clock that cameras stamp pictures with.
#[must_use]
pub fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // It begins at zero and counts up.
    Duration::try_from(now).unwrap_or(Duration::ZERO)
}
