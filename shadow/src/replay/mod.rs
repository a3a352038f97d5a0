//! The replay store: spans of frames and motion on the vehicle's own disk.

mod span;

pub use self::span::{Priority, Reason};
