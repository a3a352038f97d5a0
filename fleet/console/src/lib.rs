//! The fleet console: what stands on a broker, as one page that anyone can read.
//!
//! [`state`] is the core: messages in, [`view::View`] out. It believes nothing that is not signed by who may sign it.

pub mod state;
pub mod view;
