//! The fleet console: what stands on a broker, as one page that anyone can read.
//!
//! [`state`] is the core: messages in, [`view::View`] out. It believes nothing that is not signed by who may sign it.
//! [`reader`] is a link that feeds it; [`Console`] is the program around it: a link, and a server of the page, its view and its events.

mod console;
pub mod names;
mod publishers;
pub mod reader;
mod refusals;
mod serve;
pub mod state;
pub mod view;
mod why;

pub use console::{Console, ConsoleError, Settings};
pub use serve::is_this_computer;
